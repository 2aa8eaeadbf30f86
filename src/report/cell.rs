//! What a lock did in one scenario: how it came out, in what share of the runs, how sure that is.

use super::sweep::{Sweep, Tally};
use crate::check::{CheckName, Verdict};

/// What a lock did in the runs of one scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Every guarantee that was tried held in every run.
    Kept,
    /// Nothing was seen broken, but not every run could tell.
    Undecided,
    /// A guarantee was broken, and the data took no harm.
    Broken,
    /// Stale accesses were accepted, or updates were lost.
    Harmed,
}

impl Outcome {
    /// The class of its colours.
    pub fn class(self) -> &'static str {
        match self {
            Self::Kept => "valid",
            Self::Undecided => "unknown",
            Self::Broken => "broken",
            Self::Harmed => "invalid",
        }
    }

    /// Its sign and its word: never by colour alone.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "✓ kept",
            Self::Undecided => "? undecided",
            Self::Broken => "▲ broken, no harm seen",
            Self::Harmed => "✗ harm",
        }
    }
}

/// A share of runs, with the interval that holds the true share in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// In how many runs.
    pub of: u64,
    /// Of how many.
    pub runs: u64,
}

impl Share {
    /// Wilson's score interval (1927): it stays within 0 and 1, and says something of 0 of n too.
    pub fn interval(self) -> (f64, f64) {
        const Z: f64 = 1.959_964;
        if self.runs == 0 {
            return (0.0, 1.0);
        }
        let (runs, share) = (self.runs as f64, self.of as f64 / self.runs as f64);
        let centre = share + Z * Z / (2.0 * runs);
        let spread = Z * (share * (1.0 - share) / runs + Z * Z / (4.0 * runs * runs)).sqrt();
        let scale = 1.0 + Z * Z / runs;
        (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
    }

    /// `38 of 40: 95 % (83–99 %)`.
    pub fn told(self) -> String {
        let (low, high) = self.interval();
        let share = if self.runs == 0 { 0.0 } else { self.of as f64 / self.runs as f64 };
        format!("{} of {}: {:.0} % ({:.0}–{:.0} %)", self.of, self.runs, share * 100.0, low * 100.0, high * 100.0)
    }
}

/// One cell of the matrix: a lock in a scenario.
pub(super) struct Cell<'a> {
    /// The scenario.
    pub sweep: &'a Sweep,
    /// The lock's part.
    pub tally: &'a Tally,
}

impl Cell<'_> {
    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        let tally = self.tally;
        if tally.harmed > 0 {
            Outcome::Harmed
        } else if tally.violated > 0 {
            Outcome::Broken
        } else if tally.undecided > 0 || !tally.errors.is_empty() || self.sweep.seeds == 0 {
            Outcome::Undecided
        } else {
            Outcome::Kept
        }
    }

    /// In what share of the runs the outcome came.
    pub fn share(&self) -> Share {
        let of = match self.outcome() {
            Outcome::Harmed => self.tally.harmed,
            Outcome::Undecided => self.tally.undecided,
            Outcome::Broken | Outcome::Kept => self.tally.violated,
        };
        Share { of, runs: self.sweep.seeds }
    }

    /// Each check that was broken, with its number of runs.
    pub fn broken(&self) -> Vec<(CheckName, u64)> {
        let count = |verdicts: &std::collections::BTreeMap<Verdict, u64>| verdicts.get(&Verdict::Invalid).copied();
        self.tally.verdicts.iter().filter_map(|(check, verdicts)| Some((*check, count(verdicts)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        for (of, runs, low, high) in
            [(0, 20, 0.0, 0.161), (20, 20, 0.839, 1.0), (38, 40, 0.835, 0.986), (1, 2, 0.095, 0.905)]
        {
            let (from, to) = Share { of, runs }.interval();
            assert!((from - low).abs() < 0.001 && (to - high).abs() < 0.001, "{of} of {runs}: {from} {to}");
        }
        assert_eq!(Share { of: 38, runs: 40 }.told(), "38 of 40: 95 % (83–99 %)");
        assert_eq!(Share { of: 0, runs: 0 }.interval(), (0.0, 1.0));
    }
}
