//! One hold, gathered from its ops: what its client may believe between grant and end.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::op::{F, Op, OpType, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::time::Nanos;

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client began to release it.
    Released,
    /// The lock told the client that it is over.
    Lost,
    /// The client died: nobody is left to believe in it.
    Crashed,
}

/// From the completion of an acquire to the invocation of its release, the lost signal or the client's death, whichever
/// is first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The attempt that became this hold.
    pub id: HoldId,
    /// Who holds.
    pub client: ClientId,
    /// What is held.
    pub lock: LockName,
    /// The fencing token, where the lock gives one.
    pub token: Option<FencingToken>,
    /// Index of the op that completed the acquire.
    pub granted: u32,
    /// When the acquire completed.
    pub from: Nanos,
    /// Index of the op that ended the hold, and how; absent for a hold that was still open when the history ended.
    pub ended: Option<(u32, Ending)>,
    /// When it ended; for an open hold, when the history ended.
    pub to: Nanos,
    /// Until when the API said that the hold is valid, as last known before its end.
    pub valid_until: Option<Nanos>,
}

impl Hold {
    /// The hold's end clipped to the validity that the API exposed to its client.
    pub fn clipped_to(&self) -> Nanos {
        self.valid_until.map_or(self.to, |valid_until| valid_until.min(self.to)).max(self.from)
    }

    /// Whether the hold outlived the validity that the API exposed.
    pub fn outlived_validity(&self) -> bool {
        self.valid_until.is_some_and(|valid_until| valid_until < self.to)
    }
}

/// Gathers holds from a history's ops, one by one, and when each was asked for.
#[derive(Default)]
pub(crate) struct Holds<'a> {
    /// In the order of their grants. Whatever else is known of a hold stands at the same place elsewhere.
    pub list: Vec<Hold>,
    /// For each hold, when its acquire was invoked.
    pub requested: Vec<Nanos>,
    attempts: Attempts<'a>,
    /// What ends with its client, should it die.
    open: BTreeMap<ClientId, Vec<usize>>,
}

/// What became of an attempt.
#[derive(Clone, Copy)]
enum Attempt {
    Requested(Nanos),
    /// It is the hold at this place.
    Granted(usize),
}

/// Attempts by their ids. Only looked up, never gone through: a hash map's order tells nothing.
#[derive(Default)]
struct Attempts<'a> {
    numbered: FxHashMap<(ClientId, u32), Attempt>,
    named: BTreeMap<&'a HoldId, Attempt>,
}

impl<'a> Attempts<'a> {
    fn insert(&mut self, id: &'a HoldId, attempt: Attempt) -> Option<Attempt> {
        match id.numbers() {
            Some(numbers) => self.numbered.insert(numbers, attempt),
            None => self.named.insert(id, attempt),
        }
    }

    fn get(&self, id: &HoldId) -> Option<&Attempt> {
        id.numbers().map_or_else(|| self.named.get(id), |numbers| self.numbered.get(&numbers))
    }
}

impl<'a> Holds<'a> {
    /// Takes the next op of a history.
    pub fn take(&mut self, op: &'a Op) {
        if !matches!(op.f, F::Acquire | F::Release | F::Lost | F::Crash) || !matches!(op.process, Process::Client(_)) {
            return;
        }
        if let (F::Crash, Some(client)) = (op.f, op.client) {
            for at in self.open.remove(&client).unwrap_or_default() {
                self.end(at, op, Ending::Crashed);
            }
            return;
        }
        let Some(id) = &op.hold else { return };
        let ending = match (op.f, op.kind) {
            (F::Acquire, OpType::Invoke) => {
                self.attempts.insert(id, Attempt::Requested(op.time));
                return;
            }
            (F::Acquire, OpType::Ok) => return self.grant(op, id),
            (F::Release, OpType::Invoke) => Ending::Released,
            (F::Lost, _) => Ending::Lost,
            _ => return,
        };
        if let Some(at) = self.place(id) {
            let was_open = self.list[at].ended.is_none();
            self.end(at, op, ending);
            let hold = &mut self.list[at];
            hold.valid_until = op.valid_until.filter(|_| was_open).or(hold.valid_until);
        }
    }

    fn grant(&mut self, op: &'a Op, id: &'a HoldId) {
        let (Some(lock), Some(client)) = (&op.lock, op.client) else { return };
        let place = self.list.len();
        let requested = match self.attempts.insert(id, Attempt::Granted(place)) {
            Some(Attempt::Requested(at)) => at,
            _ => op.time,
        };
        let open = self.open.entry(client).or_default();
        open.retain(|at| self.list[*at].ended.is_none());
        open.push(place);
        self.requested.push(requested);
        self.list.push(Hold {
            id: id.clone(),
            client,
            lock: lock.clone(),
            token: op.token,
            granted: op.index,
            from: op.time,
            ended: None,
            to: op.time,
            valid_until: op.valid_until,
        });
    }

    /// Ends a hold, unless it is over.
    fn end(&mut self, at: usize, op: &Op, ending: Ending) {
        let hold = &mut self.list[at];
        if hold.ended.is_none() {
            hold.ended = Some((op.index, ending));
            hold.to = op.time;
        }
    }

    /// Takes the end of the history: what is still open lasts until then.
    pub fn finish(&mut self, end: Nanos) {
        self.list.iter_mut().filter(|hold| hold.ended.is_none()).for_each(|hold| hold.to = end);
    }

    /// The place of a hold that was granted so far.
    pub fn place(&self, id: &HoldId) -> Option<usize> {
        match self.attempts.get(id) {
            Some(Attempt::Granted(place)) => Some(*place),
            _ => None,
        }
    }
}
