//! `fencepost calibrate`: the round trips of requests to real servers and to simulated ones, by the same code.
//!
//! One client, one request after the other, all servers in order: what is measured is the way and the answer, not a
//! queue. Every kind takes its turn in each round, so that a machine with other things to do slows all alike. One file
//! for each kind of servers. Deliberately absent: faults, and a client in a container; the way from this machine to a
//! container is that from one to another but for one virtual cable.

mod redis;
mod zookeeper;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::LocalBoxFuture;

use crate::env::docker::cluster::{self, Cluster};
use crate::env::docker::engine::Engine;
use crate::env::docker::run_lock::RunLock;
use crate::env::docker::{cluster_lock, files};
use crate::env::sim::{Sandbox, Seam};
use crate::ids::LockName;
use crate::lock::runtime::{SharedRuntime, TokioRuntime};
use crate::lock::{AcquireOptions, DistributedLock};
use crate::report::calibration::{Calibration, Kind, Row, fitted};
use crate::report::cost::Pool;
use crate::scenario::{LockConfig, Simulation};
use crate::seed::Seed;

/// Longer than any round trip, and gone soon if this is killed.
const LEASE: Duration = Duration::from_secs(6);

/// Rounds that do not count: connections are opened, scripts compiled, a virtual machine warms up.
const WARM_UP: usize = 50;

/// What is measured at one kind of servers.
trait Measured: Sync {
    /// The requests, in order.
    fn kinds(&self) -> &'static [Kind];

    /// The lock that is acquired and released there, which says what servers the simulation has.
    fn lock(&self) -> LockConfig;

    /// Measures the servers of the cluster. What is made there is called `name`, and nothing is left of it.
    fn real<'a>(
        &'a self,
        cluster: &'a Cluster,
        runtime: &'a SharedRuntime,
        name: &'a str,
        rounds: usize,
    ) -> LocalBoxFuture<'a, Result<Times, String>>;

    /// Measures simulated servers.
    fn simulated(&self, seam: Seam, rounds: usize) -> LocalBoxFuture<'static, Result<Times, String>>;
}

/// All that is measured, in order.
const MEASURED: [&dyn Measured; 2] = [&redis::Redis, &zookeeper::Zookeeper];

/// All requests that are measured, in order.
pub fn kinds() -> Vec<Kind> {
    MEASURED.iter().flat_map(|one| one.kinds()).copied().collect()
}

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
    let name = format!("calibrate-{now:x}");
    let runtime: SharedRuntime = Arc::new(TokioRuntime::from_entropy());
    let mut times = Times::new();
    for one in MEASURED {
        times.extend(one.real(cluster, &runtime, &name, rounds).await?);
    }
    Ok(times)
}

/// Simulated servers, over a network of this kind.
///
/// # Errors
/// A request failed, which would be a fault of the simulation.
pub fn simulated(simulation: Simulation, rounds: usize, seed: Seed) -> anyhow::Result<Times> {
    // On a thread of a tokio runtime its budget and its ambient timers would reach into the simulation.
    let measured = std::thread::spawn(move || {
        let mut times = Times::new();
        for one in MEASURED {
            let lock = one.lock();
            let measured = Sandbox::play_over(simulation, &lock, seed, async |sandbox| {
                let (_, seam) = sandbox.client(&lock);
                one.simulated(seam, rounds).await
            });
            let stuck = || Err("the simulation waits for something that will never happen".to_owned());
            times.extend(measured.unwrap_or_else(stuck)?);
        }
        Ok(times)
    });
    let measured = measured.join().unwrap_or_else(|_| Err("the thread of the simulation has panicked".to_owned()));
    measured.map_err(|error: String| anyhow::Error::msg(error))
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

/// Acquires a free lock and releases it.
async fn hold(lock: &dyn DistributedLock, watches: &mut Watches<'_>) -> Result<(), String> {
    let options = AcquireOptions::within(LEASE);
    let guard = watches.time(lock.acquire(&LockName::new("calibrate"), &options)).await?;
    watches.time(async { Ok::<_, String>(guard.release().await) }).await?;
    Ok(())
}
