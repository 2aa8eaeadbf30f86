//! Times the fault plan: resolves targets when a fault strikes, applies it, records what was seen, undoes it.
//!
//! Every strike has an end of its own and is undone when the run is called off; its end is put off while it could not
//! be seen. One that another hinders waits for that one's end, and those that are due later and would hinder it wait
//! behind it: a plan of many faults strikes with all of them, not with those alone that get on with each other.
//! [`strike`] is what is done and told at a strike's beginning and end, [`environment`] what a world must offer;
//! deliberately absent: how a fault is done; that is the environment's.

mod environment;
mod strike;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "runs on tokio, with its clock paused")]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::sync::{mpsc, watch};

use crate::fault::grudge::Parties;
use crate::fault::{At, Fault, FaultKind, Member, Shape, Strike, Target};
use crate::history::recorder::Record;
use crate::history::{F, Op, OpType, Process};
use crate::ids::{ClientId, HoldId};
use crate::lock::runtime::SharedRuntime;
use crate::phase::Phase;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;
use strike::StrikeRun;

pub use environment::{Environment, FaultError};

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

/// How long an entry that strikes at a phase holds back others after each time that it could not strike: nobody knows
/// when that phase comes again.
const PHASE_PATIENCE: Duration = Duration::from_secs(6);

/// The nemesis of one trial.
pub struct Nemesis {
    plan: Vec<Entry>,
    parties: Parties,
    strikes: u32,
    clients: Clients,
    desk: Desk,
    called_off: bool,
}

/// One entry of the plan, and when it may strike next.
struct Entry {
    fault: Fault,
    /// `None`: never again.
    due: Option<Nanos>,
    /// What it does at the moment.
    striking: Option<Ongoing>,
    /// What it would have done, had no other strike hindered it.
    waiting: Option<Waiting>,
    /// The members drawn for its next strike.
    drawn: Option<Vec<Member>>,
    /// Draws its targets. Each entry has a stream of its own, so that taking one away does not change the others.
    rng: ChaCha8Rng,
}

/// A strike that is not over yet.
struct Ongoing {
    run: Arc<StrikeRun>,
    stage: Stage,
}

/// How far a strike is.
#[derive(Clone, Copy)]
enum Stage {
    Begins,
    On { until: Nanos },
    Ends,
}

impl Ongoing {
    /// Whether its end is due.
    fn is_up(&self, now: Nanos) -> bool {
        matches!(self.stage, Stage::On { until } if until <= now)
    }

    /// Whether it keeps a new strike waiting.
    fn hinders(&self, new: &Strike, now: Nanos) -> bool {
        let on = self.run.strike();
        let is_looked_at = self.is_up(now) || !matches!(self.stage, Stage::On { .. });
        strike::exclude(on, new) || strike::hides(on, new) || (is_looked_at && strike::hides(new, on))
    }
}

/// A strike that could not be made yet.
struct Waiting {
    strike: Strike,
    since: Nanos,
    /// When it was last tried.
    tried: Nanos,
}

impl Entry {
    /// When it stops holding back others, if it does by itself.
    fn patience(&self) -> Option<Nanos> {
        let waiting = self.waiting.as_ref().filter(|_| matches!(self.fault.at, At::Phase { .. }))?;
        Some(waiting.tried + PHASE_PATIENCE)
    }
}

/// What the nemesis works with; strikes begin and end beside each other and share it.
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

    fn waiters(&self) -> Vec<ClientId> {
        self.waiting.keys().copied().collect()
    }
}

impl Nemesis {
    /// The nemesis that strikes `parties` by the plan `faults`.
    pub fn new(faults: &[Fault], parties: Parties, seed: Seed, desk: Desk) -> Self {
        let mut twins: BTreeMap<String, u32> = BTreeMap::new();
        let entry = |fault: &Fault| {
            let due = match fault.at {
                At::Time(after) | At::Every(after) => desk.start + after,
                At::Phase { every, from, .. } => desk.start + every.unwrap_or_default().max(from),
            };
            let twin = twins.entry(fault.to_string()).or_default();
            *twin += 1;
            let rng = seed.stream(&format!("nemesis/{fault}/{twin}"));
            Entry { fault: fault.clone(), due: Some(due), striking: None, waiting: None, drawn: None, rng }
        };
        let plan = faults.iter().map(entry).collect();
        Self { plan, parties, strikes: 0, clients: Clients::default(), desk, called_off: false }
    }

    /// Runs until the clients have nothing more to say, and every strike is undone.
    pub async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        // What strikes are busy with: whose it is, and whether that one is on afterwards.
        let mut work: FuturesUnordered<BoxFuture<'static, (usize, bool)>> = FuturesUnordered::new();
        let begin = |index, run: Arc<StrikeRun>, waiting| async move { (index, run.begin(waiting).await) }.boxed();
        let mut stop = self.desk.stop.clone();
        let mut listening = true;
        while listening || self.plan.iter().any(|entry| entry.striking.is_some()) {
            let now = self.desk.runtime.now();
            for (index, run) in self.ends(now) {
                work.push(async move { run.end().map(|()| (index, false)).await }.boxed());
            }
            while let Some((index, run)) = self.timed_strike().await {
                work.push(begin(index, run, None));
            }
            // What became due since is due at once.
            let timer = self.next_timer(now);
            let wait = self.desk.runtime.sleep_until(timer.unwrap_or(Nanos::ZERO));
            tokio::select! {
                biased;
                Some((index, is_on)) = work.next(), if !work.is_empty() => self.advance(index, is_on),
                event = events.recv(), if listening => match event {
                    Some(Event::Op { client, f, kind, hold }) => self.clients.hear(client, f, kind, hold),
                    Some(Event::Crashed { client }) => self.clients.crashed(client),
                    Some(Event::Reached { client, number, phase }) => match self.phase_strike(client, phase).await {
                        Some((index, run)) => work.push(begin(index, run, Some((client, number)))),
                        None => self.desk.environment.go(client, number),
                    },
                    None => listening = false,
                },
                () = stop.wait_for(|stop| *stop).map(drop), if !self.called_off => self.called_off = true,
                () = wait, if timer.is_some() => {}
            }
        }
    }

    /// What became of a strike's beginning or end.
    fn advance(&mut self, index: usize, is_on: bool) {
        let now = self.desk.runtime.now();
        self.plan[index].striking.take_if(|_| !is_on);
        if let Some(ongoing) = &mut self.plan[index].striking {
            ongoing.stage = Stage::On { until: now + ongoing.run.duration() };
        }
    }

    /// The strikes that end now: their time is up, or the run is called off, and no other keeps that from being seen.
    fn ends(&mut self, now: Nanos) -> Vec<(usize, Arc<StrikeRun>)> {
        let now = if self.called_off { Nanos(u64::MAX) } else { now };
        let ongoing = || self.plan.iter().filter_map(|entry| entry.striking.as_ref());
        let is_hidden = |run: &StrikeRun| ongoing().any(|other| strike::hides(other.run.strike(), run.strike()));
        let ends = |entry: &Entry| {
            let ongoing = entry.striking.as_ref().filter(|ongoing| ongoing.is_up(now) && !is_hidden(&ongoing.run))?;
            Some(Arc::clone(&ongoing.run))
        };
        let ending: Vec<(usize, Arc<StrikeRun>)> =
            self.plan.iter().enumerate().filter_map(|(index, entry)| Some((index, ends(entry)?))).collect();
        for (index, run) in &ending {
            self.plan[*index].striking = Some(Ongoing { run: Arc::clone(run), stage: Stage::Ends });
        }
        ending
    }

    /// When a timed entry or the end of a strike is due next after `now`; those that wait for a holder are looked at
    /// after every event instead.
    fn next_timer(&self, now: Nanos) -> Option<Nanos> {
        let timed =
            self.plan.iter().filter(|entry| entry.striking.is_none() && !matches!(entry.fault.at, At::Phase { .. }));
        let patience = self.plan.iter().filter_map(Entry::patience);
        let ends = self.plan.iter().filter_map(|entry| match entry.striking.as_ref()?.stage {
            Stage::On { until } => Some(until),
            Stage::Begins | Stage::Ends => None,
        });
        timed.filter_map(|entry| entry.due).chain(patience).chain(ends).filter(|at| *at > now).min()
    }

    /// Whether an entry may strike now: due, not striking already, and over before the trial ends.
    fn may_strike(&self, entry: &Entry, now: Nanos) -> bool {
        entry.striking.is_none()
            && !*self.desk.stop.borrow()
            && entry.due.is_some_and(|due| due <= now)
            && now + entry.fault.duration <= self.desk.end
    }

    /// The first entry that strikes where `client` stands.
    async fn phase_strike(&mut self, client: ClientId, phase: Phase) -> Option<(usize, Arc<StrikeRun>)> {
        let now = self.desk.runtime.now();
        let fits = |entry: &Entry| {
            matches!(entry.fault.at, At::Phase { phase: at, .. } if at == phase)
                && match &entry.fault.target {
                    Target::Holder => phase.holds(),
                    Target::Waiter => !phase.holds(),
                    Target::Client(number) => *number == client,
                    // One of them, and all are struck.
                    target @ Target::Members(members) if target.is_client() => {
                        members.contains(&Member::Client(client))
                    }
                    // A lock server is struck at the moment in which some client gets there.
                    _ => true,
                }
                && self.may_strike(entry, now)
        };
        let mut fitting: Vec<usize> = (0..self.plan.len()).filter(|index| fits(&self.plan[*index])).collect();
        fitting.sort_by_key(|index| self.plan[*index].due);
        for index in fitting {
            let targets = match &self.plan[index].fault.target {
                Target::Members(members) => members.clone(),
                target if target.is_client() => vec![Member::Client(client)],
                _ => self.resolve(index).await,
            };
            if let Some(run) = self.strike(index, targets, Some(phase), now) {
                return Some((index, run));
            }
        }
        None
    }

    async fn timed_strike(&mut self) -> Option<(usize, Arc<StrikeRun>)> {
        let now = self.desk.runtime.now();
        let is_due = |entry: &Entry| !matches!(entry.fault.at, At::Phase { .. }) && self.may_strike(entry, now);
        let mut due: Vec<usize> = (0..self.plan.len()).filter(|index| is_due(&self.plan[*index])).collect();
        due.sort_by_key(|index| self.plan[*index].due);
        for index in due {
            let targets = self.resolve(index).await;
            if let Some(run) = self.strike(index, targets, None, now) {
                return Some((index, run));
            }
        }
        None
    }

    /// The members that an entry's target means now; none if there is no such member at the moment.
    async fn resolve(&mut self, index: usize) -> Vec<Member> {
        let nodes = self.parties.nodes as usize;
        let majority = self.parties.majority() as usize;
        let count = match &self.plan[index].fault.target {
            Target::Holder => return self.clients.holder().map(Member::Client).into_iter().collect(),
            Target::Waiter => {
                let waiters = self.clients.waiters();
                return waiters.choose(&mut self.plan[index].rng).copied().map(Member::Client).into_iter().collect();
            }
            Target::Client(client) => return vec![Member::Client(*client)],
            Target::Node(node) => return vec![Member::Node(*node)],
            Target::Members(members) => return members.clone(),
            Target::HolderServer => {
                let Some(holder) = self.clients.holder() else { return Vec::new() };
                let server = self.desk.environment.session_server(holder).await;
                return server.map(Member::Node).into_iter().collect();
            }
            Target::Leader => return self.desk.environment.leader().await.map(Member::Node).into_iter().collect(),
            Target::All => nodes,
            Target::One => 1,
            Target::Minority => nodes - majority,
            Target::Majority => majority,
        };
        if let Some(drawn) = &self.plan[index].drawn {
            return drawn.clone();
        }
        let Entry { fault, rng, .. } = &mut self.plan[index];
        let mut drawn: Vec<Member> = self.parties.nodes().collect();
        // A shape goes by the order in which the servers were drawn.
        if matches!(&fault.kind, FaultKind::Partition { shape, .. } if *shape != Shape::Isolate) {
            drawn.shuffle(rng);
        } else if count < nodes {
            drawn.shuffle(rng);
            drawn.truncate(count);
            drawn.sort();
        }
        self.plan[index].drawn = Some(drawn.clone());
        drawn
    }

    /// An entry's strike on `targets`; none if there are none, if a strike that is on hinders it, or if it would hinder
    /// one that has waited longer.
    fn strike(
        &mut self,
        index: usize,
        targets: Vec<Member>,
        phase: Option<Phase>,
        now: Nanos,
    ) -> Option<Arc<StrikeRun>> {
        if targets.is_empty() {
            self.plan[index].waiting = None;
            return None;
        }
        let fault = self.plan[index].fault.clone();
        let strike = strike::resolved(&fault.kind, &targets, self.parties);
        let since = self.plan[index].waiting.as_ref().map_or(now, |waiting| waiting.since);
        let hinders = |entry: &Entry| entry.striking.as_ref().is_some_and(|ongoing| ongoing.hinders(&strike, now));
        let keeps_back = |entry: &Entry| {
            let waits = entry.waiting.as_ref().filter(|_| entry.patience().is_none_or(|until| now < until));
            waits.is_some_and(|other| {
                other.since < since
                    && (strike::exclude(&strike, &other.strike) || strike::hides(&strike, &other.strike))
            }) && self.may_strike(entry, now)
        };
        if self.plan.iter().any(|entry| hinders(entry) || keeps_back(entry)) {
            self.plan[index].waiting = Some(Waiting { strike, since, tried: now });
            return None;
        }
        self.strikes += 1;
        let entry = &mut self.plan[index];
        (entry.waiting, entry.drawn) = (None, None);
        entry.due = match fault.at {
            At::Every(every) | At::Phase { every: Some(every), .. } => Some(next_multiple(self.desk.start, every, now)),
            At::Time(_) | At::Phase { every: None, .. } => None,
        };
        let run = Arc::new(StrikeRun::new(self.desk.clone(), self.strikes, strike, &fault, targets, phase));
        entry.striking = Some(Ongoing { run: Arc::clone(&run), stage: Stage::Begins });
        Some(run)
    }
}

/// The first multiple of `every` after `now`, counted from `start`.
fn next_multiple(start: Nanos, every: Duration, now: Nanos) -> Nanos {
    let every = every.as_nanos().max(1) as u64;
    Nanos(start.0 + ((now - start).as_nanos() as u64 / every + 1) * every)
}
