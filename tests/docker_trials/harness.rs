//! Starts runs, reads what they say, and looks whether they left anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fencepost::env::docker::clock_page::ClockPage;
use fencepost::env::docker::container::{Container, State};
use fencepost::env::docker::engine::Engine;
use fencepost::env::docker::files::state_folder;
use fencepost::env::docker::journal::Journal;
use fencepost::history::{self, History};
use serde_json::Value;

static TURN: Mutex<()> = Mutex::new(());

pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn command(scenario: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
    command.args(["run", "--env", "docker", "--format", "json", "--out"]).arg(out);
    command.arg(format!("scenarios/{scenario}.toml"));
    command
}

/// Runs a scenario to its end: its verdict, and each lock's history.
pub fn run(scenario: &str) -> (Value, BTreeMap<String, History>) {
    run_with(scenario, &[])
}

/// The same with these of its locks; with all, if none is named.
pub fn run_with(scenario: &str, locks: &[&str]) -> (Value, BTreeMap<String, History>) {
    run_of(scenario, locks).unwrap_or_else(|missed| panic!("{scenario}: {missed:?}"))
}

/// Runs it once more, twice at most, where all that was missed is `unknown`: the machine stood still or set its clock,
/// and the run says so instead of judging.
pub fn run_of(scenario: &str, locks: &[&str]) -> Result<(Value, BTreeMap<String, History>), Missed> {
    for _ in 0..2 {
        match tried(scenario, locks) {
            Err(missed) if missed.iter().all(|(_, reached)| reached == "unknown") => {
                println!("{scenario}: once more, for {missed:?}");
            }
            outcome => return outcome,
        }
    }
    tried(scenario, locks)
}

/// What a lock was expected to show and did not, and what it showed instead.
pub type Missed = Vec<(String, String)>;

pub fn tried(scenario: &str, locks: &[&str]) -> Result<(Value, BTreeMap<String, History>), Missed> {
    let out = tempfile::tempdir().unwrap();
    let chosen = locks.iter().flat_map(|lock| ["--lock", lock]);
    let output = command(scenario, out.path()).args(chosen).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0..=2)), "{scenario}: {:?}: {message}", output.status);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    nothing_is_left();
    let missed = missed(&verdict);
    assert_eq!(output.status.success(), missed.is_empty(), "{scenario}: {:?}: {missed:?}: {message}", output.status);
    if !missed.is_empty() {
        return Err(missed);
    }
    let folder = out.path().join(Path::new(scenario).file_name().unwrap()).join("latest");
    assert!(fs::read_to_string(folder.join("report.html")).unwrap().ends_with("</html>"));
    let locks = verdict["locks"].as_object().unwrap().keys();
    let histories =
        locks.map(|lock| (lock.clone(), history::file::read(&folder.join(lock).join("history.jsonl")).unwrap()));
    let histories = histories.collect();
    Ok((verdict, histories))
}

pub fn missed(verdict: &Value) -> Missed {
    let mut missed = Missed::new();
    for (lock, judged) in verdict["locks"].as_object().unwrap() {
        for line in judged["expectations"].as_array().unwrap() {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            if line["held"] != true {
                let figures = &judged["checks"][text("check")]["summary"];
                let cut = &judged["cut_off"];
                missed.push((
                    format!("{lock}: {} expected to be {}: {figures}, {cut}", text("check"), text("expected")),
                    text("reached"),
                ));
            }
        }
    }
    missed
}

pub fn check<'a>(verdict: &'a Value, lock: &str, check: &str) -> &'a Value {
    &verdict["locks"][lock]["checks"][check]
}

pub fn figure(verdict: &Value, lock: &str, of: &str, name: &str) -> f64 {
    check(verdict, lock, of)["figures"][name].as_f64().unwrap_or_else(|| panic!("{lock} {of} {name}"))
}

/// No container of a run, nothing frozen or dead, no wrong clock, no fault in the journal.
pub fn nothing_is_left() {
    let left = left();
    assert!(left.is_empty(), "left behind: {left:?}");
}

pub fn containers() -> Vec<Container> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { Engine::connect().await.unwrap().containers().await.unwrap() })
}

pub fn has_wrong_clock(container: &Container) -> bool {
    let folder = container.clock.as_ref().filter(|_| container.role.outlives_runs());
    folder.is_some_and(|folder| ClockPage::open(folder).unwrap().in_force().unwrap().is_in_force())
}

pub fn left() -> Vec<String> {
    let containers = containers();
    let container = |container: &Container| !container.role.outlives_runs() || container.state != State::Running;
    let mut left: Vec<String> =
        containers.iter().filter(|own| container(own)).map(|own| format!("{} ({})", own.name, own.state)).collect();
    let wrong = containers.iter().filter(|own| has_wrong_clock(own));
    left.extend(wrong.map(|own| format!("{} (its clock is wrong)", own.name)));
    let journal = Journal::open(&state_folder().unwrap()).unwrap();
    left.extend(journal.outstanding().unwrap().into_keys().map(|entry| format!("{entry:?}")));
    left
}

/// Starts the trials of Redlock and ZooKeeper, side by side, and returns when their clients are at work.
pub fn begun(scenario: &str, out: &Path) -> Child {
    let mut command = command(scenario, out);
    command.args(["--lock", "redlock", "--lock", "zookeeper"]);
    begun_as(command, scenario, out, &["redlock", "zookeeper"])
}

/// Starts a run of `scenario`, and returns when the clients of each of `locks` are at work.
pub fn begun_as(mut command: Command, scenario: &str, out: &Path, locks: &[&str]) -> Child {
    let before: Vec<_> =
        fs::read_dir(out.join(scenario)).into_iter().flatten().flatten().map(|run| run.path()).collect();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let at_work = || {
        let streams = fs::read_dir(out.join(scenario)).into_iter().flatten().flatten();
        let streams = streams.filter(|run| !before.contains(&run.path()));
        let locks = streams.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
        locks
            .filter(|lock| fs::metadata(lock.path().join("history.jsonl")).is_ok_and(|file| file.len() > 20_000))
            .count()
    };
    while at_work() < locks.len() {
        assert!(started.elapsed() < Duration::from_secs(120), "{scenario} does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

/// What came of it.
pub fn ended(child: Child) -> (Option<i32>, Value) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Starts a run and waits until a fault is in the journal and visible in the world.
pub fn strike(scenario: &str, out: &Path, visible: impl Fn() -> bool) -> Child {
    let child = command(scenario, out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !visible() {
        assert!(started.elapsed() < Duration::from_secs(60), "{scenario}: no fault was seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
