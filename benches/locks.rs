//! What the locks cost on real servers, side by side in one run:
//!
//! ```sh
//! docker compose -p fencepost up -d && cargo bench --bench locks
//! (cd adapters/rslock && cargo build --release)    # before it, to have another Redlock in the tables
//! ```
//!
//! Figures that are compared are taken in turns, a hundred at a time, so that a machine with other things to do slows
//! both. Each ratio stands beside the goal that DESIGN gives it. The crate rslock would bring a second provider of
//! cryptography into this program: it is asked by the adapter protocol, and fencepost's own Redlock beside it too.
//! Deliberately absent: a verdict. A machine that is busy makes every figure a lie, and the reader knows the machine.

#![expect(clippy::disallowed_methods, reason = "measures in real time")]

#[path = "../tests/docker_locks/relay.rs"]
#[expect(dead_code, reason = "the tests do more with it")]
mod relay;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fencepost::adapter::misdeed::Kept;
use fencepost::adapter::{AdapterLock, Spec};
use fencepost::ids::LockName;
use fencepost::lock::backend::{RedisNode, ZkConnector};
use fencepost::lock::client::{DELETE_IF_OWNER, RedisServer, SET_AND_FENCE, ZookeeperEnsemble};
use fencepost::lock::runtime::{SharedRuntime, TokioRuntime};
use fencepost::lock::{
    AcquireOptions, DistributedLock, RedisLock, RedisLockSettings, Redlock, RedlockSettings, Tokens, Waiting,
    ZookeeperLock, ZookeeperSettings,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};

type Failure = Box<dyn Error>;

/// How many of each figure, in how many turns.
const EACH: usize = 100;
const TURNS: usize = 15;
const PREFIX: &str = "bench:";

fn main() -> Result<(), Failure> {
    // `cargo test --benches` only wants to see it build, and has no servers.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let masters: Vec<SocketAddr> = (17_001..=17_005).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let servers: Vec<SocketAddr> = (17_011..=17_013).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    costs(&runtime, &masters)?;
    round_trips(&runtime, servers[0])?;
    for clients in [10, 50] {
        hand_off(&runtime, clients, &masters, &servers)?;
    }
    Ok(())
}

fn shared_runtime() -> SharedRuntime {
    Arc::new(TokioRuntime::from_entropy())
}

fn redlock(masters: &[SocketAddr], tokens: Tokens) -> Result<Redlock, Failure> {
    redlock_with(masters, RedlockSettings { tokens, key_prefix: PREFIX.to_owned(), ..RedlockSettings::default() })
}

fn redlock_with(masters: &[SocketAddr], settings: RedlockSettings) -> Result<Redlock, Failure> {
    let nodes = masters.iter().map(|master| Arc::new(RedisServer::new(*master)) as Arc<dyn RedisNode>).collect();
    Ok(Redlock::new(nodes, settings, shared_runtime())?)
}

/// Another Redlock, and ours asked in the same way, as far as they are built.
const BY_PROTOCOL: [(&str, &[&str]); 2] = [
    ("Redlock, by the protocol", &[env!("CARGO_BIN_EXE_fencepost"), "adapter", "own"]),
    ("rslock, by the protocol", &["adapters/rslock/target/release/rslock-lock"]),
];

async fn by_protocol(command: &[&str], masters: &[SocketAddr], client: u32) -> Result<AdapterLock, Failure> {
    let spec = Spec {
        command: command.iter().map(ToString::to_string).collect(),
        folder: None,
        backend: "redis".to_owned(),
        servers: masters.iter().map(ToString::to_string).collect(),
        lease: Some(RedlockSettings::default().ttl),
        client,
    };
    Ok(AdapterLock::open(spec, PREFIX.to_owned(), None, shared_runtime(), Arc::new(Kept::default())).await?)
}

/// Those of [`BY_PROTOCOL`] that are built.
fn built() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    BY_PROTOCOL.into_iter().filter(|(_, command)| Path::new(command[0]).is_file())
}

/// The figure in the middle, and the one that all but a hundredth stay below.
fn middle_and_most(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    (at(50).copied().unwrap_or_default(), at(99).copied().unwrap_or_default())
}

/// Acquire and release, against the bare commands to the same nodes.
fn costs(runtime: &Runtime, masters: &[SocketAddr]) -> Result<(), Failure> {
    // Takes connections and never says a word, as a stopped server does.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let mut one_stopped = masters.to_vec();
    one_stopped[4] = silent.local_addr()?;
    runtime.block_on(async {
        let mut bare = Vec::new();
        for master in masters {
            let client = redis::Client::open(format!("redis://{master}"))?;
            bare.push(client.get_multiplexed_async_connection().await?);
        }
        let one = RedisLockSettings { key_prefix: "bench-one:".to_owned(), ..RedisLockSettings::default() };
        let node = Arc::new(RedisServer::new(masters[0]));
        let mut locks: Vec<(&str, Box<dyn DistributedLock>)> = vec![
            ("Redlock, five nodes", Box::new(redlock(masters, Tokens::None)?)),
            ("Redlock, one of five stopped", Box::new(redlock(&one_stopped, Tokens::None)?)),
            ("Redlock with quorum tokens", Box::new(redlock(masters, Tokens::Quorum)?)),
            ("one Redis, with token", Box::new(RedisLock::new(node, one, shared_runtime())?)),
        ];
        for (what, command) in built() {
            locks.push((what, Box::new(by_protocol(command, masters, 1).await?)));
        }
        let mut times = vec![Vec::new(); 3 + locks.len()];
        for turn in 0..=TURNS {
            for _ in 0..EACH {
                let started = Instant::now();
                bare_commands(&bare, 3).await?;
                times[0].push(started.elapsed());
            }
            for _ in 0..EACH {
                let started = Instant::now();
                bare_commands(&bare[..1], 1).await?;
                times[1].push(started.elapsed());
            }
            for _ in 0..EACH {
                let started = Instant::now();
                bare_scripts(&bare[0]).await?;
                times[2].push(started.elapsed());
            }
            for (place, (what, lock)) in locks.iter().enumerate() {
                let name = LockName::new(format!("cost-{place}"));
                for _ in 0..EACH {
                    let started = Instant::now();
                    let guard = lock.acquire(&name, &AcquireOptions::within(Duration::from_secs(5))).await;
                    guard.map_err(|error| format!("{what}: {error}"))?.release().await;
                    times[3 + place].push(started.elapsed());
                }
            }
            if turn == 0 {
                // Connections were opened, scripts compiled.
                times.iter_mut().for_each(Vec::clear);
            }
        }
        let figures: Vec<_> = times.iter_mut().map(|times| middle_and_most(times)).collect();
        println!("acquire + release, {} of each, in turns", TURNS * EACH);
        let against =
            [(0, ""), (0, ""), (1, "-"), (0, "1.10"), (3, "1.05"), (0, "1.25"), (2, "1.10"), (3, "+"), (7, "+")];
        let names = ["bare commands, majority of five", "bare commands, one server", "the lock's scripts, one server"];
        let names: Vec<&str> = names.into_iter().chain(locks.iter().map(|(what, _)| *what)).collect();
        for (place, what) in names.iter().enumerate() {
            let (middle, most) = figures[place];
            let (other, goal) = against[place];
            let ratio = middle.as_secs_f64() / figures[other].0.as_secs_f64();
            let goal = match goal {
                "" => String::new(),
                "-" => format!("{ratio:.2} × the bare commands"),
                "+" => format!("{ratio:.2} × {}", names[other]),
                goal => format!("{ratio:.2} × (goal {goal})"),
            };
            println!("  {what:<34} median {middle:>10.1?}   p99 {most:>10.1?}   {goal}");
        }
        Ok(())
    })
}

/// What the lock at one server has to say there, and nothing around it: what is left over is the library's.
async fn bare_scripts(node: &MultiplexedConnection) -> Result<(), Failure> {
    let mut node = node.clone();
    let mut vote = redis::cmd("EVAL");
    vote.arg(SET_AND_FENCE).arg(2).arg("bench:scripts").arg("#bench:scripts").arg("nobody").arg(10_000);
    let mut delete = redis::cmd("EVAL");
    delete.arg(DELETE_IF_OWNER).arg(1).arg("bench:scripts").arg("nobody");
    for command in [vote, delete] {
        node.send_packed_command(&command).await?;
    }
    Ok(())
}

/// Sets a key at all nodes, waits for `majority` of them, deletes it at all, waits again.
async fn bare_commands(nodes: &[MultiplexedConnection], majority: usize) -> Result<(), Failure> {
    let mut set = redis::cmd("SET");
    set.arg("bench:bare").arg("nobody").arg("NX").arg("PX").arg(10_000);
    let mut delete = redis::cmd("EVAL");
    delete.arg(DELETE_IF_OWNER).arg(1).arg("bench:bare").arg("nobody");
    for command in [set, delete] {
        let ask = |node: &MultiplexedConnection| {
            let (mut node, command) = (node.clone(), command.clone());
            async move { node.send_packed_command(&command).await }
        };
        let mut answers: FuturesUnordered<_> = nodes.iter().map(ask).collect();
        for _ in 0..majority {
            answers.next().await.transpose()?;
        }
        // The others are heard out, too: else the next `SET` may come before this `EVAL`, and a lock would wait for
        // none.
        if nodes.len() > majority {
            tokio::spawn(answers.collect::<Vec<_>>());
        }
    }
    Ok(())
}

/// A free lock in an ensemble at 10 ms each way, in round trips on the wire.
fn round_trips(runtime: &Runtime, server: SocketAddr) -> Result<(), Failure> {
    let relay = relay::Relay::new(server, Duration::ZERO, Duration::from_millis(10));
    let ensemble = Arc::new(ZookeeperEnsemble::new(relay.address.to_string(), Duration::from_secs(4)));
    runtime.block_on(async {
        let session = ensemble.connect().await?;
        let settings = ZookeeperSettings { root: "/bench".to_owned(), ..ZookeeperSettings::default() };
        let lock = ZookeeperLock::new(ensemble.clone(), settings, shared_runtime());
        let name = LockName::new("round-trips");
        session.create_parents("/bench/bare").await?;
        let (mut trips, mut creates, mut acquires, mut turns) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for turn in 0..=40 {
            let started = Instant::now();
            session.stat("/").await?;
            let trip = started.elapsed();
            let started = Instant::now();
            let (path, _) = session.create_contender("/bench/bare/c-bare-").await?;
            let create = started.elapsed();
            session.delete(&path).await?;
            let before = relay.turns();
            let started = Instant::now();
            let guard = lock.acquire(&name, &AcquireOptions::within(Duration::from_secs(5))).await?;
            let acquire = started.elapsed();
            let taken = relay.turns() - before;
            guard.release().await;
            // The first opens the session and makes the lock's znode.
            if turn > 0 {
                trips.push(trip);
                creates.push(create);
                acquires.push(acquire);
                turns.push(taken);
            }
        }
        let [trip, create, acquire] = [&mut trips, &mut creates, &mut acquires].map(|times| middle_and_most(times).0);
        // What the servers take to agree and to write it down is in every create, the lock's as well.
        println!("a free lock in an ensemble at 10 ms each way");
        println!(
            "  a read {trip:.1?}, a bare create {create:.1?}, acquire {acquire:.1?}: {:.2} × the read, {:.2} × the create (goal 1.1)",
            acquire.as_secs_f64() / trip.as_secs_f64(),
            acquire.as_secs_f64() / create.as_secs_f64()
        );
        let one = turns.iter().filter(|turns| **turns == 1).count();
        println!("  on the wire: {one} of {} acquires took one round trip", turns.len());
        Ok(())
    })
}

/// When the lock was last given back, and how long each successor waited from then.
#[derive(Default)]
struct Handed {
    back: Option<Instant>,
    waits: Vec<Duration>,
    grants: Vec<usize>,
}

/// How long from the release to the next grant, among clients that all want the lock all the time.
fn hand_off(runtime: &Runtime, clients: usize, masters: &[SocketAddr], servers: &[SocketAddr]) -> Result<(), Failure> {
    println!("hand-off among {clients} clients");
    let connect = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let ensemble = || Arc::new(ZookeeperEnsemble::new(connect.clone(), Duration::from_secs(4)));
    let root = format!("/bench-{clients}");
    let mut redlocks = [Vec::new(), Vec::new()];
    let mut singles = [Vec::new(), Vec::new()];
    let mut lines: Vec<Arc<dyn DistributedLock>> = Vec::new();
    for _ in 0..clients {
        for (place, waiting) in [Waiting::Poll, Waiting::Called].into_iter().enumerate() {
            // A contest of one kind has no part in the other's.
            let key_prefix = format!("bench-{place}:");
            let settings = RedlockSettings { waiting, key_prefix, ..RedlockSettings::default() };
            redlocks[place].push(Arc::new(redlock_with(masters, settings)?) as Arc<dyn DistributedLock>);
            let key_prefix = format!("bench-one-{place}:");
            let settings = RedisLockSettings { waiting, key_prefix, ..RedisLockSettings::default() };
            let single = RedisLock::new(Arc::new(RedisServer::new(masters[0])), settings, shared_runtime())?;
            singles[place].push(Arc::new(single) as Arc<dyn DistributedLock>);
        }
        let settings = ZookeeperSettings { root: root.clone(), ..ZookeeperSettings::default() };
        lines.push(Arc::new(ZookeeperLock::new(ensemble(), settings, shared_runtime())));
    }
    let ([asking, called], [asking_one, called_one]) = (redlocks, singles);
    let contests = [
        ("Redlock, who waits asks", asking),
        ("Redlock, who waits is called", called),
        ("one Redis, who waits asks", asking_one),
        ("one Redis, who waits is called", called_one),
        ("ZooKeeper", lines),
    ];
    for (what, locks) in contests {
        tell(what, runtime.block_on(contend(locks))?);
    }
    for (what, command) in built() {
        let contest = async {
            let mut locks: Vec<Arc<dyn DistributedLock>> = Vec::new();
            for client in 1..=u32::try_from(clients)? {
                locks.push(Arc::new(by_protocol(command, masters, client).await?));
            }
            contend(locks).await
        };
        tell(what, runtime.block_on(contest)?);
    }
    tell("zookeeper-client's own lock", runtime.block_on(contend_for_the_crates(clients, &connect))?);
    Ok(())
}

fn tell(what: &str, mut handed: Handed) {
    let grants = handed.waits.len();
    let (middle, most) = middle_and_most(&mut handed.waits);
    let fewest = handed.grants.iter().min().copied().unwrap_or_default();
    let mostly = handed.grants.iter().max().copied().unwrap_or_default();
    println!(
        "  {what:<34} median {middle:>10.1?}   p99 {most:>10.1?}   {grants} grants, {fewest} to {mostly} a client"
    );
}

/// How long each contest lasts.
const CONTEST: Duration = Duration::from_secs(4);

async fn contend(locks: Vec<Arc<dyn DistributedLock>>) -> Result<Handed, Failure> {
    let handed = Arc::new(Mutex::new(Handed { grants: vec![0; locks.len()], ..Handed::default() }));
    let end = Instant::now() + CONTEST;
    let mut clients = Vec::new();
    for (client, lock) in locks.into_iter().enumerate() {
        let handed = Arc::clone(&handed);
        clients.push(tokio::spawn(async move {
            let name = LockName::new("hand-off");
            while Instant::now() < end {
                let options = AcquireOptions::within(end - Instant::now());
                // The contest may end first.
                let Ok(guard) = lock.acquire(&name, &options).await else { return };
                granted(&handed, client);
                tokio::time::sleep(Duration::from_millis(1)).await;
                given_back(&handed);
                guard.release().await;
            }
        }));
    }
    finish(clients, handed).await
}

/// The same with the lock that the client crate has of its own: a session for each client, as its documentation asks.
async fn contend_for_the_crates(clients: usize, connect: &str) -> Result<Handed, Failure> {
    use zookeeper_client::{Acls, Client, CreateMode, LockOptions, LockPrefix};

    let mut sessions = Vec::new();
    for _ in 0..clients {
        sessions.push(Client::connect(connect).await?);
    }
    let handed = Arc::new(Mutex::new(Handed { grants: vec![0; clients], ..Handed::default() }));
    let end = Instant::now() + CONTEST;
    let mut tasks = Vec::new();
    for (client, session) in sessions.into_iter().enumerate() {
        let handed = Arc::clone(&handed);
        tasks.push(tokio::spawn(async move {
            let ancestors = CreateMode::Persistent.with_acls(Acls::anyone_all());
            while Instant::now() < end {
                let Ok(prefix) = LockPrefix::new_curator("/bench-crate/locks", "lock-") else { return };
                let options = LockOptions::new(Acls::anyone_all()).with_ancestor_options(ancestors.clone());
                let Ok(options) = options else { return };
                let lock = session.lock(prefix, b"", options);
                let Ok(Ok(lock)) = tokio::time::timeout(end - Instant::now(), lock).await else { return };
                granted(&handed, client);
                tokio::time::sleep(Duration::from_millis(1)).await;
                given_back(&handed);
                drop(lock);
            }
        }));
    }
    finish(tasks, handed).await
}

async fn finish(clients: Vec<tokio::task::JoinHandle<()>>, handed: Arc<Mutex<Handed>>) -> Result<Handed, Failure> {
    for client in clients {
        client.await?;
    }
    let handed = std::mem::take(&mut *handed.lock().map_err(|_| "a client panicked")?);
    Ok(handed)
}

fn granted(handed: &Mutex<Handed>, client: usize) {
    if let Ok(mut handed) = handed.lock() {
        handed.grants[client] += 1;
        if let Some(back) = handed.back.take() {
            handed.waits.push(back.elapsed());
        }
    }
}

fn given_back(handed: &Mutex<Handed>) {
    if let Ok(mut handed) = handed.lock() {
        handed.back = Some(Instant::now());
    }
}
