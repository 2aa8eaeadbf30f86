//! A scenario as plain data: the workload, the resource, the locks on trial, the fault plan and what is expected.
//!
//! [`mod@load`] reads it from a TOML file and refuses every mistake with its place: [`mod@file`], [`fault_tables`] and
//! `strikes` have the format's keys, `words` its words, `validate`, `locks` and `plan` their meaning (`plan` with its
//! parts `links`, `clocks` and `requests`). [`fn@write`] makes such a file; [`problems`] collects mistakes, and
//! [`mod@error`] shows them. Deliberately absent: what a lock's table says ([`crate::defendant`]), and any knowledge of
//! how an environment runs a scenario; an environment says in its [`Capabilities`] what it can do.

pub mod capabilities;
mod clocks;
pub mod duration;
pub mod error;
pub mod fault_tables;
pub mod fault_values;
pub mod file;
mod links;
pub mod load;
mod locks;
pub mod place;
mod plan;
pub mod problems;
mod requests;
pub mod shipped;
mod simulation;
mod strikes;
#[cfg(test)]
mod tests;
mod validate;
pub mod vary;
mod words;
mod write;

pub use crate::defendant::{
    AdapterConfig, Backend, EtcdConfig, LockConfig, Persistence, RedisConfig, RedlockConfig, ZookeeperConfig,
};
pub use crate::duration::DurationRange;
pub use capabilities::{Capabilities, FaultName};
pub use error::LoadError;
pub use load::{list, load, parse};
pub use simulation::Simulation;
pub use write::write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::format_smolstr;

use crate::fault::Fault;
pub use crate::fencing::Fencing;
use crate::history::Content;
use crate::ids::{ClientId, LockName};
use crate::verdict::{CheckName, Demand};

/// One scenario: everything that a trial needs to know, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's name without `.toml`.
    pub name: String,
    /// Where it was read from.
    pub path: PathBuf,
    /// The file's text, kept for the report.
    pub source: String,
    /// One line for people.
    pub title: String,
    /// Why the scenario exists: the claim that it tests, with its source.
    pub why: String,
    /// What clients do.
    pub workload: Workload,
    /// The protected resource.
    pub resource: Resource,
    /// The locks on trial, by table name, in name order.
    pub locks: BTreeMap<String, LockConfig>,
    /// How the simulated network is; real servers have their own.
    pub simulation: Simulation,
    /// The fault plan, in file order.
    pub faults: Vec<Fault>,
    /// Per lock: what is demanded of each named check.
    pub expect: BTreeMap<String, BTreeMap<CheckName, Demand>>,
}

impl Scenario {
    /// How long the lock called `lock`, when it is wanted, may stay with nobody while no fault is in force; in
    /// nanoseconds, as histories have it; `None` where nothing is known of it.
    pub fn grant_within(&self, lock: &str) -> Option<u64> {
        let stated = self.workload.grant_within;
        let bound = stated.or_else(|| {
            self.locks.get(lock).and_then(|config| config.grant_within(self.workload.longest_extension()))
        })?;
        Some(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long what an attempt at the lock called `lock` has left at the servers may outlast its end, in nanoseconds;
    /// nothing for a lock that has neither lease nor session, `None` where there is no such lock.
    pub fn leaves_within(&self, lock: &str) -> Option<u64> {
        self.locks.get(lock).map(|config| config.leaves_within(self.workload.longest_extension()))
    }

    /// The faults that can strike in the trial of the lock called `lock`, as sentences, in file order. Left out is what
    /// is aimed at somebody whom this lock does not have, in a file whose other lock has one.
    pub fn plan_for(&self, lock: &str) -> Vec<String> {
        let config = self.locks.get(lock);
        let concerns = |fault: &&Fault| config.is_none_or(|config| config.has(&fault.target));
        self.faults.iter().filter(concerns).map(ToString::to_string).collect()
    }
}

/// What clients do, again and again: acquire, read, hold, write, release, think.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// What the critical section is about.
    pub kind: WorkloadKind,
    /// How many clients compete.
    pub clients: u32,
    /// How many lock names they compete for; each guards one item of the resource.
    pub locks: u32,
    /// Time inside the critical section, between the read and the write.
    pub hold: DurationRange,
    /// Time between a release and the next attempt.
    pub think: DurationRange,
    /// How long an attempt waits for the lock before it gives up.
    pub wait: Duration,
    /// How long clients start new attempts.
    pub duration: Duration,
    /// How long a lock that is wanted may stay with nobody while no fault is in force; what its lease or session asks
    /// for if absent.
    #[serde(default)]
    pub grant_within: Option<Duration>,
    /// Whether clients heed the lock's warnings.
    pub client: ClientStyle,
    /// How many of a hundred attempts only read, by a draw. A read-write lock lets those hold it together.
    #[serde(default)]
    pub readers: u32,
    /// The lease that a holder asks for at some moment of its hold, from then on; none if absent.
    #[serde(default)]
    pub extend: Option<DurationRange>,
    /// How many of a hundred attempts their client calls off before they are over: by a draw, one half drops the
    /// acquire, the other cancels it.
    #[serde(default)]
    pub abandoned: u32,
    /// How many of a hundred holds end with their guard being dropped, and not released, by a draw.
    #[serde(default)]
    pub dropped: u32,
    /// For how long before the end no fault is in force: time for what nobody holds to be granted again.
    #[serde(default)]
    pub quiet_end: Duration,
}

impl Workload {
    /// For how long faults may strike.
    pub fn struck(&self) -> Duration {
        self.duration.saturating_sub(self.quiet_end)
    }

    /// The longest lease that a holder may ask for by itself.
    pub fn longest_extension(&self) -> Option<Duration> {
        self.extend.map(|extend| extend.max)
    }

    /// The lock that guards an item, counted from 1.
    pub fn lock_name(item: u32) -> LockName {
        LockName::new(format_smolstr!("item-{item}"))
    }

    /// All locks that clients compete for.
    pub fn lock_names(&self) -> impl Iterator<Item = LockName> + use<> {
        (1..=self.locks).map(Self::lock_name)
    }
}

/// What the critical section is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Sell one unit of an item: read its stock, write it back one lower.
    Inventory,
    /// Set a register: read it, write a value that nobody else writes.
    Register,
    /// Append to a file: read it to its end, write one line there. What others have put there meanwhile is gone.
    AppendFile,
}

impl WorkloadKind {
    /// What the number in an item counts.
    pub fn content(self) -> Content {
        match self {
            Self::Inventory => Content::Stock,
            Self::Register => Content::Value,
            Self::AppendFile => Content::Lines,
        }
    }

    /// What each item starts with. A stock is large enough that no trial sells out.
    pub fn initial(self) -> i64 {
        match self {
            Self::Inventory => 100_000,
            Self::Register | Self::AppendFile => 0,
        }
    }

    /// What a client writes in its attempt of this number, over what it has read.
    pub fn write(self, read: i64, client: ClientId, attempt: u32) -> i64 {
        match self {
            Self::Inventory => read - 1,
            Self::Register => i64::from(client.0) * 1_000_000 + i64::from(attempt),
            Self::AppendFile => read + 1,
        }
    }
}

/// Whether clients heed the lock's warnings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientStyle {
    /// Checks the guard's validity before each access and stops when the lock is lost.
    #[default]
    Careful,
    /// Does neither, as most programs.
    Naive,
}

/// The protected resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// What it refuses.
    pub fencing: Fencing,
}
