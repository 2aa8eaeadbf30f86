//! `run` and `replay`: scenario files, once, over many seeds, or the same seed again.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fencepost::cli::stdout::{self, Reader, Results};
use fencepost::cli::{EnvironmentName, Format, RunArgs};
use fencepost::env::docker::external::External;
use fencepost::report::sweep::{Sweep, Tally};
use fencepost::report::{self, Conclusion, Report};
use fencepost::run::{self, Environment, Plan, Replayed, Request};
use fencepost::scenario;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::console::{Progress, say, stop_on_signals};
use super::failure::Failure;

/// Runs scenarios one after another; the worst conclusion counts, and an interruption ends them all.
pub async fn run_all(args: RunArgs) -> Result<u8, Failure> {
    let given = match &*args.servers {
        [] => None,
        words => Some(External::parse(words).map_err(Failure::bad_request)?),
    };
    let environment = match args.env {
        Some(EnvironmentName::Sim) if given.is_some() => {
            return Err(Failure::bad_request(
                "--servers tries locks on real servers, with clients in containers; leave out --env sim, or leave out --servers",
            ));
        }
        None if given.is_some() => Environment::Docker,
        None | Some(EnvironmentName::Sim) => Environment::Sim,
        Some(EnvironmentName::Docker) => Environment::Docker,
    };
    if args.seeds.is_some() && environment == Environment::Docker {
        return Err(Failure::bad_request(
            "--seeds runs in simulation only; leave out --env docker, or leave out --seeds",
        ));
    }
    if args.repeat.is_some() && environment == Environment::Sim {
        return Err(Failure::bad_request(
            "--repeat is for real servers, since a simulated run repeats itself; add --env docker, or count seeds with --seeds",
        ));
    }
    let stop = match (environment, args.seeds, args.format) {
        (Environment::Docker, ..) => stop_on_signals("healing faults and writing the report"),
        (Environment::Sim, Some(_), _) => stop_on_signals("counting the seeds that were run"),
        (Environment::Sim, None, Format::Junit) => stop_on_signals("ending this run and printing the document"),
        // Over in a moment, and nothing to heal or to print: Ctrl-C simply ends it.
        (Environment::Sim, None, _) => watch::channel(false).1,
    };
    // All files are read before the first is run: a mistake in the last one must not cost the others' time.
    let plans: Vec<Plan> = scenario_files(&args.scenarios)?
        .into_iter()
        .map(|scenario| {
            let (locks, out) = (args.locks.clone(), args.out.clone());
            let request = Request { scenario, locks, seed: args.seed, out };
            let plan = match &given {
                None => Plan::load(request, environment),
                Some(given) => Plan::load_for(request, given),
            };
            plan.map_err(Failure::from)
        })
        .collect::<Result<_, _>>()?;
    let mut results = Results::new(args.format);
    let ended = run_plans(plans, args.seeds, args.repeat, &mut results, &stop).await;
    results.finish()?;
    Ok(called_off(ended?, &stop).code())
}

pub async fn run_plans(
    plans: Vec<Plan>,
    seeds: Option<u64>,
    repeat: Option<u64>,
    results: &mut Results,
    stop: &watch::Receiver<bool>,
) -> Result<Conclusion, Failure> {
    let mut worst = Conclusion::default();
    for plan in plans {
        if *stop.borrow() {
            break;
        }
        let name = plan.scenario().name.clone();
        let conclusion = match (seeds, repeat) {
            (Some(seeds), _) => sweep(&plan, seeds, results, stop),
            (None, Some(times)) => run_again(plan, times, results, stop).await,
            (None, None) => run_once(&plan, results, stop).await,
        };
        let failed = |failure: &Failure| results.failure(&name, &failure.message);
        worst = worst.max(conclusion.inspect_err(failed)?);
    }
    Ok(worst)
}

pub async fn run_once(plan: &Plan, results: &mut Results, stop: &watch::Receiver<bool>) -> Result<Conclusion, Failure> {
    let progress = Progress::new();
    let report = run::run(plan, &|message| progress.say(message), stop.clone()).await;
    progress.clear();
    let report = report?;
    results.run(&report)?;
    Ok(Conclusion::of(&report))
}

/// Runs one scenario many times with one seed, and prints how often each check reached which verdict.
pub async fn run_again(
    plan: Plan,
    times: u64,
    results: &mut Results,
    stop: &watch::Receiver<bool>,
) -> Result<Conclusion, Failure> {
    let progress = Progress::new();
    let mut printed = Ok(Reader::There);
    let say_so = |message: &str| progress.say(message);
    let mut print = |report: &Report| {
        if printed.is_ok() {
            printed = results.seed(report);
        }
    };
    let counted = run::repeat(plan, times, &say_so, stop, &mut print).await;
    progress.clear();
    let counted = counted?;
    printed?;
    match results.format() {
        Format::Human => {
            say(&counted.locks.iter().map(Tally::told).collect::<Vec<_>>().join("\n"))?;
            say(&format!(
                "runs    {} with seed {}, {} as expected",
                counted.seeds, counted.first, counted.as_expected
            ))?;
            if let Some(example) = &counted.example {
                say(&format!(
                    "page    {} (the first that differs, or the first)",
                    example.join(report::PAGE).display()
                ))?;
            }
        }
        Format::Json => say(&serde_json::json!({ "summary": counted }).to_string())?,
        Format::Junit => {}
    }
    Ok(if counted.seeds < times { counted.conclusion.max(Conclusion::Unknown) } else { counted.conclusion })
}

/// What was called off has not shown what it was to show, however well it began.
pub fn called_off(conclusion: Conclusion, stop: &watch::Receiver<bool>) -> Conclusion {
    if *stop.borrow() { conclusion.max(Conclusion::Unknown) } else { conclusion }
}

/// Runs many seeds of one scenario and prints their count.
pub fn sweep(
    plan: &Plan,
    seeds: u64,
    results: &mut Results,
    stop: &watch::Receiver<bool>,
) -> Result<Conclusion, Failure> {
    let mut printed = Ok(Reader::There);
    let counted = count(plan, seeds, stop, &mut |report| {
        printed = results.seed(report);
        // Seeds that nobody hears of need not be run.
        if matches!(printed, Ok(Reader::There)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    printed?;
    match results.format() {
        Format::Human => {
            say(&report::compare::table(std::slice::from_ref(&counted), stdout::style()))?;
            say(&format!("seeds   {} from {}", counted.seeds, counted.first))?;
            if let Some(example) = &counted.example {
                say(&format!("page    {} (one of the runs)", example.join(report::PAGE).display()))?;
            }
        }
        Format::Json => say(&serde_json::json!({ "summary": counted }).to_string())?,
        Format::Junit => {}
    }
    // Too few seeds are not what was asked for.
    Ok(if counted.seeds < seeds { counted.conclusion.max(Conclusion::Unknown) } else { counted.conclusion })
}

/// Runs many seeds with a progress bar.
pub fn count(
    plan: &Plan,
    seeds: u64,
    stop: &watch::Receiver<bool>,
    each: &mut dyn FnMut(&Report) -> ControlFlow<()>,
) -> Result<Sweep, Failure> {
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_message(plan.scenario().name.clone());
    let counted = run::sweep(plan, seeds, stop, &mut |report| {
        bar.inc(1);
        bar.suspend(|| each(report))
    });
    bar.finish_and_clear();
    Ok(counted?)
}

/// The files that paths name: themselves, or all scenario files of a folder.
pub fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let listed = scenario::list(path).with_context(|| format!("cannot list {}", path.display()));
            files.extend(listed.map_err(Failure::bad_request)?.into_iter().map(|scenario| scenario.path));
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        return Err(Failure::bad_request("no scenario files there; name files, or a folder that holds some"));
    }
    Ok(files)
}

/// Proves or denies that a simulated run repeats.
pub fn replay(folder: &Path) -> Result<u8, Failure> {
    let replayed = run::replay(folder).map_err(Failure::bad_request)?;
    for lock in &replayed {
        match &lock.difference {
            None => say(&format!("{}: the same, trace hash {}", lock.lock, lock.recorded))?,
            Some(difference) => say(&format!(
                "{}: DIFFERENT: recorded {}, replayed {}; {difference}",
                lock.lock, lock.recorded, lock.replayed
            ))?,
        }
    }
    Ok(u8::from(!replayed.iter().all(Replayed::is_same)))
}
