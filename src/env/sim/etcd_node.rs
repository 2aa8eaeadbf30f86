//! An etcd member in the simulation: its model, driven by what arrives and by its timer.

use std::collections::BTreeMap;

use super::alarm::Alarm;
use super::etcd::messages::ConnectionId as Connection;
use super::etcd::{Input, Output, Server};
use super::message::Payload;
use super::net::ConnectionId;
use super::node::{Role, What};
use super::world::{HostId, State};
use crate::fault::Member;
use crate::ids::NodeId;
use crate::seed::Seed;

/// One member, and what drives it.
pub(super) struct EtcdNode {
    pub server: Server,
    /// The machines of its cluster, itself included.
    peers: BTreeMap<NodeId, HostId>,
    pub alarm: Alarm,
}

impl EtcdNode {
    /// Member `id` of the cluster on these machines.
    pub fn new(id: NodeId, peers: BTreeMap<NodeId, HostId>, seed: Seed) -> Self {
        let members: Vec<NodeId> = peers.keys().copied().collect();
        let server = Server::new(id, &members, seed.stream(&format!("etcd/{}/elections", id.0)));
        Self { server, peers, alarm: Alarm::new(seed.stream(&format!("etcd/{}", id.0))) }
    }
}

impl State {
    /// Hands a member what has arrived on one of its connections.
    pub(super) fn serve_etcd(&mut self, host: HostId, connection: ConnectionId, what: What) {
        let [low, high] = self.net.connections[connection as usize].hosts;
        let other = if low == host { high } else { low };
        let peer = match self.hosts[other].member {
            Some(Member::Node(peer)) => Some(peer),
            _ => None,
        };
        let input = match (what, peer) {
            (What::Data(Payload::Asked(request)), _) => Input::FromClient(Connection(connection), request),
            (What::Data(Payload::Raft(message)), Some(peer)) => Input::FromPeer(peer, *message),
            (What::Closed, None) => Input::Closed(Connection(connection)),
            // Raft sends again what is lost with a connection of peers.
            (What::Opened | What::Closed | What::Data(_), _) => return,
        };
        self.drive_etcd(host, input);
    }

    /// The member that leads, if there is one that runs: of two that both believe so, the later one.
    pub(super) fn etcd_leader(&self) -> Option<&Server> {
        let members = self.hosts.iter().filter(|host| host.frozen.is_none()).filter_map(|host| match &host.role {
            Role::Etcd(node) => Some(&node.server),
            _ => None,
        });
        members.filter(|server| server.is_leader()).max_by_key(|server| server.term())
    }

    /// Gives a member an input, carries out what it wants, and arms its timer.
    pub(super) fn drive_etcd(&mut self, host: HostId, input: Input) {
        let mono = self.mono(host);
        let Role::Etcd(node) = &mut self.hosts[host].role else { return };
        let mut outputs = Vec::new();
        node.server.handle(mono, input, &mut outputs);
        let peers = node.peers.clone();
        for output in outputs {
            match output {
                Output::ToPeer(peer, message) => {
                    if let Some(to) = peers.get(&peer) {
                        self.tell_peer(host, *to, Payload::Raft(Box::new(message)));
                    }
                }
                Output::ToClient(Connection(connection), answer) => self.answer(connection, Payload::Told(answer)),
            }
        }
        self.arm_timer(host);
    }
}
