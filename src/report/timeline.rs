//! The whole run to real time: a lane per client, one per lock server, one for the resource.
//!
//! Drawn as SVG of our own, because no chart knows what a hold is. The picture reads without script; the page's script
//! can zoom it, which is why only marks that may be stretched lie inside the inner `svg`, and all text outside of it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::lanes::{
    Heights, LEFT, LETTER, Lanes, RIGHT, Scale, WIDTH, bands, expired, hatch, hold_title, n, owner_class,
};
use super::marks::Marks;
use super::scene::{self, Had, Scene, Served};
use super::words;
use crate::check::Violation;
use crate::history::{F, Hold};
use crate::ids::{ClientId, NodeId};
use crate::time::Nanos;

/// Above the lanes: the violations' numbers.
const TOP: f64 = 24.0;
/// Below the lanes: the time axis.
const AXIS: f64 = 26.0;
/// Above this many ops, marks of their own would outweigh the page and lie on top of each other: the run is drawn as
/// density.
const DENSE: usize = 12_000;
/// How many columns a density has, and how many if there are many lanes.
const COLUMNS: (usize, usize) = (600, 300);
/// Of what is drawn one by one in any case (expired holds, stale accesses, signals), so many; the incidents have them
/// in full.
const SINGLE: usize = 400;

/// An incident that is told on the page.
pub(super) struct Told {
    /// Its number in the lock's section, from 1.
    pub number: u32,
    /// Where on the page it is told.
    pub anchor: String,
    /// When it began to break something.
    pub at: Nanos,
    /// What it is, for a hover text.
    pub text: String,
}

/// The overview of a whole run. `id` is unique on the page.
pub(super) fn overview(scene: &Scene<'_>, violations: &[&Violation], told: &[Told], id: &str) -> Markup {
    if scene.history.ops.is_empty() {
        return html! { p.none { "Nothing was recorded: there is no timeline to draw." } };
    }
    let heights = Heights { top: 0.0, lane: 32.0, bar: (13.0, 28.0), servers: 15.0, resource: 30.0 };
    let lanes = Lanes::new(scene, heights);
    let outer = Scale::of_picture(Nanos::ZERO, scene.end);
    let inner = Scale::new(Nanos::ZERO, scene.end, 0.0, outer.width);
    let (bottom, width, height) = (n(lanes.bottom), n(outer.width), TOP + lanes.bottom + AXIS);
    let hatch_id = format!("expired-{id}");
    let marks = marks(scene, &lanes, &inner, violations, &hatch_id);
    html! {
        figure.overview id=(id) data-to=(seconds(scene.end)) {
            svg.timeline viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="timeline of the whole run"
                data-scene=(scene.history.header.lock) data-patterns=(scene.patterns.fresh()) {
                defs { (hatch(&hatch_id)) }
                g transform=(format!("translate(0 {TOP})")) { (lanes.ground(WIDTH, true)) }
                svg.plot x=(LEFT) y=(TOP) width=(width) height=(bottom) viewBox=(format!("0 0 {width} {bottom}"))
                    preserveAspectRatio="none" {
                    (marks)
                }
                g.labels { (labels(scene, &lanes, &outer, told)) }
                g.axis transform=(format!("translate(0 {})", n(TOP + lanes.bottom))) {
                    line x1=(LEFT) x2=(n(outer.right())) y1="0" y2="0" {}
                    g.ticks {
                        @for (at, label) in outer.ticks() {
                            g transform=(format!("translate({} 0)", n(outer.x(at)))) {
                                line y2="5" {}
                                text y="18" { (label) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// All that may be stretched: rectangles and upright strokes.
fn marks(scene: &Scene<'_>, lanes: &Lanes<'_>, scale: &Scale, violations: &[&Violation], hatch_id: &str) -> Markup {
    let (bar_top, bar_end) = lanes.heights.bar;
    let bar_height = bar_end - bar_top;
    let dense = scene.history.ops.len() > DENSE;
    html! {
        @for band in bands(scene) {
            @let (x, width) = scale.bar(band.from, band.to, 1.0);
            @let (y, height) = lanes.of(band.member);
            rect class={ "band " (scene::colour(band.strike).class()) } x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) {
                title { (band.title()) }
            }
        }
        @for signal in scene.signals.iter().filter(|op| op.f == F::Outside) {
            @let (x, width) = scale.bar(signal.since.unwrap_or(signal.time), signal.time, 2.0);
            rect.outside x=(n(x)) y="0" width=(n(width)) height=(n(lanes.bottom)) { title { (words::line(&scene.history.header, signal)) } }
        }
        (shades(violations, lanes, scale).bars("breach", lanes.bottom, &scene.patterns))
        @if dense {
            @for client in &scene.clients {
                @let y = lanes.client(*client) + bar_end;
                @let waits = scene.acquires().filter(|span| span.client == *client).map(|span| (span.invoke.time, span.to));
                path.wait d=(density(waits, scene, 4.0, y)) {}
                @let holds = scene.holds.iter().filter(|hold| hold.client == *client).map(|hold| (hold.from, hold.clipped_to()));
                path.hold d=(density(holds, scene, bar_height, y)) {
                    title { (client) ": the share of the time in which it held a lock" }
                }
            }
        } @else {
            @for client in &scene.clients {
                @let y = lanes.client(*client);
                (waits(scene, *client, scale, y + bar_end - 2.0).bars("wait", 4.0, &lanes.scene.patterns))
            }
            (holds(scene, lanes, scale).bars("hold", bar_height, &lanes.scene.patterns))
        }
        @for hold in scene.holds.iter().filter(|hold| expired(hold).is_some()).take(SINGLE) {
            @let y = lanes.client(hold.client) + bar_top;
            @if let Some((from, to)) = expired(hold) {
                @let (x, width) = scale.bar(from, to, 1.0);
                rect.expired x=(n(x)) y=(n(y)) width=(n(width)) height=(n(bar_height))
                    fill=(format!("url(#{hatch_id})")) { title { (hold_title(&scene.history.header, hold)) } }
            }
        }
        @for signal in scene.signals.iter().take(SINGLE) {
            @if let Some(client) = signal.client {
                @let y = lanes.client(client);
                @if matches!(signal.f, F::Lost | F::Crash) {
                    path.lost d=(format!("M{} {}v{}", n(scale.x(signal.time)), n(y + bar_top - 1.0), n(bar_height + 3.0))) {
                        title { (words::line(&scene.history.header, signal)) }
                    }
                } @else if let Some(since) = signal.since {
                    @let (x, width) = scale.bar(since, signal.time, 1.0);
                    rect.stall x=(n(x)) y=(n(y + bar_end + 1.0)) width=(n(width)) height="2" {
                        title { (words::line(&scene.history.header, signal)) }
                    }
                }
            }
        }
        (servers(scene, lanes, scale))
        (served(scene, lanes, scale))
    }
}

/// What each server had, a shape for each client's colour. Of a long run the share of the time.
fn servers(scene: &Scene<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let dense = scene.history.ops.len() > DENSE;
    let height = lanes.heights.servers;
    let of = |node: Option<NodeId>| scene.had.iter().filter(move |had| had.node == node && had.is_given());
    html! {
        @for node in lanes.nodes() {
            @let y = lanes.node(*node);
            @if dense {
                @let spans = of(*node).map(|had| (had.from, had.to));
                path.had.o9 d=(density(spans, scene, height - 2.0, y + height - 1.0)) {
                    title { "the share of the time in which the server had it given to somebody" }
                }
            } @else {
                @for (class, bars) in shapes(of(*node), scale, y + height / 2.0) {
                    (bars.bars(&format!("had {class}"), height - 6.0, &lanes.scene.patterns))
                }
            }
        }
        (lanes.reigns(scale))
    }
}

/// Leases and contenders by their owner's colour. Refusals are many, and of use only close to what they led to.
fn shapes<'a>(had: impl Iterator<Item = &'a Had<'a>>, scale: &Scale, y: f64) -> BTreeMap<&'static str, Marks> {
    let mut shapes: BTreeMap<&'static str, Marks> = BTreeMap::new();
    for had in had {
        let bars = shapes.entry(owner_class(had.client)).or_insert_with(Marks::zoomed);
        bars.bar(scale.bar(had.from, had.to, 0.4), y);
    }
    shapes
}

/// A stretch of time without a gap between violations.
struct Breach {
    from: Nanos,
    to: Nanos,
    title: String,
}

/// Joins violations that overlap or touch: laid over each other, their shades would hide the lanes.
fn breaches(violations: &[&Violation]) -> Vec<Breach> {
    let mut sorted: Vec<&Violation> = violations.to_vec();
    sorted.sort_by_key(|violation| violation.from);
    sorted
        .chunk_by({
            let mut end = Nanos::ZERO;
            move |one, next| {
                end = end.max(one.to);
                next.from <= end
            }
        })
        .filter_map(|chunk| {
            let (first, to) = (chunk.first()?, chunk.iter().map(|violation| violation.to).max()?);
            let title = match chunk.len() {
                1 => first.text.clone(),
                count => format!("{count} violations from {} to {to}; the first: {}", first.from, first.text),
            };
            Some(Breach { from: first.from, to, title })
        })
        .collect()
}

/// The shades of all violations.
fn shades(violations: &[&Violation], lanes: &Lanes<'_>, scale: &Scale) -> Marks {
    let mut shades = Marks::zoomed();
    for breach in breaches(violations) {
        shades.bar(scale.bar(breach.from, breach.to, 1.0), lanes.bottom / 2.0);
        shades.says(breach.title);
    }
    shades
}

/// For each column of the picture the share of its time that some spans take, as one shape that stands on `base`.
fn density(spans: impl Iterator<Item = (Nanos, Nanos)>, scene: &Scene<'_>, height: f64, base: f64) -> String {
    let columns = if scene.clients.len() > 20 { COLUMNS.1 } else { COLUMNS.0 };
    let column = (scene.end.0 as f64 / columns as f64).max(1.0);
    let mut taken = vec![0.0_f64; columns];
    for (from, to) in spans {
        let (from, to) = (from.0 as f64 / column, to.0.min(scene.end.0) as f64 / column);
        for (place, taken) in taken.iter_mut().enumerate().take(to.ceil() as usize).skip(from as usize) {
            *taken += (to.min(place as f64 + 1.0) - from.max(place as f64)).max(0.0);
        }
    }
    steps(&taken, height, base)
}

/// Columns that are as high as their share says, as one shape.
fn steps(shares: &[f64], height: f64, base: f64) -> String {
    let width = (WIDTH - LEFT - RIGHT) / shares.len() as f64;
    let mut shape = format!("M0 {}", n(base));
    let mut last = 0.0;
    for (place, share) in shares.iter().enumerate() {
        // A tenth of a unit is less than anybody sees.
        let rise = (share.min(1.0) * height * 10.0).round() / 10.0;
        if rise != last {
            shape += &format!("H{}V{}", n(place as f64 * width), n(base - rise));
            last = rise;
        }
    }
    shape + &format!("H{}V{}z", n(WIDTH - LEFT - RIGHT), n(base))
}

/// How many accesses each column of the picture has, as a share of the most of any.
fn traffic<'a>(served: impl Iterator<Item = &'a Served<'a>>, end: Nanos) -> Vec<f64> {
    let mut counts = vec![0.0_f64; COLUMNS.0];
    for access in served {
        let place = (access.op.time.0 as u128 * COLUMNS.0 as u128 / u128::from(end.0.max(1))) as usize;
        counts[place.min(COLUMNS.0 - 1)] += 1.0;
    }
    let most = counts.iter().copied().fold(1.0, f64::max);
    counts.into_iter().map(|count| count / most).collect()
}

/// The waits of one client; `y` is their middle.
fn waits(scene: &Scene<'_>, client: ClientId, scale: &Scale, y: f64) -> Marks {
    let mut bars = Marks::zoomed();
    for span in scene.acquires().filter(|span| span.client == client) {
        bars.bar(scale.bar(span.invoke.time, span.to, 0.3), y);
    }
    bars
}

/// All holds, as far as they were valid.
fn holds(scene: &Scene<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Marks {
    let (bar_top, bar_end) = lanes.heights.bar;
    let mut bars = Marks::zoomed();
    let mut holds: Vec<&Hold> = scene.holds.iter().collect();
    holds.sort_by_key(|hold| (hold.client, hold.from));
    for hold in holds {
        let middle = lanes.client(hold.client) + (bar_top + bar_end) / 2.0;
        bars.bar(scale.bar(hold.from, hold.clipped_to(), 0.6), middle);
        bars.says(hold_title(&scene.history.header, hold));
    }
    bars
}

/// Accesses at the resource: reads in the upper half, writes in the lower; refused ones half as long; stale ones last,
/// so that they lie on top.
fn served(scene: &Scene<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    let place = |access: &Served<'_>| {
        let half = lanes.heights.resource / 2.0;
        let y = lanes.resource + if access.op.f == F::Read { 2.0 } else { half + 1.0 };
        let length = if access.accepted() { half - 3.0 } else { half / 2.0 };
        (scale.x(access.op.time), y, length)
    };
    let stroke = |access: &Served<'_>| {
        let (x, y, length) = place(access);
        format!("M{} {}v{}", n(x), n(y), n(length))
    };
    let fresh = |accepted: bool, class: &str| {
        let fresh = scene.served.iter().filter(|access| !access.stale && access.accepted() == accepted);
        let mut fresh: Vec<&Served<'_>> = fresh.collect();
        // Row by row, as the pen goes the shortest way.
        fresh.sort_by_key(|access| access.op.f != F::Read);
        let mut strokes = Marks::zoomed();
        for access in fresh {
            let (x, y, length) = place(access);
            strokes.upright(x, y, length);
        }
        strokes.uprights(class)
    };
    let dense = scene.history.ops.len() > DENSE;
    let half = lanes.heights.resource / 2.0;
    let count = |f: F| traffic(scene.served.iter().filter(move |access| access.op.f == f && !access.stale), scene.end);
    html! {
        @if dense {
            path.traffic d=(steps(&count(F::Read), half - 3.0, lanes.resource + half)) { title { "reads at the resource, over time" } }
            path.traffic d=(steps(&count(F::Write), half - 3.0, lanes.bottom)) { title { "writes at the resource, over time" } }
        } @else {
            (fresh(true, "accepted"))
        }
        (fresh(false, "refused"))
        @for access in scene.served.iter().filter(|access| access.stale).take(SINGLE) {
            path class=(if access.accepted() { "stale" } else { "stale refused" }) d=(stroke(access)) {
                title { "stale: " (words::line(&scene.history.header, access.op)) }
            }
        }
    }
}

/// What must not be stretched: texts, each with the instant that it belongs to, for the script to move.
fn labels(scene: &Scene<'_>, lanes: &Lanes<'_>, scale: &Scale, told: &[Told]) -> Markup {
    // A label that would run into its neighbour is left out; the band's hover text has it all.
    let mut free: BTreeMap<u64, f64> = BTreeMap::new();
    let mut names = bands(scene);
    names.retain(|band| {
        let (x, y) = (scale.x(band.from), lanes.of(band.member).0);
        let free = free.entry(y as u64).or_insert(f64::NEG_INFINITY);
        let fits = *free <= x;
        if fits {
            *free = x + LETTER * band.label().len() as f64 + 8.0;
        }
        fits
    });
    let mut flags: Vec<&Told> = told.iter().collect();
    flags.sort_by_key(|told| told.at);
    let mut last = f64::NEG_INFINITY;
    flags.retain(|told| {
        let x = scale.x(told.at);
        let fits = x - last >= 17.0;
        if fits {
            last = x;
        }
        fits
    });
    html! {
        @for band in names {
            g data-t=(seconds(band.from)) data-until=(seconds(band.to))
                transform=(format!("translate({} {})", n(scale.x(band.from)), n(TOP + lanes.of(band.member).0))) {
                @let room = WIDTH - scale.x(band.from) - LETTER * band.label().len() as f64;
                text class={ "band-name " (scene::colour(band.strike).class()) } x=(n(room.min(3.0))) y="10" { (band.label()) }
            }
        }
        @for told in flags {
            a href={ "#" (told.anchor) } {
                g.flag data-t=(seconds(told.at))
                    transform=(format!("translate({} 0)", n(scale.x(told.at)))) {
                    path d="M0 23L-4 17H4Z" {}
                    rect x="-8" y="3" width="16" height="14" rx="3" {}
                    text x="0" y="14" { (told.number) }
                    title { (told.text) }
                }
            }
        }
    }
}

/// An instant as the script reads it.
fn seconds(at: Nanos) -> String {
    format!("{:.9}", at.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::marks;
    use crate::report::tests::sample;

    #[test]
    fn bars_stand_where_their_times_say() {
        let report = sample::report();
        let history = &report.locks[0].history;
        let scene = Scene::of(history);
        let scale = Scale::new(Nanos::ZERO, scene.end, 0.0, WIDTH - LEFT - RIGHT);
        assert_eq!(scene.end, Nanos(2_900_000_000), "the picture below is 2.9 s wide");
        let per_second = scale.width / 2.9;
        let svg = overview(&scene, &[], &[], "redlock").into_string();
        // c2 holds from 0.2 s, exposed as valid until 1.2 s, told to be lost at 2.74 s.
        let (lapse, to) = (n(1.2 * per_second), n(1.54 * per_second));
        // Drawn from where the hold of c1 ends, which is over at 0.09 s.
        let hold = format!("m{} 32h{}", n(0.11 * per_second), n(per_second));
        assert!(svg.contains(&hold), "{hold} in {svg}");
        let expired = format!("<rect class=\"expired\" x=\"{lapse}\" y=\"45\" width=\"{to}\"");
        assert!(svg.contains(&expired), "{expired} in {svg}");
        let texts = marks::texts(&svg);
        let told = |id: &str| texts.iter().any(|text| text.ends_with(&format!("hold {id}")));
        assert!(scene.holds.iter().all(|hold| told(&hold.id.to_string())), "{texts:?} in {svg}");
    }

    #[test]
    fn bands_lie_on_the_struck_lane_and_say_what_they_are() {
        let report = sample::report();
        let scene = Scene::of(&report.locks[0].history);
        let svg = overview(&scene, &[], &[], "redlock").into_string();
        let band = format!("<rect class=\"band pause\" x=\"{}\" y=\"32\"", n(0.22 * (WIDTH - LEFT - RIGHT) / 2.9));
        assert!(svg.contains(&band), "{band} in {svg}");
        assert!(svg.contains(">paused</text>"), "{svg}");
        assert!(svg.contains("pause of c2 (strike 1): 0.220s – 2.721s, certainly in effect for 2.499s"), "{svg}");
    }

    #[test]
    fn violations_that_overlap_are_shaded_once() {
        let violation = |from, to| Violation {
            severity: Some(crate::check::Severity::Belief),
            text: format!("from {from}"),
            ops: Vec::new(),
            from: Nanos(from),
            to: Nanos(to),
            incident: None,
        };
        let all = [violation(10, 90), violation(20, 30), violation(80, 95), violation(200, 200)];
        let breaches = breaches(&all.iter().collect::<Vec<_>>());
        let spans: Vec<(u64, u64)> = breaches.iter().map(|breach| (breach.from.0, breach.to.0)).collect();
        assert_eq!(spans, [(10, 95), (200, 200)]);
        assert!(breaches[0].title.starts_with("3 violations") && breaches[1].title == "from 200");
    }

    #[test]
    fn a_long_run_is_drawn_as_density() {
        let shares = |spans: &[(u64, u64)]| {
            let report = sample::report();
            let mut scene = Scene::of(&report.locks[0].history);
            scene.end = Nanos(600);
            density(spans.iter().map(|(from, to)| (Nanos(*from), Nanos(*to))), &scene, 10.0, 20.0)
        };
        let wide = (WIDTH - LEFT - RIGHT) / 600.0;
        assert_eq!(shares(&[]), format!("M0 20H{}V20z", n(WIDTH - LEFT - RIGHT)));
        let from = |column: f64| n(column * wide);
        let end = n(WIDTH - LEFT - RIGHT);
        assert_eq!(shares(&[(11, 13)]), format!("M0 20H{}V10H{}V20H{end}V20z", from(11.0), from(13.0)),);
        let mut report = sample::report();
        let history = &mut report.locks[0].history;
        let tail = history.ops.last().unwrap().clone();
        for index in history.ops.len()..=DENSE {
            let mut op = tail.clone();
            op.index = index as u32;
            history.ops.push(op);
        }
        let svg = overview(&Scene::of(history), &[], &[], "x").into_string();
        assert!(svg.contains("the share of the time in which it held a lock") && !svg.contains("row hold"), "{svg}");
        assert!(
            svg.contains("class=\"expired\"") && svg.contains("class=\"stale\""),
            "what matters is drawn one by one"
        );
    }

    #[test]
    fn an_empty_history_has_no_picture_but_says_so() {
        let report = sample::empty();
        let svg = overview(&Scene::of(&report.locks[0].history), &[], &[], "redlock").into_string();
        assert!(svg.contains("Nothing was recorded") && !svg.contains("<svg"));
    }
}
