//! No two holds of one lock overlap.
//!
//! A hold is what its client may believe: from the acquire's completion to the release's invocation or the lost signal.
//! Both ends are cut as short as they can be, so an overlap is certain: an acquire in doubt is never a hold, a release
//! in doubt or refused ends its hold when it begins, ends that touch do not overlap. Deliberately absent: what a lock's
//! servers thought, and who was granted first.

use std::collections::BTreeSet;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::evidence::{Blame, Facts, Listing, counted, lasting, milliseconds, seconds, validity};
use super::overlaps::{Overlaps, Span, overlaps, overlaps_that_meet, pairs_that_overlap};
use super::severity::Severities;
use super::uses::{Uses, uses};
use super::{CheckName, CheckResult, Severity, Verdict, Violation, conclude, contention, several};
use crate::history::{Api, Ending, Hold};
use crate::time::Nanos;

const GUARANTEE: &str = "No two holds of one lock overlap, from the completion of an acquire to the invocation of its release or the \
     signal that it was lost.";

/// Judges whether two holds of one lock certainly overlap.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let kind = facts.history.header.kind;
    if !kind.is_mutex() {
        return several::check(facts, kind);
    }
    let (mut tally, mut listing) = (Tally::default(), Listing::default());
    if is_broken(facts) {
        let uses = uses(facts);
        tally = Tally::of(facts, &uses);
        listing = listed(facts, &uses);
        listing.count(blames(facts));
    }

    let overlaps = listing.total();
    let holds = counted(facts.holds.len(), "hold", "holds");
    let (verdict, summary) = if overlaps > 0 {
        let within = match facts.history.header.api {
            None => format!("{} of them while both were valid by their own API", tally.within_validity),
            Some(Api { lease: Some(lease), .. }) => format!(
                "as the lock's API presents it; {} of them within its validity and the lease of {}",
                tally.within_validity,
                lasting(Duration::from_nanos(lease))
            ),
            Some(Api { lease: None, .. }) => format!(
                "as the lock's API presents it, which states no lease; {} of them within its validity",
                tally.within_validity
            ),
        };
        let summary = format!(
            "{} among {holds}, {within}, {} with interleaved use of the resource; {} in all, the longest {}.",
            counted(overlaps, "overlap", "overlaps"),
            tally.interleaved,
            lasting(tally.overlaps.duration()),
            lasting(tally.overlaps.longest),
        );
        (Verdict::Invalid, summary)
    } else if !was_shared(facts) {
        (Verdict::Unknown, format!("{holds}, and no lock was ever held by two clients: nothing could overlap."))
    } else if !contention::occurs(facts.history, kind) {
        (Verdict::Unknown, format!("{holds}, and no acquire met a held lock: the lock never had to keep anybody out."))
    } else {
        (Verdict::Valid, format!("{holds}, no two of one lock overlapped."))
    };
    let figures = [
        ("holds", facts.holds.len() as f64),
        ("overlaps", overlaps as f64),
        ("overlaps-within-validity", tally.within_validity as f64),
        ("overlaps-interleaved", tally.interleaved as f64),
        ("overlap-ms", milliseconds(tally.overlaps.duration())),
        ("longest-overlap-ms", milliseconds(tally.overlaps.longest)),
    ];
    conclude(CheckName::MutualExclusion, GUARANTEE, verdict, summary, &figures, listing)
}

/// Whether any two holds overlap: what most locks never do is found out without counting.
fn is_broken(facts: &Facts<'_>) -> bool {
    let mut held_until = vec![Nanos::ZERO; facts.locks.len()];
    facts.holds.iter().zip(&facts.lock_of).any(|(hold, lock)| {
        // Holds come in the order of their grants.
        let span = certain(facts, hold, hold.to);
        let held_until = &mut held_until[*lock];
        let overlaps = !span.is_empty() && span.from < *held_until;
        *held_until = if span.is_empty() { *held_until } else { span.to.max(*held_until) };
        overlaps
    })
}

/// An overlap is certain if it is longer than clocks may disagree.
fn certain(facts: &Facts<'_>, hold: &Hold, to: Nanos) -> Span {
    Span { from: hold.from + facts.clock_error(), to }
}

/// How often, and for how long.
#[derive(Default)]
struct Tally {
    overlaps: Overlaps,
    within_validity: u64,
    interleaved: u64,
}

impl Tally {
    fn of(facts: &Facts<'_>, uses: &[Option<Uses>]) -> Self {
        let mut tally = Self::default();
        for places in &facts.locks {
            let holds = || places.iter().map(|place| &facts.holds[*place]);
            let held: Vec<Span> = holds().map(|hold| certain(facts, hold, hold.to)).collect();
            let valid = holds().enumerate().flat_map(|(at, hold)| {
                let spans = hold.valid_spans();
                // Without a validity, what its settings state: from the grant on, since nobody knows when it was asked.
                let lease = facts.history.header.api.and_then(|api| api.lease).filter(|_| hold.valid_until.is_none());
                let over = lease.map_or(Nanos(u64::MAX), |lease| hold.from + Duration::from_nanos(lease));
                spans.map(move |(from, to)| (at, Span { from: from + facts.clock_error(), to: to.min(over) }))
            });
            let reaches: Vec<_> =
                places.iter().map(|place| uses[*place].map(|uses| (uses.first.into(), uses.last.into()))).collect();
            tally.overlaps = tally.overlaps.and(overlaps(&held));
            tally.within_validity += pairs_that_overlap(valid.collect());
            tally.interleaved += overlaps_that_meet(&held, &reaches);
        }
        tally
    }
}

/// The first overlaps. Looking at every pair would take quadratic time.
fn listed(facts: &Facts<'_>, uses: &[Option<Uses>]) -> Listing {
    let pairs = first_overlaps(facts);
    let places = pairs.iter().flat_map(|(one, other)| [*one, *other]).collect();
    let severities = Severities::of(facts, uses, &places);
    let mut listing = Listing::default();
    for (earlier, later) in pairs {
        let severity = severities.of_overlap(earlier, later);
        let overlap = Overlap { earlier: &facts.holds[earlier], later: &facts.holds[later], severity };
        listing.blame(earlier, Some(later), overlap.later.from, || overlap.violation(facts));
    }
    listing
}

/// Each hold that others were granted during, with the first of those and their number.
fn blames(facts: &Facts<'_>) -> Vec<Blame> {
    let mut blames = Vec::new();
    for places in &facts.locks {
        let span = |place: &usize| certain(facts, &facts.holds[*place], facts.holds[*place].to);
        let some: Vec<usize> = places.iter().copied().filter(|place| !span(place).is_empty()).collect();
        for (at, place) in some.iter().enumerate() {
            let to = facts.holds[*place].to;
            // Holds come in the order of their grants.
            let count = some[at + 1..].partition_point(|later| span(later).from < to);
            if count > 0 {
                let other = some[at + 1];
                let at = facts.holds[other].from;
                blames.push(Blame { place: *place, other: Some(other), at, count: count as u64 });
            }
        }
    }
    blames
}

/// By their places, the earlier one first.
fn first_overlaps(facts: &Facts<'_>) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut told: FxHashMap<usize, usize> = FxHashMap::default();
    let mut open: Vec<BTreeSet<(Nanos, usize)>> = vec![BTreeSet::new(); facts.locks.len()];
    for (place, later) in facts.holds.iter().enumerate() {
        let open = &mut open[facts.lock_of[place]];
        // Holds come in the order of their grants: one that ended before this grant overlaps no later one either.
        while open.first().is_some_and(|(to, _)| !facts.before(later.from, *to)) {
            open.pop_first();
        }
        if !facts.before(later.from, later.to) {
            continue;
        }
        for (_, other) in open.iter() {
            let told = told.entry(*other).or_default();
            if *told < Listing::PER_HOLD {
                *told += 1;
                pairs.push((*other, place));
            }
            if pairs.len() == Listing::LIMIT {
                return pairs;
            }
        }
        open.insert((later.to, place));
    }
    pairs
}

/// Whether two clients ever held one lock, be it one after the other.
fn was_shared(facts: &Facts<'_>) -> bool {
    let clients = |places: &[usize]| places.first().map(|first| facts.holds[*first].client);
    facts.locks.iter().any(|places| places.iter().any(|place| Some(facts.holds[*place].client) != clients(places)))
}

struct Overlap<'a> {
    earlier: &'a Hold,
    later: &'a Hold,
    severity: Severity,
}

impl Overlap<'_> {
    fn to(&self) -> Nanos {
        self.earlier.to.min(self.later.to)
    }

    /// How long it certainly lasted.
    fn certain(&self, facts: &Facts<'_>) -> Duration {
        (self.to() - self.later.from).saturating_sub(facts.clock_error())
    }

    fn violation(&self, facts: &Facts<'_>) -> Violation {
        let (earlier, later) = (self.earlier, self.later);
        let believed =
            if self.to() > earlier.clipped_to().min(later.clipped_to()) { "believed that they " } else { "" };
        let at_least = if facts.clock_error().is_zero() { "" } else { "at least " };
        let text = format!(
            "{} held `{}` from {}{}. {} was granted it at {} and held it{}: both {believed}held it for {at_least}{}.{}{}",
            facts.holder(earlier),
            earlier.lock,
            seconds(earlier.from),
            until(earlier),
            facts.holder(later),
            seconds(later.from),
            until(later),
            lasting(self.certain(facts)),
            match self.severity {
                Severity::Belief => "",
                Severity::Interleaved => " Their uses of the resource interleaved.",
                Severity::Effect => " One of them wrote over an update of the other that it had not seen.",
            },
            facts.active_faults(&[earlier.client, later.client], earlier.from, self.to()),
        );
        let grants = [earlier.granted, later.granted].into_iter();
        let ends = [earlier, later].into_iter().filter_map(|hold| Some(hold.ended?.0));
        let mut ops: Vec<u32> = grants.chain(ends).collect();
        ops.sort_unstable();
        Violation { severity: Some(self.severity), text, ops, from: later.from, to: self.to(), incident: None }
    }
}

/// How a hold went on and ended: past its validity its client can only believe that it holds.
fn until(hold: &Hold) -> String {
    let end = match hold.ended {
        Some((_, Ending::Released)) => seconds(hold.to),
        Some((_, Ending::Lost)) => format!("{}, when it was told that it had lost it", seconds(hold.to)),
        Some((_, Ending::Crashed)) => format!("{}, when it died", seconds(hold.to)),
        None => format!("the end of the history at {}", seconds(hold.to)),
    };
    if hold.clipped_to() < hold.to {
        format!("{}, but it believed that it held it until {end}", validity(hold))
    } else {
        format!(" to {end}{}", validity(hold))
    }
}
