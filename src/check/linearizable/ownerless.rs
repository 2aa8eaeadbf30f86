//! A mutex that knows no owner (Knossos' `mutex`): acquires and releases have only to alternate.
//!
//! Ops are taken in the order of their ends. Each is put off until its end forces it; if the lock is then in the wrong
//! state, the pending op of the other kind that must be done first is done before it, and one in doubt, which need
//! never be done, only if there is no other (earliest deadline first). What was done stays done, and no other choice
//! leaves more open, since the ops of one kind differ in nothing but their intervals. O(n log n), any number of ops in
//! doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::model::FailedRelease;
use super::replay::Seen;
use super::words;
use crate::check::Violation;
use crate::check::evidence::{Listing, seconds};
use crate::history::{F, Op, OpType, Process};
use crate::ids::LockName;
use crate::time::Nanos;

/// One acquire or release of one lock that may have happened.
struct Step<'a> {
    f: F,
    invoked: &'a Op,
    /// The completion, if it certainly happened.
    done: Option<&'a Op>,
}

/// Looks for what cannot alternate.
pub(super) fn check<'a>(
    ops: impl Iterator<Item = &'a Op>,
    failed_release: FailedRelease,
    clock_error: Duration,
) -> (Listing, Seen) {
    let (mut listing, mut seen) = (Listing::default(), Seen::default());
    for (lock, steps) in steps(ops, failed_release) {
        seen.in_doubt += steps.iter().filter(|step| step.done.is_none()).count() as u64;
        let grants: Vec<_> = steps.iter().filter(|step| step.f == F::Acquire && step.done.is_some()).collect();
        seen.grants += grants.len() as u64;
        seen.handovers +=
            grants.windows(2).filter(|pair| pair[0].invoked.client != pair[1].invoked.client).count() as u64;
        alternate(lock, &steps, clock_error, &mut listing);
    }
    (listing, seen)
}

/// The ops of each lock that certainly or perhaps happened.
fn steps<'a>(
    ops: impl Iterator<Item = &'a Op>,
    failed_release: FailedRelease,
) -> BTreeMap<&'a LockName, Vec<Step<'a>>> {
    let mut locks: BTreeMap<&LockName, Vec<Step<'_>>> = BTreeMap::new();
    let mut open: BTreeMap<Process, &Op> = BTreeMap::new();
    for op in ops.filter(|op| matches!(op.f, F::Acquire | F::Release)) {
        let Some(lock) = &op.lock else { continue };
        if op.kind == OpType::Invoke {
            open.insert(op.process, op);
            continue;
        }
        let Some(invoked) = open.remove(&op.process) else { continue };
        let happened = match (op.kind, op.f, failed_release) {
            (OpType::Fail, F::Acquire, _) | (OpType::Fail, _, FailedRelease::DidNothing) => continue,
            (OpType::Ok, ..) => Some(op),
            _ => None,
        };
        locks.entry(lock).or_default().push(Step { f: op.f, invoked, done: happened });
    }
    for invoked in open.into_values() {
        if let Some(lock) = &invoked.lock {
            locks.entry(lock).or_default().push(Step { f: invoked.f, invoked, done: None });
        }
    }
    locks
}

fn alternate(lock: &LockName, steps: &[Step<'_>], clock_error: Duration, listing: &mut Listing) {
    let deadline = |step: &Step<'_>| step.done.map_or(Nanos(u64::MAX), |op| op.time + clock_error);
    // At one instant invocations come first: intervals are closed.
    let mut events: Vec<(Nanos, bool, usize)> = Vec::with_capacity(steps.len() * 2);
    for (place, step) in steps.iter().enumerate() {
        events.push((step.invoked.time, false, place));
        if step.done.is_some() {
            events.push((deadline(step), true, place));
        }
    }
    events.sort_unstable();
    let mut pending: BTreeMap<F, BTreeSet<(Nanos, usize)>> = BTreeMap::new();
    let mut last: Option<usize> = None;
    for (_, is_end, place) in events {
        let step = &steps[place];
        let key = (deadline(step), place);
        if !is_end {
            pending.entry(step.f).or_default().insert(key);
            continue;
        }
        if !pending.entry(step.f).or_default().remove(&key) {
            continue;
        }
        // A free lock is one whose last op was a release.
        let is_held = last.is_some_and(|last| steps[last].f == F::Acquire);
        if is_held == (step.f == F::Acquire) {
            let other = if is_held { F::Release } else { F::Acquire };
            if pending.entry(other).or_default().pop_first().is_none() {
                listing.add(|| twice(lock, last.map(|last| &steps[last]), step));
            }
        }
        last = Some(place);
    }
}

/// Two acquires without a release between them, or two releases without an acquire.
fn twice(lock: &LockName, before: Option<&Step<'_>>, step: &Step<'_>) -> Violation {
    let end = step.done.unwrap_or(step.invoked);
    let who = |step: &Step<'_>| match step.invoked.client {
        Some(client) => client.to_string(),
        None => format!("process {}", step.invoked.process),
    };
    let did = if step.f == F::Acquire { "acquired" } else { "released" };
    let between = if step.f == F::Acquire { "release" } else { "acquire" };
    let (text, first) = match before {
        Some(before) => {
            let done = before.done.unwrap_or(before.invoked);
            let text = format!(
                "{} {did} `{lock}` at {}, {} {did} it at {}, and no {between} can have taken effect in between.",
                who(before),
                seconds(done.time),
                who(step),
                seconds(end.time)
            );
            (text, Some(done))
        }
        None => {
            let text = format!(
                "{} {did} `{lock}` at {}, and nobody can have acquired it before.",
                who(step),
                seconds(end.time)
            );
            (text, None)
        }
    };
    let ops = first.map(|op| op.index).into_iter().chain([end.index]).collect();
    words::violation(text, ops, first.map_or(end.time, |op| op.time), end.time)
}
