//! The lock provider of an article ([`super`] has its name and address), ported call by call, bugs and all; the port
//! without them is [`crate::lock::ZookeeperLock`].
//!
//! What is wrong with it, in the order in which the code comes to it:
//! - each acquire opens a session of its own, a write of the whole ensemble (`InventoryService` makes a provider per
//!   request);
//! - the lock's path is never read: the znodes of all locks stand side by side in one folder, and whoever asks for one
//!   lock stands in the line of all;
//! - the line is sorted by when each znode was made (`ctime`, which a server's clock stamps; the seam shows the
//!   creating transaction in its place), with a read of every znode, one after the other;
//! - who is not first watches the one ahead, throws the watch away, and is told `true` (`LockAsync`): the heart of it;
//! - a znode that was made when the caller gave up stays until the session ends;
//! - the holder is never told that its session is over: the watcher passes on `SyncConnected` and nothing else;
//! - there is no unlock: the lock is given back by closing the session, of which nobody sees how it went.
//!
//! Not ported, since the seam has no such thing: znodes of one name that exist already (its `exists`-then-`set`),
//! ancestors that are made ephemeral, and the two threads that make two sessions.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::blind_guard;
use crate::ids::{FencingToken, LockName};
use crate::lock::backend::{ZkConnector, ZkSession};
use crate::lock::error::{AcquireError, AttemptError, ReleaseOutcome, ZkError};
use crate::lock::runtime::{SharedRuntime, before};
use crate::lock::{AcquireOptions, DistributedLock, Guard, ZookeeperSettings};
use crate::phase::Phase;

/// The provider. `Connect`, `AcquireLockAsync`, `LockAsync` and `Dispose` are the article's names.
pub(super) struct Article {
    pub ensemble: Arc<dyn ZkConnector>,
    pub settings: ZookeeperSettings,
    pub runtime: SharedRuntime,
}

impl Article {
    /// `AcquireLockAsync`: `Connect`, then the znode, then `LockAsync`.
    async fn acquire_lock(&self, name: &LockName, options: &AcquireOptions) -> Result<Guard, ZkError> {
        let session = self.ensemble.connect().await?;
        let folder = &self.settings.root;
        let prefix = format!("{folder}/{name}");
        let mut create = session.create_contender(&prefix);
        let early = (&mut create).now_or_never();
        options.reached(Phase::Acquiring).await;
        let created = match early {
            Some(created) => created,
            None => create.await,
        };
        let (own, znode) = match created {
            Err(ZkError::NoNode) => {
                session.create_parents(folder).await?;
                session.create_contender(&prefix).await?
            }
            created => created?,
        };
        self.lock(&*session, folder, &own).await?;
        options.reached(Phase::VotesIn).await;
        // `Dispose`: the session is closed with its last handle.
        let dispose = move || {
            drop(session);
            std::future::ready(ReleaseOutcome::Released).boxed()
        };
        Ok(blind_guard(name, Some(FencingToken(znode.czxid)), &self.runtime, dispose))
    }

    /// `LockAsync`: true for the first in line, and true for everybody else.
    async fn lock(&self, session: &dyn ZkSession, folder: &str, own: &str) -> Result<bool, ZkError> {
        let mut line = Vec::new();
        for child in session.children(folder).await? {
            let path = format!("{folder}/{child}");
            if let Some(znode) = session.stat(&path).await? {
                line.push((znode.czxid, path));
            }
        }
        line.sort_unstable();
        let index = line.iter().position(|(_, path)| path == own);
        if let Some(ahead) = index.and_then(|index| index.checked_sub(1)) {
            // The event that is to be waited for is made, and disposed of.
            drop(session.watch(&line[ahead].1).await?);
        }
        Ok(true)
    }
}

impl DistributedLock for Article {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            let started = self.runtime.now();
            let deadline = started + options.wait.max(crate::lock::attempts::PATIENCE);
            let last = match before(&*self.runtime, deadline, self.acquire_lock(name, options)).await {
                Some(Ok(guard)) => return Ok(guard),
                Some(Err(ZkError::Refused(reason))) => return Err(AcquireError::Refused(reason)),
                Some(Err(error)) => error.to_string(),
                None => "no answer".to_owned(),
            };
            Err(AcquireError::DeadlineExceeded {
                waited: self.runtime.now() - started,
                last: AttemptError::SessionEnded(last),
            })
        }
        .boxed()
    }
}
