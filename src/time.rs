//! The only notion of time in the crate.
//!
//! [`Nanos`] is an instant on a monotonic timeline that counts suspend; [`Clock`] reads it. The lock library, the
//! client loop and the recorder take a clock from outside, so that the same code runs in real and in simulated time.
//! Deliberately absent: wall-clock time, which no lock decision may rest on.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant, in nanoseconds since an origin that all parties of one run share.
///
/// In real runs the origin is the host's boot (`CLOCK_BOOTTIME`), which every container of one host shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The origin of the timeline.
    pub const ZERO: Self = Self(0);

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant less `duration`, or the origin if that lies before it.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// Seconds since the origin, for pictures and texts.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add<Duration> for Nanos {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub for Nanos {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Nanos {
    /// Seconds with milliseconds: `4.012s`. An instant so early that no clock was read for it, as in histories that
    /// number their ops, has all its digits: `0.000000003s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10_000_000 {
            let digits = format!("{:09}", self.0);
            let (milliseconds, rest) = digits.split_at(3);
            return write!(f, "0.{milliseconds}{}s", rest.trim_end_matches('0'));
        }
        write!(f, "{}.{:03}s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000)
    }
}

/// A length of time in the unit that suits it, as every text and page spells it: `1.577s`, `166.4ms`, `12µs`.
pub fn lasting(duration: Duration) -> String {
    match duration.as_nanos() {
        0 => "0ms".to_owned(),
        1..1_000 => format!("{}ns", duration.as_nanos()),
        // Rounded first: what rounds up to the next unit is told in that.
        1_000..999_500 => format!("{:.0}µs", duration.as_secs_f64() * 1e6),
        999_500..999_950_000 => {
            let text = format!("{:.1}", duration.as_secs_f64() * 1e3);
            format!("{}ms", text.strip_suffix(".0").unwrap_or(&text))
        }
        _ => format!("{:.3}s", duration.as_secs_f64()),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A source of the current instant.
pub trait Clock: Send + Sync {
    /// The current instant. Never goes back, and goes on while the machine is suspended.
    fn now(&self) -> Nanos;
}

/// The host's `CLOCK_BOOTTIME`: monotonic, counts suspend, and is shared by all containers of one host.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Nanos {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Time since boot is never negative and fits 64 bits of nanoseconds for 584 years.
        Nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well_at_every_size() {
        for (nanos, text) in [
            (12_345_678_900, "12.345s"),
            (4_012_999_999, "4.012s"),
            (0, "0.000s"),
            (3, "0.000000003s"),
            (2_000_000, "0.002s"),
            (9_040_000, "0.00904s"),
            (10_000_001, "0.010s"),
        ] {
            assert_eq!(Nanos(nanos).to_string(), text);
        }
        for (nanos, text) in [
            (0, "0ms"),
            (400, "400ns"),
            (12_000, "12µs"),
            (999_499, "999µs"),
            (999_500, "1ms"),
            (166_400_000, "166.4ms"),
            (40_000_000, "40ms"),
            (999_949_999, "999.9ms"),
            (999_950_000, "1.000s"),
            (1_577_000_000, "1.577s"),
        ] {
            assert_eq!(lasting(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn differences_never_underflow() {
        assert_eq!(Nanos(3) - Nanos(5), Duration::ZERO);
        assert_eq!(Nanos(3).saturating_sub(Duration::from_nanos(9)), Nanos::ZERO);
    }

    #[test]
    fn the_boot_clock_does_not_go_back() {
        let first = BootClock.now();
        assert!(BootClock.now() >= first && first > Nanos::ZERO);
    }
}
