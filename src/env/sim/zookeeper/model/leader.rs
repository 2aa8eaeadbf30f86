//! The leader: brings a majority to one history, then keeps it together. What it orders is in `broadcast`.
//!
//! Its time is counted in its own ticks, which stand still while its process does: a leader that was frozen does not
//! step down for that, but when it sees its followers gone. Between a majority's leaving and that moment it answers
//! reads and `sync`s with what it has.

use std::collections::{BTreeMap, VecDeque};

use super::clients::close_session;
use super::expiry::Tracker;
use super::io::Output;
use super::local::{Abdicate, Local};
use super::messages::Zxid;
use super::peers::{PeerMessage, ToFollower, ToLeader};
use super::tree::Tree;
use crate::ids::NodeId;
use crate::time::Nanos;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Hearing a majority's epochs, to begin a later one.
    Discovery,
    /// Waiting for a majority to promise to follow it.
    Promise,
    /// Giving a majority its history.
    Synchronisation,
    /// Serving.
    Broadcast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PeerStage {
    Hello { accepted_epoch: u32 },
    EpochSent,
    Promised { is_new: bool, last: Zxid },
    HistorySent,
    HistoryAcked,
    Serving,
}

#[derive(Clone, Debug)]
struct Peer {
    association: u64,
    incoming: u64,
    outgoing: u64,
    stage: PeerStage,
    /// The last transaction in its log, as far as known.
    acked: Zxid,
    /// The tick after which it is given up, unless something is heard of it.
    deadline: u64,
}

/// A server that leads, or is about to.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    stage: Stage,
    pub(super) epoch: u32,
    peers: BTreeMap<NodeId, Peer>,
    /// The tree as it will be when all proposals are committed.
    pub(super) prepared: Tree,
    pub(super) tracker: Tracker,
    /// How many transactions were proposed.
    pub(super) proposed: u32,
    pub(super) committed: Zxid,
    /// `sync`s of followers' clients that wait for a proposal.
    pub(super) syncs: VecDeque<(Zxid, NodeId, i64, i32)>,
    tick: u64,
    mid_tick: bool,
    next_half_tick: Nanos,
    /// When to give up, unless the stage is passed.
    give_up_at: Nanos,
}

impl Leader {
    /// Begins to lead.
    pub fn lead(local: &mut Local) -> Result<Self, Abdicate> {
        let mut leader = Self {
            stage: Stage::Discovery,
            epoch: 0,
            peers: BTreeMap::new(),
            prepared: Tree::default(),
            tracker: Tracker::new(local.settings.tick),
            proposed: 0,
            committed: Zxid::ZERO,
            syncs: VecDeque::new(),
            tick: 0,
            mid_tick: true,
            next_half_tick: local.now + local.settings.tick / 2,
            give_up_at: local.now + local.settings.init_time(),
        };
        leader.advance(local)?;
        Ok(leader)
    }

    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Broadcast
    }

    pub fn next_timer(&self) -> Nanos {
        match self.stage {
            Stage::Broadcast => self.tracker.next().map_or(self.next_half_tick, |at| at.min(self.next_half_tick)),
            _ => self.next_half_tick.min(self.give_up_at),
        }
    }

    fn has_majority(&self, local: &Local, counts: impl Fn(&Peer) -> bool) -> bool {
        1 + self.peers.values().filter(|peer| counts(peer)).count() > local.members.len() / 2
    }

    pub(super) fn send(&mut self, to: NodeId, body: ToFollower, local: &mut Local) {
        if let Some(peer) = self.peers.get_mut(&to) {
            let message = PeerMessage::ToFollower { association: peer.association, number: peer.outgoing, body };
            peer.outgoing += 1;
            local.out.push(Output::ToPeer(to, message));
        }
    }

    /// Sends to all followers that have the history, or have it coming.
    pub(super) fn broadcast(&mut self, body: &ToFollower, local: &mut Local) {
        let in_stream = |peer: &Peer| peer.stage >= PeerStage::HistorySent;
        let to: Vec<NodeId> = self.peers.iter().filter(|(_, peer)| in_stream(peer)).map(|(id, _)| *id).collect();
        to.into_iter().for_each(|id| self.send(id, body.clone(), local));
    }

    /// Hangs up on everybody.
    pub fn leave(&self, out: &mut Vec<Output>) {
        for (id, peer) in &self.peers {
            out.push(Output::ToPeer(*id, PeerMessage::Reset { association: peer.association }));
        }
    }

    /// A connection broke.
    pub fn reset(&mut self, from: NodeId, association: Option<u64>) {
        if self.peers.get(&from).is_some_and(|peer| association.is_none_or(|broken| broken == peer.association)) {
            self.peers.remove(&from);
        }
    }

    pub fn timer(&mut self, local: &mut Local) -> Result<(), Abdicate> {
        if self.stage != Stage::Broadcast && self.give_up_at <= local.now {
            return Err(Abdicate("no majority came to follow"));
        }
        if self.next_half_tick <= local.now {
            self.half_tick(local)?;
        }
        if self.stage == Stage::Broadcast {
            for session in self.tracker.expire(local.now) {
                self.submit(local.id, close_session(session), local);
            }
        }
        Ok(())
    }

    fn half_tick(&mut self, local: &mut Local) -> Result<(), Abdicate> {
        self.next_half_tick = local.now + local.settings.tick / 2;
        self.mid_tick = !self.mid_tick;
        if self.mid_tick {
            self.tick += 1;
            let tick = self.tick;
            let silent = self.peers.iter().filter(|(_, peer)| peer.deadline < tick);
            let silent: Vec<NodeId> = silent.map(|(id, _)| *id).collect();
            for id in silent {
                self.hang_up(id, local);
            }
            if self.stage == Stage::Broadcast && !self.has_majority(local, |peer| peer.stage == PeerStage::Serving) {
                return Err(Abdicate("the majority is gone"));
            }
        }
        if self.stage == Stage::Broadcast {
            self.broadcast(&ToFollower::Ping, local);
        }
        Ok(())
    }

    fn hang_up(&mut self, id: NodeId, local: &mut Local) {
        if let Some(peer) = self.peers.remove(&id) {
            local.out.push(Output::ToPeer(id, PeerMessage::Reset { association: peer.association }));
        }
    }

    pub fn receive(
        &mut self,
        from: NodeId,
        association: u64,
        number: u64,
        body: ToLeader,
        local: &mut Local,
    ) -> Result<(), Abdicate> {
        if let (0, ToLeader::Hello { accepted_epoch }) = (number, &body) {
            let peer = Peer {
                association,
                incoming: 0,
                outgoing: 0,
                stage: PeerStage::Hello { accepted_epoch: *accepted_epoch },
                acked: Zxid::ZERO,
                deadline: u64::MAX,
            };
            self.peers.insert(from, peer);
        }
        let known = self.peers.get_mut(&from).filter(|peer| peer.association == association);
        let Some(peer) = known else {
            local.out.push(Output::ToPeer(from, PeerMessage::Reset { association }));
            return Ok(());
        };
        if number != peer.incoming {
            self.hang_up(from, local);
            return Ok(());
        }
        peer.incoming += 1;
        match body {
            ToLeader::Hello { .. } => {}
            ToLeader::AckEpoch { current_epoch, last } => {
                peer.stage = PeerStage::Promised { is_new: current_epoch.is_some(), last };
                let ours = (local.disk.current_epoch, local.disk.last());
                if self.stage == Stage::Promise && current_epoch.is_some_and(|epoch| (epoch, last) > ours) {
                    return Err(Abdicate("a follower knows more"));
                }
            }
            ToLeader::AckHistory(zxid) => (peer.stage, peer.acked) = (PeerStage::HistoryAcked, zxid),
            ToLeader::Ack(zxid) => peer.acked = zxid,
            ToLeader::Forward(forward) if self.stage == Stage::Broadcast => self.submit(from, forward, local),
            ToLeader::Forward(_) => {}
            ToLeader::Pong(touched) => {
                for (session, timeout) in touched {
                    self.tracker.touch(local.now, session, timeout);
                }
            }
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            let synced = peer.stage >= PeerStage::HistoryAcked;
            let patience = if synced { local.settings.sync_limit } else { local.settings.init_limit };
            peer.deadline = self.tick + u64::from(patience);
        }
        self.advance(local)
    }

    /// Goes as far as the followers allow.
    fn advance(&mut self, local: &mut Local) -> Result<(), Abdicate> {
        if self.stage == Stage::Discovery && self.has_majority(local, |_| true) {
            let accepted = self.peers.values().filter_map(|peer| match peer.stage {
                PeerStage::Hello { accepted_epoch } => Some(accepted_epoch),
                _ => None,
            });
            self.epoch = 1 + accepted.fold(local.disk.accepted_epoch, u32::max);
            local.disk.accepted_epoch = self.epoch;
            self.pass_to(Stage::Promise, local);
        }
        let promised = |peer: &Peer| matches!(peer.stage, PeerStage::Promised { is_new: true, .. });
        if self.stage == Stage::Promise && self.has_majority(local, promised) {
            local.disk.current_epoch = self.epoch;
            self.pass_to(Stage::Synchronisation, local);
        }
        for id in local.members {
            match self.peers.get(id).map(|peer| peer.stage) {
                Some(PeerStage::Hello { .. }) if self.stage != Stage::Discovery => {
                    self.set_stage(*id, PeerStage::EpochSent);
                    self.send(*id, ToFollower::NewEpoch(self.epoch), local);
                }
                Some(PeerStage::Promised { last, .. }) if self.stage > Stage::Promise => {
                    let (keep, entries) = local.disk.since(last);
                    self.set_stage(*id, PeerStage::HistorySent);
                    self.send(*id, ToFollower::History { epoch: self.epoch, keep, entries }, local);
                }
                _ => {}
            }
        }
        if self.stage == Stage::Synchronisation
            && self.has_majority(local, |peer| peer.stage == PeerStage::HistoryAcked)
        {
            self.pass_to(Stage::Broadcast, local);
            self.serve(local);
        }
        if self.stage == Stage::Broadcast {
            self.welcome(local);
            self.commit(local);
        }
        Ok(())
    }

    fn pass_to(&mut self, stage: Stage, local: &Local) {
        self.stage = stage;
        self.give_up_at = local.now + local.settings.init_time();
    }

    /// Lets the followers serve that have the history.
    fn welcome(&mut self, local: &mut Local) {
        for id in local.members {
            if self.peers.get(id).is_some_and(|peer| peer.stage == PeerStage::HistoryAcked) {
                self.set_stage(*id, PeerStage::Serving);
                self.send(*id, ToFollower::UpToDate { committed: self.committed }, local);
            }
        }
    }

    /// The last transaction that a majority has in its logs.
    pub(super) fn agreed(&self, local: &Local) -> Zxid {
        let serving = self.peers.values().filter(|peer| peer.stage == PeerStage::Serving);
        let mut acked: Vec<Zxid> = serving.map(|peer| peer.acked).chain([local.disk.last()]).collect();
        acked.sort_unstable();
        acked.iter().rev().nth(local.members.len() / 2).copied().unwrap_or(Zxid::ZERO)
    }

    fn set_stage(&mut self, id: NodeId, stage: PeerStage) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.stage = stage;
        }
    }
}
