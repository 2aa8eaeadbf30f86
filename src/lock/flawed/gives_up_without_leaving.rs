//! A waiter that gives up without leaving the line. Its znode moves up as others leave, comes first, and stays for as
//! long as the client's session does: everybody waits behind somebody who has gone.

use futures_util::future::{BoxFuture, FutureExt};

use crate::ids::LockName;
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ZookeeperLock};
use crate::phase::Phase;

/// Sound for those who wait long enough.
pub(super) struct GivesUpWithoutLeaving(pub ZookeeperLock);

impl GivesUpWithoutLeaving {
    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let kept = self.0.session(deadlines).await?;
        let mut contender = self.0.contender(name, &kept);
        let (znode, line) = contender.enter(options, deadlines).await?;
        let stood = contender.come_first(line, options, deadlines).await;
        // The flaw: nobody takes the znode back when the wait was in vain.
        let path = contender.disarm();
        stood?;
        options.reached(Phase::VotesIn).await;
        Ok(self.0.guard(name, &kept, path, znode))
    }
}

impl DistributedLock for GivesUpWithoutLeaving {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.0.acquire_by(options, move |deadlines| self.attempt(name, options, deadlines).boxed()).boxed()
    }
}
