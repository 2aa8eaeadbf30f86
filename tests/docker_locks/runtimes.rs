//! Locks and guards that outlive their tokio runtime, or are used and dropped outside of any.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::ids::LockName;
use fencepost::lock::backend::RedisNode;
use fencepost::lock::client::{RedisServer, ZookeeperEnsemble};
use fencepost::lock::runtime::TokioRuntime;
use fencepost::lock::{
    AcquireOptions, DistributedLock, Redlock, RedlockSettings, ReleaseOutcome, ZookeeperLock, ZookeeperSettings,
};
use futures_util::future::FutureExt;
use tokio::runtime::Runtime;

use super::lock_suite::{LONG, SOON};
use super::{World, block_on};

type Lock = Arc<dyn DistributedLock>;

fn redlock(world: &World) -> Lock {
    let node = |server: &std::net::SocketAddr| Arc::new(RedisServer::new(*server)) as Arc<dyn RedisNode>;
    let settings = RedlockSettings {
        ttl: LONG,
        node_timeout: Duration::from_secs(2),
        key_prefix: format!("{}:", world.prefix),
        ..RedlockSettings::default()
    };
    let nodes = world.cluster.redis.iter().map(node).collect();
    Arc::new(Redlock::new(nodes, settings, Arc::new(TokioRuntime::from_entropy())).unwrap())
}

fn zookeeper(world: &World) -> Lock {
    let ensemble = Arc::new(ZookeeperEnsemble::new(&*world.cluster.zookeeper, LONG));
    let settings = ZookeeperSettings { root: format!("/{}", world.prefix), ..ZookeeperSettings::default() };
    Arc::new(ZookeeperLock::new(ensemble, settings, Arc::new(TokioRuntime::from_entropy())))
}

fn world() -> World {
    let mut world = None;
    block_on(async { world = Some(World::new().await) });
    world.unwrap()
}

fn runtimes() -> [Runtime; 2] {
    let mut builder = [tokio::runtime::Builder::new_multi_thread(), tokio::runtime::Builder::new_current_thread()];
    builder.each_mut().map(|builder| builder.enable_all().build().unwrap())
}

/// Gets the lock and gives it back.
async fn turn(lock: &dyn DistributedLock, name: &LockName) {
    let guard = lock.acquire(name, &AcquireOptions::within(SOON)).await.unwrap();
    assert_eq!(guard.release().await, ReleaseOutcome::Released);
}

fn is_given_back(other: &Lock, name: &LockName) {
    let started = Instant::now();
    block_on(turn(&**other, name));
    assert!(started.elapsed() < SOON);
}

fn of_both(test: impl Fn(&dyn Fn() -> Lock)) {
    let world = world();
    test(&|| redlock(&world));
    test(&|| zookeeper(&world));
}

#[test]
fn a_lock_outlives_the_runtimes_that_it_is_used_in() {
    of_both(|lock| {
        let (lock, name) = (lock(), LockName::new("static"));
        for runtime in runtimes().into_iter().chain(runtimes()) {
            runtime.block_on(turn(&*lock, &name));
        }
    });
}

#[test]
fn a_guard_is_given_back_wherever_it_is_dropped() {
    of_both(|lock| {
        let (first, other) = (lock(), lock());
        for (number, runtime) in runtimes().into_iter().enumerate() {
            let name = LockName::new(format!("left-{number}"));
            let guard = runtime.block_on(first.acquire(&name, &AcquireOptions::within(SOON))).unwrap();
            // The runtime is there, but nobody is in it.
            drop(guard);
            is_given_back(&other, &name);
            let guard = runtime.block_on(first.acquire(&name, &AcquireOptions::within(SOON))).unwrap();
            drop(runtime);
            drop(guard);
            is_given_back(&other, &name);
        }
    });
}

#[test]
fn an_acquire_that_is_dropped_outside_leaves_nothing() {
    of_both(|lock| {
        let (first, other, name) = (lock(), lock(), LockName::new("given-up"));
        let [runtime, _] = runtimes();
        runtime.block_on(turn(&*first, &name));
        let options = AcquireOptions::within(SOON);
        let mut acquire = first.acquire(&name, &options);
        let _ = runtime.block_on(async { (&mut acquire).now_or_never() });
        drop(acquire);
        is_given_back(&other, &name);
    });
}

#[test]
fn a_lock_works_on_another_executor() {
    of_both(|lock| futures_util_block_on(turn(&*lock(), &LockName::new("elsewhere"))));
}

/// The smallest executor there is.
fn futures_util_block_on(future: impl Future<Output = ()>) {
    struct Unpark(std::thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    while future.as_mut().poll(&mut context).is_pending() {
        std::thread::park();
    }
}
