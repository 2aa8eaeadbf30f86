//! A lock that never tells: it grants as it should, and once it has granted nobody looks at the session any more.

use futures_util::future::{BoxFuture, FutureExt};

use super::blind_guard;
use crate::ids::LockName;
use crate::lock::runtime::SharedRuntime;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ZookeeperLock};

/// A sound lock behind guards that are never lost.
pub(super) struct NeverTells {
    pub lock: ZookeeperLock,
    pub runtime: SharedRuntime,
}

impl DistributedLock for NeverTells {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            let sound = self.lock.acquire(name, options).await?;
            Ok(blind_guard(name, sound.token(), &self.runtime, move || sound.release().boxed()))
        }
        .boxed()
    }
}
