//! The words of a judgement: the verdict, and the names of the checks that reach one.
//!
//! Shared by the scenario (which expects verdicts), the checks (which reach them) and the report (which shows them).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a check says of a history.
///
/// Merging keeps the worst: invalid over unknown over valid; `n/a` gives way to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// The lock offers nothing that this check could judge.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// The guarantee held, and it was exercised.
    #[serde(rename = "valid")]
    Valid,
    /// The check cannot tell: too little was exercised, or the check gave up.
    #[serde(rename = "unknown")]
    Unknown,
    /// The guarantee was broken, with evidence.
    #[serde(rename = "invalid")]
    Invalid,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 4] = [Self::Valid, Self::Invalid, Self::Unknown, Self::NotApplicable];

    /// The name used in scenario files, histories and pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotApplicable => "n/a",
            Self::Valid => "valid",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }

    /// The worse of the two.
    pub fn merge(self, other: Self) -> Self {
        self.max(other)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a check, one per guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// The history is well formed.
    Assumptions,
    /// No two holds of one lock overlap.
    MutualExclusion,
    /// Tokens rise with each grant.
    TokenOrder,
    /// The resource accepts no stale access.
    Fencing,
    /// No acknowledged update vanished.
    LostUpdates,
    /// The lock's operations fit into one order that a correct lock could have produced.
    Linearizable,
    /// Whose hold is over is told.
    LostSignal,
    /// Who waits is granted the lock.
    Liveness,
    /// What was exercised.
    Coverage,
}

impl CheckName {
    /// All checks, in the order in which they are run and shown.
    pub const ALL: [Self; 9] = [
        Self::Assumptions,
        Self::MutualExclusion,
        Self::TokenOrder,
        Self::Fencing,
        Self::LostUpdates,
        Self::Linearizable,
        Self::LostSignal,
        Self::Liveness,
        Self::Coverage,
    ];

    /// The name used in scenario files, histories and pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Assumptions => "assumptions",
            Self::MutualExclusion => "mutual-exclusion",
            Self::TokenOrder => "token-order",
            Self::Fencing => "fencing",
            Self::LostUpdates => "lost-updates",
            Self::Linearizable => "linearizable",
            Self::LostSignal => "lost-signal",
            Self::Liveness => "liveness",
            Self::Coverage => "coverage",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_wins() {
        use Verdict::*;
        assert_eq!(Valid.merge(Invalid), Invalid);
        assert_eq!(Unknown.merge(Invalid), Invalid);
        assert_eq!(Valid.merge(Unknown), Unknown);
        assert_eq!(NotApplicable.merge(Valid), Valid);
    }

    #[test]
    fn names_are_what_serde_writes() {
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.name());
        }
        for check in CheckName::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.name());
        }
    }
}
