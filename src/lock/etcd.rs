//! The etcd lock: a lease, a key that lives with it, and each contender watching only its predecessor.
//!
//! After the recipe of etcd's own clients (`client/v3/concurrency`, `Mutex`), with the same keys, so that it stands in
//! one line with theirs and with the server's Lock service: `PREFIX/NAME/LEASE`, the lease's id in hexadecimal; the key
//! that was created first holds. With what their users learned since: after waiting, the same list that shows that
//! nobody is ahead must show the own key, too, since a lease that ended meanwhile took it along (etcd#11456); the
//! lease's id is chosen here, so that a grant whose reply was lost is known by it, and whatever an attempt left goes
//! when its lease is revoked. The fencing token is the revision at which the own key was created.
//!
//! [`lease`] keeps the deadline until which a lease may be believed. Deliberately absent: leases that several holds
//! share, as sessions of etcd's clients are; and a TTL for a single call, since a hold lasts as long as its lease is
//! kept alive.

pub(super) mod lease;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use self::lease::{Lease, RETRY_DELAY, asked, patience};
use super::attempts::{Deadlines, PATIENCE, Stop, until_granted};
use super::backend::{EtcdCluster, EtcdKey, EtcdLine, Reply};
use super::error::{
    AcquireError, AttemptError, AttemptReport, ConfigError, EtcdError, LostReason, NodeError, NodeOutcome, NodeReport,
    ReleaseOutcome,
};
use super::guard::{Guard, Hold};
use super::name::{as_path_part, check};
use super::runtime::{SharedRuntime, before};
use super::{AcquireOptions, DistributedLock, trace};
use crate::ids::{FencingToken, LockName};
use crate::phase::Phase;
use crate::time::Nanos;

/// How an [`EtcdLock`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// The prefix below which each lock has a folder of its own, without a `/` at its end.
    pub prefix: String,
    /// How long etcd keeps a hold whose client is silent, in whole seconds. etcd grants no lease that is shorter than
    /// one and a half of its election timeouts (2 s as it comes), and a longer one in its place; relied on is what
    /// stands here.
    pub ttl: Duration,
    /// How long a guard may last, however long its lease is kept alive: then it is lost, and its lease ended. An hour
    /// by default; `None`: no limit.
    pub max_hold: Option<Duration>,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        let (prefix, ttl) = ("/fencepost/locks".to_owned(), Duration::from_secs(10));
        Self { prefix, ttl, max_hold: Some(super::DEFAULT_MAX_HOLD) }
    }
}

/// A lock in an etcd cluster.
pub struct EtcdLock {
    cluster: Arc<dyn EtcdCluster>,
    settings: EtcdSettings,
    runtime: SharedRuntime,
}

/// The prefix of the keys of all who contend for `name`.
pub(crate) fn folder(prefix: &str, name: &LockName) -> String {
    format!("{prefix}/{}/", as_path_part(name))
}

impl EtcdLock {
    /// A lock in `cluster`. Nothing is sent before the first acquire.
    ///
    /// # Errors
    /// The lease is none that etcd grants: it takes whole seconds.
    pub fn new(
        cluster: Arc<dyn EtcdCluster>,
        settings: EtcdSettings,
        runtime: SharedRuntime,
    ) -> Result<Self, ConfigError> {
        if settings.ttl < Duration::from_secs(1) || settings.ttl.subsec_nanos() != 0 {
            return Err(ConfigError::NotWholeSeconds(settings.ttl));
        }
        Ok(Self { cluster, settings, runtime })
    }

    /// A new contender for `name`, of which the servers know nothing yet.
    pub(super) fn contender(&self, name: &LockName) -> Contender {
        Contender::new(self, name)
    }

    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let contender = self.contender(name);
        let lease = contender.granted(options, deadlines).await?;
        let line = contender.enter(&lease, deadlines).await?;
        let created = contender.come_first(&lease, line, options, deadlines).await?;
        options.reached(Phase::VotesIn).await;
        let guard = self.guard(name, options, contender.disarm(), Arc::clone(&lease), created);
        // The last act: a lease whose time is up holds nothing, whatever the servers said.
        match lease.validity.lost() {
            None => Ok(guard),
            Some(reason) => Err(Stop::Ended(reason.to_string())),
        }
    }

    fn guard(
        &self,
        name: &LockName,
        options: &AcquireOptions,
        key: String,
        lease: Arc<Lease>,
        EtcdKey { created, .. }: EtcdKey,
    ) -> Guard {
        let longest = options.max_hold.or(self.settings.max_hold);
        let last_end = longest.map_or(Nanos(u64::MAX), |longest| self.runtime.now() + longest);
        let hold = Hold::ending(lease.validity.until(), last_end);
        lease.stop_at(options.stops.clone());
        let release = {
            let (lease, runtime) = (Arc::clone(&lease), Arc::clone(&self.runtime));
            Box::new(move || release(lease, runtime).boxed())
        };
        let runtime = Arc::clone(&self.runtime);
        self.runtime.spawn(follow(Arc::clone(&hold), lease, (key, created), last_end, runtime).boxed());
        Guard::new(name.clone(), Some(FencingToken(created)), hold, Arc::clone(&self.runtime), release)
    }

    /// Acquires by attempts until one is granted, is refused or is too late.
    pub(super) async fn acquire_by<'a>(
        &'a self,
        options: &'a AcquireOptions,
        attempt: impl Fn(Deadlines) -> BoxFuture<'a, Result<Guard, Stop>> + Send,
    ) -> Result<Guard, AcquireError> {
        until_granted(&self.runtime, options, attempt).await
    }
}

impl DistributedLock for EtcdLock {
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
        trace::acquire("etcd", name, options.or_cancelled(acquire)).boxed()
    }
}

/// One contender. Dropping it takes back in the background whatever it has left: it all lives with its lease.
pub(super) struct Contender {
    pub cluster: Arc<dyn EtcdCluster>,
    pub runtime: SharedRuntime,
    pub ttl: Duration,
    lease: i64,
    /// Below which all who contend have their keys.
    pub folder: String,
    /// Its own.
    pub key: String,
    armed: bool,
}

impl Contender {
    fn new(lock: &EtcdLock, name: &LockName) -> Self {
        // Positive, as etcd's own are; 0 would have the server choose one.
        let lease = (lock.runtime.random() >> 1).max(1) as i64;
        let folder = folder(&lock.settings.prefix, name);
        let key = format!("{folder}{lease:x}");
        let (cluster, runtime) = (Arc::clone(&lock.cluster), Arc::clone(&lock.runtime));
        Self { cluster, runtime, ttl: lock.settings.ttl, lease, folder, key, armed: true }
    }

    /// Has its lease granted.
    pub async fn granted(&self, options: &AcquireOptions, deadlines: Deadlines) -> Result<Arc<Lease>, Stop> {
        // What was granted by a request that nobody answered is as old as the first of them.
        let first = self.runtime.now();
        loop {
            let sent = self.runtime.now();
            let mut granting =
                asked(&self.runtime, patience(self.ttl), self.cluster.grant(self.lease, self.ttl)).boxed();
            let answer = (&mut granting).now_or_never();
            options.reached(Phase::Acquiring).await;
            let answer = match answer {
                Some(answer) => Some(answer),
                None => before(&*self.runtime, deadlines.servers, granting).await,
            };
            match answer {
                Some(Ok(_)) => {
                    return Ok(Lease::keep(Arc::clone(&self.cluster), self.lease, self.ttl, first, &self.runtime));
                }
                Some(Err(EtcdError::Denied(reason))) => return Err(Stop::Refused(reason)),
                Some(Err(error)) => self.retry(deadlines, sent, &error).await?,
                None => return Err(Stop::Deadline(self.no_answer(NodeOutcome::Silent, sent))),
            }
        }
    }

    /// Enters the line: all who stand in it then, itself included.
    pub async fn enter(&self, lease: &Lease, deadlines: Deadlines) -> Result<EtcdLine, Stop> {
        self.ask(deadlines, lease, || self.cluster.enter(&self.key, lease.id, &self.folder)).await
    }

    /// Asks until there is an answer, but not past the deadline nor past the lease's end.
    async fn ask<T>(
        &self,
        deadlines: Deadlines,
        lease: &Lease,
        request: impl Fn() -> Reply<T, EtcdError>,
    ) -> Result<T, Stop> {
        let began = self.runtime.now();
        loop {
            let answer = async {
                tokio::select! {
                    biased;
                    answer = asked(&self.runtime, patience(self.ttl), request()) => Ok(answer),
                    reason = lease.validity.ended() => Err(Stop::Ended(reason.to_string())),
                }
            };
            match before(&*self.runtime, deadlines.servers, answer).await {
                Some(Ok(Ok(answer))) => return Ok(answer),
                Some(Ok(Err(EtcdError::NoLease))) => {
                    let reason = "etcd has ended the lease".to_owned();
                    lease.validity.lose(LostReason::SessionEnded(reason.clone()));
                    return Err(Stop::Ended(reason));
                }
                Some(Ok(Err(EtcdError::Denied(reason)))) => return Err(Stop::Refused(reason)),
                Some(Ok(Err(error))) => self.retry(deadlines, began, &error).await?,
                Some(Err(stop)) => return Err(stop),
                None => return Err(Stop::Deadline(self.no_answer(NodeOutcome::Silent, began))),
            }
        }
    }

    /// Lets a moment pass before the next try, unless that would be too late.
    pub async fn retry(&self, deadlines: Deadlines, began: Nanos, error: &EtcdError) -> Result<(), Stop> {
        let due = self.runtime.now() + RETRY_DELAY;
        if due >= deadlines.servers {
            let error = match error {
                EtcdError::Unreachable(why) => NodeError::Unreachable(why.clone()),
                EtcdError::Busy(why) | EtcdError::Denied(why) => NodeError::Refused(why.clone()),
                EtcdError::NoLease | EtcdError::Unanswered(_) => NodeError::Unanswered(error.to_string()),
            };
            return Err(Stop::Deadline(self.no_answer(NodeOutcome::Failed(error), began)));
        }
        self.runtime.sleep_until(due).await;
        Ok(())
    }

    /// Stands in line until nobody is ahead: its own key.
    async fn come_first(
        &self,
        lease: &Lease,
        mut line: EtcdLine,
        options: &AcquireOptions,
        deadlines: Deadlines,
    ) -> Result<EtcdKey, Stop> {
        loop {
            // Whoever is not in the list that says so is not the first: its lease is over (etcd#11456).
            let Some(place) = line.keys.iter().position(|key| key.key == self.key) else {
                return Err(Stop::Ended("the contender's key is gone".to_owned()));
            };
            let Some(predecessor) = place.checked_sub(1).map(|at| &line.keys[at]) else {
                return Ok(line.keys.swap_remove(place));
            };
            options.reached(Phase::InLine).await;
            let conflicts = place;
            let stand = async {
                tokio::select! {
                    biased;
                    deleted = self.cluster.deleted(&predecessor.key, line.revision + 1) => {
                        if deleted.is_err() {
                            self.runtime.sleep_until(self.runtime.now() + RETRY_DELAY).await;
                        }
                        Ok(())
                    }
                    reason = lease.validity.ended() => Err(Stop::Ended(reason.to_string())),
                    // A member that falls silent says nothing of what it watches.
                    () = self.runtime.sleep_until(self.runtime.now() + self.ttl) => Ok(()),
                }
            };
            match before(&*self.runtime, deadlines.queue, stand).await {
                Some(stood) => stood?,
                None => {
                    return Err(contended(conflicts));
                }
            }
            line = self.ask(deadlines, lease, || self.cluster.line(&self.folder)).await?;
        }
    }

    /// What to report when the cluster did not answer before the deadline.
    fn no_answer(&self, outcome: NodeOutcome, since: Nanos) -> AttemptError {
        let node = self.cluster.name().to_owned();
        let report = NodeReport { node, outcome, latency: self.runtime.now() - since };
        AttemptError::NoQuorum { votes: 0, needed: 1, nodes: AttemptReport(vec![report]) }
    }

    /// Hands the duty to end the lease over to the caller, with the key.
    pub fn disarm(mut self) -> String {
        self.armed = false;
        std::mem::take(&mut self.key)
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if self.armed {
            let (cluster, runtime) = (Arc::clone(&self.cluster), Arc::clone(&self.runtime));
            let (lease, ttl) = (self.lease, self.ttl);
            let undo = async move { drop(lease::revoke(&cluster, lease, ttl, &runtime).await) };
            self.runtime.spawn(undo.boxed());
        }
    }
}

/// Why an attempt ended that so many were still ahead of when its time was up.
pub(super) fn contended(conflicts: usize) -> Stop {
    let nodes = AttemptReport::default();
    Stop::Deadline(AttemptError::Contended { votes: 0, needed: 1, conflicts, nodes })
}

/// Keeps a hold true: passes the lease's validity on, and watches the own key.
async fn follow(
    hold: Arc<Hold>,
    lease: Arc<Lease>,
    (key, created): (String, u64),
    last_end: Nanos,
    runtime: SharedRuntime,
) {
    let own_key = async {
        gone(&lease, &key, created, &runtime).await;
        "the key was deleted"
    };
    let give_back = async { drop(lease.revoke().await) };
    lease.validity.follow(&hold, own_key, last_end, give_back).await;
}

/// Completes when the key is gone.
async fn gone(lease: &Lease, key: &str, created: u64, runtime: &SharedRuntime) {
    let mut from = created + 1;
    while lease.cluster.deleted(key, from).await.is_err() {
        runtime.sleep_until(runtime.now() + RETRY_DELAY).await;
        // Revisions that are so old may have been compacted: look, and watch from there on.
        if let Ok(line) = asked(runtime, patience(lease.ttl), lease.cluster.line(key)).await {
            if line.keys.iter().all(|seen| seen.created != created) {
                return;
            }
            from = line.revision + 1;
        }
    }
}

/// Ends the holder's lease; after [`PATIENCE`] that goes on in the background.
pub(super) async fn release(lease: Arc<Lease>, runtime: SharedRuntime) -> ReleaseOutcome {
    let (done, outcome) = tokio::sync::oneshot::channel();
    // In the background from the start: a caller that stops waiting must not stop it.
    runtime.spawn(async move { drop(done.send(lease.revoke().await)) }.boxed());
    match before(&*runtime, runtime.now() + PATIENCE, outcome).await {
        Some(Ok(Ok(true))) => ReleaseOutcome::Released,
        Some(Ok(Ok(false))) => ReleaseOutcome::AlreadyExpired,
        Some(Ok(Err(error))) => ReleaseOutcome::Unknown(error.to_string()),
        Some(Err(_)) | None => ReleaseOutcome::Unknown(format!("no answer within {PATIENCE:?}")),
    }
}
