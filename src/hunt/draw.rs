//! Draws one trial: a lock's settings, a workload, a plan of faults.
//!
//! Swarm search (Groce et al., ISSTA 2012): each trial first draws *which* kinds of fault it has, so that one kind does
//! not hide what another would show. Lengths are drawn around the lock's own constants, just below, at, just above:
//! that is where locks are wrong. Half of all trials draw everything by itself; the others have a [`Stress`], in which
//! workload, settings and faults go together: what must meet for a bug to show seldom meets by chance. Deliberately
//! absent: what is lawful ([`super::law`]), and how a trial is run.

mod knobs;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rand::RngExt;

use self::knobs::workload;
use self::plan::Drawing;
use super::law;
use crate::defendant::draw::Stress;
use crate::defendant::{Algorithm, registry};
use crate::fault::Target;
use crate::ids::ClientId;
use crate::lock_kind::LockKind;
use crate::phase::Phase;
use crate::scenario::{FaultName, Fencing, Resource, Scenario, Simulation, Workload};
use crate::seed::ChaCha8Rng;

/// What plans may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assume {
    /// Those within what the lock assumes.
    Declared,
    /// Any.
    Nothing,
}

/// The names of the locks that can be searched: those of the algorithms.
pub fn locks() -> Vec<&'static str> {
    registry::algorithms().map(Algorithm::name).collect()
}

/// What a trial is hard on: half of them on nothing in particular.
fn stress(rng: &mut ChaCha8Rng) -> Stress {
    match rng.random_range(0..10) {
        0 => Stress::Edge,
        1 => Stress::Renewal,
        2 => Stress::GivenUp,
        3 => Stress::Together,
        4 => Stress::Stopped,
        _ => Stress::Any,
    }
}

/// A trial of the algorithm called `lock`; none if there is no such algorithm.
pub fn scenario(lock: &str, assume: Assume, rng: &mut ChaCha8Rng) -> Option<Scenario> {
    let stress = stress(rng);
    stressed(lock, stress, assume, rng)
}

/// A trial that is hard on one thing.
fn stressed(lock: &str, stress: Stress, assume: Assume, rng: &mut ChaCha8Rng) -> Option<Scenario> {
    let config = registry::named(lock)?.draw(stress, rng);
    let scale = config.scale();
    let workload = workload(stress, &config, scale, rng);
    let struck = Workload { duration: workload.struck(), ..workload.clone() };
    let drawing = Drawing { config: &config, workload: &struck, scale };
    let faults = loop {
        let plan = drawing.plan(stress, rng);
        if assume == Assume::Nothing || law::beyond(&config, &workload, &plan).is_empty() {
            break plan;
        }
    };
    let workload = Workload { grant_within: law::taken_back_within(&config, &faults), ..workload };
    let one_at_a_time = !matches!(config.kind(), LockKind::Semaphore { .. });
    let fencing = if rng.random_ratio(1, 2) && one_at_a_time { Fencing::Access } else { Fencing::None };
    Some(Scenario {
        name: "hunt".to_owned(),
        path: PathBuf::from("hunt.toml"),
        source: String::new(),
        title: format!("A plan that was drawn, for {lock}"),
        why: String::new(),
        workload,
        resource: Resource { fencing },
        locks: BTreeMap::from([(lock.to_owned(), config)]),
        simulation: Simulation::default(),
        faults,
        expect: BTreeMap::new(),
    })
}

/// The faults that are drawn.
const DRAWN: [FaultName; 11] = [
    FaultName::Pause,
    FaultName::Kill,
    FaultName::Restart,
    FaultName::PowerLoss,
    FaultName::Partition,
    FaultName::Delay,
    FaultName::Loss,
    FaultName::ClockJump,
    FaultName::ClockDrift,
    FaultName::ClockStrobe,
    FaultName::Request,
];

/// Every (fault, role, step) that plans for these locks may have, as the search counts them.
pub fn pairs(locks: &[String], lawful: bool) -> BTreeSet<String> {
    let mut pairs = BTreeSet::new();
    for lock in locks {
        let Some(algorithm) = registry::named(lock) else { continue };
        let (has_sessions, has_leader) = (algorithm.backend().has_sessions(), algorithm.backend().has_leader());
        let of_servers: &[&str] = match (has_sessions, has_leader) {
            (true, _) => &["one", "minority", "majority", "all", "leader", "holder-server"],
            (false, true) => &["one", "minority", "majority", "all", "leader"],
            (false, false) => &["one", "minority", "majority", "all"],
        };
        for name in DRAWN {
            let sets_clocks = matches!(name, FaultName::ClockJump | FaultName::ClockStrobe);
            let of_clients = if name == FaultName::PowerLoss { &[][..] } else { &["holder", "waiter", "client"] };
            let of_servers = if sets_clocks && lawful && !has_leader { &[] } else { of_servers };
            for role in of_clients.iter().chain(of_servers) {
                let target = match *role {
                    "client" => Target::Client(ClientId(1)),
                    role => role.parse().unwrap_or(Target::One),
                };
                let steps = phases(&target, true).into_iter().map(|phase| format!("at {phase}"));
                let steps = steps.chain(["by time".to_owned()]);
                pairs.extend(steps.map(|step| format!("{name} {role} {step}")));
            }
        }
    }
    pairs
}

/// The steps at which a target can be struck, with or without renewals.
fn phases(target: &Target, renews: bool) -> Vec<Phase> {
    let reaches = |phase: &Phase| match target {
        _ if *phase == Phase::Renewing && !renews => false,
        Target::Holder => phase.holds(),
        Target::Waiter => matches!(phase, Phase::Acquiring | Phase::InLine | Phase::VotesIn),
        _ => true,
    };
    Phase::ALL.into_iter().filter(reaches).collect()
}

/// As [`pick`], of what has to be cloned.
fn pick_of<T: Clone>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())].clone()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::defendant::draw::ms;
    use crate::fault::{At, ClockChange, Fault, FaultKind};
    use crate::scenario::{self, Capabilities};
    use crate::seed::Seed;

    /// What goes together in one trial, of each stress, for each sound lock: else a bug that needs it is never met.
    #[test]
    fn each_stress_draws_what_it_is_named_for() {
        let has = |drawn: &Scenario, wanted: &dyn Fn(&Fault) -> bool| drawn.faults.iter().any(wanted);
        let outlasts = |drawn: &Scenario, lease: Duration| drawn.workload.hold.max > lease;
        for lock in ["redlock", "zookeeper"] {
            let share = |stress: Stress, wanted: &dyn Fn(&Scenario, Duration) -> bool| {
                let drawn = (0..200).map(|seed| {
                    let drawn = stressed(lock, stress, Assume::Declared, &mut Seed(seed).stream("stress")).unwrap();
                    let lease = drawn.locks[lock].scale().lease;
                    wanted(&drawn, lease)
                });
                drawn.filter(|wanted| *wanted).count()
            };
            let drifts = |fault: &Fault| matches!(fault.kind, FaultKind::Clock(ClockChange::Drift { .. }));
            let edge = share(Stress::Edge, &|drawn, lease| outlasts(drawn, lease) && has(drawn, &drifts));
            assert!(edge > 60, "{lock}: {edge}");
            let renewal = share(Stress::Renewal, &|drawn, lease| {
                outlasts(drawn, lease) && has(drawn, &|fault| !fault.target.is_client())
            });
            assert!(renewal > 60, "{lock}: {renewal}");
            let given_up = share(Stress::GivenUp, &|drawn, _| {
                drawn.workload.wait < ms(500)
                    && has(drawn, &|fault| matches!(fault.at, At::Phase { phase: Phase::Acquiring, .. }))
            });
            assert!(given_up > 30, "{lock}: {given_up}");
            let together = share(Stress::Together, &|drawn, _| {
                has(drawn, &|fault| fault.target.is_client()) && has(drawn, &|fault| !fault.target.is_client())
            });
            assert!(together > 150, "{lock}: {together}");
            let stopped = share(Stress::Stopped, &|drawn, lease| {
                outlasts(drawn, lease)
                    && has(drawn, &|fault| {
                        fault.kind == FaultKind::Pause && matches!(fault.at, At::Phase { phase: Phase::Renewing, .. })
                    })
            });
            assert!(stopped > 20, "{lock}: {stopped}");
        }
    }

    /// A bug in what no trial has is never met.
    #[test]
    fn every_kind_of_lock_and_way_of_waiting_is_drawn() {
        for lock in ["redlock", "redis", "zookeeper"] {
            let (mut read_write, mut semaphores, mut called) = (0, 0, 0);
            for seed in 0..300 {
                let drawn = scenario(lock, Assume::Declared, &mut Seed(seed).stream("kinds")).unwrap();
                let (config, workload) = (&drawn.locks[lock], &drawn.workload);
                match config.kind() {
                    LockKind::Mutex => assert_eq!(workload.readers, 0),
                    LockKind::ReadWrite => {
                        read_write += 1;
                        assert!(workload.readers > 0 && workload.clients > 2, "{workload:?}");
                    }
                    LockKind::Semaphore { permits } => {
                        semaphores += 1;
                        assert!(workload.clients > permits, "{workload:?}");
                    }
                }
                called += u32::from(scenario::write(&drawn, &[]).contains("waiting = \"called\""));
            }
            let (shares, waits) = (lock != "redlock", lock != "zookeeper");
            assert!((read_write > 30 && semaphores > 30) == shares, "{lock}: {read_write}, {semaphores}");
            assert!((called > 60) == waits, "{lock}: {called}");
        }
    }

    /// A bug in what clients never do is never met.
    #[test]
    fn every_way_of_using_a_lock_is_drawn_and_a_wait_that_shows_a_lost_permit() {
        for lock in ["redlock", "redis", "zookeeper", "etcd"] {
            let (mut extended, mut abandoned, mut dropped, mut plain, mut patient) = (0, 0, 0, 0, 0);
            for seed in 0..300 {
                let drawn = scenario(lock, Assume::Declared, &mut Seed(seed).stream("ways")).unwrap();
                let (config, workload) = (&drawn.locks[lock], &drawn.workload);
                extended += u32::from(workload.extend.is_some());
                abandoned += u32::from(workload.abandoned > 0);
                dropped += u32::from(workload.dropped > 0);
                plain += u32::from((workload.extend, workload.abandoned, workload.dropped) == (None, 0, 0));
                let bound = Duration::from_nanos(drawn.grant_within(lock).unwrap());
                let shows = matches!(config.kind(), LockKind::Semaphore { .. })
                    && workload.hold.min > bound
                    && workload.wait > bound;
                patient += u32::from(shows);
            }
            assert_eq!(extended > 30, matches!(lock, "redlock" | "redis"), "{lock}: {extended}");
            assert!(abandoned > 30 && dropped > 30 && plain > 90, "{lock}: {abandoned}, {dropped}, {plain}");
            assert_eq!(patient > 3, matches!(lock, "redis" | "zookeeper"), "{lock}: {patient}");
        }
    }

    /// A plan that a file could not say would be a finding that nobody can run.
    #[test]
    fn what_is_drawn_can_be_written_and_is_lawful() {
        let (mut plans, mut kinds) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for seed in 0..600 {
            for lock in locks() {
                let mut rng = Seed(seed).stream(lock);
                let drawn = scenario(lock, Assume::Declared, &mut rng).unwrap();
                assert!(
                    law::beyond(&drawn.locks[lock], &drawn.workload, &drawn.faults).is_empty(),
                    "{:?}",
                    drawn.faults
                );
                let text = scenario::write(&drawn, &[]);
                let read = scenario::parse(&drawn.path, &text, &Capabilities::sim())
                    .unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!((&read.faults, &read.workload, &read.locks), (&drawn.faults, &drawn.workload, &drawn.locks));
                kinds.extend(drawn.faults.iter().map(|fault| fault.kind.name()));
                plans.insert(text);
            }
        }
        assert_eq!(kinds.len(), DRAWN.len(), "{kinds:?}");
        assert!(plans.len() > 600 * locks().len() * 9 / 10, "{}", plans.len());
    }
}
