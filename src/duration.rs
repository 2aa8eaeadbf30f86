//! Durations and ranges of durations as people write them in files: `"250ms"`, `"1.5s"`, `"20ms..80ms"`.
//!
//! One number, one unit: `"1min 30s"` is `"90s"`. A bare number is refused, since its unit would be a guess.
//! Deliberately absent: whether a duration makes sense where it stands; that is the reader's business.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The units a file may use, with their length in microseconds.
const UNITS: [(&str, u64); 6] =
    [("us", 1), ("µs", 1), ("ms", 1_000), ("s", 1_000_000), ("min", 60_000_000), ("h", 3_600_000_000)];

/// What the help line says of units.
pub const UNITS_HELP: &str =
    "a duration is a number and a unit, one of us, ms, s, min, h: \"250ms\", \"1.5s\", \"2min\"";

/// The longest duration that a file may name: a week, far above any run and far below any overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

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

/// A range of durations, both ends included; one value is a range of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationRange {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl DurationRange {
    /// A range from `min` to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// A duration drawn uniformly, in whole microseconds.
    pub fn draw(&self, rng: &mut impl rand::Rng) -> Duration {
        use rand::RngExt;
        let micros: RangeInclusive<u64> = self.min.as_micros() as u64..=self.max.as_micros() as u64;
        Duration::from_micros(rng.random_range(micros))
    }
}

impl fmt::Display for DurationRange {
    /// `20ms..80ms`, or one duration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (text(self.min), text(self.max));
        if min == max { f.pad(&min) } else { f.pad(&format!("{min}..{max}")) }
    }
}

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
