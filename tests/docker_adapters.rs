//! Locks that are not of fencepost, on real servers: their programs in the clients' containers.
//!
//! Needs Docker, and a way to PyPI or its images; `.ci/run` runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fencepost(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fencepost")).args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn our_own_locks_pass_in_fair_weather_through_the_protocol() {
    let _turn = turn();
    let own = [env!("CARGO_BIN_EXE_fencepost"), "adapter", "own"];
    for (backend, offers) in [("redis:5", "valid_for"), ("zookeeper:3", "token"), ("etcd:3", "token")] {
        let output = fencepost(&[&["adapter", "check", "--backend", backend, "--"], &own[..]].concat());
        let text = told(&output);
        assert_eq!(output.status.code(), Some(0), "{backend}: {text}");
        assert!(text.contains("fit to stand trial") && text.contains(offers), "{backend}: {text}");
        assert!(text.contains("ok    grants what a dead holder had"), "{backend}: {text}");
    }
}

#[test]
fn etcd_s_own_lock_service_passes_in_fair_weather() {
    let _turn = turn();
    let program = ["python3", "adapters/etcd-v3lock/lock.py"];
    let output = fencepost(&[&["adapter", "check", "--backend", "etcd:3", "--"], &program[..]].concat());
    let text = told(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("ok    grants what a dead holder had") && text.contains("higher token"), "{text}");
}

/// Two Python libraries, unmodified: each is clean without faults, and goes on past its lease when its client is
/// frozen.
#[test]
fn two_python_libraries_stand_trial_beside_their_faultless_twins() {
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().display().to_string();
    let defendants = ["adapters/kazoo", "adapters/redlock-py"];
    let how = ["--scenario", "client-pause", "--seed", "5", "--out", &folder];
    let output = fencepost(&[&["try"], &defendants[..], &how[..]].concat());
    let text = told(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for lock in ["kazoo", "redlock-py"] {
        let row = text.lines().find(|line| line.contains(lock) && line.contains("client-pause")).unwrap_or_default();
        assert!(row.contains("mutual-exclusion") && row.contains("fencing"), "{lock}: {text}");
    }
    let page = fs::read_to_string(out.path().join("try/index.html")).unwrap();
    assert!(page.contains("kazoo==2.11.0") && page.contains("proves nothing"), "the page tells what was tried");
    for scenario in ["client-pause", "client-pause-faultless"] {
        let latest = out.path().join(scenario).join("latest");
        assert!(latest.join("report.html").is_file(), "{scenario}");
        let verdict: Value = serde_json::from_slice(&fs::read(latest.join("verdict.json")).unwrap()).unwrap();
        let expected = if scenario == "client-pause" { "invalid" } else { "valid" };
        for lock in ["kazoo", "redlock-py"] {
            let checks = &verdict["locks"][lock]["checks"];
            assert_eq!(checks["mutual-exclusion"]["verdict"], expected, "{scenario} {lock}: {verdict}");
            assert_eq!(checks["token-order"]["verdict"], "n/a", "what a lock does not offer is not judged");
        }
        // One shows a validity, the other has a signal.
        assert_eq!(verdict["locks"]["kazoo"]["checks"]["grant-validity"]["verdict"], "n/a");
    }
}

/// The reply of an acquire is held in front of the program until its lease is nearly over. An unmodified library that
/// has no look at the clock hands the grant out; one that has is not accused.
#[test]
fn a_late_reply_is_a_stale_grant_only_of_a_library_that_does_not_look_at_the_clock() {
    let _turn = turn();
    let defendants = ["adapters/sherlock", "adapters/fencepost-redlock", "adapters/redlock-py"];
    let mut accused = false;
    // Whether another client asks within the moment that counts is up to chance.
    for seed in ["5", "6", "7"] {
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().display().to_string();
        let how = ["--scenario", "late-grant", "--seed", seed, "--out", &folder];
        let text = told(&fencepost(&[&["try"], &defendants[..], &how[..]].concat()));
        let file = out.path().join("late-grant/latest/verdict.json");
        let verdict: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let exclusion = |lock: &str| &verdict["locks"][lock]["checks"]["mutual-exclusion"]["verdict"];
        for lock in ["fencepost-redlock", "redlock-py"] {
            assert_ne!(exclusion(lock), "invalid", "{lock}: {text}");
            let effect = &verdict["locks"][lock]["checks"]["coverage"]["figures"]["strikes-with-effect"];
            assert!(effect.as_f64().unwrap() >= 1.0, "{lock}: {verdict}");
        }
        accused = exclusion("sherlock") == "invalid";
        if accused {
            break;
        }
    }
    assert!(accused, "sherlock was not seen to hand out what was over");
}

/// A program that grants to all and answers twice: what it seems to have broken is not believed.
#[test]
fn a_program_that_contradicts_itself_is_not_accused() {
    let _turn = turn();
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("confused");
    fs::create_dir(&place).unwrap();
    // Readable by the user that clients run as.
    let settings = "backend = \"redis:1\"\ncommand = [\"sh\", \"lock.sh\"]\n";
    let script = r#"
echo '{"hello":{"name":"confused","version":"1","capabilities":[]}}'
n=0
while read -r line; do
    id=${line#*'"id":'} id=${id%%,*} n=$((n + 1))
    case $line in *release*) result=released ;; *) result=ok ;; esac
    echo "{\"id\":$id,\"result\":\"$result\"}"
    [ $n -ne 9 ] || echo "{\"id\":$id,\"result\":\"$result\"}"
done
"#;
    fs::write(place.join("settings.toml"), settings).unwrap();
    fs::write(place.join("lock.sh"), script).unwrap();
    let scenario = home.path().join("confused.toml");
    let text = "title = \"A program that answers twice\"\n[workload]\nkind = \"inventory\"\nclients = 3\nhold = \"20ms..60ms\"\n\
                think = \"0ms..20ms\"\nduration = \"4s\"\n[lock.confused]\nadapter = \"{}\"\n";
    fs::write(&scenario, text.replace("{}", &place.display().to_string())).unwrap();
    open_to_all(home.path());
    let out = home.path().join("out").display().to_string();
    let arguments = ["run", &scenario.display().to_string(), "--env", "docker", "--format", "json", "--out", &out];
    let output = fencepost(&arguments);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = verdict["locks"]["confused"]["checks"].as_object().unwrap();
    assert!(checks.values().all(|check| ["unknown", "n/a"].contains(&check["verdict"].as_str().unwrap())), "{verdict}");
    let summary = checks["mutual-exclusion"]["summary"].as_str().unwrap();
    assert!(summary.contains("answered a request twice"), "{summary}");
    let simulated = fencepost(&["run", &scenario.display().to_string(), "--out", &out]);
    assert_eq!(simulated.status.code(), Some(254));
    assert!(told(&simulated).contains("--env docker"), "{}", told(&simulated));
}

/// A temporary folder is its owner's alone.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}
