//! Why a lock was not acquired, why it was lost, how its release went, what a server answered.
//!
//! The difference between *certainly did not happen* and *may have happened* is decided here and in the backends'
//! adapters, nowhere else.

use std::fmt;
use std::time::Duration;

use super::name::NameError;

/// Why a lock cannot be made of these nodes and settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no node to ask.
    #[error("a Redlock needs at least one node, better five")]
    NoNodes,
    /// One node is listed more than once: its vote would count more than once.
    #[error("the node {0} is listed twice: its vote would count twice")]
    NodeTwice(String),
    /// Nothing of such a lease is left after what clocks may drift and keys take to expire: 1 % and 2 ms.
    #[error("a lease of {0:?} is too short: nothing of it is left after 1 % and 2 ms for clocks and expiry")]
    TtlTooShort(Duration),
    /// No node could answer in no time.
    #[error("the node timeout is zero: no node could answer in time")]
    NoNodeTimeout,
    /// A guard that may last no time is lost when it is given.
    #[error("the longest hold is zero: a guard would be lost as soon as it is given")]
    NoMaxHold,
    /// etcd counts leases in whole seconds.
    #[error("etcd takes leases of whole seconds, not of {0:?}")]
    NotWholeSeconds(Duration),
    /// A TTL was asked for of a lock whose hold lasts as long as a session, or as long as a process.
    #[error(
        "this lock has no TTL: its hold lasts as long as its session; set the session timeout where the lock is made, or \
         a longest hold for the call"
    )]
    NoLease,
    /// A lock of this kind has several holders, and in etcd there is none yet.
    #[error("no {0} in etcd: use ZooKeeper or one Redis server")]
    NotOnEtcd(&'static str),
    /// A lock of this kind has several holders, and over several masters that cannot be done.
    #[error(
        "no {0} over several Redis masters: votes and tokens rest on each master having one holder at a time (of three \
         masters with two permits each, three clients could have two votes each); use one Redis server or ZooKeeper"
    )]
    NotOnRedlock(&'static str),
}

/// What one server had to say in an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOutcome {
    /// Its vote is ours.
    Vote,
    /// Another client has its vote.
    Conflict,
    /// It could not be asked, gave no usable answer, or refused.
    Failed(NodeError),
    /// Nothing, when the attempt was decided or its time was up.
    Silent,
}

/// One server's part in an attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// What the server is called.
    pub node: String,
    /// What it had to say.
    pub outcome: NodeOutcome,
    /// From the sending of the request to the answer; for a silent one, how long it was waited for.
    pub latency: Duration,
}

/// What each server had to say, in the order in which the lock lists them. Shown, it names those that failed or were
/// silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptReport(pub Vec<NodeReport>);

impl fmt::Display for AttemptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for NodeReport { node, outcome, latency } in &self.0 {
            match outcome {
                NodeOutcome::Vote | NodeOutcome::Conflict => continue,
                NodeOutcome::Failed(error) => write!(f, "{separator}{node}: {error}")?,
                NodeOutcome::Silent => write!(f, "{separator}{node}: no answer within {latency:?}")?,
            }
            separator = "; ";
        }
        Ok(())
    }
}

/// Why a request to one Redis node brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No connection could be made: the request was never sent.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The request was sent, or may have been, and no answer came.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// The server refused the request for now: it had no effect.
    #[error("refused: {0}")]
    Refused(String),
    /// The server refused the request and will refuse the next one: credentials, access rights, settings. It had no
    /// effect.
    #[error("denied: {0}")]
    Denied(String),
}

/// Error codes that a Redis server answers *instead of* carrying a request out, while something lasts.
const REFUSALS: [&str; 11] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "NOMASTERLINK",
];

/// Those that say that the request, or who sent it, is wrong here.
const DENIALS: [&str; 9] =
    ["CROSSSLOT", "DENIED", "ERR", "MOVED", "NOAUTH", "NOPERM", "NOPROTO", "WRONGPASS", "WRONGTYPE"];

/// What the server answers with `ERR` although it passes.
const PASSING: [&str; 2] = ["ERR max number of clients reached", "ERR Error running script"];

impl NodeError {
    /// Whether the request certainly had no effect.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unanswered(_))
    }

    /// What an error reply of a Redis server says of the request, by its code (the first word).
    ///
    /// The commands and scripts of the seam write last, and one thing only, so a server that answers one of its own
    /// codes has not written it. (A vote that is counted counts first: refused after that, it leaves a gap in the
    /// counts, which is legal.) A code that no server has comes from something in between, such as a proxy that lost
    /// its server: that leaves the outcome open.
    pub fn from_error_reply(text: &str) -> Self {
        let code = text.split_whitespace().next().unwrap_or_default();
        let passes = PASSING.iter().any(|passing| text.starts_with(passing));
        if REFUSALS.contains(&code) || passes {
            Self::Refused(text.to_owned())
        } else if DENIALS.contains(&code) {
            Self::Denied(text.to_owned())
        } else {
            Self::Unanswered(text.to_owned())
        }
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

/// Why a request to etcd brought no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// The lease is over, or never was. The request had no effect.
    #[error("no such lease")]
    NoLease,
    /// No connection could be made: the request was never sent.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// It refused the request for now: it had no effect.
    #[error("refused for now: {0}")]
    Busy(String),
    /// It refuses the request and will refuse the next one: credentials, access rights, arguments. It had no effect.
    #[error("denied: {0}")]
    Denied(String),
    /// The request was sent, or may have been, and no answer came, or one that leaves open what became of it.
    #[error("no answer: {0}")]
    Unanswered(String),
}

/// gRPC's codes, as far as they decide here (grpc.io, "Status codes and their use in gRPC").
mod grpc {
    pub const INVALID_ARGUMENT: i64 = 3;
    pub const NOT_FOUND: i64 = 5;
    pub const PERMISSION_DENIED: i64 = 7;
    pub const RESOURCE_EXHAUSTED: i64 = 8;
    pub const OUT_OF_RANGE: i64 = 11;
    pub const UNIMPLEMENTED: i64 = 12;
    pub const UNAUTHENTICATED: i64 = 16;
}

impl EtcdError {
    /// Whether the request certainly had no effect.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unanswered(_))
    }

    /// What an error reply of etcd says of the request, by its gRPC code and its text.
    ///
    /// Which code goes with which error is in `api/v3rpc/rpctypes/error.go` of etcd 3.5. `Unavailable` tells nothing:
    /// it is the code of "request timed out, possibly due to previous leader failure", which may have been carried out,
    /// as well as of "no leader".
    pub fn from_error_reply(code: i64, text: &str) -> Self {
        match code {
            grpc::NOT_FOUND if text.contains("requested lease not found") => Self::NoLease,
            grpc::RESOURCE_EXHAUSTED => Self::Busy(text.to_owned()),
            grpc::INVALID_ARGUMENT
            | grpc::PERMISSION_DENIED
            | grpc::OUT_OF_RANGE
            | grpc::UNIMPLEMENTED
            | grpc::UNAUTHENTICATED => Self::Denied(text.to_owned()),
            _ => Self::Unanswered(text.to_owned()),
        }
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
        /// What each node had to say. For ZooKeeper empty.
        nodes: AttemptReport,
    },
    /// Too few servers answered.
    #[error("no quorum ({votes} of {needed} votes; {nodes})")]
    NoQuorum {
        /// Votes won.
        votes: usize,
        /// Votes needed.
        needed: usize,
        /// What each server had to say.
        nodes: AttemptReport,
    },
    /// The votes came too late: nothing of the lease would be left to use.
    #[error("the lease was over before the votes were in")]
    ExpiredDuringAcquire,
    /// The session ended while the client waited for the lock.
    #[error("the session ended while waiting: {0}")]
    SessionEnded(String),
    /// A lock that is not of this library says so, in its own words.
    #[cfg(feature = "harness")]
    #[error("{0}")]
    NotGranted(String),
}

/// Why an acquire was given up. Unless it is in doubt, nothing is held; votes and znodes of its attempts are being
/// taken back, and vanish at the latest with their TTL or session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// No lock can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
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
    /// The lock cannot do what the options ask for. Nothing was sent.
    #[error("the options of this acquire: {0}")]
    Options(#[from] ConfigError),
    /// What [`AcquireOptions::unless`](super::AcquireOptions::unless) waits for came first.
    #[error("called off")]
    Cancelled,
    /// Nobody knows whether the lock is held. Only of locks that are not of this library: ours resolve what is in
    /// doubt.
    #[cfg(feature = "harness")]
    #[error("in doubt: {0}")]
    InDoubt(String),
}

/// Why a hold is over although its client did not release it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// The validity ran out.
    #[error("the validity ran out")]
    Expired,
    /// It lasted as long as the settings let a guard last, however often it is renewed.
    #[error("it was held for as long as the settings allow")]
    HeldTooLong,
    /// The servers say that the lock is no longer this client's.
    #[error("the servers no longer have it: {0}")]
    Revoked(String),
    /// The session ended.
    #[error("the session ended: {0}")]
    SessionEnded(String),
}

/// Why a hold's validity was not moved on. Unless it is lost, the hold is as valid as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtendError {
    /// The hold is over: what has lapsed is not revived.
    #[error("the lock is lost: {0}")]
    Lost(LostReason),
    /// The hold has no lease that could be extended: it lasts as long as its session, which is kept up by itself.
    #[error("this lock has no lease to extend: its hold lasts as long as its session")]
    NoLease,
    /// Nothing of such a lease would be left after what clocks may drift and keys take to expire.
    #[error(transparent)]
    TtlTooShort(ConfigError),
    /// The hold is valid for longer than that already. A lease is not shortened: give it back instead.
    #[error("the lock is valid for {0:?} already, which is longer")]
    Shorter(Duration),
    /// No majority of the servers has extended it.
    #[error("not extended: {0}")]
    Failed(AttemptError),
    /// The servers refuse what it needs: credentials, access rights, settings.
    #[error("the servers refuse: {0}")]
    Refused(String),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reply_of_etcd_leaves_open_what_may_have_been_carried_out() {
        let of = EtcdError::from_error_reply;
        assert_eq!(of(5, "etcdserver: requested lease not found"), EtcdError::NoLease);
        assert!(matches!(of(8, "etcdserver: too many requests"), EtcdError::Busy(_)));
        for (code, text) in [
            (16, "etcdserver: invalid auth token"),
            (7, "etcdserver: permission denied"),
            (3, "etcdserver: key is not provided"),
        ] {
            assert!(matches!(of(code, text), EtcdError::Denied(_)), "{text}");
        }
        for (code, text) in [
            (14, "etcdserver: request timed out, possibly due to previous leader failure"),
            (14, "etcdserver: no leader"),
            (2, "context deadline exceeded"),
            (5, "etcdserver: something else is not found"),
            (0, ""),
        ] {
            assert!(!of(code, text).is_definite(), "{text}");
        }
    }

    #[test]
    fn an_error_reply_tells_a_refusal_from_an_unknown_outcome() {
        let of = NodeError::from_error_reply;
        for text in
            ["LOADING Redis is loading the dataset in memory", "OOM command not allowed", "NOREPLICAS Not enough"]
        {
            assert_eq!(of(text), NodeError::Refused(text.to_owned()));
        }
        for text in ["NOAUTH Authentication required.", "WRONGPASS invalid username-password pair", "ERR syntax error"]
        {
            assert_eq!(of(text), NodeError::Denied(text.to_owned()));
        }
        assert!(matches!(of("ERR max number of clients reached"), NodeError::Refused(_)));
        // What proxies say when they lost their server.
        for text in ["upstream failure", "Error: Server closed connection", "", "NOSUCHCODE what"] {
            assert!(!of(text).is_definite(), "{text}");
        }
    }
}
