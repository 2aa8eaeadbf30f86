//! Adoption: a client that has lost its session opens another one and looks for its contender by GUID. What it finds,
//! if the ensemble has not yet ended the old session, goes with that one; the client takes it for its own, and is told
//! that it holds the lock when its turn comes.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::blind_guard;
use crate::ids::{FencingToken, LockName};
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::error::{AttemptError, AttemptReport, ZkError};
use crate::lock::runtime::{SharedRuntime, before, random_text};
use crate::lock::zookeeper::contender::{Admission, Place, guid, sequence};
use crate::lock::zookeeper::session::KeptSession;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ZookeeperLock, zookeeper};
use crate::phase::Phase;

/// One GUID for an acquire, through all its sessions.
pub(super) struct AdoptsOldSession {
    pub lock: ZookeeperLock,
    pub runtime: SharedRuntime,
}

impl AdoptsOldSession {
    async fn attempt(
        &self,
        name: &LockName,
        own_guid: &str,
        options: &AcquireOptions,
        deadlines: Deadlines,
    ) -> Result<Guard, Stop> {
        let kept = self.lock.session(deadlines).await?;
        let ours = async {
            tokio::select! {
                biased;
                stood = self.stand(&kept, name, own_guid, options) => stood,
                reason = kept.validity.ended() => Err(Stop::Ended(reason.to_string())),
            }
        };
        let stood = before(&*self.runtime, deadlines.queue, ours).await;
        let contended = || {
            Stop::Deadline(AttemptError::Contended {
                votes: 0,
                needed: 1,
                conflicts: 1,
                nodes: AttemptReport::default(),
            })
        };
        let (path, czxid) = stood.unwrap_or_else(|| Err(contended()))?;
        options.reached(Phase::VotesIn).await;
        let runtime = Arc::clone(&self.runtime);
        let release = move || zookeeper::release(kept, path, runtime).boxed();
        // Those who adopt don't look at their znode again.
        Ok(blind_guard(name, Some(FencingToken(czxid)), &self.runtime, release))
    }

    /// Stands in line, with what is found there or with a znode of one's own, until nobody is ahead.
    async fn stand(
        &self,
        kept: &KeptSession,
        name: &LockName,
        own_guid: &str,
        options: &AcquireOptions,
    ) -> Result<(String, u64), Stop> {
        let (session, folder) = (&kept.session, self.lock.folder(name));
        loop {
            let line = match session.children(&folder).await {
                Err(ZkError::NoNode) => Vec::new(),
                line => retried(line)?,
            };
            // The flaw: nobody asks whose session it lives with.
            let Some(own) = line.iter().find(|name| guid(name) == Some(own_guid)) else {
                let mut create = session.create_contender(&format!("{folder}/c-{own_guid}-"));
                let early = (&mut create).now_or_never();
                options.reached(Phase::Acquiring).await;
                let created = match early {
                    Some(created) => created,
                    None => create.await,
                };
                match created {
                    Err(ZkError::NoNode) => retried(session.create_parents(&folder).await)?,
                    created => drop(retried(created)?),
                }
                continue;
            };
            let path = format!("{folder}/{own}");
            match Place::among(sequence(own).unwrap_or_default(), &line, Admission::ALONE).nearest.into_iter().next() {
                Some(predecessor) => {
                    if let Some(watch) = retried(session.watch(&format!("{folder}/{predecessor}")).await)? {
                        watch.await;
                    }
                }
                None => {
                    if let Some(znode) = retried(session.stat(&path).await)? {
                        return Ok((path, znode.czxid));
                    }
                }
            }
        }
    }
}

/// What has no answer is tried again, in another session if need be.
fn retried<T>(answer: Result<T, ZkError>) -> Result<T, Stop> {
    answer.map_err(|error| match error {
        ZkError::Unanswered(reason) => Stop::Ended(reason),
        other => other.into(),
    })
}

impl DistributedLock for AdoptsOldSession {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        let own_guid: Arc<str> = random_text(&*self.runtime).into();
        let attempt = move |deadlines| {
            let own_guid = Arc::clone(&own_guid);
            async move { self.attempt(name, &own_guid, options, deadlines).await }.boxed()
        };
        self.lock.acquire_by(options, attempt).boxed()
    }
}
