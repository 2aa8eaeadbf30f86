//! What a lock did in one scenario: how it came out, in what share of the runs, how sure that is.

use super::standing::Standing;
use super::sweep::{Sweep, Tally};
use crate::check::{CheckName, Verdict};

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
    /// How the lock came off.
    pub fn standing(&self) -> Standing {
        let tally = self.tally;
        if tally.harmed > 0 {
            Standing::Harmed
        } else if tally.violated > 0 {
            Standing::Broken
        } else if tally.undecided > 0 || !tally.errors.is_empty() || self.sweep.seeds == 0 {
            Standing::Undecided
        } else {
            Standing::Kept
        }
    }

    /// In what share of the runs the outcome came.
    pub fn share(&self) -> Share {
        let of = match self.standing() {
            Standing::Harmed => self.tally.harmed,
            Standing::Undecided => self.tally.undecided,
            Standing::Broken | Standing::Kept => self.tally.violated,
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
