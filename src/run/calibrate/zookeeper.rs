//! Requests to a ZooKeeper ensemble, and a lock in it.

use std::sync::Arc;

use futures_util::future::{FutureExt, LocalBoxFuture};

use super::{LEASE, Measured, Times, WARM_UP, Watches, hold};
use crate::defendant::backend::TICK;
use crate::env::docker::cluster::Cluster;
use crate::env::sim::Seam;
use crate::lock::backend::ZkConnector;
use crate::lock::client::ZookeeperEnsemble;
use crate::lock::runtime::SharedRuntime;
use crate::lock_kind::LockKind;
use crate::report::calibration::Kind;
use crate::scenario::{Backend, LockConfig, ZookeeperConfig};
use crate::time::Nanos;

/// In order.
const KINDS: [Kind; 6] = [
    Kind { name: "ZooKeeper: stat a znode", is_bare: false },
    Kind { name: "ZooKeeper: create an ephemeral znode", is_bare: false },
    Kind { name: "ZooKeeper: delete it", is_bare: false },
    Kind { name: "ZooKeeper: sync", is_bare: false },
    Kind { name: "ZooKeeper lock: acquire", is_bare: false },
    Kind { name: "ZooKeeper lock: release", is_bare: false },
];

/// A ZooKeeper ensemble.
pub(super) struct Zookeeper;

impl Measured for Zookeeper {
    fn kinds(&self) -> &'static [Kind] {
        &KINDS
    }

    fn lock(&self) -> LockConfig {
        LockConfig::Zookeeper(servers())
    }

    fn real<'a>(
        &'a self,
        cluster: &'a Cluster,
        runtime: &'a SharedRuntime,
        name: &'a str,
        rounds: usize,
    ) -> LocalBoxFuture<'a, Result<Times, String>> {
        let servers = cluster.servers(Backend::Zookeeper).iter();
        let servers: Vec<String> = servers.map(|server| format!("{}:{}", server.address, server.port)).collect();
        let ensemble: Arc<dyn ZkConnector> = Arc::new(ZookeeperEnsemble::new(servers.join(","), LEASE));
        async move { measure(ensemble, runtime, &format!("/{name}"), rounds).await }.boxed_local()
    }

    fn simulated(&self, seam: Seam, rounds: usize) -> LocalBoxFuture<'static, Result<Times, String>> {
        async move {
            let Seam { zookeeper, runtime, .. } = seam;
            let connector = zookeeper.ok_or("the simulated ensemble has no way to it")?;
            measure(connector, &runtime, "/calibrate", rounds).await
        }
        .boxed_local()
    }
}

fn servers() -> ZookeeperConfig {
    ZookeeperConfig { kind: LockKind::Mutex, servers: 3, session_timeout: LEASE, flaw: None }
}

async fn measure(
    ensemble: Arc<dyn ZkConnector>,
    runtime: &SharedRuntime,
    root: &str,
    rounds: usize,
) -> Result<Times, String> {
    let told = |error: crate::lock::error::ZkError| error.to_string();
    let session = ensemble.connect().await.map_err(told)?;
    session.create_parents(root).await.map_err(told)?;
    let lock = servers().make(ensemble, root.to_owned(), Some(TICK), Arc::clone(runtime), Arc::new(|| Nanos::ZERO));
    let mut watches = Watches::new(runtime, KINDS.len());
    for round in 0..WARM_UP + rounds {
        watches.counts = round >= WARM_UP;
        watches.time(session.stat(root)).await?;
        let (path, _) = watches.time(session.create_contender(&format!("{root}/bare-"))).await?;
        watches.time(session.delete(&path)).await?;
        watches.time(session.sync(root)).await?;
        hold(&*lock, &mut watches).await?;
    }
    // What locks keep for good: their own znodes.
    for child in session.children(root).await.map_err(told)? {
        session.delete(&format!("{root}/{child}")).await.map_err(told)?;
    }
    session.delete(root).await.map_err(told)?;
    Ok(watches.read(&KINDS))
}
