//! Fast leader election: everybody spreads the best vote it knows, until a majority has the same.
//!
//! The best vote is for the newest epoch, then the longest log, then the highest id. Rounds keep votes of different
//! elections apart. A server that comes late learns from the leader and a majority of followers whom to follow.

use std::collections::BTreeMap;

use super::io::Output;
use super::peers::{Notification, PeerMessage, Standing, Vote};
use super::settings::Settings;
use crate::ids::NodeId;
use crate::time::Nanos;

/// An election as one server takes part in it.
#[derive(Clone, Debug)]
pub(super) struct Election {
    id: NodeId,
    members: Vec<NodeId>,
    own: Vote,
    /// What is sent: the round and the best vote known.
    said: Notification,
    /// The votes of this round.
    votes: BTreeMap<NodeId, Vote>,
    /// What those said who have a leader.
    settled: BTreeMap<NodeId, Notification>,
    repeat_at: Nanos,
    repeat_after: std::time::Duration,
    decide_at: Option<Nanos>,
}

impl Election {
    /// Begins round `round` with a vote for ourselves.
    pub fn begin(
        own: Vote,
        members: &[NodeId],
        round: u64,
        now: Nanos,
        settings: &Settings,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut election = Self {
            id: own.leader,
            members: members.to_vec(),
            own,
            said: Notification { round, vote: own, standing: Standing::Looking },
            votes: BTreeMap::from([(own.leader, own)]),
            settled: BTreeMap::new(),
            repeat_at: now + settings.notification_min,
            repeat_after: settings.notification_min,
            decide_at: None,
        };
        election.spread(out);
        election.count(now, settings);
        election
    }

    pub fn next_timer(&self) -> Nanos {
        self.decide_at.map_or(self.repeat_at, |decide_at| decide_at.min(self.repeat_at))
    }

    /// Sends what is due to be sent again, or decides: the notification that stands from then on.
    pub fn timer(&mut self, now: Nanos, settings: &Settings, out: &mut Vec<Output>) -> Option<Notification> {
        if self.decide_at.is_some_and(|at| at <= now) {
            return Some(self.decided(self.said));
        }
        if self.repeat_at <= now {
            self.repeat_after = (self.repeat_after * 2).min(settings.notification_max);
            self.repeat_at = now + self.repeat_after;
            self.spread(out);
        }
        None
    }

    /// Takes a peer's notification; returns the decision if it brings one.
    pub fn receive(
        &mut self,
        from: NodeId,
        heard: Notification,
        now: Nanos,
        settings: &Settings,
        out: &mut Vec<Output>,
    ) -> Option<Notification> {
        if heard.standing != Standing::Looking {
            return self.join(from, heard);
        }
        self.settled.remove(&from);
        if heard.round < self.said.round {
            // It will come up to our round.
            self.tell(from, out);
            return None;
        }
        if heard.round > self.said.round {
            self.said.round = heard.round;
            self.votes.clear();
            self.adopt(self.own.max(heard.vote), out);
        } else if heard.vote > self.said.vote {
            self.adopt(heard.vote, out);
        }
        self.votes.insert(from, heard.vote);
        self.count(now, settings);
        None
    }

    fn adopt(&mut self, vote: Vote, out: &mut Vec<Output>) {
        self.said.vote = vote;
        self.votes.insert(self.id, vote);
        self.decide_at = None;
        self.spread(out);
    }

    fn count(&mut self, now: Nanos, settings: &Settings) {
        let agree = self.votes.values().filter(|vote| **vote == self.said.vote).count();
        if agree <= self.members.len() / 2 {
            self.decide_at = None;
        } else if self.decide_at.is_none() {
            self.decide_at = Some(now + settings.finalize_wait);
        }
    }

    /// Follows a leader that a majority has already, if the leader says so itself.
    fn join(&mut self, from: NodeId, heard: Notification) -> Option<Notification> {
        self.settled.insert(from, heard);
        let leader = heard.vote.leader;
        let leads = self.settled.get(&leader).is_some_and(|said| said.standing == Standing::Leading);
        let ours = self.said.round == heard.round && self.said.vote.leader == leader;
        let supporters = self.settled.values().filter(|said| said.vote.leader == leader).count() + usize::from(ours);
        (leads && leader != self.id && supporters > self.members.len() / 2).then(|| self.decided(heard))
    }

    fn decided(&self, agreed: Notification) -> Notification {
        let standing = if agreed.vote.leader == self.id { Standing::Leading } else { Standing::Following };
        Notification { standing, ..agreed }
    }

    fn spread(&self, out: &mut Vec<Output>) {
        self.members.iter().filter(|member| **member != self.id).for_each(|member| self.tell(*member, out));
    }

    fn tell(&self, to: NodeId, out: &mut Vec<Output>) {
        out.push(Output::ToPeer(to, PeerMessage::Vote(self.said)));
    }
}
