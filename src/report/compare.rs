//! Locks × scenarios over many seeds: the table at the terminal, the Markdown for a design review, and the index page.
//!
//! The conclusion comes first, and every sentence of it is made from the figures below it (`comparison`). Deliberately
//! absent: any figure of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comfy_table::{Attribute, Cell as TableCell, Color, ContentArrangement, Table, presets};
use maud::{Markup, html};

use super::cell::Cell;
use super::comparison::Comparison;
use super::console::{self, Style};
use super::curve;
use super::document::{document, slug, standing_mark};
use super::real::Real;
use super::standing::Standing;
use super::sweep::{Sweep, Tally};
use super::worlds::{self, Agreement};
use super::{PAGE, replace, words};
use crate::check::CheckName;
use crate::plain::plain;

/// The index page's name.
pub const INDEX: &str = "index.html";
/// The Markdown's name, beside it.
pub const MARKDOWN: &str = "comparison.md";

/// What was compared.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// One for each scenario, or for each value of a knob.
    pub sweeps: &'a [Sweep],
    /// If one knob of a scenario was varied: its key, and its values as text and number, in the order of the sweeps.
    pub varied: Option<(&'a str, &'a [(String, f64)])>,
    /// If the comparison was called off: what is missing.
    pub unfinished: Option<&'a str>,
    /// The same scenarios on real servers, if they are to stand beside them.
    pub real: Option<&'a Real>,
}

impl<'a> From<&'a [Sweep]> for Compared<'a> {
    fn from(sweeps: &'a [Sweep]) -> Self {
        Self { sweeps, varied: None, unfinished: None, real: None }
    }
}

impl<'a> Compared<'a> {
    fn comparison(&self) -> Comparison<'a> {
        let comparison = Comparison::of(self.sweeps);
        match self.real {
            Some(real) => comparison.beside(real),
            None => comparison,
        }
    }

    /// One object: what was counted in simulation, and what stands beside it.
    pub fn json(&self) -> serde_json::Value {
        let mut object = serde_json::json!({
            "varied": self.varied.map(|(key, _)| key),
            "unfinished": self.unfinished,
            "scenarios": self.sweeps,
        });
        if let Some(real) = self.real {
            let comparison = self.comparison();
            let pairs = comparison.locks.iter().flat_map(|lock| worlds::pairs(&comparison, lock)).map(|pair| {
                serde_json::json!({
                    "scenario": pair.sim.sweep.scenario,
                    "lock": pair.sim.tally.lock,
                    "agreement": pair.agreement(),
                })
            });
            object["docker"] = serde_json::json!({
                "scenarios": real.sweeps(),
                "beside": pairs.collect::<Vec<_>>(),
                "costs": worlds::costs(&comparison),
                "left-out": real.left_out,
            });
        }
        object
    }
}

/// The result as text, with a line end: a row for each scenario, a column for each lock, then each lock's conclusion.
pub fn table<'a>(compared: impl Into<Compared<'a>>, style: Style) -> String {
    let compared = compared.into();
    let (sweeps, comparison) = (compared.sweeps, compared.comparison());
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .force_no_tty()
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.columns());
    if style.colour {
        table.enforce_styling();
    }
    // Locks of one scenario each, as the canaries', would make a column each.
    if comparison.locks.len() <= 3 {
        let names = comparison.locks.iter().map(|lock| TableCell::new(plain(lock)).add_attribute(Attribute::Bold));
        table.set_header([TableCell::new("scenario")].into_iter().chain(names));
        for sweep in sweeps {
            let cells = comparison.locks.iter().map(|lock| match comparison.cell(sweep, lock) {
                Some(cell) => told(&cell, &comparison),
                None => TableCell::new("–"),
            });
            table.add_row([TableCell::new(plain(&sweep.scenario))].into_iter().chain(cells));
        }
    } else {
        table.set_header(["scenario", "lock", "in its runs"]);
        for sweep in sweeps {
            for tally in &sweep.locks {
                let names = [plain(&sweep.scenario), plain(&tally.lock)].map(TableCell::new);
                table.add_row(names.into_iter().chain([told(&Cell { sweep, tally }, &comparison)]));
            }
        }
    }
    let mut lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.push(String::new());
    for lock in &comparison.locks {
        let name = plain(lock);
        for (standing, sentence) in comparison.conclusion(lock) {
            let sign = standing.sign();
            lines.push(console::wrap(&format!("{sign} {name}: {}", plain(&sentence)), style.columns()));
        }
        lines.push(console::wrap(&format!("  {name} costs {}", plain(&comparison.cost_told(lock))), style.columns()));
        if let Some(sentence) = worlds::concluded(&comparison, lock) {
            lines.push(console::wrap(&format!("  {name}: {}", plain(&sentence)), style.columns()));
        }
    }
    lines.extend(costs(&comparison));
    let left_out = comparison.real.iter().flat_map(|real| &real.left_out);
    lines.extend(left_out.map(|why| console::wrap(&plain(why), style.columns())));
    for (sweep, tally) in sweeps.iter().flat_map(|sweep| sweep.locks.iter().map(move |tally| (sweep, tally))) {
        if let Some(missed) = missed(tally) {
            let line = format!("{} {}: {}", plain(&sweep.scenario), plain(&tally.lock), plain(&missed));
            lines.push(console::wrap(&line, style.columns()));
        }
    }
    lines.push(console::wrap(&format!("foreseen: {}", foreseen(sweeps)), style.columns()));
    lines.join("\n") + "\n"
}

/// What locks cost in both worlds, a line each; nothing where there is one world only.
fn costs(comparison: &Comparison<'_>) -> Vec<String> {
    let lines = worlds::costs(comparison);
    if lines.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(worlds::COLUMNS);
    for line in &lines {
        table.add_row(line.cells().map(|cell| plain(&cell).into_owned()));
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned()).chain([String::new()]).collect()
}

/// A lock in a scenario, with the same on real servers below it.
fn told(cell: &Cell<'_>, comparison: &Comparison<'_>) -> TableCell {
    let real = comparison.real.and_then(|real| real.cell(&cell.sweep.scenario, &cell.tally.lock));
    let mut text = told_of(cell);
    if let Some(real) = real {
        text = format!("{text}\nreal: {}", told_of(&real));
        if let Some(difference) = Agreement::of(cell, &real).told() {
            text = format!("{text}\n{difference}");
        }
    }
    let text = TableCell::new(text);
    match cell.standing() {
        Standing::Kept => text.fg(Color::Green),
        Standing::Undecided | Standing::Broken => text.fg(Color::Yellow),
        Standing::Harmed => text.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}

fn told_of(cell: &Cell<'_>) -> String {
    let share = cell.share();
    match cell.standing() {
        Standing::Kept => format!("kept in all {}", share.runs),
        Standing::Undecided => format!("undecided in {} of {}", share.of, share.runs),
        Standing::Broken => format!("broken, no harm seen, {} of {}", share.of, share.runs),
        Standing::Harmed => {
            let lost =
                cell.tally.lost().map_or_else(String::new, |lost| format!(", lost {}", words::percent(lost.pooled)));
            format!("harm in {} of {}{lost}", share.of, share.runs)
        }
    }
}

/// Which seeds of a lock went otherwise than its file had foreseen; none if all went so.
fn missed(tally: &Tally) -> Option<String> {
    if tally.missed.is_empty() {
        return None;
    }
    let seeds: Vec<String> = tally.missed.iter().map(ToString::to_string).collect();
    let checks: Vec<&str> =
        CheckName::ALL.into_iter().filter(|check| tally.met(*check) == Some(false)).map(CheckName::name).collect();
    let error = tally.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
    Some(format!("not as its file foresaw ({}) with seed {}{error}", checks.join(", "), seeds.join(", ")))
}

/// Whether the files had foreseen it, in one sentence.
fn foreseen(sweeps: &[Sweep]) -> String {
    let runs: u64 = sweeps.iter().map(|sweep| sweep.seeds).sum();
    let expected: u64 = sweeps.iter().map(|sweep| sweep.as_expected).sum();
    format!(
        "{expected} of {} went as {} foresaw.",
        words::counted(runs, "run", "runs"),
        if sweeps.len() == 1 { "the scenario’s file" } else { "the scenarios’ files" }
    )
}

/// Writes the index page and the Markdown into `folder` and returns the page's path. Links to runs are relative where
/// they can be.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path, compared: Compared<'_>) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let index = folder.join(INDEX);
    replace(&index, page(folder, compared).as_bytes())?;
    replace(&folder.join(MARKDOWN), markdown(compared).as_bytes())?;
    Ok(index)
}

/// The index page.
pub fn page(folder: &Path, compared: Compared<'_>) -> String {
    let Compared { sweeps, varied, unfinished, .. } = compared;
    let comparison = compared.comparison();
    let body = html! {
        header {
            h1 { "Locks on trial" }
            p.why { "The same workload, faults and seeds for each lock: safety beside cost." }
        }
        main {
            @if let Some(missing) = unfinished { p.summary.odd { b { "Called off. " } (missing) } }
            @if sweeps.is_empty() { p.summary.odd { "? Nothing was run." } }
            (conclusions(&comparison))
            (matrix(folder, &comparison))
            @if let Some((key, values)) = varied {
                section #curves { h2 { "Over " code { (key) } } (curve::curves(&comparison, key, values)) }
            }
            (worlds::section(&comparison))
            (considered(&comparison))
            section #scenarios {
                h2 { "Scenario by scenario" }
                @for sweep in sweeps { (section(folder, sweep)) }
            }
            section #foreseen {
                h2 { "Whether the scenarios’ files foresaw it" }
                p { (foreseen(sweeps)) " What a lock did and whether its file had foreseen it are two things: a file that is built to \
                    break a lock expects it to be broken." }
                @for (sweep, tally, missed) in sweeps.iter().flat_map(|sweep| sweep.locks.iter().filter_map(move |tally| Some((sweep, tally, missed(tally)?)))) {
                    p.notice.bad { b { (sweep.scenario) " " (tally.lock) } ": " (missed) }
                }
            }
            section #scope {
                h2 { "What this shows, and what it does not" }
                p {
                    "A share of runs stands with Wilson’s 95 % interval: the true share lies in it in 95 of 100 cases. Harm: the resource \
                     accepted a stale access, or an acknowledged update is not in the final value. Lost: pooled is of the updates of all \
                     runs together. Waits are pooled: each wait of each run counts once. fencepost finds violations and cannot prove \
                     their absence."
                }
                p {
                    "A simulated run is a model of the servers and of the network between them; its waits follow from the model’s delays, \
                     and are good for comparing locks, not for planning capacity. The same scenario file runs on real servers with "
                    code { "--env docker" } "."
                }
            }
        }
    };
    document("Locks on trial", &body)
}

fn conclusions(comparison: &Comparison<'_>) -> Markup {
    html! {
        @for lock in &comparison.locks {
            @let conclusion = comparison.conclusion(lock);
            @let worst = conclusion.iter().map(|(standing, _)| *standing).max().unwrap_or(Standing::Undecided);
            div class={ "summary " (worst.class()) } {
                b { (lock) }
                ul {
                    @for (standing, sentence) in &conclusion { li { (standing.sign()) " " (sentence) } }
                    li { "costs " (comparison.cost_told(lock)) }
                    @if let Some(sentence) = worlds::concluded(comparison, lock) { li { (sentence) } }
                }
            }
        }
    }
}

fn matrix(folder: &Path, comparison: &Comparison<'_>) -> Markup {
    html! {
        section #matrix {
            h2 { "Locks × scenarios" }
            p.dim { "The share of runs with that outcome and its 95 % interval; the link leads to the worst run."
                @if comparison.real.is_some() { " Below it, what the same file came to on real servers." }
            }
            div.scroll tabindex="0" { table.matrix.outcomes {
                thead { tr { th { "scenario" } @for lock in &comparison.locks { th { (lock) } } } }
                tbody {
                    @for sweep in comparison.sweeps {
                        tr {
                            th { a href={ "#" (slug(&sweep.scenario)) } { (sweep.scenario) } }
                            @for lock in &comparison.locks {
                                @match comparison.cell(sweep, lock) {
                                    Some(cell) => (both(folder, &cell, comparison)),
                                    None => td.dim { "–" },
                                }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// A lock in a scenario, with the same on real servers below it.
fn both(folder: &Path, cell: &Cell<'_>, comparison: &Comparison<'_>) -> Markup {
    let real = comparison.real.map(|real| real.cell(&cell.sweep.scenario, &cell.tally.lock));
    html! {
        td {
            (share(folder, cell))
            @match &real {
                None => {},
                Some(None) => div.real.dim { "not on real servers" },
                Some(Some(real)) => div.real {
                    "real: " (share(folder, real))
                    @if let Some(difference) = Agreement::of(cell, real).told() { div.differs { (difference) } }
                },
            }
        }
    }
}

/// How a lock came off, in what share of the runs.
fn share(folder: &Path, cell: &Cell<'_>) -> Markup {
    html! {
        (standing_mark(cell.standing()))
        br;
        span.share { (cell.share().told()) }
        @if let Some((run, name)) = worlds::run(cell) { " " a href=(link(folder, &run)) { (name) } }
    }
}

fn considered(comparison: &Comparison<'_>) -> Markup {
    html! {
        section #considerations {
            h2 { "What there is to consider" }
            div.scroll tabindex="0" { table.considerations {
                thead { tr { th { "consideration" } @for lock in &comparison.locks { th { (lock) } } } }
                tbody {
                    @for line in comparison.considerations() {
                        tr {
                            th { (line.question) }
                            @match &line.answers {
                                Some(answers) => { @for answer in answers { td { (answer) } } }
                                None => td.dim colspan=(comparison.locks.len()) { "not measured here" },
                            }
                        }
                    }
                }
            } }
        }
    }
}

fn section(folder: &Path, sweep: &Sweep) -> Markup {
    html! {
        details.scenario id=(slug(&sweep.scenario)) {
            summary { b { (sweep.scenario) } ": " (sweep.title) }
            p.dim {
                (sweep.environment) " · " (words::counted(sweep.seeds, "seed", "seeds")) " from " (sweep.first)
                @if let Some(example) = &sweep.example { " · " a href=(link(folder, example)) { "one run, drawn" } }
            }
            p { (sweep.why) }
            div.scroll tabindex="0" { table.matrix {
                thead {
                    tr {
                        th { "lock" } th { "checks broken, in how many runs" } th.number { "lost" } th.number { "grants/s" }
                        th.number { "overlaps" } th.number { "stale accepted" } th.number { "stale refused" } th.number { "as foreseen" }
                    }
                }
                tbody {
                    @for tally in &sweep.locks {
                        @let broken: Vec<String> = Cell { sweep, tally }.broken().iter().map(|(check, runs)| format!("{check} {runs}")).collect();
                        tr {
                            th { (tally.lock) }
                            td { @if broken.is_empty() { "none" } @else { (broken.join(", ")) } }
                            td.number { (tally.lost().map_or_else(|| "–".to_owned(), |lost| lost.told())) }
                            td.number { (tally.cost.rate().map_or_else(|| "–".to_owned(), words::number)) }
                            @for name in ["overlaps", "stale-accepted", "stale-refused"] { td.number { (words::number(tally.figure(name))) } }
                            td.number { (tally.as_expected) " of " (sweep.seeds) }
                        }
                    }
                }
            } }
        }
    }
}

/// The comparison for a design review.
pub fn markdown<'a>(compared: impl Into<Compared<'a>>) -> String {
    let compared = compared.into();
    let (sweeps, comparison) = (compared.sweeps, compared.comparison());
    let cell = |text: &str| plain(text).replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;");
    let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let names = || comparison.locks.iter().map(|lock| cell(lock));
    let head = |first: &str| {
        let rule = std::iter::repeat_n("---".to_owned(), comparison.locks.len() + 1);
        [row(std::iter::once(first.to_owned()).chain(names()).collect()), row(rule.collect())]
    };
    let mut lines = vec!["# Locks on trial".to_owned(), String::new()];
    for lock in &comparison.locks {
        for (_, sentence) in comparison.conclusion(lock) {
            lines.push(format!("- **{}**: {}", cell(lock), cell(&sentence)));
        }
        lines.push(format!("- **{}** costs {}", cell(lock), cell(&comparison.cost_told(lock))));
        lines.extend(worlds::concluded(&comparison, lock).map(|told| format!("- **{}**: {}", cell(lock), cell(&told))));
    }
    lines.extend([String::new(), "## Locks × scenarios".to_owned(), String::new()]);
    lines.extend(head("scenario"));
    for sweep in sweeps {
        let cells = comparison.locks.iter().map(|lock| match comparison.cell(sweep, lock) {
            Some(of) => {
                let told = |of: &Cell<'_>| format!("{}, {}", of.standing().told(), of.share().told());
                let real = comparison.real.and_then(|real| real.cell(&sweep.scenario, lock));
                let beside = real.map(|real| {
                    let differs = Agreement::of(&of, &real).told().map(|told| format!("<br>{told}"));
                    format!("<br>real: {}{}", told(&real), differs.unwrap_or_default())
                });
                format!("{}{}", told(&of), beside.unwrap_or_default())
            }
            None => "–".to_owned(),
        });
        lines.push(row(std::iter::once(cell(&sweep.scenario)).chain(cells).collect()));
    }
    if let Some(real) = comparison.real {
        lines.extend(["", "## What it costs, in both worlds", ""].map(str::to_owned));
        lines.push(row(worlds::COLUMNS.map(str::to_owned).to_vec()));
        lines.push(row(vec!["---".to_owned(); worlds::COLUMNS.len()]));
        lines.extend(
            worlds::costs(&comparison).iter().map(|line| row(line.cells().iter().map(|of| cell(of)).collect())),
        );
        lines.extend([String::new(), worlds::COSTS_ARE.to_owned()]);
        lines.extend(real.left_out.iter().map(|why| cell(why)));
    }
    lines.extend([String::new(), "## What there is to consider".to_owned(), String::new()]);
    lines.extend(head("consideration"));
    for line in comparison.considerations() {
        let answers = line.answers.unwrap_or_else(|| vec!["not measured here".to_owned(); comparison.locks.len()]);
        let answers = answers.iter().map(|answer| cell(answer));
        lines.push(row(std::iter::once(line.question.to_owned()).chain(answers).collect()));
    }
    lines.extend([
        String::new(),
        "Shares of runs stand with Wilson's 95 % interval; durations and losses are pooled over all runs.".to_owned(),
        foreseen(sweeps),
    ]);
    lines.join("\n") + "\n"
}

/// The page of a run, seen from the index's folder: both lie below the same folder of reports.
pub(super) fn link(folder: &Path, run: &Path) -> String {
    let up = folder.ancestors().skip(1).zip(1..).find_map(|(ancestor, levels)| {
        let below = run.strip_prefix(ancestor).ok()?;
        Some(format!("{}{}/{PAGE}", "../".repeat(levels), below.display()))
    });
    up.unwrap_or_else(|| run.join(PAGE).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::cost::Cost;
    use super::*;
    use crate::report::tests::sample;
    use std::time::Duration;

    fn sweep() -> Sweep {
        let report = sample::report();
        let mut sweep = Sweep::new(&report, Duration::from_secs(20));
        sweep.add(&report, &Cost::of_all(&report));
        sweep.title = "Tom & <Jerry>".to_owned();
        sweep
    }

    fn compared(sweeps: &[Sweep]) -> Compared<'_> {
        sweeps.into()
    }

    #[test]
    fn the_table_has_a_column_for_each_lock_and_fits() {
        let sweep = sweep();
        let table = table(std::slice::from_ref(&sweep), Style::default());
        for part in [
            "harm in 1 of 1, lost 33.3 %",
            "broken, no harm seen, 1 of 1",
            "✗ redlock: unsafe under client-pause",
            "foreseen: 0 of 1 run",
        ] {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    }

    #[test]
    fn the_page_escapes_and_loads_nothing() {
        let page = page(Path::new("reports/compare/x"), compared(&[sweep()]));
        assert!(page.contains("Tom &amp; &lt;Jerry&gt;"));
        assert!(!page.contains("src=\"http") && !page.contains("url(http"));
    }

    #[test]
    fn the_page_says_what_locks_did_and_apart_from_it_what_was_foreseen() {
        let mut sweep = sweep();
        sweep.as_expected = 1;
        sweep.conclusion = Default::default();
        sweep.locks.iter_mut().for_each(|tally| tally.missed.clear());
        let page = page(Path::new("reports/compare"), compared(&[sweep]));
        let (did, foreseen) = page.split_once("id=\"foreseen\"").unwrap();
        assert!(did.contains("summary bad") && did.contains("unsafe under client-pause (1 of 1 runs)"), "{did}");
        assert!(!did.contains("summary good"), "that it was foreseen does not make it good: {did}");
        assert!(foreseen.contains("1 of 1 run went as the scenario’s file foresaw"), "{foreseen}");
        assert!(did.contains("not measured here"), "{did}");
    }

    #[test]
    fn a_comparison_that_was_called_off_does_not_pass_for_a_whole_one() {
        let sweeps = [sweep()];
        let cut = Compared { unfinished: Some("Half of it."), ..compared(&sweeps) };
        assert!(page(Path::new("reports/compare"), cut).contains("<b>Called off. </b>Half of it."));
    }

    #[test]
    fn real_servers_stand_beside_the_simulation_in_every_form() {
        let sweeps = [sweep()];
        let (mut real, mut report) = (Real::default(), sample::report());
        report.locks.truncate(1);
        report.folder = "reports/client-pause/real".into();
        real.add(report);
        real.left_out.push("calm is not shown".to_owned());
        let beside = Compared { real: Some(&real), ..compared(&sweeps) };
        let page = page(Path::new("reports/compare"), beside);
        for part in [
            "real: <span class=\"verdict invalid\">",
            "../client-pause/real/report.html",
            "not on real servers",
            "What it costs, in both worlds",
            "on real servers the same outcome in 1 of 1 scenario (1 run)",
            "calm is not shown",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        let table = table(beside, Style::default());
        assert!(table.contains("real: harm in 1 of 1") && table.contains("┆ docker ┆"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        let markdown = markdown(beside);
        assert!(
            markdown.contains("<br>real: ✗ harm, 1 of 1") && markdown.contains("| redlock | docker |"),
            "{markdown}"
        );
        let json = beside.json();
        assert_eq!(json["docker"]["beside"][0]["agreement"], "same");
        assert_eq!(json["docker"]["costs"][1]["world"], "docker");
        assert!(compared(&sweeps).json().get("docker").is_none());
    }

    #[test]
    fn a_varied_knob_has_curves_with_a_point_for_each_value() {
        let sweeps = [sweep(), sweep()];
        let values = [("500ms".to_owned(), 0.5), ("5s".to_owned(), 5.0)];
        let varied = Compared { varied: Some(("lock.redlock.ttl", &values)), ..compared(&sweeps) };
        let page = page(Path::new("reports/compare"), varied);
        assert_eq!(page.matches("<circle class=\"dot").count(), 8, "two locks, two values, two curves");
        assert!(page.contains(">500ms</text>") && page.contains("lock.redlock.ttl"));
    }

    #[test]
    fn the_markdown_has_the_conclusion_the_matrix_and_no_broken_cells() {
        let mut sweep = sweep();
        sweep.scenario = "a|b\n<script>".to_owned();
        let text = markdown(&[sweep][..]);
        assert!(text.contains("- **redlock**: unsafe under a\\|b"), "{text}");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.iter().all(|row| row.replace("\\|", "").matches('|').count() == 4), "{rows:#?}");
        assert!(!text.contains("<script>"));
    }

    #[test]
    fn examples_are_linked_relative_to_the_index() {
        let folder = Path::new("reports/compare/20261123-1");
        assert_eq!(link(folder, Path::new("reports/calm/20261123-7")), "../../calm/20261123-7/report.html");
    }
}
