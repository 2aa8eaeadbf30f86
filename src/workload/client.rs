//! The client loop: acquire → read → hold → write → release → think, recorded as it happens. Some attempts only read.
//!
//! The same code in every environment. Deliberately absent: any knowledge of which lock it uses or where it runs.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::{Either, FutureExt, select};
use rand::RngExt;
use smol_str::format_smolstr;
use tokio::sync::watch;

use super::way::{By, CalledOff, Extension, Way};
use super::{Access, Action, ResourceClient};
use crate::history::recorder::Record;
use crate::history::{F, ItemValue, Life, Op, OpType, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{
    AcquireError, AcquireOptions, DistributedLock, Guard, GuardState, LostReason, PausePoint, Promises, ReleaseOutcome,
    UNSTATED,
};
use crate::phase::Phase;
use crate::scenario::{ClientStyle, Workload};
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

/// What the environment hands to a client.
pub struct Parts {
    /// The lock on trial.
    pub lock: Arc<dyn DistributedLock>,
    /// The way to the protected resource.
    pub resource: Arc<dyn ResourceClient>,
    /// Where ops go.
    pub record: Arc<dyn Record>,
    /// Where phases are announced.
    pub pause_point: Arc<dyn PausePoint>,
    /// Clock, timers, randomness.
    pub runtime: SharedRuntime,
    /// Becomes true when the run is called off.
    pub stop: watch::Receiver<bool>,
}

/// One client.
pub struct Client {
    workload: Workload,
    parts: Parts,
    log: Log,
    rng: ChaCha8Rng,
    /// What decides in which way an attempt ends, apart from what decides its times.
    ways: ChaCha8Rng,
    attempts: u32,
    /// True from the check of validity to the sending of the access. A program has no instruction in between that could
    /// heed a signal, so neither has the client: this is the window that no lease lock can close.
    sending: watch::Sender<bool>,
}

/// One turn: an attempt, and the hold if it succeeds.
struct Turn {
    item: u32,
    lock: LockName,
    hold: HoldId,
    token: Option<FencingToken>,
    /// Whether it only reads.
    reads: bool,
    /// Whether others that only read may hold the lock at the same time.
    shared: bool,
    way: Way,
}

impl Client {
    /// Client `id` of `workload.clients`, in this life: in a later one it goes on with process and attempt numbers of
    /// its own, and does not draw again what it drew before.
    pub fn new(id: ClientId, life: &Life, workload: Workload, seed: Seed, parts: Parts) -> Self {
        let stream = match life.number() {
            1 => format!("client/{}", id.0),
            number => format!("client/{}/life/{number}", id.0),
        };
        let (rng, ways) = (seed.stream(&stream), seed.stream(&format!("{stream}/ways")));
        let process = match life.process() {
            Process::Client(process) => process,
            _ => id.0,
        };
        let log = Log {
            client: id,
            clients: workload.clients,
            process: AtomicU32::new(process),
            record: Arc::clone(&parts.record),
            runtime: Arc::clone(&parts.runtime),
        };
        Self { workload, parts, log, rng, ways, attempts: life.attempts(), sending: watch::Sender::new(false) }
    }

    /// Takes turns until `end`, or until the run is called off. A turn that has begun is brought to its end.
    pub async fn run(mut self, end: Nanos) {
        let mut stop = self.parts.stop.clone();
        loop {
            // Thinking comes first, so that clients don't all start at once.
            let think = self.workload.think.draw(&mut self.rng);
            let wake = (self.parts.runtime.now() + think).min(end);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.parts.runtime.sleep_until(wake) => {}
            }
            if self.parts.runtime.now() >= end {
                return;
            }
            self.turn(end).await;
        }
    }

    async fn turn(&mut self, end: Nanos) {
        self.attempts += 1;
        let item = self.rng.random_range(1..=self.workload.locks);
        let mut turn = Turn {
            item,
            lock: Workload::lock_name(item),
            hold: HoldId::new(format_smolstr!("{}-{}", self.log.client, self.attempts)),
            token: None,
            reads: self.workload.readers > 0 && self.rng.random_range(0..100) < self.workload.readers,
            shared: false,
            way: Way::default(),
        };
        let readers = if turn.reads { self.parts.lock.for_reading() } else { None };
        turn.shared = readers.is_some();
        let lock = readers.unwrap_or(&*self.parts.lock);
        let wait = self.workload.wait.min(end - self.parts.runtime.now());
        let mut options = AcquireOptions::within(wait).stopped_by(Arc::clone(&self.parts.pause_point));
        let hold_for = self.workload.hold.draw(&mut self.rng);
        turn.way = Way::draw(&self.workload, wait, hold_for, &mut self.ways);
        let mut dropped_at = None;
        if let Some(CalledOff { after, by }) = turn.way.called_off {
            let (at, runtime) = (self.parts.runtime.now() + after, Arc::clone(&self.parts.runtime));
            match by {
                By::Dropping => dropped_at = Some(at),
                By::Cancelling => options = options.unless(move || runtime.sleep_until(at)),
            }
        }
        self.log.note(&turn, OpType::Invoke, F::Acquire, |_| {});
        let mut stop = self.parts.stop.clone();
        let acquired = tokio::select! {
            biased;
            acquired = lock.acquire(&turn.lock, &options) => {
                acquired.map_err(|error| (matches!(error, AcquireError::InDoubt(_)), error.to_string()))
            }
            // Dropping the acquire takes back what it left at the servers: nothing is held.
            _ = stop.wait_for(|stop| *stop) => Err((false, "the run was called off".to_owned())),
            () = self.parts.runtime.sleep_until(dropped_at.unwrap_or_default()), if dropped_at.is_some() => {
                Err((false, "its client called it off".to_owned()))
            }
        };
        match acquired {
            Ok(guard) => {
                turn.token = guard.token();
                let promises = guard.promises();
                let valid_until = promises.latest().valid_until;
                self.log.note(&turn, OpType::Ok, F::Acquire, |op| op.valid_until = stated(valid_until));
                self.hold(&turn, guard, promises, hold_for).await;
            }
            // Without a guard nothing is held, whatever votes or znodes are still to be taken back, unless the lock
            // itself does not know.
            Err((in_doubt, error)) => {
                let kind = if in_doubt { OpType::Info } else { OpType::Fail };
                self.log.note(&turn, kind, F::Acquire, |op| op.error = Some(error));
            }
        }
    }

    /// From the grant to the end of the release.
    async fn hold(&self, turn: &Turn, guard: Guard, mut promises: Promises, hold_for: Duration) {
        let told = {
            let section = pin!(self.critical_section(turn, &guard, hold_for));
            let signal = pin!(async {
                let reason = self.follow(turn, &mut promises).await;
                // The sender lives in self, so waiting cannot fail.
                let _ = self.sending.subscribe().wait_for(|sending| !sending).await;
                reason
            });
            match select(section, signal).await {
                Either::Left(_) => false,
                Either::Right((reason, section)) => {
                    self.note_lost(turn, &guard, &reason);
                    section.await;
                    true
                }
            }
        };
        // What changed in the instant in which the section ended comes before the hold's end.
        let _ = self.follow(turn, &mut promises).now_or_never();
        let lost = told
            || match guard.state() {
                // The section itself heeded the signal.
                GuardState::Lost(reason) => {
                    self.note_lost(turn, &guard, &reason);
                    true
                }
                GuardState::Held | GuardState::Suspect => false,
            };
        self.before_release(turn, &mut promises).await;
        if lost {
            // The signal ended the hold; taking back what is left at the servers is no op of the history.
            if turn.way.drops {
                drop(guard);
            } else {
                guard.release().await;
            }
        } else if turn.way.drops {
            let valid_until = guard.valid_until();
            self.log.note(turn, OpType::Invoke, F::Release, |op| op.valid_until = stated(valid_until));
            drop(guard);
            // What ends in the instant in which it begins has no place beside what else happens then, such as a death.
            self.parts.runtime.sleep_until(self.parts.runtime.now() + Duration::from_millis(1)).await;
            // It is given back in the background, and tells nobody how that went.
            let error = "the guard was dropped: it is given back in the background".to_owned();
            self.log.note(turn, OpType::Info, F::Release, |op| op.error = Some(error));
        } else {
            let valid_until = guard.valid_until();
            self.log.note(turn, OpType::Invoke, F::Release, |op| op.valid_until = stated(valid_until));
            let (kind, error) = match guard.release().await {
                ReleaseOutcome::Released => (OpType::Ok, None),
                ReleaseOutcome::AlreadyExpired => (OpType::Fail, Some("it was no longer ours".to_owned())),
                ReleaseOutcome::TakenOver => (OpType::Fail, Some("another client had it".to_owned())),
                ReleaseOutcome::Unknown(reason) => (OpType::Info, Some(reason)),
            };
            self.log.note(turn, kind, F::Release, |op| op.error = error);
        }
        self.reached(Phase::Released).await;
    }

    /// At the last pause point of a hold the guard may go on changing its promise, but its client is past heeding it.
    async fn before_release(&self, turn: &Turn, promises: &mut Promises) {
        let releasing = pin!(self.reached(Phase::Releasing));
        if let Either::Right((_, releasing)) = select(releasing, pin!(self.follow(turn, promises))).await {
            releasing.await;
        }
        let _ = self.follow(turn, promises).now_or_never();
    }

    /// Records every change of what the guard promises, in the instant of the change, until the hold is lost.
    async fn follow(&self, turn: &Turn, promises: &mut Promises) -> LostReason {
        let mut before = promises.latest().clone();
        while let Some(promise) = promises.next().await {
            let note = |f| {
                self.log.note(turn, OpType::Ok, f, |op| op.valid_until = stated(promise.valid_until));
            };
            match (&before.state, &promise.state) {
                (_, GuardState::Lost(reason)) => return reason.clone(),
                (GuardState::Held, GuardState::Suspect) => {
                    if promise.valid_until != before.valid_until {
                        note(F::Extend);
                    }
                    note(F::Suspect);
                }
                _ => note(F::Extend),
            }
            before = promise;
        }
        // It was lost before, or is released: there is nothing more to tell.
        std::future::pending().await
    }

    fn note_lost(&self, turn: &Turn, guard: &Guard, reason: &LostReason) {
        let valid_until = guard.valid_until();
        self.log.note(turn, OpType::Ok, F::Lost, |op| {
            op.valid_until = stated(valid_until);
            op.error = Some(reason.to_string());
        });
    }

    /// What the lock protects: read the item, take some time, write what follows from it, unless the attempt only
    /// reads.
    async fn critical_section(&self, turn: &Turn, guard: &Guard, hold_for: Duration) {
        // A careful client asks before each access; a naive one goes ahead.
        let may_go_on = async || self.workload.client == ClientStyle::Naive || guard.confirmed().await;
        self.reached(Phase::Acquired).await;
        if !may_go_on().await {
            return;
        }
        self.sending.send_replace(true);
        self.reached(Phase::BeforeRead).await;
        let Some(read) = self.access(turn, F::Read, Action::Read).await else { return };
        let work = pin!(self.work(turn, guard, hold_for));
        match self.workload.client {
            ClientStyle::Naive => work.await,
            ClientStyle::Careful => drop(select(work, pin!(guard.lost())).await),
        }
        if turn.reads || !may_go_on().await {
            return;
        }
        self.sending.send_replace(true);
        self.reached(Phase::BeforeWrite).await;
        let stock = self.workload.kind.write(read.stock, self.log.client, self.attempts);
        let write = Action::Write { stock, based_on: read.version.unwrap_or_default() };
        self.access(turn, F::Write, write).await;
        self.reached(Phase::AfterWrite).await;
    }

    /// Takes its time, and at some moment of it asks for a longer lease. What comes of that the guard's promises tell.
    async fn work(&self, turn: &Turn, guard: &Guard, hold_for: Duration) {
        let begun = self.parts.runtime.now();
        if let Some(Extension { after, ttl }) = turn.way.extension {
            self.parts.runtime.sleep_until(begun + after).await;
            let _ = guard.extend(ttl).await;
        }
        self.parts.runtime.sleep_until(begun + hold_for).await;
    }

    /// Makes one access and records it: the item, if the resource answered with one.
    async fn access(&self, turn: &Turn, f: F, action: Action) -> Option<ItemValue> {
        let asked = match action {
            Action::Read => None,
            Action::Write { stock, based_on } => {
                Some(ItemValue { item: turn.item, stock, version: None, based_on: Some(based_on) })
            }
        };
        self.log.note(turn, OpType::Invoke, f, |op| op.value = asked);
        self.sending.send_replace(false);
        let Turn { item, token, shared, .. } = *turn;
        let (hold, client) = (turn.hold.clone(), self.log.client);
        match self.parts.resource.access(Access { item, hold, client, token, shared, action }).await {
            Ok(value) => {
                self.log.note(turn, OpType::Ok, f, |op| op.value = Some(value));
                Some(value)
            }
            Err(error) => {
                let kind = if error.is_definite() { OpType::Fail } else { OpType::Info };
                self.log.note(turn, kind, f, |op| {
                    op.value = asked;
                    op.error = Some(error.to_string());
                });
                None
            }
        }
    }

    async fn reached(&self, phase: Phase) {
        self.parts.pause_point.reached(phase).await;
    }
}

/// The validity that a history tells: none for a lock that shows none.
fn stated(valid_until: Nanos) -> Option<Nanos> {
    (valid_until != UNSTATED).then_some(valid_until)
}

/// Records what one client does, under its current process.
struct Log {
    client: ClientId,
    clients: u32,
    process: AtomicU32,
    record: Arc<dyn Record>,
    runtime: SharedRuntime,
}

impl Log {
    fn note(&self, turn: &Turn, kind: OpType, f: F, fill: impl FnOnce(&mut Op)) {
        let process = Process::Client(self.process.load(Ordering::Relaxed));
        let mut op = Op::new(self.runtime.now(), process, kind, f);
        op.client = Some(self.client);
        op.lock = Some(turn.lock.clone());
        op.hold = Some(turn.hold.clone());
        op.token = turn.token;
        if turn.shared {
            op.shared = true;
        }
        fill(&mut op);
        self.record.record(op);
        if kind == OpType::Info {
            // What may have happened may happen later: its process never acts again (Jepsen's rule).
            self.process.fetch_add(self.clients, Ordering::Relaxed);
        }
    }
}
