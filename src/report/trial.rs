//! One lock's part of the page: its checks, each violation told in words and pictures, the whole run, its latencies.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::html::{expectation_mark, verdict_mark};
use super::scene::Scene;
use super::timeline::{self, Told};
use super::words::{self, Cell};
use super::{LockReport, VERDICT, excerpt, plots};
use crate::check::{CheckName, Severity, Verdict, Violation};
use crate::history::F;

/// How many violations of one check and severity are told; the rest are counted.
const TOLD: usize = 10;

/// Several violations of one check, equally bad.
struct Group<'a> {
    severity: Option<Severity>,
    check: CheckName,
    guarantee: &'a str,
    told: Vec<Told<'a>>,
    untold: usize,
}

/// The section. `span` is what the latency charts of the page span, in milliseconds.
pub(super) fn section(lock: &LockReport, scene: &Scene<'_>, span: (f64, f64)) -> Markup {
    let groups = groups(lock);
    let all: Vec<&Violation> = lock.judgement.checks.iter().flat_map(|check| &check.violations).collect();
    let id = format!("lock-{}", slug(&lock.name));
    let told: Vec<Told<'_>> = groups.iter().flat_map(|group| &group.told).map(copied).collect();
    html! {
        section.lock id=(id) {
            h2 { (lock.name) " " (verdict_mark(Some(lock.judgement.verdict))) }
            p.dim {
                "Algorithm " b { (lock.algorithm) } " on " (lock.history.header.nodes) " servers, "
                (lock.history.header.clients) " clients, " (lock.history.ops.len()) " ops in "
                (words::lasting(scene.end - crate::time::Nanos::ZERO)) "."
                @for (name, value) in &lock.settings { " " span.setting { (name) " " b { (value) } } }
            }
            @if let Some(what) = lock.cut_off() { p.notice.bad { b { "Not complete. " } (what) "." } }
            @if let Some(error) = &lock.error { p.notice.bad { b { "This trial ended early. " } (error) } }
            @if let Some(note) = no_token(lock, scene) { p.notice { b { "Why fencing cannot help here. " } (note) } }
            (checks(lock))
            h3 { "Violations" }
            @if groups.is_empty() {
                p { @if lock.judgement.checks.is_empty() { "No check ran." } @else { "None was found." } }
            }
            @for group in &groups { (violations(scene, group)) }
            h3 { "The whole run" }
            (timeline::overview(scene, &all, &told, &format!("{id}-run")))
            h3 { "What waiting for the lock cost" }
            (plots::acquire_latency(scene, span))
            @if scene.acquires().next().is_some() {
                p.chart-key {
                    "Each acquire at the time it was asked for:"
                    span.swatch.granted {} "granted" span.cross { "×" } "not granted, or in doubt"
                    span.swatch.pause {} "a pause" span.swatch.partition {} "a partition"
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

/// A part of an `id`: what a lock is named may hold anything.
pub(super) fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn copied<'a>(told: &Told<'a>) -> Told<'a> {
    Told { number: told.number, anchor: told.anchor.clone(), violation: told.violation }
}

/// Sorts the violations: the worst first, then by check; numbered in the order of the page.
fn groups(lock: &LockReport) -> Vec<Group<'_>> {
    let mut sorted: BTreeMap<_, Vec<&Violation>> = BTreeMap::new();
    for result in &lock.judgement.checks {
        for violation in &result.violations {
            let key = (std::cmp::Reverse(violation.severity), result.check, result.guarantee.as_str());
            sorted.entry(key).or_default().push(violation);
        }
    }
    let mut number = 0;
    let groups = sorted.into_iter().map(|((severity, check, guarantee), violations)| {
        let told = chosen(&violations).into_iter().map(|violation| {
            number += 1;
            Told { number, anchor: format!("{}-{number}", slug(&lock.name)), violation }
        });
        let told: Vec<Told<'_>> = told.collect();
        Group { severity: severity.0, check, guarantee, untold: violations.len() - told.len(), told }
    });
    groups.collect()
}

/// Which to tell, in the order of time: one late release overlaps with every hold that follows, so the first of each
/// cause (the op that the evidence starts with) goes before further ones of the same.
fn chosen<'a>(violations: &[&'a Violation]) -> Vec<&'a Violation> {
    let mut causes = BTreeSet::new();
    let (firsts, others): (Vec<_>, Vec<_>) =
        violations.iter().partition(|violation| violation.ops.first().is_none_or(|op| causes.insert(*op)));
    let mut chosen: Vec<&Violation> = firsts.into_iter().chain(others).take(TOLD).collect();
    chosen.sort_by_key(|violation| (violation.from, violation.to));
    chosen
}

/// Why a resource that fences cannot fence: nothing was ever given to it to compare.
fn no_token(lock: &LockReport, scene: &Scene<'_>) -> Option<String> {
    let fencing = lock.history.header.fencing.as_str();
    // `cas` compares what was read, not tokens: it works for every lock.
    if !matches!(fencing, "write" | "access") || scene.holds.is_empty() || scene.gives_tokens() {
        return None;
    }
    let asks = format!(
        "The resource was told to fence (“{fencing}”), but none of the {} grants carried a fencing token",
        scene.holds.len()
    );
    Some(if lock.algorithm == "redlock" {
        format!(
            "{asks}: Redlock as published gives none. Its random owner token proves who may release, but has no order, \
             so the resource had nothing to compare and served every access, however late."
        )
    } else {
        format!("{asks}: this lock gives none, so the resource had nothing to compare and served every access.")
    })
}

fn checks(lock: &LockReport) -> Markup {
    html! {
        table.checks {
            thead { tr { th { "check" } th { "verdict" } th { "result" } } }
            tbody {
                @for result in &lock.judgement.checks {
                    @let cell = Cell::of(lock, result.check);
                    tr class=[cell.unmet().then_some("unmet")] {
                        td { b { (result.check) } }
                        td { (verdict_mark(cell.verdict)) (expectation_mark(&cell)) }
                        td {
                            (result.summary)
                            p.guarantee { "Guarantee: " (result.guarantee) }
                            p.figures {
                                @for (name, value) in &result.figures {
                                    @let (name, value) = words::figure(name, *value);
                                    span { (name) " " b { (value) } } " "
                                }
                            }
                        }
                    }
                }
                @for expectation in lock.expectations.iter().filter(|expectation| expectation.reached.is_none()) {
                    tr.unmet {
                        td { b { (expectation.check) } }
                        td { (verdict_mark(None)) (expectation_mark(&Cell::of(lock, expectation.check))) }
                        td { "This check was expected to say " b { (expectation.expected) } ", but it did not run." }
                    }
                }
            }
        }
    }
}

fn violations(scene: &Scene<'_>, group: &Group<'_>) -> Markup {
    let count = group.told.len() + group.untold;
    html! {
        div.group {
            h4 {
                @if let Some(name) = group.severity.map(words::severity) {
                    span class={ "severity " (name) } { (name) } " "
                }
                (group.check) ": "
                (count) @if count == 1 { " violation" } @else { " violations listed" }
            }
            p.dim {
                @match group.severity {
                    Some(severity) => (words::meaning(group.check, severity)),
                    None => { "Broken guarantee: " (group.guarantee) },
                }
            }
            @for (index, told) in group.told.iter().enumerate() {
                details.violation id=(told.anchor) open[index == 0] {
                    summary {
                        span.flag-number { (told.number) } " " (told.violation.text)
                    }
                    (excerpt::pictures(scene, told.violation))
                    (excerpt::ops(scene, told.violation))
                }
            }
            @if group.untold > 0 {
                p.dim { "and " (group.untold) " more of this kind in " code { (VERDICT) } "." }
            }
        }
    }
}

fn latencies(scene: &Scene<'_>) -> Markup {
    let granted = scene.acquires().filter(|span| span.outcome() == crate::history::OpType::Ok);
    let accesses = scene.spans.iter().filter(|span| matches!(span.invoke.f, F::Read | F::Write));
    let releases = scene.spans.iter().filter(|span| span.invoke.f == F::Release);
    let rows = [
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

/// What came of a lock's trial, in a few sentences: each broken guarantee by the check's own summary.
pub(super) fn outcome(lock: &LockReport) -> Markup {
    let of = |verdict| lock.judgement.checks.iter().filter(move |result| result.verdict == verdict);
    let told = of(Verdict::Invalid)
        .map(|result| (result, "broken"))
        .chain(of(Verdict::Unknown).map(|result| (result, "undecided")));
    let told: Vec<_> = told.collect();
    html! {
        @for (result, what) in &told {
            b { (result.check) " " (what) ":" } " " (result.summary.trim_end_matches('.')) ". "
        }
        @if lock.judgement.checks.is_empty() {
            "no check ran."
        } @else if told.is_empty() {
            "every guarantee that was checked held in this run."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_worst_comes_first_and_the_rest_is_counted() {
        let mut report = sample::report();
        let lock = &mut report.locks[0];
        let overlaps = &mut lock.judgement.checks[1].violations;
        let one = overlaps[0].clone();
        overlaps.resize(25, one);
        let groups = groups(lock);
        assert_eq!(
            groups.iter().map(|group| group.severity).collect::<Vec<_>>(),
            [Some(Severity::Effect), Some(Severity::Belief)]
        );
        assert_eq!((groups[1].told.len(), groups[1].untold), (TOLD, 15));
        assert_eq!(groups[1].told[0].number, 2, "numbers go on from group to group");
        let scene = Scene::of(&lock.history);
        assert!(section(lock, &scene, (1.0, 10.0)).into_string().contains("and 15 more of this kind"));
    }

    #[test]
    fn only_overlaps_and_their_effects_have_a_severity() {
        let mut report = sample::report();
        let lock = &mut report.locks[0];
        let result =
            lock.judgement.checks.iter_mut().find(|result| result.check == CheckName::MutualExclusion).unwrap();
        result.check = CheckName::Liveness;
        result.guarantee = "Whoever waits is served.".to_owned();
        result.violations.iter_mut().for_each(|violation| violation.severity = None);
        let page = section(lock, &Scene::of(&lock.history), (1.0, 10.0)).into_string();
        let (effects, others) = page.split_once("Broken guarantee: Whoever waits is served.").unwrap();
        assert!(effects.contains("severity effect") && !page.contains("severity belief"), "{page}");
        assert!(!others.contains("believed to be held twice"), "{others}");
    }

    #[test]
    fn says_why_a_lock_without_tokens_cannot_be_fenced() {
        let report = sample::report();
        let note = |lock: &LockReport| no_token(lock, &Scene::of(&lock.history));
        assert!(note(&report.locks[0]).unwrap().contains("Redlock as published gives none"));
        assert_eq!(note(&report.locks[1]), None, "zookeeper gives tokens");
        let mut cas = report.locks[0].clone();
        cas.history.header.fencing = "cas".to_owned();
        assert_eq!(note(&cas), None, "cas needs no token");
    }

    #[test]
    fn tells_something_of_every_cause() {
        let violation = |cause: u32, from: u64| Violation {
            severity: Some(Severity::Belief),
            text: String::new(),
            ops: vec![cause],
            from: crate::time::Nanos(from),
            to: crate::time::Nanos(from),
        };
        let all: Vec<Violation> = (0..40).map(|at| violation(if at < 30 { 1 } else { 2 }, at)).collect();
        let told: Vec<u64> = chosen(&all.iter().collect::<Vec<_>>()).iter().map(|violation| violation.from.0).collect();
        assert_eq!(told, [0, 1, 2, 3, 4, 5, 6, 7, 8, 30]);
    }

    #[test]
    fn names_become_ids() {
        assert_eq!(slug("redlock 5\"s"), "redlock_5_s");
    }
}
