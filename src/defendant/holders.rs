//! How many may hold a lock, as its table says it: `kind` and `permits`.
//!
//! Deliberately absent: what follows from it for a workload or a resource; that is the scenario's.

use std::num::NonZeroU32;

use super::draw::pick;
use super::table::{Asked, Key, Line, quoted};
use crate::lock_kind::LockKind;
use crate::scenario::error::Problem;
use crate::scenario::place::{Choice, Count, Word};
use crate::scenario::problems::Problems;
use crate::seed::ChaCha8Rng;

/// How many may hold a lock at once; how many permits a semaphore has is a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindName {
    /// One client.
    Mutex,
    /// Readers together, or a writer alone.
    ReadWrite,
    /// As many as there are permits.
    Semaphore,
}

impl Word for KindName {
    fn words() -> Vec<(&'static str, Self)> {
        vec![("mutex", Self::Mutex), ("read-write", Self::ReadWrite), ("semaphore", Self::Semaphore)]
    }
}

/// `kind`
pub const KIND: Key<Choice<KindName>> = Key::new(
    "kind",
    "locks of fencepost",
    "Redis, ZooKeeper: how many may hold it at once: one client (`mutex`), readers together or a writer alone \
     (`read-write`), as\nmany as there are `permits` (`semaphore`); mutex if absent.",
);

/// `permits`
pub const PERMITS: Key<Count> = Key::new("permits", "a semaphore", "A semaphore: how many permits it has.");

/// Refuses, with the reason, that several hold a lock whose algorithm is one client's.
pub(super) fn refuse_several(asked: &Asked<'_>, algorithm: &str, why: &str, problems: &mut Problems<'_>) {
    asked.table.refuse(&PERMITS, PERMITS.of, algorithm, problems);
    let Some(field) = asked.table.get(&KIND) else { return };
    if problems.choice("a value of `kind`", &field).is_none_or(|kind| kind == KindName::Mutex) {
        return;
    }
    let problem = Problem::at(&field.span, format!("there is no `{}` on {algorithm}", field.word), why);
    problems.push(problem.help("use `algorithm = \"redis\"` or `algorithm = \"zookeeper\"`"));
}

/// How many may hold a lock at once.
pub(super) fn kind(asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockKind> {
    let table = asked.table;
    let field = table.get(&KIND);
    let kind = match &field {
        None => KindName::Mutex,
        Some(field) => problems.choice("a value of `kind`", field)?,
    };
    let permits = match table.get(&PERMITS) {
        Some(field) if kind == KindName::Semaphore => {
            Some(problems.count(PERMITS.name, &field, u32::MAX, "permits are counted in 32 bits")?)
        }
        Some(_) => {
            table.refuse(&PERMITS, PERMITS.of, "none", problems);
            return None;
        }
        None => None,
    };
    match (kind, permits) {
        (KindName::Mutex, _) => Some(LockKind::Mutex),
        (KindName::ReadWrite, _) => Some(LockKind::ReadWrite),
        (KindName::Semaphore, Some(permits)) => Some(LockKind::Semaphore { permits }),
        (KindName::Semaphore, None) => {
            let span = field.as_ref().map_or(0..0, |field| field.span.clone());
            let problem = Problem::at(&span, "a semaphore without `permits`", "how many may hold it at once?");
            problems.refuse(problem.help("add `permits = 3`"))
        }
    }
}

/// How many may hold it, for a search: one in three trials of a lock is of a kind that several hold.
pub(super) fn drawn(rng: &mut ChaCha8Rng) -> LockKind {
    let mutex = LockKind::Mutex;
    let [pair, three] = [2, 3].map(|permits| LockKind::Semaphore { permits });
    pick(
        rng,
        &[
            mutex,
            mutex,
            mutex,
            mutex,
            mutex,
            mutex,
            mutex,
            mutex,
            LockKind::ReadWrite,
            LockKind::ReadWrite,
            pair,
            three,
        ],
    )
}

/// The lines that say how many may hold it, where it is not one.
pub(super) fn written(kind: LockKind) -> Vec<Line> {
    match kind {
        LockKind::Mutex => Vec::new(),
        LockKind::ReadWrite => vec![(KIND.name, quoted("read-write"))],
        LockKind::Semaphore { permits } => {
            vec![(KIND.name, quoted("semaphore")), (PERMITS.name, permits.to_string())]
        }
    }
}

/// A semaphore's permits. A scenario with none is refused when it is loaded.
pub(super) fn at_least_one(permits: u32) -> NonZeroU32 {
    NonZeroU32::new(permits).unwrap_or(NonZeroU32::MIN)
}
