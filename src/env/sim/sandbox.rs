//! The simulated servers without a trial: clients that the caller leads by hand, step by step.
//!
//! What tests of a lock need: the lock code, the servers and the network are those of a trial. Machines keep exact
//! time, all the same one, so that instants of different clients compare. Deliberately absent: scenarios, faults other
//! than the end of a process and of a link, history, trace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::backends::Seam;
use super::engine::call::Caller;
use super::engine::clock::HostClock;
use super::engine::ids::{HostId, Power};
use super::engine::runtime::SimRuntime;
use super::engine::scheduler::Scheduler;
use super::engine::trace::Trace;
use super::engine::world::World;
use super::machines::{HARNESS, machines};
use super::redis::message::RedisMessage;
use super::redis::{Command, Reply};
use crate::fault::{Member, Refusal};
use crate::ids::{ClientId, NodeId};
use crate::lock::runtime::SharedRuntime;
use crate::scenario::{Fencing, LockConfig, Simulation, WorkloadKind};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::trial::client::lock_stream;
use crate::workload::resource::Resource;

/// How many clients there can be: each has a machine of its own, there from the beginning.
const CLIENTS_MAX: u32 = 16;

/// Servers of one kind, and machines for clients.
pub struct Sandbox {
    world: Arc<World>,
    members: BTreeMap<Member, HostId>,
    nodes: u32,
    seed: Seed,
    clients: AtomicU32,
}

impl Sandbox {
    /// Runs `body` against the servers that `config` says, in virtual time; what it returns, or `None` if it waits for
    /// something that will never happen.
    pub fn play<T>(config: &LockConfig, seed: Seed, body: impl AsyncFnOnce(&Self) -> T) -> Option<T> {
        Self::play_over(Simulation::default(), config, seed, body)
    }

    /// The same over a network of this kind.
    pub fn play_over<T>(
        simulation: Simulation,
        config: &LockConfig,
        seed: Seed,
        body: impl AsyncFnOnce(&Self) -> T,
    ) -> Option<T> {
        let clock = |_| HostClock::new(Nanos::ZERO, 0);
        let resource = Resource::new(WorkloadKind::Inventory, Fencing::None, 1);
        let (hosts, members) = machines(CLIENTS_MAX, config, resource, seed, clock);
        let world = World::new(hosts, seed, simulation, Trace::default());
        let mut scheduler = Scheduler::new(Arc::clone(&world));
        world.lock().start_servers();
        let sandbox = Self { world, members, nodes: config.nodes(), seed, clients: AtomicU32::new(0) };
        let ended = scheduler.block_on(body(&sandbox)).ok();
        scheduler.shut_down();
        ended
    }

    /// Starts one more client, a process of its own, whose lock sees all servers, with settings as `config` says.
    ///
    /// # Panics
    /// There are more than 16.
    pub fn client(&self, config: &LockConfig) -> (ClientId, Seam) {
        let id = ClientId(self.clients.fetch_add(1, Ordering::Relaxed) + 1);
        assert!(id.0 <= CLIENTS_MAX, "a sandbox has {CLIENTS_MAX} machines for clients");
        let process = self.world.processes.current(self.host(Member::Client(id)));
        let rng = lock_stream(self.seed, id, 1);
        let runtime: SharedRuntime = Arc::new(SimRuntime::new(Arc::clone(&self.world), process, rng));
        let nodes = (1..=self.nodes).map(|node| (NodeId(node), self.host(Member::Node(NodeId(node)))));
        (id, Seam::new(&self.world, process, nodes, config, &runtime))
    }

    /// Kills a client or a server: nothing of it runs any more, its kernel closes its connections and refuses new ones.
    pub fn kill(&self, member: Member) {
        self.world.lock().crash(self.host(member), Power::Killed);
    }

    /// Lets nothing through from one member to another, from now on, or everything again. What is sent is lost, as from
    /// a pulled cable, or answered with a reset.
    pub fn cut(&self, from: Member, to: Member, how: Option<Refusal>) {
        let mut state = self.world.lock();
        let link = state.net.link(self.host(from), self.host(to));
        for refusal in [Refusal::Drop, Refusal::Reset] {
            *link.closed(refusal) = u32::from(how == Some(refusal));
        }
    }

    /// Has a Redis node execute a command for nobody's account; `None` if it does not answer.
    pub async fn redis(&self, node: NodeId, command: Command) -> Option<Reply> {
        let harness = self.world.processes.current(HARNESS);
        let caller = Caller::new(Arc::clone(&self.world), harness, self.host(Member::Node(node)));
        let opening = caller.connect().await?;
        match caller.call(opening.id(), RedisMessage::Command(command)).await {
            Some(RedisMessage::Reply(reply)) => Some(reply),
            Some(RedisMessage::Command(_)) | None => None,
        }
    }

    fn host(&self, member: Member) -> HostId {
        self.members[&member]
    }
}
