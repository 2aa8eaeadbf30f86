//! More holders at once than a lock allows: what a read-write lock and a semaphore are judged by.
//!
//! The spans are the caller's: what clients believed, or what the lock promised. A grant begins a crowd if those who
//! surely have the lock at that moment keep it out ([`LockKind::keeps_out`]). Spans are cut as short as they can be, so
//! a crowd is certain: intervals of which every two have an instant in common have one all together. O(n log n), and at
//! each grant those who hold then. Deliberately absent: one client's lock, whose overlaps are pairs
//! ([`super::overlaps`]).

use super::Violation;
use super::evidence::{Facts, seconds, validity};
use crate::history::Hold;
use crate::lock_kind::LockKind;
use crate::time::Nanos;

/// As many as a violation tells of.
const TOLD: usize = 4;

/// A grant that should have been kept out.
pub(super) struct Crowd {
    /// The place of its hold.
    pub place: usize,
    /// The places of those who kept it out, the first ones, by their grants; at least one.
    pub others: Vec<usize>,
    /// Since when there were too many.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
}

/// All crowds, lock by lock, in the order of their grants. `spans` says for a hold's place in which spans it surely has
/// the lock.
pub(super) fn of<I>(facts: &Facts<'_>, kind: LockKind, spans: impl Fn(usize) -> I) -> Vec<Crowd>
where
    I: Iterator<Item = (Nanos, Nanos)>,
{
    let shared = |place: usize| facts.holds[place].shared;
    let mut crowds = Vec::new();
    for places in &facts.locks {
        let of_each = places.iter().flat_map(|place| spans(*place).map(|(from, to)| (from, to, *place)));
        let mut all: Vec<(Nanos, Nanos, usize)> = of_each.filter(|(from, to, _)| from < to).collect();
        all.sort_unstable_by_key(|(from, _, place)| (*from, *place));
        let mut active: Vec<(Nanos, usize)> = Vec::new();
        for (from, to, place) in all {
            active.retain(|(to, _)| *to > from);
            if kind.keeps_out(active.iter().map(|(_, other)| shared(*other)), shared(place)) {
                let keeps_out = |(_, other): &&(Nanos, usize)| {
                    matches!(kind, LockKind::Semaphore { .. }) || kind.excludes(shared(*other), shared(place))
                };
                let in_the_way: Vec<&(Nanos, usize)> = active.iter().filter(keeps_out).collect();
                let mut ends: Vec<Nanos> = in_the_way.iter().map(|(to, _)| *to).chain([to]).collect();
                ends.sort_unstable();
                let over = match kind {
                    LockKind::Semaphore { permits } => ends[ends.len() - 1 - permits as usize],
                    _ => ends[ends.len() - 2].min(to),
                };
                let others = in_the_way.iter().take(TOLD).map(|(_, other)| *other).collect();
                crowds.push(Crowd { place, others, from, to: over });
            }
            active.push((to, place));
        }
    }
    crowds
}

/// How often a lock was granted to another client than the time before.
pub(super) fn handovers(facts: &Facts<'_>) -> u64 {
    let client = |place: usize| facts.holds[place].client;
    let passed_on = |places: &Vec<usize>| places.windows(2).filter(|pair| client(pair[0]) != client(pair[1])).count();
    facts.locks.iter().map(passed_on).sum::<usize>() as u64
}

/// Whether a hold is a reader's or a writer's, where there are such.
pub(super) fn role(kind: LockKind, hold: &Hold) -> &'static str {
    match (kind, hold.shared) {
        (LockKind::ReadWrite, true) => " to read",
        (LockKind::ReadWrite, false) => " to write",
        _ => "",
    }
}

/// Tells of a lock that was granted anew though it had promised too much to others.
pub(super) fn granted_beside(facts: &Facts<'_>, kind: LockKind, crowd: &Crowd) -> Violation {
    let told = |place: usize| {
        let hold = &facts.holds[place];
        let role = role(kind, hold);
        format!("{} was granted it{role} at {}{}", facts.holder(hold), seconds(hold.from), validity(hold))
    };
    let granted = &facts.holds[crowd.place];
    let others = crowd.others.iter().map(|place| told(*place)).collect::<Vec<_>>().join("; ");
    let text = format!(
        "`{}` was granted to more at once than a {kind} allows: {others}; and while all of those surely had it, {}.",
        granted.lock,
        told(crowd.place)
    );
    violation(facts, crowd, text)
}

/// A crowd as a violation, with the faults that were active. How bad it was is the caller's to say.
pub(super) fn violation(facts: &Facts<'_>, crowd: &Crowd, text: String) -> Violation {
    let holds = || crowd.others.iter().chain([&crowd.place]).map(|place| &facts.holds[*place]);
    let since = holds().map(|hold| hold.from).min().unwrap_or(crowd.from);
    let clients: Vec<_> = holds().map(|hold| hold.client).collect();
    let text = text + &facts.active_faults(&clients, since, crowd.to);
    let mut ops: Vec<u32> = holds().map(|hold| hold.granted).collect();
    ops.sort_unstable();
    Violation { severity: None, text, ops, from: crowd.from, to: crowd.to, incident: None }
}
