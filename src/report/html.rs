//! The page of a run: one HTML file that asks for nothing else, made for the one who wants to know why.
//!
//! The order is the reader's: what came of it, then per lock the evidence, then what was run, then how to read it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::scene::Scene;
use super::words::{self, Cell};
use super::{Report, appendix, lanes, plots, trial};
use crate::check::Verdict;

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
/// Whatever a history smuggles in, the page loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The whole page.
pub fn page(report: &Report) -> String {
    let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
    let span = plots::latencies(&scenes);
    let mark = if report.expected() { "as expected" } else { "NOT as expected" };
    let title = format!("{}, seed {}: {mark}", report.scenario, report.seed);
    let body = html! {
        svg.defs width="0" height="0" aria-hidden="true" { defs { (lanes::hatch("expired")) } }
        (headline(report))
        (result(report))
        (matrix(report, &scenes))
        (contents(report))
        @if report.locks.iter().any(|lock| !lock.history.ops.is_empty()) { (appendix::legend()) }
        @for (lock, scene) in report.locks.iter().zip(&scenes) { (trial::section(lock, scene, span)) }
        (appendix::setup(report))
        (appendix::faults(report, &scenes))
        (appendix::replay(report))
        (appendix::scope(report))
        (appendix::reading())
        script { (PreEscaped(SCRIPT)) }
    };
    document(&title, &body)
}

/// A whole HTML document in the pages' style, which asks for nothing else.
pub(super) fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Keeps browsers from asking for an icon.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

fn headline(report: &Report) -> Markup {
    html! {
        header {
            p.dim {
                b { (report.scenario) } " · " (report.environment) " · seed " b { (report.seed) } " · "
                (report.started) " UTC"
            }
            h1 { (report.title) }
            p.why { (report.why) }
        }
    }
}

fn result(report: &Report) -> Markup {
    let expected = report.expected();
    html! {
        section class={ "result " (if expected { "good" } else { "bad" }) } {
            h2 { @if expected { "✓ As expected" } @else { "✗ Not as expected" } }
            @if let Some(why) = &report.interrupted {
                p { b { "The run ended early: " } (why) ". What was recorded until then is shown." }
            }
            @if report.locks.is_empty() { p { "No lock was tried." } }
            ul {
                @for lock in &report.locks {
                    li {
                        a href={ "#lock-" (trial::slug(&lock.name)) } { b { (lock.name) } } ": " (trial::outcome(lock))
                        @if let Some(error) = &lock.error { " " b { "Its trial ended early: " } (error) "." }
                        @for expectation in lock.expectations.iter().filter(|expectation| !expectation.held()) {
                            " " span.notice-word {
                                (expectation.check) " was expected to be " (expectation.expected)
                                (expectation.reason())
                                @match expectation.reached {
                                    Some(reached) => { " and is " (reached) "." }
                                    None => { " and did not run." }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Safety beside cost, lock beside lock.
fn matrix(report: &Report, scenes: &[Scene<'_>]) -> Markup {
    if report.locks.is_empty() {
        return html! {};
    }
    let figures: Vec<_> =
        report.locks.iter().zip(scenes).map(|(lock, scene)| words::key_figures(lock, scene)).collect();
    let mut labels: Vec<&str> = Vec::new();
    for figure in figures.iter().flatten() {
        if !labels.contains(&figure.label) {
            labels.push(figure.label);
        }
    }
    let waits: Vec<_> = scenes
        .iter()
        .map(|scene| {
            let granted = scene.acquires().filter(|span| span.outcome() == crate::history::OpType::Ok);
            plots::quantiles(granted.map(|span| span.took()))
        })
        .collect();
    html! {
        section.side-by-side #matrix {
            table.matrix {
                thead { tr { th { "check" } @for lock in &report.locks { th { (lock.name) } } } }
                tbody {
                    @for check in words::checks_shown(report) {
                        tr {
                            th { (check) }
                            @for lock in &report.locks {
                                @let cell = Cell::of(lock, check);
                                td class=[cell.unmet().then_some("unmet")] {
                                    (verdict_mark(cell.verdict)) (expectation_mark(&cell))
                                }
                            }
                        }
                    }
                    tr.overall {
                        th { "overall" }
                        @for lock in &report.locks { td { (verdict_mark(Some(lock.judgement.verdict))) } }
                    }
                }
            }
            table.matrix.key-figures {
                thead { tr { th { "figure" } @for lock in &report.locks { th.number { (lock.name) } } } }
                tbody {
                    @for label in labels {
                        tr {
                            th { (label) }
                            @for figures in &figures {
                                @let figure = figures.iter().find(|figure| figure.label == label);
                                td.number.alarming[figure.is_some_and(|figure| figure.alarming)] {
                                    @if let Some(figure) = figure { (figure.value) } @else { "–" }
                                }
                            }
                        }
                    }
                    @for (at, label) in ["wait for a grant, median", "wait for a grant, 99 %"].into_iter().enumerate() {
                        tr {
                            th { (label) }
                            @for waits in &waits {
                                td.number {
                                    @if let Some(waits) = waits { (words::lasting(waits.values[2 * at].1)) } @else { "–" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn contents(report: &Report) -> Markup {
    html! {
        nav {
            @for lock in &report.locks { a href={ "#lock-" (trial::slug(&lock.name)) } { (lock.name) } }
            a href="#setup" { "what was run" }
            a href="#faults" { "what the faults did" }
            a href="#replay" { "run it again" }
            a href="#scope" { "what this shows" }
            a href="#reading" { "how to read this page" }
        }
    }
}

/// A verdict with its sign: never by colour alone.
pub(super) fn verdict_mark(verdict: Option<Verdict>) -> Markup {
    let (class, sign) = match verdict {
        Some(Verdict::Valid) => ("valid", "✓ "),
        Some(Verdict::Invalid) => ("invalid", "✗ "),
        Some(Verdict::Unknown) => ("unknown", "? "),
        Some(Verdict::NotApplicable) => ("none", "– "),
        None => ("none", ""),
    };
    html! { span class={ "verdict " (class) } { (sign) (verdict.map_or("did not run", Verdict::name)) } }
}

/// How a verdict compares with what was expected; nothing where it goes without saying.
pub(super) fn expectation_mark(cell: &Cell) -> Markup {
    let remark = cell.remark();
    html! {
        @if cell.unmet() { " " span.notice-word { "⚠ " (remark) } }
        @else if !remark.is_empty() { " " span.dim { (remark) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// What the page would fetch: the values of `src`, `href`, `url(` and `@import`.
    fn loads(page: &str) -> Vec<&str> {
        let after = |mark: &'static str, end: &'static [char]| {
            page.split(mark).skip(1).filter_map(move |rest| rest.split(end).next())
        };
        let mut loads: Vec<&str> = after("src=\"", &['"']).chain(after("href=\"", &['"'])).collect();
        loads.extend(after("url(", &[')']));
        loads.extend(after("@import", &[';']));
        loads
    }

    #[test]
    fn asks_for_nothing_outside_of_itself() {
        let page = page(&sample::report());
        let loads = loads(&page);
        assert!(loads.len() > 5, "links inside the page are found: {loads:?}");
        assert!(loads.iter().all(|load| load.starts_with('#') || *load == "data:,"), "{loads:?}");
    }

    #[test]
    fn tells_every_violation_and_escapes_every_text() {
        let report = sample::report();
        let page = page(&report);
        for violation in report.locks.iter().flat_map(|lock| &lock.judgement.checks).flat_map(|check| &check.violations)
        {
            let text = violation.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            assert!(page.contains(&text), "{text}");
        }
        assert!(page.contains("<h1>A &lt;b&gt;client&lt;/b&gt; stalls &amp; holds the lock</h1>"));
        assert!(!page.contains("<b>client</b>"), "no text of the scenario becomes markup");
    }

    #[test]
    fn says_what_was_expected_and_what_came() {
        let page = page(&sample::report());
        for part in [
            "✗ Not as expected",
            "mutual-exclusion was expected to be valid and is invalid.",
            "Redlock as published gives none",
            "fencepost run client-pause --seed 7",
            "c2 container state: expected <b>frozen</b>",
            "cannot prove",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn every_link_has_its_target_and_every_id_is_unique() {
        let page = page(&sample::report());
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let unique: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
        for target in loads(&page).into_iter().filter_map(|load| load.strip_prefix('#')) {
            assert!(unique.contains(target), "{target} is nowhere");
        }
    }

    #[test]
    fn a_run_that_never_began_still_has_a_page() {
        let page = page(&sample::empty());
        for part in [
            "interrupted by Ctrl-C",
            "no Redis node answered in 10s",
            "did not run",
            "Nothing was recorded",
            "No check ran",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let mut nothing = sample::empty();
        nothing.locks.clear();
        assert!(super::page(&nothing).contains("No lock was tried."));
    }
}
