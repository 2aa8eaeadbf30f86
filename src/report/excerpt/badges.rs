//! The numbers of the steps above the lanes of a drawing, each with a line to its instant.

use maud::{Markup, html};

use super::TOP;
use crate::report::exhibit::{Exhibit, Step};
use crate::report::lanes::{LEFT, Lanes, Scale, n};

/// How far apart the numbers stand: a circle, its thickest stroke and a gap.
const BADGE_GAP: f64 = 23.0;

/// The steps' numbers above the lanes, pushed apart where they would overlap, each with a line to its instant and a
/// link to its step, whose text the script gives it.
pub(super) fn badges(
    exhibit: &Exhibit<'_>,
    numbered: &[(usize, &Step<'_>)],
    lanes: &Lanes<'_>,
    scale: &Scale,
    leads_here: bool,
) -> Markup {
    let places: Vec<f64> = numbered.iter().map(|(_, step)| scale.x(step.at)).collect();
    let moved = apart(&places, BADGE_GAP, (LEFT, scale.right()));
    html! {
        @for ((number, step), (at, x)) in numbered.iter().zip(places.iter().zip(moved)) {
            @let top = lanes.heights.bar.0;
            @let y = step.client.filter(|client| lanes.has(*client)).map(|client| lanes.client(client) + top);
            a href={ "#" (exhibit.anchor) "-s" (number) } id=[leads_here.then(|| format!("{}-m{number}", exhibit.anchor))] {
                g.mark.breaks[step.breaks] {
                    path d=(format!("M{} 21L{} {TOP}V{}", n(x), n(*at), n(y.unwrap_or(lanes.bottom)))) {}
                    circle cx=(n(x)) cy="12" r="9" {}
                    text x=(n(x)) y="16" { (number) }
                }
            }
        }
    }
}

/// Moves places `gap` apart, or as far as there is room, in their order and all inside of `left..right`: those that are
/// too close spread to both sides of where they were.
fn apart(places: &[f64], gap: f64, (left, right): (f64, f64)) -> Vec<f64> {
    let gap = gap.min((right - left) / places.len().max(2) as f64);
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    // Less what the ones before it take, each place may not lie below the one before: groups that do share their mean.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for (before, index) in order.iter().enumerate() {
        let mut group = (places[*index] - gap * before as f64, 1);
        while let Some((mean, count)) = groups.pop_if(|(mean, _)| *mean > group.0) {
            let all = group.1 + count;
            group = ((group.0 * group.1 as f64 + mean * count as f64) / all as f64, all);
        }
        groups.push(group);
    }
    let means = groups.iter().flat_map(|(mean, count)| std::iter::repeat_n(*mean, *count));
    let most = right - gap * places.len().saturating_sub(1) as f64;
    let mut moved = places.to_vec();
    for (before, (index, mean)) in order.iter().zip(means).enumerate() {
        moved[*index] = mean.clamp(left, most.max(left)) + gap * before as f64;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_overlap_nor_leave_the_picture() {
        assert_eq!(apart(&[30.0, 32.0, 100.0, 99.0], 17.0, (10.0, 110.0)), [22.5, 39.5, 108.0, 91.0]);
        let crowd: Vec<f64> = (0..16).map(|at| 100.0 + f64::from(at) / 10.0).collect();
        for (left, right) in [(0.0, 1_000.0), (90.0, 1_000.0), (0.0, 110.0), (90.0, 110.0)] {
            let moved = apart(&crowd, BADGE_GAP, (left, right));
            assert!(moved.iter().all(|at| (left..=right).contains(at)) && moved.is_sorted(), "{moved:?}");
            let gap = moved.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
            assert!(gap > BADGE_GAP - 1e-6 || right - left < BADGE_GAP * 16.0, "{gap}: {moved:?}");
        }
        assert_eq!(apart(&[5.0], 17.0, (10.0, 20.0)), [10.0]);
    }
}
