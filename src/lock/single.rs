//! A lock at one Redis server, with a fencing token for each grant.
//!
//! It is what most programs that "lock with Redis" have: `SET key owner NX PX ttl`, done with the care that [`Redlock`]
//! has (validity from the moment of sending, an owner token for each attempt, release and renewal that look at the
//! owner, requests of unknown outcome taken back), and with a counter that the same script raises: what it says is the
//! token. The code is Redlock's with one node; so this file is short.
//!
//! **What it does not promise.** The server is a single point of failure. If it forgets (a restart without `appendfsync
//! always`), or a replica takes over that had not heard of the lock, two clients hold it. Tokens bear more: a counter
//! that is not there starts at the server's time of day in microseconds, beyond what it can have counted, so tokens go
//! on rising over a loss of all data unless the clock was set back as well. They repeat after a loss of the last second
//! (`appendfsync everysec`) or at a replica that lags, where the counter is there and is too low.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::backend::RedisNode;
use super::error::ConfigError;
use super::runtime::SharedRuntime;
use super::{AcquireError, AcquireOptions, DistributedLock, Guard, Redlock, RedlockSettings, Tokens, Waiting};
use crate::ids::LockName;

/// How a [`RedisLock`] behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisLockSettings {
    /// The lease's length.
    pub ttl: Duration,
    /// How long the server may take to answer one request.
    pub node_timeout: Duration,
    /// The shortest delay between two attempts.
    pub retry_delay_min: Duration,
    /// The longest delay between two attempts.
    pub retry_delay_max: Duration,
    /// Whether who waits asks again after such a delay, or is called when the lock is given back.
    pub waiting: Waiting,
    /// Whether a held lease is renewed every third of its length, until it is released or lost. Off by default.
    pub renewal: bool,
    /// How long a guard may last, however often it is renewed, as [`RedlockSettings::max_hold`].
    pub max_hold: Option<Duration>,
    /// Put before every lock name to make the Redis key. The key of the counter has a `#` before it: the prefix needs
    /// some other character.
    pub key_prefix: String,
}

impl Default for RedisLockSettings {
    fn default() -> Self {
        let RedlockSettings {
            ttl,
            node_timeout,
            retry_delay_min,
            retry_delay_max,
            waiting,
            renewal,
            max_hold,
            key_prefix,
            ..
        } = RedlockSettings::default();
        Self { ttl, node_timeout, retry_delay_min, retry_delay_max, waiting, renewal, max_hold, key_prefix }
    }
}

/// A lock at one Redis server.
#[derive(Clone)]
pub struct RedisLock {
    lock: Redlock,
}

impl RedisLock {
    /// A lock at `node`.
    ///
    /// # Errors
    /// A lease could never be valid.
    pub fn new(
        node: Arc<dyn RedisNode>,
        settings: RedisLockSettings,
        runtime: SharedRuntime,
    ) -> Result<Self, ConfigError> {
        let RedisLockSettings {
            ttl,
            node_timeout,
            retry_delay_min,
            retry_delay_max,
            waiting,
            renewal,
            max_hold,
            key_prefix,
        } = settings;
        let settings = RedlockSettings {
            ttl,
            node_timeout,
            retry_delay_min,
            retry_delay_max,
            waiting,
            renewal,
            max_hold,
            key_prefix,
            tokens: Tokens::Quorum,
        };
        Ok(Self { lock: Redlock::of_one(node, settings, runtime)? })
    }
}

impl DistributedLock for RedisLock {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.lock.acquire(name, options)
    }
}
