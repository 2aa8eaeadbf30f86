//! How fast the simulation is on one core: `cargo bench --bench simulation`.
//!
//! Simulated seconds and events per CPU-second, with faults, history, trace and checks on; then how that grows with the
//! number of clients. CPU time, not wall time: a busy machine does not change it much. An event is an entry of the
//! trace: a segment sent, lost or delivered, a timer that ran out, a fault, a recorded op.
//!
//! `cargo bench --bench simulation -- chaos zookeeper 50 3` measures one line only: scenario, lock, clients, seeds.
//! That is what to give a profiler.

use std::io::Write;
use std::time::Duration;

use fencepost::check;
use fencepost::env::sim::run_trial;
use fencepost::scenario::{self, Capabilities, Scenario};
use fencepost::seed::Seed;

/// What the base size must reach (docs/design.md, "Goals").
const GOAL_SIMULATED: f64 = 1_000.0;
const GOAL_EVENTS: f64 = 1.0e6;

struct Measured {
    simulated: Duration,
    events: u64,
    ops: usize,
    trial: Duration,
    check: Duration,
}

impl Measured {
    fn simulated_per_second(&self) -> f64 {
        self.simulated.as_secs_f64() / (self.trial + self.check).as_secs_f64()
    }

    fn events_per_second(&self) -> f64 {
        self.events as f64 / (self.trial + self.check).as_secs_f64()
    }
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn measure(scenario: &Scenario, lock: &str, seeds: u64) -> Measured {
    let mut sum =
        Measured { simulated: Duration::ZERO, events: 0, ops: 0, trial: Duration::ZERO, check: Duration::ZERO };
    for seed in 0..seeds {
        let begun = cpu_time();
        let outcome = run_trial(scenario, lock, Seed(seed));
        let tried = cpu_time();
        assert_eq!(outcome.error, None, "{} on {lock}, seed {seed}", scenario.name);
        let judgement = check::judge(&outcome.history);
        assert!(judgement.checks.len() > 1, "{} on {lock}, seed {seed}: malformed history", scenario.name);
        sum.check += cpu_time() - tried;
        sum.trial += tried - begun;
        sum.simulated += outcome.simulated;
        sum.events += outcome.trace.events();
        sum.ops += outcome.history.ops.len();
    }
    sum
}

fn load(name: &str) -> Scenario {
    let path = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    scenario::load(path.as_ref(), &Capabilities::sim()).unwrap_or_else(|error| panic!("{error}"))
}

/// A line of the table. Nobody may be listening to the end of it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn row(scenario: &str, lock: &str, clients: u32, measured: &Measured) {
    say(&format!(
        "{scenario:<16} {lock:<10} {clients:>7} {:>9.0} {:>9} {:>7} {:>9.2} {:>8.0} % {:>12.0} {:>12.2}",
        measured.simulated.as_secs_f64(),
        measured.events,
        measured.ops,
        (measured.trial + measured.check).as_secs_f64(),
        100.0 * measured.check.as_secs_f64() / (measured.trial + measured.check).as_secs_f64(),
        measured.simulated_per_second(),
        measured.events_per_second() / 1e6,
    ));
}

/// A scenario with this many clients, and one lock name for every five of them.
fn crowded(name: &str, clients: u32) -> Scenario {
    let mut scenario = load(name);
    scenario.workload.clients = clients;
    scenario.workload.locks = (clients / 5).max(1);
    scenario
}

fn main() {
    say(&format!(
        "{:<16} {:<10} {:>7} {:>9} {:>9} {:>7} {:>9} {:>10} {:>12} {:>12}",
        "scenario", "lock", "clients", "simulated", "events", "ops", "CPU s", "in checks", "sim s/CPU s", "M ev/CPU s"
    ));
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [name, lock, clients, seeds] = &arguments[..] {
        let (clients, seeds) = (clients.parse().expect("how many clients"), seeds.parse().expect("how many seeds"));
        return row(name, lock, clients, &measure(&crowded(name, clients), lock, seeds));
    }
    // Warm caches and allocator.
    measure(&load("client-pause"), "redlock", 5);
    let base = measure(&load("client-pause"), "redlock", 50);
    row("client-pause", "redlock", 5, &base);
    for (name, lock) in [
        ("client-pause", "zookeeper"),
        ("calm", "redlock"),
        ("calm", "zookeeper"),
        ("chaos", "redlock"),
        ("chaos", "zookeeper"),
        ("partition-client", "redlock"),
        ("partition-client", "zookeeper"),
    ] {
        let scenario = load(name);
        row(name, lock, scenario.workload.clients, &measure(&scenario, lock, 30));
    }
    say("\ngrowth: client-pause, one lock name for every 5 clients");
    for lock in ["redlock", "zookeeper"] {
        for (clients, seeds) in [(5, 30), (50, 6), (500, 1)] {
            row("client-pause", lock, clients, &measure(&crowded("client-pause", clients), lock, seeds));
        }
    }
    let met = |reached: f64, goal: f64| if reached >= goal { "met" } else { "MISSED" };
    say(&format!(
        "\ngoal at the base size: {:.0} of {GOAL_SIMULATED} simulated s per CPU s ({}), {:.2} of {} M events per CPU s ({})",
        base.simulated_per_second(),
        met(base.simulated_per_second(), GOAL_SIMULATED),
        base.events_per_second() / 1e6,
        GOAL_EVENTS / 1e6,
        met(base.events_per_second(), GOAL_EVENTS),
    ));
}
