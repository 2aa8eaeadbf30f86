//! The page of a run: one HTML file that asks for nothing else, made for the one who wants to know why.
//!
//! The order is the reader's: what came of it, then per lock the evidence, then what was run, then how to read it.

use maud::{Markup, html};

use super::document::{check_mark, document, script, slug, standing_mark};
use super::exhibit::{self, Exhibit};
use super::scene::Scene;
use super::standing::{Standing, is_harm};
use super::summary;
use super::words;
use super::{LockReport, Report, answers, appendix, excerpt, key_figures, lanes, marks, plots, remedy, trial};
use crate::check::Incident;

/// The whole page.
pub fn page(report: &Report) -> String {
    let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
    let span = plots::latencies(&scenes);
    let protagonist = protagonist(report);
    let title = format!("{}, seed {}: {}", report.scenario, report.seed, report.verdict());
    let body = html! {
        svg.defs.timeline.excerpt width="0" height="0" aria-hidden="true" { defs { (lanes::hatch("expired")) (marks::signs()) } }
        (headline(report))
        main {
        (lead(report, &scenes))
        (story(report, &scenes, protagonist))
        (contents(report))
        (matrix(report, &scenes))
        (foreseen(report))
        // With a story it stands under the first drawing.
        @if protagonist.is_none() && report.locks.iter().any(|lock| !lock.history.ops.is_empty()) { (appendix::legend()) }
        @for (place, (lock, scene)) in report.locks.iter().zip(&scenes).enumerate() {
            @let told = protagonist.filter(|(of, _)| *of == place).map(|(_, number)| number);
            (trial::section(report, &scenes, lock, scene, span, told))
        }
        (appendix::setup(report))
        (appendix::faults(report, &scenes))
        (appendix::replay(report))
        (appendix::scope(report))
        (appendix::reading())
        }
        (script())
    };
    document(&title, &body)
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
            @if let Some(servers) = &report.servers { p { b { "Lock servers " } (servers) "." } }
        }
    }
}

/// What came of it, a sentence for each lock; of a run without locks, why there are none.
fn lead(report: &Report, scenes: &[Scene<'_>]) -> Markup {
    html! {
        section.lead aria-label="what came of it" {
            @if let Some(why) = &report.interrupted {
                p.summary.odd { b { "The run ended early: " } (why) ". What was recorded until then is shown." }
            }
            @if report.locks.is_empty() {
                p.summary.odd { "? No lock was tried." @if report.interrupted.is_none() { " The scenario names none, or none was chosen." } }
            }
            @for (lock, scene) in report.locks.iter().zip(scenes) {
                @let standing = Standing::of(lock);
                p class={ "summary " (standing.class()) } {
                    (standing_mark(standing)) " · " a href={ "#lock-" (slug(&lock.name)) } { b { (lock.name) } } " "
                    (summary::sentence(lock, scene))
                }
            }
        }
    }
}

/// Whether the data took harm in an incident.
fn harmed(incident: &Incident) -> bool {
    incident.violations.keys().any(|check| is_harm(*check))
}

/// What the page begins with: the place of the lock that came off worst, and the number of its first incident that did
/// harm, or else of its first.
fn protagonist(report: &Report) -> Option<(usize, u32)> {
    let broken = report.locks.iter().enumerate().filter(|(_, lock)| !lock.judgement.incidents.is_empty());
    // Of equally bad ones the first.
    let (place, lock) = broken.rev().max_by_key(|(_, lock)| Standing::of(lock))?;
    // What did harm says more than what only could have.
    let first = lock.judgement.incidents.iter().position(harmed).unwrap_or(0);
    Some((place, first as u32 + 1))
}

/// How that incident came about.
fn story(report: &Report, scenes: &[Scene<'_>], protagonist: Option<(usize, u32)>) -> Markup {
    let Some((place, number)) = protagonist else { return html! {} };
    let (lock, scene) = (&report.locks[place], &scenes[place]);
    let incident = &lock.judgement.incidents[number as usize - 1];
    let exhibit = Exhibit::of_incident(scene, lock, number, incident, "story".to_owned());
    let remedies = remedy::of(report, scenes, lock, scene, incident);
    html! {
        section #story {
            h2 { "How it came about with " (lock.name) }
            p.dim {
                "The first " @if harmed(incident) { "incident that did harm" } @else { "incident" } ": " (exhibit::title(scene, incident)) "; "
                (exhibit::broke(incident)) ". "
                a href={ "#" (trial::anchor(lock, number)) } { "Its card" } " has each violation in full."
            }
            (answers::answers(scene, incident, &exhibit, &remedies))
            (excerpt::steps(&exhibit))
            (excerpt::drawings(scene, &exhibit))
            (appendix::legend())
            p { b { "What would have prevented it:" } }
            (remedy::list(&remedies))
        }
    }
}

/// Whether the scenario's file had foreseen what the locks did: another question than what they did.
fn foreseen(report: &Report) -> Markup {
    let expected = report.expected();
    let missed = |lock: &LockReport| lock.expectations.iter().any(|expectation| !expectation.held());
    html! {
        section #foreseen {
            h2 { "Whether the scenario’s file foresaw it" }
            p {
                @if expected { b { "Yes. " } } @else { b.notice-word { "No. " } }
                "A file that is built to break a lock expects " i { "invalid" } "; this says nothing about how good a lock is, only \
                whether a run went as its author had foreseen."
            }
            @for lock in report.locks.iter().filter(|lock| missed(lock) || lock.error.is_some()) {
                p.notice.bad {
                    b { (lock.name) } ": "
                    @if let Some(error) = &lock.error { "its trial ended early: " (error) ". " }
                    @for expectation in lock.expectations.iter().filter(|expectation| !expectation.held()) {
                        (expectation.check) " was expected to be " (expectation.expected) (expectation.reason())
                        @match expectation.reached {
                            Some(reached) => { " and is " (reached) ". " }
                            None => { " and did not run. " }
                        }
                    }
                }
            }
            @if report.locks.iter().any(|lock| lock.expectations.iter().any(|expectation| expectation.stated)) {
                div.scroll tabindex="0" { table.matrix {
                    thead { tr { th { "expected" } @for lock in &report.locks { th { (lock.name) } } } }
                    tbody {
                        @for check in words::checks_shown(report) {
                            @let stated = |lock: &LockReport| words::expectation(lock, check).filter(|line| line.stated || !line.held()).cloned();
                            @if report.locks.iter().any(|lock| stated(lock).is_some()) {
                                tr {
                                    th { (check) }
                                    @for lock in &report.locks {
                                        @match stated(lock) {
                                            Some(line) if line.held() => td { (line.expected) ", and so it came" },
                                            Some(line) => td.unmet { "⚠ " (line.expected) ", and it "
                                                (line.reached.map_or_else(|| "did not run".to_owned(), |reached| format!("is {reached}"))) },
                                            None => td.dim { "–" },
                                        }
                                    }
                                }
                            }
                        }
                    }
                } }
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
        report.locks.iter().zip(scenes).map(|(lock, scene)| key_figures::key_figures(lock, scene)).collect();
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
        section #matrix {
            h2 { "What each lock did" }
            p.dim {
                (standing_mark(Standing::Harmed)) ": the resource served an access that came too late, or updates are gone. "
                (standing_mark(Standing::Broken)) ": a guarantee was broken, and no check saw the data take harm. "
                "Either makes a check " i { "invalid" } "."
            }
            div.side-by-side {
            div.scroll tabindex="0" { table.matrix {
                thead { tr { th { "check" } @for lock in &report.locks { th { (lock.name) } } } }
                tbody {
                    @for check in words::checks_shown(report) {
                        tr {
                            th { (check) }
                            @for lock in &report.locks {
                                td { (check_mark(check, words::result(lock, check).map(|result| result.verdict))) }
                            }
                        }
                    }
                    tr.overall {
                        th { "overall" }
                        @for lock in &report.locks { td { (standing_mark(Standing::of(lock))) } }
                    }
                }
            } }
            div.scroll tabindex="0" { table.matrix.key-figures {
                thead { tr { th { "figure" } @for lock in &report.locks { th.number { (lock.name) } } } }
                tbody {
                    @for label in labels {
                        tr {
                            th { (label) }
                            @for figures in &figures {
                                @let figure = figures.iter().find(|figure| figure.label == label);
                                td class={ "number " (figure.map_or("", |figure| figure.class())) } {
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
            } } }
        }
    }
}

fn contents(report: &Report) -> Markup {
    html! {
        nav aria-label="on this page" {
            a href="#matrix" { "what each lock did" }
            a href="#foreseen" { "whether it was foreseen" }
            @for lock in &report.locks { a href={ "#lock-" (slug(&lock.name)) } { (lock.name) } }
            a href="#setup" { "what was run" }
            a href="#faults" { "what the faults did" }
            a href="#replay" { "run it again" }
            a href="#scope" { "what this shows" }
            a href="#reading" { "how to read this page" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

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
            "mutual-exclusion was expected to be valid and is invalid.",
            "How it came about with redlock",
            "let two clients believe at once that they held it, in 1 incident",
            "Redlock as published gives none",
            "fencepost run client-pause --seed 7",
            "c2 container state: expected <b>frozen</b>",
            "cannot prove",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn what_did_no_harm_is_told_apart_from_what_did() {
        let page = page(&sample::report());
        let lead = &page[page.find("section class=\"lead\"").unwrap()..page.find("How it came about with").unwrap()];
        let (harmed, unharmed) = lead.split_at(lead.find("summary broken").unwrap());
        assert!(harmed.contains("summary bad") && harmed.contains("✗ harm"), "{harmed}");
        assert!(unharmed.contains("▲ broken, no harm seen") && !unharmed.contains("summary bad"), "{unharmed}");
        let matrix = &page[page.find("id=\"matrix\"").unwrap()..page.find("id=\"foreseen\"").unwrap()];
        let row = |check: &str| matrix.split("<tr").find(|row| row.contains(&format!("<th>{check}</th>"))).unwrap();
        assert!(row("mutual-exclusion").contains("▲ invalid"), "broken, whatever came of it: {matrix}");
        assert!(row("fencing").contains("✗ invalid"), "harm: {matrix}");
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
