//! What several checks need: facts gathered once from a history, and the words to tell them in.
//!
//! Deliberately absent: any judgement.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Violation;
use crate::fault::Member;
use crate::history::{F, FaultEvent, History, Hold, Op, OpType, Process};
use crate::ids::{ClientId, HoldId};
use crate::time::Nanos;

/// A well-formed history and what is gathered from it once for all checks.
pub(super) struct Facts<'a> {
    /// The history itself.
    pub history: &'a History,
    /// The holds, in the order of their grants. Other fields name a hold by its place here.
    pub holds: Vec<Hold>,
    /// For each hold, when its acquire was invoked.
    pub requested: Vec<Nanos>,
    /// The place of each hold by its id.
    pub places: BTreeMap<&'a HoldId, usize>,
    /// The resource's own ops in its order of service, each with the place of its hold.
    pub served: Vec<(&'a Op, usize)>,
    /// What the nemesis did, in the order of the faults' numbers.
    pub strikes: Vec<Strike<'a>>,
}

/// One fault's strike, from its first op to its last.
pub(super) struct Strike<'a> {
    /// What was done, as last recorded by a `fault` op.
    pub event: &'a FaultEvent,
    /// The `fault` op that began it.
    pub invoked: &'a Op,
    /// How the `fault` op completed.
    pub applied: Option<&'a Op>,
    /// When it began to be undone.
    pub healing: Option<Nanos>,
    /// How the last `heal` op completed.
    pub healed: Option<&'a Op>,
}

impl Strike<'_> {
    /// Whether it was recorded as applied.
    pub fn is_recorded(&self) -> bool {
        self.applied.is_some_and(|op| op.kind == OpType::Ok)
    }

    /// Whether it was seen to have its effect: recorded as applied, looked at, and every look confirmed it. A fault
    /// that nobody looked at is not known to have happened.
    pub fn is_verified(&self) -> bool {
        self.is_recorded() && !self.event.probes.is_empty() && self.event.probes.iter().all(|probe| probe.passed())
    }

    /// Whether it was undone, and no look at the world denied it.
    pub fn is_healed(&self) -> bool {
        self.healed.is_some_and(|op| {
            let probes = op.fault.as_ref().map_or(&[][..], |event| &event.probes);
            op.kind == OpType::Ok && probes.iter().all(|probe| probe.passed())
        })
    }
}

impl<'a> Facts<'a> {
    /// Gathers the facts of a history.
    pub fn of(history: &'a History) -> Self {
        let holds = history.holds();
        let mut requests: BTreeMap<&HoldId, Nanos> = BTreeMap::new();
        let mut places = BTreeMap::new();
        for op in history.ops.iter().filter(|op| op.f == F::Acquire) {
            match (&op.hold, op.kind) {
                (Some(id), OpType::Invoke) => drop(requests.insert(id, op.time)),
                (Some(id), OpType::Ok) => drop(places.insert(id, places.len())),
                _ => {}
            }
        }
        let requested = holds.iter().map(|hold| requests.get(&hold.id).copied().unwrap_or(hold.from)).collect();
        let served = history
            .ops
            .iter()
            .filter(|op| op.process == Process::Resource)
            .filter_map(|op| Some((op, *places.get(op.hold.as_ref()?)?)))
            .collect();
        Self { history, holds, requested, places, served, strikes: strikes(history) }
    }

    /// By how much two parties' clocks may disagree.
    pub fn clock_error(&self) -> Duration {
        Duration::from_nanos(self.history.header.clock_error)
    }

    /// Whether one instant certainly came before another one, though two parties' clocks told them.
    pub fn before(&self, earlier: Nanos, later: Nanos) -> bool {
        earlier + self.clock_error() < later
    }

    /// How many acquires and releases are in doubt or never completed.
    pub fn in_doubt(&self) -> u64 {
        let lock_ops = self.history.ops.iter().filter(|op| matches!(op.f, F::Acquire | F::Release));
        lock_ops.fold(0, |open, op| match op.kind {
            OpType::Invoke => open + 1,
            OpType::Ok | OpType::Fail => open - 1,
            OpType::Info => open,
        })
    }

    /// When the history ended.
    pub fn end(&self) -> Nanos {
        self.history.ops.last().map_or(Nanos::ZERO, |op| op.time)
    }

    /// Sentences on the faults that were active between two instants on one of `clients`, then on lock servers or the
    /// resource. Each starts with a space; empty if there was none.
    pub fn active_faults(&self, clients: &[ClientId], from: Nanos, to: Nanos) -> String {
        const TOLD: usize = 3;
        let concerns = |member: &&Member| match member {
            Member::Client(client) => clients.contains(client),
            Member::Node(_) | Member::Resource => true,
        };
        let mut active: Vec<(bool, String)> = Vec::new();
        for strike in &self.strikes {
            let until = strike.healed.map_or(self.end(), |op| op.time);
            let failed = strike.applied.is_some_and(|op| op.kind == OpType::Fail);
            let struck: Vec<&Member> = strike.event.targets.iter().filter(concerns).collect();
            if failed || struck.is_empty() || strike.invoked.time > to || until < from {
                continue;
            }
            let names = struck.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let verb = match (strike.is_verified(), struck.len()) {
                (false, _) => "may have been",
                (true, 1) => "was",
                (true, _) => "were",
            };
            let what = match strike.event.kind.as_str() {
                "pause" => "paused".to_owned(),
                "kill" | "restart" => "down".to_owned(),
                "power-loss" => "without power".to_owned(),
                "partition" => "cut off".to_owned(),
                "delay" => "reached late".to_owned(),
                "loss" => "losing packets".to_owned(),
                "clock-jump" | "clock-drift" | "clock-strobe" => "on a wrong clock".to_owned(),
                other => format!("under `{other}`"),
            };
            let indirect = !struck.iter().any(|member| matches!(member, Member::Client(_)));
            let span = format!("from {} to {}", seconds(strike.invoked.time), seconds(until));
            active.push((indirect, format!(" {names} {verb} {what} {span}.")));
        }
        active.sort_by_key(|(indirect, _)| *indirect);
        let more = active.len().saturating_sub(TOLD);
        let mut text: String = active.into_iter().take(TOLD).map(|(_, sentence)| sentence).collect();
        if more > 0 {
            text += &format!(" {} more.", counted(more, "fault was active", "faults were active"));
        }
        text
    }
}

fn strikes(history: &History) -> Vec<Strike<'_>> {
    let mut strikes: BTreeMap<u32, Strike<'_>> = BTreeMap::new();
    for op in &history.ops {
        let Some(event) = &op.fault else { continue };
        if (op.f, op.kind) == (F::Fault, OpType::Invoke) {
            strikes.insert(event.id, Strike { event, invoked: op, applied: None, healing: None, healed: None });
            continue;
        }
        let Some(strike) = strikes.get_mut(&event.id) else { continue };
        match (op.f, op.kind) {
            (F::Fault, _) => {
                strike.event = event;
                strike.applied = Some(op);
            }
            (F::Heal, OpType::Invoke) => strike.healing = strike.healing.or(Some(op.time)),
            (F::Heal, _) => strike.healed = Some(op),
            _ => {}
        }
    }
    strikes.into_values().collect()
}

/// The violations of one check: all counted, the first ones listed.
#[derive(Default)]
pub(super) struct Listing {
    listed: Vec<Violation>,
    total: usize,
}

impl Listing {
    /// A thousand violations of one kind tell a reader no more than a hundred.
    pub const LIMIT: usize = 100;

    /// Counts a violation, and lists it while there is room.
    pub fn add(&mut self, violation: impl FnOnce() -> Violation) {
        self.total += 1;
        if self.listed.len() < Self::LIMIT {
            self.listed.push(violation());
        }
    }

    /// Whether there is room for one more to be listed.
    pub fn has_room(&self) -> bool {
        self.listed.len() < Self::LIMIT
    }

    /// Sets how many there are, where they were counted without being listed.
    pub fn count(&mut self, total: usize) {
        self.total = self.total.max(total);
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The end of a summary, where not all are listed.
    pub fn note(&self) -> String {
        if self.total > Self::LIMIT {
            format!(" Only the first {} of {} violations are listed.", Self::LIMIT, self.total)
        } else {
            String::new()
        }
    }

    /// The listed ones, in the order of time.
    pub fn into_violations(mut self) -> Vec<Violation> {
        self.listed.sort_by_key(|violation| violation.from);
        self.listed
    }
}

/// An instant with milliseconds: `4.012s`. One so early that no clock was read for it, as in histories that number their
/// ops, with all the digits that it has: `0.000000003s`.
pub(super) fn seconds(instant: Nanos) -> String {
    if instant.0 < 10_000_000 {
        let digits = format!("{:09}", instant.0);
        let (milliseconds, rest) = digits.split_at(3);
        return format!("0.{milliseconds}{}s", rest.trim_end_matches('0'));
    }
    format!("{}.{:03}s", instant.0 / 1_000_000_000, instant.0 / 1_000_000 % 1_000)
}

/// A length of time: `1.577s`, `166ms`, `0.012ms`.
pub(super) fn lasting(duration: Duration) -> String {
    match duration.as_nanos() {
        0..1_000_000 => format!("{:.3}ms", milliseconds(duration)),
        1_000_000..1_000_000_000 => format!("{:.0}ms", milliseconds(duration)),
        _ => format!("{:.3}s", duration.as_secs_f64()),
    }
}

/// A length of time as a figure.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// `1 hold`, `3 holds`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Who held, under which id, with which token: `c2 (hold c2-7, token 33)`.
pub(super) fn holder(hold: &Hold) -> String {
    match hold.token {
        Some(token) => format!("{} (hold {}, token {token})", hold.client, hold.id),
        None => format!("{} (hold {})", hold.client, hold.id),
    }
}

/// What the API had said of a hold's validity, as the end of a sentence; empty if it said nothing.
pub(super) fn validity(hold: &Hold) -> String {
    match hold.valid_until {
        Some(until) if hold.outlived_validity() => format!("; its validity ended at {}", seconds(until)),
        Some(until) => format!("; it was valid until {}", seconds(until)),
        None => String::new(),
    }
}

/// The same instants as disjoint spans, in order.
pub(super) fn united(mut spans: Vec<(Nanos, Nanos)>) -> Vec<(Nanos, Nanos)> {
    spans.sort_unstable();
    let mut united: Vec<(Nanos, Nanos)> = Vec::new();
    for (from, to) in spans {
        match united.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => united.push((from, to)),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well_at_every_size() {
        assert_eq!(seconds(Nanos(4_012_999_999)), "4.012s");
        for (nanos, text) in [(0, "0.000s"), (3, "0.000000003s"), (2_000_000, "0.002s"), (9_040_000, "0.00904s")] {
            assert_eq!(seconds(Nanos(nanos)), text);
        }
        assert_eq!(seconds(Nanos(10_000_001)), "0.010s");
        for (nanos, text) in [(1_577_000_000, "1.577s"), (166_400_000, "166ms"), (12_000, "0.012ms")] {
            assert_eq!(lasting(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(counted(1, "hold", "holds"), "1 hold");
        assert_eq!(counted(0, "hold", "holds"), "0 holds");
    }
}
