//! One grant, or the attempt at it: its votes, its renewal until it is over, and its extension when the holder asks for
//! it.
//!
//! What is known of each node's vote is kept in [`Ballots`], which the attempt, the renewal and the take-back
//! ([`super::undo`]) share. Deliberately absent: when a grant is handed out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Shared;
use super::election::{Answer, Answers, Election, Failure, Reply};
use super::undo::TakeBack;
use crate::ids::{FencingToken, OwnerToken};
use crate::lock::backend::{Ownership, RedisNode, Reply as Sent};
use crate::lock::error::{ConfigError, ExtendError, LostReason, NodeError, NodeOutcome};
use crate::lock::guard::Hold;
use crate::lock::runtime::{before, jitter};
use crate::lock::stops::Stops;
use crate::lock::trace;
use crate::lock::validity::valid_until;
use crate::phase::Phase;
use crate::time::Nanos;

/// One grant, or the attempt at it: what it takes to undo it.
#[derive(Clone)]
pub(super) struct Lease {
    pub shared: Arc<Shared>,
    pub key: String,
    /// The key of the votes' counter, if they are counted.
    pub counter: Option<String>,
    pub owner: OwnerToken,
    pub ballots: Arc<Ballots>,
    /// Where the attempt and the renewals can be stopped, in trials.
    pub stops: Stops,
}

/// What is known of one node's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ballot {
    /// Asked for its vote; no answer yet.
    Open,
    /// It gave its vote.
    Won,
    /// It has not given its vote and will not: nothing of ours is there or on the way there.
    Lost,
    /// It was asked, and nobody will ever know what it did or will do.
    Unknown,
}

/// What is known of every node's key, and until when anything of it can matter. Durations and instants are in
/// nanoseconds.
pub(super) struct Ballots {
    nodes: Vec<AtomicU8>,
    /// By the node's place: the shortest time to live of all requests to extend its key that no answer has followed.
    /// Such a request may yet be carried out, after a later one too where connections are several, and give the key
    /// less than that one did.
    unanswered: Vec<AtomicU64>,
    /// The time to live that keys are given now.
    ttl: AtomicU64,
    /// When the last key to run out does.
    end: AtomicU64,
    /// Held while nodes are asked to extend: one at a time.
    extending: tokio::sync::Mutex<()>,
}

fn nanos(duration: Duration) -> u64 {
    (Nanos::ZERO + duration).0
}

impl Ballots {
    /// All nodes are about to be asked, for keys that live for `ttl`.
    pub fn new(nodes: usize, sent: Nanos, ttl: Duration) -> Self {
        Self {
            nodes: (0..nodes).map(|_| AtomicU8::new(Ballot::Open as u8)).collect(),
            unanswered: (0..nodes).map(|_| AtomicU64::new(u64::MAX)).collect(),
            ttl: AtomicU64::new(nanos(ttl)),
            end: AtomicU64::new((sent + ttl).0),
            extending: tokio::sync::Mutex::default(),
        }
    }

    /// The time to live that keys are given now.
    pub fn ttl(&self) -> Duration {
        Duration::from_nanos(self.ttl.load(Ordering::SeqCst))
    }

    pub fn get(&self, node: usize) -> Ballot {
        match self.nodes[node].load(Ordering::SeqCst) {
            known if known == Ballot::Open as u8 => Ballot::Open,
            known if known == Ballot::Won as u8 => Ballot::Won,
            known if known == Ballot::Lost as u8 => Ballot::Lost,
            _ => Ballot::Unknown,
        }
    }

    fn set(&self, node: usize, ballot: Ballot) {
        self.nodes[node].store(ballot as u8, Ordering::SeqCst);
    }

    /// Takes note of what a node answered when it was asked for its vote.
    pub fn answered<T>(&self, node: usize, answer: &Result<Option<T>, NodeError>) {
        self.set(
            node,
            match answer {
                Ok(Some(_)) => Ballot::Won,
                Ok(None) => Ballot::Lost,
                Err(error) if error.is_definite() => Ballot::Lost,
                Err(_) => Ballot::Unknown,
            },
        );
    }

    /// A request is sent that gives a key `ttl` to live.
    fn sending(&self, now: Nanos, ttl: Duration) {
        self.end.fetch_max((now + ttl).0, Ordering::SeqCst);
    }

    /// When no key of this lease is left at any node.
    pub fn end(&self) -> Nanos {
        Nanos(self.end.load(Ordering::SeqCst))
    }
}

/// One node's vote: none if another client has it; if votes are counted, with the node's count of them.
pub(super) type Vote = Option<Option<FencingToken>>;

/// A vote that was asked for.
pub(super) enum Asked {
    Plain(Sent<bool, NodeError>),
    Counted(Sent<Option<FencingToken>, NodeError>),
}

impl Future for Asked {
    type Output = Result<Vote, NodeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Plain(reply) => reply.poll_unpin(context).map_ok(|set| set.then_some(None)),
            Self::Counted(reply) => reply.poll_unpin(context).map_ok(|count| count.map(Some)),
        }
    }
}

/// Refuses a lease of which nothing would be left.
pub(super) fn bearable(ttl: Duration) -> Result<(), ConfigError> {
    match valid_until(Nanos::ZERO, ttl) {
        Nanos::ZERO => Err(ConfigError::TtlTooShort(ttl)),
        _ => Ok(()),
    }
}

/// What the nodes say to being asked to extend.
struct Extended {
    election: Election,
    /// Those that have no key of anybody's.
    without: Vec<usize>,
    /// Those that have not answered yet.
    answers: Answers<Sent<Ownership, NodeError>>,
}

impl Lease {
    /// Prepares one request to every node; they are sent at the first poll.
    pub fn ask<T, F: Reply<T>>(&self, request: impl Fn(&dyn RedisNode) -> F) -> Answers<F> {
        let nodes = self.shared.nodes.iter().enumerate();
        nodes.map(|(place, node)| Answer { node: place, reply: request(&**node) }).collect()
    }

    /// Asks one node for its vote.
    pub fn vote(&self, node: &dyn RedisNode) -> Asked {
        let Self { key, counter, owner, shared, .. } = self;
        let ttl = self.ballots.ttl();
        match counter {
            None => Asked::Plain(node.set_if_absent(key, owner, ttl)),
            Some(counter) if shared.from_clock => Asked::Counted(node.set_and_fence(key, counter, owner, ttl)),
            Some(counter) => Asked::Counted(node.set_and_count(key, counter, owner, ttl)),
        }
    }

    /// Hears the votes of those that were not waited for, in the background, until none of them can matter.
    pub fn count_late(&self, mut votes: Answers<Asked>) {
        if votes.is_empty() {
            return;
        }
        let lease = self.clone();
        let count = async move {
            let runtime = &lease.shared.runtime;
            loop {
                let end = lease.ballots.end();
                match before(&**runtime, end, votes.next()).await {
                    Some(Some((node, vote))) => lease.ballots.answered(node, &vote),
                    Some(None) => return,
                    // Unless the lease was extended meanwhile, nobody will ever know.
                    None if runtime.now() < lease.ballots.end() => {}
                    None => return votes.iter().for_each(|vote| lease.ballots.set(vote.node, Ballot::Unknown)),
                }
            }
        };
        self.shared.runtime.spawn(count.boxed());
    }

    /// Renews the lease every third of its length until it is released, lost, or at its last end. Never revives a
    /// lapsed one: once the validity is over the hold is lost for good, whatever the nodes answer.
    ///
    /// A minority that no longer has the key, or never had it, is asked for its vote anew each time: else each node
    /// that forgets would bring the lease nearer to its end.
    pub async fn renew(self, hold: Arc<Hold>, mut sent: Nanos, last_end: Nanos, token: Option<FencingToken>) {
        let Shared { nodes, settings, runtime, .. } = &*self.shared;
        let mut pause = self.ballots.ttl() / 3;
        loop {
            let until = hold.validity().until;
            let due = (sent + pause).min(until);
            if before(&**runtime, due, hold.over()).await.is_some() {
                return;
            }
            let _one_at_a_time = self.ballots.extending.lock().await;
            // The holder may have extended it meanwhile.
            let (until, ttl) = (hold.validity().until, self.ballots.ttl());
            sent = runtime.now();
            if sent >= until {
                hold.end();
                if until >= last_end {
                    // Nobody may ever come to give it back.
                    drop(TakeBack::begin(self.clone(), FuturesUnordered::new()));
                }
                return;
            }
            let Extended { election, without, answers } = self.ask_to_extend(sent, ttl).await;
            let now = runtime.now();
            if now >= hold.validity().until {
                return hold.end();
            }
            let verdict = election.verdict(nodes, now);
            let told = verdict.as_ref().err().map(Failure::to_string);
            trace::renewal(&self.key, self.owner.as_str(), told.as_deref());
            pause = match verdict {
                Ok(()) => {
                    hold.extend(valid_until(sent, ttl), last_end);
                    runtime.spawn(self.clone().top_up(Arc::clone(&hold), without, answers, token).boxed());
                    ttl / 3
                }
                // So many nodes have forgotten us that no majority can be ours.
                Err(_) if election.is_lost() => return hold.lose(self.revoked(&election)),
                Err(failure) => {
                    hold.update(|validity| validity.suspect = true);
                    match failure {
                        Failure::Attempt(_) => jitter(&**runtime, settings.retry_delay_min, settings.retry_delay_max),
                        // It may be mended before the lease is over, but not within milliseconds.
                        Failure::Denied(_) => ttl / 10,
                    }
                }
            };
        }
    }

    /// Has the lease last `ttl` from now, if the hold is not over and a majority answers.
    pub async fn extend(
        self,
        hold: Arc<Hold>,
        ttl: Duration,
        last_end: Nanos,
        token: Option<FencingToken>,
    ) -> Result<Nanos, ExtendError> {
        bearable(ttl).map_err(ExtendError::TtlTooShort)?;
        let Shared { nodes, runtime, .. } = &*self.shared;
        let _one_at_a_time = self.ballots.extending.lock().await;
        let sent = runtime.now();
        if let Some(reason) = hold.lost_at(sent) {
            return Err(ExtendError::Lost(reason));
        }
        let (before, after) = (hold.validity().until, valid_until(sent, ttl));
        if after < before {
            return Err(ExtendError::Shorter(before - sent));
        }
        let Extended { election, without, answers } = self.ask_to_extend(sent, ttl).await;
        let now = runtime.now();
        // Also if all nodes have extended it by now: its holder was told that it is over.
        if let Some(reason) = hold.lost_at(now) {
            hold.end();
            return Err(ExtendError::Lost(reason));
        }
        match election.verdict(nodes, now) {
            Ok(()) => {
                self.ballots.ttl.store(nanos(ttl), Ordering::SeqCst);
                hold.extend(after, last_end);
                runtime.spawn(self.clone().top_up(Arc::clone(&hold), without, answers, token).boxed());
                Ok(hold.validity().until)
            }
            Err(_) if election.is_lost() => {
                let reason = self.revoked(&election);
                hold.lose(reason.clone());
                Err(ExtendError::Lost(reason))
            }
            Err(Failure::Attempt(error)) => Err(ExtendError::Failed(error)),
            Err(Failure::Denied(reason)) => Err(ExtendError::Refused(reason)),
        }
    }

    /// Asks all nodes to give our key `ttl` from `sent` on, and waits for a majority's answers.
    async fn ask_to_extend(&self, sent: Nanos, ttl: Duration) -> Extended {
        let Self { shared, key, owner, ballots, .. } = self;
        ballots.sending(sent, ttl);
        let mut answers = self.ask(|node| node.extend_if_owner(key, owner, ttl));
        let earlier: Vec<u64> =
            ballots.unanswered.iter().map(|shortest| shortest.fetch_min(nanos(ttl), Ordering::SeqCst)).collect();
        let mut election = Election::new(shared.nodes.len(), sent);
        let mut without = Vec::new();
        let mut judge = |node: usize, answer: Result<Ownership, NodeError>| {
            if answer.as_ref().map_or_else(NodeError::is_definite, |_| true) {
                ballots.unanswered[node].store(earlier[node], Ordering::SeqCst);
            }
            match answer {
                Ok(Ownership::Ours) if earlier[node] < nanos(ttl) => {
                    ballots.set(node, Ballot::Won);
                    let shorter = "an earlier request for less time may come after this one".to_owned();
                    NodeOutcome::Failed(NodeError::Unanswered(shorter))
                }
                Ok(Ownership::Ours) => {
                    ballots.set(node, Ballot::Won);
                    NodeOutcome::Vote
                }
                Ok(found) => {
                    without.extend((found == Ownership::Absent).then_some(node));
                    NodeOutcome::Conflict
                }
                Err(error) => NodeOutcome::Failed(error),
            }
        };
        election.open(self, Phase::Renewing, &mut answers, &mut judge).await;
        election.hold(shared, &mut answers, judge).await;
        Extended { election, without, answers }
    }

    fn revoked(&self, election: &Election) -> LostReason {
        let (conflicts, nodes) = (election.conflicts, self.shared.nodes.len());
        LostReason::Revoked(format!("{conflicts} of {nodes} nodes no longer have the vote"))
    }

    /// Asks the nodes `without` our key, and those among the late `answers` that turn out to be, for their votes. Only
    /// after a renewal that a majority answered: a lease that lapsed must not come back.
    async fn top_up(
        self,
        hold: Arc<Hold>,
        mut without: Vec<usize>,
        mut answers: Answers<Sent<Ownership, NodeError>>,
        token: Option<FencingToken>,
    ) {
        let runtime = &self.shared.runtime;
        let over = hold.validity().until;
        loop {
            if let Some(node) = without.pop() {
                self.ask_again(&hold, node, token).await;
                continue;
            }
            match before(&**runtime, over.min(self.ballots.end()), answers.next()).await {
                Some(Some((node, Ok(Ownership::Absent)))) => without.push(node),
                Some(Some((node, Ok(Ownership::Ours)))) => self.ballots.set(node, Ballot::Won),
                Some(Some(_)) => {}
                Some(None) | None => return,
            }
        }
    }

    async fn ask_again(&self, hold: &Hold, node: usize, token: Option<FencingToken>) {
        let Shared { nodes, runtime, .. } = &*self.shared;
        let ttl = self.ballots.ttl();
        let known = self.ballots.get(node);
        if known == Ballot::Open {
            // A request for its vote is on its way, and was overtaken by the one to extend what it was to bring.
            return;
        }
        self.ballots.set(node, Ballot::Open);
        // In this order: whoever takes the lease back looks at the ballots after it has ended the hold.
        let validity = hold.validity();
        if validity.released || validity.lost.is_some() || runtime.now() >= validity.until {
            return self.ballots.set(node, known);
        }
        self.ballots.sending(runtime.now(), ttl);
        let mut vote = nodes[node].set_if_absent(&self.key, &self.owner, ttl);
        let Some(answer) = before(&**runtime, validity.until, &mut vote).await else {
            return self.ballots.set(node, Ballot::Unknown);
        };
        self.ballots.answered(node, &answer.map(|set| set.then_some(())));
        if self.ballots.get(node) == Ballot::Lost && known != Ballot::Lost {
            // The key that is there may be ours, by an earlier request that this one overtook.
            self.ballots.set(node, Ballot::Unknown);
        }
        if let (Ballot::Won, Some(counter), Some(token)) = (self.ballots.get(node), &self.counter, token) {
            // A node that forgot its key forgot its count: without this it would give the token once more.
            let _ =
                before(&**runtime, validity.until, nodes[node].raise_if_owner(&self.key, counter, &self.owner, token))
                    .await;
        }
    }
}

#[cfg(test)]
mod tests;
