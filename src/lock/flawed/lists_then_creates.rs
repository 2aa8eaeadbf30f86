//! A semaphore that looks first and enters then: between the two, others do the same.

use futures_util::future::{BoxFuture, FutureExt};

use crate::ids::LockName;
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::zookeeper::contender::RETRY_DELAY;
use crate::lock::{AcquireError, AcquireOptions, AttemptError, AttemptReport, DistributedLock, Guard, ZookeeperLock};
use crate::phase::Phase;

/// Counts contenders, and enters if there are fewer than permits; does not count again.
pub(super) struct ListsThenCreates {
    pub lock: ZookeeperLock,
    pub permits: u32,
}

impl ListsThenCreates {
    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let kept = self.lock.session(deadlines).await?;
        let mut contender = self.lock.contender(name, &kept);
        loop {
            let holders = contender.holders(deadlines).await?;
            if holders < self.permits as usize {
                break;
            }
            let now = contender.runtime.now();
            if now >= deadlines.queue {
                let nodes = AttemptReport::default();
                let last = AttemptError::Contended { votes: 0, needed: 1, conflicts: holders, nodes };
                return Err(Stop::Deadline(last));
            }
            contender.runtime.sleep_until((now + RETRY_DELAY).min(deadlines.queue)).await;
        }
        let (znode, _) = contender.enter(options, deadlines).await?;
        options.reached(Phase::VotesIn).await;
        Ok(self.lock.guard(name, &kept, contender.disarm(), znode))
    }
}

impl DistributedLock for ListsThenCreates {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.lock.acquire_by(options, move |deadlines| self.attempt(name, options, deadlines).boxed()).boxed()
    }
}
