//! What a scenario may say of the simulated network: how long a segment takes one way.
//!
//! Real servers have the network that they have; there the table says nothing. Deliberately absent: the time that
//! servers take for themselves. Simulated ones answer at once, and sync no disk that has to be waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::file::SimulationTable;
use super::problems::Problems;

/// No network that anybody takes locks over is slower.
const LONGEST: Duration = Duration::from_secs(1);

/// The latency of every simulated link, one way and while no fault is in force. Beyond the least it is distributed
/// exponentially; one segment in 1,024 takes up to 10 ms more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulation {
    /// No segment takes less.
    pub least_latency: Duration,
    /// Half of all segments take no longer, the least included.
    pub median_latency: Duration,
}

impl Default for Simulation {
    /// A hop inside of a data centre.
    fn default() -> Self {
        Self { least_latency: Duration::from_micros(100), median_latency: Duration::from_micros(200) }
    }
}

/// The table, or the default of what it does not say.
pub(super) fn simulation(table: &SimulationTable, problems: &mut Problems<'_>) -> Option<Simulation> {
    let usual = Simulation::default();
    let mut read = |key: &str, field: &Option<_>, usual: Duration| match field {
        None => Some((usual, None)),
        Some(field) => {
            let latency = problems.duration(key, field)?;
            if latency > LONGEST {
                let problem = Problem::at(&field.span, format!("`{key}` must be at most 1 s"), "too long");
                return problems.refuse(problem.help("a link that is this slow for a while is a `[[fault.delay]]`"));
            }
            Some((latency, Some(field.span.clone())))
        }
    };
    let least = read("least-latency", &table.least_latency, usual.least_latency);
    let median = read("median-latency", &table.median_latency, usual.median_latency);
    let ((least, at_least), (median, at_median)) = (least?, median?);
    if median < least {
        let title = "`median-latency` is less than `least-latency`";
        let help = format!(
            "half of all segments take at least the least; if absent, `least-latency` is {} and `median-latency` {}",
            super::duration::text(usual.least_latency),
            super::duration::text(usual.median_latency)
        );
        let place = at_median.or(at_least).unwrap_or_default();
        return problems.refuse(Problem::at(&place, title, "too short").help(help));
    }
    Some(Simulation { least_latency: least, median_latency: median })
}
