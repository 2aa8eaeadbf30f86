//! Strangers' locks × scenarios × guarantees: the table at the terminal, and the page.
//!
//! Plain words: what was tried, with which settings, and that a clean row proves nothing. Deliberately absent: who runs
//! the trials.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comfy_table::{ContentArrangement, Table, presets};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

pub use super::compare::INDEX;
use super::compare::link;
use super::console::Style;
use super::document::{document, slug};
use super::{Conclusion, replace};
use crate::adapter::Settings;
use crate::check::{CheckName, Verdict};
use crate::plain::plain;
use crate::seed::Seed;

/// The guarantees that a table shows, with their letters.
const SHOWN: [(CheckName, &str); 7] = [
    (CheckName::MutualExclusion, "M"),
    (CheckName::Fencing, "F"),
    (CheckName::LostUpdates, "L"),
    (CheckName::LostSignal, "S"),
    (CheckName::TokenOrder, "T"),
    (CheckName::Liveness, "H"),
    (CheckName::Leftovers, "R"),
];

/// One lock in one scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// The lock's name.
    pub defendant: String,
    /// What its folder says of it.
    pub settings: Settings,
    /// What came of it.
    pub standing: Standing,
}

/// What has been done of many trials, for whoever goes on with them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Done {
    /// The seed of all plans.
    pub seed: Seed,
    /// How often each trial is run.
    pub times: u64,
    /// The text of each scenario, as it was tried.
    pub scenarios: BTreeMap<String, String>,
    /// What came of it.
    pub rows: Vec<Row>,
}

impl Done {
    /// The name of its file, beside the page.
    pub const FILE: &str = "done.json";

    /// Reads it from the page's folder.
    ///
    /// # Errors
    /// There is none, or it is of another version.
    pub fn read(folder: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(folder.join(Self::FILE))?).map_err(io::Error::from)
    }

    /// The row of a lock in a scenario if it need not be tried again: it was tried as often as it was to be, to the
    /// end, with these settings and this scenario.
    pub fn row(&self, scenario: &str, text: &str, settings: &Settings) -> Option<&Row> {
        let is_same = self.scenarios.get(scenario).is_some_and(|tried| tried == text);
        let row = self.rows.iter().find(|row| row.scenario == scenario && row.settings == *settings)?;
        let is_whole = match &row.standing {
            Standing::Unfit(_) | Standing::NoLock { .. } => true,
            Standing::Unclear { .. } => false,
            Standing::Tried { runs, .. } => {
                runs.len() as u64 >= self.times && runs.iter().all(|run| run.error.is_none())
            }
        };
        (is_same && is_whole).then_some(row)
    }
}

/// What came of a lock in a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The scenario has nothing to say of it, and why.
    Unfit(String),
    /// It broke a guarantee without any fault: nothing else is concluded.
    NoLock {
        /// Which.
        why: String,
        /// The run's folder.
        page: PathBuf,
    },
    /// Its faultless trial failed or showed too little: nothing is concluded.
    Unclear {
        /// Why.
        why: String,
        /// The run's folder.
        page: PathBuf,
    },
    /// It was tried.
    Tried {
        /// Each run.
        runs: Vec<Run>,
        /// The faultless run's folder.
        twin: PathBuf,
    },
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// What each check said.
    pub verdicts: BTreeMap<CheckName, Verdict>,
    /// Why it ended early, if it did.
    pub error: Option<String>,
}

impl Row {
    /// In how many runs a check said something, and the first of them.
    pub fn times(&self, check: CheckName, verdict: Verdict) -> (u64, Option<&Run>) {
        let Standing::Tried { runs, .. } = &self.standing else { return (0, None) };
        let said = runs.iter().filter(|run| run.verdicts.get(&check) == Some(&verdict));
        (said.clone().count() as u64, said.clone().next())
    }

    /// The guarantees that were broken, each with in how many runs of how many.
    pub fn broken(&self) -> Vec<(CheckName, &'static str, u64, &Run)> {
        let found = SHOWN.iter().filter_map(|(check, letter)| {
            let (times, first) = self.times(*check, Verdict::Invalid);
            Some((*check, *letter, times, first?))
        });
        found.collect()
    }

    /// What came of it, in a line.
    pub fn told(&self) -> String {
        match &self.standing {
            Standing::Unfit(why) => format!("– ({why})"),
            Standing::NoLock { why, .. } => format!("not a lock as run here: {why}"),
            Standing::Unclear { why, .. } => format!("unclear without faults: {why}"),
            Standing::Tried { runs, .. } => {
                let broken: Vec<String> =
                    self.broken().iter().map(|(check, _, times, _)| rate(check.name(), *times, runs.len())).collect();
                let early = runs.iter().filter(|run| run.error.is_some()).count();
                let early = if early > 0 { format!("; {early} ended early") } else { String::new() };
                let uncovered = self.times(CheckName::Coverage, Verdict::Unknown).0;
                let uncovered = if uncovered > 0 {
                    format!("; not all faults had an effect in {uncovered}")
                } else {
                    String::new()
                };
                let broken = if broken.is_empty() { "nothing seen broken".to_owned() } else { broken.join(", ") };
                broken + &early + &uncovered
            }
        }
    }
}

/// How all trials ended together.
pub fn conclusion(rows: &[Row]) -> Conclusion {
    let of = |row: &Row| match &row.standing {
        Standing::Unfit(_) => Conclusion::AsExpected,
        Standing::NoLock { .. } => Conclusion::Unexpected,
        Standing::Unclear { .. } => Conclusion::Unknown,
        Standing::Tried { .. } if !row.broken().is_empty() => Conclusion::Unexpected,
        Standing::Tried { runs, .. } if runs.iter().any(|run| run.error.is_some()) => Conclusion::Unknown,
        Standing::Tried { .. } => Conclusion::AsExpected,
    };
    rows.iter().map(of).max().unwrap_or(Conclusion::Unknown)
}

fn rate(what: &str, times: u64, runs: usize) -> String {
    if runs == 1 { what.to_owned() } else { format!("{what} {times}/{runs}") }
}

/// All rows as a table for the terminal, with a line end.
pub fn table(rows: &[Row], style: Style) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).force_no_tty();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(style.columns());
    table.set_header(["lock", "scenario", "broken"]);
    for row in rows.iter().filter(|row| !matches!(row.standing, Standing::Unfit(_))) {
        table.add_row([plain(&row.defendant), plain(&row.scenario), plain(&row.told())]);
    }
    table.to_string() + "\n"
}

/// Writes the page into `folder`, with what is needed to go on, and returns the page's path. `unfinished` says why
/// something is missing, if it is.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path, done: &Done, unfinished: Option<&str>) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let index = folder.join(INDEX);
    replace(&folder.join(Done::FILE), &serde_json::to_vec_pretty(done)?)?;
    replace(&index, page(folder, &done.rows, unfinished).as_bytes())?;
    Ok(index)
}

fn page(folder: &Path, rows: &[Row], unfinished: Option<&str>) -> String {
    let mut defendants: Vec<&Row> = Vec::new();
    let mut scenarios: Vec<&Row> = Vec::new();
    for row in rows {
        if !defendants.iter().any(|known| known.defendant == row.defendant) {
            defendants.push(row);
        }
        if !scenarios.iter().any(|known| known.scenario == row.scenario) {
            scenarios.push(row);
        }
    }
    let body = html! {
        header {
            h1 { "Strangers on trial" }
            p.why {
                "Unmodified lock libraries, each behind a small program, on real servers, through the named "
                "scenarios. Each trial has a twin without faults; a lock whose twin is not clean is not judged."
            }
        }
        main {
        @if let Some(why) = unfinished { p.notice.bad { (why) ": what was not begun is missing." } }
        p {
            "A cell names the guarantees that were seen broken: "
            @for (index, (check, letter)) in SHOWN.iter().enumerate() {
                @if index > 0 { ", " } b { (letter) } " " (check)
            }
            ". " b { "–" } ": nothing was seen broken, which proves nothing. An empty cell: the scenario does not suit the lock."
        }
        div.scroll tabindex="0" { table.matrix {
            thead { tr { th { "scenario" } @for row in &defendants { th { a href={ "#" (slug(&row.defendant)) } { (row.defendant) } } } } }
            tbody {
                @for scenario in &scenarios {
                    tr {
                        th { (scenario.scenario) }
                        @for defendant in &defendants {
                            @let row = rows.iter().find(|row| {
                                row.scenario == scenario.scenario && row.defendant == defendant.defendant
                            });
                            td { @if let Some(row) = row { (cell(folder, row)) } }
                        }
                    }
                }
            }
        } }
        @for defendant in &defendants { (section(folder, defendant, rows)) }
        h2 { "What this shows" }
        p {
            "What was seen, with these versions and settings, on the machine and at the times that each run's page names. A lock is "
            "judged as its API presents it: from the grant to the release, or to the signal or the end of the validity that the API "
            "itself gives; a page also says what remains when holds are cut to the stated lease. fencepost finds violations and cannot "
            "prove their absence."
        }
        }
    };
    document("Strangers on trial", &body)
}

fn cell(folder: &Path, row: &Row) -> Markup {
    match &row.standing {
        Standing::Unfit(_) => html! {},
        Standing::NoLock { why, page } => html! { a href=(link(folder, page)) title=(why) { "no lock here" } },
        Standing::Unclear { why, page } => html! { a.dim href=(link(folder, page)) title=(why) { "?" } },
        Standing::Tried { runs, twin } => {
            let broken = row.broken();
            let example = runs.first().map_or(twin, |run| &run.folder);
            html! {
                @if broken.is_empty() { a.dim href=(link(folder, example)) { "–" } }
                @for (check, letter, times, run) in broken {
                    a.notice-word href=(link(folder, &run.folder)) title=(check) { (rate(letter, times, runs.len())) } " "
                }
            }
        }
    }
}

fn section(folder: &Path, defendant: &Row, rows: &[Row]) -> Markup {
    let settings = &defendant.settings;
    let offers: Vec<&str> = settings.capabilities.iter().map(|capability| capability.name()).collect();
    html! {
        h2 id=(slug(&defendant.defendant)) { (defendant.defendant) }
        p.dim {
            (settings.command.join(" ")) " · " (settings.servers)
            @for package in settings.pip.iter().chain(&settings.apt) { " · " (package) }
            @for (check, report) in &settings.known { " · " a href=(report) { (check) " as reported" } }
            " · its API offers " (if offers.is_empty() { "acquire and release".to_owned() } else { offers.join(", ") })
        }
        div.scroll tabindex="0" { table.matrix {
            thead {
                tr { th { "scenario" } @for (check, _) in SHOWN { th { (check) } } th { "coverage" } th { "runs" } }
            }
            tbody {
                @for row in rows.iter().filter(|row| row.defendant == defendant.defendant) {
                    tr {
                        th { (row.scenario) }
                        (details(folder, row))
                    }
                }
            }
        } }
    }
}

fn details(folder: &Path, row: &Row) -> Markup {
    match &row.standing {
        Standing::Tried { runs, twin } => html! {
            @for check in SHOWN.iter().map(|(check, _)| *check).chain([CheckName::Coverage]) {
                td class=[(row.times(check, Verdict::Invalid).0 > 0).then_some("notice-word")] {
                    (counts(row, check))
                    @if let (Some(known), true) =
                        (row.settings.known.get(&check), row.times(check, Verdict::Invalid).0 > 0) {
                        " (" a href=(known) { "reported" } ")"
                    }
                }
            }
            td {
                @for (index, run) in runs.iter().enumerate() { a href=(link(folder, &run.folder)) { (index + 1) } " " }
                a.dim href=(link(folder, twin)) { "twin" }
                @for error in runs.iter().filter_map(|run| run.error.as_deref()) { " " (error) }
            }
        },
        Standing::NoLock { page, .. } | Standing::Unclear { page, .. } => html! {
            td colspan=(SHOWN.len() + 2) { a href=(link(folder, page)) { (row.told()) } }
        },
        Standing::Unfit(_) => html! { td.dim colspan=(SHOWN.len() + 2) { (row.told()) } },
    }
}

fn counts(row: &Row, check: CheckName) -> String {
    let counts = Verdict::ALL.map(|verdict| (verdict, row.times(check, verdict).0));
    let said: Vec<_> = counts.into_iter().filter(|(_, times)| *times > 0).collect();
    match said.as_slice() {
        [] => "–".to_owned(),
        [(verdict, _)] => verdict.to_string(),
        said => said.iter().map(|(verdict, times)| format!("{verdict} {times}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::settings;

    fn row(scenario: &str, standing: Standing) -> Row {
        let settings = settings::load(Path::new("adapters/sherlock-0.4.0")).unwrap();
        let (title, defendant) = ("A <title>".to_owned(), settings.name.clone());
        Row { scenario: scenario.to_owned(), title, defendant, settings, standing }
    }

    fn run(verdict: Verdict) -> Run {
        let verdicts =
            BTreeMap::from([(CheckName::MutualExclusion, verdict), (CheckName::LostSignal, Verdict::NotApplicable)]);
        Run { folder: PathBuf::from("reports/client-pause/1"), verdicts, error: None }
    }

    fn rows() -> Vec<Row> {
        let twin = PathBuf::from("reports/client-pause-faultless/1");
        let page = twin.clone();
        let why = "mutual-exclusion <without> any fault".to_owned();
        let tried = |runs| Standing::Tried { runs, twin: twin.clone() };
        vec![
            row("calm", Standing::NoLock { why, page }),
            row("client-pause", tried(vec![run(Verdict::Invalid), run(Verdict::Valid), run(Verdict::Invalid)])),
            row("leader-kill", Standing::Unfit("there is no leader".to_owned())),
            row("partition-client", tried(vec![run(Verdict::Valid)])),
        ]
    }

    #[test]
    fn a_row_tells_how_often_and_nothing_of_what_was_not_tried() {
        let rows = rows();
        let told: Vec<String> = rows.iter().map(Row::told).collect();
        assert_eq!(told[0], "not a lock as run here: mutual-exclusion <without> any fault");
        assert_eq!(told[1], "mutual-exclusion 2/3");
        assert_eq!(told[3], "nothing seen broken");
        let table = table(&rows, Style::default());
        assert!(table.contains("2/3") && !table.contains("leader-kill"), "{table}");
        let why = "it ended in the middle of a request; its last words: ".repeat(20);
        let unclear = vec![row("calm", Standing::Unclear { why, page: PathBuf::new() })];
        let width = |table: &str| table.lines().map(|line| line.chars().count()).max();
        assert!(width(&super::table(&unclear, Style::default())) <= Some(100), "what is long is wrapped");
    }

    #[test]
    fn what_was_done_to_its_end_is_not_done_again_and_the_rest_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = rows();
        rows.push(row("slow-holder", Standing::Unclear { why: "?".to_owned(), page: PathBuf::new() }));
        let early = Run { error: Some("interrupted".to_owned()), ..run(Verdict::Unknown) };
        let twin = PathBuf::new();
        rows.push(row("clock-jump", Standing::Tried { runs: vec![early], twin: twin.clone() }));
        rows.push(row("delayed-write", Standing::Tried { runs: Vec::new(), twin }));
        let scenarios = rows.iter().map(|row| (row.scenario.clone(), "as it was".to_owned())).collect();
        let done = Done { seed: Seed(7), times: 1, scenarios, rows };
        write(folder.path(), &done, None).unwrap();
        let read = Done::read(folder.path()).unwrap();
        let settings = settings::load(Path::new("adapters/sherlock-0.4.0")).unwrap();
        let is_done = |scenario: &str| read.row(scenario, "as it was", &settings).is_some();
        for (scenario, done) in [
            ("calm", true),
            ("client-pause", true),
            ("leader-kill", true),
            ("partition-client", true),
            ("slow-holder", false),
            ("clock-jump", false),
            ("delayed-write", false),
            ("late-grant", false),
        ] {
            assert_eq!(is_done(scenario), done, "{scenario}");
        }
        assert!(read.row("client-pause", "changed since", &settings).is_none());
        let other = settings::load(Path::new("adapters/sherlock")).unwrap();
        assert!(read.row("client-pause", "as it was", &other).is_none(), "other settings are another lock");
        assert_eq!(read.row("client-pause", "as it was", &settings).unwrap().told(), "mutual-exclusion 2/3");
    }

    #[test]
    fn the_worst_row_decides() {
        let rows = rows();
        assert_eq!(conclusion(&rows), Conclusion::Unexpected);
        assert_eq!(conclusion(&rows[2..]), Conclusion::AsExpected);
        let page = PathBuf::new();
        let unclear = row("calm", Standing::Unclear { why: String::new(), page });
        assert_eq!(conclusion(&[unclear]), Conclusion::Unknown);
        assert_eq!(conclusion(&[]), Conclusion::Unknown, "nothing was tried");
    }

    #[test]
    fn the_page_links_what_was_broken_escapes_and_loads_nothing() {
        let page = page(Path::new("reports/try"), &rows(), Some("Called off"));
        assert!(page.contains("../client-pause/1/report.html") && page.contains("M 2/3"), "links its runs");
        assert!(
            page.contains("&lt;without&gt;")
                && page.contains("Called off: what was not begun is missing")
                && page.contains("proves nothing")
        );
        assert!(page.contains("https://github.com/py-sherlock/sherlock/issues/66"));
        assert!(!page.contains("src=\"http") && !page.contains("url("));
    }
}
