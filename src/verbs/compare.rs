//! `compare`: scenarios over many seeds, and one knob of a scenario over many values.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fencepost::cli::stdout;
use fencepost::cli::{CompareArgs, CompareFormat};
use fencepost::report::compare::Compared;
use fencepost::report::real::Real;
use fencepost::report::{self, Conclusion, Report};
use fencepost::run::{self, Environment, Plan, Request};
use fencepost::scenario::vary::{Knob, with_value};
use fencepost::seed::Seed;
use tokio::sync::watch;

use super::console::{Progress, say, stop_on_signals};
use super::failure::Failure;
use super::run::{called_off, count, scenario_files};

/// The matrix locks × scenarios.
pub async fn compare(args: CompareArgs) -> Result<u8, Failure> {
    let files = scenario_files(&args.scenarios)?;
    let folder = args.out.join("compare");
    let knob = args.vary.as_deref().map(Knob::parse).transpose().map_err(Failure::bad_request)?;
    let files = match &knob {
        Some(knob) => varied(&files, knob, &folder)?,
        None => files,
    };
    let stop = stop_on_signals("counting the seeds that were run");
    let seed = args.seed.unwrap_or_else(Seed::from_entropy);
    let plans: Vec<Plan> = files
        .into_iter()
        .map(|scenario| {
            let (locks, out) = (args.locks.clone(), args.out.clone());
            Plan::load(Request { scenario, locks, seed: Some(seed), out }, Environment::Sim).map_err(Failure::from)
        })
        .collect::<Result<_, _>>()?;
    let mut sweeps = Vec::new();
    for plan in &plans {
        if *stop.borrow() {
            break;
        }
        sweeps.push(count(plan, args.seeds, &stop, &mut |_| ControlFlow::Continue(()))?);
    }
    let real = real(&args, seed, &plans, &stop).await?;
    let unfinished = stop.borrow().then(|| {
        let (begun, all) = (sweeps.len(), plans.len());
        format!("It was called off: {begun} of {all} scenarios were begun, each with up to {} seeds.", args.seeds)
    });
    let compared = Compared {
        sweeps: &sweeps,
        varied: knob.as_ref().map(|knob| (knob.key.as_str(), &knob.values[..])),
        unfinished: unfinished.as_deref(),
        real: real.as_ref(),
    };
    let index = report::compare::write(&folder, compared)
        .with_context(|| format!("cannot write the index page in {}", folder.display()))?;
    match args.format {
        CompareFormat::Human => {
            say(&report::compare::table(compared, stdout::style()))?;
            say(&format!("page    {}", index.display()))?;
            say(&unfinished.clone().unwrap_or_else(|| format!("seeds   {} from {seed}", args.seeds)))?;
        }
        CompareFormat::Markdown => say(&report::compare::markdown(compared))?,
        CompareFormat::Json => {
            let mut object = compared.json();
            object["page"] = index.display().to_string().into();
            say(&object.to_string())?;
        }
    }
    let worst = sweeps.iter().map(|sweep| sweep.conclusion).max().unwrap_or_default();
    // What a file foresaw, it foresaw of its own value.
    let worst = if args.vary.is_some() && worst == Conclusion::Unexpected { Conclusion::AsExpected } else { worst };
    Ok(called_off(worst, &stop).code())
}

/// What the scenarios came to on real servers: run now, stored, or both; none if nobody asked.
async fn real(
    args: &CompareArgs,
    seed: Seed,
    plans: &[Plan],
    stop: &watch::Receiver<bool>,
) -> Result<Option<Real>, Failure> {
    if args.real.is_none() && args.stored.is_empty() {
        return Ok(None);
    }
    let mut real = Real::default();
    run::add_stored(&args.stored, plans, &mut real);
    if real.runs() == 0 && real.left_out.is_empty() && args.real.is_none() {
        let folders: Vec<String> = args.stored.iter().map(|folder| folder.display().to_string()).collect();
        return Err(Failure::bad_request(format!(
            "--with: below {} is no run of these scenarios on real servers; `fencepost run SCENARIO --env docker` makes \
             one, and --real N makes them as part of the comparison",
            folders.join(", ")
        )));
    }
    for plan in plans.iter().filter(|_| args.real.is_some()) {
        if *stop.borrow() {
            break;
        }
        let Request { scenario, locks, out, .. } = plan.request().clone();
        let name = &plan.scenario().name;
        // In simulation it can be run: what is wrong now is what real servers cannot do.
        let plan = match Plan::load(Request { scenario, locks, seed: Some(seed), out }, Environment::Docker) {
            Ok(plan) => plan,
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                real.left_out.push(format!("{name}: not on real servers: {why}"));
                continue;
            }
        };
        let progress = Progress::new();
        let say_so = |message: &str| progress.say(&format!("{name}: {message}"));
        let mut each = |report: &Report| real.add(report.clone());
        let counted = run::repeat(plan, args.real.unwrap_or(1), &say_so, stop, &mut each).await;
        progress.clear();
        if let Err(error) = counted {
            real.left_out.push(format!("{name}: not on real servers: {error:#}"));
        }
    }
    Ok(Some(real))
}

/// Writes a file for each value of the knob, which can be run by itself, and names them in order.
pub fn varied(files: &[PathBuf], knob: &Knob, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let [file] = files else {
        return Err(Failure::bad_request(format!(
            "--vary turns one knob of one scenario, and there are {}; name one file",
            files.len()
        )));
    };
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the scenario file {}", file.display()));
    let text = text.map_err(Failure::bad_request)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let place = folder.join("varied");
    std::fs::create_dir_all(&place)
        .with_context(|| format!("cannot write to {}", place.display()))
        .map_err(Failure::bad_request)?;
    let write = |(value, _): &(String, f64)| {
        let text = with_value(&text, &knob.key, value).map_err(Failure::bad_request)?;
        let short = knob.key.rsplit('.').next().unwrap_or(&knob.key);
        let value: String =
            value.chars().map(|c| if c.is_ascii_alphanumeric() || "+-.%µ".contains(c) { c } else { '_' }).collect();
        let path = place.join(format!("{name}.{short}={value}.toml"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    knob.values.iter().map(write).collect()
}
