//! Stored runs on real servers, counted by scenario and lock as sweeps of simulated ones are.

use super::Report;
use super::cell::Cell;
use super::cost::Cost;
use super::sweep::Sweep;

/// Runs on real servers, counted by scenario and lock.
#[derive(Clone, Debug, Default)]
pub struct Real {
    sweeps: Vec<Sweep>,
    /// What is not shown, and why.
    pub left_out: Vec<String>,
}

impl Real {
    /// Counts a run, lock by lock.
    pub fn add(&mut self, mut report: Report) {
        for lock in std::mem::take(&mut report.locks) {
            let name = lock.name.clone();
            let alone = Report { locks: vec![lock], ..report.clone() };
            let costs = Cost::of_all(&alone);
            let known =
                self.sweeps.iter().position(|sweep| sweep.scenario == alone.scenario && sweep.locks[0].lock == name);
            let place = known.unwrap_or_else(|| {
                self.sweeps.push(Sweep::new(&alone, costs[0].lasted));
                self.sweeps.len() - 1
            });
            let sweep = &mut self.sweeps[place];
            sweep.add(&alone, &costs);
            sweep.example.get_or_insert_with(|| alone.folder.clone());
            if let Some(worst) = &mut sweep.locks[0].worst {
                worst.run.get_or_insert_with(|| alone.folder.clone());
            }
        }
    }

    /// One for each scenario and lock, in the order in which they came.
    pub fn sweeps(&self) -> &[Sweep] {
        &self.sweeps
    }

    /// Of how many runs of a lock in a scenario it knows.
    pub fn runs(&self) -> u64 {
        self.sweeps.iter().map(|sweep| sweep.seeds).sum()
    }

    /// What a lock did in a scenario; none if it was not tried there.
    pub(super) fn cell(&self, scenario: &str, lock: &str) -> Option<Cell<'_>> {
        let sweep = self.sweeps.iter().find(|sweep| sweep.scenario == scenario && sweep.locks[0].lock == lock)?;
        Some(Cell { sweep, tally: &sweep.locks[0] })
    }
}
