//! Raft, as etcd runs it: terms, votes, one log, who leads. (Ongaro and Ousterhout, "In Search of an Understandable
//! Consensus Algorithm"; `go.etcd.io/raft` with `PreVote` and `CheckQuorum`.)
//!
//! Time is counted in ticks, which stand still while the process does. What is on the disk (the log, the term, the
//! vote) is written before anything is said that rests on it, so that losing power loses nothing more than a crash
//! does.

use std::collections::BTreeMap;

use rand::RngExt;

use super::messages::{Entry, Output, PeerMessage, Place};
use crate::ids::NodeId;
use crate::seed::ChaCha8Rng;

/// Ticks of silence after which a follower may stand for election; up to twice as many, by a draw.
pub(super) const ELECTION: u64 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Follower,
    /// Asks who would vote for it, or for votes.
    Candidate {
        is_real: bool,
        votes: BTreeMap<NodeId, bool>,
    },
    Leader,
}

/// What the leader knows of another member.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// How many entries are surely there.
    matched: u64,
    /// How many were sent.
    sent: u64,
    /// The last question whether we lead that it answered.
    round: u64,
    /// Whether anything was heard of it since the last look.
    is_active: bool,
}

/// One member's part.
#[derive(Debug)]
pub(super) struct Raft {
    id: NodeId,
    others: Vec<NodeId>,
    // On the disk.
    term: u64,
    vote: Option<NodeId>,
    log: Vec<Entry>,
    // In memory.
    role: Role,
    leader: Option<NodeId>,
    committed: u64,
    progress: BTreeMap<NodeId, Progress>,
    round: u64,
    elapsed: u64,
    patience: u64,
    rng: ChaCha8Rng,
}

impl Raft {
    pub fn new(id: NodeId, members: &[NodeId], rng: ChaCha8Rng) -> Self {
        Self {
            id,
            others: members.iter().copied().filter(|member| *member != id).collect(),
            term: 0,
            vote: None,
            log: Vec::new(),
            role: Role::Follower,
            leader: None,
            committed: 0,
            progress: BTreeMap::new(),
            round: 0,
            elapsed: 0,
            patience: ELECTION,
            rng,
        }
    }

    /// The process starts: what was in memory is gone.
    pub fn start(&mut self) {
        self.committed = 0;
        self.follow(self.term, None);
    }

    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    pub fn committed(&self) -> u64 {
        self.committed
    }

    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.log.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// Whether a leader has committed an entry of its own term: before that it does not know what is committed.
    pub fn has_committed_own(&self) -> bool {
        self.entry(self.committed).is_some_and(|entry| entry.term == self.term)
    }

    fn last(&self) -> Place {
        Place { term: self.log.last().map_or(0, |entry| entry.term), index: self.log.len() as u64 }
    }

    fn quorum(&self) -> usize {
        self.others.len().div_ceil(2) + 1
    }

    fn follow(&mut self, term: u64, leader: Option<NodeId>) {
        if term > self.term {
            (self.term, self.vote) = (term, None);
        }
        (self.role, self.leader, self.elapsed) = (Role::Follower, leader, 0);
        self.progress.clear();
        self.patience = self.rng.random_range(ELECTION..2 * ELECTION);
    }

    /// A tick has passed.
    pub fn tick(&mut self, out: &mut Vec<Output>) {
        self.elapsed += 1;
        if self.role != Role::Leader {
            if self.elapsed >= self.patience {
                self.stand(false, out);
            }
            return;
        }
        self.beat(out);
        if self.elapsed >= ELECTION {
            self.elapsed = 0;
            let active = self.progress.values().filter(|other| other.is_active).count();
            self.progress.values_mut().for_each(|other| other.is_active = false);
            if active + 1 < self.quorum() {
                self.follow(self.term, None);
            }
        }
    }

    fn stand(&mut self, is_real: bool, out: &mut Vec<Output>) {
        self.elapsed = 0;
        self.patience = self.rng.random_range(ELECTION..2 * ELECTION);
        self.leader = None;
        if is_real {
            (self.term, self.vote) = (self.term + 1, Some(self.id));
        }
        self.role = Role::Candidate { is_real, votes: BTreeMap::from([(self.id, true)]) };
        let term = if is_real { self.term } else { self.term + 1 };
        let ask = PeerMessage::Vote { term, last: self.last(), is_real };
        self.tell_all(&ask, out);
        self.count(out);
    }

    fn count(&mut self, out: &mut Vec<Output>) {
        let Role::Candidate { is_real, votes } = &self.role else { return };
        let granted = votes.values().filter(|granted| **granted).count();
        let (is_real, refused) = (*is_real, votes.len() - granted);
        if granted >= self.quorum() {
            if is_real { self.lead(out) } else { self.stand(true, out) }
        } else if refused >= self.quorum() {
            self.follow(self.term, None);
        }
    }

    fn lead(&mut self, out: &mut Vec<Output>) {
        (self.role, self.leader, self.elapsed) = (Role::Leader, Some(self.id), 0);
        let last = self.last().index;
        let fresh = Progress { sent: last, is_active: true, ..Progress::default() };
        self.progress = self.others.iter().map(|other| (*other, fresh)).collect();
        self.append(Entry { term: self.term, ticket: None, ask: super::messages::Ask::Nothing }, out);
    }

    /// Appends an entry as the leader, and sends it to all.
    pub fn append(&mut self, entry: Entry, out: &mut Vec<Output>) {
        self.log.push(entry);
        for other in self.others.clone() {
            self.send(other, out);
        }
        self.commit();
    }

    /// Sends what another has not been sent yet.
    fn send(&mut self, to: NodeId, out: &mut Vec<Output>) {
        let last = self.last().index;
        let Some(progress) = self.progress.get_mut(&to) else { return };
        let after = progress.sent;
        progress.sent = last;
        let after = Place { term: self.entry(after).map_or(0, |entry| entry.term), index: after };
        let entries = self.log[after.index as usize..].to_vec();
        let append = PeerMessage::Append { term: self.term, after, entries, committed: self.committed };
        out.push(Output::ToPeer(to, append));
    }

    fn beat(&self, out: &mut Vec<Output>) {
        for (other, progress) in &self.progress {
            let committed = self.committed.min(progress.matched);
            let beat = PeerMessage::Heartbeat { term: self.term, committed, round: self.round };
            out.push(Output::ToPeer(*other, beat));
        }
    }

    /// Asks the others whether we still lead: the number of the question.
    pub fn question(&mut self, out: &mut Vec<Output>) -> u64 {
        self.round += 1;
        self.beat(out);
        self.round
    }

    /// The latest question that a majority has answered.
    pub fn answered(&self) -> u64 {
        let mut rounds: Vec<u64> = self.progress.values().map(|other| other.round).chain([self.round]).collect();
        rounds.sort_unstable();
        rounds.iter().rev().nth(self.quorum() - 1).copied().unwrap_or_default()
    }

    fn commit(&mut self) {
        let own = self.last().index;
        let mut matched: Vec<u64> = self.progress.values().map(|other| other.matched).chain([own]).collect();
        matched.sort_unstable();
        let agreed = matched.iter().rev().nth(self.quorum() - 1).copied().unwrap_or_default();
        // Only entries of the own term are committed by counting.
        if agreed > self.committed && self.entry(agreed).is_some_and(|entry| entry.term == self.term) {
            self.committed = agreed;
        }
    }

    fn tell_all(&self, message: &PeerMessage, out: &mut Vec<Output>) {
        out.extend(self.others.iter().map(|other| Output::ToPeer(*other, message.clone())));
    }

    /// Takes a message about the log; others are the server's.
    pub fn receive(&mut self, from: NodeId, message: PeerMessage, out: &mut Vec<Output>) {
        match message {
            PeerMessage::Vote { term, last, is_real } => self.asked(from, term, last, is_real, out),
            PeerMessage::Voted { term, is_real, is_granted } => {
                if !is_granted && term > self.term {
                    return self.follow(term, None);
                }
                let current = if is_real { self.term } else { self.term + 1 };
                if let Role::Candidate { is_real: asked, votes } = &mut self.role
                    && *asked == is_real
                    && (term == current || !is_granted)
                {
                    votes.insert(from, is_granted);
                    self.count(out);
                }
            }
            PeerMessage::Append { term, after, entries, committed } => {
                if term < self.term {
                    return out
                        .push(Output::ToPeer(from, PeerMessage::Appended { term: self.term, index: 0, fits: false }));
                }
                self.hear(from, term);
                let fits = after.index == 0 || self.entry(after.index).is_some_and(|entry| entry.term == after.term);
                let index = if fits {
                    self.take(after.index, entries)
                } else {
                    self.last().index.min(after.index.saturating_sub(1))
                };
                if fits {
                    self.committed = self.committed.max(committed.min(index));
                }
                out.push(Output::ToPeer(from, PeerMessage::Appended { term: self.term, index, fits }));
            }
            PeerMessage::Heartbeat { term, committed, round } => {
                if term < self.term {
                    return out.push(Output::ToPeer(from, PeerMessage::Beaten { term: self.term, round: 0 }));
                }
                self.hear(from, term);
                self.committed = self.committed.max(committed.min(self.last().index));
                out.push(Output::ToPeer(from, PeerMessage::Beaten { term: self.term, round }));
            }
            PeerMessage::Appended { term, .. } | PeerMessage::Beaten { term, .. } if term > self.term => {
                self.follow(term, None);
            }
            PeerMessage::Appended { term, index, fits } => {
                let own = self.last().index;
                let Some(progress) = self.progress.get_mut(&from).filter(|_| term == self.term) else { return };
                progress.is_active = true;
                if fits {
                    progress.matched = progress.matched.max(index);
                    progress.sent = progress.sent.max(index);
                    self.commit();
                } else {
                    progress.sent = index.min(own).max(progress.matched);
                    self.send(from, out);
                }
            }
            PeerMessage::Beaten { term, round } => {
                let own = self.last().index;
                let Some(progress) = self.progress.get_mut(&from).filter(|_| term == self.term) else { return };
                (progress.is_active, progress.round) = (true, progress.round.max(round));
                // What was sent may have been lost with a connection.
                if progress.matched < own {
                    progress.sent = progress.matched;
                    self.send(from, out);
                }
            }
            _ => {}
        }
    }

    /// A leader of this term was heard.
    fn hear(&mut self, leader: NodeId, term: u64) {
        if term > self.term || self.role != Role::Follower || self.leader != Some(leader) {
            self.follow(term, Some(leader));
        }
        self.elapsed = 0;
    }

    /// Writes entries after the first `after`: how many there are then of which it is known that they are the leader's.
    fn take(&mut self, after: u64, entries: Vec<Entry>) -> u64 {
        let mut index = after;
        for entry in entries {
            index += 1;
            if self.entry(index).is_some_and(|own| own.term == entry.term) {
                continue;
            }
            self.log.truncate(index as usize - 1);
            self.log.push(entry);
        }
        index
    }

    fn asked(&mut self, from: NodeId, term: u64, last: Place, is_real: bool, out: &mut Vec<Output>) {
        // Whoever hears of a leader keeps it, and does not even look at the term.
        let is_content = self.leader.is_some() && (self.role == Role::Leader || self.elapsed < ELECTION);
        if term > self.term && is_content {
            return;
        }
        if is_real && term > self.term {
            self.follow(term, None);
        }
        let is_free =
            if is_real { term == self.term && self.vote.is_none_or(|vote| vote == from) } else { term > self.term };
        let is_granted = is_free && last >= self.last();
        if is_real && is_granted {
            (self.vote, self.elapsed) = (Some(from), 0);
        }
        let term = if is_granted { term } else { self.term };
        out.push(Output::ToPeer(from, PeerMessage::Voted { term, is_real, is_granted }));
    }
}
