//! Each fault of processes and clocks on real servers, many times: was it applied as asked, was it healed, and how far
//! from what was asked was it? Prints a table for each kind.
//!
//! Needs Docker and takes minutes: `cargo test --features docker-tests --test docker_faults -- --nocapture
//! --test-threads=1`. No time is asserted; that a fault was seen, and that its trace is gone, is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use fencepost::fault::Member;
use fencepost::history::{self, F, FaultEvent, History, Op, OpType};

/// How often each kind is to strike at least.
const STRIKES: usize = 20;

/// The beginning of a scenario whose workload does not matter: faults are what it is about.
fn workload(seconds: u32) -> String {
    format!(
        "title = \"Faults, many times\"\n[workload]\nkind = \"inventory\"\nclients = 4\nhold = \"50ms..100ms\"\n\
         think = \"100ms..200ms\"\nwait = \"5s\"\nduration = \"{seconds}s\"\n[resource]\nfencing = \"none\"\n"
    )
}

const REDLOCK: &str = "[lock.redlock]\nnodes = 5\nttl = \"1s\"\npersistence = \"everysec\"\n";
const ZOOKEEPER: &str = "[lock.zookeeper]\nservers = 3\nsession-timeout = \"2s\"\n";

fn fault(kind: &str, target: &str, rest: &str) -> String {
    format!("[[fault.{kind}]]\ntarget = \"{target}\"\n{rest}\n")
}

/// Runs a scenario on containers: each lock's history. What the run's own checks say of it does not matter here.
fn run(name: &str, text: &str) -> BTreeMap<String, History> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("{name}.toml"));
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
    command.args(["run", "--env", "docker", "--format", "json", "--out"]).arg(folder.path()).arg(&file);
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0..=2)), "{name}: {message}");
    let latest = folder.path().join(name).join("latest");
    let locks = fs::read_dir(&latest).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let history = |path: &std::path::Path| history::file::read(&path.join("history.jsonl")).unwrap();
    locks.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), history(&path))).collect()
}

/// One strike of a history.
struct Strike<'a> {
    applied: &'a Op,
    healed: Option<&'a Op>,
}

impl Strike<'_> {
    fn event(&self) -> &FaultEvent {
        self.applied.fault.as_ref().unwrap()
    }

    fn has_healed(&self) -> bool {
        self.healed.is_some_and(|op| op.kind == OpType::Ok)
    }

    /// How far clocks were from where they should have been, at most, ms; and how far readings may have been off.
    fn clock_error(&self) -> Option<(f64, f64)> {
        let ops = [Some(self.applied), self.healed];
        let probes = ops.into_iter().flatten().flat_map(|op| &op.fault.as_ref().unwrap().probes);
        let readings = probes.filter_map(|probe| probe.clock.as_ref());
        let errors = readings.filter_map(|reading| {
            Some(((reading.error - reading.expected?).abs() as f64 / 1e6, reading.uncertainty as f64 / 1e6))
        });
        errors.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    /// From the report that it was dead to the report that it answered, ms.
    fn downtime(&self) -> Option<f64> {
        self.healed.map(|op| (op.time - self.applied.time).as_secs_f64() * 1e3)
    }

    /// What a power loss took, bytes.
    fn cut(&self) -> Option<f64> {
        let probes = &self.healed?.fault.as_ref()?.probes;
        let said = probes.iter().find_map(|probe| probe.what.split_once("had not synced, "))?.1;
        said.strip_suffix(" bytes")?.parse().ok()
    }
}

/// All strikes, by kind and sort of member.
fn strikes<'a>(lock: &str, history: &'a History) -> BTreeMap<(String, String), Vec<Strike<'a>>> {
    let mut all: BTreeMap<(String, String), Vec<Strike<'a>>> = BTreeMap::new();
    let of = |f| history.ops.iter().filter(move |op| op.f == f && op.kind != OpType::Invoke);
    for applied in of(F::Fault) {
        let event = applied.fault.as_ref().unwrap();
        let healed = of(F::Heal).find(|op| op.fault.as_ref().unwrap().id == event.id);
        let sort = match event.targets[0] {
            Member::Client(_) => "client",
            Member::Node(_) if lock == "redlock" => "Redis",
            Member::Node(_) => "ZooKeeper",
            Member::Resource => "resource",
        };
        all.entry((event.kind.clone(), sort.to_owned())).or_default().push(Strike { applied, healed });
    }
    all
}

fn median_and_most(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.last() {
        None => "–".to_owned(),
        Some(most) => format!("{:.1} / {most:.1}", values[values.len() / 2]),
    }
}

/// Prints a table, and says what was not as it should be.
fn tell(histories: &BTreeMap<String, History>) -> Vec<String> {
    let mut table = "| fault | on | strikes | seen | healed | asked for, ms | error of clocks, ms (median / most; \
                     readings ±) | downtime, ms (median / most) | bytes lost (median / most) |\n\
                     |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut wrong = Vec::new();
    for (lock, history) in histories {
        for ((kind, sort), strikes) in strikes(lock, history) {
            let seen = strikes.iter().filter(|strike| strike.applied.kind == OpType::Ok).count();
            let healed = strikes.iter().filter(|strike| strike.has_healed()).count();
            let clocks = || strikes.iter().filter_map(Strike::clock_error);
            let is_death = matches!(&*kind, "kill" | "restart" | "power-loss");
            let downtimes = strikes.iter().filter(|_| is_death).filter_map(Strike::downtime);
            let uncertainty = clocks().map(|(_, uncertainty)| uncertainty).fold(0.0, f64::max);
            writeln!(
                table,
                "| {kind} | {sort} | {} | {seen} | {healed} | {} | {} ± {uncertainty:.1} | {} | {} |",
                strikes.len(),
                strikes[0].event().requested / 1_000_000,
                median_and_most(clocks().map(|(error, _)| error)),
                median_and_most(downtimes),
                median_and_most(strikes.iter().filter_map(Strike::cut)),
            )
            .unwrap();
            if strikes.len() < STRIKES {
                wrong.push(format!("{kind} on {sort} struck only {} times", strikes.len()));
            }
            for strike in strikes.iter().filter(|strike| strike.applied.kind != OpType::Ok || !strike.has_healed()) {
                for op in [Some(strike.applied), strike.healed].into_iter().flatten() {
                    let probes = op.fault.iter().flat_map(|fault| &fault.probes).filter(|probe| !probe.passed());
                    let probes: Vec<_> = probes.collect();
                    wrong.push(format!("{kind} on {sort} at {}: {:?} {:?} {probes:?}", op.time, op.kind, op.error));
                }
            }
        }
    }
    println!("{table}");
    wrong
}

#[test]
fn clocks_go_wrong_as_asked_and_are_set_right() {
    let clocks = |target: &str| {
        [
            fault("clock-jump", target, "by = \"+4s\"\nat = { every = \"3s\" }\nfor = \"1s\""),
            fault("clock-drift", target, "by = \"-10%\"\nat = { every = \"3s\" }\nfor = \"2s\""),
            fault("clock-strobe", target, "by = \"+300ms\"\nperiod = \"50ms\"\nat = { every = \"3s\" }\nfor = \"1s\""),
        ]
        .concat()
    };
    let text = workload(69) + REDLOCK + ZOOKEEPER + &clocks("one") + &clocks("client:2");
    let wrong = tell(&run("clocks", &text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn redis_servers_and_clients_die_and_come_back() {
    let text = workload(130)
        + REDLOCK
        + &fault("kill", "node:1", "at = { every = \"6s\" }\nfor = \"500ms\"")
        + &fault("restart", "node:2", "at = { every = \"6s\" }")
        + &fault("power-loss", "node:3", "at = { every = \"6s\" }\nfor = \"300ms\"")
        + &fault("kill", "client:1", "at = { every = \"6s\" }\nfor = \"500ms\"");
    let wrong = tell(&run("deaths", &text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn zookeeper_servers_die_and_come_back() {
    let text = workload(190) + ZOOKEEPER + &fault("kill", "node:1", "at = { every = \"9s\" }\nfor = \"500ms\"");
    let wrong = tell(&run("ensemble-deaths", &text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
