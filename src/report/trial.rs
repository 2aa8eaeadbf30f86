//! One lock's part of the page: its incidents in words and drawings, what each check says, the whole run, its
//! latencies.

use maud::{Markup, html};

use super::answers;
use super::document::{check_mark, slug, standing_mark};
use super::exhibit::{self, Exhibit};
use super::scene::{Scene, Thing};
use super::standing::Standing;
use super::summary;
use super::timeline::{self, Told};
use super::words;
use super::{LockReport, Report, VERDICT, excerpt, plots, remedy};
use crate::check::{Incident, Violation};
use crate::defendant::registry;
use crate::fencing::Fencing;
use crate::history::F;
use crate::history::server::SessionEnd;

/// So many incidents are told with their steps and drawings; the page grows with them, not with what they broke.
const DRAWN: usize = 8;
/// So many more stand in a line each.
const LINES: usize = 100;
/// How many violations that are part of no incident are told.
const LOOSE: usize = 5;

/// The section. `scenes` are those of all locks, `span` is what the latency charts of the page span, in milliseconds;
/// `told_above` the number of the incident that the page begins with, whose steps and drawings stand there.
pub(super) fn section(
    report: &Report,
    scenes: &[Scene<'_>],
    lock: &LockReport,
    scene: &Scene<'_>,
    span: (f64, f64),
    told_above: Option<u32>,
) -> Markup {
    let all: Vec<&Violation> = lock.judgement.checks.iter().flat_map(|check| &check.violations).collect();
    let id = format!("lock-{}", slug(&lock.name));
    let incidents = &lock.judgement.incidents;
    let told: Vec<Told> = (1..)
        .zip(incidents.iter().take(DRAWN))
        .map(|(number, incident)| Told {
            number,
            anchor: anchor(lock, number),
            at: incident.from,
            text: format!("{}: {}", exhibit::title(scene, incident), exhibit::broke(incident)),
        })
        .collect();
    let standing = Standing::of(lock);
    html! {
        section.lock id=(id) {
            h2 { (lock.name) " " (standing_mark(standing)) }
            p class={ "summary " (standing.class()) } { b { (lock.name) } " " (summary::sentence(lock, scene)) }
            p.dim {
                "Algorithm " b { (lock.algorithm) } " on " (lock.history.header.nodes) " servers, "
                (lock.history.header.clients) " clients, " (lock.history.ops.len()) " ops in " (summary::lasted(scene)) "."
                @for (name, value) in &lock.settings { " " span.setting { (name) " " b { (value) } } }
            }
            @if let Some(what) = lock.cut_off() { p.notice.bad { b { "Not complete. " } (what) "." } }
            @if let Some(error) = &lock.error { p.notice.bad { b { "This trial ended early. " } (error) } }
            @if let Some(note) = no_token(lock, scene) { p.notice { b { "Why fencing cannot help here. " } (note) } }
            h3 { "What went wrong" }
            (self::incidents(report, scenes, lock, scene, told_above))
            (loose(lock, scene))
            h3 { "The whole run" }
            (timeline::overview(scene, &all, &told, &format!("{id}-run")))
            (sessions(scene))
            h3 { "What each check says" }
            (checks(lock))
            h3 { "What waiting for the lock cost" }
            (plots::acquire_latency(scene, span))
            @if scene.acquires().next().is_some() {
                p.chart-key {
                    "Each acquire at the time it was asked for:"
                    span.swatch.granted {} "granted" span.cross { "×" } "not granted, or in doubt"
                    span.swatch.pause {} "a pause" span.swatch.partition {} "a partition" span.swatch.other-fault {} "another fault"
                }
                (latencies(scene))
            }
            @if let Some(chart) = plots::clock_errors(scene) {
                h3 { "What clocks showed" }
                (chart)
            }
        }
    }
}

/// Where on the page an incident is told.
pub(super) fn anchor(lock: &LockReport, number: u32) -> String {
    format!("{}-incident-{number}", slug(&lock.name))
}

fn incidents(
    report: &Report,
    scenes: &[Scene<'_>],
    lock: &LockReport,
    scene: &Scene<'_>,
    told_above: Option<u32>,
) -> Markup {
    let incidents = &lock.judgement.incidents;
    let in_all = lock.judgement.incidents_in_all;
    if incidents.is_empty() {
        let none = if lock.judgement.checks.is_empty() { "No check ran." } else { "No incident was found." };
        return html! { p { (none) } };
    }
    let numbered = || (1_u32..).zip(incidents);
    let told = numbered().count().min(DRAWN + LINES) as u64;
    html! {
        p {
            b { (words::counted(in_all, "incident", "incidents")) } ": what began with one fault, or with one hold that went on \
            after its validity, is one incident, however much it broke."
        }
        @for (number, incident) in numbered().take(DRAWN) { (card(report, scenes, lock, scene, (number, incident), told_above == Some(number))) }
        @if incidents.len() > DRAWN {
            div.scroll tabindex="0" { table.incidents {
                thead { tr { th.number { "#" } th.number { "time" } th { "what began it" } th { "what it broke" } } }
                tbody {
                    @for (number, incident) in numbered().skip(DRAWN).take(LINES) {
                        tr {
                            td.number { (number) }
                            td.number { (incident.from) }
                            td { (exhibit::title(scene, incident)) }
                            td { (exhibit::broke(incident)) }
                        }
                    }
                }
            } }
        }
        @if in_all > told {
            p.dim { "and " (words::counted(in_all - told, "more incident", "more incidents")) " that " (if in_all - told == 1 { "has" } else { "have" }) " no line here." }
        }
    }
}

/// An incident: what began it, what it broke, its steps, its drawing, what would have prevented it; or where the page
/// has told that already.
fn card(
    report: &Report,
    scenes: &[Scene<'_>],
    lock: &LockReport,
    scene: &Scene<'_>,
    (number, incident): (u32, &Incident),
    is_told: bool,
) -> Markup {
    let anchor = anchor(lock, number);
    let exhibit = Exhibit::of_incident(scene, lock, number, incident, anchor.clone());
    let listed = exhibit::listed(lock, number);
    let broken: u64 = incident.violations.values().sum();
    let more = broken.saturating_sub(listed.len() as u64);
    html! {
        details.incident id=(anchor) open[number == 1] {
            summary {
                span.flag-number { (number) } " " span.dim { (incident.from) } " "
                b { (exhibit::title(scene, incident)) } ": " (exhibit::broke(incident)) ". "
                @if let Some(severity) = exhibit::severity(lock, number).map(words::severity) {
                    span class={ "severity " (severity) } { (severity) }
                }
            }
            @if is_told {
                p { "How it came about, and what would have prevented it, is what " a href="#story" { "this page begins with" } "." }
            } @else {
                @let remedies = remedy::of(report, scenes, lock, scene, incident);
                h4 { "How it came about" }
                (answers::answers(scene, incident, &exhibit, &remedies))
                (excerpt::steps(&exhibit))
                (excerpt::drawings(scene, &exhibit))
                h4 { "What would have prevented it" }
                (remedy::list(&remedies))
            }
            details.listed {
                summary { (words::counted(broken, "violation", "violations")) " in full" }
                ul {
                    @for (check, violation) in &listed {
                        li { b { (check) } ": " (violation.text)
                            @if let Some(severity) = violation.severity { " " span.dim { (words::meaning(*check, severity)) } } }
                    }
                }
                @if more > 0 {
                    p.dim { "and " (words::counted(more, "more that is", "more that are")) " counted and not listed, here or in " code { (VERDICT) } "." }
                }
            }
        }
    }
}

/// The violations that are part of no incident: of the record itself, or of what is not told from holds.
fn loose(lock: &LockReport, scene: &Scene<'_>) -> Markup {
    let numbers: Vec<(&crate::check::CheckResult, &Violation)> = lock
        .judgement
        .checks
        .iter()
        .flat_map(|result| result.violations.iter().map(move |violation| (result, violation)))
        .filter(|(_, violation)| violation.incident.is_none())
        .collect();
    html! {
        @for (number, (result, violation)) in (1..).zip(numbers.iter().take(LOOSE)) {
            @let exhibit = Exhibit::of_violation(scene, violation, format!("{}-violation-{number}", slug(&lock.name)));
            details.incident id=(exhibit.anchor) {
                summary { b { (result.check) } ": " (violation.text) }
                p.dim { "Broken guarantee: " (result.guarantee) }
                (excerpt::steps(&exhibit))
                (excerpt::drawings(scene, &exhibit))
            }
        }
        @if numbers.len() > LOOSE { p.dim { "and " (numbers.len() - LOOSE) " more in " code { (VERDICT) } "." } }
    }
}

/// Why a resource that fences cannot fence: nothing was ever given to it to compare.
fn no_token(lock: &LockReport, scene: &Scene<'_>) -> Option<String> {
    let fencing = &lock.history.header.fencing;
    // `cas` compares what was read, not tokens: it works for every lock.
    if !matches!(fencing.known(), Some(Fencing::Write | Fencing::Access))
        || scene.holds.is_empty()
        || scene.gives_tokens()
    {
        return None;
    }
    let asks = format!(
        "The resource was told to fence (“{fencing}”), but none of the {} grants carried a fencing token",
        scene.holds.len()
    );
    let why = registry::named(&lock.algorithm).and_then(|algorithm| algorithm.why_no_tokens());
    let why = why.unwrap_or("this lock gives none, so the resource had nothing to compare and served every access.");
    Some(format!("{asks}: {why}"))
}

/// The sessions of the ensemble, or the leases of the cluster: whose, on which servers, how each ended.
fn sessions(scene: &Scene<'_>) -> Markup {
    /// So many have a line.
    const SHOWN: usize = 60;
    let are_leases = scene.sessions.iter().any(|session| session.is_lease());
    let (what, one) =
        if are_leases { ("Leases of the cluster", "lease") } else { ("Sessions of the ensemble", "session") };
    html! {
        @if !scene.sessions.is_empty() {
            details {
                summary { (what) ": " (scene.sessions.len()) }
                div.scroll tabindex="0" { table.sessions {
                    thead { tr { th { (one) } th { "client" } th.number { "opened" } th.number { "ended" } th { "how" } @if !are_leases { th { "connected to" } } } }
                    tbody {
                        @for session in scene.sessions.iter().take(SHOWN) {
                            tr {
                                td { code { (session.told()) } }
                                td { (session.client.map_or_else(|| "–".to_owned(), |client| client.to_string())) }
                                td.number { (session.opened) }
                                td.number { (session.ended.map_or_else(|| "–".to_owned(), |at| at.to_string())) }
                                td { @match session.by {
                                    Some(SessionEnd::Expired) => b { "ended by the servers: not heard of for its timeout" },
                                    Some(SessionEnd::Closed) => "by its client",
                                    None => "there to the end",
                                } @if session.inferred { " (as its client was told)" } }
                                @if !are_leases { td { (session.on.iter().map(|stay| format!("{} from {}", stay.node, stay.from)).collect::<Vec<_>>().join(", ")) } }
                            }
                        }
                    }
                } }
                @if scene.sessions.len() > SHOWN { p.dim { "and " (scene.sessions.len() - SHOWN) " more" } }
            }
        }
    }
}

fn checks(lock: &LockReport) -> Markup {
    html! {
        table.checks {
            thead { tr { th { "check" } th { "verdict" } th { "result" } } }
            tbody {
                @for result in &lock.judgement.checks {
                    tr {
                        td { b { (result.check) } }
                        td { (check_mark(result.check, Some(result.verdict))) }
                        td {
                            (result.summary)
                            p.guarantee { "Guarantee: " (result.guarantee) }
                            details.figures-of {
                                summary { "figures" }
                                table.pairs { tbody {
                                    @for (name, value) in &result.figures {
                                        @let (name, value) = words::figure(name, *value);
                                        tr { td { (name) } td { b { (value) } } }
                                    }
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn latencies(scene: &Scene<'_>) -> Markup {
    let granted = scene.acquires().filter(|span| span.outcome() == crate::history::OpType::Ok);
    let accesses = scene.spans.iter().filter(|span| matches!(span.invoke.f, F::Read | F::Write));
    let releases = scene.spans.iter().filter(|span| span.invoke.f == F::Release);
    // Only with real servers is the asking a part of what is told.
    let votes = scene.had.iter().filter_map(|had| match had.what {
        Thing::Lease(_, vote) => Some(vote.at - vote.asked?),
        Thing::Contender(_) | Thing::Refusal(_) => None,
    });
    let rows = [
        ("answer of a lock server", plots::quantiles(votes)),
        ("acquire, granted", plots::quantiles(granted.map(|span| span.took()))),
        ("hold", plots::quantiles(scene.holds.iter().map(|hold| hold.to - hold.from))),
        ("access of the resource", plots::quantiles(accesses.map(|span| span.took()))),
        ("release", plots::quantiles(releases.map(|span| span.took()))),
    ];
    html! {
        table.latencies {
            thead { tr {
                th { "took" } th.number { "count" }
                @for name in ["median", "90 %", "99 %", "longest"] { th.number { (name) } }
            } }
            tbody {
                @for (name, quantiles) in &rows {
                    @if let Some(quantiles) = quantiles {
                        tr {
                            td { (name) }
                            td.number { (quantiles.count) }
                            @for (_, value) in &quantiles.values { td.number { (words::lasting(*value)) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckName;
    use crate::report::tests::sample;

    fn page(report: &Report, lock: &LockReport) -> String {
        told(report, lock, None)
    }

    fn told(report: &Report, lock: &LockReport, above: Option<u32>) -> String {
        let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
        section(report, &scenes, lock, &Scene::of(&lock.history), (1.0, 10.0), above).into_string()
    }

    #[test]
    fn one_pause_is_one_card_with_steps_a_drawing_and_what_would_have_prevented_it() {
        let report = sample::report();
        let page = page(&report, &report.locks[0]);
        assert_eq!(page.matches("<details class=\"incident\"").count(), 1, "{page}");
        for part in [
            "<b>1 incident</b>",
            "c2 is paused under its hold of item-1 for 2.499s",
            "How it came about",
            "What would have prevented it",
            "2 violations in full",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("counted and not listed"));
    }

    #[test]
    fn an_incident_that_the_page_begins_with_is_not_drawn_again() {
        let report = sample::report();
        let lock = &report.locks[0];
        let told = told(&report, lock, Some(1));
        assert!(told.contains("href=\"#story\"") && !told.contains("How it came about<"), "{told}");
        assert!(told.contains("2 violations in full") && !told.contains("figure class=\"excerpt\""), "{told}");
    }

    #[test]
    fn what_is_not_listed_is_counted() {
        let mut report = sample::report();
        *report.locks[0].judgement.incidents[0].violations.get_mut(&CheckName::MutualExclusion).unwrap() = 144;
        let page = page(&report, &report.locks[0]);
        assert!(page.contains("144 overlaps of two holds, 1 stale access accepted"), "{page}");
        assert!(page.contains("145 violations in full") && page.contains("and 143 more that are counted"), "{page}");
    }

    #[test]
    fn the_page_grows_with_incidents_and_only_the_first_are_drawn() {
        let mut report = sample::report();
        let one = page(&report, &report.locks[0]).len();
        let judgement = &mut report.locks[0].judgement;
        let first = judgement.incidents[0].clone();
        judgement.incidents.resize(90, first);
        judgement.incidents_in_all = 5_000;
        let page = page(&report, &report.locks[0]);
        assert_eq!(page.matches("<details class=\"incident\"").count(), DRAWN);
        assert!(page.contains("and 4910 more incidents that have no line here"), "{page}");
        assert!(page.len() < one * 6, "{} from {one}", page.len());
    }

    #[test]
    fn a_violation_of_no_incident_is_told_with_its_guarantee() {
        let mut report = sample::report();
        let lock = &mut report.locks[0];
        lock.judgement.incidents.clear();
        lock.judgement.checks.iter_mut().flat_map(|result| &mut result.violations).for_each(|violation| {
            violation.incident = None;
        });
        let page = page(&report, &report.locks[0]);
        assert!(page.contains("Broken guarantee: The guarantee of mutual-exclusion."), "{page}");
    }

    #[test]
    fn says_why_a_lock_without_tokens_cannot_be_fenced() {
        let report = sample::report();
        let note = |lock: &LockReport| no_token(lock, &Scene::of(&lock.history));
        assert!(note(&report.locks[0]).unwrap().contains("Redlock as published gives none"));
        assert_eq!(note(&report.locks[1]), None, "zookeeper gives tokens");
        let mut cas = report.locks[0].clone();
        cas.history.header.fencing = Fencing::Cas.into();
        assert_eq!(note(&cas), None, "cas needs no token");
    }
}
