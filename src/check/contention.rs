//! Whether clients competed: how many acquires met a held lock.
//!
//! An acquire meets a held lock if it is open at a moment at which another client's hold is, or as many holds of others
//! as keep it out of a lock that several may hold. Clients that merely take turns ask nothing of a lock, and a check of
//! exclusion has nothing to say of them. Op by op, in memory that grows with what is open. Deliberately absent: who was
//! in the right.

use std::collections::BTreeMap;

use crate::history::{F, History, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::lock_kind::LockKind;

/// How many acquires met a held lock.
pub(super) fn acquires(history: &History) -> usize {
    let mut contention = Contention::of(history.header.kind);
    history.ops.iter().for_each(|op| contention.take(op));
    contention.acquires
}

/// Whether any acquire met a held lock of this kind; looks no further than the first.
pub(super) fn occurs(history: &History, kind: LockKind) -> bool {
    let mut contention = Contention::of(kind);
    history.ops.iter().any(|op| {
        contention.take(op);
        contention.acquires > 0
    })
}

/// What has been seen so far.
#[derive(Default)]
pub(super) struct Contention {
    locks: BTreeMap<LockName, Lock>,
    kind: LockKind,
    anybody_releases: bool,
    /// How many acquires met a held lock.
    pub acquires: usize,
}

#[derive(Default)]
struct Lock {
    holds: Vec<(ClientId, Option<HoldId>, bool)>,
    /// Who has asked, shared or not, and met nobody yet: nobody who is kept out by those who hold it.
    alone: Vec<(ClientId, bool)>,
}

impl Contention {
    /// Of a lock of this kind.
    pub fn of(kind: LockKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Of a lock that anybody may release: a release by a client that holds nothing ends another one's hold.
    pub fn of_ownerless() -> Self {
        Self { anybody_releases: true, ..Self::default() }
    }

    /// Takes the next op of a well-formed history.
    pub fn take(&mut self, op: &Op) {
        let (Process::Client(_), Some(client)) = (op.process, op.client) else { return };
        if op.f == F::Crash {
            for lock in self.locks.values_mut() {
                lock.holds.retain(|(holder, ..)| *holder != client);
                lock.alone.retain(|(waiter, _)| *waiter != client);
            }
            return;
        }
        let (F::Acquire | F::Release | F::Lost, Some(name)) = (op.f, &op.lock) else { return };
        if !self.locks.contains_key(name) {
            self.locks.insert(name.clone(), Lock::default());
        }
        let Some(lock) = self.locks.get_mut(name) else { return };
        match (op.f, op.kind) {
            (F::Acquire, OpType::Invoke) if lock.keeps_out(self.kind, client, op.shared) => self.acquires += 1,
            (F::Acquire, OpType::Invoke) => lock.alone.push((client, op.shared)),
            (F::Acquire, outcome) => {
                lock.alone.retain(|(waiter, _)| *waiter != client);
                if outcome == OpType::Ok {
                    lock.holds.push((client, op.hold.clone(), op.shared));
                    let before = lock.alone.len();
                    let alone = std::mem::take(&mut lock.alone);
                    let meets_nobody =
                        |(waiter, shared): &(ClientId, bool)| !lock.keeps_out(self.kind, *waiter, *shared);
                    lock.alone = alone.into_iter().filter(meets_nobody).collect();
                    self.acquires += before - lock.alone.len();
                }
            }
            (F::Release, OpType::Invoke) | (F::Lost, _) => lock.end(client, op.hold.as_ref(), self.anybody_releases),
            _ => {}
        }
    }
}

impl Lock {
    /// Whether the holds of others keep a client out.
    fn keeps_out(&self, kind: LockKind, client: ClientId, shared: bool) -> bool {
        let others = self.holds.iter().filter(|(holder, ..)| *holder != client);
        kind.keeps_out(others.map(|(.., shared)| *shared), shared)
    }

    fn end(&mut self, client: ClientId, hold: Option<&HoldId>, anybodys: bool) {
        match self.holds.iter().position(|(holder, id, _)| *holder == client && id.as_ref() == hold) {
            Some(place) => drop(self.holds.remove(place)),
            None if anybodys && !self.holds.is_empty() => drop(self.holds.remove(0)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::story::Story;

    fn told(tell: impl FnOnce(&mut Story)) -> usize {
        let mut story = Story::new(3);
        tell(&mut story);
        let history = story.history();
        let count = acquires(&history);
        assert_eq!(occurs(&history, history.header.kind), count > 0);
        count
    }

    #[test]
    fn an_acquire_meets_a_held_lock_or_is_overtaken() {
        let turns = |story: &mut Story| {
            story.acquire("c1-1", 10, 11, 1);
            story.release("c1-1", 20);
            story.acquire("c2-1", 30, 31, 2);
            story.release("c2-1", 40);
        };
        assert_eq!(told(turns), 0, "they take turns");
        let asked_while_held = |story: &mut Story| {
            story.acquire("c1-1", 10, 11, 1);
            story.op(15, "c2-1", OpType::Invoke, F::Acquire);
            story.op(16, "c2-1", OpType::Fail, F::Acquire);
            story.release("c1-1", 20);
        };
        assert_eq!(told(asked_while_held), 1);
        let overtaken = |story: &mut Story| {
            story.op(9, "c2-1", OpType::Invoke, F::Acquire);
            story.op(9, "c3-1", OpType::Invoke, F::Acquire);
            story.acquire("c1-1", 10, 11, 1);
            story.release("c1-1", 20);
        };
        assert_eq!(told(overtaken), 2, "both wait when another one is granted the lock");
    }

    #[test]
    fn what_is_over_or_ones_own_is_not_met() {
        for (kind, f, met) in [
            (OpType::Ok, F::Lost, 0),
            (OpType::Ok, F::Crash, 0),
            (OpType::Invoke, F::Release, 0),
            (OpType::Invoke, F::Read, 1),
        ] {
            let after = |story: &mut Story| {
                story.acquire("c1-1", 10, 11, 1);
                story.op(20, "c1-1", kind, f);
                story.acquire("c2-1", 30, 31, 2);
            };
            assert_eq!(told(after), met, "{f}");
        }
        let own = |story: &mut Story| {
            story.acquire("c1-1", 10, 11, 1);
            story.acquire("c1-2", 20, 21, 1);
        };
        assert_eq!(told(own), 0, "nested");
        let elsewhere = |story: &mut Story| {
            story.acquire("c1-1", 10, 11, 1);
            story.acquire("c2-1", 20, 21, 1);
            story.ops[2..].iter_mut().for_each(|op| op.lock = Some(LockName::new("item-2")));
        };
        assert_eq!(told(elsewhere), 0, "another lock");
    }

    #[test]
    fn the_dead_neither_hold_nor_wait_and_leave_others_as_they_were() {
        let waiter_dies = |story: &mut Story| {
            for hold in ["c2-1", "c3-1", "c4-1"] {
                story.op(9, hold, OpType::Invoke, F::Acquire);
            }
            story.op(10, "c2-1", OpType::Info, F::Crash);
            story.acquire("c1-1", 11, 12, 1);
        };
        assert_eq!(told(waiter_dies), 2, "c3 and c4 are overtaken");
        let bystander_dies = |story: &mut Story| {
            story.acquire("c1-1", 10, 11, 1);
            story.op(12, "c2-1", OpType::Info, F::Crash);
            story.op(13, "c3-1", OpType::Invoke, F::Acquire);
        };
        assert_eq!(told(bystander_dies), 1, "c1 holds on");
    }

    #[test]
    fn a_release_tried_again_ends_no_other_hold() {
        let nested = |story: &mut Story| {
            story.acquire("c1-1", 10, 11, 1);
            story.acquire("c1-2", 12, 13, 1);
            story.release("c1-1", 20);
            story.release("c1-1", 25);
            story.op(30, "c2-1", OpType::Invoke, F::Acquire);
        };
        assert_eq!(told(nested), 1, "c1-2 is held still");
    }

    #[test]
    fn who_may_hold_together_meets_nobody() {
        let three = |kind, shared: &'static [&'static str]| {
            told(|story| {
                story.header.kind = kind;
                story.acquire("c1-1", 10, 11, 1);
                story.acquire("c2-1", 12, 13, 2);
                story.op(14, "c3-1", OpType::Invoke, F::Acquire);
                let reads = |op: &&mut Op| shared.iter().any(|hold| op.hold == Some(HoldId::new(hold)));
                story.ops.iter_mut().filter(reads).for_each(|op| op.shared = true);
            })
        };
        assert_eq!(three(LockKind::ReadWrite, &["c1-1", "c2-1", "c3-1"]), 0);
        assert_eq!(three(LockKind::ReadWrite, &["c1-1", "c2-1"]), 1, "a writer waits for readers");
        assert_eq!(three(LockKind::Semaphore { permits: 2 }, &[]), 1, "the third of two");
        assert_eq!(three(LockKind::Semaphore { permits: 3 }, &[]), 0);
    }

    #[test]
    fn anybody_may_release_what_knows_no_owner() {
        let mut story = Story::new(3);
        story.acquire("c1-1", 10, 11, None);
        story.release("c2-1", 20);
        story.acquire("c3-1", 30, 31, None);
        let history = story.history();
        assert_eq!(acquires(&history), 1, "by its owner it was never released");
        let mut ownerless = Contention::of_ownerless();
        history.ops.iter().for_each(|op| ownerless.take(op));
        assert_eq!(ownerless.acquires, 0);
    }
}
