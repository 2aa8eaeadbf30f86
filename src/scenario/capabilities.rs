//! What an environment can do, as plain data: a scenario that asks for more is refused before anything starts.

use std::collections::{BTreeMap, BTreeSet};

use crate::defendant::backend::{Backend, Persistence, Supply};
pub use crate::fault::FaultName;

/// What an environment can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The environment's name, for messages.
    pub environment: &'static str,
    /// The kinds of fault that it can apply and undo.
    pub faults: BTreeSet<FaultName>,
    /// How its servers can keep what they are told, where that is to be said.
    pub persistence: BTreeSet<Persistence>,
    /// How many clients may compete for one lock.
    pub max_clients: u32,
    /// What it has of the servers that it has.
    pub servers: BTreeMap<Backend, Supply>,
    /// Whether programs of others can stand trial.
    pub adapters: bool,
    /// Whether it may do anything to lock servers: to those that it has started, and to no others.
    pub strikes_servers: bool,
}

impl Capabilities {
    /// Real servers in containers, as of today.
    pub fn docker() -> Self {
        Self {
            environment: "docker",
            faults: FaultName::ALL.into(),
            persistence: BTreeSet::from([Persistence::None, Persistence::Everysec, Persistence::Always]),
            max_clients: 20,
            servers: Backend::ALL.map(|backend| (backend, backend.in_containers())).into(),
            adapters: true,
            strikes_servers: true,
        }
    }

    /// Clients in containers, lock servers that were there before: what is done to clients, and nothing else.
    pub fn given_servers() -> Self {
        Self {
            environment: "docker with --servers",
            persistence: BTreeSet::from([Persistence::None]),
            servers: Backend::ALL.into_iter().filter_map(|backend| Some((backend, backend.given()?))).collect(),
            adapters: false,
            strikes_servers: false,
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
            servers: Backend::ALL.map(|backend| (backend, backend.simulated())).into(),
            adapters: false,
            strikes_servers: true,
        }
    }

    /// What it has of these servers; none if it has none.
    pub fn supply(&self, backend: Backend) -> Option<Supply> {
        self.servers.get(&backend).copied()
    }

    /// The faults that it can do, for help lines.
    pub fn fault_names(&self) -> String {
        match self.faults.len() {
            0 => "none".to_owned(),
            _ => self.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", "),
        }
    }
}
