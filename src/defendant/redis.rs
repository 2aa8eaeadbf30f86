//! The lock at one Redis server: a key with an owner and a lease, and a count for tokens.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backend::{Backend, Persistence};
use super::draw::{Scale, Stress};
use super::over_redis::{
    self, CONNECTIONS, LEASE_KEYS, Lease, NODE_TIMEOUT, PERSISTENCE, RENEWAL, RETRY_DELAY, TTL, WAITING,
};
use super::redlock::{self, RedlockConfig};
use super::registry::{self, LockConfig};
use super::table::{AnyKey, Asked, Line};
use super::{Algorithm, Assumed, Defendant, Promised, holders};
use crate::duration::DurationRange;
use crate::lock::backend::{Connections, RedisNode};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{
    ConfigError, DistributedLock, ReadWriteLock, RedisLock, RedisLockSettings, Semaphore, Tokens, Waiting,
};
use crate::lock_kind::LockKind;
use crate::scenario::problems::Problems;
use crate::seed::ChaCha8Rng;

/// The algorithm.
pub(super) struct Redis;

impl Algorithm for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn about(&self) -> &'static str {
        "A key with a lease at one Redis server."
    }

    fn backend(&self) -> Backend {
        Backend::Redis
    }

    fn keys(&self) -> &'static [&'static dyn AnyKey] {
        &[&TTL, &RENEWAL, &NODE_TIMEOUT, &RETRY_DELAY, &PERSISTENCE, &CONNECTIONS, &WAITING]
    }

    fn lease_keys(&self) -> &'static [&'static dyn AnyKey] {
        LEASE_KEYS
    }

    fn usual_lease(&self) -> Duration {
        over_redis::USUAL_TTL
    }

    fn read(&self, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockConfig> {
        asked.refuse_others(registry::of_locks(), self.keys(), self.name(), problems);
        let kind = holders::kind(asked, problems);
        let lease = Lease::read(asked, problems);
        let Lease { ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting } = lease?;
        let kind = kind?;
        let config = RedisConfig { kind, ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting };
        Some(LockConfig::Redis(config))
    }

    /// As one of Redlock's masters, with a counter and a line as a matter of course.
    fn draw(&self, stress: Stress, rng: &mut ChaCha8Rng) -> LockConfig {
        let RedlockConfig { ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting, .. } =
            redlock::drawn(stress, true, rng);
        let kind = holders::drawn(rng);
        LockConfig::Redis(RedisConfig {
            kind,
            ttl,
            renewal,
            node_timeout,
            retry_delay,
            persistence,
            connections,
            waiting,
        })
    }
}

/// The settings of the lock at one Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisConfig {
    /// How many may hold it at once.
    #[serde(default)]
    pub kind: LockKind,
    /// The lease's length.
    pub ttl: Duration,
    /// Whether a held lease is renewed every third of its length. Off by default.
    pub renewal: bool,
    /// How long the server may take to answer one request.
    pub node_timeout: Duration,
    /// The random delay between attempts.
    pub retry_delay: DurationRange,
    /// What the server still has after it was killed or lost power.
    pub persistence: Persistence,
    /// Which connections requests travel on.
    pub connections: Connections,
    /// What who waits does meanwhile.
    #[serde(default)]
    pub waiting: Waiting,
}

impl RedisConfig {
    /// The lock on trial, at this server.
    pub(crate) fn make(
        &self,
        node: Arc<dyn RedisNode>,
        key_prefix: String,
        runtime: SharedRuntime,
    ) -> Arc<dyn DistributedLock> {
        let settings = RedisLockSettings {
            ttl: self.ttl,
            node_timeout: self.node_timeout,
            retry_delay_min: self.retry_delay.min,
            retry_delay_max: self.retry_delay.max,
            waiting: self.waiting,
            renewal: self.renewal,
            key_prefix,
            max_hold: None,
        };
        let made: Result<Arc<dyn DistributedLock>, ConfigError> = match self.kind {
            LockKind::Mutex => RedisLock::new(node, settings, runtime).map(|lock| Arc::new(lock) as _),
            LockKind::ReadWrite => ReadWriteLock::at_redis(node, settings, runtime).map(|lock| Arc::new(lock) as _),
            LockKind::Semaphore { permits } => {
                Semaphore::at_redis(node, settings, holders::at_least_one(permits), runtime)
                    .map(|lock| Arc::new(lock) as _)
            }
        };
        made.expect("a scenario's settings were checked when it was loaded")
    }

    fn lease(&self) -> Lease {
        // All named, so that nothing is left of a field that is added and not written.
        let Self { kind: _, ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting } = *self;
        Lease { ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting }
    }
}

impl Defendant for RedisConfig {
    fn algorithm(&self) -> &'static str {
        Redis.name()
    }

    fn backend(&self) -> Backend {
        Backend::Redis
    }

    fn nodes(&self) -> u32 {
        1
    }

    fn kind(&self) -> LockKind {
        self.kind
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    fn extends(&self) -> bool {
        true
    }

    fn renews(&self) -> bool {
        self.renewal
    }

    fn persistence(&self) -> Option<Persistence> {
        Some(self.persistence)
    }

    fn permanent(&self) -> Vec<String> {
        vec![Tokens::Quorum.permanent().to_owned()]
    }

    fn promised(&self) -> Promised {
        Promised { tokens: true, line: false, takes_back: true }
    }

    /// A counter that is not there starts at the time of day; one that is behind goes on from there.
    fn assumes(&self) -> Option<Assumed> {
        Some(self.lease().assumes(self.persistence == Persistence::Everysec))
    }

    fn scale(&self) -> Scale {
        self.lease().scale()
    }

    fn simpler(&self) -> Vec<LockConfig> {
        let with = |change: &dyn Fn(&mut Self)| {
            let mut changed = self.clone();
            change(&mut changed);
            LockConfig::Redis(changed)
        };
        vec![
            with(&|lock| lock.kind = LockKind::Mutex),
            with(&|lock| lock.renewal = false),
            with(&|lock| lock.waiting = Waiting::Poll),
            with(&|lock| lock.connections = Connections::Pooled),
            with(&|lock| lock.persistence = Persistence::None),
            with(&|lock| lock.retry_delay = over_redis::USUAL_RETRY_DELAY),
            with(&|lock| lock.node_timeout = over_redis::usual_node_timeout(lock.ttl)),
        ]
    }

    fn written(&self) -> Vec<Line> {
        let mut lines = holders::written(self.kind);
        lines.extend(self.lease().written());
        lines
    }

    fn shown(&self) -> Vec<Line> {
        let mut lines = vec![("nodes", "one Redis server".to_owned())];
        lines.extend(self.lease().shown());
        lines.push(("fencing tokens", "the server's count".to_owned()));
        lines
    }
}
