//! How bad an overlap of two holds was: what a client believed, what it did, what came of it.
//!
//! Judged at the resource, which alone knows in which order it served. Deliberately absent: whether holds overlap; and
//! harm that needs no overlap, which `fencing` and `lost_updates` tell.

use std::collections::{BTreeMap, BTreeSet};

use super::Severity;
use super::evidence::Facts;
use super::mutual_exclusion::Uses;
use crate::history::{F, OpType, Process};

/// What some holds did to the resource.
pub(super) struct Harm<'a> {
    uses: &'a [Option<Uses>],
    /// The accepted writes of each hold: item, version that it had read, version that it made.
    writes: BTreeMap<usize, Vec<(u32, u32, u32)>>,
}

impl<'a> Harm<'a> {
    /// What the holds at `places` did; `uses` are all holds' uses of the resource.
    pub fn of(facts: &Facts<'_>, uses: &'a [Option<Uses>], places: &BTreeSet<usize>) -> Self {
        let mut writes: BTreeMap<usize, Vec<(u32, u32, u32)>> = BTreeMap::new();
        for op in facts.history.ops.iter().filter(|op| op.f == F::Write && op.kind == OpType::Ok) {
            // Another harness's history may know clients' ops only.
            if facts.served.is_empty() == (op.process == Process::Resource) {
                continue;
            }
            let place = op.hold.as_ref().and_then(|id| facts.place(id)).filter(|place| places.contains(place));
            let (Some(place), Some(value)) = (place, op.value) else { continue };
            if let (Some(based_on), Some(version)) = (value.based_on, value.version) {
                writes.entry(place).or_default().push((value.item, based_on, version));
            }
        }
        Self { uses, writes }
    }

    /// How bad it was that the holds at two of the places overlapped.
    pub fn severity(&self, one: usize, other: usize) -> Severity {
        let interleaved = matches!((self.uses[one], self.uses[other]), (Some(a), Some(b)) if a.interleaves(b));
        if self.overwrote(one, other) || self.overwrote(other, one) {
            Severity::Effect
        } else if interleaved {
            Severity::Interleaved
        } else {
            Severity::Belief
        }
    }

    /// Whether a write of the hold at `by` went over one of the hold at `lost` that it had not seen.
    fn overwrote(&self, by: usize, lost: usize) -> bool {
        let of = |place| self.writes.get(&place).map_or(&[][..], Vec::as_slice);
        of(by).iter().any(|(item, based_on, made)| {
            of(lost).iter().any(|(on, _, version)| item == on && based_on < version && version < made)
        })
    }
}
