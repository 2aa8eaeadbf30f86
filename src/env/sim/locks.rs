//! The lock on trial, made over the simulated seam: the one that the scenario configures, or a caller's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::call::Caller;
use super::redis_link::RedisLink;
use super::world::{HostId, ProcessId, World};
use super::zk_link::ZkTransport;
use super::zookeeper::session::SimEnsemble;
use crate::env::redlock_settings;
use crate::ids::NodeId;
use crate::lock::backend::{RedisNode, ZkConnector};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{DistributedLock, Redlock, ZookeeperLock, ZookeeperSettings};
use crate::scenario::LockConfig;

/// What one client's lock is made over.
pub struct Seam {
    /// The Redis nodes, in their order; none if the lock's servers are ZooKeeper's.
    pub redis: Vec<Arc<dyn RedisNode>>,
    /// The ensemble, if the lock's servers are ZooKeeper's.
    pub zookeeper: Option<Arc<dyn ZkConnector>>,
    /// The client's own clock, timers, randomness and spawner.
    pub runtime: SharedRuntime,
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
        let mut seam = Self { redis: Vec::new(), zookeeper: None, runtime: Arc::clone(runtime) };
        match config {
            LockConfig::Redlock(config) => {
                let link = |(node, caller): (NodeId, _)| {
                    RedisLink::new(format!("redis-{}", node.0), caller, config.connections)
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

/// The library's own locks.
pub(super) fn configured(config: &LockConfig, seam: Seam) -> Arc<dyn DistributedLock> {
    match (config, seam.zookeeper) {
        (LockConfig::Redlock(config), _) => {
            let settings = redlock_settings(config, "trial:".to_owned());
            Arc::new(Redlock::new(seam.redis, settings, seam.runtime))
        }
        (LockConfig::Zookeeper(_), Some(ensemble)) => {
            let settings = ZookeeperSettings { root: "/fencepost/trial".to_owned() };
            Arc::new(ZookeeperLock::new(ensemble, settings, seam.runtime))
        }
        (LockConfig::Zookeeper(_), None) => unreachable!("a ZooKeeper lock's seam has an ensemble"),
    }
}
