//! The lock library: distributed locks that can be believed as far as any lock can.
//!
//! - [`Redlock`] over N independent Redis masters (antirez, "Distributed Locks with Redis").
//! - [`RedisLock`] at one Redis server, with fencing tokens.
//! - [`ZookeeperLock`], ephemeral sequential znodes (the ZooKeeper recipes' lock).
//!
//! Both implement [`DistributedLock`] and hand out a [`Guard`]: the only proof of holding, which ends by itself.
//! [`backend`] is the seam to the servers, [`client`] fills it with real ones, [`runtime`] brings clock, timers and
//! randomness from outside, `settings` (a feature) is the TOML file that a service has its lock from. `flawed`,
//! for the harness only, has locks that must be caught. Deliberately absent: ambient clocks and randomness, the harness,
//! any knowledge of how a lock is tried.

pub mod backend;
#[expect(clippy::disallowed_methods, reason = "speaks with real servers, in real time")]
pub mod client;
pub mod error;
#[cfg(feature = "harness")]
pub mod flawed;
mod guard;
mod redlock;
pub mod runtime;
#[cfg(all(feature = "settings", any(feature = "redis", feature = "zookeeper")))]
pub mod settings;
mod single;
mod zookeeper;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use error::{AcquireError, AttemptError, LostReason, ReleaseOutcome};
#[cfg(feature = "harness")]
pub(crate) use guard::Hold;
pub use guard::{Guard, GuardState, Promise, Promises};
pub use redlock::{Redlock, RedlockSettings, Tokens};
#[cfg(all(feature = "settings", any(feature = "redis", feature = "zookeeper")))]
pub use settings::{Settings, SettingsError};
pub use single::{RedisLock, RedisLockSettings};
pub use zookeeper::{ZookeeperLock, ZookeeperSettings};

use crate::ids::LockName;
use crate::phase::Phase;

/// Stops a client at a named step, for trials. Production code has none.
pub trait PausePoint: Send + Sync {
    /// Called when the client reaches `phase`; it goes on when the future completes.
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()>;
}

/// How to acquire.
#[derive(Clone, Default)]
pub struct AcquireOptions {
    /// How long to try, as one deadline through all attempts. Zero: one attempt.
    pub wait: Duration,
    /// Announces [`Phase::Acquiring`] and [`Phase::VotesIn`] in trials.
    pub pause_point: Option<Arc<dyn PausePoint>>,
}

impl AcquireOptions {
    /// Tries for `wait`.
    pub fn within(wait: Duration) -> Self {
        Self { wait, pause_point: None }
    }

    /// Announces a phase, in trials.
    pub(crate) async fn reached(&self, phase: Phase) {
        if let Some(pause_point) = &self.pause_point {
            pause_point.reached(phase).await;
        }
    }
}

/// A lock that clients on many machines compete for by name.
pub trait DistributedLock: Send + Sync {
    /// Acquires the lock, or says why not.
    ///
    /// Dropping the future gives the attempt up; what it left at the servers is taken back in the background and
    /// vanishes at the latest with the TTL or session.
    ///
    /// # Errors
    /// The lock was not acquired before the deadline, or the servers refuse what it needs.
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>>;

    /// Makes one attempt: `None` if another client holds the lock.
    ///
    /// # Errors
    /// The servers could not be asked, or refuse.
    fn try_acquire<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Guard>, AcquireError>> {
        Box::pin(async move {
            match self.acquire(name, &AcquireOptions::default()).await {
                Ok(guard) => Ok(Some(guard)),
                Err(AcquireError::DeadlineExceeded { last: AttemptError::Contended { .. }, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

/// Why [`with_lock`] has no result of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WithLockError {
    /// The body never ran.
    #[error(transparent)]
    NotAcquired(#[from] AcquireError),
    /// The lock was lost while the body ran; the body was stopped at its next await.
    #[error("the lock was lost while it was in use: {0}")]
    Lost(LostReason),
}

/// Runs `body` while holding the lock, and stops it when the lock is lost. No guard, no body.
///
/// ```no_run
/// # async fn example(lock: &fencepost::lock::Redlock) -> Result<(), fencepost::lock::WithLockError> {
/// use fencepost::{ids::LockName, lock::{AcquireOptions, with_lock}};
/// # async fn charge(_: Option<fencepost::ids::FencingToken>) {}
/// let options = AcquireOptions::within(std::time::Duration::from_secs(5));
/// with_lock(lock, &LockName::new("invoice-17"), &options, async |guard| charge(guard.token()).await).await
/// # }
/// ```
///
/// # Errors
/// The lock was not acquired, or was lost before the body was through.
pub async fn with_lock<T>(
    lock: &dyn DistributedLock,
    name: &LockName,
    options: &AcquireOptions,
    body: impl AsyncFnOnce(&Guard) -> T,
) -> Result<T, WithLockError> {
    let guard = lock.acquire(name, options).await?;
    let outcome = tokio::select! {
        biased;
        reason = guard.lost() => Err(WithLockError::Lost(reason)),
        result = body(&guard) => Ok(result),
    };
    guard.release().await;
    outcome
}
