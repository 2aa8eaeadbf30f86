//! One member of the ensemble: from inputs to outputs, through whatever role it has.
//!
//! A crash takes everything but the disk. A freeze needs nothing from here: whoever drives the server hands nothing in
//! meanwhile, and afterwards what has piled up.

use super::clients::Clients;
use super::election::Election;
use super::follower::Follower;
use super::io::{Input, Output};
use super::leader::Leader;
use super::local::{Abdicate, Local};
use super::log::Disk;
use super::messages::{ConnectionId, Refusal, Request, Stat, Zxid};
use super::peers::{Entry, Notification, PeerMessage, Standing, Vote};
use super::replica::Replica;
use super::settings::Settings;
use crate::ids::NodeId;
use crate::time::Nanos;

/// What a server is, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does not run.
    Down,
    /// It has no leader, or is not in step with it yet, and serves nobody.
    Looking,
    /// It follows, and serves clients.
    Following(NodeId),
    /// It leads, and serves clients.
    Leading,
}

#[derive(Clone, Debug)]
enum State {
    Down,
    Looking(Election),
    Following(Follower),
    Leading(Box<Leader>),
}

/// One member of a ZooKeeper ensemble.
#[derive(Clone, Debug)]
pub struct Server {
    id: NodeId,
    members: Vec<NodeId>,
    settings: Settings,
    disk: Disk,
    replica: Replica,
    state: State,
    /// What is told to peers that look for a leader.
    agreed: Notification,
    /// Connections to leaders so far, to tell them apart.
    associations: u64,
    /// Why the last role ended.
    stepped_down: Option<&'static str>,
}

impl Server {
    /// The member `id` of an ensemble of `members`, not started yet, with an empty disk.
    pub fn new(id: NodeId, members: Vec<NodeId>, settings: Settings) -> Self {
        let vote = Vote { epoch: 0, zxid: Zxid::ZERO, leader: id };
        Self {
            id,
            members,
            settings,
            disk: Disk::default(),
            replica: Replica::new(id),
            state: State::Down,
            agreed: Notification { round: 0, vote, standing: Standing::Looking },
            associations: 0,
            stepped_down: None,
        }
    }

    /// What it is now.
    pub fn role(&self) -> Role {
        match &self.state {
            State::Down => Role::Down,
            State::Following(follower) if follower.is_serving() => Role::Following(follower.leader),
            State::Leading(leader) if leader.is_serving() => Role::Leading,
            _ => Role::Looking,
        }
    }

    /// Why its last role ended.
    pub fn stepped_down(&self) -> Option<&'static str> {
        self.stepped_down
    }

    /// The last transaction that its clients can see.
    pub fn last_applied(&self) -> Zxid {
        self.replica.tree.last()
    }

    /// The part of its log that its clients can see.
    pub fn applied(&self) -> &[Entry] {
        &self.disk.entries()[..self.replica.applied().min(self.disk.entries().len())]
    }

    /// The session that is open on a connection.
    pub fn session(&self, connection: ConnectionId) -> Option<i64> {
        self.replica.clients.session(connection).map(|(session, _)| session)
    }

    /// The last transaction in its log, committed or not.
    pub fn last_logged(&self) -> Zxid {
        self.disk.last()
    }

    /// The znodes that its clients can see, with their stats, in the order of their paths.
    pub fn znodes(&self) -> impl Iterator<Item = (&str, Stat)> {
        self.replica.tree.nodes().into_iter().map(|(path, node)| (path, node.stat()))
    }

    /// The sessions that are alive as far as this server knows.
    pub fn sessions(&self) -> impl Iterator<Item = i64> {
        self.replica.tree.sessions().keys().copied()
    }

    /// The sessions that are open here, each with its connection, in no order.
    pub fn connected(&self) -> impl Iterator<Item = (ConnectionId, i64)> {
        self.replica.clients.established()
    }

    /// When the server wants [`Input::Timer`], on its own monotonic clock.
    pub fn next_timer(&self) -> Option<Nanos> {
        match &self.state {
            State::Down => None,
            State::Looking(election) => Some(election.next_timer()),
            State::Following(follower) => Some(follower.next_timer()),
            State::Leading(leader) => Some(leader.next_timer()),
        }
    }

    /// Ends the process: only the disk remains. Its connections are the network's to break.
    pub fn crash(&mut self) {
        self.state = State::Down;
        self.replica = Replica::new(self.id);
    }

    /// Cuts the power: a crash, as nothing was acknowledged that was not on disk.
    pub fn power_loss(&mut self) {
        self.crash();
    }

    /// Takes one input at `now` on the server's own monotonic clock, and adds what follows from it to `out`.
    pub fn handle(&mut self, now: Nanos, input: Input, out: &mut Vec<Output>) {
        let outcome = match input {
            Input::Started => return self.start(now, out),
            _ if matches!(self.state, State::Down) => return,
            Input::Timer => self.timer(now, out),
            Input::FromPeer(from, message) => self.hear_peer(now, from, message, out),
            Input::PeerReset(peer) => self.reset(now, peer, None, out),
            Input::Opened(connection) => {
                self.replica.clients.opened(connection);
                Ok(())
            }
            Input::Closed(connection) => {
                self.replica.clients.forget(connection);
                Ok(())
            }
            Input::FromClient(connection, request) => {
                self.hear_client(now, connection, request, out);
                Ok(())
            }
        };
        match outcome {
            Ok(()) => self.pump(now, out),
            Err(reason) => self.abdicate(reason, now, out),
        }
    }

    fn start(&mut self, now: Nanos, out: &mut Vec<Output>) {
        self.disk.starts += 1;
        self.replica.clients = Clients::new(self.id, self.disk.starts);
        self.associations = u64::from(self.disk.starts) << 32;
        self.agreed.round = 0;
        self.look(now, out);
    }

    fn look(&mut self, now: Nanos, out: &mut Vec<Output>) {
        let own = Vote { epoch: self.disk.current_epoch, zxid: self.disk.last(), leader: self.id };
        let round = self.agreed.round + 1;
        self.state = State::Looking(Election::begin(own, &self.members, round, now, &self.settings, out));
    }

    fn abdicate(&mut self, Abdicate(reason): Abdicate, now: Nanos, out: &mut Vec<Output>) {
        self.stepped_down = Some(reason);
        self.replica.clients.shut_down(out);
        match &self.state {
            State::Following(follower) => follower.leave(out),
            State::Leading(leader) => leader.leave(out),
            _ => {}
        }
        self.look(now, out);
    }

    fn local<'a>(&'a mut self, now: Nanos, out: &'a mut Vec<Output>) -> (&'a mut State, Local<'a>) {
        let Self { id, members, settings, disk, replica, state, .. } = self;
        (state, Local { id: *id, members, settings, now, disk, replica, out })
    }

    fn timer(&mut self, now: Nanos, out: &mut Vec<Output>) -> Result<(), Abdicate> {
        let (state, mut local) = self.local(now, out);
        match state {
            State::Down => Ok(()),
            State::Looking(election) => match election.timer(now, local.settings, local.out) {
                Some(agreed) => self.settle(agreed, now, out),
                None => Ok(()),
            },
            State::Following(follower) => follower.timer(&mut local),
            State::Leading(leader) => leader.timer(&mut local),
        }
    }

    /// The election is decided: takes on the role.
    fn settle(&mut self, agreed: Notification, now: Nanos, out: &mut Vec<Output>) -> Result<(), Abdicate> {
        self.agreed = agreed;
        self.associations += 0x100;
        let association = self.associations;
        let (state, mut local) = self.local(now, out);
        local.replica.clients.leading = agreed.standing == Standing::Leading;
        *state = match agreed.standing {
            Standing::Leading => State::Leading(Box::new(Leader::lead(&mut local)?)),
            _ => State::Following(Follower::follow(agreed.vote.leader, association, &mut local)),
        };
        Ok(())
    }

    fn hear_peer(
        &mut self,
        now: Nanos,
        from: NodeId,
        message: PeerMessage,
        out: &mut Vec<Output>,
    ) -> Result<(), Abdicate> {
        let agreed = self.agreed;
        let (state, mut local) = self.local(now, out);
        match (message, state) {
            (PeerMessage::Vote(heard), State::Looking(election)) => {
                match election.receive(from, heard, now, local.settings, local.out) {
                    Some(agreed) => self.settle(agreed, now, out),
                    None => Ok(()),
                }
            }
            (PeerMessage::Vote(heard), _) => {
                if heard.standing == Standing::Looking {
                    out.push(Output::ToPeer(from, PeerMessage::Vote(agreed)));
                }
                Ok(())
            }
            (PeerMessage::ToLeader { association, number, body }, State::Leading(leader)) => {
                leader.receive(from, association, number, body, &mut local)
            }
            (PeerMessage::ToFollower { association, number, body }, State::Following(follower))
                if follower.leader == from =>
            {
                follower.receive(association, number, body, &mut local)
            }
            (PeerMessage::Reset { association }, _) => self.reset(now, from, Some(association), out),
            (PeerMessage::ToLeader { association, .. } | PeerMessage::ToFollower { association, .. }, _) => {
                out.push(Output::ToPeer(from, PeerMessage::Reset { association }));
                Ok(())
            }
        }
    }

    fn reset(
        &mut self,
        now: Nanos,
        peer: NodeId,
        association: Option<u64>,
        out: &mut Vec<Output>,
    ) -> Result<(), Abdicate> {
        let (state, local) = self.local(now, out);
        match state {
            State::Following(follower) if follower.leader == peer => follower.reset(association, &local),
            State::Leading(leader) => {
                leader.reset(peer, association);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn hear_client(&mut self, now: Nanos, id: ConnectionId, request: Request, out: &mut Vec<Output>) {
        if !matches!(self.role(), Role::Leading | Role::Following(_)) {
            return self.replica.clients.close(id, out);
        }
        let (state, local) = self.local(now, out);
        if let State::Leading(leader) = state
            && let Some((session, timeout)) = local.replica.clients.session(id)
        {
            match leader.admit(session, timeout, &local) {
                Ok(()) => {}
                Err(Refusal::SessionMoved) => return local.replica.clients.close(id, local.out),
                Err(_) => return,
            }
        }
        let Local { replica: Replica { tree, clients, .. }, settings, out, .. } = local;
        clients.receive(id, request, settings, tree, out);
    }

    /// Hands what the clients want to the leader, until there is nothing left.
    fn pump(&mut self, now: Nanos, out: &mut Vec<Output>) {
        let (state, mut local) = self.local(now, out);
        while let Some(forward) = local.replica.clients.upstream.pop_front() {
            match state {
                State::Leading(leader) => leader.submit(local.id, forward, &mut local),
                State::Following(follower) => follower.forward(forward, &mut local),
                State::Down | State::Looking(_) => {}
            }
        }
        if let State::Leading(_) = state {
            // A leader notes its own clients' signs of life as they come.
            local.replica.clients.forget_touched();
        }
    }
}
