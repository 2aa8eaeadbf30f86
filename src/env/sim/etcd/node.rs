//! An etcd member in the simulation: its model, driven by what arrives and by its timer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand::RngExt;

use super::message::EtcdMessage;
use super::model::messages::ConnectionId as ModelConnection;
use super::model::{Input, Output, Request, Server as Model};
use super::records::Records;
use crate::env::sim::engine::ids::{HostId, Power};
use crate::env::sim::engine::message::downcast;
use crate::env::sim::engine::server::{Effect, Incoming, Moment, Server, What};
use crate::env::sim::engine::sync::lock;
use crate::fault::Member;
use crate::history::ServerRecord;
use crate::ids::NodeId;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

/// One member, and what drives it.
pub struct EtcdServer {
    model: Model,
    /// The machines of its cluster, itself included.
    peers: BTreeMap<NodeId, HostId>,
    /// What it does first when it is thawed.
    rng: ChaCha8Rng,
    records: Arc<Mutex<Records>>,
    /// Room for what the model wants done, kept from one input to the next.
    outputs: Vec<Output>,
}

impl EtcdServer {
    /// Member `id` of the cluster on these machines. All members of a trial share its records.
    pub fn new(id: NodeId, peers: BTreeMap<NodeId, HostId>, seed: Seed, records: Arc<Mutex<Records>>) -> Self {
        let members: Vec<NodeId> = peers.keys().copied().collect();
        let model = Model::new(id, &members, seed.stream(&format!("etcd/{}/elections", id.0)));
        let rng = seed.stream(&format!("etcd/{}", id.0));
        Self { model, peers, rng, records, outputs: Vec::new() }
    }

    /// Its state.
    pub fn model(&self) -> &Model {
        &self.model
    }

    fn drive(&mut self, moment: &Moment<'_>, input: Input, effects: &mut Vec<Effect>) {
        let (before, led) = (self.model.applied(), self.leads());
        self.model.handle(moment.mono(), input, &mut self.outputs);
        self.note(moment.now, before, led);
        effects.extend(self.outputs.drain(..).filter_map(|output| {
            Some(match output {
                Output::ToPeer(peer, message) => {
                    Effect::Tell(*self.peers.get(&peer)?, Box::new(EtcdMessage::Peer(message)))
                }
                Output::ToClient(ModelConnection(connection), answer) => {
                    Effect::Answer(connection, Box::new(EtcdMessage::Answer(answer)))
                }
            })
        }));
    }

    /// Tells the record what was applied beyond the first `before` entries of the log, and who leads if another did.
    fn note(&self, now: u64, before: u64, led: Option<u64>) {
        let (applied, leads) = (self.model.applied(), self.leads());
        if applied == before && leads == led {
            return;
        }
        let (mut records, id) = (lock(&self.records), self.model.id());
        for (index, entry) in (before + 1..).zip(self.model.applied_after(before)) {
            records.applied(id, now, index as usize, entry);
        }
        records.leads(id, now, leads);
    }
}

impl Server for EtcdServer {
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
        let peer = match from {
            Some(Member::Node(peer)) => Some(peer),
            _ => None,
        };
        let input = match (what, peer) {
            (What::Closed, None) => Input::Closed(ModelConnection(connection)),
            // Raft sends again what is lost with a connection of peers.
            (What::Opened | What::Closed, _) => return,
            (What::Data(payload), peer) => match (downcast(payload), peer) {
                (Some(EtcdMessage::Request(request)), _) => {
                    if let (Request::Grant { lease, .. }, Some(client)) = (&request, from.and_then(Member::client)) {
                        lock(&self.records).asked(*lease, client);
                    }
                    Input::FromClient(ModelConnection(connection), request)
                }
                (Some(EtcdMessage::Peer(message)), Some(peer)) => Input::FromPeer(peer, message),
                _ => return,
            },
        };
        self.drive(moment, input, effects);
    }

    fn next_timer(&self) -> Option<Nanos> {
        self.model.next_timer()
    }

    fn timer(&mut self, moment: &Moment<'_>, effects: &mut Vec<Effect>) {
        self.drive(moment, Input::Timer, effects);
    }

    fn looks_at_timers_first(&mut self) -> bool {
        self.rng.random()
    }

    /// It has synced all that it answered for.
    fn crash(&mut self, moment: &Moment<'_>, _: Power) {
        self.model.crash();
        lock(&self.records).leads(self.model.id(), moment.now, None);
    }

    fn leads(&self) -> Option<u64> {
        self.model.is_leader().then(|| self.model.term())
    }

    fn records(&mut self) -> Vec<ServerRecord> {
        lock(&self.records).take()
    }
}
