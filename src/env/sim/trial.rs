//! The trial of one lock in the simulation: machines, clients, one history. Its course is that of any trial.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::backends::{self, LockMaker};
use super::clients::Clients;
use super::engine::ids::HostId;
use super::engine::interception::Interception;
use super::engine::runtime::SimRuntime;
use super::engine::scheduler::Scheduler;
use super::engine::trace::Trace;
use super::engine::world::World;
use super::faults::Faults;
use super::leftovers::Inside;
use super::machines::{HARNESS, machines, ordinary_clock};
use crate::fault::Member;
use crate::history::recorder::Record;
use crate::history::{EnvironmentName, History, Op};
use crate::ids::ClientId;
use crate::lock::runtime::SharedRuntime;
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::time::Nanos;
use crate::trial::leftovers::{Names, Servers};
use crate::trial::{self, Case, Course, Lives, Looked, Opened, Word, header};
use crate::wire;
use crate::workload::resource::Resource;

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
        let Some(case) = Case::of(scenario, lock, seed) else {
            return failed(scenario, lock, seed, format!("the scenario has no lock `{lock}`"));
        };
        let header = header(scenario, lock, seed, EnvironmentName::Sim);
        let resource = Resource::new(scenario.workload.kind, scenario.resource.fencing, scenario.workload.locks);
        let clock = |member| ordinary_clock(seed, member);
        let (hosts, members) = machines(scenario.workload.clients, case.config, resource, seed, clock);
        let world = World::new(hosts, seed, scenario.simulation, Trace::new(self.told));
        let make_lock = self.make_lock;
        let ended = catch_unwind(AssertUnwindSafe(|| run(&world, members, case, make_lock)));
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
    let header = header(scenario, lock, seed, EnvironmentName::Sim);
    let history = History::new(header, Vec::new()).ended_early(Some(&why));
    Outcome { history, trace: Trace::default(), simulated: Duration::ZERO, error: Some(why) }
}

fn run(
    world: &Arc<World>,
    hosts: BTreeMap<Member, HostId>,
    case: Case<'_>,
    make_lock: LockMaker,
) -> Result<(), String> {
    let Case { scenario, config, seed, .. } = case;
    let (reports, heard) = mpsc::unbounded_channel();
    let (begin, end) = watch::channel(None);
    let (_never, stop) = watch::channel(false);
    let lives = Arc::new(Lives::new(scenario.workload.clients));
    let clients = Arc::new(Clients {
        world: Arc::clone(world),
        scenario: Arc::new(scenario.clone()),
        config: config.clone(),
        make_lock,
        seed,
        hosts,
        announced: case.announced(),
        reports,
        end,
        stop: stop.clone(),
        lives: Arc::clone(&lives),
        announcers: Mutex::default(),
    });
    if case.strikes_requests() {
        let names = scenario.workload.lock_names();
        let names = names.map(|lock| (lock.clone(), backends::written(config, &lock).into_bytes()));
        world.lock().interception = Some(Interception::new(wire::Names::new(names)));
    }
    let harness = world.processes.current(HARNESS);
    let runtime: SharedRuntime = Arc::new(SimRuntime::new(Arc::clone(world), harness, seed.stream("harness")));
    let mut scheduler = Scheduler::new(Arc::clone(world));
    let course = Course { case, lives, runtime: Arc::clone(&runtime), stop };
    let mut stage = Stage { clients, runtime, heard, begin };
    let direction = async {
        stage.start();
        course.run(&mut stage).await
    };
    let ended = scheduler.block_on(direction);
    scheduler.shut_down();
    match ended {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(stuck) => Err(stuck.to_string()),
    }
}

/// The simulated world as a trial's course needs it.
struct Stage {
    clients: Arc<Clients>,
    /// The harness's own.
    runtime: SharedRuntime,
    heard: mpsc::UnboundedReceiver<(Member, Word)>,
    begin: watch::Sender<Option<Nanos>>,
}

impl Stage {
    fn start(&self) {
        self.clients.world.lock().start_servers();
        let clients = self.clients.scenario.workload.clients;
        (1..=clients).map(ClientId).for_each(|client| self.clients.start(client));
    }
}

impl trial::World for Stage {
    fn members(&self) -> BTreeSet<Member> {
        (1..=self.clients.scenario.workload.clients).map(|client| Member::Client(ClientId(client))).collect()
    }

    fn name(&self, member: Member) -> String {
        member.to_string()
    }

    async fn hear(&mut self) -> Result<Option<(Member, Word)>, String> {
        Ok(self.heard.recv().await)
    }

    async fn open(&mut self) -> Result<Opened, String> {
        let start = self.runtime.now();
        self.clients.world.recording.start.store(start.0, Ordering::Relaxed);
        let environment = Arc::new(Faults::new(Arc::clone(&self.clients)));
        let record = Arc::new(HarnessRecord(Arc::clone(&self.clients.world)));
        Ok(Opened { environment, record, start })
    }

    /// All clients wait for the same word, which is said once.
    fn begin(&mut self, _: ClientId, end: Nanos) {
        self.begin.send_if_modified(|begun| begun.replace(end).is_none());
    }

    /// Nobody calls a simulation off.
    fn stop(&mut self, _: ClientId) {}

    fn servers(&self) -> Looked<'_> {
        let config = &self.clients.config;
        let names = Names::new(config, self.clients.scenario.workload.locks, &backends::prefix(config));
        let inside: Box<dyn Servers + '_> = Box::new(Inside(Arc::clone(&self.clients.world), config));
        Ok(Some((inside, names)))
    }
}

/// Records what the harness itself sees and does.
struct HarnessRecord(Arc<World>);

impl Record for HarnessRecord {
    fn record(&self, op: Op) {
        self.0.lock().record(HARNESS, op);
    }
}
