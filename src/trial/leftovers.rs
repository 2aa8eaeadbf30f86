//! What a trial's lock servers still have when all is over: when to look, and how the history tells it.
//!
//! The same in every world, which only has to ask its servers ([`Servers`]). A lock's lease or session may outlast the
//! trial, a request may come late; so the look is put off until what is lawful is gone, and what is found is looked at
//! again before it is told. Deliberately absent: whose fault it is; that is the check's.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::history::recorder::Record;
use crate::history::{F, Left, Op, OpType, Process};
use crate::ids::{ClientId, LockName};
use crate::lock::runtime::Runtime;
use crate::scenario::LockConfig;

/// How late a server may be with deleting what is over, and how long a last request may be on its way.
const LATE: Duration = Duration::from_millis(500);

/// The longest wait before a look: a lease of an hour is not waited for.
const LONGEST: Duration = Duration::from_secs(10);

/// How often what is found is looked at again.
const LOOKS: u32 = 3;

/// Something at a lock server, under one of the names that were looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the server has.
    pub left: Left,
    /// Whose session it is of, if that is a client's that is there.
    pub client: Option<ClientId>,
}

/// The lock servers of a trial, as one who wants to know what they have.
pub trait Servers: Send + Sync {
    /// All that may be of one of these names, in any order, and why it is not all, if it is not.
    fn look<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, (Vec<Found>, Option<String>)>;
}

/// The lock names of a trial as its servers see them, and what its lock keeps for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    told: Vec<(LockName, String)>,
    permanent: Vec<String>,
}

impl Names {
    /// The names of `locks` locks, which the servers see with `prefix` before them.
    pub fn new(config: &LockConfig, locks: u32, prefix: &str) -> Self {
        let name = |item| LockName::new(format!("item-{item}"));
        let told = (1..=locks).map(name).map(|name| (name.clone(), format!("{prefix}{name}"))).collect();
        Self { told, permanent: config.permanent() }
    }

    /// What all names begin with.
    pub fn prefix(&self) -> &str {
        self.told.first().map_or("", |(name, told)| told.strip_suffix(name.as_str()).unwrap_or(told))
    }

    /// The lock that a key or a path is of, unless it is of none, or is one that the lock keeps for good.
    pub fn lock_of(&self, name: &str) -> Option<&LockName> {
        let is_of = |told: &str| {
            // `item-1` is no part of `item-10`.
            let ends = name.match_indices(told).map(|(at, _)| &name[at + told.len()..]);
            ends.into_iter().any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let (lock, told) = self.told.iter().find(|(_, told)| is_of(told))?;
        let kept = |pattern: &String| matches(&pattern.replace("{lock}", told), name);
        (!self.permanent.iter().any(kept)).then_some(lock)
    }
}

/// Whether a name is as a pattern says, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            // An end that is the shortest leaves the most for what comes after it.
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }),
    }
}

/// Waits until what a lock may leave for `bound` has gone, looks, and records what is there all the same. `calm`:
/// nothing was done to anybody in the trial, so that what is not there now will not come.
pub(super) async fn inspect(
    servers: &dyn Servers,
    names: &Names,
    bound: Duration,
    calm: bool,
    runtime: &dyn Runtime,
    record: &dyn Record,
) {
    let wait = async |longest: Duration| runtime.sleep_until(runtime.now() + (longest + LATE).min(LONGEST)).await;
    if !calm {
        wait(bound).await;
    }
    let look = async || {
        let (mut found, missing) = servers.look(names).await;
        found.retain(|found| names.lock_of(&found.left.name).is_some());
        (found, missing)
    };
    let (mut found, mut missing) = look().await;
    for _ in 1..LOOKS {
        let longest = found.iter().map(|found| found.left.time_left.map_or(bound, Duration::from_nanos)).max();
        let longest = longest.or(missing.is_some().then_some(Duration::ZERO));
        // What stays longer than anybody can wait need not be looked at twice.
        let Some(longest) = longest.filter(|longest| *longest < LONGEST) else { break };
        wait(longest).await;
        (found, missing) = look().await;
    }
    found.sort_by(|one, other| (&one.left.name, one.left.node).cmp(&(&other.left.name, other.left.node)));
    for Found { left, client } in found {
        let Some(lock) = names.lock_of(&left.name) else { continue };
        let mut op = Op::new(runtime.now(), Process::Inspector, OpType::Ok, F::Left);
        (op.lock, op.client, op.left) = (Some(lock.clone()), client, Some(Box::new(left)));
        record.record(op);
    }
    let kind = if missing.is_none() { OpType::Ok } else { OpType::Info };
    let mut look = Op::new(runtime.now(), Process::Inspector, kind, F::Look);
    look.error = missing;
    record.record(look);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(permanent: &[&str]) -> Names {
        let told = |item: u32| (LockName::new(format!("item-{item}")), format!("run-1-redlock:item-{item}"));
        let permanent = permanent.iter().map(|pattern| (*pattern).to_owned()).collect();
        Names { told: (1..=12).map(told).collect(), permanent }
    }

    #[test]
    fn a_key_is_of_the_lock_that_it_names_and_of_no_other() {
        let names = names(&[]);
        assert_eq!(names.prefix(), "run-1-redlock:");
        for (key, lock) in [
            ("run-1-redlock:item-1", Some("item-1")),
            ("run-1-redlock:item-12", Some("item-12")),
            ("#run-1-redlock:item-1", Some("item-1")),
            ("/x/run-1-redlock:item-1/c-7-0000000001", Some("item-1")),
            ("run-1-redlock:item-13", None),
            ("run-1-redlock-5s:item-1", None),
            ("run-11-redlock:item-1", None),
        ] {
            assert_eq!(names.lock_of(key).map(LockName::as_str), lock, "{key}");
        }
    }

    #[test]
    fn what_a_lock_keeps_for_good_is_not_left() {
        let names = names(&["#{lock}", "*{lock}/count"]);
        for (key, is_left) in [
            ("#run-1-redlock:item-1", false),
            ("/any/where/run-1-redlock:item-2/count", false),
            ("run-1-redlock:item-1", true),
            ("#run-1-redlock:item-1#", true),
        ] {
            assert_eq!(names.lock_of(key).is_some(), is_left, "{key}");
        }
        assert!(matches("*", "") && matches("a*c*", "abcabd") && !matches("a*c", "abcabd") && matches("*ä", "üä"));
        assert!(!matches("", "a"), "a lock without any pattern keeps nothing");
    }
}
