//! The lock's operations can be put into one order that a correct lock could have produced.
//!
//! An order is allowed if each op has a place between its invocation and its completion (linearizability, Herlihy and
//! Wing 1990); an op in doubt has one anywhere after its invocation, or none. Locks need no search for it: [`replay`]
//! decides owner-aware locks, reentrant and fenced ones too, by a single run, [`zones`] leased ones by intervals,
//! [`ownerless`] a mutex that anybody may release by deadlines, [`permits`] what several may hold by counting, and
//! [`super::crowds`] the same with leases; each file says why that is exact, and the tests compare it
//! with trying every order. Lock names are judged one by one (linearizability is local). Deliberately absent: the
//! resource, and any model of a lock's servers.
//!
//! By itself the check takes the lock to be leased and of the kind that its history states; one client's to be
//! owner-aware, and fenced if it gives tokens. Where `mutual-exclusion` tells what clients may have believed, this
//! check tells whether the lock granted anew what its own deadline still promised to another: a client that goes on
//! past that deadline makes two believers, and a lawful history. Why it goes on is beyond this check. Mostly it did not
//! look, or could not; but a lock that misreads the clock and lets its holder go on is to blame, and its history is
//! lawful all the same.

mod model;
#[cfg(test)]
mod oracle;
mod ownerless;
mod permits;
#[cfg(test)]
mod permits_oracle;
mod replay;
mod state;
#[cfg(test)]
mod tests;
mod words;
mod zones;

use std::iter::once;
use std::time::Duration;

use super::contention::{self, Contention};
use super::evidence::{Facts, Listing, counted, seconds, validity};
use super::severity::Severities;
use super::uses::uses;
use super::{CheckName, CheckResult, Verdict, Violation, conclude, crowds};
use crate::history::{Header, History, Hold, Op, Plain};
use crate::ids::ClientId;
use crate::lock_kind::LockKind;
use crate::time::Nanos;
pub use model::{FailedRelease, Model, ModelError};
use replay::{Replay, Seen};
use state::Rules;
use zones::{Claim, Misfit};

const GUARANTEE: &str = "The lock's operations can be put into one order that a correct lock could have produced, each between its \
     invocation and its completion.";

/// Judges a history by the model that suits its lock: leased, and one client's, readers' and writers', or with permits,
/// as it says itself; one client's is owner-aware, and fenced if it gives tokens.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let gives_tokens = facts.holds.iter().any(|hold| hold.token.is_some());
    let model = match facts.history.header.kind {
        LockKind::Mutex if gives_tokens => Model::FENCED,
        LockKind::Mutex => Model::OWNER,
        LockKind::ReadWrite => Model::ReadWrite { lease: true },
        LockKind::Semaphore { permits } => Model::Semaphore { permits, lease: true },
    };
    leased(facts, model.leased())
}

/// Judges a well-formed history by a model of the caller's choice. A leased model takes every release to end the claim.
pub(super) fn check_model(history: &History, model: Model, failed_release: FailedRelease) -> CheckResult {
    let clock_error = Duration::from_nanos(history.header.clock_error);
    let kind = history.header.kind;
    let result = match model {
        _ if model.is_leased() => leased(&Facts::of(history), model),
        Model::Owned { .. } => {
            let mut replay = ModelReplay::new(&history.header, model, failed_release);
            Plain::of(&history.ops).ops().for_each(|op| replay.take(op));
            replay.finish(kind)
        }
        Model::Semaphore { .. } | Model::ReadWrite { .. } => {
            let plain = Plain::of(&history.ops);
            let ops: Vec<&Op> = plain.ops().collect();
            let (listing, seen, contended) = permits::check(&ops, model, failed_release, clock_error);
            told(model, failed_release, &seen, contended, listing)
        }
        Model::Mutex => {
            let (listing, seen) = ownerless::check(Plain::of(&history.ops).ops(), failed_release, clock_error);
            let mut contention = Contention::of_ownerless();
            history.ops.iter().for_each(|op| contention.take(op));
            told(model, failed_release, &seen, contention.acquires > 0, listing)
        }
    };
    suited(result, kind, model)
}

/// What a model makes of a lock of another kind is no verdict on the lock: a reader beside a reader breaks no lock that
/// lets readers in together. A model of more permits than there are is no other kind.
fn suited(mut result: CheckResult, kind: LockKind, model: Model) -> CheckResult {
    let suits = match (kind, model.kind()) {
        (LockKind::Mutex, _) => true,
        (LockKind::Semaphore { permits }, LockKind::Semaphore { permits: judged }) => permits <= judged,
        (kind, judged) => kind == judged,
    };
    if !suits {
        result.verdict = Verdict::Unknown;
        result.violations.clear();
        result.grounds = Default::default();
        result.summary =
            format!("The history is of a lock of another kind than {model}: judge it with --model {kind}.");
    }
    result
}

/// Judges owner-aware locks without leases op by op, in memory that does not grow with the history.
pub struct ModelReplay {
    model: Model,
    failed_release: FailedRelease,
    replay: Replay,
    /// Until some acquire met a held lock.
    contention: Option<Contention>,
}

impl ModelReplay {
    /// A replay of a history as it is read, of clocks that agree; nothing for a model that has to know all of it.
    pub fn streaming(model: Model, failed_release: FailedRelease) -> Option<Self> {
        let Model::Owned { depth, fenced, lease: false } = model else { return None };
        let replay = Replay::new(Rules { depth, fenced }, failed_release, Duration::ZERO);
        Some(Self { model, failed_release, replay, contention: Some(Contention::default()) })
    }

    /// A replay that has not begun; the lease of a leased model is left out.
    pub fn new(header: &Header, model: Model, failed_release: FailedRelease) -> Self {
        let rules = match model {
            Model::Mutex | Model::Semaphore { .. } | Model::ReadWrite { .. } => Rules { depth: 1, fenced: false },
            Model::Owned { depth, fenced, .. } => Rules { depth, fenced },
        };
        let replay = Replay::new(rules, failed_release, Duration::from_nanos(header.clock_error));
        Self { model, failed_release, replay, contention: Some(Contention::default()) }
    }

    /// Takes the next op of a well-formed history, in the order of time. A hold that was lost is not known to be over:
    /// tell it by its release.
    pub fn take(&mut self, op: &Op) {
        self.replay.take(op);
        if let Some(contention) = &mut self.contention {
            contention.take(op);
            if contention.acquires > 0 {
                self.contention = None;
            }
        }
    }

    /// Says what came of it, for a history of a lock of this kind.
    pub fn finish(mut self, kind: LockKind) -> CheckResult {
        self.replay.finish();
        let Self { model, failed_release, replay, contention } = self;
        suited(told(model, failed_release, &replay.seen, contention.is_none(), replay.listing), kind, model)
    }
}

fn leased(facts: &Facts<'_>, model: Model) -> CheckResult {
    let mut seen = Seen { grants: facts.holds.len() as u64, in_doubt: facts.in_doubt, ..Seen::default() };
    let kind = model.kind();
    let contended = contention::occurs(facts.history, kind);
    if !kind.is_mutex() {
        let claimed =
            |place: usize| claims(facts, place).map(|claim| (claim.begun, claim.may_end.unwrap_or(Nanos(u64::MAX))));
        let crowds = crowds::of(facts, kind, claimed);
        seen.handovers = crowds::handovers(facts);
        let mut listing = Listing::default();
        for crowd in &crowds {
            listing
                .blame(crowd.others[0], Some(crowd.place), crowd.from, || crowds::granted_beside(facts, kind, crowd));
        }
        return told(model, FailedRelease::EndsTheClaim, &seen, contended, listing);
    }
    let fenced = matches!(model, Model::Owned { fenced: true, .. });
    let mut misfits = Vec::new();
    for places in &facts.locks {
        let passed_on = places.windows(2).filter(|pair| facts.holds[pair[0]].client != facts.holds[pair[1]].client);
        seen.handovers += passed_on.count() as u64;
        let claims = places.iter().flat_map(|place| claims(facts, *place));
        if !zones::follow_each_other(claims.clone(), fenced) {
            misfits.append(&mut zones::misfits(&claims.collect::<Vec<_>>(), fenced));
        }
    }
    told(model, FailedRelease::EndsTheClaim, &seen, contended, listed(facts, &misfits))
}

fn listed(facts: &Facts<'_>, misfits: &[Misfit]) -> Listing {
    let mut listing = Listing::default();
    if misfits.is_empty() {
        return listing;
    }
    let uses = uses(facts);
    let places = misfits.iter().take(Listing::LIMIT).flat_map(Misfit::places).collect();
    let severities = Severities::of(facts, &uses, &places);
    for misfit in misfits {
        listing.add(|| misfit_told(facts, misfit, &severities));
    }
    listing
}

/// What a hold claims: the lock, from its grant on for as long as the lock promised it; and once more from a renewal on
/// that came when that was over.
fn claims(facts: &Facts<'_>, place: usize) -> impl Iterator<Item = Claim> + Clone {
    let hold = &facts.holds[place];
    let first = Claim {
        place,
        requested: facts.requested[place],
        begun: hold.from + facts.clock_error(),
        may_end: Some(may_end(hold)),
        token: hold.token.map(|token| token.0),
    };
    let again = hold.valid_spans().skip(1).map(move |(from, to)| Claim {
        place,
        requested: from,
        begun: from + facts.clock_error(),
        may_end: Some(to),
        // It is no new grant: the token is the first one's.
        token: None,
    });
    // What is too short for the clocks to tell claims nothing that the first claim does not.
    once(first).chain(again.filter(Claim::is_forward))
}

/// From when on a hold may have ended: its client gave it up or was told that it is lost, or its validity was over.
/// One that was still open when the history ended may have ended in that instant: nothing tells.
fn may_end(hold: &Hold) -> Nanos {
    hold.promised_until().map_or(hold.to, |until| until.min(hold.to))
}

fn told(model: Model, failed_release: FailedRelease, seen: &Seen, contended: bool, listing: Listing) -> CheckResult {
    let grants = counted(seen.grants as usize, "grant", "grants");
    let read =
        format!("model {model}, {failed_release}; {grants}, {} in doubt", counted(seen.in_doubt as usize, "op", "ops"));
    let found = listing.total();
    let (verdict, summary) = if found > 0 {
        let contradictions = counted(found, "contradiction", "contradictions");
        (Verdict::Invalid, format!("No order explains the lock's operations: {contradictions} ({read})."))
    } else if seen.undecided > 0 {
        let releases = counted(seen.undecided as usize, "release was", "releases were");
        let why = format!("{releases} tried again after one in doubt, which the model's owners do not do ({read}).");
        (Verdict::Unknown, why)
    } else if seen.handovers == 0 {
        (Verdict::Unknown, format!("No lock passed from one client to another: nothing could contradict ({read})."))
    } else if !contended {
        (Verdict::Unknown, format!("No acquire met a held lock, so the lock never had to keep anybody out ({read})."))
    } else {
        (Verdict::Valid, format!("An order explains all of the lock's operations ({read})."))
    };
    let figures = [
        ("grants", seen.grants as f64),
        ("ops-in-doubt", seen.in_doubt as f64),
        ("handovers", seen.handovers as f64),
        ("contradictions", found as f64),
    ];
    conclude(CheckName::Linearizable, GUARANTEE, verdict, summary, &figures, listing)
}

/// Tells of claims that fit no order.
fn misfit_told(facts: &Facts<'_>, misfit: &Misfit, severities: &Severities<'_>) -> Violation {
    let holds: Vec<&Hold> = misfit.places().into_iter().map(|place| &facts.holds[place]).collect();
    let claimed = |hold: &Hold| {
        let end = may_end(hold);
        let until = if hold.ended.is_none() && end == hold.to { "the end".to_owned() } else { seconds(end) };
        let again =
            hold.valid_spans().skip(1).map(|(from, to)| format!(", again from {} to {}", seconds(from), seconds(to)));
        format!(
            "{} was granted it at {} and had it surely until {until}{}{}",
            facts.holder(hold),
            seconds(hold.from),
            again.collect::<String>(),
            validity(hold)
        )
    };
    let lock = &holds[0].lock;
    let text = match misfit {
        Misfit::Overlap(..) => {
            format!("`{lock}` was held twice at once: {}; {}.", claimed(holds[0]), claimed(holds[1]))
        }
        Misfit::Inside(window, _) => format!(
            "`{lock}` was granted to {} between {} and {}, and all that time another client had it: {}.",
            facts.holder(holds[0]),
            seconds(facts.requested[*window].max(may_end(holds[0]))),
            seconds(holds[0].from),
            claimed(holds[1])
        ),
        Misfit::SameToken(..) => {
            format!("`{lock}` was granted twice with one token: {}; {}.", claimed(holds[0]), claimed(holds[1]))
        }
        Misfit::TokenOrder(_) => {
            let told: Vec<String> = holds.iter().map(|hold| claimed(hold)).collect();
            format!("No order of these grants of `{lock}` has rising tokens: {}.", told.join("; "))
        }
    };
    let ops = holds.iter().flat_map(|hold| [Some(hold.granted), hold.ended.map(|(op, _)| op)]).flatten().collect();
    let from = holds.iter().map(|hold| hold.from).min().unwrap_or_default();
    let to = holds.iter().map(|hold| hold.from).max().unwrap_or_default();
    let clients: Vec<ClientId> = holds.iter().map(|hold| hold.client).collect();
    let text = text + &facts.active_faults(&clients, from, to);
    let severity = match misfit {
        // A grant that came after the end of its own validity may have met no belief of the other's.
        Misfit::Overlap(one, other) | Misfit::Inside(one, other) if overlap(facts, holds[0], holds[1]) => {
            Some(severities.of_overlap(*one, *other))
        }
        _ => None,
    };
    Violation { severity, ..words::violation(text, ops, from, to) }
}

/// Whether two holds certainly overlapped, as their clients saw them.
fn overlap(facts: &Facts<'_>, one: &Hold, other: &Hold) -> bool {
    facts.before(one.from.max(other.from), one.to.min(other.to))
}
