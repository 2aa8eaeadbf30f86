//! The scenario file as serde sees it, key by key, and its JSON Schema. The fault plan has [`super::fault_tables`], a lock's
//! table the lock ([`crate::defendant`]).
//!
//! The documentation of each key is what `fencepost schema` and editors show. Plain structs and `[[fault.KIND]]`
//! tables only: internally tagged enums and flattened structs lose the place of a mistake. Values stay as they stand
//! in the file ([`super::place`]); deliberately absent: whether they make sense.

use std::collections::BTreeMap;

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::duration::{DurationText, RangeText};
use super::fault_tables::FaultTables;
use super::place::{Choice, Count, Placed};
use super::strikes::StrikeTable;
use super::{ClientStyle, Fencing, WorkloadKind};
use crate::defendant::table::LockTable;
use crate::verdict::{CheckName, Demand};

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
    /// The simulated network; real servers have their own.
    #[serde(default)]
    pub simulation: SimulationTable,
    /// What goes wrong, as lists of tables: `[[fault.pause]]`.
    #[serde(default)]
    pub fault: FaultTables,
    /// What goes wrong, strike by strike: who, what and when, drawn by nobody. The search writes its findings so; strikes and
    /// faults may stand in one file.
    #[serde(default)]
    pub strike: Vec<Placed<StrikeTable>>,
    /// Per lock: the verdict that each named check must reach; a check that is not named must not be invalid. Makes the file
    /// a regression test.
    #[serde(default)]
    pub expect: BTreeMap<Placed<String>, ExpectTable>,
}

/// The verdict that each named check must reach, for one lock; or `not-invalid`, or `any`.
pub type ExpectTable = BTreeMap<Placed<Choice<CheckName>>, Placed<Choice<Demand>>>;

/// What clients do, again and again: acquire, read, hold, write, release, think.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct WorkloadTable {
    /// What the critical section is about.
    pub kind: Placed<Choice<WorkloadKind>>,
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
    /// How long a lock that is wanted may stay with nobody while no fault is in force; twice the lease or session timeout
    /// and two seconds if absent.
    pub grant_within: Option<Placed<DurationText>>,
    /// Whether clients heed the lock's warnings; careful if absent.
    pub client: Option<Placed<Choice<ClientStyle>>>,
    /// How many of a hundred attempts only read, by a draw; 0 if absent. A read-write lock lets those hold it together, any
    /// other lock takes them for attempts like others.
    pub readers: Option<Placed<Count>>,
    /// The lease that a holder asks for, from then on, at some moment of its hold; absent, it asks for none. Needs a lock whose
    /// leases can be extended by hand.
    pub extend: Option<Placed<RangeText>>,
    /// How many of a hundred attempts their client calls off before they are over, by a draw: one half drops the acquire, the
    /// other cancels it; 0 if absent.
    pub abandoned: Option<Placed<Count>>,
    /// How many of a hundred holds end with their guard being dropped, and not released, by a draw: it is given back in the
    /// background, and its client does not know how that went; 0 if absent.
    pub dropped: Option<Placed<Count>>,
    /// For how long before the end of `duration` no fault strikes or is in force, so that `liveness` can tell who is granted the
    /// lock afterwards; faults are planned within what is left. None if absent.
    pub quiet_end: Option<Placed<DurationText>>,
}

/// The protected resource.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct ResourceTable {
    /// What it refuses; none if absent.
    pub fencing: Option<Placed<Choice<Fencing>>>,
}

/// The simulated network, one way and while no fault is in force; `fencepost calibrate` measures a real one and says what to
/// write here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct SimulationTable {
    /// No segment takes less; 0.1 ms if absent.
    pub least_latency: Option<Placed<DurationText>>,
    /// Half of all segments take no longer than this, the least included, and the rest tail off exponentially; 0.2 ms if
    /// absent. One segment in 1,024 takes up to 10 ms more.
    pub median_latency: Option<Placed<DurationText>>,
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
