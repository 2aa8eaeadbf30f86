//! A model of an etcd cluster, for trials in simulated time.
//!
//! [`Server`] is one member: a pure state machine that is handed its own monotonic clock, its timers and its messages,
//! and says what to send. Whoever drives it owns time, the network, crashes and freezes.
//!
//! Modelled, after etcd 3.5.16: Raft with randomised election timeouts, pre-votes and the quorum check by which a
//! leader that hears of nobody steps down; proposals that a follower passes on once; reads of a majority (ReadIndex);
//! leases on the leader's monotonic clock, which a new leader gives their whole length and an election timeout, looked
//! for every half second; keep-alives that a leader answers only after it has asked the others whether it still leads;
//! revisions; watches from a revision on; requests that time out and may have been carried out.
//!
//! | file | what lives there |
//! |---|---|
//! | `messages` | everything that is sent, and the inputs and outputs of a member |
//! | `raft` | terms, votes, the log, who leads |
//! | `store` | keys, leases and revisions as the log makes them |
//! | `server` | one member, from input to output: requests, watches, the leader's leases |
//!
//! Deliberately absent: values, transactions but the one that the lock needs, compaction and snapshots (the log is kept
//! whole), lease checkpoints (off as etcd comes), learners, changes of membership, leadership transfer, the time that a
//! disk takes, authentication.

pub mod messages;
mod raft;
pub mod server;
pub(in crate::env::sim::etcd) mod store;
#[cfg(test)]
mod tests;

pub use self::messages::{Answer, Ask, Input, Output, PeerMessage, Request};
pub use self::server::Server;
