//! Links as set arithmetic: who drops whose packets, or gets them late, or only some of them.
//!
//! A [`Grudge`] (Jepsen's word) maps each member to the peers it is cut off from. Pure: no addresses, no rules.

use std::collections::{BTreeMap, BTreeSet};
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

/// What the sender of a packet that is not let through learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Nothing, as from a cable that was pulled: TCP sends again, later and later.
    #[default]
    Drop,
    /// A TCP reset, as from a firewall that rejects: its connection is over at once.
    Reset,
}

/// Who is on which side of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// The target on one side, its peers on the other.
    #[default]
    Isolate,
    /// The lock servers in two halves, a majority and a minority, drawn from the seed; every other client with each.
    Halves,
    /// Two halves, and one lock server between them that both reach.
    Bridge,
    /// Every lock server and every client reaches a majority of the lock servers, and no two clients next to each other
    /// the same one.
    MajoritiesRing,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Isolate => "isolate",
            Self::Halves => "halves",
            Self::Bridge => "bridge",
            Self::MajoritiesRing => "majorities-ring",
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
            Peers::Links(links) => links.values().flatten().copied().collect(),
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

    /// A partition of everybody by `shape`; `nodes` are the lock servers in the order in which they were drawn. Every
    /// link is named at one of its ends. The resource stays in everybody's reach.
    ///
    /// The shapes are Jepsen's (`jepsen.nemesis`: `bridge`, `majorities-ring`), with the clients as parties of their
    /// own: Redis masters never talk to each other, so what divides them is who reaches which.
    pub fn divide(shape: Shape, nodes: &[Member], clients: impl Iterator<Item = Member>, direction: Direction) -> Self {
        let count = nodes.len();
        let majority = count / 2 + 1;
        let mut cuts: BTreeMap<Member, Vec<Member>> = BTreeMap::new();
        let mut cut = |member: Member, peers: Vec<Member>| {
            if !peers.is_empty() {
                cuts.entry(member).or_default().extend(peers);
            }
        };
        let (halves, rest) = match shape {
            Shape::Isolate => (Vec::new(), Vec::new()),
            Shape::Halves => (nodes[..majority].to_vec(), nodes[majority..].to_vec()),
            Shape::Bridge => (
                nodes[1..].iter().copied().step_by(2).collect(),
                nodes[1..].iter().copied().skip(1).step_by(2).collect(),
            ),
            Shape::MajoritiesRing => {
                // Among themselves, those further apart in the ring than half a majority.
                for (at, node) in nodes.iter().enumerate() {
                    let far = |other: usize| (other - at).min(count - (other - at)) > majority / 2;
                    cut(*node, (at + 1..count).filter(|other| far(*other)).map(|other| nodes[other]).collect());
                }
                for (at, client) in clients.enumerate() {
                    cut(client, (majority..count).map(|step| nodes[(at + step) % count]).collect());
                }
                return Self { cuts, direction };
            }
        };
        for node in &rest {
            cut(*node, halves.clone());
        }
        for (at, client) in clients.enumerate() {
            cut(client, if at % 2 == 0 { rest.clone() } else { halves.clone() });
        }
        Self { cuts, direction }
    }

    /// The links between a client and a lock server among them, client first.
    pub fn client_links(&self) -> BTreeSet<(ClientId, NodeId)> {
        let pairs = self.cuts.iter().flat_map(|(member, peers)| peers.iter().map(move |peer| (*member, *peer)));
        let link = |pair| match pair {
            (Member::Client(client), Member::Node(node)) | (Member::Node(node), Member::Client(client)) => {
                Some((client, node))
            }
            _ => None,
        };
        pairs.filter_map(link).collect()
    }

    /// The links that it means, each once, by their ends: from, to.
    pub fn links(&self) -> BTreeSet<(Member, Member)> {
        let mut links = BTreeSet::new();
        for (member, peers) in &self.cuts {
            for peer in peers {
                if self.direction.drops_out() {
                    links.insert((*member, *peer));
                }
                if self.direction.drops_in() {
                    links.insert((*peer, *member));
                }
            }
        }
        links
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
    fn halves_meet_nowhere_and_a_bridge_reaches_both() {
        let parties = Parties { clients: 4, nodes: 5 };
        let nodes: Vec<Member> = parties.nodes().collect();
        let divided = |shape| Grudge::divide(shape, &nodes, parties.clients(), Direction::Both);
        let reach = |grudge: &Grudge, client: Member| {
            let links = grudge.links();
            nodes.iter().filter(|node| !links.contains(&(client, **node))).count()
        };
        let counts = |grudge: &Grudge| parties.clients().map(|client| reach(grudge, client)).collect::<Vec<_>>();
        assert_eq!(counts(&divided(Shape::Halves)), [3, 2, 3, 2]);
        let bridge = divided(Shape::Bridge);
        assert_eq!(counts(&bridge), [3, 3, 3, 3]);
        assert!(bridge.links().iter().all(|(from, to)| *from != nodes[0] && *to != nodes[0]), "the bridge is whole");
        // Two halves of two nodes: four links, both ways.
        let between = bridge.links().into_iter().filter(|(from, to)| nodes.contains(from) && nodes.contains(to));
        assert_eq!(between.count(), 8);
    }

    #[test]
    fn in_a_ring_everybody_reaches_a_majority_of_his_own() {
        for count in [3, 5, 7] {
            let parties = Parties { clients: 4, nodes: count };
            let nodes: Vec<Member> = parties.nodes().collect();
            let links = Grudge::divide(Shape::MajoritiesRing, &nodes, parties.clients(), Direction::Both).links();
            let reached = |member: Member| -> Vec<Member> {
                nodes.iter().copied().filter(|node| !links.contains(&(member, *node))).collect()
            };
            for member in &nodes {
                assert!(reached(*member).len() as u32 >= parties.majority(), "{member} of {count}");
            }
            let clients: Vec<Vec<Member>> = parties.clients().map(reached).collect();
            assert!(clients.iter().all(|nodes| nodes.len() as u32 == parties.majority()));
            assert!(clients.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }

    #[test]
    fn directions_say_what_they_drop() {
        assert!(Direction::Both.drops_in() && Direction::Both.drops_out());
        assert!(Direction::In.drops_in() && !Direction::In.drops_out());
        assert!(!Direction::Out.drops_in() && Direction::Out.drops_out());
    }
}
