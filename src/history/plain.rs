//! What a history says to whoever knows of acquires and releases only: Knossos, and the models of locks without leases.
//!
//! A hold that was lost, or whose client died, is over without a release. Told in releases that is one, certain, in
//! that instant: the client gives the hold up there, whatever the lock thinks, and a hold that ends as early as it can
//! accuses nobody. What a client had open when it died is in doubt, and its process acts no more. A process does one
//! thing at a time: if it has an op open when the word comes, the release stands before that op. Deliberately absent:
//! validity. A lock without a lease never takes back what it granted.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::op::{F, Op, OpType, Process};
use crate::ids::{ClientId, HoldId};

/// A history's acquires and releases, with those that it does not have but amounts to.
pub(crate) struct Plain<'a> {
    ops: &'a [Op],
    /// By the place of the op before which they stand, and their own order there.
    told: BTreeMap<(usize, usize), Op>,
}

/// What clients have begun and what they hold, op by op. Ops are kept as `O`: as themselves, or copied.
struct Clients<O>(FxHashMap<ClientId, Client<O>>);

struct Client<O> {
    /// The acquire or release that it has begun, and its place.
    open: Option<(usize, O)>,
    /// What it holds: the ops that told of the grants.
    holds: Vec<O>,
    /// What it was told to have lost before it was told of the grant.
    lost_early: Vec<HoldId>,
}

impl<O> Default for Client<O> {
    fn default() -> Self {
        Self { open: None, holds: Vec::new(), lost_early: Vec::new() }
    }
}

impl<O: Borrow<Op>> Clients<O> {
    /// Takes the op at a place of a well-formed history, and adds what it amounts to, each before the op at some place.
    fn take<'x>(&mut self, place: usize, op: &'x Op, keep: impl Fn(&'x Op) -> O, add: &mut impl FnMut(usize, Op)) {
        if !matches!(op.f, F::Acquire | F::Release | F::Lost | F::Crash) {
            return;
        }
        let (Process::Client(_), Some(id)) = (op.process, op.client) else { return };
        let client = self.0.entry(id).or_default();
        match (op.f, op.kind) {
            (F::Acquire | F::Release, OpType::Invoke) => {
                client.open = Some((place, keep(op)));
                if op.f == F::Release {
                    client.holds.retain(|grant| grant.borrow().hold != op.hold);
                }
            }
            (F::Acquire, OpType::Ok) => {
                client.open = None;
                match client.lost_early.iter().position(|lost| op.hold.as_ref() == Some(lost)) {
                    Some(at) => {
                        client.lost_early.swap_remove(at);
                        release(op, place + 1, op, op, add);
                    }
                    None => client.holds.push(keep(op)),
                }
            }
            (F::Acquire | F::Release, _) => client.open = None,
            (F::Lost, _) => match client.holds.iter().position(|grant| grant.borrow().hold == op.hold) {
                Some(at) => {
                    let grant = client.holds.remove(at);
                    let (place, before) = client.before(place, op);
                    release(grant.borrow(), place, before, op, add);
                }
                None => {
                    let asks = client.open.as_ref().is_some_and(|(_, open)| {
                        let open = open.borrow();
                        open.f == F::Acquire && open.hold == op.hold
                    });
                    client.lost_early.extend(op.hold.clone().filter(|_| asks));
                }
            },
            _ => {
                let client = std::mem::take(client);
                // The last hold first, as nested ones are given back.
                for grant in client.holds.iter().rev() {
                    let (place, before) = client.before(place, op);
                    release(grant.borrow(), place, before, op, add);
                }
                if let Some((_, open)) = client.open {
                    let mut doubtful = open.borrow().clone();
                    (doubtful.index, doubtful.time, doubtful.kind) = (op.index, op.time, OpType::Info);
                    add(place, doubtful);
                }
            }
        }
    }
}

impl<O: Borrow<Op>> Client<O> {
    /// Before which op a release stands of which `op`, at `place`, tells.
    fn before<'s>(&'s self, place: usize, op: &'s Op) -> (usize, &'s Op) {
        self.open.as_ref().map_or((place, op), |(place, open)| (*place, open.borrow()))
    }
}

/// The hold that `grant` began ends before the op at `place`, as `signal` tells: no later than `before`.
fn release(grant: &Op, place: usize, before: &Op, signal: &Op, add: &mut impl FnMut(usize, Op)) {
    let time = before.time.min(signal.time);
    for kind in [OpType::Invoke, OpType::Ok] {
        let mut op = Op::new(time, signal.process, kind, F::Release);
        op.index = signal.index;
        (op.client, op.lock, op.hold) = (grant.client, grant.lock.clone(), grant.hold.clone());
        add(place, op);
    }
}

impl<'a> Plain<'a> {
    /// Reads a well-formed history.
    pub fn of(ops: &'a [Op]) -> Self {
        let mut plain = Self { ops, told: BTreeMap::new() };
        if !ops.iter().any(|op| matches!(op.f, F::Lost | F::Crash)) {
            return plain;
        }
        let mut clients: Clients<&'a Op> = Clients(FxHashMap::default());
        for (place, op) in ops.iter().enumerate() {
            clients.take(place, op, |op| op, &mut |place, op| plain.add(place, op));
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

    fn add(&mut self, place: usize, op: Op) {
        let last = self.told.range((place, 0)..=(place, usize::MAX)).next_back();
        let next = last.map_or(0, |((_, last), _)| last + 1);
        self.told.insert((place, next), op);
    }
}

/// The same of a history that is read op by op.
pub(crate) struct PlainStream {
    clients: Clients<Op>,
    place: usize,
    told: Vec<(usize, Op)>,
}

impl PlainStream {
    /// Of a history that has not begun.
    pub fn new() -> Self {
        Self { clients: Clients(FxHashMap::default()), place: 0, told: Vec::new() }
    }

    /// Takes the next op of a well-formed history, and hands on what it amounts to. False if that would have had to
    /// stand before an op that has been handed on: then the whole history has to be known.
    pub fn take(&mut self, op: &Op, give: &mut impl FnMut(&Op)) -> bool {
        let (place, told) = (self.place, &mut self.told);
        self.clients.take(place, op, Op::clone, &mut |place, op| told.push((place, op)));
        if self.told.iter().any(|(at, _)| *at < place) {
            return false;
        }
        self.told.iter().filter(|(at, _)| *at == place).for_each(|(_, op)| give(op));
        if is_plain(op) {
            give(op);
        }
        self.told.iter().filter(|(at, _)| *at > place).for_each(|(_, op)| give(op));
        self.told.clear();
        self.place += 1;
        true
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
    use crate::check::tests::story::Story;
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
        // Op by op it is the same, or says that it cannot be.
        let (mut streamed, mut stream) = (Vec::new(), PlainStream::new());
        if ops.iter().all(|op| stream.take(op, &mut |op| streamed.push(line(op)))) {
            assert_eq!(streamed, lines);
        } else {
            assert!(ops.iter().any(|op| op.hold == Some(HoldId::new("c1-2"))), "only nested holds look back");
        }
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
