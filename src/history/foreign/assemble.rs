//! From what ops say to a history: who acts, on which lock, under which hold.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::fields::{Fields, Unit};
use super::naming::{Keys, Mode, Naming, Order, Role, Verb};
use super::notation::Value;
use super::survey::{self, LockPlace, Places};
use crate::history::{F, Op, OpType, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::time::Nanos;

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

    /// A renewal. What comes of it is one op: from when it went well, the hold is valid for as long as it says, counted from
    /// when it was asked for.
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
                 names the lock",
                open.lock
            );
            return Err(reason.into());
        }
        let refused = kind == OpType::Ok && self.refuses(fields, acquires);
        self.found.refused += u64::from(refused && acquires);
        let kind = if refused { OpType::Fail } else { kind };
        let Open { lock, hold, shared, client: asked, at, held_since, .. } = open;
        let ours = self.ours;
        let client = said_owner.filter(|_| acquires).unwrap_or(asked);
        let mut op = self.op(time, process, kind, f, client, &lock, &hold, shared);
        if (f, kind) == (F::Acquire, OpType::Ok) {
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

    /// Whether a release by who holds nothing may be that of an owner's that went by another process number.
    fn may_be_anothers(&self, client: ClientId, process: u32, lock: &LockName) -> bool {
        let owned = self.clients.get(&client);
        if owned.is_some_and(|owned| owned.last.iter().any(|(of, _)| of == lock)) {
            return false;
        }
        if self.places.owners {
            // It never said whose it is.
            return self.processes.get(&process).is_none_or(|life| life.client.is_none());
        }
        let left_behind = |(number, life): (&u32, &Life)| {
            let owned = self.clients.get(&ClientId(*number));
            life.retired
                && *number < process
                && owned.is_some_and(|owned| {
                    owned.held.iter().any(|held| held.lock == *lock)
                        || owned.doubtful.iter().any(|(of, _)| of == lock)
                        || owned.abandoned.contains(lock)
                })
        };
        self.naming.threads.is_none() && self.processes.iter().any(left_behind)
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

    fn unclear(&mut self, lock: LockName, why: impl FnOnce() -> String) {
        self.found.unclear.entry(lock).or_insert_with(why);
    }

    fn pass_over(&mut self, f: &Value<'_>, verb: Verb, kind: OpType, fields: &Fields<'_>) {
        let name = f.name();
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

    /// The process as a number; nothing for one that is no client.
    fn process(&mut self, process: &Value<'_>) -> Result<Option<u32>, String> {
        match process {
            Value::Number(text) => {
                let number = process.number().ok_or_else(|| no_process(process))?;
                let number = u32::try_from(number)
                    .map_err(|_| format!("its :process is {text}; numbers go from 0 to {}", u32::MAX))?;
                if !self.names.is_empty() && self.names.values().any(|named| *named == number) {
                    return Err(format!(
                        "its :process is {text}, and other processes have names; all need one or none"
                    ));
                }
                Ok(Some(number))
            }
            Value::Word(name) if matches!(*name, "nemesis" | "resource" | "monitor") => Ok(None),
            Value::Word(_) | Value::Text(_) => {
                let name = process.name();
                if let Some(number) = self.names.get(name.as_ref()) {
                    return Ok(Some(*number));
                }
                let number = self.names.len() as u32 + if self.places.numbers { NAMED } else { 0 };
                if self.processes.contains_key(&number) {
                    return Err(format!(
                        "its :process is {}, and others have numbers; all need one or none",
                        process.written()
                    ));
                }
                self.processes.entry(number).or_default().named = true;
                self.names.insert(name.clone().into_owned(), number);
                self.found.named.push((ClientId(number), name.into_owned()));
                Ok(Some(number))
            }
            other => Err(no_process(other)),
        }
    }

    fn client(&mut self, owner: Owner) -> ClientId {
        // A history whose ops name no owners has its processes for clients, under their own numbers.
        if let (Owner::Process(process), false, None) = (&owner, self.places.owners, self.naming.threads) {
            return ClientId(*process);
        }
        let next = ClientId(self.owners.len() as u32 + 1);
        let named = if let Owner::Named(name) = &owner { Some(name.clone()) } else { None };
        let client = *self.owners.entry(owner).or_insert(next);
        if let (Some(name), true) = (named, client == next) {
            self.found.named.push((client, name));
        }
        client
    }

    /// The owner as far as it is known.
    fn owner(&mut self, process: u32, fields: &Fields<'_>) -> Option<ClientId> {
        if self.places.owners {
            if let Some(owner) = survey::owner(fields, self.keys) {
                let owner = Owner::Named(owner.name().into_owned());
                return Some(match self.owners.get(&owner) {
                    Some(client) => *client,
                    None => self.client(owner),
                });
            }
            if let Some(threads) = self.naming.threads {
                let thread = process % threads.max(1);
                let of_thread =
                    |(number, life): (&u32, &Life)| life.client.filter(|_| number % threads.max(1) == thread);
                if let Some(client) = self.processes.iter().find_map(of_thread) {
                    return Some(client);
                }
            }
            let known = self.processes.get(&process).and_then(|life| life.client);
            if known.is_some() {
                return known;
            }
            let name = fields.process.as_ref()?.name();
            let named = self.places.owner_of.get(name.as_ref())?.clone()?;
            return Some(self.client(Owner::Named(named)));
        }
        let threads = self.naming.threads?;
        Some(self.client(Owner::Thread(process % threads.max(1))))
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

    /// Whether a completion that went well says that nothing was done.
    fn refuses(&self, fields: &Fields<'_>, acquires: bool) -> bool {
        const DONE: [&str; 7] = ["acquired", "granted", "success", "ok", "locked", "released", "result"];
        let says_no = |value: &Value<'_>| match value {
            Value::Bool(done) => !done,
            Value::Word(word) => is_refusal(word),
            Value::Text(word) => is_refusal(word),
            _ => false,
        };
        match &fields.value {
            None | Some(Value::Nil) => acquires && self.places.nil_refuses,
            Some(map @ Value::Map(_)) => {
                map.entries().any(|(key, value)| DONE.contains(&key.as_ref()) && says_no(&value))
            }
            Some(number @ Value::Number(_)) => acquires && self.places.zero_refuses && number.number() == Some(0),
            Some(pair @ Value::Seq(_)) => pair.pair().is_some_and(|(_, second)| second == Value::Bool(false)),
            Some(value) => says_no(value),
        }
    }

    fn token(&mut self, fields: &Fields<'_>, lock: &LockName) -> Result<Option<FencingToken>, String> {
        let by_key = || {
            let within = || fields.within(self.keys, |role| *role == Role::Token).map(|(_, token)| token);
            fields.token.clone().or_else(within)
        };
        let of_value = || {
            let value = fields.value.clone().filter(|value| matches!(value, Value::Number(_)))?;
            (self.places.value_token && (self.places.lock != LockPlace::Value || value.name() != lock.as_str()))
                .then_some(value)
        };
        let second = || {
            let (_, second) = fields.value.as_ref()?.pair()?;
            matches!(second, Value::Number(_)).then_some(second)
        };
        let token = match self.keys.token_place() {
            None => by_key().or_else(of_value).or_else(|| second().filter(|_| self.places.lock == LockPlace::First)),
            Some("value") => fields.value.clone(),
            Some("second") => second(),
            Some(_) => None,
        };
        let Some(token) = token else { return Ok(None) };
        match token.number().map(u64::try_from) {
            // Hazelcast's clients mean by it that they do not know.
            Some(Ok(0)) => Ok(None),
            Some(Ok(number)) => Ok(Some(FencingToken(number))),
            Some(Err(_)) => Err(format!(
                "its token is {}; it is a whole number, 0 or more; --token-key says which key gives it",
                token.written()
            )),
            // An owner's random value, as Redis locks have it, has no order.
            None => {
                self.found.strange_tokens += 1;
                Ok(None)
            }
        }
    }

    /// Until when a grant is valid, as far as its ops or the user say it.
    fn valid_until(&self, fields: &Fields<'_>, asked: u64) -> Result<Option<u64>, String> {
        if !self.naming.leased {
            return Ok(None);
        }
        let until = fields.valid_until.clone().map(|until| (Role::ValidUntil, until));
        let ttl = fields.ttl.clone().map(|(ttl, unit)| (Role::Ttl(unit), ttl));
        let within = || fields.within(self.keys, |role| matches!(role, Role::ValidUntil | Role::Ttl(_)));
        let Some((role, value)) = until.or(ttl).or_else(within) else {
            return Ok(self.naming.lease.map(|lease| asked.saturating_add(lease.as_nanos() as u64)));
        };
        let number = value.number().and_then(|number| u64::try_from(number).ok());
        match (role, number) {
            (Role::ValidUntil, Some(until)) if until <= LATEST => Ok(Some(until)),
            (Role::Ttl(Unit::Known(unit)), Some(ttl)) => {
                Ok(Some(asked.saturating_add(ttl.saturating_mul(unit)).min(LATEST)))
            }
            // Nanoseconds, as `:time`, if that can be: no lease is as short as this.
            (Role::Ttl(Unit::Untold), Some(ttl)) if ttl >= 100_000 => Ok(Some(asked.saturating_add(ttl).min(LATEST))),
            (Role::Ttl(_), Some(ttl)) => Err(format!(
                "its validity is {ttl}, which would be {ttl} ns, the unit of :time; say what it is: --ttl-unit s, ms, us or ns"
            )),
            (Role::Ttl(_), None) if value.word().is_some() => {
                let ttl = humantime::parse_duration(value.word().unwrap_or_default())
                    .map_err(|error| format!("its validity is {}: {error}; such as \"10s\"", value.written()))?;
                Ok(Some(asked.saturating_add(ttl.as_nanos() as u64)))
            }
            _ => Err(format!("its validity is {}; it is a whole number of nanoseconds, as :time", value.written())),
        }
    }

    /// The time of the op that comes next, bent to its place.
    fn time(&self, fields: &Fields<'_>) -> Result<u64, String> {
        // A step where there is no time: a millisecond, so that it can be read.
        let time = told_time(fields)?.unwrap_or_else(|| self.last.map_or(0, |last| last + 1_000_000));
        Ok(self.last.map_or(time, |last| time.max(last + 1)))
    }

    /// Whether what comes next may come next.
    fn in_order(&mut self, line: usize, fields: &Fields<'_>) -> Result<(), Trouble> {
        let order = &mut self.order;
        if self.naming.order == Order::Usual
            && !order.useless
            && let Some(index) = fields.index.as_ref().and_then(Value::number)
        {
            match order.last_index {
                Some(last) if index <= last => {
                    // The same for all says nothing.
                    if order.first_index != Some(index) || order.first_index != Some(last) {
                        return Err(Trouble::Disorder);
                    }
                    order.useless = true;
                }
                _ => order.last_index = Some(index),
            }
            order.first_index = order.first_index.or(Some(index));
        }
        let time = fields.time.as_ref().and_then(Value::number).and_then(|time| u64::try_from(time).ok());
        if let Some(time) = time {
            order.earliest = Some(order.earliest.map_or(time, |earliest| earliest.min(time)));
            let back = order.latest.saturating_sub(time);
            if back > order.back.0 {
                order.back = (back, line);
            }
            order.latest = order.latest.max(time);
        }
        Ok(())
    }

    /// Whether times go back by more than those of one clock do, told by several threads: on which line, and by how much.
    pub(super) fn goes_back(&self) -> Option<(usize, u64)> {
        let (back, line) = self.order.back;
        let span = self.order.latest - self.order.earliest.unwrap_or_default();
        let is_much = back > 1_000_000_000 || back.saturating_mul(2) > span;
        (back > 0 && is_much && matches!(self.naming.order, Order::Usual)).then_some((line, back))
    }

    /// Whether ops have indices that say something.
    pub(super) fn has_indices(&self) -> bool {
        self.order.last_index.is_some() && !self.order.useless
    }

    /// How many clients took part.
    pub(super) fn clients(&self) -> u32 {
        u32::try_from(self.clients.len()).unwrap_or(u32::MAX)
    }
}

fn no_process(process: &Value<'_>) -> String {
    format!("its :process is {}; it is a number, or a name such as :nemesis", process.written())
}

/// The time that an op tells.
pub(super) fn told_time(fields: &Fields<'_>) -> Result<Option<u64>, String> {
    let Some(value) = fields.time.as_ref().filter(|time| **time != Value::Nil) else { return Ok(None) };
    let time = value.number().and_then(|time| u64::try_from(time).ok());
    let time = time.ok_or_else(|| format!("its :time is {}; it is a whole number, 0 or more", value.written()))?;
    if time > LATEST {
        return Err(format!("its :time is {time}; it is in nanoseconds since the start, at most {LATEST}"));
    }
    Ok(Some(time))
}

/// Whether a completion's value may name a lock, rather than say what came of it.
fn may_name(value: &Value<'_>) -> bool {
    match value {
        Value::Word(_) | Value::Text(_) => true,
        Value::Seq(_) => value.pair().is_some_and(|(first, _)| first.word().is_some_and(|word| !is_answer(word))),
        _ => false,
    }
}

/// Whether a word says that nothing was granted.
fn is_refusal(word: &str) -> bool {
    const NO: [&str; 12] = [
        "false",
        "no",
        "refused",
        "denied",
        "busy",
        "failed",
        "timeout",
        "timed-out",
        "not-acquired",
        "already-held",
        "already-locked",
        "not-held",
    ];
    NO.contains(&word)
}

/// Whether a word says what came of an op rather than what it was about.
fn is_answer(word: &str) -> bool {
    const YES: [&str; 10] =
        ["true", "yes", "ok", "OK", "granted", "acquired", "released", "locked", "unlocked", "success"];
    YES.contains(&word) || is_refusal(word)
}
