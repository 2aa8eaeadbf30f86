//! The lock suite on real servers: `cargo test --features docker-tests --test docker_locks -- --nocapture`.
//!
//! Redlock over the cluster's five Redis masters, the ZooKeeper lock over its ensemble of three, the etcd lock over its
//! three members, all through `src/lock/client`. Each client has a tokio runtime of its own, which stands for its
//! process: shut down, it sends nothing more. Keys and znodes have a prefix of their own for each test, so tests and
//! others share the cluster.

#![expect(clippy::disallowed_methods, reason = "real servers live in real time")]

mod connections;
mod etcd;
mod library;
#[path = "../lock_suite/mod.rs"]
mod lock_suite;
mod relay;
mod runtimes;
mod tls;
mod traces;
mod zookeeper_link;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fencepost::env::docker::backends::redis::commands;
use fencepost::env::docker::run_lock::RunLock;
use fencepost::env::docker::{cluster, files};
use fencepost::ids::LockName;
use fencepost::lock::backend::{RedisNode, ZkConnector};
use fencepost::lock::client::{RedisServer, ZookeeperEnsemble};
use fencepost::lock::runtime::{Runtime, SharedRuntime, TokioRuntime};
use fencepost::lock::{
    DistributedLock, ReadWriteLock, RedisLock, RedisLockSettings, Redlock, RedlockSettings, Semaphore, Tokens, Waiting,
    ZookeeperLock, ZookeeperSettings,
};
use fencepost::scenario::Backend;
use fencepost::time::{Clock, Nanos};
use futures_util::future::{BoxFuture, FutureExt, LocalBoxFuture};
use lock_suite::{Client, Fate, Fixture, OnePermit, RedlockFixture, SOON, SharedFixture, Writers};
use relay::{Mode, Relay};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::sync::Mutex;

/// The cluster, and the right to use it: a run of the harness at the same time would hurt and empty its servers.
struct Cluster {
    redis: Vec<SocketAddr>,
    zookeeper: String,
    etcd: String,
    _run: RunLock,
}

/// Shared by the tests that run at the same time; the last gives the right back.
static CLUSTER: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());

async fn cluster() -> Arc<Cluster> {
    let mut shared = CLUSTER.lock().await;
    if let Some(cluster) = shared.upgrade() {
        return cluster;
    }
    let state = files::state_folder().unwrap();
    let mut told = false;
    let run = loop {
        match RunLock::take(&state, "the lock suite").await {
            Ok(run) => break run,
            Err(busy) if !told => println!("waiting: {busy}"),
            Err(_) => {}
        }
        told = true;
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let up = cluster::up(&[Backend::Etcd], &|line| println!("{line}")).await.unwrap();
    let places = |servers: &[cluster::Server]| {
        servers.iter().map(|server| server.published.to_string()).collect::<Vec<_>>().join(",")
    };
    let (zookeeper, etcd) = (places(up.servers(Backend::Zookeeper)), places(up.servers(Backend::Etcd)));
    let redis = up.servers(Backend::Redis).iter().map(|server| server.published).collect();
    let cluster = Arc::new(Cluster { redis, zookeeper, etcd, _run: run });
    *shared = Arc::downgrade(&cluster);
    cluster
}

/// The process of one client.
struct Process(Option<tokio::runtime::Runtime>);

impl Process {
    fn new() -> Self {
        Self(Some(Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()))
    }

    /// Its clock, timers and tasks, usable from outside of it.
    fn runtime(&self) -> SharedRuntime {
        let handle = self.0.as_ref().expect("it lives").handle().clone();
        Arc::new(Inside { runtime: TokioRuntime::from_entropy(), handle })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A runtime must not be waited for within another.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Inside {
    runtime: TokioRuntime,
    handle: tokio::runtime::Handle,
}

impl Clock for Inside {
    fn now(&self) -> Nanos {
        self.runtime.now()
    }
}

impl Runtime for Inside {
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()> {
        self.runtime.sleep_until(at)
    }

    fn random(&self) -> u64 {
        self.runtime.random()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }
}

/// What both fixtures share: the cluster, a prefix, and the processes.
struct World {
    cluster: Arc<Cluster>,
    prefix: String,
    processes: RefCell<BTreeMap<usize, Process>>,
    /// Ports that are taken and do not listen.
    closed: RefCell<Vec<TcpSocket>>,
    /// By client: its ways to the servers.
    relays: RefCell<BTreeMap<usize, Vec<Relay>>>,
}

impl World {
    async fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A process id comes again, and ZooKeeper's znodes outlive a test that was killed.
        let prefix = format!("lock-suite-{}-{number}-{:08x}", std::process::id(), rand::random::<u32>());
        let (processes, closed, relays) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { cluster: cluster().await, prefix, processes, closed, relays }
    }

    fn client(&self, lock: impl FnOnce(SharedRuntime) -> Arc<dyn DistributedLock>) -> Client {
        let process = Process::new();
        let runtime = process.runtime();
        let mut processes = self.processes.borrow_mut();
        let id = processes.len();
        processes.insert(id, process);
        Client { id, lock: lock(Arc::clone(&runtime)), runtime }
    }

    fn crash(&self, client: &Client) {
        self.processes
            .borrow_mut()
            .get_mut(&client.id)
            .expect("its client")
            .0
            .take()
            .expect("alive")
            .shutdown_background();
    }
}

struct OnRedis(World, Tokens, Waiting);

impl OnRedis {
    fn key_prefix(&self) -> String {
        format!("{}:", self.0.prefix)
    }

    /// What a master answers to a command.
    async fn say(&self, master: usize, command: String) -> String {
        let server = self.0.cluster.redis[master];
        let answers = commands(server, &[&command], Duration::from_secs(5)).await.unwrap();
        answers.lines().next().expect("an answer to the command").to_owned()
    }

    fn stopped(&self, count: usize) -> Vec<SocketAddr> {
        let closed = || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = socket.local_addr().unwrap();
            self.0.closed.borrow_mut().push(socket);
            address
        };
        (0..count).map(|_| closed()).collect()
    }
}

impl Fixture for OnRedis {
    fn client(&self, lease: Duration) -> Client {
        let node_timeout = patience(lease);
        let settings = RedlockSettings { ttl: lease, node_timeout, renewal: true, ..RedlockSettings::default() };
        self.redlock(0..0, RedlockSettings { tokens: self.1, waiting: self.2, ..settings }).0
    }

    fn crash(&self, client: &Client) {
        self.0.crash(client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move {
            let command = format!("DEL {}{name}", self.key_prefix());
            for server in &self.0.cluster.redis {
                commands(*server, &[&command], Duration::from_secs(5)).await.unwrap();
            }
        }
        .boxed_local()
    }

    fn gives_tokens(&self) -> bool {
        self.1 == Tokens::Quorum
    }
}

impl RedlockFixture for OnRedis {
    fn redlock(&self, stopped: Range<usize>, settings: RedlockSettings) -> (Client, Vec<String>) {
        let way = |server: &SocketAddr| Relay::new(*server, Duration::ZERO, Duration::ZERO);
        let relays: Vec<Relay> = self.0.cluster.redis.iter().map(way).collect();
        let mut addresses: Vec<SocketAddr> = relays.iter().map(|relay| relay.address).collect();
        addresses.splice(stopped.clone(), self.stopped(stopped.len()));
        let stopped = &addresses[stopped];
        let nodes =
            addresses.iter().map(|address| Arc::new(RedisServer::new(*address)) as Arc<dyn RedisNode>).collect();
        let settings = RedlockSettings { key_prefix: self.key_prefix(), ..settings };
        let client = self.0.client(|runtime| Arc::new(Redlock::new(nodes, settings, runtime).unwrap()));
        self.0.relays.borrow_mut().insert(client.id, relays);
        (client, stopped.iter().map(ToString::to_string).collect())
    }

    fn holders<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, usize> {
        async move {
            let mut holders = 0;
            for master in 0..self.0.cluster.redis.len() {
                let answer = self.say(master, format!("EXISTS {}{name}", self.key_prefix())).await;
                holders += usize::from(answer == ":1");
            }
            holders
        }
        .boxed_local()
    }

    fn forget<'a>(&'a self, master: usize, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move {
            assert_eq!(self.say(master, format!("DEL {}{name}", self.key_prefix())).await, ":1");
        }
        .boxed_local()
    }

    fn links(&self, client: &Client, fate: Fate) {
        let mode = match fate {
            Fate::Open => Mode::Open,
            Fate::NoAnswers => Mode::AnswersWait,
            Fate::Cut => Mode::Cut,
        };
        self.0.relays.borrow()[&client.id].iter().for_each(|relay| relay.set(mode));
    }
}

/// How long a client waits for a server's answer: a busy machine is no reason to lose a vote, or not to hear that a
/// lock was given back. Short enough for a lease to be renewed in time.
fn patience(lease: Duration) -> Duration {
    (lease * 3 / 10).min(SOON)
}

/// The lock at one server.
struct OnOne(World, Waiting);

impl OnOne {
    fn server(&self) -> SocketAddr {
        self.0.cluster.redis[0]
    }

    fn key_prefix(&self) -> String {
        format!("{}:", self.0.prefix)
    }
}

impl OnOne {
    fn with<L: DistributedLock + 'static>(
        &self,
        lease: Duration,
        lock: impl FnOnce(Arc<dyn RedisNode>, RedisLockSettings, SharedRuntime) -> L,
    ) -> Client {
        let settings = RedisLockSettings {
            ttl: lease,
            node_timeout: patience(lease),
            renewal: true,
            waiting: self.1,
            key_prefix: self.key_prefix(),
            ..RedisLockSettings::default()
        };
        let node = Arc::new(RedisServer::new(self.server()));
        self.0.client(|runtime| Arc::new(lock(node, settings, runtime)))
    }
}

impl SharedFixture for OnOne {
    fn read_write(&self, lease: Duration) -> Client {
        self.with(lease, |node, settings, runtime| ReadWriteLock::at_redis(node, settings, runtime).unwrap())
    }

    fn semaphore(&self, permits: NonZeroU32, lease: Duration) -> Client {
        self.with(lease, |node, settings, runtime| Semaphore::at_redis(node, settings, permits, runtime).unwrap())
    }
}

impl Fixture for OnOne {
    fn client(&self, lease: Duration) -> Client {
        self.with(lease, |node, settings, runtime| RedisLock::new(node, settings, runtime).unwrap())
    }

    fn crash(&self, client: &Client) {
        self.0.crash(client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move {
            let command = format!("DEL {}{name}", self.key_prefix());
            commands(self.server(), &[&command], Duration::from_secs(5)).await.unwrap();
        }
        .boxed_local()
    }

    fn gives_tokens(&self) -> bool {
        true
    }
}

struct OnZookeeper(World);

impl OnZookeeper {
    fn root(&self) -> String {
        format!("/{}", self.0.prefix)
    }

    async fn janitor(&self) -> zookeeper_client::Client {
        zookeeper_client::Client::connect(&self.0.cluster.zookeeper).await.unwrap()
    }
}

/// Deletes what is below a lock's folder; contenders come and go meanwhile.
async fn clear(janitor: &zookeeper_client::Client, folder: &str) {
    for contender in janitor.list_children(folder).await.unwrap_or_default() {
        let _ = janitor.delete(&format!("{folder}/{contender}"), None).await;
    }
}

impl OnZookeeper {
    fn with<L: DistributedLock + 'static>(
        &self,
        lease: Duration,
        lock: impl FnOnce(Arc<dyn ZkConnector>, ZookeeperSettings, SharedRuntime) -> L,
    ) -> Client {
        let ensemble = Arc::new(ZookeeperEnsemble::new(&*self.0.cluster.zookeeper, lease));
        let settings = ZookeeperSettings { root: self.root(), ..ZookeeperSettings::default() };
        self.0.client(|runtime| Arc::new(lock(ensemble, settings, runtime)))
    }
}

impl SharedFixture for OnZookeeper {
    fn read_write(&self, lease: Duration) -> Client {
        self.with(lease, ReadWriteLock::in_zookeeper)
    }

    fn semaphore(&self, permits: NonZeroU32, lease: Duration) -> Client {
        self.with(lease, |ensemble, settings, runtime| Semaphore::in_zookeeper(ensemble, settings, permits, runtime))
    }
}

impl Fixture for OnZookeeper {
    fn client(&self, lease: Duration) -> Client {
        self.with(lease, ZookeeperLock::new)
    }

    fn crash(&self, client: &Client) {
        self.0.crash(client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move { clear(&self.janitor().await, &format!("{}/{name}", self.root())).await }.boxed_local()
    }

    fn has_leases(&self) -> bool {
        false
    }

    fn gives_tokens(&self) -> bool {
        true
    }
}

/// Runs a test on a runtime of its own.
fn block_on(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn redis(body: impl AsyncFnOnce(&OnRedis)) {
    block_on(async {
        body(&OnRedis(World::new().await, Tokens::None, Waiting::Poll)).await;
    });
}

fn redis_with_tokens(body: impl AsyncFnOnce(&OnRedis)) {
    block_on(async {
        body(&OnRedis(World::new().await, Tokens::Quorum, Waiting::Poll)).await;
    });
}

fn redis_called(body: impl AsyncFnOnce(&OnRedis)) {
    block_on(async {
        body(&OnRedis(World::new().await, Tokens::None, Waiting::Called)).await;
    });
}

fn redis_lock(body: impl AsyncFnOnce(&OnOne)) {
    block_on(async {
        body(&OnOne(World::new().await, Waiting::Poll)).await;
    });
}

fn redis_lock_called(body: impl AsyncFnOnce(&OnOne)) {
    block_on(async {
        body(&OnOne(World::new().await, Waiting::Called)).await;
    });
}

fn zookeeper(body: impl AsyncFnOnce(&OnZookeeper)) {
    block_on(async {
        let fixture = OnZookeeper(World::new().await);
        body(&fixture).await;
        let (janitor, root) = (fixture.janitor().await, fixture.root());
        for lock in janitor.list_children(&root).await.unwrap_or_default() {
            let folder = format!("{root}/{lock}");
            clear(&janitor, &folder).await;
            let _ = janitor.delete(&folder, None).await;
        }
        let _ = janitor.delete(&root, None).await;
    });
}

mod redlock {
    crate::tests_of_any_lock!(crate::redis);
    crate::tests_of_redlock!(crate::redis);
}

mod redlock_with_tokens {
    crate::tests_of_any_lock!(crate::redis_with_tokens);
}

mod redlock_called {
    crate::tests_of_any_lock!(crate::redis_called);
}

mod redis_lock {
    crate::tests_of_any_lock!(crate::redis_lock);
}

mod redis_lock_called {
    crate::tests_of_any_lock!(crate::redis_lock_called);
}

mod zookeeper_lock {
    crate::tests_of_any_lock!(crate::zookeeper);
}

mod shared_at_redis {
    use super::*;

    crate::tests_of_shared_locks!(crate::redis_lock);

    mod writers {
        fn run(body: impl AsyncFnOnce(&super::Writers<'_, super::OnOne>)) {
            crate::redis_lock(async |fixture| body(&super::Writers(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }

    mod one_permit {
        fn run(body: impl AsyncFnOnce(&super::OnePermit<'_, super::OnOne>)) {
            crate::redis_lock(async |fixture| body(&super::OnePermit(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }
}

mod shared_in_zookeeper {
    use super::*;

    crate::tests_of_shared_locks!(crate::zookeeper);

    mod writers {
        fn run(body: impl AsyncFnOnce(&super::Writers<'_, super::OnZookeeper>)) {
            crate::zookeeper(async |fixture| body(&super::Writers(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }

    mod one_permit {
        fn run(body: impl AsyncFnOnce(&super::OnePermit<'_, super::OnZookeeper>)) {
            crate::zookeeper(async |fixture| body(&super::OnePermit(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }
}
