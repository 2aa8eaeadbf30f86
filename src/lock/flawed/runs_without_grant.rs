//! A body that runs without a handle: an acquire that timed out has nothing to give, and the program goes on as if it
//! had.

use futures_util::future::{BoxFuture, FutureExt};

use super::blind_guard;
use crate::ids::LockName;
use crate::lock::runtime::SharedRuntime;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ReleaseOutcome, ZookeeperLock};

/// Gives a guard in any case.
pub(super) struct RunsWithoutGrant {
    pub lock: ZookeeperLock,
    pub runtime: SharedRuntime,
}

impl DistributedLock for RunsWithoutGrant {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            Ok(match self.lock.acquire(name, options).await {
                Ok(guard) => guard,
                // The null handle: nothing is held, and disposing of it does nothing.
                Err(_) => {
                    let nothing = || std::future::ready(ReleaseOutcome::Released).boxed();
                    blind_guard(name, None, &self.runtime, nothing)
                }
            })
        }
        .boxed()
    }
}
