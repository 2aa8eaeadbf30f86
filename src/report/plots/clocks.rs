//! By how much clocks were wrong, over time: as the faults asked, and as the clocks themselves showed.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;

use super::{GRANTED, PAUSE, SIZE, responsive, text};
use crate::fault::ClockChange;
use crate::history::EnvironmentName;
use crate::history::{ClockReading, Op, Strike};
use crate::report::scene::Scene;
use crate::report::words;
use crate::time::Nanos;

/// Above this many flips a strobe is drawn as its two sides.
const FLIPS: u64 = 200;

/// The error of every clock that a fault moved; none if none was.
pub(in crate::report) fn clock_errors(scene: &Scene<'_>) -> Option<Markup> {
    let readings: Vec<&ClockReading> = scene.strikes.iter().flat_map(readings).collect();
    if readings.is_empty() {
        return None;
    }
    let requested: Vec<Vec<(f64, f64)>> = scene
        .strikes
        .iter()
        .filter(|strike| !strike.missed())
        .flat_map(|strike| requested(strike, scene.end))
        .collect();
    let drifts = scene.strikes.iter().any(|strike| matches!(strike.event.clock, Some(ClockChange::Drift { .. })));
    let only_walls = drifts && scene.history.header.environment.is(EnvironmentName::Docker);
    Some(html! {
        @match draw(scene.end, &readings, &requested) {
            Ok(svg) => figure.plot-figure { (PreEscaped(responsive(&svg, "errors of clocks"))) },
            // A chart is worth less than the page that it stands on.
            Err(error) => p.none { "The chart could not be drawn: " (error) },
        }
        p.chart-key {
            "By how much wall clocks were wrong:"
            span.swatch.pause {} "as a fault asked" span.swatch.granted {} "as the clock itself showed"
            @if only_walls {
                " Here a drift is the wall clock's alone; in simulation it is the oscillator's, and moves the monotonic \
                 clock as well."
            }
        }
    })
}

fn readings<'a>(strike: &Strike<'a>) -> impl Iterator<Item = &'a ClockReading> + use<'a> {
    let ops = [strike.applied, strike.healed];
    let probes = ops.into_iter().flatten().filter_map(|op: &Op| op.fault.as_ref()).flat_map(|fault| &fault.probes);
    probes.filter_map(|probe| probe.clock.as_ref())
}

/// What a strike asked of a clock while it lasted: lines of seconds and milliseconds.
fn requested(strike: &Strike<'_>, end: Nanos) -> Vec<Vec<(f64, f64)>> {
    let (Some(change), Some(applied)) = (strike.event.clock, strike.applied) else { return Vec::new() };
    let healed = strike.healing.map_or(end, |op| op.time);
    let (from, to) = (applied.time.as_secs_f64(), healed.as_secs_f64());
    let flat = |by: f64| vec![(from, by), (to, by)];
    match change {
        ClockChange::Jump { by_ns } => vec![flat(by_ns as f64 / 1e6)],
        ClockChange::Drift { ppm } => vec![vec![(from, 0.0), (to, (to - from) * ppm as f64 / 1e3)]],
        ClockChange::Strobe { by_ns, period } => {
            let (by, period) = (by_ns as f64 / 1e6, period.as_secs_f64().max(1e-9));
            let flips = ((to - from) / period) as u64;
            if flips > FLIPS {
                return vec![flat(by), flat(0.0)];
            }
            let side = |flip: u64| if flip.is_multiple_of(2) { by } else { 0.0 };
            let corner = |flip: u64| {
                let at = from + flip as f64 * period;
                [(at, side(flip)), ((at + period).min(to), side(flip))]
            };
            vec![(0..=flips).flat_map(corner).collect()]
        }
    }
}

fn draw(end: Nanos, readings: &[&ClockReading], requested: &[Vec<(f64, f64)>]) -> Result<String, String> {
    let point = |reading: &&ClockReading| (reading.at.as_secs_f64(), reading.error as f64 / 1e6);
    let errors = || requested.iter().flatten().map(|(_, error)| *error).chain(readings.iter().map(|r| point(r).1));
    let (least, most) = errors().fold((0.0_f64, 0.0_f64), |(least, most), error| (least.min(error), most.max(error)));
    let room = ((most - least) * 0.08).max(1.0);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(16)
            .set_label_area_size(LabelAreaPosition::Left, 68)
            .set_label_area_size(LabelAreaPosition::Bottom, 42)
            .build_cartesian_2d(0.0..end.as_secs_f64().max(1e-6), least - room..most + room)
            .map_err(text)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(136, 136, 136).mix(0.25))
            .axis_style(RGBColor(136, 136, 136))
            .label_style(("sans-serif", 15))
            .x_labels(10)
            .y_labels(6)
            .x_desc("time in s")
            .y_desc("error in ms")
            .x_label_formatter(&|seconds| words::number(*seconds))
            .y_label_formatter(&|milliseconds| format!("{milliseconds:.0}"))
            .draw()
            .map_err(text)?;
        for line in requested {
            chart.draw_series(LineSeries::new(line.iter().copied(), PAUSE.stroke_width(3))).map_err(text)?;
        }
        chart.draw_series(readings.iter().map(|r| Circle::new(point(r), 3, GRANTED.filled()))).map_err(text)?;
        area.present().map_err(text)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Member;
    use crate::history::{F, Op, OpType, Probe, Process};
    use crate::ids::NodeId;
    use crate::report::tests::sample;
    use std::time::Duration;

    /// A run whose only fault moved a clock as `change` says, and three readings.
    fn drawn(change: ClockChange) -> String {
        let mut report = sample::report();
        let history = &mut report.locks[0].history;
        for op in history.ops.iter_mut().filter(|op: &&mut Op| matches!(op.f, F::Fault | F::Heal)) {
            assert_eq!(op.process, Process::Nemesis);
            let (at, is_done) = (op.time, op.kind == OpType::Ok);
            let Some(event) = &mut op.fault else { continue };
            event.clock = Some(change);
            let reading =
                ClockReading { member: Member::Node(NodeId(3)), at, error: 5_000_000, expected: None, uncertainty: 0 };
            event.probes = vec![Probe { clock: Some(reading), ..Probe::new("a clock", "5", "5") }];
            if !is_done {
                event.probes.clear();
            }
        }
        clock_errors(&Scene::of(history)).unwrap().into_string()
    }

    #[test]
    fn draws_what_was_asked_and_what_was_seen() {
        for change in [
            ClockChange::Jump { by_ns: 5_000_000 },
            ClockChange::Drift { ppm: -200 },
            ClockChange::Strobe { by_ns: 5_000_000, period: Duration::from_millis(100) },
        ] {
            let svg = drawn(change);
            assert_eq!(svg.matches("<circle").count(), 2, "one reading when it was applied, one when it was healed");
            assert!(svg.contains("<polyline"), "{change}: {svg}");
        }
    }

    #[test]
    fn a_run_whose_clocks_were_right_has_no_such_chart() {
        let report = sample::report();
        assert!(clock_errors(&Scene::of(&report.locks[0].history)).is_none());
    }
}
