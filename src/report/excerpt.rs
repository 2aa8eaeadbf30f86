//! One violation, close up: the ops that show it as numbered rows, and the same numbers in a picture of its time.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::lanes::{Heights, LEFT, LETTER, Lanes, Scale, WIDTH, bands, expired, hold_title, n};
use super::scene::{Scene, Served, Span};
use super::words;
use crate::check::Violation;
use crate::history::{F, Hold, Op, OpType};
use crate::ids::{ClientId, HoldId};
use crate::time::Nanos;

/// How many ops of a violation are shown; a lost update can be the last of hundreds.
const OPS: usize = 12;
/// How much of the violation's time is shown before and after it.
const MARGIN: f64 = 0.25;
/// The least that is shown before and after, in nanoseconds: a violation may be an instant.
const LEAST_MARGIN: u64 = 5_000_000;
/// A violation that takes less than this share of its picture is drawn a second time, closer.
const TINY: f64 = 0.15;

/// The ops of a violation, numbered as in the picture.
pub(super) fn ops(scene: &Scene<'_>, violation: &Violation) -> Markup {
    let ops = shown(scene, violation);
    let Some(first) = ops.first() else { return html! {} };
    let more = violation.ops.len().saturating_sub(ops.len());
    html! {
        table.ops {
            thead { tr {
                th { "#" } th.number { "time" } th.number { "from #1" } th { "who" } th { "what" } th { "details" }
                th.number { "op" }
            } }
            tbody {
                @for (number, op) in ops.iter().enumerate() {
                    tr {
                        td { span.badge { (number + 1) } }
                        td.number { (op.time) }
                        td.number { @if number > 0 { (words::relative(op.time, first.time)) } }
                        td { b { (words::who(op)) } }
                        td { (words::what(op)) }
                        td.dim { (words::details(op)) }
                        td.number.dim { (op.index) }
                    }
                }
            }
        }
        @if more > 0 { p.dim { "and " (more) " more ops; their indices stand in verdict.json." } }
    }
}

fn shown<'a>(scene: &Scene<'a>, violation: &Violation) -> Vec<&'a Op> {
    violation.ops.iter().filter_map(|index| scene.op(*index)).take(OPS).collect()
}

/// The time to show: the violation, its ops and the holds that they belong to, and a margin.
fn window(scene: &Scene<'_>, violation: &Violation, holds: &[&Hold]) -> (Nanos, Nanos) {
    let ops = shown(scene, violation);
    let instants = ops.iter().map(|op| op.time).chain([violation.from, violation.to]);
    let from = instants.clone().chain(holds.iter().map(|hold| hold.from)).min().unwrap_or_default();
    let to = instants.chain(holds.iter().map(|hold| hold.to)).max().unwrap_or_default();
    let margin = (((to.0 - from.0) as f64 * MARGIN) as u64).max(LEAST_MARGIN);
    (Nanos(from.0.saturating_sub(margin)), Nanos(to.0 + margin).min(scene.end).max(Nanos(from.0 + 1)))
}

/// The pictures of a violation: its holds from end to end, and, where it is too short to be seen so, a close-up.
pub(super) fn pictures(scene: &Scene<'_>, violation: &Violation) -> Markup {
    let ids: BTreeSet<&HoldId> = shown(scene, violation).iter().filter_map(|op| op.hold.as_ref()).collect();
    let involved: Vec<&Hold> = scene.holds.iter().filter(|hold| ids.contains(&hold.id)).collect();
    let whole = window(scene, violation, &involved);
    let lasted = violation.to.0.saturating_sub(violation.from.0);
    let tiny = lasted > 0 && (lasted as f64) < TINY * (whole.1.0 - whole.0.0) as f64;
    html! {
        figure.excerpt { (picture(scene, violation, &ids, whole)) }
        @if tiny {
            @let margin = ((lasted as f64 * MARGIN) as u64).max(1);
            @let close = (Nanos(violation.from.0.saturating_sub(margin)), Nanos(violation.to.0 + margin));
            figure.excerpt {
                figcaption { "The same, closer: the " (words::lasting(violation.to - violation.from)) " of the violation." }
                (picture(scene, violation, &ids, close))
            }
        }
    }
}

fn picture(scene: &Scene<'_>, violation: &Violation, ids: &BTreeSet<&HoldId>, (from, to): (Nanos, Nanos)) -> Markup {
    let mut ops = shown(scene, violation);
    let numbers: Vec<usize> = (1..=ops.len()).filter(|number| (from..=to).contains(&ops[number - 1].time)).collect();
    ops.retain(|op| (from..=to).contains(&op.time));
    let scale = Scale::of_picture(from, to);
    let heights = Heights { top: 26.0, lane: 46.0, bar: (15.0, 33.0), servers: 24.0, resource: 42.0 };
    let lanes = Lanes::new(scene, heights);
    let height = lanes.bottom + 44.0;
    let (breach, breach_width) = scale.bar(violation.from, violation.to, 1.5);
    html! {
        svg.timeline viewBox=(format!("0 0 {WIDTH} {}", n(height))) role="img" aria-label="timeline of the violation" {
            (lanes.ground(WIDTH))
            (fault_bands(scene, &lanes, &scale))
            rect.breach x=(n(breach)) y=(n(heights.top)) width=(n(breach_width)) height=(n(lanes.bottom - heights.top)) {
                title { (violation.text) }
            }
            @for span in scene.spans.iter().filter(|span| scale.shows(span.invoke.time, span.to)) {
                @let involved = span.invoke.hold.as_ref().is_some_and(|hold| ids.contains(hold));
                (operation(span, involved, &lanes, &scale))
            }
            @for hold in scene.holds.iter().filter(|hold| scale.shows(hold.from, hold.to)) {
                (bar(hold, ids.is_empty() || ids.contains(&hold.id), &lanes, &scale))
            }
            @for signal in scene.signals.iter().filter(|op| scale.shows(op.since.unwrap_or(op.time), op.time)) {
                @if let Some(client) = signal.client { (self::signal(signal, client, &lanes, &scale)) }
            }
            (accesses(scene, ids, &lanes, &scale))
            (badges(&ops, &numbers, &lanes, &scale))
            (extent(violation, &lanes, &scale))
            g.axis transform=(format!("translate(0 {})", n(lanes.bottom + 18.0))) {
                line x1=(n(scale.x(from))) x2=(n(scale.right())) y1="0" y2="0" {}
                @for (at, label) in scale.ticks() {
                    g transform=(format!("translate({} 0)", n(scale.x(at)))) { line y2="5" {} text y="18" { (label) } }
                }
            }
        }
    }
}

fn fault_bands(scene: &Scene<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let shown = bands(scene).into_iter().filter(|band| scale.shows(band.from, band.to));
    html! {
        @for band in shown {
            @let (x, width) = scale.bar(band.from, band.to, 1.0);
            @let (y, height) = lanes.of(band.member);
            @let peers = band.cut_off().map(|peers| format!(" from {peers}")).unwrap_or_default();
            @let text = format!("{}{peers}", band.label());
            rect class={ "band " (band.strike.class()) } x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) {
                title { (band.title()) }
            }
            @if width > LETTER * text.chars().count() as f64 + 6.0 {
                text class={ "band-name " (band.strike.class()) } x=(n(x + 4.0)) y=(n(y + 11.0)) { (text) }
            }
        }
    }
}

/// A client's operation from invocation to completion: waiting and releasing in the bar's place, accesses under it.
/// Only what belongs to the violation gets letters and hover texts: there may be hundreds of others around it.
fn operation(span: &Span<'_>, involved: bool, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let (x, width) = scale.bar(span.invoke.time, span.to, 1.5);
    let (bar_top, bar_end) = lanes.heights.bar;
    let lane = lanes.client(span.client);
    let middle = lane + (bar_top + bar_end) / 2.0 - 2.5;
    let (y, height, class, letter) = match span.invoke.f {
        F::Acquire => (middle, 5.0, "wait", None),
        F::Release => (middle, 5.0, "releasing", None),
        F::Read => (lane + bar_end + 2.0, 4.0, "access", Some("R")),
        _ => (lane + bar_end + 2.0, 4.0, "access", Some("W")),
    };
    let outcome = match span.outcome() {
        OpType::Ok => "",
        OpType::Fail => " failed",
        OpType::Info | OpType::Invoke => " doubtful",
    };
    html! {
        rect class={ (class) (outcome) } x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) {
            @if involved {
                title {
                    (span.client) " " (span.invoke.f) ", " (words::lasting(span.took())) ": " (words::line(span.invoke))
                    @if let Some(completion) = span.completion { " → " (words::line(completion)) }
                }
            }
        }
        // The letter stands left of its bar, where the lane's own name leaves room for it.
        @if let Some(letter) = letter.filter(|_| involved && x > LEFT + LETTER * 2.0) {
            text.access-name x=(n(x - 2.0)) y=(n(lane + bar_end + 9.0)) { (letter) }
        }
    }
}

fn bar(hold: &Hold, involved: bool, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let (bar_top, bar_end) = lanes.heights.bar;
    let (x, width) = scale.bar(hold.from, hold.clipped_to(), 1.0);
    let (y, height) = (lanes.client(hold.client) + bar_top, bar_end - bar_top);
    let token = hold.token.map(|token| format!(" · token {token}")).unwrap_or_default();
    let names = [format!("{}{token}", hold.id), hold.id.to_string(), String::new()];
    let fits = |name: &&String| LETTER * name.chars().count() as f64 + 8.0 < width;
    let class = if involved { "hold" } else { "hold bystander" };
    html! {
        @if scale.shows(hold.from, hold.clipped_to()) {
            rect class=(class) x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) { title { (hold_title(hold)) } }
        }
        @if let Some((from, to)) = expired(hold).filter(|(from, to)| scale.shows(*from, *to)) {
            @let (x, width) = scale.bar(from, to, 1.0);
            rect.expired x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) fill="url(#expired)" {
                title { (hold_title(hold)) }
            }
            @let texts = [format!("{}: validity over", hold.id), "validity over".to_owned()];
            @if let Some(text) = texts.iter().find(|text| LETTER * text.len() as f64 + 10.0 < width) {
                text.expired-name x=(n(x + 5.0)) y=(n(y + 13.0)) { (text) }
            }
        }
        @if let Some(name) = names.iter().find(fits) {
            text.hold-name x=(n(x + 4.0)) y=(n(y + 13.0)) { (name) }
        }
    }
}

fn signal(signal: &Op, client: ClientId, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let (bar_top, bar_end) = lanes.heights.bar;
    let lane = lanes.client(client);
    let x = scale.x(signal.time);
    match signal.since {
        Some(since) => {
            let (x, width) = scale.bar(since, signal.time, 1.0);
            html! {
                path.stall-mark d=(format!("M{} {}v4h{}v-4", n(x), n(lane + bar_end + 7.0), n(width))) {
                    title { (words::line(signal)) }
                }
            }
        }
        None => {
            let middle = lane + (bar_top + bar_end) / 2.0;
            html! {
                path.lost-mark d=(format!("M{} {}l10 10m-10 0l10 -10", n(x - 5.0), n(middle - 5.0))) {
                    title { (words::line(signal)) }
                }
            }
        }
    }
}

/// The resource's lane: reads are circles above, writes are diamonds below; filled when accepted, hollow when refused.
fn accesses(scene: &Scene<'_>, ids: &BTreeSet<&HoldId>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let mut shown: Vec<_> = scene.served.iter().filter(|access| scale.shows(access.op.time, access.op.time)).collect();
    // What matters most lies on top.
    shown.sort_by_key(|access| (access.stale, access.op.hold.as_ref().is_some_and(|hold| ids.contains(hold))));
    html! {
        @for access in shown {
            @let involved = access.op.hold.as_ref().is_some_and(|hold| ids.contains(hold));
            (self::access(access, involved, lanes, scale))
        }
    }
}

fn access(access: &Served<'_>, involved: bool, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let x = scale.x(access.op.time);
    let read = access.op.f == F::Read;
    let y = lanes.resource + if read { 12.0 } else { 29.0 };
    let stale = if access.stale { " stale" } else { "" };
    let taken = if access.accepted() { "accepted" } else { "refused" };
    let class = format!("{taken}{stale}{}", if involved || access.stale { "" } else { " bystander" });
    let title =
        (involved || access.stale).then(|| html! { title { @if access.stale { "stale: " } (words::line(access.op)) } });
    html! {
        @if let Some(client) = access.op.client.filter(|_| access.stale) {
            line.reach x1=(n(x)) x2=(n(x)) y1=(n(lanes.client(client) + lanes.heights.bar.1)) y2=(n(y)) {}
        }
        @if read {
            circle class=(class) cx=(n(x)) cy=(n(y)) r="4.2" { @if let Some(title) = &title { (title) } }
        } @else {
            path class=(class) d=(format!("M{} {}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", n(x), n(y - 5.5))) {
                @if let Some(title) = &title { (title) }
            }
        }
    }
}

/// The ops' numbers above the lanes, pushed apart where they would overlap, each with a line to its instant.
fn badges(ops: &[&Op], numbers: &[usize], lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let places: Vec<f64> = ops.iter().map(|op| scale.x(op.time)).collect();
    let moved = apart(&places, 17.0, scale.right());
    html! {
        @for ((op, number), (at, x)) in ops.iter().zip(numbers).zip(places.iter().zip(moved)) {
            @let y = op.client.map_or(lanes.bottom, |client| lanes.client(client) + lanes.heights.bar.0);
            g.mark {
                path d=(format!("M{} 19L{} 26V{}", n(x), n(*at), n(y))) {}
                circle cx=(n(x)) cy="11" r="8" { title { (words::line(op)) } }
                text x=(n(x)) y="15" { (number) }
            }
        }
    }
}

/// Moves places at least `gap` apart, in their order, none beyond `right`.
fn apart(places: &[f64], gap: f64, right: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut moved = places.to_vec();
    let mut least = f64::NEG_INFINITY;
    for index in &order {
        moved[*index] = moved[*index].max(least);
        least = moved[*index] + gap;
    }
    let mut most = right;
    for index in order.iter().rev() {
        moved[*index] = moved[*index].min(most);
        most = moved[*index] - gap;
    }
    moved
}

/// How long the violation lasted, between the lanes and the axis.
fn extent(violation: &Violation, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    if violation.from >= violation.to {
        return html! {};
    }
    let (x, width) = scale.bar(violation.from, violation.to, 1.0);
    let text = words::lasting(violation.to - violation.from);
    // The text stands in the middle, but never outside of the picture.
    let half = LETTER * text.chars().count() as f64 / 2.0 + 4.0;
    let middle = (x + width / 2.0).clamp(scale.x(Nanos::ZERO) + half, scale.right() - half);
    let y = lanes.bottom + 8.0;
    html! {
        g.extent {
            path d=(format!("M{} {}v8m0 -4h{}m0 -4v8", n(x), n(y - 4.0), n(width))) {}
            rect x=(n(middle - half)) y=(n(y - 7.0)) width=(n(2.0 * half)) height="14" rx="3" {}
            text x=(n(middle)) y=(n(y + 4.0)) { (text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn shows_both_holds_whole_and_marks_their_ops() {
        let report = sample::report();
        let lock = &report.locks[0];
        let scene = Scene::of(&lock.history);
        let violation = &words::result(lock, crate::check::CheckName::MutualExclusion).unwrap().violations[0];
        let involved: Vec<&Hold> = scene.holds.iter().filter(|hold| hold.client != ClientId(1)).collect();
        let (from, to) = window(&scene, violation, &involved);
        assert_eq!((from, to), (Nanos::ZERO, scene.end), "2.6 s and a quarter of it on each side, where there is any");
        let svg = pictures(&scene, violation).into_string();
        assert!(svg.contains(">c2-1</text>") && svg.contains(">c2-1: validity over</text>"), "{svg}");
        assert!(svg.contains("40.0 ms"), "how long both held it: {svg}");
        let (whole, close) =
            svg.split_once("The same, closer: the 40.0 ms").expect("40 ms of 2.9 s need a closer look");
        assert_eq!(whole.matches("class=\"mark\"").count(), violation.ops.len());
        assert_eq!(close.matches("class=\"mark\"").count(), 2, "the first grant was long before");
        let table = ops(&scene, violation).into_string();
        assert!(table.contains("is granted the lock") && table.contains("is told that the lock is lost"), "{table}");
    }

    #[test]
    fn stale_accesses_are_marked_filled_or_hollow() {
        let report = sample::report();
        let instant = |from, to| Violation {
            severity: Some(crate::check::Severity::Effect),
            text: "here".to_owned(),
            ops: Vec::new(),
            from: Nanos(from),
            to: Nanos(to),
        };
        let svg = |lock: usize| {
            pictures(&Scene::of(&report.locks[lock].history), &instant(2_700_000_000, 2_800_000_000)).into_string()
        };
        assert!(svg(0).contains("class=\"accepted stale\"") && svg(1).contains("class=\"refused stale\""));
    }

    #[test]
    fn numbers_never_overlap_nor_leave_the_picture() {
        assert_eq!(apart(&[10.0, 12.0, 100.0, 99.0], 17.0, 110.0), [10.0, 27.0, 110.0, 93.0]);
    }

    #[test]
    fn an_op_that_is_not_there_is_left_out() {
        let report = sample::empty();
        let scene = Scene::of(&report.locks[0].history);
        let violation = Violation {
            severity: Some(crate::check::Severity::Belief),
            text: String::new(),
            ops: vec![7, u32::MAX],
            from: Nanos::ZERO,
            to: Nanos::ZERO,
        };
        assert!(ops(&scene, &violation).into_string().is_empty());
        assert!(pictures(&scene, &violation).into_string().contains("<svg"));
    }
}
