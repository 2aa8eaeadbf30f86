//! The files of a run that programs read: `verdict.json`, and `run.json` from which the page can be drawn again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Expectation, HISTORY, LATEST, LockReport, RUN, Report};
use crate::check::{CheckName, Incident, Judgement, Verdict, Violation};
use crate::history::EnvironmentName;
use crate::history::file::{self, HistoryError};
use crate::history::{Header, History};
use crate::ids::TraceHash;
use crate::seed::Seed;
use crate::verdict::Demand;
use crate::word::Word;

/// The version of `verdict.json`, as its schema says.
const VERDICT_FORMAT: u32 = 1;
/// The JSON Schema of `verdict.json` and of what `--format json` prints.
pub const VERDICT_SCHEMA: &str = include_str!("assets/verdict.schema.json");
/// The version of `run.json` that this build reads and writes.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct VerdictFile<'a> {
    format: u32,
    scenario: &'a str,
    environment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<&'a str>,
    seed: Seed,
    run: String,
    expected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<&'a str>,
    locks: BTreeMap<&'a str, LockVerdict<'a>>,
}

#[derive(Serialize)]
struct LockVerdict<'a> {
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_hash: Option<TraceHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// Why the history is not known to be whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut_off: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading: Option<ReadingVerdict<'a>>,
    incidents: &'a [Incident],
    /// How many incidents there are, listed or not.
    incidents_in_all: u64,
    checks: BTreeMap<CheckName, CheckVerdict<'a>>,
    expectations: Vec<ExpectationVerdict>,
}

/// How another harness's history was read.
#[derive(Serialize)]
struct ReadingVerdict<'a> {
    taken: &'a BTreeMap<&'static str, String>,
    passed_over: &'a BTreeMap<String, u64>,
    not_judged: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct CheckVerdict<'a> {
    verdict: Verdict,
    guarantee: &'a str,
    summary: &'a str,
    figures: &'a BTreeMap<String, f64>,
    violations: &'a [Violation],
}

#[derive(Serialize)]
struct ExpectationVerdict {
    check: CheckName,
    expected: Demand,
    reached: Option<Verdict>,
    held: bool,
    stated: bool,
}

/// What `verdict.json` holds and `--format json` prints.
pub fn verdict(report: &Report) -> serde_json::Value {
    let locks = report.locks.iter().map(|lock| (lock.name.as_str(), lock_verdict(lock))).collect();
    serde_json::json!(VerdictFile {
        format: VERDICT_FORMAT,
        scenario: &report.scenario,
        environment: report.environment.as_str(),
        servers: report.servers.as_deref(),
        seed: report.seed,
        run: report.folder.display().to_string(),
        expected: report.expected(),
        interrupted: report.interrupted.as_deref(),
        locks,
    })
}

fn lock_verdict(lock: &LockReport) -> LockVerdict<'_> {
    let checks = lock.judgement.checks.iter().map(|result| {
        let verdict = CheckVerdict {
            verdict: result.verdict,
            guarantee: &result.guarantee,
            summary: &result.summary,
            figures: &result.figures,
            violations: &result.violations,
        };
        (result.check, verdict)
    });
    let expectations = lock.expectations.iter().map(|expectation| ExpectationVerdict {
        check: expectation.check,
        expected: expectation.expected,
        reached: expectation.reached,
        held: expectation.held(),
        stated: expectation.stated,
    });
    LockVerdict {
        verdict: lock.judgement.verdict,
        trace_hash: lock.trace_hash,
        error: lock.error.as_deref(),
        cut_off: lock.history.lacks().map(|why| why.to_string()),
        reading: lock.reading.as_ref().map(|reading| ReadingVerdict {
            taken: &reading.taken,
            passed_over: &reading.passed_over,
            not_judged: reading.unclear.iter().map(|(lock, why)| (lock.as_str(), why.as_str())).collect(),
        }),
        incidents: &lock.judgement.incidents,
        incidents_in_all: lock.judgement.incidents_in_all,
        checks: checks.collect(),
        expectations: expectations.collect(),
    }
}

/// What `run.json` holds: all of a report but the histories, which lie beside it, and what can be judged from them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RunFile {
    format: u32,
    scenario: String,
    title: String,
    why: String,
    environment: Word<EnvironmentName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    servers: Option<String>,
    seed: Seed,
    started: String,
    replay: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interrupted: Option<String>,
    settings: Vec<(String, String)>,
    plan: Vec<String>,
    versions: BTreeMap<String, String>,
    locks: Vec<RunLock>,
    source: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RunLock {
    name: String,
    algorithm: String,
    settings: Vec<(String, String)>,
    expectations: Vec<Expectation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace_hash: Option<TraceHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    // Repeats the history's own first line: a trial that failed early may have left no history.
    header: Header,
}

/// The version alone, so that a newer file is refused for its version, not for its first unknown field.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// The bytes of `run.json`.
///
/// # Errors
/// Never for a report of this crate: all of its keys are texts.
pub(super) fn run(report: &Report) -> io::Result<Vec<u8>> {
    let locks = report.locks.iter().map(|lock| RunLock {
        name: lock.name.clone(),
        algorithm: lock.algorithm.clone(),
        settings: lock.settings.clone(),
        expectations: lock.expectations.clone(),
        trace_hash: lock.trace_hash,
        error: lock.error.clone(),
        header: lock.history.header.clone(),
    });
    let run = RunFile {
        format: FORMAT,
        scenario: report.scenario.clone(),
        title: report.title.clone(),
        why: report.why.clone(),
        environment: report.environment.clone(),
        servers: report.servers.clone(),
        seed: report.seed,
        started: report.started.clone(),
        replay: report.replay.clone(),
        interrupted: report.interrupted.clone(),
        settings: report.settings.clone(),
        plan: report.plan.clone(),
        versions: report.versions.clone(),
        locks: locks.collect(),
        source: report.source.clone(),
    };
    pretty(&run)
}

/// JSON for people too: indented, with a line end.
pub(super) fn pretty(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Why a run folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadRunError {
    /// There is no `run.json`, or it cannot be read.
    #[error("cannot read {path}: {source}; give the folder of a run, such as {example}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// A folder that may have been meant.
        example: PathBuf,
    },
    /// `run.json` is not one.
    #[error("{path} is not the description of a run: {source}; restore the file or run the scenario again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// `run.json` is of another version.
    #[error("{path} has format {found}, this build reads format {FORMAT}; use the fencepost that wrote it")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A lock's history cannot be used.
    #[error("{0}; without its history a run cannot be judged again: restore the file or run the scenario again")]
    History(#[from] HistoryError),
}

/// Reads a run folder and judges its histories again.
///
/// The expectations are those of the run; what they reached is filled in from the new judgement. A lock whose trial
/// ended early may have no history file: it is read as an empty one.
///
/// # Errors
/// A file that is missing or malformed, with its path and what to do.
pub fn read_run(folder: &Path, mut judge: impl FnMut(&History) -> Judgement) -> Result<Report, ReadRunError> {
    let path = folder.join(RUN);
    let malformed = |source| ReadRunError::Malformed { path: path.clone(), source };
    let bytes = fs::read(&path).map_err(|source| {
        let latest = folder.join(LATEST);
        let example = if latest.join(RUN).is_file() { latest } else { Path::new("reports/client-pause").join(LATEST) };
        ReadRunError::Io { path: path.clone(), source, example }
    })?;
    let Versioned { format } = serde_json::from_slice(&bytes).map_err(malformed)?;
    if format != FORMAT {
        return Err(ReadRunError::Format { path, found: format });
    }
    let run: RunFile = serde_json::from_slice(&bytes).map_err(malformed)?;
    let locks = run.locks.into_iter().map(|lock| read_lock(folder, lock, &mut judge)).collect::<Result<_, _>>()?;
    Ok(Report {
        scenario: run.scenario,
        title: run.title,
        why: run.why,
        source: run.source,
        environment: run.environment,
        servers: run.servers,
        seed: run.seed,
        folder: folder.to_owned(),
        started: run.started,
        settings: run.settings,
        plan: run.plan,
        replay: run.replay,
        versions: run.versions,
        locks,
        interrupted: run.interrupted,
    })
}

fn read_lock(
    folder: &Path,
    lock: RunLock,
    judge: &mut impl FnMut(&History) -> Judgement,
) -> Result<LockReport, ReadRunError> {
    let history = match file::read(&folder.join(&lock.name).join(HISTORY)) {
        Err(HistoryError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && lock.error.is_some() => {
            History::new(lock.header, Vec::new())
        }
        history => history?,
    };
    let judgement = judge(&history);
    let reached = |check| judgement.checks.iter().find(|result| result.check == check).map(|result| result.verdict);
    let expectations = lock
        .expectations
        .into_iter()
        .map(|expectation| Expectation { reached: reached(expectation.check), ..expectation })
        .collect();
    Ok(LockReport {
        name: lock.name,
        algorithm: lock.algorithm,
        settings: lock.settings,
        history,
        judgement,
        expectations,
        reading: None,
        streamed: None,
        trace_hash: lock.trace_hash,
        error: lock.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{schema_check, tests::sample, write};

    /// A run folder with its histories, as a run leaves it.
    fn folder(report: &mut Report) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        report.folder = folder.path().to_owned();
        for lock in &report.locks {
            fs::create_dir(folder.path().join(&lock.name)).unwrap();
            file::write(&folder.path().join(&lock.name).join(HISTORY), &lock.history).unwrap();
        }
        folder
    }

    #[test]
    fn what_was_written_reads_back_equal() {
        let mut report = sample::report();
        let folder = folder(&mut report);
        let page = write(&report).unwrap();
        assert_eq!(page, folder.path().join("report.html"));
        assert_eq!(read_run(folder.path(), sample::judge).unwrap(), report);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 5, "two histories, three files, nothing temporary: {left:?}");
    }

    #[test]
    fn expectations_are_kept_and_filled_in_anew() {
        let mut report = sample::report();
        let folder = folder(&mut report);
        write(&report).unwrap();
        let stricter = |_: &History| sample::undecided();
        let read = read_run(folder.path(), stricter).unwrap();
        assert_eq!(read.locks[0].expectations[0].expected, Demand::Is(Verdict::Invalid));
        assert_eq!(read.locks[0].expectations[0].reached, None);
    }

    #[test]
    fn the_verdict_has_the_documented_shape() {
        let verdict = verdict(&sample::report());
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&verdict), ["environment", "expected", "format", "locks", "run", "scenario", "seed"]);
        assert_eq!(verdict["expected"], false);
        assert_eq!(verdict["seed"], 7);
        let redlock = &verdict["locks"]["redlock"];
        assert_eq!(keys(redlock), ["checks", "expectations", "incidents", "incidents_in_all", "verdict"]);
        assert_eq!(redlock["verdict"], "invalid");
        let check = &redlock["checks"]["mutual-exclusion"];
        assert_eq!(keys(check), ["figures", "guarantee", "summary", "verdict", "violations"]);
        assert_eq!(check["figures"]["overlap-ms"], 40.0);
        assert_eq!(check["violations"][0]["from"], 2_700_000_000_u64);
        assert_eq!(verdict["locks"]["zookeeper"]["expectations"][0]["held"], false);
    }

    #[test]
    fn every_verdict_is_as_the_schema_says() {
        let schema: serde_json::Value = serde_json::from_str(VERDICT_SCHEMA).unwrap();
        let mut faulty = sample::report();
        faulty.servers = Some("redis://a:6379".to_owned());
        faulty.locks[0].trace_hash = Some(TraceHash(0xab));
        faulty.locks[0].history.cut_off = Some(crate::history::CutOff::NoMark);
        for cause in [crate::check::Cause::Nothing, crate::check::Cause::Outlived(crate::ids::HoldId::new("c1-1"))] {
            let mut incident = faulty.locks[0].judgement.incidents[0].clone();
            incident.cause = cause;
            faulty.locks[0].judgement.incidents.push(incident);
        }
        for report in [sample::report(), sample::empty(), faulty] {
            let verdict = verdict(&report);
            assert_eq!(schema_check::problems(&schema, &verdict), Vec::<String>::new());
        }
        let mut wrong = verdict(&sample::report());
        wrong["locks"]["redlock"]["checks"]["fencing"]["verdict"] = "perhaps".into();
        wrong["locks"]["redlock"]["extra"] = 1.into();
        wrong.as_object_mut().unwrap().remove("seed");
        let told = schema_check::problems(&schema, &wrong);
        assert_eq!(told.len(), 3, "the test can fail: {told:#?}");
    }

    #[test]
    fn a_lock_that_failed_early_needs_no_history() {
        let mut report = sample::empty();
        let folder = folder(&mut report);
        fs::remove_dir_all(folder.path().join("redlock")).unwrap();
        write(&report).unwrap();
        let unknown = |_: &History| sample::undecided();
        assert_eq!(read_run(folder.path(), unknown).unwrap(), report);
    }

    #[test]
    fn mistakes_name_the_file_and_the_remedy() {
        let mut report = sample::report();
        let folder = folder(&mut report);
        let message = || read_run(folder.path(), sample::judge).unwrap_err().to_string();
        assert!(
            message().contains("run.json") && message().contains("such as reports/client-pause/latest"),
            "{}",
            message()
        );
        let path = folder.path().join(RUN);
        fs::write(&path, "{\"format\": 9, \"new\": 1}").unwrap();
        assert!(message().contains("format 9, this build reads format 1"), "{}", message());
        fs::write(&path, "{\"format\": 1}").unwrap();
        assert!(message().contains("missing field `scenario`"), "{}", message());
        write(&report).unwrap();
        fs::remove_file(folder.path().join("zookeeper").join(HISTORY)).unwrap();
        assert!(message().contains("zookeeper/history.jsonl") && message().contains("restore"), "{}", message());
    }
}
