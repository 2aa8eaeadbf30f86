//! The single writer of a history: gives each op its index, writes it as it happens.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::file::{self, write_line};
use super::server::{ServerLine, ServerRecord};
use super::{Header, History, Op};
use crate::time::Nanos;

/// Where parties of a run put their ops. Instants are on the clock's own timeline; the recorder moves them.
pub trait Record: Send + Sync {
    /// Takes one op. Never blocks for long and never fails: a writer that cannot write says so when it is finished.
    fn record(&self, op: Op);

    /// Takes what lock servers had, from whoever can tell. It is not an op.
    fn observe(&self, _: ServerRecord) {}
}

/// Writes a history to its file, op by op, and keeps it for the checks.
///
/// While the run goes on, the file stands in the order of arrival; [`Recorder::finish`] puts it into the order of time.
pub struct Recorder {
    path: PathBuf,
    start: Nanos,
    state: Mutex<State>,
}

struct State {
    file: File,
    header: Header,
    ops: Vec<Op>,
    servers: Vec<ServerRecord>,
    failure: Option<io::Error>,
}

impl Recorder {
    /// Creates the file and writes the header. Instants of recorded ops are taken relative to `start`.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(path: &Path, header: Header, start: Nanos) -> io::Result<Self> {
        let mut file = File::create(path)?;
        write_line(&mut file, &header)?;
        let state = State { file, header, ops: Vec::new(), servers: Vec::new(), failure: None };
        Ok(Self { path: path.to_owned(), start, state: Mutex::new(state) })
    }

    /// Why the file could not be written, if so: the run should stop, its evidence is not kept.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.as_ref().map(ToString::to_string)
    }

    /// Puts the history into the order of time, replaces the file by it in one step, and returns it. `early` says why
    /// the trial ended before it was over, if it did: the history is then not whole.
    ///
    /// # Errors
    /// A write failed, now or earlier.
    pub fn finish(self, early: Option<&str>) -> io::Result<History> {
        let state = self.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(failure) = state.failure {
            return Err(failure);
        }
        let history = History::new(state.header, state.ops).with_servers(state.servers).ended_early(early);
        file::write(&self.path, &history)?;
        Ok(history)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Record for Recorder {
    fn record(&self, mut op: Op) {
        op.rebase(self.start);
        let mut state = self.lock();
        op.index = state.ops.len() as u32;
        if state.failure.is_none() {
            state.failure = write_line(&mut state.file, &op).err();
        }
        state.ops.push(op);
    }

    fn observe(&self, mut server: ServerRecord) {
        server.rebase(self.start);
        let mut state = self.lock();
        if state.failure.is_none() {
            state.failure = write_line(&mut state.file, &ServerLine { server: &server }).err();
        }
        state.servers.push(server);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fencing::Fencing;
    use crate::history::{EnvironmentName, F, OpType, Process};
    use crate::lock_kind::LockKind;
    use crate::seed::Seed;

    pub fn header() -> Header {
        Header {
            fencepost: crate::history::FORMAT,
            scenario: "calm".to_owned(),
            lock: "redlock".to_owned(),
            algorithm: "redlock".to_owned(),
            kind: LockKind::Mutex,
            environment: EnvironmentName::Docker.into(),
            seed: Seed(7),
            clients: 2,
            nodes: 5,
            fencing: Fencing::None.into(),
            content: Default::default(),
            planned_faults: 0,
            plan: Vec::new(),
            grant_within: None,
            leaves_within: None,
            api: None,
            clock_error: 0,
            versions: Default::default(),
        }
    }

    pub fn op(time: u64) -> Op {
        Op::new(Nanos(time), Process::Client(1), OpType::Invoke, F::Acquire)
    }

    #[test]
    fn late_reports_end_up_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path, header(), Nanos(100)).unwrap();
        for time in [130, 110, 120] {
            recorder.record(op(time));
        }
        let streamed = file::read(&path).unwrap();
        assert_eq!(streamed.ops.len(), 3, "ops are on disk before the run is over");
        let history = recorder.finish(None).unwrap();
        assert_eq!(history.ops.iter().map(|op| (op.index, op.time.0)).collect::<Vec<_>>(), [(0, 10), (1, 20), (2, 30)]);
        assert_eq!(file::read(&path).unwrap(), history);
    }

    #[test]
    fn what_ended_early_is_not_whole_in_memory_nor_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path, header(), Nanos::ZERO).unwrap();
        recorder.record(op(5));
        let history = recorder.finish(Some("c2 ended before the trial did")).unwrap();
        assert_eq!(history.cut_off.unwrap().to_string(), "its trial ended early: c2 ended before the trial did");
        assert_eq!(file::read(&path).unwrap().cut_off, Some(crate::history::CutOff::NoMark));
    }

    #[test]
    fn a_full_disk_is_not_swallowed() {
        // Linux's /dev/full accepts an open and refuses every write.
        let refused = Recorder::create(Path::new("/dev/full"), header(), Nanos::ZERO);
        assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    }
}
