//! The pipeline of one run: scenario → environment → clients and nemesis → history → checks → report.
//!
//! The only room that knows every other. `assemble` puts reports together, `sweep` runs many seeds, `repeat` one seed
//! many times on real servers, `stored` finds runs of theirs again, `hunt` searches, `stranger` tries locks of others,
//! `replay` proves or denies that a simulated run repeats, [`calibrate`] holds the simulation's round trips against
//! real ones.

mod assemble;
pub mod calibrate;
mod hunt;
mod repeat;
mod replay;
mod stored;
mod stranger;
mod sweep;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::sync::watch;

use self::assemble::Tried;
use crate::env::docker::external::External;
use crate::env::docker::run::Session;
use crate::env::sim;
use crate::history;
use crate::ids::TraceHash;
use crate::report::{self, Report};
use crate::scenario::{self, Capabilities, LoadError, Scenario};
use crate::seed::Seed;

pub use assemble::{recheck, rejudged};
pub use hunt::{Broken, Confirmed, Finding, Heard, HuntRequest, Hunted, ShrinkError, Small, confirm, hunt, shrink};
pub use repeat::repeat;
pub use replay::{ReplayError, Replayed, replay};
pub use stored::add_stored;
pub use stranger::{Trials, try_out};
pub use sweep::sweep;

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
    /// The scenario and the servers of `--servers` do not go together.
    #[error("{0}")]
    Given(String),
    /// A simulated run would need more memory than there is.
    #[error(
        "simulating {duration} takes about {needed} MB of memory, and {available} MB are available; shorten the workload's \
         duration, or run many seeds of a shorter one with --seeds"
    )]
    TooLong {
        /// How long each run is to last.
        duration: String,
        /// What it would need, in megabytes.
        needed: u64,
        /// What there is, in megabytes.
        available: u64,
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
    /// The histories of a simulated run could not be written. Nothing of it is left, and nothing is lost.
    #[error(
        "cannot write the histories in {path}: {source}; make room, or choose another folder with --out: --seed {seed} gives the same run again"
    )]
    Histories {
        /// The run's folder.
        path: String,
        /// What the system said.
        source: io::Error,
        /// The run's seed.
        seed: Seed,
    },
    /// The report could not be written.
    #[error("cannot write the report in {path}: {source}; the histories are kept, {remedy}")]
    Report {
        /// The run's folder.
        path: String,
        /// What the system said.
        source: io::Error,
        /// What makes something of them.
        remedy: String,
    },
}

impl RunError {
    /// Whether the request was at fault, not the environment.
    pub fn is_bad_request(&self) -> bool {
        matches!(
            self,
            Self::Scenario(_) | Self::Given(_) | Self::NoSuchLock { .. } | Self::Folder { .. } | Self::TooLong { .. }
        )
    }
}

/// The world to run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// A deterministic simulation.
    Sim,
    /// Real servers in containers.
    Docker,
}

impl Environment {
    /// The name used at the command line, in files and on pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Docker => "docker",
        }
    }

    fn capabilities(self) -> Capabilities {
        match self {
            Self::Sim => Capabilities::sim(),
            Self::Docker => Capabilities::docker(),
        }
    }
}

/// A request whose scenario was read and found right.
pub struct Plan {
    request: Request,
    environment: Environment,
    scenario: Scenario,
    locks: Vec<String>,
    /// The command that runs it again, if that is not the usual one.
    again: Option<String>,
    /// The lock servers, if they are not ours.
    given: Option<External>,
}

impl Plan {
    /// Reads the scenario, and sees that `environment` can run it.
    ///
    /// # Errors
    /// The scenario is wrong, or lacks a lock that was asked for.
    pub fn load(request: Request, environment: Environment) -> Result<Self, RunError> {
        let scenario = scenario::load(&request.scenario, &environment.capabilities())?;
        let locks = chosen_locks(&scenario, &request.locks)?;
        Ok(Self { request, environment, scenario, locks, again: None, given: None })
    }

    /// The same for lock servers that were there before: the locks are those that rest on such servers, on as many as
    /// were given.
    ///
    /// # Errors
    /// The scenario is wrong, does something to servers, or no lock of it can be tried on these.
    pub fn load_for(request: Request, given: &External) -> Result<Self, RunError> {
        let mut scenario = scenario::load(&request.scenario, &Capabilities::given_servers())?;
        let path = scenario.path.display().to_string();
        let mut locks = chosen_locks(&scenario, &request.locks)?;
        let is_asked = !request.locks.is_empty();
        locks.retain(|lock| is_asked || scenario.locks.get(lock).is_some_and(|own| given.count(own.backend()) > 0));
        if locks.is_empty() {
            return Err(RunError::Given(format!("{path}: none of its locks rests on the servers of --servers")));
        }
        for lock in &locks {
            let Some(config) = scenario.locks.get_mut(lock) else { continue };
            let (backend, count) = (config.backend(), given.count(config.backend()));
            if count == 0 {
                let remedy = match backend.given_example() {
                    Some(example) => format!("add {example}"),
                    None => "they cannot be given".to_owned(),
                };
                return Err(RunError::Given(format!(
                    "{path}: lock `{lock}` needs {} servers: {remedy}",
                    backend.name()
                )));
            }
            let wanted = config.nodes();
            if let Some(changed) = config.with_nodes(count) {
                *config = changed;
            }
            let named =
                scenario.faults.iter().find_map(|fault| Some((fault, fault.names_node_beyond(config.nodes())?)));
            if let Some((fault, node)) = named {
                return Err(RunError::Given(format!(
                    "{path}: `{fault}` names {node}, and lock `{lock}` has {} of the {wanted} servers that the file asks for: \
                     give more with --servers, or name another in the file",
                    config.nodes()
                )));
            }
        }
        Ok(Self { request, environment: Environment::Docker, scenario, locks, again: None, given: Some(given.clone()) })
    }

    /// What was asked for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Its scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The same with its seed drawn now, if none was asked for: all its runs have one.
    #[must_use]
    fn with_one_seed(mut self) -> Self {
        self.request.seed = Some(self.seed());
        self
    }

    fn seed(&self) -> Seed {
        self.request.seed.unwrap_or_else(Seed::from_entropy)
    }
}

/// Runs a scenario once, judges what was recorded, and writes the report.
///
/// When `stop` becomes true a run on real servers is called off: faults are healed, and what was recorded is judged and
/// reported. A simulated run takes a moment, and is brought to its end.
///
/// # Errors
/// The run could not be done at all. A trial that failed on the way is part of the report.
pub async fn run(
    plan: &Plan,
    progress: &(dyn Fn(&str) + Sync),
    stop: watch::Receiver<bool>,
) -> Result<Report, RunError> {
    let (seed, started) = (plan.seed(), SystemTime::now());
    match plan.environment {
        Environment::Sim => {
            progress(&fits(plan)?);
            sim(plan, seed, started)
        }
        Environment::Docker => docker(plan, seed, started, progress, stop).await,
    }
}

async fn docker(
    plan: &Plan,
    seed: Seed,
    started: SystemTime,
    progress: &(dyn Fn(&str) + Sync),
    stop: watch::Receiver<bool>,
) -> Result<Report, RunError> {
    let Plan { scenario, locks, .. } = plan;
    let folder = make_folder(&plan.request.out, &scenario.name, started, seed)?;
    let outcomes = {
        let mut session = Session::open(scenario, locks, plan.given.as_ref(), progress).await.map_err(|error| {
            // Nothing was recorded: leave no empty folder behind.
            let _ = fs::remove_dir(&folder);
            RunError::Environment(error)
        })?;
        progress(&format!("trying {} for {:?}", locks.join(" and "), scenario.workload.duration));
        let outcomes = session.try_locks(scenario, locks, seed, &folder, &stop, progress).await;
        session.close().await;
        outcomes.map_err(RunError::Environment)?
    };
    progress("judging the histories");
    let tried = locks.iter().zip(outcomes).map(|(lock, outcome)| Tried {
        lock: lock.clone(),
        history: outcome.history,
        trace_hash: None,
        error: outcome.error,
    });
    let mut report = assemble::report(plan, seed, started, folder, tried.collect());
    report.interrupted = stop.borrow().then(|| "interrupted".to_owned());
    keep(report)
}

/// What a simulated second of one client leaves in memory until the run is written: ops and the trace's fingerprints.
/// Measured with client-pause, 50 clients for ten minutes: 88,892 ops and 34 MB of trace.
const BYTES_A_SECOND: u64 = 1_500;

/// Says what a simulated run is going to take, if there is room for it.
fn fits(plan: &Plan) -> Result<String, RunError> {
    let (workload, locks) = (&plan.scenario.workload, plan.locks.join(" and "));
    let seconds = workload.duration.as_secs();
    let needed = seconds.saturating_mul(u64::from(workload.clients)).saturating_mul(BYTES_A_SECOND) / 1_000_000;
    let duration = scenario::duration::text(workload.duration);
    match available() {
        Some(available) if needed > available => Err(RunError::TooLong { duration, needed, available }),
        _ => Ok(format!("simulating {locks} for {duration}, which takes about {needed} MB of memory")),
    }
}

/// How much memory a process may have without others giving way, in megabytes; none where the system does not say.
fn available() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1_000)
}

fn sim(plan: &Plan, seed: Seed, started: SystemTime) -> Result<Report, RunError> {
    let folder = make_folder(&plan.request.out, &plan.scenario.name, started, seed)?;
    let mut tried = Vec::new();
    for lock in &plan.locks {
        let outcome = sim::run_trial(&plan.scenario, lock, seed);
        let place = folder.join(lock);
        fs::create_dir(&place)
            .and_then(|()| history::file::write(&place.join(report::HISTORY), &outcome.history))
            .and_then(|()| replay::write_trace(&place, &outcome.trace))
            .map_err(|source| {
                let _ = fs::remove_dir_all(&folder);
                RunError::Histories { path: folder.display().to_string(), source, seed }
            })?;
        tried.push(simulated(lock, outcome));
    }
    keep(assemble::report(plan, seed, started, folder, tried))
}

fn simulated(lock: &str, outcome: sim::Outcome) -> Tried {
    Tried {
        lock: lock.to_owned(),
        history: outcome.history,
        trace_hash: Some(TraceHash(outcome.trace.hash)),
        error: outcome.error,
    }
}

/// Writes a report into its folder, and points `latest` at it.
fn keep(report: Report) -> Result<Report, RunError> {
    report::write(&report).and_then(|_| point_latest_at(&report.folder)).map_err(|source| {
        let lock = report.locks.first().map_or("LOCK", |lock| &lock.name);
        let path = report.folder.display().to_string();
        // The description is written before what is drawn from it.
        let remedy = if report.folder.join(report::RUN).is_file() {
            format!("`fencepost report {path}` draws it again")
        } else {
            format!("`fencepost check {path}/{lock}/{}` judges one", report::HISTORY)
        };
        RunError::Report { path, source, remedy }
    })?;
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

/// Makes `out/SCENARIO/TIME-SEED`, which no run has had before, and sees that it can be written to.
fn make_folder(out: &Path, scenario: &str, started: SystemTime, seed: Seed) -> Result<PathBuf, RunError> {
    let time = timestamp(started).replace([':', '-'], "").replace('T', "-").replace('Z', "");
    let (parent, name) = (out.join(scenario), format!("{time}-{seed}"));
    let refused = |folder: &Path, source| RunError::Folder { path: folder.display().to_string(), source };
    let mut folder = parent.join(&name);
    fs::create_dir_all(&parent).map_err(|source| refused(&folder, source))?;
    let mut times = 1;
    while let Err(source) = fs::create_dir(&folder) {
        if source.kind() != io::ErrorKind::AlreadyExists {
            return Err(refused(&folder, source));
        }
        // The same seed again within a second.
        times += 1;
        folder = parent.join(format!("{name}-{times}"));
    }
    // A folder can be made on a full disk; a history can't be written there.
    let probe = folder.join(".space");
    let written = fs::File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; 64 * 1024])?;
        file.sync_all()
    });
    let _ = fs::remove_file(&probe);
    written.map_err(|source| {
        let _ = fs::remove_dir(&folder);
        refused(&folder, source)
    })?;
    Ok(folder)
}

/// Points `latest` beside the run's folder at it.
fn point_latest_at(folder: &Path) -> io::Result<()> {
    let latest = folder.with_file_name(report::LATEST);
    match fs::remove_file(&latest) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(folder.file_name().unwrap_or_default(), latest)
}

/// `2026-11-23T09:29:35Z`
fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
