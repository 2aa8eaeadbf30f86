//! Proves or denies that a simulated run repeats: same seed, same trace hash; and names the first event that differs.

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
    /// If they differ: the first event that differs, as the replay had it.
    pub difference: Option<String>,
}

impl Replayed {
    /// Whether the run was repeated.
    pub fn is_same(&self) -> bool {
        self.recorded == self.replayed
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
    let replayed = run.locks.iter().filter_map(|lock| {
        let recorded = lock.trace_hash?;
        let again = sim::run_trial(&scenario, &lock.name, run.seed);
        let replayed = TraceHash(again.trace.hash);
        let difference = (recorded != replayed).then(|| {
            let fingerprints = read_trace(&folder.join(&lock.name)).unwrap_or_default();
            let event = first_difference(&fingerprints, &again.trace.fingerprints);
            let told = sim::Trial::new(&scenario, &lock.name, run.seed).telling(event..event + 1).run().trace.told;
            let words =
                told.into_iter().next().map_or_else(|| "the replay ends before it".to_owned(), |(_, words)| words);
            format!("event {event} of {}: {words}", fingerprints.len())
        });
        Some(Replayed { lock: lock.name.clone(), recorded, replayed, difference })
    });
    Ok(replayed.collect())
}

/// Keeps the fingerprints of a trial's events in `folder`.
pub(super) fn write_trace(folder: &Path, trace: &Trace) -> io::Result<()> {
    let bytes: Vec<u8> = trace.fingerprints.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
    fs::write(folder.join(TRACE), bytes)
}

fn read_trace(folder: &Path) -> io::Result<Vec<u16>> {
    let bytes = fs::read(folder.join(TRACE))?;
    Ok(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// The number of the first event at which two traces differ.
fn first_difference(one: &[u16], other: &[u16]) -> u64 {
    one.iter().zip(other).take_while(|(one, other)| one == other).count() as u64
}
