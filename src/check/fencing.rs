//! The resource takes no stale access: judged at the resource, by its own ops, in the order in which it served them.
//!
//! "Stale" needs an order of grants, also for locks that give no tokens, and only certain order counts:
//! 1. A hold is older if its acquire was complete when the other one's was invoked.
//! 2. Else, where both have tokens, the lower token is older: that is the lock's own word on its order.
//! 3. Else the acquires were concurrent and nothing tells which was granted first; the order of completions does not,
//!    since a completion may be late. But if a hold was served, then another one, then the first again, one of the two
//!    is stale, whichever is older: the later access is counted. That covers every hold that used the resource before
//!    the other acquire completed.
//!
//! Readers of a read-write lock hold together, in any order: a reader is older or newer than writers only, a writer
//! than both.
//!
//! So a stale first access under a lock without tokens is not accused if the two acquires were concurrent; it is
//! counted as undecided, and leaves the check without a verdict of its own. Deliberately absent: how the resource
//! decides, and what came of it; the latter is `lost_updates`'.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Facts, Listing, counted, seconds, validity};
use super::{CheckName, CheckResult, Severity, Verdict, Violation, conclude, contention};
use crate::history::{F, Op, OpType};
use crate::ids::FencingToken;
use crate::lock_kind::LockKind;
use crate::time::Nanos;

const GUARANTEE: &str =
    "The resource never accepts an access from a hold that is older than one it has already served.";

/// Judges whether the resource accepted a stale access.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    if let LockKind::Semaphore { .. } = facts.history.header.kind {
        let summary =
            "Holders of a semaphore use the resource together, in any order: none of them is stale.".to_owned();
        return conclude(CheckName::Fencing, GUARANTEE, Verdict::NotApplicable, summary, &[], Listing::default());
    }
    let mut listing = Listing::default();
    let mut undecided = 0usize;
    let (mut accepted, mut stale_reads, mut stale_writes, mut stale_refused) = (0usize, 0usize, 0usize, 0usize);
    let services = each_access(facts, |op, place, stale, in_doubt| {
        if op.kind != OpType::Ok {
            stale_refused += usize::from(stale.is_some());
            return;
        }
        accepted += 1;
        undecided += usize::from(in_doubt);
        if let Some(stale) = stale {
            *(if op.f == F::Write { &mut stale_writes } else { &mut stale_reads }) += 1;
            listing.blame(place, Some(stale.newer.place), op.time, || stale.violation(facts, op, place));
        }
    });

    let accesses = facts.served.len();
    let refused = accesses - accepted;
    let stale_accepted = stale_reads + stale_writes;
    let told = format!("{}, {refused} refused", counted(accesses, "access", "accesses"));
    let tokenless = !facts.holds.is_empty() && facts.holds.iter().all(|hold| hold.token.is_none());
    let nothing = if tokenless { " The lock gave no tokens: the resource had nothing to fence with." } else { "" };
    let (verdict, summary) = if stale_accepted > 0 {
        let summary = format!(
            "{told}; {} accepted ({stale_reads} read, {stale_writes} written), {stale_refused} refused.{nothing}",
            counted(stale_accepted, "stale access", "stale accesses"),
        );
        (Verdict::Invalid, summary)
    } else if services.services.iter().all(|service| service.visitors < 2) {
        (Verdict::Unknown, format!("{told}; no item was reached by two holds: nothing could be stale.{nothing}"))
    } else if !contention::occurs(facts.history, facts.history.header.kind) {
        (Verdict::Unknown, format!("{told}; no acquire met a held lock: there was nobody to be fenced from.{nothing}"))
    } else if undecided > 0 {
        let accesses = counted(undecided, "access was", "accesses were");
        let told = format!("{told}; {accesses} served after a hold granted later, but the acquires were concurrent");
        (Verdict::Unknown, format!("{told}: nothing tells which hold is older.{nothing}"))
    } else {
        (Verdict::Valid, format!("{told}; no stale access was accepted, {stale_refused} refused.{nothing}"))
    };
    let figures = [
        ("accesses", accesses as f64),
        ("accepted", accepted as f64),
        ("refused", refused as f64),
        ("stale-accepted", stale_accepted as f64),
        ("stale-reads-accepted", stale_reads as f64),
        ("stale-writes-accepted", stale_writes as f64),
        ("stale-refused", stale_refused as f64),
        ("stale-undecided", undecided as f64),
    ];
    conclude(CheckName::Fencing, GUARANTEE, verdict, summary, &figures, listing)
}

/// The indices of the accesses that were stale, accepted or not: those that [`check`] counts.
pub(super) fn stale_accesses(facts: &Facts<'_>) -> BTreeSet<u32> {
    let mut accesses = BTreeSet::new();
    if !matches!(facts.history.header.kind, LockKind::Semaphore { .. }) {
        each_access(facts, |op, _, stale, _| accesses.extend(stale.map(|_| op.index)));
    }
    accesses
}

/// Goes through the accesses in the order of service: each with the place of its hold, why it is stale if it is, and,
/// of one that was accepted and is not known to be stale, whether nothing tells.
fn each_access<'a>(facts: &Facts<'a>, mut judged: impl FnMut(&'a Op, usize, Option<&Stale<'a>>, bool)) -> Services<'a> {
    let mut services = Services::new(facts);
    for (op, place) in &facts.served {
        let item = op.value.map_or(0, |value| value.item);
        let (service, first) = services.reach((item, facts.lock_of[*place]), *place);
        let stale = service.staleness(facts, *place, *first);
        let accepted = op.kind == OpType::Ok;
        judged(op, *place, stale.as_ref(), accepted && stale.is_none() && service.is_undecided(facts, *place));
        if accepted {
            first.get_or_insert(op);
            service.serve(facts, op, *place, stale.is_some());
        }
    }
    services
}

/// What all items have served so far.
struct Services<'a> {
    /// The number of each item under each lock.
    numbers: BTreeMap<(u32, usize), usize>,
    services: Vec<Service<'a>>,
    /// For each hold, the first item that it reached, and the first of its accesses there that was served.
    visits: Vec<Option<(usize, Option<&'a Op>)>>,
    /// The same for the other items that a hold reached, which few do.
    others: BTreeMap<(usize, usize), Option<&'a Op>>,
}

impl<'a> Services<'a> {
    fn new(facts: &Facts<'_>) -> Self {
        let visits = vec![None; facts.holds.len()];
        Self { numbers: BTreeMap::new(), services: Vec::new(), visits, others: BTreeMap::new() }
    }

    /// The item that the hold at `place` reaches, and the first access that the hold was served there, if it was.
    fn reach(&mut self, item: (u32, usize), place: usize) -> (&mut Service<'a>, &mut Option<&'a Op>) {
        let Self { numbers, services, visits, others } = self;
        let number = *numbers.entry(item).or_insert(services.len());
        if number == services.len() {
            services.push(Service::default());
        }
        let service = &mut services[number];
        let mut visitor = || {
            service.visitors += 1;
            None
        };
        let (first, served) = visits[place].get_or_insert_with(|| (number, visitor()));
        let served = if *first == number { served } else { others.entry((number, place)).or_insert_with(visitor) };
        (service, served)
    }
}

/// What one item has served so far under one lock.
#[derive(Default)]
struct Service<'a> {
    /// How many holds reached it.
    visitors: usize,
    /// Whoever came.
    all: Marks<'a>,
    /// Those who share the lock with nobody.
    alone: Marks<'a>,
}

/// Those who were served so far, as far as it tells who is stale.
#[derive(Default)]
struct Marks<'a> {
    /// The served hold whose acquire was invoked last.
    youngest: Option<(Nanos, Served<'a>)>,
    /// The served hold with the highest token.
    highest: Option<(FencingToken, Served<'a>)>,
    /// The served hold whose acquire completed last.
    latest: Option<usize>,
    /// The last served access that was not stale. If it is of another hold than one that was served without being
    /// stale, then it came after: else that one's would be the last.
    last: Option<Served<'a>>,
}

/// An access that was served, and the place of its hold.
#[derive(Clone, Copy)]
struct Served<'a> {
    op: &'a Op,
    place: usize,
}

impl<'a> Service<'a> {
    /// Those whom the hold at `place` may be older than.
    fn rivals(&self, facts: &Facts<'_>, place: usize) -> &Marks<'a> {
        if facts.holds[place].shared && facts.history.header.kind == LockKind::ReadWrite {
            &self.alone
        } else {
            &self.all
        }
    }

    /// Whether an access of the hold at `place`, whose first served access here was `first`, is stale now, after which
    /// access, and how that is known.
    fn staleness(&self, facts: &Facts<'_>, place: usize, first: Option<&'a Op>) -> Option<Stale<'a>> {
        self.rivals(facts, place).staleness(facts, place, first)
    }

    /// Whether an access that is not known to be stale comes after one of a hold whose acquire completed later.
    fn is_undecided(&self, facts: &Facts<'_>, place: usize) -> bool {
        self.rivals(facts, place).is_undecided(facts, place)
    }

    fn serve(&mut self, facts: &Facts<'_>, op: &'a Op, place: usize, stale: bool) {
        if !facts.holds[place].shared {
            self.alone.serve(facts, op, place, stale);
        }
        self.all.serve(facts, op, place, stale);
    }
}

impl<'a> Marks<'a> {
    fn staleness(&self, facts: &Facts<'_>, place: usize, first: Option<&'a Op>) -> Option<Stale<'a>> {
        let hold = &facts.holds[place];
        if let Some((requested, newer)) = self.youngest
            && facts.before(hold.from, requested)
        {
            return Some(Stale { newer, known: Known::Requested });
        }
        if let (Some((highest, newer)), Some(token)) = (self.highest, hold.token)
            && token < highest
            && is_older(facts, place, newer.place)
        {
            return Some(Stale { newer, known: Known::Token });
        }
        let first = first?;
        // A reader's first access may have come after the last of a writer.
        let other = self.last.filter(|served| served.place != place && served.op.index > first.index)?;
        Some(Stale { newer: other, known: Known::Between(first) })
    }

    fn is_undecided(&self, facts: &Facts<'_>, place: usize) -> bool {
        self.latest.is_some_and(|latest| latest > place && !is_older(facts, latest, place))
    }

    fn serve(&mut self, facts: &Facts<'_>, op: &'a Op, place: usize, stale: bool) {
        let served = Served { op, place };
        self.latest = self.latest.max(Some(place));
        let requested = facts.requested[place];
        if self.youngest.is_none_or(|(youngest, _)| youngest < requested) {
            self.youngest = Some((requested, served));
        }
        if let Some(token) = facts.holds[place].token
            && self.highest.is_none_or(|(highest, _)| highest < token)
        {
            self.highest = Some((token, served));
        }
        if !stale {
            self.last = Some(served);
        }
    }
}

/// Whether the hold at `one` was certainly granted before the one at `other`.
fn is_older(facts: &Facts<'_>, one: usize, other: usize) -> bool {
    let finished_before = |one: usize, other: usize| facts.before(facts.holds[one].from, facts.requested[other]);
    let lower = matches!((facts.holds[one].token, facts.holds[other].token), (Some(a), Some(b)) if a < b);
    finished_before(one, other) || (lower && !finished_before(other, one))
}

struct Stale<'a> {
    newer: Served<'a>,
    known: Known<'a>,
}

/// How it is known that a hold is stale.
enum Known<'a> {
    /// It was granted before the newer one was asked for.
    Requested,
    /// Its token is lower.
    Token,
    /// It was first served here, before the other one, so one of the two is stale.
    Between(&'a Op),
}

impl Stale<'_> {
    fn violation(&self, facts: &Facts<'_>, op: &Op, place: usize) -> Violation {
        let (old, new) = (&facts.holds[place], &facts.holds[self.newer.place]);
        let reason = match self.known {
            Known::Requested => {
                let requested = seconds(facts.requested[self.newer.place]);
                format!(
                    "{} was granted at {}, before {} was asked for at {requested}",
                    old.id,
                    seconds(old.from),
                    new.id
                )
            }
            Known::Token => "its token is lower".to_owned(),
            Known::Between(first) if first.time < new.from => format!(
                "{} had been served before, at {}, when {} was not yet granted",
                old.id,
                seconds(first.time),
                new.id
            ),
            Known::Between(first) => format!(
                "{} had been served before, at {}; whichever of the two is older was served after the other",
                old.id,
                seconds(first.time)
            ),
        };
        let fence = match (old.token, new.token) {
            (Some(_), Some(_)) => format!(" The resource's fencing was `{}`.", facts.history.header.fencing),
            _ => " The lock gave no tokens: the resource had nothing to fence with.".to_owned(),
        };
        let text = format!(
            "The resource accepted a {} of item {} from {} at {}, after it had served {} at {}: {reason}{}.{fence}{}",
            op.f,
            op.value.map_or(0, |value| value.item),
            facts.holder(old),
            seconds(op.time),
            facts.holder(new),
            seconds(self.newer.op.time),
            validity(old),
            facts.active_faults(&[old.client, new.client], old.from, op.time),
        );
        let mut ops = vec![old.granted, new.granted, self.newer.op.index, op.index];
        if let Known::Between(first) = self.known {
            ops.push(first.index);
        }
        ops.sort_unstable();
        Violation { severity: Some(Severity::Effect), text, ops, from: self.newer.op.time, to: op.time, incident: None }
    }
}
