//! What clients and servers say to each other.
//!
//! What servers say among themselves is in [`super::peers`].

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use crate::lock::backend::Znode;

/// The path of a znode: passed on from hand to hand, so copies are cheap.
pub type Path = SmolStr;

/// A client's connection to one server. Assigned by the network, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A transaction's number: the epoch of its leader above a counter of 32 bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// The zxid before all others.
    pub const ZERO: Self = Self(0);

    /// Transaction `counter` of `epoch`. Counting begins with 1.
    pub fn new(epoch: u32, counter: u32) -> Self {
        Self(u64::from(epoch) << 32 | u64::from(counter))
    }

    /// The epoch of the leader that proposed it.
    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch(), self.0 as u32)
    }
}

/// What proves that a client may take a session to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The session's id.
    pub session: i64,
    /// The session's password.
    pub password: u64,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// The first request of a connection.
    Connect {
        /// The session to go on with, or `None` for a new one.
        session: Option<Credentials>,
        /// The session timeout asked for.
        timeout: Duration,
        /// The last transaction that the client has seen: a server that lags behind it refuses the client.
        last_seen: Zxid,
    },
    /// A sign of life.
    Ping,
    /// Sets the watches of an earlier connection again.
    SetWatches {
        /// What happened after this transaction is reported at once.
        since: Zxid,
        /// Znodes that existed when they were watched.
        existing: Vec<Path>,
        /// Znodes that did not.
        missing: Vec<Path>,
    },
    /// An operation, to be answered with the same `xid`.
    Operation {
        /// The client's number of the operation.
        xid: i32,
        /// The operation.
        operation: Operation,
    },
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Changes something: goes through the leader's log.
    Change(Change),
    /// A znode's stat. With `watch`, the next creation or deletion of it is reported, whether it exists or not.
    Exists {
        /// The znode.
        path: Path,
        /// Whether to watch it.
        watch: bool,
    },
    /// The paths of a znode's children.
    Children {
        /// The znode.
        path: Path,
    },
    /// Takes this connection's watch from a znode.
    RemoveWatch {
        /// The znode.
        path: Path,
    },
    /// A round trip through the leader; the path has no influence here.
    Sync,
}

/// What a client wants changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Creates a znode.
    Create {
        /// Its path; a prefix of it if it is sequential.
        path: Path,
        /// What kind of znode.
        mode: CreateMode,
    },
    /// Deletes a znode.
    Delete {
        /// The znode.
        path: Path,
    },
    /// Ends the session.
    CloseSession,
}

/// The kinds of znodes that locks need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CreateMode {
    /// Lives until it is deleted.
    Persistent,
    /// Lives until its session ends, and carries a number that the server gives.
    EphemeralSequential,
}

/// What a server sends to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The session is open on this connection.
    Connected {
        /// The session.
        credentials: Credentials,
        /// The session timeout granted.
        timeout: Duration,
    },
    /// The session is over. The connection closes.
    Expired,
    /// The answer to a ping.
    Pong,
    /// The answer to `SetWatches`. The events of what was missed come before it.
    WatchesSet,
    /// A watch fired, and is gone.
    Event {
        /// The znode.
        path: Path,
        /// What happened to it.
        event: EventKind,
    },
    /// The answer to an operation.
    Done {
        /// The operation's number.
        xid: i32,
        /// The last transaction that the server had applied.
        zxid: Zxid,
        /// The answer.
        result: Result<Answer, Refusal>,
    },
}

/// What happened to a watched znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was created.
    Created,
    /// It was deleted.
    Deleted,
    /// It is not the one it was.
    Changed,
}

/// The answer to an operation that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The znode was created.
    Created {
        /// Its full path.
        path: Path,
        /// Its stat.
        stat: Stat,
    },
    /// The znode's stat, or `None` if it does not exist.
    Stat(Option<Stat>),
    /// The paths of the children.
    Children(Vec<Path>),
    /// Done.
    Empty,
}

/// What is known of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stat {
    /// The transaction that created it.
    pub czxid: Zxid,
    /// The session that it lives with, or 0.
    pub ephemeral_owner: i64,
}

impl From<Stat> for Znode {
    fn from(stat: Stat) -> Self {
        Self { czxid: stat.czxid.0, ephemeral_owner: stat.ephemeral_owner }
    }
}

/// Why an operation was not carried out. The texts are those of the `zookeeper-client` crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The znode, or the parent of the one to create, does not exist.
    #[error("node not exists")]
    NoNode,
    /// The znode exists already.
    #[error("node already exists")]
    NodeExists,
    /// The znode has children.
    #[error("node has not empty children")]
    NotEmpty,
    /// Ephemeral znodes have no children.
    #[error("ephemeral node can not have children")]
    NoChildrenForEphemerals,
    /// There is no such path.
    #[error("bad arguments")]
    BadArguments,
    /// The session is over.
    #[error("session expired")]
    SessionExpired,
    /// The session lives on another server now. Never told to a client: its connection is closed instead.
    #[error("session moved")]
    SessionMoved,
}
