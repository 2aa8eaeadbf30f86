//! The ZooKeeper lock: ephemeral sequential znodes, each contender watching only its predecessor.
//!
//! After the lock recipe of the ZooKeeper documentation, with what Curator's users learned since: contenders carry a
//! GUID in their name and are matched by session, so that a create whose reply was lost is found again and a znode of
//! a dead session is never taken for a grant; create and list travel in one round trip; the deletion of a predecessor
//! that was first in line grants without another list. The fencing token is the contender's `czxid`.
//!
//! [`session`] keeps the deadline until which a session may be believed, [`contender`] is one znode in the line.
//! Deliberately absent: trust in the client library's `Expired`, which comes after the servers have given the lock
//! away.

pub(super) mod contender;
pub(super) mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use self::contender::{Admission, Contender, RETRY_DELAY, delete, failed};
use self::session::{KeptSession, Sessions};
use super::attempts::{Deadlines, PATIENCE, Stop, until_granted};
use super::backend::{WatchEvent, ZkConnector, Znode};
use super::error::{AcquireError, AttemptError, NodeError, NodeOutcome, ReleaseOutcome, ZkError};
use super::guard::{Guard, Hold};
use super::name::{as_path_part, check};
use super::opener::connection;
use super::runtime::{SharedRuntime, before};
use super::stops::Stops;
use super::{AcquireOptions, DistributedLock, trace};
use crate::ids::{FencingToken, LockName};
use crate::phase::Phase;
use crate::time::Nanos;

/// How a [`ZookeeperLock`] behaves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ZookeeperSettings {
    /// The path below which each lock has a znode of its own. It is created if missing and never deleted, so that
    /// sequence numbers go on.
    pub root: String,
    /// How long a guard may last, however long its session lives: then it is lost, and its znode deleted, so that a
    /// guard that was forgotten does not hold the lock for ever. An hour by default; `None`: no limit.
    pub max_hold: Option<Duration>,
    /// The servers' `tickTime`. A guard is believed shorter by five eighths of it, for what a follower may not have
    /// told its leader yet. `None` if it is not known: then half of the session timeout, the most that it can be
    /// unless the servers' `minSessionTimeout` is set. Less than what they have makes guards believe too long.
    pub tick: Option<Duration>,
}

#[cfg(feature = "harness")]
impl ZookeeperSettings {
    /// What stays in the ensemble for good, as a pattern of paths: the znodes below which contenders stand.
    pub(crate) const PERMANENT: &str = "*{lock}";
}

impl Default for ZookeeperSettings {
    fn default() -> Self {
        Self { root: "/fencepost/locks".to_owned(), max_hold: Some(super::DEFAULT_MAX_HOLD), tick: None }
    }
}

/// A lock in a ZooKeeper ensemble. All acquires of one value share a session.
pub struct ZookeeperLock {
    sessions: Arc<Sessions>,
    settings: ZookeeperSettings,
    runtime: SharedRuntime,
    admission: Admission,
}

/// The path of the znode below which the contenders for `name` stand.
pub(super) fn folder(root: &str, name: &LockName) -> String {
    format!("{root}/{}", as_path_part(name))
}

impl From<ZkError> for Stop {
    fn from(error: ZkError) -> Self {
        match error {
            ZkError::SessionEnded(reason) => Self::Ended(reason),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl ZookeeperLock {
    /// A lock in the ensemble that `connector` reaches. The first acquire opens the session.
    pub fn new(connector: Arc<dyn ZkConnector>, settings: ZookeeperSettings, runtime: SharedRuntime) -> Self {
        let sessions = Sessions::new(connector, settings.tick, Arc::clone(&runtime));
        Self { sessions, settings, runtime, admission: Admission::ALONE }
    }

    /// The same, with the same session, for contenders of another kind.
    pub(super) fn admitting(&self, admission: Admission) -> Self {
        let (sessions, runtime) = (Arc::clone(&self.sessions), Arc::clone(&self.runtime));
        Self { sessions, settings: self.settings.clone(), runtime, admission }
    }

    /// The session in use, or a new one if there is none or its time is up.
    pub(super) async fn session(&self, deadlines: Deadlines) -> Result<Arc<KeptSession>, Stop> {
        let started = self.runtime.now();
        loop {
            let failure = match before(&*self.runtime, deadlines.servers, connection(&self.sessions)).await {
                Some(Ok(kept)) => return Ok(kept),
                Some(Err(ZkError::Refused(reason))) => return Err(Stop::Refused(reason)),
                Some(Err(error)) => NodeOutcome::Failed(NodeError::Unreachable(error.to_string())),
                None => NodeOutcome::Silent,
            };
            let now = self.runtime.now();
            if now >= deadlines.servers {
                let mut seen = self.sessions.seen();
                let silent = seen.0.iter_mut().filter(|report| report.outcome == NodeOutcome::Silent);
                silent.for_each(|report| report.latency = now - started);
                let failed = match seen.0.is_empty() {
                    true => failed(failure, now - started),
                    false => AttemptError::NoQuorum { votes: 0, needed: 1, nodes: seen },
                };
                return Err(Stop::Deadline(failed));
            }
            self.runtime.sleep_until((now + RETRY_DELAY).min(deadlines.servers)).await;
        }
    }

    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let kept = self.session(deadlines).await?;
        let mut contender = self.contender(name, &kept);
        let (znode, line) = contender.enter(options, deadlines).await?;
        contender.come_first(line, options, deadlines).await?;
        options.reached(Phase::VotesIn).await;
        let longest = options.max_hold.or(self.settings.max_hold);
        let guard = self.guard_until(longest, name, &kept, contender.disarm(), znode, options.stops.clone());
        // The last act: a session whose time is up holds nothing, whatever the watch said.
        match kept.validity.lost() {
            None => Ok(guard),
            Some(reason) => Err(Stop::Ended(reason.to_string())),
        }
    }

    /// A contender for `name`, not yet in the line.
    pub(super) fn contender(&self, name: &LockName, kept: &Arc<KeptSession>) -> Contender {
        Contender::new(Arc::clone(kept), Arc::clone(&self.runtime), self.folder(name), self.admission)
    }

    /// The path of the znode below which the contenders for `name` stand.
    pub(super) fn folder(&self, name: &LockName) -> String {
        folder(&self.settings.root, name)
    }

    /// The guard of a contender that is first in line, which lives and dies with its session and its znode.
    #[cfg(feature = "harness")]
    pub(super) fn guard(&self, name: &LockName, kept: &Arc<KeptSession>, path: String, znode: Znode) -> Guard {
        self.guard_until(self.settings.max_hold, name, kept, path, znode, Stops::default())
    }

    /// The same, which lasts no longer than `longest`.
    fn guard_until(
        &self,
        longest: Option<Duration>,
        name: &LockName,
        kept: &Arc<KeptSession>,
        path: String,
        znode: Znode,
        stops: Stops,
    ) -> Guard {
        let last_end = longest.map_or(Nanos(u64::MAX), |longest| self.runtime.now() + longest);
        let hold = Hold::ending(kept.validity.until(), last_end);
        let release = {
            let (kept, path, runtime) = (Arc::clone(kept), path.clone(), Arc::clone(&self.runtime));
            Box::new(move || release(kept, path, runtime).boxed())
        };
        let runtime = Arc::clone(&self.runtime);
        let stops = Arc::new(stops);
        kept.stop_at(&stops);
        let following = follow(Arc::clone(&hold), Arc::clone(kept), path, last_end, runtime);
        // The session is stopped for this hold while it lasts.
        self.runtime.spawn(following.map(move |()| drop(stops)).boxed());
        Guard::new(name.clone(), Some(FencingToken(znode.czxid)), hold, Arc::clone(&self.runtime), release)
    }

    /// Makes attempts with `attempt` until one of them is granted, or none can be any more.
    pub(super) async fn acquire_by<'a>(
        &'a self,
        options: &'a AcquireOptions,
        attempt: impl Fn(Deadlines) -> BoxFuture<'a, Result<Guard, Stop>> + Send,
    ) -> Result<Guard, AcquireError> {
        until_granted(&self.runtime, options, attempt).await
    }
}

impl DistributedLock for ZookeeperLock {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        let acquire = async move {
            check(name)?;
            options.check(false)?;
            self.acquire_by(options, move |deadlines| self.attempt(name, options, deadlines).boxed()).await
        };
        trace::acquire("zookeeper", name, options.or_cancelled(acquire)).boxed()
    }
}

/// Keeps a hold true: passes the session's validity on, and watches the contender's own znode.
async fn follow(hold: Arc<Hold>, kept: Arc<KeptSession>, path: String, last_end: Nanos, runtime: SharedRuntime) {
    let own_znode = async {
        loop {
            match kept.session.watch(&path).await {
                Ok(None) => return "the znode was deleted",
                Ok(Some(watch)) => match watch.await {
                    WatchEvent::Deleted => return "the znode was deleted",
                    WatchEvent::SessionEnded => return "the ensemble ended the session",
                    WatchEvent::Changed => {}
                },
                // Without an answer the session's own deadline decides.
                Err(_) => std::future::pending().await,
            }
        }
    };
    let give_back = async { drop(delete(&*kept.session, &path, &runtime).await) };
    kept.validity.follow(&hold, own_znode, last_end, give_back).await;
}

/// Deletes the holder's znode; after [`PATIENCE`] the deletion goes on in the background.
pub(super) async fn release(kept: Arc<KeptSession>, path: String, runtime: SharedRuntime) -> ReleaseOutcome {
    let deletion = {
        let (kept, path, runtime) = (Arc::clone(&kept), path.clone(), Arc::clone(&runtime));
        async move { delete(&*kept.session, &path, &runtime).await }
    };
    let (done, outcome) = tokio::sync::oneshot::channel();
    // In the background from the start: a caller that stops waiting must not stop the deletion.
    runtime.spawn(deletion.map(move |deleted| drop(done.send(deleted))).boxed());
    match before(&*runtime, runtime.now() + PATIENCE, outcome).await {
        Some(Ok(Ok(true))) => ReleaseOutcome::Released,
        Some(Ok(Ok(false))) | Some(Ok(Err(ZkError::SessionEnded(_)))) => ReleaseOutcome::AlreadyExpired,
        Some(Ok(Err(error))) => ReleaseOutcome::Unknown(error.to_string()),
        Some(Err(_)) | None => ReleaseOutcome::Unknown(format!("no answer within {PATIENCE:?}")),
    }
}
