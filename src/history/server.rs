//! What the lock servers had for whom: leases of Redis nodes, sessions and contenders of a ZooKeeper ensemble, leases
//! and contenders of an etcd cluster; and which server led the others.
//!
//! For pictures and explanations. These records stand beside the ops, not among them: no check sees them, no trace hash
//! counts them, and an op's index does not depend on them. A record tells one thing from its beginning to its end, so
//! that it is written once. The simulation sees servers from inside; with real servers a client tells what it was
//! answered, and what nobody answered is inferred and marked so. Deliberately absent: any judgement.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::{ClientId, NodeId};
use crate::time::Nanos;

/// One line of a history file that is no op: `{"server":{"ballot":{…}}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerLine<T> {
    pub server: T,
}

/// One thing that servers had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerRecord {
    /// Leases of one owner on Redis nodes.
    Ballot(Ballot),
    /// A session of a ZooKeeper ensemble, or a lease of an etcd cluster.
    Session(Session),
    /// An ephemeral znode, or a key with a lease, that contends for a lock.
    Contender(Contender),
    /// The time in which a server led the others.
    Reign(Reign),
}

/// What the nodes answered to one owner, and what became of the leases that they gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ballot {
    /// The owner token: one for each attempt, with a lock that is sound.
    pub owner: SmolStr,
    /// The lock's key on the nodes.
    pub key: SmolStr,
    /// Whose attempt it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The time to live that was asked for, nanoseconds on the node's clock; absent for a lease without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// The leases that it was given, in the order of time. A node that is neither here nor among those that refused was
    /// not reached, or did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    /// The nodes that refused, since somebody else had the key, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<(NodeId, Nanos)>,
}

/// One node's vote: its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vote {
    /// The node.
    pub node: NodeId,
    /// When it decided; with a real server, when its answer came.
    pub at: Nanos,
    /// With a real server: when it was asked. The lease began at some time between the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Nanos>,
    /// When the lease was extended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<Nanos>,
    /// When the lease ended, if it did while somebody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Nanos>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<LeaseEnd>,
    /// By how many nanoseconds the node's wall clock was wrong then, if that was a millisecond or more; above zero, it
    /// was ahead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_error: i64,
    /// Whether the end follows from the time to live alone: nobody saw it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Vote {
    /// A lease that was given at `at` and has not ended yet.
    pub fn new(node: NodeId, at: Nanos) -> Self {
        let (extended, inferred) = (Vec::new(), false);
        Self { node, at, asked: None, extended, ended: None, by: None, clock_error: 0, inferred }
    }

    /// Ends its lease.
    pub fn end(&mut self, at: Nanos, by: LeaseEnd) {
        (self.ended, self.by) = (Some(at), Some(by));
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseEnd {
    /// Its owner, or somebody else, deleted it.
    Deleted,
    /// Its time to live ran out on the node's own clock.
    Expired,
    /// Somebody wrote over it.
    Replaced,
    /// The node died and did not keep it.
    Forgotten,
}

impl LeaseEnd {
    /// As a clause: `was deleted`.
    pub fn told(self) -> &'static str {
        match self {
            Self::Deleted => "was deleted",
            Self::Expired => "ran out on the node’s own clock",
            Self::Replaced => "was written over",
            Self::Forgotten => "was forgotten when the node died",
        }
    }
}

/// A session, or an etcd lease, from its opening to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Session {
    /// Its id.
    pub session: i64,
    /// Whose it is, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The length that was granted to an etcd lease, in nanoseconds on its leader's clock; a session has none here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// When the servers opened it.
    pub opened: Nanos,
    /// When it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Nanos>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SessionEnd>,
    /// Whether its client only heard of the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    /// Which servers its client was connected to, in order; empty where that is not known, or not so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Stay>,
}

/// A session's connection to one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stay {
    /// The server.
    pub node: NodeId,
    /// When the server first served it.
    pub from: Nanos,
    /// When the server saw the connection end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Nanos>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    /// Its client closed it, or revoked the lease.
    Closed,
    /// The leader had not heard of it for too long.
    Expired,
}

impl Session {
    /// Whether it is a lease of an etcd cluster.
    pub fn is_lease(&self) -> bool {
        self.ttl.is_some()
    }

    /// Its id as its servers' own tools show it.
    pub fn told(&self) -> String {
        told(self.session, self.is_lease())
    }
}

/// The id of a lease, or of a session, as its servers' own tools show it.
fn told(id: i64, is_lease: bool) -> String {
    if is_lease { format!("{id:016x}") } else { format!("{id:#x}") }
}

/// A contender from its creation to its removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Contender {
    /// The znode's path, or the key.
    pub path: SmolStr,
    /// The revision at which a key was created: its place in the line. A znode has its place in its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The session, or the lease, that it lives with.
    pub session: i64,
    /// Whose it is, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// When it could be seen on each server; with real servers, as its client was told, on none in particular.
    pub seen: Vec<Seen>,
    /// Whether it went with its session; otherwise somebody deleted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_session: bool,
}

impl Contender {
    /// What it is and what it lives with: `contender /l/x-7, session 0x1`.
    pub fn told(&self) -> String {
        let Self { path, revision, session, .. } = self;
        match revision {
            None => format!("contender {path}, session {}", told(*session, false)),
            Some(revision) => format!("key {path}, created at revision {revision}, lease {}", told(*session, true)),
        }
    }

    /// What it lives with.
    pub fn lives_with(&self) -> &'static str {
        if self.revision.is_some() { "lease" } else { "session" }
    }
}

/// The time in which a server took itself for the leader of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reign {
    /// The server.
    pub node: NodeId,
    /// The term.
    pub term: u64,
    /// From when.
    pub from: Nanos,
    /// Until when; absent if it led to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Nanos>,
}

/// When a server showed a znode or a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seen {
    /// The server; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// From when.
    pub from: Nanos,
    /// Until when; absent if it was there to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Nanos>,
}

impl ServerRecord {
    /// Moves all instants from a clock's own origin to `start`, the start of the run.
    pub fn rebase(&mut self, start: Nanos) {
        let by = |instant: &mut Nanos| *instant = Nanos(instant.0.saturating_sub(start.0));
        match self {
            Self::Ballot(ballot) => {
                ballot.refused.iter_mut().for_each(|(_, at)| by(at));
                for vote in &mut ballot.votes {
                    by(&mut vote.at);
                    vote.asked.iter_mut().chain(&mut vote.ended).chain(&mut vote.extended).for_each(by);
                }
            }
            Self::Session(session) => {
                by(&mut session.opened);
                session.ended.iter_mut().for_each(by);
                for stay in &mut session.on {
                    by(&mut stay.from);
                    stay.to.iter_mut().for_each(by);
                }
            }
            Self::Contender(contender) => {
                for seen in &mut contender.seen {
                    by(&mut seen.from);
                    seen.to.iter_mut().for_each(by);
                }
            }
            Self::Reign(reign) => {
                by(&mut reign.from);
                reign.to.iter_mut().for_each(by);
            }
        }
    }

    /// When it began.
    pub fn began(&self) -> Nanos {
        match self {
            Self::Ballot(ballot) => {
                ballot.votes.iter().map(|vote| vote.at).chain(ballot.refused.iter().map(|(_, at)| *at)).min()
            }
            Self::Session(session) => Some(session.opened),
            Self::Contender(contender) => contender.seen.iter().map(|seen| seen.from).min(),
            Self::Reign(reign) => Some(reign.from),
        }
        .unwrap_or_default()
    }

    /// When it was over, if it was before the run ended.
    pub fn over(&self) -> Option<Nanos> {
        match self {
            Self::Ballot(ballot) => {
                let refused = ballot.refused.iter().map(|(_, at)| Some(*at));
                ballot
                    .votes
                    .iter()
                    .map(|vote| vote.ended)
                    .chain(refused)
                    .try_fold(Nanos::ZERO, |last, over| Some(last.max(over?)))
            }
            Self::Session(session) => session.ended,
            Self::Contender(contender) => contender.seen.iter().filter_map(|seen| seen.to).max(),
            Self::Reign(reign) => reign.to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_short_line_and_moves_as_a_whole() {
        let mut granted = Vote::new(NodeId(1), Nanos(150));
        granted.extended.push(Nanos(170));
        granted.end(Nanos(190), LeaseEnd::Expired);
        granted.clock_error = 30;
        let (votes, refused) = (vec![granted], vec![(NodeId(2), Nanos(151))]);
        let ballot =
            Ballot { owner: "o".into(), key: "k".into(), client: Some(ClientId(2)), ttl: Some(40), votes, refused };
        let mut record = ServerRecord::Ballot(ballot);
        record.rebase(Nanos(100));
        let line = serde_json::to_string(&ServerLine { server: &record }).unwrap();
        assert_eq!(
            line,
            r#"{"server":{"ballot":{"owner":"o","key":"k","client":2,"ttl":40,"votes":[{"node":1,"at":50,"extended":[70],"ended":90,"by":"expired","clock-error":30}],"refused":[[2,51]]}}}"#
        );
        assert_eq!(serde_json::from_str::<ServerLine<ServerRecord>>(&line).unwrap().server, record);
        assert_eq!((record.began(), record.over()), (Nanos(50), Some(Nanos(90))));
        let unknown = line.replace("clock-error", "clock");
        assert!(serde_json::from_str::<ServerLine<ServerRecord>>(&unknown).is_err());
    }

    #[test]
    fn a_reign_moves_and_is_over_when_it_says() {
        let mut record = ServerRecord::Reign(Reign { node: NodeId(2), term: 7, from: Nanos(110), to: None });
        record.rebase(Nanos(100));
        assert_eq!((record.began(), record.over()), (Nanos(10), None));
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(line, r#"{"reign":{"node":2,"term":7,"from":10}}"#);
        assert_eq!(serde_json::from_str::<ServerRecord>(&line).unwrap(), record);
    }
}
