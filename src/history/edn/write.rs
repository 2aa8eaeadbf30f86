//! Our histories as Knossos reads them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::super::{F, History, Op, OpType, Process};
use super::marks::{BEGIN, END};
use crate::ids::{ClientId, HoldId, LockName};

/// Why it is not clear which lock to write: Knossos' models know one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There are several, and none was chosen.
    #[error("the history is about {} locks, and Knossos' models know one; choose it: --lock {}{}", .0.len(),
        .0.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(" | --lock "), if .0.len() > 5 { " …" } else { "" })]
    SeveralLocks(Vec<String>),
    /// The one chosen is not there.
    #[error("the history is not about lock `{asked}`; it is about: {}", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
    NoSuchLock {
        /// The name asked for.
        asked: LockName,
        /// The names there are.
        known: Vec<String>,
    },
}

/// Writes the acquires and releases of one lock, one op a line; `lock` may be left out if there is only one.
///
/// A client's process number goes on as another one after an op in doubt, as Jepsen wants it, and only then. A lost signal
/// and a client's death become a release in doubt, for Knossos knows no lease; if its client held the lock several times
/// over, of the last hold only. What is still open stays open. Knossos goes by the order of the file, not by `:time`, and
/// knows no clock error: so what begins at an instant stands before what ends at it, where one order can say that.
///
/// Comments begin and end the file, so that one that was cut off can be told; a history that is cut off has only the first.
///
/// A file appears whole or not at all; to a pipe or a device, what can be written is.
///
/// # Errors
/// The outer: the file cannot be written. The inner: it is not clear which lock is meant; then no file is begun.
pub fn write(path: &Path, history: &History, lock: Option<&LockName>) -> io::Result<Result<(), ChoiceError>> {
    if let Err(error) = is_chosen(history, lock) {
        return Ok(Err(error));
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return write_to(BufWriter::new(File::create(path)?), history, lock);
    }
    let partial = path.with_extension("edn.partial");
    let written = File::create(&partial).and_then(|file| {
        let mut to = BufWriter::new(file);
        let written = write_to(&mut to, history, lock)?;
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&partial, path)?;
        Ok(written)
    });
    if written.is_err() {
        let _ = fs::remove_file(partial);
    }
    written
}

/// The same to any destination.
///
/// # Errors
/// Those of [`write`].
pub fn write_to(mut to: impl Write, history: &History, lock: Option<&LockName>) -> io::Result<Result<(), ChoiceError>> {
    if let Err(error) = is_chosen(history, lock) {
        return Ok(Err(error));
    }
    writeln!(to, "{BEGIN}")?;
    let mut writer = Writer { to, lines: 0, clients: BTreeMap::new(), processes: 0 };
    let told = |op: &&Op| {
        let of_clients = matches!(op.process, Process::Client(_)) && op.client.is_some();
        match op.f {
            F::Crash => of_clients,
            F::Acquire | F::Release | F::Lost => of_clients && (lock.is_none() || op.lock.as_ref() == lock),
            _ => false,
        }
    };
    let ops: Vec<&Op> = history.ops.iter().filter(told).collect();
    for instant in ops.chunk_by(|one, next| one.time == next.time) {
        for op in beginnings_first(instant) {
            writer.take(op)?;
        }
    }
    if history.cut_off.is_none() {
        writeln!(writer.to, "{END}{} ops", writer.lines)?;
    }
    writer.to.flush()?;
    Ok(Ok(()))
}

/// What one client does at an instant.
#[derive(Default)]
struct Turn<'a> {
    /// Its ops, with their places.
    ops: VecDeque<(usize, &'a Op)>,
    /// How many of them are beginnings.
    beginnings: usize,
}

impl Turn<'_> {
    /// When its next op is due: a beginning, then an end that a beginning waits for, then the others.
    fn rank(&self) -> Option<(bool, bool, usize, Option<ClientId>)> {
        let (place, op) = self.ops.front()?;
        Some((op.kind != OpType::Invoke, self.beginnings == 0, *place, op.client))
    }
}

/// Orders the ops of one instant: as many beginnings as possible before the ends, each client's ops in their own order.
fn beginnings_first<'a>(instant: &[&'a Op]) -> Vec<&'a Op> {
    let mut turns: BTreeMap<Option<ClientId>, Turn<'a>> = BTreeMap::new();
    for (place, op) in instant.iter().enumerate() {
        let turn = turns.entry(op.client).or_default();
        turn.ops.push_back((place, op));
        turn.beginnings += usize::from(op.kind == OpType::Invoke);
    }
    let mut ready: BTreeSet<_> = turns.values().filter_map(Turn::rank).collect();
    let mut ordered = Vec::with_capacity(instant.len());
    while let Some((ends, .., client)) = ready.pop_first() {
        let Some(turn) = turns.get_mut(&client) else { continue };
        turn.beginnings -= usize::from(!ends);
        ordered.extend(turn.ops.pop_front().map(|(_, op)| op));
        ready.extend(turn.rank());
    }
    ordered
}

/// Whether it is clear which lock is meant, and it is there.
fn is_chosen(history: &History, lock: Option<&LockName>) -> Result<(), ChoiceError> {
    let locks: BTreeSet<&LockName> = history.ops.iter().filter_map(|op| op.lock.as_ref()).collect();
    let known = || locks.iter().map(ToString::to_string).collect();
    match lock {
        None if locks.len() > 1 => Err(ChoiceError::SeveralLocks(known())),
        Some(asked) if !locks.contains(asked) => Err(ChoiceError::NoSuchLock { asked: asked.clone(), known: known() }),
        _ => Ok(()),
    }
}

struct Writer<W> {
    to: W,
    lines: u64,
    clients: BTreeMap<ClientId, Client>,
    processes: u32,
}

#[derive(Default)]
struct Client {
    process: Option<u32>,
    /// What it has begun, on which lock.
    open: Option<(F, Option<LockName>)>,
    holds: Vec<(HoldId, LockName)>,
}

impl<W: Write> Writer<W> {
    fn take(&mut self, op: &Op) -> io::Result<()> {
        let (Process::Client(_), Some(id)) = (op.process, op.client) else { return Ok(()) };
        let client = self.clients.entry(id).or_default();
        let process = *client.process.get_or_insert_with(|| {
            self.processes += 1;
            self.processes - 1
        });
        match (op.f, op.kind) {
            (F::Acquire | F::Release, kind) => {
                client.open = (kind == OpType::Invoke).then(|| (op.f, op.lock.clone()));
                match (op.f, kind, &op.hold, &op.lock) {
                    (F::Acquire, OpType::Ok, Some(hold), Some(lock)) => client.holds.push((hold.clone(), lock.clone())),
                    (F::Release, OpType::Invoke, Some(hold), _) => client.holds.retain(|(held, _)| held != hold),
                    _ => {}
                }
                if kind == OpType::Info {
                    client.process = None;
                }
                self.line(process, kind, op.f, op, op.lock.as_ref())
            }
            (F::Lost, _) => {
                let held = client.holds.iter().position(|(held, _)| op.hold.as_ref() == Some(held));
                let Some(at) = held.filter(|_| client.open.is_none()) else { return Ok(()) };
                let (_, lock) = client.holds.remove(at);
                client.process = None;
                self.line(process, OpType::Invoke, F::Release, op, Some(&lock))?;
                self.line(process, OpType::Info, F::Release, op, Some(&lock))
            }
            (F::Crash, _) => {
                let (open, mut holds) = (client.open.take(), std::mem::take(&mut client.holds));
                client.process = None;
                match (open, holds.pop()) {
                    (Some((f, lock)), _) => self.line(process, OpType::Info, f, op, lock.as_ref()),
                    (None, None) => Ok(()),
                    (None, Some((_, lock))) => {
                        self.line(process, OpType::Invoke, F::Release, op, Some(&lock))?;
                        self.line(process, OpType::Info, F::Release, op, Some(&lock))
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn line(&mut self, process: u32, kind: OpType, f: F, op: &Op, lock: Option<&LockName>) -> io::Result<()> {
        let kind = match kind {
            OpType::Invoke => "invoke",
            OpType::Ok => "ok",
            OpType::Fail => "fail",
            OpType::Info => "info",
        };
        write!(self.to, "{{:process {process}, :type :{kind}, :f :{f}, :value nil")?;
        if let Some(lock) = lock {
            write!(self.to, ", :lock {}", clojure_reader::edn::Edn::string(lock.as_str()))?;
        }
        if let Some(token) = op.token {
            write!(self.to, ", :token {token}")?;
        }
        writeln!(self.to, ", :time {}, :index {}}}", op.time.0, self.lines)?;
        self.lines += 1;
        Ok(())
    }
}
