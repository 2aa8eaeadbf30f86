//! What the real servers still have, asked from this machine.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::wire;
use crate::env::leftovers::{Found, Names, Servers};
use crate::env::session_text;
use crate::history::Left;
use crate::ids::{ClientId, NodeId};
use crate::lock::client::{RedisServer, ZookeeperEnsemble};

/// How long a server may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a trial's servers answer on this machine, by number.
pub(super) enum Published {
    /// Redis masters.
    Redis(Vec<(NodeId, SocketAddr)>),
    /// An ensemble, and whose sessions come from which address.
    Zookeeper(Vec<SocketAddr>, BTreeMap<Ipv4Addr, ClientId>),
    /// etcd members.
    Etcd(Vec<SocketAddr>),
}

impl Servers for Published {
    fn look<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, (Vec<Found>, Option<String>)> {
        match self {
            Self::Redis(masters) => look_at_masters(masters, names).boxed(),
            Self::Zookeeper(servers, clients) => look_at_ensemble(servers, clients, names).boxed(),
            Self::Etcd(members) => look_at_etcd(members, names).boxed(),
        }
    }
}

async fn look_at_masters(masters: &[(NodeId, SocketAddr)], names: &Names) -> (Vec<Found>, Option<String>) {
    let looks = masters.iter().map(|(node, address)| async move {
        let server = RedisServer::new(*address);
        match tokio::time::timeout(PATIENCE, server.keys(names.prefix())).await {
            Ok(Ok(keys)) => Ok((*node, keys)),
            Ok(Err(error)) => Err(format!("{node}: {error}")),
            Err(_) => Err(format!("{node} gave no answer within {PATIENCE:?}")),
        }
    });
    let (mut found, mut missing) = (Vec::new(), None);
    for look in join_all(looks).await {
        match look {
            Err(why) => missing = Some(why),
            Ok((node, keys)) => found.extend(keys.into_iter().map(|(name, key)| {
                let time_left = key.left.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
                let left = Left { node: Some(node), name, owner: key.value, time_left };
                Found { left, client: None }
            })),
        }
    }
    (found, missing)
}

async fn look_at_ensemble(
    servers: &[SocketAddr],
    clients: &BTreeMap<Ipv4Addr, ClientId>,
    names: &Names,
) -> (Vec<Found>, Option<String>) {
    let addresses = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let ensemble = ZookeeperEnsemble::new(addresses, PATIENCE);
    let prefix = names.prefix().trim_start_matches('/');
    // Folders of earlier trials stay for good, and there may be thousands.
    let enters = |path: &str| !is_of_another_trial(path, prefix);
    let paths = match tokio::time::timeout(PATIENCE, ensemble.paths(prefix, enters)).await {
        Ok(Ok(paths)) => paths,
        Ok(Err(error)) => return (Vec::new(), Some(error.to_string())),
        Err(_) => return (Vec::new(), Some(format!("the ensemble gave no answer within {PATIENCE:?}"))),
    };
    let mut whose: BTreeMap<i64, ClientId> = BTreeMap::new();
    for connected in
        join_all(servers.iter().map(|server| wire::connected(*server, PATIENCE))).await.into_iter().flatten()
    {
        whose.extend(connected.into_iter().filter_map(|(address, session)| Some((session, *clients.get(&address)?))));
    }
    let found = paths.into_iter().map(|(name, session)| {
        let left = Left { node: None, name, owner: session_text(session), time_left: None };
        Found { left, client: whose.get(&session).copied() }
    });
    (found.collect(), None)
}

/// What etcd's gateway says of keys: bytes in base64, numbers as texts, and nothing of what is zero.
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

async fn look_at_etcd(members: &[SocketAddr], names: &Names) -> (Vec<Found>, Option<String>) {
    // Each asks a majority: whichever answers knows all.
    let mut why = "there is no member".to_owned();
    for member in members {
        match keys_of(*member, names.prefix()).await {
            Ok(found) => return (found, None),
            Err(error) => why = error.to_string(),
        }
    }
    (Vec::new(), Some(format!("no etcd member tells its keys: {why}")))
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
        found.push(Found { left: Left { node: None, name, owner, time_left }, client: None });
    }
    Ok(found)
}

async fn asked<T: DeserializeOwned>(member: SocketAddr, path: &str, body: &str) -> io::Result<T> {
    let reply = wire::http(member, &format!("POST {path}"), body, PATIENCE).await?;
    serde_json::from_str(&reply).map_err(io::Error::other)
}

/// Whether a znode is one of ZooKeeper's own, or surely belongs to another trial: in the folders in which trials have one
/// each, only one is this one's.
fn is_of_another_trial(path: &str, prefix: &str) -> bool {
    let own = |rest: &str| prefix.contains(rest) || rest.contains(prefix);
    match path.strip_prefix("/fencepost/").map(|rest| rest.split('/').next().unwrap_or_default()) {
        Some(trial) => !own(trial),
        None => path == "/zookeeper" || path.starts_with("/fp-") && !path.contains(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_other_trials_are_passed_over() {
        for (path, prefix, passed) in [
            ("/fencepost", "fencepost/run-2-zookeeper/", false),
            ("/fencepost/run-2-zookeeper", "fencepost/run-2-zookeeper/", false),
            ("/fencepost/run-2-zookeeper/item-1", "fencepost/run-2-zookeeper/", false),
            ("/fencepost/run-1-zookeeper", "fencepost/run-2-zookeeper/", true),
            ("/fp-run-1-kazoo-item-1", "fp-run-2-kazoo-", true),
            ("/fp-run-2-kazoo-item-1", "fp-run-2-kazoo-", false),
            ("/tooz", "fp-run-2-tooz-", false),
            ("/zookeeper", "fp-run-2-tooz-", true),
        ] {
            assert_eq!(is_of_another_trial(path, prefix), passed, "{path}");
        }
    }
}
