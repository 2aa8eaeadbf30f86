//! What is known of clients' requests while strikes are aimed at them, and of replies that are still to be struck.

use std::collections::BTreeMap;

use super::ids::HostId;
use crate::history::Op;
use crate::wire::gate::Decision;
use crate::wire::{Calls, Names};

/// What clients are about, and how their locks are called.
pub struct Interception {
    /// What servers call the locks.
    pub names: Names,
    /// What each machine's client is about.
    pub calls: BTreeMap<HostId, Calls>,
}

impl Interception {
    /// Of locks that are called like this.
    pub fn new(names: Names) -> Self {
        Self { names, calls: BTreeMap::new() }
    }

    /// Follows an op of a machine's client.
    pub fn hear(&mut self, host: HostId, op: &Op) {
        self.calls.entry(host).or_default().hear(op);
    }
}

/// What is to be done to the replies on one connection.
#[derive(Default)]
pub struct StruckReplies {
    /// By which request, and what.
    pub due: Vec<(Number, Decision)>,
    /// The strike since which no reply reaches anybody.
    pub deaf: Option<u32>,
}

/// A request's number on its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Counted, where answers come in order.
    Nth(u32),
    /// Its own.
    Own(i32),
}
