//! A Redis node in the simulation: its model, driven by what arrives.

use std::sync::{Arc, Mutex};

use super::message::RedisMessage;
use super::model::{Command, Persistence, RedisModel, Reply};
use super::records::{Asked, Records};
use crate::env::sim::engine::ids::{ConnectionId, Power};
use crate::env::sim::engine::message::downcast;
use crate::env::sim::engine::server::{Effect, Incoming, Moment, Server, What};
use crate::env::sim::engine::sync::lock;
use crate::fault::Member;
use crate::history::ServerRecord;
use crate::ids::NodeId;

/// How often a server deletes what is overdue by itself: ten times a second, on its own clock.
const SWEEP: u64 = 100_000_000;

/// One node.
pub struct RedisServer {
    id: NodeId,
    model: RedisModel,
    records: Arc<Mutex<Records>>,
}

impl RedisServer {
    /// Node `id`, empty. All nodes of a trial share its records.
    pub fn new(id: NodeId, persistence: Persistence, records: Arc<Mutex<Records>>) -> Self {
        Self { id, model: RedisModel::new(persistence), records }
    }

    /// Its keys.
    pub fn model(&self) -> &RedisModel {
        &self.model
    }

    fn execute(
        &mut self,
        moment: &Moment<'_>,
        from: Option<Member>,
        connection: ConnectionId,
        command: &Command,
        effects: &mut Vec<Effect>,
    ) {
        let reply = self.model.execute(moment.wall_ms(), moment.mono(), command);
        if let Command::Subscribe(channel) = command {
            self.model.subscribe(connection, channel.clone());
        }
        let answer = |connection, reply| Effect::Answer(connection, Box::new(RedisMessage::Reply(reply)));
        effects.extend(self.model.take_said().into_iter().map(|(listener, said)| answer(listener, Reply::Bulk(said))));
        let client = from.and_then(Member::client);
        let asked = Asked { node: self.id, client, clock: moment.clock, now: moment.now };
        lock(&self.records).executed(&asked, command, &reply, &self.model);
        effects.push(answer(connection, reply));
    }
}

impl Server for RedisServer {
    fn start(&mut self, _: &Moment<'_>, _: &mut Vec<Effect>) {
        self.model.restart();
    }

    fn receive(
        &mut self,
        moment: &Moment<'_>,
        from: Option<Member>,
        Incoming { connection, what }: Incoming,
        effects: &mut Vec<Effect>,
    ) {
        match what {
            What::Data(payload) => {
                if let Some(RedisMessage::Command(command)) = downcast(payload) {
                    self.execute(moment, from, connection, &command, effects);
                }
            }
            What::Closed => self.model.closed(connection),
            What::Opened => {}
        }
    }

    fn crash(&mut self, moment: &Moment<'_>, power: Power) {
        match power {
            Power::Off => self.model.power_loss(moment.mono()),
            Power::Killed | Power::Running => self.model.crash(),
        }
        let mut records = lock(&self.records);
        records.settle(self.id, moment.clock, moment.now);
        records.crashed(self.id, moment.now, &self.model);
    }

    /// A clock that goes back tells whether a server had already deleted what was overdue: its background sweep is made
    /// up for, as of its last turn.
    fn before_clock_change(&mut self, moment: &Moment<'_>) {
        let now = moment.now;
        lock(&self.records).settle(self.id, moment.clock, now);
        if self.model.is_running() && !moment.is_frozen {
            let last_turn = now - now % SWEEP;
            let behind_ms = (now - last_turn) as i64 / 1_000_000;
            self.model.sweep(moment.wall_ms() - behind_ms, moment.mono());
        }
    }

    fn finish(&mut self, moment: &Moment<'_>) {
        lock(&self.records).settle(self.id, moment.clock, moment.now);
    }

    fn records(&mut self) -> Vec<ServerRecord> {
        lock(&self.records).take()
    }
}
