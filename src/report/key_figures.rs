//! The few numbers that tell most of a lock's trial, for the console and the head of the page.

use std::time::Duration;

use super::LockReport;
use super::scene::Scene;
use super::standing::Standing;
use super::words::{lasting, number, percent, result};
use crate::check::CheckName;

/// One telling number of a lock's trial.
pub(super) struct KeyFigure {
    /// What is counted.
    pub label: &'static str,
    /// How much.
    pub value: String,
    /// What more than nothing of it means, if it means something bad.
    pub means: Option<Standing>,
}

impl KeyFigure {
    /// The class of its colours.
    pub fn class(&self) -> &'static str {
        self.means.map_or("", Standing::class)
    }
}

/// How many grants a lock gave.
pub(super) fn grants(lock: &LockReport, scene: &Scene<'_>) -> f64 {
    let figure = |check: CheckName| result(lock, check)?.figures.get("grants").copied();
    let streamed = || figure(CheckName::Linearizable).filter(|_| lock.streamed.is_some());
    figure(CheckName::Coverage).or_else(streamed).unwrap_or(scene.holds.len() as f64)
}

/// The numbers that tell most of a lock's trial: those of the checks, else what can be counted in the history.
pub(super) fn key_figures(lock: &LockReport, scene: &Scene<'_>) -> Vec<KeyFigure> {
    let figure = |check, names: &[&str]| {
        let figures = &result(lock, check)?.figures;
        names.iter().find_map(|name| figures.get(*name).copied())
    };
    let (accepted, refused) = scene.stale();
    let grants = grants(lock, scene);
    let overlaps = figure(CheckName::MutualExclusion, &["overlaps"])
        .or_else(|| result(lock, CheckName::MutualExclusion).map(|result| result.violations.len() as f64));
    let overlap = figure(CheckName::MutualExclusion, &["overlap-ms"]);
    // Of ops that are not kept nobody looked at the resource's.
    let seen = |count: usize| lock.streamed.is_none().then_some(count as f64);
    let accepted = figure(CheckName::Fencing, &["stale-accepted"]).or_else(|| seen(accepted));
    let refused = figure(CheckName::Fencing, &["stale-refused"]).or_else(|| seen(refused));
    let acknowledged = figure(CheckName::LostUpdates, &["acknowledged", "acked"]);
    let lost = figure(CheckName::LostUpdates, &["lost"]);
    let percent = figure(CheckName::LostUpdates, &["lost-percent"])
        .or_else(|| Some(lost? / acknowledged? * 100.0).filter(|percent| percent.is_finite()));
    let plain = |label, value: Option<f64>, means: Option<Standing>| {
        value.map(|value| KeyFigure { label, value: number(value), means: means.filter(|_| value > 0.0) })
    };
    [
        plain("grants", Some(grants), None),
        plain("overlaps", overlaps, Some(Standing::Broken)),
        overlap.map(|overlap| KeyFigure {
            label: "overlap time",
            value: Duration::try_from_secs_f64(overlap / 1e3).map_or_else(|_| number(overlap), lasting),
            means: Some(Standing::Broken).filter(|_| overlap > 0.0),
        }),
        plain("stale accesses accepted", accepted, Some(Standing::Harmed)),
        plain("stale accesses refused", refused, None),
        plain("updates acknowledged", acknowledged, None),
        plain("updates lost", lost, Some(Standing::Harmed)),
        percent.map(|percent| KeyFigure {
            label: "share of updates lost",
            value: self::percent(percent),
            means: Some(Standing::Harmed).filter(|_| percent > 0.0),
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}
