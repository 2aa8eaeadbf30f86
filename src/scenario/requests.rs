//! What faults do to requests: which, how often, for how long.
//!
//! Deliberately absent: everything that all faults have ([`super::plan`]), and the links ([`super::links`]).

use std::ops::Range;
use std::time::Duration;

use super::Backend;
use super::duration::DurationText;
use super::error::Problem;
use super::fault_tables::RequestTable;
use super::fault_values::PeersValue;
use super::place::{Choice, Count, Placed};
use super::plan::Reader;
use crate::fault::request::{Call, Does, RequestRule};
use crate::fault::{FaultKind, Member, PeerGroup, Peers, Target};

/// What a table says of its requests.
pub(super) struct RequestKeys<'a> {
    pub does: &'a Placed<Choice<Does>>,
    pub phase: &'a Placed<Choice<Call>>,
    pub times: Option<&'a Placed<Count>>,
    pub by: Option<Placed<DurationText>>,
}

impl Reader<'_, '_> {
    pub(super) fn request(&mut self, table: &RequestTable) -> Option<FaultKind> {
        let keys =
            RequestKeys { does: &table.does, phase: &table.phase, times: table.times.as_ref(), by: table.by.clone() };
        let rule = self.rule(&keys);
        let peers = self.asked(table.target.0.parse().ok().as_ref(), table.peers.as_ref());
        let (peers, rule) = (peers?, rule?);
        Some(FaultKind::Request { peers, rule })
    }

    /// Which requests are struck, and how.
    pub(super) fn rule(&mut self, keys: &RequestKeys<'_>) -> Option<RequestRule> {
        let does = self.problems.choice("what can be done to a request", keys.does);
        let phase = self.problems.choice("a phase in which requests are sent", keys.phase);
        let limit = "requests are counted in 32 bits";
        let times = keys.times.map(|field| self.problems.count("times", field, u32::MAX, limit));
        let by = self.takes(does, &keys.does.span, keys.by.as_ref());
        if does == Some(Does::Refuse) {
            let mut locks = self.trial.locks.values();
            let somebody = locks.any(|lock| lock.as_ref().is_none_or(|lock| lock.backend().refuses()));
            if !self.trial.locks.is_empty() && !somebody {
                let title = "no lock on trial rests on servers that refuse a request and go on";
                self.problems.push(Problem::at(&keys.does.span, title, "nobody").help(Backend::WHO_REFUSES));
            }
        }
        let (does, phase, by) = (does?, phase?, by?);
        let times = match times {
            None => None,
            Some(times) => Some(times?),
        };
        Some(RequestRule { does, phase, times, by })
    }

    /// How long it takes, where it takes time.
    fn takes(
        &mut self,
        does: Option<Does>,
        place: &Range<usize>,
        by: Option<&Placed<DurationText>>,
    ) -> Option<Duration> {
        match (does, by) {
            // What is done is itself mistaken.
            (None, Some(by)) => self.problems.positive("by", by),
            (None, None) => None,
            (Some(does), Some(by)) if does.takes_time() => self.problems.positive("by", by),
            (Some(does), None) if does.takes_time() => {
                let problem = Problem::at(place, format!("a {does} needs `by`"), "without `by`");
                self.problems.refuse(problem.help("for how long: by = \"2s\""))
            }
            (Some(does), Some(by)) => {
                let title = format!("`by` is no setting of a {does}");
                let problem = Problem::at(&by.span, title, "takes no time of its own");
                self.problems.refuse(problem.help("a setting of hold, delay-reply"))
            }
            (Some(_), None) => Some(Duration::ZERO),
        }
    }

    /// At the other end of the links on which requests are struck: only lock servers are asked for a lock, by clients.
    pub(super) fn asked(&mut self, target: Option<&Target>, peers: Option<&Placed<PeersValue>>) -> Option<Peers> {
        let group = match target {
            Some(target) if !target.is_client() => PeerGroup::Clients,
            _ => PeerGroup::Nodes,
        };
        let Some(field) = peers else { return target.map(|_| Peers::Group(group)) };
        let (peers, _) = self.links(target, Some(field), None)?;
        let is_asked = match &peers {
            Peers::Group(named) => *named == group,
            Peers::Members(members) => members.iter().all(|member| match group {
                PeerGroup::Clients => matches!(member, Member::Client(_)),
                _ => matches!(member, Member::Node(_)),
            }),
            Peers::Links(_) => true,
        };
        if !is_asked {
            let title = "requests about locks pass between clients and lock servers only";
            let problem = Problem::at(&field.span, title, "others are there too");
            return self.problems.refuse(problem.help(format!("write peers = \"{group}\", or list some of them")));
        }
        Some(peers)
    }
}
