//! Who has lost a lock is told.
//!
//! A hold is certainly over, though its client has not given it back, from the first of two moments: the end of the
//! validity that the lock's own API promised it, and the completion of another client's acquire of the same lock. From
//! there on every moment in which the client runs and is not told is one too many. A validity that is renewed when it
//! was over is no word on that: what counts is the time until then. A client that does not run cannot be told anything,
//! so the time in which it was stopped, or waited for the harness at a pause point, does not count; nor do [`GRACE`]'s
//! worth of moments, since shorter stalls leave no trace. Of a hold that is open when the history ends it is known that
//! its client ran untold up to the client's own last op, and no longer: the word may be on its way. A grant beside
//! which the hold may lawfully be tells nothing: another reader's, another permit's. Where a history does not tell
//! every renewal ([`Hold::renewals_known`]), only the other's grant counts. Deliberately absent: what the client does
//! once it is told, and whether the other grant was right; that is `mutual_exclusion`'s.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::{Facts, Listing, counted, lasting, milliseconds, seconds, united};
use super::{CheckName, CheckResult, Verdict, Violation, conclude};
use crate::fault::Member;
use crate::history::{Ending, F, Hold, Op, Process};
use crate::ids::{ClientId, LockName};
use crate::time::Nanos;

const GUARANTEE: &str = "A client whose hold is over is told so as soon as it runs: when its validity has ended, and at the latest \
     when another client is granted the lock.";

/// How long a running client may go untold. The monitor of a client in a container records stalls from this length on.
const GRACE: Duration = Duration::from_millis(250);

/// Judges whether losses were told.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    if facts.history.header.api.is_some_and(|api| !api.tells_loss) {
        let summary = "The lock's API has no word for a loss: it offers neither a signal nor a validity.".to_owned();
        return conclude(CheckName::LostSignal, GUARANTEE, Verdict::NotApplicable, summary, &[], Listing::default());
    }
    let stopped = stopped(facts);
    let granted = granted_to_others(facts);
    let last_heard = LastHeard::default();
    let mut listing = Listing::default();
    let (mut lost, mut told, mut released) = (0usize, 0usize, 0usize);
    let mut delays: Vec<Duration> = Vec::new();
    for (place, (hold, granted)) in facts.holds.iter().zip(&granted).enumerate() {
        let told_of_it = hold.ended.is_some_and(|(_, ending)| ending == Ending::Lost);
        told += usize::from(told_of_it);
        let spans = stopped.get(&hold.client).map_or(&[][..], Vec::as_slice);
        let known_to = if hold.ended.is_some() { hold.to } else { last_heard.of(facts, place) };
        let untold =
            Untold::of(hold, *granted, known_to).map(|untold| (running(untold.from, untold.to, spans), untold));
        // The longest time without a word; of equal ones the first.
        let Some((delay, untold)) = untold.reduce(|most, next| if next.0 > most.0 { next } else { most }) else {
            // Told before anything was certain, which is as good as it gets.
            if told_of_it {
                lost += 1;
                delays.push(Duration::ZERO);
            }
            continue;
        };
        lost += 1;
        if delay.saturating_sub(facts.clock_error()) > GRACE {
            listing.blame(place, None, untold.from, || violation(facts, hold, untold, delay));
        }
        if told_of_it {
            delays.push(delay);
        } else {
            released += 1;
        }
    }
    delays.sort_unstable();
    let median = delays.get(delays.len() / 2).copied().unwrap_or_default();
    let longest = delays.last().copied().unwrap_or_default();
    let losses = counted(lost, "hold was lost", "holds were lost");
    let measured = format!(
        "{told} told of it, {} after running on for so long at the median, {} at most; {released} ended before a word",
        lasting(median),
        lasting(longest)
    );
    let (verdict, summary) = if listing.total() > 0 {
        (Verdict::Invalid, format!("{losses}, {} not told in time; {measured}.", listing.total()))
    } else if lost == 0 {
        (Verdict::NotApplicable, "No hold was lost: there was nothing to tell.".to_owned())
    } else if told == 0 {
        (Verdict::Unknown, format!("{losses}, but each ended before it had to be told."))
    } else {
        (Verdict::Valid, format!("{losses}; {measured}."))
    };
    let figures = [
        ("holds-lost", lost as f64),
        ("lost-signals", told as f64),
        ("ended-untold", released as f64),
        ("told-late", listing.total() as f64),
        ("signal-delay-median-ms", milliseconds(median)),
        ("signal-delay-max-ms", milliseconds(longest)),
    ];
    conclude(CheckName::LostSignal, GUARANTEE, verdict, summary, &figures, listing)
}

/// A time in which a hold was certainly over and its client had not been told, and how that is known.
#[derive(Clone, Copy)]
struct Untold {
    from: Nanos,
    to: Nanos,
    /// The op that granted the lock to another client, if that is what tells.
    granted: Option<u32>,
}

impl Untold {
    /// All such times of a hold, of whose client nothing is known after `known_to`.
    fn of(hold: &Hold, granted: Option<(Nanos, u32)>, known_to: Nanos) -> impl Iterator<Item = Self> {
        let lapses = hold.lapses().map(|(from, to)| Self { from, to, granted: None });
        let taken = granted.map(|(from, op)| Self { from, to: hold.to, granted: Some(op) });
        let clipped = move |untold: Self| Self { to: untold.to.min(known_to), ..untold };
        // Told in that very moment is told in time, but it is told of a loss.
        lapses.chain(taken).map(clipped).filter(|untold| untold.from < untold.to)
    }
}

/// When each client was heard of last, if somebody asked.
#[derive(Default)]
struct LastHeard(OnceCell<BTreeMap<ClientId, Nanos>>);

impl LastHeard {
    /// Up to when the client of a hold is known to have run.
    fn of(&self, facts: &Facts<'_>, place: usize) -> Nanos {
        let heard = self.0.get_or_init(|| {
            let own = |op: &&Op| matches!(op.process, Process::Client(_) | Process::Monitor);
            facts.history.ops.iter().filter(own).filter_map(|op| Some((op.client?, op.time))).collect()
        });
        heard.get(&facts.holds[place].client).copied().unwrap_or_default()
    }
}

/// For each hold, the first grant of its lock to another client that completed during the hold.
fn granted_to_others(facts: &Facts<'_>) -> Vec<Option<(Nanos, u32)>> {
    let mut granted: Vec<Option<(Nanos, u32)>> = vec![None; facts.holds.len()];
    let mut open: BTreeMap<&LockName, Vec<usize>> = BTreeMap::new();
    for (place, later) in facts.holds.iter().enumerate() {
        let open = open.entry(&later.lock).or_default();
        open.retain(|place| {
            let hold = &facts.holds[*place];
            let excludes = facts.history.header.kind.excludes(hold.shared, later.shared);
            if later.client != hold.client
                && excludes
                && facts.before(later.from, hold.to)
                && facts.before(hold.from, later.from)
            {
                granted[*place] = Some((later.from, later.granted));
                return false;
            }
            later.from < hold.to
        });
        open.push(place);
    }
    granted
}

/// When each client certainly or possibly could not act: its process was stopped, its machine stalled, or it waited at
/// a pause point for a fault to be applied. Disjoint spans in order.
fn stopped(facts: &Facts<'_>) -> BTreeMap<ClientId, Vec<(Nanos, Nanos)>> {
    let mut spans: BTreeMap<ClientId, Vec<(Nanos, Nanos)>> = BTreeMap::new();
    for strike in &facts.strikes {
        let healed = strike.healed.map_or(facts.end(), |op| op.time);
        let applied = strike.applied.map_or(facts.end(), |op| op.time);
        let until = match (strike.event.kind.known(), strike.event.phase) {
            (Some(name), _) if name.stops() => healed,
            (_, Some(_)) => applied,
            (_, None) => continue,
        };
        for member in &strike.event.targets {
            if let Member::Client(client) = member {
                spans.entry(*client).or_default().push((strike.invoked.time, until));
            }
        }
    }
    for op in facts.history.ops.iter().filter(|op| op.f == F::Stall) {
        if let (Some(client), Some(since)) = (op.client, op.since) {
            spans.entry(client).or_default().push((since, op.time));
        }
    }
    spans.into_iter().map(|(client, spans)| (client, united(spans))).collect()
}

/// How much of the time from `from` to `to` lies outside of `spans`.
fn running(from: Nanos, to: Nanos, spans: &[(Nanos, Nanos)]) -> Duration {
    let stopped: Duration = spans.iter().map(|(start, end)| (*end).min(to) - (*start).max(from)).sum();
    (to - from).saturating_sub(stopped)
}

fn violation(facts: &Facts<'_>, hold: &Hold, untold: Untold, delay: Duration) -> Violation {
    let other = untold.granted.and_then(|op| facts.holds.iter().find(|hold| hold.granted == op));
    let why = match other {
        Some(other) => format!("the lock was granted to {} at {}", facts.holder(other), seconds(untold.from)),
        None => format!("its validity ended at {}", seconds(untold.from)),
    };
    let end = match hold.ended {
        _ if other.is_none() && untold.to < hold.to && hold.valid_spans().any(|(from, _)| from == untold.to) => {
            format!("it was not told, and was renewed at {}", seconds(untold.to))
        }
        Some((_, Ending::Lost)) => format!("it was told only at {}", seconds(hold.to)),
        Some((_, Ending::Released)) => format!("it was never told, and began to release at {}", seconds(hold.to)),
        Some((_, Ending::Crashed)) => format!("it was never told, and died at {}", seconds(hold.to)),
        None => format!("it was not told by {}, the last that is known of it", seconds(untold.to)),
    };
    let text = format!(
        "{} held the lock since {}; {why}, and {end}, after it had run for {} without a word.{}",
        facts.holder(hold),
        seconds(hold.from),
        lasting(delay),
        facts.active_faults(&[hold.client], untold.from, untold.to),
    );
    let mut ops: Vec<u32> =
        [Some(hold.granted), untold.granted, hold.ended.map(|(op, _)| op)].into_iter().flatten().collect();
    ops.sort_unstable();
    Violation { severity: None, text, ops, from: untold.from, to: untold.to, incident: None }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::check::tests::story::Story;
    use crate::history::OpType;
    use crate::seed::Seed;

    /// A hold of c1 from 12 ms on, valid until 1 s, while c2 waits.
    fn held() -> Story {
        let mut story = Story::new(2);
        story.acquire("c1-1", 10, 12, 1).valid_until = Some(Nanos(1_000_000_000));
        story.op(20, "c2-1", OpType::Invoke, F::Acquire);
        story
    }

    fn judged(story: Story) -> CheckResult {
        check(&Facts::of(&story.history()))
    }

    #[test]
    fn what_was_lost_and_told_is_told_apart() {
        let mut cases: Vec<(&str, Story, Verdict)> = Vec::new();
        let mut add = |name, verdict, finish: &dyn Fn(&mut Story)| {
            let mut story = held();
            finish(&mut story);
            cases.push((name, story, verdict));
        };
        add("released in time", Verdict::NotApplicable, &|story| story.release("c1-1", 900));
        add("released at the end of its validity", Verdict::NotApplicable, &|story| story.release("c1-1", 1_000));
        add("told in the moment", Verdict::Valid, &|story| {
            story.op(1_000, "c1-1", OpType::Ok, F::Lost);
        });
        add("told before", Verdict::Valid, &|story| {
            story.op(700, "c1-1", OpType::Ok, F::Lost);
        });
        add("told within the grace", Verdict::Valid, &|story| {
            story.op(1_250, "c1-1", OpType::Ok, F::Lost);
        });
        add("told after the grace", Verdict::Invalid, &|story| {
            story.op(1_251, "c1-1", OpType::Ok, F::Lost);
        });
        add("released soon after", Verdict::Unknown, &|story| story.release("c1-1", 1_100));
        add("never told", Verdict::Invalid, &|story| story.release("c1-1", 1_300));
        add("told as soon as it runs again", Verdict::Valid, &|story| {
            story.pause(1, 1, 500, 3_000);
            story.op(3_000, "c1-1", OpType::Ok, F::Lost);
        });
        add("paused, but not all the time", Verdict::Invalid, &|story| {
            story.pause(1, 1, 1_200, 3_000);
            story.op(3_051, "c1-1", OpType::Ok, F::Lost);
        });
        add("another client was paused", Verdict::Invalid, &|story| {
            story.pause(1, 2, 500, 3_000);
            story.op(3_000, "c1-1", OpType::Ok, F::Lost);
        });
        add("stalled", Verdict::Valid, &|story| {
            let stall = story.op(2_000, "c1-1", OpType::Ok, F::Stall);
            (stall.process, stall.since) = (crate::history::Process::Monitor, Some(Nanos(900_000_000)));
            story.op(2_000, "c1-1", OpType::Ok, F::Lost);
        });
        for (name, story, verdict) in cases {
            let result = judged(story);
            assert_eq!(result.verdict, verdict, "{name}: {}", result.summary);
        }
    }

    #[test]
    fn what_ended_a_silence_is_told() {
        let told = |finish: &dyn Fn(&mut Story)| {
            let mut story = held();
            finish(&mut story);
            judged(story).violations[0].text.clone()
        };
        let renewed = told(&|story| {
            for (at, until) in [(800, 1_500), (2_000, 3_000), (2_500, 3_500)] {
                story.op(at, "c1-1", OpType::Ok, F::Extend).valid_until = Some(Nanos(until * 1_000_000));
            }
            story.release("c1-1", 3_000);
        });
        assert!(
            renewed.contains("its validity ended at 1.500s, and it was not told, and was renewed at 2.000s"),
            "{renewed}"
        );
        let lost = told(&|story| _ = story.op(1_300, "c1-1", OpType::Ok, F::Lost));
        assert!(lost.contains("was told only at 1.300s"), "{lost}");
        let released = told(&|story| story.release("c1-1", 1_300));
        assert!(released.contains("never told, and began to release at 1.300s"), "{released}");
    }

    #[test]
    fn a_client_that_waits_at_a_pause_point_cannot_be_told() {
        let mut story = held();
        story.pause(1, 1, 900, 2_000);
        for op in &mut story.ops {
            // A cut, which is applied while the client waits, and then leaves it free to run.
            if let Some(fault) = &mut op.fault {
                (fault.kind, fault.phase) =
                    (crate::fault::FaultName::Partition.into(), Some(crate::phase::Phase::Releasing));
                op.time = if op.f == F::Fault && op.kind == OpType::Ok { Nanos(1_900_000_000) } else { op.time };
            }
        }
        story.release("c1-1", 1_900);
        assert_eq!(judged(story).verdict, Verdict::Unknown);
    }

    #[test]
    fn counts_what_a_look_at_every_millisecond_counts() {
        let (mut late, mut lost) = (0, 0);
        for seed in 0..400 {
            let mut rng = Seed(seed).stream("signals");
            let mut story = Story::new(2);
            let (from, valid) = (10, rng.random_range(11..1_000u64));
            let taken: Option<u64> = rng.random::<bool>().then(|| rng.random_range(11..1_500));
            let to = rng.random_range(11..2_000u64);
            let pauses: Vec<(u64, u64)> = [0, 1_000].map(|start| {
                let at = rng.random_range(start..start + 900);
                (at, at + rng.random_range(1..600))
            })[..rng.random_range(0..=2)]
                .to_vec();
            story.acquire("c1-1", 5, from, None).valid_until = Some(Nanos(valid * 1_000_000));
            if let Some(taken) = taken {
                story.acquire("c2-1", 6, taken, None);
                story.release("c2-1", taken + 3_000);
            }
            let is_told = rng.random::<bool>();
            if is_told {
                story.op(to, "c1-1", OpType::Ok, F::Lost);
            } else {
                story.release("c1-1", to);
            }
            for (id, (at, until)) in pauses.iter().enumerate() {
                story.pause(id as u32 + 1, 1, *at, *until);
            }
            let over = taken.filter(|taken| *taken < to).map_or(valid, |taken| taken.min(valid));
            let runs = |t: &u64| !pauses.iter().any(|(at, until)| (*at..*until).contains(t));
            let untold = (over.max(from)..to.max(over)).filter(runs).count();
            let result = judged(story);
            assert_eq!(result.verdict == Verdict::Invalid, untold > 250, "seed {seed}: {untold}: {}", result.summary);
            assert_eq!(result.figures["holds-lost"] > 0.0, is_told || over < to, "seed {seed}: {}", result.summary);
            late += usize::from(untold > 250);
            lost += usize::from(over < to);
        }
        assert!(late > 50 && lost - late > 50, "{late} late of {lost}: the mix shows nothing");
    }
}
