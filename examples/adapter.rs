//! A lock library of Rust behind the adapter protocol: here fencepost's own Redlock.
use std::{collections::BTreeMap, env::var, error::Error, net::SocketAddr, sync::Arc, time::Duration};

use fencepost::lock::{AcquireOptions, DistributedLock, Redlock, RedlockSettings, ReleaseOutcome};
use fencepost::{ids::LockName, lock::backend::RedisNode, lock::client::RedisServer, lock::runtime::TokioRuntime};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes: Vec<Arc<dyn RedisNode>> = Vec::new();
    for server in var("FENCEPOST_SERVERS")?.split(',') {
        nodes.push(Arc::new(RedisServer::new(server.parse::<SocketAddr>()?)));
    }
    let ttl = Duration::from_millis(var("FENCEPOST_LEASE_MS")?.parse()?);
    let settings = RedlockSettings { ttl, ..Default::default() };
    let lock = Redlock::new(nodes, settings, Arc::new(TokioRuntime::from_entropy()))?;
    println!("{}", json!({"hello": {"name": "redlock", "version": "1", "capabilities": ["valid_for"]}}));
    let mut held = BTreeMap::new();
    for line in std::io::stdin().lines() {
        let ask: Value = serde_json::from_str(&line?)?;
        let name = LockName::new(ask["lock"].as_str().unwrap_or_default());
        let wait = AcquireOptions::within(Duration::from_millis(ask["wait_ms"].as_u64().unwrap_or(0)));
        let mut answer = json!({"id": ask["id"], "result": "fail"});
        if ask["op"] == "acquire" {
            if let Ok(guard) = lock.acquire(&name, &wait).await {
                answer["result"] = json!("ok");
                answer["valid_for_ms"] = json!(guard.remaining().as_secs_f64() * 1e3);
                held.insert(name, guard);
            }
        } else if let Some(guard) = held.remove(&name) {
            answer["result"] = match guard.release().await {
                ReleaseOutcome::Released => json!("released"),
                ReleaseOutcome::Unknown(_) => json!("unknown"),
                _ => json!("expired"),
            };
        }
        println!("{answer}");
    }
    Ok(())
}
