//! The lock on trial, made over the simulated seam: the one that the scenario configures, or a caller's own.

use std::sync::Arc;

use crate::env::redlock_settings;
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
