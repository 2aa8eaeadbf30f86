//! Locks × scenarios over many seeds: the table at the terminal, and the index page.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comfy_table::{Attribute, Cell, Color, Table, presets};
use maud::{Markup, html};

use super::console::Style;
use super::html::document;
use super::plain::plain;
use super::sweep::{Sweep, Tally};
use super::{PAGE, replace, words};
use crate::check::CheckName;

/// The index page's name.
pub const INDEX: &str = "index.html";

/// The checks that a comparison shows, in order.
const SHOWN: [CheckName; 3] = [CheckName::MutualExclusion, CheckName::Fencing, CheckName::LostUpdates];

/// The result of one or more sweeps as text, with a line end.
pub fn table(sweeps: &[Sweep], style: Style) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).force_no_tty();
    if style.colour {
        table.enforce_styling();
    }
    let checks = SHOWN.map(|check| check.name());
    table.set_header(["scenario", "lock"].into_iter().chain(checks).chain(["lost", "grants/s", "as expected"]));
    for sweep in sweeps {
        for (index, tally) in sweep.locks.iter().enumerate() {
            let scenario = if index == 0 { sweep.scenario.as_str() } else { "" };
            let verdicts = SHOWN.map(|check| verdict_cell(tally, check));
            let expected = Cell::new(format!("{} of {}", tally.as_expected, sweep.seeds));
            let expected = if tally.as_expected == sweep.seeds { expected } else { alarm(expected) };
            let figures = [Cell::new(lost(tally)), Cell::new(rate(sweep, tally)), expected];
            table.add_row(
                [Cell::new(plain(scenario)), Cell::new(plain(&tally.lock))].into_iter().chain(verdicts).chain(figures),
            );
        }
    }
    let mut text = table.to_string() + "\n";
    for sweep in sweeps {
        for tally in sweep.locks.iter().filter(|tally| !tally.missed.is_empty()) {
            let seeds: Vec<String> = tally.missed.iter().map(ToString::to_string).collect();
            text += &format!(
                "{} {}: not as expected with seed {}{}\n",
                plain(&sweep.scenario),
                plain(&tally.lock),
                seeds.join(", "),
                tally.errors.first().map_or_else(String::new, |error| format!(" ({})", plain(error))),
            );
        }
    }
    text
}

fn verdict_cell(tally: &Tally, check: CheckName) -> Cell {
    let cell = Cell::new(tally.verdict_text(check));
    if tally.met(check) == Some(false) { alarm(cell) } else { cell }
}

fn alarm(cell: Cell) -> Cell {
    cell.fg(Color::Red).add_attribute(Attribute::Bold)
}

fn lost(tally: &Tally) -> String {
    tally.lost_percent().map_or_else(|| "–".to_owned(), |percent| format!("{} %", words::number(percent)))
}

fn rate(sweep: &Sweep, tally: &Tally) -> String {
    let seconds = sweep.duration.as_secs_f64() * sweep.seeds as f64;
    if seconds > 0.0 { format!("{:.1}", tally.figure("grants") / seconds) } else { "–".to_owned() }
}

/// Writes the index page into `folder` and returns its path. Links to example runs are relative where they can be. If the
/// comparison was called off, `unfinished` says what is missing.
///
/// # Errors
/// The page cannot be written.
pub fn write(folder: &Path, sweeps: &[Sweep], unfinished: Option<&str>) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let index = folder.join(INDEX);
    replace(&index, page(folder, sweeps, unfinished).as_bytes())?;
    Ok(index)
}

/// The index page.
pub fn page(folder: &Path, sweeps: &[Sweep], unfinished: Option<&str>) -> String {
    let expected = sweeps.iter().all(Sweep::expected);
    let (class, heading) = match (expected, unfinished) {
        (false, _) => ("bad", "✗ Not as expected"),
        (true, Some(_)) => ("bad", "Called off"),
        (true, None) => ("good", "✓ As expected"),
    };
    let body = html! {
        header {
            h1 { "Locks on trial" }
            p.why { "The same workload, faults and seeds for each lock: safety beside cost." }
        }
        section class={ "result " (class) } {
            h2 { (heading) }
            p { (outcome(sweeps)) @if let Some(missing) = unfinished { " " (missing) } }
        }
        @for sweep in sweeps { (section(folder, sweep)) }
        h2 { "What this shows" }
        p {
            "A verdict stands alone where all seeds agree; otherwise with its count. Lost: the share of acknowledged "
            "updates that the final value does not contain. fencepost finds violations and cannot prove their "
            "absence: seeds that were not run may do otherwise. A simulated run is a model of the servers; the "
            "same scenario file runs on real ones with " code { "--env docker" } "."
        }
    };
    document("Locks on trial", &body)
}

fn outcome(sweeps: &[Sweep]) -> String {
    let runs: u64 = sweeps.iter().map(|sweep| sweep.seeds).sum();
    let expected: u64 = sweeps.iter().map(|sweep| sweep.as_expected).sum();
    format!("{expected} of {runs} runs of {} scenarios met what their files expect.", sweeps.len())
}

fn section(folder: &Path, sweep: &Sweep) -> Markup {
    let example = sweep.example.as_deref().map(|run| link(folder, run));
    html! {
        h2 id=(sweep.scenario) { (sweep.title) }
        p.dim {
            b { (sweep.scenario) } " · " (sweep.environment) " · " (sweep.seeds) " seeds from " (sweep.first)
            @if let Some(example) = &example { " · " a href=(example) { "one run, drawn" } }
        }
        p { (sweep.why) }
        table.matrix {
            thead {
                tr {
                    th { "lock" }
                    @for check in SHOWN { th { (check) } }
                    th.number { "lost" } th.number { "grants/s" } th.number { "overlaps" }
                    th.number { "stale accepted" } th.number { "stale refused" } th.number { "as expected" }
                }
            }
            tbody {
                @for tally in &sweep.locks {
                    tr {
                        th { (tally.lock) }
                        @for check in SHOWN {
                            td class=[(tally.met(check) == Some(false)).then_some("notice-word")] {
                                (tally.verdict_text(check))
                                @if tally.met(check) == Some(false) {
                                    @if let Some(expected) = tally.expected.get(&check) { " (expected " (expected) ")" }
                                }
                            }
                        }
                        td.number { (lost(tally)) }
                        td.number { (rate(sweep, tally)) }
                        @for name in ["overlaps", "stale-accepted", "stale-refused"] {
                            td.number { (words::number(tally.figure(name))) }
                        }
                        td.number { (tally.as_expected) " of " (sweep.seeds) }
                    }
                }
            }
        }
        @for tally in sweep.locks.iter().filter(|tally| !tally.missed.is_empty()) {
            p.notice.bad {
                b { (tally.lock) } ": not as expected with seed "
                (tally.missed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                @if let Some(error) = tally.errors.first() { " (" (error) ")" }
            }
        }
    }
}

/// The page of a run, seen from the index's folder: both lie below the same folder of reports.
fn link(folder: &Path, run: &Path) -> String {
    let up = folder.ancestors().skip(1).zip(1..).find_map(|(ancestor, levels)| {
        let below = run.strip_prefix(ancestor).ok()?;
        Some(format!("{}{}/{PAGE}", "../".repeat(levels), below.display()))
    });
    up.unwrap_or_else(|| run.join(PAGE).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use std::time::Duration;

    fn sweep() -> Sweep {
        let report = sample::report();
        let mut sweep = Sweep::new(&report, Duration::from_secs(20));
        sweep.add(&report);
        sweep.title = "Tom & <Jerry>".to_owned();
        sweep
    }

    #[test]
    fn the_table_has_a_row_for_each_lock() {
        let sweep = sweep();
        let table = table(std::slice::from_ref(&sweep), Style::default());
        for tally in &sweep.locks {
            assert!(table.contains(&tally.lock), "{table}");
        }
    }

    #[test]
    fn the_page_escapes_and_loads_nothing() {
        let page = page(Path::new("reports/compare/x"), &[sweep()], None);
        assert!(page.contains("Tom &amp; &lt;Jerry&gt;"));
        assert!(!page.contains("src=\"http") && !page.contains("url("));
    }

    #[test]
    fn a_comparison_that_was_called_off_does_not_pass_for_a_whole_one() {
        let mut good = sweep();
        good.conclusion = Default::default();
        let page = |unfinished| page(Path::new("reports/compare"), std::slice::from_ref(&good), unfinished);
        assert!(page(None).contains("✓ As expected"));
        let cut = page(Some("It was called off."));
        assert!(cut.contains("Called off") && cut.contains("It was called off.") && !cut.contains("✓"), "{cut}");
    }

    #[test]
    fn examples_are_linked_relative_to_the_index() {
        let folder = Path::new("reports/compare/20261123-1");
        assert_eq!(link(folder, Path::new("reports/calm/20261123-7")), "../../calm/20261123-7/report.html");
    }
}
