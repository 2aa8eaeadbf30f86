//! The clients of a trial: started, heard, let go on, killed and started again.
//!
//! A client is the same code as in a container: it warms its lock up, waits for the beginning, runs the client loop.
//! What it records is in its own clock; here it is moved to true time, which all parties of a history share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{mpsc, watch};

use super::backends::{LockMaker, Seam};
use super::engine::call::Caller;
use super::engine::ids::{HostId, ProcessId};
use super::engine::runtime::SimRuntime;
use super::engine::sync::lock;
use super::engine::world::World;
use super::resource::link::ResourceLink;
use crate::env::go_ahead::GoAheads;
use crate::fault::Member;
use crate::history::recorder::Record;
use crate::history::{Life, Op};
use crate::ids::{ClientId, LockName, NodeId};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{AcquireOptions, DistributedLock, PausePoint};
use crate::nemesis::Event;
use crate::phase::Phase;
use crate::scenario::{LockConfig, Scenario};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::workload::client::{Client, Parts};

/// How long a client tries to reach its lock servers before the trial is called off.
const WARM_UP: Duration = Duration::from_secs(10);

/// What a client tells the trial.
pub(super) enum Report {
    /// It has its connections and sessions.
    Ready(ClientId),
    /// It cannot use the lock at all.
    Failed(ClientId, String),
    /// It has brought its last turn to its end.
    Done(ClientId),
}

/// The clients of one trial, and everything that they are made of.
pub(super) struct Clients {
    pub world: Arc<World>,
    pub scenario: Arc<Scenario>,
    pub config: LockConfig,
    pub make_lock: LockMaker,
    pub seed: Seed,
    pub hosts: BTreeMap<Member, HostId>,
    /// The phases at which a fault may strike.
    pub announce: Vec<Phase>,
    pub reports: mpsc::UnboundedSender<Report>,
    /// The end of the trial in true time, once it has begun.
    pub end: watch::Receiver<Option<u64>>,
    /// Never true: nobody calls a simulation off.
    pub stop: watch::Receiver<bool>,
    /// What the nemesis hears, while there is one.
    pub events: Mutex<Option<mpsc::UnboundedSender<Event>>>,
    pub by_id: Mutex<BTreeMap<ClientId, Known>>,
}

/// What is known of one client.
pub(super) struct Known {
    life: Life,
    go_aheads: Option<Arc<GoAheads>>,
}

impl Clients {
    /// Starts a client, for the first time or again.
    pub fn start(self: &Arc<Self>, client: ClientId) {
        let go_aheads = Arc::new(GoAheads::default());
        {
            let mut known = lock(&self.by_id);
            let first = || Known { life: Life::first(client, self.scenario.workload.clients), go_aheads: None };
            known.entry(client).or_insert_with(first).go_aheads = Some(Arc::clone(&go_aheads));
        }
        let process = self.world.processes.current(self.host(Member::Client(client)));
        self.world.processes.spawn(process, Arc::clone(self).play(client, process, go_aheads).boxed());
    }

    /// Notes that a client was killed: its process has ended, whatever it was about.
    pub fn died(&self, client: ClientId) {
        let host = self.host(Member::Client(client));
        let now = Nanos(self.world.lock().now);
        let crash = lock(&self.by_id).get_mut(&client).map(|known| {
            known.go_aheads = None;
            known.life.crash(now)
        });
        // Before the trial has begun there is no history to tell.
        if let Some(crash) = crash.filter(|_| self.end.borrow().is_some()) {
            self.tell(Event::of(&crash));
            self.world.lock().record(host, crash);
        }
    }

    /// Lets a client go on from its pause point.
    pub fn go(&self, client: ClientId, number: u64) {
        // A client that is no longer there does not wait.
        if let Some(go_aheads) = lock(&self.by_id).get(&client).and_then(|known| known.go_aheads.as_ref()) {
            go_aheads.go(number);
        }
    }

    /// A member's machine. Members are those of the trial, which all have one.
    pub fn host(&self, member: Member) -> HostId {
        self.hosts.get(&member).copied().unwrap_or_default()
    }

    fn tell(&self, event: Option<Event>) {
        if let (Some(events), Some(event)) = (&*lock(&self.events), event) {
            // The nemesis has no ear for what happens after it has gone.
            let _ = events.send(event);
        }
    }

    /// What the program of a client does, from its start to its end.
    async fn play(self: Arc<Self>, id: ClientId, process: ProcessId, go_aheads: Arc<GoAheads>) {
        let life = lock(&self.by_id).get(&id).map(|known| known.life.clone());
        let Some(life) = life else { return };
        let stream = if life.number() == 1 {
            format!("client/{}/lock", id.0)
        } else {
            format!("client/{}/lock/life/{}", id.0, life.number())
        };
        let rng = self.seed.stream(&stream);
        let runtime: SharedRuntime = Arc::new(SimRuntime::new(Arc::clone(&self.world), process, rng));
        let lock = self.build_lock(process, &runtime);
        let name = LockName::new(format!("warm-up-{}", id.0));
        match lock.acquire(&name, &AcquireOptions::within(WARM_UP)).await {
            Ok(guard) => drop(guard.release().await),
            // Started again under a fault: it goes on as it is, like any program.
            Err(_) if life.number() > 1 => {}
            Err(error) => return drop(self.reports.send(Report::Failed(id, error.to_string()))),
        }
        let _ = self.reports.send(Report::Ready(id));
        let mut end = self.end.clone();
        let Ok(end) = end.wait_for(Option::is_some).await.map(|end| end.unwrap_or_default()) else { return };
        let end = self.world.lock().hosts[process.host].clock.mono(end);
        let caller = Caller::new(Arc::clone(&self.world), process, self.host(Member::Resource));
        let parts = Parts {
            lock: Arc::clone(&lock),
            resource: Arc::new(ResourceLink::new(caller, Arc::clone(&runtime))),
            record: Arc::new(ClientRecord { clients: Arc::clone(&self), client: id, process }),
            pause_point: Arc::new(Announcer { clients: Arc::clone(&self), client: id, go_aheads }),
            runtime,
            stop: self.stop.clone(),
        };
        let mut client = Client::new(id, self.scenario.workload.clone(), self.seed, parts);
        if life.number() > 1 {
            client = client.reborn(self.seed, &life);
        }
        client.run(end).await;
        let _ = self.reports.send(Report::Done(id));
        // What it leaves at the servers is looked at while it is there: its sessions go with it.
        std::future::pending::<()>().await;
        drop(lock);
    }

    fn build_lock(&self, process: ProcessId, runtime: &SharedRuntime) -> Arc<dyn DistributedLock> {
        let nodes = (1..=self.config.nodes()).map(|node| (NodeId(node), self.host(Member::Node(NodeId(node)))));
        let seam = Seam::new(&self.world, process, nodes, &self.config, runtime);
        (self.make_lock)(&self.config, seam)
    }
}

/// Records what one client says, in true time.
struct ClientRecord {
    clients: Arc<Clients>,
    client: ClientId,
    process: ProcessId,
}

impl Record for ClientRecord {
    fn record(&self, mut op: Op) {
        if !self.clients.world.processes.is_alive(self.process) {
            return;
        }
        if let Some(known) = lock(&self.clients.by_id).get_mut(&self.client) {
            known.life.hear(&op);
        }
        self.clients.tell(Event::of(&op));
        let mut state = self.clients.world.lock();
        let clock = &state.hosts[self.process.host].clock;
        let true_time = |local: Nanos| Nanos(clock.when_shown(local));
        op.valid_until = op.valid_until.map(true_time);
        op.since = op.since.map(true_time);
        // Recorded at the instant at which it happens: no need to convert.
        op.time = Nanos(state.now);
        state.record(self.process.host, op);
    }
}

/// Announces the phases at which a fault may strike, and waits for the go-ahead.
struct Announcer {
    clients: Arc<Clients>,
    client: ClientId,
    go_aheads: Arc<GoAheads>,
}

impl PausePoint for Announcer {
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()> {
        if !self.clients.announce.contains(&phase) {
            return std::future::ready(()).boxed();
        }
        async move {
            let (number, gone) = self.go_aheads.wait();
            self.clients.tell(Some(Event::Reached { client: self.client, number, phase }));
            // Whoever could let it go ends with the trial.
            let _ = gone.await;
        }
        .boxed()
    }
}
