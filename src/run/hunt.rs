//! The search: trials that are drawn, run over all cores, judged by what their lock promises; findings kept and shrunk.
//!
//! Trials are numbered, and their results are taken in that order, so that the same seed gives the same findings whatever
//! the number of cores. A finding is on the disk, with a run that shows it, before the search goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use rayon::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::sync::watch;

use super::{Environment, Plan, Request, RunError, make_folder, repeat, sim};
use crate::check::{self, Judgement};
use crate::env::sim::{Outcome, run_trial};
use crate::fault::Fault;
use crate::history::{F, History, OpType};
use crate::hunt::draw::{self, Assume};
use crate::hunt::shrink::{self, SEEDS, Shrunk};
use crate::hunt::{law, recorded};
use crate::report::Report;
use crate::report::json::{ReadRunError, read_run};
use crate::scenario::{self, Capabilities, LoadError, Scenario};
use crate::seed::Seed;
use crate::verdict::{CheckName, Demand, Verdict};

/// How many trials are run before their results are looked at, in order.
const CHUNK: u64 = 32;

/// What to search.
#[derive(Clone, Debug)]
pub struct HuntRequest {
    /// The locks' algorithms.
    pub locks: Vec<String>,
    /// The seed; drawn if absent.
    pub seed: Option<Seed>,
    /// After how many trials to stop.
    pub trials: Option<u64>,
    /// After how long to stop, if sooner.
    pub time: Option<Duration>,
    /// After how many findings to stop, if sooner.
    pub findings: Option<u64>,
    /// Whether plans stay within what the locks assume.
    pub assume: Assume,
    /// Whether findings are made small.
    pub shrink: bool,
    /// The folder for run folders; the hunt's own is made in it.
    pub out: PathBuf,
}

/// What a trial showed of its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub enum Broken {
    /// A guarantee.
    Check(CheckName),
    /// It did not come to its end: something panicked, or waited for ever.
    End,
}

impl From<Broken> for String {
    fn from(broken: Broken) -> Self {
        broken.to_string()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(check) => check.fmt(f),
            Self::End => f.pad("did-not-end"),
        }
    }
}

/// One thing that was found: the first trial that showed it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// Numbers the findings from 1.
    pub number: u64,
    /// The trial's number, from 0.
    pub trial: u64,
    /// The lock.
    pub lock: String,
    /// What was broken, the most telling first.
    pub broken: Vec<Broken>,
    /// The assumptions of the lock that the plan was beyond; none in a lawful search.
    pub beyond: Vec<&'static str>,
    /// What happened, in the check's words.
    pub text: String,
    /// The trial's seed.
    pub seed: Seed,
    /// The scenario as it was drawn.
    pub scenario: PathBuf,
    /// Its run.
    pub run: PathBuf,
    /// How much CPU time the search had taken when it was found, in seconds.
    pub cpu_seconds: f64,
    /// What is left of it after shrinking.
    pub shrunk: Option<Small>,
}

/// A scenario that was made small.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Small {
    /// The scenario file.
    pub scenario: PathBuf,
    /// What it says, in one line.
    pub title: String,
    /// Its run.
    pub run: PathBuf,
    /// The seed that its run has.
    pub seed: Seed,
    /// With how many of ten seeds it fails.
    pub fails_of_10: u64,
    /// How many faults and strikes it has.
    pub strikes: usize,
    /// How many clients.
    pub clients: u32,
    /// How long it runs, in seconds.
    pub seconds: f64,
    /// How many trials the shrinking took.
    pub trials: u64,
    /// Whether a second run of it had the same trace hash.
    pub repeats: bool,
    /// What came of it on real servers, if it was tried there.
    pub confirmed: Option<Confirmed>,
}

/// What came of a small scenario on real servers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Confirmed {
    /// In how many runs the same guarantee was broken.
    pub broken: u64,
    /// How many there were; none if the servers cannot do what it asks for.
    pub runs: u64,
    /// Why there were none, or fewer than wanted.
    pub refused: Option<String>,
}

/// What a search came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hunted {
    /// The seed.
    pub seed: Seed,
    /// The locks.
    pub locks: Vec<String>,
    /// Whether plans stayed within what the locks assume.
    pub lawful: bool,
    /// How many trials were run and judged.
    pub trials: u64,
    /// How many different plans and workloads they had.
    pub distinct: u64,
    /// How many trials showed something, also what was found before.
    pub failing: u64,
    /// How much simulated time that was, in seconds.
    pub simulated_seconds: f64,
    /// How much CPU time, in seconds.
    pub cpu_seconds: f64,
    /// How often each kind of fault struck whom at which step.
    pub pairs: BTreeMap<String, u64>,
    /// The findings, in order.
    pub findings: Vec<Finding>,
    /// The hunt's folder.
    pub folder: PathBuf,
    /// Whether it was called off.
    pub interrupted: bool,
}

/// Something that a search tells as it goes.
pub enum Heard<'a> {
    /// So many trials were judged.
    Judged(u64),
    /// Something was found and written; shrinking begins.
    Found(&'a Finding),
    /// It was shrunk.
    Shrunk(&'a Finding),
}

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
        findings: Vec::new(),
        folder,
        interrupted: false,
    };
    let (mut known, mut distinct) = (BTreeSet::new(), BTreeSet::new());
    let is_over = |hunted: &Hunted| {
        let has = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count >= limit);
        has(request.findings, hunted.findings.len() as u64)
            || has(request.trials, hunted.trials)
            || request.time.is_some_and(|time| begun.elapsed() >= time)
    };
    'search: while !is_over(&hunted) {
        let first = hunted.trials;
        let last = request.trials.map_or(first + CHUNK, |trials| trials.min(first + CHUNK));
        let trials: Vec<Option<Trial>> = (first..last)
            .into_par_iter()
            .map(|number| (!*stop.borrow()).then(|| Trial::run(request, seed, number)).flatten())
            .collect();
        for trial in trials {
            let Some(trial) = trial else {
                hunted.interrupted = true;
                break 'search;
            };
            hunted.trials += 1;
            hunted.simulated_seconds += trial.simulated.as_secs_f64();
            distinct.insert(trial.fingerprint);
            for pair in &trial.pairs {
                *hunted.pairs.entry(pair.clone()).or_default() += 1;
            }
            hunted.failing += u64::from(!trial.broken.is_empty());
            hunted.distinct = distinct.len() as u64;
            hunted.cpu_seconds = cpu_seconds() - cpu;
            let Some(class) = trial.broken.first() else { continue };
            if known.insert((trial.lock.clone(), *class)) {
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
    let beyond =
        scenario.locks.get(&trial.lock).map(|config| law::beyond(config, &scenario.faults)).unwrap_or_default();
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
        let is_lawful = |config| {
            let now = law::beyond(config, &candidate.faults);
            // Never beyond more than what was found.
            request.assume == Assume::Nothing && now.is_subset(&beyond) || now.is_empty()
        };
        candidate.locks.get(&trial.lock).is_some_and(is_lawful) && is_legible(candidate) && {
            let outcome = run_trial(candidate, &trial.lock, seed);
            broken(candidate, &trial.lock, &outcome, &check::judge(&outcome.history)).contains(&class)
        }
    };
    let shrunk = shrink::shrink(&scenario, trial.strikes, trial.seed, &fails, &|| *stop.borrow());
    finding.shrunk = Some(keep_small(&hunted.folder, &format!("{name}-shrunk"), &trial.lock, class, &shrunk)?);
    hear(Heard::Shrunk(finding));
    Ok(())
}

/// Whether a scenario can be written as a file that reads back.
fn is_legible(scenario: &Scenario) -> bool {
    scenario::parse(&scenario.path, &scenario::write(scenario, &[]), &Capabilities::sim()).is_ok()
}

/// A scenario on its way to the disk.
struct Written<'a> {
    name: &'a str,
    title: String,
    why: String,
    lock: &'a str,
    broken: &'a [Broken],
}

/// Where a scenario and its run went.
struct Kept {
    scenario: PathBuf,
    run: PathBuf,
}

impl Written<'_> {
    /// Writes the scenario and runs it with `seed`, into `folder`.
    fn keep(&self, folder: &Path, scenario: &Scenario, seed: Seed) -> Result<Kept, RunError> {
        let mut scenario = Scenario { title: self.title.clone(), why: self.why.clone(), ..scenario.clone() };
        scenario.locks.retain(|name, _| name == self.lock);
        let outcome = run_trial(&scenario, self.lock, seed);
        let judgement = check::judge(&outcome.history);
        let expect = judgement.checks.iter().map(|result| match result.verdict {
            Verdict::Invalid if self.broken.first() == Some(&Broken::Check(result.check)) => {
                (result.check, Demand::Is(Verdict::Invalid))
            }
            // What else comes of it, and what little is exercised, is a matter of the seed.
            _ => (result.check, Demand::Any),
        });
        scenario.expect = BTreeMap::from([(self.lock.to_owned(), expect.collect())]);
        let path = folder.join(format!("{}.toml", self.name));
        let comments = [
            "Found by `fencepost hunt`. Run it with the seed that it was found with:".to_owned(),
            format!("    fencepost run {} --seed {seed}", path.display()),
            format!("Trace hash: {}", crate::ids::TraceHash(outcome.trace.hash)),
        ];
        let text = scenario::write(&scenario, &comments);
        fs::write(&path, &text).map_err(|source| RunError::Folder { path: path.display().to_string(), source })?;
        let scenario = scenario::parse(&path, &text, &Capabilities::sim())?;
        let request = Request { scenario: path.clone(), locks: Vec::new(), seed: Some(seed), out: folder.to_owned() };
        let plan =
            Plan { request, environment: Environment::Sim, scenario, locks: vec![self.lock.to_owned()], again: None };
        let run = sim(&plan, seed, SystemTime::now())?.folder;
        Ok(Kept { scenario: path, run })
    }
}

/// Writes what shrinking left, and runs it twice.
fn keep_small(folder: &Path, name: &str, lock: &str, class: Broken, shrunk: &Shrunk) -> Result<Small, RunError> {
    let scenario = &shrunk.scenario;
    let outcome = run_trial(scenario, lock, shrunk.seed);
    let again = run_trial(scenario, lock, shrunk.seed);
    let title = title(scenario, lock, class);
    let why = told(class, &outcome, &check::judge(&outcome.history));
    let written = Written { name, title: title.clone(), why, lock, broken: &[class] };
    let kept = written.keep(folder, scenario, shrunk.seed)?;
    Ok(Small {
        scenario: kept.scenario,
        title,
        run: kept.run,
        seed: shrunk.seed,
        fails_of_10: shrunk.failed,
        strikes: scenario.faults.len(),
        clients: scenario.workload.clients,
        seconds: scenario.workload.duration.as_secs_f64(),
        trials: shrunk.trials,
        repeats: outcome.trace.hash == again.trace.hash,
        confirmed: None,
    })
}

/// What happens and what it breaks, in one line.
fn title(scenario: &Scenario, lock: &str, class: Broken) -> String {
    let broken = match class {
        Broken::End => "the trial does not end".to_owned(),
        Broken::Check(check) => format!("{check} is broken"),
    };
    let faults: Vec<String> = scenario.faults.iter().map(ToString::to_string).collect();
    match faults.len() {
        0 => format!("{lock}: {broken} though nothing goes wrong"),
        1..=3 => format!("{lock}: {broken} by {}", faults.join("; ")),
        more => format!("{lock}: {broken} by {more} faults"),
    }
}

/// The hunt's own file, written again after each finding.
fn keep(hunted: &Hunted) -> Result<(), RunError> {
    let path = hunted.folder.join("hunt.json");
    let refused = |source| RunError::Folder { path: path.display().to_string(), source };
    let text = serde_json::to_string_pretty(hunted).map_err(|error| refused(error.into()))?;
    fs::write(&path, text).map_err(refused)
}

/// Tries what is left of each finding on real servers, `times` times each, and adds that to the hunt's file.
///
/// # Errors
/// The hunt's file cannot be written.
pub async fn confirm(
    hunted: &mut Hunted,
    times: u64,
    progress: &(dyn Fn(&str) + Sync),
    stop: &watch::Receiver<bool>,
) -> Result<(), RunError> {
    for place in 0..hunted.findings.len() {
        let Some(small) = hunted.findings[place].shrunk.clone() else { continue };
        if *stop.borrow() {
            break;
        }
        let request = Request {
            scenario: small.scenario.clone(),
            locks: Vec::new(),
            seed: Some(small.seed),
            out: hunted.folder.clone(),
        };
        let mut confirmed = Confirmed { broken: 0, runs: 0, refused: None };
        // The file demands that the guarantee is broken: what is as expected, confirms.
        let mut count = |report: &Report| {
            confirmed.runs += 1;
            let named = report.locks.iter().flat_map(|lock| &lock.expectations);
            let wanted = named.filter(|line| line.stated && line.expected == Demand::Is(Verdict::Invalid));
            confirmed.broken += u64::from(wanted.into_iter().all(|line| line.held()));
        };
        let tried = match Plan::load(request, Environment::Docker) {
            Ok(plan) => repeat(plan, times, progress, stop, &mut count).await.map(drop),
            Err(error) => Err(error),
        };
        confirmed.refused = tried.err().map(|error| error.to_string());
        if let Some(small) = &mut hunted.findings[place].shrunk {
            small.confirmed = Some(confirmed);
        }
        keep(hunted)?;
    }
    Ok(())
}

/// How much CPU time this process has taken, in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Why a run could not be shrunk.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// The run folder cannot be read.
    #[error(transparent)]
    Run(#[from] ReadRunError),
    /// The scenario of the run is not understood by this build.
    #[error(transparent)]
    Scenario(#[from] LoadError),
    /// There is nothing to shrink.
    #[error("{path}: no check of {locks} is invalid; `shrink` makes a run small that broke a guarantee")]
    NothingBroken {
        /// The run's folder.
        path: String,
        /// The locks looked at.
        locks: String,
    },
    /// What was broken on real servers is not in simulation.
    #[error(
        "{path}: the strikes of this run do not break {check} of `{lock}` in simulation, nor does its scenario; the run stands as it is"
    )]
    NotBroken {
        /// The run's folder.
        path: String,
        /// The check.
        check: CheckName,
        /// The lock.
        lock: String,
    },
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] RunError),
}

/// Makes a run small that broke a guarantee: of the first lock whose run did, and of the guarantee asked for, or the first.
///
/// # Errors
/// The folder is none of a run that can be read, nothing is broken in it, or nothing is when it is run again.
pub fn shrink(folder: &Path, lock: Option<&str>, check: Option<CheckName>) -> Result<Small, ShrinkError> {
    let run = read_run(folder, check::judge)?;
    let path = PathBuf::from(format!("{}.toml", run.scenario));
    let scenario = scenario::parse(&path, &run.source, &Capabilities::sim())?;
    let wanted = |name: &str| lock.is_none_or(|lock| lock == name);
    let is_broken = |judgement: &Judgement| {
        let invalid = |name: &CheckName| {
            judgement.checks.iter().any(|result| result.check == *name && result.verdict == Verdict::Invalid)
        };
        // What the lock owes first, then whatever else is broken.
        CheckName::ALL.into_iter().filter(|name| check.is_none_or(|check| check == *name)).find(invalid)
    };
    let first = run.locks.iter().filter(|lock| wanted(&lock.name)).find_map(|lock| {
        Some((
            lock,
            law::accused(&scenario, &lock.name, &lock.judgement)
                .first()
                .copied()
                .filter(|_| check.is_none())
                .or(is_broken(&lock.judgement))?,
        ))
    });
    let Some((tried, class)) = first else {
        let locks: Vec<&str> = run.locks.iter().map(|lock| lock.name.as_str()).filter(|name| wanted(name)).collect();
        return Err(ShrinkError::NothingBroken { path: folder.display().to_string(), locks: locks.join(", ") });
    };
    let name = tried.name.clone();
    let mut only = scenario.clone();
    only.locks.retain(|other, _| *other == name);
    let fails = |candidate: &Scenario, seed: Seed| {
        is_legible(candidate) && {
            let outcome = run_trial(candidate, &name, seed);
            let judgement = check::judge(&outcome.history);
            judgement.checks.iter().any(|result| result.check == class && result.verdict == Verdict::Invalid)
        }
    };
    let shrunk = shrink::shrink(&only, recorded::plan(&tried.history), run.seed, &fails, &|| false);
    if shrunk.failed == 0 || !fails(&shrunk.scenario, shrunk.seed) {
        let path = folder.display().to_string();
        return Err(ShrinkError::NotBroken { path, check: class, lock: name });
    }
    Ok(keep_small(folder, &format!("shrunk-{name}"), &name, Broken::Check(class), &shrunk)?)
}

impl Small {
    /// The size and the sureness in one line.
    pub fn told(&self) -> String {
        let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        format!(
            "{}, {}, {}s, fails with {} of {SEEDS} seeds{}",
            counted(self.strikes, "fault", "faults"),
            counted(self.clients as usize, "client", "clients"),
            self.seconds,
            self.fails_of_10,
            if self.repeats { "" } else { "; two runs of it differed" },
        )
    }
}

impl Hunted {
    /// What a search that found nothing is worth: the share of trials above which a bug would have shown in 19 of 20
    /// searches like this one.
    pub fn share_excluded(&self) -> f64 {
        if self.trials == 0 { 1.0 } else { 1.0 - 0.05_f64.powf(1.0 / self.trials as f64) }
    }
}
