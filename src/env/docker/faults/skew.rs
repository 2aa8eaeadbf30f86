//! What the strikes in force do to one member's wall clock, as a function of time, and the page that says so.
//!
//! The page is a lease: it is valid for [`LEASE`] and renewed while the strike goes on. If nobody renews it any more
//! the clock is right again by itself. Deliberately absent: looking at the clock ([`super::face`]).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::docker::clock_page::{ClockPage, Setting};
use crate::fault::ClockChange;
use crate::time::{BootClock, Clock, Nanos};

/// How long a clock stays wrong when nobody says that it should.
const LEASE: Duration = Duration::from_secs(2);

/// How often the page is renewed: often enough for a busy machine to miss a few.
const RENEWAL: Duration = Duration::from_millis(200);

/// A setting that took no longer than this is of one instant.
const CLOSE: Duration = Duration::from_micros(50);
/// How often to try for that.
const LOOKS: u32 = 20;

/// What strikes do to one clock.
#[derive(Clone, Debug, Default)]
struct Skew(BTreeMap<u32, (ClockChange, Nanos)>);

impl Skew {
    /// By how much the clock is to be wrong at `now`, in nanoseconds. A strobe begins on its wrong side.
    fn error_ns(&self, now: Nanos) -> i64 {
        self.0.keys().map(|id| self.part_ns(*id, now)).fold(0, i64::saturating_add)
    }

    /// What strike `id` adds to the error.
    fn part_ns(&self, id: u32, now: Nanos) -> i64 {
        let Some((change, since)) = self.0.get(&id) else { return 0 };
        let elapsed = i128::from((now - *since).as_nanos() as u64);
        match *change {
            ClockChange::Jump { by_ns } => by_ns,
            ClockChange::Drift { ppm } => i64::try_from(elapsed * i128::from(ppm) / 1_000_000).unwrap_or(i64::MAX),
            ClockChange::Strobe { by_ns, period } => match elapsed / period.as_nanos().max(1) as i128 % 2 {
                0 => by_ns,
                _ => 0,
            },
        }
    }

    /// Whether no strobe changes sides between two instants. Their errors alone do not tell: over a whole number of
    /// periods both are on the same side, and what is between them may have been on the other.
    fn keeps_side(&self, from: Nanos, to: Nanos) -> bool {
        self.0.values().all(|(change, since)| match *change {
            ClockChange::Strobe { period, .. } => {
                let turn = |at: Nanos| (at - *since).as_nanos() / period.as_nanos().max(1);
                turn(from) == turn(to)
            }
            ClockChange::Jump { .. } | ClockChange::Drift { .. } => true,
        })
    }

    fn rate_ppm(&self) -> i64 {
        let part = |(change, _): &(ClockChange, Nanos)| match *change {
            ClockChange::Drift { ppm } => ppm,
            ClockChange::Jump { .. } | ClockChange::Strobe { .. } => 0,
        };
        self.0.values().map(part).sum()
    }

    /// The setting that makes the clock so from `now` on, but for what the page itself does: one strobe.
    fn setting(&self, now: Nanos) -> Setting {
        let (mut steady, mut strobe) = (0_i64, None);
        for (id, (change, since)) in &self.0 {
            match *change {
                ClockChange::Strobe { by_ns, period } => strobe = Some((by_ns, period, now - *since)),
                ClockChange::Jump { .. } | ClockChange::Drift { .. } => {
                    steady = steady.saturating_add(self.part_ns(*id, now));
                }
            }
        }
        let setting = Setting::skewed(steady, self.rate_ppm(), LEASE);
        strobe.map_or(setting, |(by_ns, period, since)| setting.strobing(by_ns, period, since))
    }

    fn strobes(&self) -> bool {
        self.0.values().any(|(change, _)| matches!(change, ClockChange::Strobe { .. }))
    }
}

/// One member's clock, as long as the trial.
pub(super) struct SkewedClock {
    state: Mutex<State>,
    turns: tokio::sync::Mutex<()>,
}

struct State {
    page: ClockPage,
    skew: Skew,
    valid_until: Nanos,
    lapses: u32,
    is_kept: bool,
    /// Counts the strikes that have begun or ended.
    changes: u64,
}

impl SkewedClock {
    /// The clock whose page is in `folder`.
    pub fn open(folder: &Path) -> io::Result<Arc<Self>> {
        let page = ClockPage::open(folder)?;
        let state =
            State { page, skew: Skew::default(), valid_until: Nanos::ZERO, lapses: 0, is_kept: false, changes: 0 };
        Ok(Arc::new(Self { state: Mutex::new(state), turns: tokio::sync::Mutex::default() }))
    }

    /// Lets strike `id` change the clock, until [`SkewedClock::end`].
    pub fn begin(self: &Arc<Self>, id: u32, change: ClockChange) -> io::Result<()> {
        let mut state = self.lock();
        if matches!(change, ClockChange::Strobe { .. }) && state.skew.strobes() {
            return Err(io::Error::other("it strobes already"));
        }
        let now = BootClock.now();
        state.changes += 1;
        state.skew.0.insert(id, (change, now));
        if let Err(error) = state.write(now) {
            state.skew.0.remove(&id);
            return Err(error);
        }
        if !state.is_kept {
            state.is_kept = true;
            tokio::spawn(Arc::clone(self).keep());
        }
        Ok(())
    }

    /// Takes back what strike `id` did to the clock. How often, since the last end, the clock was right again too early
    /// because the page was not renewed in time.
    pub fn end(&self, id: u32) -> io::Result<u32> {
        let mut state = self.lock();
        state.changes += 1;
        state.skew.0.remove(&id);
        let now = BootClock.now();
        state.write(now)?;
        Ok(std::mem::take(&mut state.lapses))
    }

    /// By how much the clock should be wrong at `now`, in nanoseconds.
    pub fn error_ns(&self, now: Nanos) -> i64 {
        self.lock().skew.error_ns(now)
    }

    /// Whether no strobe makes the clock change sides between two instants.
    pub fn keeps_side(&self, from: Nanos, to: Nanos) -> bool {
        self.lock().skew.keeps_side(from, to)
    }

    /// What strike `id` should add to that, in nanoseconds.
    pub fn part_ns(&self, id: u32, now: Nanos) -> i64 {
        self.lock().skew.part_ns(id, now)
    }

    /// How many strikes have begun or ended: as long as this stays, [`SkewedClock::error_ns`] holds for the past as
    /// well.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Whose turn it is to look at the clock: of two at once, one would take the other's line in a server's log for its
    /// own.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns.lock().await
    }

    /// Renews the page until no strike is left.
    async fn keep(self: Arc<Self>) {
        loop {
            {
                let mut state = self.lock();
                if state.skew.0.is_empty() {
                    state.is_kept = false;
                    return;
                }
                // A page that cannot be written lapses, and that is told.
                let _ = state.write(BootClock.now());
            }
            tokio::time::sleep(RENEWAL).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, now: Nanos) -> io::Result<()> {
        if self.valid_until != Nanos::ZERO && now >= self.valid_until {
            self.lapses += 1;
        }
        if self.skew.0.is_empty() {
            self.valid_until = Nanos::ZERO;
            return self.page.set(&Setting::TRUE_TIME);
        }
        self.page.set(&self.current())?;
        self.valid_until = now + LEASE;
        Ok(())
    }
}

impl State {
    /// The setting as of now. Who is interrupted on the way begins again: a drift would be wrong by its part of that
    /// time.
    fn current(&self) -> Setting {
        let look = || {
            let before = BootClock.now();
            let setting = self.skew.setting(before);
            (BootClock.now() - before, setting)
        };
        let mut best = look();
        for _ in 0..LOOKS {
            if best.0 <= CLOSE {
                break;
            }
            let next = look();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn skew(changes: &[(ClockChange, u64)]) -> Skew {
        Skew(changes.iter().zip(1..).map(|((change, since), id)| (id, (*change, Nanos(*since)))).collect())
    }

    #[test]
    fn changes_add_up() {
        let skew = skew(&[
            (ClockChange::Jump { by_ns: -4_000_000_000 }, 0),
            (ClockChange::Drift { ppm: 100_000 }, SECOND),
            (ClockChange::Jump { by_ns: 1_000_000_000 }, 0),
        ]);
        assert_eq!(skew.error_ns(Nanos(SECOND)), -3_000_000_000);
        assert_eq!(skew.error_ns(Nanos(11 * SECOND)), -2_000_000_000);
        assert_eq!(skew.rate_ppm(), 100_000);
    }

    #[test]
    fn a_look_that_is_longer_than_a_strobe_keeps_a_side_does_not_show_it() {
        let period = Duration::from_millis(50);
        let skew = skew(&[(ClockChange::Strobe { by_ns: 300, period }, 0), (ClockChange::Jump { by_ns: 5 }, 0)]);
        let millis = |at: u64| Nanos(at * 1_000_000);
        assert!(skew.keeps_side(millis(101), millis(149)));
        assert!(!skew.keeps_side(millis(101), millis(151)));
        // As a look of 36 ms to either side was: wrong at both its ends, right in between.
        assert_eq!(skew.error_ns(millis(140)), skew.error_ns(millis(213)));
        assert!(!skew.keeps_side(millis(140), millis(213)));
    }

    #[test]
    fn a_strobe_is_wrong_and_right_in_turn() {
        let period = Duration::from_millis(50);
        let skew = skew(&[(ClockChange::Strobe { by_ns: 300, period }, 1_000)]);
        for (at, error) in [(1_000, 300), (50_001_000, 0), (100_001_000, 300)] {
            assert_eq!(skew.error_ns(Nanos(at)), error);
        }
        let setting = skew.setting(Nanos(60_001_000));
        assert_eq!((setting.offset_ns, setting.strobe_by_ns, setting.strobe_period_ns), (0, 300, 50_000_000));
        assert_eq!(setting.base_mono_ns - setting.strobe_since_ns, 60_000_000);
    }

    #[tokio::test]
    async fn a_page_is_renewed_while_a_strike_lasts_and_right_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let page = ClockPage::open(folder.path()).unwrap();
        let clock = SkewedClock::open(folder.path()).unwrap();
        clock.begin(1, ClockChange::Jump { by_ns: 5 }).unwrap();
        let first = page.in_force().unwrap();
        assert!(first.is_in_force() && first.offset_ns == 5);
        while page.in_force().unwrap().valid_until_ns == first.valid_until_ns {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        clock.begin(2, ClockChange::Jump { by_ns: 7 }).unwrap();
        assert_eq!(page.in_force().unwrap().offset_ns, 12);
        clock.end(1).unwrap();
        assert_eq!(page.in_force().unwrap().offset_ns, 7);
        clock.end(2).unwrap();
        assert_eq!(page.in_force().unwrap(), Setting::TRUE_TIME);
    }
}
