//! Makes a failing scenario small: fewer strikes, fewer clients, less time, rounder numbers, for the same broken
//! guarantee.
//!
//! Candidates are scenarios, and each is judged by running it with several seeds: clients' timing shifts with whatever
//! is taken away, so that one seed alone says little. First strikes are taken away, in halves and then one by one
//! (delta debugging, Zeller and Hildebrandt 2002); then what is left is put in the form that fails most surely, strike
//! by strike or as faults that come again; then the rest is simplified as long as it fails as surely. Deliberately
//! absent: how a scenario is run; the caller says whether it fails.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use rayon::prelude::*;

use crate::fault::{At, Fault, FaultKind, Member, Target};
use crate::phase::Phase;
use crate::scenario::{ClientStyle, DurationRange, Fencing, LockConfig, Resource, Scenario, Workload};
use crate::seed::Seed;

/// How many seeds a candidate is tried with.
pub const SEEDS: u64 = 10;

/// In how many of them what is left must fail.
pub const SURE: u64 = 9;

/// How many trials one shrinking may take.
const BUDGET: u64 = 1_500;

/// What is left of a failing scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The scenario.
    pub scenario: Scenario,
    /// A seed with which it fails.
    pub seed: Seed,
    /// With how many of [`SEEDS`] seeds, from that one on, it failed.
    pub failed: u64,
    /// How many trials it took.
    pub trials: u64,
}

/// Whether a scenario, run with a seed, breaks the guarantee that shrinking is about.
pub type Fails<'a> = dyn Fn(&Scenario, Seed) -> bool + Sync + 'a;

/// Shrinks `found`, which fails with `seed`; `strikes` is what its plan came to in that run.
///
/// The result fails with its own seed. It is `found` itself if nothing smaller fails, or the smallest so far once the
/// search is called off.
pub fn shrink(
    found: &Scenario,
    strikes: Vec<Fault>,
    seed: Seed,
    fails: &Fails<'_>,
    is_called_off: &dyn Fn() -> bool,
) -> Shrunk {
    let shrinker = Shrinker { fails, is_called_off, trials: Cell::new(0) };
    let explicit = Scenario { faults: strikes, ..found.clone() };
    let mut base = (found.clone(), seed);
    if let Some(seed) = shrinker.fails_somewhere(&explicit, seed) {
        base = (explicit, seed);
    }
    shrinker.take_away(&mut base);
    let mut best = shrinker.surest(base, found);
    shrinker.simplify(&mut best);
    let (scenario, seed, failed) = best;
    Shrunk { scenario, seed, failed, trials: shrinker.trials.get() }
}

/// A candidate that failed, a seed with which it did, and with how many it did.
type Sure = (Scenario, Seed, u64);

struct Shrinker<'a> {
    fails: &'a Fails<'a>,
    is_called_off: &'a dyn Fn() -> bool,
    trials: Cell<u64>,
}

impl Shrinker<'_> {
    fn is_over(&self) -> bool {
        self.trials.get() >= BUDGET || (self.is_called_off)()
    }

    /// With which of the seeds from `seed` on a candidate fails.
    fn tried(&self, candidate: &Scenario, seed: Seed, seeds: std::ops::Range<u64>) -> Vec<Seed> {
        self.trials.set(self.trials.get() + (seeds.end - seeds.start));
        let seeds: Vec<Seed> = seeds.map(|offset| Seed(seed.0.wrapping_add(offset))).collect();
        let failed: Vec<bool> = seeds.par_iter().map(|seed| (self.fails)(candidate, *seed)).collect();
        seeds.into_iter().zip(failed).filter(|(_, failed)| *failed).map(|(seed, _)| seed).collect()
    }

    /// A seed with which a candidate fails: the given one, or one of the next few.
    fn fails_somewhere(&self, candidate: &Scenario, seed: Seed) -> Option<Seed> {
        self.tried(candidate, seed, 0..2).first().or(self.tried(candidate, seed, 2..6).first()).copied()
    }

    /// How surely a candidate fails, if it does with any seed; no sooner known than that it is less than `wanted`.
    fn sureness(&self, candidate: &Scenario, seed: Seed, wanted: u64) -> Option<Sure> {
        let mut failed = Vec::new();
        for seeds in [0..2, 2..5, 5..SEEDS] {
            let left = SEEDS - seeds.end;
            failed.extend(self.tried(candidate, seed, seeds));
            if (failed.len() as u64) + left < wanted {
                return None;
            }
        }
        let seed = *failed.first()?;
        Some((candidate.clone(), seed, failed.len() as u64))
    }

    /// Takes strikes away as long as what is left still fails with some seed.
    fn take_away(&self, base: &mut (Scenario, Seed)) {
        let mut size = base.0.faults.len().div_ceil(2);
        // None at all first: some locks need no fault to be wrong.
        let bare = Scenario { faults: Vec::new(), ..base.0.clone() };
        if let Some(seed) = self.fails_somewhere(&bare, base.1) {
            *base = (bare, seed);
            return;
        }
        while size > 0 && !self.is_over() {
            let mut from = 0;
            let mut went = false;
            while from < base.0.faults.len() && !self.is_over() {
                let mut candidate = base.0.clone();
                candidate.faults.drain(from..(from + size).min(base.0.faults.len()));
                match self.fails_somewhere(&candidate, base.1) {
                    Some(seed) => (*base, went) = ((candidate, seed), true),
                    None => from += size,
                }
            }
            size = if went && size == 1 { 1 } else { size / 2 };
            size = size.min(base.0.faults.len());
        }
    }

    /// The form of what is left that fails with the most seeds: strike by strike; aimed at whoever is in the struck
    /// one's place; again and again; as the plan had it.
    fn surest(&self, base: (Scenario, Seed), found: &Scenario) -> Sure {
        let (scenario, seed) = base;
        let mut best = (scenario.clone(), seed, 1);
        let mut forms = vec![scenario.clone()];
        if !scenario.faults.is_empty() {
            let aimed = |again| scenario.faults.iter().map(|fault| aimed(fault, again)).collect::<Vec<_>>();
            forms.push(Scenario { faults: aimed(false), ..scenario.clone() });
            forms.push(Scenario { faults: unique(aimed(true)), ..scenario.clone() });
            let kinds: Vec<&FaultKind> = scenario.faults.iter().map(|fault| &fault.kind).collect();
            let is_left = |fault: &&Fault| kinds.iter().any(|kind| kind.name() == fault.kind.name());
            forms.push(Scenario { faults: found.faults.iter().filter(is_left).cloned().collect(), ..scenario.clone() });
        }
        for form in forms {
            if best.2 >= SURE || self.is_over() {
                break;
            }
            if let Some(sure) = self.sureness(&form, seed, best.2 + 1) {
                best = sure;
            }
        }
        // More of the same gives a rare failure more chances.
        for (times, clients) in [(2, 0), (1, 2), (2, 2), (4, 0), (4, 2), (8, 3)] {
            if best.2 >= SURE || self.is_over() {
                break;
            }
            let mut longer = scenario.clone();
            longer.faults = best.0.faults.clone();
            longer.workload.duration = (longer.workload.duration * times).min(Duration::from_secs(60));
            longer.workload.clients += clients;
            if let Some(sure) = self.sureness(&longer, best.1, best.2 + 1) {
                best = sure;
            }
        }
        best
    }

    /// Takes whatever is simpler and fails as surely, until nothing is.
    fn simplify(&self, best: &mut Sure) {
        let wanted = best.2.min(SURE);
        loop {
            let before = best.0.clone();
            for candidates in [strikes, clients, durations, settings, lengths] {
                for candidate in candidates(&best.0) {
                    if self.is_over() {
                        return;
                    }
                    if candidate == best.0 {
                        continue;
                    }
                    if let Some(sure) = self.sureness(&candidate, best.1, wanted) {
                        *best = sure;
                        break;
                    }
                }
            }
            if best.0 == before {
                return;
            }
        }
    }
}

/// A strike on one client as a fault of whoever is in its place, `again` and again or once.
fn aimed(fault: &Fault, again: bool) -> Fault {
    let mut fault = fault.clone();
    let is_one_client = matches!(&fault.target, Target::Members(members) if matches!(members[..], [Member::Client(_)]));
    let phase = match fault.at {
        At::Phase { phase, .. } => Some(phase),
        _ => None,
    };
    if is_one_client {
        match phase {
            Some(phase) if phase.holds() => fault.target = Target::Holder,
            Some(Phase::Acquiring | Phase::InLine | Phase::VotesIn) => fault.target = Target::Waiter,
            _ => {}
        }
    }
    if again {
        let every = readable(fault.duration * 3 / 2).max(Duration::from_millis(300));
        fault.at = match phase {
            Some(phase) => At::Phase { phase, every: Some(every), from: Duration::ZERO },
            None => At::Every(every),
        };
        // What strikes again strikes by its target; a list is a strike's.
        fault.target = match &fault.target {
            Target::Members(members) => match members[..] {
                [Member::Client(client)] => Target::Client(client),
                [Member::Node(node)] => Target::Node(node),
                _ => Target::All,
            },
            target => target.clone(),
        };
        if fault.target == Target::All
            && let FaultKind::Partition { peers, .. }
            | FaultKind::Delay { peers, .. }
            | FaultKind::Loss { peers, .. }
            | FaultKind::Request { peers, .. } = &mut fault.kind
        {
            *peers = crate::fault::PeerGroup::Clients.into();
        }
    }
    fault
}

fn unique(faults: Vec<Fault>) -> Vec<Fault> {
    let mut kept: Vec<Fault> = Vec::new();
    for fault in faults {
        if !kept.contains(&fault) {
            kept.push(fault);
        }
    }
    kept
}

/// Fewer strikes.
fn strikes(scenario: &Scenario) -> Vec<Scenario> {
    let without = |place| {
        let mut fewer = scenario.clone();
        fewer.faults.remove(place);
        fewer
    };
    (0..scenario.faults.len()).map(without).collect()
}

/// Fewer clients, those that strikes name aside.
fn clients(scenario: &Scenario) -> Vec<Scenario> {
    let named = scenario.faults.iter().flat_map(|fault| match &fault.target {
        Target::Members(members) => members.clone(),
        Target::Client(client) => vec![Member::Client(*client)],
        _ => Vec::new(),
    });
    let highest = named.map(|member| if let Member::Client(client) = member { client.0 } else { 1 }).max().unwrap_or(1);
    (highest.max(2)..scenario.workload.clients)
        .map(|clients| Scenario {
            workload: Workload { clients, ..scenario.workload.clone() },
            faults: scenario.faults.clone(),
            ..scenario.clone()
        })
        .collect()
}

/// Shorter runs, in which every strike still has its time.
fn durations(scenario: &Scenario) -> Vec<Scenario> {
    let needed = scenario.faults.iter().map(|fault| {
        let first = match fault.at {
            At::Time(at) | At::Every(at) => at,
            At::Phase { every, from, .. } => every.unwrap_or_default().max(from),
        };
        first + fault.duration
    });
    let least = needed.max().unwrap_or_default().max(Duration::from_secs(1)) + scenario.workload.quiet_end;
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30]
        .map(Duration::from_secs)
        .into_iter()
        .filter(|duration| *duration > least && *duration < scenario.workload.duration)
        .map(|duration| Scenario { workload: Workload { duration, ..scenario.workload.clone() }, ..scenario.clone() })
        .collect()
}

/// Settings that are left out of a file, or the usual ones.
fn settings(scenario: &Scenario) -> Vec<Scenario> {
    let mut simpler = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        simpler.push(candidate);
    };
    with(&|scenario| scenario.resource = Resource { fencing: Fencing::None });
    with(&|scenario| scenario.workload.locks = 1);
    with(&|scenario| scenario.workload.wait = Duration::from_secs(10));
    with(&|scenario| scenario.workload.client = ClientStyle::Careful);
    with(&|scenario| scenario.workload.extend = None);
    with(&|scenario| scenario.workload.abandoned = 0);
    with(&|scenario| scenario.workload.dropped = 0);
    with(&|scenario| scenario.workload.quiet_end = Duration::ZERO);
    let configs: Vec<(&String, &LockConfig)> = scenario.locks.iter().collect();
    for (name, config) in configs {
        let of_lock = |config: LockConfig| {
            let locks: BTreeMap<String, LockConfig> =
                scenario.locks.iter().map(|(other, kept)| (other.clone(), kept.clone())).collect();
            with(&|scenario| {
                scenario.locks = locks.clone();
                scenario.locks.insert(name.clone(), config.clone());
            });
        };
        config.simpler().into_iter().for_each(of_lock);
    }
    simpler
}

/// Lengths in round numbers.
fn lengths(scenario: &Scenario) -> Vec<Scenario> {
    let mut rounder = Vec::new();
    let all = |change: &dyn Fn(Duration) -> Duration| {
        let mut candidate = scenario.clone();
        candidate.workload.hold =
            DurationRange::new(change(scenario.workload.hold.min), change(scenario.workload.hold.max));
        candidate.workload.think =
            DurationRange::new(change(scenario.workload.think.min), change(scenario.workload.think.max));
        for fault in &mut candidate.faults {
            rounded(fault, change);
        }
        candidate
    };
    rounder.push(all(&readable));
    rounder.push(all(&two_digits));
    for place in 0..scenario.faults.len() {
        for change in [readable, two_digits] {
            let mut candidate = scenario.clone();
            rounded(&mut candidate.faults[place], &change);
            rounder.push(candidate);
        }
    }
    rounder
}

fn rounded(fault: &mut Fault, change: &dyn Fn(Duration) -> Duration) {
    fault.duration = change(fault.duration);
    fault.at = match fault.at {
        At::Time(at) => At::Time(change(at)),
        At::Every(every) => At::Every(change(every).max(fault.duration + Duration::from_millis(1))),
        At::Phase { phase, every, from } => At::Phase { phase, every: every.map(change), from: change(from) },
    };
}

/// To one significant digit, or to one and a half (15, 25).
fn readable(duration: Duration) -> Duration {
    let micros = duration.as_micros() as u64;
    let scale = 10_u64.pow(micros.max(1).ilog10());
    let halves = (micros * 2 + scale / 2) / scale;
    Duration::from_micros(if halves <= 6 { halves * scale / 2 } else { (micros + scale / 2) / scale * scale })
}

/// To two significant digits.
fn two_digits(duration: Duration) -> Duration {
    let micros = duration.as_micros() as u64;
    let scale = (10_u64.pow(micros.max(1).ilog10()) / 10).max(1);
    Duration::from_micros((micros + scale / 2) / scale * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_readable() {
        for (from, to) in [(0, 0), (1_234, 1_000), (1_499_000, 1_500_000), (2_512_345, 2_500_000), (986_000, 1_000_000)]
        {
            assert_eq!(readable(Duration::from_micros(from)), Duration::from_micros(to), "{from}");
        }
        assert_eq!(two_digits(Duration::from_micros(1_234_567)), Duration::from_micros(1_200_000));
    }
}
