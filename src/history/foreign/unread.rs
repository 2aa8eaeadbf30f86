//! Keys that nobody reads, and that may name the lock all the same.
//!
//! `:item 3` in every op may be what is locked, or anything else. It may name the lock if every acquire and every
//! release has it, with few values that come again, some of them from several processes; if a completion repeats its
//! invocation's; and if nobody releases what was not acquired under it. Deliberately absent: reading such a key as a
//! lock's name, which the user has to ask for.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::naming::Keys;
use super::notation::Value;

/// So many keys are looked at, and so many values of each.
const MANY: usize = 32;
const VALUES: usize = 4096;

/// What was seen of keys that nobody reads.
#[derive(Default)]
pub(super) struct Unread {
    keys: BTreeMap<String, Key>,
    acquires: u64,
    invocations: u64,
}

#[derive(Default)]
struct Key {
    invocations: u64,
    /// Each value, with the process that had it, if it was one only.
    values: FxHashMap<String, Option<String>>,
    /// What each process acquired under it, and what it said last.
    acquired: FxHashMap<String, (Vec<String>, String)>,
    contradicted: bool,
}

impl Unread {
    /// Looks at an acquire or a release.
    pub(super) fn look(&mut self, op: &Value<'_>, value: Option<&Value<'_>>, who: &str, kind: Step, keys: &Keys) {
        let own = op.entries().filter(|(key, _)| keys.role(key).is_none() && !says_else(key));
        // Of a map in `:value` other keys are taken for a name anyway.
        let within = value.into_iter().flat_map(|value| value.entries()).filter(|(key, _)| key == "id");
        for (key, value) in own.chain(within) {
            if !matches!(value, Value::Number(_) | Value::Word(_) | Value::Text(_)) {
                continue;
            }
            let is_full = self.keys.len() >= MANY;
            match self.keys.get_mut(key.as_ref()) {
                Some(known) => known.look(&value.name(), who, kind),
                None if is_full => {}
                None => self.keys.entry(key.into_owned()).or_default().look(&value.name(), who, kind),
            }
        }
        self.acquires += u64::from(kind == Step::Acquire);
        self.invocations += u64::from(kind != Step::Completion);
    }

    /// A key that may name the lock.
    pub(super) fn may_name(self) -> Option<String> {
        let Self { keys, acquires, invocations } = self;
        let may = |key: &Key| {
            !key.contradicted
                && key.invocations == invocations
                && (2..VALUES).contains(&key.values.len())
                && (key.values.len() as u64) < acquires
                && key.values.values().any(Option::is_none)
        };
        keys.into_iter().find(|(_, key)| may(key)).map(|(name, _)| name)
    }
}

/// What an op is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Acquire,
    Release,
    Completion,
}

impl Key {
    fn look(&mut self, value: &str, who: &str, kind: Step) {
        if self.contradicted {
            return;
        }
        let known = self.acquired.get_mut(who);
        match (kind, known) {
            (Step::Completion, known) => self.contradicted = known.is_none_or(|(_, last)| last != value),
            (Step::Release, Some((acquired, last))) if acquired.iter().any(|name| name == value) => {
                value.clone_into(last);
            }
            (Step::Release, _) => self.contradicted = true,
            (Step::Acquire, Some((acquired, last))) => {
                value.clone_into(last);
                if !acquired.iter().any(|name| name == value) {
                    acquired.push(value.to_owned());
                }
                self.contradicted = acquired.len() > MANY * 4;
            }
            (Step::Acquire, None) => {
                drop(self.acquired.insert(who.to_owned(), (vec![value.to_owned()], value.to_owned())));
            }
        }
        self.invocations += u64::from(kind != Step::Completion);
        if let Some(only) = self.values.get_mut(value) {
            only.take_if(|only| only != who);
        } else if self.values.len() < VALUES {
            self.values.insert(value.to_owned(), Some(who.to_owned()));
        }
    }
}

/// Whether a key says something else by its name: what every op has, where it ran, how it was tried.
fn says_else(key: &str) -> bool {
    const ELSE: [&str; 37] = [
        "process", "type", "f", "value", "time", "index", "error", "node", "host", "hostname", "server", "addr", "ip",
        "port", "pid", "tid", "region", "zone", "dc", "rack", "cluster", "endpoint", "latency", "attempt", "retries",
        "retry", "timeout", "wait", "duration", "level", "phase", "step", "round", "test", "run", "mode", "version",
    ];
    ELSE.contains(&key.rsplit_once('/').map_or(key, |(_, own)| own))
}
