//! The command as its users meet it, where no Docker is needed: help, lists, and one clear message for each mistake.
//! `results` has what runs print, `replay` whether they repeat.

mod replay;
mod results;
mod schema_check;
mod serving;
mod xsd_check;

use std::path::Path;
use std::process::{Command, Output};

fn fencepost(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fencepost")).args(arguments).output().expect("the binary runs")
}

/// Runs and expects failure: the exit code and what stands on standard error.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = fencepost(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty(), "a refusal prints nothing to standard output");
    assert!(!message.contains("panicked"), "{message}");
    (output.status.code(), message)
}

fn scenario(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().prefix("case").suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// A shipped scenario with one thing changed.
fn changed(from: &str, to: &str) -> tempfile::NamedTempFile {
    let text = std::fs::read_to_string("scenarios/client-pause.toml").unwrap();
    assert!(text.contains(from), "the scenario no longer says {from}");
    scenario(&text.replace(from, to))
}

#[test]
fn a_scenario_with_a_mistake_is_refused_with_place_and_remedy() {
    let broken = scenario("title = \n");
    let unknown = changed("clients = 5", "clientz = 5");
    let unit = changed("ttl = \"1s\"", "ttl = \"5 parsecs\"");
    let target = changed("target = \"holder\"", "target = \"client:9\"");
    let crowd = changed("clients = 5", "clients = 21");
    let cases = [
        (Path::new("scenarios/no-such-file.toml"), "no-such-file.toml", ""),
        (broken.path(), ":1:", ""),
        (unknown.path(), "clientz", "clients"),
        (unit.path(), "5 parsecs", "ms"),
        (target.path(), "client:9", "5"),
        (crowd.path(), "clients", "environment docker runs at most 20"),
    ];
    for (path, place, remedy) in cases {
        let (code, message) = refused(&["run", "--env", "docker", path.to_str().unwrap()]);
        assert_eq!(code, Some(254), "{message}");
        assert!(message.contains(place) && message.contains(remedy), "{message}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [&["frobnicate"][..], &["run"], &["run", "x.toml", "--seed", "lucky"], &["check"]] {
        let (code, message) = refused(arguments);
        assert_eq!(code, Some(254), "{message}");
    }
    let (code, message) = refused(&["run", "--env", "docker", "scenarios/calm.toml", "--lock", "etcd"]);
    assert_eq!(code, Some(254));
    assert!(message.contains("`etcd`") && message.contains("redlock, zookeeper"), "{message}");
    for limit in ["--for", "--cpu"] {
        let (code, message) = refused(&["hunt", limit, "0s"]);
        assert_eq!(code, Some(254));
        assert!(message.contains("nothing can be tried in no time"), "{message}");
    }
    let (code, message) = refused(&["run", "--env", "sim", "scenarios/calm.toml", "--servers", "redis://127.0.0.1"]);
    assert_eq!(code, Some(254));
    assert!(message.contains("leave out --env sim"), "{message}");
}

#[test]
fn what_stands_trial_is_told_apart_from_what_is_not_there() {
    let program = "adapters/examples/redis_lock.py";
    for (defendants, place, remedy) in [
        (&[program, "redis==8.1.0"][..], "`redis==8.1.0`", "--pip A --pip B"),
        (&["adapters/no-such.py"], "`adapters/no-such.py`", "no program"),
        (&[program, "adapters/kazoo"], "a program stands trial alone", ""),
        (&["adapters/kazoo"], "a folder's settings say so", "--backend"),
    ] {
        let (code, message) = refused(&[&["try"], defendants, &["--backend", "redis:1", "--pip", "a==1"]].concat());
        assert_eq!(code, Some(254), "{message}");
        assert!(message.contains(place) && message.contains(remedy), "{message}");
    }
}

#[test]
fn without_a_docker_daemon_the_remedy_is_told_and_nothing_is_left() {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fencepost"))
        .args(["run", "--env", "docker", "scenarios/calm.toml", "--out"])
        .arg(out.path())
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{message}");
    assert!(message.contains("no Docker daemon answers at unix:///nonexistent/docker.sock"), "{message}");
    let runs =
        std::fs::read_dir(out.path().join("calm")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(runs.count(), 0, "a run that never began leaves no folder");
}

#[test]
fn a_report_folder_that_cannot_be_written_is_refused_before_anything_starts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (code, message) =
        refused(&["run", "--env", "docker", "scenarios/calm.toml", "--out", file.path().to_str().unwrap()]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("cannot write to the report folder") && message.contains("--out"), "{message}");
}

#[test]
fn repeating_a_run_that_repeats_itself_is_refused() {
    let (code, message) = refused(&["run", "scenarios/calm.toml", "--repeat", "3"]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("--env docker") && message.contains("--seeds"), "{message}");
    let (code, message) = refused(&["run", "scenarios/calm.toml", "--repeat", "0", "--env", "docker"]);
    assert_eq!(code, Some(254), "{message}");
}

#[test]
fn a_malformed_history_is_refused_with_its_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let header = std::fs::read_to_string("src/check/testdata/ok/two-clients-take-turns.jsonl").unwrap();
    let header = header.lines().next().unwrap();
    let table = [
        ("{\"fencepost\":2}\n".to_owned(), ":1: not the header"),
        (format!("{header}\n{{\"index\": 1}}\nmore\n"), ":2: not an op"),
        // Somebody else's, as far as can be seen.
        ("{}\n".to_owned(), "name a model"),
    ];
    for (text, told) in table {
        std::fs::write(file.path(), text).unwrap();
        let (code, message) = refused(&["check", file.path().to_str().unwrap()]);
        assert_eq!(code, Some(254), "{message}");
        assert!(message.contains(told), "{message}");
    }
    let (code, message) = refused(&["report", file.path().to_str().unwrap()]);
    assert_eq!(code, Some(254), "{message}");
}

#[test]
fn a_stored_history_is_judged_again() {
    let bad = "src/check/testdata/bad";
    let overlap = std::fs::read_dir(bad)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mutual-exclusion--")))
        .expect("there is a history with an overlap");
    let output = fencepost(&["check", overlap.to_str().unwrap(), "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lock = verdict["locks"].as_object().unwrap().values().next().unwrap();
    assert_eq!(lock["checks"]["mutual-exclusion"]["verdict"], "invalid");
}

/// Two clients hold the lock at once, in Jepsen's notation.
const OVERLAP: &str = "{:process 0, :type :invoke, :f :acquire, :value nil, :time 1}
{:process 0, :type :ok, :f :acquire, :value nil, :time 2}
{:process 1, :type :invoke, :f :acquire, :value nil, :time 3}
{:process 1, :type :ok, :f :acquire, :value nil, :time 4}
";

#[test]
fn a_history_of_jepsens_is_judged_by_a_model() {
    let file = tempfile::Builder::new().suffix(".edn").tempfile().unwrap();
    std::fs::write(file.path(), OVERLAP).unwrap();
    let path = file.path().to_str().unwrap();
    let output = fencepost(&["check", path, "--model", "mutex"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("no release can have taken effect in between"), "{text}");
    assert!(text.contains("model mutex, a release ends the claim"), "{text}");
    let (code, message) = refused(&["check", path]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("--model mutex"), "{message}");
    for (arguments, remedy) in [
        (["--model", "lock"], "reentrant-fenced:K"),
        (["--model", "fenced+lease"], "leave out --strict"),
        (["--format", "json"], "--model"),
    ] {
        let (code, message) = refused(&["check", path, arguments[0], arguments[1], "--strict"]);
        assert_eq!(code, Some(254), "{message}");
        assert!(message.contains(remedy), "{message}");
    }
    std::fs::write(file.path(), OVERLAP.replace(":process 1, :type :ok", ":process 1, :type :done")).unwrap();
    let (code, message) = refused(&["check", path, "--model", "mutex"]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains(":4: ") && message.contains(":invoke, :ok, :fail and :info"), "{message}");
}

#[test]
fn a_history_goes_out_as_edn_and_comes_in_again() {
    let stored = "src/check/testdata/bad/mutual-exclusion+linearizable--granted-before-the-release.jsonl";
    let file = tempfile::Builder::new().suffix(".edn").tempfile().unwrap();
    let path = file.path().to_str().unwrap();
    let first = fencepost(&["check", stored, "--model", "owner-mutex", "--to-edn", path]);
    assert_eq!(first.status.code(), Some(1));
    assert!(std::fs::read_to_string(path).unwrap().contains("\n{:process 0, :type :invoke, :f :acquire, :value nil"));
    assert_eq!(fencepost(&["check", path, "--model", "owner-mutex"]).status.code(), Some(1));
    let (code, message) = refused(&["check", "src/check/testdata/ok/two-locks-held-at-once.jsonl", "--to-edn", path]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("--lock item-1"), "{message}");
}

#[test]
fn a_history_that_is_judged_while_it_is_read_is_told_of_as_any_other() {
    let check = |arguments: &[&str]| {
        let output = fencepost(&[&["check", "--model", "owner-mutex"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let edn = check(&["src/check/testdata/foreign/valid/verbs-try-acquire.edn"]);
    assert!(edn.contains("kept every guarantee") && edn.contains("grants 2"), "{edn}");
    assert!(!edn.contains("stale"), "nobody looked at a resource: {edn}");
    // To write it as EDN it is kept whole.
    let stored = "src/check/testdata/ok/two-locks-held-at-once.jsonl";
    let file = tempfile::Builder::new().suffix(".edn").tempfile().unwrap();
    let whole = ["--lock", "item-1", "--to-edn", file.path().to_str().unwrap()];
    for format in ["json", "junit"] {
        let arguments = [stored, "--format", format];
        assert_eq!(check(&arguments), check(&[&arguments[..], &whole].concat()), "{format}");
    }
}

#[test]
fn what_came_of_an_op_is_not_taken_for_a_lock() {
    let file = tempfile::Builder::new().suffix(".edn").tempfile().unwrap();
    let timeout = "{:process 2, :type :invoke, :f :acquire, :value nil, :time 5}\n\
                   {:process 2, :type :info, :f :acquire, :value :timeout, :time 6}\n";
    std::fs::write(file.path(), [OVERLAP, timeout].concat()).unwrap();
    let output = fencepost(&["check", file.path().to_str().unwrap(), "--model", "mutex"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    // Ops that are nanoseconds apart have times that differ.
    assert!(text.contains("at 0.000000002s") && text.contains("at 0.000000004s"), "{text}");
}

#[test]
fn a_lock_that_is_not_there_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.edn");
    let stored = "src/check/testdata/ok/two-locks-held-at-once.jsonl";
    let (code, message) = refused(&["check", stored, "--to-edn", to.to_str().unwrap(), "--lock", "item-9"]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("not about lock `item-9`") && message.contains("item-1, item-2"), "{message}");
    assert!(!to.exists(), "nothing is begun");
    let copy = folder.path().join("history.jsonl");
    std::fs::copy(stored, &copy).unwrap();
    let copy = copy.to_str().unwrap();
    let (code, message) = refused(&["check", copy, "--to-edn", copy, "--lock", "item-1"]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("would overwrite the history"), "{message}");
}

#[test]
fn a_folder_in_the_wrong_place_is_refused_with_what_to_name() {
    for (arguments, remedies) in [
        (["check", "scenarios"], ["scenarios/LOCK/history.jsonl", "fencepost report scenarios"]),
        (["run", "src"], ["no scenario files there", "name files, or a folder that holds some"]),
        (["replay", "scenarios"], ["scenarios/run.json", "reports/client-pause/latest"]),
        (["report", "scenarios"], ["scenarios/run.json", "reports/client-pause/latest"]),
    ] {
        let (code, message) = refused(&arguments);
        assert_eq!(code, Some(254), "{message}");
        assert!(remedies.iter().all(|remedy| message.contains(remedy)), "{message}");
    }
}

#[test]
fn the_shipped_scenarios_are_listed() {
    let output = fencepost(&["list"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["calm", "client-pause", "client-pause-fenced", "partition-client"] {
        assert!(text.lines().any(|line| line.split_whitespace().next() == Some(name)), "{text}");
    }
}

#[test]
fn help_schema_and_completions_are_printed() {
    let help = String::from_utf8(fencepost(&["--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes") && !help.contains("watchdog"), "{help}");
    let schema: serde_json::Value = serde_json::from_slice(&fencepost(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["workload"].is_object());
    assert!(!fencepost(&["completions", "bash"]).stdout.is_empty());
}
