//! A safety curve: in what share of the runs a lock did harm, over the values of one knob, with its 95 % interval.

use maud::{Markup, html};

use super::cell::Share;
use super::comparison::Comparison;
use super::lanes::n;

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;

/// The curves of all locks over `values`, one for each scenario of the comparison, in their order.
pub(super) fn curves(comparison: &Comparison<'_>, key: &str, values: &[(String, f64)]) -> Markup {
    let points: Vec<&(String, f64)> = values.iter().take(comparison.sweeps.len()).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    let scale = |value: f64| if first.1 > 0.0 { value.ln() } else { value };
    let (least, most) = (scale(first.1), scale(last.1));
    let x = |value: f64| {
        let share = if most > least { (scale(value) - least) / (most - least) } else { 0.5 };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let y = |share: f64| TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM);
    html! {
        @for what in [What::Harm, What::TwoHolders] {
            figure.curve {
                figcaption { b { (what.title()) } ", over " code { (key) } "; the shade holds the true share in 95 of 100 cases" }
                svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label={ (what.title()) " over " (key) } {
                    @for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
                        line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y(share))) y2=(n(y(share))) {}
                        text.y x=(n(LEFT - 8.0)) y=(n(y(share) + 4.0)) { (format!("{:.0} %", share * 100.0)) }
                    }
                    @for (text, value) in &points { text.x x=(n(x(*value))) y=(n(HEIGHT - 22.0)) { (text) } }
                    @for (place, lock) in comparison.locks.iter().enumerate() {
                        @let shares: Vec<(f64, Share, String)> = points.iter().zip(comparison.sweeps).filter_map(|((text, value), sweep)| {
                            let tally = comparison.cell(sweep, lock)?.tally;
                            let of = match what { What::Harm => tally.harmed, What::TwoHolders => tally.two_holders };
                            Some((x(*value), Share { of, runs: sweep.seeds }, text.clone()))
                        }).collect();
                        (curve(lock, place, &shares, &y))
                    }
                }
            }
        }
        p.chart-key {
            @for (place, lock) in comparison.locks.iter().enumerate() {
                span class={ "swatch lock-" (place % 4) } {} (lock) " "
            }
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    Harm,
    TwoHolders,
}

impl What {
    fn title(self) -> &'static str {
        match self {
            Self::Harm => "Share of runs in which the data took harm",
            Self::TwoHolders => "Share of runs in which two clients held the lock at once",
        }
    }
}

fn curve(lock: &str, place: usize, shares: &[(f64, Share, String)], y: &dyn Fn(f64) -> f64) -> Markup {
    let share = |share: &Share| if share.runs == 0 { 0.0 } else { share.of as f64 / share.runs as f64 };
    let point = |x: f64, at: f64| format!("{} {}", n(x), n(y(at)));
    let upper = shares.iter().map(|(x, share, _)| point(*x, share.interval().1));
    let lower = shares.iter().rev().map(|(x, share, _)| point(*x, share.interval().0));
    let band: Vec<String> = upper.chain(lower).collect();
    let line: Vec<String> = shares.iter().map(|(x, of, _)| point(*x, share(of))).collect();
    html! {
        @if !line.is_empty() {
            path class={ "band lock-" (place % 4) } d={ "M" (band.join("L")) "z" } {}
            path class={ "line lock-" (place % 4) } d={ "M" (line.join("L")) } {}
            @for (x, of, text) in shares {
                circle class={ "dot lock-" (place % 4) } cx=(n(*x)) cy=(n(y(share(of)))) r="4" {
                    title { (lock) ", " (text) ": " (of.told()) }
                }
            }
        }
    }
}
