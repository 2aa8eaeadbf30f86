//! The clients of a trial from one life to the next, and what the nemesis hears of them.
//!
//! Deliberately absent: how a world starts and kills them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::history::{Life, Op};
use crate::ids::ClientId;
use crate::nemesis::Event;
use crate::phase::Phase;
use crate::time::Nanos;

/// The clients of one trial.
pub struct Lives {
    by_client: Mutex<BTreeMap<ClientId, Life>>,
    /// Where the nemesis hears, while there is one.
    nemesis: Mutex<Option<mpsc::UnboundedSender<Event>>>,
}

impl Lives {
    /// `clients` clients, all in their first life.
    pub fn new(clients: u32) -> Self {
        let first = |client| (client, Life::first(client, clients));
        Self { by_client: Mutex::new((1..=clients).map(ClientId).map(first).collect()), nemesis: Mutex::default() }
    }

    /// The life that a client is in, or will be in when it is started again.
    pub fn life(&self, client: ClientId) -> Option<Life> {
        lock(&self.by_client).get(&client).cloned()
    }

    /// Follows an op that a client is about to record.
    pub fn hear(&self, op: &Op) {
        if let Some(client) = op.client
            && let Some(life) = lock(&self.by_client).get_mut(&client)
        {
            life.hear(op);
        }
        self.tell(Event::of(op));
    }

    /// A client stands at its pause point of this number.
    pub fn reached(&self, client: ClientId, number: u64, phase: Phase) {
        self.tell(Some(Event::Reached { client, number, phase }));
    }

    /// Ends a client's life at `at`: the op that tells of it, which is to be recorded once the trial has begun.
    pub fn crash(&self, client: ClientId, at: Nanos) -> Option<Op> {
        let crash = lock(&self.by_client).get_mut(&client)?.crash(at);
        self.tell(Event::of(&crash));
        Some(crash)
    }

    /// Has the nemesis hear from now on.
    pub(super) fn listen(&self) -> mpsc::UnboundedReceiver<Event> {
        let (events, heard) = mpsc::unbounded_channel();
        *lock(&self.nemesis) = Some(events);
        heard
    }

    /// Has it hear no more, by which it knows that all is over.
    pub(super) fn close(&self) {
        *lock(&self.nemesis) = None;
    }

    fn tell(&self, event: Option<Event>) {
        if let (Some(nemesis), Some(event)) = (&*lock(&self.nemesis), event) {
            // It has no ear for what happens after it has gone.
            let _ = nemesis.send(event);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
