//! What several checks need: facts gathered once from a history, and the words to tell them in.
//!
//! Deliberately absent: any judgement.

use std::cell::OnceCell;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::Violation;
use crate::fault::{ClockChange, FaultName, Member};
use crate::history::{ClockReading, F, History, Hold, Holds, Op, OpType, Process, Strike, Strikes};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;
pub(super) use crate::time::lasting;
use crate::word::Word;

/// A well-formed history and what is gathered from it once for all checks.
pub(super) struct Facts<'a> {
    /// The history itself.
    pub history: &'a History,
    /// The holds, in the order of their grants. Other fields name a hold by its place here.
    pub holds: Vec<Hold>,
    /// For each hold, when its acquire was invoked.
    pub requested: Vec<Nanos>,
    /// For each hold, the number of its lock.
    pub lock_of: Vec<usize>,
    /// For each lock that was granted, by its number, which is its place among their names: the places of its holds, in
    /// the order of their grants.
    pub locks: Vec<Vec<usize>>,
    /// The resource's own ops in its order of service, each with the place of its hold.
    pub served: Vec<(&'a Op, usize)>,
    /// How many acquires and releases are in doubt or never completed.
    pub in_doubt: u64,
    /// What the nemesis did, in the order of the faults' numbers.
    pub strikes: Vec<Strike<'a>>,
    /// The places of all holds in the order of their ids, if somebody asked for one.
    by_id: OnceCell<Vec<usize>>,
}

/// What a look at a member's clock showed while the strike was in force: the last such look up to an instant, if
/// it saw the clock wrong, else the one that saw it most wrong.
fn clock_of(strike: &Strike<'_>, member: Member, by: Nanos) -> String {
    let events = [strike.applied, strike.healed].into_iter().flatten().filter_map(|op| op.fault.as_ref());
    let readings = events
        .flat_map(|event| &event.probes)
        .filter(|probe| probe.is_in_force())
        .filter_map(|probe| probe.clock.as_ref());
    let readings: Vec<&ClockReading> = readings.filter(|reading| reading.member == member).collect();
    let last = readings.iter().rev().find(|reading| reading.at <= by && reading.error != 0);
    match last.or(readings.iter().max_by_key(|reading| reading.error.unsigned_abs())) {
        Some(reading) => format!("{member}'s clock was {} at {}", astray(reading.error), seconds(reading.at)),
        None => format!("{member}'s clock was wrong"),
    }
}

/// By how much a clock is wrong: `4.000s ahead`.
fn astray(error: i64) -> String {
    let by = lasting(Duration::from_nanos(error.unsigned_abs()));
    match error {
        0 => "right".to_owned(),
        1.. => format!("{by} ahead"),
        _ => format!("{by} behind"),
    }
}

/// What a fault asked of a clock; of one that drifts, also what that comes to by an instant.
fn asked(change: ClockChange, since: Nanos, by: Nanos) -> String {
    match change {
        ClockChange::Jump { .. } | ClockChange::Strobe { .. } => change.to_string(),
        ClockChange::Drift { ppm } => {
            let gained = i128::from((by - since).as_nanos() as u64) * i128::from(ppm) / 1_000_000;
            let gained = i64::try_from(gained).unwrap_or(i64::MAX);
            format!("{change}, which makes {} at {}", astray(gained), seconds(by))
        }
    }
}

/// What a fault's target is said to be meanwhile.
fn is_told(name: FaultName) -> &'static str {
    match name {
        FaultName::Pause => "paused",
        FaultName::Kill | FaultName::Restart => "down",
        FaultName::PowerLoss => "without power",
        FaultName::Partition => "cut off",
        FaultName::Delay => "reached late",
        FaultName::Loss => "losing packets",
        FaultName::Request => "having requests struck",
        FaultName::ClockJump | FaultName::ClockDrift | FaultName::ClockStrobe => "on a wrong clock",
    }
}

/// The place of a hold that was served before its grant is on record.
const NOT_YET: usize = usize::MAX;

impl<'a> Facts<'a> {
    /// Gathers the facts of a history, which may be large, in one pass.
    pub fn of(history: &'a History) -> Self {
        let mut gathered = Holds::of(history);
        let mut strikes = Strikes::default();
        let mut served: Vec<(&Op, usize)> = Vec::new();
        let (mut in_doubt, mut early) = (0u64, false);
        for op in &history.ops {
            match (op.process, op.f) {
                (Process::Resource, _) => {
                    if let Some(id) = &op.hold {
                        let place = gathered.place(id);
                        early |= place.is_none();
                        served.push((op, place.unwrap_or(NOT_YET)));
                    }
                }
                (_, F::Acquire | F::Release) => {
                    match op.kind {
                        OpType::Invoke => in_doubt += 1,
                        OpType::Ok | OpType::Fail => in_doubt = in_doubt.saturating_sub(1),
                        OpType::Info => {}
                    }
                    gathered.take(op);
                }
                (_, F::Fault | F::Heal) => strikes.take(op),
                _ => gathered.take(op),
            }
        }
        gathered.finish(history.end());
        if early {
            // The resource's clock may be behind the client's, and the grant stand later in the history.
            for (op, place) in served.iter_mut().filter(|(_, place)| *place == NOT_YET) {
                *place = op.hold.as_ref().and_then(|id| gathered.place(id)).unwrap_or(NOT_YET);
            }
            served.retain(|(_, place)| *place != NOT_YET);
        }
        let Holds { list: holds, requested, .. } = gathered;
        let (lock_of, locks) = by_lock(&holds);
        let strikes = strikes.all();
        Self { history, holds, requested, lock_of, locks, served, in_doubt, strikes, by_id: OnceCell::new() }
    }

    /// The place of a hold by its id.
    pub fn place(&self, id: &HoldId) -> Option<usize> {
        let id_of = |place: &usize| &self.holds[*place].id;
        let by_id = self.by_id.get_or_init(|| {
            let mut places: Vec<usize> = (0..self.holds.len()).collect();
            places.sort_by(|one, other| id_of(one).cmp(id_of(other)));
            places
        });
        by_id.binary_search_by(|place| id_of(place).cmp(id)).ok().map(|at| by_id[at])
    }

    /// By how much two parties' clocks may disagree.
    pub fn clock_error(&self) -> Duration {
        Duration::from_nanos(self.history.header.clock_error)
    }

    /// Whether one instant certainly came before another one, though two parties' clocks told them.
    pub fn before(&self, earlier: Nanos, later: Nanos) -> bool {
        earlier + self.clock_error() < later
    }

    /// Who held, under which id, with which token: `c2 (hold c2-7, token 33)`.
    pub fn holder(&self, hold: &Hold) -> String {
        match hold.token {
            Some(token) => format!("{} (hold {}, token {})", hold.client, hold.id, self.history.header.told(token)),
            None => format!("{} (hold {})", hold.client, hold.id),
        }
    }

    /// When the history ended.
    pub fn end(&self) -> Nanos {
        self.history.end()
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
            let span = format!("from {} to {}", seconds(strike.invoked.time), seconds(until));
            let indirect = !struck.iter().any(|member| matches!(member, Member::Client(_)));
            if let Some(change) = strike.event.clock.filter(|_| strike.is_verified()) {
                let clocks: Vec<String> = struck.iter().map(|member| clock_of(strike, **member, to)).collect();
                let asked = asked(change, strike.invoked.time, to.min(until));
                active.push((indirect, format!(" {} (asked {asked}), {span}.", clocks.join(", "))));
                continue;
            }
            let names = struck.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let verb = match (strike.is_verified(), struck.len()) {
                (false, _) => "may have been",
                (true, 1) => "was",
                (true, _) => "were",
            };
            let what = match &strike.event.kind {
                Word::Known(name) => is_told(*name).to_owned(),
                Word::Foreign(other) => format!("under `{other}`"),
            };
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

/// Numbers the locks by their names; says which each hold is of, and which holds each has.
fn by_lock(holds: &[Hold]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut numbers: FxHashMap<&LockName, usize> = FxHashMap::default();
    let mut lock_of: Vec<usize> = Vec::with_capacity(holds.len());
    for hold in holds {
        let next = numbers.len();
        lock_of.push(*numbers.entry(&hold.lock).or_insert(next));
    }
    let mut names: Vec<(&LockName, usize)> = numbers.into_iter().collect();
    names.sort_unstable();
    let mut ranks = vec![0; names.len()];
    names.iter().enumerate().for_each(|(rank, (_, number))| ranks[*number] = rank);
    let mut locks: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    for (place, lock) in lock_of.iter_mut().enumerate() {
        *lock = ranks[*lock];
        locks[*lock].push(place);
    }
    (lock_of, locks)
}

/// Whose doing a violation is: what incidents are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blame {
    /// The place of the hold that should not have been, or should not have acted.
    pub place: usize,
    /// The place of the hold that it was in conflict with.
    pub other: Option<usize>,
    /// When the violation happened.
    pub at: Nanos,
    /// How many violations.
    pub count: u64,
}

/// Whose doing the violations of one check are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grounds {
    /// All that are known to be some hold's doing.
    pub all: Vec<Blame>,
    /// The same of each listed violation, in their order.
    pub listed: Vec<Option<Blame>>,
}

/// The violations of one check: all counted, the first ones listed.
#[derive(Default)]
pub(super) struct Listing {
    listed: Vec<(Violation, Option<Blame>)>,
    total: usize,
    blames: Vec<Blame>,
    by_place: FxHashMap<usize, usize>,
}

impl Listing {
    /// A thousand violations of one kind tell a reader no more than a hundred.
    pub const LIMIT: usize = 100;
    /// One hold that outlives its lock can break a guarantee with every hold that follows: a few of those tell it all,
    /// and leave room for the next one.
    pub const PER_HOLD: usize = 5;

    /// Counts a violation, and lists it while there is room.
    pub fn add(&mut self, violation: impl FnOnce() -> Violation) {
        self.list(None, violation);
    }

    fn list(&mut self, blame: Option<Blame>, violation: impl FnOnce() -> Violation) {
        self.total += 1;
        if self.listed.len() < Self::LIMIT {
            self.listed.push((violation(), blame));
        }
    }

    /// The same of one that is the doing of the hold at a place.
    pub fn blame(&mut self, place: usize, other: Option<usize>, at: Nanos, violation: impl FnOnce() -> Violation) {
        let blame = Blame { place, other, at, count: 1 };
        self.blames.push(blame);
        let of_place = self.by_place.entry(place).or_default();
        *of_place += 1;
        if *of_place <= Self::PER_HOLD { self.list(Some(blame), violation) } else { self.total += 1 }
    }

    /// Sets how many there are and whose doing, where they were counted without being listed.
    pub fn count(&mut self, blames: Vec<Blame>) {
        let total: u64 = blames.iter().map(|blame| blame.count).sum();
        self.total = usize::try_from(total).unwrap_or(usize::MAX);
        self.blames = blames;
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The end of a summary, where not all are listed.
    pub fn note(&self) -> String {
        if self.total > self.listed.len() {
            format!(" {} of these {} violations are listed.", self.listed.len(), self.total)
        } else {
            String::new()
        }
    }

    /// The listed ones, in the order of time, each with its ops in order; and whose doing all are.
    pub fn into_violations(mut self) -> (Vec<Violation>, Grounds) {
        for (violation, _) in &mut self.listed {
            violation.ops.sort_unstable();
            violation.ops.dedup();
        }
        self.listed.sort_by_key(|(violation, _)| violation.from);
        let (violations, listed) = self.listed.into_iter().unzip();
        (violations, Grounds { all: self.blames, listed })
    }
}

/// An instant as texts tell it: `4.012s`.
pub(super) fn seconds(instant: Nanos) -> String {
    instant.to_string()
}

/// A length of time as a figure.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// `1 hold`, `3 holds`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What the API had said of a hold's validity, as the end of a sentence; empty if it said nothing.
pub(super) fn validity(hold: &Hold) -> String {
    validity_of(hold, "its", "it")
}

/// The same of a hold that is named: whose validity, and what was valid.
pub(super) fn validity_of(hold: &Hold, whose: &str, it: &str) -> String {
    let Some(until) = hold.last_valid_until() else { return String::new() };
    match hold.lapses().next() {
        Some((over, renewed)) => {
            // Before the grant was told, it may be.
            let over = hold.valid_until.filter(|until| *until < over && over == hold.from).unwrap_or(over);
            let again =
                if renewed < hold.to { format!(", and was renewed at {}", seconds(renewed)) } else { String::new() };
            format!("; {whose} validity ended at {}{again}", seconds(over))
        }
        None if until < hold.to => format!("; {it} was valid until {} at least", seconds(until)),
        None => format!("; {it} was valid until {}", seconds(until)),
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
    use crate::check::tests::story::Story;
    use crate::history::Probe;
    use crate::ids::NodeId;

    /// Node 3's clock goes wrong from 10 ms to 30 ms; it was looked at before, at 11 ms, at 30 ms and after.
    fn clock_fault(change: ClockChange, errors: [i64; 4]) -> History {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 5, None);
        story.pause(1, 3, 10, 30);
        let member = Member::Node(NodeId(3));
        let [before, during, until, after] = [("before", 10), ("during", 11), ("until the end", 30), ("after", 30)];
        let mut looks = [[before, during], [until, after]].into_iter().zip(errors.chunks(2));
        for op in story.ops.iter_mut().filter(|op| op.fault.is_some()) {
            let completed = op.kind == OpType::Ok;
            let Some(event) = &mut op.fault else { continue };
            (event.kind, event.targets, event.clock) = ("clock".to_owned().into(), vec![member], Some(change));
            if completed {
                let (looks, errors) = looks.next().unwrap();
                let probe = |((when, at), error): ((&str, u64), &i64)| Probe {
                    clock: Some(ClockReading {
                        member,
                        at: Nanos(at * 1_000_000),
                        error: *error,
                        expected: None,
                        uncertainty: 0,
                    }),
                    ..Probe::new(format!("{when}: clock of n3"), "as asked", "as asked")
                };
                event.probes = looks.into_iter().zip(errors).map(probe).collect();
            }
        }
        story.history()
    }

    #[test]
    fn a_wrong_clock_is_told_by_how_much_it_was_wrong() {
        let told = |change, errors, to: u64| {
            let history = clock_fault(change, errors);
            Facts::of(&history).active_faults(&[ClientId(1)], Nanos(5_000_000), Nanos(to * 1_000_000))
        };
        let jump = ClockChange::Jump { by_ns: 4_000_000_000 };
        assert_eq!(
            told(jump, [0, 4_000_000_000, 4_000_000_000, 0], 20),
            " n3's clock was 4.000s ahead at 0.011s (asked by +4s), from 0.010s to 0.030s."
        );
        assert_eq!(
            told(jump, [0, 2_000_000, 4_000_000_000, 0], 11),
            " n3's clock was 2ms ahead at 0.011s (asked by +4s), from 0.010s to 0.030s.",
            "the last look up to then, that moment's included"
        );
        let back = ClockChange::Jump { by_ns: -2_000_000 };
        assert_eq!(
            told(back, [9_000_000, -2_100_000, -2_000_000, 9_000_000], 40),
            " n3's clock was 2ms behind at 0.030s (asked by -2ms), from 0.010s to 0.030s."
        );
        let drift = ClockChange::Drift { ppm: 100_000 };
        assert_eq!(
            told(drift, [0, 0, 2_000_000, 0], 20),
            " n3's clock was 2ms ahead at 0.030s (asked by +100000ppm, which makes 1ms ahead at 0.020s), from 0.010s to \
             0.030s."
        );
    }

    #[test]
    fn a_clock_that_never_went_wrong_is_told_as_right() {
        let history = clock_fault(ClockChange::Jump { by_ns: 4_000_000_000 }, [0; 4]);
        let told = Facts::of(&history).active_faults(&[], Nanos(5_000_000), Nanos(40_000_000));
        assert_eq!(told, " n3's clock was right at 0.030s (asked by +4s), from 0.010s to 0.030s.");
    }

    #[test]
    fn a_service_before_its_grant_is_on_record_is_that_holds() {
        let mut story = Story::new(2);
        story.acquire("c1-1", 5, 10, None);
        story.read("c1-1", 12, 0, 9);
        story.acquire("c2-1", 6, 20, None);
        story.read("c2-1", 15, 0, 9);
        story.read("c3-1", 16, 0, 9);
        let history = story.history();
        let facts = Facts::of(&history);
        let served: Vec<_> = facts.served.iter().map(|(op, place)| (op.time.0 / 1_000_000, *place)).collect();
        assert_eq!(served, [(12, 0), (15, 1)], "c3 was granted nothing");
    }

    #[test]
    fn a_validity_has_ended_if_the_hold_outlived_it() {
        let told = |until: u64| {
            let mut story = Story::new(1);
            story.acquire("c1-1", 5, 10, None).valid_until = Some(Nanos(until * 1_000_000));
            story.release("c1-1", 20);
            validity(&Facts::of(&story.history()).holds[0])
        };
        assert_eq!([told(19), told(20)], ["; its validity ended at 0.019s", "; it was valid until 0.020s"]);
    }

    #[test]
    fn what_is_counted_is_told_in_its_number() {
        assert_eq!(counted(1, "hold", "holds"), "1 hold");
        assert_eq!(counted(0, "hold", "holds"), "0 holds");
    }

    #[test]
    fn a_token_of_zookeeper_is_told_by_epoch_and_counter() {
        let mut story = Story::new(2);
        story.header.algorithm = "zookeeper".to_owned();
        story.acquire("c1-1", 5, 10, (1 << 32) + 186);
        let history = story.history();
        let facts = Facts::of(&history);
        assert_eq!(facts.holder(&facts.holds[0]), "c1 (hold c1-1, token 1:186)");
    }

    #[test]
    fn a_listing_counts_all_and_lists_the_first_hundred() {
        let mut listing = Listing::default();
        let violation = |at: u32| Violation {
            severity: None,
            text: String::new(),
            ops: vec![at + 1, at, at + 1],
            from: Nanos(200 - u64::from(at)),
            to: Nanos(200),
            incident: None,
        };
        for at in 0..Listing::LIMIT as u32 {
            listing.add(|| violation(at));
        }
        assert_eq!((listing.total(), listing.note()), (100, String::new()));
        listing.add(|| violation(100));
        assert_eq!((listing.total(), listing.note().as_str()), (101, " 100 of these 101 violations are listed."));
        let (listed, _) = listing.into_violations();
        assert_eq!((listed.len(), &listed[0].ops, listed[0].from), (100, &vec![99, 100], Nanos(101)), "the last first");
    }

    #[test]
    fn one_hold_does_not_take_the_room_of_all() {
        let mut listing = Listing::default();
        for at in 0..300 {
            let violation = || Violation {
                severity: None,
                text: String::new(),
                ops: Vec::new(),
                from: Nanos(at),
                to: Nanos(at),
                incident: None,
            };
            listing.blame(usize::from(at >= 290), None, Nanos(at), violation);
        }
        let total = listing.total();
        let (listed, grounds) = listing.into_violations();
        let told: Vec<u64> = listed.iter().map(|violation| violation.from.0).collect();
        assert_eq!((told, total, grounds.all.len()), (vec![0, 1, 2, 3, 4, 290, 291, 292, 293, 294], 300, 300));
    }

    #[test]
    fn spans_that_touch_or_overlap_are_one() {
        let spans = [(5, 9), (1, 3), (3, 4), (6, 7), (20, 21)].map(|(from, to)| (Nanos(from), Nanos(to)));
        let expected = [(1, 4), (5, 9), (20, 21)].map(|(from, to)| (Nanos(from), Nanos(to)));
        assert_eq!(united(spans.to_vec()), expected);
    }
}
