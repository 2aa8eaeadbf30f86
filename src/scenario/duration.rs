//! Durations as they stand in a scenario file, with the schema that editors see; [`crate::duration`] reads them.
//!
//! Deliberately absent: whether a duration makes sense where it stands; that is the validation's business.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};

pub use crate::duration::{DurationError, UNITS_HELP, parse, parse_range, text};

/// The same as a pattern, for editors.
const NUMBER_AND_UNIT: &str = r"[0-9]+(\.[0-9]+)? ?(us|µs|ms|s|min|h)";

/// A duration as it stands in the file, not yet read: mistakes in all of them can then be shown at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationText(pub String);

/// A range of durations as it stands in the file, not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeText(pub String);

/// How far a clock jumps, forwards or backwards, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpText(pub String);

/// Accepts text only, so that a bare number is answered with what is wanted instead.
struct TextVisitor(&'static str);

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

macro_rules! duration_text {
    ($name:ident, $wanted:literal, $pattern:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor($wanted)).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

duration_text!(DurationText, "a duration in quotes, such as \"250ms\"", format!("^{NUMBER_AND_UNIT}$"));
duration_text!(
    RangeText,
    "a range of durations in quotes, such as \"20ms..80ms\"",
    format!(r"^{NUMBER_AND_UNIT}(\.\.{NUMBER_AND_UNIT})?$")
);
duration_text!(JumpText, "a jump in quotes, such as \"+3s\" or \"-3s\"", format!("^[+-]{NUMBER_AND_UNIT}$"));
