//! The clients of a trial: started, heard, let go on, killed and started again.
//!
//! A client is the same code as in a container: it warms its lock up, waits for the beginning, runs the client loop.
//! What it records is in its own clock; here it is moved to true time, which all parties of a history share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::FutureExt;
use tokio::sync::{mpsc, watch};

use super::backends::{LockMaker, Seam};
use super::engine::call::Caller;
use super::engine::ids::{HostId, ProcessId};
use super::engine::runtime::SimRuntime;
use super::engine::sync::lock;
use super::engine::world::World;
use super::resource::link::ResourceLink;
use crate::fault::Member;
use crate::history::Op;
use crate::history::recorder::Record;
use crate::ids::{ClientId, NodeId};
use crate::lock::DistributedLock;
use crate::lock::runtime::SharedRuntime;
use crate::phase::Phase;
use crate::scenario::{LockConfig, Scenario};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::trial::client::{lock_stream, warm_up};
use crate::trial::{Announcer, Lives, Word};
use crate::workload::client::{Client, Parts};

/// The clients of one trial, and everything that they are made of.
pub(super) struct Clients {
    pub world: Arc<World>,
    pub scenario: Arc<Scenario>,
    pub config: LockConfig,
    pub make_lock: LockMaker,
    pub seed: Seed,
    pub hosts: BTreeMap<Member, HostId>,
    /// The phases at which a fault may strike.
    pub announced: Vec<Phase>,
    pub reports: mpsc::UnboundedSender<(Member, Word)>,
    /// The end of the trial in true time, once it has begun.
    pub end: watch::Receiver<Option<Nanos>>,
    /// Never true: nobody calls a simulation off.
    pub stop: watch::Receiver<bool>,
    /// Their lives, and what the nemesis hears of them.
    pub lives: Arc<Lives>,
    /// Where those that were started stand.
    pub announcers: Mutex<BTreeMap<ClientId, Arc<Announcer>>>,
}

impl Clients {
    /// Starts a client, for the first time or again.
    pub fn start(self: &Arc<Self>, client: ClientId) {
        let lives = Arc::clone(&self.lives);
        let tell = move |number, phase| lives.reached(client, number, phase);
        let announcer = Announcer::new(self.announced.clone(), tell);
        lock(&self.announcers).insert(client, Arc::clone(&announcer));
        let process = self.world.processes.current(self.host(Member::Client(client)));
        self.world.processes.spawn(process, Arc::clone(self).play(client, process, announcer).boxed());
    }

    /// Notes that a client was killed: its process has ended, whatever it was about.
    pub fn died(&self, client: ClientId) {
        let host = self.host(Member::Client(client));
        let now = Nanos(self.world.lock().now);
        lock(&self.announcers).remove(&client);
        let crash = self.lives.crash(client, now);
        // Before the trial has begun there is no history to tell.
        if let Some(crash) = crash.filter(|_| self.end.borrow().is_some()) {
            self.world.lock().record(host, crash);
        }
    }

    /// Lets a client go on from its pause point.
    pub fn go(&self, client: ClientId, number: u64) {
        // A client that is no longer there does not wait.
        if let Some(announcer) = lock(&self.announcers).get(&client) {
            announcer.go(number);
        }
    }

    /// A member's machine. Members are those of the trial, which all have one.
    pub fn host(&self, member: Member) -> HostId {
        self.hosts.get(&member).copied().unwrap_or_default()
    }

    fn say(&self, client: ClientId, word: Word) {
        // The trial listens for as long as anything runs.
        let _ = self.reports.send((Member::Client(client), word));
    }

    /// What the program of a client does, from its start to its end.
    async fn play(self: Arc<Self>, id: ClientId, process: ProcessId, announcer: Arc<Announcer>) {
        let Some(life) = self.lives.life(id) else { return };
        let rng = lock_stream(self.seed, id, life.number());
        let runtime: SharedRuntime = Arc::new(SimRuntime::new(Arc::clone(&self.world), process, rng));
        let lock = self.build_lock(process, &runtime);
        if let Err(error) = warm_up(&*lock, id, &life).await {
            return self.say(id, Word::Failed(error.to_string()));
        }
        self.say(id, Word::Ready);
        let mut end = self.end.clone();
        let Ok(end) = end.wait_for(Option::is_some).await.map(|end| end.unwrap_or_default()) else { return };
        let end = self.world.lock().hosts[process.host].clock.mono(end.0);
        let caller = Caller::new(Arc::clone(&self.world), process, self.host(Member::Resource));
        let parts = Parts {
            lock: Arc::clone(&lock),
            resource: Arc::new(ResourceLink::new(caller, Arc::clone(&runtime))),
            record: Arc::new(ClientRecord { clients: Arc::clone(&self), process }),
            pause_point: announcer,
            runtime,
            stop: self.stop.clone(),
        };
        Client::new(id, &life, self.scenario.workload.clone(), self.seed, parts).run(end).await;
        self.say(id, Word::Done);
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
    process: ProcessId,
}

impl Record for ClientRecord {
    fn record(&self, mut op: Op) {
        if !self.clients.world.processes.is_alive(self.process) {
            return;
        }
        self.clients.lives.hear(&op);
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
