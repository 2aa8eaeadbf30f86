//! Afterwards: any run made small, and what is left of findings tried on real servers.

use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::finding::{Broken, Confirmed, Hunted, Small};
use super::kept::{is_legible, keep, keep_small};
use crate::check::{self, Judgement};
use crate::env::sim::run_trial;
use crate::hunt::{law, recorded, shrink};
use crate::report::Report;
use crate::report::json::{ReadRunError, read_run};
use crate::run::{Environment, Plan, Request, RunError, repeat};
use crate::scenario::{self, Capabilities, LoadError, Scenario};
use crate::seed::Seed;
use crate::verdict::{CheckName, Demand, Verdict};

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
            let held: Vec<bool> = wanted.map(|line| line.held()).collect();
            // A trial that did not end demands nothing.
            confirmed.broken += u64::from(!held.is_empty() && held.iter().all(|held| *held));
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

/// Makes a run small that broke a guarantee: of the first lock whose run did, and of the guarantee asked for, or the
/// first.
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
