//! A lease and the deadline until which it may be believed.
//!
//! etcd's leader ends a lease when its length has passed on the leader's monotonic clock since it was granted or last
//! kept alive, and a new leader gives each lease its whole length once more, and an election timeout on top. A
//! keep-alive that was answered was carried out after it was sent; so a lease is good for its length, less 1 % drift
//! and 2 ms, from the *sending* of the last keep-alive that was answered, and no longer. What has lapsed is not
//! revived.
//!
//! That rests on a leader that asks the others whether it still leads before it answers a keep-alive, which etcd does
//! from 3.5.13 on (`LeaseRenew` and `ensureLeadership` in `server/etcdserver/v3_server.go`; etcd#15247). An older one
//! that was deposed while it was frozen may answer one from the connection's backlog when it is thawed.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::FutureExt;

use crate::lock::backend::{EtcdCluster, Reply};
use crate::lock::error::{EtcdError, LostReason};
use crate::lock::runtime::{SharedRuntime, before};
use crate::lock::stops::Stops;
use crate::lock::validity::{Validity, valid_until};
use crate::phase::Phase;
use crate::time::Nanos;

/// Keep-alives for each length of a lease.
const KEEP_ALIVES: u32 = 4;
/// The pause after a request that brought no answer.
pub(in crate::lock) const RETRY_DELAY: Duration = Duration::from_millis(50);
/// How long one member may take to answer before another is asked: a lease must survive a member that is silent.
const SHARE: u32 = 5;

/// How long a member may take to answer a request that is about a lease of this length.
pub(in crate::lock) fn patience(ttl: Duration) -> Duration {
    ttl / SHARE
}

/// A lease that is kept alive in the background until nobody uses it any more, and then ended.
pub(in crate::lock) struct Lease {
    pub id: i64,
    pub ttl: Duration,
    pub cluster: Arc<dyn EtcdCluster>,
    runtime: SharedRuntime,
    pub validity: Validity,
    /// Where its hold can be stopped, in trials.
    stops: OnceLock<Stops>,
}

impl Lease {
    /// A lease that was granted by a request that was sent at `sent`.
    pub fn keep(
        cluster: Arc<dyn EtcdCluster>,
        id: i64,
        ttl: Duration,
        sent: Nanos,
        runtime: &SharedRuntime,
    ) -> Arc<Self> {
        let validity = Validity::new(valid_until(sent, ttl), Arc::clone(runtime));
        let (of_its_own, stops) = (Arc::clone(runtime), OnceLock::new());
        let lease = Arc::new(Self { id, ttl, cluster, runtime: of_its_own, validity, stops });
        runtime.spawn(keep_alive(Arc::downgrade(&lease), sent, ttl, Arc::clone(runtime)).boxed());
        lease
    }

    /// Stops its hold at `stops` while a keep-alive is on its way.
    pub fn stop_at(&self, stops: Stops) {
        // A lease has one hold.
        let _ = self.stops.set(stops);
    }

    /// A keep-alive that was sent at `sent` was answered with what is left of the lease.
    fn confirmed(&self, sent: Nanos, left: Duration) {
        // A server may have granted more than was asked for; what was asked for is what is relied on.
        self.validity.move_on(valid_until(sent, left.min(self.ttl)));
    }

    /// Ends the lease at the servers: whether it was there. Until there is an answer, but no longer than the lease can
    /// last; nobody keeps it alive meanwhile.
    pub async fn revoke(&self) -> Result<bool, EtcdError> {
        self.validity.lose(LostReason::Expired);
        revoke(&self.cluster, self.id, self.ttl, &self.runtime).await
    }
}

/// Ends a lease, whether or not it was ever granted: whether it was there.
///
/// A grant that is on its way may be carried out after the answer that there is no such lease. Nobody keeps that lease
/// alive, and no key of ours can be put with it: the attempt that would have is over.
pub(super) async fn revoke(
    cluster: &Arc<dyn EtcdCluster>,
    id: i64,
    ttl: Duration,
    runtime: &SharedRuntime,
) -> Result<bool, EtcdError> {
    // Beyond that the servers have ended it: a new leader may have given it its length once more, and an election's
    // time.
    let end = runtime.now() + 3 * ttl;
    loop {
        match asked(runtime, patience(ttl), cluster.revoke(id)).await {
            Ok(was_there) => return Ok(was_there),
            Err(error @ EtcdError::Denied(_)) => return Err(error),
            Err(EtcdError::NoLease) => return Ok(false),
            Err(error) if runtime.now() >= end => return Err(error),
            Err(_) => runtime.sleep_until(runtime.now() + RETRY_DELAY).await,
        }
    }
}

/// The answer to a request, if it comes within `patience`.
pub(in crate::lock) async fn asked<T>(
    runtime: &SharedRuntime,
    patience: Duration,
    request: Reply<T, EtcdError>,
) -> Result<T, EtcdError> {
    let late = || Err(EtcdError::Unanswered(format!("nothing within {patience:?}")));
    before(&**runtime, runtime.now() + patience, request).await.unwrap_or_else(late)
}

/// Keeps the lease alive until it is lost or nobody uses it any more.
async fn keep_alive(kept: Weak<Lease>, granted: Nanos, ttl: Duration, runtime: SharedRuntime) {
    let mut due = granted + ttl / KEEP_ALIVES;
    loop {
        runtime.sleep_until(due).await;
        let Some(lease) = kept.upgrade() else { return };
        let sent = runtime.now();
        let mut asking = asked(&runtime, patience(ttl), lease.cluster.keep_alive(lease.id)).boxed();
        // The first poll sends it.
        let early = (&mut asking).now_or_never();
        if let Some(stops) = lease.stops.get() {
            stops.reached(Phase::Renewing).await;
        }
        let answer = async {
            match early {
                Some(answer) => answer,
                None => asking.await,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            _ = lease.validity.ended() => return,
        };
        due = match answer {
            Ok(Some(left)) => {
                lease.confirmed(sent, left);
                sent + ttl / KEEP_ALIVES
            }
            Ok(None) | Err(EtcdError::NoLease) => {
                return lease.validity.lose(LostReason::SessionEnded("etcd has ended the lease".to_owned()));
            }
            Err(_) => {
                lease.validity.suspect();
                runtime.now() + RETRY_DELAY
            }
        };
        if lease.validity.lost().is_some() {
            return;
        }
    }
}
