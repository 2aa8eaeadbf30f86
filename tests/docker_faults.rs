//! Each fault on real servers, many times: was it applied as asked, was it healed, and how far
//! from what was asked was it? Prints a table for each kind.
//!
//! Needs Docker and takes minutes: `cargo test --features docker-tests --test docker_faults -- --nocapture
//! --test-threads=1`. Each kind strikes three times; `FENCEPOST_STRIKES=20` more often. No time is asserted; that a
//! fault was seen, and that its trace is gone, is.

#![expect(clippy::disallowed_methods, reason = "real servers live in real time")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use fencepost::env::docker::backends::redis;
use fencepost::env::docker::cluster_name::{VARIABLE, choose, cluster};
use fencepost::env::docker::container::{Container, Role};
use fencepost::env::docker::engine::Engine;
use fencepost::fault::Member;
use fencepost::history::{self, F, FaultEvent, History, Op, OpType, Stage};
use fencepost::scenario::{Backend, Persistence};
use futures_util::future::join_all;

/// How often each kind is to strike at least.
fn wanted() -> usize {
    std::env::var("FENCEPOST_STRIKES").map_or(3, |strikes| strikes.parse().unwrap())
}

/// The cluster that the runs started from here use too: which one, their environment says.
fn own_cluster() -> &'static str {
    if let Ok(name) = std::env::var(VARIABLE) {
        choose(&name).unwrap();
    }
    cluster()
}

/// The beginning of a scenario whose workload does not matter: faults are what it is about.
fn workload(seconds: usize) -> String {
    format!(
        "title = \"Faults, many times\"\n[workload]\nkind = \"inventory\"\nclients = 4\nhold = \"50ms..100ms\"\n\
         think = \"100ms..200ms\"\nwait = \"5s\"\nduration = \"{seconds}s\"\n[resource]\nfencing = \"none\"\n"
    )
}

/// As [`workload`], long enough for faults that strike every so many seconds.
fn workload_for(every: usize) -> String {
    workload(every * (wanted() + 2) + 4)
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
        let said = probes.iter().find_map(|probe| probe.what.at.split_once("had not synced, "))?.1;
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
        all.entry((event.kind.to_string(), sort.to_owned())).or_default().push(Strike { applied, healed });
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
            if strikes.len() < wanted() {
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
    // Each kind has a member of its own, so that the figures are those of one fault.
    let clocks = |sort: &str| {
        [
            fault("clock-jump", &format!("{sort}:1"), "by = \"+4s\"\nat = { every = \"4s\" }\nfor = \"1s\""),
            fault("clock-drift", &format!("{sort}:2"), "by = \"-10%\"\nat = { every = \"4s\" }\nfor = \"2s\""),
            fault(
                "clock-strobe",
                &format!("{sort}:3"),
                "by = \"+300ms\"\nperiod = \"50ms\"\nat = { every = \"4s\" }\nfor = \"1s\"",
            ),
        ]
        .concat()
    };
    let text = workload_for(4) + REDLOCK + ZOOKEEPER + &clocks("node") + &clocks("client");
    let wrong = tell(&run("clocks", &text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_dies_behind_a_partition_or_with_a_wrong_clock_comes_back_to_it() {
    let text = workload(16)
        + REDLOCK
        + ZOOKEEPER
        + &fault("clock-jump", "node:1", "by = \"+4s\"\nat = \"1s\"\nfor = \"7s\"")
        + &fault("kill", "node:1", "at = \"3s\"\nfor = \"500ms\"")
        + &fault("partition", "node:2", "peers = \"clients\"\nat = \"3s\"\nfor = \"9s\"")
        + &fault("restart", "node:2", "at = \"7s\"")
        + &fault("clock-drift", "node:3", "by = \"+10%\"\nat = \"9s\"\nfor = \"2s\"")
        + &fault("pause", "node:3", "at = \"10.5s\"\nfor = \"2s\"");
    for (lock, history) in run("revenants", &text) {
        let all: Vec<Strike<'_>> = strikes(&lock, &history).into_values().flatten().collect();
        assert_eq!(all.len(), 6, "{lock}: all strike");
        let find = |kind: &str| {
            let strike = all.iter().find(|strike| strike.event().kind.as_str() == kind).unwrap();
            assert!(strike.applied.kind == OpType::Ok && strike.has_healed(), "{lock}: {:?}", strike.healed);
            (strike.applied.time, strike.healed.unwrap())
        };
        let ends_within = |stop: &str, longer: &str| {
            let ((began, _), (stopped, back), (_, healed)) = (find(longer), find(stop), find(longer));
            assert!(began < stopped && back.time < healed.time, "{lock}: {stop} in {longer}");
            healed.fault.as_ref().unwrap().probes.clone()
        };
        let jump = ends_within("kill", "clock-jump");
        let last = jump.iter().find(|probe| probe.what.stage == Some(Stage::UntilTheEnd)).unwrap();
        let wrong = last.clock.as_ref().unwrap();
        assert!((wrong.error - 4_000_000_000).unsigned_abs() <= wrong.uncertainty, "{lock}: {last:?}");
        // Rules go with the network namespace: what these have counted was met since.
        let cut = ends_within("restart", "partition");
        let struck = |text: &str| text.split_once("until then ")?.1.split(' ').next()?.parse::<u64>().ok();
        let struck: u64 = cut.iter().filter_map(|probe| struck(&probe.measured)).sum();
        assert!(struck > 0, "{lock}: {cut:?}");
        // A frozen clock cannot be read: the drift's end waits for the thaw.
        ends_within("pause", "clock-drift");
        println!("{lock}: clock wrong by {} ns after a restart, {struck} packets dropped after a restart", wrong.error);
    }
}

#[test]
fn redis_servers_and_clients_die_and_come_back() {
    let text = workload_for(6)
        + REDLOCK
        + &fault("kill", "node:1", "at = { every = \"6s\" }\nfor = \"500ms\"")
        + &fault("restart", "node:2", "at = { every = \"6s\" }")
        + &fault("power-loss", "node:3", "at = { every = \"6s\" }\nfor = \"300ms\"")
        + &fault("kill", "client:1", "at = { every = \"6s\" }\nfor = \"500ms\"");
    let wrong = tell(&run("deaths", &text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A cluster that has had many runs: each with an append-only file begins it anew, and what was synced of more files is
/// known than there is room for.
#[test]
fn a_power_loss_after_many_runs_takes_no_more_than_was_not_synced() {
    assert!(Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", "up"]).status().unwrap().success());
    let name = format!("{}-redis-3", own_cluster());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let containers = Engine::connect().await.unwrap().containers().await.unwrap();
        let server = containers.iter().find(|own| own.name == name).unwrap();
        let address = ([127, 0, 0, 1], server.published.unwrap()).into();
        for _ in 0..60 {
            for kept in [Persistence::None, Persistence::Everysec] {
                redis::keep(address, kept).await.unwrap();
            }
        }
    });
    let text = workload(10) + REDLOCK + &fault("power-loss", "node:3", "at = \"4s\"\nfor = \"300ms\"");
    let histories = run("old-cluster", &text);
    let all = strikes("redlock", &histories["redlock"]);
    let strike = &all[&("power-loss".to_owned(), "Redis".to_owned())][0];
    assert!(strike.applied.kind == OpType::Ok && strike.has_healed(), "{:?}", strike.healed);
    let log = Command::new("docker").args(["logs", "--since", "30s", &name]).output().unwrap();
    let log = [log.stdout, log.stderr].concat();
    let log = String::from_utf8_lossy(&log);
    let kept: Vec<&str> = log.lines().filter(|line| line.contains(".manifest had")).collect();
    assert!(!kept.is_empty() && kept.iter().all(|line| !line.ends_with(" 0 are left")), "{log}");
}

#[test]
fn zookeeper_servers_die_and_come_back() {
    let text = workload_for(9) + ZOOKEEPER + &fault("kill", "node:1", "at = { every = \"9s\" }\nfor = \"500ms\"");
    let wrong = tell(&run("ensemble-deaths", &text));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How many SETs each of these Redis servers has executed.
async fn sets(servers: &[Container]) -> Vec<u64> {
    let counts = servers.iter().map(|server| async {
        let address = ([127, 0, 0, 1], server.published.unwrap()).into();
        let told = redis::commands(address, &["INFO commandstats"], Duration::from_secs(2)).await.unwrap();
        let calls = told.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    });
    join_all(counts).await
}

/// By the nft of the container's own image, which the helper's is too: an older one may not survive what that laid.
fn is_cut(pid: i64) -> bool {
    let look = ["-t", &pid.to_string(), "-n", "-m", "nft", "list", "tables"].map(str::to_owned);
    let tables = Command::new("nsenter").args(look).output().unwrap();
    String::from_utf8(tables.stdout).unwrap().contains("fencepost_")
}

/// How many SETs each Redis server executes in the three and a half seconds after the only client's network was seen to
/// have a table of ours, which it must have all that time.
async fn sets_while_cut() -> Vec<u64> {
    own_cluster();
    let engine = Engine::connect().await.unwrap();
    let started = Instant::now();
    let (servers, pid) = loop {
        assert!(started.elapsed() < Duration::from_secs(60), "no client was seen");
        let (servers, others): (Vec<_>, Vec<_>) =
            engine.containers().await.unwrap().into_iter().partition(|own| own.role == Role::Server(Backend::Redis));
        if let Some(client) = others.iter().find(|own| own.role == Role::Client)
            && let Ok(Some(pid)) = engine.pid(client).await
        {
            break (servers, pid);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    while !is_cut(pid) {
        assert!(started.elapsed() < Duration::from_secs(60), "no cut was seen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = sets(&servers).await;
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let after = sets(&servers).await;
    assert!(is_cut(pid), "the cut was over while its effect was counted");
    after.iter().zip(before).map(|(after, before)| after - before).collect()
}

#[test]
fn a_request_whose_reply_is_lost_is_executed_on_a_pooled_connection_only() {
    for connections in ["pooled", "fresh"] {
        // One client: all votes are its own. Cut off while it thinks and asks nobody for anything, so that whoever
        // counts is there before its next SET, the first of the requests that stay without an answer: TCP holds later
        // ones back.
        let lock = format!("[lock.redlock]\nnodes = 5\nttl = \"10s\"\nconnections = \"{connections}\"\n");
        let cut = "peers = \"nodes\"\ndirection = \"in\"\nat = \"3800ms\"\nfor = \"6s\"";
        let work = workload(10).replace("clients = 4", "clients = 1").replace("100ms..200ms", "3s..3s");
        let text = work + &lock + &fault("partition", "client:1", cut);
        let (executed, histories) = std::thread::scope(|scope| {
            let run = scope.spawn(|| run(connections, &text));
            let executed = tokio::runtime::Runtime::new().unwrap().block_on(sets_while_cut());
            (executed, run.join().unwrap())
        });
        println!("{connections}: SETs executed while replies were cut off, on each server: {executed:?}");
        let strikes = strikes("redlock", &histories["redlock"]);
        let strike = &strikes[&("partition".to_owned(), "client".to_owned())][0];
        assert!(strike.applied.kind == OpType::Ok && strike.has_healed(), "{connections}: {:?}", strike.applied);
        match connections {
            // A connection whose answer nobody waited for, the majority having voted, is opened anew after a second.
            "pooled" => {
                assert!(executed.iter().filter(|sets| **sets > 0).count() >= 3, "requests arrive: {executed:?}")
            }
            _ => assert_eq!(executed, [0; 5], "no connection comes about"),
        }
    }
}

/// A duration as `Debug` writes it, in ms.
fn millis(text: &str) -> Option<f64> {
    [("ms", 1.0), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3)]
        .into_iter()
        .find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale))
}

/// What was measured of links while a strike was on: round trips in ms, or shares of packets in per cent.
fn measured(strike: &Strike<'_>) -> Vec<f64> {
    let during = strike.event().probes.iter().filter(|probe| probe.what.stage == Some(Stage::During));
    let figure = |text: &str| match text.strip_prefix("round trip ") {
        Some(time) => millis(time),
        None => {
            let (struck, met) = text.strip_suffix(" packets")?.split_once(" of ")?;
            Some(struck.parse::<f64>().ok()? / met.parse::<f64>().ok()? * 100.0)
        }
    };
    during.filter_map(|probe| figure(&probe.measured)).collect()
}

/// Prints a table of strikes on links, one line for each entry of the plan, and says what was not as it should be.
fn tell_links(histories: &BTreeMap<String, History>, entries: usize) -> Vec<String> {
    let mut table = "| lock | plan | strikes | seen | healed | applied and seen within, ms (median / most) | measured \
                     (least .. most) |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut wrong = Vec::new();
    for (lock, history) in histories {
        let mut plans: BTreeMap<String, Vec<Strike<'_>>> = BTreeMap::new();
        for strike in strikes(lock, history).into_values().flatten() {
            plans.entry(strike.event().plan.clone()).or_default().push(strike);
        }
        if plans.len() < entries {
            wrong.push(format!("{lock}: only {:?} struck", plans.keys()));
        }
        for (plan, strikes) in plans {
            let seen = strikes.iter().filter(|strike| strike.applied.kind == OpType::Ok).count();
            let healed = strikes.iter().filter(|strike| strike.has_healed()).count();
            let took = strikes.iter().map(|strike| {
                let id = strike.event().id;
                let asked = |op: &&Op| {
                    op.f == F::Fault
                        && op.kind == OpType::Invoke
                        && op.fault.as_ref().is_some_and(|fault| fault.id == id)
                };
                (strike.applied.time - history.ops.iter().find(asked).unwrap().time).as_secs_f64() * 1e3
            });
            let took = median_and_most(took);
            let figures: Vec<f64> = strikes.iter().flat_map(measured).collect();
            let least = figures.iter().copied().reduce(f64::min).unwrap_or_default();
            let most = figures.iter().copied().reduce(f64::max).unwrap_or_default();
            let unit = if plan.starts_with("delay") { "ms" } else { "% of packets" };
            let count = strikes.len();
            writeln!(
                table,
                "| {lock} | {plan} | {count} | {seen} | {healed} | {took} | {least:.1} .. {most:.1} {unit} |"
            )
            .unwrap();
            if count < wanted() {
                wrong.push(format!("{lock}: {plan} struck only {count} times"));
            }
            for strike in strikes.iter().filter(|strike| strike.applied.kind != OpType::Ok || !strike.has_healed()) {
                for op in [Some(strike.applied), strike.healed].into_iter().flatten() {
                    let probes = op.fault.iter().flat_map(|fault| &fault.probes).filter(|probe| !probe.passed());
                    let probes: Vec<_> = probes.collect();
                    wrong.push(format!("{plan} at {}: {:?} {:?} {probes:?}", op.time, op.kind, op.error));
                }
            }
        }
    }
    println!("{table}");
    wrong
}

#[test]
fn links_are_cut_and_slowed_and_lossy_as_asked_and_carry_everything_again() {
    let at = "at = { every = \"3s\" }\nfor = \"800ms\"\n";
    let text = workload_for(3)
        + REDLOCK
        + &fault("partition", "node:1", at)
        + &fault("partition", "client:1", &format!("{at}peers = [\"node:4\"]\nrefusal = \"reset\""))
        + &fault("partition", "client:2", &format!("{at}peers = [\"node:5\"]\ndirection = \"in\""))
        + &fault("loss", "node:2", &format!("{at}peers = \"clients\"\npercent = 20"))
        + &fault("delay", "node:3", &format!("{at}peers = \"clients\"\nby = \"30ms..60ms\""))
        + &fault("delay", "client:3", &format!("{at}peers = \"resource\"\ndirection = \"out\"\nby = \"200ms\""));
    let wrong = tell_links(&run("links", &text), 6);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everybody_is_divided_as_asked_and_meets_again() {
    let at = "at = { every = \"5s\" }\nfor = \"400ms\"\n";
    let shape = |shape: &str, rest: &str| fault("partition", "all", &format!("{at}shape = \"{shape}\"\n{rest}"));
    let text = workload_for(5)
        + REDLOCK
        + ZOOKEEPER
        + &shape("halves", "")
        + &shape("bridge", "refusal = \"reset\"")
        + &shape("majorities-ring", "");
    let wrong = tell_links(&run("shapes", &text), 3);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn targets_and_phases_are_what_they_say_when_a_fault_strikes() {
    let phases = ["acquired", "before-read", "renewing", "before-write", "after-write", "releasing"];
    let held = phases.map(|phase| {
        fault("pause", "holder", &format!("at = {{ phase = \"{phase}\", every = \"2s\" }}\nfor = \"100ms\""))
    });
    let waiting = ["acquiring", "votes-in"].map(|phase| {
        fault("pause", "waiter", &format!("at = {{ phase = \"{phase}\", every = \"2s\" }}\nfor = \"100ms\""))
    });
    let text = workload(30)
        + ZOOKEEPER
        + &held.concat()
        + &waiting.concat()
        + &fault("pause", "client:1", "at = { phase = \"released\" }\nfor = \"100ms\"")
        + &fault("partition", "leader", "at = \"12s\"\nfor = \"300ms\"\npeers = \"clients\"")
        + &fault("partition", "holder-server", "at = \"16s\"\nfor = \"300ms\"\npeers = \"clients\"")
        + &fault("pause", "node:2", "at = { phase = \"acquired\", every = \"9s\" }\nfor = \"100ms\"");
    let histories = run("targets", &text);
    let struck: Vec<&FaultEvent> = strikes("zookeeper", &histories["zookeeper"])
        .into_values()
        .flatten()
        .filter(|strike| strike.applied.kind == OpType::Ok && strike.has_healed())
        .map(|strike| strike.applied.fault.as_deref().unwrap())
        .collect();
    let plans = text.matches("[[fault.").count();
    let seen: std::collections::BTreeSet<&str> = struck.iter().map(|event| event.plan.as_str()).collect();
    assert_eq!(seen.len(), plans, "struck, seen and healed: {seen:#?}");
    for event in struck {
        let is_client = matches!(event.targets[..], [Member::Client(_)]);
        let aimed_at_client = ["holder at", "waiter", "client:1"].iter().any(|word| event.plan.contains(word));
        assert_eq!(is_client, aimed_at_client, "{event:?}");
        if let Some(phase) = event.phase {
            assert!(event.plan.contains(phase.name()), "{event:?}");
        }
    }
}
