//! An extension that revives: where the key is gone it is set anew, and whatever happened in between is nobody's
//! concern. The holder that was cut off past its lease is never told, and later holds the lock of others.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::blind_guard;
use super::votes::{Cluster, Votes};
use crate::ids::LockName;
use crate::lock::backend::Ownership;
use crate::lock::runtime::before;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard};

/// Renews every third of the lease, for as long as it is not released.
pub(super) struct Revives(pub Arc<Cluster>);

impl DistributedLock for Revives {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            let runtime = &self.0.runtime;
            let grant = |votes: Votes| {
                let (released, over) = tokio::sync::oneshot::channel();
                runtime.spawn(renew(votes.clone(), over).boxed());
                blind_guard(name, None, runtime, move || {
                    drop(released);
                    votes.give_back()
                })
            };
            self.0.acquire(name, options, grant).await
        }
        .boxed()
    }
}

/// Until `over` closes.
async fn renew(votes: Votes, mut over: tokio::sync::oneshot::Receiver<()>) {
    let Cluster { settings, runtime, .. } = &*votes.cluster;
    loop {
        if before(&**runtime, runtime.now() + settings.ttl / 3, &mut over).await.is_some() {
            return;
        }
        let found = votes.ask(|node| node.extend_if_owner(&votes.key, &votes.owner, settings.ttl)).await;
        if found.contains(&Some(Ownership::Absent)) {
            votes.ask(|node| node.set_if_absent(&votes.key, &votes.owner, settings.ttl)).await;
        }
    }
}
