//! Owner-aware locks without leases: one sequential run decides, op by op.
//!
//! An owner is a client up to its first op in doubt on a lock; what it does to that lock later counts as another
//! owner's, as Jepsen retires a process. So an op in doubt is its owner's last. Then the history is linearizable if and
//! only if this one run is legal: an acquire takes effect when it completes, a release when it is invoked, an acquire
//! in doubt never. Any other linearization can be turned into it: acquires in doubt are left out (nothing of their
//! owner's follows), acquires move later and releases earlier, inside their intervals; all of that only shrinks holds,
//! and what is legal stays so; tokens keep their order, since no two holds pass each other. A failed release that may
//! have ended the claim is the one true alternative: the run goes on in both states, of which there are at most twice
//! as many as one owner may have holds. A hold that is shorter than the clocks can tell apart is placed where it is
//! least in the way.
//!
//! Memory grows with the ops that are open, the clients and the lock names, not with the history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::model::FailedRelease;
use super::state::{Lock, Owner, Rules};
use super::words::{self, Contradiction, Grant};
use crate::check::evidence::Listing;
use crate::history::{F, Op, OpType, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::time::Nanos;

/// The run so far.
pub(super) struct Replay {
    rules: Rules,
    failed_release: FailedRelease,
    clock_error: Duration,
    clients: FxHashMap<ClientId, Client>,
    /// What each process has begun and not completed. One client may act as several processes.
    open: FxHashMap<Process, Open>,
    /// Grants that may be later than others' invocations, by as much as clocks may disagree.
    due: VecDeque<Due>,
    locks: BTreeMap<LockName, Lock>,
    /// What was found.
    pub listing: Listing,
    /// What was seen.
    pub seen: Seen,
}

/// What a run saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Grants.
    pub grants: u64,
    /// Lock ops in doubt, or never completed.
    pub in_doubt: u64,
    /// Grants to another client than the one before of the same lock.
    pub handovers: u64,
    /// Releases tried again after one in doubt, read strictly: the model's owners do not do that.
    pub undecided: u64,
}

#[derive(Default)]
struct Client {
    /// How many owners it has been before, of each lock: an op in doubt ends its owner's dealings with its own lock
    /// only.
    lives: BTreeMap<LockName, u32>,
    /// The hold of its last release in doubt.
    doubtful: Option<HoldId>,
    /// What it was granted in its present life.
    granted: BTreeSet<LockName>,
}

impl Client {
    /// How many owners of this lock it has been before.
    fn life(&self, lock: &LockName) -> u32 {
        if self.lives.is_empty() { 0 } else { self.lives.get(lock).copied().unwrap_or_default() }
    }
}

enum Open {
    Acquire,
    Release(Release),
}

struct Release {
    owner: Owner,
    /// By which grant its owner held the lock when it began.
    held: Option<Grant>,
    /// Whether it began before the grant was certain.
    early: bool,
}

struct Due {
    at: Nanos,
    owner: Owner,
    lock: LockName,
    grant: Grant,
    /// Given up before it was certain: when, and the highest token then.
    given_up: Option<(Nanos, Option<FencingToken>)>,
}

impl Replay {
    /// A run that has not begun.
    pub fn new(rules: Rules, failed_release: FailedRelease, clock_error: Duration) -> Self {
        Self {
            rules,
            failed_release,
            clock_error,
            clients: FxHashMap::default(),
            open: FxHashMap::default(),
            due: VecDeque::new(),
            locks: BTreeMap::new(),
            listing: Listing::default(),
            seen: Seen::default(),
        }
    }

    /// Takes the next op of a well-formed history.
    pub fn take(&mut self, op: &Op) {
        self.grant_until(op.time);
        let (F::Acquire | F::Release | F::Crash, Some(id)) = (op.f, op.client) else { return };
        match (op.f, op.kind) {
            (F::Acquire, OpType::Invoke) => drop(self.open.insert(op.process, Open::Acquire)),
            (F::Acquire, OpType::Ok) => {
                self.open.remove(&op.process);
                let (Some(lock), Some(hold)) = (&op.lock, &op.hold) else { return };
                let client = self.clients.entry(id).or_default();
                let owner = (id, client.life(lock));
                if !client.granted.contains(lock) {
                    client.granted.insert(lock.clone());
                }
                let grant = Grant { client: id, hold: hold.clone(), token: op.token, op: op.index, at: op.time };
                let at = op.time + self.clock_error;
                self.due.push_back(Due { at, owner, lock: lock.clone(), grant, given_up: None });
            }
            (F::Acquire, OpType::Fail) => drop(self.open.remove(&op.process)),
            (F::Release, OpType::Invoke) => self.give_up(id, op),
            (F::Release, OpType::Ok | OpType::Fail) => self.released(id, op),
            (F::Acquire | F::Release, OpType::Info) => {
                self.released(id, op);
                self.seen.in_doubt += 1;
                self.retire(id, op.lock.as_ref());
            }
            _ => {
                self.seen.in_doubt += u64::from(self.open.remove(&op.process).is_some());
                self.retire(id, None);
            }
        }
    }

    /// Takes the end of the history: what is still open is in doubt.
    pub fn finish(&mut self) {
        self.grant_until(Nanos(u64::MAX));
        self.seen.in_doubt += self.open.len() as u64;
    }

    /// The client's next op is another owner's: on one lock, or on all that it ever was granted.
    fn retire(&mut self, id: ClientId, lock: Option<&LockName>) {
        let client = self.clients.entry(id).or_default();
        let names = match lock {
            Some(lock) => {
                client.granted.remove(lock);
                BTreeSet::from([lock.clone()])
            }
            None => std::mem::take(&mut client.granted),
        };
        for name in names {
            let life = client.lives.entry(name.clone()).or_default();
            let retired = (id, *life);
            *life += 1;
            if let Some(lock) = self.locks.get_mut(&name) {
                lock.held_by.remove(&retired);
                lock.overthrown.remove(&retired);
            }
        }
    }

    /// Lets every grant take effect that was certain before `now`: at one instant, invocations come first.
    fn grant_until(&mut self, now: Nanos) {
        while let Some(due) = self.due.pop_front_if(|due| due.at < now) {
            if !self.locks.contains_key(&due.lock) {
                self.locks.insert(due.lock.clone(), Lock::default());
            }
            let Some(lock) = self.locks.get_mut(&due.lock) else { return };
            let grant = &due.grant;
            self.seen.grants += 1;
            self.seen.handovers += u64::from(lock.latest.as_ref().is_some_and(|last| last.client != grant.client));
            let contradiction = match due.given_up {
                None => lock.grant(due.owner, grant, self.rules),
                Some((since, highest)) => {
                    lock.held_by.insert(due.owner);
                    let too_low = self.rules.fenced && grant.token.is_some() && grant.token <= highest;
                    let holder = lock.held_throughout(due.owner, since, self.clock_error).cloned();
                    let contradiction =
                        holder.map(Contradiction::Held).or_else(|| lock.token_too_low(grant).filter(|_| too_low));
                    lock.raise(grant);
                    lock.latest = Some(grant.clone());
                    contradiction
                }
            };
            if let Some(contradiction) = contradiction {
                self.listing.add(|| contradiction.violation(&due.lock, grant));
            }
        }
    }

    fn give_up(&mut self, id: ClientId, op: &Op) {
        let Some(name) = &op.lock else { return };
        let owner = (id, self.clients.entry(id).or_default().life(name));
        let lock = self.locks.get_mut(name);
        let is_mine = |due: &&mut Due| due.owner == owner && due.lock == *name && due.given_up.is_none();
        let release = match self.due.iter_mut().rev().find(is_mine) {
            Some(due) => {
                let highest = lock.and_then(|lock| lock.highest.as_ref()?.token);
                due.given_up = Some((op.time, highest));
                Release { owner, held: Some(due.grant.clone()), early: true }
            }
            None => Release { owner, held: lock.and_then(|lock| lock.release(owner)), early: false },
        };
        self.open.insert(op.process, Open::Release(release));
    }

    fn released(&mut self, id: ClientId, op: &Op) {
        let (Some(Open::Release(release)), Some(name)) = (self.open.remove(&op.process), &op.lock) else { return };
        let client = self.clients.entry(id).or_default();
        let strict = self.failed_release == FailedRelease::DidNothing;
        let tried_again = client.doubtful.is_some() && client.doubtful == op.hold;
        if op.kind == OpType::Info {
            client.doubtful = op.hold.clone();
        }
        let lock = self.locks.entry(name.clone()).or_default();
        match op.kind {
            OpType::Ok if release.held.is_none() => {
                if lock.overthrown.contains(&release.owner) {
                    // Told when that happened.
                } else if tried_again {
                    self.seen.undecided += u64::from(strict);
                } else if strict || !lock.held_by.contains(&release.owner) {
                    self.listing.add(|| words::released_unheld(name, id, op));
                }
            }
            OpType::Fail if strict => {
                let Some(held) = release.held else { return };
                let due = self.due.iter_mut().find(|due| due.grant.op == held.op && release.early);
                if let Some(due) = due {
                    due.given_up = None;
                } else if release.early {
                    // It has passed as an instant, and goes on; that its token is not above its own is no offence.
                    let judged = lock.highest.as_ref().is_some_and(|highest| highest.op == held.op);
                    let rules = Rules { fenced: self.rules.fenced && !judged, ..self.rules };
                    if let Some(contradiction) = lock.grant(release.owner, &held, rules) {
                        self.listing.add(|| contradiction.violation(name, &held));
                    }
                } else if !lock.kept(release.owner) {
                    let other = lock.latest.clone().unwrap_or_else(|| held.clone());
                    self.listing.add(|| words::granted_over_failed_release(name, &held, &other, op));
                }
            }
            OpType::Fail => lock.maybe_released(release.owner),
            _ => lock.released(release.owner),
        }
    }
}
