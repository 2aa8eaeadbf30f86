//! What strikes do to requests and replies: the simulated network's side of `crate::wire`.
//!
//! The middle is thought to be on the client's machine, as in containers: what is held up waits there, in front of a link
//! that may be cut meanwhile, and what is behind it waits too. A connection whose replies reach nobody any more ends with
//! the strike. Deliberately absent: which requests are struck; that is the gate's.

use std::collections::BTreeMap;

use super::etcd;
use super::locks::{KEY_PREFIX, ROOT};
use super::message::{Payload, Segment};
use super::net::{ConnectionId, DOWN, UP};
use super::world::{HostId, State};
use super::zookeeper::messages::{Change, Operation};
use super::zookeeper::{Reply, Request};
use crate::fault::request::Does;
use crate::history::Op;
use crate::ids::LockName;
use crate::lock::name::as_path_part;
use crate::scenario::{Backend, LockConfig, Scenario};
use crate::wire::gate::Decision;
use crate::wire::{Calls, Names};

/// What clients are about, and how their locks are called.
pub(super) struct Tap {
    names: Names,
    calls: BTreeMap<HostId, Calls>,
}

impl Tap {
    /// For the trial of a lock.
    pub fn new(scenario: &Scenario, config: &LockConfig) -> Self {
        let written = |lock: &LockName| match config.backend() {
            Backend::Redis => format!("{KEY_PREFIX}{lock}"),
            Backend::Zookeeper | Backend::Etcd => format!("{ROOT}/{}", as_path_part(lock)),
        };
        let locks = scenario.workload.lock_names();
        Self {
            names: Names::new(locks.map(|lock| (lock.clone(), written(&lock).into_bytes()))),
            calls: BTreeMap::new(),
        }
    }

    /// Follows an op of a machine's client.
    pub fn hear(&mut self, host: HostId, op: &Op) {
        self.calls.entry(host).or_default().hear(op);
    }
}

/// What is to be done to the replies on one connection.
#[derive(Default)]
pub(super) struct StruckReplies {
    /// By which request, and what.
    due: Vec<(Number, Decision)>,
    /// The strike since which no reply reaches anybody.
    deaf: Option<u32>,
}

/// How a reply is known to be a request's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    /// Redis answers in order, and etcd one at a time.
    Nth(u32),
    /// ZooKeeper names the request.
    Xid(i32),
}

impl State {
    /// What is to be done to a request, if anything. Counts it, too.
    pub(super) fn decide(&mut self, connection: ConnectionId, payload: &Payload) -> Option<Decision> {
        let of = &mut self.net.connections[connection as usize];
        if let Payload::Command(_) | Payload::Asked(_) = payload {
            of.asked[usize::from(UP)] += 1;
        }
        let tap = self.tap.as_ref()?;
        let [client, server] = of.hosts;
        let gate = &mut self.net.link(client, server).troubles.as_deref_mut()?.gate;
        if gate.is_open() {
            return None;
        }
        let lock = tap.names.find(text(payload).as_bytes())?;
        gate.decide(tap.calls.get(&client)?.of(lock)?)
    }

    /// Sends a request as was decided.
    pub(super) fn strike_request(&mut self, connection: ConnectionId, payload: Payload, decision: Decision) {
        let number = match &payload {
            Payload::Request(Request::Operation { xid, .. }) => Number::Xid(*xid),
            _ => Number::Nth(self.net.connections[connection as usize].asked[usize::from(UP)]),
        };
        let of = &mut self.net.connections[connection as usize];
        match decision.does {
            Does::Hold => {
                self.hold_up(connection, UP, self.now + decision.by.as_nanos() as u64);
                self.send(connection, UP, Segment::Data(payload));
            }
            Does::CutBefore => self.close(connection, UP),
            Does::CutAfter => {
                self.send(connection, UP, Segment::Data(payload));
                self.close(connection, UP);
            }
            Does::DropReply | Does::DelayReply => {
                of.struck.get_or_insert_default().due.push((number, decision));
                self.send(connection, UP, Segment::Data(payload));
                // It counts when the reply is there.
                return;
            }
        }
        self.note_struck(connection, decision.strike);
    }

    /// Whether a reply goes on its way; held up, if that is what is to be done.
    pub(super) fn lets_through(&mut self, connection: ConnectionId, payload: &Payload) -> bool {
        let of = &mut self.net.connections[connection as usize];
        let number = match payload {
            Payload::Reply(_) | Payload::Told(_) => {
                of.asked[usize::from(DOWN)] += 1;
                Number::Nth(of.asked[usize::from(DOWN)])
            }
            Payload::Answer(Reply::Done { xid, .. }) => Number::Xid(*xid),
            _ => Number::Nth(0),
        };
        let Some(struck) = of.struck.as_deref_mut() else { return true };
        let place = struck.due.iter().position(|(due, _)| *due == number);
        let decision = place.map(|place| struck.due.remove(place).1);
        if struck.deaf.is_some() {
            return false;
        }
        let Some(decision) = decision else { return true };
        let hosts = of.hosts;
        let [client, server] = hosts;
        // The strike may be over by now.
        if self.net.troubles(client, server).gate.rule(decision.strike).is_none() {
            return true;
        }
        self.note_struck(connection, decision.strike);
        match decision.does {
            Does::DropReply => {
                let of = &mut self.net.connections[connection as usize];
                of.struck.get_or_insert_default().deaf = Some(decision.strike);
                false
            }
            _ => {
                self.hold_up(connection, DOWN, self.now + decision.by.as_nanos() as u64);
                true
            }
        }
    }

    /// Ends the connections whose replies reached nobody because of a strike that is over.
    pub(super) fn end_deaf(&mut self, strike: u32) {
        for connection in 0..self.net.connections.len() {
            let of = &self.net.connections[connection];
            if of.struck.as_ref().is_some_and(|struck| struck.deaf == Some(strike)) {
                self.close(connection as ConnectionId, UP);
            }
        }
    }

    fn note_struck(&mut self, connection: ConnectionId, strike: u32) {
        let [client, server] = self.net.connections[connection as usize].hosts;
        self.net.troubles(client, server).gate.done(strike);
    }
}

/// The words of a request that may name a lock.
fn text(payload: &Payload) -> String {
    match payload {
        Payload::Command(command) => command.words().join(" "),
        Payload::Request(Request::Operation { operation, .. }) => match operation {
            Operation::Change(Change::Create { path, .. } | Change::Delete { path })
            | Operation::Exists { path, .. }
            | Operation::Children { path }
            | Operation::RemoveWatch { path } => path.to_string(),
            Operation::Change(Change::CloseSession) | Operation::Sync => String::new(),
        },
        Payload::Asked(request) => match request {
            etcd::Request::Enter { key, .. } | etcd::Request::Watch { key, .. } | etcd::Request::Delete { key } => {
                key.to_string()
            }
            etcd::Request::Line { prefix } => prefix.to_string(),
            etcd::Request::Grant { .. } | etcd::Request::KeepAlive { .. } | etcd::Request::Revoke { .. } => {
                String::new()
            }
        },
        // What a client's library says by itself when it has a new connection: nobody waits for its reply.
        _ => String::new(),
    }
}
