//! Many seeds of one scenario, over all cores.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::SystemTime;

use rayon::prelude::*;
use tokio::sync::watch;

use super::{Plan, RunError, assemble, sim, simulated};
use crate::env::sim::run_trial;
use crate::report::Report;
use crate::report::sweep::Sweep;
use crate::seed::Seed;

/// How many seeds are run before their results are counted, in the order of seeds: few enough to hold their histories.
const CHUNK: u64 = 32;

/// Runs `seeds` seeds from the plan's own on, in simulation, and draws one of the runs: the first that missed an
/// expectation, or the first of all. `each` sees every report, in the order of seeds; its run folder is empty.
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
        let reports: Vec<Option<Report>> = (chunk..seeds.min(chunk + CHUNK))
            .into_par_iter()
            .map(|offset| {
                let begun = offset == 0 || !*stop.borrow();
                begun.then(|| judged(plan, Seed(first.0.wrapping_add(offset))))
            })
            .collect();
        // Cores run ahead of each other: what follows the first seed that was not begun is not counted.
        for report in reports {
            let Some(report) = report else { break 'chunks };
            sweep.get_or_insert_with(|| Sweep::new(&report, plan.scenario.workload.duration)).add(&report);
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
    sweep.example = Some(example.folder);
    Ok(sweep)
}

/// Runs one seed and judges it; the history itself is not kept.
fn judged(plan: &Plan, seed: Seed) -> Report {
    let tried = plan.locks.iter().map(|lock| simulated(lock, run_trial(&plan.scenario, lock, seed)));
    let mut report = assemble::report(plan, seed, SystemTime::UNIX_EPOCH, PathBuf::new(), tried.collect());
    for lock in &mut report.locks {
        lock.history.ops = Vec::new();
    }
    report
}
