//! Our histories as Knossos reads them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::super::{F, History, Op, OpType, Plain};
use super::marks::{BEGIN, END, KIND};
use crate::ids::{ClientId, LockName};
use crate::lock_kind::LockKind;
use crate::time::Nanos;

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
/// A client's process number goes on as another one after an op in doubt or a death, as Jepsen wants it, and only then.
/// A hold that was lost, or whose client died, is released in that instant (see `plain`), for Knossos knows no lease;
/// what was open at a death is in doubt. What is still open stays open. `:client` says who acts, `:valid-until` on a
/// grant how far its validity got: renewals have no place of their own, and one that came too late is left out. Knossos
/// goes by the order of the file, not by `:time`, and knows no clock error: so what begins at an instant stands before
/// what ends at it, where one order can say that.
///
/// Comments begin and end the file, so that one that was cut off can be told; a history that is cut off has only the
/// first. The first says, too, of what kind a lock is that is no mutex.
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
    match history.header.kind {
        LockKind::Mutex => writeln!(to, "{BEGIN}")?,
        kind => writeln!(to, "{BEGIN}{KIND}{kind}")?,
    }
    let promised = history.holds().iter().filter_map(|hold| Some((hold.granted, hold.promised_until()?))).collect();
    let mut writer = Writer { to, lines: 0, acting: BTreeMap::new(), promised: &promised, processes: 0 };
    let plain = Plain::of(&history.ops);
    let wanted = |op: &&Op| op.f == F::Crash || lock.is_none() || op.lock.as_ref() == lock;
    let ops: Vec<&Op> = plain.ops().filter(wanted).collect();
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

struct Writer<'a, W> {
    to: W,
    lines: u64,
    /// The number of the process as which each client acts.
    acting: BTreeMap<ClientId, u32>,
    /// Until when each hold was promised, by the op that told of its grant.
    promised: &'a BTreeMap<u32, Nanos>,
    processes: u32,
}

impl<W: Write> Writer<'_, W> {
    fn take(&mut self, op: &Op) -> io::Result<()> {
        let Some(client) = op.client else { return Ok(()) };
        if op.f == F::Crash {
            self.acting.remove(&client);
            return Ok(());
        }
        let process = *self.acting.entry(client).or_insert_with(|| {
            self.processes += 1;
            self.processes - 1
        });
        if op.kind == OpType::Info {
            self.acting.remove(&client);
        }
        self.line(process, op.kind, op.f, op, client)
    }

    fn line(&mut self, process: u32, kind: OpType, f: F, op: &Op, client: ClientId) -> io::Result<()> {
        let kind = match kind {
            OpType::Invoke => "invoke",
            OpType::Ok => "ok",
            OpType::Fail => "fail",
            OpType::Info => "info",
        };
        let readers = if op.shared { "-read" } else { "" };
        write!(self.to, "{{:process {process}, :type :{kind}, :f :{f}{readers}, :value nil, :client \"{client}\"")?;
        if let Some(lock) = &op.lock {
            write!(self.to, ", :lock {}", quoted(lock.as_str()))?;
        }
        if let Some(token) = op.token {
            write!(self.to, ", :token {token}")?;
        }
        if let Some(until) = self.promised.get(&op.index).filter(|_| f == F::Acquire) {
            write!(self.to, ", :valid-until {until}", until = until.0)?;
        }
        writeln!(self.to, ", :time {}, :index {}}}", op.time.0, self.lines)?;
        self.lines += 1;
        Ok(())
    }
}

/// A text as an EDN string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}
