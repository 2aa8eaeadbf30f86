//! A waiter is told that it holds the lock: being in the line is taken for being first in it.

use futures_util::future::{BoxFuture, FutureExt};

use crate::ids::LockName;
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ZookeeperLock};
use crate::phase::Phase;

/// Enters the line and does not wait.
pub(super) struct ToldWhileWaiting(pub ZookeeperLock);

impl ToldWhileWaiting {
    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let kept = self.0.session(deadlines).await?;
        let mut contender = self.0.contender(name, &kept);
        let (znode, _) = contender.enter(options, deadlines).await?;
        options.reached(Phase::VotesIn).await;
        Ok(self.0.guard(name, &kept, contender.disarm(), znode))
    }
}

impl DistributedLock for ToldWhileWaiting {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.0.acquire_by(options, move |deadlines| self.attempt(name, options, deadlines).boxed()).boxed()
    }
}
