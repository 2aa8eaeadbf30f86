//! What a ZooKeeper lock costs on a long way, and what it says when there is no way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fencepost::ids::LockName;
use fencepost::lock::client::ZookeeperEnsemble;
use fencepost::lock::runtime::TokioRuntime;
use fencepost::lock::{
    AcquireError, AcquireOptions, AttemptError, DistributedLock, ReleaseOutcome, ZookeeperLock, ZookeeperSettings,
};
use tokio::net::TcpSocket;

use super::lock_suite::{LONG, SOON};
use super::relay::Relay;
use super::{World, block_on};

const EACH_WAY: Duration = Duration::from_millis(10);

fn lock(servers: &str, world: &World) -> ZookeeperLock {
    let settings = ZookeeperSettings { root: format!("/{}", world.prefix), ..ZookeeperSettings::default() };
    let ensemble = Arc::new(ZookeeperEnsemble::new(servers, LONG));
    ZookeeperLock::new(ensemble, settings, Arc::new(TokioRuntime::from_entropy()))
}

fn first_server(world: &World) -> SocketAddr {
    world.cluster.zookeeper.split(',').next().unwrap().parse().unwrap()
}

/// Counted where the requests pass, not timed: a create and a list that leave together are one round trip.
#[test]
fn a_free_lock_takes_one_round_trip() {
    block_on(async {
        let world = World::new().await;
        let relay = Relay::new(first_server(&world), Duration::ZERO, EACH_WAY);
        let (lock, name) = (lock(&relay.address.to_string(), &world), LockName::new("far-away"));
        let options = AcquireOptions::within(SOON);
        let (mut turns, mut times) = (Vec::new(), Vec::new());
        for _ in 0..30 {
            let (before, started) = (relay.turns(), Instant::now());
            let guard = lock.acquire(&name, &options).await.unwrap();
            times.push(started.elapsed());
            turns.push(relay.turns() - before);
            assert_eq!(guard.release().await, ReleaseOutcome::Released);
        }
        // The first opens the session and makes the lock's folder; a session's signs of life may come between.
        turns[1..].sort_unstable();
        times[1..].sort_unstable();
        println!("  {EACH_WAY:?} each way: median {:?}, round trips {turns:?}", times[15]);
        // Without TCP_NODELAY every other one takes two.
        assert_eq!(turns[25], 1, "{turns:?}");
    });
}

async fn refused(lock: &ZookeeperLock, wait: Duration) -> (AcquireError, Duration) {
    let started = Instant::now();
    let error = lock.acquire(&LockName::new("nowhere"), &AcquireOptions::within(wait)).await.map(drop).unwrap_err();
    (error, started.elapsed())
}

#[test]
fn a_session_that_cannot_be_opened_says_why_and_in_time() {
    block_on(async {
        let world = World::new().await;
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // Takes connections, and waits for the end of the line.
        let redis = world.cluster.redis[0];
        let servers = format!("{},{redis}", closed.local_addr().unwrap());
        let wait = Duration::from_millis(500);
        let (error, took) = refused(&lock(&servers, &world), wait).await;
        println!("  after {took:?}: {error}");
        let AcquireError::DeadlineExceeded { waited, last: AttemptError::NoQuorum { nodes, .. } } = &error else {
            panic!("{error}");
        };
        assert!(*waited >= wait && *waited < 2 * wait, "{waited:?}");
        let said: Vec<String> = nodes.0.iter().map(|report| format!("{:?}", report.outcome)).collect();
        assert_eq!(said.len(), 2, "{error}");
        for (said, expected) in said.iter().zip(["refused", "Silent"]) {
            assert!(said.contains(expected), "{said}");
        }
    });
}

#[test]
fn a_chroot_that_is_not_there_is_refused_at_once() {
    block_on(async {
        let world = World::new().await;
        let servers = format!("{}/{}-none", world.cluster.zookeeper, world.prefix);
        let (error, took) = refused(&lock(&servers, &world), LONG).await;
        assert!(matches!(&error, AcquireError::Refused(reason) if reason.contains("chroot")), "{error}");
        assert!(took < SOON, "{took:?}");
    });
}
