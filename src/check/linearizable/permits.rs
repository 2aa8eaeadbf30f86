//! What several may hold at once: semaphores, and locks that readers share.
//!
//! An acquire takes effect when it completes, a release when it is invoked, an acquire in doubt never: as in
//! [`super::replay`], any other order can be turned into that one, since it only shrinks holds, and fewer holds at once
//! contradict less. So it is enough to count at every grant who holds. A release that is open, in doubt, or failed
//! where that ends the claim may have taken effect when it began. O(n log n), and at each grant the holds at that
//! moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::model::{FailedRelease, Model};
use super::replay::Seen;
use super::words::{self, Grant};
use crate::check::Violation;
use crate::check::evidence::{Listing, seconds};
use crate::history::{F, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;

/// A hold of one lock.
struct Held {
    grant: Grant,
    shared: bool,
    /// From when on it may be over.
    until: Nanos,
}

/// One lock's part of a history.
#[derive(Default)]
struct Part {
    holds: Vec<Held>,
    /// When somebody asked for it: who, and whether as a reader.
    asked: Vec<(Nanos, ClientId, bool)>,
}

/// Looks for too many holds at once; also says whether the lock ever had to keep anybody out.
pub(super) fn check(
    ops: &[&Op],
    model: Model,
    failed_release: FailedRelease,
    clock_error: Duration,
) -> (Listing, Seen, bool) {
    let (mut listing, mut seen, mut contended) = (Listing::default(), Seen::default(), false);
    for (lock, mut part) in parts(ops, failed_release, &mut seen, &mut listing) {
        part.holds.sort_by_key(|held| (held.grant.at, held.grant.op));
        let passed_on = part.holds.windows(2).filter(|pair| pair[0].grant.client != pair[1].grant.client);
        seen.grants += part.holds.len() as u64;
        seen.handovers += passed_on.count() as u64;
        let mut active: Vec<&Held> = Vec::new();
        let mut asked = part.asked.iter().peekable();
        for held in &part.holds {
            let begun = held.grant.at + clock_error;
            while let Some((at, client, shared)) = asked.next_if(|(at, ..)| *at <= held.grant.at) {
                let there = active.iter().filter(|other| other.until > *at).copied();
                contended |= model.keeps_out(there, *client, *shared);
            }
            active.retain(|other| other.until > begun);
            if model.keeps_out(active.iter().copied(), held.grant.client, held.shared) {
                listing.add(|| too_many(lock, model, &active, held));
            }
            active.push(held);
        }
        for (at, client, shared) in asked {
            let there = active.iter().filter(|other| other.until > *at).copied();
            contended |= model.keeps_out(there, *client, *shared);
        }
    }
    (listing, seen, contended)
}

impl Model {
    /// Whether a lock that is held like this may not be granted to a client.
    fn keeps_out<'a>(self, mut holds: impl Iterator<Item = &'a Held>, client: ClientId, shared: bool) -> bool {
        match self {
            Self::Semaphore { permits, .. } => holds.count() >= permits as usize,
            _ => holds.any(|held| held.grant.client != client && !(held.shared && shared)),
        }
    }
}

/// The holds of each lock, and who asked for it when.
fn parts<'a>(
    ops: &[&'a Op],
    failed_release: FailedRelease,
    seen: &mut Seen,
    listing: &mut Listing,
) -> BTreeMap<&'a LockName, Part> {
    let mut parts: BTreeMap<&LockName, Part> = BTreeMap::new();
    let mut places: BTreeMap<&HoldId, (&LockName, usize)> = BTreeMap::new();
    let mut open: BTreeMap<Process, &Op> = BTreeMap::new();
    let mut holders: BTreeSet<(&LockName, ClientId)> = BTreeSet::new();
    for op in ops.iter().copied() {
        let (F::Acquire | F::Release, Some(client)) = (op.f, op.client) else { continue };
        let (Some(lock), Some(hold)) = (&op.lock, &op.hold) else { continue };
        if op.kind == OpType::Invoke {
            open.insert(op.process, op);
            if op.f == F::Acquire {
                parts.entry(lock).or_default().asked.push((op.time, client, op.shared));
            }
            continue;
        }
        let invoked = open.remove(&op.process);
        seen.in_doubt += u64::from(op.kind == OpType::Info);
        match (op.f, op.kind) {
            (F::Acquire, OpType::Ok) => {
                let part = parts.entry(lock).or_default();
                places.insert(hold, (lock, part.holds.len()));
                holders.insert((lock, client));
                let grant = Grant { client, hold: hold.clone(), token: op.token, op: op.index, at: op.time };
                part.holds.push(Held { grant, shared: op.shared, until: Nanos(u64::MAX) });
            }
            (F::Release, kind) => {
                if kind == OpType::Fail && failed_release == FailedRelease::DidNothing {
                    continue;
                }
                let begun = invoked.map_or(op.time, |op| op.time);
                let place = places.get(hold).copied();
                let held = place.and_then(|(lock, place)| parts.get_mut(lock)?.holds.get_mut(place));
                match held {
                    Some(held) => held.until = held.until.min(begun),
                    None if kind == OpType::Ok && !holders.contains(&(lock, client)) => {
                        listing.add(|| words::released_unheld(lock, client, op));
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }
    for invoked in open.into_values() {
        seen.in_doubt += 1;
        // It may take effect, or have done so.
        let place =
            invoked.hold.as_ref().filter(|_| invoked.f == F::Release).and_then(|hold| places.get(hold).copied());
        if let Some(held) = place.and_then(|(lock, place)| parts.get_mut(lock)?.holds.get_mut(place)) {
            held.until = held.until.min(invoked.time);
        }
    }
    parts
}

fn too_many(lock: &LockName, model: Model, active: &[&Held], held: &Held) -> Violation {
    let who = |held: &Held| {
        let kind = match (model, held.shared) {
            (Model::ReadWrite { .. }, true) => " to read",
            (Model::ReadWrite { .. }, false) => " to write",
            _ => "",
        };
        format!("{} (hold {}) was granted it{kind} at {}", held.grant.client, held.grant.hold, seconds(held.grant.at))
    };
    let in_the_way: Vec<&&Held> = match model {
        Model::ReadWrite { .. } => active
            .iter()
            .filter(|other| other.grant.client != held.grant.client && !(other.shared && held.shared))
            .collect(),
        _ => active.iter().collect(),
    };
    let told: Vec<String> = in_the_way.iter().take(4).map(|other| who(other)).collect();
    let more = if in_the_way.len() > told.len() { ", …" } else { "" };
    let text = format!(
        "`{lock}`: {}{more}, and had not begun to release it when {}: more at once than {model} allows.",
        told.join(", "),
        who(held)
    );
    let ops = in_the_way.iter().take(4).map(|other| other.grant.op).chain([held.grant.op]).collect();
    words::violation(text, ops, held.grant.at, held.grant.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::story::Story;

    fn found(story: Story, model: Model) -> (usize, bool) {
        let history = story.history();
        let ops: Vec<&Op> = history.ops.iter().collect();
        let (listing, _, contended) = check(&ops, model, FailedRelease::EndsTheClaim, Duration::ZERO);
        (listing.total(), contended)
    }

    fn three() -> Story {
        let mut story = Story::new(3);
        story.acquire("c1-1", 10, 11, None);
        story.acquire("c2-1", 12, 13, None);
        story.op(14, "c3-1", OpType::Invoke, F::Acquire);
        story
    }

    #[test]
    fn a_semaphore_has_no_more_holders_than_permits() {
        let mut fits = three();
        fits.release("c1-1", 20);
        fits.op(22, "c3-1", OpType::Ok, F::Acquire);
        assert_eq!(found(fits, Model::Semaphore { permits: 2, lease: false }), (0, true));
        let mut too_many = three();
        too_many.op(22, "c3-1", OpType::Ok, F::Acquire);
        too_many.release("c1-1", 24);
        let ops = too_many.ops.clone();
        assert_eq!(found(too_many, Model::Semaphore { permits: 2, lease: false }), (1, true));
        let again = Story { ops, ..Story::new(3) };
        assert_eq!(found(again, Model::Semaphore { permits: 3, lease: false }), (0, false), "nobody had to wait");
    }

    #[test]
    fn readers_share_a_lock_and_writers_do_not() {
        let shared = |mut story: Story, readers: &[&str]| {
            for op in &mut story.ops {
                if readers.iter().any(|reader| op.hold == Some(HoldId::new(reader))) {
                    op.shared = true;
                }
            }
            story
        };
        assert_eq!(found(shared(three(), &["c1-1", "c2-1", "c3-1"]), Model::ReadWrite { lease: false }), (0, false));
        assert_eq!(
            found(shared(three(), &["c1-1", "c2-1"]), Model::ReadWrite { lease: false }),
            (0, true),
            "a writer waits"
        );
        assert_eq!(
            found(shared(three(), &["c1-1"]), Model::ReadWrite { lease: false }),
            (1, true),
            "c2 writes while c1 reads"
        );
    }
}
