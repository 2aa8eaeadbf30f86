//! Somebody else on the same daemon: other runs, other clusters, strangers, and people who kill and freeze by hand.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fencepost::env::docker::container::Role;
use fencepost::env::docker::engine::Engine;
use fencepost::env::docker::files::state_folder;
use fencepost::env::docker::journal::Journal;
use fencepost::history::{self, F};
use serde_json::Value;

use crate::cut_short::somebody_is_frozen;
use crate::harness::*;

/// Kills and freezes by hand what a run uses: each is noticed, nobody is accused, nothing of it is valid, and what the
/// other lock's trial used is judged as ever.
#[test]
fn what_others_do_is_told_and_laid_at_nobodys_door() {
    let _turn = turn();
    let client = || containers().into_iter().find(|own| own.name.ends_with("-zookeeper-c2")).unwrap().name;
    let freeze = |names: &[&str]| {
        docker(&[&["pause"], names].concat());
        std::thread::sleep(Duration::from_millis(2_500));
        docker(&[&["unpause"], names].concat());
    };
    let masters = ["fencepost-redis-1", "fencepost-redis-2", "fencepost-redis-3"];
    let cases: [(&str, &str, &str, &dyn Fn()); 4] = [
        ("redlock", "zookeeper", "fencepost-redis-2 ended", &|| drop(docker(&["kill", "fencepost-redis-2"]))),
        ("redlock", "zookeeper", "was frozen", &|| freeze(&masters)),
        ("zookeeper", "redlock", "fencepost-zookeeper-2 ended", &|| drop(docker(&["kill", "fencepost-zookeeper-2"]))),
        ("zookeeper", "redlock", "-zookeeper-c2 was frozen", &|| freeze(&[&client()])),
    ];
    for (struck, other, told, strike) in cases {
        let out = tempfile::tempdir().unwrap();
        let run = begun("calm", out.path());
        strike();
        let (code, verdict) = ended(run);
        assert_eq!(code, Some(2), "{told}: {verdict}");
        assert_eq!(verdict["locks"][other]["verdict"], "valid", "{told}: {verdict}");
        let checks = verdict["locks"][struck]["checks"].as_object().unwrap();
        for (name, check) in checks {
            let reached = check["verdict"].as_str().unwrap();
            assert!(["unknown", "n/a"].contains(&reached), "{told}: {name} is {reached}");
        }
        assert!(verdict["locks"][struck]["cut_off"].as_str().unwrap().contains("not by us"), "{verdict}");
        let history = history::file::read(&out.path().join("calm/latest").join(struck).join("history.jsonl")).unwrap();
        let outside = history.ops.iter().filter(|op| op.f == F::Outside).filter_map(|op| op.error.as_deref());
        assert!(outside.clone().any(|what| what.contains(told)), "{told}: {:?}", outside.collect::<Vec<_>>());
        // A server that somebody else killed is started again all the same.
        nothing_is_left();
    }
}

/// The daemon is restarted by hand: the run ends with the reason and the remedy, nothing of it is a verdict, and the
/// remedy works.
#[test]
#[ignore = "restarts this machine's Docker daemon, with the containers of everybody"]
fn a_daemon_that_is_restarted_is_told_and_nobody_is_accused() {
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    let run = begun("calm", out.path());
    let restarted = Command::new(".ci/restart-docker").status().unwrap();
    assert!(restarted.success(), "the daemon does not come back");
    let (code, verdict) = ended(run);
    assert_eq!(code, Some(255), "{verdict}");
    for lock in ["redlock", "zookeeper"] {
        let judged = &verdict["locks"][lock];
        let error = judged["error"].as_str().unwrap();
        assert!(error.contains("the Docker daemon stopped") && error.contains("fencepost cluster heal"), "{error}");
        assert_eq!(judged["verdict"], "unknown", "{verdict}");
        for (name, check) in judged["checks"].as_object().unwrap() {
            let reached = check["verdict"].as_str().unwrap();
            assert!(["unknown", "n/a"].contains(&reached), "{lock}: {name} is {reached}");
        }
    }
    assert!(out.path().join("calm/latest/report.html").is_file(), "a run that failed has a page all the same");
    let healed = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", "heal"]).output().unwrap();
    assert!(healed.status.success(), "{}", String::from_utf8_lossy(&healed.stderr));
    nothing_is_left();
    run_with("calm", &["redlock"]);
}

/// Two clusters on one daemon: a run in each at once, each with all of its own, and what is done to one is not the
/// other's.
#[test]
fn clusters_of_different_names_do_not_meet() {
    let _turn = turn();
    let (out, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let named = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
        let output = command.args(arguments).args(["--cluster", "second"]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {message}");
    };
    named(&["cluster", "up"]);
    let first = begun("calm", out.path());
    // Refused of a cluster with a run.
    named(&["cluster", "heal"]);
    let mut second = command("client-pause", elsewhere.path());
    let second = second.args(["--cluster", "second"]).stdout(Stdio::piped()).spawn().unwrap();
    let (code, verdict) = ended(first);
    assert_eq!((code, &verdict["expected"]), (Some(0), &Value::Bool(true)), "{:?}", missed(&verdict));
    let (code, verdict) = ended(second);
    assert_eq!((code, &verdict["expected"]), (Some(0), &Value::Bool(true)), "{:?}", missed(&verdict));
    named(&["cluster", "down"]);
    let left = docker(&["ps", "--all", "--quiet", "--filter", "label=io.fencepost.cluster=fencepost-second"]);
    assert_eq!(left, "", "containers of the second are left");
    let state = state_folder().unwrap().join("clusters/second");
    assert!(Journal::open(&state).unwrap().outstanding().unwrap().is_empty());
    nothing_is_left();
}

/// While a run goes on, no other verb disturbs it, and no other user's run begins.
#[test]
fn a_run_has_the_daemon_for_itself() {
    let _turn = turn();
    let (out, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = begun("calm", out.path());
    for verb in ["up", "heal", "down"] {
        let refused = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", verb]).output().unwrap();
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(255), "{verb}: {message}");
        assert!(message.contains("calm, process") && message.contains("--force"), "{verb}: {message}");
    }
    // Another user has a state folder of his own, so only the daemon can tell.
    let refused = command("calm", elsewhere.path()).env("XDG_STATE_HOME", elsewhere.path()).output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(255), "{message}");
    assert!(message.contains("calm, process"), "{message}");
    let (code, verdict) = ended(run);
    assert_eq!(code, Some(0), "{verdict}");
    nothing_is_left();
}

#[test]
fn a_second_run_is_refused_with_the_reason() {
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    let mut first = strike("client-pause", out.path(), somebody_is_frozen);
    let second = command("calm", out.path()).output().unwrap();
    signal(&first, "INT");
    first.wait().unwrap();
    let message = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(255), "{message}");
    assert!(message.contains("another run is using the cluster (client-pause"), "{message}");
}

fn answers(redis: &str) -> bool {
    let output = Command::new("docker").args(["exec", redis, "redis-cli", "ping"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "PONG"
}

/// A server that found no page for its clock when it started, and does not look for one again, while this lives.
struct Blind(&'static str);

impl Blind {
    fn start(server: &'static str) -> Self {
        let page = state_folder().unwrap().join("clocks").join(server.trim_start_matches("fencepost-")).join("page");
        let aside = page.with_extension("aside");
        docker(&["kill", server]);
        fs::rename(&page, &aside).unwrap();
        let blind = Self(server);
        docker(&["start", server]);
        // Its shim has looked by the time it serves; a process of its name is there before that.
        let started = Instant::now();
        while !answers(server) {
            assert!(started.elapsed() < Duration::from_secs(60), "{server} does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::rename(&aside, &page).unwrap();
        blind
    }
}

impl Drop for Blind {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["kill", self.0]).output();
        let _ = Command::new("docker").args(["start", self.0]).output();
    }
}

#[test]
fn a_run_whose_faults_cannot_be_made_is_refused_before_its_first_trial() {
    let _turn = turn();
    let cluster = |verb: &str| Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", verb]).output().unwrap();
    assert!(cluster("up").status.success());
    let clocks = |server: &str| {
        let told = String::from_utf8(cluster("status").stdout).unwrap();
        let row = told.lines().find(|line| line.trim().starts_with(&format!("clocks of {server} ")));
        row.unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    assert!(clocks("Redis").contains(" yes: "), "{}", clocks("Redis"));
    let blind = Blind::start("fencepost-redis-2");
    for (server, able) in [("Redis", false), ("ZooKeeper", true), ("clients", true)] {
        assert_eq!(clocks(server).contains(" yes: "), able, "{}", clocks(server));
    }
    let out = tempfile::tempdir().unwrap();
    let output = command("clock-drift", out.path()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{message}");
    for words in ["cannot do `clock-drift", "fencepost-redis-2 runs without /run/fencepost-clock/page", "--env sim"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(fs::read_dir(out.path().join("clock-drift")).unwrap().count(), 0, "nothing was recorded");
    nothing_is_left();
    drop(blind);
    assert!(cluster("up").status.success());
    assert!(clocks("Redis").contains(" yes: "), "{}", clocks("Redis"));
}

#[test]
fn a_strangers_container_is_not_touched() {
    let _turn = turn();
    let name = format!("stranger-{}", std::process::id());
    docker(&["run", "--detach", "--name", &name, "--entrypoint", "sleep", "fencepost-tools", "600"]);
    docker(&["pause", &name]);
    let healed = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", "heal"]).output().unwrap();
    let state = docker(&["inspect", "--format", "{{.State.Status}}", &name]);
    docker(&["unpause", &name]);
    docker(&["rm", "--force", &name]);
    assert!(healed.status.success());
    assert_eq!(state.trim(), "paused", "heal thaws only our own");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let roles = runtime.block_on(async { Engine::connect().await.unwrap().containers().await.unwrap() });
    assert!(roles.iter().all(|container| container.role != Role::Helper), "helpers are removed");
}
