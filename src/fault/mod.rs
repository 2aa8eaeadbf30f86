//! A fault as a *value*: what is done, to whom, when, for how long.
//!
//! Nothing here touches a clock, a network or a container: the nemesis times these values, and an environment applies
//! and undoes them. [`grudge`] holds the set arithmetic of links, [`clock`] what can be done to a clock, [`target`]
//! whom a fault is aimed at, [`request`] what can be done to one request.

pub mod clock;
pub mod grudge;
mod name;
pub mod request;
pub mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, NodeId};
use crate::phase::Phase;
pub use clock::ClockChange;
pub use grudge::{Direction, Grudge, Refusal, Shape};
pub use name::FaultName;
pub use request::RequestRule;
pub use target::{Target, TargetError};

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Once, this long after the start of the run.
    Time(Duration),
    /// Each time this much of the run has passed, from the first multiple on.
    Every(Duration),
    /// When a client reaches a phase, the target itself or, if the target is a lock server, any client: the first time
    /// in the run (from a moment on), or, with `every`, the first time after each multiple of it.
    Phase {
        /// The phase to strike at.
        phase: Phase,
        /// How often, if more than once.
        every: Option<Duration>,
        /// Not before this long after the start of the run.
        from: Duration,
    },
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(at) => write!(f, "at {at:?}"),
            Self::Every(every) => write!(f, "every {every:?}"),
            Self::Phase { phase, every, from } => {
                write!(f, "at {phase}")?;
                every.map_or(Ok(()), |every| write!(f, ", every {every:?}"))?;
                if from.is_zero() { Ok(()) } else { write!(f, ", from {from:?} on") }
            }
        }
    }
}

/// Everybody of one sort, as the other end of the links that a fault touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PeerGroup {
    /// The lock servers.
    Nodes,
    /// The clients.
    Clients,
    /// The protected resource.
    Resource,
    /// Everybody else in the trial.
    All,
}

impl fmt::Display for PeerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nodes => "nodes",
            Self::Clients => "clients",
            Self::Resource => "resource",
            Self::All => "all",
        })
    }
}

/// The other end of the links that a fault touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Everybody of one sort.
    Group(PeerGroup),
    /// These members, named one by one: each client can thus be cut off from nodes of its own.
    Members(Vec<Member>),
    /// For each of the struck members, its own.
    Links(BTreeMap<Member, Vec<Member>>),
}

impl From<PeerGroup> for Peers {
    fn from(group: PeerGroup) -> Self {
        Self::Group(group)
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => group.fmt(f),
            Self::Members(members) => {
                let names: Vec<String> = members.iter().map(ToString::to_string).collect();
                f.pad(&names.join(", "))
            }
            Self::Links(links) => {
                let told = |(member, peers): (&Member, &Vec<Member>)| {
                    let names: Vec<String> = peers.iter().map(ToString::to_string).collect();
                    format!("{member}: {}", names.join(", "))
                };
                f.pad(&links.iter().map(told).collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// How long a `restart` keeps a server down where the scenario does not say: what a supervisor takes to start it again.
pub const RESTART_DOWNTIME: Duration = Duration::from_millis(100);

/// What is done to the target. Each lasts for the fault's duration and is then undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The process stops at once and goes on later, none the wiser.
    Pause,
    /// The process dies at once and is started again later. What its kernel was to write survives.
    Kill,
    /// The same as a kill, but meant to be short: the server is back before anybody's patience ends.
    Restart,
    /// The machine dies at once, and with it all that was not yet on its disk; started again later.
    PowerLoss,
    /// Packets between the target and its peers are dropped.
    Partition {
        /// Whom the target is cut off from.
        peers: Peers,
        /// Which way packets are dropped, as the target sees it.
        direction: Direction,
        /// Who is on which side.
        shape: Shape,
        /// What the sender of a packet learns.
        refusal: Refusal,
    },
    /// Packets between the target and its peers arrive late.
    Delay {
        /// On the links to whom.
        peers: Peers,
        /// Which way packets are late, as the target sees it.
        direction: Direction,
        /// How much later than usual each packet is, from the least to the most.
        extra: (Duration, Duration),
    },
    /// Some of the packets between the target and its peers are lost, each by a draw of its own.
    Loss {
        /// On the links to whom.
        peers: Peers,
        /// Which way packets are lost, as the target sees it.
        direction: Direction,
        /// How many of a thousand packets are lost.
        permille: u32,
    },
    /// The target's clock goes wrong, and is set right in the end.
    Clock(ClockChange),
    /// Something is done to requests about a lock, or to their replies.
    Request {
        /// On the links to whom.
        peers: Peers,
        /// To which, and what.
        rule: RequestRule,
    },
}

impl FaultKind {
    /// Whether it is about packets between members.
    pub fn is_of_links(&self) -> bool {
        matches!(self, Self::Partition { .. } | Self::Delay { .. } | Self::Loss { .. })
    }

    /// Whether it is about requests, which somebody in the middle must read.
    pub fn is_of_requests(&self) -> bool {
        matches!(self, Self::Request { .. })
    }

    /// Whether it stops its targets' processes, if only for a while.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Pause | Self::Kill | Self::Restart | Self::PowerLoss)
    }

    /// Which kind it is.
    pub fn fault_name(&self) -> FaultName {
        match self {
            Self::Pause => FaultName::Pause,
            Self::Kill => FaultName::Kill,
            Self::Restart => FaultName::Restart,
            Self::PowerLoss => FaultName::PowerLoss,
            Self::Partition { .. } => FaultName::Partition,
            Self::Delay { .. } => FaultName::Delay,
            Self::Loss { .. } => FaultName::Loss,
            Self::Clock(ClockChange::Jump { .. }) => FaultName::ClockJump,
            Self::Clock(ClockChange::Drift { .. }) => FaultName::ClockDrift,
            Self::Clock(ClockChange::Strobe { .. }) => FaultName::ClockStrobe,
            Self::Request { .. } => FaultName::Request,
        }
    }

    /// The name used in scenario files and in the history.
    pub fn name(&self) -> &'static str {
        self.fault_name().name()
    }
}

/// One entry of a scenario's fault plan.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Fault {
    /// A lock server that it names, at either end of a link, and that is not among the first `nodes`.
    pub fn names_node_beyond(&self, nodes: u32) -> Option<NodeId> {
        let peers = match &self.kind {
            FaultKind::Partition { peers, .. }
            | FaultKind::Delay { peers, .. }
            | FaultKind::Loss { peers, .. }
            | FaultKind::Request { peers, .. } => match peers {
                Peers::Group(_) => Vec::new(),
                Peers::Members(members) => members.clone(),
                Peers::Links(links) => links.values().flatten().copied().collect(),
            },
            _ => Vec::new(),
        };
        let targets = match &self.target {
            Target::Node(node) => vec![Member::Node(*node)],
            Target::Members(members) => members.clone(),
            _ => Vec::new(),
        };
        peers.into_iter().chain(targets).find_map(|member| match member {
            Member::Node(node) if node.0 > nodes => Some(node),
            _ => None,
        })
    }
}

impl fmt::Display for Fault {
    /// `pause holder at before-write, for 2.5s`; `delay holder to resource by 1s..2s at 5s, for 3s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.target)?;
        match &self.kind {
            FaultKind::Pause | FaultKind::Kill | FaultKind::Restart | FaultKind::PowerLoss => {}
            FaultKind::Partition { peers, direction, shape, refusal } => {
                match shape {
                    Shape::Isolate => write!(f, " {direction} {peers}")?,
                    shape => write!(f, " by {shape}")?,
                }
                if *refusal == Refusal::Reset {
                    f.write_str(", with resets")?;
                }
            }
            FaultKind::Delay { peers, direction, extra: (least, most) } if least == most => {
                write!(f, " {direction} {peers} by {least:?}")?;
            }
            FaultKind::Delay { peers, direction, extra: (least, most) } => {
                write!(f, " {direction} {peers} by {least:?}..{most:?}")?;
            }
            FaultKind::Loss { peers, direction, permille } => {
                write!(f, " {direction} {peers} of {}%", f64::from(*permille) / 10.0)?;
            }
            FaultKind::Clock(change) => write!(f, " {change}")?,
            FaultKind::Request { peers, rule } => write!(f, " to {peers}: {rule},")?,
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

impl Member {
    /// The client, if it is one.
    pub fn client(self) -> Option<ClientId> {
        match self {
            Self::Client(client) => Some(client),
            Self::Node(_) | Self::Resource => None,
        }
    }
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
    /// Freeze these members; undone by letting them go on.
    Freeze(Vec<Member>),
    /// Let no packets pass between members.
    Cut {
        /// On these links.
        links: Grudge,
        /// What the sender of a packet learns.
        refusal: Refusal,
    },
    /// Kill the processes of these members; undone by starting them again. A client that was killed has lost all it
    /// knew, and begins anew.
    Kill(Vec<Member>),
    /// Cut these members' power: as [`Strike::Kill`], and what was not yet on their disks is gone.
    PowerLoss(Vec<Member>),
    /// Deliver packets late.
    Delay {
        /// On these links.
        links: Grudge,
        /// How much later than usual each packet is, from the least to the most.
        extra: (Duration, Duration),
    },
    /// Lose some packets.
    Loss {
        /// On these links.
        links: Grudge,
        /// How many of a thousand packets are lost.
        permille: u32,
    },
    /// Make the clocks of these members go wrong; undone by setting them right.
    Clock {
        /// Whose clocks.
        members: Vec<Member>,
        /// What is done to each.
        change: ClockChange,
    },
    /// Do something to requests about a lock, or to their replies.
    Requests {
        /// On these links, each between a client and a lock server.
        links: Grudge,
        /// To which, and what.
        rule: RequestRule,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_fault_reads_as_a_sentence() {
        let seconds = Duration::from_secs;
        let both = Direction::Both;
        let nodes = || Peers::from(PeerGroup::Nodes);
        let partition = |peers, direction, shape, refusal| FaultKind::Partition { peers, direction, shape, refusal };
        let pair = Peers::Members(vec![Member::Node(NodeId(4)), Member::Node(NodeId(5))]);
        for (kind, told) in [
            (FaultKind::Pause, "pause holder"),
            (FaultKind::PowerLoss, "power-loss holder"),
            (partition(nodes(), both, Shape::Isolate, Refusal::Drop), "partition holder to and from nodes"),
            (partition(pair, Direction::In, Shape::Isolate, Refusal::Drop), "partition holder from n4, n5"),
            (
                partition(nodes(), both, Shape::MajoritiesRing, Refusal::Reset),
                "partition holder by majorities-ring, with resets",
            ),
            (
                FaultKind::Delay { peers: nodes(), direction: both, extra: (seconds(1), seconds(2)) },
                "delay holder to and from nodes by 1s..2s",
            ),
            (
                FaultKind::Delay { peers: nodes(), direction: Direction::Out, extra: (seconds(1), seconds(1)) },
                "delay holder to nodes by 1s",
            ),
            (
                FaultKind::Loss { peers: nodes(), direction: both, permille: 25 },
                "loss holder to and from nodes of 2.5%",
            ),
            (FaultKind::Clock(ClockChange::Jump { by_ns: -2_000_000_000 }), "clock-jump holder by -2s"),
            (FaultKind::Clock(ClockChange::Drift { ppm: 50_000 }), "clock-drift holder by +50000ppm"),
            (
                FaultKind::Clock(ClockChange::Strobe { by_ns: 1_000_000, period: seconds(1) }),
                "clock-strobe holder by +1ms every 1s",
            ),
        ] {
            let fault = Fault {
                kind,
                target: Target::Holder,
                at: At::Phase { phase: Phase::Acquired, every: None, from: Duration::ZERO },
                duration: seconds(3),
            };
            assert_eq!(fault.to_string(), format!("{told} at acquired, for 3s"));
        }
    }
}
