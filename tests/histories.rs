//! What must hold for the history of any run, of sound locks and of flawed ones: cut off anywhere it accuses nobody
//! whom the whole one does not accuse, and in EDN it gets the verdict that it gets as JSON lines.
//!
//! `FENCEPOST_HISTORY_SEEDS=20 cargo test --release --test histories -- --nocapture` takes so many seeds of the
//! scenarios as they are, and cuts after every op; without it one seed, shortened, and every so many ops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use fencepost::check::{self, FailedRelease, Model};
use fencepost::env::sim::run_trial;
use fencepost::history::foreign::{self, Naming};
use fencepost::history::{self, CutOff, F, History, Op, Process};
use fencepost::ids::LockName;
use fencepost::scenario::{self, Capabilities, Scenario};
use fencepost::seed::{ChaCha8Rng, Seed};
use fencepost::verdict::{CheckName, Verdict};
use rand::RngExt;
use rayon::prelude::*;

const SEEDS: &str = "FENCEPOST_HISTORY_SEEDS";

fn seeds() -> Option<u64> {
    std::env::var(SEEDS).ok().map(|seeds| seeds.parse().expect("FENCEPOST_HISTORY_SEEDS is a number"))
}

/// All scenarios that ship, canaries too; and renewed leases under kills, which none of them has.
fn scenarios() -> Vec<Scenario> {
    let folders = ["scenarios", "scenarios/canaries"].map(|folder| scenario::list(folder.as_ref()).unwrap());
    let mut files: Vec<_> = folders.into_iter().flatten().map(|file| file.path).collect();
    files.push("tests/scenarios/renewed-holder-killed.toml".into());
    let load = |path: &std::path::PathBuf| scenario::load(path, &Capabilities::sim()).unwrap();
    let mut scenarios: Vec<Scenario> = files.iter().map(load).collect();
    if seeds().is_none() {
        scenarios.iter_mut().for_each(|scenario| {
            scenario.workload.duration = scenario.workload.duration.min(Duration::from_secs(12));
        });
    }
    scenarios
}

/// Every lock of every scenario, so many seeds of each.
fn histories() -> Vec<(String, History)> {
    let scenarios = scenarios();
    let trials: Vec<(&Scenario, &String, Seed)> = scenarios
        .iter()
        .flat_map(|scenario| scenario.locks.keys().map(move |lock| (scenario, lock)))
        .flat_map(|(scenario, lock)| (0..seeds().unwrap_or(1)).map(move |seed| (scenario, lock, Seed(seed))))
        .collect();
    let run = |(scenario, lock, seed): (&Scenario, &String, Seed)| {
        (format!("{}: {lock}, seed {seed}", scenario.name), run_trial(scenario, lock, seed).history)
    };
    trials.into_par_iter().map(run).collect()
}

fn accusing(history: &History) -> BTreeSet<CheckName> {
    let checks = check::judge(history).checks;
    checks.iter().filter(|result| result.verdict == Verdict::Invalid).map(|result| result.check).collect()
}

/// What is left of a history if nothing is known of it after its first ops.
fn cut(history: &History, ops: usize) -> History {
    History {
        header: history.header.clone(),
        ops: history.ops[..ops].to_vec(),
        servers: Vec::new(),
        cut_off: Some(CutOff::NoMark),
    }
}

#[test]
fn a_history_that_is_cut_off_accuses_nobody_whom_the_whole_one_does_not() {
    let counted: Vec<(usize, usize)> = histories()
        .into_par_iter()
        .map(|(name, history)| {
            let whole = accusing(&history);
            let ops = history.ops.len();
            let every = if seeds().is_some() { 1 } else { (ops / 40).max(1) };
            // Where a promise changes or a hold ends, the ops around it count too.
            let telling = |at: usize| {
                let ops = &history.ops[at.saturating_sub(1)..(at + 1).min(ops)];
                ops.iter().any(|op| matches!(op.f, F::Extend | F::Suspect | F::Lost | F::Crash))
            };
            let mut cuts = 0;
            for at in (0..ops).filter(|at| at % every == 0 || (telling(*at) && at % (every / 8).max(1) == 0)) {
                let beyond: Vec<_> = accusing(&cut(&history, at)).difference(&whole).copied().collect();
                assert!(beyond.is_empty(), "{name}, cut after {at} of {ops} ops: {beyond:?}");
                cuts += 1;
            }
            (cuts, usize::from(whole.is_empty()))
        })
        .collect();
    let sum = |of: fn(&(usize, usize)) -> usize| counted.iter().map(of).sum::<usize>();
    println!("{} cuts of {} histories, {} of them without any accusation", sum(|c| c.0), counted.len(), sum(|c| c.1));
    assert!(sum(|counted| counted.1) * 4 > counted.len(), "too few of the histories accuse nobody");
}

/// A history as the harness streams it to disk on real servers: each party reports its own ops in their order over a
/// channel of its own, which is late by up to 300 ms.
fn streamed(history: &History, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut arrivals: Vec<(u64, &Op)> = Vec::new();
    for op in &history.ops {
        let party = match op.process {
            Process::Client(_) | Process::Monitor => op.client.map(|client| client.to_string()).unwrap_or_default(),
            named => named.to_string(),
        };
        let last = last.entry(party).or_default();
        *last = (op.time.0 + rng.random_range(0..300_000_000)).max(*last);
        arrivals.push((*last, op));
    }
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    let mut text = serde_json::to_vec(&history.header).unwrap();
    text.push(b'\n');
    for (_, op) in arrivals {
        serde_json::to_writer(&mut text, op).unwrap();
        text.push(b'\n');
    }
    text
}

#[test]
fn a_stream_of_real_servers_that_is_cut_at_any_byte_accuses_nobody_whom_the_whole_one_does_not() {
    let cuts = if seeds().is_some() { 200 } else { 12 };
    let judged: Vec<usize> = histories()
        .into_par_iter()
        .map(|(name, mut history)| {
            let mut rng = Seed(7).stream(&name);
            history.header.environment = "docker".to_owned().into();
            let whole = accusing(&history);
            let stream = streamed(&history, &mut rng);
            let header = stream.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let mut judged = 0;
            for _ in 0..cuts {
                let at = rng.random_range(header..=stream.len());
                let cut = history::file::read_from(&stream[..at], Path::new("history.jsonl")).unwrap();
                let beyond: Vec<_> = accusing(&cut).difference(&whole).copied().collect();
                assert!(beyond.is_empty(), "{name}, cut after {at} of {} bytes: {beyond:?}", stream.len());
                judged += cut.within_reach().ops.len();
            }
            judged
        })
        .collect();
    println!("{} histories, each cut at {cuts} bytes: {} ops judged", judged.len(), judged.iter().sum::<usize>());
    assert!(judged.iter().filter(|ops| **ops > 0).count() * 2 > judged.len(), "hardly anything was judged");
}

/// The models that histories are judged by, each read strictly and not, where there is a choice.
fn readings() -> Vec<(Model, FailedRelease)> {
    let plain = ["mutex", "owner-mutex", "fenced", "reentrant:2", "reentrant-fenced:2"];
    let leased = ["owner-mutex+lease", "fenced+lease"];
    let model = |name: &&str| name.parse::<Model>().unwrap();
    let both = |model| [FailedRelease::EndsTheClaim, FailedRelease::DidNothing].map(|failed| (model, failed));
    let leased = leased.iter().map(model).map(|model| (model, FailedRelease::EndsTheClaim));
    plain.iter().map(model).flat_map(both).chain(leased).collect()
}

#[test]
fn a_history_has_one_verdict_as_json_lines_and_as_edn() {
    let counted: Vec<[usize; 3]> = histories()
        .into_par_iter()
        .map(|(name, history)| {
            let locks: BTreeSet<&LockName> = history.ops.iter().filter_map(|op| op.lock.as_ref()).collect();
            let mut seen = [0; 3];
            for lock in locks {
                // Knossos' models know one lock, and so does what is written for it.
                let mut one = history.clone();
                // The resource's ops name a hold, and no lock.
                let others = history.ops.iter().filter(|op| op.lock.as_ref().is_some_and(|name| name != lock));
                let others: BTreeSet<_> = others.filter_map(|op| op.hold.as_ref()).collect();
                one.ops.retain(|op| {
                    op.lock.as_ref().is_none_or(|name| name == lock)
                        && op.hold.as_ref().is_none_or(|hold| !others.contains(hold))
                });
                let one = History::new(one.header, one.ops);
                let mut written = Vec::new();
                history::edn::write_to(&mut written, &history, Some(lock)).unwrap().unwrap();
                let foreign = foreign::read(
                    || Ok(&written[..]),
                    Path::new("history.edn"),
                    &Naming { leased: true, ..Naming::default() },
                );
                let foreign = foreign.unwrap().history;
                for (model, failed) in readings() {
                    let [ours, theirs] = [&one, &foreign].map(|history| {
                        let mut checks = check::judge_model(history, model, failed).checks;
                        let judged = checks.pop_if(|result| result.check == CheckName::Linearizable);
                        judged.unwrap_or_else(|| panic!("{name}, {lock}: not judged: {checks:?}"))
                    });
                    assert_eq!(
                        ours.verdict, theirs.verdict,
                        "{name}, {lock}, {model}, {failed}: {} but in EDN {}",
                        ours.summary, theirs.summary
                    );
                    seen[match ours.verdict {
                        Verdict::Valid => 0,
                        Verdict::Invalid => 1,
                        Verdict::Unknown | Verdict::NotApplicable => 2,
                    }] += 1;
                }
            }
            seen
        })
        .collect();
    let [valid, invalid, unknown] = [0, 1, 2].map(|kind| counted.iter().map(|seen| seen[kind]).sum::<usize>());
    println!(
        "{} histories, as JSON lines and as EDN: {valid} valid, {invalid} invalid, {unknown} unknown",
        counted.len()
    );
    assert!(valid > 100 && invalid > 20, "too little was compared: {valid} valid, {invalid} invalid");
}
