//! A ZooKeeper server in the simulation: its model, driven by what arrives and by its timer.

use std::collections::BTreeMap;

use rand::RngExt;

use super::message::Payload;
use super::net::{ConnectionId, DOWN};
use super::node::{Role, What};
use super::trace::Kind;
use super::world::{Event, HostId, Power, State};
use super::zookeeper::{self, Input, Output, Server, Settings};
use crate::fault::Member;
use crate::ids::NodeId;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

/// One server, and what drives it.
pub(super) struct ZkNode {
    pub server: Server,
    /// The machines of its ensemble, itself included.
    peers: BTreeMap<NodeId, HostId>,
    /// What its timer is armed for, on its own clock.
    armed: Option<Nanos>,
    /// Numbers the timers: an older one is void.
    generation: u32,
    /// What a thawed server does first.
    rng: ChaCha8Rng,
}

impl ZkNode {
    /// Server `id` of the ensemble on these machines.
    pub fn new(id: NodeId, peers: BTreeMap<NodeId, HostId>, seed: Seed) -> Self {
        let server = Server::new(id, peers.keys().copied().collect(), Settings::default());
        Self { server, peers, armed: None, generation: 0, rng: seed.stream(&format!("zookeeper/{}", id.0)) }
    }
}

impl State {
    /// Starts all servers that have to be started.
    pub(super) fn start_nodes(&mut self) {
        for host in 0..self.hosts.len() {
            self.start_node(host);
        }
    }

    /// Starts a ZooKeeper server, the first time or after a crash.
    pub(super) fn start_node(&mut self, host: HostId) {
        if self.node(host).is_some() {
            self.drive(host, Input::Started);
        }
    }

    /// The server that leads the ensemble, if there is one that runs.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let leads = |host: &&super::world::Host| {
            host.frozen.is_none()
                && matches!(&host.role, Role::Zookeeper(node) if node.server.role() == zookeeper::Role::Leading)
        };
        self.hosts.iter().find(leads).and_then(|host| match host.member {
            Some(Member::Node(node)) => Some(node),
            _ => None,
        })
    }

    /// The server of the ensemble that the machine `client` was connected to last, if the connection is open.
    pub(super) fn session_server(&self, client: HostId) -> Option<NodeId> {
        let mut connections = self.net.connections.iter().rev();
        let serves = |host: HostId| matches!(self.hosts[host].role, Role::Zookeeper(_));
        let [_, server] = connections
            .find(|connection| connection.hosts[0] == client && serves(connection.hosts[1]) && connection.open[0])?
            .hosts;
        match self.hosts[server].member {
            Some(Member::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// Hands a server what has arrived on one of its connections.
    pub(super) fn serve_zookeeper(&mut self, host: HostId, connection: ConnectionId, what: What) {
        let id = zookeeper::ConnectionId(connection.into());
        let [low, high] = self.net.connections[connection as usize].hosts;
        let other = if low == host { high } else { low };
        let peer = match self.hosts[other].member {
            Some(Member::Node(peer)) => Some(peer),
            _ => None,
        };
        let input = match (what, peer) {
            (What::Opened, _) => Input::Opened(id),
            (What::Data(Payload::Request(request)), _) => Input::FromClient(id, request),
            (What::Data(Payload::Peer(message)), Some(peer)) => Input::FromPeer(peer, *message),
            (What::Closed, Some(peer)) => Input::PeerReset(peer),
            (What::Closed, None) => {
                let session = self.node(host).and_then(|node| node.server.session(id));
                if let (Some(session), Some(Member::Node(node))) = (session, self.hosts[host].member) {
                    self.ledger.disconnected(session, node, self.now);
                }
                Input::Closed(id)
            }
            (What::Data(_), _) => return,
        };
        let is_client = matches!(input, Input::FromClient(..));
        self.drive(host, input);
        let session = is_client.then(|| self.node(host).and_then(|node| node.server.session(id))).flatten();
        if let (Some(session), Some(Member::Node(node))) = (session, self.hosts[host].member) {
            let client = self.hosts[other].member.and_then(Member::client);
            self.ledger.connected(session, client, node, self.now);
        }
    }

    /// A server's timer has come, unless it is void.
    pub(super) fn node_timer(&mut self, time: u64, host: HostId, generation: u32) {
        let (mono, machine) = (self.hosts[host].clock.mono(time), &self.hosts[host]);
        let Role::Zookeeper(node) = &machine.role else { return };
        let due = node.armed.is_some_and(|armed| mono >= armed);
        if node.generation != generation || machine.frozen.is_some() || machine.power != Power::Running {
            return;
        }
        self.now = time;
        // A clock that was slowed down meanwhile needs the timer once more.
        if due {
            self.trace.event_in_words(time, host, Kind::Timer, &mono, |_| {
                format!("the server's timer runs out at {} ns on its own clock", mono.0)
            });
            self.drive(host, Input::Timer);
        }
        self.arm_node(host);
    }

    /// A thawed server may look at its timers before it looks at what has arrived: whether a client that has been heard
    /// in time keeps its session is a race there, too.
    pub(super) fn thaw_node(&mut self, host: HostId) {
        let timers_first = self.node(host).is_some_and(|node| node.rng.random());
        while timers_first && self.overdue(host) {
            self.drive(host, Input::Timer);
        }
    }

    /// Arms a server's timer anew, after something has changed besides the server itself.
    pub(super) fn arm_node(&mut self, host: HostId) {
        if let Some(node) = self.node(host) {
            node.armed = None;
            self.arm_timer(host);
        }
    }

    fn node(&mut self, host: HostId) -> Option<&mut ZkNode> {
        match &mut self.hosts[host].role {
            Role::Zookeeper(node) => Some(node),
            _ => None,
        }
    }

    fn overdue(&mut self, host: HostId) -> bool {
        let now = self.mono(host);
        self.node(host).and_then(|node| node.server.next_timer()).is_some_and(|timer| timer <= now)
    }

    /// Gives a server an input, carries out what it wants, and arms its timer.
    fn drive(&mut self, host: HostId, input: Input) {
        let mono = self.mono(host);
        let mut outputs = std::mem::take(&mut self.outputs);
        let Some(node) = self.node(host) else { return };
        let before = node.server.applied().len();
        node.server.handle(mono, input, &mut outputs);
        self.note_applied(host, before);
        for output in outputs.drain(..) {
            match output {
                Output::ToPeer(peer, message) => {
                    let to = self.node(host).and_then(|node| node.peers.get(&peer).copied());
                    if let Some(to) = to {
                        self.tell_peer(host, to, Payload::Peer(Box::new(message)));
                    }
                }
                Output::ToClient(connection, reply) => {
                    self.answer(connection.0 as ConnectionId, Payload::Answer(reply));
                }
                Output::Close(connection) => self.close(connection.0 as ConnectionId, DOWN),
            }
        }
        self.outputs = outputs;
        self.arm_timer(host);
    }

    /// Tells the record what a server has applied beyond the first `before` entries of its log.
    fn note_applied(&mut self, host: HostId, before: usize) {
        let Self { hosts, ledger, now, .. } = self;
        let machine = &hosts[host];
        if let (Role::Zookeeper(node), Some(Member::Node(id))) = (&machine.role, machine.member) {
            let applied = node.server.applied();
            // A log that was cut is gone through again from its beginning.
            let new = applied.get(before..).unwrap_or(applied);
            new.iter().for_each(|entry| ledger.applied(id, *now, entry));
        }
    }

    fn arm_timer(&mut self, host: HostId) {
        let now = self.now;
        let machine = &mut self.hosts[host];
        let Role::Zookeeper(node) = &mut machine.role else { return };
        let next = node.server.next_timer();
        if next == node.armed {
            return;
        }
        node.armed = next;
        node.generation = node.generation.wrapping_add(1);
        let generation = node.generation;
        if let Some(next) = next {
            let at = machine.clock.when(next).max(now);
            self.schedule(at, Event::Node(host as u32, generation));
        }
    }
}
