//! Trials on servers that are not fencepost's: started here from the same images, without its labels, on the daemon's
//! default network, published on 127.0.0.1 only.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::*;

const PASSWORD: &str = "correct horse";

/// Three Redis servers that ask for a password, and a ZooKeeper server, while this lives.
struct Strangers(Vec<String>);

impl Strangers {
    fn start() -> Self {
        let name = |what: &str| format!("stranger-{}-{what}", std::process::id());
        let mut started = Self(Vec::new());
        for (number, port) in [(1, 27_101), (2, 27_102), (3, 27_103)] {
            let (name, published) = (name(&format!("redis-{number}")), format!("127.0.0.1:{port}:6379"));
            started.0.push(name.clone());
            let server = [
                "--entrypoint",
                "redis-server",
                "fencepost-redis",
                "--requirepass",
                PASSWORD,
                "--protected-mode",
                "no",
            ];
            docker(&[&["run", "--detach", "--name", &name, "--publish", &published][..], &server].concat());
        }
        let name = name("zookeeper");
        started.0.push(name.clone());
        let published = ["--publish", "127.0.0.1:27111:2181"];
        let told = ["--env", "ZOO_MY_ID=1", "--env", "ZOO_SERVERS=server.1=127.0.0.1:2888:3888"];
        docker(&[&["run", "--detach", "--name", &name][..], &published, &told, &["fencepost-zookeeper"]].concat());
        let begun = Instant::now();
        while !started.keys().iter().all(Option::is_some) || started.znodes().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(90), "the servers do not answer");
            std::thread::sleep(Duration::from_millis(200));
        }
        started
    }

    fn redis(&self, number: usize, words: &[&str]) -> Option<String> {
        let head =
            ["exec", "--env", &format!("REDISCLI_AUTH={PASSWORD}"), &self.0[number], "redis-cli"].map(str::to_owned);
        let output = Command::new("docker").args(head).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(said).filter(|said| !said.contains("NOAUTH"))
    }

    /// How many keys each master has.
    fn keys(&self) -> Vec<Option<String>> {
        (0..3).map(|number| self.redis(number, &["DBSIZE"])).collect()
    }

    /// How many znodes there are.
    fn znodes(&self) -> Option<u64> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect("127.0.0.1:27111").ok()?;
        stream.write_all(b"mntr").ok()?;
        let mut told = String::new();
        stream.read_to_string(&mut told).ok()?;
        told.lines().find_map(|line| line.strip_prefix("zk_znode_count"))?.trim().parse().ok()
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", "--volumes"]).args(&self.0).output();
    }
}

#[test]
fn servers_that_are_not_ours_are_used_as_a_client_uses_them_and_left_as_they_were() {
    let _turn = turn();
    let strangers = Strangers::start();
    for number in 0..3 {
        strangers.redis(number, &["SET", "theirs", "1"]).unwrap();
    }
    let (config, znodes) = (strangers.redis(0, &["CONFIG", "GET", "*"]), strangers.znodes());
    let out = tempfile::tempdir().unwrap();
    let settings = out.path().join("lock.toml");
    let nodes = [27_101, 27_102, 27_103].map(|port| format!("\"redis://127.0.0.1:{port}\"")).join(", ");
    std::fs::write(&settings, format!("[redlock]\nnodes = [{nodes}]\npassword-env = \"STRANGERS\"\n")).unwrap();
    let trial = |scenario: &str| {
        let mut command = command(scenario, out.path());
        command.env("STRANGERS", PASSWORD).arg("--servers").arg(&settings).args(["--servers", "zk://127.0.0.1:27111"]);
        command
    };

    // What is done to servers is refused before anything starts, with its place.
    let refused = trial("node-amnesia").output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(254), "{message}");
    assert!(message.contains("node-amnesia.toml:") && message.contains("has not started itself"), "{message}");
    // A wrong password too.
    let refused = trial("../tests/scenarios/given-servers").env("STRANGERS", "wrong").output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(255), "{message}");
    assert!(message.contains("127.0.0.1:27101 cannot be used") && !message.contains("horse"), "{message}");

    let mut tried = Value::Null;
    for _ in 0..3 {
        let output = trial("../tests/scenarios/given-servers").output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        tried = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{:?}: {message}", output.status));
        println!("given servers: {:?}: {:?}", output.status, missed(&tried));
        nothing_is_left();
        if missed(&tried).iter().any(|(_, reached)| reached != "unknown") || tried["expected"] == true {
            break;
        }
    }
    assert_eq!(tried["expected"], true, "{tried}");
    let told = tried["servers"].as_str().unwrap();
    assert!(told.contains("127.0.0.1:27102") && told.contains("at clients") && !told.contains("horse"), "{told}");
    for lock in ["redis", "redlock", "zookeeper"] {
        let coverage = check(&tried, lock, "coverage");
        assert!(coverage["figures"]["grants"].as_f64().unwrap() > 20.0, "{lock}: {coverage}");
        assert_eq!(coverage["figures"]["faults-struck"], coverage["figures"]["faults-planned"], "{lock}: {coverage}");
    }
    let page = std::fs::read_to_string(out.path().join("given-servers/latest/report.html")).unwrap();
    assert!(page.contains("not fencepost") && page.contains("127.0.0.1:27111"));
    // As they were, to the last key, setting and znode.
    assert_eq!(strangers.keys(), vec![Some("1".to_owned()); 3]);
    assert_eq!((strangers.redis(0, &["CONFIG", "GET", "*"]), strangers.znodes()), (config, znodes));

    // One that goes away in the middle is nobody's fault but its keeper's.
    let mut run = trial("../tests/scenarios/given-servers");
    run.args(["--lock", "redis"]);
    let begun = begun_as(run, "given-servers", out.path(), &["redis"]);
    docker(&["restart", "--time", "0", &strangers.0[0]]);
    let (code, verdict) = ended(begun);
    assert_eq!(code, Some(2), "{verdict}");
    let checks = verdict["locks"]["redis"]["checks"].as_object().unwrap();
    assert!(checks.values().all(|check| check["verdict"] != "invalid" && check["verdict"] != "valid"), "{verdict}");
    assert!(verdict["locks"]["redis"]["cut_off"].as_str().unwrap().contains("127.0.0.1:27101"), "{verdict}");
    nothing_is_left();
}
