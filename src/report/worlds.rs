//! Both worlds side by side: what locks did in simulation, and what the same scenarios came to on real servers.
//!
//! Runs on real servers are few, so a share that differs is told apart from one that only may. Costs are pooled over
//! the scenarios that a lock went through in both worlds, and no others. Deliberately absent: whether the simulation is
//! a good model; that is said by whoever reads where they differ.

use std::path::PathBuf;

use maud::{Markup, html};
use serde::Serialize;

use super::cell::{Cell, Share};
use super::comparison::Comparison;
use super::cost::{Cost, Pool};
use super::standing::Standing;
use super::words;

/// How a lock's two outcomes stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Agreement {
    /// The same outcome.
    Same,
    /// Different ones, in shares so near, or of so few runs, that both worlds may have the same.
    MayBeChance,
    /// Different shares.
    Differs,
    /// One of the two could not tell.
    Undecided,
}

impl Agreement {
    /// Of a lock in one scenario, simulated and real.
    pub fn of(sim: &Cell<'_>, real: &Cell<'_>) -> Self {
        if [sim, real].iter().any(|cell| cell.standing() == Standing::Undecided) {
            return Self::Undecided;
        }
        let apart = |of: fn(&Cell<'_>) -> u64| {
            let [one, other] = [sim, real].map(|cell| Share { of: of(cell), runs: cell.sweep.seeds }.interval());
            one.1 < other.0 || other.1 < one.0
        };
        if apart(|cell| cell.tally.harmed) || apart(|cell| cell.tally.violated) {
            Self::Differs
        } else if sim.standing() == real.standing() {
            Self::Same
        } else {
            Self::MayBeChance
        }
    }

    /// A sign and words, where there is something to say: never by colour alone.
    pub fn told(self) -> Option<&'static str> {
        match self {
            Self::Same => None,
            Self::MayBeChance => Some("≈ another outcome; so few runs may differ by chance"),
            Self::Differs => Some("≠ the worlds differ"),
            Self::Undecided => Some("? undecided in one world"),
        }
    }
}

/// A lock in one scenario, in both worlds.
pub(super) struct Pair<'a> {
    pub sim: Cell<'a>,
    pub real: Cell<'a>,
}

impl Pair<'_> {
    pub fn agreement(&self) -> Agreement {
        Agreement::of(&self.sim, &self.real)
    }
}

/// The scenarios that a lock went through in both worlds.
pub(super) fn pairs<'a>(comparison: &Comparison<'a>, lock: &'a str) -> Vec<Pair<'a>> {
    let Some(real) = comparison.real else { return Vec::new() };
    let both = comparison.cells(lock).filter_map(|sim| {
        let real = real.cell(&sim.sweep.scenario, lock)?;
        Some(Pair { sim, real })
    });
    both.collect()
}

/// Where the worlds agree for a lock, in a sentence; none where it was tried in one only.
pub(super) fn concluded(comparison: &Comparison<'_>, lock: &str) -> Option<String> {
    let lock = comparison.locks.iter().find(|known| **known == lock)?;
    let pairs = pairs(comparison, lock);
    let runs: u64 = pairs.iter().map(|pair| pair.real.sweep.seeds).sum();
    if runs == 0 {
        return None;
    }
    let same = pairs.iter().filter(|pair| pair.agreement() == Agreement::Same).count();
    let named = |agreement: Agreement, what: &str| {
        let of = pairs.iter().filter(|pair| pair.agreement() == agreement);
        let names: Vec<&str> = of.map(|pair| pair.sim.sweep.scenario.as_str()).collect();
        if names.is_empty() { String::new() } else { format!("; {what} {}", names.join(", ")) }
    };
    Some(format!(
        "on real servers the same outcome in {same} of {} ({}){}{}{}.",
        words::counted(pairs.len() as u64, "scenario", "scenarios"),
        words::counted(runs, "run", "runs"),
        named(Agreement::Differs, "different shares in"),
        named(Agreement::MayBeChance, "another outcome, which so few runs may have by chance, in"),
        named(Agreement::Undecided, "undecided in one world in"),
    ))
}

/// A line of the table of costs.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CostLine<'a> {
    pub lock: &'a str,
    /// `sim` or `docker`.
    pub world: &'static str,
    /// Over how many scenarios.
    pub scenarios: usize,
    /// Grants a second, and the rest in seconds; none where there was nothing.
    pub grants_per_second: Option<f64>,
    pub wait_p50: Option<f64>,
    pub wait_p99: Option<f64>,
    pub handoff_p50: Option<f64>,
    pub outage_p50: Option<f64>,
    pub outage_longest: Option<f64>,
}

/// What each lock costs in both worlds, over the scenarios that it went through in both.
pub(super) fn costs<'a>(comparison: &Comparison<'a>) -> Vec<CostLine<'a>> {
    let line = |lock: &'a str, world, scenarios, cost: &Cost| {
        let at = |pool: &Pool, quantile| pool.at(quantile).map(|time| time.as_secs_f64());
        CostLine {
            lock,
            world,
            scenarios,
            grants_per_second: cost.rate(),
            wait_p50: at(&cost.waits, 0.5),
            wait_p99: at(&cost.waits, 0.99),
            handoff_p50: at(&cost.handoffs, 0.5),
            outage_p50: at(&cost.outages, 0.5),
            outage_longest: cost.outages.longest().map(|time| time.as_secs_f64()),
        }
    };
    let both = comparison.locks.iter().flat_map(|lock| {
        let pairs = pairs(comparison, lock);
        let (mut sim, mut real) = (Cost::default(), Cost::default());
        for pair in &pairs {
            sim.add(&pair.sim.tally.cost);
            real.add(&pair.real.tally.cost);
        }
        let worlds = [("sim", sim), ("docker", real)];
        let lines = worlds.into_iter().filter(|_| !pairs.is_empty());
        lines.map(|(world, cost)| line(lock, world, pairs.len(), &cost)).collect::<Vec<_>>()
    });
    both.collect()
}

/// The names of the table's columns.
pub(super) const COLUMNS: [&str; 8] =
    ["lock", "world", "grants/s", "wait p50", "wait p99", "hand-off p50", "out of reach p50", "longest"];

impl CostLine<'_> {
    /// The line's cells, as [`COLUMNS`] names them.
    pub fn cells(&self) -> [String; 8] {
        let time = |seconds: Option<f64>| {
            seconds
                .map_or_else(|| "–".to_owned(), |seconds| words::lasting(std::time::Duration::from_secs_f64(seconds)))
        };
        [
            self.lock.to_owned(),
            self.world.to_owned(),
            self.grants_per_second.map_or_else(|| "–".to_owned(), words::number),
            time(self.wait_p50),
            time(self.wait_p99),
            time(self.handoff_p50),
            time(self.outage_p50),
            time(self.outage_longest),
        ]
    }
}

/// What the table of costs is of.
pub(super) const COSTS_ARE: &str = "Pooled over the scenarios that a lock went through in both worlds, faults included. \
    Out of reach: around each strike of a fault, the longest time in which nobody was granted the lock. The simulation \
    has a network and no more; `fencepost calibrate` measures how far its round trips are from those of real servers.";

/// The section of the page; nothing where there is one world only.
pub(super) fn section(comparison: &Comparison<'_>) -> Markup {
    let Some(real) = comparison.real else { return html! {} };
    let lines = costs(comparison);
    html! {
        section #worlds {
            h2 { "What it costs, in both worlds" }
            @if lines.is_empty() { p.notice { "No run on real servers is of a scenario above." } }
            @else {
                p.dim { (COSTS_ARE) }
                div.scroll tabindex="0" { table.matrix.worlds {
                    thead { tr { @for (place, name) in COLUMNS.iter().enumerate() { th.number[place > 1] { (name) } } } }
                    tbody {
                        @for line in &lines {
                            @let [lock, world, figures @ ..] = line.cells();
                            tr { th { (lock) } td { (world) } @for figure in figures { td.number { (figure) } } }
                        }
                    }
                } }
            }
            @for why in &real.left_out { p.notice { (why) } }
        }
    }
}

/// The run on real servers to look at: the worst, or one.
pub(super) fn run(cell: &Cell<'_>) -> Option<(PathBuf, &'static str)> {
    let worst = cell.tally.worst.as_ref().and_then(|worst| Some((worst.run.clone()?, "worst run")));
    worst.or_else(|| Some((cell.sweep.example.clone()?, "a run")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Report;
    use super::super::real::Real;
    use super::super::sweep::Sweep;
    use super::*;
    use crate::report::tests::sample;

    fn sim(runs: u64) -> Sweep {
        let report = sample::report();
        let mut sweep = Sweep::new(&report, Duration::from_secs(20));
        (0..runs).for_each(|_| sweep.add(&report, &Cost::of_all(&report)));
        sweep
    }

    /// The same, and everything was kept.
    fn kept() -> Report {
        let mut report = sample::report();
        for result in report.locks.iter_mut().flat_map(|lock| &mut lock.judgement.checks) {
            result.verdict = crate::check::Verdict::Valid;
        }
        report
    }

    #[test]
    fn runs_are_counted_lock_by_lock_and_the_worst_is_linked() {
        let mut real = Real::default();
        let mut one_lock = sample::report();
        one_lock.locks.truncate(1);
        real.add(one_lock);
        real.add(sample::report());
        assert_eq!(real.sweeps().iter().map(|sweep| sweep.seeds).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(real.runs(), 3);
        let cell = real.cell("client-pause", "redlock").unwrap();
        assert_eq!(run(&cell), Some((sample::report().folder, "worst run")));
        assert!(real.cell("client-pause", "etcd").is_none() && real.cell("calm", "redlock").is_none());
    }

    #[test]
    fn a_difference_is_one_only_if_it_cannot_well_be_chance() {
        let agreement = |sims: u64, real: &Report, reals: u64| {
            let sweeps = [sim(sims)];
            let mut counted = Real::default();
            (0..reals).for_each(|_| counted.add(real.clone()));
            let comparison = Comparison::of(&sweeps).beside(&counted);
            let agreement = pairs(&comparison, "redlock")[0].agreement();
            (agreement, concluded(&comparison, "redlock").unwrap())
        };
        assert_eq!(agreement(20, &sample::report(), 1).0, Agreement::Same);
        assert_eq!(agreement(1, &kept(), 1).0, Agreement::MayBeChance, "one run each");
        let (differs, told) = agreement(20, &kept(), 20);
        assert_eq!(differs, Agreement::Differs);
        assert!(told.contains("in 0 of 1 scenario (20 runs); different shares in client-pause"), "{told}");
        let mut unclear = kept();
        unclear.locks[0].judgement.checks[1].verdict = crate::check::Verdict::Unknown;
        assert_eq!(agreement(20, &unclear, 20).0, Agreement::Undecided, "what could not tell contradicts nobody");
    }

    #[test]
    fn costs_are_of_what_ran_in_both_worlds() {
        let mut other = sim(1);
        other.scenario = "calm".to_owned();
        let sweeps = [sim(2), other];
        let mut real = Real::default();
        real.add(sample::report());
        let comparison = Comparison::of(&sweeps).beside(&real);
        let lines = costs(&comparison);
        let worlds: Vec<_> = lines.iter().map(|line| (line.lock, line.world, line.scenarios)).collect();
        assert_eq!(worlds[..2], [("redlock", "sim", 1), ("redlock", "docker", 1)]);
        assert_eq!(lines[0].cells()[2..], lines[1].cells()[2..], "the same run, once and twice");
        assert!(costs(&Comparison::of(&sweeps)).is_empty(), "one world has nothing beside it");
    }
}
