//! What servers say among themselves.
//!
//! Peers talk over numbered channels: an *association* stands for one TCP connection between a follower and its leader,
//! and a gap in its numbers for that connection's end. So nothing is assumed of the network but that it does not invent
//! messages; one that keeps order and loses nothing is used best.

use std::time::Duration;

use super::messages::{Change, Path, Refusal, Zxid};
use crate::ids::NodeId;

/// One transaction of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its number.
    pub zxid: Zxid,
    /// The session that it belongs to.
    pub session: i64,
    /// The client's number of the operation, 0 for those that are no operation's.
    pub xid: i32,
    /// What it does.
    pub transaction: Transaction,
}

/// What a transaction does. Everything is decided before it enters the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// Creates a znode.
    Create {
        /// Its full path.
        path: Path,
        /// The session that it lives with, or 0.
        ephemeral_owner: i64,
        /// What its parent counts of created children from then on.
        cversion: i32,
    },
    /// Deletes a znode.
    Delete {
        /// The znode.
        path: Path,
    },
    /// Opens the session.
    OpenSession {
        /// The session timeout granted.
        timeout: Duration,
    },
    /// Ends the session and deletes its ephemeral znodes.
    CloseSession,
    /// A change that was refused. It takes a number all the same.
    Error(Refusal),
}

/// What a server asks its leader for on behalf of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// To open a session.
    OpenSession {
        /// The session's id.
        session: i64,
        /// The session timeout granted.
        timeout: Duration,
    },
    /// To say whether a session is alive, and to note that it has moved here.
    Revalidate {
        /// The session's id.
        session: i64,
        /// The session timeout granted.
        timeout: Duration,
    },
    /// To propose a change.
    Change {
        /// The session's id.
        session: i64,
        /// The client's number of the operation.
        xid: i32,
        /// The change.
        change: Change,
    },
    /// To answer after all that was committed before.
    Sync {
        /// The session's id.
        session: i64,
        /// The client's number of the operation.
        xid: i32,
    },
}

/// One server's choice of a leader. Greater is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// The last epoch that the candidate was part of.
    pub epoch: u32,
    /// The last transaction in the candidate's log.
    pub zxid: Zxid,
    /// The candidate.
    pub leader: NodeId,
}

/// What a server is to its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Without a leader.
    Looking,
    /// With a leader.
    Following,
    /// The leader.
    Leading,
}

/// What a server tells its peers of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// The sender's count of elections. Votes of different ones are not counted together.
    pub round: u64,
    /// The sender's vote.
    pub vote: Vote,
    /// What the sender is.
    pub standing: Standing,
}

/// What a server sends to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage {
    /// A vote.
    Vote(Notification),
    /// From a follower to its leader.
    ToLeader {
        /// The connection that it belongs to.
        association: u64,
        /// Its number in this direction, from 0.
        number: u64,
        /// What is said.
        body: ToLeader,
    },
    /// From a leader to its follower.
    ToFollower {
        /// The connection that it belongs to.
        association: u64,
        /// Its number in this direction, from 0.
        number: u64,
        /// What is said.
        body: ToFollower,
    },
    /// There is no such connection, or no longer.
    Reset {
        /// The connection.
        association: u64,
    },
}

/// What a follower says to its leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ToLeader {
    /// Opens the connection.
    Hello {
        /// The last epoch that the follower has promised to follow.
        accepted_epoch: u32,
    },
    /// Promises to follow no older epoch.
    AckEpoch {
        /// The last epoch that the follower was part of; `None` if the promise is not new.
        current_epoch: Option<u32>,
        /// The last transaction in the follower's log.
        last: Zxid,
    },
    /// The history up to here is in the follower's log.
    AckHistory(Zxid),
    /// The transaction is in the follower's log.
    Ack(Zxid),
    /// A client's request.
    Forward(Forward),
    /// Answers a ping, with the sessions that gave a sign of life since the last one, and their timeouts.
    Pong(Vec<(i64, Duration)>),
}

/// What a leader says to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ToFollower {
    /// The epoch that begins.
    NewEpoch(u32),
    /// Makes the follower's log the leader's.
    History {
        /// The epoch that begins.
        epoch: u32,
        /// The follower forgets what it has after this transaction.
        keep: Zxid,
        /// What follows it.
        entries: Vec<Entry>,
    },
    /// The follower may serve clients.
    UpToDate {
        /// The last committed transaction.
        committed: Zxid,
    },
    /// To be written to the log and acknowledged.
    Proposal(Entry),
    /// All up to this transaction have a majority.
    Commit(Zxid),
    /// The answer to a `sync`.
    Synced {
        /// The session's id.
        session: i64,
        /// The client's number of the operation.
        xid: i32,
    },
    /// The answer to a revalidation.
    Revalidated {
        /// The session's id.
        session: i64,
        /// Whether the session is alive.
        alive: bool,
    },
    /// A sign of life, twice per tick.
    Ping,
}
