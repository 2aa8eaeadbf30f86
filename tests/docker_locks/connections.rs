//! How often and how long a Redlock connects, counted at the masters' doors.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fencepost::ids::{LockName, OwnerToken};
use fencepost::lock::backend::RedisNode;
use fencepost::lock::client::RedisServer;
use fencepost::lock::runtime::TokioRuntime;
use fencepost::lock::{AcquireOptions, DistributedLock, Redlock, RedlockSettings, ReleaseOutcome};
use futures_util::future::join_all;

use super::lock_suite::{LONG, SOON};
use super::relay::{Mode, Relay};
use super::{World, block_on};

/// A lock over the cluster's masters, each behind a relay with this delay; those in `hang_up` close every connection.
fn lock(world: &World, delay: Duration, hang_up: Range<usize>, settings: RedlockSettings) -> (Redlock, Vec<Relay>) {
    let relay = |server: &SocketAddr| Relay::new(*server, delay, Duration::ZERO);
    let relays: Vec<Relay> = world.cluster.redis.iter().map(relay).collect();
    relays[hang_up].iter().for_each(|relay| relay.set(Mode::Cut));
    let node = |relay: &Relay| Arc::new(RedisServer::new(relay.address)) as Arc<dyn RedisNode>;
    let settings = RedlockSettings { ttl: LONG, key_prefix: format!("{}:", world.prefix), ..settings };
    let runtime = Arc::new(TokioRuntime::from_entropy());
    (Redlock::new(relays.iter().map(node).collect(), settings, runtime).unwrap(), relays)
}

fn dials(relays: &[Relay]) -> Vec<u32> {
    relays.iter().map(Relay::dials).collect()
}

#[test]
fn a_connection_that_is_slower_than_a_nodes_answer_opens_all_the_same() {
    block_on(async {
        let world = World::new().await;
        let settings = RedlockSettings::default();
        let (lock, relays) = lock(&world, settings.node_timeout + settings.node_timeout / 5, 0..0, settings);
        let guard = lock.acquire(&LockName::new("slow"), &AcquireOptions::within(SOON)).await.unwrap();
        assert_eq!(guard.release().await, ReleaseOutcome::Released);
        assert_eq!(dials(&relays), [1; 5]);
    });
}

#[test]
fn a_master_that_hangs_up_is_not_dialled_for_each_acquire() {
    block_on(async {
        let world = World::new().await;
        let patient = RedlockSettings { node_timeout: Duration::from_secs(2), ..RedlockSettings::default() };
        let (lock, relays) = lock(&world, Duration::ZERO, 3..5, patient);
        let started = std::time::Instant::now();
        for turn in 0..500 {
            let name = LockName::new(format!("turn-{turn}"));
            let guard = lock.acquire(&name, &AcquireOptions::within(SOON)).await.unwrap();
            assert_eq!(guard.release().await, ReleaseOutcome::Released);
        }
        let (dials, took) = (dials(&relays), started.elapsed());
        println!("  500 acquires in {took:?}, dials {dials:?}");
        assert_eq!(dials[..3], [1; 3]);
        // At once, after 50, 100, 200, 400 and 800 ms, and then once a second.
        let limit = 8 + took.as_secs() as u32;
        assert!(dials[3..].iter().all(|dials| *dials <= limit), "{dials:?} dials in {took:?}");
    });
}

#[test]
fn many_who_come_at_once_share_one_connection_to_each_master() {
    block_on(async {
        let world = World::new().await;
        let patient = RedlockSettings { node_timeout: Duration::from_secs(5), ..RedlockSettings::default() };
        let (lock, relays) = lock(&world, Duration::ZERO, 0..0, patient);
        let turns = (0..500).map(|turn| {
            let lock = lock.clone();
            tokio::spawn(async move {
                let name = LockName::new(format!("task-{turn}"));
                let guard = lock.acquire(&name, &AcquireOptions::within(LONG)).await.unwrap();
                guard.release().await
            })
        });
        for outcome in join_all(turns).await {
            assert_eq!(outcome.unwrap(), ReleaseOutcome::Released);
        }
        assert_eq!(dials(&relays), [1; 5]);
    });
}

/// The order of requests on a connection tells: whoever asks next finds the key.
#[test]
fn a_request_that_was_sent_is_carried_out_though_its_caller_went_away() {
    block_on(async {
        let world = World::new().await;
        let node = RedisServer::new(world.cluster.redis[0]);
        let (gone, next) = (OwnerToken::new("gone"), OwnerToken::new("next"));
        let set =
            |turn: u32, owner: &OwnerToken| node.set_if_absent(&format!("{}:sent-{turn}", world.prefix), owner, LONG);
        // Opens the connection: what waits for one is not sent.
        set(0, &gone).await.unwrap();
        let mut lost = 0;
        for turn in 1..=300 {
            let mut request = set(turn, &gone);
            assert!(futures_util::poll!(&mut request).is_pending(), "no answer comes at once");
            drop(request);
            lost += u32::from(set(turn, &next).await.unwrap());
        }
        assert_eq!(lost, 0, "of 300 requests");
    });
}
