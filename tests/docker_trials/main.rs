//! The trials of the README on real servers: what each lock shows there. In [`cut_short`] the harness is ended or runs
//! out of disk, in [`given`] the servers are not ours, in [`others`] somebody else is at work on the same daemon;
//! [`mod@requests`] strikes single requests; [`harness`] starts runs and looks at what they left.
//!
//! Needs Docker; `.ci/run` runs it. Trials share one cluster, so they take turns.

#![expect(clippy::disallowed_methods, reason = "real servers live in real time")]

mod cut_short;
mod given;
mod harness;
mod others;
mod requests;

use std::path::Path;

use fencepost::history::{self, F, OpType};

use harness::{check, figure, run, run_of, run_with, turn};

#[test]
fn calm_is_valid_on_both_locks() {
    let _turn = turn();
    let (verdict, _) = run("calm");
    for lock in ["redlock", "zookeeper"] {
        let grants = figure(&verdict, lock, "coverage", "grants");
        assert!(grants >= 300.0, "{lock}: {grants} grants");
        assert_eq!(verdict["locks"][lock]["verdict"], "valid", "{lock}");
    }
}

/// The canary whose name the sound lock's begins, whose trial shares the servers with the sound one's. All that ship,
/// with `FENCEPOST_CANARIES=all`.
#[test]
fn canaries_are_caught_and_the_sound_lock_beside_each_is_not() {
    let _turn = turn();
    let named = ["redlock-delete-without-owner-check".to_owned()];
    let all = || {
        let listed = fencepost::scenario::list(Path::new("scenarios/canaries")).unwrap();
        listed.into_iter().map(|listed| listed.name).collect::<Vec<_>>()
    };
    let canaries =
        if std::env::var("FENCEPOST_CANARIES").is_ok_and(|asked| asked == "all") { all() } else { named.into() };
    let mut missed = Vec::new();
    for canary in canaries {
        let (verdict, histories) = match run_of(&format!("canaries/{canary}"), &[]) {
            Ok(run) => run,
            Err(why) => {
                println!("{canary}: missed: {why:?}");
                missed.push(canary);
                continue;
            }
        };
        assert!(histories.len() >= 2, "{canary}");
        for (lock, history) in &histories {
            assert_eq!(history.cut_off, None, "{lock}: a trial is whole");
            assert!(figure(&verdict, lock, "coverage", "grants") > 0.0, "{lock}");
            let checks = verdict["locks"][lock]["checks"].as_object().unwrap();
            let invalid: Vec<_> = checks.iter().filter(|(_, check)| check["verdict"] == "invalid").collect();
            println!("{canary}: {lock}: {:?}", invalid.iter().map(|(name, _)| name).collect::<Vec<_>>());
        }
    }
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn a_paused_holder_breaks_both_locks() {
    let _turn = turn();
    let (verdict, histories) = run("client-pause");
    for (lock, history) in &histories {
        for broken in ["mutual-exclusion", "fencing", "lost-updates"] {
            assert_eq!(check(&verdict, lock, broken)["verdict"], "invalid", "{lock} {broken}");
        }
        // The other side of each pause: the client itself noticed that it had not run.
        let paused = history.ops.iter().filter(|op| op.f == F::Fault && op.kind == OpType::Ok);
        for pause in paused {
            let stalled = history.ops.iter().any(|op| {
                op.f == F::Stall && op.time > pause.time && op.since.is_some_and(|since| since <= pause.time)
            });
            assert!(stalled, "{lock}: nobody felt the pause at {}", pause.time);
        }
    }
}

#[test]
fn fencing_saves_the_resource_where_the_lock_gives_tokens() {
    let _turn = turn();
    let (verdict, _) = run("client-pause-fenced");
    for lock in ["zookeeper", "redlock-tokens"] {
        assert_eq!(check(&verdict, lock, "mutual-exclusion")["verdict"], "invalid", "{lock}");
        assert_eq!(check(&verdict, lock, "lost-updates")["verdict"], "valid", "{lock}");
        assert_eq!(figure(&verdict, lock, "fencing", "stale-accepted"), 0.0, "{lock}");
        assert!(figure(&verdict, lock, "fencing", "stale-refused") > 0.0, "{lock}: nothing was fenced off");
    }
    assert_eq!(check(&verdict, "redlock", "fencing")["verdict"], "invalid");
}

#[test]
fn a_holder_that_is_cut_off_is_told_before_the_next_grant() {
    let _turn = turn();
    let (_, histories) = run("partition-client");
    for (lock, history) in &histories {
        let lost: Vec<_> = history.ops.iter().filter(|op| op.f == F::Lost).collect();
        assert!(!lost.is_empty(), "{lock}: nobody lost the lock");
        for signal in lost {
            let granted = |op: &&history::Op| op.f == F::Acquire && op.kind == OpType::Ok;
            let own = history.ops.iter().filter(granted).find(|op| op.hold == signal.hold).unwrap();
            let next = history.ops.iter().filter(granted).find(|op| op.time > own.time);
            assert!(next.is_none_or(|next| next.time > signal.time), "{lock}: {:?} was told late", signal.hold);
        }
    }
}

/// In both worlds by the packets that were struck: our own, sent to look at the links, do not count.
#[test]
fn a_cut_of_a_link_that_nobody_uses_exercises_nothing() {
    let _turn = turn();
    let (verdict, histories) = run("../tests/scenarios/idle-link");
    assert_eq!(check(&verdict, "redlock", "coverage")["verdict"], "unknown");
    let probes = histories["redlock"].ops.iter().filter_map(|op| op.fault.as_ref()).flat_map(|event| &event.probes);
    let struck: Vec<u64> = probes.filter_map(|probe| probe.struck).collect();
    assert!(!struck.is_empty() && struck.iter().all(|packets| *packets == 0), "{struck:?}");
    let (verdict, _) = run("partition-client");
    for lock in ["redlock", "zookeeper"] {
        assert_eq!(check(&verdict, lock, "coverage")["verdict"], "valid", "{lock}");
    }
}

#[test]
fn a_wrong_clock_or_a_lost_memory_of_one_server_breaks_redlock_alone() {
    let _turn = turn();
    for (scenario, safe) in [("clock-jump", &["zookeeper"][..]), ("node-amnesia", &["redlock-durable", "zookeeper"])] {
        let (verdict, _) = run_with(scenario, &[&["redlock"], safe].concat());
        for broken in ["mutual-exclusion", "linearizable", "fencing", "lost-updates"] {
            assert_eq!(check(&verdict, "redlock", broken)["verdict"], "invalid", "{scenario} {broken}");
            for lock in safe {
                assert_eq!(check(&verdict, lock, broken)["verdict"], "valid", "{scenario} {lock} {broken}");
            }
        }
    }
}

#[test]
fn of_everything_at_once_each_fault_is_seen_and_the_resource_stays_safe() {
    let _turn = turn();
    let (verdict, _) = run("chaos");
    for lock in ["redlock", "zookeeper"] {
        let coverage = check(&verdict, lock, "coverage");
        assert_eq!(coverage["verdict"], "valid", "{lock}: {coverage}");
        assert_eq!(coverage["figures"]["faults-struck"], coverage["figures"]["faults-planned"], "{lock}: {coverage}");
    }
}
