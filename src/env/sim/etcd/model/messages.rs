//! What clients and members say to each other, and the inputs and outputs of one member.

use smol_str::SmolStr;

use crate::ids::NodeId;

/// A client's connection to one member. Assigned by the network, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// A client's request. Each has its connection to itself until it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// To grant a lease of this id for so many seconds.
    Grant {
        /// Its id.
        lease: i64,
        /// Its length.
        seconds: u64,
    },
    /// To keep a lease alive.
    KeepAlive {
        /// Its id.
        lease: i64,
    },
    /// To end a lease.
    Revoke {
        /// Its id.
        lease: i64,
    },
    /// To create a key with a lease, unless it is there, and to list all below a prefix.
    Enter {
        /// The key.
        key: SmolStr,
        /// The lease.
        lease: i64,
        /// The prefix.
        prefix: SmolStr,
    },
    /// To list all below a prefix.
    Line {
        /// The prefix.
        prefix: SmolStr,
    },
    /// To tell when a key has been deleted at this revision or later.
    Watch {
        /// The key.
        key: SmolStr,
        /// The revision.
        from: u64,
    },
    /// To delete a key.
    Delete {
        /// The key.
        key: SmolStr,
    },
}

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// The key.
    pub key: SmolStr,
    /// The revision at which it was created.
    pub created: u64,
    /// The lease that it lives with.
    pub lease: i64,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The lease is granted, for so many seconds.
    Granted(u64),
    /// The lease is kept alive for so many seconds; none if it is over.
    Alive(Option<u64>),
    /// The lease is over.
    Revoked,
    /// The keys, the one that was created first in front, and the store's revision.
    Line(Vec<Listed>, u64),
    /// Whether the key was there.
    Deleted(bool),
    /// The key has been deleted.
    Gone,
    /// An error: its gRPC code and text, as the gateway tells them.
    Error(i64, &'static str),
}

/// What a client asks of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// As [`Request::Grant`].
    Grant {
        /// Its id.
        lease: i64,
        /// Its length.
        seconds: u64,
    },
    /// As [`Request::Revoke`]; also what the leader asks of a lease that is over.
    Revoke {
        /// Its id.
        lease: i64,
    },
    /// As [`Request::Enter`], without the list.
    Enter {
        /// The key.
        key: SmolStr,
        /// The lease.
        lease: i64,
    },
    /// As [`Request::Delete`].
    Delete {
        /// The key.
        key: SmolStr,
    },
    /// What a new leader begins with.
    Nothing,
}

/// A request as the member knows it that was asked: its number in that member's life, and the life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The member.
    pub member: NodeId,
    /// How often it was started.
    pub life: u32,
    /// Counts its requests.
    pub number: u64,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Whose request it is, if it is a client's.
    pub ticket: Option<Ticket>,
    /// What it does.
    pub ask: Ask,
}

/// A place in the log: the term of the entry there, and how many entries there are up to it. Greater is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The term.
    pub term: u64,
    /// How many.
    pub index: u64,
}

/// What a member sends to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerMessage {
    /// Asks for a vote; `is_real` if the sender has begun the term, else only whether it would get it.
    Vote {
        /// The term that is to begin.
        term: u64,
        /// The end of the sender's log.
        last: Place,
        /// Whether it is more than a question.
        is_real: bool,
    },
    /// Answers it.
    Voted {
        /// The term that was asked about if it is granted, else the sender's.
        term: u64,
        /// Whether it was more than a question.
        is_real: bool,
        /// The vote.
        is_granted: bool,
    },
    /// To be written to the log.
    Append {
        /// The leader's term.
        term: u64,
        /// What the entries follow.
        after: Place,
        /// The entries.
        entries: Vec<Entry>,
        /// How many a majority has.
        committed: u64,
    },
    /// Answers it.
    Appended {
        /// The sender's term.
        term: u64,
        /// How many entries are the leader's; if they did not fit, how many there may be at most.
        index: u64,
        /// Whether they fitted.
        fits: bool,
    },
    /// A sign of life.
    Heartbeat {
        /// The leader's term.
        term: u64,
        /// How many of the follower's entries a majority has.
        committed: u64,
        /// Numbers the leader's questions whether it still leads.
        round: u64,
    },
    /// Answers it.
    Beaten {
        /// The sender's term.
        term: u64,
        /// The number.
        round: u64,
    },
    /// A client's request for the log.
    Propose {
        /// Whose.
        ticket: Ticket,
        /// What.
        ask: Ask,
    },
    /// Asks up to where one must have applied the log to read what a majority has.
    ReadIndex {
        /// For whom.
        ticket: Ticket,
    },
    /// Answers it.
    ReadAt {
        /// For whom.
        ticket: Ticket,
        /// Up to there.
        index: u64,
    },
    /// Asks the leader to keep a lease alive.
    Renew {
        /// For whom.
        ticket: Ticket,
        /// The lease.
        lease: i64,
    },
    /// Answers it.
    Renewed {
        /// For whom.
        ticket: Ticket,
        /// How many seconds it lasts, unless it is over.
        seconds: Option<u64>,
    },
}

/// What happens to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Its process starts.
    Started,
    /// Its timer is due.
    Timer,
    /// A client's request.
    FromClient(ConnectionId, Request),
    /// A member's message.
    FromPeer(NodeId, PeerMessage),
    /// A client's connection is closed.
    Closed(ConnectionId),
}

/// What a member wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be sent to another member.
    ToPeer(NodeId, PeerMessage),
    /// To be sent to a client.
    ToClient(ConnectionId, Answer),
}
