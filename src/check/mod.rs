//! The checks: pure functions of a history, one file per guarantee.
//!
//! Each quotes the guarantee that it judges and the ops that break it. Deliberately absent: files, clocks, pictures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Nanos;
pub use crate::verdict::{CheckName, Verdict};

/// How bad a violation is: what a client believed, what it did, what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Two clients believed that they held the lock at once.
    Belief,
    /// Their critical sections interleaved: both used the resource.
    Interleaved,
    /// A stale access was accepted, or an effect was lost.
    Effect,
}

/// One broken guarantee, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Violation {
    /// How bad it is.
    pub severity: Severity,
    /// What happened, in one or two sentences for a reader.
    pub text: String,
    /// The indices of the ops that show it, in order.
    pub ops: Vec<u64>,
    /// From when it lasted.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
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
    /// Every violation, in the order of time.
    pub violations: Vec<Violation>,
}

/// What all checks together say of one lock's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    /// The worst verdict of all checks.
    pub verdict: Verdict,
    /// Each check's result, in the order of [`CheckName::ALL`]; only `assumptions` if that one failed.
    pub checks: Vec<CheckResult>,
}
