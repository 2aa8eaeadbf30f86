//! The ZooKeeper lock over the model: the lock's own code, without its knowing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::live::{Live, paused};
use super::world::Host;
use crate::ids::{LockName, NodeId};
use crate::lock::backend::ZkConnector;
use crate::lock::{AcquireOptions, DistributedLock, ZookeeperLock, ZookeeperSettings};
use crate::time::Nanos;

fn lock(live: &Live, client: u32, servers: &[NodeId], timeout: Duration) -> ZookeeperLock {
    let connector: Arc<dyn ZkConnector> = Arc::new(live.ensemble(client, servers, timeout));
    ZookeeperLock::new(connector, ZookeeperSettings::default(), live.runtime(client))
}

#[test]
fn contenders_alternate() {
    paused(async {
        let live = Live::new(1).await;
        let held = Arc::new(AtomicBool::new(false));
        let contend = |client| {
            let (live, held) = (live.clone(), Arc::clone(&held));
            async move {
                let lock = lock(&live, client, &live.all(), Duration::from_secs(1));
                let (name, options) = (LockName::new("l"), AcquireOptions::within(Duration::from_secs(10)));
                let mut tokens = Vec::new();
                for _ in 0..20 {
                    let guard = lock.acquire(&name, &options).await.unwrap();
                    assert!(!held.swap(true, Ordering::Relaxed), "two at once");
                    tokens.push(guard.token().unwrap());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    assert!(guard.is_valid());
                    held.store(false, Ordering::Relaxed);
                    guard.release().await;
                }
                tokens
            }
        };
        let (one, other) = tokio::join!(contend(1), contend(2));
        assert!(one.is_sorted() && other.is_sorted());
        assert!(one.iter().all(|token| !other.contains(token)));
        // Each stands in line while the other holds, so they take turns.
        assert!(one.iter().zip(&other[1..]).all(|(one, next)| one < next), "{one:?} {other:?}");
    });
}

/// What is cut off from what.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The holder from all servers.
    Holder,
    /// The replies to the holder.
    Replies,
    /// The holder's requests.
    Requests,
    /// The holder and its server from the other servers.
    Server,
}

/// How long before the ensemble ended the holder's session the holder knew: negative if it was later.
fn head_start(seed: u64, timeout: Duration, cut: Cut) -> f64 {
    paused(async {
        let live = Live::new(seed).await;
        let home = NodeId(seed as u32 % 3 + 1);
        let holder = lock(&live, 1, &[home], timeout);
        let waiter = lock(&live, 2, &live.all(), timeout);
        let name = LockName::new("l");
        let guard = holder.acquire(&name, &AcquireOptions::within(Duration::from_secs(10))).await.unwrap();
        live.world().watch_session_of(1);
        let waiting = tokio::spawn(async move {
            let guard = waiter.acquire(&LockName::new("l"), &AcquireOptions::within(Duration::from_secs(60))).await;
            guard.unwrap().token()
        });
        tokio::time::sleep(Duration::from_micros(200_000 + seed * 7_919 % 900_000)).await;
        for node in live.all() {
            let (client, server) = (Host::Client(1), Host::Node(node));
            let mut world = live.world();
            match cut {
                Cut::Holder => world.cut_both(client, server),
                Cut::Replies => world.cut(server, client),
                Cut::Requests => world.cut(client, server),
                Cut::Server if node == home => world.isolate(&[home]),
                Cut::Server => world.cut_both(client, server),
            }
        }
        guard.lost().await;
        let lost = live.now();
        assert!(guard.token() < waiting.await.unwrap());
        let ended: Nanos = live.world().session_ended.unwrap();
        ended.as_secs_f64() - lost.as_secs_f64()
    })
}

#[test]
fn a_holder_that_is_cut_off_knows_before_the_ensemble_ends_its_session() {
    for cut in [Cut::Holder, Cut::Replies, Cut::Requests, Cut::Server] {
        let starts: Vec<f64> = (0..200).map(|seed| head_start(seed, Duration::from_secs(1), cut)).collect();
        let least = starts.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{cut:?}: at least {:.0} ms before", least * 1e3);
        assert!(least > 0.0, "{cut:?}: {starts:?}");
    }
}

#[test]
fn a_create_that_is_not_yet_committed_when_the_client_comes_back_is_not_made_twice() {
    for seed in 0..20 {
        paused(async {
            let live = Live::new(seed).await;
            let leader = live.world().leader().unwrap();
            let lock = lock(&live, 1, &[leader], Duration::from_secs(2));
            let (name, options) = (LockName::new("l"), AcquireOptions::within(Duration::from_secs(10)));
            lock.acquire(&name, &options).await.unwrap().release().await;
            // The create waits in the stopped leader's kernel, its client gives the connection up and makes another
            // one. When the leader goes on, the others are out of its reach for a moment: nothing is committed.
            live.world().freeze(leader);
            let acquiring = tokio::spawn(async move { (lock.acquire(&name, &options).await.unwrap(), lock) });
            tokio::time::sleep(Duration::from_millis(1_000)).await;
            live.world().isolate(&[leader]);
            live.world().thaw(leader);
            tokio::time::sleep(Duration::from_millis(100)).await;
            live.world().heal();
            let (guard, _lock) = acquiring.await.unwrap();
            let contenders = live.world().paths(leader).iter().filter(|path| path.contains("/l/c-")).count();
            assert_eq!(contenders, 1, "seed {seed}");
            guard.release().await;
        });
    }
}
