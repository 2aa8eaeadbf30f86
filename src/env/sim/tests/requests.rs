//! What is done to single requests: every kind on every lock, and who is to be accused of what comes of it.

use std::time::Duration;

use crate::check::{Judgement, judge};
use crate::env::sim::run_trial;
use crate::history::{F, History};
use crate::scenario::{self, Capabilities};
use crate::seed::Seed;
use crate::verdict::{CheckName, Verdict};

/// A trial of 16 s whose plan has one entry, with these keys.
fn tried(locks: &str, lock: &str, keys: &str, seed: u64) -> (History, Judgement) {
    let text = format!(
        r#"title = "Requests"
why = "What is done to one request."
[workload]
kind = "inventory"
clients = 3
hold = "20ms..80ms"
think = "0ms..40ms"
duration = "16s"
[resource]
fencing = "none"
{locks}
[[fault.request]]
target = "client:1"
at = {{ every = "2s" }}
for = "1s"
{keys}
"#
    );
    let scenario = scenario::parse("requests.toml".as_ref(), &text, &Capabilities::sim());
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    let outcome = run_trial(&scenario, lock, Seed(seed));
    assert_eq!(outcome.error, None, "{lock}, seed {seed}, {keys}");
    let judgement = judge(&outcome.history);
    (outcome.history, judgement)
}

const LOCKS: &str = r#"
[lock.redis]
ttl = "1s"
[lock.redlock]
nodes = 5
ttl = "1s"
[lock.zookeeper]
servers = 3
session-timeout = "2s"
"#;

fn verdict(judgement: &Judgement, check: CheckName) -> Option<Verdict> {
    judgement.checks.iter().find(|result| result.check == check).map(|result| result.verdict)
}

/// How many requests were struck, by what was seen at the ends of strikes.
fn struck(history: &History) -> u64 {
    let heals = history.ops.iter().filter(|op| op.f == F::Heal);
    let probes = heals.filter_map(|op| op.fault.as_ref()).flat_map(|event| &event.probes);
    probes.filter_map(|probe| probe.struck).sum()
}

#[test]
fn every_kind_strikes_every_lock_and_breaks_none() {
    for does in ["hold", "cut-before", "cut-after", "drop-reply", "delay-reply", "refuse"] {
        let by = if matches!(does, "hold" | "delay-reply") { "by = \"700ms\"" } else { "" };
        for phase in ["acquiring", "releasing"] {
            let keys = format!("does = \"{does}\"\nphase = \"{phase}\"\ntimes = 1\n{by}");
            for lock in ["redis", "redlock", "zookeeper"] {
                if does == "refuse" && lock == "zookeeper" {
                    continue;
                }
                for seed in 0..2 {
                    let (history, judgement) = tried(LOCKS, lock, &keys, seed);
                    let told = || format!("{lock}, seed {seed}, {keys}: {judgement:#?}");
                    let broken = judgement.checks.iter().find(|result| result.verdict == Verdict::Invalid);
                    assert!(broken.is_none(), "{}", told());
                    assert_eq!(verdict(&judgement, CheckName::MutualExclusion), Some(Verdict::Valid), "{}", told());
                    assert_eq!(verdict(&judgement, CheckName::Coverage), Some(Verdict::Valid), "{}", told());
                    // At most one on each link each time, and seven times.
                    let links = if lock == "redis" {
                        1
                    } else if lock == "redlock" {
                        5
                    } else {
                        3
                    };
                    assert!((1..=7 * links).contains(&struck(&history)), "{} struck, {}", struck(&history), told());
                }
            }
        }
    }
}

#[test]
fn renewals_are_struck_where_a_lock_renews_and_nothing_is_shown_where_it_does_not() {
    let keys = "does = \"cut-before\"\nphase = \"renewing\"";
    let keys = format!("{keys}\npeers = [\"node:1\", \"node:2\"]");
    let renewed = "[lock.redlock-renewed]\nalgorithm = \"redlock\"\nnodes = 5\nttl = \"100ms\"\nrenewal = true\n";
    let (history, judgement) = tried(renewed, "redlock-renewed", &keys, 1);
    assert!(struck(&history) > 0);
    assert_eq!(verdict(&judgement, CheckName::MutualExclusion), Some(Verdict::Valid));
    assert_eq!(verdict(&judgement, CheckName::Coverage), Some(Verdict::Valid), "{judgement:#?}");
    let held = "does = \"hold\"\nphase = \"renewing\"\nby = \"1s\"";
    let (history, judgement) = tried(LOCKS, "redlock", held, 1);
    assert_eq!(struck(&history), 0);
    assert_eq!(verdict(&judgement, CheckName::Coverage), Some(Verdict::Unknown));
    // What keeps a holder's session alive goes through the leader and names the lock.
    let (history, judgement) = tried(LOCKS, "zookeeper", held, 1);
    assert!(struck(&history) > 0);
    assert_eq!(verdict(&judgement, CheckName::MutualExclusion), Some(Verdict::Valid), "{judgement:#?}");
}

/// What does not refuse anything is not struck, and nothing is shown of it.
#[test]
fn a_refusal_strikes_nobody_whose_servers_do_not_refuse() {
    let keys = "does = \"refuse\"\nphase = \"acquiring\"";
    let (history, judgement) = tried(LOCKS, "zookeeper", keys, 1);
    assert_eq!(struck(&history), 0);
    assert_eq!(verdict(&judgement, CheckName::Coverage), Some(Verdict::Unknown));
    assert_eq!(verdict(&judgement, CheckName::MutualExclusion), Some(Verdict::Valid));
}

/// A reply that is late by more than the lease: a lock that looks at the clock refuses the grant, one that does not
/// hands out what is over.
#[test]
fn a_late_reply_is_a_stale_grant_only_to_a_lock_that_does_not_look_at_the_clock() {
    let patient = "nodes = 5\nttl = \"1s\"\nnode-timeout = \"900ms\"";
    let locks = format!("[lock.redlock]\n{patient}\n[lock.redlock-no-validity-check]\n{patient}\n");
    let keys = "does = \"delay-reply\"\nphase = \"acquiring\"\ntimes = 1\nby = \"880ms\"";
    let locks = locks.replace("ttl = \"1s\"", "ttl = \"910ms\"");
    let mut accused = 0;
    for seed in 0..6 {
        let (_, judgement) = tried(&locks, "redlock", keys, seed);
        assert_ne!(verdict(&judgement, CheckName::MutualExclusion), Some(Verdict::Invalid), "{judgement:#?}");
        let (history, judgement) = tried(&locks, "redlock-no-validity-check", keys, seed);
        assert!(struck(&history) > 0);
        accused += usize::from(verdict(&judgement, CheckName::MutualExclusion) == Some(Verdict::Invalid));
    }
    assert!(accused > 0, "nobody was accused in {:?}", Duration::from_secs(6 * 16));
}

/// The same seed, the same run: what is done to requests draws nothing.
#[test]
fn it_repeats() {
    let keys = "does = \"drop-reply\"\nphase = \"acquiring\"";
    for lock in ["redis", "redlock", "zookeeper"] {
        let ops = |seed| format!("{:?}", tried(LOCKS, lock, keys, seed).0.ops);
        assert_eq!(ops(3), ops(3), "{lock}");
    }
}
