//! The harness killed without warning, at any moment of `chaos`: nothing may stay hurt. And a stranger's container beside
//! a run of every fault: nothing may happen to it.
//!
//! Needs Docker, root, `nsenter` and `nft`: networks are looked at from outside, not by fencepost's own means. Kills three
//! times; `FENCEPOST_KILLS=100` more often. No time is asserted; how long healing took is printed.

#![expect(clippy::disallowed_methods, reason = "real servers live in real time")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fencepost::env::docker::engine::{Engine, Role, State};
use fencepost::env::docker::files::state_folder;
use fencepost::env::docker::journal::Journal;
use fencepost::env::docker::wire;

/// A clock that is further off than this was left so: `chaos` moves clocks by seconds.
const CLOCK_SLACK: Duration = Duration::from_millis(150);

fn fencepost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn docker(arguments: &[&str]) -> String {
    output("docker", arguments).trim().to_owned()
}

/// Everything that a fault could have left, by what the system says of it.
fn left() -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut left = Vec::new();
    runtime.block_on(async {
        let engine = Engine::connect().await.unwrap();
        for container in engine.containers().await.unwrap() {
            let name = &container.name;
            if !container.role.outlives_runs() {
                left.push(format!("{name} is there"));
                continue;
            }
            if container.state != State::Running {
                left.push(format!("{name} is {}", container.state));
                continue;
            }
            let Some(pid) = engine.pid(&container).await.unwrap() else {
                left.push(format!("{name} has just died"));
                continue;
            };
            // One that has just died or come back is looked at again.
            let looked = Command::new("nsenter")
                .args(["-t", &pid.to_string(), "-n", "nft", "list", "ruleset"])
                .output()
                .unwrap();
            if !looked.status.success() {
                left.push(format!("{name}: {}", String::from_utf8_lossy(&looked.stderr)));
                continue;
            }
            let tables = String::from_utf8_lossy(&looked.stdout);
            left.extend(
                tables
                    .lines()
                    .filter(|line| line.contains("fencepost") || line.contains("NFQUEUE"))
                    .map(|line| format!("{name}: {line}")),
            );
            if container.role == Role::Redis
                && let Some(port) = container.published
            {
                let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
                match wire::redis(address, &["TIME"], Duration::from_secs(1)).await {
                    Ok(reply) => {
                        let digits = |line: &str| line.parse::<u64>().ok().filter(|_| !line.starts_with('*'));
                        let numbers: Vec<u64> = reply.lines().filter_map(digits).collect();
                        let shown = Duration::from_secs(numbers[0]) + Duration::from_micros(numbers[1]);
                        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                        if shown.abs_diff(now) > CLOCK_SLACK {
                            left.push(format!("{name} is wrong by {:?}", shown.abs_diff(now)));
                        }
                    }
                    Err(error) => left.push(format!("{name}: {error}")),
                }
            }
        }
    });
    let journal = Journal::open(&state_folder().unwrap()).unwrap();
    left.extend(journal.outstanding().unwrap().into_keys().map(|entry| format!("{entry:?}")));
    left
}

#[test]
fn a_harness_that_is_killed_at_any_moment_leaves_nothing_behind() {
    let kills: u32 = std::env::var("FENCEPOST_KILLS").map_or(3, |kills| kills.parse().unwrap());
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let mut healed = Vec::new();
    let mut struck = 0;
    for kill in 0..kills {
        let mut run = fencepost(&["run", "--env", "docker", "--out", folder, "scenarios/chaos.toml"]).spawn().unwrap();
        let journal = Journal::open(&state_folder().unwrap()).unwrap();
        let started = Instant::now();
        while journal.outstanding().unwrap().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(90), "no fault was made");
            assert!(run.try_wait().unwrap().is_none(), "the run ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        // From the first fault on, anywhere in the ten seconds after it.
        std::thread::sleep(Duration::from_millis(rand::random::<u64>() % 10_000));
        let outstanding = journal.outstanding().unwrap();
        struck += u32::from(!outstanding.is_empty());
        run.kill().unwrap();
        run.wait().unwrap();
        let killed = Instant::now();
        let mut remains = left();
        while !remains.is_empty() {
            assert!(killed.elapsed() < Duration::from_secs(60), "kill {kill}, in {outstanding:?}: {remains:?}");
            std::thread::sleep(Duration::from_millis(10));
            remains = left();
        }
        let took = killed.elapsed().as_secs_f64();
        let kinds: Vec<String> = outstanding.keys().map(|entry| format!("{} {:?}", entry.name, entry.undo)).collect();
        println!("kill {kill}: clean after {took:.2} s, hurt were {}: {}", kinds.len(), kinds.join("; "));
        healed.push(took);
        let again = Command::new(env!("CARGO_BIN_EXE_fencepost")).args(["cluster", "heal"]).output().unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert_eq!(said.trim(), "nothing to heal", "kill {kill}: the next start still found something");
        assert!(left().is_empty(), "{:?}", left());
    }
    healed.sort_by(f64::total_cmp);
    let most = healed.last().copied().unwrap_or_default();
    println!(
        "{kills} kills, {struck} in the middle of faults: clean after {:.2} s (median), {most:.2} s (most)",
        healed.get(healed.len() / 2).copied().unwrap_or_default()
    );
    assert!(struck > 0 || kills == 0, "no kill came in the middle of a fault");
}

/// A container that looks like one of ours and is not: its name, its image, its network.
struct Stranger(String);

impl Stranger {
    fn start() -> Self {
        let name = format!("fencepost-{:06x}-redlock-c1", std::process::id() & 0xff_ffff);
        let subnet = docker(&["network", "inspect", "fencepost", "--format", "{{(index .IPAM.Config 0).Subnet}}"]);
        let address = subnet.rsplit_once('.').unwrap().0.to_owned() + ".250";
        docker(&[
            "run",
            "--detach",
            "--name",
            &name,
            "--network",
            "fencepost",
            "--ip",
            &address,
            "--entrypoint",
            "sleep",
            "fencepost-tools",
            "600",
        ]);
        Self(name)
    }

    /// Who it is, and what its network looks like.
    fn looks(&self) -> (String, String) {
        let state = docker(&["inspect", "--format", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Status}}", &self.0]);
        let pid = state.split(' ').next().unwrap();
        let network =
            output("nsenter", &["-t", pid, "-n", "sh", "-c", "nft list ruleset; ip address; ip route; tc qdisc"]);
        let uptimes = |line: &&str| !line.contains("valid_lft");
        (state.clone(), network.lines().filter(uptimes).collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.0]).output();
    }
}

#[test]
fn a_stranger_in_the_way_of_every_fault_is_not_touched() {
    assert!(fencepost(&["cluster", "up"]).status().unwrap().success());
    let stranger = Stranger::start();
    let before = stranger.looks();
    let since = docker(&["info", "--format", "{{.SystemTime}}"]);
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let code = fencepost(&["run", "--env", "docker", "--out", folder, "scenarios/chaos.toml"]).status().unwrap().code();
    assert!(matches!(code, Some(0..=2)), "{code:?}");
    assert_eq!(stranger.looks(), before, "after a run of every fault");
    assert!(fencepost(&["cluster", "heal"]).status().unwrap().success());
    assert_eq!(stranger.looks(), before, "after a heal of everything");
    let until = docker(&["info", "--format", "{{.SystemTime}}"]);
    let events =
        docker(&["events", "--since", &since, "--until", &until, "--filter", &format!("container={}", stranger.0)]);
    assert_eq!(events, "", "Docker was asked for something");
}
