//! What is seen of a process's own wall clock from outside: a reading is as good as the bracket of the question and its
//! answer.
//!
//! Deliberately absent: how a process is asked (its backend, or the control socket), and what its clock should show.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::time::ClockId;

use super::clock_page;
use crate::time::Nanos;

/// How often a clock is looked at for the best of the readings.
const LOOKS: u32 = 16;
/// A reading this good needs no better one.
const GOOD: u64 = 1_500_000;
/// Who did not answer so often does not.
const SILENCES: u32 = 2;
/// The pause before another look if nothing was seen: no multiple of a round period.
const BREATH: Duration = Duration::from_millis(17);
/// What may come on top of half the round trip: the reader's own clocks are read one after the other.
const READING: u64 = 500_000;

/// What was seen of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When: on the clock of the history.
    pub at: Nanos,
    /// By how much it was wrong, ns.
    pub error: i64,
    /// How far that may be off, ns.
    pub uncertainty: u64,
}

/// An instant on both of this machine's clocks.
#[derive(Clone, Copy)]
pub struct Instant {
    /// On the clock of the history.
    pub boot: Nanos,
    /// On the wall clock, ns since the epoch.
    pub wall: i128,
}

/// This instant.
pub fn now() -> Instant {
    let (boot, wall) = clock_page::with_wall(ClockId::Boottime);
    Instant { boot: Nanos(boot.unsigned_abs()), wall: i128::from(wall) }
}

impl Reading {
    /// `wall` was shown at some time from `sent` to `heard`, cut down to multiples of `grain`.
    pub fn between(sent: Instant, heard: Instant, wall: i128, grain: u64) -> Self {
        let half = (heard.boot - sent.boot).as_nanos() as u64 / 2;
        let middle = sent.wall + i128::from(half);
        Self {
            at: Nanos(sent.boot.0 + half),
            error: (wall + i128::from(grain / 2) - middle) as i64,
            uncertainty: half + grain / 2 + READING,
        }
    }
}

/// The best of some looks at a clock, among those that `judge` can use, and what it made of that one.
///
/// # Errors
/// Nothing usable was seen.
pub async fn best<'a, T>(
    look: impl Fn() -> BoxFuture<'a, io::Result<Reading>>,
    mut judge: impl FnMut(&Reading) -> Option<T>,
) -> io::Result<(Reading, T)> {
    let mut best: Option<(Reading, T)> = None;
    let mut failure = io::Error::other("it changed too little or too fast to be seen");
    let mut silences = 0;
    for round in 0..LOOKS {
        if round > 0 && best.is_none() {
            // A strobe may be on its right side, and a busy machine gets quieter.
            tokio::time::sleep(BREATH).await;
        }
        match look().await.map(|seen| (judge(&seen), seen)) {
            Ok((Some(judged), seen)) if best.as_ref().is_none_or(|(best, _)| seen.uncertainty < best.uncertainty) => {
                best = Some((seen, judged));
            }
            Ok(_) => {}
            Err(error) => {
                silences += 1;
                failure = error;
            }
        }
        if silences >= SILENCES {
            break;
        }
        if best.as_ref().is_some_and(|(best, _)| best.uncertainty <= GOOD) {
            break;
        }
    }
    best.ok_or(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_as_good_as_its_bracket() {
        let instant = |at: i128| Instant { boot: Nanos(500 + at as u64), wall: 1_000_000 + at };
        let seen = Reading::between(instant(0), instant(2_000), 1_000_000 + 1_000 + 77, 0);
        assert_eq!(seen, Reading { at: Nanos(1_500), error: 77, uncertainty: 1_000 + READING });
    }
}
