//! The two clocks of one simulated machine, as functions of the simulation's own time.
//!
//! Both are piecewise linear: every change starts a new piece. The *monotonic* clock has a rate and is never set; the
//! *wall* clock has the same rate and can be set, too. Undone, a fault leaves the wall clock right, and the monotonic
//! one where it is. Deliberately absent: who reads which clock, and timers.

use std::collections::BTreeMap;

use crate::fault::ClockChange;
use crate::time::Nanos;

/// What the right wall clock shows when the simulation begins: 2026-01-01, in milliseconds since the epoch.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// A rate as a binary fraction: how many local nanoseconds a true one is, times 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate(u64);

impl Rate {
    fn from_ppm(ppm: i64) -> Self {
        // No clock stands still or runs backwards, however wrong.
        let ppm = i128::from(ppm.max(-999_000));
        Self((((1_000_000 + ppm) << 32) / 1_000_000) as u64)
    }

    /// How far the clock gets in `elapsed` true nanoseconds.
    fn local(self, elapsed: u64) -> u64 {
        ((u128::from(elapsed) * u128::from(self.0)) >> 32) as u64
    }

    /// The fewest true nanoseconds in which the clock gets `local` far.
    fn elapsed(self, local: u64) -> u64 {
        (u128::from(local) << 32).div_ceil(u128::from(self.0)).min(u128::from(u64::MAX)) as u64
    }
}

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub struct HostClock {
    /// When the current piece began, in true time.
    since: u64,
    /// What the monotonic clock showed then.
    mono: u64,
    /// By how much the wall clock was wrong then, jumps apart.
    wall_error: i64,
    rate: Rate,
    /// The oscillator's own error.
    natural_ppm: i64,
    drifts: BTreeMap<u32, i64>,
    jumps: BTreeMap<u32, i64>,
    /// The pieces before the current one, in order: when each began, what the monotonic clock showed, its rate.
    past: Vec<(u64, u64, Rate)>,
}

impl HostClock {
    /// A machine that booted `uptime` before the simulation began, and whose oscillator is off by `natural_ppm`.
    pub fn new(uptime: Nanos, natural_ppm: i64) -> Self {
        Self {
            since: 0,
            mono: uptime.0,
            wall_error: 0,
            rate: Rate::from_ppm(natural_ppm),
            natural_ppm,
            drifts: BTreeMap::new(),
            jumps: BTreeMap::new(),
            past: Vec::new(),
        }
    }

    /// What the monotonic clock shows at true time `now`.
    pub fn mono(&self, now: u64) -> Nanos {
        Nanos(self.mono + self.rate.local(now - self.since))
    }

    /// The first instant of true time at which the monotonic clock shows `mono` or more; the current piece's beginning
    /// if that was before it.
    pub fn when(&self, mono: Nanos) -> u64 {
        self.since.saturating_add(self.rate.elapsed(mono.0.saturating_sub(self.mono)))
    }

    /// When the monotonic clock showed `mono`, also if its rate has changed since: a deadline that was over before is
    /// told by the rate that it had, or it would seem to have been put off.
    pub fn when_shown(&self, mono: Nanos) -> u64 {
        if mono.0 >= self.mono {
            return self.when(mono);
        }
        let piece = self.past.iter().rev().find(|(_, shown, _)| *shown <= mono.0);
        piece.map_or(0, |(since, shown, rate)| since.saturating_add(rate.elapsed(mono.0 - shown)))
    }

    /// By how many nanoseconds the wall clock is wrong at true time `now`.
    pub fn wall_error(&self, now: u64) -> i64 {
        let elapsed = now - self.since;
        let gained = self.rate.local(elapsed) as i64 - elapsed as i64;
        self.wall_error + gained + self.jumps.values().sum::<i64>()
    }

    /// What the wall clock shows at true time `now`, in milliseconds since the epoch.
    pub fn wall_ms(&self, now: u64) -> i64 {
        EPOCH_MS + (now as i64 + self.wall_error(now)).div_euclid(1_000_000)
    }

    /// By how many nanoseconds strike `id` has the wall clock set wrong now.
    pub fn jump_ns(&self, id: u32) -> i64 {
        self.jumps.get(&id).copied().unwrap_or_default()
    }

    /// What strike `id` adds to the clock's rate now, in microseconds gained per true second.
    pub fn drift_ppm(&self, id: u32) -> i64 {
        self.drifts.get(&id).copied().unwrap_or_default()
    }

    /// Makes the clock go wrong, under the number of a strike. A strobe begins on its wrong side.
    pub fn change(&mut self, id: u32, change: &ClockChange, now: u64) {
        match *change {
            ClockChange::Jump { by_ns } | ClockChange::Strobe { by_ns, .. } => drop(self.jumps.insert(id, by_ns)),
            ClockChange::Drift { ppm } => {
                self.drifts.insert(id, ppm);
                self.begin_piece(now);
            }
        }
    }

    /// Moves a strobing clock to its other side; `by_ns` is the wrong one.
    pub fn flip(&mut self, id: u32, by_ns: i64) {
        if let Some(jump) = self.jumps.get_mut(&id) {
            *jump = by_ns - *jump;
        }
    }

    /// Undoes the change of strike `id`.
    pub fn undo(&mut self, id: u32, now: u64) {
        self.jumps.remove(&id);
        if self.drifts.remove(&id).is_some() {
            self.begin_piece(now);
            if self.drifts.is_empty() {
                self.wall_error = 0;
            }
        }
    }

    fn begin_piece(&mut self, now: u64) {
        self.past.push((self.since, self.mono, self.rate));
        let jumps: i64 = self.jumps.values().sum();
        self.wall_error = self.wall_error(now) - jumps;
        self.mono = self.mono(now).0;
        self.since = now;
        self.rate = Rate::from_ppm(self.natural_ppm + self.drifts.values().sum::<i64>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_deadline_that_is_over_keeps_its_instant_when_the_rate_changes() {
        let mut clock = HostClock::new(Nanos(5 * SECOND), 20);
        clock.change(1, &ClockChange::Drift { ppm: -5_000 }, SECOND);
        let deadline = clock.mono(SECOND + SECOND / 2);
        let (before, early) = (clock.when(deadline), clock.when_shown(Nanos(5 * SECOND + SECOND / 3)));
        assert!(before.abs_diff(SECOND + SECOND / 2) <= 1 && early.abs_diff(SECOND / 3) < 10_000, "{before} {early}");
        clock.undo(1, 2 * SECOND);
        assert_eq!(clock.when_shown(deadline), before);
        assert!(clock.when(deadline) >= 2 * SECOND, "a timer is due no sooner than now");
    }

    #[test]
    fn a_deadline_is_met_at_the_first_instant_that_shows_it() {
        for ppm in [-900_000, -20_000, -7, 0, 1, 13, 50_000, 1_000_000] {
            let clock = HostClock::new(Nanos(123_456_789), ppm);
            for mono in [0, 123_456_789, 123_456_790, 123_999_999, 5 * SECOND + 1, 1_000 * SECOND + 77] {
                let when = clock.when(Nanos(mono));
                assert!(clock.mono(when) >= Nanos(mono), "{ppm} ppm, {mono}");
                assert!(when == 0 || clock.mono(when - 1) < Nanos(mono), "{ppm} ppm, {mono}: not the first");
            }
        }
    }

    #[test]
    fn a_jump_moves_the_wall_clock_only_and_is_set_right() {
        let mut clock = HostClock::new(Nanos::ZERO, 0);
        let right = clock.wall_ms(SECOND);
        clock.change(1, &ClockChange::Jump { by_ns: -2_500_000_000 }, SECOND);
        assert_eq!(clock.wall_ms(SECOND), right - 2_500);
        assert_eq!(clock.mono(SECOND), Nanos(SECOND));
        clock.undo(1, 2 * SECOND);
        assert_eq!(clock.wall_ms(2 * SECOND), right + 1_000);
    }

    #[test]
    fn a_drift_runs_both_clocks_and_leaves_the_monotonic_one_where_it_is() {
        let mut clock = HostClock::new(Nanos::ZERO, 0);
        let right = clock.wall_ms(0);
        clock.change(1, &ClockChange::Drift { ppm: 100_000 }, 10 * SECOND);
        let near = |a: u64, b: u64| a.abs_diff(b) < 100;
        assert!(near(clock.mono(20 * SECOND).0, 21 * SECOND));
        assert!((clock.wall_ms(20 * SECOND) - right - 21_000).abs() <= 1);
        clock.undo(1, 20 * SECOND);
        assert!(near(clock.mono(30 * SECOND).0, 31 * SECOND), "a monotonic clock does not go back");
        assert_eq!(clock.wall_ms(30 * SECOND), right + 30_000, "the wall clock was set right");
    }

    #[test]
    fn changes_add_up_and_are_undone_one_by_one() {
        let mut clock = HostClock::new(Nanos::ZERO, 0);
        clock.change(1, &ClockChange::Jump { by_ns: 5 }, 0);
        clock.change(2, &ClockChange::Drift { ppm: 1_000 }, 0);
        clock.change(3, &ClockChange::Drift { ppm: 2_000 }, 0);
        assert_eq!((clock.drift_ppm(2), clock.drift_ppm(3), clock.wall_error(0)), (1_000, 2_000, 5));
        clock.undo(2, SECOND);
        assert_eq!((clock.drift_ppm(2), clock.drift_ppm(3)), (0, 2_000));
        assert!((clock.wall_error(SECOND) - 3_000_005).abs() < 10, "still as wrong as it was");
        clock.undo(3, SECOND);
        assert_eq!(clock.wall_error(SECOND), 5, "right but for the jump");
    }

    #[test]
    fn a_strobe_is_wrong_and_right_in_turn() {
        let mut clock = HostClock::new(Nanos::ZERO, 0);
        let period = Duration::from_millis(10);
        clock.change(4, &ClockChange::Strobe { by_ns: 7, period }, 0);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(clock.wall_error(0));
            clock.flip(4, 7);
        }
        assert_eq!(seen, [7, 0, 7, 0]);
    }

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut clock = HostClock::new(Nanos(3), -17);
        let mut last = clock.mono(0);
        for step in 1..2_000_u64 {
            let now = step * 7_919_311;
            match step % 5 {
                0 => clock.change(9, &ClockChange::Drift { ppm: step as i64 * 400 - 300_000 }, now),
                1 => clock.undo(9, now),
                _ => {}
            }
            assert!(clock.mono(now) >= last);
            last = clock.mono(now);
        }
    }
}
