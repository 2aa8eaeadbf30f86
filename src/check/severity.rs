//! The severity of overlaps: how bad an overlap of two holds was: what a client believed, what it did, what came of it.
//!
//! Judged at the resource, which alone knows in which order it served. Deliberately absent: whether holds overlap; and
//! harm that needs no overlap, which `fencing` and `lost_updates` tell.

use std::collections::{BTreeMap, BTreeSet};

use super::Severity;
use super::evidence::Facts;
use super::uses::Uses;
use crate::history::{F, OpType, Process};

/// What some holds did to the resource, and how bad that makes their overlaps.
pub(super) struct Severities<'a> {
    uses: &'a [Option<Uses>],
    /// The accepted writes of each hold: item, version that it had read, version that it made.
    writes: BTreeMap<usize, Vec<(u32, u32, u32)>>,
}

impl<'a> Severities<'a> {
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
    pub fn of_overlap(&self, one: usize, other: usize) -> Severity {
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

#[cfg(test)]
mod tests {
    use super::super::{CheckName, judge};
    use super::*;
    use crate::check::tests::story::Story;
    use crate::history::ItemValue;

    /// How bad it is that c1 and c2 hold at once, whose accesses are `told`.
    fn severity(told: impl FnOnce(&mut Story)) -> Severity {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 3, None);
        story.acquire("c2-1", 2, 20, None);
        told(&mut story);
        story.release("c1-1", 80);
        story.release("c2-1", 90);
        let checks = judge(&story.history()).checks;
        let exclusion = checks.into_iter().find(|result| result.check == CheckName::MutualExclusion).unwrap();
        exclusion.violations[0].severity.unwrap()
    }

    /// Both write item 1 from version 0, c2 first.
    fn overwritten(story: &mut Story) {
        story.write("c2-1", 35, 0, 1, 8);
        story.write("c1-1", 40, 0, 2, 8);
    }

    /// The values of the last write: the resource's and the client's.
    fn last_write(story: &mut Story) -> impl Iterator<Item = &mut ItemValue> {
        story.ops.iter_mut().rev().take(2).filter_map(|op| op.value.as_mut())
    }

    #[test]
    fn an_effect_is_a_write_over_one_that_it_had_not_seen() {
        assert_eq!(severity(overwritten), Severity::Effect);
        let seen = |story: &mut Story| {
            story.write("c2-1", 35, 0, 1, 8);
            story.write("c1-1", 40, 1, 2, 7);
        };
        assert_eq!(severity(seen), Severity::Belief);
        let of_another_item = |story: &mut Story| {
            overwritten(story);
            last_write(story).for_each(|value| value.item = 2);
        };
        assert_eq!(severity(of_another_item), Severity::Belief);
        let earlier = |story: &mut Story| {
            story.write("c2-1", 35, 0, 1, 8);
            story.write("c2-1", 36, 1, 5, 7);
            story.write("c1-1", 40, 5, 6, 7);
        };
        assert_eq!(severity(earlier), Severity::Belief, "made from a version above both");
    }

    #[test]
    fn only_writes_that_were_accepted_have_effects() {
        let refused = |story: &mut Story| {
            overwritten(story);
            story.ops.iter_mut().rev().take(2).for_each(|op| op.kind = OpType::Fail);
        };
        assert_eq!(severity(refused), Severity::Belief);
        let read = |story: &mut Story| {
            overwritten(story);
            story.ops.iter_mut().rev().take(3).for_each(|op| op.f = F::Read);
        };
        assert_eq!(severity(read), Severity::Belief);
    }

    #[test]
    fn the_resource_knows_what_it_accepted_and_clients_tell_where_it_is_silent() {
        let told_otherwise = |story: &mut Story| {
            overwritten(story);
            story.ops.last_mut().unwrap().kind = OpType::Fail;
        };
        assert_eq!(severity(told_otherwise), Severity::Effect, "accepted, whatever c1 was told");
        let clients_only = |story: &mut Story| {
            overwritten(story);
            story.ops.retain(|op| op.process != Process::Resource);
        };
        assert_eq!(severity(clients_only), Severity::Effect);
        let one_version = |story: &mut Story| {
            clients_only(story);
            story.ops.last_mut().unwrap().value.as_mut().unwrap().version = Some(1);
        };
        assert_eq!(severity(one_version), Severity::Belief, "one version, two clients: nothing tells whose is gone");
    }
}
