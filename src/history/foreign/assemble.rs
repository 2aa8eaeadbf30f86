//! From what ops say to a history: who acts, on which lock, under which hold.

mod answers;
mod order;
mod owners;
mod shapes;

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::fields::Fields;
use super::naming::{Keys, Mode, Naming, Role, Verb, may_end};
use super::notation::Value;
use super::survey::{self, LockPlace, Places};
use crate::history::{F, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;
use answers::{is_answer, may_name};
pub(super) use order::told_time;
use owners::no_process;
pub(super) use shapes::Shapes;

/// 146 years. Times are bent upwards where they contradict the order of the ops, and must stay numbers of EDN.
const LATEST: u64 = 1 << 62;
/// The lock's name where none is said.
const ONE_LOCK: &str = "lock";
/// Where processes with names are counted from, in histories that have numbered ones too.
const NAMED: u32 = 1_000_000;

/// Why an op cannot be taken.
pub(super) enum Trouble {
    /// It breaks a rule, which is said.
    Malformed(String),
    /// Ops do not stand in the order of their indices.
    Disorder,
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Malformed(reason)
    }
}

/// A history in the making.
pub(super) struct Assembly<'k> {
    keys: &'k Keys,
    naming: &'k Naming,
    places: &'k Places,
    /// Whether we wrote it: then a client that goes on after an op in doubt counts as another owner, as it does in the
    /// history that it was written from.
    ours: bool,
    index: u32,
    last: Option<u64>,
    order: Ordered,
    locks: FxHashMap<String, LockName>,
    one_lock: LockName,
    processes: FxHashMap<u32, Life>,
    names: FxHashMap<String, u32>,
    owners: FxHashMap<Owner, ClientId>,
    clients: FxHashMap<ClientId, Owned>,
    /// What was learnt that is worth telling.
    pub found: Found,
}

/// What was learnt while ops were taken.
#[derive(Default)]
pub(super) struct Found {
    /// Ops that were passed over, by their `:f`.
    pub passed_over: BTreeMap<String, u64>,
    /// Locks that no model can judge, and why.
    pub unclear: BTreeMap<LockName, String>,
    /// Acquires that went well and were granted nothing.
    pub refused: u64,
    /// A verb of a client that was passed over and may end what the client holds.
    pub ends: Option<String>,
    /// What acquires that went well were answered with.
    pub shapes: Shapes,
    /// Grants with a token.
    pub tokens: u64,
    /// Tokens that are no numbers.
    pub strange_tokens: u64,
    /// Grants with a validity, and without.
    pub valid_until: u64,
    pub without_validity: u64,
    /// The clients of named processes.
    pub named: Vec<(ClientId, String)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Owner {
    Process(u32),
    Thread(u32),
    Named(String),
}

/// What a process has done so far.
#[derive(Default)]
struct Life {
    open: Option<Open>,
    retired: bool,
    /// Whether it has a name. Names do not retire: who is called `worker-a` goes on as `worker-a`.
    named: bool,
    /// The owner that it last named.
    client: Option<ClientId>,
    /// When it asked for a hold to last longer, while that is open.
    extending: Option<u64>,
}

/// What a process has begun and not completed.
struct Open {
    f: F,
    lock: LockName,
    hold: HoldId,
    /// Whether the lock's name was the `:value`, or first in it.
    by_value: bool,
    shared: bool,
    /// When it began.
    at: u64,
    client: ClientId,
    /// A release of what its owner is known to hold: how many acquires were in doubt when that was granted.
    held_since: Option<usize>,
}

/// What a client has.
#[derive(Default)]
struct Owned {
    attempts: u32,
    /// What it was granted and has not released, the last grant last.
    held: Vec<Held>,
    /// Its last hold of each lock.
    last: Vec<(LockName, HoldId)>,
    /// Attempts in doubt.
    doubtful: Vec<(LockName, HoldId)>,
    /// Of which locks a release is in doubt.
    abandoned: Vec<LockName>,
}

#[derive(Clone)]
struct Held {
    lock: LockName,
    hold: HoldId,
    shared: bool,
    /// How many of its owner's acquires of this lock were in doubt when it was granted.
    since: usize,
}

impl Owned {
    /// How many acquires of a lock are in doubt.
    fn doubts(&self, lock: &LockName) -> usize {
        self.doubtful.iter().filter(|(of, _)| of == lock).count()
    }
}

/// How indices and times agree with the order in which ops come.
#[derive(Default)]
struct Ordered {
    first_index: Option<i128>,
    last_index: Option<i128>,
    useless: bool,
    earliest: Option<u64>,
    latest: u64,
    /// By how much a time goes back at most, and on which line.
    back: (u64, usize),
}

impl<'k> Assembly<'k> {
    pub(super) fn new(keys: &'k Keys, naming: &'k Naming, places: &'k Places, ours: bool) -> Self {
        Self {
            ours,
            keys,
            naming,
            places,
            index: 0,
            last: None,
            order: Ordered::default(),
            locks: FxHashMap::default(),
            one_lock: LockName::new(ONE_LOCK),
            processes: FxHashMap::default(),
            names: FxHashMap::default(),
            owners: FxHashMap::default(),
            clients: FxHashMap::default(),
            found: Found::default(),
        }
    }

    /// Takes the next op. Of one that is not about a lock nothing comes.
    pub(super) fn take(&mut self, line: usize, fields: &Fields<'_>) -> Result<Option<Op>, Trouble> {
        self.in_order(line, fields)?;
        let need = |field: &Option<Value<'_>>, name: &str| match field {
            None | Some(Value::Nil) => Err(format!("lacks :{name}; an op has :process, :type and :f")),
            Some(_) => Ok(()),
        };
        need(&fields.process, "process")?;
        need(&fields.kind, "type")?;
        need(&fields.f, "f")?;
        let (Some(process), Some(kind), Some(f)) = (&fields.process, &fields.kind, &fields.f) else { return Ok(None) };
        let Some(kind) = fields.kind() else {
            return Err(format!("its :type is {}; there are :invoke, :ok, :fail and :info", kind.written()).into());
        };
        let verb = f.word().map_or(Verb::Other, Verb::of);
        let (acquires, mode) = match verb {
            Verb::Acquire(mode) => (true, Some(mode)),
            Verb::Release(mode) => (false, mode),
            Verb::Extend if self.naming.leased => return self.extended(process, kind, f, fields),
            _ => {
                if !matches!(process, Value::Number(_) | Value::Word(_) | Value::Text(_)) {
                    return Err(no_process(process).into());
                }
                self.pass_over(f, verb, kind, fields);
                return Ok(None);
            }
        };
        let Some(process) = self.process(process)? else {
            self.pass_over(f, Verb::Other, kind, fields);
            return Ok(None);
        };
        let time = self.time(fields)?;
        let shared = mode == Some(Mode::Shared);
        let said_owner = self.owner(process, fields);
        let mut op = if kind == OpType::Invoke {
            self.invoked(process, acquires, shared, mode, said_owner, fields, time)?
        } else {
            self.completed(process, kind, acquires, said_owner, fields, time)?
        };
        op.index = self.index;
        self.index += 1;
        self.last = Some(time);
        if let Some(error) = fields.error.as_ref().filter(|error| **error != Value::Nil) {
            op.error = Some(error.written());
        }
        Ok(Some(op))
    }

    /// A renewal. What comes of it is one op: from when it went well, the hold is valid for as long as it says, counted
    /// from when it was asked for.
    fn extended(
        &mut self,
        process: &Value<'_>,
        kind: OpType,
        f: &Value<'_>,
        fields: &Fields<'_>,
    ) -> Result<Option<Op>, Trouble> {
        let Some(process) = self.process(process)? else {
            self.pass_over(f, Verb::Extend, kind, fields);
            return Ok(None);
        };
        let time = self.time(fields)?;
        let said_owner = self.owner(process, fields);
        let life = self.processes.entry(process).or_default();
        if kind == OpType::Invoke {
            life.extending = Some(time);
            return Ok(None);
        }
        let known = said_owner.or(life.client);
        let Some(asked) = life.extending.take().filter(|_| kind == OpType::Ok) else { return Ok(None) };
        if self.refuses(fields, true) && !matches!(fields.value, None | Some(Value::Nil)) {
            return Ok(None);
        }
        let client = known.unwrap_or_else(|| self.client(Owner::Process(process)));
        let named = self.lock(fields, true).0;
        let fits = |held: &&Held| named.as_ref().is_none_or(|named| *named == held.lock);
        let held = self.clients.get(&client).and_then(|owned| owned.held.iter().rev().find(fits));
        let Some(Held { lock, hold, shared, .. }) = held.cloned() else { return Ok(None) };
        let Some(until) = self.valid_until(fields, asked)? else {
            self.unclear(lock, || {
                format!("`:{}` makes a hold last longer, and nothing says how long: --lease 10s", f.name())
            });
            return Ok(None);
        };
        let mut op = self.op(time, process, OpType::Ok, F::Extend, client, &lock, &hold, shared);
        op.valid_until = Some(Nanos(until));
        op.index = self.index;
        self.index += 1;
        self.last = Some(time);
        Ok(Some(op))
    }

    #[allow(clippy::too_many_arguments, reason = "what one op says")]
    fn invoked(
        &mut self,
        process: u32,
        acquires: bool,
        shared: bool,
        mode: Option<Mode>,
        said_owner: Option<ClientId>,
        fields: &Fields<'_>,
        time: u64,
    ) -> Result<Op, Trouble> {
        let life = self.processes.entry(process).or_default();
        if life.retired {
            let reason = format!("process {process} acts after an op in doubt (:info); another process number goes on");
            return Err(reason.into());
        }
        if life.open.is_some() {
            let reason =
                format!("process {process} begins while its last op is open; a process does one thing at a time");
            return Err(reason.into());
        }
        let known = said_owner.or(life.client);
        let client = match known {
            Some(client) => client,
            None => self.client(Owner::Process(process)),
        };
        let (named, by_value) = self.lock(fields, true);
        let f = if acquires { F::Acquire } else { F::Release };
        let owned = self.clients.entry(client).or_default();
        let mut held_since = None;
        let (lock, hold, shared) = if acquires {
            owned.attempts += 1;
            (named.unwrap_or_else(|| self.one_lock.clone()), HoldId::numbered(client, owned.attempts), shared)
        } else {
            let fits = |held: &Held| {
                named.as_ref().is_none_or(|named| *named == held.lock)
                    && mode.is_none_or(|mode| held.shared == (mode == Mode::Shared))
            };
            match owned.held.iter().rposition(fits) {
                Some(at) => {
                    let held = owned.held.remove(at);
                    held_since = Some(held.since);
                    (held.lock, held.hold, held.shared)
                }
                None => {
                    let lock = named.unwrap_or_else(|| self.one_lock.clone());
                    let of = |list: &[(LockName, HoldId)]| {
                        list.iter().rev().find(|(of, _)| *of == lock).map(|(_, hold)| hold.clone())
                    };
                    let hold = of(&owned.last).or_else(|| of(&owned.doubtful));
                    let hold = hold.unwrap_or_else(|| HoldId::numbered(client, 0));
                    (lock, hold, shared)
                }
            }
        };
        if acquires {
            self.counts_permits(fields, &lock);
        }
        let op = self.op(time, process, OpType::Invoke, f, client, &lock, &hold, shared);
        let open = Open { f, lock, hold, by_value, shared, at: time, client, held_since };
        self.processes.entry(process).or_default().open = Some(open);
        Ok(op)
    }

    fn completed(
        &mut self,
        process: u32,
        kind: OpType,
        acquires: bool,
        said_owner: Option<ClientId>,
        fields: &Fields<'_>,
        time: u64,
    ) -> Result<Op, Trouble> {
        let f = if acquires { F::Acquire } else { F::Release };
        let life = self.processes.entry(process).or_default();
        let Some(open) = life.open.take().filter(|open| open.f == f) else {
            let reason = format!(
                "process {process} completes :{f}, which it had not begun; every completion follows an :invoke"
            );
            return Err(reason.into());
        };
        life.retired = kind == OpType::Info && !life.named;
        if let Some(client) = said_owner {
            life.client = Some(client);
        }
        let (named, by_value) = self.lock(fields, false);
        let is_other =
            named.is_some_and(|named| named != open.lock && (!by_value || (open.by_value && kind == OpType::Ok)));
        if is_other {
            let reason = format!(
                "process {process} completes :{f} on another lock than `{}`, on which it began; --lock-key says which key \
                 names the lock, `none` that there is one",
                open.lock
            );
            return Err(reason.into());
        }
        // A lock may be called `busy`.
        let is_name = open.by_value && fields.value.as_ref().is_some_and(|value| value.name() == open.lock.as_str());
        let refused = kind == OpType::Ok && !is_name && self.refuses(fields, acquires);
        self.found.refused += u64::from(refused && acquires);
        let kind = if refused { OpType::Fail } else { kind };
        let Open { lock, hold, shared, client: asked, at, held_since, .. } = open;
        let ours = self.ours;
        let client = said_owner.filter(|_| acquires).unwrap_or(asked);
        let mut op = self.op(time, process, kind, f, client, &lock, &hold, shared);
        if (f, kind) == (F::Acquire, OpType::Ok) {
            self.counts_permits(fields, &lock);
            let repeats = by_value || fields.value.as_ref().is_some_and(|value| value.name() == lock.as_str());
            if !repeats {
                self.found.shapes.take(&lock, fields.value.as_ref());
            }
            op.token = self.token(fields, &lock)?;
            self.found.tokens += u64::from(op.token.is_some());
            let valid_until = self.valid_until(fields, at)?;
            if shared && !self.naming.readers {
                self.unclear(lock.clone(), || {
                    "readers share it, which the model does not know: --model read-write".to_owned()
                });
            }
            if valid_until.is_some() {
                op.valid_until = valid_until.map(Nanos);
                self.found.valid_until += 1;
            } else {
                self.found.without_validity += 1;
            }
        }
        let may_be_anothers = f == F::Release
            && !ours
            && held_since.is_none()
            && matches!(kind, OpType::Ok | OpType::Info)
            && self.may_be_anothers(client, process, &lock);
        let owned = self.clients.entry(client).or_default();
        match (f, kind) {
            (F::Acquire, OpType::Ok) => {
                match owned.last.iter_mut().find(|(of, _)| *of == lock) {
                    Some(last) => last.1 = hold.clone(),
                    None => owned.last.push((lock.clone(), hold.clone())),
                }
                let since = owned.doubts(&lock);
                owned.held.push(Held { lock, hold, shared, since });
            }
            (F::Acquire, OpType::Info) => owned.doubtful.push((lock, hold)),
            // If it did nothing, the next one is about the same hold.
            (F::Release, OpType::Fail) if owned.last.iter().any(|(of, _)| *of == lock) => {
                let since = owned.doubts(&lock);
                owned.held.push(Held { lock, hold, shared, since });
            }
            // What its owner has may be what the op in doubt gave it: the models' owners end with such an op.
            (F::Release, OpType::Ok) if !ours && owned.doubts(&lock) > held_since.unwrap_or_default() => {
                self.unclear(lock, || {
                    format!("{client} released it with success after an acquire in doubt, which may have been granted")
                });
            }
            (F::Release, OpType::Info) if held_since.is_some() => owned.abandoned.push(lock),
            (F::Release, OpType::Ok | OpType::Info) if may_be_anothers => {
                let reason = format!(
                    "process {process} released it, and nothing says whose hold that was: a process that retired may have \
                     had it, as the same owner; name the owners (--owner-key KEY), or say how many threads there were \
                     (--threads N)"
                );
                self.unclear(lock, || reason);
            }
            _ => {}
        }
        Ok(op)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of an op")]
    fn op(
        &self,
        time: u64,
        process: u32,
        kind: OpType,
        f: F,
        client: ClientId,
        lock: &LockName,
        hold: &HoldId,
        shared: bool,
    ) -> Op {
        let mut op = Op::new(Nanos(time), Process::Client(process), kind, f);
        op.client = Some(client);
        op.lock = Some(lock.clone());
        op.hold = Some(hold.clone());
        if shared {
            op.shared = true;
        }
        op
    }

    /// An acquire that says how many permits it asks for is one of a semaphore, of which the model takes one an
    /// acquire.
    fn counts_permits(&mut self, fields: &Fields<'_>, lock: &LockName) {
        let within = || match fields.within(self.keys, |role| matches!(role, Role::Permits(_)))? {
            (Role::Permits(sure), count) => Some((count, sure)),
            _ => None,
        };
        let Some((count, sure)) = fields.permits.clone().or_else(within) else { return };
        match count.number() {
            Some(1) | None if self.naming.permits => {}
            Some(count) if self.naming.permits => self.unclear(lock.clone(), || {
                format!("{count} permits are acquired at once, and the model takes an acquire for one permit")
            }),
            Some(_) if sure => self.unclear(lock.clone(), || {
                "acquires say how many permits they ask for, which the model does not know: --model semaphore:K"
                    .to_owned()
            }),
            _ => {}
        }
    }

    fn unclear(&mut self, lock: LockName, why: impl FnOnce() -> String) {
        self.found.unclear.entry(lock).or_insert_with(why);
    }

    fn pass_over(&mut self, f: &Value<'_>, verb: Verb, kind: OpType, fields: &Fields<'_>) {
        let name = f.name();
        let is_clients =
            !matches!(&fields.process, Some(Value::Word(who) | Value::Text(Cow::Borrowed(who))) if *who == "nemesis");
        if self.found.ends.is_none() && is_clients && !matches!(&*name, "read" | "write") && may_end(&name) {
            self.found.ends = Some(name.clone().into_owned());
        }
        let passed_over = &mut self.found.passed_over;
        // Whatever a file says, this is for people.
        let is_full = passed_over.len() >= 64;
        match passed_over.get_mut(name.as_ref()) {
            Some(count) => *count += 1,
            None if is_full => *passed_over.entry("other ops".to_owned()).or_default() += 1,
            None => drop(passed_over.insert(name.into_owned(), 1)),
        }
        if verb != Verb::Unclear || kind == OpType::Fail {
            return;
        }
        if let Some(Value::Word(process)) = &fields.process
            && matches!(*process, "nemesis")
        {
            return;
        }
        let lock = self.lock(fields, true).0.unwrap_or_else(|| self.one_lock.clone());
        let f = f.name().into_owned();
        self.unclear(lock, || format!("`:{f}` changes what it does to a lock in a way that the models do not know"));
    }

    /// The lock's name, where it is said, and whether `:value` says it.
    fn lock(&mut self, fields: &Fields<'_>, invoked: bool) -> (Option<LockName>, bool) {
        if self.places.lock_key
            && let Some(lock) = survey::lock_by_key(fields, self.keys)
        {
            return (Some(self.shared_name(lock.name())), false);
        }
        let Some(value) = &fields.value else { return (None, false) };
        let name = match self.places.lock {
            LockPlace::Nowhere => None,
            LockPlace::First => value.pair().map(|(first, _)| first.name().into_owned()).map(Cow::Owned),
            // A completion may as well say what came of it.
            LockPlace::Value if !invoked && !may_name(value) => None,
            LockPlace::Value if !invoked && is_answer(&value.name()) => None,
            LockPlace::Value => survey::as_name(value, self.keys),
        };
        let name = name.map(|name| match self.locks.get(name.as_ref()) {
            Some(lock) => lock.clone(),
            None => {
                let lock = LockName::new(name.as_ref());
                self.locks.insert(name.into_owned(), lock.clone());
                lock
            }
        });
        let by_value = name.is_some();
        (name, by_value)
    }

    fn shared_name(&mut self, name: Cow<'_, str>) -> LockName {
        if let Some(lock) = self.locks.get(name.as_ref()) {
            return lock.clone();
        }
        let lock = LockName::new(name.as_ref());
        self.locks.insert(name.into_owned(), lock.clone());
        lock
    }

    /// How many clients took part.
    pub(super) fn clients(&self) -> u32 {
        u32::try_from(self.clients.len()).unwrap_or(u32::MAX)
    }
}
