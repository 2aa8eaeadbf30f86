//! A semaphore: a lock that as many may hold at once as there are permits.
//!
//! In a ZooKeeper ensemble all stand in one line, and the first of it, as many as there are permits, hold; whoever
//! waits watches the same number of contenders ahead of it, the nearest ones, so that a release wakes no more than
//! that. At one Redis server each holder has a share with an end of its own on the server's clock, so that a dead one's
//! permit comes back.
//!
//! Tokens rise with every grant. They tell holders apart, and order them; a resource cannot fence by them, since
//! several may use it at once and in any order.
//!
//! **What it does not promise.** What the lock below does not: [`ZookeeperLock`], [`RedisLock`](super::RedisLock). The
//! number of permits is not kept at the servers: clients that differ each keep to their own. Not over
//! [`Redlock`](super::Redlock): see [`ConfigError::NotOnRedlock`](super::ConfigError::NotOnRedlock).

use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::backend::{RedisNode, Share, ZkConnector};
use super::error::ConfigError;
use super::runtime::SharedRuntime;
use super::zookeeper::contender::Admission;
use super::{
    AcquireError, AcquireOptions, DistributedLock, Guard, RedisLockSettings, ZookeeperLock, ZookeeperSettings, shares,
};
use crate::ids::LockName;

/// A lock with permits; a guard has one of them.
///
/// ```no_run
/// # async fn example(ensemble: std::sync::Arc<dyn fencepost::lock::backend::ZkConnector>) -> Result<(), fencepost::lock::AcquireError> {
/// use std::{num::NonZeroU32, sync::Arc, time::Duration};
/// use fencepost::{ids::LockName, lock::{AcquireOptions, DistributedLock, Semaphore, runtime::TokioRuntime}};
/// let three = NonZeroU32::new(3).expect("not zero");
/// let runtime = Arc::new(TokioRuntime::from_entropy());
/// let exports = Semaphore::in_zookeeper(ensemble, Default::default(), three, runtime);
/// let permit = exports.acquire(&LockName::new("exports"), &AcquireOptions::within(Duration::from_secs(5))).await?;
/// // … no more than two others do the same …
/// permit.release().await;
/// # Ok(())
/// # }
/// ```
pub struct Semaphore {
    lock: Box<dyn DistributedLock>,
}

impl Semaphore {
    /// One at a Redis server. What has been a lock of another kind under the same key must not be one now: the server
    /// refuses. Who waits asks again, whatever the settings say of waiting.
    ///
    /// # Errors
    /// A lease could never be valid.
    pub fn at_redis(
        node: Arc<dyn RedisNode>,
        settings: RedisLockSettings,
        permits: NonZeroU32,
        runtime: SharedRuntime,
    ) -> Result<Self, ConfigError> {
        let lock = shares::lock(node, Share::Permit { of: permits.get() }, settings, runtime)?;
        Ok(Self { lock: Box::new(lock) })
    }

    /// One in a ZooKeeper ensemble.
    pub fn in_zookeeper(
        connector: Arc<dyn ZkConnector>,
        settings: ZookeeperSettings,
        permits: NonZeroU32,
        runtime: SharedRuntime,
    ) -> Self {
        let lock = ZookeeperLock::new(connector, settings, runtime).admitting(Admission::permits(permits));
        Self { lock: Box::new(lock) }
    }
}

impl DistributedLock for Semaphore {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.lock.acquire(name, options)
    }
}
