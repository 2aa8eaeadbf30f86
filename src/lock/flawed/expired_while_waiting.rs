//! A grant after the waiter's lease expired: the wait ends, so it must be our turn. That the wait ended because our own
//! session did, and that our place in the line went with it, is not looked at.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::blind_guard;
use crate::ids::{FencingToken, LockName};
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::backend::WatchEvent;
use crate::lock::error::{AttemptError, AttemptReport};
use crate::lock::runtime::{SharedRuntime, before};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ZookeeperLock, zookeeper};
use crate::phase::Phase;

/// Takes the end of the wait for the grant.
pub(super) struct ExpiredWhileWaiting {
    pub lock: ZookeeperLock,
    pub runtime: SharedRuntime,
}

impl ExpiredWhileWaiting {
    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let kept = self.lock.session(deadlines).await?;
        let mut contender = self.lock.contender(name, &kept);
        let (znode, mut line) = contender.enter(options, deadlines).await?;
        while let Some(predecessor) = contender.place(&line).and_then(|place| place.nearest.into_iter().next()) {
            if let Some(watch) = contender.watch(&predecessor, deadlines).await? {
                match before(&*self.runtime, deadlines.queue, watch).await {
                    // A predecessor that gave up grants nothing to anybody: the line is looked at again.
                    Some(WatchEvent::Deleted | WatchEvent::Changed) => {}
                    // The flaw: the wait is over, but because the session is.
                    Some(WatchEvent::SessionEnded) => break,
                    None => {
                        let conflicts = line.len().saturating_sub(1);
                        return Err(Stop::Deadline(AttemptError::Contended {
                            votes: 0,
                            needed: 1,
                            conflicts,
                            nodes: AttemptReport::default(),
                        }));
                    }
                }
            }
            line = match contender.list(deadlines).await {
                // The same flaw, noticed later.
                Err(Stop::Ended(_)) => break,
                line => line?,
            };
        }
        options.reached(Phase::VotesIn).await;
        let (path, runtime) = (contender.disarm(), Arc::clone(&self.runtime));
        let release = move || zookeeper::release(kept, path, runtime).boxed();
        Ok(blind_guard(name, Some(FencingToken(znode.czxid)), &self.runtime, release))
    }
}

impl DistributedLock for ExpiredWhileWaiting {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.lock.acquire_by(options, move |deadlines| self.attempt(name, options, deadlines).boxed()).boxed()
    }
}
