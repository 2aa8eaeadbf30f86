//! Whether a history is whole: the mark with which a complete file ends, and what its absence is called.
//!
//! A file that merely stops may have been cut after any op, and nothing in the ops tells. Deliberately absent: what a
//! cut history is still worth; that is `check`'s.

use serde::{Deserialize, Serialize};

use super::Op;
use crate::time::Nanos;

/// The last line of a complete history file: `{"end":{"ops":120,"time":5000000000}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndMark {
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct End {
    /// How many ops there are.
    ops: u64,
    /// The time of the last one.
    time: Nanos,
}

impl EndMark {
    /// The mark that belongs behind these ops.
    pub fn of(ops: &[Op]) -> Self {
        Self { end: End { ops: ops.len() as u64, time: ops.last().map_or(Nanos::ZERO, |op| op.time) } }
    }

    /// What is missing of the ops that the mark tells of, if there are so many, the last one at `last`.
    pub fn lacks(self, ops: u64, last: Nanos) -> Option<CutOff> {
        let found = End { ops, time: last };
        if found.ops != self.end.ops {
            return Some(CutOff::Lacks { told: self.end.ops, found: found.ops });
        }
        (found.time != self.end.time).then_some(CutOff::EndsAt { told: self.end.time, found: found.time })
    }
}

/// Why a history is not known to be whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutOff {
    /// Its trial failed on the way: what was recorded until then is all there is, and its file gets no end mark.
    #[error("its trial ended early: {why}")]
    EndedEarly {
        /// Why, in words.
        why: String,
    },
    /// Of a part: parties report over channels of their own, and some had more to tell.
    #[error("only what happened before {}.{:03} s is sure to be all there: {why}", .until.0 / 1_000_000_000, .until.0 / 1_000_000 % 1_000)]
    Incomplete {
        /// Until when every party's ops are there.
        until: Nanos,
        /// Why the rest is not.
        why: String,
    },
    /// Of a part: somebody else struck what the trial used.
    #[error("what happened from {}.{:03} s on may be somebody else's doing: {what}", .from.0 / 1_000_000_000, .from.0 / 1_000_000 % 1_000)]
    Disturbed {
        /// From when on.
        from: Nanos,
        /// What was seen.
        what: String,
    },
    /// The file stops without the mark that ends a complete one.
    #[error("no end mark follows its last op")]
    NoMark,
    /// The file stops in the middle of a line, which is left out.
    #[error("its last line, {line}, is torn")]
    Torn {
        /// The line, from 1.
        line: usize,
    },
    /// The mark tells of another number of ops.
    #[error("its end mark tells of {told} ops, and it has {found}")]
    Lacks {
        /// How many the mark tells of.
        told: u64,
        /// How many there are.
        found: u64,
    },
    /// The mark tells of another last op.
    #[error("its end mark tells of a last op at {} ns, and its last is at {} ns", .told.0, .found.0)]
    EndsAt {
        /// When the last op should be.
        told: Nanos,
        /// When it is.
        found: Nanos,
    },
}
