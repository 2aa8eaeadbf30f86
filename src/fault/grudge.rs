//! Links as set arithmetic: who drops whose packets, or gets them late, or only some of them.
//!
//! A [`Grudge`] (Jepsen's word) maps each member to the peers it is cut off from. Pure: no addresses, no rules.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Member, PeerGroup, Peers};
use crate::ids::{ClientId, NodeId};

/// Which packets of a link are dropped (or late, or lost), as the holder of the grudge sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// Only what the target sends: its requests are lost.
    Out,
    /// Only what the target would receive: its requests arrive, the replies are lost.
    In,
}

impl Direction {
    /// Whether packets to the target are dropped.
    pub fn drops_in(self) -> bool {
        self != Self::Out
    }

    /// Whether packets from the target are dropped.
    pub fn drops_out(self) -> bool {
        self != Self::In
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Both => "to and from",
            Self::Out => "to",
            Self::In => "from",
        })
    }
}

/// Who drops the packets of whom, and which way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grudge {
    /// For each member that drops packets: its cut-off peers, in order.
    pub cuts: BTreeMap<Member, Vec<Member>>,
    /// Which way, for all of them.
    pub direction: Direction,
}

/// The parties of one trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// How many clients.
    pub clients: u32,
    /// How many lock servers.
    pub nodes: u32,
}

impl Parties {
    /// All clients.
    pub fn clients(self) -> impl Iterator<Item = Member> {
        (1..=self.clients).map(|n| Member::Client(ClientId(n)))
    }

    /// All lock servers.
    pub fn nodes(self) -> impl Iterator<Item = Member> {
        (1..=self.nodes).map(|n| Member::Node(NodeId(n)))
    }

    /// The members that `peers` names.
    pub fn peers(self, peers: &Peers) -> Vec<Member> {
        match peers {
            Peers::Group(PeerGroup::Nodes) => self.nodes().collect(),
            Peers::Group(PeerGroup::Clients) => self.clients().collect(),
            Peers::Group(PeerGroup::Resource) => vec![Member::Resource],
            Peers::Group(PeerGroup::All) => self.clients().chain(self.nodes()).chain([Member::Resource]).collect(),
            Peers::Members(members) => members.clone(),
        }
    }

    /// How many lock servers are a majority.
    pub fn majority(self) -> u32 {
        self.nodes / 2 + 1
    }
}

impl Grudge {
    /// Cuts each of `targets` off from `peers`. Links inside `targets` stay whole: an isolated set keeps together.
    pub fn isolate(targets: &[Member], peers: &[Member], direction: Direction) -> Self {
        let cut_off: Vec<Member> = peers.iter().copied().filter(|peer| !targets.contains(peer)).collect();
        let cuts = targets.iter().filter(|_| !cut_off.is_empty()).map(|target| (*target, cut_off.clone())).collect();
        Self { cuts, direction }
    }

    /// Whether nothing is cut.
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: Parties = Parties { clients: 2, nodes: 3 };

    #[test]
    fn a_holder_is_cut_off_from_every_node() {
        let holder = Member::Client(ClientId(2));
        let grudge = Grudge::isolate(&[holder], &TRIAL.peers(&PeerGroup::Nodes.into()), Direction::Both);
        assert_eq!(grudge.cuts[&holder], TRIAL.nodes().collect::<Vec<_>>());
        assert_eq!(grudge.cuts.len(), 1);
    }

    #[test]
    fn an_isolated_set_keeps_together() {
        let minority: Vec<Member> = TRIAL.nodes().take(2).collect();
        let grudge = Grudge::isolate(&minority, &TRIAL.peers(&PeerGroup::All.into()), Direction::In);
        for member in &minority {
            let cut_off = &grudge.cuts[member];
            assert!(minority.iter().all(|other| !cut_off.contains(other)));
            assert_eq!(cut_off.len(), 4, "two clients, one node, the resource");
        }
    }

    #[test]
    fn nobody_is_cut_off_from_itself() {
        let all: Vec<Member> = TRIAL.nodes().collect();
        assert!(Grudge::isolate(&all, &TRIAL.peers(&PeerGroup::Nodes.into()), Direction::Both).is_empty());
    }

    #[test]
    fn each_client_can_have_nodes_of_its_own_cut_off() {
        let pair = |first, second| Peers::Members(vec![Member::Node(NodeId(first)), Member::Node(NodeId(second))]);
        let cut = |client, peers: &Peers| {
            Grudge::isolate(&[Member::Client(ClientId(client))], &TRIAL.peers(peers), Direction::Both).cuts
        };
        assert_ne!(cut(1, &pair(1, 2)).into_values().next(), cut(2, &pair(2, 3)).into_values().next());
    }

    #[test]
    fn directions_say_what_they_drop() {
        assert!(Direction::Both.drops_in() && Direction::Both.drops_out());
        assert!(Direction::In.drops_in() && !Direction::In.drops_out());
        assert!(!Direction::Out.drops_in() && Direction::Out.drops_out());
    }
}
