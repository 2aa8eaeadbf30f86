//! Two names for one thing: some uses lock it under one name, some under another. Each lock is sound; together they
//! guard nothing.

use futures_util::future::{BoxFuture, FutureExt};

use crate::ids::LockName;
use crate::lock::runtime::SharedRuntime;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, Redlock};

/// A lock with a name for reading and a name for writing.
pub(super) struct TwoNames {
    pub lock: Redlock,
    pub runtime: SharedRuntime,
}

impl DistributedLock for TwoNames {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        let purpose = if self.runtime.random().is_multiple_of(2) { "read-all-data" } else { "write-data" };
        let name = LockName::new(format!("{name}/{purpose}"));
        async move { self.lock.acquire(&name, options).await }.boxed()
    }
}
