//! The record of a run: a totally ordered list of what concurrent parties did.
//!
//! [`op`] is one element, `fault_event` what the nemesis says in it, `order` puts them in order, [`end`] tells a
//! complete history from one that is cut off, `reach` up to when it can be judged, [`recorder`] is the single writer,
//! [`source`] sees what a file is, [`file`] reads a stored history, [`foreign`] one of another harness, [`edn`] writes
//! ours for Jepsen's, [`hold`] gathers the ops of one hold, `plain` tells a history in acquires and releases alone,
//! [`server`] is what lock servers had for whom, beside the ops, `strike` pairs faults with their healing, [`life`]
//! numbers the processes of a client that dies. Deliberately absent: any judgement; that is `check`'s.

pub mod edn;
pub mod end;
mod fault_event;
pub mod file;
pub mod foreign;
pub mod hold;
pub mod life;
mod line;
pub mod op;
mod order;
mod plain;
mod reach;
pub mod recorder;
pub mod server;
pub mod source;
mod strike;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fencing::Fencing;
use crate::ids::FencingToken;
use crate::lock_kind::LockKind;
use crate::seed::Seed;
use crate::time::Nanos;
use crate::word::{Named, Word};
pub use end::CutOff;
pub use fault_event::{ClockReading, FaultEvent, Look, Probe, Stage};
pub(crate) use hold::Holds;
pub use hold::{Ending, Hold, Renewal};
pub use life::Life;
pub use op::{F, ItemValue, Left, Op, OpType, Process, Rare};
pub(crate) use order::InOrder;
pub(crate) use plain::{Plain, PlainStream};
pub(crate) use reach::reaches_its_end;
pub use recorder::Recorder;
pub use server::ServerRecord;
pub use strike::{Strike, Strikes};

/// The version of the file format that this build writes. It reads all up to it.
///
/// Since version 2 a complete file ends with a mark, and every change of a hold's validity is an op. A file of version
/// 1 has no mark, so it counts as cut off, and tells of a hold's validity at its grant and at its end only. Since
/// version 3 a file may have lines that are no ops: what the lock servers had ([`server`]).
pub const FORMAT: u32 = 3;

/// What the number in an item ([`ItemValue::stock`]) counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Units in stock; a sale writes one less.
    #[default]
    Stock,
    /// Nothing: it is a register's value, and each write has one of its own.
    Value,
    /// The lines of a file; an append writes one more.
    Lines,
}

impl Content {
    /// What to call the number.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Value => "value",
            Self::Lines => "lines",
        }
    }

    fn is_stock(&self) -> bool {
        *self == Self::Stock
    }
}

/// The world that a history tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentName {
    /// The simulation.
    Sim,
    /// Real servers in containers, or given ones.
    Docker,
    /// Another harness's.
    Foreign,
}

impl Named for EnvironmentName {
    const ALL: &'static [Self] = &[Self::Sim, Self::Docker, Self::Foreign];

    fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Docker => "docker",
            Self::Foreign => foreign::FOREIGN,
        }
    }
}

/// What a history file says of itself in its first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Header {
    /// The version of the file format.
    pub fencepost: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The lock on trial, by its table name.
    pub lock: String,
    /// The algorithm of the lock on trial.
    pub algorithm: String,
    /// How many may hold it at once.
    #[serde(default, skip_serializing_if = "LockKind::is_the_usual")]
    pub kind: LockKind,
    /// The world it took place in.
    pub environment: Word<EnvironmentName>,
    /// The run's seed. In docker it fixes the plan, not the outcome.
    pub seed: Seed,
    /// How many clients took part.
    pub clients: u32,
    /// How many lock servers took part.
    pub nodes: u32,
    /// What the resource refuses, as `[resource] fencing` says it.
    pub fencing: Word<Fencing>,
    /// What the number in the resource's items counts.
    #[serde(default, skip_serializing_if = "Content::is_stock")]
    pub content: Content,
    /// How many faults the scenario plans for this lock (entries, not strikes).
    pub planned_faults: u32,
    /// Those faults, each as the sentence by which its strikes name it; empty where only their number is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// How long a lock that is wanted may stay with nobody while nothing is wrong, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_within: Option<u64>,
    /// How long what an attempt has left at the servers may outlast its end, in nanoseconds: the lock's lease or
    /// session timeout, zero for a lock that has neither. Absent where nobody looks at the servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_within: Option<u64>,
    /// What the API of a lock behind an adapter offers; absent for locks of this crate, which offer all that is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// By how much two parties' clocks may disagree, in nanoseconds.
    pub clock_error: u64,
    /// The versions of what took part: `fencepost`, `redis`, `zookeeper`, `kernel`.
    pub versions: BTreeMap<String, String>,
}

impl Header {
    /// Whether every change of a hold's validity is an op of the history.
    pub fn tells_renewals(&self) -> bool {
        self.fencepost >= 2 && !self.environment.is(EnvironmentName::Foreign)
    }

    /// A fencing token as people can compare it. ZooKeeper's are zxids, whose upper half is the leader's epoch:
    /// `1:186`.
    pub fn told(&self, token: FencingToken) -> String {
        if self.algorithm.starts_with("zookeeper") && token.0 >> 32 > 0 {
            format!("{}:{}", token.0 >> 32, token.0 & u64::from(u32::MAX))
        } else {
            token.to_string()
        }
    }
}

/// What a lock's API offers to those who use it, as far as a check has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Api {
    /// Whether it tells its holder by itself that a hold is over.
    pub tells_loss: bool,
    /// The lease that its settings state, in nanoseconds, if they state one and it is not renewed: a hold that shows no
    /// validity may be taken to be over by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
}

/// A whole history: ops in the order of time, indexed densely from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What the file says of itself.
    pub header: Header,
    /// The ops; `ops[i].index == i`.
    pub ops: Vec<Op>,
    /// What the lock servers had for whom, in the order of its beginning; for explanations, never for verdicts. Empty
    /// where nobody looked.
    pub servers: Vec<ServerRecord>,
    /// Why it is not known to be whole, if so: what happened after its last op is then unknown, and what is missing may
    /// be anything.
    pub cut_off: Option<CutOff>,
}

impl History {
    /// Puts ops into the order of time and numbers them: a whole history. `order` says how within one instant.
    pub fn new(header: Header, mut ops: Vec<Op>) -> Self {
        order::put_in_order(&mut ops);
        Self { header, ops, servers: Vec::new(), cut_off: None }
    }

    /// The same, with what the lock servers had, in any order.
    #[must_use]
    pub fn with_servers(self, mut servers: Vec<ServerRecord>) -> Self {
        servers.sort_by_key(ServerRecord::began);
        Self { servers, ..self }
    }

    /// The same, of a trial that ended early, if there is a reason why it did.
    #[must_use]
    pub fn ended_early(self, why: Option<&str>) -> Self {
        let early = why.map(|why| CutOff::EndedEarly { why: why.to_owned() });
        Self { cut_off: early.or(self.cut_off), ..self }
    }

    /// The holds, in the order of their grants.
    pub fn holds(&self) -> Vec<Hold> {
        let mut holds = Holds::of(self);
        self.ops.iter().for_each(|op| holds.take(op));
        holds.finish(self.end());
        holds.list
    }

    /// When it ended.
    pub fn end(&self) -> Nanos {
        self.ops.last().map_or(Nanos::ZERO, |op| op.time)
    }
}
