//! Why a lock was not acquired, why it was lost, how its release went, what a server answered.
//!
//! The difference between *certainly did not happen* and *may have happened* is decided here and in the backends'
//! adapters, nowhere else.

use std::time::Duration;

/// Why a request to one Redis node brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No connection could be made: the request was never sent.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The request was sent, or may have been, and no answer came.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// The server refused the request: it had no effect.
    #[error("refused: {0}")]
    Refused(String),
}

impl NodeError {
    /// Whether the request certainly had no effect.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unanswered(_))
    }
}

/// Why a request to the ZooKeeper ensemble brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZkError {
    /// The znode does not exist.
    #[error("no such znode")]
    NoNode,
    /// The znode exists already.
    #[error("the znode exists already")]
    NodeExists,
    /// The session is over, and with it its ephemeral znodes. An unanswered write may still have been carried out
    /// before that.
    #[error("the session has ended: {0}")]
    SessionEnded(String),
    /// The ensemble refused the request: it had no effect.
    #[error("refused: {0}")]
    Refused(String),
    /// The request was sent, or may have been, or may yet be, and no answer came.
    #[error("no answer: {0}")]
    Unanswered(String),
}

impl ZkError {
    /// Whether the request certainly had no effect.
    pub fn is_definite(&self) -> bool {
        matches!(self, Self::NoNode | Self::NodeExists | Self::Refused(_))
    }
}

/// Why one attempt did not bring the lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// Somebody else holds it, or the votes were split.
    #[error("held by another client ({votes} of {needed} votes, {conflicts} conflicts)")]
    Contended {
        /// Votes won. For ZooKeeper always 0.
        votes: usize,
        /// Votes needed.
        needed: usize,
        /// Nodes that answered that another client has their vote. For ZooKeeper: contenders ahead of us.
        conflicts: usize,
    },
    /// Too few servers answered.
    #[error("no quorum ({votes} of {needed} votes; {failures})")]
    NoQuorum {
        /// Votes won.
        votes: usize,
        /// Votes needed.
        needed: usize,
        /// What went wrong at which server.
        failures: String,
    },
    /// The votes came too late: nothing of the lease would be left to use.
    #[error("the lease was over before the votes were in")]
    ExpiredDuringAcquire,
    /// The session ended while the client waited for the lock.
    #[error("the session ended while waiting: {0}")]
    SessionEnded(String),
}

/// Why an acquire was given up. Nothing is held; votes and znodes of its attempts are being taken back, and vanish at
/// the latest with their TTL or session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The deadline passed.
    #[error("not acquired within {waited:?}: {last}")]
    DeadlineExceeded {
        /// How long it was tried.
        waited: Duration,
        /// Why the last attempt failed.
        last: AttemptError,
    },
    /// The servers refuse what a lock needs: credentials, access rights, settings. Trying again would not help.
    #[error("the servers refuse: {0}")]
    Refused(String),
}

/// Why a hold is over although its client did not release it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// The validity ran out.
    #[error("the validity ran out")]
    Expired,
    /// The servers say that the lock is no longer this client's.
    #[error("the servers no longer have it: {0}")]
    Revoked(String),
    /// The session ended.
    #[error("the session ended: {0}")]
    SessionEnded(String),
}

/// How a release went. In every case the client no longer holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// It was ours until now, and is free.
    Released,
    /// It was no longer ours: the lease or session had ended.
    AlreadyExpired,
    /// It was no longer ours, and another client had it.
    TakenOver,
    /// Too few servers answered to tell. Taking it back goes on in the background; it ends at the latest with the TTL
    /// or session.
    Unknown(String),
}
