//! What people and programs read of a run: console table, JSON, one self-contained HTML page.
//!
//! Everything here is made from a [`Report`]: recorded histories and the checks' results. Nothing is judged here.
//! [`console`], [`json`], [`junit`] and [`html`] each say the same in their own form; `scene` sorts a history out for
//! them and `words` phrases it; `timeline` and `excerpt` (on `lanes`) and `plots` draw it; `trial` and `appendix` are
//! parts of the page; [`growing`] is that of a run that goes on. [`worlds`] lays the results of both worlds side by
//! side, [`calibration`] their round trips. [`strangers`] is the table of locks that are not of fencepost. `conclusion`
//! says how runs ended, for exit codes.

pub mod calibration;
pub mod compare;
pub mod console;
pub mod html;
pub mod hunt;
pub mod json;
pub mod junit;
pub mod library;
pub mod strangers;

mod answers;
mod appendix;
mod cell;
mod comparison;
mod conclusion;
pub mod cost;
mod curve;
mod document;
mod excerpt;
mod exhibit;
pub mod growing;
mod key_figures;
mod lanes;
mod marks;
mod patterns;
mod plots;
pub mod real;
mod remedy;
mod scene;
#[cfg(test)]
#[path = "../../tests/cli/schema_check.rs"]
mod schema_check;
mod standing;
mod summary;
pub mod sweep;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;
mod trial;
mod words;
pub mod worlds;
#[cfg(test)]
#[path = "../../tests/cli/xsd_check.rs"]
mod xsd_check;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::check::{CheckName, Judgement, Verdict};
use crate::history::EnvironmentName;
use crate::history::History;
use crate::history::foreign::Reading;
use crate::ids::TraceHash;
use crate::seed::Seed;
use crate::time::Nanos;
use crate::verdict::Demand;
use crate::word::Word;

pub use conclusion::{Conclusion, OWN_FAILURE};

/// The page's name in the run folder.
pub const PAGE: &str = "report.html";
/// The verdict's name in the run folder.
pub const VERDICT: &str = "verdict.json";
/// The name of a run's own description in the run folder.
pub const RUN: &str = "run.json";
/// A history's name in its lock's folder in the run folder.
pub const HISTORY: &str = "history.jsonl";
/// The link to a scenario's newest run, beside the run folders.
pub const LATEST: &str = "latest";
/// Where the pages of runs that go on are served.
pub const GROWING: &str = "/growing/";

/// One line of `[expect]`, or of what is demanded where it says nothing, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expectation {
    /// The check.
    pub check: CheckName,
    /// What is demanded of it.
    pub expected: Demand,
    /// The verdict that it reached; absent where the check did not run.
    pub reached: Option<Verdict>,
    /// Whether the scenario's author wrote it down (false: demanded of every run).
    pub stated: bool,
}

impl Expectation {
    /// Whether the check reached what was expected of it.
    pub fn held(&self) -> bool {
        self.expected.is_met(self.reached)
    }

    /// Why something is demanded that the scenario's author did not write down; nothing of what they did.
    pub fn reason(&self) -> &'static str {
        match (self.stated, self.expected) {
            (true, _) => "",
            (false, Demand::NotInvalid) => {
                " (what [expect] does not name must not be invalid; what lawfully is, it names)"
            }
            (false, _) => " (as of every run)",
        }
    }
}

/// One lock's part of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct LockReport {
    /// The lock's table name.
    pub name: String,
    /// The algorithm's name.
    pub algorithm: String,
    /// The lock's settings, in the order to show them: `("ttl", "1s")`.
    pub settings: Vec<(String, String)>,
    /// What was recorded.
    pub history: History,
    /// Of a history that was judged while it was read, and whose ops are not kept: when the last of them was.
    pub streamed: Option<Nanos>,
    /// What the checks say of it.
    pub judgement: Judgement,
    /// What was expected.
    pub expectations: Vec<Expectation>,
    /// How the history was read, if it is another harness's.
    pub reading: Option<Reading>,
    /// For a simulated trial: the hash over all its events.
    pub trace_hash: Option<TraceHash>,
    /// Why the trial of this lock ended early, if it did.
    pub error: Option<String>,
}

impl LockReport {
    /// What to say of a history that is cut off.
    pub fn cut_off(&self) -> Option<String> {
        let why = self.history.lacks()?;
        Some(format!("the history is cut off: {why}; what was not seen broken in it is not known to have held"))
    }

    /// Whether every expectation held and nothing went wrong.
    pub fn expected(&self) -> bool {
        self.error.is_none() && self.expectations.iter().all(Expectation::held)
    }
}

/// One run of one scenario: everything that the console, the files and the page show.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// The claim that it tests.
    pub why: String,
    /// The scenario file's text.
    pub source: String,
    /// `sim` or `docker`.
    pub environment: Word<EnvironmentName>,
    /// The run's seed.
    pub seed: Seed,
    /// The run's folder.
    pub folder: PathBuf,
    /// When it started, in UTC: `2026-11-23 09:29:35`.
    pub started: String,
    /// The settings that all locks share, in the order to show them: `("clients", "5")`.
    pub settings: Vec<(String, String)>,
    /// The fault plan, one sentence each.
    pub plan: Vec<String>,
    /// The command that runs it again with the same seed; empty for a history that is judged by itself.
    pub replay: String,
    /// Which lock servers took part, if they were not fencepost's own, and what that means.
    pub servers: Option<String>,
    /// The versions of what took part.
    pub versions: BTreeMap<String, String>,
    /// Each lock's part, in name order.
    pub locks: Vec<LockReport>,
    /// Why the run ended early, if it did (`interrupted`).
    pub interrupted: Option<String>,
}

impl Report {
    /// Whether every expectation of every lock held and nothing went wrong.
    pub fn expected(&self) -> bool {
        Conclusion::of(self) == Conclusion::AsExpected
    }

    /// The commands that repeat it, by name; none for a history that is judged by itself.
    pub fn commands(&self) -> Vec<(&'static str, String)> {
        let proof = self
            .environment
            .is(EnvironmentName::Sim)
            .then(|| ("replay", format!("fencepost replay {}", self.folder.display())));
        let again = ("again", self.replay.clone());
        proof.into_iter().chain([again]).filter(|_| !self.replay.is_empty()).collect()
    }

    /// The worst verdict of all locks.
    pub fn verdict(&self) -> Verdict {
        self.locks.iter().map(|lock| lock.judgement.verdict).fold(Verdict::NotApplicable, Verdict::merge)
    }
}

/// Writes `run.json`, `verdict.json` and the page into the run folder, each in one step, and returns the page's path.
///
/// The histories are there already: they are written as they happen.
///
/// # Errors
/// A file cannot be written.
pub fn write(report: &Report) -> io::Result<PathBuf> {
    fs::create_dir_all(&report.folder)?;
    // What the page can be drawn from comes first: if drawing fails, nothing is lost.
    replace(&report.folder.join(RUN), &json::run(report)?)?;
    replace(&report.folder.join(VERDICT), &json::pretty(&json::verdict(report))?)?;
    let page = report.folder.join(PAGE);
    replace(&page, html::page(report).as_bytes())?;
    Ok(page)
}

/// Puts a whole file in place of an old one: a reader sees the one or the other, never a part.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("partial");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        let _ = fs::remove_file(temporary);
    }
    replaced
}
