//! The trials of the README on real servers, and what happens when they are cut short.
//!
//! Needs Docker; `.ci/run` runs it. Trials share one cluster, so they take turns.

#![expect(clippy::disallowed_methods, reason = "real servers live in real time")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fencepost::env::docker::clock_page::ClockPage;
use fencepost::env::docker::engine::{Container, Engine, Role, State};
use fencepost::env::docker::files::state_folder;
use fencepost::env::docker::journal::Journal;
use fencepost::history::{self, F, History, OpType};
use serde_json::Value;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn command(scenario: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
    command.args(["run", "--env", "docker", "--format", "json", "--out"]).arg(out);
    command.arg(format!("scenarios/{scenario}.toml"));
    command
}

/// Runs a scenario to its end: its verdict, and each lock's history.
fn run(scenario: &str) -> (Value, BTreeMap<String, History>) {
    run_of(scenario, &[])
}

/// The same with these of its locks; with all, if none is named. Once more, twice at most, where all that was missed is
/// `unknown`: the machine stood still or set its clock, and the run says so instead of judging.
fn run_of(scenario: &str, locks: &[&str]) -> (Value, BTreeMap<String, History>) {
    for _ in 0..2 {
        match tried(scenario, locks) {
            Ok(run) => return run,
            Err(missed) if missed.iter().all(|(_, reached)| reached == "unknown") => {
                println!("{scenario}: once more, for {missed:?}");
            }
            Err(missed) => panic!("{scenario}: {missed:?}"),
        }
    }
    tried(scenario, locks).unwrap_or_else(|missed| panic!("{scenario}: {missed:?}"))
}

/// What a lock was expected to show and did not, and what it showed instead.
type Missed = Vec<(String, String)>;

fn tried(scenario: &str, locks: &[&str]) -> Result<(Value, BTreeMap<String, History>), Missed> {
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

fn missed(verdict: &Value) -> Missed {
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

fn check<'a>(verdict: &'a Value, lock: &str, check: &str) -> &'a Value {
    &verdict["locks"][lock]["checks"][check]
}

fn figure(verdict: &Value, lock: &str, of: &str, name: &str) -> f64 {
    check(verdict, lock, of)["figures"][name].as_f64().unwrap_or_else(|| panic!("{lock} {of} {name}"))
}

/// No container of a run, nothing frozen or dead, no wrong clock, no fault in the journal.
fn nothing_is_left() {
    let left = left();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn containers() -> Vec<Container> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { Engine::connect().await.unwrap().containers().await.unwrap() })
}

fn has_wrong_clock(container: &Container) -> bool {
    let folder = container.clock.as_ref().filter(|_| container.role.outlives_runs());
    folder.is_some_and(|folder| ClockPage::open(folder).unwrap().in_force().unwrap().is_in_force())
}

fn left() -> Vec<String> {
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

#[test]
fn calm_is_valid_on_both_locks() {
    let _turn = turn();
    let (verdict, _) = run("calm");
    for lock in ["redlock", "zookeeper"] {
        let grants = figure(&verdict, lock, "coverage", "grants");
        assert!(grants >= 300.0, "{lock}: {grants} grants");
        assert_eq!(verdict["locks"][lock]["verdict"], "valid", "{lock}");
    }
}

/// The canary whose name the sound lock's begins, whose trial shares the servers with the sound one's. All that ship, with
/// `FENCEPOST_CANARIES=all`.
#[test]
fn canaries_are_caught_and_the_sound_lock_beside_each_is_not() {
    let _turn = turn();
    let named = ["redlock-delete-without-owner-check".to_owned()];
    let all = || {
        let listed = fencepost::scenario::list(Path::new("scenarios/canaries")).unwrap();
        listed.into_iter().map(|listed| listed.name).collect::<Vec<_>>()
    };
    let canaries =
        if std::env::var("FENCEPOST_CANARIES").is_ok_and(|asked| asked == "all") { all() } else { named.into() };
    for canary in canaries {
        let (verdict, histories) = run(&format!("canaries/{canary}"));
        assert_eq!(histories.len(), 2, "{canary}");
        for (lock, history) in &histories {
            assert_eq!(history.cut_off, None, "{lock}: a trial is whole");
            assert!(figure(&verdict, lock, "coverage", "grants") > 0.0, "{lock}");
        }
    }
}

/// Starts a scenario, and returns when its clients are at work.
fn begun(scenario: &str, out: &Path) -> Child {
    let child = command(scenario, out).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let at_work = || {
        let streams = fs::read_dir(out.join(scenario)).into_iter().flatten().flatten();
        let locks = streams.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
        locks
            .filter(|lock| fs::metadata(lock.path().join("history.jsonl")).is_ok_and(|file| file.len() > 20_000))
            .count()
    };
    while at_work() < 2 {
        assert!(started.elapsed() < Duration::from_secs(120), "{scenario} does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

/// What came of it.
fn ended(child: Child) -> (Option<i32>, Value) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Kills and freezes by hand what a run uses: each is noticed, nobody is accused, nothing of it is valid, and what the other
/// lock's trial used is judged as ever.
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
    let cases: [(&str, &str, &str, &dyn Fn()); 3] = [
        ("redlock", "zookeeper", "fencepost-redis-2 ended", &|| drop(docker(&["kill", "fencepost-redis-2"]))),
        ("redlock", "zookeeper", "was frozen", &|| freeze(&masters)),
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

/// Two clusters on one daemon: a run in each at once, each with all of its own, and what is done to one is not the other's.
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
fn a_paused_holder_breaks_both_locks() {
    let _turn = turn();
    let (verdict, histories) = run("client-pause");
    for (lock, history) in &histories {
        for broken in ["mutual-exclusion", "fencing", "lost-updates"] {
            assert_eq!(check(&verdict, lock, broken)["verdict"], "invalid", "{lock} {broken}");
        }
        // The other side of each pause: the client itself noticed that it had not run.
        let paused = history.ops.iter().filter(|op| op.f == F::Fault && op.kind == OpType::Ok);
        for pause in paused {
            let stalled = history.ops.iter().any(|op| {
                op.f == F::Stall && op.time > pause.time && op.since.is_some_and(|since| since <= pause.time)
            });
            assert!(stalled, "{lock}: nobody felt the pause at {}", pause.time);
        }
    }
}

#[test]
fn fencing_saves_the_resource_where_the_lock_gives_tokens() {
    let _turn = turn();
    let (verdict, _) = run("client-pause-fenced");
    for lock in ["zookeeper", "redlock-tokens"] {
        assert_eq!(check(&verdict, lock, "mutual-exclusion")["verdict"], "invalid", "{lock}");
        assert_eq!(check(&verdict, lock, "lost-updates")["verdict"], "valid", "{lock}");
        assert_eq!(figure(&verdict, lock, "fencing", "stale-accepted"), 0.0, "{lock}");
        assert!(figure(&verdict, lock, "fencing", "stale-refused") > 0.0, "{lock}: nothing was fenced off");
    }
    assert_eq!(check(&verdict, "redlock", "fencing")["verdict"], "invalid");
}

#[test]
fn a_holder_that_is_cut_off_is_told_before_the_next_grant() {
    let _turn = turn();
    let (_, histories) = run("partition-client");
    for (lock, history) in &histories {
        let lost: Vec<_> = history.ops.iter().filter(|op| op.f == F::Lost).collect();
        assert!(!lost.is_empty(), "{lock}: nobody lost the lock");
        for signal in lost {
            let granted = |op: &&history::Op| op.f == F::Acquire && op.kind == OpType::Ok;
            let own = history.ops.iter().filter(granted).find(|op| op.hold == signal.hold).unwrap();
            let next = history.ops.iter().filter(granted).find(|op| op.time > own.time);
            assert!(next.is_none_or(|next| next.time > signal.time), "{lock}: {:?} was told late", signal.hold);
        }
    }
}

/// In both worlds by the packets that were struck: our own, sent to look at the links, do not count.
#[test]
fn a_cut_of_a_link_that_nobody_uses_exercises_nothing() {
    let _turn = turn();
    let (verdict, histories) = run("../tests/scenarios/idle-link");
    assert_eq!(check(&verdict, "redlock", "coverage")["verdict"], "unknown");
    let probes = histories["redlock"].ops.iter().filter_map(|op| op.fault.as_ref()).flat_map(|event| &event.probes);
    let struck: Vec<u64> = probes.filter_map(|probe| probe.struck).collect();
    assert!(!struck.is_empty() && struck.iter().all(|packets| *packets == 0), "{struck:?}");
    let (verdict, _) = run("partition-client");
    for lock in ["redlock", "zookeeper"] {
        assert_eq!(check(&verdict, lock, "coverage")["verdict"], "valid", "{lock}");
    }
}

#[test]
fn a_wrong_clock_or_a_lost_memory_of_one_server_breaks_redlock_alone() {
    let _turn = turn();
    for (scenario, safe) in [("clock-jump", &["zookeeper"][..]), ("node-amnesia", &["redlock-durable", "zookeeper"])] {
        let (verdict, _) = run_of(scenario, &[&["redlock"], safe].concat());
        for broken in ["mutual-exclusion", "linearizable", "fencing", "lost-updates"] {
            assert_eq!(check(&verdict, "redlock", broken)["verdict"], "invalid", "{scenario} {broken}");
            for lock in safe {
                assert_eq!(check(&verdict, lock, broken)["verdict"], "valid", "{scenario} {lock} {broken}");
            }
        }
    }
}

#[test]
fn of_everything_at_once_each_fault_is_seen_and_the_resource_stays_safe() {
    let _turn = turn();
    let (verdict, _) = run("chaos");
    for lock in ["redlock", "zookeeper"] {
        let coverage = check(&verdict, lock, "coverage");
        assert_eq!(coverage["verdict"], "valid", "{lock}: {coverage}");
        assert_eq!(coverage["figures"]["faults-struck"], coverage["figures"]["faults-planned"], "{lock}: {coverage}");
    }
}

/// Starts a run and waits until a fault is in the journal and visible in the world.
fn strike(scenario: &str, out: &Path, visible: impl Fn() -> bool) -> Child {
    let child = command(scenario, out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !visible() {
        assert!(started.elapsed() < Duration::from_secs(60), "{scenario}: no fault was seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn somebody_is_frozen() -> bool {
    let output = Command::new("docker")
        .args(["ps", "--quiet", "--filter", "status=paused", "--filter", "label=io.fencepost.cluster=fencepost"])
        .output();
    output.is_ok_and(|output: Output| !output.stdout.is_empty())
}

fn a_cut_is_in_the_journal() -> bool {
    let journal = Journal::open(&state_folder().unwrap()).unwrap();
    journal.outstanding().is_ok_and(|entries| !entries.is_empty())
}

fn a_server_is_dead() -> bool {
    containers().iter().any(|own| matches!(own.role, Role::Redis | Role::Zookeeper) && own.state == State::Stopped)
}

fn a_server_s_clock_is_wrong() -> bool {
    containers().iter().any(has_wrong_clock)
}

/// Kills the harness without warning and measures how long anything of it remains.
fn heals_after_kill(scenario: &str, visible: fn() -> bool) {
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    let mut child = strike(scenario, out.path(), visible);
    signal(&child, "KILL");
    child.wait().unwrap();
    let killed = Instant::now();
    while !left().is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(20), "the watchdog did not heal: {:?}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{scenario}: healed {:?} after kill -9 (goal: 2 s)", killed.elapsed());
}

#[test]
fn a_harness_killed_in_a_pause_leaves_nothing_frozen() {
    heals_after_kill("client-pause", somebody_is_frozen);
}

#[test]
fn a_harness_killed_in_a_partition_leaves_nothing_cut() {
    heals_after_kill("partition-client", a_cut_is_in_the_journal);
}

#[test]
fn a_harness_killed_while_a_server_is_dead_leaves_none_dead() {
    heals_after_kill("leader-kill", a_server_is_dead);
}

#[test]
fn a_harness_killed_while_clocks_are_wrong_leaves_them_right() {
    heals_after_kill("clock-drift", a_server_s_clock_is_wrong);
}

#[test]
fn ctrl_c_heals_and_still_writes_the_report() {
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    let mut child = strike("client-pause", out.path(), somebody_is_frozen);
    signal(&child, "INT");
    let status = child.wait().unwrap();
    nothing_is_left();
    let page = fs::read_to_string(out.path().join("client-pause/latest/report.html")).unwrap();
    assert!(page.contains("interrupted"));
    assert!(matches!(status.code(), Some(1 | 2)), "{status:?}");
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

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
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

/// A file system of `size` that is mounted while it lives. Needs root, as the runs of CI have.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&folder)
            .status()
            .unwrap();
        assert!(mounted.success(), "mounting needs root");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_running() {
    let _turn = turn();
    let full = SmallDisk::mount("16k");
    let output = command("calm", &full.0).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(254), "{message}");
    assert!(message.contains("cannot write to the report folder") && message.contains("--out"), "{message}");

    // Room for the start, not for the history.
    let small = SmallDisk::mount("256k");
    let output = command("calm", &small.0).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{message}");
    assert!(message.contains("No space left"), "{message}");
    nothing_is_left();
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
