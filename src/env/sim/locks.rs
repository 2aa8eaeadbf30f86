//! The lock on trial, made over the simulated seam: the one that the scenario configures, or a caller's own.

use std::sync::Arc;

use crate::env;
use crate::lock::DistributedLock;
use crate::lock::backend::{RedisNode, ZkConnector};
use crate::lock::flawed::WallClock;
use crate::lock::runtime::SharedRuntime;
use crate::scenario::LockConfig;

/// What one client's lock is made over.
pub struct Seam {
    /// The Redis nodes, in their order; none if the lock's servers are ZooKeeper's.
    pub redis: Vec<Arc<dyn RedisNode>>,
    /// The ensemble, if the lock's servers are ZooKeeper's.
    pub zookeeper: Option<Arc<dyn ZkConnector>>,
    /// The client's own clock, timers, randomness and spawner.
    pub runtime: SharedRuntime,
    /// The time of day of the client's machine, for canaries that rest on it.
    pub wall: WallClock,
}

/// Makes one client's lock.
pub type LockMaker = Arc<dyn Fn(&LockConfig, Seam) -> Arc<dyn DistributedLock> + Send + Sync>;

/// The locks that scenarios configure.
pub(super) fn configured(config: &LockConfig, seam: Seam) -> Arc<dyn DistributedLock> {
    match (config, seam.zookeeper) {
        (LockConfig::Redlock(config), _) => {
            env::redlock(config, seam.redis, "trial:".to_owned(), seam.runtime, seam.wall)
        }
        (LockConfig::Zookeeper(config), Some(ensemble)) => {
            env::zookeeper(config, ensemble, "/fencepost/trial".to_owned(), seam.runtime, seam.wall)
        }
        (LockConfig::Zookeeper(_), None) => unreachable!("a ZooKeeper lock's seam has an ensemble"),
    }
}
