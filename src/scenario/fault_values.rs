//! The values that only faults have, as they stand in the file: when, between whom, how many, how fast.
//!
//! Values that are text or a list, text or a table, are read by visitors and not as untagged enums: those would forget
//! the places inside. Deliberately absent: whether the values make sense ([`super::plan`]).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::duration::DurationText;
use super::place::{Choice, Placed};
use crate::fault::PeerGroup;
use crate::phase::Phase;

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
    /// The step of a client at which the fault strikes, once unless `every` is given too: a step of the target itself,
    /// or of any client if the target is a lock server.
    pub phase: Option<Placed<Choice<Phase>>>,
    /// How often it strikes.
    pub every: Option<Placed<DurationText>>,
    /// With a phase: not before this long after the start of the run.
    pub from: Option<Placed<DurationText>>,
}

impl<'de> Deserialize<'de> for AtValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AtVisitor;

        impl<'de> Visitor<'de> for AtVisitor {
            type Value = AtValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in quotes such as \"5s\", { phase = \"before-write\" } or { every = \"3s\" }")
            }

            fn visit_str<E>(self, text: &str) -> Result<AtValue, E> {
                Ok(AtValue::Time(DurationText(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AtValue, A::Error> {
                AtTable::deserialize(MapAccessDeserializer::new(map)).map(AtValue::Table)
            }
        }

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

/// The other end of the links that a fault touches: everybody of one sort, or a list of members.
#[derive(Debug)]
pub enum PeersValue {
    /// Everybody of one sort.
    Group(Choice<PeerGroup>),
    /// These.
    Members(Vec<Placed<MemberText>>),
}

impl<'de> Deserialize<'de> for PeersValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeersVisitor;

        impl<'de> Visitor<'de> for PeersVisitor {
            type Value = PeersValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word in quotes such as \"nodes\", or a list such as [\"node:4\", \"node:5\"]")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PeersValue, E> {
                Choice::deserialize(serde::de::value::StrDeserializer::new(text)).map(PeersValue::Group)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<PeersValue, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(PeersValue::Members)
            }
        }

        deserializer.deserialize_any(PeersVisitor)
    }
}

impl JsonSchema for PeersValue {
    fn schema_name() -> Cow<'static, str> {
        "Peers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let group = generator.subschema_for::<Choice<PeerGroup>>();
        let members = generator.subschema_for::<Vec<MemberText>>();
        json_schema!({
            "description": "The other end of the links: everybody of one sort, or a list of members.",
            "anyOf": [group, members],
        })
    }
}

/// A member of the trial as it stands in the file: `client:1`, `node:4`, `resource`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(transparent)]
pub struct MemberText(pub String);

impl JsonSchema for MemberText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Member".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(resource|(client|node):[1-9][0-9]*)$" })
    }
}

/// A share of a hundred as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PercentValue(pub f64);

impl<'de> Deserialize<'de> for PercentValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PercentVisitor;

        impl Visitor<'_> for PercentVisitor {
            type Value = PercentValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, such as 5 or 0.5")
            }

            fn visit_i64<E>(self, number: i64) -> Result<PercentValue, E> {
                Ok(PercentValue(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<PercentValue, E> {
                Ok(PercentValue(number))
            }
        }

        deserializer.deserialize_any(PercentVisitor)
    }
}

impl JsonSchema for PercentValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0.1, "maximum": 100 })
    }
}

/// What a clock gains or loses, as it stands in the file: `+5%`, `-200ppm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftText(pub String);

impl<'de> Deserialize<'de> for DriftText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DriftVisitor;

        impl Visitor<'_> for DriftVisitor {
            type Value = DriftText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a drift in quotes, such as \"+5%\" or \"-200ppm\"")
            }

            fn visit_str<E>(self, text: &str) -> Result<DriftText, E> {
                Ok(DriftText(text.to_owned()))
            }
        }

        deserializer.deserialize_str(DriftVisitor)
    }
}

impl JsonSchema for DriftText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Drift".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[+-][0-9]+(\.[0-9]+)? ?(%|ppm)$" })
    }
}
