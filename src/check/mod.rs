//! The checks: pure functions of a history, one file per guarantee.
//!
//! Each quotes the guarantee that it judges and the ops that break it. [`judge`] runs them in the order of
//! [`CheckName::ALL`]. All keep two rules: nothing is `valid` that was not exercised, and nobody is accused of what is
//! only likely. Deliberately absent: files, clocks, pictures.

mod assumptions;
mod contention;
mod coverage;
mod crowds;
mod effect;
mod evidence;
mod fencing;
mod grant_validity;
mod incidents;
mod leftovers;
pub mod linearizable;
mod liveness;
mod lost_signal;
mod lost_updates;
mod mutual_exclusion;
mod overlaps;
mod reading;
mod several;
mod severity;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod token_order;
mod uses;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::history::EnvironmentName;
use crate::history::{F, History, OpType};
use crate::time::Nanos;
pub use crate::verdict::{CheckName, Verdict};
use evidence::{Facts, Grounds, Listing};
pub use incidents::{Cause, Incident};
pub use linearizable::{FailedRelease, Model, ModelError, ModelReplay};
pub use reading::{judge_foreign, qualified};
pub use stream::{ModelStream, NeedsAll};

/// How bad it is that two clients had a lock at once: what a client believed, what it did, what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Two holds overlapped: the lock was believed to be held twice at once.
    Belief,
    /// Their critical sections interleaved: the resource served one between accesses of the other.
    Interleaved,
    /// A stale access was accepted, or an effect was lost.
    Effect,
}

/// One broken guarantee, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Violation {
    /// How bad it is; absent where the guarantee is about something else, as a token's order or a history's form, or
    /// the resource was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What happened, in one or two sentences for a reader.
    pub text: String,
    /// The indices of the ops that show it, in order.
    pub ops: Vec<u32>,
    /// From when it lasted.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
    /// The number of the incident that it is part of, from 1; absent where it is part of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<u32>,
}

/// What one check says of one history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckResult {
    /// Which check.
    pub check: CheckName,
    /// What it says.
    pub verdict: Verdict,
    /// The guarantee's own sentence.
    pub guarantee: String,
    /// The result in one line.
    pub summary: String,
    /// Counts and measures by name; units stand in the names (`overlap-ms`).
    pub figures: BTreeMap<String, f64>,
    /// The violations, in the order of time; where there are very many, the first ones, as the summary then says.
    pub violations: Vec<Violation>,
    /// Whose doing they are, until [`incidents`] has been told from it.
    #[serde(skip)]
    pub(crate) grounds: Grounds,
}

/// What all checks together say of one lock's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    /// The worst verdict of all checks.
    pub verdict: Verdict,
    /// Each check's result, in the order of [`CheckName::ALL`]; only `assumptions` if that one failed.
    pub checks: Vec<CheckResult>,
    /// The violations by what began them, in the order of time; where there are very many, the first ones.
    #[serde(default)]
    pub incidents: Vec<Incident>,
    /// How many incidents there are.
    #[serde(default)]
    pub incidents_in_all: u64,
}

impl Judgement {
    /// What checks together say.
    fn of(checks: Vec<CheckResult>) -> Self {
        let verdict = checks.iter().fold(Verdict::NotApplicable, |worst, result| worst.merge(result.verdict));
        Self { verdict, checks, incidents: Vec::new(), incidents_in_all: 0 }
    }
}

/// Judges a history by every check, as far as it can be judged ([`History::reach`]).
pub fn judge(history: &History) -> Judgement {
    let history = &*history.within_reach();
    let assumptions = assumptions::check(history);
    let mut checks = vec![assumptions];
    if checks[0].verdict != Verdict::Invalid {
        let facts = Facts::of(history);
        checks.extend([
            mutual_exclusion::check(&facts),
            token_order::check(&facts),
            fencing::check(&facts),
            lost_updates::check(&facts),
            linearizable::check(&facts),
            lost_signal::check(&facts),
            grant_validity::check(&facts),
            liveness::check(&facts),
            leftovers::check(&facts),
            coverage::check(&facts),
        ]);
        return grouped(&facts, checks);
    }
    judged(history, checks)
}

/// Puts a judgement together whose violations are grouped by what began them.
fn grouped(facts: &Facts<'_>, mut checks: Vec<CheckResult>) -> Judgement {
    disbelieve(facts.history, &mut checks);
    let (incidents, incidents_in_all) = incidents::of(facts, &mut checks);
    Judgement { incidents, incidents_in_all, ..judged(facts.history, checks) }
}

/// Groups the violations of checks by what began them, as [`judge`] does.
#[cfg(test)]
pub(crate) fn judged_together(history: &History, checks: Vec<CheckResult>) -> Judgement {
    grouped(&Facts::of(history), checks)
}

/// Puts a judgement together. A history that is cut off shows no guarantee: what was not seen broken in it may have
/// been in what is missing. One of a program that contradicted itself shows nothing: what it said may never have been
/// so.
pub fn judged(history: &History, mut checks: Vec<CheckResult>) -> Judgement {
    disbelieve(history, &mut checks);
    for result in &mut checks {
        result.grounds = Grounds::default();
    }
    if let Some(cut_off) = &history.cut_off {
        for result in checks.iter_mut().filter(|result| result.verdict == Verdict::Valid) {
            result.verdict = Verdict::Unknown;
            result.summary = format!("Not seen broken in a history that is cut off ({cut_off}): {}", result.summary);
        }
    }
    Judgement::of(checks)
}

/// Takes back what checks say of the history of a program that contradicted itself.
fn disbelieve(history: &History, checks: &mut [CheckResult]) {
    let breach = history.ops.iter().find(|op| op.f == F::Adapter && op.kind == OpType::Fail);
    let Some(breach) = breach else { return };
    let why = breach.error.as_deref().unwrap_or("it contradicted the protocol");
    for result in checks.iter_mut().filter(|result| result.verdict != Verdict::NotApplicable) {
        result.verdict = Verdict::Unknown;
        result.violations.clear();
        result.grounds = Grounds::default();
        result.summary = format!("Nothing that the lock's program said can be believed: {why}.");
    }
}

/// Judges a well-formed history of a lock by the three checks of its guarantee: who held it, what the resource took
/// from whom, in which order the lock's operations were.
pub fn judge_lock(history: &History) -> [CheckResult; 3] {
    let facts = Facts::of(history);
    [mutual_exclusion::check(&facts), fencing::check(&facts), linearizable::check(&facts)]
}

/// The indices of the accesses that the resource served or refused though their hold was older than one that it had
/// served: what `fencing` counts, for whoever draws it.
pub(crate) fn stale_accesses(history: &History) -> BTreeSet<u32> {
    fencing::stale_accesses(&Facts::of(history))
}

/// Judges by one model of a lock alone, of the caller's choice: for histories of other harnesses, and of locks that the
/// other checks do not suit.
pub fn judge_model(history: &History, model: Model, failed_release: FailedRelease) -> Judgement {
    let history = &*history.within_reach();
    // A foreign history's reader refused whatever is not well formed, and it knows holds by their processes only.
    let mut checks = Vec::new();
    if !history.header.environment.is(EnvironmentName::Foreign) {
        checks.push(assumptions::check(history));
    }
    if checks.iter().all(|result| result.verdict != Verdict::Invalid) {
        checks.push(linearizable::check_model(history, model, failed_release));
        if !history.header.environment.is(EnvironmentName::Foreign)
            && checks.iter().any(|result| result.verdict == Verdict::Invalid)
        {
            return grouped(&Facts::of(history), checks);
        }
    }
    judged(history, checks)
}

/// Puts a check's result together.
fn conclude(
    check: CheckName,
    guarantee: &str,
    verdict: Verdict,
    summary: String,
    figures: &[(&str, f64)],
    listing: Listing,
) -> CheckResult {
    let note = listing.note();
    let (violations, grounds) = listing.into_violations();
    CheckResult {
        check,
        verdict,
        guarantee: guarantee.to_owned(),
        summary: summary + &note,
        figures: figures.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect(),
        violations,
        grounds,
    }
}
