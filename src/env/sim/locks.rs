//! The lock on trial, made over the simulated seam: the one that the scenario configures, or a caller's own.

use std::sync::Arc;

use crate::lock::backend::{RedisNode, ZkConnector};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{DistributedLock, Redlock, RedlockSettings, ZookeeperLock, ZookeeperSettings};
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
            let settings = RedlockSettings {
                ttl: config.ttl,
                node_timeout: config.node_timeout,
                retry_delay_min: config.retry_delay.min,
                retry_delay_max: config.retry_delay.max,
                renewal: config.renewal,
                key_prefix: "trial:".to_owned(),
            };
            Arc::new(Redlock::new(seam.redis, settings, seam.runtime))
        }
        (LockConfig::Zookeeper(_), Some(ensemble)) => {
            let settings = ZookeeperSettings { root: "/fencepost/trial".to_owned() };
            Arc::new(ZookeeperLock::new(ensemble, settings, seam.runtime))
        }
        (LockConfig::Zookeeper(_), None) => unreachable!("a ZooKeeper lock's seam has an ensemble"),
    }
}
