//! A ZooKeeper server in the simulation: its model, driven by what arrives and by its timer.

use std::collections::BTreeMap;

use super::alarm::Alarm;
use super::message::Payload;
use super::net::{ConnectionId, DOWN};
use super::node::{Role, What};
use super::world::{HostId, State};
use super::zookeeper::{self, Input, Output, Server, Settings};
use crate::fault::Member;
use crate::ids::NodeId;
use crate::seed::Seed;

/// One server, and what drives it.
pub(super) struct ZkNode {
    pub server: Server,
    /// The machines of its ensemble, itself included.
    peers: BTreeMap<NodeId, HostId>,
    pub alarm: Alarm,
}

impl ZkNode {
    /// Server `id` of the ensemble on these machines.
    pub fn new(id: NodeId, peers: BTreeMap<NodeId, HostId>, seed: Seed) -> Self {
        let server = Server::new(id, peers.keys().copied().collect(), Settings::default());
        Self { server, peers, alarm: Alarm::new(seed.stream(&format!("zookeeper/{}", id.0))) }
    }
}

impl State {
    /// The server that leads the ensemble or the etcd cluster, if there is one that runs.
    pub(super) fn leader(&self) -> Option<NodeId> {
        if let Some(server) = self.etcd_leader() {
            return Some(server.id());
        }
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

    fn node(&mut self, host: HostId) -> Option<&mut ZkNode> {
        match &mut self.hosts[host].role {
            Role::Zookeeper(node) => Some(node),
            _ => None,
        }
    }

    /// Gives a server an input, carries out what it wants, and arms its timer.
    pub(super) fn drive(&mut self, host: HostId, input: Input) {
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
}
