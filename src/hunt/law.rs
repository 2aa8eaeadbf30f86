//! What each lock assumes of the world, and what it promises inside of that.
//!
//! A plan is *lawful* if every fault of it stays within the assumptions: then any guarantee that is broken is the lock's own
//! fault, and nobody has to say beforehand what is expected. Deliberately absent: how plans are drawn ([`super::draw`]), and
//! the guarantees themselves; the checks judge those.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::check::Judgement;
use crate::fault::{ClockChange, Fault, FaultKind, Member, Target};
use crate::lock::Tokens;
use crate::scenario::{Fencing, LockConfig, Persistence, Scenario};
use crate::verdict::{CheckName, Verdict};

/// By how much two clocks may drift apart, in parts per million: the locks allow for 1 %, of which every machine's own
/// oscillator needs a little.
pub const DRIFT_PPM: i64 = 9_900;

/// An assumption that a plan is beyond. Its words complete "beyond …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assumption {
    /// Clocks run alike, within a margin.
    Drift,
    /// Nobody sets the clocks of the masters.
    SetClocks,
    /// A master that was down comes back with its leases, or not before they are over.
    Memory,
    /// A master's counter never goes back.
    Counters,
}

impl Assumption {
    /// The assumption as the lock's documentation would say it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Drift => "clocks drift apart by less than 1 %",
            Self::SetClocks => "nobody sets the clocks of the masters",
            Self::Memory => "a master that was down comes back with its leases, or after they are over",
            Self::Counters => "masters that count votes for tokens never forget",
        }
    }
}

/// The assumptions that the plan of a scenario is beyond, for this lock; none if it is lawful.
pub fn beyond(config: &LockConfig, plan: &[Fault]) -> BTreeSet<Assumption> {
    let mut beyond: BTreeSet<Assumption> =
        plan.iter().filter(|fault| !fault.target.is_client()).filter_map(|fault| of_servers(config, fault)).collect();
    // Strikes may be on at once, and what they do to clocks adds up.
    let drifts = plan.iter().filter_map(|fault| match fault.kind {
        FaultKind::Clock(ClockChange::Drift { ppm }) => Some(ppm),
        _ => None,
    });
    let (fast, slow) = drifts.fold((0, 0), |(fast, slow), ppm: i64| (fast + ppm.max(0), slow + (-ppm).max(0)));
    if fast + slow > DRIFT_PPM {
        beyond.insert(Assumption::Drift);
    }
    beyond
}

/// The assumption that one fault of a lock server is beyond, other than that of drift.
fn of_servers(config: &LockConfig, fault: &Fault) -> Option<Assumption> {
    let (ttl, persistence, counts) = match config {
        // An ensemble syncs before it answers, and measures sessions by clocks that nobody sets.
        LockConfig::Zookeeper(_) => return None,
        // Nothing is known of a stranger's tokens: what forgets is beyond them.
        LockConfig::Adapter(config) => (config.lease.unwrap_or_default(), config.persistence, true),
        LockConfig::Redlock(config) => (config.ttl, config.persistence, config.tokens == Tokens::Quorum),
        // A counter that is not there starts at the time of day; one that is behind goes on from there.
        LockConfig::Redis(config) => (config.ttl, config.persistence, config.persistence == Persistence::Everysec),
    };
    let forgets = match &fault.kind {
        FaultKind::Clock(ClockChange::Jump { .. } | ClockChange::Strobe { .. }) => return Some(Assumption::SetClocks),
        FaultKind::Kill | FaultKind::Restart => persistence == Persistence::None,
        FaultKind::PowerLoss => persistence != Persistence::Always,
        _ => false,
    };
    if !forgets {
        return None;
    }
    if counts {
        return Some(Assumption::Counters);
    }
    // A lease that the master had given when it died is over, by whatever clock.
    let quarantine = ttl + ttl / 50 + Duration::from_millis(50);
    (fault.duration < quarantine).then_some(Assumption::Memory)
}

/// The guarantees of the lock that a history breaks, the most telling first. What a lock cannot promise is left out: a client
/// that stands still believes in its hold for too long, and without tokens nobody stops what it then sends.
pub fn accused(scenario: &Scenario, lock: &str, judgement: &Judgement) -> Vec<CheckName> {
    let invalid = |check| {
        judgement.checks.iter().find(|result| result.check == check).filter(|result| result.verdict == Verdict::Invalid)
    };
    let has_tokens = match scenario.locks.get(lock) {
        Some(LockConfig::Redlock(config)) => config.tokens == Tokens::Quorum,
        Some(LockConfig::Zookeeper(_) | LockConfig::Redis(_)) => true,
        // Whether a stranger's lock gives any is not known.
        Some(LockConfig::Adapter(_)) | None => false,
    };
    let is_fenced = has_tokens && scenario.resource.fencing == Fencing::Access;
    let promised = |check: &CheckName| match check {
        CheckName::MutualExclusion => {
            let within = |figures: &std::collections::BTreeMap<String, f64>| {
                figures.get("overlaps-within-validity").is_some_and(|overlaps| *overlaps > 0.0)
            };
            !stops_clients(&scenario.faults) || invalid(*check).is_some_and(|result| within(&result.figures))
        }
        CheckName::Fencing | CheckName::LostUpdates => is_fenced,
        // A fault that was not done as planned is the harness's own failure, and a finding all the same.
        CheckName::Coverage
        | CheckName::Assumptions
        | CheckName::Linearizable
        | CheckName::LostSignal
        | CheckName::TokenOrder
        | CheckName::GrantValidity
        | CheckName::Liveness
        | CheckName::Leftovers => true,
    };
    ORDER.into_iter().filter(|check| invalid(*check).is_some() && promised(check)).collect()
}

/// All checks, from the guarantee that a lock is for to what is only about its history.
const ORDER: [CheckName; 11] = [
    CheckName::Linearizable,
    CheckName::MutualExclusion,
    CheckName::TokenOrder,
    CheckName::Fencing,
    CheckName::LostUpdates,
    CheckName::GrantValidity,
    CheckName::LostSignal,
    CheckName::Liveness,
    CheckName::Leftovers,
    CheckName::Assumptions,
    CheckName::Coverage,
];

/// Whether a plan has clients stand still and go on.
fn stops_clients(plan: &[Fault]) -> bool {
    let is_client = |target: &Target| match target {
        Target::Members(members) => members.iter().any(|member| matches!(member, Member::Client(_))),
        target => target.is_client(),
    };
    plan.iter().any(|fault| fault.kind == FaultKind::Pause && is_client(&fault.target))
}
