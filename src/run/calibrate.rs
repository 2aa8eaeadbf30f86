//! `fencepost calibrate`: the round trips of requests to real servers and to simulated ones, by the same code.
//!
//! One client, one request after the other, all servers in order: what is measured is the way and the answer, not a
//! queue. Every kind takes its turn in each round, so that a machine with other things to do slows all alike.
//! Deliberately absent: faults, and a client in a container; the way from this machine to a container is that from one
//! to another but for one virtual cable.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::env;
use crate::env::docker::cluster::{self, Cluster};
use crate::env::docker::engine::Engine;
use crate::env::docker::run_lock::RunLock;
use crate::env::docker::{cluster_lock, files};
use crate::env::sim::{Sandbox, Seam};
use crate::ids::{LockName, OwnerToken};
use crate::lock::backend::{Connections, RedisNode, ZkConnector};
use crate::lock::client::{RedisServer, ZookeeperEnsemble};
use crate::lock::runtime::{SharedRuntime, TokioRuntime};
use crate::lock::{AcquireOptions, DistributedLock, Tokens};
use crate::lock_kind::LockKind;
use crate::report::calibration::{Calibration, Kind, Row, fitted};
use crate::report::cost::Pool;
use crate::scenario::{Backend, DurationRange, LockConfig, Persistence, RedlockConfig, Simulation, ZookeeperConfig};
use crate::seed::Seed;
use crate::time::Nanos;

/// Longer than any round trip, and gone soon if this is killed.
const LEASE: Duration = Duration::from_secs(6);

/// Rounds that do not count: connections are opened, scripts compiled, a virtual machine warms up.
const WARM_UP: usize = 50;

/// All that is measured, in order: at Redis masters first.
pub const KINDS: [Kind; 11] = [
    Kind { name: "Redis: set a key if absent", is_bare: true },
    Kind { name: "Redis: extend it by script", is_bare: true },
    Kind { name: "Redis: delete it by script", is_bare: true },
    Kind { name: "Redlock, five masters: acquire", is_bare: false },
    Kind { name: "Redlock, five masters: release", is_bare: false },
    Kind { name: "ZooKeeper: stat a znode", is_bare: false },
    Kind { name: "ZooKeeper: create an ephemeral znode", is_bare: false },
    Kind { name: "ZooKeeper: delete it", is_bare: false },
    Kind { name: "ZooKeeper: sync", is_bare: false },
    Kind { name: "ZooKeeper lock: acquire", is_bare: false },
    Kind { name: "ZooKeeper lock: release", is_bare: false },
];

/// How many of [`KINDS`] rest on Redis.
const AT_REDIS: usize = 5;

/// Each kind, with what it took.
pub type Times = Vec<(Kind, Pool)>;

/// Measures the cluster, which is brought up, and the simulation.
///
/// # Errors
/// The cluster is in use or cannot be brought up, or a request failed.
pub async fn calibrate(rounds: usize, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Calibration> {
    let folder = files::state_folder()?;
    let engine = Engine::connect().await?;
    let _run = RunLock::try_take(&folder, "fencepost calibrate")?;
    cluster_lock::idle(&engine, "; its faults would be measured").await?;
    let cluster = cluster::up(&[], progress).await?;
    let load = load();
    progress(&format!("measuring: {rounds} of each request"));
    let versions = cluster.versions.to_string();
    // A runtime of one thread, as clients in containers have it.
    let measured = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(real(&cluster, rounds)).map_err(anyhow::Error::msg)
    });
    let measured = tokio::task::spawn_blocking(move || measured.join()).await?;
    let real = measured.unwrap_or_else(|_| Err(anyhow::anyhow!("the thread that measured has panicked")))?;
    let mut bare = Pool::default();
    real.iter().filter(|(kind, _)| kind.is_bare).for_each(|(_, pool)| bare.add(pool));
    let simulation = fitted(&bare).unwrap_or_default();
    progress("measuring the simulation");
    let [model, fitted] = [Simulation::default(), simulation].map(|set| simulated(set, rounds, Seed(1)));
    let rows = real.into_iter().zip(model?).zip(fitted?);
    let rows = rows.map(|(((kind, real), (_, model)), (_, fitted))| Row { kind, real, model, fitted });
    Ok(Calibration { versions, load, rounds, rows: rows.collect(), simulation })
}

/// How many processes wanted a processor over the last minute, and how many processors there are.
fn load() -> Option<(f64, usize)> {
    let told = std::fs::read_to_string("/proc/loadavg").ok()?;
    Some((told.split(' ').next()?.parse().ok()?, std::thread::available_parallelism().ok()?.get()))
}

/// The servers of the cluster. Nothing is left there.
async fn real(cluster: &Cluster, rounds: usize) -> Result<Times, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let (prefix, root) = (format!("calibrate-{now:x}:"), format!("/calibrate-{now:x}"));
    let runtime: SharedRuntime = Arc::new(TokioRuntime::from_entropy());
    // Their addresses in their network: what is published on this machine goes through Docker's proxy.
    let masters = cluster.servers(Backend::Redis).iter().map(|server| (server.address, server.port));
    let masters = masters.map(|at| Arc::new(RedisServer::new(std::net::SocketAddr::from(at))) as Arc<dyn RedisNode>);
    let mut times = at_redis(masters.collect(), &runtime, &prefix, rounds).await?;
    let servers: Vec<String> = cluster
        .servers(Backend::Zookeeper)
        .iter()
        .map(|server| format!("{}:{}", server.address, server.port))
        .collect();
    let ensemble: Arc<dyn ZkConnector> = Arc::new(ZookeeperEnsemble::new(servers.join(","), LEASE));
    times.extend(at_zookeeper(ensemble, &runtime, &root, rounds).await?);
    Ok(times)
}

/// Simulated servers, over a network of this kind.
///
/// # Errors
/// A request failed, which would be a fault of the simulation.
pub fn simulated(simulation: Simulation, rounds: usize, seed: Seed) -> anyhow::Result<Times> {
    // On a thread of a tokio runtime its budget and its ambient timers would reach into the simulation.
    let measured = std::thread::spawn(move || {
        let redis = LockConfig::Redlock(masters());
        let at_masters = Sandbox::play_over(simulation, &redis, seed, async |sandbox| {
            let (_, Seam { redis: nodes, runtime, .. }) = sandbox.client(&redis);
            at_redis(nodes, &runtime, "calibrate:", rounds).await
        });
        let ensemble = LockConfig::Zookeeper(servers());
        let at_ensemble = Sandbox::play_over(simulation, &ensemble, seed, async |sandbox| {
            let (_, Seam { zookeeper, runtime, .. }) = sandbox.client(&ensemble);
            let connector = zookeeper.ok_or("the simulated ensemble has no way to it")?;
            at_zookeeper(connector, &runtime, "/calibrate", rounds).await
        });
        let stuck = || Err("the simulation waits for something that will never happen".to_owned());
        let mut times = at_masters.unwrap_or_else(stuck)?;
        times.extend(at_ensemble.unwrap_or_else(stuck)?);
        Ok(times)
    });
    let measured = measured.join().unwrap_or_else(|_| Err("the thread of the simulation has panicked".to_owned()));
    measured.map_err(|error: String| anyhow::Error::msg(error))
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
        tokens: Tokens::None,
        flaw: None,
    }
}

fn servers() -> ZookeeperConfig {
    ZookeeperConfig { kind: LockKind::Mutex, servers: 3, session_timeout: LEASE, flaw: None }
}

/// A row of stopwatches, one for each kind in order.
struct Watches<'a> {
    runtime: &'a SharedRuntime,
    times: Vec<Pool>,
    next: usize,
    counts: bool,
}

impl<'a> Watches<'a> {
    fn new(runtime: &'a SharedRuntime, kinds: usize) -> Self {
        Self { runtime, times: vec![Pool::default(); kinds], next: 0, counts: false }
    }

    /// Times the next kind's request.
    async fn time<T, E: std::fmt::Display>(
        &mut self,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        let began = self.runtime.now();
        let answer = request.await.map_err(|error| error.to_string())?;
        if self.counts {
            self.times[self.next].take(self.runtime.now() - began);
        }
        self.next = (self.next + 1) % self.times.len();
        Ok(answer)
    }

    fn read(self, kinds: &[Kind]) -> Times {
        kinds.iter().copied().zip(self.times).collect()
    }
}

async fn at_redis(
    nodes: Vec<Arc<dyn RedisNode>>,
    runtime: &SharedRuntime,
    prefix: &str,
    rounds: usize,
) -> Result<Times, String> {
    let node = Arc::clone(nodes.first().ok_or("there is no Redis master")?);
    let lock = env::redlock(&masters(), nodes, prefix.to_owned(), Arc::clone(runtime), Arc::new(|| Nanos::ZERO));
    let (key, owner) = (format!("{prefix}bare"), OwnerToken::new("calibrate"));
    let mut watches = Watches::new(runtime, AT_REDIS);
    for round in 0..WARM_UP + rounds {
        watches.counts = round >= WARM_UP;
        watches.time(node.set_if_absent(&key, &owner, LEASE)).await?;
        watches.time(node.extend_if_owner(&key, &owner, LEASE)).await?;
        watches.time(node.delete_if_owner(&key, &owner)).await?;
        hold(&*lock, &mut watches).await?;
    }
    Ok(watches.read(&KINDS[..AT_REDIS]))
}

async fn at_zookeeper(
    ensemble: Arc<dyn ZkConnector>,
    runtime: &SharedRuntime,
    root: &str,
    rounds: usize,
) -> Result<Times, String> {
    let told = |error: crate::lock::error::ZkError| error.to_string();
    let session = ensemble.connect().await.map_err(told)?;
    session.create_parents(root).await.map_err(told)?;
    let lock = env::zookeeper(&servers(), ensemble, root.to_owned(), Arc::clone(runtime), Arc::new(|| Nanos::ZERO));
    let mut watches = Watches::new(runtime, KINDS.len() - AT_REDIS);
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
    Ok(watches.read(&KINDS[AT_REDIS..]))
}

/// Acquires a free lock and releases it.
async fn hold(lock: &dyn DistributedLock, watches: &mut Watches<'_>) -> Result<(), String> {
    let options = AcquireOptions::within(LEASE);
    let guard = watches.time(lock.acquire(&LockName::new("calibrate"), &options)).await?;
    watches.time(async { Ok::<_, String>(guard.release().await) }).await?;
    Ok(())
}
