//! The pipeline of one run: scenario → environment → clients and nemesis → history → checks → report.
//!
//! The only file that knows every room.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::sync::watch;

use crate::check::{self, Judgement};
use crate::env::docker::run::Session;
use crate::env::docker::trial::Outcome;
use crate::history::History;
use crate::report::{self, Expectation, LockReport, Report};
use crate::scenario::{self, Capabilities, LoadError, LockConfig, Scenario};
use crate::seed::Seed;
use crate::verdict::{CheckName, Verdict};

/// What to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The scenario file.
    pub scenario: PathBuf,
    /// The locks to try; empty for all in the file.
    pub locks: Vec<String>,
    /// The seed; drawn if absent.
    pub seed: Option<Seed>,
    /// The folder for run folders.
    pub out: PathBuf,
}

/// Why a run could not be done. What it could do before is kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] LoadError),
    /// A lock that the scenario does not have.
    #[error("{scenario} has no lock `{lock}`; it has: {known}")]
    NoSuchLock {
        /// The scenario file.
        scenario: String,
        /// The name asked for.
        lock: String,
        /// The names there are.
        known: String,
    },
    /// The folder for reports cannot be used.
    #[error("cannot write to the report folder {path}: {source}; choose another with --out")]
    Folder {
        /// The folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The environment failed.
    #[error("{0:#}")]
    Environment(anyhow::Error),
    /// The page could not be written.
    #[error(
        "cannot write the report in {path}: {source}; the histories are kept, `fencepost report {path}` draws it again"
    )]
    Report {
        /// The run's folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl RunError {
    /// Whether the request was at fault, not the environment.
    pub fn is_bad_request(&self) -> bool {
        matches!(self, Self::Scenario(_) | Self::NoSuchLock { .. } | Self::Folder { .. })
    }
}

/// Runs a scenario on real servers in containers, judges what was recorded, and writes the report.
///
/// When `stop` becomes true the run is called off: faults are healed, and what was recorded is judged and reported.
///
/// # Errors
/// The request is wrong, or the run could not be done at all. A trial that failed on the way is part of the report.
pub async fn docker(
    request: &Request,
    progress: &(dyn Fn(&str) + Sync),
    stop: watch::Receiver<bool>,
) -> Result<Report, RunError> {
    let scenario = scenario::load(&request.scenario, &Capabilities::docker())?;
    let locks = chosen_locks(&scenario, &request.locks)?;
    let seed = request.seed.unwrap_or_else(Seed::from_entropy);
    let started = SystemTime::now();
    let folder = make_folder(&request.out, &scenario.name, started, seed)?;
    let outcomes = {
        let session = Session::open(&scenario.name, progress).await.map_err(|error| {
            // Nothing was recorded: leave no empty folder behind.
            let _ = fs::remove_dir(&folder);
            RunError::Environment(error)
        })?;
        progress(&format!("trying {} for {:?}", locks.join(" and "), scenario.workload.duration));
        session.try_locks(&scenario, &locks, seed, &folder, &stop).await
    };
    progress("judging the histories");
    let parts = locks.iter().zip(outcomes);
    let locks = parts.map(|(lock, outcome)| lock_report(&scenario, lock, outcome)).collect();
    let report = Report {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        why: scenario.why.clone(),
        source: scenario.source.clone(),
        environment: "docker".to_owned(),
        seed,
        folder: folder.clone(),
        started: humantime::format_rfc3339_seconds(started).to_string().replace('T', " ").replace('Z', ""),
        settings: settings(&scenario),
        plan: scenario.faults.iter().map(ToString::to_string).collect(),
        replay: replay(request, seed),
        versions: Default::default(),
        locks,
        interrupted: stop.borrow().then(|| "interrupted".to_owned()),
    };
    let report = Report { versions: versions(&report.locks), ..report };
    report::write(&report)
        .and_then(|_| point_latest_at(&folder))
        .map_err(|source| RunError::Report { path: folder.display().to_string(), source })?;
    Ok(report)
}

fn chosen_locks(scenario: &Scenario, asked: &[String]) -> Result<Vec<String>, RunError> {
    if let Some(lock) = asked.iter().find(|lock| !scenario.locks.contains_key(*lock)) {
        return Err(RunError::NoSuchLock {
            scenario: scenario.path.display().to_string(),
            lock: lock.clone(),
            known: scenario.locks.keys().cloned().collect::<Vec<_>>().join(", "),
        });
    }
    let chosen = scenario.locks.keys().filter(|lock| asked.is_empty() || asked.contains(lock));
    Ok(chosen.cloned().collect())
}

/// Makes `out/SCENARIO/TIME-SEED` and sees that it can be written to.
fn make_folder(out: &Path, scenario: &str, started: SystemTime, seed: Seed) -> Result<PathBuf, RunError> {
    let time: String = humantime::format_rfc3339_seconds(started).to_string();
    let time = time.replace([':', '-'], "").replace('T', "-").replace('Z', "");
    let folder = out.join(scenario).join(format!("{time}-{seed}"));
    let attempt = || {
        fs::create_dir_all(&folder)?;
        // A folder can be made on a full disk; a history can't be written there.
        let probe = folder.join(".space");
        let written = fs::File::create(&probe).and_then(|mut file| {
            file.write_all(&[0; 64 * 1024])?;
            file.sync_all()
        });
        let _ = fs::remove_file(&probe);
        written?;
        Ok(())
    };
    attempt().map_err(|source| {
        let _ = fs::remove_dir(&folder);
        RunError::Folder { path: folder.display().to_string(), source }
    })?;
    Ok(folder)
}

/// Points `latest` beside the run's folder at it.
fn point_latest_at(folder: &Path) -> io::Result<()> {
    let latest = folder.with_file_name("latest");
    match fs::remove_file(&latest) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(folder.file_name().unwrap_or_default(), latest)
}

fn lock_report(scenario: &Scenario, lock: &str, outcome: Outcome) -> LockReport {
    let judgement = check::judge(&outcome.history);
    let config = scenario.locks.get(lock);
    LockReport {
        name: lock.to_owned(),
        algorithm: outcome.history.header.algorithm.clone(),
        settings: config.map(lock_settings).unwrap_or_default(),
        expectations: demanded(scenario.expect.get(lock), &judgement),
        history: outcome.history,
        judgement,
        trace_hash: None,
        error: outcome.error,
    }
}

/// What is demanded of a lock: its `[expect]` lines; beside them always a well-formed history and coverage, so that
/// nothing passes unexercised. A lock without lines must pass every check that applies to it.
fn demanded(stated: Option<&BTreeMap<CheckName, Verdict>>, judgement: &Judgement) -> Vec<Expectation> {
    let reached = |check| judgement.checks.iter().find(|result| result.check == check).map(|result| result.verdict);
    let expectation = |check| {
        let line = stated.and_then(|lines| lines.get(&check)).copied();
        let demanded = match stated {
            Some(_) => matches!(check, CheckName::Assumptions | CheckName::Coverage),
            None => reached(check) != Some(Verdict::NotApplicable),
        };
        let expected = line.or(demanded.then_some(Verdict::Valid))?;
        Some(Expectation { check, expected, reached: reached(check), stated: line.is_some() })
    };
    CheckName::ALL.into_iter().filter_map(expectation).collect()
}

fn settings(scenario: &Scenario) -> Vec<(String, String)> {
    let workload = &scenario.workload;
    let client = match workload.client {
        scenario::ClientStyle::Careful => "careful: checks validity before each access, stops when the lock is lost",
        scenario::ClientStyle::Naive => "naive: does not look at validity",
    };
    let duration = |duration| scenario::duration::text(duration);
    [
        ("workload", "inventory: read an item's stock, write it one lower".to_owned()),
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

fn lock_settings(config: &LockConfig) -> Vec<(String, String)> {
    let duration = |duration| scenario::duration::text(duration);
    let settings = match config {
        LockConfig::Redlock(redlock) => vec![
            ("nodes", format!("{} Redis masters", redlock.nodes)),
            ("ttl", duration(redlock.ttl)),
            ("renewal", if redlock.renewal { "every third of the ttl" } else { "off" }.to_owned()),
            ("node timeout", duration(redlock.node_timeout)),
            ("retry delay", redlock.retry_delay.to_string()),
        ],
        LockConfig::Zookeeper(zookeeper) => vec![
            ("servers", format!("{} ZooKeeper servers", zookeeper.servers)),
            ("session timeout", duration(zookeeper.session_timeout)),
        ],
    };
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn versions(locks: &[LockReport]) -> BTreeMap<String, String> {
    locks.iter().flat_map(|lock| lock.history.header.versions.clone()).collect()
}

fn replay(request: &Request, seed: Seed) -> String {
    let locks: String = request.locks.iter().map(|lock| format!(" --lock {lock}")).collect();
    format!("fencepost run {} --env docker{locks} --seed {seed}", request.scenario.display())
}

/// Judges a stored history again: a report of its own, which is shown and not written.
pub fn recheck(path: &Path, history: History) -> Report {
    let header = history.header.clone();
    let judgement = check::judge(&history);
    let expectations = demanded(None, &judgement);
    let lock = LockReport {
        name: header.lock,
        algorithm: header.algorithm,
        settings: Vec::new(),
        history,
        judgement,
        expectations,
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
        versions: header.versions,
        locks: vec![lock],
        interrupted: None,
    }
}
