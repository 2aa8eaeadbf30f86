//! What requests cost on real servers, beside what they cost in the simulation: a table for people, one object for
//! programs.
//!
//! Deliberately absent: how it was measured ([`crate::run::calibrate`]), and any judgement of it.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde_json::{Value, json};

use super::cost::Pool;
use crate::duration;
use crate::scenario::Simulation;

/// One kind of request, or one step of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What is asked, in the servers' words.
    pub name: &'static str,
    /// Whether one server answers it out of its memory, so that its round trip is the network's and little else.
    pub is_bare: bool,
}

/// What one kind of request took.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub kind: Kind,
    /// On real servers.
    pub real: Pool,
    /// In the simulation as it is unless a scenario says otherwise.
    pub model: Pool,
    /// In the simulation with the latency that was found.
    pub fitted: Pool,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The versions of what was measured.
    pub versions: String,
    /// How many processes wanted a processor when it began, and how many processors there are; none where nobody says.
    pub load: Option<(f64, usize)>,
    /// How often each request was made.
    pub rounds: usize,
    /// The kinds of request, in order.
    pub rows: Vec<Row>,
    /// The simulated network that has the round trips of the real one.
    pub simulation: Simulation,
}

impl Calibration {
    /// One object: times in microseconds.
    pub fn json(&self) -> Value {
        let pool = |pool: &Pool| {
            let micros = |quantile| pool.at(quantile).map(|at| at.as_micros() as u64);
            json!({ "count": pool.count(), "p50-us": micros(0.5), "p99-us": micros(0.99) })
        };
        let rows = self.rows.iter().map(|row| {
            let worlds = [("docker", &row.real), ("sim", &row.model), ("sim-as-set", &row.fitted)];
            let mut object = json!({ "request": row.kind.name });
            worlds.into_iter().for_each(|(world, times)| object[world] = pool(times));
            object
        });
        json!({
            "versions": self.versions,
            "rounds": self.rounds,
            "load": self.load.map(|(load, _)| load),
            "processors": self.load.map(|(_, processors)| processors),
            "requests": rows.collect::<Vec<_>>(),
            "simulation": {
                "least-latency": duration::text(self.simulation.least_latency),
                "median-latency": duration::text(self.simulation.median_latency),
            },
        })
    }

    /// What a scenario has to say for this network.
    pub fn table_for_scenarios(&self) -> String {
        let Simulation { least_latency, median_latency } = self.simulation;
        let [least, median] = [least_latency, median_latency].map(duration::text);
        format!("[simulation]\nleast-latency = \"{least}\"\nmedian-latency = \"{median}\"\n")
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .force_no_tty()
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["round trip, ms", "real p50", "p99", "simulated p50", "p99", "as set below p50", "p99"]);
        let times = |pool: &Pool| [0.5, 0.99].map(|quantile| milliseconds(pool.at(quantile)));
        for Row { kind, real, model, fitted } in &self.rows {
            let figures = [real, model, fitted].into_iter().flat_map(times);
            table.add_row([kind.name.to_owned()].into_iter().chain(figures));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(6)));
        }
        writeln!(f, "{table}")?;
        writeln!(f, "{} of each, one after the other; {}.", self.rounds, self.versions)?;
        if let Some((load, processors)) = self.load {
            writeln!(f, "The load of this machine was {load:.1} on {processors} processors when it began.")?;
            if load > processors as f64 / 2.0 {
                writeln!(
                    f,
                    "It was busy: these are the times of its processes more than of its network. Measure again when it is idle."
                )?;
            }
        }
        writeln!(
            f,
            "The simulation has a network and no more: what servers compute, and the disks that some sync before they\n\
             answer, cost nothing there. A scenario simulates a network with the round trips of this one if it says:\n"
        )?;
        write!(f, "{}", self.table_for_scenarios())
    }
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{:.3}", time.as_secs_f64() * 1_000.0))
}

/// The simulated network whose round trips have the shortest and the middle one of these: each of two segments takes
/// the least and something exponential beyond, and the sum of two that have their middle at h beyond has its own at
/// 2.42 h (the median of a gamma distribution of shape 2, 1.678, over ln 2). In whole microseconds; none of no round
/// trips.
pub fn fitted(round_trips: &Pool) -> Option<Simulation> {
    let (shortest, middle) = (round_trips.at(0.0)?, round_trips.at(0.5)?);
    let least = shortest / 2;
    let beyond = middle.saturating_sub(shortest).as_secs_f64() / 2.42;
    let whole = |time: Duration| Duration::from_micros(time.as_micros() as u64);
    let least_latency = whole(least);
    Some(Simulation { least_latency, median_latency: least_latency + whole(Duration::from_secs_f64(beyond)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::calibrate;
    use crate::seed::Seed;

    #[test]
    fn a_simulated_network_is_found_by_its_own_round_trips() {
        for (least, median) in [(100, 200), (20, 45), (2_000, 2_500)] {
            let set = Simulation {
                least_latency: Duration::from_micros(least),
                median_latency: Duration::from_micros(median),
            };
            let pools = calibrate::simulated(set, 500, Seed(7)).unwrap();
            let mut bare = Pool::default();
            pools.iter().filter(|(kind, _)| kind.is_bare).for_each(|(_, pool)| bare.add(pool));
            let found = fitted(&bare).unwrap();
            let near = |found: Duration, set: Duration| {
                let (found, set) = (found.as_secs_f64(), set.as_secs_f64());
                assert!((found / set - 1.0).abs() < 0.12, "{found} is not near {set}");
            };
            near(found.least_latency, set.least_latency);
            near(found.median_latency, set.median_latency);
        }
        assert_eq!(fitted(&Pool::default()), None);
    }

    #[test]
    fn a_busy_machine_is_not_taken_for_a_slow_network() {
        let told = |load| {
            let calibration = Calibration {
                versions: "Redis 8".to_owned(),
                load,
                rounds: 1,
                rows: vec![Row {
                    kind: calibrate::kinds()[0],
                    real: Pool::default(),
                    model: Pool::default(),
                    fitted: Pool::default(),
                }],
                simulation: Simulation {
                    least_latency: Duration::from_micros(21),
                    median_latency: Duration::from_micros(34),
                },
            };
            calibration.to_string()
        };
        assert!(told(Some((7.3, 2))).contains("7.3 on 2 processors") && told(Some((7.3, 2))).contains("It was busy"));
        assert!(!told(Some((0.4, 2))).contains("It was busy"));
        let text = told(None);
        let table = &text[text.find("[simulation]").unwrap()..];
        assert_eq!(table, "[simulation]\nleast-latency = \"21µs\"\nmedian-latency = \"34µs\"\n");
    }

    #[test]
    fn what_an_ensemble_agrees_on_costs_more_than_what_one_server_knows_and_all_kinds_are_measured() {
        let pools = calibrate::simulated(Simulation::default(), 200, Seed(7)).unwrap();
        assert_eq!(pools.len(), calibrate::kinds().len());
        assert!(pools.iter().all(|(_, pool)| pool.count() == 200));
        let middle = |name: &str| {
            let (_, pool) = pools.iter().find(|(kind, _)| kind.name == name).unwrap();
            pool.at(0.5).unwrap()
        };
        assert!(middle("ZooKeeper: create an ephemeral znode") > middle("ZooKeeper: stat a znode"));
    }
}
