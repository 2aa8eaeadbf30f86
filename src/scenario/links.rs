//! What faults do to links: between whom, which way, how late, how often.
//!
//! Links that nobody uses are refused: a cut of them would change nothing. Deliberately absent: everything that all
//! faults have ([`super::plan`]).

use std::ops::Range;
use std::time::Duration;

use super::duration::RangeText;
use super::error::Problem;
use super::fault_tables::{DelayTable, LossTable, PartitionTable};
use super::fault_values::{MemberText, PeersValue, PercentValue};
use super::place::{Choice, Placed};
use super::plan::Reader;
use crate::fault::{Direction, FaultKind, Member, PeerGroup, Peers, Refusal, Shape, Target};

/// What a list of members may say.
const MEMBERS: &str = "client:N, node:N, resource";

impl Reader<'_, '_> {
    pub(super) fn partition(&mut self, table: &PartitionTable) -> Option<FaultKind> {
        let shape = match &table.shape {
            None => Some(Shape::default()),
            Some(field) => self.problems.choice("a value of `shape`", field),
        };
        let refusal = match &table.refusal {
            None => Some(Refusal::default()),
            Some(field) => self.problems.choice("a value of `refusal`", field),
        };
        if let (Some(field), Some(shape)) = (&table.shape, shape.filter(|shape| *shape != Shape::Isolate)) {
            self.divides(table, shape, &field.span);
        }
        let links = self.links(table.target.0.parse().ok().as_ref(), table.peers.as_ref(), table.direction.as_ref());
        let ((peers, direction), shape, refusal) = (links?, shape?, refusal?);
        Some(FaultKind::Partition { peers, direction, shape, refusal })
    }

    /// Whether a shape that divides everybody is aimed at everybody, and has anything to divide.
    fn divides(&mut self, table: &PartitionTable, shape: Shape, place: &Range<usize>) {
        if table.target.0.parse() != Ok(Target::All) {
            let title = format!("shape `{shape}` divides everybody, not only `{}`", table.target.0);
            self.problems.push(Problem::at(&table.target.span, title, "not all").help("write target = \"all\""));
        }
        if let Some(peers) = &table.peers {
            let title = format!("shape `{shape}` has no peers: it divides everybody");
            self.problems.push(Problem::at(&peers.span, title, "not with this shape"));
        }
        for (name, config) in self.trial.known_locks().filter(|(_, config)| config.nodes() < 3) {
            let title = format!("lock `{name}` has {} node, which cannot be divided", config.nodes());
            self.problems.push(Problem::at(place, title, "needs three nodes at least"));
        }
    }

    pub(super) fn delay(&mut self, table: &DelayTable) -> Option<FaultKind> {
        let by = self.late_by(&table.by);
        let links = self.links(table.target.0.parse().ok().as_ref(), table.peers.as_ref(), table.direction.as_ref());
        let ((peers, direction), extra) = (links?, by?);
        Some(FaultKind::Delay { peers, direction, extra })
    }

    /// How much later than usual each packet is.
    pub(super) fn late_by(&mut self, field: &Placed<RangeText>) -> Option<(Duration, Duration)> {
        let by = self.problems.range("by", field)?;
        if by.max.is_zero() {
            return self.problems.refuse(Problem::at(&field.span, "`by` must be longer than zero", "zero"));
        }
        Some((by.min, by.max))
    }

    pub(super) fn loss(&mut self, table: &LossTable) -> Option<FaultKind> {
        let permille = self.permille(&table.percent);
        let links = self.links(table.target.0.parse().ok().as_ref(), table.peers.as_ref(), table.direction.as_ref());
        let ((peers, direction), permille) = (links?, permille?);
        Some(FaultKind::Loss { peers, direction, permille })
    }

    /// How many packets of a thousand are lost.
    pub(super) fn permille(&mut self, field: &Placed<PercentValue>) -> Option<u32> {
        let percent = field.0;
        let tenths = percent * 10.0;
        // Decimal fractions are not exact in binary: a hair's breadth off is meant to be exact.
        if !(tenths > 0.0 && percent <= 100.0) {
            let title = "`percent` must be more than 0 and at most 100";
            self.problems.refuse(Problem::at(&field.span, title, "no share of a hundred"))
        } else if (tenths - tenths.round()).abs() > 1e-9 {
            let title = "`percent` is finer than a tenth of a per cent";
            self.problems.refuse(Problem::at(&field.span, title, "too fine").help("lost are so many of a thousand"))
        } else {
            Some(tenths.round() as u32)
        }
    }

    pub(super) fn links(
        &mut self,
        target: Option<&Target>,
        peers: Option<&Placed<PeersValue>>,
        direction: Option<&Placed<Choice<Direction>>>,
    ) -> Option<(Peers, Direction)> {
        let direction = match direction {
            None => Some(Direction::default()),
            Some(field) => self.problems.choice("a value of `direction`", field),
        };
        // A mistaken target was recorded already.
        let peers = match (peers.map(|field| (&field.value, &field.span)), target) {
            (None, Some(target)) => Some(if target.is_client() { PeerGroup::Nodes } else { PeerGroup::All }.into()),
            (None, None) => None,
            (Some((PeersValue::Group(word), span)), target) => {
                let field = Placed { value: word.clone(), span: span.clone() };
                let group = self.problems.choice("a value of `peers`", &field);
                if group.is_none()
                    && let Some(problem) = self.problems.list.last_mut()
                {
                    problem.help.push(format!("or a list of members: {MEMBERS}"));
                }
                if let (Some(group), Some(target)) = (group, target)
                    && let Some(reason) = self.unused(target, group)
                {
                    let title = format!("nothing passes between `{target}` and `{group}`");
                    self.problems.push(Problem::at(span, title, reason));
                }
                group.map(Peers::Group)
            }
            (Some((PeersValue::Members(list), span)), target) => {
                if list.is_empty() {
                    let problem = Problem::at(span, "`peers` lists nobody", "empty");
                    self.problems.push(problem.help(format!("valid members: {MEMBERS}")));
                }
                self.members(list, target).map(Peers::Members)
            }
        };
        Some((peers?, direction?))
    }

    /// The members of a list, if none of them is mistaken.
    pub(super) fn members(&mut self, list: &[Placed<MemberText>], target: Option<&Target>) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        for field in list {
            let Some(member) = self.member(field) else { continue };
            if members.contains(&member) {
                let title = format!("`{}` is listed twice", field.0);
                self.problems.push(Problem::at(&field.span, title, "again"));
            } else if let Some((target, reason)) =
                target.and_then(|target| Some((target, self.unlinked(target, member)?)))
            {
                let title = format!("nothing passes between `{target}` and `{}`", field.0);
                self.problems.push(Problem::at(&field.span, title, reason));
            }
            members.push(member);
        }
        (members.len() == list.len()).then_some(members)
    }

    pub(super) fn member(&mut self, field: &Placed<MemberText>) -> Option<Member> {
        let member = match (field.0.as_str(), field.0.parse()) {
            ("resource", _) => Member::Resource,
            (_, Ok(Target::Client(client))) => {
                self.client_exists(client, &field.span);
                Member::Client(client)
            }
            (_, Ok(Target::Node(node))) => {
                self.node_exists(node, &field.span);
                Member::Node(node)
            }
            _ => {
                let problem = Problem::at(&field.span, format!("`{}` is not a member", field.0), "unknown");
                return self.problems.refuse(
                    problem.help(format!("valid members: {MEMBERS}")).help("clients and nodes are counted from 1"),
                );
            }
        };
        Some(member)
    }

    /// Why nobody uses the link between the target and one member, if so.
    pub(super) fn unlinked(&self, target: &Target, member: Member) -> Option<&'static str> {
        match (target, member) {
            (Target::Client(one), Member::Client(other)) if *one == other => Some("the target itself"),
            (Target::Node(one), Member::Node(other)) if *one == other => Some("the target itself"),
            (Target::Members(members), _) if members.contains(&member) => Some("one of those that are struck"),
            (_, Member::Client(_)) => self.unused(target, PeerGroup::Clients),
            (_, Member::Node(_)) => self.unused(target, PeerGroup::Nodes),
            (_, Member::Resource) => self.unused(target, PeerGroup::Resource),
        }
    }

    /// Why nobody uses the links between the target and the peers, if so.
    fn unused(&self, target: &Target, peers: PeerGroup) -> Option<&'static str> {
        // A mistaken lock may be one whose servers talk; without any lock, that is the mistake.
        let locks = &self.trial.locks;
        let ensemble =
            locks.is_empty() || locks.values().any(|lock| lock.as_ref().is_none_or(|lock| lock.backend().has_leader()));
        match peers {
            PeerGroup::Clients if target.is_client() => Some("clients do not talk to each other"),
            PeerGroup::Resource if !target.is_client() => Some("lock servers do not talk to the resource"),
            PeerGroup::Nodes if *target == Target::All => Some("the struck servers keep together"),
            PeerGroup::Nodes if !target.is_client() && !ensemble => Some("Redis masters do not talk to each other"),
            _ => None,
        }
    }
}
