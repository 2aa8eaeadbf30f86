//! A sound lock is never accused: many seeds of fair and of foul weather, and nothing but true accusations.
//!
//! Three times over: the ZooKeeper lock, and Redlock with tokens and a disk that forgets nothing, before a resource
//! that looks at every token, which must never accept a stale access; the ZooKeeper lock's holds must besides never
//! overlap while both are valid; and a mutex that cannot fail, against which no check may raise anything at all.
//! `FENCEPOST_SOUNDNESS_SEEDS=20000 cargo test --release --test soundness -- --nocapture` runs that many seeds of the
//! scenarios as they are, or those of a range (`5000..20000`), or of one scenario alone (`chaos=20000..100000`);
//! without it a few, shortened.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use fencepost::check::{self, CheckName, Judgement, Verdict};
use fencepost::env::sim::{LockMaker, Seam, Trial, single_process_mutex};
use fencepost::lock::Tokens;
use fencepost::scenario::{self, Capabilities, LockConfig, Persistence, RedlockConfig, Scenario};
use fencepost::seed::Seed;
use rayon::prelude::*;

const SEEDS: &str = "FENCEPOST_SOUNDNESS_SEEDS";

/// What is counted over all seeds, to show what was exercised.
const FIGURES: [(CheckName, &str); 8] = [
    (CheckName::Coverage, "grants"),
    (CheckName::Coverage, "contended-acquires"),
    (CheckName::Coverage, "faults-applied"),
    (CheckName::Coverage, "holds-under-fault"),
    (CheckName::MutualExclusion, "overlaps"),
    (CheckName::MutualExclusion, "overlaps-within-validity"),
    (CheckName::Fencing, "stale-refused"),
    (CheckName::Fencing, "stale-accepted"),
];

/// What many seeds came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    figures: BTreeMap<&'static str, f64>,
    accusations: Vec<String>,
}

impl Sum {
    fn of(seed: Seed, judgement: &Judgement, accusing: &[CheckName]) -> Self {
        let mut sum = Self { seeds: 1, ..Self::default() };
        for result in &judgement.checks {
            if result.verdict == Verdict::Invalid && accusing.contains(&result.check) {
                sum.accusations.push(format!("seed {seed}: {}: {}", result.check, result.summary));
            }
        }
        for (check, name) in FIGURES {
            let result = judgement.checks.iter().find(|result| result.check == check);
            let figure = result.and_then(|result| result.figures.get(name)).copied();
            *sum.figures.entry(name).or_default() += figure.unwrap_or_default();
        }
        sum
    }

    fn add(mut self, other: Self) -> Self {
        self.seeds += other.seeds;
        for (name, figure) in other.figures {
            *self.figures.entry(name).or_default() += figure;
        }
        self.accusations.extend(other.accusations);
        self
    }
}

fn load(name: &str) -> Scenario {
    let path = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    scenario::load(path.as_ref(), &Capabilities::sim()).unwrap()
}

/// Tries a lock on the servers of `scenario`'s `lock`, over these seeds; what the checks in `accusing` have
/// against it is kept.
fn count(
    scenario: &Scenario,
    lock: &str,
    seeds: Range<u64>,
    make: impl Fn() -> Option<LockMaker> + Sync,
    accusing: &[CheckName],
    name: &str,
) -> Sum {
    let judged = |seed| {
        let trial = Trial::new(scenario, lock, Seed(seed));
        let outcome = match make() {
            Some(make) => trial.with_lock(make).run(),
            None => trial.run(),
        };
        assert_eq!(outcome.error, None, "{}, {name}, seed {seed}", scenario.name);
        Sum::of(Seed(seed), &check::judge(&outcome.history), accusing)
    };
    let sum = seeds.clone().into_par_iter().map(judged).reduce(Sum::default, Sum::add);
    let figures: Vec<String> = FIGURES.iter().map(|(_, name)| format!("{name} {:.0}", sum.figures[name])).collect();
    let duration = scenario.workload.duration;
    println!("{} {name}: seeds {seeds:?} of {duration:?}: {}", scenario.name, figures.join(", "));
    sum
}

/// Redlock with tokens, over masters that have every vote on their disks before they give it.
const TOKENS: &str = "redlock-tokens";

/// A count of seeds, or a range of them.
fn parse(seeds: &str) -> Range<u64> {
    let number =
        |text: &str| text.parse::<u64>().expect("FENCEPOST_SOUNDNESS_SEEDS is a number, or two with `..` between");
    seeds.split_once("..").map_or_else(|| 0..number(seeds), |(first, end)| number(first)..number(end))
}

/// Both kinds of weather, or the one that is asked for, and which seeds of each.
fn weathers() -> Vec<(Scenario, Range<u64>)> {
    let asked = std::env::var(SEEDS).ok();
    let (only, seeds) = match asked.as_deref().map(|asked| asked.split_once('=').ok_or(asked)) {
        Some(Ok((name, seeds))) => (Some(name), Some(parse(seeds))),
        Some(Err(seeds)) => (None, Some(parse(seeds))),
        None => (None, None),
    };
    let weathers: Vec<&str> =
        ["calm", "chaos"].into_iter().filter(|name| only.is_none_or(|only| only == *name)).collect();
    assert!(!weathers.is_empty(), "{SEEDS} names neither calm nor chaos");
    let weather = |name: &str| {
        let mut scenario = load(name);
        if seeds.is_none() {
            // Chaos needs the time for each of its faults.
            scenario.workload.duration = Duration::from_secs(if name == "calm" { 2 } else { 15 });
        }
        let Some(LockConfig::Redlock(redlock)) = scenario.locks.get("redlock").cloned() else { panic!("no Redlock") };
        let tokens = RedlockConfig { tokens: Tokens::Quorum, persistence: Persistence::Always, ..redlock };
        scenario.locks.insert(TOKENS.to_owned(), LockConfig::Redlock(tokens));
        (scenario, seeds.clone().unwrap_or(0..50))
    };
    weathers.into_iter().map(weather).collect()
}

/// Demands that nobody is accused, and that there was occasion to.
fn nobody_is_accused(
    lock: &str,
    make: impl Fn() -> Option<LockMaker> + Sync,
    checks: impl Fn(&str) -> Vec<CheckName>,
    name: &str,
) {
    for (scenario, seeds) in weathers() {
        let sum = count(&scenario, lock, seeds.clone(), &make, &checks(&scenario.name), name);
        let seeds = seeds.end - seeds.start;
        let told = &sum.accusations[..sum.accusations.len().min(5)];
        assert!(told.is_empty(), "{}, {name}: {} accusations: {told:#?}", scenario.name, sum.accusations.len());
        assert_eq!(sum.seeds, seeds);
        // Redlock's validity is the masters' clocks' to break.
        let never: &[&str] =
            if lock == TOKENS { &["stale-accepted"] } else { &["stale-accepted", "overlaps-within-validity"] };
        for never in never {
            assert_eq!(sum.figures[never], 0.0, "{}, {name}: {never}", scenario.name);
        }
        let exercised = ["grants", "contended-acquires"].into_iter();
        let faults = ["faults-applied", "holds-under-fault"].into_iter().filter(|_| !scenario.faults.is_empty());
        for figure in exercised.chain(faults) {
            assert!(sum.figures[figure] >= seeds as f64, "{}, {name}: {figure} {}", scenario.name, sum.figures[figure]);
        }
    }
}

#[test]
fn the_resource_accepts_nothing_stale_from_zookeeper_clients() {
    // A session is a lease: in foul weather two clients may both believe to hold the lock, one of them past its
    // validity. The resource knows better.
    let checks = |scenario: &str| {
        let believed = |check: &CheckName| scenario == "calm" || *check != CheckName::MutualExclusion;
        CheckName::ALL.into_iter().filter(believed).collect()
    };
    nobody_is_accused("zookeeper", || None, checks, "zookeeper");
}

#[test]
fn the_resource_accepts_nothing_stale_from_redlock_clients_with_tokens() {
    // Clocks jump, servers restart and lose power: clients hold the lock together. Their tokens are in order.
    let checks = |scenario: &str| match scenario {
        "calm" => CheckName::ALL.to_vec(),
        _ => vec![CheckName::TokenOrder, CheckName::Fencing, CheckName::LostUpdates],
    };
    nobody_is_accused(TOKENS, || None, checks, TOKENS);
}

#[test]
fn no_check_has_anything_against_a_mutex() {
    nobody_is_accused(
        "zookeeper",
        || Some(single_process_mutex()),
        |_| CheckName::ALL.to_vec(),
        "single-process mutex",
    );
}

/// Every other client uses a second mutex: as good as none.
fn split() -> LockMaker {
    let mutexes = [single_process_mutex(), single_process_mutex()];
    let clients = std::sync::atomic::AtomicUsize::new(0);
    std::sync::Arc::new(move |config, seam: Seam| {
        let client = clients.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        mutexes[client % 2](config, seam)
    })
}

#[test]
fn a_control_with_a_flaw_is_accused() {
    for name in ["calm", "chaos"] {
        let mut scenario = load(name);
        scenario.workload.duration = Duration::from_secs(5);
        for check in [CheckName::MutualExclusion, CheckName::TokenOrder] {
            let sum = count(&scenario, "zookeeper", 0..5, || Some(split()), &[check], "split mutex");
            assert_eq!(sum.accusations.len(), 5, "{name}: {check} accuses in every seed");
        }
    }
}
