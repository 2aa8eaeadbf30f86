//! The network helper asked for several things at once: they take effect in the order in which they were asked for.
//!
//! Needs root, `unshare` and `nft`, and no container: the helper's program runs as it is, over a namespace of the
//! test's own.

#![expect(clippy::disallowed_methods, reason = "a real kernel lives in real time")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fencepost::env::docker::netns::{Answer, Door, Effect, Layer, Netns, Request};

const TABLE: &str = "fencepost_order_1";

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace with nothing but its loopback address.
fn namespace() -> (Program, Door) {
    let script = "ip link set lo up && exec sleep 600";
    let program = Program::start(Command::new("unshare").args(["--net", "sh", "-c", script]));
    let door = Door { pid: program.0.id().into(), address: Ipv4Addr::LOCALHOST };
    let started = Instant::now();
    while !listed(door, &["ip", "address", "show", "lo"]).contains("127.0.0.1") {
        assert!(started.elapsed() < Duration::from_secs(10), "no namespace");
        std::thread::sleep(Duration::from_millis(5));
    }
    (program, door)
}

fn listed(door: Door, command: &[&str]) -> String {
    let output = Command::new("nsenter").args(["-t", &door.pid.to_string(), "-n"]).args(command).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

async fn helper(folder: &Path) -> (Program, Netns) {
    let socket = folder.join("netns.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fencepost"));
    let program = Program::start(command.arg("netns").arg("--socket").arg(&socket));
    let started = Instant::now();
    loop {
        match Netns::join(&socket).await {
            Ok(netns) => return (program, netns),
            Err(error) => assert!(started.elapsed() < Duration::from_secs(10), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A table that takes the kernel a while, beside which anything else is quick.
fn layer(door: Door) -> Layer {
    let incoming = (0..200).map(|host| Ipv4Addr::new(10, 0, 0, host)).collect();
    Layer { door, table: TABLE.to_owned(), incoming, outgoing: Vec::new(), effect: Effect::Drop, expiry: 60_000 }
}

fn lift(door: Door) -> Request {
    Request::Lift { door, table: TABLE.to_owned(), at_once: true }
}

/// Asks for one thing after the other, without waiting for any answer in between.
async fn ask_in_order(netns: &Netns, requests: Vec<Request>) -> Vec<Answer> {
    let asked: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let netns = netns.clone();
            tokio::spawn(async move { netns.ask(&request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap().unwrap());
    }
    answers
}

#[tokio::test]
async fn what_was_asked_for_first_takes_effect_first() {
    let (_namespace, door) = namespace();
    let folder = tempfile::tempdir().unwrap();
    let (_helper, netns) = helper(folder.path()).await;
    let tables = || listed(door, &["nft", "list", "tables"]);
    let mut late = 0;
    for _ in 0..20 {
        ask_in_order(&netns, vec![Request::Lay(vec![layer(door)]), lift(door)]).await;
        late += usize::from(!tables().is_empty());
        netns.ask(&lift(door)).await.unwrap();
    }
    assert_eq!(late, 0, "of 20 tables that were lifted while they were laid");
    for _ in 0..20 {
        let requests = vec![lift(door), Request::Lay(vec![layer(door)]), Request::Sweep(vec![door])];
        let answers = ask_in_order(&netns, requests).await;
        assert_eq!(answers[2], Answer::Swept(vec![vec![TABLE.to_owned()]]), "a sweep comes after what it is to sweep");
        assert_eq!(tables(), "");
    }
    for _ in 0..20 {
        let lay = Request::Lay(vec![layer(door)]);
        ask_in_order(&netns, vec![lay.clone(), lift(door), lay]).await;
        assert!(tables().contains(TABLE), "what is laid after a lift stays");
    }
}
