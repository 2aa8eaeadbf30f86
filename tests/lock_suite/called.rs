//! The bodies about waiting in a line to be called, at Redis masters.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fencepost::ids::LockName;
use fencepost::lock::{AcquireOptions, RedlockSettings, ReleaseOutcome, Waiting};

use super::{Client, Fate, LONG, RedlockFixture, SOON, within};

/// Long enough that a waiter is in line, on any machine that is not stuck.
const A_WHILE: Duration = Duration::from_millis(200);

fn client(fixture: &impl RedlockFixture) -> Client {
    let node_timeout = Duration::from_secs(2);
    let called = RedlockSettings { ttl: LONG, node_timeout, waiting: Waiting::Called, ..RedlockSettings::default() };
    fixture.redlock(0..0, called).0
}

/// Who looks by himself, as everybody does from time to time, may come between two turns; so there are several rounds.
/// Chance alone puts six in order once in 720.
pub async fn who_waits_is_served_in_the_order_of_coming(fixture: &impl RedlockFixture) {
    let mut orders = Vec::new();
    for round in 0..5 {
        let name = LockName::new(format!("in-line-{round}"));
        let holder = client(fixture);
        let held = holder.acquire(&name, SOON).await.unwrap();
        let order: Arc<Mutex<Vec<usize>>> = Arc::default();
        let mut turns = Vec::new();
        for number in 0..6 {
            let client = client(fixture);
            turns.push(client.run({
                let (client, name, order) = (client.clone(), name.clone(), Arc::clone(&order));
                async move {
                    let guard = client.lock.acquire(&name, &AcquireOptions::within(LONG)).await.unwrap();
                    order.lock().unwrap().push(number);
                    guard.release().await
                }
            }));
            holder.sleep(A_WHILE / 2).await;
        }
        assert_eq!(held.release().await, ReleaseOutcome::Released);
        for turn in turns {
            assert_eq!(turn.await, ReleaseOutcome::Released);
        }
        let order = std::mem::take(&mut *order.lock().unwrap());
        if order.is_sorted() {
            return;
        }
        orders.push(order);
    }
    panic!("never in order: {orders:?}");
}

/// The answers to a waiter do not arrive, or its connections break, while the lock is given back: what called it is
/// lost.
pub async fn a_call_that_is_lost_does_not_matter(fixture: &impl RedlockFixture) {
    for fate in [Fate::NoAnswers, Fate::Cut] {
        let name = LockName::new(format!("lost-call-{fate:?}"));
        let (holder, waiter) = (client(fixture), client(fixture));
        let held = holder.acquire(&name, SOON).await.unwrap();
        let granted = waiter.acquire(&name, LONG);
        holder.sleep(A_WHILE).await;
        fixture.links(&waiter, fate);
        assert_eq!(held.release().await, ReleaseOutcome::Released);
        holder.sleep(A_WHILE).await;
        fixture.links(&waiter, Fate::Open);
        let granted = within(&holder.runtime, SOON, granted).await.expect("it looks by itself, too").unwrap();
        assert_eq!(granted.release().await, ReleaseOutcome::Released);
    }
}

/// Nor does one who died in the line, or left it, keep the others from their turn.
pub async fn the_dead_and_the_gone_are_passed_over(fixture: &impl RedlockFixture) {
    let name = LockName::new("dead-in-line");
    let [holder, dead, gone, waiter] = std::array::from_fn(|_| client(fixture));
    let held = holder.acquire(&name, SOON).await.unwrap();
    let dies = dead.acquire(&name, LONG);
    holder.sleep(A_WHILE).await;
    let leaves = gone.acquire(&name, 2 * A_WHILE);
    holder.sleep(A_WHILE).await;
    let granted = waiter.acquire(&name, LONG);
    holder.sleep(A_WHILE).await;
    fixture.crash(&dead);
    drop(dies);
    assert!(leaves.await.is_err());
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    let granted = within(&holder.runtime, SOON, granted).await.expect("it is called").unwrap();
    assert_eq!(granted.release().await, ReleaseOutcome::Released);
}
