//! One scenario again and again on real servers, where a seed fixes the plan and not the outcome: what flakes shows.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::{Plan, RunError, run};
use crate::report::cost::Cost;
use crate::report::sweep::Sweep;
use crate::report::{LockReport, Report};
use crate::verdict::{CheckName, Verdict};

/// Runs a plan `times` times with one seed. `each` sees every report; its folder is a run folder like any other's. The
/// example of what is counted is the first run that ended otherwise than the first of all, or else the first of all.
///
/// When `stop` becomes true no further run is begun.
///
/// # Errors
/// A run could not be done at all.
pub async fn repeat(
    plan: Plan,
    times: u64,
    progress: &(dyn Fn(&str) + Sync),
    stop: &watch::Receiver<bool>,
    each: &mut (dyn FnMut(&Report) + Send),
) -> Result<Sweep, RunError> {
    let plan = plan.with_one_seed();
    let mut counted: Option<(Sweep, Verdicts)> = None;
    let mut differs = None;
    for number in 1..=times {
        if number > 1 && *stop.borrow() {
            break;
        }
        let numbered = |message: &str| progress(&format!("run {number} of {times}: {message}"));
        let report = run(&plan, &numbered, stop.clone()).await?;
        let reached = verdicts(&report);
        let (sweep, first) =
            counted.get_or_insert_with(|| (Sweep::new(&report, plan.scenario.workload.duration), reached.clone()));
        if *first != reached {
            differs.get_or_insert_with(|| report.folder.clone());
        }
        sweep.example.get_or_insert_with(|| report.folder.clone());
        sweep.add(&report, &Cost::of_all(&report));
        each(&report);
    }
    let (sweep, _) = counted.ok_or_else(|| RunError::Environment(anyhow::anyhow!("no run was asked for")))?;
    Ok(Sweep { example: differs.or(sweep.example), ..sweep })
}

/// What each check of each lock reached.
type Verdicts = BTreeMap<(String, CheckName), Verdict>;

fn verdicts(report: &Report) -> Verdicts {
    let of = |lock: &LockReport| {
        let name = lock.name.clone();
        lock.judgement
            .checks
            .iter()
            .map(move |result| ((name.clone(), result.check), result.verdict))
            .collect::<Vec<_>>()
    };
    report.locks.iter().flat_map(of).collect()
}
