//! What the nodes say to one request that was sent to all of them, and what a majority of that means.
//!
//! Deliberately absent: what is asked, and what becomes of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Shared;
use super::lease::Lease;
use crate::lock::backend::RedisNode;
use crate::lock::error::{AttemptError, AttemptReport, NodeError, NodeOutcome, NodeReport};
use crate::lock::runtime::unless;
use crate::phase::Phase;
use crate::time::Nanos;

/// The answers of the nodes to one request, as they come in.
pub(super) type Answers<F> = FuturesUnordered<Answer<F>>;

/// What a node says to a request, when it comes.
pub(super) trait Reply<T>: Future<Output = Result<T, NodeError>> + Unpin {}

impl<T, F: Future<Output = Result<T, NodeError>> + Unpin> Reply<T> for F {}

/// The answer of one node, when it comes, with the node's place in the list.
pub(super) struct Answer<F> {
    pub node: usize,
    pub reply: F,
}

impl<F: Future + Unpin> Future for Answer<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let node = self.node;
        Pin::new(&mut self.reply).poll(context).map(|reply| (node, reply))
    }
}

/// Why an attempt is over without a grant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The next attempt may bring it.
    Attempt(AttemptError),
    /// So many nodes refuse for good that none will.
    Denied(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt(error) => error.fmt(f),
            Self::Denied(reason) => f.write_str(reason),
        }
    }
}

impl From<AttemptError> for Failure {
    fn from(error: AttemptError) -> Self {
        Self::Attempt(error)
    }
}

/// The nodes' answers so far.
pub(super) struct Election {
    needed: usize,
    sent: Nanos,
    /// By the node's place: what it said and when.
    said: Vec<Option<(NodeOutcome, Nanos)>>,
    pub votes: usize,
    pub conflicts: usize,
    failures: usize,
    denials: usize,
}

impl Election {
    /// Nobody has answered the request that was sent to `nodes` nodes at `sent`.
    pub fn new(nodes: usize, sent: Nanos) -> Self {
        let said = vec![None; nodes];
        Self { needed: nodes / 2 + 1, sent, said, votes: 0, conflicts: 0, failures: 0, denials: 0 }
    }

    /// Takes note of an answer.
    pub fn note(&mut self, node: usize, outcome: NodeOutcome, now: Nanos) {
        match &outcome {
            NodeOutcome::Vote => self.votes += 1,
            NodeOutcome::Conflict => self.conflicts += 1,
            NodeOutcome::Failed(error) => {
                self.failures += 1;
                self.denials += usize::from(matches!(error, NodeError::Denied(_)));
            }
            NodeOutcome::Silent => {}
        }
        self.said[node] = Some((outcome, now));
    }

    /// How many nodes a majority can do without.
    fn spare(&self) -> usize {
        self.said.len() - self.needed
    }

    /// Whether waiting on would change nothing: won, or no majority of answers to be had, or lost by the answers of a
    /// majority. Fewer answers than that could not tell a lock that is held from nodes that are down.
    pub fn is_decided(&self) -> bool {
        let answers = self.votes + self.conflicts;
        self.votes >= self.needed
            || self.failures > self.spare()
            || (self.conflicts + self.failures > self.spare() && answers >= self.needed)
    }

    /// Whether the votes can no longer be a majority's, whatever the others say.
    pub fn is_lost(&self) -> bool {
        self.conflicts > self.spare()
    }

    /// What it comes to at `now`, after which nobody is waited for.
    pub fn verdict(&self, nodes: &[Arc<dyn RedisNode>], now: Nanos) -> Result<(), Failure> {
        let Self { needed, votes, conflicts, .. } = *self;
        if votes >= needed {
            return Ok(());
        }
        let report = self.report(nodes, now);
        if self.denials > self.spare() {
            Err(Failure::Denied(report.to_string()))
        } else if votes + conflicts >= needed {
            // A majority answered; another client, or several, have the votes.
            Err(AttemptError::Contended { votes, needed, conflicts, nodes: report }.into())
        } else {
            Err(AttemptError::NoQuorum { votes, needed, nodes: report }.into())
        }
    }

    fn report(&self, nodes: &[Arc<dyn RedisNode>], now: Nanos) -> AttemptReport {
        let of = |(node, said): (&Arc<dyn RedisNode>, &Option<(NodeOutcome, Nanos)>)| {
            let (outcome, at) = said.clone().unwrap_or((NodeOutcome::Silent, now));
            NodeReport { node: node.name().to_owned(), outcome, latency: at - self.sent }
        };
        AttemptReport(nodes.iter().zip(&self.said).map(of).collect())
    }

    /// Sends the requests to all nodes, and announces that they are on their way. Whoever has answered by then is
    /// noted.
    pub async fn open<T, F: Reply<T>>(
        &mut self,
        lease: &Lease,
        phase: Phase,
        answers: &mut Answers<F>,
        mut judge: impl FnMut(usize, Result<T, NodeError>) -> NodeOutcome,
    ) {
        // Polling until nothing is ready sends all.
        let mut early = Vec::new();
        while let Some(Some(answer)) = answers.next().now_or_never() {
            early.push((answer, lease.shared.runtime.now()));
        }
        lease.stops.reached(phase).await;
        for ((node, answer), at) in early {
            self.note(node, judge(node, answer), at);
        }
    }

    /// Gathers answers until they decide, or until the node timeout counts the silent ones as failed. Whoever has not
    /// answered by then is left in `answers`. `judge` says what an answer means.
    pub async fn hold<T, F: Reply<T>>(
        &mut self,
        shared: &Shared,
        answers: &mut Answers<F>,
        mut judge: impl FnMut(usize, Result<T, NodeError>) -> NodeOutcome,
    ) {
        let Shared { settings, runtime, .. } = shared;
        let mut patience = runtime.sleep_until(self.sent + settings.node_timeout);
        while !self.is_decided() {
            match unless(&mut patience, answers.next()).await {
                Some(Some((node, answer))) => {
                    let outcome = judge(node, answer);
                    self.note(node, outcome, runtime.now());
                }
                Some(None) | None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(votes: usize, conflicts: usize, failures: &[NodeError]) -> Election {
        let mut election = Election::new(5, Nanos::ZERO);
        let votes = std::iter::repeat_n(NodeOutcome::Vote, votes);
        let conflicts = std::iter::repeat_n(NodeOutcome::Conflict, conflicts);
        let failures = failures.iter().cloned().map(NodeOutcome::Failed);
        for (node, outcome) in votes.chain(conflicts).chain(failures).enumerate() {
            election.note(node, outcome, Nanos::ZERO);
        }
        election
    }

    #[test]
    fn a_held_lock_is_told_from_nodes_that_are_down() {
        let down = NodeError::Unreachable("down".to_owned());
        let down = |count| vec![down.clone(); count];
        let verdict = |election: &Election| election.verdict(&[], Nanos::ZERO);
        // Two of five are down and the first of the others says no: it may be alone with that.
        assert!(!election(0, 1, &down(2)).is_decided());
        for (votes, conflicts, failures) in [(0, 3, 2), (2, 1, 2), (0, 3, 0)] {
            let election = election(votes, conflicts, &down(failures));
            assert!(election.is_decided());
            assert!(
                matches!(verdict(&election), Err(Failure::Attempt(AttemptError::Contended { .. }))),
                "{votes} {conflicts} {failures}"
            );
        }
        assert!(election(0, 0, &down(3)).is_decided());
        let none = verdict(&election(2, 0, &down(3)));
        assert!(matches!(none, Err(Failure::Attempt(AttemptError::NoQuorum { votes: 2, needed: 3, .. }))));
        assert!(election(3, 0, &[]).is_decided() && verdict(&election(3, 1, &down(1))).is_ok());
    }

    #[test]
    fn only_a_majority_that_refuses_for_good_ends_the_acquire() {
        let denied = NodeError::Denied("NOAUTH".to_owned());
        let passing = NodeError::Refused("LOADING".to_owned());
        let of = |failures: &[NodeError]| election(0, 0, failures).verdict(&[], Nanos::ZERO);
        assert!(matches!(of(&vec![denied.clone(); 3]), Err(Failure::Denied(_))));
        let mixed = [denied.clone(), denied, passing.clone()];
        assert!(matches!(of(&mixed), Err(Failure::Attempt(AttemptError::NoQuorum { .. }))));
        assert!(matches!(of(&vec![passing; 5]), Err(Failure::Attempt(AttemptError::NoQuorum { .. }))));
    }
}
