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
    /// Seconds with microseconds: `12.345678s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
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
    fn prints_seconds_with_microseconds() {
        assert_eq!(Nanos(12_345_678_900).to_string(), "12.345678s");
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
