//! A fault as a *value*: what is done, to whom, when, for how long.
//!
//! Nothing here touches a clock, a network or a container: the nemesis times these values, and an environment applies
//! and undoes them. [`grudge`] holds the set arithmetic of partitions.

pub mod grudge;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, NodeId};
use crate::phase::Phase;
pub use grudge::{Direction, Grudge};

/// Whom a fault is aimed at, as a scenario file says it; resolved when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The client that holds the lock.
    Holder,
    /// A client that waits for the lock.
    Waiter,
    /// One client by number.
    Client(ClientId),
    /// One lock server by number.
    Node(NodeId),
    /// The leader of the ZooKeeper ensemble.
    Leader,
    /// One lock server, drawn from the seed.
    One,
    /// The largest minority of the lock servers, drawn from the seed.
    Minority,
    /// The smallest majority of the lock servers, drawn from the seed.
    Majority,
    /// All lock servers.
    All,
}

impl Target {
    /// What a scenario file may say.
    pub const FORMS: &'static str = "holder, waiter, client:N, node:N, leader, one, minority, majority, all";

    /// Whether the target is a client, not a lock server.
    pub fn is_client(self) -> bool {
        matches!(self, Self::Holder | Self::Waiter | Self::Client(_))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder => f.pad("holder"),
            Self::Waiter => f.pad("waiter"),
            Self::Client(client) => write!(f, "client:{}", client.0),
            Self::Node(node) => write!(f, "node:{}", node.0),
            Self::Leader => f.pad("leader"),
            Self::One => f.pad("one"),
            Self::Minority => f.pad("minority"),
            Self::Majority => f.pad("majority"),
            Self::All => f.pad("all"),
        }
    }
}

/// A text that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a target; valid targets: {forms}", forms = Target::FORMS)]
pub struct TargetError(String);

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n > 0);
        Ok(match text.split_once(':') {
            None => match text {
                "holder" => Self::Holder,
                "waiter" => Self::Waiter,
                "leader" => Self::Leader,
                "one" => Self::One,
                "minority" => Self::Minority,
                "majority" => Self::Majority,
                "all" => Self::All,
                _ => return Err(TargetError(text.to_owned())),
            },
            Some(("client", digits)) => {
                number(digits).map(|n| Self::Client(ClientId(n))).ok_or_else(|| TargetError(text.to_owned()))?
            }
            Some(("node", digits)) => {
                number(digits).map(|n| Self::Node(NodeId(n))).ok_or_else(|| TargetError(text.to_owned()))?
            }
            Some(_) => return Err(TargetError(text.to_owned())),
        })
    }
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Once, this long after the start of the run.
    Time(Duration),
    /// Each time this much of the run has passed, from the first multiple on.
    Every(Duration),
    /// When a client reaches a phase: the first time in the run, or, with `every`, the first time after each multiple
    /// of it.
    Phase {
        /// The phase to strike at.
        phase: Phase,
        /// How often, if more than once.
        every: Option<Duration>,
    },
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(at) => write!(f, "at {at:?}"),
            Self::Every(every) => write!(f, "every {every:?}"),
            Self::Phase { phase, every: None } => write!(f, "at {phase}"),
            Self::Phase { phase, every: Some(every) } => write!(f, "at {phase}, every {every:?}"),
        }
    }
}

/// Whom the target of a partition is cut off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// The lock servers.
    Nodes,
    /// The clients.
    Clients,
    /// The protected resource.
    Resource,
    /// Everybody else in the trial.
    All,
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nodes => "nodes",
            Self::Clients => "clients",
            Self::Resource => "resource",
            Self::All => "all",
        })
    }
}

/// What is done to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The process stops at once and goes on later, none the wiser.
    Pause,
    /// Packets between the target and its peers are dropped.
    Partition {
        /// Whom the target is cut off from.
        peers: Peers,
        /// Which way packets are dropped, as the target sees it.
        direction: Direction,
    },
}

impl FaultKind {
    /// The fault's name, as in `[[fault.pause]]`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Partition { .. } => "partition",
        }
    }
}

/// One entry of a scenario's fault plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is done.
    pub kind: FaultKind,
    /// To whom.
    pub target: Target,
    /// When.
    pub at: At,
    /// For how long.
    pub duration: Duration,
}

impl fmt::Display for Fault {
    /// `pause holder at before-write, for 2.5s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.target)?;
        if let FaultKind::Partition { peers, direction } = self.kind {
            write!(f, " {direction} {peers}")?;
        }
        write!(f, " {}, for {:?}", self.at, self.duration)
    }
}

/// A party of a trial that a fault can reach, after its target is resolved. In files `c3`, `n1`, `resource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Member {
    /// A client.
    Client(ClientId),
    /// A lock server.
    Node(NodeId),
    /// The protected resource.
    Resource,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => client.fmt(f),
            Self::Node(node) => node.fmt(f),
            Self::Resource => f.pad("resource"),
        }
    }
}

impl From<Member> for String {
    fn from(member: Member) -> Self {
        member.to_string()
    }
}

impl TryFrom<String> for Member {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |prefix| text.strip_prefix(prefix).and_then(|digits: &str| digits.parse().ok());
        if text == "resource" {
            Ok(Self::Resource)
        } else if let Some(client) = number('c') {
            Ok(Self::Client(ClientId(client)))
        } else if let Some(node) = number('n') {
            Ok(Self::Node(NodeId(node)))
        } else {
            Err(format!("`{text}` is no member of a trial: c1, n1, resource"))
        }
    }
}

/// A fault whose target is resolved: what an environment applies and undoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Freeze these members.
    Freeze(Vec<Member>),
    /// Drop packets between members.
    Cut(Grudge),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back_as_they_print() {
        for text in ["holder", "waiter", "client:3", "node:1", "leader", "one", "minority", "majority", "all"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn members_read_back_from_files_as_they_print() {
        let grudge = Grudge::isolate(
            &[Member::Client(ClientId(2))],
            &[Member::Node(NodeId(1)), Member::Resource],
            Direction::In,
        );
        let text = serde_json::to_string(&grudge).unwrap();
        assert_eq!(text, r#"{"cuts":{"c2":["n1","resource"]},"direction":"in"}"#);
        assert_eq!(serde_json::from_str::<Grudge>(&text).unwrap(), grudge);
        assert!(serde_json::from_str::<Member>("\"x9\"").is_err());
    }

    #[test]
    fn a_wrong_target_lists_the_right_ones() {
        for text in ["owner", "client:0", "client:x", "node:", "server:1", ""] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("holder, waiter, client:N"), "{error}");
        }
    }

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let fault = Fault {
            kind: FaultKind::Partition { peers: Peers::Nodes, direction: Direction::Both },
            target: Target::Holder,
            at: At::Phase { phase: Phase::Acquired, every: None },
            duration: Duration::from_secs(3),
        };
        assert_eq!(fault.to_string(), "partition holder to and from nodes at acquired, for 3s");
    }
}
