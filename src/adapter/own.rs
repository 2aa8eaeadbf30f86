//! fencepost's own locks as a program that speaks the protocol: what they are through an adapter, they must be
//! directly.
//!
//! Deliberately absent: anything that a stranger's program could not do.

use std::collections::BTreeMap;
use std::env::var;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::protocol::{Request, Verb};
use crate::ids::LockName;
use crate::lock::backend::RedisNode;
use crate::lock::client::{EtcdMembers, RedisServer, ZookeeperEnsemble};
use crate::lock::runtime::TokioRuntime;
use crate::lock::{
    AcquireOptions, DistributedLock, EtcdLock, EtcdSettings, Guard, GuardState, Redlock, RedlockSettings,
    ReleaseOutcome, ZookeeperLock, ZookeeperSettings,
};
use crate::time::Clock;

/// Serves the lock over the servers that the environment names, until standard input ends.
///
/// # Errors
/// The environment does not say what it should, or standard input says what is no request.
pub async fn serve() -> anyhow::Result<()> {
    let told = |name: &str| var(name).with_context(|| format!("{name} is not set: fencepost tells it to adapters"));
    let (servers, lease) = (told("FENCEPOST_SERVERS")?, Duration::from_millis(told("FENCEPOST_LEASE_MS")?.parse()?));
    let runtime = Arc::new(TokioRuntime::from_entropy());
    let (lock, offers): (Arc<dyn DistributedLock>, Value) = match told("FENCEPOST_BACKEND")?.as_str() {
        "redis" => {
            let node = |text: &str| {
                let address: std::net::SocketAddr = text.parse()?;
                Ok(Arc::new(RedisServer::new(address)) as Arc<dyn RedisNode>)
            };
            let nodes = servers.split(',').map(node).collect::<anyhow::Result<_>>()?;
            // The defaults of a scenario's own Redlock.
            let node_timeout = (lease / 10).min(Duration::from_millis(50));
            let settings = RedlockSettings { ttl: lease, node_timeout, ..Default::default() };
            (Arc::new(Redlock::new(nodes, settings, runtime.clone())?), json!(["valid_for", "is_valid", "lost"]))
        }
        "etcd" => {
            let members = Arc::new(EtcdMembers::new(format!("etcd://{servers}").parse()?));
            let settings = EtcdSettings { ttl: lease, ..EtcdSettings::default() };
            let lock = EtcdLock::new(members, settings, runtime.clone())?;
            (Arc::new(lock), json!(["valid_for", "is_valid", "lost", "token", "extend"]))
        }
        _ => {
            let ensemble = Arc::new(ZookeeperEnsemble::new(servers, lease));
            let lock = ZookeeperLock::new(ensemble, ZookeeperSettings::default(), runtime.clone());
            (Arc::new(lock), json!(["valid_for", "is_valid", "lost", "token", "extend"]))
        }
    };
    let (out, mut lines) = mpsc::unbounded_channel::<Value>();
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            // If nobody reads, there is nobody to serve, and standard input ends too.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    });
    let say = move |line: Value| drop(out.send(line));
    let version = env!("CARGO_PKG_VERSION");
    say(json!({"hello": {"name": "fencepost", "version": version, "capabilities": offers}}));
    let mut held: BTreeMap<String, Guard> = BTreeMap::new();
    let (reader, mut requests) = mpsc::unbounded_channel();
    // A read of standard input cannot be called off, so it has a thread of its own, which ends with the process.
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.map(|line| reader.send(line)).find(Result::is_err)
    });
    while let Some(line) = requests.recv().await {
        let ask: Request = serde_json::from_str(&line).with_context(|| format!("not a request: {line}"))?;
        let mut answer = json!({"id": ask.id});
        let result = match (ask.op, held.remove(&ask.lock)) {
            (Verb::Acquire, _) => {
                let name = LockName::new(&ask.lock);
                let options = AcquireOptions::within(Duration::from_millis(ask.wait_ms.unwrap_or_default()));
                match lock.acquire(&name, &options).await {
                    Ok(guard) => {
                        tokio::spawn(tell_loss(guard.promises(), ask.lock.clone(), say.clone()));
                        held.insert(ask.lock.clone(), guard);
                        "ok"
                    }
                    Err(error) => {
                        answer["error"] = json!(error.to_string());
                        "fail"
                    }
                }
            }
            (Verb::Release, Some(guard)) => match guard.release().await {
                ReleaseOutcome::Released => "released",
                ReleaseOutcome::AlreadyExpired | ReleaseOutcome::TakenOver => "expired",
                ReleaseOutcome::Unknown(why) => {
                    answer["error"] = json!(why);
                    "unknown"
                }
            },
            (verb @ (Verb::IsValid | Verb::Extend), Some(guard)) => {
                let is_valid = guard.is_valid();
                held.insert(ask.lock.clone(), guard);
                match (is_valid, verb) {
                    (true, _) => "ok",
                    (false, Verb::Extend) => "fail",
                    (false, _) => "expired",
                }
            }
            (Verb::Extend, None) => "fail",
            (_, None) => "expired",
        };
        answer["result"] = json!(result);
        if let (Some(guard), "ok") = (held.get(&ask.lock), result) {
            let (now, monotonic) = (runtime.now(), super::driver::monotonic());
            let left = guard.valid_until().0 as f64 - now.0 as f64;
            answer["valid_for_ms"] = json!(left / 1e6);
            answer["now_ns"] = json!(monotonic);
            if let Some(token) = guard.token() {
                answer["token"] = json!(token.0);
            }
        }
        say(answer);
    }
    Ok(())
}

/// Tells when a hold is lost, unless it is given back before.
async fn tell_loss(mut promises: crate::lock::Promises, lock: String, say: impl Fn(Value)) {
    while let Some(promise) = promises.next().await {
        if let GuardState::Lost(reason) = promise.state {
            say(json!({"lost": lock, "error": reason.to_string()}));
        }
    }
}
