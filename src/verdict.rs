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

/// What is demanded of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Demand {
    /// That it reaches this verdict.
    Is(Verdict),
    /// That it accuses nobody: `not-invalid`. Demanded of whatever `[expect]` does not name.
    NotInvalid,
    /// Nothing: `any`. What depends on luck is stated so.
    Any,
}

impl Demand {
    /// All demands.
    pub const ALL: [Self; 6] = [
        Self::Is(Verdict::Valid),
        Self::Is(Verdict::Invalid),
        Self::Is(Verdict::Unknown),
        Self::Is(Verdict::NotApplicable),
        Self::NotInvalid,
        Self::Any,
    ];

    /// The name used in scenario files and pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Is(verdict) => verdict.name(),
            Self::NotInvalid => "not-invalid",
            Self::Any => "any",
        }
    }

    /// Whether a check meets it that reached this verdict, or that did not run.
    pub fn is_met(self, reached: Option<Verdict>) -> bool {
        match (self, reached) {
            (Self::Any, _) => true,
            (_, None) => false,
            (Self::Is(verdict), Some(reached)) => reached == verdict,
            (Self::NotInvalid, Some(reached)) => reached != Verdict::Invalid,
        }
    }
}

impl From<Demand> for &'static str {
    fn from(demand: Demand) -> Self {
        demand.name()
    }
}

impl TryFrom<String> for Demand {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|demand| demand.name() == text);
        known.ok_or_else(|| format!("`{text}` is no demand: {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl fmt::Display for Demand {
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
    /// What is granted is valid.
    GrantValidity,
    /// Who waits is granted the lock.
    Liveness,
    /// Nothing outlives its owner at the servers.
    Leftovers,
    /// What was exercised.
    Coverage,
}

impl CheckName {
    /// All checks, in the order in which they are run and shown.
    pub const ALL: [Self; 11] = [
        Self::Assumptions,
        Self::MutualExclusion,
        Self::TokenOrder,
        Self::Fencing,
        Self::LostUpdates,
        Self::Linearizable,
        Self::LostSignal,
        Self::GrantValidity,
        Self::Liveness,
        Self::Leftovers,
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
            Self::GrantValidity => "grant-validity",
            Self::Liveness => "liveness",
            Self::Leftovers => "leftovers",
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
    fn a_demand_is_met_by_what_it_names() {
        use Verdict::*;
        let meets = |demand: Demand| {
            Verdict::ALL.into_iter().filter(|reached| demand.is_met(Some(*reached))).collect::<Vec<_>>()
        };
        assert_eq!(meets(Demand::Is(Unknown)), [Unknown]);
        assert_eq!(meets(Demand::NotInvalid), [Valid, Unknown, NotApplicable]);
        assert_eq!(meets(Demand::Any), Verdict::ALL);
        let without = Demand::ALL.into_iter().filter(|demand| demand.is_met(None)).collect::<Vec<_>>();
        assert_eq!(without, [Demand::Any], "what did not run shows nothing");
        for demand in Demand::ALL {
            let text = serde_json::to_string(&demand).unwrap();
            assert_eq!(serde_json::from_str::<Demand>(&text).unwrap(), demand);
        }
        assert!(serde_json::from_str::<Demand>("\"perhaps\"").is_err());
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
