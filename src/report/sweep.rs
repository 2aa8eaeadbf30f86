//! One scenario over many seeds: what each lock did, counted.
//!
//! A [`Sweep`] is fed one [`Report`] per seed, in the order of seeds, and keeps counts, not histories. Deliberately
//! absent: who runs the seeds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::cost::Cost;
use super::{Conclusion, LockReport, Report, words};
use crate::check::{CheckName, Verdict};
use crate::seed::Seed;
use crate::verdict::Demand;

/// How many seeds that missed an expectation are kept by name.
const NAMED: usize = 10;

/// Figures that are added up over all seeds, by check and name.
const SUMMED: [(CheckName, &str); 10] = [
    (CheckName::Coverage, "grants"),
    (CheckName::Coverage, "faults-struck"),
    (CheckName::LostUpdates, "unacknowledged-lost"),
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
    /// In how many runs any guarantee was broken.
    pub violated: u64,
    /// In how many runs the data took harm: stale accesses were accepted, or updates were lost.
    pub harmed: u64,
    /// In how many runs two clients held a lock at once.
    pub two_holders: u64,
    /// In how many runs no guarantee was seen broken, and one could not be decided.
    pub undecided: u64,
    /// Of each run with acknowledged updates, the share of them that was lost, in per cent.
    #[serde(skip)]
    pub lost_shares: Vec<f64>,
    /// What it cost, pooled over all runs.
    #[serde(skip)]
    pub cost: Cost,
    /// The run in which most was lost, or else most was broken; none if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
}

/// The worst run of a lock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// Its seed.
    pub seed: Seed,
    /// Its folder, once it has been drawn.
    pub run: Option<PathBuf>,
    /// How bad it was: lost updates, stale accesses accepted, overlaps, violated checks.
    #[serde(skip)]
    harm: [f64; 4],
}

/// The share of acknowledged updates that was lost, in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lost {
    /// Of the updates of all runs together.
    pub pooled: f64,
    /// Of the least, the middle and the worst run by itself.
    pub runs: [f64; 3],
}

impl Lost {
    /// `14.8 % pooled, 0–14–38 % a run`; what agrees in all runs once.
    pub fn told(&self) -> String {
        let [least, middle, worst] = self.runs;
        let pooled = words::percent(self.pooled);
        if least == worst {
            return pooled;
        }
        format!("{pooled} pooled; a run {} (median), {} (worst)", words::percent(middle), words::percent(worst))
    }
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
            violated: 0,
            harmed: 0,
            two_holders: 0,
            undecided: 0,
            lost_shares: Vec::new(),
            cost: Cost::default(),
            worst: None,
        };
        Self {
            scenario: report.scenario.clone(),
            title: report.title.clone(),
            why: report.why.clone(),
            environment: report.environment.to_string(),
            first: report.seed,
            seeds: 0,
            as_expected: 0,
            conclusion: Conclusion::default(),
            duration,
            locks: report.locks.iter().map(tally).collect(),
            example: None,
        }
    }

    /// Counts one run; `costs` are its locks', in their order.
    pub fn add(&mut self, report: &Report, costs: &[Cost]) {
        self.seeds += 1;
        let conclusion = Conclusion::of(report);
        self.as_expected += u64::from(conclusion == Conclusion::AsExpected);
        self.conclusion = self.conclusion.max(conclusion);
        for (place, (tally, lock)) in self.locks.iter_mut().zip(&report.locks).enumerate() {
            tally.add(report.seed, lock);
            costs.get(place).into_iter().for_each(|cost| tally.cost.add(cost));
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
        format!("{}\n{}", crate::plain::plain(&self.lock), lines.join("\n"))
    }

    fn add(&mut self, seed: Seed, lock: &LockReport) {
        self.count(seed, lock);
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

    /// Counts what was broken, and keeps the worst.
    fn count(&mut self, seed: Seed, lock: &LockReport) {
        // The record itself and what was exercised are no guarantees of a lock.
        let judged = || {
            let checks = lock.judgement.checks.iter();
            checks.filter(|result| !matches!(result.check, CheckName::Assumptions | CheckName::Coverage))
        };
        let broken =
            |check: CheckName| judged().any(|result| result.check == check && result.verdict == Verdict::Invalid);
        let violated = judged().filter(|result| result.verdict == Verdict::Invalid).count();
        let unclear = lock.judgement.checks.iter().any(|result| {
            result.verdict == Verdict::Unknown
                || result.verdict == Verdict::Invalid
                    && matches!(result.check, CheckName::Assumptions | CheckName::Coverage)
        });
        self.violated += u64::from(violated > 0);
        self.harmed += u64::from(broken(CheckName::Fencing) || broken(CheckName::LostUpdates));
        self.two_holders += u64::from(broken(CheckName::MutualExclusion));
        self.undecided += u64::from(violated == 0 && (unclear || lock.judgement.checks.is_empty()));
        let figure = |check: CheckName, name: &str| {
            let result = judged().find(|result| result.check == check);
            result.and_then(|result| result.figures.get(name).copied()).unwrap_or(0.0)
        };
        let lost = figure(CheckName::LostUpdates, "lost");
        let acknowledged = figure(CheckName::LostUpdates, "acknowledged");
        if acknowledged > 0.0 {
            self.lost_shares.push(100.0 * lost / acknowledged);
        }
        let stale = figure(CheckName::Fencing, "stale-accepted");
        let harm = [lost, stale, figure(CheckName::MutualExclusion, "overlaps"), violated as f64];
        // Of equally bad ones the first.
        if violated > 0 && self.worst.as_ref().is_none_or(|worst| worst.harm < harm) {
            self.worst = Some(Worst { seed, run: None, harm });
        }
    }

    /// A figure's sum, 0 if no run had it.
    pub fn figure(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or(0.0)
    }

    /// The share of acknowledged updates that were lost; none without acknowledged updates.
    pub fn lost(&self) -> Option<Lost> {
        let acknowledged = self.figure("acknowledged");
        let mut shares = self.lost_shares.clone();
        shares.sort_by(f64::total_cmp);
        let (least, worst) = (*shares.first()?, *shares.last()?);
        let runs = [least, shares[shares.len() / 2], worst];
        Some(Lost { pooled: 100.0 * self.figure("lost") / acknowledged, runs })
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
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn counts_what_each_seed_did() {
        let report = sample::report();
        let mut missed = report.clone();
        missed.seed = Seed(99);
        missed.locks[0].error = Some("the disk is full".to_owned());
        let mut sweep = Sweep::new(&report, Duration::from_secs(20));
        for report in [&report, &missed, &report] {
            sweep.add(report, &[]);
        }
        assert_eq!((sweep.seeds, sweep.locks[0].verdicts[&CheckName::Assumptions].values().sum::<u64>()), (3, 3));
        assert!(sweep.locks[0].missed.contains(&Seed(99)) && !sweep.expected());
        assert_eq!(sweep.locks[0].errors, ["the disk is full"]);
        assert_eq!(sweep.conclusion, Conclusion::Failed, "one trial failed, whatever the others found");
    }

    #[test]
    fn the_worst_run_is_kept_and_the_share_lost_says_what_it_is_of() {
        let report = sample::report();
        let mut sweep = Sweep::new(&report, Duration::ZERO);
        for (seed, lost) in [(1, 0.0), (2, 2.0), (3, 1.0), (4, 2.0)] {
            let mut report = report.clone();
            report.seed = Seed(seed);
            let result =
                report.locks[0].judgement.checks.iter_mut().find(|result| result.check == CheckName::LostUpdates);
            let result = result.unwrap();
            result.figures.insert("lost".to_owned(), lost);
            result.verdict = if lost > 0.0 { Verdict::Invalid } else { Verdict::Valid };
            sweep.add(&report, &[]);
        }
        let tally = &sweep.locks[0];
        assert_eq!(tally.worst.as_ref().unwrap().seed, Seed(2), "the first of equally bad ones");
        assert_eq!((tally.violated, tally.harmed, tally.two_holders), (4, 4, 4), "stale accesses are harm too");
        let lost = tally.lost().unwrap();
        assert!((lost.pooled - 100.0 * 5.0 / 12.0).abs() < 1e-9 && lost.runs[0] == 0.0, "{lost:?}");
        assert_eq!(lost.told(), "41.7 % pooled; a run 66.7 % (median), 66.7 % (worst)");
        assert_eq!(Lost { pooled: 33.3, runs: [33.3; 3] }.told(), "33.3 %");
    }

    #[test]
    fn says_a_verdict_once_if_all_agree() {
        let report = sample::report();
        let mut sweep = Sweep::new(&report, Duration::ZERO);
        sweep.add(&report, &[]);
        let tally = &mut sweep.locks[0];
        assert_eq!(tally.verdict_text(CheckName::Assumptions), "valid");
        *tally.verdicts.entry(CheckName::Assumptions).or_default().entry(Verdict::Invalid).or_default() += 5;
        assert_eq!(tally.verdict_text(CheckName::Assumptions), "invalid 5, valid 1");
    }
}
