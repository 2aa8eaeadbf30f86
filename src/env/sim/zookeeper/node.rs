//! A ZooKeeper server in the simulation: its model, driven by what arrives and by its timer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand::RngExt;

use super::message::ZookeeperMessage;
use super::model::{ConnectionId as ModelConnection, Input, Output, Role, Server as Model, Settings};
use super::records::Records;
use crate::env::sim::engine::ids::{ConnectionId, HostId, Power};
use crate::env::sim::engine::message::downcast;
use crate::env::sim::engine::server::{Effect, Incoming, Moment, Server, What};
use crate::env::sim::engine::sync::lock;
use crate::fault::Member;
use crate::history::ServerRecord;
use crate::ids::NodeId;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

/// One server, and what drives it.
pub struct ZookeeperServer {
    id: NodeId,
    model: Model,
    /// The machines of its ensemble, itself included.
    peers: BTreeMap<NodeId, HostId>,
    /// What it does first when it is thawed.
    rng: ChaCha8Rng,
    records: Arc<Mutex<Records>>,
    /// Room for what the model wants done, kept from one input to the next.
    outputs: Vec<Output>,
}

impl ZookeeperServer {
    /// Server `id` of the ensemble on these machines. All servers of a trial share its records.
    pub fn new(id: NodeId, peers: BTreeMap<NodeId, HostId>, seed: Seed, records: Arc<Mutex<Records>>) -> Self {
        let model = Model::new(id, peers.keys().copied().collect(), Settings::default());
        let rng = seed.stream(&format!("zookeeper/{}", id.0));
        Self { id, model, peers, rng, records, outputs: Vec::new() }
    }

    /// Its state.
    pub fn model(&self) -> &Model {
        &self.model
    }

    fn drive(&mut self, moment: &Moment<'_>, input: Input, effects: &mut Vec<Effect>) {
        let before = self.model.applied().len();
        self.model.handle(moment.mono(), input, &mut self.outputs);
        self.note_applied(moment.now, before);
        effects.extend(self.outputs.drain(..).filter_map(|output| {
            Some(match output {
                Output::ToPeer(peer, message) => {
                    Effect::Tell(*self.peers.get(&peer)?, Box::new(ZookeeperMessage::Peer(message)))
                }
                Output::ToClient(connection, reply) => {
                    Effect::Answer(connection.0 as ConnectionId, Box::new(ZookeeperMessage::Reply(reply)))
                }
                Output::Close(connection) => Effect::Close(connection.0 as ConnectionId),
            })
        }));
    }

    /// Tells the record what was applied beyond the first `before` entries of the log.
    fn note_applied(&self, now: u64, before: usize) {
        let applied = self.model.applied();
        if applied.len() == before {
            return;
        }
        // A log that was cut is gone through again from its beginning.
        let new = applied.get(before..).unwrap_or(applied);
        let mut records = lock(&self.records);
        new.iter().for_each(|entry| records.applied(self.id, now, entry));
    }
}

impl Server for ZookeeperServer {
    fn start(&mut self, moment: &Moment<'_>, effects: &mut Vec<Effect>) {
        self.drive(moment, Input::Started, effects);
    }

    fn receive(
        &mut self,
        moment: &Moment<'_>,
        from: Option<Member>,
        Incoming { connection, what }: Incoming,
        effects: &mut Vec<Effect>,
    ) {
        let id = ModelConnection(connection.into());
        let peer = match from {
            Some(Member::Node(peer)) => Some(peer),
            _ => None,
        };
        let input = match (what, peer) {
            (What::Opened, _) => Input::Opened(id),
            (What::Closed, Some(peer)) => Input::PeerReset(peer),
            (What::Closed, None) => {
                if let Some(session) = self.model.session(id) {
                    lock(&self.records).disconnected(session, self.id, moment.now);
                }
                Input::Closed(id)
            }
            (What::Data(payload), peer) => match (downcast(payload), peer) {
                (Some(ZookeeperMessage::Request(request)), _) => Input::FromClient(id, request),
                (Some(ZookeeperMessage::Peer(message)), Some(peer)) => Input::FromPeer(peer, message),
                _ => return,
            },
        };
        let is_client = matches!(input, Input::FromClient(..));
        self.drive(moment, input, effects);
        if is_client && let Some(session) = self.model.session(id) {
            let client = from.and_then(Member::client);
            lock(&self.records).connected(session, client, self.id, moment.now);
        }
    }

    fn next_timer(&self) -> Option<Nanos> {
        self.model.next_timer()
    }

    fn timer(&mut self, moment: &Moment<'_>, effects: &mut Vec<Effect>) {
        self.drive(moment, Input::Timer, effects);
    }

    /// Whether a client that has been heard in time keeps its session depends on it.
    fn looks_at_timers_first(&mut self) -> bool {
        self.rng.random()
    }

    fn crash(&mut self, _: &Moment<'_>, power: Power) {
        match power {
            Power::Off => self.model.power_loss(),
            Power::Killed | Power::Running => self.model.crash(),
        }
    }

    /// The first that believes to lead is asked: none tells how new its belief is.
    fn leads(&self) -> Option<u64> {
        (self.model.role() == Role::Leading).then_some(0)
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    fn records(&mut self) -> Vec<ServerRecord> {
        lock(&self.records).take()
    }
}
