//! What faults do to clocks: how far they jump, how fast they run.
//!
//! Deliberately absent: everything that all faults have ([`super::plan`]).

use std::time::Duration;

use super::duration::{self, DurationText, JumpText};
use super::error::Problem;
use super::fault_tables::{ClockDriftTable, ClockJumpTable, ClockStrobeTable};
use super::fault_values::DriftText;
use super::place::Placed;
use super::plan::Reader;
use crate::fault::{ClockChange, FaultKind};

/// A clock that gains more runs at more than ten times its speed: no oscillator's fault.
const FASTEST_PPM: i64 = 9_000_000;

impl Reader<'_, '_> {
    pub(super) fn clock_jump(&mut self, table: &ClockJumpTable) -> Option<FaultKind> {
        let by_ns = self.jump(&table.by)?;
        Some(FaultKind::Clock(ClockChange::Jump { by_ns }))
    }

    pub(super) fn clock_drift(&mut self, table: &ClockDriftTable) -> Option<FaultKind> {
        let ppm = self.drift(&table.by)?;
        Some(FaultKind::Clock(ClockChange::Drift { ppm }))
    }

    pub(super) fn clock_strobe(&mut self, table: &ClockStrobeTable) -> Option<FaultKind> {
        let by_ns = self.jump(&table.by);
        let period = self.period(&table.period, &table.duration);
        let (by_ns, period) = (by_ns?, period?);
        Some(FaultKind::Clock(ClockChange::Strobe { by_ns, period }))
    }

    /// How long a strobing clock stays on either side.
    pub(super) fn period(&mut self, field: &Placed<DurationText>, duration: &Placed<DurationText>) -> Option<Duration> {
        let period = self.problems.positive("period", field);
        // A mistaken `for` was recorded already.
        if let (Some(period), Ok(lasts)) = (period, duration::parse(&duration.0))
            && period >= lasts
        {
            let title = format!("the clock would never be set right within the fault's {lasts:?}");
            let problem = Problem::at(&field.span, title, "not shorter than `for`");
            self.problems.push(problem.help("a clock that is set wrong once is a `[[fault.clock-jump]]`"));
        }
        period
    }

    /// How far a clock jumps, in nanoseconds.
    pub(super) fn jump(&mut self, field: &Placed<JumpText>) -> Option<i64> {
        let Some((forward, far)) = signed(&field.0) else {
            let problem = Problem::at(&field.span, "`by` does not say which way the clock jumps", "has no sign");
            return self.problems.refuse(problem.help("write \"+3s\" for forward, \"-3s\" for back"));
        };
        let far = match duration::parse(far) {
            Ok(far) => far,
            Err(error) => return self.problems.bad_duration("by", &field.span, &error),
        };
        if far.is_zero() {
            return self.problems.refuse(Problem::at(&field.span, "`by` must be longer than zero", "zero"));
        }
        Some(if forward { nanos(far) } else { -nanos(far) })
    }

    /// What a clock gains in a second, in microseconds.
    pub(super) fn drift(&mut self, field: &Placed<DriftText>) -> Option<i64> {
        let refuse = |title: &str, label: &str| {
            let problem = Problem::at(&field.span, title, label);
            problem.help("write per cent or parts per million: \"+5%\", \"-200ppm\"")
        };
        let Some((fast, amount)) = signed(&field.0) else {
            return self.problems.refuse(refuse("`by` does not say whether the clock is fast or slow", "has no sign"));
        };
        let ppm = match parts_per_million(amount) {
            Ok(ppm) => ppm,
            Err(reason) => return self.problems.refuse(refuse("`by` is not a drift", reason)),
        };
        if ppm == 0 {
            return self.problems.refuse(refuse("`by` must be more than zero", "no drift"));
        }
        if !fast && ppm >= 1_000_000 {
            return self.problems.refuse(refuse("a clock cannot lose all it counts", "would stand still or go back"));
        }
        if ppm > FASTEST_PPM {
            return self.problems.refuse(refuse("`by` must be at most +900%", "more than ten times as fast"));
        }
        Some(if fast { ppm } else { -ppm })
    }
}

/// Whether a text begins with a plus (or else a minus), and what follows.
fn signed(text: &str) -> Option<(bool, &str)> {
    let forward = text.strip_prefix('+').map(|rest| (true, rest));
    forward.or_else(|| text.strip_prefix('-').map(|rest| (false, rest)))
}

/// Durations in files are at most a week.
fn nanos(duration: Duration) -> i64 {
    duration.as_nanos() as i64
}

/// Reads `5%`, `0.5 %`, `200ppm`; or what is wrong with it.
fn parts_per_million(text: &str) -> Result<i64, &'static str> {
    let (number, scale) = match (text.strip_suffix('%'), text.strip_suffix("ppm")) {
        (Some(number), _) => (number, 10_000_u64),
        (None, Some(number)) => (number, 1),
        (None, None) => return Err("has no unit"),
    };
    let number = number.strip_suffix(' ').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err("is not a number");
    }
    let fraction = fraction.trim_end_matches('0');
    let places = 10_u64.pow(fraction.len() as u32);
    let count = |digits: &str| digits.parse::<u64>().unwrap_or_default();
    let scaled = count(fraction) * scale;
    if !scaled.is_multiple_of(places) {
        return Err("finer than one part per million");
    }
    i64::try_from(count(whole) * scale + scaled / places).map_err(|_| "is not a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drifts_are_read_exactly() {
        for (text, ppm) in [("5%", 50_000), ("0.5%", 5_000), ("0.0001 %", 1), ("200ppm", 200), ("100 ppm", 100)] {
            assert_eq!(parts_per_million(text), Ok(ppm), "{text}");
        }
        for text in ["", "5", "%", "5 percent", "1.5ppm", "0.00001%", "1e3ppm", "--5%", ".5%", "9999999999%"] {
            assert!(parts_per_million(text).is_err(), "{text}");
        }
    }
}
