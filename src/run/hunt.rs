//! The search: trials that are drawn, run over all cores, judged by what their lock promises; findings kept and shrunk.
//!
//! Trials are numbered, and their results are taken in that order, so that the same seed gives the same findings
//! whatever the number of cores. A finding is on the disk, with a run that shows it, before the search goes on.

mod again;
mod finding;
mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use rayon::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

use super::{RunError, make_folder};
use crate::check::{self, Judgement};
use crate::env::sim::{Outcome, run_trial};
use crate::fault::Fault;
use crate::history::{F, History, OpType};
use crate::hunt::draw::{self, Assume};
use crate::hunt::worth::{Near, Tally, Worth};
use crate::hunt::{law, recorded, shrink};
use crate::ids::{ClientId, LockName};
use crate::scenario::{self, Scenario};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::verdict::CheckName;

pub use again::{ShrinkError, confirm, shrink};
pub use finding::{Broken, Confirmed, Finding, Heard, HuntRequest, Hunted, Small};
use kept::{Written, is_legible, keep, keep_small};

/// How many trials are run before their results are looked at, in order.
const CHUNK: u64 = 32;

/// Searches until it has had its trials, its time, or its findings, or is called off.
///
/// # Errors
/// The folder cannot be written to.
pub fn hunt(
    request: &HuntRequest,
    stop: &watch::Receiver<bool>,
    hear: &mut dyn FnMut(Heard<'_>),
) -> Result<Hunted, RunError> {
    let seed = request.seed.unwrap_or_else(Seed::from_entropy);
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let folder = make_folder(&request.out, "hunt", SystemTime::now(), seed)?;
    let mut hunted = Hunted {
        seed,
        locks: request.locks.clone(),
        lawful: request.assume == Assume::Declared,
        trials: 0,
        distinct: 0,
        failing: 0,
        simulated_seconds: 0.0,
        cpu_seconds: 0.0,
        pairs: BTreeMap::new(),
        worth: Worth::default(),
        findings: Vec::new(),
        folder,
        interrupted: false,
    };
    let (mut known, mut distinct, mut tally) = (BTreeSet::new(), BTreeSet::new(), Tally::default());
    let all = draw::pairs(&request.locks, request.assume == Assume::Declared);
    // Asked before each trial: a chunk of slow ones would take many times what was granted.
    let is_spent = || {
        request.time.is_some_and(|time| begun.elapsed() >= time)
            || request.cpu.is_some_and(|time| cpu_seconds() - cpu >= time.as_secs_f64())
    };
    let is_over = |hunted: &Hunted| {
        let has = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count >= limit);
        has(request.findings, hunted.findings.len() as u64) || has(request.trials, hunted.trials) || is_spent()
    };
    'search: while !is_over(&hunted) {
        let first = hunted.trials;
        let last = request.trials.map_or(first + CHUNK, |trials| trials.min(first + CHUNK));
        let trials: Vec<Option<Trial>> = (first..last)
            .into_par_iter()
            .map(|number| (!*stop.borrow() && !is_spent()).then(|| Trial::run(request, seed, number)).flatten())
            .collect();
        for trial in trials {
            // What ran beyond the first that did not is left out: the trials that count have no gap.
            let Some(trial) = trial else {
                hunted.interrupted = *stop.borrow();
                break 'search;
            };
            hunted.trials += 1;
            hunted.simulated_seconds += trial.simulated.as_secs_f64();
            distinct.insert(trial.fingerprint);
            for pair in &trial.pairs {
                *hunted.pairs.entry(pair.clone()).or_default() += 1;
            }
            tally.add(&trial.pairs, trial.near);
            hunted.failing += u64::from(!trial.broken.is_empty());
            hunted.distinct = distinct.len() as u64;
            hunted.cpu_seconds = cpu_seconds() - cpu;
            let Some(class) = trial.broken.first() else { continue };
            if known.insert((trial.lock.clone(), *class)) {
                hunted.worth = tally.worth(&hunted.pairs, &all);
                found(request, stop, &mut hunted, trial, hear)?;
                keep(&hunted)?;
                if is_over(&hunted) {
                    break 'search;
                }
            }
        }
        hear(Heard::Judged(hunted.trials));
        if *stop.borrow() {
            hunted.interrupted = true;
            break;
        }
    }
    hunted.cpu_seconds = cpu_seconds() - cpu;
    hunted.worth = tally.worth(&hunted.pairs, &all);
    keep(&hunted)?;
    Ok(hunted)
}

/// One trial of the search, as far as it matters for what follows.
struct Trial {
    number: u64,
    lock: String,
    seed: Seed,
    /// Kept of those that found something.
    scenario: Option<Scenario>,
    broken: Vec<Broken>,
    text: String,
    strikes: Vec<Fault>,
    pairs: BTreeSet<String>,
    near: Near,
    fingerprint: u64,
    simulated: Duration,
}

impl Trial {
    fn run(request: &HuntRequest, seed: Seed, number: u64) -> Option<Self> {
        let mut rng = seed.stream(&format!("hunt/{number}"));
        let lock = request.locks.get(number as usize % request.locks.len().max(1))?.clone();
        let scenario = draw::scenario(&lock, request.assume, &mut rng)?;
        // Short enough to read aloud.
        let seed = Seed(u64::from(rng.next_u32()));
        let outcome = run_trial(&scenario, &lock, seed);
        let judgement = check::judge(&outcome.history);
        let broken = broken(&scenario, &lock, &outcome, &judgement);
        let mut trial = Self {
            number,
            seed,
            text: broken.first().map_or(String::new(), |broken| told(*broken, &outcome, &judgement)),
            strikes: Vec::new(),
            pairs: pairs(&outcome.history),
            near: near(&outcome.history, &judgement),
            fingerprint: crate::seed::fnv1a(scenario::write(&scenario, &[]).as_bytes()),
            simulated: outcome.simulated,
            scenario: None,
            lock,
            broken,
        };
        if !trial.broken.is_empty() {
            trial.strikes = recorded::plan(&outcome.history);
            trial.scenario = Some(scenario);
        }
        Some(trial)
    }
}

fn broken(scenario: &Scenario, lock: &str, outcome: &Outcome, judgement: &Judgement) -> Vec<Broken> {
    let mut broken: Vec<Broken> = law::accused(scenario, lock, judgement).into_iter().map(Broken::Check).collect();
    broken.extend(outcome.error.as_ref().map(|_| Broken::End));
    broken
}

/// What was broken first, in the check's words.
fn told(broken: Broken, outcome: &Outcome, judgement: &Judgement) -> String {
    match broken {
        Broken::End => outcome.error.clone().unwrap_or_default(),
        Broken::Check(check) => {
            let result = judgement.checks.iter().find(|result| result.check == check);
            let first = result.and_then(|result| result.violations.first()).map(|violation| violation.text.clone());
            first.or(result.map(|result| result.summary.clone())).unwrap_or_default()
        }
    }
}

/// Which kinds of fault were seen to strike whom at which step.
fn pairs(history: &History) -> BTreeSet<String> {
    let struck = history.ops.iter().filter(|op| (op.f, op.kind) == (F::Fault, OpType::Ok));
    struck
        .filter_map(|op| {
            let event = op.fault.as_ref()?;
            let role = event.plan.split(' ').nth(1)?.split(':').next()?;
            let step = event.phase.map_or("by time".to_owned(), |phase| format!("at {phase}"));
            Some(format!("{} {role} {step}", event.kind))
        })
        .collect()
}

/// How near a trial came to a grant that was over, and to two holds at once.
fn near(history: &History, judgement: &Judgement) -> Near {
    let grants = judgement.checks.iter().find(|result| result.check == CheckName::GrantValidity);
    let left =
        grants.and_then(|result| result.figures.get("least-validity-left-ms").copied()).filter(|left| *left > 0.0);
    let mut ended: BTreeMap<&LockName, (ClientId, Nanos)> = BTreeMap::new();
    let mut gap: Option<f64> = None;
    for op in &history.ops {
        let (Some(lock), Some(client)) = (&op.lock, op.client) else { continue };
        match (op.f, op.kind) {
            (F::Acquire, OpType::Ok) => {
                if let Some((_, at)) = ended.get(lock).filter(|(last, _)| *last != client) {
                    let passed = (op.time - *at).as_secs_f64() * 1e3;
                    gap = Some(gap.map_or(passed, |gap: f64| gap.min(passed)));
                }
            }
            (F::Release, OpType::Invoke) | (F::Lost, _) => drop(ended.insert(lock, (client, op.time))),
            _ => {}
        }
    }
    Near { validity_left_ms: left, gap_ms: gap }
}

/// What a scenario is beyond, of what its lock of this name assumes.
fn beyond(scenario: &Scenario, lock: &str) -> BTreeSet<law::Assumption> {
    let config = scenario.locks.get(lock);
    config.map(|config| law::beyond(config, &scenario.workload, &scenario.faults)).unwrap_or_default()
}

/// Writes a finding down, with a run that shows it, and then what shrinking leaves of it.
fn found(
    request: &HuntRequest,
    stop: &watch::Receiver<bool>,
    hunted: &mut Hunted,
    trial: Trial,
    hear: &mut dyn FnMut(Heard<'_>),
) -> Result<(), RunError> {
    let (Some(scenario), Some(class)) = (trial.scenario, trial.broken.first().copied()) else { return Ok(()) };
    let number = hunted.findings.len() as u64 + 1;
    let name = format!("finding-{number}-{}-{class}", trial.lock);
    let beyond = beyond(&scenario, &trial.lock);
    let written = Written {
        name: &name,
        title: format!("{}: {class} is broken by a plan that was drawn", trial.lock),
        why: trial.text.clone(),
        lock: &trial.lock,
        broken: &trial.broken,
    };
    let kept = written.keep(&hunted.folder, &scenario, trial.seed)?;
    hunted.findings.push(Finding {
        number,
        trial: trial.number,
        lock: trial.lock.clone(),
        broken: trial.broken.clone(),
        beyond: beyond.iter().map(|assumption| assumption.words()).collect(),
        text: trial.text,
        seed: trial.seed,
        scenario: kept.scenario,
        run: kept.run,
        cpu_seconds: hunted.cpu_seconds,
        shrunk: None,
    });
    keep(hunted)?;
    let Some(finding) = hunted.findings.last_mut() else { return Ok(()) };
    hear(Heard::Found(finding));
    if !request.shrink {
        return Ok(());
    }
    let fails = |candidate: &Scenario, seed: Seed| {
        let now = self::beyond(candidate, &trial.lock);
        // Never beyond more than what was found.
        let is_lawful = request.assume == Assume::Nothing && now.is_subset(&beyond) || now.is_empty();
        is_lawful && is_legible(candidate) && {
            let outcome = run_trial(candidate, &trial.lock, seed);
            broken(candidate, &trial.lock, &outcome, &check::judge(&outcome.history)).contains(&class)
        }
    };
    let shrunk = shrink::shrink(&scenario, trial.strikes, trial.seed, &fails, &|| *stop.borrow());
    finding.shrunk = Some(keep_small(&hunted.folder, &format!("{name}-shrunk"), &trial.lock, class, &shrunk)?);
    hear(Heard::Shrunk(finding));
    Ok(())
}

/// How much CPU time this process has taken, in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
