//! What runs on a machine, and how a server is handed what has arrived.
//!
//! Servers are state machines that answer in no time; their delay is the links'. Deliberately absent: the machines'
//! connections and clocks.

use std::sync::Arc;

use super::etcd_node::EtcdNode;
use super::ledger::Asked;
use super::message::Payload;
use super::net::ConnectionId;
use super::redis::{Command, RedisModel, Reply};
use super::trace::Kind;
use super::world::{HostId, Power, State};
use super::zk_node::ZkNode;
use crate::fault::Member;
use crate::history::{F, ItemValue, Op, OpType, Process};
use crate::time::Nanos;
use crate::workload::resource::Resource;
use crate::workload::{Access, Action};

/// How often a Redis server deletes what is overdue by itself: ten times a second, on its own clock.
const SWEEP: u64 = 100_000_000;

/// A machine's program.
pub(super) enum Role {
    /// Futures, polled by the scheduler.
    Program,
    /// A Redis node.
    Redis(RedisModel),
    /// A ZooKeeper server.
    Zookeeper(Box<ZkNode>),
    /// An etcd member.
    Etcd(Box<EtcdNode>),
    /// The protected resource.
    Resource(Resource),
}

/// Something that a server's kernel has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    /// On which connection.
    pub connection: ConnectionId,
    /// What.
    pub what: What,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It was opened.
    Opened,
    /// A request.
    Data(Payload),
    /// It was closed.
    Closed,
}

impl Role {
    /// The program ends at once.
    pub fn crash(&mut self, power: Power, mono: Nanos) {
        match self {
            Self::Redis(model) if power == Power::Off => model.power_loss(mono),
            Self::Redis(model) => model.crash(),
            Self::Zookeeper(node) => node.server.crash(),
            // It has synced all that it answered for.
            Self::Etcd(node) => node.server.crash(),
            // Its store is a database, which a crash does not harm.
            Self::Resource(_) | Self::Program => {}
        }
    }

    /// The program starts again.
    pub fn restart(&mut self) {
        match self {
            Self::Redis(model) => model.restart(),
            // It is an input of its own.
            Self::Zookeeper(_) | Self::Etcd(_) | Self::Resource(_) | Self::Program => {}
        }
    }
}

impl State {
    /// Hands a server what has arrived; a frozen one finds it when it goes on.
    pub(super) fn hand(&mut self, host: HostId, incoming: Incoming) {
        if self.hosts[host].frozen.is_some() {
            self.hosts[host].inbox.push_back(incoming);
        } else {
            self.serve(host, incoming);
        }
    }

    /// Lets a server deal with what has arrived.
    pub(super) fn serve(&mut self, host: HostId, Incoming { connection, what }: Incoming) {
        let now = self.now;
        let machine = &mut self.hosts[host];
        let answer = match (&mut machine.role, what) {
            (Role::Redis(model), What::Data(Payload::Command(command))) => {
                let (wall_ms, mono) = (machine.clock.wall_ms(now), machine.clock.mono(now));
                let reply = model.execute(wall_ms, mono, &command);
                if let Command::Subscribe(channel) = &command {
                    model.subscribe(connection, channel.clone());
                }
                for (listener, said) in model.take_said() {
                    self.answer(listener, Payload::Reply(Reply::Bulk(said)));
                }
                let other = self.net.connections[connection as usize].hosts.into_iter().find(|other| *other != host);
                let client = other.and_then(|other| self.hosts[other].member).and_then(Member::client);
                let machine = &self.hosts[host];
                if let (Role::Redis(model), Some(Member::Node(node))) = (&machine.role, machine.member) {
                    let asked = Asked { host, node, client, clock: &machine.clock, now };
                    self.ledger.executed(&asked, &command, &reply, model);
                }
                Payload::Reply(reply)
            }
            (Role::Redis(model), What::Closed) => return model.closed(connection),
            (Role::Resource(resource), What::Data(Payload::Access(access))) => {
                let (op, answer) = serve_access(resource, &access, now);
                self.record(host, op);
                Payload::Served(answer)
            }
            (Role::Zookeeper(_), what) => return self.serve_zookeeper(host, connection, what),
            (Role::Etcd(_), what) => return self.serve_etcd(host, connection, what),
            _ => return,
        };
        self.answer(connection, answer);
    }

    /// Records an op whose instants are in true time.
    pub(super) fn record(&mut self, host: HostId, op: Op) {
        if let Some(tap) = &mut self.tap {
            tap.hear(host, &op);
        }
        let fault = op.fault.as_ref().map(|fault| (fault.id, &fault.targets));
        let payload = (op.process, op.kind, op.f, &op.hold, op.token, op.value, op.valid_until, &op.error, fault);
        self.trace.event_in_words(self.now, host, Kind::Op, &payload, |_| {
            // As its line in the history, but for the index, which comes later.
            format!("records {}", serde_json::to_string(&op).unwrap_or_else(|_| format!("{op:?}")))
        });
        Arc::clone(&self.recording).push(op);
    }

    /// A clock that goes back tells whether a server had already deleted what was overdue: its background sweep is made
    /// up for, as of its last turn, whenever a clock is about to be changed.
    pub(super) fn before_clock_change(&mut self, host: HostId) {
        let now = self.now;
        let machine = &mut self.hosts[host];
        self.ledger.settle(host, &machine.clock, now);
        if let Role::Redis(model) = &mut machine.role
            && model.is_running()
            && machine.frozen.is_none()
        {
            let last_turn = now - now % SWEEP;
            let behind_ms = (now - last_turn) as i64 / 1_000_000;
            model.sweep(machine.clock.wall_ms(now) - behind_ms, machine.clock.mono(now));
        }
    }
}

/// Serves one access: the op to record, and the answer.
fn serve_access(resource: &mut Resource, access: &Access, now: u64) -> (Op, Result<ItemValue, String>) {
    let served = resource.serve(access);
    let (f, asked) = match access.action {
        Action::Read => (F::Read, None),
        Action::Write { stock, based_on } => (F::Write, Some((stock, based_on))),
    };
    let kind = if served.is_ok() { OpType::Ok } else { OpType::Fail };
    let mut op = Op::new(Nanos(now), Process::Resource, kind, f);
    op.client = Some(access.client);
    op.hold = Some(access.hold.clone());
    op.token = access.token;
    op.error = served.as_ref().err().map(ToString::to_string);
    op.value = Some(served.as_ref().copied().unwrap_or_else(|_| ItemValue {
        item: access.item,
        stock: asked.map_or_else(
            || resource.items().find(|(id, _)| *id == access.item).map_or(0, |(_, item)| item.stock),
            |(stock, _)| stock,
        ),
        version: None,
        based_on: asked.map(|(_, based_on)| based_on),
    }));
    (op, served.map_err(|refusal| refusal.to_string()))
}
