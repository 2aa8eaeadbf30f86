//! The trial of one lock in the simulation: machines, clients, a nemesis, one history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};

use super::backends::{self, LockMaker};
use super::clients::{Clients, Report};
use super::engine::ids::HostId;
use super::engine::interception::Interception;
use super::engine::runtime::SimRuntime;
use super::engine::scheduler::Scheduler;
use super::engine::sync::lock;
use super::engine::trace::Trace;
use super::engine::world::World;
use super::faults::Faults;
use super::leftovers::Inside;
use super::machines::{HARNESS, machines, ordinary_clock};
use crate::env::leftovers::{Names, inspect};
use crate::fault::grudge::Parties;
use crate::fault::{At, Member};
use crate::history::EnvironmentName;
use crate::history::recorder::Record;
use crate::history::{FORMAT, Header, History, Op};
use crate::ids::ClientId;
use crate::lock::runtime::{SharedRuntime, before};
use crate::lock_kind::LockKind;
use crate::nemesis::{Desk, Environment, Nemesis};
use crate::phase::Phase;
use crate::scenario::{LockConfig, Scenario};
use crate::seed::Seed;
use crate::wire;
use crate::workload::resource::Resource;

/// How long the servers may take to become one ensemble, and clients to open their sessions.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long after the end clients may take to bring their last turn to its end.
const FINISH_LIMIT: Duration = Duration::from_secs(20);

/// What is left of a trial.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was recorded.
    pub history: History,
    /// What happened, as a hash that the same seed reproduces.
    pub trace: Trace,
    /// How much time passed in the simulation, from the start of its machines.
    pub simulated: Duration,
    /// Why it ended early, if it did.
    pub error: Option<String>,
}

/// Tries the lock called `lock` of `scenario`. The same arguments give the same outcome, down to the trace hash.
///
/// Self-contained and single-threaded: many trials can run on many threads.
pub fn run_trial(scenario: &Scenario, lock: &str, seed: Seed) -> Outcome {
    Trial::new(scenario, lock, seed).run()
}

/// The trial of one lock.
pub struct Trial<'a> {
    scenario: &'a Scenario,
    lock: &'a str,
    seed: Seed,
    make_lock: LockMaker,
    told: Range<u64>,
}

impl<'a> Trial<'a> {
    /// The trial of the lock called `lock` of `scenario`.
    pub fn new(scenario: &'a Scenario, lock: &'a str, seed: Seed) -> Self {
        Self { scenario, lock, seed, make_lock: Arc::new(backends::configured), told: 0..0 }
    }

    /// Tries a lock of the caller's own making, on the servers that the scenario configures.
    #[must_use]
    pub fn with_lock(mut self, make_lock: LockMaker) -> Self {
        self.make_lock = make_lock;
        self
    }

    /// Has the trace tell the events numbered `events` in words: those around a difference between two runs.
    #[must_use]
    pub fn telling(mut self, events: Range<u64>) -> Self {
        self.told = events;
        self
    }

    /// Runs it. What was recorded is kept also when it fails on the way.
    pub fn run(self) -> Outcome {
        if tokio::runtime::Handle::try_current().is_err() {
            return self.run_here();
        }
        // On a thread of a tokio runtime its budget and its ambient timers would reach into the simulation.
        let (scenario, lock, seed) = (self.scenario, self.lock, self.seed);
        let ended = std::thread::scope(|scope| scope.spawn(|| self.run_here()).join());
        ended.unwrap_or_else(|_| failed(scenario, lock, seed, "the thread of the simulation ended".to_owned()))
    }

    fn run_here(self) -> Outcome {
        let Self { scenario, lock, seed, .. } = self;
        let Some(config) = scenario.locks.get(lock) else {
            return failed(scenario, lock, seed, format!("the scenario has no lock `{lock}`"));
        };
        let header = header(scenario, lock, Some(config), seed);
        let resource = Resource::new(scenario.workload.kind, scenario.resource.fencing, scenario.workload.locks);
        let clock = |member| ordinary_clock(seed, member);
        let (hosts, members) = machines(scenario.workload.clients, config, resource, seed, clock);
        let world = World::new(hosts, seed, scenario.simulation, Trace::new(self.told));
        let make_lock = self.make_lock;
        let ended = catch_unwind(AssertUnwindSafe(|| run(&world, members, scenario, config, make_lock, seed)));
        let error = match ended {
            Ok(ended) => ended.err(),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
                Some(format!("panicked: {}", text.unwrap_or("without a text")))
            }
        };
        let ops = std::mem::take(&mut *super::engine::sync::lock(&world.recording.ops));
        let simulated = Duration::from_nanos(world.lock().now);
        let history = History::new(header, ops).with_servers(world.take_records()).ended_early(error.as_deref());
        Outcome { history, trace: world.take_trace(), simulated, error }
    }
}

/// What is left of a trial that did not begin.
fn failed(scenario: &Scenario, lock: &str, seed: Seed, why: String) -> Outcome {
    let history =
        History::new(header(scenario, lock, scenario.locks.get(lock), seed), Vec::new()).ended_early(Some(&why));
    Outcome { history, trace: Trace::default(), simulated: Duration::ZERO, error: Some(why) }
}

fn header(scenario: &Scenario, lock: &str, config: Option<&LockConfig>, seed: Seed) -> Header {
    let plan = scenario.plan_for(lock);
    Header {
        fencepost: FORMAT,
        scenario: scenario.name.clone(),
        lock: lock.to_owned(),
        algorithm: config.map_or("unknown", LockConfig::algorithm).to_owned(),
        kind: config.map_or(LockKind::Mutex, LockConfig::kind),
        environment: EnvironmentName::Sim.into(),
        seed,
        clients: scenario.workload.clients,
        nodes: config.map_or(0, LockConfig::nodes),
        fencing: scenario.resource.fencing.into(),
        content: scenario.workload.kind.content(),
        planned_faults: plan.len() as u32,
        plan,
        grant_within: scenario.grant_within(lock),
        leaves_within: config.map(LockConfig::leaves_within),
        api: None,
        // All instants are in true time.
        clock_error: 0,
        versions: BTreeMap::from([("fencepost".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
    }
}

/// The phases at which the plan may strike.
fn announced(scenario: &Scenario) -> Vec<Phase> {
    let phases = scenario.faults.iter().filter_map(|fault| match fault.at {
        At::Phase { phase, .. } => Some(phase),
        At::Time(_) | At::Every(_) => None,
    });
    phases.collect::<BTreeSet<_>>().into_iter().collect()
}

fn run(
    world: &Arc<World>,
    hosts: BTreeMap<Member, HostId>,
    scenario: &Scenario,
    config: &LockConfig,
    make_lock: LockMaker,
    seed: Seed,
) -> Result<(), String> {
    let (reports, heard) = mpsc::unbounded_channel();
    let (begin, end) = watch::channel(None);
    let (_never, stop) = watch::channel(false);
    let clients = Arc::new(Clients {
        world: Arc::clone(world),
        scenario: Arc::new(scenario.clone()),
        config: config.clone(),
        make_lock,
        seed,
        hosts,
        announce: announced(scenario),
        reports,
        end,
        stop,
        events: Mutex::default(),
        by_id: Mutex::default(),
    });
    if scenario.faults.iter().any(|fault| fault.kind.is_of_requests()) {
        let names = scenario.workload.lock_names();
        let names = names.map(|lock| (lock.clone(), backends::written(config, &lock).into_bytes()));
        world.lock().interception = Some(Interception::new(wire::Names::new(names)));
    }
    let harness = world.processes.current(HARNESS);
    let runtime: SharedRuntime = Arc::new(SimRuntime::new(Arc::clone(world), harness, seed.stream("harness")));
    let mut scheduler = Scheduler::new(Arc::clone(world));
    let direction = direct(&clients, &runtime, heard, begin);
    let ended = scheduler.block_on(direction).unwrap_or_else(|stuck| Err(stuck.to_string()));
    scheduler.shut_down();
    ended
}

/// Leads the trial from its beginning to its end.
async fn direct(
    clients: &Arc<Clients>,
    runtime: &SharedRuntime,
    mut heard: mpsc::UnboundedReceiver<Report>,
    begin: watch::Sender<Option<u64>>,
) -> Result<(), String> {
    let parties = Parties { clients: clients.scenario.workload.clients, nodes: clients.config.nodes() };
    let ids: BTreeSet<ClientId> = (1..=parties.clients).map(ClientId).collect();
    clients.world.lock().start_servers();
    ids.iter().for_each(|id| clients.start(*id));
    let mut missing = ids.clone();
    let limit = runtime.now() + READY_LIMIT;
    while !missing.is_empty() {
        match before(&**runtime, limit, heard.recv()).await {
            Some(Some(Report::Ready(client))) => drop(missing.remove(&client)),
            Some(Some(Report::Failed(client, reason))) => return Err(format!("{client}: {reason}")),
            Some(Some(Report::Done(_))) => {}
            Some(None) | None => return Err(format!("not ready within {READY_LIMIT:?}: {}", names(&missing))),
        }
    }
    let start = runtime.now();
    let end = start + clients.scenario.workload.duration;
    clients.world.recording.start.store(start.0, Ordering::Relaxed);
    let (nemesis_done, nemesis_gone) = oneshot::channel();
    if clients.scenario.faults.is_empty() {
        drop(nemesis_done);
    } else {
        let (events, heard_by_nemesis) = mpsc::unbounded_channel();
        *lock(&clients.events) = Some(events);
        let desk = Desk {
            environment: Arc::new(Faults::new(Arc::clone(clients))) as Arc<dyn Environment>,
            record: Arc::new(HarnessRecord(Arc::clone(&clients.world))) as Arc<dyn Record>,
            runtime: Arc::clone(runtime),
            stop: clients.stop.clone(),
            start,
            end,
        };
        let nemesis = Nemesis::new(&clients.scenario.faults, parties, clients.seed, desk);
        runtime.spawn(nemesis.run(heard_by_nemesis).map(move |()| nemesis_done.send(()).unwrap_or_default()).boxed());
    }
    let _ = begin.send(Some(end.0));
    let mut busy = ids;
    let limit = end + FINISH_LIMIT;
    let mut ended = Ok(());
    while !busy.is_empty() && ended.is_ok() {
        match before(&**runtime, limit, heard.recv()).await {
            Some(Some(Report::Done(client))) => drop(busy.remove(&client)),
            Some(Some(Report::Failed(client, reason))) => ended = Err(format!("{client}: {reason}")),
            Some(Some(Report::Ready(_))) => {}
            Some(None) | None => ended = Err(format!("not done {FINISH_LIMIT:?} after the end: {}", names(&busy))),
        }
    }
    // The nemesis undoes what is left, and goes.
    *lock(&clients.events) = None;
    let _ = before(&**runtime, limit, nemesis_gone).await;
    if ended.is_ok() {
        let names = Names::new(&clients.config, clients.scenario.workload.locks, &backends::prefix(&clients.config));
        let bound = Duration::from_nanos(clients.config.leaves_within());
        let record = HarnessRecord(Arc::clone(&clients.world));
        let calm = clients.scenario.faults.is_empty();
        inspect(&Inside(Arc::clone(&clients.world), &clients.config), &names, bound, calm, &**runtime, &record).await;
    }
    ended
}

fn names(clients: &BTreeSet<ClientId>) -> String {
    clients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Records what the nemesis does.
struct HarnessRecord(Arc<World>);

impl Record for HarnessRecord {
    fn record(&self, op: Op) {
        self.0.lock().record(HARNESS, op);
    }
}
