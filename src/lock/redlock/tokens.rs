//! Fencing tokens for Redlock, from the votes themselves. Not part of the algorithm as published, which has none.
//!
//! Each node counts, per lock name, the votes that it gives: the vote and the count are one step. The *token* of a
//! grant is the highest count among its votes, once a majority of the nodes, each while it had the lock's key for this
//! very grant, has had its counter at that number. If the votes of a majority say the same, that is so already and
//! costs nothing. If they differ, the highest is written back before the guard is handed out: one more round trip, in
//! which any majority will do again. Validity counts from the first request all the same, and is looked at after it.
//!
//! **What holds, and why.** Of any two guards of one name, take a node that is in both majorities. It had its key for
//! one grant and then for the other, never for both. While it had it for the first, its counter was at the first's
//! token; the vote for the second raised it; so the second's token is higher. Therefore
//! - no two guards have the same token;
//! - a guard whose request was sent after another one had been returned has the higher token, and a resource that
//!   refuses lower tokens than it has seen ([`crate::ids::FencingToken`]) refuses the older;
//! - no clock comes into it. Pauses, delays, clocks that jump or drift, leases that run out early: two clients may
//!   believe to hold the lock at once, and their tokens are different and in order all the same.
//!
//! Late messages do no harm. A vote that arrives when its attempt has been given up makes a gap; gaps are legal. A
//! write-back is carried out only where the key still holds its own attempt's owner token, and never lowers a counter:
//! late, twice or not at all, it is as good as nothing. While a node has its key for one attempt, nobody else moves its
//! counter. A renewal moves no counter, and a lock without tokens on the same name does not either.
//!
//! **What does not hold.**
//! - Everything rests on counters that never go back. A node that forgets (a restart without persistence, a power loss
//!   before the next fsync, `FLUSHALL`, eviction, a replica that takes over with less than its master had) may give a
//!   count twice, and where it is the one node that two majorities share, tokens repeat and fall. Only `appendfsync
//!   always`, or keeping such a node away for good, closes that. Waiting for the longest lease, which is enough for
//!   Redlock's mutual exclusion, is not.
//! - Of two guards whose acquires were concurrent, the one that was returned first may have the higher token. That
//!   takes a vote that ended before its grant was returned, so it takes clocks that are wrong: else the validity is
//!   over first.
//! - Mutual exclusion is what it was. A token says who came later, not who holds the lock.
//!
//! Counters have no time to live: one small key per name that was ever locked stays at every node.
//!
//! Deliberately absent: a start from the time of day, which would hide a node's amnesia as long as clocks are right,
//! and rest the order on clocks.

use super::election::{Election, Failure};
use super::{Lease, Shared};
use crate::ids::FencingToken;
use crate::lock::error::NodeOutcome;

/// Where a [`Redlock`](super::Redlock)'s fencing tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// There are none, as published.
    #[default]
    None,
    /// From counters of votes: the highest count of a majority. They rise with every grant as long as no node forgets.
    Quorum,
}

impl Tokens {
    /// What stays at every node for good, as a pattern of keys: the counters of votes.
    #[cfg(feature = "harness")]
    pub(crate) fn permanent(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Quorum => "#{lock}",
        }
    }

    /// The key of the counter that belongs to a lock's key, if there is one.
    pub(super) fn counter(self, key: &str) -> Option<String> {
        match self {
            Self::None => None,
            // Before the key, not behind it: there it could be another lock's name.
            Self::Quorum => Some(format!("#{key}")),
        }
    }
}

impl Lease {
    /// The token of a grant with these counts, which are none without tokens: the highest, once a majority has it.
    ///
    /// # Errors
    /// No majority has both our vote and, now, this count.
    pub(super) async fn agree(&self, counts: &[FencingToken]) -> Result<Option<FencingToken>, Failure> {
        let (Some(counter), Some(token)) = (&self.counter, counts.iter().copied().max()) else { return Ok(None) };
        let Shared { nodes, runtime, .. } = &*self.shared;
        let needed = nodes.len() / 2 + 1;
        if counts.iter().filter(|count| **count == token).count() < needed {
            let mut election = Election::new(nodes.len(), runtime.now());
            // Everywhere: a node whose vote is still on its way may stand in for one that has fallen silent.
            let mut raised = self.ask(|node| node.raise_if_owner(&self.key, counter, &self.owner, token));
            let judge = |_, raised| match raised {
                Ok(true) => NodeOutcome::Vote,
                Ok(false) => NodeOutcome::Conflict,
                Err(error) => NodeOutcome::Failed(error),
            };
            election.hold(&self.shared, &mut raised, judge).await;
            election.verdict(nodes, runtime.now())?;
        }
        Ok(Some(token))
    }
}
