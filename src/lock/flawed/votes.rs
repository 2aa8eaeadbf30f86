//! What the canaries share that count votes by themselves: every master is asked and heard, and a majority grants.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use crate::ids::{LockName, OwnerToken};
use crate::lock::backend::{Ownership, RedisNode, Reply};
use crate::lock::error::{AcquireError, AttemptError, AttemptReport, NodeError, ReleaseOutcome};
use crate::lock::guard::Guard;
use crate::lock::runtime::{SharedRuntime, before, jitter, random_text};
use crate::lock::{AcquireOptions, RedlockSettings};
use crate::phase::Phase;

/// The masters, and how to speak with them.
pub(super) struct Cluster {
    pub nodes: Vec<Arc<dyn RedisNode>>,
    pub settings: RedlockSettings,
    pub runtime: SharedRuntime,
}

/// A majority's votes.
#[derive(Clone)]
pub(super) struct Votes {
    pub cluster: Arc<Cluster>,
    pub key: String,
    pub owner: OwnerToken,
}

impl Cluster {
    /// Tries to win a majority until the deadline; `grant` makes the guard.
    pub async fn acquire(
        self: &Arc<Self>,
        name: &LockName,
        options: &AcquireOptions,
        grant: impl Fn(Votes) -> Guard,
    ) -> Result<Guard, AcquireError> {
        let started = self.runtime.now();
        let deadline = started + options.wait;
        loop {
            let (needed, votes) = (self.nodes.len() / 2 + 1, self.attempt(name, options).await);
            let last = match votes {
                Ok(votes) => return Ok(grant(votes)),
                Err(votes) => AttemptError::Contended {
                    votes,
                    needed,
                    conflicts: self.nodes.len() - votes,
                    nodes: AttemptReport::default(),
                },
            };
            let now = self.runtime.now();
            if now >= deadline {
                return Err(AcquireError::DeadlineExceeded { waited: now - started, last });
            }
            let delay = jitter(&*self.runtime, self.settings.retry_delay_min, self.settings.retry_delay_max);
            self.runtime.sleep_until((now + delay).min(deadline)).await;
        }
    }

    /// One attempt: a majority's votes, or how many there were.
    async fn attempt(self: &Arc<Self>, name: &LockName, options: &AcquireOptions) -> Result<Votes, usize> {
        let key = format!("{}{name}", self.settings.key_prefix);
        let votes = Votes { cluster: Arc::clone(self), key, owner: OwnerToken::new(random_text(&*self.runtime)) };
        let mut asked = votes.ask(|node| node.set_if_absent(&votes.key, &votes.owner, self.settings.ttl));
        let early = (&mut asked).now_or_never();
        options.reached(Phase::Acquiring).await;
        let answers = match early {
            Some(answers) => answers,
            None => asked.await,
        };
        options.reached(Phase::VotesIn).await;
        let won = answers.iter().filter(|answer| **answer == Some(true)).count();
        if won > self.nodes.len() / 2 {
            return Ok(votes);
        }
        self.runtime.spawn(votes.give_back().map(drop).boxed());
        Err(won)
    }
}

impl Votes {
    /// Asks every master at once and waits for all of them, each no longer than the node timeout. Sent at the first
    /// poll.
    pub fn ask<T: Send + 'static>(
        &self,
        request: impl Fn(&dyn RedisNode) -> Reply<T, NodeError>,
    ) -> BoxFuture<'static, Vec<Option<T>>> {
        let Cluster { nodes, settings, runtime } = &*self.cluster;
        let until = runtime.now() + settings.node_timeout;
        let ask = |node: &Arc<dyn RedisNode>| {
            let (reply, runtime) = (request(&**node), Arc::clone(runtime));
            async move { before(&*runtime, until, reply).await.and_then(Result::ok) }
        };
        join_all(nodes.iter().map(ask).collect::<Vec<_>>()).boxed()
    }

    /// Takes the votes back.
    pub fn give_back(&self) -> BoxFuture<'static, ReleaseOutcome> {
        let needed = self.cluster.nodes.len() / 2 + 1;
        let asked = self.ask(|node| node.delete_if_owner(&self.key, &self.owner));
        async move {
            let answers = asked.await;
            let count = |found| answers.iter().filter(|answer| **answer == Some(found)).count();
            match (count(Ownership::Ours), count(Ownership::Theirs)) {
                (ours, _) if ours >= needed => ReleaseOutcome::Released,
                (_, 0) => ReleaseOutcome::AlreadyExpired,
                _ => ReleaseOutcome::TakenOver,
            }
        }
        .boxed()
    }
}
