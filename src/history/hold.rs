//! One hold, gathered from its ops: what its client may believe between grant and end.
//!
//! What a guard promises is an instant until which the hold is valid. It moves: a renewed lease, a session's heartbeat.
//! Each change is an op (`extend`, `suspect`), recorded when the client learns of it, so at every moment the promise in
//! force is that of the last such op, or else of the grant. Nobody writes these down but for the holder, at most as
//! often as a lease is renewed or a session confirmed (ten times per session timeout): few, so all of them are kept.
//!
//! Where a file does not tell every change ([`Header::tells_renewals`](super::Header::tells_renewals): older files and
//! other harnesses' do not), it may still tell where a hold's validity had got to: at its end. A later instant than the
//! last one known means that the promise moved on at some moment in between, *and in time*: a lock that moves it on
//! after it was over has broken its word just as much as one that grants it to another meanwhile. An earlier one, or
//! none, means that nobody knows what was promised in between: then only the time up to what is known counts as valid,
//! and nothing counts as past validity.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::EnvironmentName;
use super::History;
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
    /// Whether others that share it, too, may hold it at the same time: it is a reader's.
    pub shared: bool,
    /// The fencing token, where the lock gives one.
    pub token: Option<FencingToken>,
    /// Index of the op that completed the acquire.
    pub granted: u32,
    /// When the acquire completed.
    pub from: Nanos,
    /// Index of the op that ended the hold, and how; absent for a hold that was still open when the history ended.
    pub ended: Option<(u32, Ending)>,
    /// When it ended; for an open hold, when the history ended, or what is known of its client.
    pub to: Nanos,
    /// Until when the API said that the hold is valid, at its grant.
    pub valid_until: Option<Nanos>,
    /// What it said after that, in the order of time. Most holds end before their validity is changed.
    pub renewals: Vec<Renewal>,
    /// Whether no change of its validity can be missing here.
    pub renewals_known: bool,
}

/// A change of what a hold's API promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// From when on it was in force.
    pub since: Nanos,
    /// Until when the hold was valid by it.
    pub until: Nanos,
}

impl Hold {
    /// Until when the API said that the hold is valid, as last known.
    pub fn last_valid_until(&self) -> Option<Nanos> {
        self.renewals.last().map(|renewal| renewal.until).or(self.valid_until)
    }

    /// Until when the API said that the hold is valid, with all renewals up to the first one that came too late.
    pub fn promised_until(&self) -> Option<Nanos> {
        let first = self.valid_until.or_else(|| self.renewals.first().map(|_| Nanos(u64::MAX)))?;
        let mut in_time = self.renewals.iter().scan(first, |until, renewal| {
            let in_time = *until >= renewal.since;
            *until = renewal.until.max(renewal.since);
            in_time.then_some(*until)
        });
        Some(in_time.by_ref().last().unwrap_or(first))
    }

    /// The parts of the hold in which the validity in force was not over, in order; they neither touch nor overlap. All
    /// but the first, which may be empty, begin with a renewal that came when the validity before it was over.
    pub fn valid_spans(&self) -> impl Iterator<Item = (Nanos, Nanos)> + Clone {
        let (mut next, mut renewals) = (Some((self.from, self.valid_until)), self.renewals.iter());
        std::iter::from_fn(move || {
            let (from, until) = next.take()?;
            let mut until = until.unwrap_or(Nanos(u64::MAX));
            for renewal in renewals.by_ref() {
                if until < renewal.since {
                    next = Some((renewal.since, Some(renewal.until)));
                    break;
                }
                until = renewal.until.max(renewal.since);
            }
            Some((from, until.max(from).min(self.to)))
        })
    }

    /// The parts of the hold in which its validity was certainly over, in order; none is empty.
    pub fn lapses(&self) -> impl Iterator<Item = (Nanos, Nanos)> + Clone {
        let mut spans = self.valid_spans().peekable();
        std::iter::from_fn(move || {
            let (_, from) = spans.next().filter(|_| self.renewals_known)?;
            Some((from, spans.peek().map_or(self.to, |(next, _)| *next)))
        })
        .filter(|(from, to)| from < to)
    }

    /// The hold's end, without the part in which its validity was over for the last time.
    pub fn clipped_to(&self) -> Nanos {
        self.lapses().filter(|(_, to)| *to == self.to).last().map_or(self.to, |(from, _)| from)
    }

    /// Whether the hold outlived the validity that the API exposed, be it only until a renewal.
    pub fn outlived_validity(&self) -> bool {
        self.lapses().next().is_some()
    }
}

impl Hold {
    /// Takes note of what the validity was when the hold ended.
    fn last_told(&mut self, until: Nanos) {
        let since = self.renewals.last().map_or(self.from, |renewal| renewal.since);
        let known = self.last_valid_until();
        // Renewed when it was known to be over: nobody knows from when on.
        let was_over = known.is_some_and(|known| known <= since);
        self.renewals_known = known.is_none_or(|known| known == until || known < until && !was_over);
        match self.renewals.last_mut() {
            _ if was_over => {}
            Some(renewal) => renewal.until = until,
            None => self.valid_until = Some(until),
        }
    }
}

/// Gathers holds from a history's ops, one by one, and when each was asked for.
pub(crate) struct Holds<'a> {
    /// In the order of their grants. Whatever else is known of a hold stands at the same place elsewhere.
    pub list: Vec<Hold>,
    /// For each hold, when its acquire was invoked.
    pub requested: Vec<Nanos>,
    /// Whether the history tells every change of a hold's validity.
    renewals_told: bool,
    /// When each client was heard of last, where nothing is known of it after that: in a history that is cut off and
    /// was written as reports came in, a client's next words may be on their way while later ones of others are there.
    heard: Option<BTreeMap<ClientId, Nanos>>,
    attempts: Attempts<'a>,
    /// What ends with its client, should it die.
    open: BTreeMap<ClientId, Vec<usize>>,
}

/// What became of an attempt.
#[derive(Clone, Copy)]
enum Attempt {
    Requested(Nanos),
    /// Requested at this instant and told to be lost by this op, before its grant was told.
    LostEarly(Nanos, u32),
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
    /// None so far of this history.
    pub fn of(history: &History) -> Self {
        let header = &history.header;
        let in_order = matches!(header.environment.known(), Some(EnvironmentName::Sim | EnvironmentName::Foreign));
        Self {
            heard: (history.cut_off.is_some() && !in_order).then(BTreeMap::new),
            list: Vec::new(),
            requested: Vec::new(),
            renewals_told: header.tells_renewals(),
            attempts: Attempts::default(),
            open: BTreeMap::new(),
        }
    }

    /// Takes the next op of a history.
    pub fn take(&mut self, op: &'a Op) {
        if let (Some(heard), Process::Client(_) | Process::Monitor, Some(client)) =
            (&mut self.heard, op.process, op.client)
        {
            heard.insert(client, op.time);
        }
        if !matches!(op.f, F::Acquire | F::Release | F::Extend | F::Suspect | F::Lost | F::Crash)
            || !matches!(op.process, Process::Client(_))
        {
            return;
        }
        if let (F::Crash, Some(client)) = (op.f, op.client) {
            for at in self.open.remove(&client).unwrap_or_default() {
                self.end(at, op, Ending::Crashed);
            }
            return;
        }
        let Some(id) = &op.hold else { return };
        match (op.f, op.kind) {
            (F::Acquire, OpType::Invoke) => drop(self.attempts.insert(id, Attempt::Requested(op.time))),
            (F::Acquire, OpType::Ok) => self.grant(op, id),
            (F::Release, OpType::Invoke) => self.given_up(op, id, Ending::Released),
            (F::Lost, _) => self.given_up(op, id, Ending::Lost),
            (F::Extend | F::Suspect, _) => self.renewed(op, id),
            _ => {}
        }
    }

    fn grant(&mut self, op: &'a Op, id: &'a HoldId) {
        let (Some(lock), Some(client)) = (&op.lock, op.client) else { return };
        let place = self.list.len();
        let (requested, lost) = match self.attempts.insert(id, Attempt::Granted(place)) {
            Some(Attempt::Requested(at)) => (at, None),
            Some(Attempt::LostEarly(at, lost)) => (at, Some(lost)),
            _ => (op.time, None),
        };
        let open = self.open.entry(client).or_default();
        open.retain(|at| self.list[*at].ended.is_none());
        open.push(place);
        self.requested.push(requested);
        self.list.push(Hold {
            id: id.clone(),
            client,
            lock: lock.clone(),
            shared: op.shared,
            token: op.token,
            granted: op.index,
            from: op.time,
            ended: lost.map(|lost| (lost, Ending::Lost)),
            to: op.time,
            valid_until: op.valid_until,
            renewals: Vec::new(),
            renewals_known: self.renewals_told,
        });
    }

    /// The client gives a hold up or is told that it is lost.
    fn given_up(&mut self, op: &Op, id: &'a HoldId, ending: Ending) {
        match self.attempts.get(id).copied() {
            Some(Attempt::Granted(at)) if self.list[at].ended.is_none() => {
                self.end(at, op, ending);
                if let Some(until) = op.valid_until {
                    self.list[at].last_told(until);
                }
            }
            Some(Attempt::Requested(at)) if ending == Ending::Lost => {
                self.attempts.insert(id, Attempt::LostEarly(at, op.index));
            }
            _ => {}
        }
    }

    /// The lock tells what it promises from now on.
    fn renewed(&mut self, op: &Op, id: &HoldId) {
        let (Some(place), Some(until)) = (self.place(id), op.valid_until) else { return };
        let hold = &mut self.list[place];
        if hold.ended.is_none() {
            // Who writes one down writes down all.
            hold.renewals_known = true;
            hold.renewals.push(Renewal { since: op.time, until });
        }
    }

    /// Ends a hold, unless it is over.
    fn end(&mut self, at: usize, op: &Op, ending: Ending) {
        let hold = &mut self.list[at];
        if hold.ended.is_none() {
            hold.ended = Some((op.index, ending));
            hold.to = op.time;
        }
    }

    /// Takes the end of the history: what is still open lasts until then, or as long as its
    /// client is known to have gone on.
    pub fn finish(&mut self, end: Nanos) {
        for hold in self.list.iter_mut().filter(|hold| hold.ended.is_none()) {
            hold.to = self.heard.as_ref().map_or(end, |heard| heard.get(&hold.client).copied().unwrap_or(hold.from));
        }
    }

    /// The place of a hold that was granted so far.
    pub fn place(&self, id: &HoldId) -> Option<usize> {
        match self.attempts.get(id) {
            Some(Attempt::Granted(place)) => Some(*place),
            _ => None,
        }
    }
}
