//! What a trial and its faults both have to know of its clients: which was sent its death, when each was last heard or
//! stood still, what was asked of one and not answered yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::messages::{ClientClock, RequestsReport};
use crate::history::Op;
use crate::ids::ClientId;
use crate::time::Nanos;
use crate::trial::Lives;

/// So long no client runs at all where the machine, or their part of it, stands still. A laden one stops each of them
/// for tenths of a second.
const STANDSTILL: Duration = Duration::from_secs(1);

/// The clients of one trial.
pub struct Known {
    /// Their lives, which the trial follows in every world.
    lives: Arc<Lives>,
    actors: Mutex<BTreeMap<ClientId, Actor>>,
    questions: Mutex<BTreeMap<u64, oneshot::Sender<ClientClock>>>,
    orders: Mutex<BTreeMap<u64, oneshot::Sender<RequestsReport>>>,
    asked: AtomicU64,
}

#[derive(Default)]
struct Actor {
    /// When it last recorded anything.
    last: Nanos,
    /// When it last did not run, from when to when, as it noticed itself.
    stall: Option<(Nanos, Nanos)>,
    /// When it was sent its death, and who waits until all that it had said was heard.
    dying: Option<(Nanos, oneshot::Sender<()>)>,
}

impl Known {
    /// `clients` clients, all in their first life.
    pub fn new(clients: u32) -> Self {
        let actors = (1..=clients).map(|client| (ClientId(client), Actor::default())).collect();
        Self {
            lives: Arc::new(Lives::new(clients)),
            actors: Mutex::new(actors),
            questions: Mutex::default(),
            orders: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Follows an op that a client has recorded, and has the nemesis hear it.
    pub fn hear(&self, op: &Op) {
        if let Some(client) = op.client
            && let Some(actor) = lock(&self.actors).get_mut(&client)
        {
            actor.last = actor.last.max(op.time);
        }
        self.lives.hear(op);
    }

    /// Follows a client's word that it did not run, and says from when to when none of several did: that is no single
    /// client's fault. Each such time is told once.
    pub fn stalled(&self, op: &Op) -> Option<(Nanos, Nanos)> {
        let (client, since) = (op.client?, op.since?);
        let mut actors = lock(&self.actors);
        actors.get_mut(&client)?.stall = Some((since, op.time));
        let all: Option<Vec<(Nanos, Nanos)>> = actors.values().map(|actor| actor.stall).collect();
        let all = all.filter(|stalls| stalls.len() > 1)?;
        let from = all.iter().map(|(from, _)| *from).max()?;
        let to = all.iter().map(|(_, to)| *to).min()?;
        if to < from + STANDSTILL {
            return None;
        }
        actors.values_mut().for_each(|actor| actor.stall = None);
        Some((from, to))
    }

    /// Their lives.
    pub fn lives(&self) -> &Arc<Lives> {
        &self.lives
    }

    /// Notes that a client is about to be killed, at `now`. What is returned is told when all that it had said was
    /// heard.
    pub fn dying(&self, client: ClientId, now: Nanos) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        if let Some(actor) = lock(&self.actors).get_mut(&client) {
            actor.dying = Some((now, sender));
        }
        receiver
    }

    /// Notes that a client was not killed after all.
    pub fn spared(&self, client: ClientId) {
        if let Some(actor) = lock(&self.actors).get_mut(&client) {
            actor.dying = None;
        }
    }

    /// Ends the life of a client whose connection has ended: the op that tells of its death, and whom to tell once that
    /// is recorded. `None` if nobody killed it.
    ///
    /// It died after it was sent its death and after all that it recorded, and no later than now. The earliest of these
    /// instants counts: a hold is never said to have lasted longer than it certainly did.
    pub fn ended(&self, client: ClientId) -> Option<(Op, oneshot::Sender<()>)> {
        let (at, told) = {
            let mut actors = lock(&self.actors);
            let actor = actors.get_mut(&client)?;
            let (sent, told) = actor.dying.take()?;
            (sent.max(actor.last), told)
        };
        Some((self.lives.crash(client, at)?, told))
    }

    /// Numbers a question about a clock, and waits for its answer.
    pub fn ask(&self) -> (u64, oneshot::Receiver<ClientClock>) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.questions).insert(number, sender);
        (number, receiver)
    }

    /// Numbers an order about a client's requests, and waits for what it says of them.
    pub fn order(&self) -> (u64, oneshot::Receiver<RequestsReport>) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.orders).insert(number, sender);
        (number, receiver)
    }

    /// Hands what a client says of its requests to whoever ordered it.
    pub fn ordered(&self, report: RequestsReport) {
        if let Some(asker) = lock(&self.orders).remove(&report.number) {
            let _ = asker.send(report);
        }
    }

    /// Hands an answer to whoever asked. One that came too late has nobody left to hear it.
    pub fn answer(&self, clock: ClientClock) {
        if let Some(asker) = lock(&self.questions).remove(&clock.number) {
            let _ = asker.send(clock);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{F, OpType, Process};

    fn acquired(client: u32, time: u64) -> Op {
        let mut op = Op::new(Nanos(time), Process::Client(client), OpType::Ok, F::Acquire);
        op.client = Some(ClientId(client));
        op
    }

    #[test]
    fn a_client_dies_no_later_than_is_certain() {
        let known = Known::new(3);
        known.hear(&acquired(2, 70));
        assert!(known.ended(ClientId(2)).is_none(), "nobody killed it");
        let mut told = known.dying(ClientId(2), Nanos(60));
        let (crash, teller) = known.ended(ClientId(2)).unwrap();
        assert_eq!((crash.time, crash.process, crash.f), (Nanos(70), Process::Client(2), F::Crash));
        teller.send(()).unwrap();
        assert_eq!(told.try_recv(), Ok(()));
        let life = known.lives().life(ClientId(2)).unwrap();
        assert_eq!((life.number(), life.process()), (2, Process::Client(5)));
    }

    #[test]
    fn a_standstill_of_all_clients_is_told_once_and_one_client_s_is_not() {
        let second = 1_000_000_000;
        let stall = |client: u32, from: u64, to: u64| {
            let mut op = Op::new(Nanos(to), Process::Monitor, OpType::Ok, F::Stall);
            (op.client, op.since) = (Some(ClientId(client)), Some(Nanos(from)));
            op
        };
        let known = Known::new(3);
        // One after the other, or together for a moment only.
        assert_eq!(known.stalled(&stall(1, 0, 3 * second)), None);
        assert_eq!(known.stalled(&stall(2, second, 4 * second)), None);
        assert_eq!(known.stalled(&stall(3, 3 * second - 5, 5 * second)), None);
        // All three.
        assert_eq!(known.stalled(&stall(1, 10 * second, 13 * second)), None);
        assert_eq!(known.stalled(&stall(2, 11 * second, 14 * second)), None);
        assert_eq!(known.stalled(&stall(3, 10 * second, 12 * second)), Some((Nanos(11 * second), Nanos(12 * second))));
        assert_eq!(known.stalled(&stall(3, 10 * second, 12 * second)), None, "once");
        // Nobody to compare with.
        assert_eq!(Known::new(1).stalled(&stall(1, 0, 9 * second)), None);
    }

    #[test]
    fn one_that_was_spared_did_not_die() {
        let known = Known::new(1);
        let _told = known.dying(ClientId(1), Nanos(60));
        known.spared(ClientId(1));
        assert!(known.ended(ClientId(1)).is_none());
    }
}
