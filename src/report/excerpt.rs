//! One incident, close up: its steps as a numbered list, and the same numbers in a drawing of its time.
//!
//! Who has nothing to do with it is drawn in outlines of one shape each: around an incident there may be hundreds of
//! others.

mod badges;
mod servers;

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use self::badges::badges;
use self::servers::servers;
use super::exhibit::{Exhibit, Step};
use super::lanes::{Heights, LEFT, LETTER, Lanes, Scale, WIDTH, bands, expired, hold_title, n};
use super::marks::Marks;
use super::scene::{self, Scene, Served, Span};
use super::words;
use crate::history::{F, Hold, Op, OpType};
use crate::ids::ClientId;
use crate::time::Nanos;

/// How much of the incident's time is shown before and after it.
const MARGIN: f64 = 0.25;
/// The least that is shown before and after, in nanoseconds: a violation may be an instant.
const LEAST_MARGIN: u64 = 5_000_000;
/// What happens within less than this share of its drawing is drawn a second time, closer.
const TINY: f64 = 0.15;
/// Above the lanes: the steps' numbers, and what leads from each to its instant.
const TOP: f64 = 34.0;
/// So many clients get a lane; of more, only those whom it is about.
const CLIENTS: usize = 8;

/// The steps, each with a link to its number in the drawing.
pub(super) fn steps(exhibit: &Exhibit<'_>) -> Markup {
    let first = exhibit.steps.first().map(|step| step.at);
    html! {
        @if !exhibit.meanwhile.is_empty() { p.dim { "In force meanwhile: " (exhibit.meanwhile.join("; ")) "." } }
        ol.steps {
            @for (number, step) in exhibit.steps.iter().enumerate() {
                li.breaks[step.breaks] id={ (exhibit.anchor) "-s" (number + 1) } {
                    a.badge href={ "#" (exhibit.anchor) "-m" (number + 1) }
                        aria-label={ "step " (number + 1) ", show in the drawing" } { (number + 1) }
                    span.at title=[first.filter(|_| number > 0).map(|first| words::relative(step.at, first))] { (step.at) }
                    span.told {
                        b { (step.who) } " " (step.what) "."
                        @if !step.details.is_empty() { " " span.dim { (step.details) } }
                        @if let Some(op) = step.op { span.dim.op { @if step.details.is_empty() { " " } @else { " · " } "op " (op.index) } }
                    }
                }
            }
        }
        @if exhibit.left_out > 0 {
            p.dim { "and " (exhibit.left_out) " more ops; their indices stand in verdict.json." }
        }
    }
}

/// The time to show: the incident, its steps and the holds that they belong to, and a margin.
fn window(scene: &Scene<'_>, exhibit: &Exhibit<'_>, holds: &[&Hold]) -> (Nanos, Nanos) {
    let instants = exhibit.steps.iter().map(|step| step.at).chain([exhibit.from, exhibit.to]);
    let from = instants.clone().chain(holds.iter().map(|hold| hold.from)).min().unwrap_or_default();
    let to = instants.chain(holds.iter().map(|hold| hold.to)).max().unwrap_or_default();
    let margin = (((to.0 - from.0) as f64 * MARGIN) as u64).max(LEAST_MARGIN);
    (Nanos(from.0.saturating_sub(margin)), Nanos(to.0 + margin).min(scene.end).max(Nanos(from.0 + 1)))
}

/// The drawings of an incident: its holds from end to end, and, where what was broken is too short to be seen so, a
/// close-up.
pub(super) fn drawings(scene: &Scene<'_>, exhibit: &Exhibit<'_>) -> Markup {
    let involved: Vec<&Hold> = scene.holds.iter().filter(|hold| exhibit.holds.contains(&hold.id)).collect();
    let whole = window(scene, exhibit, &involved);
    let clients = shown(scene, exhibit, &involved, whole);
    let others = scene.clients.len() - clients.len();
    let close = crowd(exhibit).filter(|(from, to)| ((to.0 - from.0) as f64) < TINY * (whole.1.0 - whole.0.0) as f64);
    html! {
        figure.excerpt tabindex="0" { (drawing(scene, exhibit, &clients, whole, true)) }
        @if let Some((from, to)) = close {
            @let margin = (((to.0 - from.0) as f64 * MARGIN) as u64).max(LEAST_MARGIN / 10);
            @let around = (Nanos(from.0.saturating_sub(margin)), Nanos(to.0 + margin));
            figure.excerpt tabindex="0" {
                figcaption { "The same, closer: the " (words::lasting(to - from)) " in which most of it happened." }
                (drawing(scene, exhibit, &clients, around, false))
            }
        }
        @if others > 0 {
            p.dim { (words::counted(others as u64, "other client has", "other clients have")) " no lane here." }
        }
    }
}

/// When it all happened: the time of what was broken, if it is an instant's, or else the shortest time with half of the
/// steps.
fn crowd(exhibit: &Exhibit<'_>) -> Option<(Nanos, Nanos)> {
    let steps = &exhibit.steps;
    let few = steps.len().div_ceil(2).max(4);
    let crowded = steps.windows(few).map(|steps| (steps[0].at, steps[few - 1].at));
    let broken = Some((exhibit.from, exhibit.to)).filter(|(from, to)| from < to);
    broken.into_iter().chain(crowded).min_by_key(|(from, to)| *to - *from)
}

/// Who gets a lane: all, if they are few; else whom it is about, and who held the lock in that time.
fn shown(scene: &Scene<'_>, exhibit: &Exhibit<'_>, involved: &[&Hold], (from, to): (Nanos, Nanos)) -> Vec<ClientId> {
    if scene.clients.len() <= CLIENTS {
        return scene.clients.clone();
    }
    let steps = exhibit.steps.iter().filter_map(|step| step.client);
    let mut clients: BTreeSet<ClientId> = involved.iter().map(|hold| hold.client).chain(steps).collect();
    for hold in scene.holds.iter().filter(|hold| hold.from <= to && hold.to >= from) {
        if clients.len() >= CLIENTS {
            break;
        }
        clients.insert(hold.client);
    }
    clients.into_iter().collect()
}

fn drawing(
    scene: &Scene<'_>,
    exhibit: &Exhibit<'_>,
    clients: &[ClientId],
    (from, to): (Nanos, Nanos),
    leads_here: bool,
) -> Markup {
    let numbered: Vec<(usize, &Step<'_>)> =
        (1..).zip(&exhibit.steps).filter(|(_, step)| (from..=to).contains(&step.at)).collect();
    let scale = Scale::of_picture(from, to);
    let heights = Heights { top: TOP, lane: 46.0, bar: (15.0, 33.0), servers: 20.0, resource: 42.0 };
    let lanes = Lanes::of_some(scene, heights, clients.to_vec());
    let height = lanes.bottom + 44.0;
    let (breach, breach_width) = scale.bar(exhibit.from, exhibit.to, 1.5);
    let is_theirs = |hold: &crate::ids::HoldId| exhibit.holds.contains(hold);
    let is_all = exhibit.holds.is_empty();
    let (theirs, others): (Vec<&Span<'_>>, Vec<&Span<'_>>) = scene
        .spans
        .iter()
        .filter(|span| lanes.has(span.client) && scale.shows(span.invoke.time, span.to))
        .partition(|span| span.invoke.hold.as_ref().is_some_and(is_theirs));
    let (held, other_holds): (Vec<&Hold>, Vec<&Hold>) = scene
        .holds
        .iter()
        .filter(|hold| lanes.has(hold.client) && scale.shows(hold.from, hold.to))
        .partition(|hold| is_all || is_theirs(&hold.id));
    let label = format!(
        "drawing from {from} to {to}; its numbers are those of the steps: {}",
        numbered.iter().map(|(number, step)| format!("{number} {}", step.who)).collect::<Vec<_>>().join(", ")
    );
    let drawn = html! {
            (lanes.ground(WIDTH, false))
            (fault_bands(scene, &lanes, &scale))
            rect.breach x=(n(breach)) y=(n(heights.top)) width=(n(breach_width)) height=(n(lanes.bottom - heights.top)) {
                title { "broken from " (exhibit.from) " to " (exhibit.to) }
            }
            (outlines(&others, &lanes, &scale))
            (operations(&theirs, &lanes, &scale))
            (other_bars(&other_holds, &lanes, &scale))
            @for hold in &held { (bar(hold, &lanes, &scale)) }
            @for signal in scene.signals.iter().filter(|op| scale.shows(op.since.unwrap_or(op.time), op.time)) {
                @if let Some(client) = signal.client.filter(|client| lanes.has(*client)) {
                    (self::signal(signal, client, &lanes, &scale))
                }
            }
            (servers(scene, exhibit, &lanes, &scale))
            (accesses(scene, exhibit, &lanes, &scale))
            (badges(exhibit, &numbered, &lanes, &scale, leads_here))
            (extent(exhibit, &lanes, &scale))
            g.axis transform=(format!("translate(0 {})", n(lanes.bottom + 18.0))) {
                line x1=(n(scale.x(from))) x2=(n(scale.right())) y1="0" y2="0" {}
                (ticks(&scale))
            }
    };
    let view = format!("0 0 {WIDTH} {}", n(height));
    html! {
        svg.timeline viewBox=(view) role="group" aria-label=(label) data-scene=(scene.history.header.lock)
            data-patterns=(scene.patterns.fresh()) { (drawn) }
    }
}

/// The labels of the time axis.
fn ticks(scale: &Scale) -> Markup {
    let mut strokes = Marks::still();
    for (at, _) in scale.ticks() {
        strokes.upright(scale.x(at), 0.0, 5.0);
    }
    html! {
        (strokes.uprights("ticks"))
        text y="18" { @for (at, label) in scale.ticks() { tspan x=(n(scale.x(at))) { (label) } } }
    }
}

fn fault_bands(scene: &Scene<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let shown =
        bands(scene).into_iter().filter(|band| scale.shows(band.from, band.to) && lanes.has_member(band.member));
    html! {
        @for band in shown {
            @let (x, width) = scale.bar(band.from, band.to, 1.0);
            @let (y, height) = lanes.of(band.member);
            @let peers = band.cut_off().map(|peers| format!(" from {peers}")).unwrap_or_default();
            @let text = format!("{}{peers}", band.label());
            rect class={ "band " (scene::colour(band.strike).class()) } x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) {
                title { (band.title()) }
            }
            @if width > LETTER * text.chars().count() as f64 + 6.0 {
                text class={ "band-name " (scene::colour(band.strike).class()) } x=(n(x + 4.0)) y=(n(y + 11.0)) { (text) }
            }
        }
    }
}

/// Where a client's operation lies, and what it is drawn as: waiting and releasing in the bar's place, accesses under
/// it.
fn place(span: &Span<'_>, lanes: &Lanes<'_>) -> (f64, f64, &'static str, Option<&'static str>) {
    let (bar_top, bar_end) = lanes.heights.bar;
    let lane = lanes.client(span.client);
    let middle = lane + (bar_top + bar_end) / 2.0 - 2.5;
    match span.invoke.f {
        F::Acquire => (middle, 5.0, "wait", None),
        F::Release => (middle, 5.0, "releasing", None),
        F::Read => (lane + bar_end + 2.0, 4.0, "access", Some("R")),
        _ => (lane + bar_end + 2.0, 4.0, "access", Some("W")),
    }
}

/// The kinds of operations that [`place`] tells apart.
const KINDS: [&str; 3] = ["wait", "releasing", "access"];

/// The operations that belong to the incident: of each kind those that came off as one path.
fn operations(spans: &[&Span<'_>], lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let header = &lanes.scene.history.header;
    let (came_off, others): (Vec<&Span<'_>>, Vec<&Span<'_>>) =
        spans.iter().partition(|span| span.outcome() == OpType::Ok);
    let title = |span: &Span<'_>| {
        let completion = span.completion.map(|op| format!(" → {}", words::line(header, op))).unwrap_or_default();
        let (took, invoked) = (words::lasting(span.took()), words::line(header, span.invoke));
        format!("{} {}, {took}: {invoked}{completion}", span.client, span.invoke.f)
    };
    html! {
        @for kind in KINDS { (bars(&came_off, kind, lanes, scale, Some(&title))) }
        @for span in others {
            @let (x, width) = scale.bar(span.invoke.time, span.to, 1.5);
            @let (y, height, class, _) = place(span, lanes);
            @let outcome = if span.outcome() == OpType::Fail { "failed" } else { "doubtful" };
            rect class={ (class) " " (outcome) } x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) { title { (title(span)) } }
        }
        // The letter stands left of its bar, where the lane's own name leaves room for it.
        @for span in spans {
            @let x = scale.x(span.invoke.time);
            @if let Some(letter) = place(span, lanes).3.filter(|_| x > LEFT + LETTER * 2.0) {
                text.access-name x=(n(x - 2.0)) y=(n(lanes.client(span.client) + lanes.heights.bar.1 + 9.0)) { (letter) }
            }
        }
    }
}

/// The operations of others.
fn outlines(spans: &[&Span<'_>], lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    html! { @for kind in KINDS { (bars(spans, kind, lanes, scale, None)) } }
}

/// Operations of one kind, as one path.
fn bars(
    spans: &[&Span<'_>],
    kind: &str,
    lanes: &Lanes<'_>,
    scale: &Scale,
    title: Option<&dyn Fn(&Span<'_>) -> String>,
) -> Markup {
    let mut bars = Marks::still();
    let mut thick = 0.0;
    let mut of_kind: Vec<&Span<'_>> = spans.iter().copied().filter(|span| place(span, lanes).2 == kind).collect();
    of_kind.sort_by_key(|span| (span.client, span.invoke.time));
    for span in of_kind {
        let (y, height, ..) = place(span, lanes);
        thick = height;
        bars.bar(scale.bar(span.invoke.time, span.to, 1.5), y + height / 2.0);
        if let Some(title) = title {
            bars.says(title(span));
        }
    }
    bars.bars(kind, thick, &lanes.scene.patterns)
}

/// The holds of others, one shape for all.
fn other_bars(holds: &[&Hold], lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let (bar_top, bar_end) = lanes.heights.bar;
    let mut holds = holds.to_vec();
    holds.sort_by_key(|hold| (hold.client, hold.from));
    let mut valid = Marks::still();
    for hold in &holds {
        let middle = lanes.client(hold.client) + (bar_top + bar_end) / 2.0;
        valid.bar(scale.bar(hold.from, hold.clipped_to(), 1.0), middle);
    }
    let over = holds.iter().filter_map(|hold| Some((hold, expired(hold)?)));
    let over = over.filter(|(_, (from, to))| scale.shows(*from, *to)).map(|(hold, (from, to))| {
        let (x, width) = scale.bar(from, to, 1.0);
        let (y, height) = (lanes.client(hold.client) + bar_top, bar_end - bar_top);
        format!("M{} {}h{}v{}h-{}z", n(x), n(y), n(width), n(height), n(width))
    });
    let over: String = over.collect();
    html! {
        (valid.bars("hold bystander", bar_end - bar_top, &lanes.scene.patterns))
        @if !over.is_empty() { path.expired d=(over) fill="url(#expired)" {} }
    }
}

fn bar(hold: &Hold, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let header = &lanes.scene.history.header;
    let (bar_top, bar_end) = lanes.heights.bar;
    let (x, width) = scale.bar(hold.from, hold.clipped_to(), 1.0);
    let (y, height) = (lanes.client(hold.client) + bar_top, bar_end - bar_top);
    let token = hold.token.map(|token| format!(" · token {}", header.told(token))).unwrap_or_default();
    let names = [format!("{}{token}", hold.id), hold.id.to_string(), String::new()];
    let fits = |name: &&String| LETTER * name.chars().count() as f64 + 8.0 < width;
    html! {
        @if scale.shows(hold.from, hold.clipped_to()) {
            rect.hold x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) { title { (hold_title(header, hold)) } }
        }
        @if let Some((from, to)) = expired(hold).filter(|(from, to)| scale.shows(*from, *to)) {
            @let (x, width) = scale.bar(from, to, 1.0);
            rect.expired x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) fill="url(#expired)" {
                title { (hold_title(header, hold)) }
            }
            @let texts = [format!("{}: believes that it holds", hold.id), "validity over".to_owned()];
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
    let title = words::line(&lanes.scene.history.header, signal);
    let (bar_top, bar_end) = lanes.heights.bar;
    let lane = lanes.client(client);
    let x = scale.x(signal.time);
    match signal.since {
        Some(since) => {
            let (x, width) = scale.bar(since, signal.time, 1.0);
            html! {
                path.stall-mark d=(format!("M{} {}v4h{}v-4", n(x), n(lane + bar_end + 7.0), n(width))) { title { (title) } }
            }
        }
        None => {
            let middle = lane + (bar_top + bar_end) / 2.0;
            html! {
                path.lost-mark d=(format!("M{} {}l10 10m-10 0l10 -10", n(x - 5.0), n(middle - 5.0))) { title { (title) } }
            }
        }
    }
}

/// The resource's lane: reads are circles above, writes are diamonds below; filled when accepted, hollow when refused.
fn accesses(scene: &Scene<'_>, exhibit: &Exhibit<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let is_theirs =
        |access: &Served<'_>| access.op.hold.as_ref().is_some_and(|hold| exhibit.holds.contains(hold)) || access.stale;
    let shown = scene.served.iter().filter(|access| scale.shows(access.op.time, access.op.time));
    let (theirs, others): (Vec<&Served<'_>>, Vec<&Served<'_>>) = shown.partition(|access| is_theirs(access));
    // What matters most lies on top.
    let (stale, theirs): (Vec<&Served<'_>>, Vec<&Served<'_>>) = theirs.into_iter().partition(|access| access.stale);
    html! {
        (signs(&others, lanes, scale, true))
        (signs(&theirs, lanes, scale, false))
        @for access in stale { (self::access(access, lanes, scale)) }
    }
}

/// Accesses that nothing is wrong with, as one path for each kind.
fn signs(accesses: &[&Served<'_>], lanes: &Lanes<'_>, scale: &Scale, bystanders: bool) -> Markup {
    let mut kinds: BTreeMap<&str, Marks> = BTreeMap::new();
    for access in accesses {
        let sign = match (access.op.f == F::Read, access.accepted()) {
            (true, true) => "read",
            (true, false) => "read-refused",
            (false, true) => "write",
            (false, false) => "write-refused",
        };
        let points = kinds.entry(sign).or_insert_with(Marks::still);
        points.point(scale.x(access.op.time), lanes.resource + access_height(access));
        if !bystanders {
            points.says(words::line(&lanes.scene.history.header, access.op));
        }
    }
    let also = if bystanders { " bystander" } else { "" };
    html! { @for (sign, points) in &kinds { (points.points(sign, also, &lanes.scene.patterns)) } }
}

/// How far down in the resource's lane an access lies.
fn access_height(access: &Served<'_>) -> f64 {
    if access.op.f == F::Read { 12.0 } else { 29.0 }
}

/// One that came too late.
fn access(access: &Served<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let x = scale.x(access.op.time);
    let read = access.op.f == F::Read;
    let y = lanes.resource + access_height(access);
    let class = if access.accepted() { "accepted stale" } else { "refused stale" };
    let title = html! { title { "stale: " (words::line(&lanes.scene.history.header, access.op)) } };
    html! {
        @if let Some(client) = access.op.client.filter(|client| lanes.has(*client)) {
            line.reach x1=(n(x)) x2=(n(x)) y1=(n(lanes.client(client) + lanes.heights.bar.1)) y2=(n(y)) {}
        }
        @if read {
            circle class=(class) cx=(n(x)) cy=(n(y)) r="4.2" { (title) }
        } @else {
            path class=(class) d=(format!("M{} {}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", n(x), n(y - 5.5))) { (title) }
        }
    }
}

/// How long the violation lasted, between the lanes and the axis.
fn extent(exhibit: &Exhibit<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    if exhibit.from >= exhibit.to {
        return html! {};
    }
    let (x, width) = scale.bar(exhibit.from, exhibit.to, 1.0);
    let text = words::lasting(exhibit.to - exhibit.from);
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
    use crate::check::Violation;
    use crate::report::tests::sample;

    #[test]
    fn shows_both_holds_whole_and_numbers_the_steps() {
        let report = sample::report();
        let lock = &report.locks[0];
        let scene = Scene::of(&lock.history);
        let violation = &words::result(lock, crate::check::CheckName::MutualExclusion).unwrap().violations[0];
        let exhibit = Exhibit::of_violation(&scene, violation, "x".to_owned());
        let involved: Vec<&Hold> = scene.holds.iter().filter(|hold| hold.client != ClientId(1)).collect();
        let (from, to) = window(&scene, &exhibit, &involved);
        assert_eq!((from, to), (Nanos::ZERO, scene.end), "2.6 s and a quarter of it on each side, where there is any");
        let svg = drawings(&scene, &exhibit).into_string();
        assert!(svg.contains(">c2-1</text>") && svg.contains(">c2-1: believes that it holds</text>"), "{svg}");
        assert!(svg.contains("40ms"), "how long both held it: {svg}");
        let (whole, close) = svg.split_once("The same, closer: the ").expect("40 ms of 2.9 s need a closer look");
        assert!(!close.contains(" id="), "steps lead to the whole: {close}");
        assert_eq!(whole.matches("class=\"mark").count(), exhibit.steps.len());
        assert_eq!(close.matches("class=\"mark").count(), 2, "the first grant was long before: {close}");
        let list = steps(&exhibit).into_string();
        assert!(list.contains("is granted the lock") && list.contains("is told that the lock is lost"), "{list}");
    }

    #[test]
    fn a_step_and_its_mark_lead_to_each_other() {
        let report = sample::report();
        let lock = &report.locks[0];
        let scene = Scene::of(&lock.history);
        let exhibit = Exhibit::of_incident(&scene, lock, 1, &lock.judgement.incidents[0], "redlock-1".to_owned());
        let (list, svg) = (steps(&exhibit).into_string(), drawings(&scene, &exhibit).into_string());
        for number in 1..=exhibit.steps.len() {
            let (step, mark) = (format!("redlock-1-s{number}"), format!("redlock-1-m{number}"));
            assert!(list.contains(&format!("id=\"{step}\"")) && list.contains(&format!("href=\"#{mark}\"")), "{list}");
            assert!(svg.contains(&format!("id=\"{mark}\"")) && svg.contains(&format!("href=\"#{step}\"")), "{svg}");
        }
    }

    #[test]
    fn of_many_clients_only_those_get_a_lane_whom_it_is_about() {
        let mut report = sample::report();
        let lock = &mut report.locks[0];
        lock.history.header.clients = 40;
        let scene = Scene::of(&lock.history);
        let exhibit = Exhibit::of_incident(&scene, lock, 1, &lock.judgement.incidents[0], "x".to_owned());
        let svg = drawings(&scene, &exhibit).into_string();
        let lanes = svg.split("The same, closer").next().unwrap().matches("class=\"lane-name\"").count();
        assert!(
            (3..=CLIENTS + 2).contains(&lanes) && svg.contains("other clients have no lane here"),
            "{lanes}: {svg}"
        );
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
            incident: None,
        };
        let svg = |lock: usize| {
            let scene = Scene::of(&report.locks[lock].history);
            let exhibit = Exhibit::of_violation(&scene, &instant(2_700_000_000, 2_800_000_000), "x".to_owned());
            drawings(&scene, &exhibit).into_string()
        };
        assert!(svg(0).contains("class=\"accepted stale\"") && svg(1).contains("class=\"refused stale\""));
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
            incident: None,
        };
        let exhibit = Exhibit::of_violation(&scene, &violation, "x".to_owned());
        assert!(exhibit.steps.is_empty());
        assert!(drawings(&scene, &exhibit).into_string().contains("<svg"));
    }
}
