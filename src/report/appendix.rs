//! The rest of the page: what was run and on what, what the faults really did, how to read it all, what it proves.

use maud::{Markup, PreEscaped, html};

use super::Report;
use super::document::verdict_mark;
use super::scene::Scene;
use super::words;
use crate::check::{CheckName, Verdict};
use crate::defendant::Backend;
use crate::history::{EnvironmentName, Op, OpType, Probe, Strike};

/// Strikes beyond this many are counted.
const STRIKES: usize = 100;

/// Settings, plan and versions.
pub(super) fn setup(report: &Report) -> Markup {
    html! {
        section #setup {
            h2 { "What was run" }
            div.columns {
                div {
                    h3 { "Settings" }
                    table.pairs { tbody {
                        @for (name, value) in &report.settings { tr { td { (name) } td { b { (value) } } } }
                        @for lock in &report.locks {
                            @for (name, value) in &lock.settings {
                                tr { td { (lock.name) " " (name) } td { b { (value) } } }
                            }
                        }
                    } }
                }
                div {
                    h3 { "Fault plan" }
                    @if report.plan.is_empty() { p { "No faults." } }
                    ul { @for entry in &report.plan { li { (entry) } } }
                    h3 { "Versions" }
                    table.pairs { tbody {
                        @for (name, version) in &report.versions { tr { td { (name) } td { b { (version) } } } }
                    } }
                }
            }
        }
    }
}

/// What each strike was to do and what the probes saw of it.
pub(super) fn faults(report: &Report, scenes: &[Scene<'_>]) -> Markup {
    html! {
        section #faults {
            h2 { "What the faults did" }
            @if scenes.iter().all(|scene| scene.strikes.is_empty()) { p { "No fault struck." } }
            @for (lock, scene) in report.locks.iter().zip(scenes).filter(|(_, scene)| !scene.strikes.is_empty()) {
                h3 { (lock.name) }
                div.scroll tabindex="0" { table.strikes {
                    thead { tr {
                        th.number { "#" } th { "fault" } th { "struck" } th.number { "applied" } th.number { "healed" }
                        th.number { "requested" } th.number { "lasted" } th { "probes" }
                    } }
                    tbody { @for strike in scene.strikes.iter().take(STRIKES) { (row(strike)) } }
                } }
                @if scene.strikes.len() > STRIKES { p.dim { "and " (scene.strikes.len() - STRIKES) " more strikes." } }
            }
        }
    }
}

fn row(strike: &Strike<'_>) -> Markup {
    let event = strike.event;
    let phase = event.phase.map(|phase| format!(" at {phase}")).unwrap_or_default();
    let requested = std::time::Duration::from_nanos(event.requested);
    let completion = |op: Option<&Op>, never: &str| match op {
        Some(op) if op.kind == OpType::Ok => html! { (op.time) },
        Some(op) => {
            html! { (op.time) " " span.notice-word { @if op.kind == OpType::Fail { "failed" } @else { "unverified" } } }
        }
        None => html! { span.notice-word { (never) } },
    };
    html! {
        tr {
            td.number { (event.id) }
            td title=(event.plan) { (event.kind) (phase) }
            td { (words::members(event)) }
            td.number { (completion(strike.applied, "not confirmed")) }
            td.number { (completion(strike.healed, "never")) }
            td.number { (words::lasting(requested)) }
            td.number {
                @if let Some(lasted) = strike.lasted() { (words::lasted_mark(requested, lasted)) } @else { "–" }
            }
            td { (probes("after applying", strike.applied)) (probes("after healing", strike.healed)) }
        }
    }
}

fn probes(when: &str, op: Option<&Op>) -> Markup {
    let probes = op.and_then(|op| op.fault.as_ref()).map_or(&[][..], |event| &event.probes);
    let count = |is: fn(&Probe) -> bool| probes.iter().filter(|probe| is(probe)).count();
    let (denied, unseen) = (count(Probe::denied), count(|probe| probe.unseen));
    html! {
        @if !probes.is_empty() {
            details.probes open[denied + unseen > 0] {
                summary {
                    (when) ": "
                    @if denied + unseen == 0 { (probes.len()) " as expected" }
                    @if denied > 0 { span.notice-word { (denied) " of " (probes.len()) " not as expected" } }
                    @if denied > 0 && unseen > 0 { ", " }
                    @if unseen > 0 { span.notice-word { (unseen) " of " (probes.len()) " without an answer" } }
                }
                ul {
                    @for probe in probes {
                        li { (probe.what) ": expected " b { (probe.expected) } ", observed "
                            b class=[(!probe.passed()).then_some("notice-word")] { (probe.observed) } }
                    }
                }
            }
        }
    }
}

/// The scenario's text and how to run it again.
pub(super) fn replay(report: &Report) -> Markup {
    html! {
        section #replay {
            h2 { "Run it again" }
            p { "Seed " b { (report.seed) } " fixes every random choice." @if report.environment.is(EnvironmentName::Docker) {
                " With real servers it fixes the plan, not the outcome: the recorded history is the evidence."
            } }
            @for (_, command) in report.commands() { pre.command { code { (command) } } }
            p { "Run folder: " code { (report.folder.display()) } }
            details open { summary { "The scenario " b { (report.scenario) } } pre { code { (report.source) } } }
        }
    }
}

/// What the run proves, and what it does not.
pub(super) fn scope(report: &Report) -> Markup {
    html! {
        section #scope {
            h2 { "What this shows, and what it does not" }
            p {
                "A violation on this page is definite: it follows from what was recorded, and doubt counts in the lock’s "
                "favour. " b { "The absence of violations proves nothing beyond what was exercised." }
                " Testing finds violations; it cannot prove that there are none."
            }
            @for lock in &report.locks {
                @if let Some(coverage) = words::result(lock, CheckName::Coverage) {
                    h3 { (lock.name) ": what was exercised" }
                    p { (coverage.summary) }
                } @else {
                    p {
                        b { (lock.name) } ": " (lock.history.holds().len())
                        " grants were recorded; the coverage check did not run."
                    }
                }
            }
        }
    }
}

const TERMS: [(&str, &str); 12] = [
    (
        "hold",
        "From the moment a client is told that it has the lock to the moment it begins to release it, or is told \
         that it is lost. Before and after, the client is waiting or done; only holds can violate mutual exclusion.",
    ),
    (
        "validity",
        "Until when the lock’s own API told its client that the hold is good. The hatched part of a hold lies after \
         that: the lock no longer vouches for it, but the client may not have looked.",
    ),
    (
        "lease, TTL",
        "A lock granted for a bounded time, after which the servers give it to somebody else without asking its \
         holder.",
    ),
    (
        "lost signal",
        "The lock tells its client that the hold is over. It can come late: a paused client hears nothing.",
    ),
    ("stall", "A client’s own monitor noticed that the client had not run for a while."),
    (
        "fencing token",
        "A number that rises with every grant. A resource that fences refuses an access whose token is lower than \
         one it has seen.",
    ),
    (
        "stale access",
        "An access under a hold that is older than one that the resource had already served, by the order of grants. \
         Accepted, it is damage; refused, it is fencing at work.",
    ),
    ("lost update", "A write that was acknowledged, but that no later value builds on."),
    ("effect", "The worst kind of violation: a stale access was accepted, or an update was lost."),
    ("interleaved", "Two holds overlapped, and both clients used the resource in that time."),
    ("belief", "Two holds overlapped; both clients believed that they held the lock."),
    (
        "incident",
        "All violations that began with one fault, or with one hold that went on after its validity. The cause is what was \
         there when it began; the evidence of each violation stands without it.",
    ),
];

/// The legend of the verdicts and the terms.
pub(super) fn reading() -> Markup {
    html! {
        section #reading {
            h2 { "How to read this page" }
            dl {
                @for (verdict, meaning) in [
                    (Verdict::Valid, "The guarantee held, and it was put to the test."),
                    (Verdict::Invalid, "The guarantee was broken; the evidence is above."),
                    (Verdict::Unknown, "Too little was exercised to tell, or the check gave up. Not a pass."),
                    (Verdict::NotApplicable, "The lock offers nothing that this check could judge."),
                ] { dt { (verdict_mark(Some(verdict))) } dd { (meaning) } }
                @for (term, meaning) in TERMS.into_iter().chain(Backend::ALL.into_iter().filter_map(Backend::token_term)) { dt { (term) } dd { (meaning) } }
            }
        }
    }
}

/// The marks of the timelines and what they mean.
const MARKS: [(&str, &str); 15] = [
    (r#"<rect class="wait" y="6" width="34" height="4"/>"#, "waiting for the lock"),
    (r#"<rect class="hold" y="1" width="34" height="14"/>"#, "hold"),
    (r#"<rect class="expired" y="1" width="34" height="14" fill="url(#expired)"/>"#, "hold beyond its validity"),
    (r#"<path class="lost-mark" d="M12 3l10 10m-10 0l10 -10"/>"#, "told: lost"),
    (r#"<path class="stall-mark" d="M2 6v4h30v-4"/>"#, "stall, as the client saw it"),
    (r#"<rect class="band pause" width="34" height="16"/>"#, "paused"),
    (r#"<rect class="band partition" width="34" height="16"/>"#, "cut off"),
    (r#"<rect class="breach" width="34" height="16"/>"#, "violation"),
    (
        r#"<circle class="accepted" cx="10" cy="8" r="4.2"/><circle class="refused" cx="24" cy="8" r="4.2"/>"#,
        "read accepted, refused",
    ),
    (
        r#"<path class="accepted" d="M10 2.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>
        <path class="refused" d="M25 2.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>"#,
        "write accepted, refused",
    ),
    (
        r#"<circle class="accepted stale" cx="10" cy="8" r="4.2"/>
        <path class="refused stale" d="M25 2.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>"#,
        "stale access accepted, refused",
    ),
    (
        r#"<rect class="had o0" width="16" height="9" y="4"/><rect class="had o1" x="18" width="16" height="9" y="4"/>"#,
        "a server’s lease or contender, a colour for each client",
    ),
    (
        r#"<rect class="had o0" width="20" height="9" y="4"/><path class="ran-out" d="M20 1v14"/>"#,
        "it ran out on the server’s own clock, or went with its session or lease",
    ),
    (r#"<path class="leads" d="M0 13h34"/>"#, "this server led the others, where that is known"),
    (r#"<path class="refused-vote" d="M15 5l5 5m-5 0l5 -5"/>"#, "a server refused: somebody else had it"),
];

/// What the marks of the timelines mean.
pub(super) fn legend() -> Markup {
    html! {
        div.legend.timeline {
            @for (svg, text) in MARKS {
                span.key {
                    svg viewBox="0 0 34 16" width="34" height="16" aria-hidden="true" { (PreEscaped(svg)) }
                    (text)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_probe_that_saw_something_else_is_shown_open() {
        let mut report = sample::report();
        let ops = &mut report.locks[0].history.ops;
        let heal = ops.iter_mut().rfind(|op| op.f == crate::history::F::Heal).unwrap();
        heal.kind = OpType::Info;
        heal.fault.as_mut().unwrap().probes[0].observed = "still frozen".to_owned();
        let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
        let page = faults(&report, &scenes).into_string();
        for part in ["1 of 1 not as expected", "still frozen", "unverified", "2.500s", "2.499s", "1 as expected"] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert_eq!(page.matches("<details class=\"probes\" open>").count(), 1);
    }

    /// A look that got no answer showed nothing, and is not told as one that saw something else.
    #[test]
    fn a_look_without_an_answer_is_told_as_one() {
        let mut report = sample::report();
        let ops = &mut report.locks[0].history.ops;
        let heal = ops.iter_mut().rfind(|op| op.f == crate::history::F::Heal).unwrap();
        heal.fault.as_mut().unwrap().probes[0] = Probe::unseen("after: c2 state", "running", 3);
        let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
        let page = faults(&report, &scenes).into_string();
        assert!(page.contains("1 of 1 without an answer") && !page.contains("not as expected"), "{page}");
    }
}
