//! Many seeds of one scenario, over all cores.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::SystemTime;

use rayon::prelude::*;
use tokio::sync::watch;

use super::{Plan, RunError, assemble, sim, simulated};
use crate::env::sim::run_trial;
use crate::report::Report;
use crate::report::cost::Cost;
use crate::report::sweep::Sweep;
use crate::seed::Seed;

/// How many seeds are run before their results are counted, in the order of seeds: few enough to hold their histories.
const CHUNK: u64 = 32;

/// Runs `seeds` seeds from the plan's own on, in simulation, and draws some of the runs: the first that missed an
/// expectation, or the first of all; and each lock's worst. `each` sees every report, in the order of seeds; its run
/// folder is empty.
///
/// When `stop` becomes true, or `each` breaks off, no further seeds are begun. The first is run in any case.
///
/// # Errors
/// The example could not be written.
pub fn sweep(
    plan: &Plan,
    seeds: u64,
    stop: &watch::Receiver<bool>,
    each: &mut dyn FnMut(&Report) -> ControlFlow<()>,
) -> Result<Sweep, RunError> {
    let first = plan.seed();
    let mut sweep: Option<Sweep> = None;
    let mut missed: Option<Seed> = None;
    'chunks: for chunk in (0..seeds).step_by(CHUNK as usize) {
        let reports: Vec<Option<(Report, Vec<Cost>)>> = (chunk..seeds.min(chunk + CHUNK))
            .into_par_iter()
            .map(|offset| {
                let begun = offset == 0 || !*stop.borrow();
                begun.then(|| judged(plan, Seed(first.0.wrapping_add(offset))))
            })
            .collect();
        // Cores run ahead of each other: what follows the first seed that was not begun is not counted.
        for report in reports {
            let Some((report, costs)) = report else { break 'chunks };
            sweep.get_or_insert_with(|| Sweep::new(&report, plan.scenario.workload.duration)).add(&report, &costs);
            if !report.expected() {
                missed.get_or_insert(report.seed);
            }
            if each(&report).is_break() {
                break 'chunks;
            }
        }
    }
    let mut sweep = sweep.ok_or_else(|| RunError::Environment(anyhow::anyhow!("there was no seed to run")))?;
    let example = sim(plan, missed.unwrap_or(first), SystemTime::now())?;
    let mut drawn = BTreeMap::from([(example.seed, example.folder.clone())]);
    for worst in sweep.locks.iter_mut().filter_map(|tally| tally.worst.as_mut()) {
        let folder = match drawn.entry(worst.seed) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place.insert(sim(plan, worst.seed, SystemTime::now())?.folder).clone(),
        };
        worst.run = Some(folder);
    }
    sweep.example = Some(example.folder);
    Ok(sweep)
}

/// Runs one seed, judges it and tells what it cost; the history itself is not kept.
fn judged(plan: &Plan, seed: Seed) -> (Report, Vec<Cost>) {
    let tried = plan.locks.iter().map(|lock| simulated(lock, run_trial(&plan.scenario, lock, seed)));
    let mut report = assemble::report(plan, seed, SystemTime::UNIX_EPOCH, PathBuf::new(), tried.collect());
    let costs = Cost::of_all(&report);
    for lock in &mut report.locks {
        lock.history.ops = Vec::new();
    }
    (report, costs)
}
