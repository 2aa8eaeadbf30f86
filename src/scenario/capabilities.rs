//! What an environment can do, as plain data: a scenario that asks for more is refused before anything starts.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Persistence;
pub use crate::fault::FaultName;

/// What an environment can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The environment's name, for messages.
    pub environment: &'static str,
    /// The kinds of fault that it can apply and undo.
    pub faults: BTreeSet<FaultName>,
    /// How its Redis masters can keep what they are told.
    pub persistence: BTreeSet<Persistence>,
    /// How many clients may compete for one lock.
    pub max_clients: u32,
    /// How many Redis masters one lock may have.
    pub max_redis_nodes: u32,
    /// How many servers the ZooKeeper ensemble may have.
    pub max_zookeeper_servers: u32,
    /// Whether programs of others can stand trial.
    pub adapters: bool,
    /// Whether it may do anything to lock servers: to those that it has started, and to no others.
    pub strikes_servers: bool,
    /// Whether it has etcd.
    pub etcd: bool,
    /// Whether the wall clock of an etcd server can be moved.
    pub moves_etcd_clocks: bool,
    /// The ensemble's tick; a session timeout is granted between 2 and 20 of them. None where the ensemble is not known yet.
    pub zookeeper_tick: Option<Duration>,
}

impl Capabilities {
    /// Real servers in containers, as of today.
    pub fn docker() -> Self {
        Self {
            environment: "docker",
            faults: FaultName::ALL.into(),
            persistence: BTreeSet::from([Persistence::None, Persistence::Everysec, Persistence::Always]),
            max_clients: 20,
            max_redis_nodes: 5,
            max_zookeeper_servers: 5,
            adapters: true,
            strikes_servers: true,
            // etcd asks the kernel, and the harness can only stand between a program and its C library.
            etcd: true,
            moves_etcd_clocks: false,
            zookeeper_tick: Some(Duration::from_millis(200)),
        }
    }

    /// Clients in containers, lock servers that were there before: what is done to clients, and nothing else.
    pub fn given_servers() -> Self {
        Self {
            environment: "docker with --servers",
            persistence: BTreeSet::from([Persistence::None]),
            adapters: false,
            strikes_servers: false,
            etcd: false,
            zookeeper_tick: None,
            ..Self::docker()
        }
    }

    /// The deterministic simulation: every kind of fault. Its limits are those of a page that can still be read.
    pub fn sim() -> Self {
        Self {
            environment: "sim",
            faults: FaultName::ALL.into(),
            persistence: BTreeSet::from([Persistence::None, Persistence::Everysec, Persistence::Always]),
            max_clients: 1_000,
            max_redis_nodes: 99,
            max_zookeeper_servers: 9,
            adapters: false,
            strikes_servers: true,
            etcd: true,
            moves_etcd_clocks: true,
            // That of the containers, so that one file means the same in both worlds.
            zookeeper_tick: Some(Duration::from_millis(200)),
        }
    }

    /// The session timeouts that the ensemble grants. It moves any other to the nearest of these without a word, so
    /// that a scenario would not run what it says.
    pub fn session_timeouts(&self) -> Option<RangeInclusive<Duration>> {
        self.zookeeper_tick.map(|tick| tick * 2..=tick * 20)
    }

    /// The faults that it can do, for help lines.
    pub fn fault_names(&self) -> String {
        match self.faults.len() {
            0 => "none".to_owned(),
            _ => self.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", "),
        }
    }
}
