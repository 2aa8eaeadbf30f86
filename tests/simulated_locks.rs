//! The lock suite in the simulation: the bodies that `docker_locks` runs on real servers, in virtual time, over many
//! seeds.
//!
//! Redlock over five simulated Redis masters, the ZooKeeper lock over a simulated ensemble of three, the etcd lock over
//! three simulated members. Each client is a simulated process: killed, it sends nothing more.

mod lock_suite;

use std::cell::{Cell, OnceCell};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fencepost::env::sim::redis::{Command, Persistence, Reply};
use fencepost::env::sim::{LockMaker, Sandbox, Seam, single_process_mutex};
use fencepost::fault::{Member, Refusal};
use fencepost::ids::{ClientId, LockName, NodeId};
use fencepost::lock::backend::{Connections, EtcdCluster, RedisNode, ZkConnector};
use fencepost::lock::runtime::SharedRuntime;
use fencepost::lock::{
    DistributedLock, EtcdLock, EtcdSettings, ReadWriteLock, RedisLock, RedisLockSettings, Redlock, RedlockSettings,
    Semaphore, Tokens, Waiting, ZookeeperLock, ZookeeperSettings,
};
use fencepost::lock_kind::LockKind;
use fencepost::scenario::{DurationRange, EtcdConfig, LockConfig, RedisConfig, RedlockConfig, ZookeeperConfig};
use fencepost::seed::Seed;
use futures_util::future::{FutureExt, LocalBoxFuture};
use lock_suite::{
    Client, EtcdFixture, Fate, Fixture, OnePermit, RedlockFixture, SHORTEST_LEASE, SharedFixture, Writers, take_away,
};
use smol_str::SmolStr;

/// How many seeds each body is run with.
const SEEDS: u64 = 10;

/// The masters that run. There are as many more that do not.
const MASTERS: u32 = 5;

struct OnRedis<'a> {
    sandbox: &'a Sandbox,
    config: &'a LockConfig,
    tokens: Tokens,
    waiting: Waiting,
}

impl Fixture for OnRedis<'_> {
    fn client(&self, lease: Duration) -> Client {
        let Self { tokens, waiting, .. } = *self;
        let settings = RedlockSettings { ttl: lease, renewal: true, tokens, waiting, ..RedlockSettings::default() };
        self.redlock(0..0, settings).0
    }

    fn crash(&self, client: &Client) {
        crash(self.sandbox, client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move {
            for node in (1..=MASTERS).map(NodeId) {
                self.sandbox.redis(node, Command::Del(key(name))).await.expect("the node answers");
            }
        }
        .boxed_local()
    }

    fn gives_tokens(&self) -> bool {
        self.tokens == Tokens::Quorum
    }
}

impl RedlockFixture for OnRedis<'_> {
    fn redlock(&self, stopped: Range<usize>, settings: RedlockSettings) -> (Client, Vec<String>) {
        let (id, Seam { redis: mut nodes, runtime, .. }) = self.sandbox.client(self.config);
        let mut down = nodes.split_off(MASTERS as usize);
        nodes[stopped.clone()].swap_with_slice(&mut down[stopped.clone()]);
        let names = nodes[stopped].iter().map(|node| node.name().to_owned()).collect();
        let lock = Redlock::new(nodes, settings, Arc::clone(&runtime)).unwrap();
        (client(id, Arc::new(lock), runtime), names)
    }

    fn holders<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, usize> {
        async move {
            let mut holders = 0;
            for node in (1..=MASTERS).map(NodeId) {
                let answer = self.sandbox.redis(node, Command::Exists(key(name))).await;
                holders += usize::from(answer == Some(Reply::Integer(1)));
            }
            holders
        }
        .boxed_local()
    }

    fn forget<'a>(&'a self, master: usize, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move {
            let forgotten = self.sandbox.redis(NodeId(master as u32 + 1), Command::Del(key(name))).await;
            assert_eq!(forgotten, Some(Reply::Integer(1)));
        }
        .boxed_local()
    }

    fn links(&self, client: &Client, fate: Fate) {
        let client = Member::Client(ClientId(client.id as u32));
        for node in (1..=MASTERS).map(|node| Member::Node(NodeId(node))) {
            let (requests, answers) = match fate {
                Fate::Open => (None, None),
                Fate::NoAnswers => (None, Some(Refusal::Drop)),
                Fate::Cut => (Some(Refusal::Reset), Some(Refusal::Drop)),
            };
            self.sandbox.cut(client, node, requests);
            self.sandbox.cut(node, client, answers);
        }
    }
}

/// A Redlock whose clients each have a key of their own: it excludes nobody.
struct Everybody<'a>(OnRedis<'a>, Cell<u32>);

impl Fixture for Everybody<'_> {
    fn client(&self, lease: Duration) -> Client {
        self.1.set(self.1.get() + 1);
        let key_prefix = format!("{}:", self.1.get());
        self.0.redlock(0..0, RedlockSettings { ttl: lease, key_prefix, ..RedlockSettings::default() }).0
    }

    fn crash(&self, client: &Client) {
        self.0.crash(client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        self.0.revoke(name)
    }

    fn gives_tokens(&self) -> bool {
        false
    }
}

/// The lock at one server.
struct OnOne<'a>(&'a Sandbox, Waiting);

impl OnOne<'_> {
    fn config() -> LockConfig {
        LockConfig::Redis(RedisConfig {
            kind: LockKind::Mutex,
            ttl: lock_suite::LONG,
            renewal: true,
            node_timeout: Duration::from_millis(50),
            retry_delay: DurationRange { min: Duration::from_millis(20), max: Duration::from_millis(80) },
            persistence: Persistence::None,
            connections: Connections::Pooled,
            waiting: Waiting::Poll,
        })
    }
}

impl OnOne<'_> {
    fn with<L: DistributedLock + 'static>(
        &self,
        lease: Duration,
        lock: impl FnOnce(Arc<dyn RedisNode>, RedisLockSettings, SharedRuntime) -> L,
    ) -> Client {
        let (id, Seam { mut redis, runtime, .. }) = self.0.client(&Self::config());
        let waiting = self.1;
        let settings = RedisLockSettings { ttl: lease, renewal: true, waiting, ..RedisLockSettings::default() };
        client(id, Arc::new(lock(redis.remove(0), settings, Arc::clone(&runtime))), runtime)
    }
}

impl SharedFixture for OnOne<'_> {
    fn read_write(&self, lease: Duration) -> Client {
        self.with(lease, |node, settings, runtime| ReadWriteLock::at_redis(node, settings, runtime).unwrap())
    }

    fn semaphore(&self, permits: NonZeroU32, lease: Duration) -> Client {
        self.with(lease, |node, settings, runtime| Semaphore::at_redis(node, settings, permits, runtime).unwrap())
    }
}

impl Fixture for OnOne<'_> {
    fn client(&self, lease: Duration) -> Client {
        self.with(lease, |node, settings, runtime| RedisLock::new(node, settings, runtime).unwrap())
    }

    fn crash(&self, client: &Client) {
        crash(self.0, client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move {
            let key: SmolStr = format!("{}{name}", RedisLockSettings::default().key_prefix).into();
            self.0.redis(NodeId(1), Command::Del(key)).await.expect("the node answers");
        }
        .boxed_local()
    }

    fn gives_tokens(&self) -> bool {
        true
    }
}

struct OnZookeeper<'a>(&'a Sandbox);

impl OnZookeeper<'_> {
    fn config(session_timeout: Duration) -> LockConfig {
        LockConfig::Zookeeper(ZookeeperConfig { kind: LockKind::Mutex, servers: 3, session_timeout, flaw: None })
    }
}

impl OnZookeeper<'_> {
    fn with<L: DistributedLock + 'static>(
        &self,
        lease: Duration,
        lock: impl FnOnce(Arc<dyn ZkConnector>, ZookeeperSettings, SharedRuntime) -> L,
    ) -> Client {
        let (id, Seam { zookeeper, runtime, .. }) = self.0.client(&Self::config(lease));
        let ensemble = zookeeper.expect("its servers are an ensemble");
        client(id, Arc::new(lock(ensemble, ZookeeperSettings::default(), Arc::clone(&runtime))), runtime)
    }
}

impl SharedFixture for OnZookeeper<'_> {
    fn read_write(&self, lease: Duration) -> Client {
        self.with(lease, ReadWriteLock::in_zookeeper)
    }

    fn semaphore(&self, permits: NonZeroU32, lease: Duration) -> Client {
        self.with(lease, |ensemble, settings, runtime| Semaphore::in_zookeeper(ensemble, settings, permits, runtime))
    }
}

impl Fixture for OnZookeeper<'_> {
    fn client(&self, lease: Duration) -> Client {
        self.with(lease, ZookeeperLock::new)
    }

    fn crash(&self, client: &Client) {
        crash(self.0, client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        async move {
            let (_, seam) = self.0.client(&Self::config(lock_suite::LONG));
            let janitor = seam.zookeeper.expect("its servers are an ensemble").connect().await.unwrap();
            let folder = format!("{}/{name}", ZookeeperSettings::default().root);
            for contender in janitor.children(&folder).await.unwrap() {
                janitor.delete(&format!("{folder}/{contender}")).await.unwrap();
            }
        }
        .boxed_local()
    }

    fn has_leases(&self) -> bool {
        false
    }

    fn gives_tokens(&self) -> bool {
        true
    }
}

/// With a janitor's way to the members, and how many leases there were.
struct OnEtcd<'a>(&'a Sandbox, OnceCell<Arc<dyn EtcdCluster>>, Cell<i64>);

impl OnEtcd<'_> {
    fn config() -> LockConfig {
        LockConfig::Etcd(EtcdConfig::new(lock_suite::LONG))
    }
}

impl EtcdFixture for OnEtcd<'_> {
    fn members(&self) -> Arc<dyn EtcdCluster> {
        let opened = || self.0.client(&Self::config()).1.etcd.expect("its servers are etcd's");
        Arc::clone(self.1.get_or_init(opened))
    }

    fn prefix(&self) -> String {
        EtcdSettings::default().prefix
    }

    fn lease(&self) -> i64 {
        self.2.set(self.2.get() + 1);
        self.2.get()
    }
}

impl Fixture for OnEtcd<'_> {
    fn client(&self, lease: Duration) -> Client {
        let (id, Seam { etcd, runtime, .. }) = self.0.client(&Self::config());
        let settings = EtcdSettings { ttl: lease.max(SHORTEST_LEASE), ..EtcdSettings::default() };
        let cluster = etcd.expect("its servers are etcd's");
        client(id, Arc::new(EtcdLock::new(cluster, settings, Arc::clone(&runtime)).unwrap()), runtime)
    }

    fn crash(&self, client: &Client) {
        crash(self.0, client);
    }

    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        take_away(self, name).boxed_local()
    }

    fn has_leases(&self) -> bool {
        false
    }

    fn gives_tokens(&self) -> bool {
        true
    }
}

/// The control, which has no servers.
struct OnNothing<'a> {
    sandbox: &'a Sandbox,
    config: &'a LockConfig,
    make: LockMaker,
}

impl Fixture for OnNothing<'_> {
    fn client(&self, _lease: Duration) -> Client {
        let (id, seam) = self.sandbox.client(self.config);
        let runtime = Arc::clone(&seam.runtime);
        client(id, (self.make)(self.config, seam), runtime)
    }

    fn crash(&self, client: &Client) {
        crash(self.sandbox, client);
    }

    fn revoke<'a>(&'a self, _name: &'a LockName) -> LocalBoxFuture<'a, ()> {
        unreachable!("nobody can take a mutex from its holder")
    }

    fn gives_tokens(&self) -> bool {
        true
    }
}

/// What a master knows a lock by.
fn key(name: &LockName) -> SmolStr {
    format!("{}{name}", RedlockSettings::default().key_prefix).into()
}

fn client(id: ClientId, lock: Arc<dyn DistributedLock>, runtime: SharedRuntime) -> Client {
    Client { id: id.0 as usize, lock, runtime }
}

fn crash(sandbox: &Sandbox, client: &Client) {
    sandbox.kill(Member::Client(ClientId(client.id as u32)));
}

fn play(config: &LockConfig, body: impl AsyncFn(&Sandbox)) {
    for seed in (0..SEEDS).map(Seed) {
        Sandbox::play(config, seed, &body).unwrap_or_else(|| panic!("seed {seed}: it waits for ever"));
    }
}

fn redis(body: impl AsyncFn(&OnRedis)) {
    redlock_with(Tokens::None, Waiting::Poll, body);
}

fn redis_with_tokens(body: impl AsyncFn(&OnRedis)) {
    redlock_with(Tokens::Quorum, Waiting::Poll, body);
}

fn redis_called(body: impl AsyncFn(&OnRedis)) {
    redlock_with(Tokens::None, Waiting::Called, body);
}

fn redlock_with(tokens: Tokens, waiting: Waiting, body: impl AsyncFn(&OnRedis)) {
    let config = LockConfig::Redlock(RedlockConfig {
        nodes: 2 * MASTERS,
        ttl: lock_suite::LONG,
        renewal: true,
        node_timeout: Duration::from_millis(50),
        retry_delay: DurationRange { min: Duration::from_millis(20), max: Duration::from_millis(80) },
        persistence: Persistence::None,
        connections: Connections::Pooled,
        waiting,
        tokens,
        flaw: None,
    });
    play(&config, async |sandbox| {
        (MASTERS + 1..=2 * MASTERS).for_each(|node| sandbox.kill(Member::Node(NodeId(node))));
        body(&OnRedis { sandbox, config: &config, tokens, waiting }).await;
    });
}

fn redis_lock(body: impl AsyncFn(&OnOne)) {
    play(&OnOne::config(), async |sandbox| body(&OnOne(sandbox, Waiting::Poll)).await);
}

fn redis_lock_called(body: impl AsyncFn(&OnOne)) {
    play(&OnOne::config(), async |sandbox| body(&OnOne(sandbox, Waiting::Called)).await);
}

fn etcd(body: impl AsyncFn(&OnEtcd)) {
    play(&OnEtcd::config(), async |sandbox| {
        let fixture = OnEtcd(sandbox, OnceCell::new(), Cell::new(0));
        // There is no leader before the first election, which takes longer than one attempt may.
        fixture.members().line("/").await.expect("it is answered when there is a leader");
        body(&fixture).await;
    });
}

fn zookeeper(body: impl AsyncFn(&OnZookeeper)) {
    play(&OnZookeeper::config(lock_suite::LONG), async |sandbox| body(&OnZookeeper(sandbox)).await);
}

fn mutex(body: impl AsyncFn(&OnNothing)) {
    let config = OnZookeeper::config(lock_suite::LONG);
    play(&config, async |sandbox| {
        body(&OnNothing { sandbox, config: &config, make: single_process_mutex() }).await;
    });
}

mod redlock {
    crate::tests_of_any_lock!(crate::redis);
    crate::tests_of_redlock!(crate::redis);
}

mod redlock_with_tokens {
    use super::*;

    crate::tests_of_any_lock!(crate::redis_with_tokens);

    /// What no quorum mends: the one master that two majorities share forgets what it counted.
    #[test]
    fn a_master_that_forgets_has_a_token_given_twice() {
        crate::redis_with_tokens(async |fixture| {
            let name = LockName::new("amnesia");
            let settings = RedlockSettings { tokens: Tokens::Quorum, ..RedlockSettings::default() };
            let [left, right] = [0..2, 3..5].map(|stopped| fixture.redlock(stopped, settings.clone()).0);
            let mut tokens = Vec::new();
            for client in [&right, &right, &right, &left] {
                tokens.push(lock_suite::turn(client, &name).await.0);
            }
            fixture.sandbox.redis(NodeId(3), Command::FlushAll).await.expect("the node answers");
            tokens.push(lock_suite::turn(&right, &name).await.0);
            assert_eq!(tokens, [1, 2, 3, 4, 4]);
        });
    }
}

mod redis_lock {
    use super::*;

    crate::tests_of_any_lock!(crate::redis_lock);

    /// A counter that was lost starts beyond what it can have said.
    #[test]
    fn tokens_rise_over_a_loss_of_all_data() {
        crate::redis_lock(async |fixture| {
            let name = LockName::new("amnesia");
            let client = fixture.client(lock_suite::LONG);
            let first = lock_suite::turn(&client, &name).await;
            let second = lock_suite::turn(&client, &name).await;
            fixture.0.redis(NodeId(1), Command::FlushAll).await.expect("the node answers");
            let third = lock_suite::turn(&client, &name).await;
            assert!(first < second && second < third, "{first} {second} {third}");
        });
    }
}

mod redlock_called {
    crate::tests_of_any_lock!(crate::redis_called);
}

mod redis_lock_called {
    use super::*;

    crate::tests_of_any_lock!(crate::redis_lock_called);

    /// In virtual time it can be told from looking by oneself, which takes half a second at least: who comes first in
    /// the line is dead, and the next is called at once.
    #[test]
    fn the_next_who_lives_is_called_at_once() {
        crate::redis_lock_called(async |fixture| {
            let name = LockName::new("at-once");
            let [holder, dead, waiter] = std::array::from_fn(|_| fixture.client(lock_suite::LONG));
            let held = holder.acquire(&name, lock_suite::SOON).await.unwrap();
            let dies = dead.acquire(&name, lock_suite::LONG);
            holder.sleep(Duration::from_millis(100)).await;
            let granted = waiter.acquire(&name, lock_suite::LONG);
            holder.sleep(Duration::from_millis(100)).await;
            fixture.crash(&dead);
            drop(dies);
            holder.sleep(Duration::from_millis(100)).await;
            let given_back = holder.now();
            held.release().await;
            let granted = granted.await.unwrap();
            let took = waiter.now() - given_back;
            assert!(took < Duration::from_millis(50), "{took:?}");
            granted.release().await;
        });
    }
}

mod zookeeper_lock {
    crate::tests_of_any_lock!(crate::zookeeper);
}

mod etcd_lock {
    crate::tests_of_any_lock!(crate::etcd);
    crate::tests_of_etcd!(crate::etcd);
}

mod shared_at_redis {
    use super::*;

    crate::tests_of_shared_locks!(crate::redis_lock);

    mod writers {
        fn run(body: impl AsyncFn(&super::Writers<'_, super::OnOne>)) {
            crate::redis_lock(async |fixture| body(&super::Writers(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }

    mod one_permit {
        fn run(body: impl AsyncFn(&super::OnePermit<'_, super::OnOne>)) {
            crate::redis_lock(async |fixture| body(&super::OnePermit(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }
}

mod shared_in_zookeeper {
    use super::*;

    crate::tests_of_shared_locks!(crate::zookeeper);

    mod writers {
        fn run(body: impl AsyncFn(&super::Writers<'_, super::OnZookeeper>)) {
            crate::zookeeper(async |fixture| body(&super::Writers(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }

    mod one_permit {
        fn run(body: impl AsyncFn(&super::OnePermit<'_, super::OnZookeeper>)) {
            crate::zookeeper(async |fixture| body(&super::OnePermit(fixture)).await);
        }

        crate::tests_of_any_lock!(run);
    }
}

/// The control has no lease, and nobody can rob its holder: the bodies about that are not for it.
mod single_process_mutex {
    use super::*;

    crate::tests_of!(crate::mutex: waits_until_it_is_given_back, one_attempt_on_a_held_lock, the_deadline_is_kept,
        a_dropped_acquire_leaves_nothing, a_dropped_guard_gives_the_lock_back, tokens_rise,
        with_lock_runs_and_gives_back, no_increment_is_lost);

    /// Of a holder and two who wait, the holder and the first in line die at once: the lock goes to the second.
    #[test]
    fn the_dead_give_it_back_and_are_passed_over() {
        crate::mutex(async |fixture| {
            let name = LockName::new("crash");
            let clients: [Client; 3] = std::array::from_fn(|_| fixture.client(lock_suite::LONG));
            let held = clients[0].acquire(&name, lock_suite::SOON).await.unwrap();
            let mut waiting = Vec::new();
            for client in &clients[1..] {
                waiting.push(client.acquire(&name, lock_suite::LONG));
                client.sleep(Duration::from_millis(1)).await;
            }
            let died = clients[2].now();
            clients[..2].iter().for_each(|client| fixture.crash(client));
            let before = held.token();
            drop(held);
            let next = waiting.pop().unwrap().await.unwrap();
            assert_eq!(clients[2].now(), died, "at once");
            assert!(next.token() > before);
        });
    }
}

/// The bodies can fail here: a lock that excludes nobody does not get through.
mod caught {
    use super::*;

    fn everybody(body: impl AsyncFn(&Everybody)) {
        crate::redis(async |redis| {
            let OnRedis { sandbox, config, tokens, waiting } = *redis;
            let fixture = OnRedis { sandbox, config, tokens, waiting };
            body(&Everybody(fixture, Cell::new(0))).await;
        });
    }

    #[test]
    #[should_panic(expected = "two held it at once")]
    fn while_another_waits() {
        everybody(async |fixture| lock_suite::waits_until_it_is_given_back(fixture).await);
    }

    #[test]
    #[should_panic(expected = "is_none()")]
    fn by_one_attempt() {
        everybody(async |fixture| lock_suite::one_attempt_on_a_held_lock(fixture).await);
    }

    #[test]
    #[should_panic(expected = "it waits for ever")]
    fn when_it_never_answers() {
        crate::redis(async |_| std::future::pending().await);
    }
}
