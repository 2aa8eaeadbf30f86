//! The lock library: distributed locks that can be believed as far as any lock can.
//!
//! [`Redlock`] over N independent Redis masters (antirez, "Distributed Locks with Redis"):
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//! use fencepost::{ids::LockName, lock::{backend::RedisNode, client::{RedisEndpoint, RedisServer}, runtime::TokioRuntime}};
//! use fencepost::lock::{AcquireOptions, DistributedLock, Redlock, RedlockSettings};
//!
//! let node = |url: &str| Ok(Arc::new(RedisServer::new(url.parse::<RedisEndpoint>()?)) as Arc<dyn RedisNode>);
//! let urls = ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"];
//! let nodes = urls.into_iter().map(node).collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?;
//! let lock = Redlock::new(nodes, RedlockSettings::default(), Arc::new(TokioRuntime::from_entropy()))?;
//! let guard = lock.acquire(&LockName::new("invoice-17"), &AcquireOptions::within(Duration::from_secs(5))).await?;
//! // … the work, with guard.is_valid() before each access …
//! guard.release().await;
//! # Ok(())
//! # }
//! ```
//!
//! It does *not* promise that nobody else holds the lock while a guard looks valid if a master's clock jumps, a master
//! forgets what it was told (a restart without `appendfsync always`), or a client stops between looking at its guard
//! and writing. As published it has no fencing token; [`Tokens::Quorum`] is ours.
//!
//! [`RedisLock`] at one Redis server, with a fencing token for each grant:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//! use fencepost::{ids::LockName, lock::{client::{RedisEndpoint, RedisServer}, runtime::TokioRuntime}};
//! use fencepost::lock::{AcquireOptions, DistributedLock, RedisLock, RedisLockSettings};
//!
//! let server = Arc::new(RedisServer::new("redis://10.0.0.1".parse::<RedisEndpoint>()?));
//! let lock = RedisLock::new(server, RedisLockSettings::default(), Arc::new(TokioRuntime::from_entropy()))?;
//! let guard = lock.acquire(&LockName::new("invoice-17"), &AcquireOptions::within(Duration::from_secs(5))).await?;
//! println!("the store must refuse tokens below {:?}", guard.token());
//! guard.release().await;
//! # Ok(())
//! # }
//! ```
//!
//! It does *not* promise to be there when its server is not, nor exclusion over a restart that forgets or a replica
//! that takes over; its tokens rise over a loss of all data, unless the clock was set back as well.
//!
//! [`ZookeeperLock`], ephemeral sequential znodes (the ZooKeeper recipes' lock):
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//! use fencepost::{ids::LockName, lock::{client::ZookeeperEnsemble, runtime::TokioRuntime}};
//! use fencepost::lock::{AcquireOptions, DistributedLock, ZookeeperLock, ZookeeperSettings};
//!
//! let ensemble = Arc::new(ZookeeperEnsemble::new("10.0.0.1:2181,10.0.0.2:2181,10.0.0.3:2181", Duration::from_secs(10)));
//! let lock = ZookeeperLock::new(ensemble, ZookeeperSettings::default(), Arc::new(TokioRuntime::from_entropy()));
//! let guard = lock.acquire(&LockName::new("invoice-17"), &AcquireOptions::within(Duration::from_secs(5))).await?;
//! println!("the store must refuse tokens below {:?}", guard.token());
//! guard.release().await;
//! # Ok(())
//! # }
//! ```
//!
//! It does *not* promise that a client which stops between looking at its guard and writing writes in time: only a
//! store that looks at tokens does. It has no TTL: a hold ends with its session.
//!
//! [`EtcdLock`], a lease and a key with it (the recipe of etcd's own clients, with which it stands in one line):
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//! use fencepost::{ids::LockName, lock::{client::EtcdMembers, runtime::TokioRuntime}};
//! use fencepost::lock::{AcquireOptions, DistributedLock, EtcdLock, EtcdSettings};
//!
//! let members = Arc::new(EtcdMembers::new("etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379".parse()?));
//! let lock = EtcdLock::new(members, EtcdSettings::default(), Arc::new(TokioRuntime::from_entropy()))?;
//! let guard = lock.acquire(&LockName::new("invoice-17"), &AcquireOptions::within(Duration::from_secs(5))).await?;
//! println!("the store must refuse tokens below {:?}", guard.token());
//! guard.release().await;
//! # Ok(())
//! # }
//! ```
//!
//! It does *not* promise that a client which stops between looking at its guard and writing writes in time, nor
//! anything with servers older than 3.5.13, whose deposed leaders may keep a lease alive that is over.
//!
//! [`ReadWriteLock`] and [`Semaphore`], in a ZooKeeper ensemble or at one Redis server, have several holders.
//!
//! From a file, with passwords from the environment: `settings`. On top of any lock: [`MultiLock`], several
//! names in one order; [`Election`], a leader with an epoch; [`with_lock`], [`Reentrant`],
//! [`events`], [`trace`].
//!
//! All implement [`DistributedLock`] and hand out a [`Guard`]: the only proof of holding, which ends by itself.
//! [`backend`] is the seam to the servers, [`client`] fills it with real ones, [`runtime`] brings clock, timers and
//! randomness from outside, `settings` (a feature) is the TOML file that a service has its lock from. `flawed`, for the
//! harness only, has locks that must be caught. `opener` says when a lock connects, in both worlds. Deliberately
//! absent: ambient clocks and randomness, the harness, any knowledge of how a lock is tried.
//!
//! [`capabilities`] lists what it can do and what it cannot, with the test that shows each.

mod attempts;
pub mod backend;
#[doc = include_str!("capabilities.md")]
pub mod capabilities {}
#[expect(clippy::disallowed_methods, reason = "speaks with real servers, in real time")]
pub mod client;
mod election;
pub mod error;
mod etcd;
pub mod events;
#[cfg(feature = "harness")]
pub mod flawed;
mod guard;
mod multi;
pub(crate) mod name;
pub(crate) mod opener;
mod promise;
mod read_write;
mod redlock;
mod reentrant;
pub mod runtime;
mod semaphore;
#[cfg(all(feature = "settings", any(feature = "etcd", feature = "redis", feature = "zookeeper")))]
pub mod settings;
mod shares;
mod single;
mod stops;
pub mod trace;
mod validity;
mod zookeeper;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use election::{CampaignError, Election, Role, Term};
pub use error::{
    AcquireError, AttemptError, AttemptReport, ConfigError, ExtendError, LostReason, NodeOutcome, NodeReport,
    ReleaseOutcome,
};
#[cfg(feature = "harness")]
pub(crate) use etcd::folder as etcd_folder;
pub use etcd::{EtcdLock, EtcdSettings};
pub use guard::Guard;
#[cfg(feature = "harness")]
pub(crate) use guard::{Hold, UNSTATED};
pub use multi::{MultiGuard, MultiLock};
pub use name::{LONGEST_NAME, NameError};
pub use promise::{GuardState, Promise, Promises};
pub use read_write::ReadWriteLock;
pub use redlock::{Redlock, RedlockSettings, Tokens, Waiting};
pub use reentrant::{Reentrant, ReentrantGuard};
pub use semaphore::Semaphore;
#[cfg(all(feature = "settings", any(feature = "etcd", feature = "redis", feature = "zookeeper")))]
pub use settings::{Settings, SettingsError};
pub use single::{RedisLock, RedisLockSettings};
pub use zookeeper::{ZookeeperLock, ZookeeperSettings};

#[cfg(feature = "harness")]
pub use self::stops::PausePoint;
use self::stops::Stops;
use crate::ids::LockName;
use crate::phase::Phase;

/// How long a guard may last if the settings say nothing of it. Longer than what a lock should be held for, and short
/// enough that one which was forgotten is missed for an hour and not for ever.
pub(crate) const DEFAULT_MAX_HOLD: Duration = Duration::from_secs(60 * 60);

/// Completes when an acquire is to be called off.
type Cancelled = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// How to acquire.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct AcquireOptions {
    /// How long to try, as one deadline through all attempts. Zero: one attempt.
    pub wait: Duration,
    /// The lease's length, in place of the one in the lock's settings. A lock without leases refuses it
    /// ([`ConfigError::NoLease`]).
    pub ttl: Option<Duration>,
    /// How long the guard may last, however often it is renewed, in place of what the lock's settings say.
    pub max_hold: Option<Duration>,
    cancelled: Option<Cancelled>,
    stops: Stops,
}

impl AcquireOptions {
    /// Tries for `wait`.
    pub fn within(wait: Duration) -> Self {
        Self { wait, ..Self::default() }
    }

    /// The same, for a lease of this length.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The same, for a guard that lasts no longer than this.
    #[must_use]
    pub fn max_hold(mut self, longest: Duration) -> Self {
        self.max_hold = Some(longest);
        self
    }

    /// The same, called off when what `cancelled` returns completes: the acquire is then [`AcquireError::Cancelled`],
    /// and what it left at the servers is taken back. `cancelled` is called once for each acquire. With a token of
    /// `tokio-util`: `options.unless(move || token.clone().cancelled_owned())`.
    #[must_use]
    pub fn unless<F>(mut self, cancelled: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.cancelled = Some(Arc::new(move || Box::pin(cancelled())));
        self
    }

    /// The same, stopped at [`Phase::Acquiring`], [`Phase::InLine`] and [`Phase::VotesIn`]; and the hold that it leads
    /// to at [`Phase::Renewing`].
    #[cfg(feature = "harness")]
    #[must_use]
    pub fn stopped_by(mut self, pause_point: Arc<dyn PausePoint>) -> Self {
        self.stops = Stops::at(pause_point);
        self
    }

    /// Announces a phase, in trials.
    pub(crate) async fn reached(&self, phase: Phase) {
        self.stops.reached(phase).await;
    }

    /// Refuses what no lock can do and, of a lock whose holds have no leases, what only those have.
    pub(crate) fn check(&self, has_leases: bool) -> Result<(), ConfigError> {
        if self.ttl.is_some() && !has_leases {
            return Err(ConfigError::NoLease);
        }
        if self.max_hold == Some(Duration::ZERO) {
            return Err(ConfigError::NoMaxHold);
        }
        Ok(())
    }

    /// What `acquire` comes to, unless it is called off before.
    pub(crate) async fn or_cancelled<T>(
        &self,
        acquire: impl Future<Output = Result<T, AcquireError>>,
    ) -> Result<T, AcquireError> {
        let Some(cancelled) = &self.cancelled else { return acquire.await };
        tokio::select! {
            biased;
            () = cancelled() => Err(AcquireError::Cancelled),
            acquired = acquire => acquired,
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

    /// The same lock for those who only read, where it lets them hold it together.
    fn for_reading(&self) -> Option<&dyn DistributedLock> {
        None
    }

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
    /// The lock was lost while the body ran. It was stopped at its next await or, if it had none left, ran to its end:
    /// what it did may have been done without the lock.
    #[error("the lock was lost while it was in use: {0}")]
    Lost(LostReason),
}

/// A body that ran to its end while the lock was held, by [`with_lock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<T> {
    /// What the body returned.
    pub value: T,
    /// How the lock was given back after it. Whatever it says, the lock was valid when the body ended.
    pub release: ReleaseOutcome,
}

/// Runs `body` while holding the lock, and stops it when the lock is lost. No guard, no body; and no result of a body
/// that the lock did not outlast.
///
/// ```no_run
/// # async fn example(lock: &fencepost::lock::Redlock) -> Result<(), fencepost::lock::WithLockError> {
/// use fencepost::{ids::LockName, lock::{AcquireOptions, with_lock}};
/// # async fn charge(_: Option<fencepost::ids::FencingToken>) {}
/// let options = AcquireOptions::within(std::time::Duration::from_secs(5));
/// with_lock(lock, &LockName::new("invoice-17"), &options, async |guard| charge(guard.token()).await).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The lock was not acquired, or was lost before the body was through, also if the body did not let anybody tell it.
pub async fn with_lock<T>(
    lock: &dyn DistributedLock,
    name: &LockName,
    options: &AcquireOptions,
    body: impl AsyncFnOnce(&Guard) -> T,
) -> Result<Completed<T>, WithLockError> {
    let guard = lock.acquire(name, options).await?;
    let value = tokio::select! {
        biased;
        // Given back in the background: what is lost need not be waited for.
        reason = guard.lost() => return Err(WithLockError::Lost(reason)),
        value = body(&guard) => value,
    };
    // A body that blocks lets no signal through: the lock may have been lost since.
    if let GuardState::Lost(reason) = guard.state() {
        return Err(WithLockError::Lost(reason));
    }
    Ok(Completed { value, release: guard.release().await })
}

#[cfg(test)]
mod tests {
    use futures_util::future::FutureExt;

    use super::runtime::{Runtime, SharedRuntime, TokioRuntime};
    use super::*;
    use crate::seed::Seed;
    use crate::time::Clock;

    /// The table of capabilities names tests that are there.
    #[test]
    fn every_test_that_the_capabilities_name_is_there() {
        fn sources(folder: &std::path::Path, text: &mut String) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    sources(&path, text);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    *text += &std::fs::read_to_string(&path).unwrap();
                }
            }
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut code = String::new();
        ["src", "tests"].iter().for_each(|folder| sources(&root.join(folder), &mut code));
        let table = include_str!("capabilities.md");
        let quoted = table.split('`').skip(1).step_by(2);
        let tests: Vec<&str> = quoted.filter(|word| word.matches('_').count() > 1).collect();
        assert!(tests.len() > 20, "{tests:?}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")) || code.contains(&format!("fn {test}<")), "{test}");
        }
    }

    const LEASE: Duration = Duration::from_millis(20);

    /// Grants every wish, for [`LEASE`].
    struct Granted(SharedRuntime);

    impl DistributedLock for Granted {
        fn acquire<'a>(
            &'a self,
            name: &'a LockName,
            _: &'a AcquireOptions,
        ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
            let hold = guard::Hold::new(self.0.now() + LEASE);
            let release = Box::new(|| std::future::ready(ReleaseOutcome::AlreadyExpired).boxed());
            let guard = Guard::new(name.clone(), None, hold, Arc::clone(&self.0), release);
            std::future::ready(Ok(guard)).boxed()
        }
    }

    #[tokio::test]
    async fn a_body_that_blocks_past_the_lease_has_no_result() {
        let runtime = Arc::new(TokioRuntime::new(Seed(1)));
        let (lock, name) = (Granted(Arc::clone(&runtime) as _), LockName::new("item-1"));
        let options = AcquireOptions::default();
        let blocks = with_lock(&lock, &name, &options, async |guard| {
            while guard.is_valid() {
                std::hint::spin_loop();
            }
        });
        assert_eq!(blocks.await, Err(WithLockError::Lost(LostReason::Expired)));
        let waits = with_lock(&lock, &name, &options, async |_| {
            runtime.sleep_until(runtime.now() + 1000 * LEASE).await;
        });
        assert_eq!(waits.await, Err(WithLockError::Lost(LostReason::Expired)));
        // A release that came too late says so, and does not undo what was done in time.
        let quick = with_lock(&lock, &name, &options, async |_| 7).await;
        assert_eq!(quick, Ok(Completed { value: 7, release: ReleaseOutcome::AlreadyExpired }));
    }
}
