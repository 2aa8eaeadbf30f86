//! How runs ended, as an exit code tells it: one run, many seeds, many scenarios.
//!
//! The only place that decides it. Deliberately absent: what never began (bad arguments and files), which is not a run.

use serde::Serialize;

use super::Report;
use crate::verdict::Verdict;

/// How a run ended. Of several the worst counts, which is the last here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Everything was as expected.
    #[default]
    AsExpected,
    /// Too little was exercised, or it was called off: nothing speaks against the expectations, and not enough for
    /// them.
    Unknown,
    /// A guarantee was broken that should have held, or held that should have been broken.
    Unexpected,
    /// The environment or fencepost itself failed. The worst, because nothing can be believed then.
    Failed,
}

impl Conclusion {
    /// How the run ended that `report` tells of.
    pub fn of(report: &Report) -> Self {
        let mut conclusion = if report.interrupted.is_some() { Self::Unknown } else { Self::AsExpected };
        for lock in &report.locks {
            // A trial that was called off did not fail.
            if lock.error.is_some() && report.interrupted.is_none() {
                conclusion = conclusion.max(Self::Failed);
            }
            for missed in lock.expectations.iter().filter(|expectation| !expectation.held()) {
                let unknown = missed.reached.is_none_or(|reached| reached == Verdict::Unknown);
                conclusion = conclusion.max(if unknown { Self::Unknown } else { Self::Unexpected });
            }
        }
        conclusion
    }

    /// The process's exit code. Codes do not rise with how bad it is: merge conclusions, never codes.
    pub fn code(self) -> u8 {
        match self {
            Self::AsExpected => 0,
            Self::Unexpected => 1,
            Self::Unknown => 2,
            Self::Failed => OWN_FAILURE,
        }
    }
}

/// The exit code when the environment or fencepost itself failed.
pub const OWN_FAILURE: u8 = 255;

#[cfg(test)]
mod tests {
    use super::super::Expectation;
    use super::*;
    use crate::check::CheckName;
    use crate::report::tests::sample;
    use crate::verdict::Demand;

    /// A report of two locks of which the second reached these, where `valid` was expected.
    fn report(reached: &[Option<Verdict>], error: bool, interrupted: bool) -> Report {
        let mut report = sample::report();
        let expectation = |reached: &Option<Verdict>| Expectation {
            check: CheckName::Fencing,
            expected: Demand::Is(Verdict::Valid),
            reached: *reached,
            stated: true,
        };
        report.locks[0].expectations = vec![expectation(&Some(Verdict::Valid))];
        report.locks[0].error = None;
        report.locks[1].expectations = reached.iter().map(expectation).collect();
        report.locks[1].error = error.then(|| "the disk is full".to_owned());
        report.interrupted = interrupted.then(|| "interrupted".to_owned());
        report
    }

    #[test]
    fn each_run_ends_in_its_code() {
        let (valid, invalid, unknown) = (Some(Verdict::Valid), Some(Verdict::Invalid), Some(Verdict::Unknown));
        let table: [(&[Option<Verdict>], bool, bool, u8); 12] = [
            // What was reached, whether a trial failed, whether the run was called off; the exit code.
            (&[], false, false, 0),
            (&[valid, valid], false, false, 0),
            (&[valid, unknown], false, false, 2),
            (&[None], false, false, 2),
            (&[valid, invalid], false, false, 1),
            (&[unknown, invalid], false, false, 1),
            (&[valid, Some(Verdict::NotApplicable)], false, false, 1),
            (&[valid], true, false, 255),
            (&[invalid, unknown], true, false, 255),
            (&[valid], false, true, 2),
            (&[valid], true, true, 2),
            (&[invalid], false, true, 1),
        ];
        for (reached, error, interrupted, code) in table {
            let report = report(reached, error, interrupted);
            assert_eq!(Conclusion::of(&report).code(), code, "{reached:?}, error {error}, interrupted {interrupted}");
            assert_eq!(report.expected(), code == 0, "{reached:?}, error {error}, interrupted {interrupted}");
        }
    }

    #[test]
    fn the_worst_of_several_counts() {
        let table = [
            (&[][..], 0),
            (&[Conclusion::AsExpected, Conclusion::Unknown], 2),
            (&[Conclusion::Unexpected, Conclusion::Unknown], 1),
            (&[Conclusion::Unknown, Conclusion::Failed, Conclusion::Unexpected], 255),
        ];
        for (conclusions, code) in table {
            assert_eq!(conclusions.iter().copied().max().unwrap_or_default().code(), code, "{conclusions:?}");
        }
    }
}
