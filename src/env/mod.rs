//! The worlds a trial can take place in. They share the scenario, the lock code, the client loop and the checks.
//!
//! Deliberately absent: anything about *when* a fault strikes, and what a world must offer for that (the nemesis), and
//! what a history means (the checks).

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "lives on the real machine, in its time")]
pub mod docker;
pub mod sim;

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::lock::backend::{EtcdCluster, RedisNode, ZkConnector};
use crate::lock::flawed::{self, WallClock};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{
    ConfigError, DistributedLock, EtcdLock, EtcdSettings, ReadWriteLock, RedisLock, RedisLockSettings, RedlockSettings,
    Semaphore, ZookeeperLock, ZookeeperSettings,
};
use crate::lock_kind::LockKind;
use crate::scenario::{EtcdConfig, RedisConfig, RedlockConfig, ZookeeperConfig};

/// A ZooKeeper session as servers show it in their words: `0x10000a2b3c0001`; empty for none.
fn session_text(session: i64) -> String {
    if session == 0 { String::new() } else { format!("0x{session:x}") }
}

/// The lock on trial at one Redis server: the same in every world.
pub(crate) fn redis(
    config: &RedisConfig,
    node: Arc<dyn RedisNode>,
    key_prefix: String,
    runtime: SharedRuntime,
) -> Arc<dyn DistributedLock> {
    let settings = RedisLockSettings {
        ttl: config.ttl,
        node_timeout: config.node_timeout,
        retry_delay_min: config.retry_delay.min,
        retry_delay_max: config.retry_delay.max,
        waiting: config.waiting,
        renewal: config.renewal,
        key_prefix,
        max_hold: None,
    };
    let made: Result<Arc<dyn DistributedLock>, ConfigError> = match config.kind {
        LockKind::Mutex => RedisLock::new(node, settings, runtime).map(|lock| Arc::new(lock) as _),
        LockKind::ReadWrite => ReadWriteLock::at_redis(node, settings, runtime).map(|lock| Arc::new(lock) as _),
        LockKind::Semaphore { permits } => {
            Semaphore::at_redis(node, settings, at_least_one(permits), runtime).map(|lock| Arc::new(lock) as _)
        }
    };
    made.expect("a scenario's settings were checked when it was loaded")
}

/// A semaphore's permits. A scenario with none is refused when it is loaded.
fn at_least_one(permits: u32) -> NonZeroU32 {
    NonZeroU32::new(permits).unwrap_or(NonZeroU32::MIN)
}

/// A lock on trial over Redis masters, sound or not: the same in every world.
pub(crate) fn redlock(
    config: &RedlockConfig,
    nodes: Vec<Arc<dyn RedisNode>>,
    key_prefix: String,
    runtime: SharedRuntime,
    wall: WallClock,
) -> Arc<dyn DistributedLock> {
    let settings = RedlockSettings {
        ttl: config.ttl,
        node_timeout: config.node_timeout,
        retry_delay_min: config.retry_delay.min,
        retry_delay_max: config.retry_delay.max,
        waiting: config.waiting,
        renewal: config.renewal,
        tokens: config.tokens,
        key_prefix,
        // A trial is shorter.
        max_hold: None,
    };
    match config.flaw {
        None => Arc::new(flawed::without_flaw(nodes, settings, runtime)),
        Some(flaw) => flawed::redlock(flaw, nodes, settings, runtime, wall),
    }
}

/// A lock on trial in a ZooKeeper ensemble, sound or not: the same in every world.
pub(crate) fn zookeeper(
    config: &ZookeeperConfig,
    ensemble: Arc<dyn ZkConnector>,
    root: String,
    runtime: SharedRuntime,
    wall: WallClock,
) -> Arc<dyn DistributedLock> {
    // A trial is shorter than any longest hold.
    let settings = ZookeeperSettings { root, max_hold: None };
    match (config.flaw, config.kind) {
        (Some(flaw), kind) => flawed::zookeeper(flaw, kind, ensemble, settings, runtime, wall),
        (None, LockKind::Mutex) => Arc::new(ZookeeperLock::new(ensemble, settings, runtime)),
        (None, LockKind::ReadWrite) => Arc::new(ReadWriteLock::in_zookeeper(ensemble, settings, runtime)),
        (None, LockKind::Semaphore { permits }) => {
            Arc::new(Semaphore::in_zookeeper(ensemble, settings, at_least_one(permits), runtime))
        }
    }
}

/// The lock on trial in an etcd cluster: the same in every world.
pub(crate) fn etcd(
    config: &EtcdConfig,
    cluster: Arc<dyn EtcdCluster>,
    prefix: String,
    runtime: SharedRuntime,
) -> Arc<dyn DistributedLock> {
    // A trial is shorter than any longest hold.
    let settings = EtcdSettings { prefix, ttl: config.ttl, max_hold: None };
    Arc::new(EtcdLock::new(cluster, settings, runtime).expect("a scenario's settings were checked when it was loaded"))
}
