//! The runs of a folder of reports: found, listed, two of them side by side. Read from what each run left, never
//! changed.
//!
//! A run that is still going on, or was killed, has no verdict yet and is listed without one. Deliberately absent: how
//! pages reach a browser.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use maud::{Markup, html};
use serde::Deserialize;

use super::document::{check_mark, document, standing_mark};
use super::standing::Standing;
use super::{GROWING, LATEST, PAGE, RUN, VERDICT, words};
use crate::check::{CheckName, Verdict};
use crate::history::EnvironmentName;
use crate::seed::Seed;
use crate::word::Word;

/// As many runs as a list shows.
const SHOWN: usize = 500;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its folder, below the folder of reports: `calm/20261123-092935-7`.
    pub place: PathBuf,
    /// Of which scenario it is.
    pub scenario: String,
    /// The scenario's title.
    pub title: String,
    /// `sim` or `docker`.
    pub environment: Word<EnvironmentName>,
    /// Its seed.
    pub seed: Seed,
    /// When it started, in UTC.
    pub started: String,
    /// Each lock and its checks; empty for a run without a verdict.
    pub locks: BTreeMap<String, Lock>,
    /// Whether it went as its file had foreseen.
    pub expected: Option<bool>,
}

/// What a run says of one lock.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Lock {
    /// The worst of its checks.
    pub verdict: Verdict,
    /// How many incidents there were.
    #[serde(default)]
    pub incidents_in_all: u64,
    /// Each check.
    pub checks: BTreeMap<CheckName, Check>,
}

impl Lock {
    /// How it came off.
    fn standing(&self) -> Standing {
        let checks = self.checks.iter().map(|(name, check)| (*name, check.verdict));
        Standing::of_verdicts(self.verdict, checks)
    }
}

/// What a run says of one check of a lock.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Check {
    /// Its verdict.
    pub verdict: Verdict,
    /// Its figures.
    pub figures: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Run {
    scenario: String,
    title: String,
    environment: Word<EnvironmentName>,
    seed: Seed,
    started: String,
}

#[derive(Deserialize)]
struct Judged {
    expected: bool,
    locks: BTreeMap<String, Lock>,
}

/// What a list is to show; what is empty is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The scenario's name.
    pub scenario: String,
    /// A lock's name.
    pub lock: String,
    /// A verdict that the lock, or any lock, reached.
    pub verdict: String,
    /// What the time begins with: `2026-11-23`, `2026-11-23 09`.
    pub time: String,
}

impl Filter {
    fn admits(&self, entry: &Entry) -> bool {
        let asked = |lock: &&String| self.lock.is_empty() || **lock == self.lock;
        let verdict = |lock: &Lock| self.verdict.is_empty() || lock.verdict.name() == self.verdict;
        let locks = entry.locks.iter().any(|(name, lock)| asked(&name) && verdict(lock));
        (self.scenario.is_empty() || entry.scenario == self.scenario)
            && entry.started.starts_with(&self.time)
            && (locks || self.lock.is_empty() && self.verdict.is_empty())
    }
}

/// The folders of all runs, judged or not.
pub(super) fn folders(root: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        // `latest` is a link to a run that is listed anyway.
        let folders =
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != LATEST);
        folders.map(|entry| entry.path()).collect()
    };
    below(root).into_iter().flat_map(|scenario| below(&scenario)).collect()
}

/// All runs of a folder of reports, the newest first. What is no run is passed over.
pub fn runs(root: &Path) -> Vec<Entry> {
    let mut runs: Vec<Entry> = folders(root).into_iter().filter_map(|folder| entry(root, &folder)).collect();
    runs.sort_by(|one, other| (&other.started, &other.place).cmp(&(&one.started, &one.place)));
    runs
}

/// One run of a folder of reports; none if there is no such run.
pub fn entry(root: &Path, folder: &Path) -> Option<Entry> {
    let run: Run = serde_json::from_slice(&fs::read(folder.join(RUN)).ok()?).ok()?;
    let judged: Option<Judged> =
        fs::read(folder.join(VERDICT)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let expected = judged.as_ref().map(|judged| judged.expected);
    Some(Entry {
        place: folder.strip_prefix(root).ok()?.to_owned(),
        scenario: run.scenario,
        title: run.title,
        environment: run.environment,
        seed: run.seed,
        started: run.started,
        locks: judged.map(|judged| judged.locks).unwrap_or_default(),
        expected,
    })
}

/// A text as a part of an address.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().fold(String::new(), |mut told, byte| {
        if plain(byte) {
            told.push(char::from(byte))
        } else {
            told += &format!("%{byte:02X}")
        }
        told
    })
}

fn address(entry: &Entry, file: &str) -> String {
    format!("/files/{}/{file}", encoded(&entry.place.to_string_lossy()))
}

/// The list of runs, as far as the filter admits them.
/// Those of `unjudged` have no verdict yet.
pub fn list(runs: &[Entry], unjudged: &[PathBuf], filter: &Filter) -> String {
    let shown: Vec<&Entry> = runs.iter().filter(|entry| filter.admits(entry)).collect();
    let distinct = |of: &dyn Fn(&Entry) -> Vec<String>| {
        let all: std::collections::BTreeSet<String> = runs.iter().flat_map(of).collect();
        all
    };
    let scenarios = distinct(&|entry| vec![entry.scenario.clone()]);
    let locks = distinct(&|entry| entry.locks.keys().cloned().collect());
    let choice = |name: &str, label: &str, values: &mut dyn Iterator<Item = &str>, chosen: &str| -> Markup {
        html! {
            label { (label) " "
                select name=(name) {
                    option value="" { "any" }
                    @for value in values { option value=(value) selected[value == chosen] { (value) } }
                }
            }
        }
    };
    let body = html! {
        header { h1 { "Runs" } p.dim { (words::counted(shown.len() as u64, "run", "runs")) " of " (runs.len()) } }
        main {
            form.filter method="get" action="/" {
                (choice("scenario", "scenario", &mut scenarios.iter().map(String::as_str), &filter.scenario))
                (choice("lock", "lock", &mut locks.iter().map(String::as_str), &filter.lock))
                (choice("verdict", "verdict", &mut Verdict::ALL.into_iter().map(Verdict::name), &filter.verdict))
                label { "time begins with " input name="time" value=(filter.time) placeholder="2026-11-23"; }
                button type="submit" { "filter" }
            }
            @if !unjudged.is_empty() {
                h2 { "Going on, or ended before they were judged" }
                ul { @for place in unjudged {
                    @let place = place.to_string_lossy();
                    li { a href={ (GROWING) (encoded(&place)) } { (place) } }
                } }
            }
            p { a href="/files/compare/index.html" { "The last comparison" } }
            form method="get" action="/compare" {
                button type="submit" { "compare the two chosen" }
                div.scroll tabindex="0" { table.matrix {
                    thead { tr { th { "a" } th { "b" } th { "started" } th { "scenario" } th { "environment" } th { "seed" } th { "locks" } th { "as foreseen" } } }
                    tbody {
                        @for entry in shown.iter().take(SHOWN) {
                            @let place = entry.place.to_string_lossy();
                            tr {
                                td { input type="radio" name="a" value=(place) aria-label={ "compare, first: " (place) }; }
                                td { input type="radio" name="b" value=(place) aria-label={ "compare, second: " (place) }; }
                                td { (entry.started) }
                                td { a href=(address(entry, PAGE)) { (entry.scenario) } br; span.dim { (entry.title) } }
                                td { (entry.environment) }
                                td.number { (entry.seed) }
                                td {
                                    @if entry.locks.is_empty() { span.dim { "no verdict yet" } }
                                    @for (name, lock) in &entry.locks { (name) " " (standing_mark(lock.standing())) br; }
                                }
                                td { @match entry.expected { Some(true) => "yes", Some(false) => span.notice-word { "no" }, None => "–" } }
                            }
                        }
                    }
                } }
            }
            @if shown.len() > SHOWN { p.dim { "and " (shown.len() - SHOWN) " older ones" } }
        }
    };
    document("fencepost: runs", &body)
}

/// Two runs side by side: what each check of each lock says, and its figures.
pub fn side_by_side(one: &Entry, other: &Entry) -> String {
    let both = [one, other];
    let names: std::collections::BTreeSet<&String> = both.iter().flat_map(|entry| entry.locks.keys()).collect();
    let check = |entry: &Entry, lock: &String, check: CheckName| entry.locks.get(lock)?.checks.get(&check).cloned();
    let figures = |lock: &String, name: CheckName| {
        let all = both.iter().filter_map(|entry| check(entry, lock, name)).flat_map(|check| check.figures.into_keys());
        all.collect::<std::collections::BTreeSet<String>>()
    };
    let body = html! {
        header { h1 { "Two runs side by side" } }
        main {
            p { a href="/" { "all runs" } }
            div.scroll tabindex="0" { table.matrix {
                thead { tr {
                    th { "" }
                    @for entry in both { th { a href=(address(entry, PAGE)) { (entry.scenario) } br; span.dim { (entry.environment) ", seed " (entry.seed) ", " (entry.started) } } }
                } }
                tbody {
                    @for name in names {
                        tr.overall { th { (name) } @for entry in both { td {
                            @match entry.locks.get(name) {
                                Some(lock) => { (standing_mark(lock.standing())) ", " (words::counted(lock.incidents_in_all, "incident", "incidents")) },
                                None => span.dim { "not tried" },
                            }
                        } } }
                        @for of in CheckName::ALL {
                            @if both.iter().any(|entry| check(entry, name, of).is_some()) {
                                tr { th { (of) } @for entry in both { td { (check_mark(of, check(entry, name, of).map(|check| check.verdict))) } } }
                                @for figure in figures(name, of) {
                                    @let values: Vec<Option<f64>> = both.iter().map(|entry| check(entry, name, of)?.figures.get(&figure).copied()).collect();
                                    @if values[0] != values[1] {
                                        tr.figure {
                                            td { (words::figure(&figure, 0.0).0) }
                                            @for value in values { td { (value.map_or_else(|| "–".to_owned(), |value| words::figure(&figure, value).1)) } }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            } }
            p.dim { "Figures that are equal are left out." }
        }
    };
    document("fencepost: two runs", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::file;
    use crate::report::{HISTORY, Report, tests::sample, write};

    /// A folder of reports with two runs, and something that is none.
    fn library() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let keep = |mut report: Report, name: &str| {
            report.folder = root.path().join(&report.scenario).join(name);
            for lock in &report.locks {
                fs::create_dir_all(report.folder.join(&lock.name)).unwrap();
                file::write(&report.folder.join(&lock.name).join(HISTORY), &lock.history).unwrap();
            }
            write(&report).unwrap();
        };
        keep(sample::report(), "20261123-092935-7");
        let mut later = sample::report();
        (later.scenario, later.started) = ("calm".to_owned(), "2026-11-24 08:00:00".to_owned());
        later.locks.truncate(1);
        later.locks[0].judgement.verdict = Verdict::Valid;
        keep(later, "20261124-080000-7");
        fs::create_dir_all(root.path().join("compare/varied")).unwrap();
        root
    }

    #[test]
    fn runs_are_found_and_filtered() {
        let root = library();
        let runs = runs(root.path());
        let names: Vec<&str> = runs.iter().map(|entry| entry.scenario.as_str()).collect();
        assert_eq!(names, ["calm", "client-pause"], "the newest first, and what is no run is none");
        let admitted = |filter: Filter| {
            runs.iter().filter(|entry| filter.admits(entry)).map(|entry| entry.scenario.as_str()).collect::<Vec<_>>()
        };
        let asked = |scenario: &str, lock: &str, verdict: &str, time: &str| {
            let [scenario, lock, verdict, time] = [scenario, lock, verdict, time].map(str::to_owned);
            admitted(Filter { scenario, lock, verdict, time })
        };
        assert_eq!(asked("", "", "", ""), ["calm", "client-pause"]);
        assert_eq!(asked("calm", "", "", ""), ["calm"]);
        assert_eq!(asked("", "zookeeper", "", ""), ["client-pause"]);
        assert_eq!(asked("", "redlock", "valid", ""), ["calm"]);
        assert_eq!(asked("", "", "invalid", "2026-11-2"), ["client-pause"]);
        assert_eq!(asked("", "", "", "2026-11-24"), ["calm"]);
        let page = list(&runs, &[PathBuf::from("calm/<now>")], &Filter::default());
        assert!(page.contains("href=\"/growing/calm/%3Cnow%3E\">calm/&lt;now&gt;</a>"), "{page}");
        assert!(page.contains("href=\"/files/client-pause/20261123-092935-7/report.html\""), "{page}");
    }

    #[test]
    fn the_lists_tell_a_broken_guarantee_apart_from_harm_as_a_run_s_page_does() {
        let root = library();
        let runs = runs(root.path());
        let list = list(&runs, &[], &Filter::default());
        for mark in [
            "redlock <span class=\"verdict invalid\">✗ harm",
            "zookeeper <span class=\"verdict broken\">▲ broken, no harm seen",
        ] {
            assert!(list.contains(mark), "{mark}: {list}");
        }
        let pair = side_by_side(&runs[1], &runs[1]);
        let row = pair.split("<tr").find(|row| row.contains("<th>mutual-exclusion</th>")).unwrap();
        assert!(row.contains("▲ invalid") && !row.contains('✗'), "{row}");
        assert!(pair.contains("✗ harm") && pair.contains("✗ invalid"), "{pair}");
    }

    #[test]
    fn two_runs_stand_side_by_side_with_what_differs() {
        let root = library();
        let runs = runs(root.path());
        let page = side_by_side(&runs[0], &runs[1]);
        assert!(page.contains("not tried") && page.contains("mutual-exclusion"), "{page}");
        assert_eq!(page.matches("<td>overlap</td>").count(), 1, "what is equal is left out: {page}");
    }
}
