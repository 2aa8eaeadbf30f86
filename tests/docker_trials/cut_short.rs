//! Runs that do not come to their end: the harness is killed or interrupted in the midst of a fault, the disk is full.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fencepost::env::docker::container::{Role, State};
use fencepost::env::docker::files::state_folder;
use fencepost::env::docker::journal::Journal;
use fencepost::scenario::Backend;

use crate::harness::*;

pub fn somebody_is_frozen() -> bool {
    let output = Command::new("docker")
        .args(["ps", "--quiet", "--filter", "status=paused", "--filter", "label=io.fencepost.cluster=fencepost"])
        .output();
    output.is_ok_and(|output: Output| !output.stdout.is_empty())
}

fn a_fault_is_in_the_journal() -> bool {
    let journal = Journal::open(&state_folder().unwrap()).unwrap();
    journal.outstanding().is_ok_and(|entries| !entries.is_empty())
}

/// By a fault: one that is started for the first time is dead for a moment, too.
fn a_server_is_dead() -> bool {
    let is_dead = containers().iter().any(|own| {
        matches!(own.role, Role::Server(Backend::Redis) | Role::Server(Backend::Zookeeper))
            && own.state == State::Stopped
    });
    is_dead && a_fault_is_in_the_journal()
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
    heals_after_kill("partition-client", a_fault_is_in_the_journal);
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
