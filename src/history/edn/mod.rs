//! Histories in Jepsen's own notation, EDN: lock histories of other harnesses in, ours out to Knossos.
//!
//! One map an op, as in Jepsen's `history.edn`: `{:process 0, :type :invoke, :f :acquire, :value nil, :time 10}`. Of the
//! ops only `acquire` and `release` by numbered processes are read; others are counted. The order of the file is the order
//! of events, as Jepsen promises; `:time` (in nanoseconds) is bent where it says otherwise. A lock's name may stand under
//! `:lock`, also in a map in `:value`; or be the `:value`, a string or a keyword; or stand first in it, in a pair
//! (`jepsen.independent`). What stands there on a completion is a name only if it was one on the invocation: it may as
//! well say what came of it (`:value :timeout`). A token may stand under `:token`, or in `:value` as a number, second in a
//! pair, or under `:token` or `:fence` in a map, where a fence of 0 is unknown, as Hazelcast's clients mean it.
//! A file whose forms are whole counts as complete, unless it is one of ours, which say where they end.
//! Deliberately absent: any judgement, and what is not about locks.

mod forms;
mod marks;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use clojure_reader::edn::{self, Edn};

use super::file::{HistoryError, share};
use super::{F, Header, History, Op, OpType, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::seed::Seed;
use crate::time::Nanos;
use forms::{CutError, Forms};
use marks::Watched;
pub use write::{ChoiceError, write, write_to};

/// What a history from elsewhere gives as its environment.
pub const FOREIGN: &str = "foreign";

/// 146 years. Times are bent upwards where they contradict the order of the file, and must stay numbers of EDN.
const LATEST: u64 = 1 << 62;

/// A history from elsewhere.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its acquires and releases. Each process counts as a client.
    pub history: History,
    /// How many other ops it has.
    pub passed_over: u64,
}

/// Reads a history in EDN.
///
/// # Errors
/// A file that cannot be read, or an op that is none, with its line: also one that breaks Jepsen's rules for processes,
/// since guessing what was meant would be judging something else.
pub fn read(path: &Path) -> Result<Foreign, HistoryError> {
    let io = |source| HistoryError::Io { path: path.to_owned(), source };
    read_from(BufReader::new(File::open(path).map_err(io)?), path)
}

/// The same from any source, which errors call `path`. Beside the history it needs memory for one op only.
///
/// # Errors
/// Those of [`read`].
pub fn read_from(reader: impl BufRead, path: &Path) -> Result<Foreign, HistoryError> {
    let name = path.file_stem().map_or_else(|| FOREIGN.to_owned(), |stem| stem.to_string_lossy().into_owned());
    foreign(reader, &name).map_err(|error| match error {
        CutError::Io(source) => HistoryError::Io { path: path.to_owned(), source },
        CutError::Malformed(line, reason) => HistoryError::malformed(path, line, &reason),
    })
}

/// Whether a file is EDN rather than JSON lines: by its name, or else by its first characters.
///
/// # Errors
/// The file cannot be read.
pub fn is_edn(path: &Path) -> Result<bool, HistoryError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("edn")) {
        return Ok(true);
    }
    let io = |source| HistoryError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let start = reader.fill_buf().map_err(io)?.trim_ascii_start();
    // `#jepsen.history.Op{…}`; a heading or a comment has no letter there.
    let is_tag = start.first() == Some(&b'#') && start.get(1).is_some_and(u8::is_ascii_alphabetic);
    Ok(is_tag
        || start.starts_with(marks::BEGIN.as_bytes())
        || [&b"{:"[..], b"[{:", b"({:"].iter().any(|opening| start.starts_with(opening)))
}

fn foreign(reader: impl BufRead, name: &str) -> Result<Foreign, CutError> {
    let mut watched = Watched::new(reader);
    let mut forms = Forms::new(&mut watched);
    let mut reading = Reading::default();
    while let Some((line, text)) = forms.next()? {
        let malformed = |reason| CutError::Malformed(line, reason);
        let form = edn::read_string(&text).map_err(|error| malformed(format!("not EDN: {:?}", error.code)))?;
        reading.take(&form).map_err(malformed)?;
    }
    let header = Header {
        fencepost: super::FORMAT,
        scenario: name.to_owned(),
        lock: FOREIGN.to_owned(),
        algorithm: FOREIGN.to_owned(),
        environment: FOREIGN.to_owned(),
        seed: Seed(0),
        clients: u32::try_from(reading.processes.len()).unwrap_or(u32::MAX),
        nodes: 0,
        fencing: "none".to_owned(),
        planned_faults: 0,
        plan: Vec::new(),
        grant_within: None,
        clock_error: 0,
        versions: BTreeMap::new(),
    };
    let cut_off = watched.cut_off(reading.ops.len() as u64 + reading.passed_over);
    Ok(Foreign { history: History { header, ops: reading.ops, cut_off }, passed_over: reading.passed_over })
}

#[derive(Default)]
struct Reading {
    ops: Vec<Op>,
    passed_over: u64,
    locks: BTreeSet<LockName>,
    processes: BTreeMap<u32, Life>,
}

/// What a process has done so far.
#[derive(Default)]
struct Life {
    attempts: u32,
    open: Option<Open>,
    retired: bool,
    /// What it was granted and has not released, the last grant last.
    held: Vec<(LockName, HoldId)>,
    last: BTreeMap<LockName, HoldId>,
}

/// What a process has begun and not completed.
struct Open {
    f: F,
    lock: LockName,
    hold: HoldId,
    /// Whether the lock's name was the `:value`, or first in it.
    by_value: bool,
}

/// What one map says.
struct Said {
    process: u32,
    kind: OpType,
    f: F,
    /// The lock's name, where nothing else can be meant.
    lock: Option<LockName>,
    /// What may be the lock's name: the `:value`, or the first of a pair there.
    value: Option<LockName>,
    token: Option<FencingToken>,
    time: Option<u64>,
    error: Option<String>,
}

impl Reading {
    fn take(&mut self, form: &Edn<'_>) -> Result<(), String> {
        let Some(said) = said(form)? else {
            self.passed_over += 1;
            return Ok(());
        };
        let Said { process, kind, f, .. } = said;
        let life = self.processes.entry(process).or_default();
        let (lock, hold) = if kind == OpType::Invoke {
            if life.retired {
                return Err(format!(
                    "process {process} acts after an op in doubt (:info); another process number goes on"
                ));
            }
            if life.open.is_some() {
                return Err(format!(
                    "process {process} begins while its last op is open; a process does one thing at a time"
                ));
            }
            let by_value = said.lock.is_none() && said.value.is_some();
            let mut lock = said.lock.or(said.value).unwrap_or_else(|| LockName::new("lock"));
            share(&mut self.locks, &mut lock);
            let hold = life.begin(process, f, &lock);
            life.open = Some(Open { f, lock: lock.clone(), hold: hold.clone(), by_value });
            (lock, hold)
        } else {
            let Some(Open { lock, hold, by_value, .. }) = life.open.take().filter(|open| open.f == f) else {
                return Err(format!(
                    "process {process} completes :{f}, which it had not begun; every completion follows an :invoke"
                ));
            };
            let named = said.lock.or(said.value.filter(|_| by_value));
            if named.is_some_and(|named| named != lock) {
                return Err(format!(
                    "process {process} completes :{f} on another lock than `{lock}`, on which it began"
                ));
            }
            life.complete(f, kind, &lock, &hold);
            (lock, hold)
        };
        let last = self.ops.last().map(|op| op.time.0);
        // A step where there is no time: a millisecond, so that it can be read.
        let time = said.time.unwrap_or_else(|| last.map_or(0, |last| last + 1_000_000));
        let mut op = Op::new(Nanos(last.map_or(time, |last| time.max(last + 1))), Process::Client(process), kind, f);
        op.index = self.ops.len() as u32;
        op.client = Some(ClientId(process));
        op.lock = Some(lock);
        op.hold = Some(hold);
        op.token = said.token.filter(|_| (f, kind) == (F::Acquire, OpType::Ok));
        if said.error.is_some() {
            op.error = said.error;
        }
        self.ops.push(op);
        Ok(())
    }
}

impl Life {
    /// The hold that an op begins or gives up.
    fn begin(&mut self, process: u32, f: F, lock: &LockName) -> HoldId {
        if f == F::Acquire {
            self.attempts += 1;
            return HoldId::new(format!("c{process}-{}", self.attempts));
        }
        let held = self.held.iter().rposition(|(held, _)| held == lock).map(|at| self.held.remove(at).1);
        held.or_else(|| self.last.get(lock).cloned()).unwrap_or_else(|| HoldId::new(format!("c{process}-0")))
    }

    fn complete(&mut self, f: F, kind: OpType, lock: &LockName, hold: &HoldId) {
        self.retired = kind == OpType::Info;
        match (f, kind) {
            (F::Acquire, OpType::Ok) => {
                self.last.insert(lock.clone(), hold.clone());
                self.held.push((lock.clone(), hold.clone()));
            }
            // If it did nothing, the next one is about the same hold.
            (F::Release, OpType::Fail) if self.last.contains_key(lock) => self.held.push((lock.clone(), hold.clone())),
            _ => {}
        }
    }
}

/// What a map says, or nothing if it is not about a lock.
fn said(form: &Edn<'_>) -> Result<Option<Said>, String> {
    let map = match form {
        Edn::Tagged(_, map) => map,
        map => map,
    };
    if !matches!(map, Edn::Map(_)) {
        return Err("not an op; an op is a map such as {:process 0, :type :invoke, :f :acquire}".to_owned());
    }
    let get = |name: &'static str| map.get(&Edn::key(name)).filter(|value| !matches!(value, Edn::Nil));
    let need = |name: &'static str| get(name).ok_or_else(|| format!("lacks :{name}; an op has :process, :type and :f"));
    let (process, kind, f) = (need("process")?, need("type")?, need("f")?);
    let kind = match word(kind) {
        Some("invoke") => OpType::Invoke,
        Some("ok") => OpType::Ok,
        Some("fail") => OpType::Fail,
        Some("info") => OpType::Info,
        _ => return Err(format!("its :type is {kind}; there are :invoke, :ok, :fail and :info")),
    };
    let (process, f) = match (process, word(f)) {
        (Edn::Int(process), Some("acquire")) => (process, F::Acquire),
        (Edn::Int(process), Some("release")) => (process, F::Release),
        (Edn::Int(_) | Edn::Key(_) | Edn::Symbol(_) | Edn::Str(_), _) => return Ok(None),
        _ => return Err(format!("its :process is {process}; it is a number, or a name such as :nemesis")),
    };
    let process =
        u32::try_from(*process).map_err(|_| format!("its :process is {process}; numbers go from 0 to {}", u32::MAX))?;
    let count = |name: &'static str| match get(name) {
        None => Ok(None),
        Some(Edn::Int(count)) if *count >= 0 => Ok(Some(count.unsigned_abs())),
        Some(other) => Err(format!("its :{name} is {other}; it is a whole number, 0 or more")),
    };
    let value = get("value");
    let within = |name: &'static str| value.filter(|value| matches!(value, Edn::Map(_)))?.get(&Edn::key(name));
    let pair = match value {
        Some(Edn::Vector(pair)) if pair.len() == 2 => Some((&pair[0], &pair[1])),
        _ => None,
    };
    let named = value.filter(|value| matches!(value, Edn::Str(_) | Edn::Key(_)));
    let name = |edn: Option<&Edn<'_>>| match edn {
        None | Some(Edn::Nil) => Ok(None),
        Some(Edn::Str(name) | Edn::Key(name) | Edn::Symbol(name)) => Ok(Some(LockName::new(name.as_ref()))),
        Some(Edn::Int(number)) => Ok(Some(LockName::new(number.to_string()))),
        Some(other) => Err(format!("its lock's name is {other}; it is a string, a keyword or a number")),
    };
    let lock = name(get("lock").or(within("lock")))?;
    let value_as_name = match name(pair.map(|(first, _)| first).or(named)) {
        Err(reason) if kind == OpType::Invoke && lock.is_none() => return Err(reason),
        name => name.unwrap_or_default(),
    };
    let number = |edn: Option<&Edn<'_>>| match edn {
        Some(Edn::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    let token = count("token")?
        .or_else(|| number(value))
        .or_else(|| number(pair.map(|(_, token)| token)))
        .or_else(|| number(within("token")))
        .or_else(|| number(within("fence")).filter(|fence| *fence > 0));
    let time = count("time")?;
    if let Some(time) = time.filter(|time| *time > LATEST) {
        return Err(format!("its :time is {time}; it is in nanoseconds since the start, at most {LATEST}"));
    }
    let error = get("error").map(ToString::to_string);
    let token = token.map(FencingToken);
    Ok(Some(Said { process, kind, f, lock, value: value_as_name, token, time, error }))
}

/// A keyword, symbol or string as text.
fn word<'a>(edn: &'a Edn<'_>) -> Option<&'a str> {
    match edn {
        Edn::Key(word) | Edn::Symbol(word) | Edn::Str(word) => Some(word),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
