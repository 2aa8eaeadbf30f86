//! The scenario file as serde sees it, key by key, and its JSON Schema.
//!
//! The documentation of each key is what `fencepost schema` and editors show. Plain structs and `[[fault.KIND]]`
//! tables only: internally tagged enums and flattened structs lose the place of a mistake. Values stay as they stand
//! in the file ([`super::place`]); deliberately absent: whether they make sense.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::duration::{DurationText, JumpText, RangeText};
use super::place::{Algorithm, Choice, Count, KindWord, Placed, RestartData, TargetText};
use super::{ClientStyle, Fencing, Persistence};
use crate::fault::{Direction, PeerGroup};
use crate::phase::Phase;
use crate::verdict::{CheckName, Verdict};

/// A trial of distributed locks: what clients do, what protects the resource, which locks stand trial, what goes wrong.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a scenario")]
#[schemars(title = "fencepost scenario")]
pub struct ScenarioFile {
    /// One line for people: what happens.
    pub title: Placed<String>,
    /// Why the scenario exists: the claim that it tests, with its source.
    #[serde(default)]
    pub why: String,
    /// What clients do.
    pub workload: WorkloadTable,
    /// The protected resource.
    #[serde(default)]
    pub resource: ResourceTable,
    /// The locks on trial, by name: the same workload, faults and seed for each.
    #[serde(default)]
    pub lock: BTreeMap<Placed<String>, LockTable>,
    /// What goes wrong, as lists of tables: `[[fault.pause]]`.
    #[serde(default)]
    pub fault: FaultTables,
    /// Per lock: the verdict that each named check must reach. Makes the file a regression test.
    #[serde(default)]
    pub expect: BTreeMap<Placed<String>, ExpectTable>,
}

/// The verdict that each named check must reach, for one lock.
pub type ExpectTable = BTreeMap<Placed<Choice<CheckName>>, Placed<Choice<Verdict>>>;

/// What clients do, again and again: acquire, read, hold, write, release, think.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct WorkloadTable {
    /// What the critical section is about.
    pub kind: Placed<Choice<KindWord>>,
    /// How many clients compete.
    pub clients: Placed<Count>,
    /// How many lock names they compete for; 1 if absent.
    pub locks: Option<Placed<Count>>,
    /// Time inside the critical section, between the read and the write.
    pub hold: Placed<RangeText>,
    /// Time between a release and the next attempt.
    pub think: Placed<RangeText>,
    /// How long an attempt waits for the lock before it gives up; 10 s if absent.
    pub wait: Option<Placed<DurationText>>,
    /// How long clients start new attempts.
    pub duration: Placed<DurationText>,
    /// Whether clients heed the lock's warnings; careful if absent.
    pub client: Option<Placed<Choice<ClientStyle>>>,
}

/// The protected resource.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct ResourceTable {
    /// What it refuses; none if absent.
    pub fencing: Option<Placed<Choice<Fencing>>>,
}

/// A lock on trial.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct LockTable {
    /// The algorithm; if absent, the one that the lock is named after.
    pub algorithm: Option<Placed<Choice<Algorithm>>>,
    /// Redlock: how many Redis masters, an odd number; 5 if absent.
    pub nodes: Option<Placed<Count>>,
    /// Redlock: the lease's length, in whole milliseconds, at least 10 ms; 1 s if absent.
    pub ttl: Option<Placed<DurationText>>,
    /// Redlock: whether a held lease is renewed every third of its length; off if absent, as published.
    pub renewal: Option<Placed<bool>>,
    /// Redlock: how long one node may take to answer before it counts as not having voted, less than the ttl; if
    /// absent, a tenth of the ttl, but at most 50 ms.
    pub node_timeout: Option<Placed<DurationText>>,
    /// Redlock: the random delay between attempts; 20 to 80 ms if absent.
    pub retry_delay: Option<Placed<RangeText>>,
    /// Redlock: when a master writes what it was told to its disk, and so what it still has after a kill or a power
    /// loss; never if absent.
    pub persistence: Option<Placed<Choice<Persistence>>>,
    /// ZooKeeper: how many servers the ensemble has, an odd number; 3 if absent.
    pub servers: Option<Placed<Count>>,
    /// ZooKeeper: how long the ensemble waits for a silent client before it ends the session, in whole milliseconds;
    /// 2 s if absent.
    pub session_timeout: Option<Placed<DurationText>>,
}

/// The fault plan: a list of tables per kind. An environment refuses the kinds that it cannot do.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default, expecting = "a table")]
pub struct FaultTables {
    /// The process stops at once and goes on later, none the wiser.
    pub pause: Vec<Placed<PauseTable>>,
    /// The process is killed and started again later.
    pub kill: Vec<Placed<KillTable>>,
    /// The server is shut down in order and started again later.
    pub restart: Vec<Placed<RestartTable>>,
    /// The server stops and loses what was not yet on its disk.
    pub power_loss: Vec<Placed<PowerLossTable>>,
    /// Packets between the target and its peers are dropped.
    pub partition: Vec<Placed<PartitionTable>>,
    /// Packets between the target and its peers arrive late.
    pub delay: Vec<Placed<DelayTable>>,
    /// Packets between the target and its peers get lost now and then.
    pub loss: Vec<Placed<LossTable>>,
    /// The target's wall clock is set.
    pub clock_jump: Vec<Placed<ClockJumpTable>>,
    /// The target's clock runs at another rate.
    pub clock_drift: Vec<Placed<ClockDriftTable>>,
    /// The target's wall clock jumps back and forth.
    pub clock_strobe: Vec<Placed<ClockStrobeTable>>,
}

macro_rules! fault_table {
    ($(#[$doc:meta])* $name:ident { $($fields:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
        pub struct $name {
            /// Whom it strikes.
            pub target: Placed<TargetText>,
            /// When it strikes.
            pub at: Placed<AtValue>,
            $($fields)*
        }
    };
}

fault_table! {
    /// The process stops at once and goes on later, none the wiser.
    PauseTable {
        /// For how long it stands still.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
    }
}

fault_table! {
    /// The process is killed and started again later.
    KillTable {
        /// How long it stays down.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
    }
}

fault_table! {
    /// The server is shut down in order and started again later.
    RestartTable {
        /// How long it stays down.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// What it finds on its disk; kept if absent.
        pub data: Option<Placed<Choice<RestartData>>>,
    }
}

fault_table! {
    /// The server stops and loses what was not yet on its disk.
    PowerLossTable {
        /// How long it stays down.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
    }
}

fault_table! {
    /// Packets between the target and its peers are dropped.
    PartitionTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// Whom it is cut off from; if absent, nodes for a client and all for a lock server.
        pub peers: Option<Placed<Choice<PeerGroup>>>,
        /// Which way packets are dropped, as the target sees it; both if absent.
        pub direction: Option<Placed<Choice<Direction>>>,
    }
}

fault_table! {
    /// Packets between the target and its peers arrive late.
    DelayTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// How late each packet is.
        pub by: Placed<RangeText>,
        /// On the links to whom; if absent, nodes for a client and all for a lock server.
        pub peers: Option<Placed<Choice<PeerGroup>>>,
        /// Which way packets are late, as the target sees it; both if absent.
        pub direction: Option<Placed<Choice<Direction>>>,
    }
}

fault_table! {
    /// Packets between the target and its peers get lost now and then.
    LossTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// How many of a hundred packets are lost.
        pub percent: Placed<Count>,
        /// On the links to whom; if absent, nodes for a client and all for a lock server.
        pub peers: Option<Placed<Choice<PeerGroup>>>,
        /// Which way packets are lost, as the target sees it; both if absent.
        pub direction: Option<Placed<Choice<Direction>>>,
    }
}

fault_table! {
    /// The target's wall clock is set.
    ClockJumpTable {
        /// How far it jumps: `+3s` or `-3s`.
        pub by: Placed<JumpText>,
        /// After how long it jumps back; never if absent.
        #[serde(rename = "for")]
        pub duration: Option<Placed<DurationText>>,
    }
}

fault_table! {
    /// The target's clock runs at another rate.
    ClockDriftTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// Seconds that its clock counts in one second: 1.05 is five per cent fast.
        pub rate: Placed<f64>,
    }
}

fault_table! {
    /// The target's wall clock jumps back and forth.
    ClockStrobeTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// How far it jumps: `+3s` or `-3s`.
        pub by: Placed<JumpText>,
        /// How long it stays on either side.
        pub period: Placed<DurationText>,
    }
}

/// When a fault strikes: a time after the start, or a table.
#[derive(Debug)]
pub enum AtValue {
    /// Once, this long after the start of the run.
    Time(DurationText),
    /// At a phase, or again and again, or both.
    Table(AtTable),
}

/// When a fault strikes: at a phase, or again and again, or both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct AtTable {
    /// The step of a client at which the fault strikes, once unless `every` is given too.
    pub phase: Option<Placed<Choice<Phase>>>,
    /// How often it strikes.
    pub every: Option<Placed<DurationText>>,
}

impl<'de> Deserialize<'de> for AtValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AtVisitor;

        impl<'de> Visitor<'de> for AtVisitor {
            type Value = AtValue;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time in quotes such as \"5s\", { phase = \"before-write\" } or { every = \"3s\" }")
            }

            fn visit_str<E>(self, text: &str) -> Result<AtValue, E> {
                Ok(AtValue::Time(DurationText(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AtValue, A::Error> {
                AtTable::deserialize(MapAccessDeserializer::new(map)).map(AtValue::Table)
            }
        }

        // `any` and not an untagged enum: that would forget the places inside the table.
        deserializer.deserialize_any(AtVisitor)
    }
}

impl JsonSchema for AtValue {
    fn schema_name() -> Cow<'static, str> {
        "At".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<DurationText>();
        let table = generator.subschema_for::<AtTable>();
        json_schema!({
            "description": "When it strikes: a time after the start, at a phase, or again and again.",
            "anyOf": [time, table],
        })
    }
}

/// The JSON Schema (2020-12) of a scenario file.
pub fn schema() -> Value {
    let mut schema = Value::from(schema_for!(ScenarioFile));
    drop_null(&mut schema);
    schema
}

/// Takes `null` out of the schema: TOML has none, an optional key is simply absent.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(drop_null),
        Value::Object(object) => {
            object.values_mut().for_each(drop_null);
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            if let Some(Value::Array(options)) = object.get_mut("anyOf") {
                options.retain(|option| option.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = options.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
        }
        _ => {}
    }
}
