//! `compare`: scenarios over many seeds, and one knob of a scenario over many values.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fencepost::cli::stdout;
use fencepost::cli::{CompareArgs, CompareFormat};
use fencepost::report::compare::Compared;
use fencepost::report::{self, Conclusion};
use fencepost::run::{Environment, Plan, Request};
use fencepost::scenario::vary::{Knob, with_value};
use fencepost::seed::Seed;

use super::console::{say, stop_on_signals};
use super::failure::Failure;
use super::run::{called_off, count, scenario_files};

/// The matrix locks × scenarios.
pub fn compare(args: CompareArgs) -> Result<u8, Failure> {
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
    let unfinished = stop.borrow().then(|| {
        let (begun, all) = (sweeps.len(), plans.len());
        format!("It was called off: {begun} of {all} scenarios were begun, each with up to {} seeds.", args.seeds)
    });
    let compared = Compared {
        sweeps: &sweeps,
        varied: knob.as_ref().map(|knob| (knob.key.as_str(), &knob.values[..])),
        unfinished: unfinished.as_deref(),
    };
    let index = report::compare::write(&folder, compared)
        .with_context(|| format!("cannot write the index page in {}", folder.display()))?;
    match args.format {
        CompareFormat::Human => {
            say(&report::compare::table(&sweeps, stdout::style()))?;
            say(&format!("page    {}", index.display()))?;
            say(&unfinished.unwrap_or_else(|| format!("seeds   {} from {seed}", args.seeds)))?;
        }
        CompareFormat::Markdown => say(&report::compare::markdown(&sweeps))?,
        CompareFormat::Json => {
            let (varied, page) = (knob.map(|knob| knob.key), index.display().to_string());
            say(&serde_json::json!({ "page": page, "varied": varied, "unfinished": unfinished, "scenarios": sweeps })
                .to_string())?;
        }
    }
    let worst = sweeps.iter().map(|sweep| sweep.conclusion).max().unwrap_or_default();
    // What a file foresaw, it foresaw of its own value.
    let worst = if args.vary.is_some() && worst == Conclusion::Unexpected { Conclusion::AsExpected } else { worst };
    Ok(called_off(worst, &stop).code())
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
