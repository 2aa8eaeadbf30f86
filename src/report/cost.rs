//! What a lock costs: how long clients wait for it, how long it lies idle from one to the next, how long a fault keeps
//! it from being granted. Read from a history, and pooled over many.
//!
//! Pooled: every wait of every run counts once. Deliberately absent: any judgement of it.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Report;
use super::scene::Scene;
use crate::history::{Ending, History, OpType};
use crate::ids::LockName;
use crate::time::Nanos;

/// Durations, pooled.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool(Histogram<u64>);

impl Default for Pool {
    fn default() -> Self {
        // Three digits, in microseconds; it grows as it has to.
        #[expect(clippy::expect_used, reason = "three digits are within what the crate allows")]
        Self(Histogram::new(3).expect("three digits"))
    }
}

impl Pool {
    /// One more.
    pub fn take(&mut self, duration: Duration) {
        // What is longer than half a million years saturates.
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2);
        let _ = self.0.record(micros);
    }

    /// All of another pool, too.
    pub fn add(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    /// How many durations.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that this share of all does not exceed; none of none.
    pub fn at(&self, quantile: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(quantile)))
    }

    /// The longest; none of none.
    pub fn longest(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.max()))
    }
}

/// What one lock cost, in one run or in many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// From an acquire's invocation to its grant.
    pub waits: Pool,
    /// From a release to the grant of somebody who waited already.
    pub handoffs: Pool,
    /// For each strike of a fault, the longest time without a grant that touches it.
    pub outages: Pool,
    /// How many grants.
    pub grants: u64,
    /// For how long clients competed.
    pub lasted: Duration,
}

impl Cost {
    /// The costs of all locks of a report, in its order.
    pub fn of_all(report: &Report) -> Vec<Self> {
        report.locks.iter().map(|lock| Self::of(&lock.history)).collect()
    }

    /// What one history tells.
    pub fn of(history: &History) -> Self {
        let scene = Scene::of(history);
        let mut cost =
            Self { grants: scene.holds.len() as u64, lasted: Duration::from_nanos(scene.end.0), ..Self::default() };
        let mut asked: BTreeMap<&crate::ids::HoldId, Nanos> = BTreeMap::new();
        for span in scene.acquires() {
            if span.outcome() == OpType::Ok {
                cost.waits.take(span.took());
            }
            if let Some(hold) = &span.invoke.hold {
                asked.insert(hold, span.invoke.time);
            }
        }
        let mut released: BTreeMap<&LockName, Nanos> = BTreeMap::new();
        for hold in &scene.holds {
            let waited = |since: Nanos| asked.get(&hold.id).is_some_and(|asked| *asked <= since);
            if let Some(since) = released.get(&hold.lock).filter(|since| **since <= hold.from && waited(**since)) {
                cost.handoffs.take(hold.from - *since);
            }
            match hold.ended {
                Some((_, Ending::Released)) => drop(released.insert(&hold.lock, hold.to)),
                _ => drop(released.remove(&hold.lock)),
            }
        }
        let mut grants: Vec<Nanos> = scene.holds.iter().map(|hold| hold.from).collect();
        grants.sort_unstable();
        grants.insert(0, Nanos::ZERO);
        grants.push(scene.end);
        for strike in scene.strikes.iter().filter(|strike| !strike.missed()) {
            let (from, to) = strike.felt(scene.end);
            let first = grants.partition_point(|at| *at <= from).saturating_sub(1);
            let gaps = grants[first..].windows(2).take_while(|gap| gap[0] <= to).map(|gap| gap[1] - gap[0]);
            gaps.max().into_iter().for_each(|gap| cost.outages.take(gap));
        }
        cost
    }

    /// Pools another one's with these.
    pub fn add(&mut self, other: &Self) {
        self.waits.add(&other.waits);
        self.handoffs.add(&other.handoffs);
        self.outages.add(&other.outages);
        self.grants += other.grants;
        self.lasted += other.lasted;
    }

    /// Grants per second of all runs' time; none without time.
    pub fn rate(&self) -> Option<f64> {
        let seconds = self.lasted.as_secs_f64();
        (seconds > 0.0).then(|| self.grants as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn waits_handoffs_and_outages_are_those_of_the_history() {
        let report = sample::report();
        let cost = &Cost::of_all(&report)[0];
        // Waited 10, 170 and 2,600 ms; c2 was granted the lock 110 ms after c1's release; the pause lay in 2.5 s
        // without a grant.
        assert_eq!((cost.grants, cost.waits.count(), cost.handoffs.count(), cost.outages.count()), (3, 3, 1, 1));
        let near = |duration: Option<Duration>, millis: u64| {
            let off = duration.unwrap().as_millis().abs_diff(u128::from(millis));
            assert!(off <= 2, "{duration:?} is not {millis} ms");
        };
        near(cost.waits.longest(), 2_600);
        near(cost.waits.at(0.5), 170);
        near(cost.handoffs.longest(), 110);
        near(cost.outages.longest(), 2_500);
        let mut twice = cost.clone();
        twice.add(cost);
        assert_eq!((twice.waits.count(), twice.rate()), (6, cost.rate()));
    }
}
