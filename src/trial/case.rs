//! What a trial is about, and what its history says of itself before its first op.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fault::At;
use crate::fault::grudge::Parties;
use crate::history::{EnvironmentName, FORMAT, Header};
use crate::ids::ClientId;
use crate::lock_kind::LockKind;
use crate::phase::Phase;
use crate::scenario::{LockConfig, Scenario};
use crate::seed::Seed;

/// A lock of a scenario, and a seed.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The lock's table name.
    pub lock: &'a str,
    /// Its settings.
    pub config: &'a LockConfig,
    /// The run's seed.
    pub seed: Seed,
}

impl<'a> Case<'a> {
    /// The case of the lock called `lock`; `None` if the scenario has no such lock.
    pub fn of(scenario: &'a Scenario, lock: &'a str, seed: Seed) -> Option<Self> {
        Some(Self { scenario, lock, config: scenario.locks.get(lock)?, seed })
    }

    /// How many clients and lock servers there are.
    pub fn parties(&self) -> Parties {
        Parties { clients: self.scenario.workload.clients, nodes: self.config.nodes() }
    }

    /// All clients.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + use<> {
        (1..=self.scenario.workload.clients).map(ClientId)
    }

    /// The phases at which the plan may strike: clients announce these, and no others.
    pub fn announced(&self) -> Vec<Phase> {
        let phases = self.scenario.faults.iter().filter_map(|fault| match fault.at {
            At::Phase { phase, .. } => Some(phase),
            At::Time(_) | At::Every(_) => None,
        });
        phases.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the plan strikes requests, which must be read on their way then.
    pub fn strikes_requests(&self) -> bool {
        self.scenario.faults.iter().any(|fault| fault.kind.is_of_requests())
    }

    /// How long what a client's end leaves at the servers may stay there.
    pub(super) fn leaves_within(&self) -> Duration {
        Duration::from_nanos(self.config.leaves_within(self.scenario.workload.longest_extension()))
    }
}

/// The header of a history of this lock, which the scenario may not have. As of a world whose instants are all in true
/// time and whose only program is this one: another puts its own words in.
pub fn header(scenario: &Scenario, lock: &str, seed: Seed, environment: EnvironmentName) -> Header {
    let config = scenario.locks.get(lock);
    let plan = scenario.plan_for(lock);
    Header {
        fencepost: FORMAT,
        scenario: scenario.name.clone(),
        lock: lock.to_owned(),
        algorithm: config.map_or("unknown", LockConfig::algorithm).to_owned(),
        kind: config.map_or(LockKind::Mutex, LockConfig::kind),
        environment: environment.into(),
        seed,
        clients: scenario.workload.clients,
        nodes: config.map_or(0, LockConfig::nodes),
        fencing: scenario.resource.fencing.into(),
        content: scenario.workload.kind.content(),
        planned_faults: plan.len() as u32,
        plan,
        grant_within: scenario.grant_within(lock),
        leaves_within: scenario.leaves_within(lock),
        api: None,
        clock_error: 0,
        versions: BTreeMap::from([("fencepost".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
    }
}
