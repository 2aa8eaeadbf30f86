//! What each lock assumes of the world, and what it promises inside of that.
//!
//! A plan is *lawful* if every fault of it stays within the assumptions: then any guarantee that is broken is the
//! lock's own fault, and nobody has to say beforehand what is expected. Deliberately absent: how plans are drawn
//! ([`super::draw`]), and the guarantees themselves; the checks judge those.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::check::{CheckResult, Judgement};
use crate::defendant::{Assumed, LockConfig, Persistence};
use crate::fault::{ClockChange, Fault, FaultKind, Member, Target};
use crate::scenario::{Fencing, Scenario, Workload};
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

/// The assumptions that the plan of a scenario is beyond, for this lock and what its clients ask of it; none if it is
/// lawful.
pub fn beyond(config: &LockConfig, workload: &Workload, plan: &[Fault]) -> BTreeSet<Assumption> {
    let of_servers = |fault| of_servers(config, workload.longest_extension(), fault);
    let mut beyond: BTreeSet<Assumption> =
        plan.iter().filter(|fault| !fault.target.is_client()).filter_map(of_servers).collect();
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
fn of_servers(config: &LockConfig, extended: Option<Duration>, fault: &Fault) -> Option<Assumption> {
    let Assumed { lease, persistence, counts } = config.assumes()?;
    let lease = config.or_extended(lease, extended);
    let forgets = match &fault.kind {
        FaultKind::Clock(ClockChange::Jump { .. } | ClockChange::Strobe { .. }) => return Some(Assumption::SetClocks),
        // A drift ends with the clock being set right. One that ran ahead is set back, and keys live longer; one that
        // is behind is set on, and keys are over by so much too soon.
        FaultKind::Clock(ClockChange::Drift { ppm }) if *ppm < 0 => return Some(Assumption::SetClocks),
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
    let quarantine = lease + lease / 50 + Duration::from_millis(50);
    (fault.duration < quarantine).then_some(Assumption::Memory)
}

/// How long what nobody holds may keep others from the lock once no fault is in force, where that is less than what a
/// lease allows: whoever gave an attempt or a hold up and lives takes it back. `None` where only the lease ends what is
/// left, and for locks whose lease is too short to tell.
///
/// Such a lock asks a node that did not answer a deletion again after two seconds at most, on a connection that it may
/// have to open anew; and what was sent into a cut is sent again as late after its end as the cut was long, with
/// exponential retransmission. A request that was held up arrives as much later.
pub fn taken_back_within(config: &LockConfig, plan: &[Fault]) -> Option<Duration> {
    let lease = config.lease().filter(|_| config.promised().takes_back)?;
    let kills = plan.iter().any(|fault| matches!(fault.kind, FaultKind::Kill) && fault.target.is_client());
    let lasts = |fault: &Fault| match &fault.kind {
        FaultKind::Request { rule, .. } => fault.duration + rule.by,
        _ => fault.duration,
    };
    let longest = plan.iter().map(lasts).max().unwrap_or_default();
    let within = Duration::from_secs(4) + 2 * longest;
    (!kills && within < lease).then_some(within)
}

/// The guarantees of the lock that a history breaks, the most telling first. What a lock cannot promise is left out: a
/// client that stands still believes in its hold for too long, and without tokens nobody stops what it then sends.
pub fn accused(scenario: &Scenario, lock: &str, judgement: &Judgement) -> Vec<CheckName> {
    let invalid = |check| {
        judgement.checks.iter().find(|result| result.check == check).filter(|result| result.verdict == Verdict::Invalid)
    };
    let promises = scenario.locks.get(lock).map(|config| config.promised());
    let has_line = promises.is_some_and(|promised| promised.line);
    let has_tokens = promises.is_some_and(|promised| promised.tokens);
    let is_fenced = has_tokens && scenario.resource.fencing == Fencing::Access;
    let promised = |check: &CheckName| match check {
        CheckName::MutualExclusion => {
            let within = |result: &CheckResult| is_above_zero(&result.figures, "overlaps-within-validity");
            !stops_clients(&scenario.faults) || invalid(*check).is_some_and(within)
        }
        CheckName::Fencing | CheckName::LostUpdates => is_fenced,
        // Who asks now and then may come too late for as often as chance will have it: only a line has an order.
        CheckName::Liveness => {
            has_line || invalid(*check).is_some_and(|result| is_above_zero(&result.figures, "stuck"))
        }
        // A fault that was not done as planned is the harness's own failure, and a finding all the same.
        CheckName::Coverage
        | CheckName::Assumptions
        | CheckName::Linearizable
        | CheckName::LostSignal
        | CheckName::TokenOrder
        | CheckName::GrantValidity
        | CheckName::Leftovers => true,
    };
    ORDER.into_iter().filter(|check| invalid(*check).is_some() && promised(check)).collect()
}

fn is_above_zero(figures: &BTreeMap<String, f64>, name: &str) -> bool {
    figures.get(name).is_some_and(|figure| *figure > 0.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::At;
    use crate::hunt::draw;
    use crate::ids::ClientId;
    use crate::scenario::DurationRange;
    use crate::seed::Seed;

    fn fault(kind: FaultKind, target: Target, milliseconds: u64) -> Fault {
        let duration = Duration::from_millis(milliseconds);
        Fault { kind, target, at: At::Every(Duration::from_secs(5)), duration }
    }

    /// Some settings of the lock of this name.
    fn config(lock: &str, fits: impl Fn(&LockConfig) -> bool) -> LockConfig {
        let drawn = |seed| {
            let mut rng = Seed(seed).stream("law");
            draw::scenario(lock, draw::Assume::Declared, &mut rng).unwrap().locks.remove(lock).unwrap()
        };
        (0..500).map(drawn).find(|config| fits(config)).unwrap()
    }

    /// Found by a search: 7 s at half a percent, and two holds for 14 ms.
    #[test]
    fn a_drift_that_ends_with_masters_set_on_is_beyond_what_redlock_assumes() {
        let drift = |ppm, target| fault(FaultKind::Clock(ClockChange::Drift { ppm }), target, 7_000);
        let (redlock, zookeeper) = (config("redlock", |_| true), config("zookeeper", |_| true));
        let set = BTreeSet::from([Assumption::SetClocks]);
        let drawn = draw::scenario("redlock", draw::Assume::Declared, &mut Seed(1).stream("law")).unwrap();
        let beyond = |config, plan: &[Fault]| beyond(config, &drawn.workload, plan);
        assert_eq!(beyond(&redlock, &[drift(-4_950, Target::All)]), set);
        assert_eq!(beyond(&redlock, &[drift(4_950, Target::All)]), BTreeSet::new());
        // A client's leases are by a clock that nobody sets, and so are an ensemble's sessions.
        assert_eq!(beyond(&redlock, &[drift(-4_950, Target::Client(ClientId(1)))]), BTreeSet::new());
        assert_eq!(beyond(&zookeeper, &[drift(-4_950, Target::All)]), BTreeSet::new());
    }

    /// Masters that forget while a lease that was extended lives give it away.
    #[test]
    fn an_extended_lease_is_not_to_be_forgotten_either() {
        let forgets = |config: &LockConfig| {
            let assumed = config.assumes();
            assumed.is_some_and(|assumed| assumed.persistence == Persistence::None && !assumed.counts)
        };
        let redlock = config("redlock", forgets);
        let lease = redlock.lease().unwrap();
        let drawn = draw::scenario("redlock", draw::Assume::Declared, &mut Seed(1).stream("law")).unwrap();
        let workload = |extend| Workload { extend, ..drawn.workload.clone() };
        let extend = DurationRange::new(lease, lease * 2);
        let kill = [fault(FaultKind::Kill, Target::One, (lease * 12 / 10).as_millis() as u64 + 60)];
        assert_eq!(beyond(&redlock, &workload(None), &kill), BTreeSet::new());
        assert_eq!(beyond(&redlock, &workload(Some(extend)), &kill), BTreeSet::from([Assumption::Memory]));
    }

    #[test]
    fn what_lives_is_taken_back_sooner_than_a_long_lease_ends() {
        let is_long = |config: &LockConfig| config.lease().is_some_and(|lease| lease >= Duration::from_secs(10));
        let (long, short) = (config("redlock", is_long), config("redlock", |config| !is_long(config)));
        let pause = fault(FaultKind::Pause, Target::Waiter, 1_000);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(taken_back_within(&long, &[]), seconds(4));
        assert_eq!(taken_back_within(&long, std::slice::from_ref(&pause)), seconds(6));
        assert_eq!(taken_back_within(&short, std::slice::from_ref(&pause)), None, "its lease is over before");
        // Nobody takes back what the dead had; a server's death kills nobody who could.
        assert_eq!(taken_back_within(&long, &[fault(FaultKind::Kill, Target::Holder, 100)]), None);
        assert_eq!(taken_back_within(&long, &[fault(FaultKind::Kill, Target::One, 500)]), seconds(5));
        assert_eq!(taken_back_within(&config("zookeeper", |_| true), &[]), None);
    }
}
