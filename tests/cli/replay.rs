//! `fencepost replay`: what it says of a run that repeats, of one that does not, and of one that cannot.

use std::fs;
use std::path::{Path, PathBuf};

use super::{fencepost, refused};

/// Keeps the run's folder.
struct Run {
    _out: tempfile::TempDir,
    folder: PathBuf,
}

impl Run {
    fn new() -> Self {
        let out = tempfile::tempdir().unwrap();
        let arguments = ["run", "scenarios/thawed-node.toml", "--seed", "7", "--out", out.path().to_str().unwrap()];
        assert_eq!(fencepost(&arguments).status.code(), Some(0));
        let folder = out.path().join("thawed-node/latest").canonicalize().unwrap();
        Self { _out: out, folder }
    }

    fn path(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    fn trace(&self, lock: &str) -> PathBuf {
        self.folder.join(lock).join("trace.bin")
    }

    /// Changes what `run.json` says.
    fn edit(&self, from: &str, to: &str) {
        let path = self.folder.join("run.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// The exit code, and the line of each lock.
    fn replay(&self) -> (Option<i32>, [String; 2]) {
        let output = fencepost(&["replay", self.path()]);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (output.status.code(), lines.try_into().unwrap_or_else(|lines| panic!("not a line for each lock: {lines:?}")))
    }
}

fn flip(trace: &Path, event: usize) {
    let mut bytes = fs::read(trace).unwrap();
    bytes[2 * event] ^= 1;
    fs::write(trace, bytes).unwrap();
}

#[test]
fn a_run_that_repeats_is_the_same() {
    let (code, [redlock, zookeeper]) = Run::new().replay();
    assert_eq!(code, Some(0));
    assert!(redlock.starts_with("redlock: the same, trace hash "), "{redlock}");
    assert!(zookeeper.starts_with("zookeeper: the same, trace hash "), "{zookeeper}");
}

#[test]
fn another_seed_is_another_run_and_the_first_event_that_differs_is_told() {
    let run = Run::new();
    run.edit("\"seed\": 7", "\"seed\": 8");
    let (code, lines) = run.replay();
    assert_eq!(code, Some(1));
    for line in lines {
        assert!(line.contains("DIFFERENT: recorded ") && line.contains("; first at event "), "{line}");
        let (_, told) = line.split_once("s n").unwrap_or_else(|| panic!("no server is named: {line}"));
        // The clients and servers have begun to talk, and links have other latencies.
        assert!(told.contains(": receives from ") && !line.contains("machine "), "{line}");
    }
}

#[test]
fn an_edited_trace_differs_where_it_was_edited() {
    let run = Run::new();
    flip(&run.trace("redlock"), 1000);
    let bytes = fs::read(run.trace("zookeeper")).unwrap();
    fs::write(run.trace("zookeeper"), &bytes[..bytes.len() - 4]).unwrap();
    let (code, [redlock, zookeeper]) = run.replay();
    assert_eq!(code, Some(1));
    assert!(redlock.contains("the hash agrees, the trace does not; first at event 1000 of "), "{redlock}");
    let events = bytes.len() / 2 - 2;
    let told = format!("; first at event {events} of {events}, which the recorded run has no more: ");
    assert!(zookeeper.contains(&told), "{zookeeper}");
}

#[test]
fn without_a_readable_trace_the_hash_decides_and_the_event_is_not_made_up() {
    let run = Run::new();
    fs::remove_file(run.trace("redlock")).unwrap();
    let bytes = fs::read(run.trace("zookeeper")).unwrap();
    fs::write(run.trace("zookeeper"), &bytes[1..]).unwrap();
    assert_eq!(run.replay().0, Some(0), "the hashes are equal");
    run.edit("\"seed\": 7", "\"seed\": 8");
    let (code, [redlock, zookeeper]) = run.replay();
    assert_eq!(code, Some(1));
    for (line, why) in [(redlock, "No such file"), (zookeeper, "cut off in the middle of an event")] {
        assert!(line.contains("the first event that differs cannot be named: cannot read "), "{line}");
        assert!(line.contains(why) && !line.contains("event 0"), "{line}");
    }
}

#[test]
fn a_hash_that_is_not_of_the_trace_is_told() {
    let run = Run::new();
    let hash = run.replay().1[0].rsplit(' ').next().unwrap().to_owned();
    run.edit(&hash, "0123456789abcdef");
    let (code, [redlock, zookeeper]) = run.replay();
    assert_eq!(code, Some(1));
    assert!(redlock.contains("the hash in run.json are not of one run"), "{redlock}");
    assert!(zookeeper.contains("the same"), "{zookeeper}");
}

#[test]
fn a_run_on_real_servers_is_not_replayed() {
    let run = Run::new();
    run.edit("\"environment\": \"sim\"", "\"environment\": \"docker\"");
    let (code, message) = refused(&["replay", run.path()]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("environment docker, which does not repeat"), "{message}");
}

#[test]
fn a_run_without_a_hash_has_nothing_to_compare() {
    let run = Run::new();
    let hash = run.replay().1[0].rsplit(' ').next().unwrap().to_owned();
    run.edit(&format!("\"trace-hash\": \"{hash}\","), "");
    let (code, message) = refused(&["replay", run.path()]);
    assert_eq!(code, Some(254), "{message}");
    assert!(message.contains("`redlock` no trace hash"), "{message}");
}
