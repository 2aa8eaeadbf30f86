//! Proves or denies that a simulated run repeats: same seed, same trace hash; and names the first event that differs,
//! by the fingerprints that the run left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::check;
use crate::env::sim::{self, Trace};
use crate::history::EnvironmentName;
use crate::ids::TraceHash;
use crate::report::json::{ReadRunError, read_run};
use crate::scenario::{self, Capabilities, LoadError};

/// The file of a lock's event fingerprints, 16 bits each, little-endian; [`thinned`] where there would be too many.
const TRACE: &str = "trace.bin";

/// So many fingerprints are kept at most: half a megabyte. Of a longer trace every N-th is, which names the first
/// difference to within N events, since a fingerprint depends on all that came before it.
const KEPT: usize = 1 << 18;

/// The name of a trace of which every `every`-th fingerprint is kept.
fn thinned(every: usize) -> String {
    format!("trace-every-{every}.bin")
}

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
    if !run.environment.is(EnvironmentName::Sim) {
        return Err(ReplayError::NotSimulated {
            path: folder.display().to_string(),
            environment: run.environment.to_string(),
        });
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
            Ok((every, kept)) if kept != every_nth(&again.fingerprints, every) => {
                let place = first_difference(&kept, &every_nth(&again.fingerprints, every));
                let (event, last) = (place * every as u64, (place + 1) * every as u64 - 1);
                let told = sim::Trial::new(&scenario, &lock.name, run.seed).telling(event..event + 1).run().trace.told;
                let agrees = if recorded.0 == again.hash { "the hash agrees, the trace does not; " } else { "" };
                let of = kept.len() as u64 * every as u64;
                let within =
                    if every > 1 { format!("at one of the events {event} to {last}; ") } else { String::new() };
                Some(format!("{agrees}{within}{}", difference(event, of, told.into_iter().next())))
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
    let every = trace.fingerprints.len().div_ceil(KEPT).max(1);
    let kept = every_nth(&trace.fingerprints, every);
    let bytes: Vec<u8> = kept.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
    let name = if every == 1 { TRACE.to_owned() } else { thinned(every) };
    fs::write(folder.join(name), bytes)
}

/// The last fingerprint of each `every`, and of what is left.
fn every_nth(fingerprints: &[u16], every: usize) -> Vec<u16> {
    fingerprints.chunks(every).filter_map(|chunk| chunk.last().copied()).collect()
}

/// Every how many events there is a fingerprint, and the fingerprints.
fn read_trace(folder: &Path) -> io::Result<(usize, Vec<u16>)> {
    let names =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let thin = names.filter_map(|name| name.strip_prefix("trace-every-")?.strip_suffix(".bin")?.parse::<usize>().ok());
    let every = thin.filter(|every| *every > 1).min().unwrap_or(1);
    let path = folder.join(if every == 1 { TRACE.to_owned() } else { thinned(every) });
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()));
    let bytes = fs::read(&path).map_err(named)?;
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(named(io::Error::new(io::ErrorKind::InvalidData, "it is cut off in the middle of an event")));
    }
    Ok((every, pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()))
}

/// The number of the first event at which two traces differ.
fn first_difference(one: &[u16], other: &[u16]) -> u64 {
    one.iter().zip(other).take_while(|(one, other)| one == other).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_trace_is_thinned_and_still_names_where_two_runs_part() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace = Trace::default();
        trace.fingerprints.extend((0..KEPT * 3 + 5).map(|event| (event * 7) as u16));
        write_trace(folder.path(), &trace).unwrap();
        let size = fs::metadata(folder.path().join(thinned(4))).unwrap().len();
        assert!(size <= 2 * KEPT as u64 && !folder.path().join(TRACE).exists(), "{size}");
        let (every, kept) = read_trace(folder.path()).unwrap();
        assert_eq!((every, &kept), (4, &every_nth(&trace.fingerprints, 4)));
        // From event 1002 on all differ, as those of a running hash do.
        trace.fingerprints[1002..].iter_mut().for_each(|fingerprint| *fingerprint ^= 1);
        let place = first_difference(&kept, &every_nth(&trace.fingerprints, every));
        assert!((place * 4..place * 4 + 4).contains(&1002), "{place}");
        assert_eq!(read_trace(&folder.path().join("nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
