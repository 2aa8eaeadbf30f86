//! Proves or denies that a simulated run repeats: same seed, same trace hash; and names the first event that differs, by
//! the fingerprints that the run left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::check;
use crate::env::sim::{self, Trace};
use crate::ids::TraceHash;
use crate::report::json::{ReadRunError, read_run};
use crate::scenario::{self, Capabilities, LoadError};

/// The file of a lock's event fingerprints, 16 bits each, little-endian.
const TRACE: &str = "trace.bin";

/// Why a run could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The run folder cannot be read.
    #[error(transparent)]
    Run(#[from] ReadRunError),
    /// The scenario of the run is not understood by this build.
    #[error(transparent)]
    Scenario(#[from] LoadError),
    /// The run was not simulated.
    #[error(
        "{path} is a run in environment {environment}, which does not repeat; its seed fixes the plan, not the outcome"
    )]
    NotSimulated {
        /// The run's folder.
        path: String,
        /// Its environment.
        environment: String,
    },
    /// There is nothing to compare a replay with.
    #[error("{path} says of lock `{lock}` no trace hash; restore run.json, or run the scenario again")]
    NoTraceHash {
        /// The run's folder.
        path: String,
        /// The lock's table name.
        lock: String,
    },
}

/// What came of replaying one lock's trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The lock's table name.
    pub lock: String,
    /// The hash of the run, as recorded.
    pub recorded: TraceHash,
    /// The hash of the replay.
    pub replayed: TraceHash,
    /// If they differ, where: the first event that differs, as the replay had it, or why it cannot be named.
    pub difference: Option<String>,
}

impl Replayed {
    /// Whether the run was repeated.
    pub fn is_same(&self) -> bool {
        self.difference.is_none()
    }
}

/// Runs every trial of a stored simulated run again.
///
/// # Errors
/// The folder is none of a simulated run, or its scenario cannot be read.
pub fn replay(folder: &Path) -> Result<Vec<Replayed>, ReplayError> {
    let run = read_run(folder, check::judge)?;
    if run.environment != "sim" {
        return Err(ReplayError::NotSimulated { path: folder.display().to_string(), environment: run.environment });
    }
    let path = PathBuf::from(format!("{}.toml", run.scenario));
    let scenario = scenario::parse(&path, &run.source, &Capabilities::sim())?;
    let replayed = run.locks.iter().map(|lock| {
        let Some(recorded) = lock.trace_hash else {
            let (path, lock) = (folder.display().to_string(), lock.name.clone());
            return Err(ReplayError::NoTraceHash { path, lock });
        };
        let again = sim::run_trial(&scenario, &lock.name, run.seed).trace;
        let difference = match read_trace(&folder.join(&lock.name)) {
            Ok(kept) if kept != again.fingerprints => {
                let event = first_difference(&kept, &again.fingerprints);
                let told = sim::Trial::new(&scenario, &lock.name, run.seed).telling(event..event + 1).run().trace.told;
                let agrees = if recorded.0 == again.hash { "the hash agrees, the trace does not; " } else { "" };
                Some(format!("{agrees}{}", difference(event, kept.len() as u64, told.into_iter().next())))
            }
            // The hash alone proves sameness.
            _ if recorded.0 == again.hash => None,
            Ok(_) => {
                Some(format!("{TRACE} has the replay's events, so it and the hash in run.json are not of one run"))
            }
            Err(error) => Some(format!("the first event that differs cannot be named: {error}")),
        };
        Ok(Replayed { lock: lock.name.clone(), recorded, replayed: TraceHash(again.hash), difference })
    });
    replayed.collect()
}

/// Says which of the `recorded` events is the first that differs; `told` is what the replay had there.
fn difference(event: u64, recorded: u64, told: Option<(u64, String)>) -> String {
    let told = told.map_or_else(|| "the replay ends before it".to_owned(), |(_, words)| words);
    let ended = if event == recorded { ", which the recorded run has no more" } else { "" };
    format!("first at event {event} of {recorded}{ended}: {told}")
}

/// Keeps the fingerprints of a trial's events in `folder`.
pub(super) fn write_trace(folder: &Path, trace: &Trace) -> io::Result<()> {
    let bytes: Vec<u8> = trace.fingerprints.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
    fs::write(folder.join(TRACE), bytes)
}

fn read_trace(folder: &Path) -> io::Result<Vec<u16>> {
    let path = folder.join(TRACE);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()));
    let bytes = fs::read(&path).map_err(named)?;
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(named(io::Error::new(io::ErrorKind::InvalidData, "it is cut off in the middle of an event")));
    }
    Ok(pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect())
}

/// The number of the first event at which two traces differ.
fn first_difference(one: &[u16], other: &[u16]) -> u64 {
    one.iter().zip(other).take_while(|(one, other)| one == other).count() as u64
}
