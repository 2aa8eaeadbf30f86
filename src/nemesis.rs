//! Times the fault plan: resolves targets when a fault strikes, applies it, records what was seen, undoes it.
//!
//! Every strike has an end of its own and is undone when the run is called off. Deliberately absent: how a fault is
//! done; that is the environment's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::sync::{mpsc, watch};

use crate::env::Environment;
use crate::fault::grudge::Parties;
use crate::fault::{At, Fault, FaultKind, Grudge, Member, Peers, Strike, Target};
use crate::history::recorder::Record;
use crate::history::{F, FaultEvent, Op, OpType, Probe, Process};
use crate::ids::{ClientId, HoldId};
use crate::lock::runtime::SharedRuntime;
use crate::phase::Phase;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

/// What the nemesis hears of the clients.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client recorded an op of its own.
    Op {
        /// Which client.
        client: ClientId,
        /// What it did.
        f: F,
        /// What is known of it.
        kind: OpType,
        /// Under which hold.
        hold: HoldId,
    },
    /// A client died. What it held and waited for is over.
    Crashed {
        /// Which client.
        client: ClientId,
    },
    /// A client stands at a pause point until it is let go.
    Reached {
        /// Which client.
        client: ClientId,
        /// Numbers the client's pause points.
        number: u64,
        /// Where it stands.
        phase: Phase,
    },
}

impl Event {
    /// What the nemesis should know of an op, if anything.
    pub fn of(op: &Op) -> Option<Self> {
        let (Process::Client(_), Some(client)) = (op.process, op.client) else { return None };
        match (op.f, &op.hold) {
            (F::Crash, _) => Some(Self::Crashed { client }),
            (f, Some(hold)) => Some(Self::Op { client, f, kind: op.kind, hold: hold.clone() }),
            (_, None) => None,
        }
    }
}

/// The nemesis of one trial.
pub struct Nemesis {
    plan: Vec<Entry>,
    parties: Parties,
    strikes: u32,
    rng: ChaCha8Rng,
    clients: Clients,
    desk: Desk,
}

/// One entry of the plan, and when it may strike next.
struct Entry {
    fault: Fault,
    /// `None`: never again.
    due: Option<Nanos>,
    striking: bool,
}

/// What the nemesis works with; strikes run beside each other and share it.
#[derive(Clone)]
pub struct Desk {
    /// Where faults are applied.
    pub environment: Arc<dyn Environment>,
    /// Where its ops go.
    pub record: Arc<dyn Record>,
    /// Clock and timers.
    pub runtime: SharedRuntime,
    /// Becomes true when the run is called off.
    pub stop: watch::Receiver<bool>,
    /// When the trial began: times of the plan count from here.
    pub start: Nanos,
    /// When the trial ends: every strike is over before.
    pub end: Nanos,
}

/// Who holds and who waits, as far as the clients have told.
#[derive(Default)]
struct Clients {
    holding: BTreeMap<HoldId, ClientId>,
    waiting: BTreeMap<ClientId, HoldId>,
    latest: Option<HoldId>,
}

impl Clients {
    fn hear(&mut self, client: ClientId, f: F, kind: OpType, hold: HoldId) {
        match (f, kind) {
            (F::Acquire, OpType::Invoke) => drop(self.waiting.insert(client, hold)),
            (F::Acquire, OpType::Ok) => {
                self.waiting.remove(&client);
                self.latest = Some(hold.clone());
                self.holding.insert(hold, client);
            }
            (F::Acquire, _) => drop(self.waiting.remove(&client)),
            (F::Release, OpType::Invoke) | (F::Lost, _) => drop(self.holding.remove(&hold)),
            _ => {}
        }
    }

    fn crashed(&mut self, client: ClientId) {
        self.waiting.remove(&client);
        self.holding.retain(|_, holder| *holder != client);
    }

    fn holder(&self) -> Option<ClientId> {
        self.latest.as_ref().and_then(|hold| self.holding.get(hold)).or_else(|| self.holding.values().next()).copied()
    }

    fn waiter(&self) -> Option<ClientId> {
        self.waiting.keys().next().copied()
    }
}

impl Nemesis {
    /// The nemesis that strikes `parties` by the plan `faults`.
    pub fn new(faults: &[Fault], parties: Parties, seed: Seed, desk: Desk) -> Self {
        let entry = |fault: &Fault| {
            let due = match fault.at {
                At::Time(after) | At::Every(after) => desk.start + after,
                At::Phase { every, .. } => desk.start + every.unwrap_or_default(),
            };
            Entry { fault: fault.clone(), due: Some(due), striking: false }
        };
        let plan = faults.iter().map(entry).collect();
        Self { plan, parties, strikes: 0, rng: seed.stream("nemesis"), clients: Clients::default(), desk }
    }

    /// Runs until the clients have nothing more to say, and every strike is undone.
    pub async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        let mut strikes: FuturesUnordered<BoxFuture<'static, usize>> = FuturesUnordered::new();
        let mut listening = true;
        while listening || !strikes.is_empty() {
            let timer = self.next_timer();
            let wait = self.desk.runtime.sleep_until(timer.unwrap_or(Nanos::ZERO));
            tokio::select! {
                biased;
                Some(index) = strikes.next(), if !strikes.is_empty() => self.plan[index].striking = false,
                event = events.recv(), if listening => match event {
                    Some(Event::Op { client, f, kind, hold }) => self.clients.hear(client, f, kind, hold),
                    Some(Event::Crashed { client }) => self.clients.crashed(client),
                    Some(Event::Reached { client, number, phase }) => match self.phase_strike(client, phase).await {
                        Some((index, strike)) => strikes.push(strike.run(Some((client, number))).map(move |()| index).boxed()),
                        None => self.desk.environment.go(client, number),
                    },
                    None => listening = false,
                },
                () = wait, if timer.is_some() => {}
            }
            while let Some((index, strike)) = self.timed_strike().await {
                strikes.push(strike.run(None).map(move |()| index).boxed());
            }
        }
    }

    /// When a timed entry is due next; those that wait for a holder are looked at after every event instead.
    fn next_timer(&self) -> Option<Nanos> {
        let now = self.desk.runtime.now();
        let timed = self.plan.iter().filter(|entry| !entry.striking && !matches!(entry.fault.at, At::Phase { .. }));
        timed.filter_map(|entry| entry.due).filter(|due| *due > now).min()
    }

    /// Whether an entry may strike now: due, not striking already, and over before the trial ends.
    fn may_strike(&self, entry: &Entry, now: Nanos) -> bool {
        !entry.striking
            && !*self.desk.stop.borrow()
            && entry.due.is_some_and(|due| due <= now)
            && now + entry.fault.duration <= self.desk.end
    }

    async fn phase_strike(&mut self, client: ClientId, phase: Phase) -> Option<(usize, StrikeRun)> {
        let now = self.desk.runtime.now();
        let fits = |entry: &Entry| {
            matches!(entry.fault.at, At::Phase { phase: at, .. } if at == phase)
                && match entry.fault.target {
                    Target::Holder => phase.holds(),
                    Target::Waiter => !phase.holds(),
                    Target::Client(number) => number == client,
                    _ => false,
                }
                && self.may_strike(entry, now)
        };
        let index = self.plan.iter().position(fits)?;
        Some((index, self.strike(index, vec![Member::Client(client)], Some(phase), now)))
    }

    async fn timed_strike(&mut self) -> Option<(usize, StrikeRun)> {
        let now = self.desk.runtime.now();
        let is_due = |entry: &Entry| !matches!(entry.fault.at, At::Phase { .. }) && self.may_strike(entry, now);
        let due: Vec<usize> = (0..self.plan.len()).filter(|index| is_due(&self.plan[*index])).collect();
        for index in due {
            let targets = self.resolve(self.plan[index].fault.target).await;
            if !targets.is_empty() {
                return Some((index, self.strike(index, targets, None, now)));
            }
        }
        None
    }

    /// The members that a target means now; none if there is no such member at the moment.
    async fn resolve(&mut self, target: Target) -> Vec<Member> {
        let mut nodes: Vec<Member> = self.parties.nodes().collect();
        let majority = self.parties.majority() as usize;
        let mut draw = |count: usize| {
            nodes.shuffle(&mut self.rng);
            nodes.truncate(count);
            nodes.sort();
            nodes.clone()
        };
        match target {
            Target::Holder => self.clients.holder().map(Member::Client).into_iter().collect(),
            Target::Waiter => self.clients.waiter().map(Member::Client).into_iter().collect(),
            Target::Client(client) => vec![Member::Client(client)],
            Target::Node(node) => vec![Member::Node(node)],
            Target::Leader => self.desk.environment.leader().await.map(Member::Node).into_iter().collect(),
            Target::One => nodes.choose(&mut self.rng).copied().into_iter().collect(),
            Target::Minority => draw(self.parties.nodes as usize - majority),
            Target::Majority => draw(majority),
            Target::All => nodes,
        }
    }

    fn strike(&mut self, index: usize, targets: Vec<Member>, phase: Option<Phase>, now: Nanos) -> StrikeRun {
        self.strikes += 1;
        let entry = &mut self.plan[index];
        entry.striking = true;
        entry.due = match entry.fault.at {
            At::Every(every) | At::Phase { every: Some(every), .. } => Some(next_multiple(self.desk.start, every, now)),
            At::Time(_) | At::Phase { every: None, .. } => None,
        };
        let fault = entry.fault.clone();
        let strike = resolved(&fault.kind, &targets, self.parties);
        let event = FaultEvent {
            id: self.strikes,
            kind: fault.kind.name().to_owned(),
            plan: fault.to_string(),
            targets,
            phase,
            requested: fault.duration.as_nanos() as u64,
            ..told(&strike)
        };
        StrikeRun { desk: self.desk.clone(), strike, event, duration: fault.duration }
    }
}

/// What a fault does to the members that its target turned out to be.
fn resolved(kind: &FaultKind, targets: &[Member], parties: Parties) -> Strike {
    let links = |peers: &Peers, direction| Grudge::isolate(targets, &parties.peers(peers), direction);
    match kind {
        FaultKind::Pause => Strike::Freeze(targets.to_vec()),
        FaultKind::Kill | FaultKind::Restart => Strike::Kill(targets.to_vec()),
        FaultKind::PowerLoss => Strike::PowerLoss(targets.to_vec()),
        FaultKind::Partition { peers, direction } => Strike::Cut(links(peers, *direction)),
        FaultKind::Delay { peers, direction, extra } => {
            Strike::Delay { links: links(peers, *direction), extra: *extra }
        }
        FaultKind::Loss { peers, direction, permille } => {
            Strike::Loss { links: links(peers, *direction), permille: *permille }
        }
        FaultKind::Clock(change) => Strike::Clock { members: targets.to_vec(), change: *change },
    }
}

/// What a history tells of a strike beyond its targets.
fn told(strike: &Strike) -> FaultEvent {
    let nanos = |duration: Duration| duration.as_nanos() as u64;
    let mut event = FaultEvent::default();
    match strike {
        Strike::Freeze(_) | Strike::Kill(_) | Strike::PowerLoss(_) => {}
        Strike::Cut(links) => event.grudge = Some(links.clone()),
        Strike::Delay { links, extra: (least, most) } => {
            event.grudge = Some(links.clone());
            event.late_by = Some((nanos(*least), nanos(*most)));
        }
        Strike::Loss { links, permille } => {
            event.grudge = Some(links.clone());
            event.lost_permille = Some(*permille);
        }
        Strike::Clock { change, .. } => event.clock = Some(*change),
    }
    event
}

/// The first multiple of `every` after `now`, counted from `start`.
fn next_multiple(start: Nanos, every: Duration, now: Nanos) -> Nanos {
    let every = every.as_nanos().max(1) as u64;
    Nanos(start.0 + ((now - start).as_nanos() as u64 / every + 1) * every)
}

/// One strike, from before it is applied until after it is undone.
struct StrikeRun {
    desk: Desk,
    strike: Strike,
    event: FaultEvent,
    duration: Duration,
}

impl StrikeRun {
    /// Strikes, lets the client that waits at a pause point go on, and undoes the strike when its time is up or the run
    /// is called off.
    async fn run(self, waiting: Option<(ClientId, u64)>) {
        let Desk { environment, runtime, .. } = &self.desk;
        self.note(OpType::Invoke, F::Fault, Vec::new(), None);
        let applied = environment.apply(self.event.id, &self.strike, self.duration).await;
        let until = runtime.now() + self.duration;
        let struck = applied.is_ok();
        self.complete(F::Fault, applied);
        // Frozen or cut off exactly at this step: the go-ahead comes after the fault.
        if let Some((client, number)) = waiting {
            environment.go(client, number);
        }
        if !struck {
            return;
        }
        let mut stop = self.desk.stop.clone();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = runtime.sleep_until(until) => {}
        }
        self.note(OpType::Invoke, F::Heal, Vec::new(), None);
        let healed = environment.heal(self.event.id).await;
        self.complete(F::Heal, healed);
    }

    fn complete(&self, f: F, outcome: Result<Vec<Probe>, crate::env::FaultError>) {
        match outcome {
            Ok(probes) if probes.iter().all(Probe::passed) => self.note(OpType::Ok, f, probes, None),
            Ok(probes) => self.note(OpType::Info, f, probes, Some("a probe saw something else".to_owned())),
            // A strike that failed left nothing behind; a failed heal is in doubt.
            Err(error) if f == F::Fault => self.note(OpType::Fail, f, Vec::new(), Some(error.to_string())),
            Err(error) => self.note(OpType::Info, f, Vec::new(), Some(error.to_string())),
        }
    }

    fn note(&self, kind: OpType, f: F, probes: Vec<Probe>, error: Option<String>) {
        let mut op = Op::new(self.desk.runtime.now(), Process::Nemesis, kind, f);
        op.fault = Some(FaultEvent { probes, ..self.event.clone() });
        op.error = error;
        self.desk.record.record(op);
    }
}
