//! Requests to Redis masters, and a Redlock over them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};

use super::{LEASE, Measured, Times, WARM_UP, Watches, hold};
use crate::env::docker::cluster::Cluster;
use crate::env::sim::Seam;
use crate::ids::OwnerToken;
use crate::lock::backend::{Connections, RedisNode};
use crate::lock::client::RedisServer;
use crate::lock::runtime::SharedRuntime;
use crate::lock::{Tokens, Waiting};
use crate::report::calibration::Kind;
use crate::scenario::{Backend, DurationRange, LockConfig, Persistence, RedlockConfig};
use crate::time::Nanos;

/// In order.
const KINDS: [Kind; 5] = [
    Kind { name: "Redis: set a key if absent", is_bare: true },
    Kind { name: "Redis: extend it by script", is_bare: true },
    Kind { name: "Redis: delete it by script", is_bare: true },
    Kind { name: "Redlock, five masters: acquire", is_bare: false },
    Kind { name: "Redlock, five masters: release", is_bare: false },
];

/// Redis masters.
pub(super) struct Redis;

impl Measured for Redis {
    fn kinds(&self) -> &'static [Kind] {
        &KINDS
    }

    fn lock(&self) -> LockConfig {
        LockConfig::Redlock(masters())
    }

    fn real<'a>(
        &'a self,
        cluster: &'a Cluster,
        runtime: &'a SharedRuntime,
        name: &'a str,
        rounds: usize,
    ) -> LocalBoxFuture<'a, Result<Times, String>> {
        // Their addresses in their network: what is published on this machine goes through Docker's proxy.
        let masters = cluster.servers(Backend::Redis).iter().map(|server| (server.address, server.port));
        let masters =
            masters.map(|at| Arc::new(RedisServer::new(std::net::SocketAddr::from(at))) as Arc<dyn RedisNode>);
        let nodes = masters.collect();
        async move { measure(nodes, runtime, &format!("{name}:"), rounds).await }.boxed_local()
    }

    fn simulated(&self, seam: Seam, rounds: usize) -> LocalBoxFuture<'static, Result<Times, String>> {
        async move {
            let Seam { redis: nodes, runtime, .. } = seam;
            measure(nodes, &runtime, "calibrate:", rounds).await
        }
        .boxed_local()
    }
}

fn masters() -> RedlockConfig {
    RedlockConfig {
        nodes: 5,
        ttl: LEASE,
        renewal: false,
        node_timeout: Duration::from_secs(1),
        retry_delay: DurationRange { min: Duration::from_millis(20), max: Duration::from_millis(80) },
        persistence: Persistence::None,
        connections: Connections::Pooled,
        waiting: Waiting::Poll,
        tokens: Tokens::None,
        flaw: None,
    }
}

async fn measure(
    nodes: Vec<Arc<dyn RedisNode>>,
    runtime: &SharedRuntime,
    prefix: &str,
    rounds: usize,
) -> Result<Times, String> {
    let node = Arc::clone(nodes.first().ok_or("there is no Redis master")?);
    let lock = masters().make(nodes, prefix.to_owned(), Arc::clone(runtime), Arc::new(|| Nanos::ZERO));
    let (key, owner) = (format!("{prefix}bare"), OwnerToken::new("calibrate"));
    let mut watches = Watches::new(runtime, KINDS.len());
    for round in 0..WARM_UP + rounds {
        watches.counts = round >= WARM_UP;
        watches.time(node.set_if_absent(&key, &owner, LEASE)).await?;
        watches.time(node.extend_if_owner(&key, &owner, LEASE)).await?;
        watches.time(node.delete_if_owner(&key, &owner)).await?;
        hold(&*lock, &mut watches).await?;
    }
    Ok(watches.read(&KINDS))
}
