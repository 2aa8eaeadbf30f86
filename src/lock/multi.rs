//! Several locks as one: all of them or none, always acquired in one order.
//!
//! Two clients that acquire two locks in different orders wait for each other for ever. Here nobody chooses the order:
//! it is that of the names, so whoever waits for one holds only lower ones, and no circle can close. One deadline
//! counts for all. What was acquired before one that failed is released. Deliberately absent: several locks at
//! different servers.

use std::sync::Arc;
use std::time::Duration;

use super::runtime::SharedRuntime;
use super::{AcquireError, AcquireOptions, DistributedLock, Guard, LostReason, ReleaseOutcome};
use crate::ids::LockName;

/// Acquires several names of one lock.
///
/// ```no_run
/// # async fn example(lock: std::sync::Arc<dyn fencepost::lock::DistributedLock>) -> Result<(), fencepost::lock::AcquireError> {
/// use std::{sync::Arc, time::Duration};
/// use fencepost::{ids::LockName, lock::{AcquireOptions, MultiLock, runtime::TokioRuntime}};
/// let accounts = MultiLock::new(lock, Arc::new(TokioRuntime::from_entropy()));
/// let names = [LockName::new("account-7"), LockName::new("account-3")];
/// let both = accounts.acquire(&names, &AcquireOptions::within(Duration::from_secs(5))).await?;
/// // … move money from one to the other, while both.is_valid() …
/// both.release().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MultiLock {
    lock: Arc<dyn DistributedLock>,
    runtime: SharedRuntime,
}

impl MultiLock {
    /// Names of `lock`, by the clock of `runtime`, which must be the lock's own.
    pub fn new(lock: Arc<dyn DistributedLock>, runtime: SharedRuntime) -> Self {
        Self { lock, runtime }
    }

    /// Acquires all `names`, each once, in the order of their bytes, and waits for all of them no longer than `options`
    /// say.
    ///
    /// Dropping the future gives back what it had acquired.
    ///
    /// # Errors
    /// One of them was not acquired: none is held. Those that had been are being released in the background.
    pub async fn acquire(&self, names: &[LockName], options: &AcquireOptions) -> Result<MultiGuard, AcquireError> {
        let mut names: Vec<&LockName> = names.iter().collect();
        names.sort_unstable();
        names.dedup();
        let deadline = self.runtime.now() + options.wait;
        let mut guards = Vec::with_capacity(names.len());
        for name in names {
            // Of a deadline that has passed, one attempt is left.
            let options = AcquireOptions { wait: deadline - self.runtime.now(), ..options.clone() };
            guards.push(self.lock.acquire(name, &options).await?);
        }
        let guard = MultiGuard { guards };
        match guard.loss() {
            // Those that were acquired first may have run out while the last ones were waited for.
            Some(_) => Err(AcquireError::DeadlineExceeded {
                waited: options.wait.saturating_sub(deadline - self.runtime.now()),
                last: super::AttemptError::ExpiredDuringAcquire,
            }),
            None => Ok(guard),
        }
    }
}

/// The proof that several locks are held: for as long as all of them are. Dropping it releases them in the background.
#[derive(Debug)]
pub struct MultiGuard {
    guards: Vec<Guard>,
}

impl MultiGuard {
    /// The guards, in the order of their names: each has a token of its own.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// Whether all are valid at this moment.
    pub fn is_valid(&self) -> bool {
        self.loss().is_none()
    }

    /// For how long all are valid, as far as is known now.
    pub fn remaining(&self) -> Duration {
        self.guards.iter().map(Guard::remaining).min().unwrap_or_default()
    }

    fn loss(&self) -> Option<LostReason> {
        self.guards.iter().find_map(|guard| match guard.state() {
            super::GuardState::Lost(reason) => Some(reason),
            super::GuardState::Held | super::GuardState::Suspect => None,
        })
    }

    /// Completes when the first of them is lost; never, if there are none.
    pub async fn lost(&self) -> LostReason {
        if self.guards.is_empty() {
            return std::future::pending().await;
        }
        let all = self.guards.iter().map(|guard| Box::pin(guard.lost()));
        futures_util::future::select_all(all).await.0
    }

    /// Gives all back at once, and says of each, in the order of their names, how that went.
    pub async fn release(self) -> Vec<ReleaseOutcome> {
        futures_util::future::join_all(self.guards.into_iter().map(Guard::release)).await
    }
}
