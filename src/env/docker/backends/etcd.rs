//! etcd in containers: members of one cluster, asked by the JSON gateway.
//!
//! Its clocks are not moved: a Go program asks the kernel for the time, not the C library, so that no preloaded shim is
//! in between.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{BoxFuture, FutureExt, ready};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::external::ExternalServers;
use super::talk::{http, not_yet};
use super::{Answer, ContainerBackend, Containers, Left, Opening, Published, foreign, listed, path, path_in_requests};
use crate::env::docker::clock_reading::Reading;
use crate::env::docker::container::Container;
use crate::env::docker::engine::Engine;
use crate::history;
use crate::ids::LockName;
use crate::lock::client::EtcdMembers;
use crate::lock::{DistributedLock, Settings};
use crate::scenario::{Backend, LockConfig};
use crate::trial::leftovers::{Found, Names};
use crate::wire::Protocol;

/// How long a member may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(5);

/// etcd in containers.
#[derive(Debug)]
pub struct Etcd;

impl ContainerBackend for Etcd {
    fn backend(&self) -> Backend {
        Backend::Etcd
    }

    fn title(&self) -> &'static str {
        "etcd"
    }

    fn containers(&self) -> Containers {
        Containers {
            image: "fencepost-etcd",
            files: &[
                ("docker/etcd.Dockerfile", include_str!("../../../../docker/etcd.Dockerfile")),
                ("docker/etcd.sh", include_str!("../../../../docker/etcd.sh")),
            ],
            usual: 3,
            most: 3,
            size_variable: None,
            on_demand: true,
            begin_together: true,
            first_host: 25,
            first_port: 17_015,
            port: 2379,
            has_clock: false,
        }
    }

    fn has_leader(&self) -> bool {
        true
    }

    fn ask(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<Answer>> {
        async move { answer(&http(server, "POST /v3/maintenance/status", "{}", limit).await?) }.boxed()
    }

    /// Its own version is what a member tells without the others; the rest of its status too.
    fn is_there(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<()>> {
        async move { http(server, "GET /version", "", limit).await.map(drop) }.boxed()
    }

    fn read_clock<'a>(&'a self, _: &'a Engine, _: &'a Container, _: SocketAddr) -> BoxFuture<'a, io::Result<Reading>> {
        ready(Err(io::Error::other("its clock is not moved, and not looked at"))).boxed()
    }

    fn open(&self, opening: Opening<'_>) -> Result<Arc<dyn DistributedLock>, String> {
        let Opening { lock, namespace, servers, runtime, .. } = opening;
        let LockConfig::Etcd(config) = lock else { return Err(foreign(lock)) };
        let address = format!("etcd://{}", listed(servers)).parse().map_err(|error| format!("{error}"))?;
        Ok(config.make(Arc::new(EtcdMembers::new(address)), path(namespace), runtime))
    }

    fn prefix(&self, namespace: &str) -> String {
        format!("{}/", path(namespace))
    }

    fn name_in_requests(&self, namespace: &str, lock: &LockName) -> String {
        path_in_requests(namespace, lock)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Etcd
    }

    /// Whichever is asked asks a majority itself.
    fn replies_needed(&self, _: usize) -> usize {
        1
    }

    fn leases_run_out(&self) -> bool {
        false
    }

    fn leftovers<'a>(&'a self, published: &'a Published, names: &'a Names) -> BoxFuture<'a, Left> {
        async move {
            // Each asks a majority: whichever answers knows all.
            let mut why = "there is no member".to_owned();
            for (_, member) in &published.servers {
                match keys_of(*member, names.prefix()).await {
                    Ok(found) => return (found, None),
                    Err(error) => why = error.to_string(),
                }
            }
            (Vec::new(), Some(format!("no etcd member tells its keys: {why}")))
        }
        .boxed()
    }

    fn is_for(&self, settings: &Settings) -> bool {
        matches!(settings, Settings::Etcd(_))
    }

    fn external(&self) -> Option<&'static dyn ExternalServers> {
        None
    }
}

/// What a member's status says: it leads, follows, or knows of no leader.
#[derive(Deserialize)]
struct Status {
    header: Header,
    version: String,
    /// Zero where there is none, which the gateway leaves out.
    #[serde(default)]
    leader: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    member_id: String,
}

fn answer(reply: &str) -> io::Result<Answer> {
    let Ok(Status { header, version, leader }) = serde_json::from_str(reply) else { return Err(not_yet(reply)) };
    match leader {
        None => Err(io::Error::other("it knows of no leader")),
        Some(leader) if leader == "0" => Err(io::Error::other("it knows of no leader")),
        Some(leader) => {
            let mode = if leader == header.member_id { "leader" } else { "follower" };
            Ok(Answer { version, mode: mode.to_owned() })
        }
    }
}

/// What the gateway says of keys: bytes in base64, numbers as texts, and nothing of what is zero.
#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    lease: Option<String>,
}

/// How many seconds a lease has left: below zero, or none, for one that is over.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct TimeToLive {
    #[serde(default)]
    ttl: Option<String>,
}

async fn keys_of(member: SocketAddr, prefix: &str) -> io::Result<Vec<Found>> {
    // From the first key to beyond the last.
    let all = r#"{"key":"AA==","range_end":"AA==","keys_only":true}"#;
    let range: Range = asked(member, "/v3/kv/range", all).await?;
    let mut found = Vec::new();
    for KeyValue { key, lease } in range.kvs {
        let key = BASE64_STANDARD.decode(&key).map_err(io::Error::other)?;
        let name = String::from_utf8_lossy(&key).into_owned();
        if !name.contains(prefix) {
            continue;
        }
        let time_left = match &lease {
            None => None,
            Some(lease) => {
                let asks = format!("{{\"ID\":\"{lease}\"}}");
                let left: TimeToLive = asked(member, "/v3/lease/timetolive", &asks).await?;
                let seconds = left.ttl.and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
                Some(u64::try_from(seconds).unwrap_or_default() * 1_000_000_000)
            }
        };
        // The id by which `etcdctl lease list` shows it.
        let lease = lease.and_then(|lease| lease.parse::<i64>().ok());
        let owner = lease.map_or_else(|| "no lease".to_owned(), |lease| format!("lease {lease:016x}"));
        found.push(Found { left: history::Left { node: None, name, owner, time_left }, client: None });
    }
    Ok(found)
}

async fn asked<T: DeserializeOwned>(member: SocketAddr, path: &str, body: &str) -> io::Result<T> {
    let reply = http(member, &format!("POST {path}"), body, PATIENCE).await?;
    serde_json::from_str(&reply).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_says_version_and_whether_it_leads() {
        let reply = |leader| {
            format!("{{\"header\":{{\"cluster_id\":\"7\",\"member_id\":\"88\"}},\"version\":\"3.5.16\"{leader}}}")
        };
        let mode = |leader| answer(&reply(leader)).map(|answer| answer.mode).map_err(|error| error.to_string());
        assert_eq!(mode(",\"leader\":\"88\""), Ok("leader".to_owned()));
        assert_eq!(mode(",\"leader\":\"9\""), Ok("follower".to_owned()));
        assert_eq!(mode(""), Err("it knows of no leader".to_owned()));
        assert_eq!(answer(&reply(",\"leader\":\"9\"")).unwrap().version, "3.5.16");
        assert_eq!(answer("").unwrap_err().to_string(), "not serving yet");
    }
}
