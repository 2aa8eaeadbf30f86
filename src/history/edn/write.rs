//! Our histories as Knossos reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::super::{F, History, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};

/// Why it is not clear which lock to write: Knossos' models know one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// There are several, and none was chosen.
    #[error("the history is about {} locks, and Knossos' models know one; choose it: --lock {}", .0.len(), .0.join(" | --lock "))]
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
/// and a client's death become a release in doubt, for Knossos knows no lease. What is still open stays open.
///
/// # Errors
/// The outer: the file cannot be written. The inner: it is not clear which lock is meant; then no file is begun.
pub fn write(path: &Path, history: &History, lock: Option<&LockName>) -> io::Result<Result<(), ChoiceError>> {
    if let Err(error) = is_chosen(history, lock) {
        return Ok(Err(error));
    }
    let mut writer =
        Writer { to: BufWriter::new(File::create(path)?), lines: 0, clients: BTreeMap::new(), processes: 0 };
    for op in history.ops.iter().filter(|op| op.f == F::Crash || lock.is_none() || op.lock.as_ref() == lock) {
        writer.take(op)?;
    }
    writer.to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(Ok(()))
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
    open: Option<F>,
    holds: Vec<HoldId>,
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
                client.open = (kind == OpType::Invoke).then_some(op.f);
                match (op.f, kind, &op.hold) {
                    (F::Acquire, OpType::Ok, Some(hold)) => client.holds.push(hold.clone()),
                    (F::Release, OpType::Invoke, Some(hold)) => client.holds.retain(|held| held != hold),
                    _ => {}
                }
                if kind == OpType::Info {
                    client.process = None;
                }
                self.line(process, kind, op.f, op)
            }
            (F::Lost, _) => {
                let held = client.holds.iter().position(|held| op.hold.as_ref() == Some(held));
                let Some(at) = held.filter(|_| client.open.is_none()) else { return Ok(()) };
                client.holds.remove(at);
                client.process = None;
                self.line(process, OpType::Invoke, F::Release, op)?;
                self.line(process, OpType::Info, F::Release, op)
            }
            (F::Crash, _) => {
                let (open, holds) = (client.open.take(), std::mem::take(&mut client.holds));
                client.process = None;
                match open {
                    Some(f) => self.line(process, OpType::Info, f, op),
                    None if holds.is_empty() => Ok(()),
                    None => {
                        self.line(process, OpType::Invoke, F::Release, op)?;
                        self.line(process, OpType::Info, F::Release, op)
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn line(&mut self, process: u32, kind: OpType, f: F, op: &Op) -> io::Result<()> {
        let kind = match kind {
            OpType::Invoke => "invoke",
            OpType::Ok => "ok",
            OpType::Fail => "fail",
            OpType::Info => "info",
        };
        write!(self.to, "{{:process {process}, :type :{kind}, :f :{f}, :value nil")?;
        if let Some(lock) = &op.lock {
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
