//! A read-write lock whose writers do not wait for readers: its readers are the sound lock's.

use futures_util::future::BoxFuture;

use crate::ids::LockName;
use crate::lock::zookeeper::contender::Admission;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ZookeeperLock};

/// Writers stand behind writers only.
pub(super) struct WriterIgnoresReaders {
    readers: ZookeeperLock,
    writers: ZookeeperLock,
}

impl WriterIgnoresReaders {
    /// One with the session of `lock`.
    pub(super) fn new(lock: &ZookeeperLock) -> Self {
        let (readers, writers) = (Admission::READ, Admission::WRITE.past_readers());
        Self { readers: lock.admitting(readers), writers: lock.admitting(writers) }
    }
}

impl DistributedLock for WriterIgnoresReaders {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.writers.acquire(name, options)
    }

    fn for_reading(&self) -> Option<&dyn DistributedLock> {
        Some(&self.readers)
    }
}
