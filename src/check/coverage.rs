//! What was exercised: the other checks' `valid` is worth as much as this one says.
//!
//! A fault counts as applied only if somebody looked at the world and saw its effect, and each one of the plan must
//! have been: where some never struck, nothing is known of what they would have done. Deliberately absent: any
//! guarantee of the lock; this check turns invalid only over a fault that was recorded as done or undone and was not.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Effects;
use super::evidence::{Facts, Listing, counted, seconds, united};
use super::{CheckName, CheckResult, Verdict, Violation, conclude, contention};
use crate::fault::Member;
use crate::history::{F, Hold, OpType, Probe, Strike};
use crate::ids::ClientId;
use crate::time::Nanos;

const GUARANTEE: &str = "The run exercised what it is about: two clients competed for a lock, and every planned fault was seen to \
     strike, some of them met a hold or an attempt, and each was undone.";

/// How many looks without an answer are told one by one.
const UNSEEN_TOLD: usize = 3;

/// Judges what a history exercised.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let mut listing = Listing::default();
    for strike in &facts.strikes {
        defects(facts, strike, &mut listing);
    }
    let grants = facts.holds.len();
    let clients = facts.holds.iter().map(|hold| hold.client).collect::<BTreeSet<_>>().len();
    let contended = contention::acquires(facts.history);
    let planned = facts.history.header.planned_faults;
    let is_failed = |strike: &&Strike<'_>| strike.applied.is_some_and(|op| op.kind != OpType::Ok);
    let applied = facts.strikes.iter().filter(|strike| strike.is_verified()).count();
    let failed = facts.strikes.iter().filter(is_failed).count();
    let healed = facts.strikes.iter().filter(|strike| strike.is_recorded() && strike.is_healed()).count();
    let Plan { struck, idle, idle_unnamed } = Plan::of(facts);
    let under_fault = holds_under_fault(facts);
    let effects = Effects::of(facts);
    let verified: Vec<&Strike<'_>> = facts.strikes.iter().filter(|strike| strike.is_verified()).collect();
    let ended: usize = verified.iter().map(|strike| effects.ended_by(strike, facts.end())).sum();
    let attempts_struck = attempts_struck(facts);
    let attempts_under = effects.attempts_under(&verified, facts.end());
    let (effective, vain) = effective(facts, &effects, &verified);
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
                "{} planned, {struck} of them struck, {} seen, {effective} of them changed something, {failed} failed, {healed} healed",
                counted(planned as usize, "fault", "faults"),
                counted(applied, "strike", "strikes"),
            )
        } else {
            "no fault planned".to_owned()
        },
        counted(under_fault, "hold under a fault", "holds under a fault"),
        counted(attempts_under, "attempt under one", "attempts under one"),
        counted(past_validity, "hold outlived its validity", "holds outlived their validity"),
        counted(lost_signals, "lost signal", "lost signals"),
        counted(refused, "access refused", "accesses refused"),
    );
    let idle_told = idle_told(&idle, idle_unnamed);
    let vain_told = vain_told(&vain);
    let unseen = unseen_told(facts, &idle);
    let together = granted_together(facts);
    let apart = together == Some(0);
    let missing = [
        (grants == 0, "nothing was granted"),
        (grants > 0 && clients < 2, "only one client was ever granted the lock"),
        (contended == 0, "no acquire met a held lock"),
        (apart, "nobody held it together with another, though several may"),
        (!idle_told.is_empty(), &idle_told),
        (faulty && applied == 0 && idle_told.is_empty(), "no fault was seen to take effect"),
        (
            faulty && under_fault + attempts_struck + attempts_under + ended == 0,
            "no hold and no attempt was under a fault",
        ),
        (!vain_told.is_empty(), &vain_told),
        (!unseen.is_empty(), &unseen),
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
        ("attempts-under-fault", attempts_under as f64),
        ("ended-by-fault", ended as f64),
        ("strikes-with-effect", effective as f64),
        ("holds-past-validity", past_validity as f64),
        ("lost-signals", lost_signals as f64),
        ("refused-accesses", refused as f64),
    ];
    let together = together.map(|grants| ("grants-together", grants as f64));
    let figures: Vec<_> = figures.into_iter().chain(together).collect();
    conclude(CheckName::Coverage, GUARANTEE, verdict, summary, &figures, listing)
}

/// How many grants came while another client lawfully held the lock; none for one client's lock.
fn granted_together(facts: &Facts<'_>) -> Option<usize> {
    let kind = facts.history.header.kind;
    if kind.is_mutex() {
        return None;
    }
    let mut together = 0;
    for places in &facts.locks {
        let mut open: Vec<&Hold> = Vec::new();
        for hold in places.iter().map(|place| &facts.holds[*place]) {
            open.retain(|other| facts.before(hold.from, other.to));
            together += usize::from(open.iter().any(|other| !kind.excludes(other.shared, hold.shared)));
            open.push(hold);
        }
    }
    Some(together)
}

/// What came of the plan: its entries, each as often as it stands there.
struct Plan<'a> {
    /// How many were seen to strike.
    struck: usize,
    /// Which never were.
    idle: Vec<&'a str>,
    /// How many more never were, by a history that does not name its plan.
    idle_unnamed: usize,
}

impl<'a> Plan<'a> {
    /// Entries that read alike ask for the same: so many of them have struck as there were strikes.
    fn of(facts: &Facts<'a>) -> Self {
        let mut strikes: BTreeMap<&str, usize> = BTreeMap::new();
        for strike in facts.strikes.iter().filter(|strike| strike.is_verified()) {
            *strikes.entry(strike.event.plan.as_str()).or_default() += 1;
        }
        let header = &facts.history.header;
        let planned = header.planned_faults as usize;
        if header.plan.is_empty() {
            let struck = strikes.len();
            return Self { struck, idle: Vec::new(), idle_unnamed: planned.saturating_sub(struck) };
        }
        let mut has_struck =
            |entry: &&str| strikes.get_mut(*entry).filter(|left| **left > 0).map(|left| *left -= 1).is_some();
        let (struck, idle): (Vec<&str>, Vec<&str>) = header.plan.iter().map(String::as_str).partition(&mut has_struck);
        Self { struck: struck.len(), idle, idle_unnamed: 0 }
    }
}

/// How many strikes changed something, and which entries of the plan were seen to strike and never did.
fn effective<'a>(facts: &Facts<'a>, effects: &Effects, verified: &[&Strike<'a>]) -> (usize, Vec<&'a str>) {
    let mut entries: BTreeMap<&str, usize> = BTreeMap::new();
    for strike in verified {
        *entries.entry(strike.event.plan.as_str()).or_default() += usize::from(effects.had(facts, strike));
    }
    let vain = entries.iter().filter(|(_, changed)| **changed == 0).map(|(entry, _)| *entry).collect();
    (entries.values().sum(), vain)
}

/// Names what struck and changed nothing; empty if there is nothing.
fn vain_told(vain: &[&str]) -> String {
    let named = vain.iter().map(|entry| format!("`{entry}`")).collect::<Vec<_>>().join(", ");
    match vain.len() {
        0 => named,
        count => format!("{} nothing that could be seen ({named})", counted(count, "fault changed", "faults changed")),
    }
}

/// Names what never struck; empty if there is nothing.
fn idle_told(idle: &[&str], unnamed: usize) -> String {
    match idle.len() + unnamed {
        0 => String::new(),
        count => {
            let named = idle.iter().map(|entry| format!("`{entry}`")).collect::<Vec<_>>().join(", ");
            let named = if named.is_empty() { named } else { format!(" ({named})") };
            format!("{} never seen to strike{named}", counted(count, "planned fault was", "planned faults were"))
        }
    }
}

/// Says of which strikes nobody knows whether they were applied, or undone, because a look at them got no answer: what
/// a laden machine does not answer in time proves nothing. That of an application counts where its entry of the plan
/// was not seen to strike another time. Empty if there is nothing to say.
fn unseen_told(facts: &Facts<'_>, idle: &[&str]) -> String {
    let is_idle = |strike: &Strike<'_>| strike.is_recorded() || idle.contains(&strike.event.plan.as_str());
    let told = facts.strikes.iter().filter(|strike| !strike.missed()).flat_map(|strike| {
        let doubt = |what: &'static str| {
            move |probe: &Probe| {
                let looks = counted(probe.looks.unwrap_or(1) as usize, "look", "looks");
                format!(
                    "whether fault {} was {what} is not known: {} gave no answer to {looks}",
                    strike.event.id, probe.what
                )
            }
        };
        let applied = strike.applied.and(strike.unseen()).filter(|_| is_idle(strike)).map(doubt("applied"));
        let undone = strike.applied.and(strike.unseen_healed()).map(doubt("undone"));
        [applied, undone].into_iter().flatten().collect::<Vec<_>>()
    });
    let told: Vec<String> = told.collect();
    match told.split_at(told.len().min(UNSEEN_TOLD)) {
        (first, []) => first.join(", "),
        (first, more) => format!("{}, and {} more without an answer", first.join(", "), more.len()),
    }
}

/// What is wrong with the record of a strike: an effect or an undoing that is claimed but was not seen.
fn defects(facts: &Facts<'_>, strike: &Strike<'_>, listing: &mut Listing) {
    let Some(applied) = strike.applied.filter(|_| strike.is_recorded()) else { return };
    let event = strike.event;
    let name = format!("Fault {} ({})", event.id, event.plan);
    let mut add = |text: String, ops: Vec<u32>, to: Nanos| {
        listing.add(|| Violation { severity: None, text, ops, from: strike.invoked.time, to, incident: None });
    };
    if let Some(probe) = event.probes.iter().find(|probe| probe.denied()) {
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
    // What is missing of a history that is cut off may tell of the undoing, or of another try at it.
    if !strike.is_healed() && strike.unseen_healed().is_none() && facts.history.cut_off.is_none() {
        let text = match strike.healed.and_then(|op| op.fault.as_ref()?.probes.iter().find(|probe| probe.denied())) {
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

/// How many holds had their client, a lock server or the resource under a fault that was seen to have its effect: from
/// the completion of its application to the invocation of its undoing, when it certainly was in force.
fn holds_under_fault(facts: &Facts<'_>) -> usize {
    let mut spans: BTreeMap<Option<ClientId>, Vec<(Nanos, Nanos)>> = BTreeMap::new();
    for strike in facts.strikes.iter().filter(|strike| strike.is_verified()) {
        let Some(applied) = strike.applied else { continue };
        let span = (applied.time, strike.healing.map_or(facts.end(), |op| op.time));
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
