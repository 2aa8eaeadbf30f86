//! Taking a lease back: at every node that may have its key, until that is settled or the key has run out by itself.
//!
//! The caller of a release waits for a majority's answers and not for a dead minority's. The rest goes on in the
//! background: a node that did not answer is asked again, with growing pauses, and so is one that answered that it has
//! no key of ours while our request for its vote may still be on the way. All ends with the time to live of the last
//! key.
//!
//! Deliberately absent: the certainty that no key is left before its time to live is over. A request may be in the
//! network longer than anybody can wait.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::Shared;
use super::election::{Answer, Answers};
use super::lease::{Asked, Ballot, Lease};
use super::line::line;
use crate::lock::backend::Ownership;
use crate::lock::error::{NodeError, ReleaseOutcome};
use crate::lock::runtime::{before, unless};
use crate::time::Nanos;

/// The pause before a node is asked again for the first time. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a request may be without answer before another one is sent after it: on a connection that is dead without
/// anybody having noticed, the first would wait for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// An answer to a deletion; and whether the node was known to have given its vote when it was asked, so that the vote
/// could not come behind it.
type Deletion = BoxFuture<'static, (bool, Result<Ownership, NodeError>)>;

/// A lease that is being taken back. Dropped, it goes on in the background.
pub(super) struct TakeBack {
    lease: Lease,
    /// Votes that were asked for and have not come.
    votes: Answers<Asked>,
    deletions: Answers<Deletion>,
    /// By the node's place: when it was asked to delete, until that is settled.
    unsettled: Vec<Option<Nanos>>,
    /// Whether the background is where this is already.
    in_background: bool,
}

impl TakeBack {
    /// Asks every node that may have the key to delete it. `votes` are those still on their way.
    pub fn begin(lease: Lease, votes: Answers<Asked>) -> Self {
        let now = lease.shared.runtime.now();
        let ask = |node| (lease.ballots.get(node) != Ballot::Lost).then_some(now);
        let unsettled: Vec<_> = (0..lease.shared.nodes.len()).map(ask).collect();
        let this = Self { lease, votes, deletions: FuturesUnordered::new(), unsettled, in_background: false };
        (0..this.unsettled.len()).filter(|node| this.unsettled[*node].is_some()).for_each(|node| this.ask(node));
        this
    }

    fn ask(&self, node: usize) {
        let Lease { shared, key, owner, .. } = &self.lease;
        let reply = match shared.lines {
            None => shared.nodes[node].delete_if_owner(key, owner),
            Some(_) => shared.nodes[node].delete_and_call(key, &line(key), owner),
        };
        let is_last = self.lease.ballots.get(node) == Ballot::Won;
        let reply = reply.map(move |answer| (is_last, answer)).boxed();
        self.deletions.push(Answer { node, reply });
    }

    /// The next answer to a deletion; `None` if none is owed any more.
    async fn next(&mut self) -> Option<(usize, Result<Ownership, NodeError>)> {
        loop {
            tokio::select! {
                biased;
                // First, since a deletion's answer is judged by what is known of the vote.
                Some((node, vote)) = self.votes.next() => self.lease.ballots.answered(node, &vote),
                answer = self.deletions.next() => {
                    let (node, (is_last, answer)) = answer?;
                    self.settle(node, is_last, &answer);
                    return Some((node, answer));
                }
            }
        }
    }

    /// Whether the node need not be asked again after this answer.
    fn settle(&mut self, node: usize, is_last: bool, answer: &Result<Ownership, NodeError>) {
        let settled = match answer {
            Ok(Ownership::Ours) => true,
            // It may have overtaken the request for the vote, even if that has been answered by now.
            Ok(_) => is_last || self.lease.ballots.get(node) == Ballot::Lost,
            Err(_) => false,
        };
        if settled {
            self.unsettled[node] = None;
        }
    }

    /// Waits for a majority's answers, no longer than the node timeout, and says what they mean.
    pub async fn outcome(mut self) -> ReleaseOutcome {
        let shared = std::sync::Arc::clone(&self.lease.shared);
        let Shared { nodes, settings, runtime, .. } = &*shared;
        let needed = nodes.len() / 2 + 1;
        // A node whose vote was never ours says nothing else now.
        let never = self.unsettled.iter().filter(|asked| asked.is_none()).count();
        let (mut ours, mut absent, mut theirs) = (0, 0, 0);
        let mut failures = Vec::new();
        let mut patience = runtime.sleep_until(runtime.now() + settings.node_timeout);
        while ours < needed && never + absent + theirs <= nodes.len() - needed {
            match unless(&mut patience, self.next()).await {
                Some(Some((_, Ok(Ownership::Ours)))) => ours += 1,
                Some(Some((_, Ok(Ownership::Absent)))) => absent += 1,
                Some(Some((_, Ok(Ownership::Theirs)))) => theirs += 1,
                Some(Some((index, Err(error)))) => failures.push(format!("{}: {error}", nodes[index].name())),
                Some(None) | None => break,
            }
        }
        if ours >= needed {
            ReleaseOutcome::Released
        } else if never + absent + theirs > nodes.len() - needed {
            if theirs > 0 { ReleaseOutcome::TakenOver } else { ReleaseOutcome::AlreadyExpired }
        } else {
            let failures = if failures.is_empty() { String::new() } else { format!(": {}", failures.join("; ")) };
            let answered = ours + absent + theirs;
            ReleaseOutcome::Unknown(format!("{answered} of {} nodes answered in time{failures}", nodes.len()))
        }
    }

    /// Goes on until every node is settled or no key can be left.
    async fn finish(mut self) {
        let shared = std::sync::Arc::clone(&self.lease.shared);
        let runtime = &shared.runtime;
        let mut pause = FIRST_PAUSE;
        loop {
            let end = self.lease.ballots.end();
            let due = (runtime.now() + pause).min(end);
            while self.unsettled.iter().any(Option::is_some)
                && let Some(answer) = before(&**runtime, due, self.next()).await
            {
                if answer.is_none() {
                    // All have answered; some have to be asked again.
                    runtime.sleep_until(due).await;
                    break;
                }
            }
            let now = runtime.now();
            while let Some(Some((node, vote))) = self.votes.next().now_or_never() {
                self.lease.ballots.answered(node, &vote);
            }
            let owed: Vec<usize> = self.deletions.iter().map(|answer| answer.node).collect();
            for node in 0..self.unsettled.len() {
                let Some(asked) = self.unsettled[node] else { continue };
                if self.lease.ballots.get(node) == Ballot::Lost {
                    self.unsettled[node] = None;
                } else if now < end && (!owed.contains(&node) || now - asked >= PATIENCE) {
                    self.unsettled[node] = Some(now);
                    self.ask(node);
                }
            }
            if now >= end || self.unsettled.iter().all(Option::is_none) {
                return;
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

impl Drop for TakeBack {
    fn drop(&mut self) {
        let open = self.unsettled.iter().any(Option::is_some);
        // Also what is settled may have been asked a second time; that answer is of no interest.
        if !self.in_background && open {
            let rest = Self {
                lease: self.lease.clone(),
                votes: std::mem::take(&mut self.votes),
                deletions: std::mem::take(&mut self.deletions),
                unsettled: std::mem::take(&mut self.unsettled),
                in_background: true,
            };
            self.lease.shared.runtime.spawn(rest.finish().boxed());
        }
    }
}
