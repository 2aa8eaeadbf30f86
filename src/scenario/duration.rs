//! Durations and ranges of durations as scenario files write them: `"250ms"`, `"1.5s"`, `"20ms..80ms"`.
//!
//! One number, one unit: `"1min 30s"` is `"90s"`. A bare number is refused, since its unit would be a guess.
//! Deliberately absent: whether a duration makes sense where it stands; that is the validation's business.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};

use super::DurationRange;

/// The units a file may use, with their length in microseconds.
const UNITS: [(&str, u64); 6] =
    [("us", 1), ("µs", 1), ("ms", 1_000), ("s", 1_000_000), ("min", 60_000_000), ("h", 3_600_000_000)];

/// What the help line says of units.
pub(super) const UNITS_HELP: &str =
    "a duration is a number and a unit, one of us, ms, s, min, h: \"250ms\", \"1.5s\", \"2min\"";

/// The longest duration that a file may name: a week, far above any run and far below any overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The same as a pattern, for editors.
const NUMBER_AND_UNIT: &str = r"[0-9]+(\.[0-9]+)? ?(us|µs|ms|s|min|h)";

/// Why a text is no duration. Its text is the label beside the offending value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It does not start with a number.
    #[error("does not start with a number")]
    NoNumber,
    /// It is below zero.
    #[error("a duration cannot be negative")]
    Negative,
    /// It is a number without a unit.
    #[error("has no unit")]
    NoUnit,
    /// Its unit is unknown.
    #[error("`{0}` is not a unit")]
    BadUnit(String),
    /// It has parts below a microsecond, which `DurationRange::draw` could not honour.
    #[error("finer than one microsecond")]
    TooFine,
    /// It is longer than a week.
    #[error("longer than a week")]
    TooLong,
    /// A range whose end lies before its start.
    #[error("the range ends before it starts")]
    Reversed,
}

/// Reads one duration.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(DurationError::NoNumber);
    }
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    if unit.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::BadUnit(unit.to_owned()));
    };
    // Whole and fraction apart, in integers: a float would turn "1.1s" into something finer than a microsecond.
    let fraction = fraction.trim_end_matches('0');
    let scale = u32::try_from(fraction.len()).ok().and_then(|places| 10_u128.checked_pow(places));
    let (Some(scale), Ok(part)) = (scale, format!("0{fraction}").parse::<u128>()) else {
        return Err(DurationError::TooFine);
    };
    let whole = whole.parse::<u128>().map_err(|_| DurationError::TooLong)?;
    let scaled = part.checked_mul(u128::from(*length)).ok_or(DurationError::TooFine)?;
    if scaled % scale != 0 {
        return Err(DurationError::TooFine);
    }
    whole
        .checked_mul(u128::from(*length))
        .and_then(|micros| micros.checked_add(scaled / scale))
        .and_then(|micros| u64::try_from(micros).ok())
        .map(Duration::from_micros)
        .filter(|duration| *duration <= LONGEST)
        .ok_or(DurationError::TooLong)
}

/// Reads a range of durations, or one duration as a range of itself.
pub fn parse_range(text: &str) -> Result<DurationRange, DurationError> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (parse(min)?, parse(max)?);
    if max < min { Err(DurationError::Reversed) } else { Ok(DurationRange::new(min, max)) }
}

/// A duration as a file would write it.
pub fn text(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { format!("{duration:?}") }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly() {
        for (text, micros) in [
            ("1us", 1),
            ("250ms", 250_000),
            ("1.1s", 1_100_000),
            ("0.5ms", 500),
            ("2min", 120_000_000),
            ("1.5h", 5_400_000_000),
            ("0s", 0),
            ("3 s", 3_000_000),
            ("2.50s", 2_500_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        use DurationError::*;
        for (text, error) in [
            ("", NoNumber),
            ("ms", NoNumber),
            ("1.s", NoNumber),
            ("1.2.3s", NoNumber),
            ("+5s", NoNumber),
            ("-5s", Negative),
            ("5", NoUnit),
            ("5 ", NoUnit),
            ("5 parsecs", BadUnit("parsecs".into())),
            ("5m", BadUnit("m".into())),
            ("1min 30s", BadUnit("min 30s".into())),
            ("0.5us", TooFine),
            ("0.00000000000000000000000000000000000000000000000001s", TooFine),
            ("169h", TooLong),
            ("99999999999999999999999999999999999999999s", TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(parse_range("80ms..20ms"), Err(Reversed));
        assert_eq!(parse_range("20ms..=80ms"), Err(NoNumber));
    }

    #[test]
    fn ranges_read_back_as_they_print() {
        for text in ["20ms..80ms", "0s..40ms", "2.3s", "15µs..1ms"] {
            assert_eq!(parse_range(text).unwrap().to_string(), text);
        }
    }
}
