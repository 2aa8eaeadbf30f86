//! No validity check: what the votes cost in time is not taken off the lease, which so begins when the last reply is
//! read. A client that stands still before that believes in a lease that is long over.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::votes::Cluster;
use crate::ids::LockName;
use crate::lock::guard::{Guard, Hold};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock};

/// Takes votes as fresh whenever they come.
pub(super) struct NoValidityCheck(pub Arc<Cluster>);

impl DistributedLock for NoValidityCheck {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            let Cluster { runtime, settings, .. } = &*self.0;
            let grant = |votes: super::votes::Votes| {
                let hold = Hold::new(runtime.now() + settings.ttl);
                Guard::new(name.clone(), None, hold, Arc::clone(runtime), Box::new(move || votes.give_back()))
            };
            self.0.acquire(name, options, grant).await
        }
        .boxed()
    }
}
