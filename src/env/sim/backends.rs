//! The registry of simulated backends: each one's servers, a client's way to them, the lock made over that.
//!
//! Beside trials nobody else in the simulation knows them all. A new backend is a folder like [`super::redis`] and an
//! arm in each function here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::engine::call::Caller;
use super::engine::ids::{HostId, ProcessId};
use super::engine::server::Server;
use super::engine::state::State;
use super::engine::world::World;
use super::zookeeper::link::ZkTransport;
use super::zookeeper::session::SimEnsemble;
use super::{etcd, redis, zookeeper};
use crate::defendant::backend::TICK;
use crate::ids::{LockName, NodeId};
use crate::lock::DistributedLock;
use crate::lock::backend::{EtcdCluster, RedisNode, ZkConnector};
use crate::lock::flawed::WallClock;
use crate::lock::name::as_path_part;
use crate::lock::runtime::SharedRuntime;
use crate::scenario::{Backend, LockConfig, RedisConfig, RedlockConfig};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::trial::leftovers::{Found, Names};

/// A scenario that names one is refused when it is read.
const NO_PROGRAMS: &str = "programs of others are not simulated";

/// What stands before a lock's name at Redis nodes.
const KEY_PREFIX: &str = "trial:";

/// What all locks are under where names are paths.
const ROOT: &str = "/fencepost/trial";

/// The lock's servers, in their order, on these machines.
pub(super) fn servers(config: &LockConfig, hosts: &BTreeMap<NodeId, HostId>, seed: Seed) -> Vec<Box<dyn Server>> {
    let ids = hosts.keys().copied();
    match config.backend() {
        Backend::Redis => {
            let records = Arc::new(Mutex::default());
            let persistence = config.persistence().unwrap_or_default();
            let node = |id| Box::new(redis::node::RedisServer::new(id, persistence, Arc::clone(&records))) as _;
            ids.map(node).collect()
        }
        Backend::Zookeeper => {
            let records = Arc::new(Mutex::default());
            let server = |id| zookeeper::node::ZookeeperServer::new(id, hosts.clone(), seed, Arc::clone(&records));
            ids.map(|id| Box::new(server(id)) as _).collect()
        }
        Backend::Etcd => {
            let records = Arc::new(Mutex::default());
            let server = |id| etcd::node::EtcdServer::new(id, hosts.clone(), seed, Arc::clone(&records));
            ids.map(|id| Box::new(server(id)) as _).collect()
        }
    }
}

/// What the lock's servers still have of these names; why it is not all, if it is not.
pub(super) fn leftovers(config: &LockConfig, state: &State, names: &Names) -> (Vec<Found>, Option<String>) {
    match config.backend() {
        Backend::Redis => redis::leftovers::leftovers(state, names),
        Backend::Zookeeper => zookeeper::leftovers::leftovers(state, names),
        Backend::Etcd => etcd::leftovers::leftovers(state, names),
    }
}

/// What one client's lock is made over.
pub struct Seam {
    /// The Redis nodes, in their order; none if the lock's servers are ZooKeeper's.
    pub redis: Vec<Arc<dyn RedisNode>>,
    /// The ensemble, if the lock's servers are ZooKeeper's.
    pub zookeeper: Option<Arc<dyn ZkConnector>>,
    /// The etcd cluster, if the lock's servers are etcd's.
    pub etcd: Option<Arc<dyn EtcdCluster>>,
    /// The client's own clock, timers, randomness and spawner.
    pub runtime: SharedRuntime,
    /// The time of day of the client's machine, for canaries that rest on it.
    pub wall: WallClock,
}

impl Seam {
    /// The way of `process` to the lock servers on these machines.
    pub(super) fn new(
        world: &Arc<World>,
        process: ProcessId,
        nodes: impl Iterator<Item = (NodeId, HostId)>,
        config: &LockConfig,
        runtime: &SharedRuntime,
    ) -> Self {
        let callers = nodes.map(|(node, host)| (node, Caller::new(Arc::clone(world), process, host)));
        let wall: WallClock = {
            let world = Arc::clone(world);
            Arc::new(move || {
                let state = world.lock();
                let milliseconds = state.hosts[process.host].clock.wall_ms(state.now).max(0);
                Nanos(milliseconds.unsigned_abs() * 1_000_000)
            })
        };
        let mut seam = Self { redis: Vec::new(), zookeeper: None, etcd: None, runtime: Arc::clone(runtime), wall };
        match config {
            LockConfig::Adapter(_) => unreachable!("{NO_PROGRAMS}"),
            LockConfig::Etcd(_) => {
                seam.etcd = Some(Arc::new(etcd::link::EtcdLink::new(callers.map(|(_, caller)| caller).collect())));
            }
            LockConfig::Redis(RedisConfig { connections, .. })
            | LockConfig::Redlock(RedlockConfig { connections, .. }) => {
                let link = |(node, caller): (NodeId, _)| {
                    redis::link::RedisLink::new(format!("redis-{}", node.0), caller, *connections, Arc::clone(runtime))
                };
                seam.redis = callers.map(|caller| Arc::new(link(caller)) as Arc<dyn RedisNode>).collect();
            }
            LockConfig::Zookeeper(config) => {
                let callers: BTreeMap<_, _> = callers.collect();
                let nodes = callers.keys().copied().collect();
                let transport = Arc::new(ZkTransport::new(callers));
                let ensemble = SimEnsemble::new(nodes, config.session_timeout, transport, Arc::clone(runtime));
                seam.zookeeper = Some(Arc::new(ensemble));
            }
        }
        seam
    }
}

/// Makes one client's lock.
pub type LockMaker = Arc<dyn Fn(&LockConfig, Seam) -> Arc<dyn DistributedLock> + Send + Sync>;

/// What the lock servers see before the names of a trial's locks.
pub(super) fn prefix(config: &LockConfig) -> String {
    match config.backend() {
        Backend::Redis => KEY_PREFIX.to_owned(),
        Backend::Zookeeper | Backend::Etcd => format!("{ROOT}/"),
    }
}

/// What the lock servers call a lock.
pub(super) fn written(config: &LockConfig, lock: &LockName) -> String {
    match config.backend() {
        Backend::Redis => format!("{KEY_PREFIX}{lock}"),
        Backend::Zookeeper | Backend::Etcd => format!("{ROOT}/{}", as_path_part(lock)),
    }
}

/// The locks that scenarios configure.
pub(super) fn configured(config: &LockConfig, seam: Seam) -> Arc<dyn DistributedLock> {
    let node = seam.redis.first().cloned();
    match (config, seam.zookeeper) {
        (LockConfig::Redis(config), _) => match node {
            Some(node) => config.make(node, KEY_PREFIX.to_owned(), seam.runtime),
            None => unreachable!("the seam of a lock at a Redis server has a node"),
        },
        (LockConfig::Redlock(config), _) => config.make(seam.redis, KEY_PREFIX.to_owned(), seam.runtime, seam.wall),
        (LockConfig::Zookeeper(config), Some(ensemble)) => {
            config.make(ensemble, ROOT.to_owned(), Some(TICK), seam.runtime, seam.wall)
        }
        (LockConfig::Adapter(_), _) => unreachable!("{NO_PROGRAMS}"),
        (LockConfig::Etcd(config), _) => match seam.etcd {
            Some(cluster) => config.make(cluster, ROOT.to_owned(), seam.runtime),
            None => unreachable!("an etcd lock's seam has a cluster"),
        },
        (LockConfig::Zookeeper(_), None) => unreachable!("a ZooKeeper lock's seam has an ensemble"),
    }
}
