//! Redlock over N independent Redis masters.
//!
//! After antirez, "Distributed Locks with Redis" (redis.io), with what its users learned since: all nodes are asked at
//! once and the first majority decides, so a dead minority costs nothing; validity counts from the moment of sending,
//! less drift, and is checked as the last act before a guard is handed out; every attempt has an owner token of its
//! own, so that a release which arrives late can only ever undo its own attempt. What an attempt may have left is taken
//! back until that is certain or the lease is over ([`undo`]), and a renewal wins back nodes that forgot ([`lease`]).
//!
//! The algorithm as published has no fencing token, and neither has this one unless [`Tokens::Quorum`] is asked for:
//! see `tokens`.

mod election;
mod lease;
mod line;
mod tokens;
mod undo;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;

use self::election::{Answers, Election, Failure};
use self::lease::{Asked, Ballots, Lease, Vote, bearable};
pub use self::line::Waiting;
use self::line::{Lines, Place};
pub use self::tokens::Tokens;
use self::undo::TakeBack;
use super::backend::RedisNode;
use super::error::{AcquireError, AttemptError, ConfigError, NodeError, NodeOutcome};
use super::guard::{Guard, Hold};
use super::name::check;
use super::runtime::{SharedRuntime, jitter, random_text};
use super::validity::valid_until;
use super::{AcquireOptions, DistributedLock, trace};
use crate::ids::{FencingToken, LockName, OwnerToken};
use crate::phase::Phase;
use crate::time::Nanos;

/// How a [`Redlock`] behaves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct RedlockSettings {
    /// The lease's length.
    pub ttl: Duration,
    /// How long one node may take to answer before it counts as not having voted. Far below the TTL.
    pub node_timeout: Duration,
    /// The shortest delay between two attempts.
    pub retry_delay_min: Duration,
    /// The longest delay between two attempts. The delay is random, so that competitors don't split votes for ever.
    pub retry_delay_max: Duration,
    /// Whether who waits asks again after such a delay, or is called when the lock is given back. The same for all that
    /// compete for a lock.
    pub waiting: Waiting,
    /// Whether a held lease is renewed every third of its length, until it is released or lost. Off by default.
    pub renewal: bool,
    /// How long a guard may last, however often it is renewed: then it is lost, and the lock given back, so that a
    /// guard that was forgotten does not hold it for ever. An hour by default; `None`: no limit. One that is not
    /// renewed is lost then, too, and the lock is free when its lease ends.
    pub max_hold: Option<Duration>,
    /// Where fencing tokens come from. There are none by default, as published.
    pub tokens: Tokens,
    /// Put before every lock name to make the Redis key. The key of a counter has a `#` before it: where there are
    /// tokens, the prefix needs some other character.
    pub key_prefix: String,
}

impl Default for RedlockSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            node_timeout: Duration::from_millis(50),
            retry_delay_min: Duration::from_millis(20),
            retry_delay_max: Duration::from_millis(80),
            waiting: Waiting::Poll,
            renewal: false,
            max_hold: Some(super::DEFAULT_MAX_HOLD),
            tokens: Tokens::None,
            key_prefix: "fencepost:".to_owned(),
        }
    }
}

/// A lock over N independent Redis masters.
#[derive(Clone)]
pub struct Redlock {
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Vec<Arc<dyn RedisNode>>,
    settings: RedlockSettings,
    runtime: SharedRuntime,
    /// The way to be called, if that is asked for.
    lines: Option<Lines>,
    /// Whether the one node's counter, if it is not there, starts at the time of day ([`super::single`]).
    from_clock: bool,
}

impl Redlock {
    /// A lock over `nodes`.
    ///
    /// # Errors
    /// There are no nodes, one is listed twice (by its name), or a lease could never be valid.
    pub fn new(
        nodes: Vec<Arc<dyn RedisNode>>,
        settings: RedlockSettings,
        runtime: SharedRuntime,
    ) -> Result<Self, ConfigError> {
        if nodes.is_empty() {
            return Err(ConfigError::NoNodes);
        }
        let again = |(place, node): &(usize, &Arc<dyn RedisNode>)| {
            nodes[..*place].iter().any(|other| other.name() == node.name())
        };
        if let Some((_, node)) = nodes.iter().enumerate().find(again) {
            return Err(ConfigError::NodeTwice(node.name().to_owned()));
        }
        bearable(settings.ttl)?;
        if settings.node_timeout.is_zero() {
            return Err(ConfigError::NoNodeTimeout);
        }
        if settings.max_hold == Some(Duration::ZERO) {
            return Err(ConfigError::NoMaxHold);
        }
        let lines = (settings.waiting == Waiting::Called).then(|| Lines::new(&nodes, &runtime));
        Ok(Self { shared: Arc::new(Shared { nodes, settings, runtime, lines, from_clock: false }) })
    }

    /// The lock at one node, whose count is the token.
    pub(super) fn of_one(
        node: Arc<dyn RedisNode>,
        settings: RedlockSettings,
        runtime: SharedRuntime,
    ) -> Result<Self, ConfigError> {
        let Self { shared } = Self::new(vec![node], RedlockSettings { tokens: Tokens::Quorum, ..settings }, runtime)?;
        let shared = Arc::into_inner(shared).map(|shared| Shared { from_clock: true, ..shared });
        Ok(Self { shared: Arc::new(shared.expect("nobody else has it yet")) })
    }

    async fn attempt(&self, name: &LockName, options: &AcquireOptions) -> Result<Guard, Failure> {
        let Shared { nodes, settings, runtime, .. } = &*self.shared;
        let key = format!("{}{name}", settings.key_prefix);
        let counter = settings.tokens.counter(&key);
        let owner = OwnerToken::new(random_text(&**runtime));
        let sent = runtime.now();
        let ttl = options.ttl.unwrap_or(settings.ttl);
        let ballots = Arc::new(Ballots::new(nodes.len(), sent, ttl));
        let lease =
            Lease { shared: Arc::clone(&self.shared), key, counter, owner, ballots, stops: options.stops.clone() };
        // From here on the attempt may have left votes behind: undone unless it becomes a guard.
        let votes = lease.ask(|node| lease.vote(node));
        let mut undo = UndoOnDrop { lease: lease.clone(), votes, armed: true };
        let mut counts = Vec::new();
        let mut judge = |node, vote: Result<Vote, NodeError>| {
            lease.ballots.answered(node, &vote);
            match vote {
                Ok(Some(count)) => {
                    counts.extend(count);
                    NodeOutcome::Vote
                }
                Ok(None) => NodeOutcome::Conflict,
                Err(error) => NodeOutcome::Failed(error),
            }
        };
        let mut election = Election::new(nodes.len(), sent);
        election.open(&lease, Phase::Acquiring, &mut undo.votes, &mut judge).await;
        election.hold(&self.shared, &mut undo.votes, &mut judge).await;
        options.reached(Phase::VotesIn).await;
        election.verdict(nodes, runtime.now())?;
        let token = lease.agree(&counts).await?;
        let last_end = options.max_hold.or(settings.max_hold).map_or(Nanos(u64::MAX), |longest| sent + longest);
        let valid_until = valid_until(sent, ttl).min(last_end);
        let hold = Hold::ending(valid_until, last_end);
        let guard = undo.into_guard(name, token, &hold, last_end);
        // The last act: nothing may come between this look and the caller.
        if runtime.now() >= valid_until {
            return Err(AttemptError::ExpiredDuringAcquire.into());
        }
        if settings.renewal {
            runtime.spawn(lease.renew(hold, sent, last_end, token).boxed());
        }
        Ok(guard)
    }
}

impl DistributedLock for Redlock {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        let acquire = async move {
            check(name)?;
            options.check(true)?;
            if let Some(ttl) = options.ttl {
                bearable(ttl)?;
            }
            let Shared { settings, runtime, .. } = &*self.shared;
            let started = runtime.now();
            let deadline = started + options.wait;
            let mut place: Option<Place> = None;
            loop {
                let last = match self.attempt(name, options).await {
                    Ok(guard) => {
                        if let Some(place) = &mut place {
                            place.granted();
                        }
                        return Ok(guard);
                    }
                    Err(Failure::Denied(reason)) => return Err(AcquireError::Refused(reason)),
                    Err(Failure::Attempt(error)) => error,
                };
                trace::attempt(name, &last);
                let now = runtime.now();
                if now >= deadline {
                    return Err(AcquireError::DeadlineExceeded { waited: now - started, last });
                }
                options.reached(Phase::InLine).await;
                let delay = jitter(&**runtime, settings.retry_delay_min, settings.retry_delay_max);
                // Never past the deadline, and one last attempt at it.
                match &self.shared.lines {
                    None => runtime.sleep_until((now + delay).min(deadline)).await,
                    Some(lines) => {
                        let place = place.get_or_insert_with(|| Place::new(&self.shared, lines, name));
                        place.wait(&last, delay, deadline).await;
                    }
                }
            }
        };
        let algorithm = if self.shared.from_clock { "redis" } else { "redlock" };
        trace::acquire(algorithm, name, options.or_cancelled(acquire)).boxed()
    }
}

/// An attempt that did not become a guard, or was dropped on the way, is undone in the background.
struct UndoOnDrop {
    lease: Lease,
    /// Those that have not come yet.
    votes: Answers<Asked>,
    armed: bool,
}

impl UndoOnDrop {
    /// Hands the duty to undo over to a guard.
    fn into_guard(mut self, name: &LockName, token: Option<FencingToken>, hold: &Arc<Hold>, last_end: Nanos) -> Guard {
        self.armed = false;
        let lease = self.lease.clone();
        lease.count_late(std::mem::take(&mut self.votes));
        let runtime = Arc::clone(&lease.shared.runtime);
        let extension = {
            let (lease, hold) = (lease.clone(), Arc::clone(hold));
            Box::new(move |ttl| lease.clone().extend(Arc::clone(&hold), ttl, last_end, token).boxed())
        };
        let release = Box::new(move || TakeBack::begin(lease, FuturesUnordered::new()).outcome().boxed());
        Guard::new(name.clone(), token, Arc::clone(hold), runtime, release).extended_by(extension)
    }
}

impl Drop for UndoOnDrop {
    fn drop(&mut self) {
        if self.armed {
            // Goes on in the background.
            drop(TakeBack::begin(self.lease.clone(), std::mem::take(&mut self.votes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::client::RedisServer;
    use crate::lock::runtime::TokioRuntime;
    use crate::seed::Seed;

    #[test]
    fn what_could_never_be_a_lock_is_refused() {
        let node = |port: u16| {
            Arc::new(RedisServer::new(std::net::SocketAddr::from(([127, 0, 0, 1], port)))) as Arc<dyn RedisNode>
        };
        let refused = |nodes, settings| {
            Redlock::new(nodes, settings, Arc::new(TokioRuntime::new(Seed(1)))).map(drop).unwrap_err()
        };
        let settings = RedlockSettings::default;
        assert_eq!(refused(vec![], settings()), ConfigError::NoNodes);
        let twice = refused(vec![node(1), node(2), node(1)], settings());
        assert_eq!(twice, ConfigError::NodeTwice("127.0.0.1:1".to_owned()));
        for ttl in [Duration::ZERO, Duration::from_millis(2)] {
            assert_eq!(refused(vec![node(1)], RedlockSettings { ttl, ..settings() }), ConfigError::TtlTooShort(ttl));
        }
        let impatient = RedlockSettings { node_timeout: Duration::ZERO, ..settings() };
        assert_eq!(refused(vec![node(1)], impatient), ConfigError::NoNodeTimeout);
        let brief = RedlockSettings { max_hold: Some(Duration::ZERO), ..settings() };
        assert_eq!(refused(vec![node(1)], brief), ConfigError::NoMaxHold);
    }
}
