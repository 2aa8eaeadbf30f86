//! A read-write lock: readers together, or a writer alone.
//!
//! In a ZooKeeper ensemble readers and writers stand in one line, after the shared locks of the ZooKeeper recipes: a
//! reader waits for the writers ahead of it, a writer for everybody. So nobody overtakes, and nobody starves. At one
//! Redis server each holder has a share with an end of its own; there is no line, but a writer that readers keep out
//! keeps new readers out until it has asked again.
//!
//! Tokens rise with every grant, of readers and writers alike. A resource that fences must compare a reader's with the
//! writers' it has served only: readers hold together and come in any order.
//!
//! **What it does not promise.** What the lock below does not: [`ZookeeperLock`], [`RedisLock`](super::RedisLock). A
//! guard that reads cannot be made one that writes: two that wait for each other's release would wait for ever. Not
//! over [`Redlock`](super::Redlock): see [`ConfigError::NotOnRedlock`](super::ConfigError::NotOnRedlock).

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

/// A lock that is held by readers together, or by a writer alone. As a [`DistributedLock`] it is the writers'.
///
/// ```no_run
/// # async fn example(prices: &fencepost::lock::ReadWriteLock) -> Result<(), fencepost::lock::AcquireError> {
/// use fencepost::{ids::LockName, lock::{AcquireOptions, DistributedLock}};
/// let (name, options) = (LockName::new("prices"), AcquireOptions::within(std::time::Duration::from_secs(5)));
/// let reads = prices.readers().acquire(&name, &options).await?;
/// // … others may read, too …
/// reads.release().await;
/// let writes = prices.writers().acquire(&name, &options).await?;
/// // … nobody else reads or writes …
/// writes.release().await;
/// # Ok(())
/// # }
/// ```
pub struct ReadWriteLock {
    readers: Box<dyn DistributedLock>,
    writers: Box<dyn DistributedLock>,
}

impl ReadWriteLock {
    /// One at a Redis server. What has been a lock of another kind under the same key must not be one now: the server
    /// refuses. Who waits asks again, whatever the settings say of waiting.
    ///
    /// # Errors
    /// A lease could never be valid.
    pub fn at_redis(
        node: Arc<dyn RedisNode>,
        settings: RedisLockSettings,
        runtime: SharedRuntime,
    ) -> Result<Self, ConfigError> {
        let waits = settings.retry_delay_max + 2 * settings.node_timeout;
        let lock = |share| shares::lock(Arc::clone(&node), share, settings.clone(), Arc::clone(&runtime));
        let (readers, writers) = (lock(Share::Read)?, lock(Share::Write { waits })?);
        Ok(Self { readers: Box::new(readers), writers: Box::new(writers) })
    }

    /// One in a ZooKeeper ensemble. To its readers and writers, a [`ZookeeperLock`] of the same root and name is a
    /// writer.
    pub fn in_zookeeper(connector: Arc<dyn ZkConnector>, settings: ZookeeperSettings, runtime: SharedRuntime) -> Self {
        let lock = ZookeeperLock::new(connector, settings, runtime);
        let (readers, writers) = (lock.admitting(Admission::READ), lock.admitting(Admission::WRITE));
        Self { readers: Box::new(readers), writers: Box::new(writers) }
    }

    /// The lock of those who only read.
    pub fn readers(&self) -> &dyn DistributedLock {
        &*self.readers
    }

    /// The lock of those who write.
    pub fn writers(&self) -> &dyn DistributedLock {
        &*self.writers
    }
}

impl DistributedLock for ReadWriteLock {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.writers.acquire(name, options)
    }

    fn for_reading(&self) -> Option<&dyn DistributedLock> {
        Some(self.readers())
    }
}
