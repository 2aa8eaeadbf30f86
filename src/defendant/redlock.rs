//! Redlock over independent Redis masters, and the flawed locks over them.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::backend::{Backend, Persistence};
use super::draw::{Scale, Stress, ms, pick};
use super::over_redis::{
    self, CONNECTIONS, LEASE_KEYS, Lease, NODE_TIMEOUT, PERSISTENCE, RENEWAL, RETRY_DELAY, TTL, WAITING,
};
use super::registry::{self, LockConfig};
use super::table::{AnyKey, Asked, Key, Line, odd, word};
use super::{Algorithm, Assumed, Defendant, Promised, holders};
use crate::duration::DurationRange;
use crate::lock::backend::{Connections, RedisNode};
use crate::lock::flawed::{self, About, RedlockFlaw, WallClock};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{DistributedLock, RedlockSettings, Tokens, Waiting};
use crate::scenario::place::{Choice, Count};
use crate::scenario::problems::Problems;
use crate::seed::ChaCha8Rng;

/// What messages call the lock and its canaries.
const NAME: &str = "redlock";

/// `nodes`
const NODES: Key<Count> = Key::new("nodes", NAME, "Redlock: how many Redis masters, an odd number; 5 if absent.");

/// `tokens`
const TOKENS: Key<Choice<Tokens>> =
    Key::new("tokens", NAME, "Redlock: where fencing tokens come from; none if absent, as published.");

/// The algorithm, or a flawed one.
pub(super) struct Redlock(pub(super) Option<RedlockFlaw>);

impl Algorithm for Redlock {
    fn name(&self) -> &'static str {
        self.0.map_or(NAME, |flaw| flaw.about().name)
    }

    fn about(&self) -> &'static str {
        "Redlock over independent Redis masters."
    }

    fn flaw(&self) -> Option<About> {
        self.0.map(RedlockFlaw::about)
    }

    fn backend(&self) -> Backend {
        Backend::Redis
    }

    fn keys(&self) -> &'static [&'static dyn AnyKey] {
        &[&NODES, &TTL, &RENEWAL, &NODE_TIMEOUT, &RETRY_DELAY, &PERSISTENCE, &CONNECTIONS, &WAITING, &TOKENS]
    }

    fn lease_keys(&self) -> &'static [&'static dyn AnyKey] {
        LEASE_KEYS
    }

    fn usual_lease(&self) -> Duration {
        over_redis::USUAL_TTL
    }

    fn read(&self, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockConfig> {
        asked.refuse_others(registry::of_locks(), self.keys(), NAME, problems);
        let most = asked.environment.supply(Backend::Redis).map_or(0, |supply| supply.most);
        let nodes = odd(&NODES, 5, most, Backend::Redis.servers(), asked, problems);
        let why = "majorities that grant apart from each other may let one too many in, and nobody sees it";
        holders::refuse_several(asked, NAME, why, problems);
        let lease = Lease::read(asked, problems);
        let tokens = match (asked.table.get(&TOKENS), self.0) {
            (None, _) => Some(Tokens::None),
            (Some(field), None) => problems.choice("a value of `tokens`", &field),
            (Some(_), Some(flaw)) => {
                asked.table.refuse(&TOKENS, TOKENS.of, flaw.about().name, problems);
                None
            }
        };
        let Lease { ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting } = lease?;
        let (nodes, tokens, flaw) = (nodes?, tokens?, self.0);
        let config = RedlockConfig {
            nodes,
            ttl,
            renewal,
            node_timeout,
            retry_delay,
            persistence,
            connections,
            waiting,
            tokens,
            flaw,
        };
        Some(LockConfig::Redlock(config))
    }

    fn draw(&self, stress: Stress, rng: &mut ChaCha8Rng) -> LockConfig {
        LockConfig::Redlock(RedlockConfig { flaw: self.0, ..drawn(stress, self.0.is_none(), rng) })
    }

    fn why_no_tokens(&self) -> Option<&'static str> {
        self.0.is_none().then_some(
            "Redlock as published gives none. Its random owner token proves who may release, but has no order, so the \
             resource had nothing to compare and served every access, however late.",
        )
    }
}

/// Settings for a search. A canary has neither tokens nor a line: what is wrong with it is elsewhere.
pub(super) fn drawn(stress: Stress, is_sound: bool, rng: &mut ChaCha8Rng) -> RedlockConfig {
    // Short leases: what needs one to end happens more often in the same simulated time. A long one for what outlives
    // its use, or is too small a part of a lease to be met in a short one.
    let ttl = match stress {
        Stress::Any | Stress::Renewal | Stress::Together => pick(rng, &[ms(200), ms(300), ms(500), ms(500), ms(1_000)]),
        Stress::Edge => pick(rng, &[ms(300), ms(500), ms(1_000), ms(2_000)]),
        Stress::Stopped => pick(rng, &[ms(300), ms(500), ms(1_000)]),
        Stress::GivenUp => pick(rng, &[ms(300), ms(1_000), ms(10_000), ms(10_000)]),
    };
    let renewal = match stress {
        Stress::Renewal => true,
        Stress::Edge => rng.random_ratio(1, 4),
        Stress::Any | Stress::GivenUp | Stress::Together | Stress::Stopped => rng.random_ratio(1, 2),
    };
    let usual = over_redis::usual_node_timeout(ttl);
    let tokens = if is_sound && rng.random_ratio(2, 5) { Tokens::Quorum } else { Tokens::None };
    RedlockConfig {
        nodes: pick(rng, &[5, 5, 5, 5, 3, 3, 3, 1]),
        ttl,
        renewal,
        node_timeout: pick(rng, &[usual, usual, ttl / 4, ttl / 20]),
        retry_delay: pick(
            rng,
            &[
                DurationRange::new(ms(2), ms(8)),
                DurationRange::new(ms(20), ms(80)),
                DurationRange::new(ttl / 50, ttl / 10),
            ],
        ),
        persistence: pick(rng, &[Persistence::Always, Persistence::Always, Persistence::Everysec, Persistence::None]),
        connections: pick(rng, &[Connections::Pooled, Connections::Pooled, Connections::Pooled, Connections::Fresh]),
        waiting: if is_sound && rng.random_ratio(1, 3) { Waiting::Called } else { Waiting::Poll },
        tokens,
        flaw: None,
    }
}

/// Redlock's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedlockConfig {
    /// How many Redis masters.
    pub nodes: u32,
    /// The lease's length.
    pub ttl: Duration,
    /// Whether a held lease is renewed every third of its length. Off by default, as published.
    pub renewal: bool,
    /// How long one node may take to answer before it counts as not having voted.
    pub node_timeout: Duration,
    /// The random delay between attempts.
    pub retry_delay: DurationRange,
    /// What a master still has after it was killed or lost power.
    #[serde(default)]
    pub persistence: Persistence,
    /// Which connections requests travel on.
    #[serde(default)]
    pub connections: Connections,
    /// What who waits does meanwhile.
    #[serde(default)]
    pub waiting: Waiting,
    /// Where fencing tokens come from. There are none by default, as published.
    #[serde(default)]
    pub tokens: Tokens,
    /// What is wrong with it, if it is a canary.
    #[serde(default)]
    pub flaw: Option<RedlockFlaw>,
}

impl RedlockConfig {
    /// The lock on trial, over these masters.
    pub(crate) fn make(
        &self,
        nodes: Vec<Arc<dyn RedisNode>>,
        key_prefix: String,
        runtime: SharedRuntime,
        wall: WallClock,
    ) -> Arc<dyn DistributedLock> {
        let settings = RedlockSettings {
            ttl: self.ttl,
            node_timeout: self.node_timeout,
            retry_delay_min: self.retry_delay.min,
            retry_delay_max: self.retry_delay.max,
            waiting: self.waiting,
            renewal: self.renewal,
            tokens: self.tokens,
            key_prefix,
            // A trial is shorter.
            max_hold: None,
        };
        match self.flaw {
            None => Arc::new(flawed::without_flaw(nodes, settings, runtime)),
            Some(flaw) => flawed::redlock(flaw, nodes, settings, runtime, wall),
        }
    }

    fn lease(&self) -> Lease {
        // All named, so that nothing is left of a field that is added and not written.
        let Self {
            nodes: _,
            ttl,
            renewal,
            node_timeout,
            retry_delay,
            persistence,
            connections,
            waiting,
            tokens: _,
            flaw: _,
        } = *self;
        Lease { ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting }
    }
}

impl Defendant for RedlockConfig {
    fn algorithm(&self) -> &'static str {
        Redlock(self.flaw).name()
    }

    fn flaw(&self) -> Option<About> {
        Redlock(self.flaw).flaw()
    }

    fn backend(&self) -> Backend {
        Backend::Redis
    }

    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn with_nodes(&self, count: u32) -> Option<LockConfig> {
        Some(LockConfig::Redlock(Self { nodes: count, ..self.clone() }))
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
        vec![self.tokens.permanent().to_owned()]
    }

    fn promised(&self) -> Promised {
        Promised { tokens: self.tokens == Tokens::Quorum, line: false, takes_back: true }
    }

    fn assumes(&self) -> Option<Assumed> {
        Some(self.lease().assumes(self.tokens == Tokens::Quorum))
    }

    fn scale(&self) -> Scale {
        self.lease().scale()
    }

    fn simpler(&self) -> Vec<LockConfig> {
        let with = |change: &dyn Fn(&mut Self)| {
            let mut changed = self.clone();
            change(&mut changed);
            LockConfig::Redlock(changed)
        };
        vec![
            with(&|lock| lock.renewal = false),
            with(&|lock| lock.tokens = Tokens::None),
            with(&|lock| lock.waiting = Waiting::Poll),
            with(&|lock| lock.connections = Connections::Pooled),
            with(&|lock| lock.persistence = Persistence::None),
            with(&|lock| lock.retry_delay = over_redis::USUAL_RETRY_DELAY),
            with(&|lock| lock.node_timeout = over_redis::usual_node_timeout(lock.ttl)),
        ]
    }

    fn written(&self) -> Vec<Line> {
        let mut lines = vec![(NODES.name, self.nodes.to_string())];
        lines.extend(self.lease().written());
        if self.tokens != Tokens::default() {
            lines.push((TOKENS.name, word(self.tokens)));
        }
        lines
    }

    fn shown(&self) -> Vec<Line> {
        let tokens = match self.tokens {
            Tokens::None => "none, as published",
            Tokens::Quorum => "the highest count of a majority",
        };
        let mut lines = vec![("nodes", format!("{} Redis masters", self.nodes))];
        lines.extend(self.lease().shown());
        lines.push(("fencing tokens", tokens.to_owned()));
        lines
    }
}
