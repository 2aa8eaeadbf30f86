//! Charts of a trial: what waiting for the lock cost, over time, with the faults behind it; and [`clocks`].
//!
//! Nothing else knows `plotters`. Its SVG is taken inline, so that the page's style sheet colours its texts; the
//! other colours are fixed here and can be told from each other on light and on dark ground.

mod clocks;

use std::fmt::Display;

use hdrhistogram::Histogram;
use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

use super::scene::{self, Colour, Scene};
use super::words;
use crate::history::OpType;

pub(super) use clocks::clock_errors;

/// A chart's size, in its own units; the page scales it.
const SIZE: (u32, u32) = (1_200, 260);
/// Above this many points, one cannot be told from the next, and the page grows without gain.
const POINTS: usize = 1_500;
/// The shortest latency that the chart shows, in milliseconds.
const SHORTEST: f64 = 0.01;

const GRANTED: RGBColor = RGBColor(31, 119, 180);
const NOT_GRANTED: RGBColor = RGBColor(213, 94, 0);
const PAUSE: RGBColor = RGBColor(230, 159, 0);
const PARTITION: RGBColor = RGBColor(136, 84, 208);
const OTHER_FAULT: RGBColor = RGBColor(120, 130, 140);

/// What the latencies of all trials span, in milliseconds, with some room above: charts of one page share a scale.
pub(super) fn latencies(scenes: &[Scene<'_>]) -> (f64, f64) {
    let took = || scenes.iter().flat_map(Scene::acquires).map(|span| (span.took().as_secs_f64() * 1e3).max(SHORTEST));
    let least = took().fold(f64::INFINITY, f64::min);
    let most = took().fold(SHORTEST, f64::max);
    let least = if least.is_finite() { 10_f64.powf(least.log10().floor()) } else { SHORTEST };
    (least, (most * 1.6).max(least * 10.0))
}

/// Acquire latency over time; `span` is what the scale goes from and to, in milliseconds.
pub(super) fn acquire_latency(scene: &Scene<'_>, span: (f64, f64)) -> Markup {
    if scene.acquires().next().is_none() {
        return html! { p.none { "No acquire was attempted: there is no latency to draw." } };
    }
    match draw(scene, span) {
        Ok(svg) => html! { figure.plot-figure { (PreEscaped(responsive(&svg, "acquire latency"))) } },
        // A chart is worth less than the page that it stands on.
        Err(error) => html! { p.none { "The chart could not be drawn: " (error) } },
    }
}

fn draw(scene: &Scene<'_>, (least, most): (f64, f64)) -> Result<String, String> {
    let mut svg = String::new();
    let (granted, others) = {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let end = scene.end.as_secs_f64().max(1e-6);
        let milliseconds = (least..most).log_scale();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(16)
            .set_label_area_size(LabelAreaPosition::Left, 68)
            .set_label_area_size(LabelAreaPosition::Bottom, 42)
            .build_cartesian_2d(0.0..end, milliseconds)
            .map_err(text)?;
        let bands = scene.strikes.iter().filter(|strike| !strike.missed()).map(|strike| {
            let (from, to) = strike.felt(scene.end);
            let colour = match scene::colour(strike) {
                Colour::Pause => PAUSE,
                Colour::Partition => PARTITION,
                Colour::Other => OTHER_FAULT,
            };
            let corners = [(from.as_secs_f64(), least), (to.as_secs_f64(), most)];
            Rectangle::new(corners, colour.mix(0.22).filled())
        });
        chart.draw_series(bands).map_err(text)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(136, 136, 136).mix(0.25))
            .axis_style(RGBColor(136, 136, 136))
            .label_style(("sans-serif", 15))
            .x_labels(10)
            .y_labels(6)
            .x_desc("time in s")
            .y_desc("acquire in ms")
            .x_label_formatter(&|seconds| words::number(*seconds))
            .y_label_formatter(&|milliseconds| words::number(*milliseconds))
            .draw()
            .map_err(text)?;
        let spans: Vec<_> = scene.acquires().collect();
        let step = spans.len().div_ceil(POINTS).max(1);
        let point = |span: &super::scene::Span<'_>| {
            (span.invoke.time.as_secs_f64(), (span.took().as_secs_f64() * 1e3).max(SHORTEST))
        };
        // Thinning must not hide the rare ones: each kind is thinned by itself.
        let granted = spans.iter().filter(|span| span.outcome() == OpType::Ok).step_by(step);
        let granted: Vec<_> = granted.map(|span| chart.backend_coord(&point(span))).collect();
        let failed = spans.iter().filter(|span| span.outcome() != OpType::Ok);
        let step = failed.clone().count().div_ceil(POINTS).max(1);
        let others: Vec<_> = failed.step_by(step).map(|span| chart.backend_coord(&point(span))).collect();
        area.present().map_err(text)?;
        (granted, others)
    };
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.insert_str(end, &(dots(&granted) + &crosses(&others)));
    Ok(svg)
}

/// A dot at each place, as one path: an element each would be most of the chart.
fn dots(places: &[(i32, i32)]) -> String {
    path(places, "h0", &format!("stroke=\"{}\" stroke-width=\"4\" stroke-linecap=\"round\"", hex(GRANTED)))
}

fn crosses(places: &[(i32, i32)]) -> String {
    let places: Vec<_> = places.iter().map(|(x, y)| (x - 4, y - 4)).collect();
    path(&places, "l8 8m-8 0l8-8m-8 0", &format!("stroke=\"{}\" stroke-width=\"2\"", hex(NOT_GRANTED)))
}

/// One path with a sign at each place, which leaves the pen where it began.
fn path(places: &[(i32, i32)], sign: &str, look: &str) -> String {
    let Some(first) = places.first() else { return String::new() };
    let mut shape = format!("M{} {}{sign}", first.0, first.1);
    for pair in places.windows(2) {
        shape += &format!("m{} {}{sign}", pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
    }
    format!("<path fill=\"none\" {look} d=\"{shape}\"/>")
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Lets the page set the size: the backend writes a fixed one into its first tag.
fn responsive(svg: &str, label: &str) -> String {
    let (width, height) = SIZE;
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    format!("<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{body}")
}

/// How long the middle and the worst of some durations were, in microseconds.
pub(super) struct Quantiles {
    /// How many durations.
    pub count: u64,
    /// Name and value of each quantile.
    pub values: Vec<(&'static str, std::time::Duration)>,
}

/// The quantiles of some durations; none for no durations.
pub(super) fn quantiles(durations: impl Iterator<Item = std::time::Duration>) -> Option<Quantiles> {
    let mut histogram = Histogram::<u64>::new(3).ok()?;
    let mut longest = std::time::Duration::ZERO;
    for duration in durations {
        longest = longest.max(duration);
        histogram.record(u64::try_from(duration.as_micros()).ok()?).ok()?;
    }
    if histogram.is_empty() {
        return None;
    }
    // The histogram rounds up; no quantile may come out longer than the longest.
    let at = |quantile| std::time::Duration::from_micros(histogram.value_at_quantile(quantile)).min(longest);
    let values = vec![("median", at(0.5)), ("90 %", at(0.9)), ("99 %", at(0.99)), ("longest", longest)];
    Some(Quantiles { count: histogram.len(), values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;
    use std::time::Duration;

    #[test]
    fn draws_grants_failures_and_faults() {
        let report = sample::report();
        let scene = Scene::of(&report.locks[0].history);
        let svg = acquire_latency(&scene, latencies(std::slice::from_ref(&scene))).into_string();
        assert_eq!(svg.matches("h0").count(), 3, "three grants: {svg}");
        assert!(svg.matches("l8 8").count() == 1 && svg.contains("#D55E00"), "one that gave up: {svg}");
        assert!(svg.contains("#E69F00"), "one pause: {svg}");
        assert!(!svg.contains("xmlns"), "inline SVG needs no name space");
    }

    #[test]
    fn nothing_to_draw_is_said() {
        let report = sample::empty();
        let scene = Scene::of(&report.locks[0].history);
        assert!(
            acquire_latency(&scene, latencies(std::slice::from_ref(&scene)))
                .into_string()
                .contains("No acquire was attempted")
        );
        assert!(quantiles(std::iter::empty()).is_none());
    }

    #[test]
    fn charts_of_one_page_share_a_scale() {
        let report = sample::report();
        let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
        assert_eq!(latencies(&scenes), (10.0, 2_600.0 * 1.6), "from 10 ms to 2.6 s");
        assert_eq!(latencies(&[]), (SHORTEST, SHORTEST * 10.0));
    }

    #[test]
    fn quantiles_are_those_of_the_durations() {
        let quantiles = quantiles((1..=100).map(Duration::from_millis)).unwrap();
        assert_eq!(quantiles.count, 100);
        let close = |at: usize, millis: f64| (quantiles.values[at].1.as_secs_f64() * 1e3 - millis).abs() < 0.2;
        assert!(close(0, 50.0) && close(1, 90.0) && quantiles.values[3].1 == Duration::from_millis(100));
    }
}
