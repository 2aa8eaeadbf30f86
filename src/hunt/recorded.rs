//! A run's strikes as an explicit plan: who was struck, when, with what, for how long, as the history has it.
//!
//! Given again, the plan strikes the same members at the same times. A strike that a client's step timed keeps that
//! step, from that moment on, so that it still hits it when the clients' timing shifts. Deliberately absent: strikes
//! that failed, which changed nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fault::{At, Direction, Fault, FaultKind, FaultName, Member, Peers, Refusal, Shape, Target};
use crate::history::{F, FaultEvent, History, OpType};
use crate::time::Nanos;

/// The strikes of a history as plan entries, in the order in which they struck. Times are cut to microseconds, as files
/// have them.
pub fn plan(history: &History) -> Vec<Fault> {
    let mut strikes: BTreeMap<u32, Struck<'_>> = BTreeMap::new();
    for op in &history.ops {
        let Some(event) = &op.fault else { continue };
        match (op.f, op.kind) {
            (F::Fault, OpType::Invoke) => {
                strikes.insert(event.id, Struck { event, at: op.time, until: None });
            }
            (F::Fault, OpType::Fail) => {
                strikes.remove(&event.id);
            }
            (F::Heal, OpType::Invoke) => {
                if let Some(strike) = strikes.get_mut(&event.id) {
                    strike.until.get_or_insert(op.time);
                }
            }
            _ => {}
        }
    }
    strikes.into_values().filter_map(|strike| strike.fault()).collect()
}

/// One strike, as it was.
struct Struck<'a> {
    event: &'a FaultEvent,
    at: Nanos,
    until: Option<Nanos>,
}

impl Struck<'_> {
    fn fault(&self) -> Option<Fault> {
        let micros = |nanos: u64| Duration::from_micros(nanos / 1_000);
        let from = micros(self.at.0);
        let at = match self.event.phase {
            Some(phase) => At::Phase { phase, every: None, from },
            None => At::Time(from),
        };
        let lasted = self.until.map_or(self.event.requested, |until| (until - self.at).as_nanos() as u64);
        let duration = micros(lasted).max(Duration::from_micros(1));
        let kind = self.kind()?;
        let members = match &kind {
            FaultKind::Partition { peers: Peers::Links(links), .. }
            | FaultKind::Delay { peers: Peers::Links(links), .. }
            | FaultKind::Loss { peers: Peers::Links(links), .. }
            | FaultKind::Request { peers: Peers::Links(links), .. } => links.keys().copied().collect(),
            _ => self.event.targets.clone(),
        };
        Some(Fault { kind, target: Target::Members(members), at, duration })
    }

    fn kind(&self) -> Option<FaultKind> {
        let event = self.event;
        Some(match event.kind.known() {
            Some(FaultName::Pause) => FaultKind::Pause,
            Some(FaultName::Kill) => FaultKind::Kill,
            Some(FaultName::Restart) => FaultKind::Restart,
            Some(FaultName::PowerLoss) => FaultKind::PowerLoss,
            Some(FaultName::Partition) => {
                let ((peers, direction), refusal) = (self.ends()?, event.refusal.unwrap_or(Refusal::Drop));
                FaultKind::Partition { peers, direction, shape: Shape::Isolate, refusal }
            }
            Some(FaultName::Delay) => {
                let ((peers, direction), (least, most)) = (self.ends()?, event.late_by?);
                let extra = (Duration::from_nanos(least), Duration::from_nanos(most));
                FaultKind::Delay { peers, direction, extra }
            }
            Some(FaultName::Loss) => {
                let ((peers, direction), permille) = (self.ends()?, event.lost_permille?);
                FaultKind::Loss { peers, direction, permille }
            }
            Some(FaultName::Request) => FaultKind::Request { peers: self.ends()?.0, rule: event.request? },
            _ => FaultKind::Clock(event.clock?),
        })
    }

    /// The links that were touched: one list for all members where it is the same for all.
    fn ends(&self) -> Option<(Peers, Direction)> {
        let grudge = self.event.grudge.as_ref()?;
        let mut lists = grudge.cuts.values();
        let first: Vec<Member> = lists.next().cloned()?;
        let is_one = grudge.cuts.len() == self.event.targets.len() && lists.all(|list| *list == first);
        let peers = if is_one { Peers::Members(first) } else { Peers::Links(grudge.cuts.clone()) };
        Some((peers, grudge.direction))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::env::sim::run_trial;
    use crate::scenario::{self, Capabilities, Scenario};
    use crate::seed::Seed;

    /// Who was struck, with what, when, in milliseconds.
    fn strikes(history: &History) -> Vec<(String, Vec<Member>, Option<Grudges>, u64)> {
        let begun = history.ops.iter().filter(|op| (op.f, op.kind) == (F::Fault, OpType::Invoke));
        let event = begun.filter_map(|op| Some((op.fault.as_ref()?, op.time)));
        event
            .map(|(event, time)| {
                let cuts = event.grudge.clone().map(|grudge| grudge.cuts);
                // Of a partition by shape the links tell who is struck.
                let targets = if cuts.is_some() { Vec::new() } else { event.targets.clone() };
                (event.kind.to_string(), targets, cuts, time.0 / 1_000_000)
            })
            .collect()
    }

    type Grudges = BTreeMap<Member, Vec<Member>>;

    /// Every kind of fault, aimed at whoever is there, and three shapes of partitions.
    #[test]
    fn strikes_given_again_strike_the_same_members_at_the_same_times() {
        let chaos = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/chaos.toml");
        let mut read = scenario::load(&chaos, &Capabilities::sim()).unwrap();
        read.workload.duration = Duration::from_secs(12);
        for shape in [Shape::Halves, Shape::Bridge, Shape::MajoritiesRing] {
            let mut fault = read.faults.iter().find(|fault| fault.kind.name() == "partition").unwrap().clone();
            let FaultKind::Partition { shape: kept, .. } = &mut fault.kind else { unreachable!() };
            *kept = shape;
            (fault.target, fault.at, fault.duration) =
                (Target::All, At::Every(Duration::from_secs(3)), Duration::from_millis(300));
            read.faults.push(fault);
        }
        for lock in ["redlock", "zookeeper"] {
            let first = run_trial(&read, lock, Seed(7));
            let faults = plan(&first.history);
            assert!(faults.len() > 12, "{lock}: {}", faults.len());
            let explicit = Scenario { faults, locks: only(&read, lock), expect: BTreeMap::new(), ..read.clone() };
            // Also by way of a file.
            let text = scenario::write(&explicit, &[]);
            let explicit =
                scenario::parse(&chaos, &text, &Capabilities::sim()).unwrap_or_else(|error| panic!("{error}"));
            let again = strikes(&run_trial(&explicit, lock, Seed(7)).history);
            let first = strikes(&first.history);
            let same = first.iter().filter(|strike| again.contains(strike)).count();
            // A strike that a client's step timed moves with its client, and one that waited for another's end with
            // that one.
            assert!(same * 10 >= first.len() * 9, "{lock}: {same} of {}\n{first:?}\n{again:?}", first.len());
        }
    }

    fn only(scenario: &Scenario, lock: &str) -> BTreeMap<String, scenario::LockConfig> {
        scenario.locks.clone().into_iter().filter(|(name, _)| name == lock).collect()
    }
}
