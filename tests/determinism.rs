//! The same seed gives the same run: in one process, and in another one. And the comparison catches what it must.
//!
//! This binary runs itself: the ignored tests print hashes, the others start them in processes of their own.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fencepost::env::sim::{LockMaker, Seam, Trial, run_trial};
use fencepost::lock::{Redlock, RedlockSettings};
use fencepost::scenario::{self, Capabilities, Scenario};
use fencepost::seed::Seed;

const SEEDS: u64 = 10;

fn load(name: &str) -> Scenario {
    let path = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let mut scenario = scenario::load(path.as_ref(), &Capabilities::sim()).unwrap();
    // Long enough for what each does, short enough for a debug build.
    scenario.workload.duration = scenario.workload.duration.min(Duration::from_secs(20));
    scenario
}

/// The lines that the ignored test called `name` prints in a process of its own.
fn lines_of(name: &str) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--ignored", "--exact", name, "--nocapture"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> = text.lines().filter_map(|line| Some(line.split_once("hash: ")?.1.to_owned())).collect();
    assert!(!lines.is_empty(), "{text}");
    lines
}

#[test]
#[ignore = "started by the tests of this file"]
fn prints_hashes() {
    for name in ["calm", "client-pause", "chaos"] {
        let mut scenario = load(name);
        if name == "calm" {
            scenario.workload.duration = Duration::from_secs(3);
        }
        for lock in scenario.locks.keys() {
            for seed in (0..SEEDS).map(Seed) {
                let outcome = run_trial(&scenario, lock, seed);
                println!("hash: {name} {lock} {seed} {:016x} {}", outcome.trace.hash, outcome.trace.events());
            }
        }
    }
}

/// Redlock, but for the order of its nodes, which is that of a hash map.
#[expect(clippy::disallowed_types, reason = "the mistake that must be caught")]
fn planted() -> LockMaker {
    use std::collections::HashMap;
    Arc::new(|_, seam: Seam| {
        let nodes: HashMap<_, _> = seam.redis.into_iter().enumerate().collect();
        Arc::new(Redlock::new(nodes.into_values().collect(), RedlockSettings::default(), seam.runtime).unwrap())
    })
}

#[test]
#[ignore = "started by the tests of this file"]
fn prints_planted_hashes() {
    let scenario = load("client-pause");
    for seed in (0..3).map(Seed) {
        let outcome = Trial::new(&scenario, "redlock", seed).with_lock(planted()).run();
        println!("hash: {seed} {:016x}", outcome.trace.hash);
    }
}

#[test]
fn two_processes_agree_on_every_seed() {
    let (one, other) = (lines_of("prints_hashes"), lines_of("prints_hashes"));
    let locks: usize = ["calm", "client-pause", "chaos"].iter().map(|name| load(name).locks.len()).sum();
    assert_eq!(one.len() as u64, locks as u64 * SEEDS);
    assert_eq!(one, other);
}

#[test]
fn a_planted_hash_map_is_caught_and_the_first_difference_named() {
    let (one, other) = (lines_of("prints_planted_hashes"), lines_of("prints_planted_hashes"));
    assert!(one.iter().zip(&other).any(|(one, other)| one != other), "{one:?}");
    let scenario = load("client-pause");
    // Even in one process no two hash maps have the same order; of ten runs some will differ.
    let run = || Trial::new(&scenario, "redlock", Seed(1)).with_lock(planted()).telling(0..100).run().trace;
    let first = run();
    let (other, differs) =
        (0..10).map(|_| run()).find_map(|other| Some((other.clone(), first.first_difference(&other)?))).unwrap();
    let told = |trace: &fencepost::env::sim::Trace| {
        trace.told.iter().find(|(number, _)| *number == differs).map(|(_, words)| words.clone())
    };
    assert!(differs < 100, "the clients' first requests go to the nodes in the lock's order");
    assert_ne!(told(&first), told(&other));
}
