//! What a history says to whoever knows of acquires and releases only: Knossos, and the models of locks without leases.
//!
//! A hold that was lost, or whose client died, is over without a release. Told in releases that is one, certain, in that
//! instant: the client gives the hold up there, whatever the lock thinks, and a hold that ends as early as it can accuses
//! nobody. What a client had open when it died is in doubt, and its process acts no more. A process does one thing at a
//! time: if it has an op open when the word comes, the release stands before that op.
//! Deliberately absent: validity. A lock without a lease never takes back what it granted.

use std::collections::BTreeMap;

use super::op::{F, Op, OpType, Process};
use crate::ids::{ClientId, HoldId};

/// A history's acquires and releases, with those that it does not have but amounts to.
pub(crate) struct Plain<'a> {
    ops: &'a [Op],
    /// By the place of the op before which they stand, and their own order there.
    told: BTreeMap<(usize, usize), Op>,
}

#[derive(Default)]
struct Client<'a> {
    /// The place of the acquire or release that it has begun.
    open: Option<usize>,
    /// What it holds: the ops that told of the grants.
    holds: Vec<&'a Op>,
    /// What it was told to have lost before it was told of the grant.
    lost_early: Vec<&'a HoldId>,
}

impl<'a> Plain<'a> {
    /// Reads a well-formed history.
    pub fn of(ops: &'a [Op]) -> Self {
        let mut plain = Self { ops, told: BTreeMap::new() };
        if !ops.iter().any(|op| matches!(op.f, F::Lost | F::Crash)) {
            return plain;
        }
        let mut clients: BTreeMap<ClientId, Client<'_>> = BTreeMap::new();
        for (place, op) in ops.iter().enumerate() {
            let (Process::Client(_), Some(id)) = (op.process, op.client) else { continue };
            let client = clients.entry(id).or_default();
            match (op.f, op.kind) {
                (F::Acquire | F::Release, OpType::Invoke) => {
                    client.open = Some(place);
                    if op.f == F::Release {
                        client.holds.retain(|grant| grant.hold != op.hold);
                    }
                }
                (F::Acquire, OpType::Ok) => {
                    client.open = None;
                    client.holds.push(op);
                    if let Some(at) = client.lost_early.iter().position(|lost| op.hold.as_ref() == Some(*lost)) {
                        client.lost_early.swap_remove(at);
                        plain.release(client.holds.pop(), place + 1, op);
                    }
                }
                (F::Acquire | F::Release, _) => client.open = None,
                (F::Lost, _) => match client.holds.iter().position(|grant| grant.hold == op.hold) {
                    Some(at) => plain.release(Some(client.holds.remove(at)), client.open.unwrap_or(place), op),
                    None => {
                        let asks = |open: usize| ops[open].f == F::Acquire && ops[open].hold == op.hold;
                        client.lost_early.extend(op.hold.as_ref().filter(|_| client.open.is_some_and(asks)));
                    }
                },
                (F::Crash, _) => {
                    let Client { open, holds, .. } = std::mem::take(client);
                    // The last hold first, as nested ones are given back.
                    for grant in holds.into_iter().rev() {
                        plain.release(Some(grant), open.unwrap_or(place), op);
                    }
                    if let Some(open) = open {
                        let mut doubtful = ops[open].clone();
                        (doubtful.index, doubtful.time, doubtful.kind) = (op.index, op.time, OpType::Info);
                        plain.add(place, doubtful);
                    }
                }
                _ => {}
            }
        }
        plain
    }

    /// The ops in their order, and the deaths of clients, which end what they were as owners.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        let mut told = self.told.iter().peekable();
        let mut own = self.ops.iter().enumerate().filter(|(_, op)| is_plain(op)).peekable();
        std::iter::from_fn(move || {
            let here = own.peek().map_or(usize::MAX, |(place, _)| *place);
            told.next_if(|((place, _), _)| *place <= here).map(|(_, op)| op).or_else(|| own.next().map(|(_, op)| op))
        })
    }

    /// The hold that `grant` began ends before the op at `place`, as `signal` tells.
    fn release(&mut self, grant: Option<&Op>, place: usize, signal: &Op) {
        let Some(grant) = grant else { return };
        let time = self.ops.get(place).map_or(signal.time, |op| op.time.min(signal.time));
        for kind in [OpType::Invoke, OpType::Ok] {
            let mut op = Op::new(time, signal.process, kind, F::Release);
            op.index = signal.index;
            (op.client, op.lock, op.hold) = (grant.client, grant.lock.clone(), grant.hold.clone());
            self.add(place, op);
        }
    }

    fn add(&mut self, place: usize, op: Op) {
        let last = self.told.range((place, 0)..=(place, usize::MAX)).next_back();
        let next = last.map_or(0, |((_, last), _)| last + 1);
        self.told.insert((place, next), op);
    }
}

fn is_plain(op: &Op) -> bool {
    matches!(op.f, F::Acquire | F::Release | F::Crash)
        && matches!(op.process, Process::Client(_))
        && op.client.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;
    use crate::time::Nanos;

    fn told(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        let mut story = Story::new(2);
        tell(&mut story);
        let ops = story.history().ops;
        let line = |op: &Op| {
            let hold = op.hold.as_ref().map_or_else(String::new, |hold| format!(" {hold}"));
            format!("{} {:?} {}{hold}", op.time.0 / 1_000_000, op.kind, op.f)
        };
        let lines: Vec<String> = Plain::of(&ops).ops().map(line).collect();
        lines
    }

    fn dies(story: &mut Story, at: u64) {
        let op = story.op(at, "c1-1", OpType::Info, F::Crash);
        (op.hold, op.lock) = (None, None);
    }

    #[test]
    fn a_hold_that_ended_without_a_release_is_released() {
        let lost = told(|story| {
            story.acquire("c1-1", 1, 2, None);
            story.op(3, "c1-1", OpType::Ok, F::Extend).valid_until = Some(Nanos(9));
            story.op(4, "c1-1", OpType::Ok, F::Lost);
            story.acquire("c1-2", 5, 6, None);
        });
        let grant = ["1 Invoke acquire c1-1", "2 Ok acquire c1-1"];
        let release = ["4 Invoke release c1-1", "4 Ok release c1-1"];
        assert_eq!(lost, [&grant[..], &release, &["5 Invoke acquire c1-2", "6 Ok acquire c1-2"]].concat());
        let died = told(|story| {
            story.acquire("c1-1", 1, 2, None);
            dies(story, 4);
        });
        assert_eq!(died, [&grant[..], &release, &["4 Info crash"]].concat());
    }

    #[test]
    fn what_was_open_at_a_death_is_in_doubt() {
        let releasing = told(|story| {
            story.acquire("c1-1", 1, 2, None);
            story.op(3, "c1-1", OpType::Invoke, F::Release);
            dies(story, 4);
        });
        assert_eq!(releasing[2..], ["3 Invoke release c1-1", "4 Info release c1-1", "4 Info crash"]);
    }

    #[test]
    fn a_release_stands_before_what_its_process_had_open() {
        for dead in [false, true] {
            let nested = told(|story| {
                story.acquire("c1-1", 1, 2, None);
                story.op(3, "c1-2", OpType::Invoke, F::Acquire);
                match dead {
                    true => dies(story, 4),
                    false => _ = story.op(4, "c1-1", OpType::Ok, F::Lost),
                }
            });
            let before = ["3 Invoke release c1-1", "3 Ok release c1-1", "3 Invoke acquire c1-2"];
            assert_eq!(nested[2..5], before, "{dead}");
            assert_eq!(nested[5..], ["4 Info acquire c1-2", "4 Info crash"][..if dead { 2 } else { 0 }]);
        }
    }

    #[test]
    fn a_loss_that_was_told_before_the_grant_ends_it_there() {
        let early = told(|story| {
            story.op(1, "c1-1", OpType::Invoke, F::Acquire);
            story.op(2, "c1-1", OpType::Ok, F::Lost);
            story.op(3, "c1-1", OpType::Ok, F::Acquire);
            story.acquire("c2-1", 2, 5, None);
        });
        assert_eq!(early[2..5], ["3 Ok acquire c1-1", "3 Invoke release c1-1", "3 Ok release c1-1"]);
    }

    #[test]
    fn what_was_given_up_or_never_held_is_not_released_again() {
        let released = told(|story| {
            story.acquire("c1-1", 1, 2, None);
            story.release("c1-1", 3);
            story.op(5, "c1-1", OpType::Ok, F::Lost);
            dies(story, 6);
        });
        assert_eq!(released.len(), 5, "{released:?}");
    }
}
