//! rslock, a Redlock in Rust. To wait no longer is to drop the future: there is no call with a deadline.
use std::{collections::BTreeMap, env::var, error::Error, time::Duration};

use rslock::{Lock, LockManager};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", json!({"hello": {"name": "rslock", "version": "0.10.0", "capabilities": ["valid_for"]}}));
    let urls = var("FENCEPOST_SERVERS")?.split(',').map(|server| format!("redis://{server}")).collect();
    let manager = LockManager::new::<String>(urls);
    let mut once = manager.clone();
    once.set_retry(1, Duration::ZERO);
    let lease = Duration::from_millis(var("FENCEPOST_LEASE_MS")?.parse()?);
    let mut held: BTreeMap<String, Lock> = BTreeMap::new();
    for line in std::io::stdin().lines() {
        let ask: Value = serde_json::from_str(&line?)?;
        let name = ask["lock"].as_str().unwrap_or_default().to_owned();
        let mut answer = json!({"id": ask["id"], "result": "fail"});
        if ask["op"] == "release" {
            answer["result"] = json!("expired");
            if let Some(lock) = held.remove(&name) {
                lock.release().await;
                // It does not say whether the lock was still there.
                answer["result"] = json!("released");
            }
        } else {
            let wait = Duration::from_millis(ask["wait_ms"].as_u64().unwrap_or(0));
            let got = if wait.is_zero() {
                once.lock(name.as_bytes(), lease).await.ok()
            } else {
                tokio::time::timeout(wait, manager.acquire_no_guard(name.as_bytes(), lease))
                    .await
                    .ok()
                    .and_then(Result::ok)
            };
            if let Some(lock) = got {
                (answer["result"], answer["valid_for_ms"]) = (json!("ok"), json!(lock.validity_time));
                held.insert(name, lock);
            }
        }
        println!("{answer}");
    }
    Ok(())
}
