//! What a search leaves on the disk: scenarios, runs of them, its own file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::finding::{Broken, Finding, Hunted, Small};
use super::told;
use crate::check;
use crate::env::sim::run_trial;
use crate::hunt::shrink::Shrunk;
use crate::report;
use crate::report::hunt::{Found, Search};
use crate::run::{Environment, Plan, Request, RunError, sim};
use crate::scenario::{self, Capabilities, Scenario};
use crate::seed::Seed;
use crate::verdict::{Demand, Verdict};

/// Whether a scenario can be written as a file that reads back.
pub(super) fn is_legible(scenario: &Scenario) -> bool {
    scenario::parse(&scenario.path, &scenario::write(scenario, &[]), &Capabilities::sim()).is_ok()
}

/// A scenario on its way to the disk.
pub(super) struct Written<'a> {
    pub name: &'a str,
    pub title: String,
    pub why: String,
    pub lock: &'a str,
    pub broken: &'a [Broken],
}

/// Where a scenario and its run went.
pub(super) struct Kept {
    pub scenario: PathBuf,
    pub run: PathBuf,
}

impl Written<'_> {
    /// Writes the scenario and runs it with `seed`, into `folder`.
    pub fn keep(&self, folder: &Path, scenario: &Scenario, seed: Seed) -> Result<Kept, RunError> {
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
        let plan = Plan {
            request,
            environment: Environment::Sim,
            scenario,
            locks: vec![self.lock.to_owned()],
            again: None,
            given: None,
        };
        let run = sim(&plan, seed, SystemTime::now())?.folder;
        Ok(Kept { scenario: path, run })
    }
}

/// Writes what shrinking left, and runs it twice.
pub(super) fn keep_small(
    folder: &Path,
    name: &str,
    lock: &str,
    class: Broken,
    shrunk: &Shrunk,
) -> Result<Small, RunError> {
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
pub(super) fn title(scenario: &Scenario, lock: &str, class: Broken) -> String {
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

/// The hunt's own file and its page, written again after each finding.
pub(super) fn keep(hunted: &Hunted) -> Result<(), RunError> {
    let path = hunted.folder.join("hunt.json");
    let refused = |source| RunError::Folder { path: path.display().to_string(), source };
    let text = serde_json::to_string_pretty(hunted).map_err(|error| refused(error.into()))?;
    fs::write(&path, text).map_err(refused)?;
    let search = Search {
        about: hunted.about(),
        effort: hunted.effort(),
        interrupted: hunted.interrupted,
        found: hunted.findings.iter().map(shown).collect(),
        worth: &hunted.worth,
        again: hunted.again(),
    };
    report::hunt::write(&hunted.folder, &search).map(drop).map_err(refused)
}

/// A finding as the page shows it.
fn shown(finding: &Finding) -> Found<'_> {
    let broken: Vec<String> = finding.broken.iter().map(ToString::to_string).collect();
    let small = finding.shrunk.as_ref().map(|small| {
        let confirmed = small.confirmed.as_ref().map(|confirmed| format!("; {}", confirmed.told())).unwrap_or_default();
        report::hunt::Small {
            title: &small.title,
            told: format!("{}{confirmed}", small.told()),
            command: format!("fencepost run {} --seed {}", small.scenario.display(), small.seed),
            run: &small.run,
        }
    });
    Found {
        title: format!("{} breaks {} (trial {})", finding.lock, broken.join(", "), finding.trial),
        text: &finding.text,
        beyond: finding.beyond.join("; "),
        run: &finding.run,
        small,
    }
}
