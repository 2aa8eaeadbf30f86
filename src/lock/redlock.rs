//! Redlock over N independent Redis masters.
//!
//! After antirez, "Distributed Locks with Redis" (redis.io), with what its users learned since: all nodes are asked at
//! once and the first majority decides, so a dead minority costs nothing; validity counts from the moment of sending,
//! less drift, and is checked as the last act before a guard is handed out; every attempt has an owner token of its
//! own, so that a release which arrives late can only ever undo its own attempt.
//!
//! The algorithm as published has no fencing token, and neither has this one unless [`Tokens::Quorum`] is asked for: see
//! `tokens`.

mod tokens;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, TryFutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

pub use self::tokens::Tokens;
use super::backend::{Ownership, RedisNode};
use super::error::{AcquireError, AttemptError, LostReason, NodeError, ReleaseOutcome};
use super::guard::{Guard, Hold};
use super::runtime::{SharedRuntime, before, jitter, random_text, unless};
use super::{AcquireOptions, DistributedLock};
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
    /// Whether a held lease is renewed every third of its length, until it is released or lost. Off by default.
    pub renewal: bool,
    /// Where fencing tokens come from. There are none by default, as published.
    pub tokens: Tokens,
    /// Put before every lock name to make the Redis key. The key of a counter has a `#` before it: where there are tokens,
    /// the prefix needs some other character.
    pub key_prefix: String,
}

impl Default for RedlockSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            node_timeout: Duration::from_millis(50),
            retry_delay_min: Duration::from_millis(20),
            retry_delay_max: Duration::from_millis(80),
            renewal: false,
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
    /// Whether the one node's counter, if it is not there, starts at the time of day ([`super::single`]).
    from_clock: bool,
}

/// One grant, or the attempt at it: what it takes to undo it.
#[derive(Clone)]
struct Lease {
    shared: Arc<Shared>,
    key: String,
    /// The key of the votes' counter, if they are counted.
    counter: Option<String>,
    owner: OwnerToken,
}

/// One node's vote: none if another client has it; if votes are counted, with the node's count of them.
type Vote = Option<Option<FencingToken>>;

/// The votes of all nodes on one request, as they come in.
type Votes<F> = FuturesUnordered<Answer<F>>;

/// What a node says to a request, when it comes.
trait Reply<T>: Future<Output = Result<T, NodeError>> + Unpin {}

impl<T, F: Future<Output = Result<T, NodeError>> + Unpin> Reply<T> for F {}

/// The answer of one node, when it comes, with the node's place in the list.
struct Answer<F> {
    node: usize,
    reply: F,
}

impl<F: Future + Unpin> Future for Answer<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let node = self.node;
        Pin::new(&mut self.reply).poll(context).map(|reply| (node, reply))
    }
}

impl Redlock {
    /// A lock over `nodes`.
    pub fn new(nodes: Vec<Arc<dyn RedisNode>>, settings: RedlockSettings, runtime: SharedRuntime) -> Self {
        Self { shared: Arc::new(Shared { nodes, settings, runtime, from_clock: false }) }
    }

    /// The lock at one node, whose count is the token.
    pub(super) fn of_one(node: Arc<dyn RedisNode>, settings: RedlockSettings, runtime: SharedRuntime) -> Self {
        let settings = RedlockSettings { tokens: Tokens::Quorum, ..settings };
        Self { shared: Arc::new(Shared { nodes: vec![node], settings, runtime, from_clock: true }) }
    }

    async fn attempt(&self, name: &LockName, options: &AcquireOptions) -> Result<Guard, AttemptError> {
        let Shared { settings, runtime, .. } = &*self.shared;
        let key = format!("{}{name}", settings.key_prefix);
        let counter = settings.tokens.counter(&key);
        let owner = OwnerToken::new(random_text(&**runtime));
        let lease = Lease { shared: Arc::clone(&self.shared), key, counter, owner };
        // From here on the attempt may have left votes behind: undone unless it becomes a guard.
        let undo = UndoOnDrop { lease: lease.clone(), armed: true };
        let sent = runtime.now();
        let mut votes = lease.ask(|node| lease.vote(node));
        // Polling until nothing is ready sends the requests to all nodes.
        let mut early = Vec::new();
        while let Some(Some(vote)) = votes.next().now_or_never() {
            early.push(vote);
        }
        options.reached(Phase::Acquiring).await;
        let mut counts = Vec::new();
        let won = |vote: &Vote| {
            counts.extend(vote.iter().copied().flatten());
            vote.is_some()
        };
        let election = lease.collect(votes, early, sent, won).await;
        options.reached(Phase::VotesIn).await;
        election.verdict()?;
        let token = lease.agree(&counts).await?;
        let valid_until = valid_until(sent, settings.ttl);
        let hold = Hold::new(valid_until);
        let guard = undo.into_guard(name, token, &hold);
        // The last act: nothing may come between this look and the caller.
        if runtime.now() >= valid_until {
            return Err(AttemptError::ExpiredDuringAcquire);
        }
        if settings.renewal {
            runtime.spawn(lease.renew(hold, sent).boxed());
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
        async move {
            let Shared { settings, runtime, .. } = &*self.shared;
            let started = runtime.now();
            let deadline = started + options.wait;
            loop {
                let last = match self.attempt(name, options).await {
                    Ok(guard) => return Ok(guard),
                    Err(error) => error,
                };
                let now = runtime.now();
                if now >= deadline {
                    return Err(AcquireError::DeadlineExceeded { waited: now - started, last });
                }
                let delay = jitter(&**runtime, settings.retry_delay_min, settings.retry_delay_max);
                // Never past the deadline, and one last attempt at it.
                runtime.sleep_until((now + delay).min(deadline)).await;
            }
        }
        .boxed()
    }
}

/// Until when a lease of `ttl` that was asked for at `sent` is safe to believe in: clocks may drift apart by 1 %, and
/// Redis expires keys with a precision of a millisecond; 2 ms allow for that, as the algorithm's text does.
fn valid_until(sent: Nanos, ttl: Duration) -> Nanos {
    (sent + ttl).saturating_sub(ttl / 100 + Duration::from_millis(2))
}

/// What the nodes answered.
struct Election {
    needed: usize,
    votes: usize,
    conflicts: usize,
    failures: Vec<String>,
}

impl Election {
    /// Whether waiting on would change nothing: won, or no majority of answers to be had, or lost by the answers of a
    /// majority. Fewer answers than that could not tell a lock that is held from nodes that are down.
    fn is_decided(&self, nodes: usize) -> bool {
        let spare = nodes - self.needed;
        let answers = self.votes + self.conflicts;
        let failures = self.failures.len();
        self.votes >= self.needed || failures > spare || (self.conflicts + failures > spare && answers >= self.needed)
    }

    fn verdict(&self) -> Result<(), AttemptError> {
        let Self { needed, votes, conflicts, failures } = self;
        if votes >= needed {
            Ok(())
        } else if failures.is_empty() || votes + conflicts >= *needed {
            // A majority answered; another client, or several, have the votes.
            Err(AttemptError::Contended { votes: *votes, needed: *needed, conflicts: *conflicts })
        } else {
            Err(AttemptError::NoQuorum { votes: *votes, needed: *needed, failures: failures.join("; ") })
        }
    }
}

impl Lease {
    /// Prepares one request to every node; they are sent at the first poll.
    fn ask<T, F>(&self, request: impl Fn(&dyn RedisNode) -> F) -> Votes<F>
    where
        F: Reply<T>,
    {
        let nodes = self.shared.nodes.iter().enumerate();
        nodes.map(|(place, node)| Answer { node: place, reply: request(&**node) }).collect()
    }

    /// Asks one node for its vote.
    fn vote(&self, node: &dyn RedisNode) -> impl Reply<Vote> + Send + use<> {
        let Self { key, counter, owner, shared } = self;
        let ttl = shared.settings.ttl;
        match counter {
            None => node.set_if_absent(key, owner, ttl).map_ok(|set| set.then_some(None)).left_future(),
            Some(counter) => {
                let counted = match shared.from_clock {
                    false => node.set_and_count(key, counter, owner, ttl),
                    true => node.set_and_fence(key, counter, owner, ttl),
                };
                counted.map_ok(|count| count.map(Some)).right_future()
            }
        }
    }

    /// Gathers answers until they decide, or until the node timeout counts the silent ones as failed.
    async fn collect<T, F: Reply<T>>(
        &self,
        mut votes: Votes<F>,
        mut early: Vec<(usize, Result<T, NodeError>)>,
        sent: Nanos,
        mut is_vote: impl FnMut(&T) -> bool,
    ) -> Election {
        let Shared { nodes, settings, runtime, .. } = &*self.shared;
        let mut election = Election { needed: nodes.len() / 2 + 1, votes: 0, conflicts: 0, failures: Vec::new() };
        let mut silent: Vec<bool> = vec![true; nodes.len()];
        let mut patience = runtime.sleep_until(sent + settings.node_timeout);
        loop {
            for (index, reply) in early.drain(..) {
                silent[index] = false;
                match reply {
                    Ok(answer) if is_vote(&answer) => election.votes += 1,
                    Ok(_) => election.conflicts += 1,
                    Err(error) => election.failures.push(format!("{}: {error}", nodes[index].name())),
                }
            }
            if election.is_decided(nodes.len()) {
                break;
            }
            match unless(&mut patience, votes.next()).await {
                Some(Some(vote)) => early.push(vote),
                Some(None) => break,
                None => {
                    let late = nodes.iter().zip(&silent).filter(|(_, silent)| **silent);
                    let text = |(node, _): (&Arc<dyn RedisNode>, _)| {
                        format!("{}: no answer within {:?}", node.name(), settings.node_timeout)
                    };
                    election.failures.extend(late.map(text));
                    break;
                }
            }
        }
        election
    }

    /// Takes the votes back at every node, whether or not we know of a vote there.
    async fn release(self) -> ReleaseOutcome {
        let Shared { nodes, settings, runtime, .. } = &*self.shared;
        let needed = nodes.len() / 2 + 1;
        let sent = runtime.now();
        let mut answers = self.ask(|node| node.delete_if_owner(&self.key, &self.owner));
        let (mut ours, mut absent, mut theirs) = (0, 0, 0);
        let mut failures = Vec::new();
        let mut patience = runtime.sleep_until(sent + settings.node_timeout);
        while ours < needed {
            match unless(&mut patience, answers.next()).await {
                Some(Some((_, Ok(Ownership::Ours)))) => ours += 1,
                Some(Some((_, Ok(Ownership::Absent)))) => absent += 1,
                Some(Some((_, Ok(Ownership::Theirs)))) => theirs += 1,
                Some(Some((index, Err(error)))) => failures.push(format!("{}: {error}", nodes[index].name())),
                Some(None) | None => break,
            }
        }
        if ours >= needed {
            ReleaseOutcome::Released
        } else if absent + theirs >= needed {
            if theirs > 0 { ReleaseOutcome::TakenOver } else { ReleaseOutcome::AlreadyExpired }
        } else {
            let failures = if failures.is_empty() { String::new() } else { format!(": {}", failures.join("; ")) };
            let answered = ours + absent + theirs;
            ReleaseOutcome::Unknown(format!("{answered} of {} nodes answered in time{failures}", nodes.len()))
        }
    }

    /// Renews the lease every third of its length until it is released or lost. Never revives a lapsed one: once the
    /// validity is over the hold is lost for good, whatever the nodes answer.
    async fn renew(self, hold: Arc<Hold>, mut sent: Nanos) {
        let Shared { settings, runtime, .. } = &*self.shared;
        let mut pause = settings.ttl / 3;
        loop {
            let due = (sent + pause).min(hold.validity().until);
            if before(&**runtime, due, hold.over()).await.is_some() {
                return;
            }
            sent = runtime.now();
            if sent >= hold.validity().until {
                return hold.lose(LostReason::Expired);
            }
            let votes = self.ask(|node| node.extend_if_owner(&self.key, &self.owner, settings.ttl));
            let election = self.collect(votes, Vec::new(), sent, |found| *found == Ownership::Ours).await;
            if runtime.now() >= hold.validity().until {
                return hold.lose(LostReason::Expired);
            }
            pause = match election.verdict() {
                Ok(()) => {
                    hold.update(|validity| {
                        validity.until = valid_until(sent, settings.ttl);
                        validity.suspect = false;
                    });
                    settings.ttl / 3
                }
                // So many nodes have forgotten us that no majority can be ours.
                Err(_) if election.conflicts > self.shared.nodes.len() - election.needed => {
                    let reason =
                        format!("{} of {} nodes no longer have the vote", election.conflicts, self.shared.nodes.len());
                    return hold.lose(LostReason::Revoked(reason));
                }
                Err(_) => {
                    hold.update(|validity| validity.suspect = true);
                    jitter(&**runtime, settings.retry_delay_min, settings.retry_delay_max)
                }
            };
        }
    }
}

/// An attempt that did not become a guard, or was dropped on the way, is undone in the background.
struct UndoOnDrop {
    lease: Lease,
    armed: bool,
}

impl UndoOnDrop {
    /// Hands the duty to undo over to a guard.
    fn into_guard(mut self, name: &LockName, token: Option<FencingToken>, hold: &Arc<Hold>) -> Guard {
        self.armed = false;
        let lease = self.lease.clone();
        let runtime = Arc::clone(&lease.shared.runtime);
        let release = Box::new(move || lease.release().boxed());
        Guard::new(name.clone(), token, Arc::clone(hold), runtime, release)
    }
}

impl Drop for UndoOnDrop {
    fn drop(&mut self) {
        if self.armed {
            let undone = self.lease.clone().release().map(drop).boxed();
            self.lease.shared.runtime.spawn(undone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_told_from_nodes_that_are_down() {
        let election = |votes, conflicts, failures: usize| {
            let failures = (1..=failures).map(|node| format!("n{node}: down")).collect();
            Election { needed: 3, votes, conflicts, failures }
        };
        // Two of five are down and the first of the others says no: it may be alone with that.
        assert!(!election(0, 1, 2).is_decided(5));
        for (votes, conflicts, failures) in [(0, 3, 2), (2, 1, 2), (0, 3, 0)] {
            let election = election(votes, conflicts, failures);
            assert!(election.is_decided(5));
            assert!(
                matches!(election.verdict(), Err(AttemptError::Contended { .. })),
                "{votes} {conflicts} {failures}"
            );
        }
        assert!(election(0, 0, 3).is_decided(5));
        assert!(matches!(election(2, 0, 3).verdict(), Err(AttemptError::NoQuorum { votes: 2, needed: 3, .. })));
        assert!(election(3, 0, 0).is_decided(5) && election(3, 1, 1).verdict().is_ok());
    }
}
