//! A scenario as plain data: the workload, the resource, the locks on trial, the fault plan and what is expected.
//!
//! [`mod@load`] reads it from a TOML file and refuses every mistake with its place: [`mod@file`], [`fault_tables`] and
//! `strikes` have the format's keys, `validate`, `locks` and `plan` their meaning (`plan` with its parts `links`, `clocks` and `requests`),
//! [`fn@write`] makes such a file,
//! [`mod@error`] the way mistakes are shown. Deliberately absent: any knowledge of how an environment runs it; an
//! environment says in its [`Capabilities`] what it can do.

mod capabilities;
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
mod requests;
pub mod shipped;
mod simulation;
mod strikes;
#[cfg(test)]
mod tests;
mod validate;
pub mod vary;
mod write;

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

use crate::fault::{Fault, Target};
pub use crate::fencing::Fencing;
use crate::history::Content;
use crate::ids::{ClientId, LockName};
use crate::lock::backend::Connections;
use crate::lock::flawed::{RedlockFlaw, ZookeeperFlaw};
use crate::lock::{Tokens, ZookeeperSettings};
use crate::lock_kind::LockKind;
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
    /// How long the lock called `lock`, when it is wanted, may stay with nobody while no fault is in force; in nanoseconds, as
    /// histories have it; `None` where nothing is known of it.
    pub fn grant_within(&self, lock: &str) -> Option<u64> {
        let stated = self.workload.grant_within;
        let bound = stated.or_else(|| self.locks.get(lock).and_then(LockConfig::grant_within))?;
        Some(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX))
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
    /// How long a lock that is wanted may stay with nobody while no fault is in force; what its lease or session asks for if
    /// absent.
    #[serde(default)]
    pub grant_within: Option<Duration>,
    /// Whether clients heed the lock's warnings.
    pub client: ClientStyle,
    /// How many of a hundred attempts only read, by a draw. A read-write lock lets those hold it together.
    #[serde(default)]
    pub readers: u32,
}

impl Workload {
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

/// A lock on trial: which algorithm, with which settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockConfig {
    /// The lock at one Redis server.
    Redis(RedisConfig),
    /// Redlock over independent Redis masters.
    Redlock(RedlockConfig),
    /// The ZooKeeper ephemeral-sequential lock.
    Zookeeper(ZookeeperConfig),
    /// The lock in an etcd cluster.
    Etcd(EtcdConfig),
    /// A program that speaks the adapter protocol.
    Adapter(AdapterConfig),
}

/// The servers that a lock rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// Independent Redis masters.
    Redis,
    /// A ZooKeeper ensemble.
    Zookeeper,
    /// The members of an etcd cluster.
    Etcd,
}

impl Backend {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Redis, Self::Zookeeper, Self::Etcd];

    /// The name used on pages and at the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Zookeeper => "zookeeper",
            Self::Etcd => "etcd",
        }
    }
}

impl LockConfig {
    /// The servers that it rests on. A flawed lock shares them with the sound one.
    pub fn backend(&self) -> Backend {
        match self {
            Self::Redis(_) | Self::Redlock(_) => Backend::Redis,
            Self::Zookeeper(_) => Backend::Zookeeper,
            Self::Etcd(_) => Backend::Etcd,
            Self::Adapter(config) => config.settings.servers.backend,
        }
    }

    /// How many may hold it at once.
    pub fn kind(&self) -> LockKind {
        match self {
            Self::Redis(config) => config.kind,
            Self::Zookeeper(config) => config.kind,
            Self::Redlock(_) | Self::Etcd(_) | Self::Adapter(_) => LockKind::Mutex,
        }
    }

    /// What its Redis masters keep, if it rests on some.
    pub fn persistence(&self) -> Option<Persistence> {
        match self {
            Self::Redis(config) => Some(config.persistence),
            Self::Redlock(config) => Some(config.persistence),
            Self::Zookeeper(_) | Self::Etcd(_) => None,
            Self::Adapter(config) => (self.backend() == Backend::Redis).then_some(config.persistence),
        }
    }

    /// The algorithm's name, as in `algorithm = "redlock"`.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Adapter(_) => "adapter",
            Self::Redlock(config) => config.flaw.map_or("redlock", |flaw| flaw.about().name),
            Self::Zookeeper(config) => config.flaw.map_or("zookeeper", |flaw| flaw.about().name),
            Self::Etcd(_) => "etcd",
        }
    }

    /// How long the lock may need, once nothing is wrong any more, to be granted to somebody who waits: until the lease or
    /// session of whoever had it is over, twice, since its successor may have died meanwhile, and two seconds for an
    /// election and for those who ask in turns. `None` for a lock without lease.
    pub fn grant_within(&self) -> Option<Duration> {
        let lease = match self {
            Self::Redis(config) => config.ttl,
            Self::Redlock(config) => config.ttl,
            Self::Zookeeper(config) => config.session_timeout,
            Self::Etcd(config) => config.longest_lease(),
            Self::Adapter(config) => config.lease?,
        };
        Some(2 * lease + Duration::from_secs(2))
    }

    /// How long what an attempt has left at the servers may outlast its end, in nanoseconds as histories have it: a lease or
    /// a session's timeout; nothing for a lock that has neither.
    pub fn leaves_within(&self) -> u64 {
        let bound = match self {
            Self::Redis(config) => config.ttl,
            Self::Redlock(config) => config.ttl,
            Self::Zookeeper(config) => config.session_timeout,
            Self::Etcd(config) => config.longest_lease(),
            Self::Adapter(config) => config.lease.unwrap_or_default(),
        };
        u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)
    }

    /// What the lock keeps at its servers for good, by its own word: patterns of keys or paths, in which `*` stands for
    /// anything and `{lock}` for a lock's name as the servers see it.
    pub fn permanent(&self) -> Vec<String> {
        match self {
            Self::Redis(_) => vec![Tokens::Quorum.permanent().to_owned()],
            Self::Redlock(config) => vec![config.tokens.permanent().to_owned()],
            Self::Zookeeper(_) => vec![ZookeeperSettings::PERMANENT.to_owned()],
            Self::Etcd(_) => Vec::new(),
            Self::Adapter(config) => config.settings.permanent.clone(),
        }
    }

    /// Whether there can be such a target: Redis masters are equals, and only ZooKeeper's clients have a session with one of
    /// their servers.
    pub fn has(&self, target: &Target) -> bool {
        match target {
            Target::Leader => self.backend() != Backend::Redis,
            Target::HolderServer => self.backend() == Backend::Zookeeper,
            _ => true,
        }
    }

    /// How many lock servers it uses.
    pub fn nodes(&self) -> u32 {
        match self {
            Self::Redis(_) => 1,
            Self::Redlock(config) => config.nodes,
            Self::Zookeeper(config) => config.servers,
            Self::Etcd(_) => ETCD_MEMBERS,
            Self::Adapter(config) => config.settings.servers.count,
        }
    }
}

/// How many members the etcd cluster has.
pub const ETCD_MEMBERS: u32 = 3;

/// The settings of the lock in an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdConfig {
    /// The lease's length, in whole seconds.
    pub ttl: Duration,
}

impl EtcdConfig {
    /// How long a lease may last whose client is gone: a new leader gives it its whole length once more, and an election
    /// timeout; and leases that are over are looked for every half second.
    pub fn longest_lease(&self) -> Duration {
        2 * self.ttl + Duration::from_millis(1_500)
    }
}

/// The settings of the lock at one Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisConfig {
    /// How many may hold it at once.
    #[serde(default)]
    pub kind: LockKind,
    /// The lease's length.
    pub ttl: Duration,
    /// Whether a held lease is renewed every third of its length. Off by default.
    pub renewal: bool,
    /// How long the server may take to answer one request.
    pub node_timeout: Duration,
    /// The random delay between attempts.
    pub retry_delay: DurationRange,
    /// What the server still has after it was killed or lost power.
    pub persistence: Persistence,
    /// Which connections requests travel on.
    pub connections: Connections,
}

/// A lock behind the adapter protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// What its folder says.
    pub settings: crate::adapter::Settings,
    /// The lease or session timeout that it has here, if it has one.
    pub lease: Option<Duration>,
    /// What a Redis master still has after it was killed or lost power.
    pub persistence: Persistence,
}

/// Redlock's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedlockConfig {
    /// How many Redis masters.
    pub nodes: u32,
    /// The lease's length.
    pub ttl: Duration,
    /// Whether a held lease is renewed every third of its length. Off by default, as published.
    pub renewal: bool,
    /// How long one node may take to answer before it counts as not having voted.
    pub node_timeout: Duration,
    /// The random delay between attempts.
    pub retry_delay: DurationRange,
    /// What a master still has after it was killed or lost power.
    #[serde(default)]
    pub persistence: Persistence,
    /// Which connections requests travel on.
    #[serde(default)]
    pub connections: Connections,
    /// Where fencing tokens come from. There are none by default, as published.
    #[serde(default)]
    pub tokens: Tokens,
    /// What is wrong with it, if it is a canary.
    #[serde(default)]
    pub flaw: Option<RedlockFlaw>,
}

/// When a Redis master writes what it was told to its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// Never: whatever ends the process ends its leases too.
    #[default]
    None,
    /// To its kernel at once and to the disk every second: a kill loses nothing, a power loss up to a second.
    Everysec,
    /// To the disk before it answers: nothing is lost.
    Always,
}

/// The ZooKeeper lock's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZookeeperConfig {
    /// How many may hold it at once.
    #[serde(default)]
    pub kind: LockKind,
    /// How many servers the ensemble has.
    pub servers: u32,
    /// How long the ensemble waits for a silent client before it ends the session.
    pub session_timeout: Duration,
    /// What is wrong with it, if it is a canary.
    #[serde(default)]
    pub flaw: Option<ZookeeperFlaw>,
}
