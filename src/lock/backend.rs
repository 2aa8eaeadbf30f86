//! The seam between the algorithms and the servers: the fewest verbs that the algorithms need.
//!
//! `client` implements it over the `redis` and `zookeeper-client` crates and over etcd's JSON gateway; a simulation
//! implements Redis' and ZooKeeper's part over models.
//!
//! **Contract of all futures here.** A request is sent when its future is first polled or, where there is no connection
//! yet, as soon as there is one; requests of one connection or session reach the server in the order in which they were
//! sent. Dropping a future abandons the *reply*: a request that was sent is carried out although nobody waits for it,
//! and one that still waited for a connection is not sent. No verb times out by itself: how long to wait is the
//! algorithm's decision. How a connection is opened, and how often that is tried, depends on no request
//! ([`super::opener`]).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;

use super::error::{EtcdError, NodeError, NodeOutcome, ZkError};
use crate::ids::{FencingToken, OwnerToken};

/// The answer to a request, when it comes.
pub type Reply<T, E> = BoxFuture<'static, Result<T, E>>;

/// What a compare-and-delete or compare-and-extend found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The key held our owner token; the command was carried out.
    Ours,
    /// The key did not exist.
    Absent,
    /// The key held another owner token; nothing was changed.
    Theirs,
}

/// What a client takes of a lock that several may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Share {
    /// The lock, together with other readers and with nobody else.
    Read,
    /// The lock, alone. A writer that readers keep out keeps new readers out, for this long or until it asks again.
    Write {
        /// As long as it may take until it asks again.
        waits: Duration,
    },
    /// One permit of so many.
    Permit {
        /// How many there are, by this client's count.
        of: u32,
    },
}

impl Share {
    /// The letter that a server knows it by.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write { .. } => "w",
            Self::Permit { .. } => "p",
        }
    }
}

/// Which connections requests travel on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// One that is kept and shared. If only the replies are lost, its requests are still carried out.
    #[default]
    Pooled,
    /// A new one for each request. If only the replies are lost, it never comes about, and nothing is carried out.
    /// Requests of one client may overtake each other.
    Fresh,
}

/// What is said on a channel from now on, until the connection is lost: then it ends. What was said before is not
/// heard, and what is said while a connection is dead, and nobody has noticed, is lost.
pub type Heard = BoxStream<'static, String>;

/// One Redis master.
pub trait RedisNode: Send + Sync {
    /// What to call it in messages.
    fn name(&self) -> &str;

    /// `SET key owner NX PX ttl`: whether the key was set.
    fn set_if_absent(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<bool, NodeError>;

    /// The same and, if the key was set, one more at the counter, in one step: what the counter says then, or `None` if
    /// the key was there. The counter never expires.
    fn set_and_count(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError>;

    /// The same, with a counter that starts, if it is not there, at the server's time of day in microseconds.
    fn set_and_fence(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError>;

    /// Raises the counter to `token` if the key holds `owner`: whether it does, and the counter is at `token` now.
    /// Never lowers it: a counter that is beyond stays there, and the answer is no.
    fn raise_if_owner(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        token: FencingToken,
    ) -> Reply<bool, NodeError>;

    /// Sets the key's time to live if it holds `owner`.
    fn extend_if_owner(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<Ownership, NodeError>;

    /// Deletes the key if it holds `owner`.
    fn delete_if_owner(&self, key: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError>;

    /// The same and, if it was deleted, calls the first in `line` who hears it, in one step.
    fn delete_and_call(&self, key: &str, line: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError>;

    /// If the key is there, puts `place` in the line, unless it stands there: at its end, or at its `front`. How long
    /// the key has left (for ever, if it has no deadline), or `None` if it is not there and nothing was done. The line
    /// as a whole is forgotten `patience` after the last who entered it.
    ///
    /// A place is `channel name`: who stands there is called by `name` on `channel`, and has left the line by that.
    fn stand_in_line(
        &self,
        key: &str,
        line: &str,
        place: &str,
        front: bool,
        patience: Duration,
    ) -> Reply<Option<Duration>, NodeError>;

    /// Takes `place` out of the line. If it had been called already and the key is not there, calls the next.
    fn leave_line(&self, key: &str, line: &str, place: &str) -> Reply<(), NodeError>;

    /// Listens on a channel, over a connection of its own, which lives as long as what is heard.
    fn listen(&self, channel: &str) -> Reply<Heard, NodeError>;

    /// Takes a share, if those that are taken leave one, for `ttl` by the server's time of day; and counts one more, as
    /// [`RedisNode::set_and_fence`]. Each share ends by itself, whatever becomes of the others.
    fn take_share(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
        share: Share,
    ) -> Reply<Option<FencingToken>, NodeError>;

    /// Sets the time to live of `owner`'s share, if it has one.
    fn extend_share(&self, key: &str, owner: &OwnerToken, ttl: Duration, share: Share) -> Reply<Ownership, NodeError>;

    /// Gives `owner`'s share back, if it has one.
    fn return_share(&self, key: &str, owner: &OwnerToken, share: Share) -> Reply<Ownership, NodeError>;
}

/// The life of a ZooKeeper session, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Connected to a server.
    Connected,
    /// Without connection; the session may live on at the servers.
    Disconnected,
    /// Over, and why. Its ephemeral znodes are gone or going.
    Ended(String),
}

/// What is known of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Znode {
    /// The transaction that created it: rises with every creation in the whole ensemble.
    pub czxid: u64,
    /// The session that it lives with, or 0.
    pub ephemeral_owner: i64,
}

/// What ended a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The znode was deleted.
    Deleted,
    /// Something else happened to it.
    Changed,
    /// The session ended.
    SessionEnded,
}

/// A one-shot watch: completes at the first event after the request that set it.
pub type Watch = BoxFuture<'static, WatchEvent>;

/// One session with a ZooKeeper ensemble. It is closed when the last handle is dropped.
pub trait ZkSession: Send + Sync {
    /// The session's id, as `ephemeral_owner` shows it.
    fn id(&self) -> i64;

    /// The session timeout that the ensemble granted.
    fn timeout(&self) -> Duration;

    /// Follows the session's state.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// Creates a persistent znode and its missing ancestors; one that exists already is as good.
    fn create_parents(&self, path: &str) -> Reply<(), ZkError>;

    /// Creates an ephemeral sequential znode: its full path, and what is known of it.
    fn create_contender(&self, prefix: &str) -> Reply<(String, Znode), ZkError>;

    /// The names (not paths) of a znode's children, in no order.
    fn children(&self, path: &str) -> Reply<Vec<String>, ZkError>;

    /// What is known of a znode, or `None` if it does not exist.
    fn stat(&self, path: &str) -> Reply<Option<Znode>, ZkError>;

    /// Sets a one-shot watch on a znode that exists; `None`, and no watch, if it does not.
    fn watch(&self, path: &str) -> Reply<Option<Watch>, ZkError>;

    /// Deletes a znode.
    fn delete(&self, path: &str) -> Reply<(), ZkError>;

    /// A round trip through the leader.
    fn sync(&self, path: &str) -> Reply<(), ZkError>;
}

/// Opens sessions with one ensemble.
pub trait ZkConnector: Send + Sync {
    /// Opens a new session.
    fn connect(&self) -> Reply<Arc<dyn ZkSession>, ZkError>;

    /// Looks at each server from outside, for whoever has to say why there is no session: by the server's name, what it
    /// shows. Empty if there is no way to look.
    fn look(&self) -> Vec<(String, BoxFuture<'static, NodeOutcome>)> {
        Vec::new()
    }
}

/// A key in etcd, as a lock needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdKey {
    /// The key.
    pub key: String,
    /// The revision of the whole store at which it was created: rises with every change of anything.
    pub created: u64,
    /// The lease that it lives with, or 0.
    pub lease: i64,
}

/// All keys below a prefix at one revision of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdLine {
    /// The keys, the one that was created first in front.
    pub keys: Vec<EtcdKey>,
    /// The revision.
    pub revision: u64,
}

/// The members of one etcd cluster. Each verb is asked of one of them, which answers for a majority; one whose answer
/// nobody waited for is not asked next. Every verb may be repeated until it is answered: what was carried out already
/// changes nothing and is answered alike.
pub trait EtcdCluster: Send + Sync {
    /// What to call it in messages.
    fn name(&self) -> &str;

    /// Grants a lease of this id, chosen by the caller, and of at least this length, in whole seconds: how long it is.
    /// One that is there already is as good, and as it is.
    fn grant(&self, lease: i64, ttl: Duration) -> Reply<Duration, EtcdError>;

    /// Has the lease last its whole length from when the leader does this: how long that is, or `None` if it is over.
    fn keep_alive(&self, lease: i64) -> Reply<Option<Duration>, EtcdError>;

    /// Ends the lease, and deletes all keys that live with it: whether it was there.
    fn revoke(&self, lease: i64) -> Reply<bool, EtcdError>;

    /// Creates `key`, unless it is there, to live with the lease, and lists all keys below `prefix`, in one step.
    /// [`EtcdError::NoLease`] if the lease is over: then nothing was created.
    fn enter(&self, key: &str, lease: i64, prefix: &str) -> Reply<EtcdLine, EtcdError>;

    /// Lists all keys below `prefix`, as a majority has them.
    fn line(&self, prefix: &str) -> Reply<EtcdLine, EtcdError>;

    /// Completes when `key` has been deleted at revision `from` or later, also long ago. An error says that nobody
    /// looks any more.
    fn deleted(&self, key: &str, from: u64) -> Reply<(), EtcdError>;

    /// Deletes a key: whether it was there. For whoever takes a lock away.
    fn delete(&self, key: &str) -> Reply<bool, EtcdError>;
}
