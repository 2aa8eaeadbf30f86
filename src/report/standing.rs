//! How a lock came off: what it broke, and whether the data took harm, as two different things.
//!
//! Its sign, its words and the class of its colours, the same wherever it is told. Deliberately absent: whether the
//! scenario's file had foreseen it.

use super::LockReport;
use crate::check::{CheckName, Verdict};

/// Whether the data took harm where this check is broken; the others tell of guarantees.
pub(super) fn is_harm(check: CheckName) -> bool {
    matches!(check, CheckName::Fencing | CheckName::LostUpdates)
}

/// How a lock came off in a run, or in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Every guarantee that was tried held, in every run.
    Kept,
    /// Nothing was seen broken, but not every run could tell.
    Undecided,
    /// A guarantee was broken, and no check saw the data take harm.
    Broken,
    /// The resource took what it should not have, or updates are gone.
    Harmed,
}

impl Standing {
    /// How the lock of a report came off.
    pub fn of(lock: &LockReport) -> Self {
        let checks = lock.judgement.checks.iter().map(|result| (result.check, result.verdict));
        match Self::of_verdicts(lock.judgement.verdict, checks) {
            Self::Kept if lock.error.is_some() => Self::Undecided,
            standing => standing,
        }
    }

    /// The same by the worst verdict and those of the checks.
    pub fn of_verdicts(worst: Verdict, mut checks: impl Iterator<Item = (CheckName, Verdict)>) -> Self {
        if checks.any(|(check, verdict)| is_harm(check) && verdict == Verdict::Invalid) {
            return Self::Harmed;
        }
        match worst {
            Verdict::Invalid => Self::Broken,
            Verdict::Valid => Self::Kept,
            Verdict::Unknown | Verdict::NotApplicable => Self::Undecided,
        }
    }

    /// The class of its colours.
    pub fn class(self) -> &'static str {
        match self {
            Self::Kept => "good",
            Self::Undecided => "odd",
            Self::Broken => "broken",
            Self::Harmed => "bad",
        }
    }

    /// Its sign: never by colour alone.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Kept => "✓",
            Self::Undecided => "?",
            Self::Broken => "▲",
            Self::Harmed => "✗",
        }
    }

    /// Its words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Undecided => "undecided",
            Self::Broken => "broken, no harm seen",
            Self::Harmed => "harm",
        }
    }

    /// Its sign and its words.
    pub fn told(self) -> String {
        format!("{} {}", self.sign(), self.words())
    }

    /// What one verdict of a check means for the whole: only some checks tell of harm.
    pub fn of_check(check: CheckName, verdict: Option<Verdict>) -> Option<Self> {
        Some(match verdict? {
            Verdict::Valid => Self::Kept,
            Verdict::Unknown => Self::Undecided,
            Verdict::NotApplicable => return None,
            Verdict::Invalid if is_harm(check) => Self::Harmed,
            Verdict::Invalid => Self::Broken,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn what_did_no_harm_is_told_apart_from_what_did() {
        let report = sample::report();
        assert_eq!(Standing::of(&report.locks[0]), Standing::Harmed);
        assert_eq!(Standing::of(&report.locks[1]), Standing::Broken);
        for tell in [Standing::class, Standing::sign, Standing::words] {
            assert_ne!(tell(Standing::Broken), tell(Standing::Harmed));
            assert_ne!(tell(Standing::Broken), tell(Standing::Undecided));
        }
    }
}
