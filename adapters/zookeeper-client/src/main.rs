//! The lock of the crate zookeeper-client. To wait no longer is to drop the future, as its documentation says one may.
use std::{collections::BTreeMap, env::var, error::Error, time::Duration};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use zookeeper_client::{Acls, Client, CreateMode, LockClient, LockOptions, LockPrefix, SessionState};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", json!({"hello": {"name": "zookeeper-client", "version": "0.11.2", "capabilities": ["lost"]}}));
    let (servers, session) = (var("FENCEPOST_SERVERS")?, Duration::from_millis(var("FENCEPOST_LEASE_MS")?.parse()?));
    let connect = async || Client::connector().with_session_timeout(session).connect(&servers).await;
    // A guard borrows its client, and a client is kept until its session is over.
    let mut client: &'static Client = Box::leak(Box::new(connect().await?));
    let mut held: BTreeMap<String, LockClient<'static>> = BTreeMap::new();
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            () = over(client) => {
                std::mem::take(&mut held).keys().for_each(|name| println!("{}", json!({"lost": name})));
                client = Box::leak(Box::new(connect().await?));
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        let ask: Value = serde_json::from_str(&line)?;
        let name = ask["lock"].as_str().unwrap_or_default().to_owned();
        let mut answer = json!({"id": ask["id"], "result": "fail"});
        if ask["op"] == "release" {
            answer["result"] = json!(if held.remove(&name).is_some() { "released" } else { "expired" });
        } else {
            let (folder, parent) = (format!("/{name}"), CreateMode::Persistent.with_acls(Acls::anyone_all()));
            let options = LockOptions::new(Acls::anyone_all()).with_ancestor_options(parent)?;
            let lock = client.lock(LockPrefix::new_curator(&folder, "lock-")?, b"", options);
            let wait = ask["wait_ms"].as_u64().unwrap_or(0).max(100);
            match tokio::time::timeout(Duration::from_millis(wait), lock).await {
                Ok(Ok(guard)) => (answer["result"], _) = (json!("ok"), held.insert(name, guard)),
                Ok(Err(error)) => (answer["result"], answer["error"]) = (json!("unknown"), json!(error.to_string())),
                Err(_) => {}
            }
        }
        println!("{answer}");
    }
}

async fn over(client: &Client) {
    let mut states = client.state_watcher();
    while !matches!(states.peek_state(), SessionState::Expired | SessionState::Closed) {
        states.changed().await;
    }
}
