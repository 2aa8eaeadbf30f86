//! Sorted by creation time: who came first is what clocks say. The lock of [an article](super) sorts by a znode's
//! ctime, which the time of day of the server that leads stamps; the seam has no ctime, so here the client's own time
//! of day is in the name. Either way a clock that is set back lets a latecomer overtake the holder.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::WallClock;
use crate::ids::LockName;
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::error::{AttemptError, AttemptReport, ZkError};
use crate::lock::runtime::{SharedRuntime, before, random_text};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ZookeeperLock, zookeeper};
use crate::phase::Phase;

/// A line in the order of the time of day.
pub(super) struct SortsByClock {
    pub lock: ZookeeperLock,
    pub runtime: SharedRuntime,
    pub wall: WallClock,
}

impl SortsByClock {
    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let kept = self.lock.session(deadlines).await?;
        let session = Arc::clone(&kept.session);
        let folder = self.lock.folder(name);
        let stamp = (self.wall)().0 / 1_000_000;
        let prefix = format!("{folder}/c-{stamp:016}.{}-", random_text(&*self.runtime));
        let (path, znode) = loop {
            let mut create = session.create_contender(&prefix);
            let early = (&mut create).now_or_never();
            options.reached(Phase::Acquiring).await;
            let created = match early {
                Some(created) => created,
                None => create.await,
            };
            match created {
                Ok(created) => break created,
                Err(ZkError::NoNode) => session.create_parents(&folder).await?,
                Err(error) => return Err(error.into()),
            }
        };
        let own = path[folder.len() + 1..].to_owned();
        let first = async {
            while let Some(predecessor) = predecessor(&own, session.children(&folder).await?) {
                if let Some(watch) = session.watch(&format!("{folder}/{predecessor}")).await? {
                    watch.await;
                }
            }
            Ok::<_, Stop>(())
        };
        let stood = before(&*self.runtime, deadlines.queue, first).await;
        if let Some(Ok(())) = stood {
            options.reached(Phase::VotesIn).await;
            return Ok(self.lock.guard(name, &kept, path, znode));
        }
        self.runtime.spawn(zookeeper::release(kept, path, Arc::clone(&self.runtime)).map(drop).boxed());
        let contended = AttemptError::Contended { votes: 0, needed: 1, conflicts: 1, nodes: AttemptReport::default() };
        Err(stood.and_then(Result::err).unwrap_or(Stop::Deadline(contended)))
    }
}

/// The contender just ahead, by the stamps in the names.
fn predecessor(own: &str, line: Vec<String>) -> Option<String> {
    line.into_iter().filter(|name| name.as_str() < own).max()
}

impl DistributedLock for SortsByClock {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.lock.acquire_by(options, move |deadlines| self.attempt(name, options, deadlines).boxed()).boxed()
    }
}
