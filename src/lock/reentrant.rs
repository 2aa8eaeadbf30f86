//! Reentrancy, for programs that ask for it: who holds a lock enters it again, and lets go when the last is out.
//!
//! It goes by an [`OwnerId`] that the program chooses, not by threads or tasks, which an asynchronous program changes
//! at any await, and it is counted here and nowhere else: the servers see one hold. So an owner is at home in one
//! [`Reentrant`] value; the same id in another process is somebody else.
//!
//! An inner acquire takes the hold as it is, with its token, its TTL and its longest hold. What is lost is lost for all
//! that entered; after that the owner acquires anew. Deliberately absent: handing a hold over to another process.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::error::{AcquireError, AttemptError, AttemptReport, ReleaseOutcome};
use super::runtime::{SharedRuntime, before};
use super::{AcquireOptions, DistributedLock, Guard};
use crate::ids::{LockName, OwnerId};

/// How many owners are remembered before those that are through are looked for.
const LOOK_AFTER: usize = 64;

/// What one owner has of one lock. Locked while the owner acquires, so that its tasks do not compete with each other.
type Entry = tokio::sync::Mutex<Weak<Guard>>;

/// A lock that its holder may enter again.
///
/// ```no_run
/// # async fn example(lock: std::sync::Arc<dyn fencepost::lock::DistributedLock>) -> Result<(), fencepost::lock::AcquireError> {
/// use std::sync::Arc;
/// use fencepost::{ids::{LockName, OwnerId}, lock::{AcquireOptions, Reentrant, runtime::TokioRuntime}};
///
/// let lock = Reentrant::new(lock, Arc::new(TokioRuntime::from_entropy()));
/// let (job, name) = (OwnerId::new("job-7"), LockName::new("invoice-17"));
/// let options = AcquireOptions::within(std::time::Duration::from_secs(5));
/// let outer = lock.acquire(&job, &name, &options).await?;
/// let inner = lock.acquire(&job, &name, &options).await?; // at once: the same hold, the same token
/// assert_eq!(inner.token(), outer.token());
/// assert!(inner.release().await.is_none()); // still held
/// outer.release().await; // given back
/// # Ok(())
/// # }
/// ```
pub struct Reentrant {
    lock: Arc<dyn DistributedLock>,
    runtime: SharedRuntime,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    known: BTreeMap<(OwnerId, LockName), Weak<Entry>>,
    look_at: usize,
}

/// One entering of a hold. Dropping it is leaving; dropping the last one gives the lock back in the background.
#[must_use = "it is left as soon as this is dropped"]
#[derive(Debug)]
pub struct ReentrantGuard {
    guard: Arc<Guard>,
    /// Kept, so that the owner's next acquire finds it.
    _entry: Arc<Entry>,
}

impl Reentrant {
    /// The same lock, which owners may enter again. `runtime` must be the lock's.
    pub fn new(lock: Arc<dyn DistributedLock>, runtime: SharedRuntime) -> Self {
        Self { lock, runtime, entries: Mutex::default() }
    }

    fn entry(&self, owner: &OwnerId, name: &LockName) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Entries { known, look_at } = &mut *entries;
        if known.len() >= *look_at {
            known.retain(|_, entry| entry.strong_count() > 0);
            *look_at = LOOK_AFTER.max(2 * known.len());
        }
        let key = (owner.clone(), name.clone());
        if let Some(entry) = known.get(&key).and_then(Weak::upgrade) {
            return entry;
        }
        let entry = Arc::new(Entry::default());
        known.insert(key, Arc::downgrade(&entry));
        entry
    }

    /// Enters the hold that `owner` has, or acquires the lock if it has none. A second acquire of one owner waits for
    /// what comes of the first.
    ///
    /// # Errors
    /// As [`DistributedLock::acquire`].
    pub async fn acquire(
        &self,
        owner: &OwnerId,
        name: &LockName,
        options: &AcquireOptions,
    ) -> Result<ReentrantGuard, AcquireError> {
        let entry = self.entry(owner, name);
        let started = self.runtime.now();
        let deadline = started + options.wait;
        let acquire = async {
            let Some(mut held) = before(&*self.runtime, deadline, entry.lock()).await else {
                let nodes = AttemptReport::default();
                let last = AttemptError::Contended { votes: 0, needed: 1, conflicts: 1, nodes };
                return Err(AcquireError::DeadlineExceeded { waited: self.runtime.now() - started, last });
            };
            if let Some(guard) = held.upgrade().filter(|guard| guard.is_valid()) {
                return Ok(guard);
            }
            let rest = AcquireOptions {
                wait: deadline - self.runtime.now(),
                // That is waited for here.
                cancelled: None,
                ..options.clone()
            };
            let guard = Arc::new(self.lock.acquire(name, &rest).await?);
            *held = Arc::downgrade(&guard);
            Ok(guard)
        };
        let guard = options.or_cancelled(acquire).await?;
        Ok(ReentrantGuard { guard, _entry: entry })
    }
}

impl ReentrantGuard {
    /// Leaves, and says how giving the lock back went if nobody is in any more; `None` if the owner still holds it.
    pub async fn release(self) -> Option<ReleaseOutcome> {
        match Arc::into_inner(self.guard) {
            Some(guard) => Some(guard.release().await),
            None => None,
        }
    }
}

impl Deref for ReentrantGuard {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::runtime::TokioRuntime;
    use crate::seed::Seed;
    use futures_util::future::{BoxFuture, FutureExt};

    struct Never;

    impl DistributedLock for Never {
        fn acquire<'a>(&'a self, _: &'a LockName, _: &'a AcquireOptions) -> BoxFuture<'a, Result<Guard, AcquireError>> {
            std::future::pending().boxed()
        }
    }

    #[test]
    fn owners_that_are_through_are_forgotten() {
        let lock = Reentrant::new(Arc::new(Never), Arc::new(TokioRuntime::new(Seed(1))));
        let name = LockName::new("l");
        let kept = lock.entry(&OwnerId::new("kept"), &name);
        for owner in 0..10_000 {
            lock.entry(&OwnerId::new(format!("job-{owner}")), &name);
        }
        assert!(lock.entries.lock().unwrap().known.len() <= LOOK_AFTER);
        assert!(Arc::ptr_eq(&kept, &lock.entry(&OwnerId::new("kept"), &name)));
    }
}
