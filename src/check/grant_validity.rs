//! No grant is handed out at or after its own end of validity.
//!
//! A lock looks at its clock last, or it hands out what is over already; a client that looks itself before each access
//! hides that. The look and the record of the grant are two instants: a client that was stopped between them records
//! late what was right, so a grant is accused only if its client was not stopped around the end of its validity, or was
//! stopped where the lock had still to look. Deliberately absent: what the client did with it.

use std::time::Duration;

use super::evidence::{Facts, Listing, counted, lasting, milliseconds, seconds};
use super::{CheckName, CheckResult, Verdict, Violation, conclude};
use crate::fault::{FaultName, Member};
use crate::history::EnvironmentName;
use crate::history::{F, Hold};
use crate::ids::ClientId;
use crate::phase::Phase;
use crate::time::Nanos;

const GUARANTEE: &str = "No grant is handed out at or after the end of its own validity.";

/// On real machines a process may stand still for so long without anybody's notice.
const UNNOTICED: Duration = Duration::from_millis(250);

/// Judges whether grants were valid when they were handed out.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let unnoticed = if facts.history.header.environment.is(EnvironmentName::Sim) { Duration::ZERO } else { UNNOTICED };
    let mut listing = Listing::default();
    let stops = stops(facts);
    let (mut dated, mut undecided) = (0usize, 0usize);
    let mut least: Option<Duration> = None;
    for (place, (hold, requested)) in facts.holds.iter().zip(&facts.requested).enumerate() {
        let Some(until) = hold.valid_until else { continue };
        dated += 1;
        if hold.from < until {
            let left = until - hold.from;
            least = Some(least.map_or(left, |least| least.min(left)));
            continue;
        }
        // Whoever was stopped at any time since it asked may have looked before that.
        let was_stopped =
            stops.iter().any(|(client, from, to)| *client == hold.client && *from <= hold.from && *to >= *requested);
        if was_stopped || hold.from - until < unnoticed + facts.clock_error() {
            undecided += 1;
        } else {
            listing.blame(place, None, hold.from, || violation(facts, hold, until));
        }
    }
    let told = counted(dated, "grant with a validity", "grants with a validity");
    let left = least.map(|least| format!("; at least {} was left", lasting(least))).unwrap_or_default();
    let (verdict, summary) = if listing.total() > 0 {
        (Verdict::Invalid, format!("{told}; {} handed out when it was over already.", listing.total()))
    } else if dated == 0 && !facts.holds.is_empty() {
        (Verdict::NotApplicable, "No grant shows until when it is valid.".to_owned())
    } else if dated == 0 {
        (Verdict::Unknown, "Nothing was granted.".to_owned())
    } else if dated == undecided {
        (Verdict::Unknown, format!("{told}, all recorded late by clients that had been stopped: nothing is known."))
    } else {
        (Verdict::Valid, format!("{told}, none handed out when it was over{left}."))
    };
    let figures = [
        ("grants-with-validity", dated as f64),
        ("granted-late", listing.total() as f64),
        ("granted-late-undecided", undecided as f64),
        ("least-validity-left-ms", least.map_or(0.0, milliseconds)),
    ];
    conclude(CheckName::GrantValidity, GUARANTEE, verdict, summary, &figures, listing)
}

/// When clients were stopped, but for where a lock has still to look at its clock: at its requests and their replies.
fn stops(facts: &Facts<'_>) -> Vec<(ClientId, Nanos, Nanos)> {
    let looks_after = |phase: Option<Phase>| matches!(phase, Some(Phase::Acquiring | Phase::InLine | Phase::VotesIn));
    let mut excused = Vec::new();
    let mut planned = Vec::new();
    for strike in facts.strikes.iter().filter(|strike| strike.event.kind.known().is_some_and(FaultName::stops)) {
        let healed = strike.healed.map_or(facts.end(), |op| op.time);
        for member in &strike.event.targets {
            if let Member::Client(client) = member {
                let stop = (*client, strike.invoked.time, healed);
                if looks_after(strike.event.phase) { planned.push(stop) } else { excused.push(stop) }
            }
        }
    }
    let stalls = facts.history.ops.iter().filter(|op| op.f == F::Stall);
    excused.extend(stalls.filter_map(|op| {
        let stall = (op.client?, op.since?, op.time);
        // A stall that lies in a pause at such a step is that pause. What goes on beyond it came after the look.
        let explained = planned
            .iter()
            .any(|(client, from, to)| *client == stall.0 && *from <= stall.1 + UNNOTICED && *to + UNNOTICED >= stall.2);
        (!explained).then_some(stall)
    }));
    excused
}

fn violation(facts: &Facts<'_>, hold: &Hold, until: Nanos) -> Violation {
    let text = format!(
        "{} was granted `{}` at {}, {} after the end of its own validity at {}.{}",
        facts.holder(hold),
        hold.lock,
        seconds(hold.from),
        lasting(hold.from - until),
        seconds(until),
        facts.active_faults(&[hold.client], until, hold.from),
    );
    Violation { severity: None, text, ops: vec![hold.granted], from: until, to: hold.from, incident: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::story::Story;
    use crate::history::{OpType, Process};

    /// A grant at `at`, asked for at 10 ms, that is valid until 100 ms.
    fn granted(at: u64) -> Story {
        let mut story = Story::new(2);
        story.acquire("c1-1", 10, at, 1).valid_until = Some(Nanos(100_000_000));
        story.release("c1-1", at + 10);
        story
    }

    fn judged(story: Story, environment: &str) -> CheckResult {
        let mut history = story.history();
        history.header.environment = environment.to_owned().into();
        check(&Facts::of(&history))
    }

    #[test]
    fn a_grant_is_judged_by_its_own_clock() {
        let table = [(20, "sim", Verdict::Valid), (99, "sim", Verdict::Valid), (100, "sim", Verdict::Invalid)];
        let real =
            [(99, "docker", Verdict::Valid), (349, "docker", Verdict::Unknown), (351, "docker", Verdict::Invalid)];
        for (at, environment, verdict) in table.into_iter().chain(real) {
            let result = judged(granted(at), environment);
            assert_eq!(result.verdict, verdict, "{at} in {environment}: {}", result.summary);
        }
        let mut undated = granted(20);
        undated.ops.iter_mut().for_each(|op| op.valid_until = None);
        assert_eq!(judged(undated, "sim").verdict, Verdict::NotApplicable);
        assert_eq!(judged(Story::new(2), "sim").verdict, Verdict::Unknown);
    }

    #[test]
    fn whoever_was_stopped_between_look_and_record_is_not_accused() {
        let paused = |phase: Option<Phase>| {
            let mut story = granted(500);
            story.pause(1, 1, 50, 490);
            for op in &mut story.ops {
                if let Some(fault) = &mut op.fault {
                    fault.phase = phase;
                }
            }
            judged(story, "sim").verdict
        };
        assert_eq!(paused(None), Verdict::Unknown);
        assert_eq!(paused(Some(Phase::Acquired)), Verdict::Unknown);
        // Stopped where it had still to look.
        assert_eq!(paused(Some(Phase::VotesIn)), Verdict::Invalid);
        let stalled = |since: u64, until: u64| {
            let mut story = granted(900);
            story.pause(1, 1, 50, 490);
            for fault in story.ops.iter_mut().filter_map(|op| op.fault.as_mut()) {
                fault.phase = Some(Phase::VotesIn);
            }
            let stall = story.op(until, "c1-1", OpType::Ok, F::Stall);
            (stall.process, stall.since) = (Process::Monitor, Some(Nanos(since * 1_000_000)));
            story.ops.sort_by_key(|op| op.time);
            judged(story, "sim").verdict
        };
        assert_eq!(stalled(51, 495), Verdict::Invalid, "the client's own word of that pause");
        assert_eq!(stalled(51, 890), Verdict::Unknown, "it stood still for longer");
        assert_eq!(stalled(800, 890), Verdict::Unknown, "it stood still once more");
        let mut other = granted(500);
        other.pause(1, 2, 50, 490);
        assert_eq!(judged(other, "sim").verdict, Verdict::Invalid, "another client was stopped");
    }
}
