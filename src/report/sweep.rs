//! One scenario over many seeds: what each lock did, counted.
//!
//! A [`Sweep`] is fed one [`Report`] per seed, in the order of seeds, and keeps counts, not histories. Deliberately
//! absent: who runs the seeds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::{Conclusion, LockReport, Report};
use crate::check::{CheckName, Verdict};
use crate::seed::Seed;
use crate::verdict::Demand;

/// How many seeds that missed an expectation are kept by name.
const NAMED: usize = 10;

/// Figures that are added up over all seeds, by check and name.
const SUMMED: [(CheckName, &str); 8] = [
    (CheckName::Coverage, "grants"),
    (CheckName::Coverage, "holds-under-fault"),
    (CheckName::MutualExclusion, "overlaps"),
    (CheckName::MutualExclusion, "overlaps-within-validity"),
    (CheckName::Fencing, "stale-accepted"),
    (CheckName::Fencing, "stale-refused"),
    (CheckName::LostUpdates, "acknowledged"),
    (CheckName::LostUpdates, "lost"),
];

/// What one lock did over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// The lock's table name.
    pub lock: String,
    /// How often each check reached each verdict.
    pub verdicts: BTreeMap<CheckName, BTreeMap<Verdict, u64>>,
    /// Sums of telling figures, by name.
    pub figures: BTreeMap<String, f64>,
    /// In how many runs every expectation held.
    pub as_expected: u64,
    /// The first seeds in which one did not.
    pub missed: Vec<Seed>,
    /// What is demanded of each check.
    pub expected: BTreeMap<CheckName, Demand>,
    /// Why trials ended early, first one first.
    pub errors: Vec<String>,
}

/// One scenario over many seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sweep {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// The claim that it tests.
    pub why: String,
    /// `sim` or `docker`.
    pub environment: String,
    /// The first seed; the others follow it.
    pub first: Seed,
    /// How many seeds were run.
    pub seeds: u64,
    /// In how many every expectation of every lock held.
    pub as_expected: u64,
    /// The worst conclusion of all runs.
    pub conclusion: Conclusion,
    /// How long each run lasted, on its own clock.
    #[serde(skip)]
    pub duration: Duration,
    /// Each lock's part, in name order.
    pub locks: Vec<Tally>,
    /// The folder of the run that was drawn as an example: the first that missed an expectation, or the first of all.
    pub example: Option<PathBuf>,
}

impl Sweep {
    /// A sweep of what `report` is a run of, without runs yet.
    pub fn new(report: &Report, duration: Duration) -> Self {
        let tally = |lock: &LockReport| Tally {
            lock: lock.name.clone(),
            verdicts: BTreeMap::new(),
            figures: BTreeMap::new(),
            as_expected: 0,
            missed: Vec::new(),
            expected: lock.expectations.iter().map(|line| (line.check, line.expected)).collect(),
            errors: Vec::new(),
        };
        Self {
            scenario: report.scenario.clone(),
            title: report.title.clone(),
            why: report.why.clone(),
            environment: report.environment.clone(),
            first: report.seed,
            seeds: 0,
            as_expected: 0,
            conclusion: Conclusion::default(),
            duration,
            locks: report.locks.iter().map(tally).collect(),
            example: None,
        }
    }

    /// Counts one run.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        let conclusion = Conclusion::of(report);
        self.as_expected += u64::from(conclusion == Conclusion::AsExpected);
        self.conclusion = self.conclusion.max(conclusion);
        for (tally, lock) in self.locks.iter_mut().zip(&report.locks) {
            tally.add(report.seed, lock);
        }
    }

    /// Whether every expectation held in every run.
    pub fn expected(&self) -> bool {
        self.conclusion == Conclusion::AsExpected
    }
}

impl Tally {
    /// How often each check reached each verdict, a line each, as far as they ran.
    pub fn told(&self) -> String {
        let line = |check: &CheckName| format!("  {:16}  {}", check.name(), self.verdict_text(*check));
        let lines: Vec<String> = self.verdicts.keys().map(line).collect();
        format!("{}\n{}", super::plain::plain(&self.lock), lines.join("\n"))
    }

    fn add(&mut self, seed: Seed, lock: &LockReport) {
        for result in &lock.judgement.checks {
            *self.verdicts.entry(result.check).or_default().entry(result.verdict).or_default() += 1;
        }
        for (check, name) in SUMMED {
            let result = lock.judgement.checks.iter().find(|result| result.check == check);
            if let Some(value) = result.and_then(|result| result.figures.get(name)) {
                *self.figures.entry(name.to_owned()).or_default() += value;
            }
        }
        if lock.expected() {
            self.as_expected += 1;
        } else if self.missed.len() < NAMED {
            self.missed.push(seed);
        }
        if self.errors.len() < NAMED {
            self.errors.extend(lock.error.clone());
        }
    }

    /// A figure's sum, 0 if no run had it.
    pub fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(0.0)
    }

    /// The share of acknowledged updates that were lost, in per cent; `None` without acknowledged updates.
    pub fn lost_percent(&self) -> Option<f64> {
        let acknowledged = self.figure("acknowledged");
        (acknowledged > 0.0).then(|| 100.0 * self.figure("lost") / acknowledged)
    }

    /// How often a check reached each verdict, in words: `valid`, or `invalid 198, valid 2`.
    pub fn verdict_text(&self, check: CheckName) -> String {
        let Some(counts) = self.verdicts.get(&check) else { return "did not run".to_owned() };
        if let [(verdict, _)] = counts.iter().collect::<Vec<_>>()[..] {
            return verdict.to_string();
        }
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        counts.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// Whether a check reached the verdict demanded of it in every run; `None` where nothing is demanded.
    pub fn met(&self, check: CheckName) -> Option<bool> {
        let expected = self.expected.get(&check)?;
        let counts = self.verdicts.get(&check);
        Some(counts.is_some_and(|counts| counts.keys().all(|verdict| expected.is_met(Some(*verdict)))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn counts_what_each_seed_did() {
        let report = sample::report();
        let mut missed = report.clone();
        missed.seed = Seed(99);
        missed.locks[0].error = Some("the disk is full".to_owned());
        let mut sweep = Sweep::new(&report, Duration::from_secs(20));
        for report in [&report, &missed, &report] {
            sweep.add(report);
        }
        assert_eq!((sweep.seeds, sweep.locks[0].verdicts[&CheckName::Assumptions].values().sum::<u64>()), (3, 3));
        assert!(sweep.locks[0].missed.contains(&Seed(99)) && !sweep.expected());
        assert_eq!(sweep.locks[0].errors, ["the disk is full"]);
        assert_eq!(sweep.conclusion, Conclusion::Failed, "one trial failed, whatever the others found");
    }

    #[test]
    fn says_a_verdict_once_if_all_agree() {
        let report = sample::report();
        let mut sweep = Sweep::new(&report, Duration::ZERO);
        sweep.add(&report);
        let tally = &mut sweep.locks[0];
        assert_eq!(tally.verdict_text(CheckName::Assumptions), "valid");
        *tally.verdicts.entry(CheckName::Assumptions).or_default().entry(Verdict::Invalid).or_default() += 5;
        assert_eq!(tally.verdict_text(CheckName::Assumptions), "invalid 5, valid 1");
    }
}
