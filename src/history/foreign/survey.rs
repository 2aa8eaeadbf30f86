//! Where a history says what: decided from its first part, where neither its keys nor the user say it.
//!
//! What stands in an invocation's `:value` may be the lock's name, or an id of the attempt that is never used again; in
//! a pair, the lock's name may be the first or the whole; `nil` in a completion may say that all went well, or nothing
//! was granted. Each is told by what goes with it in the rest of the file. Where two readings are possible, that one is
//! taken which accuses nobody, and it is said.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::fields::Fields;
use super::naming::{Keys, Mode, Role, Verb};
use super::notation::Value;
use super::unread::{Step, Unread};
use crate::history::OpType;

/// How much of a history is looked at, in bytes.
pub(super) const SURVEYED: usize = 2 << 20;

/// Where a lock's name stands when no key gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockPlace {
    /// Nowhere: there is one lock.
    Nowhere,
    /// It is the `:value` of an invocation.
    Value,
    /// It is the first of a pair there.
    First,
}

/// What was decided.
#[derive(Debug)]
pub(super) struct Places {
    pub lock: LockPlace,
    /// Whether a key names the lock.
    pub lock_key: bool,
    /// Whether values of invocations are ids that are used once.
    pub ids: bool,
    /// Whether no name is asked for twice, so that nothing can contradict.
    pub never_again: bool,
    /// Whether a number in a completion's `:value` is a token.
    pub value_token: bool,
    /// Whether `nil` in a granted acquire's `:value` says that it was not granted.
    pub nil_refuses: bool,
    /// Whether 0 says so.
    pub zero_refuses: bool,
    /// Whether ops name their owners.
    pub owners: bool,
    /// The owner that each process names, if it is always the same.
    pub owner_of: FxHashMap<String, Option<String>>,
    /// Whether some op has a token under a key.
    pub tokens: bool,
    /// Whether processes of clients are numbers.
    pub numbers: bool,
    /// What says of some acquire that it may be a reader's, other than its verb.
    pub shares: Option<String>,
    /// Whether the values that name locks are numbers.
    pub numbers_name: bool,
    /// A key that nobody reads and that may name the lock.
    pub unread: Option<String>,
    /// How many acquires were looked at.
    pub looked_at: u64,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Survey {
    acquires: u64,
    lock_key: bool,
    owners: bool,
    tokens: bool,
    numbers: bool,
    scalars: u64,
    nils: u64,
    /// How often each value was asked for.
    asked: FxHashMap<String, u32>,
    /// How often each first of a pair was.
    firsts: FxHashMap<String, u32>,
    pairs: u64,
    /// Pairs whose second is nothing.
    halves: u64,
    /// Completions with the first of the invocation's pair, and another second.
    second_changes: bool,
    uuids: u64,
    /// Maps in completions that repeat the invocation's value under a key that names no lock.
    echoed: u64,
    /// Values of releases that were asked for before, and that were not.
    released: u64,
    released_unasked: u64,
    answers: Answers,
    owner_of: FxHashMap<String, Option<String>>,
    open: FxHashMap<String, Open>,
    unread: Unread,
    shares: Option<String>,
}

struct Open {
    value: Option<String>,
    first: Option<String>,
    /// Whether it was told that all went well, with `nil`, and has done nothing since.
    nil: bool,
}

/// The values of acquires that went well.
#[derive(Default)]
struct Answers {
    affirmed: u64,
    nils: u64,
    nil_then_release: u64,
    nil_then_acquire: u64,
    zeros: u64,
    ones: u64,
    other_numbers: u64,
    /// Numbers that are not the invocation's value.
    fresh_numbers: u64,
}

impl Survey {
    /// Looks at an op.
    pub(super) fn look(&mut self, fields: &Fields<'_>, op: &Value<'_>, keys: &Keys) {
        let (Some(process), Some(kind), Some(f)) = (&fields.process, fields.kind(), &fields.f) else { return };
        let verb = f.word().map_or(Verb::Other, Verb::of);
        let is_acquire = match verb {
            Verb::Acquire(_) => true,
            Verb::Release(_) => false,
            _ => return,
        };
        self.lock_key |= lock_by_key(fields, keys).is_some();
        self.tokens |= fields.token.is_some() || fields.within(keys, |role| *role == Role::Token).is_some();
        self.numbers |= matches!(process, Value::Number(_));
        let process = process.name().into_owned();
        if let Some(owner) = owner(fields, keys) {
            self.owners = true;
            let owner = owner.name().into_owned();
            let known = self.owner_of.entry(process.clone()).or_insert_with(|| Some(owner.clone()));
            if known.as_ref().is_some_and(|known| *known != owner) {
                *known = None;
            }
        }
        let step = match (kind, is_acquire) {
            (OpType::Invoke, true) => Step::Acquire,
            (OpType::Invoke, false) => Step::Release,
            _ => Step::Completion,
        };
        if is_acquire && self.shares.is_none() && verb == Verb::Acquire(Mode::Plain) {
            self.shares = shares(op).or_else(|| shares(fields.value.as_ref()?));
        }
        self.unread.look(op, fields.value.as_ref(), &process, step, keys);
        if kind == OpType::Invoke {
            self.invoked(fields, keys, process, is_acquire)
        } else {
            self.completed(fields, keys, &process, kind, is_acquire)
        }
    }

    fn invoked(&mut self, fields: &Fields<'_>, keys: &Keys, process: String, is_acquire: bool) {
        let value = fields.value.as_ref().filter(|value| **value != Value::Nil);
        let name = value.and_then(|value| as_name(value, keys)).map(Cow::into_owned);
        let pair = value.and_then(Value::pair);
        let first = pair.as_ref().map(|(first, _)| first.name().into_owned());
        if let Some(before) = self.open.get(&process)
            && before.nil
        {
            let count =
                if is_acquire { &mut self.answers.nil_then_acquire } else { &mut self.answers.nil_then_release };
            *count += 1;
        }
        match (&name, is_acquire) {
            (None, true) => self.nils += 1,
            (None, false) => {}
            (Some(name), true) => {
                *self.asked.entry(name.clone()).or_default() += 1;
                self.uuids += u64::from(is_uuid(name));
                match (&pair, &first) {
                    (Some((_, second)), Some(first)) => {
                        self.pairs += 1;
                        self.halves += u64::from(*second == Value::Nil);
                        *self.firsts.entry(first.clone()).or_default() += 1;
                    }
                    _ => self.scalars += 1,
                }
            }
            (Some(name), false) => {
                let was_asked = self.asked.contains_key(name)
                    || first.as_ref().is_some_and(|first| self.firsts.contains_key(first));
                *(if was_asked { &mut self.released } else { &mut self.released_unasked }) += 1;
            }
        }
        self.acquires += u64::from(is_acquire);
        self.open.insert(process, Open { value: name, first, nil: false });
    }

    fn completed(&mut self, fields: &Fields<'_>, keys: &Keys, process: &str, kind: OpType, is_acquire: bool) {
        let Some(open) = self.open.get_mut(process) else { return };
        let value = fields.value.as_ref().unwrap_or(&Value::Nil);
        if let (Value::Map(_), Some(asked)) = (value, &open.value) {
            let repeats = |(key, value): &(Cow<'_, str>, Value<'_>)| {
                value.name() == asked.as_str() && !matches!(keys.role_within(key), Some((Role::Lock, _)))
            };
            self.echoed += u64::from(value.entries().any(|entry| repeats(&entry)));
        }
        if let (Some((first, second)), Some(asked)) = (value.pair(), &open.first) {
            let same = value.name() == open.value.as_deref().unwrap_or_default();
            self.second_changes |= first.name() == asked.as_str() && !same && second != Value::Nil;
        }
        if kind != OpType::Ok || !is_acquire {
            return;
        }
        let answers = &mut self.answers;
        match value {
            Value::Nil => {
                answers.nils += 1;
                open.nil = true;
            }
            Value::Bool(false) => {}
            Value::Number(_) if open.value.as_deref() == Some(value.name().as_ref()) => {}
            Value::Number(_) => {
                answers.fresh_numbers += 1;
                match value.number() {
                    Some(0) => answers.zeros += 1,
                    Some(1) => answers.ones += 1,
                    _ => answers.other_numbers += 1,
                }
                answers.affirmed += 1;
            }
            // What repeats the lock's name says no more than `nil`, and is none.
            _ if open.value.as_deref() == Some(value.name().as_ref()) => {}
            _ => answers.affirmed += 1,
        }
    }

    /// Decides.
    pub(super) fn places(self, keys: &Keys) -> Places {
        let named = self.scalars + self.pairs;
        let again = self.asked.values().any(|count| *count > 1);
        let first_again = self.firsts.values().any(|count| *count > 1);
        let whole = if self.pairs > 0
            && (self.halves == self.pairs || self.second_changes || (first_again && !again))
            && self.scalars == 0
        {
            LockPlace::First
        } else {
            LockPlace::Value
        };
        let ids = whole == LockPlace::Value
            && named > 0
            && (self.echoed > 0
                || (!again && self.released == 0 && (self.released_unasked > 0 || (self.uuids == named && named > 1))));
        let lock = match keys.lock_place() {
            Some("value") => LockPlace::Value,
            Some("first") => LockPlace::First,
            Some(_) => LockPlace::Nowhere,
            None if self.lock_key || named == 0 || ids => LockPlace::Nowhere,
            None => whole,
        };
        let answers = &self.answers;
        let only_zero_and_one = answers.zeros > 0 && answers.ones > 0 && answers.other_numbers == 0;
        let never_again = match lock {
            LockPlace::Nowhere => false,
            LockPlace::Value => self.acquires > 1 && !again,
            LockPlace::First => self.acquires > 1 && !first_again,
        };
        Places {
            lock,
            lock_key: self.lock_key,
            ids: ids && keys.lock_place().is_none() && !self.lock_key,
            never_again,
            value_token: answers.fresh_numbers > 0 && !only_zero_and_one,
            nil_refuses: answers.nils > 0 && answers.affirmed > 0 && answers.nil_then_release == 0,
            zero_refuses: only_zero_and_one,
            owners: self.owners && !keys.owner_is_process(),
            owner_of: self.owner_of,
            tokens: self.tokens,
            numbers: self.numbers,
            unread: self.unread.may_name(),
            shares: self.shares,
            numbers_name: lock == LockPlace::Value
                && named > 0
                && self.asked.keys().all(|name| name.bytes().all(|byte| byte.is_ascii_digit())),
            looked_at: self.acquires,
        }
    }
}

/// The lock that a key names.
pub(super) fn lock_by_key<'a>(fields: &Fields<'a>, keys: &Keys) -> Option<Value<'a>> {
    if keys.lock_place().is_some() {
        return None;
    }
    let own = fields.lock.clone().filter(|lock| *lock != Value::Nil);
    own.or_else(|| fields.within(keys, |role| *role == Role::Lock).map(|(_, lock)| lock))
}

/// The owner that a key names.
pub(super) fn owner<'a>(fields: &Fields<'a>, keys: &Keys) -> Option<Value<'a>> {
    if keys.owner_is_process() {
        return None;
    }
    fields.owner.clone().or_else(|| fields.within(keys, |role| *role == Role::Owner).map(|(_, owner)| owner))
}

/// A value as a lock's name; of a map, what is not known to be something else.
pub(super) fn as_name<'v>(value: &'v Value<'_>, keys: &Keys) -> Option<Cow<'v, str>> {
    match value {
        Value::Nil | Value::Bool(_) => None,
        Value::Map(_) => {
            let mut parts: Vec<String> = value
                .entries()
                // What is true or false is how it was asked.
                .filter(|(key, value)| !keys.is_aside(key) && !matches!(value, Value::Nil | Value::Bool(_)))
                .map(|(key, value)| format!(":{key} {}", value.written()))
                .collect();
            parts.sort_unstable();
            (!parts.is_empty()).then(|| Cow::Owned(format!("{{{}}}", parts.join(" "))))
        }
        other => Some(other.name()),
    }
}

/// What says in an op or in its `:value` that it may be a reader's.
fn shares(value: &Value<'_>) -> Option<String> {
    let reads = |value: &Value<'_>| {
        let word = value.word().unwrap_or_default();
        ["read", "shared", "share", "reader", "s", "r"].iter().any(|read| read.eq_ignore_ascii_case(word))
    };
    let says = |key: &str, value: &Value<'_>| match key.to_ascii_lowercase().as_str() {
        "mode" | "lock-mode" | "lock_mode" | "lockmode" | "type" | "lock-type" | "lock_type" | "locktype" | "kind"
        | "access" | "level" => reads(value),
        "shared" | "read" => *value == Value::Bool(true),
        "exclusive" => *value == Value::Bool(false),
        _ => false,
    };
    let entry = value
        .entries()
        .find(|(key, value)| says(key, value))
        .map(|(key, value)| format!("`:{key} {}`", value.written()));
    let long = |value: &Value<'_>| reads(value) && value.word().is_some_and(|word| word.len() > 1);
    let item = || value.items().find(long).or_else(|| Some(value.clone()).filter(long));
    entry.or_else(|| item().map(|item| format!("`{}` in :value", item.written())))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
