//! What was exercised: the other checks' `valid` is worth as much as this one says.
//!
//! A fault counts as applied only if somebody looked at the world and saw its effect. Deliberately absent: any guarantee
//! of the lock; this check turns invalid only over a fault that was recorded as done or undone and was not.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Facts, Listing, Strike, counted, seconds, united};
use super::{CheckName, CheckResult, Severity, Verdict, Violation, conclude};
use crate::fault::Member;
use crate::history::{F, Hold, OpType, Process};
use crate::ids::{ClientId, LockName};
use crate::time::Nanos;

const GUARANTEE: &str = "The run exercised what it is about: two clients competed for a lock, and every fault that counts was seen to \
     strike, met a hold, and was undone.";

/// Judges what a history exercised.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let mut listing = Listing::default();
    for strike in &facts.strikes {
        defects(facts, strike, &mut listing);
    }
    let grants = facts.holds.len();
    let clients = facts.holds.iter().map(|hold| hold.client).collect::<BTreeSet<_>>().len();
    let contended = contended_acquires(facts);
    let planned = facts.history.header.planned_faults;
    let is_failed = |strike: &&Strike<'_>| strike.applied.is_some_and(|op| op.kind != OpType::Ok);
    let applied = facts.strikes.iter().filter(|strike| strike.is_verified()).count();
    let failed = facts.strikes.iter().filter(is_failed).count();
    let healed = facts.strikes.iter().filter(|strike| strike.is_recorded() && strike.is_healed()).count();
    let verified = facts.strikes.iter().filter(|strike| strike.is_verified());
    let struck = verified.map(|strike| strike.event.plan.as_str()).collect::<BTreeSet<_>>().len();
    let under_fault = holds_under_fault(facts);
    let attempts_struck = attempts_struck(facts);
    let past_validity = facts.holds.iter().filter(|hold| hold.outlived_validity()).count();
    let lost_signals = facts.history.ops.iter().filter(|op| op.f == F::Lost).count();
    let refused = facts.served.iter().filter(|(op, _)| op.kind == OpType::Fail).count();
    let faulty = planned > 0 || !facts.strikes.is_empty();

    let told = format!(
        "{} to {}, {}; {}; {}, {}; {}, {}, {}.",
        counted(grants, "grant", "grants"),
        counted(clients, "client", "clients"),
        counted(contended, "acquire while the lock was held", "acquires while the lock was held"),
        if faulty {
            format!(
                "{} planned, {struck} of them struck, {} seen to take effect, {failed} failed, {healed} healed",
                counted(planned as usize, "fault", "faults"),
                counted(applied, "strike", "strikes"),
            )
        } else {
            "no fault planned".to_owned()
        },
        counted(under_fault, "hold under a fault", "holds under a fault"),
        counted(attempts_struck, "attempt struck", "attempts struck"),
        counted(past_validity, "hold outlived its validity", "holds outlived their validity"),
        counted(lost_signals, "lost signal", "lost signals"),
        counted(refused, "access refused", "accesses refused"),
    );
    let missing = [
        (grants == 0, "nothing was granted"),
        (grants > 0 && clients < 2, "only one client was ever granted the lock"),
        (contended == 0, "no acquire met a held lock"),
        (faulty && applied == 0, "no fault was seen to take effect"),
        (faulty && under_fault + attempts_struck == 0, "no hold and no attempt was under a fault"),
    ];
    let missing: Vec<&str> = missing.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect();
    let (verdict, summary) = if listing.total() > 0 {
        let defects =
            counted(listing.total(), "fault was not what its record says", "faults were not what their record says");
        (Verdict::Invalid, format!("{defects}: {told}"))
    } else if missing.is_empty() {
        (Verdict::Valid, told)
    } else {
        (Verdict::Unknown, format!("Too little was exercised: {}. {told}", missing.join(", ")))
    };
    let figures = [
        ("grants", grants as f64),
        ("clients-granted", clients as f64),
        ("contended-acquires", contended as f64),
        ("faults-planned", f64::from(planned)),
        ("faults-struck", struck as f64),
        ("faults-applied", applied as f64),
        ("faults-failed", failed as f64),
        ("faults-healed", healed as f64),
        ("holds-under-fault", under_fault as f64),
        ("attempts-struck", attempts_struck as f64),
        ("holds-past-validity", past_validity as f64),
        ("lost-signals", lost_signals as f64),
        ("refused-accesses", refused as f64),
    ];
    conclude(CheckName::Coverage, GUARANTEE, verdict, summary, &figures, listing)
}

/// What is wrong with the record of a strike: an effect or an undoing that is claimed but was not seen.
fn defects(facts: &Facts<'_>, strike: &Strike<'_>, listing: &mut Listing) {
    let Some(applied) = strike.applied.filter(|_| strike.is_recorded()) else { return };
    let event = strike.event;
    let name = format!("Fault {} ({})", event.id, event.plan);
    let mut add = |text: String, ops: Vec<u32>, to: Nanos| {
        listing.add(|| Violation { severity: Severity::Belief, text, ops, from: strike.invoked.time, to });
    };
    if let Some(probe) = event.probes.iter().find(|probe| !probe.passed()) {
        add(
            format!(
                "{name} was recorded as applied at {}, but {} was `{}` where `{}` was expected.",
                seconds(applied.time),
                probe.what,
                probe.observed,
                probe.expected
            ),
            vec![strike.invoked.index, applied.index],
            applied.time,
        );
    }
    if !strike.is_healed() {
        let text = match strike.healed.and_then(|op| op.fault.as_ref()?.probes.iter().find(|probe| !probe.passed())) {
            Some(probe) => format!(
                "{name} was not undone: {} was `{}` where `{}` was expected.",
                probe.what, probe.observed, probe.expected
            ),
            None => format!("{name}, applied at {}, was not undone by the end of the history.", seconds(applied.time)),
        };
        let ops = [Some(applied), strike.healed].into_iter().flatten().map(|op| op.index).collect();
        add(text, ops, facts.end());
    }
}

/// How many acquires were invoked while the lock was held.
fn contended_acquires(facts: &Facts<'_>) -> usize {
    let mut open: BTreeMap<&LockName, usize> = BTreeMap::new();
    // A client's death may end several holds at once.
    let mut ends: BTreeMap<u32, Vec<&LockName>> = BTreeMap::new();
    let mut grants = facts.holds.iter().peekable();
    let mut contended = 0;
    for op in facts.history.ops.iter().filter(|op| matches!(op.process, Process::Client(_))) {
        if let Some(hold) = grants.next_if(|hold| hold.granted == op.index) {
            *open.entry(&hold.lock).or_default() += 1;
            if let Some((end, _)) = hold.ended {
                ends.entry(end).or_default().push(&hold.lock);
            }
        } else if let Some(locks) = ends.remove(&op.index) {
            for lock in locks {
                *open.entry(lock).or_default() -= 1;
            }
        } else if (op.f, op.kind) == (F::Acquire, OpType::Invoke) {
            contended += usize::from(op.lock.as_ref().and_then(|lock| open.get(lock)).is_some_and(|open| *open > 0));
        }
    }
    contended
}

/// How many holds had their client, a lock server or the resource under a fault that was seen to have its effect: from
/// the completion of its application to the invocation of its undoing, when it certainly was in force.
fn holds_under_fault(facts: &Facts<'_>) -> usize {
    let mut spans: BTreeMap<Option<ClientId>, Vec<(Nanos, Nanos)>> = BTreeMap::new();
    for strike in facts.strikes.iter().filter(|strike| strike.is_verified()) {
        let Some(applied) = strike.applied else { continue };
        let span = (applied.time, strike.healing.unwrap_or(facts.end()));
        let concerned = strike.event.targets.iter().map(|member| match member {
            Member::Client(client) => Some(*client),
            // Whoever holds the lock depends on these.
            Member::Node(_) | Member::Resource => None,
        });
        for concerned in concerned.collect::<BTreeSet<_>>() {
            spans.entry(concerned).or_default().push(span);
        }
    }
    let spans: BTreeMap<_, _> = spans.into_iter().map(|(concerned, spans)| (concerned, united(spans))).collect();
    let meets = |hold: &Hold, concerned: Option<ClientId>| {
        let spans = spans.get(&concerned).map_or(&[][..], Vec::as_slice);
        let next = spans.partition_point(|(_, to)| *to <= hold.from);
        spans.get(next).is_some_and(|(from, _)| *from < hold.to)
    };
    facts.holds.iter().filter(|hold| meets(hold, Some(hold.client)) || meets(hold, None)).count()
}

/// From the invocation of an acquire to its completion or its client's death, as indices of the history.
#[derive(Clone, Copy)]
struct Attempt {
    from: u32,
    to: u32,
    died: bool,
}

/// How many strikes were seen to hit a client in the middle of an attempt, before there was a hold to be under a fault:
/// its acquire was open before the strike began, and was so when the fault was in force or ended with
/// the client's death.
fn attempts_struck(facts: &Facts<'_>) -> usize {
    let mut open: BTreeMap<ClientId, Vec<Attempt>> = BTreeMap::new();
    for op in facts.history.ops.iter().filter(|op| op.f == F::Acquire || op.f == F::Crash) {
        let Some(client) = op.client else { continue };
        let attempts = open.entry(client).or_default();
        match op.kind {
            OpType::Invoke => attempts.push(Attempt { from: op.index, to: u32::MAX, died: false }),
            _ => {
                if let Some(attempt) = attempts.last_mut().filter(|attempt| attempt.to == u32::MAX) {
                    (attempt.to, attempt.died) = (op.index, op.f == F::Crash);
                }
            }
        }
    }
    let struck = |strike: &&Strike<'_>| {
        let in_force = strike.applied.map_or(u32::MAX, |op| op.index);
        let met = |client: &ClientId| {
            let attempts = open.get(client).map_or(&[][..], Vec::as_slice);
            let begun = attempts.partition_point(|attempt| attempt.from < strike.invoked.index);
            begun.checked_sub(1).is_some_and(|last| {
                let Attempt { to, died, .. } = attempts[last];
                to > in_force || (died && to > strike.invoked.index)
            })
        };
        strike.is_verified()
            && strike.event.targets.iter().any(|member| matches!(member, Member::Client(client) if met(client)))
    };
    facts.strikes.iter().filter(struck).count()
}
