//! When each hold used the resource: what tells whether two critical sections interleaved.

use std::collections::BTreeMap;

use super::evidence::Facts;
use crate::history::{F, OpType, Process};

/// When a hold used the resource, as indices of the history.
#[derive(Clone, Copy)]
pub(super) struct Uses {
    /// Its first use had happened by this op.
    pub first: u32,
    /// Its last use had not happened before this op.
    pub last: u32,
}

impl Uses {
    /// Whether neither can have been done with the resource before the other one began.
    pub fn interleaves(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// For each hold, its uses of the resource: accesses that were served. A refused one had no effect, so a resource that
/// fences turns interleaved critical sections into mere belief.
///
/// The resource's own ops tell the order of service. A history without any (another harness's) has the clients' ops
/// instead, whose effect lies somewhere between invocation and completion.
pub(super) fn uses(facts: &Facts<'_>) -> Vec<Option<Uses>> {
    let mut uses: Vec<Option<Uses>> = vec![None; facts.holds.len()];
    let mut note = |place: usize, by: u32, not_before: u32| {
        let known = uses[place].get_or_insert(Uses { first: by, last: not_before });
        known.first = known.first.min(by);
        known.last = known.last.max(not_before);
    };
    for (op, place) in facts.served.iter().filter(|(op, _)| op.kind == OpType::Ok) {
        note(*place, op.index, op.index);
    }
    if facts.served.is_empty() {
        let mut invoked: BTreeMap<Process, u32> = BTreeMap::new();
        for op in facts.history.ops.iter().filter(|op| matches!(op.f, F::Read | F::Write)) {
            match op.kind {
                OpType::Invoke => drop(invoked.insert(op.process, op.index)),
                OpType::Ok => {
                    let place = op.hold.as_ref().and_then(|id| facts.place(id));
                    if let (Some(place), Some(index)) = (place, invoked.get(&op.process)) {
                        note(place, op.index, *index);
                    }
                }
                OpType::Fail | OpType::Info => {}
            }
        }
    }
    uses
}
