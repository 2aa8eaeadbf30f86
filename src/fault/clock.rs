//! What can be done to a clock.
//!
//! A jump and a strobe concern the wall clock alone: a monotonic clock is not set. A drift is the oscillator's, so both
//! clocks of a machine have it. Deliberately absent: the clocks themselves; an environment has those.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A way for a clock to go wrong. Undone, the clock shows the right time and runs at the right rate again: whatever was
/// stamped by the wrong clock keeps its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum ClockChange {
    /// The wall clock is set once, and stays wrong by that much.
    Jump {
        /// How far, in nanoseconds; below zero is back.
        by_ns: i64,
    },
    /// The clock runs too fast or too slow.
    Drift {
        /// Microseconds gained in each true second; below zero is lost.
        ppm: i64,
    },
    /// The wall clock is set wrong and right again in turn.
    Strobe {
        /// How far, in nanoseconds; below zero is back.
        by_ns: i64,
        /// How long it stays on either side.
        #[serde(rename = "period-ns", with = "nanoseconds")]
        period: Duration,
    },
}

impl fmt::Display for ClockChange {
    /// `by -2s`, `by +50000ppm`, `by +1ms every 10ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jump { by_ns } => write!(f, "by {}", signed(*by_ns)),
            Self::Drift { ppm } => write!(f, "by {ppm:+}ppm"),
            Self::Strobe { by_ns, period } => write!(f, "by {} every {period:?}", signed(*by_ns)),
        }
    }
}

fn signed(by_ns: i64) -> String {
    let sign = if by_ns < 0 { '-' } else { '+' };
    format!("{sign}{:?}", Duration::from_nanos(by_ns.unsigned_abs()))
}

/// A duration as one whole number: histories count in nanoseconds.
mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_nanos() as u64)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_back_from_files() {
        for (change, text) in [
            (ClockChange::Jump { by_ns: -5 }, r#"{"jump":{"by-ns":-5}}"#),
            (ClockChange::Drift { ppm: 100 }, r#"{"drift":{"ppm":100}}"#),
            (
                ClockChange::Strobe { by_ns: 7, period: Duration::from_micros(1) },
                r#"{"strobe":{"by-ns":7,"period-ns":1000}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&change).unwrap(), text);
            assert_eq!(serde_json::from_str::<ClockChange>(text).unwrap(), change);
        }
    }
}
