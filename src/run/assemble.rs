//! Puts a report together: what was run, what the checks say, what was demanded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Environment, Plan, timestamp};
use crate::check::{self, FailedRelease, Judgement, Model};
use crate::history::History;
use crate::history::foreign::Reading;
use crate::ids::TraceHash;
use crate::report::{Expectation, LockReport, Report};
use crate::scenario::{self, LockConfig, Scenario, Simulation, WorkloadKind};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::verdict::{CheckName, Demand, Verdict};
use crate::word::Named;

/// One lock's trial, as an environment leaves it.
pub(super) struct Tried {
    /// The lock's table name.
    pub lock: String,
    /// What was recorded.
    pub history: History,
    /// For a simulated trial: the hash over all its events.
    pub trace_hash: Option<TraceHash>,
    /// Why it ended early, if it did.
    pub error: Option<String>,
}

/// The report of one run of `plan`; `folder` is empty for a run that is only counted.
pub(super) fn report(plan: &Plan, seed: Seed, started: SystemTime, folder: PathBuf, tried: Vec<Tried>) -> Report {
    let scenario = &plan.scenario;
    let mut locks: Vec<LockReport> = tried.into_iter().map(|tried| lock_report(scenario, tried)).collect();
    if plan.given.is_some() {
        let own = locks.iter_mut().flat_map(|lock| &mut lock.settings).filter(|(name, _)| name == "persistence");
        own.for_each(|(_, value)| *value = "as the servers have it".to_owned());
    }
    Report {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        why: scenario.why.clone(),
        source: scenario.source.clone(),
        environment: plan.environment.name().to_owned().into(),
        seed,
        folder,
        started: timestamp(started).replace('T', " ").replace('Z', ""),
        settings: settings(scenario).into_iter().chain(network(plan)).collect(),
        plan: scenario.faults.iter().map(ToString::to_string).collect(),
        replay: replay(plan, seed),
        servers: plan.given.as_ref().map(ToString::to_string),
        versions: locks.iter().flat_map(|lock| lock.history.header.versions.clone()).collect(),
        locks,
        interrupted: None,
    }
}

fn lock_report(scenario: &Scenario, tried: Tried) -> LockReport {
    let judgement = check::judge(&tried.history);
    LockReport {
        algorithm: tried.history.header.algorithm.clone(),
        settings: scenario.locks.get(&tried.lock).map(lock_settings).unwrap_or_default(),
        expectations: demanded(scenario.expect.get(&tried.lock), &judgement),
        history: tried.history,
        judgement,
        reading: None,
        streamed: None,
        trace_hash: tried.trace_hash,
        error: tried.error,
        name: tried.lock,
    }
}

/// What is demanded of a lock: its `[expect]` lines; beside them always a well-formed history and coverage, so that
/// nothing passes unexercised, and that no check which they do not name accuses it. A lock without lines must pass
/// every check that applies to it.
fn demanded(stated: Option<&BTreeMap<CheckName, Demand>>, judgement: &Judgement) -> Vec<Expectation> {
    let reached = |check| judgement.checks.iter().find(|result| result.check == check).map(|result| result.verdict);
    let expectation = |check| {
        let line = stated.and_then(|lines| lines.get(&check)).copied();
        let unstated = match stated {
            Some(_) if matches!(check, CheckName::Assumptions | CheckName::Coverage) => Demand::Is(Verdict::Valid),
            None if reached(check) != Some(Verdict::NotApplicable) => Demand::Is(Verdict::Valid),
            Some(_) | None => Demand::NotInvalid,
        };
        Expectation { check, expected: line.unwrap_or(unstated), reached: reached(check), stated: line.is_some() }
    };
    CheckName::ALL.into_iter().map(expectation).collect()
}

fn settings(scenario: &Scenario) -> Vec<(String, String)> {
    let workload = &scenario.workload;
    let client = match workload.client {
        scenario::ClientStyle::Careful => "careful: checks validity before each access, stops when the lock is lost",
        scenario::ClientStyle::Naive => "naive: does not look at validity",
    };
    let kind = match workload.kind {
        WorkloadKind::Inventory => "inventory: read an item's stock, write it one lower",
        WorkloadKind::Register => "register: read it, write a value that nobody else writes",
        WorkloadKind::AppendFile => "append-file: read a file to its end, write one line there",
    };
    let duration = |duration| scenario::duration::text(duration);
    [
        ("workload", kind.to_owned()),
        ("clients", workload.clients.to_string()),
        ("client", client.to_owned()),
        ("lock names", workload.locks.to_string()),
        ("hold", workload.hold.to_string()),
        ("think", workload.think.to_string()),
        ("wait", duration(workload.wait)),
        ("duration", duration(workload.duration)),
        ("fencing at the resource", scenario.resource.fencing.name().to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// What the times of a simulated run rest on.
fn network(plan: &Plan) -> Option<(String, String)> {
    let Simulation { least_latency, median_latency } = plan.scenario.simulation;
    let [least, median] = [least_latency, median_latency].map(scenario::duration::text);
    let told = format!(
        "{median} one way at the median, {least} at least, one segment in 1,024 up to 10ms more; servers answer at once"
    );
    (plan.environment == Environment::Sim).then(|| ("simulated network".to_owned(), told))
}

fn lock_settings(config: &LockConfig) -> Vec<(String, String)> {
    let flaw = config.flaw().into_iter();
    let flaw = flaw.flat_map(|about| [("flaw", about.flaw.to_owned()), ("seen in", about.source.to_owned())]);
    config.shown().into_iter().chain(flaw).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The command that runs it again with the same seed.
fn replay(plan: &Plan, seed: Seed) -> String {
    if let Some(again) = &plan.again {
        return again.clone();
    }
    let locks: String = plan.request.locks.iter().map(|lock| format!(" --lock {lock}")).collect();
    let world = match &plan.given {
        None => format!("--env {}", plan.environment.name()),
        // Passwords are not repeated.
        Some(given) => given.words().iter().map(|word| format!("--servers {word}")).collect::<Vec<_>>().join(" "),
    };
    format!("fencepost run {} {world}{locks} --seed {seed}", plan.request.scenario.display())
}

/// Judges a stored history again, by all checks or by one model of a lock alone: a report of its own, which is shown
/// and not written.
pub fn recheck(
    path: &Path,
    history: History,
    reading: Option<Reading>,
    model: Option<(Model, FailedRelease)>,
) -> Report {
    let judgement = match (model, &reading) {
        (None, _) => check::judge(&history),
        (Some((model, failed_release)), None) => check::judge_model(&history, model, failed_release),
        (Some((model, failed_release)), Some(reading)) => {
            check::judge_foreign(&history, reading, model, failed_release)
        }
    };
    rejudged(path, history, None, reading, model, judgement)
}

/// The report of a stored history that has been judged; `streamed` says when its last op was, if its ops were not kept.
pub fn rejudged(
    path: &Path,
    history: History,
    streamed: Option<Nanos>,
    reading: Option<Reading>,
    model: Option<(Model, FailedRelease)>,
    judgement: Judgement,
) -> Report {
    let header = history.header.clone();
    let mut expectations = demanded(None, &judgement);
    // Nobody asked the other checks.
    expectations.retain(|expectation| model.is_none() || expectation.reached.is_some());
    let lock = LockReport {
        name: header.lock,
        algorithm: header.algorithm,
        settings: Vec::new(),
        history,
        judgement,
        expectations,
        reading,
        streamed,
        trace_hash: None,
        error: None,
    };
    Report {
        scenario: header.scenario.clone(),
        title: header.scenario,
        why: String::new(),
        source: String::new(),
        environment: header.environment,
        seed: header.seed,
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        started: String::new(),
        settings: Vec::new(),
        plan: Vec::new(),
        replay: String::new(),
        servers: None,
        versions: header.versions,
        locks: vec![lock],
        interrupted: None,
    }
}
