//! In which way a client uses a lock in one attempt, beside the plain acquire and release: it may call the attempt off,
//! extend the lease by hand, drop the guard.
//!
//! Drawn from a stream of its own, so that a workload which asks for none of it has the same runs as ever. Deliberately
//! absent: what is done about it, which is the client loop's.

use std::time::Duration;

use rand::RngExt;

use crate::scenario::Workload;
use crate::seed::ChaCha8Rng;

/// In which way one attempt goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// When the client no longer wants the lock, if it does not wait for the outcome.
    pub called_off: Option<CalledOff>,
    /// What it asks for in the middle of the hold.
    pub extension: Option<Extension>,
    /// Whether the hold ends with the guard being dropped.
    pub drops: bool,
}

/// The end of an attempt that its client calls off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CalledOff {
    /// How long after its beginning.
    pub after: Duration,
    /// By what.
    pub by: By,
}

/// How an attempt is called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The future is dropped.
    Dropping,
    /// The lock is told.
    Cancelling,
}

/// An extension of the lease by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extension {
    /// How long after the critical section's work began.
    pub after: Duration,
    /// The lease that is asked for.
    pub ttl: Duration,
}

/// Into how many halves of halves a wait is cut: the shortest is below a round trip.
const HALVES: u32 = 15;

impl Way {
    /// Draws it for an attempt that would wait for `wait` and hold for `hold`.
    pub fn draw(workload: &Workload, wait: Duration, hold: Duration, rng: &mut ChaCha8Rng) -> Self {
        let mut way = Self::default();
        let is_among = |share: u32, rng: &mut ChaCha8Rng| share > 0 && rng.random_range(0..100) < share;
        if is_among(workload.abandoned, rng) {
            // As often within a round trip as after a long wait: each step of an acquire is met.
            let most = wait / 2_u32.pow(rng.random_range(0..HALVES));
            let after = part(most, rng);
            let by = if rng.random() { By::Dropping } else { By::Cancelling };
            way.called_off = Some(CalledOff { after, by });
        }
        if let Some(extend) = workload.extend {
            way.extension = Some(Extension { after: part(hold, rng), ttl: extend.draw(rng) });
        }
        way.drops = is_among(workload.dropped, rng);
        way
    }
}

/// Some part of a length.
fn part(most: Duration, rng: &mut ChaCha8Rng) -> Duration {
    Duration::from_nanos(rng.random_range(0..=most.as_nanos() as u64))
}
