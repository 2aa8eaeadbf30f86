//! The bodies that hold for etcd: each verb of its seam, and what a lease that has ended must not do.

use std::sync::Arc;
use std::time::Duration;

use fencepost::ids::LockName;
use fencepost::lock::ReleaseOutcome;
use fencepost::lock::backend::{EtcdCluster, EtcdLine};
use fencepost::lock::error::EtcdError;
use futures_util::future::FutureExt;

use super::{Client, Fixture, LONG, SOON};

/// The shortest lease that etcd grants as it comes.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(2);

/// What the bodies for etcd need besides.
pub trait EtcdFixture: Fixture {
    /// Its members, as somebody who takes no part.
    fn members(&self) -> Arc<dyn EtcdCluster>;

    /// What stands before the keys of all locks.
    fn prefix(&self) -> String;

    /// A lease's id that nobody else uses.
    fn lease(&self) -> i64;
}

/// The keys of all who contend for `name`.
async fn line(fixture: &impl EtcdFixture, name: &LockName) -> EtcdLine {
    fixture.members().line(&format!("{}/{name}/", fixture.prefix())).await.unwrap()
}

/// Takes all keys of a lock away.
pub async fn take_away(fixture: &impl EtcdFixture, name: &LockName) {
    for key in line(fixture, name).await.keys {
        fixture.members().delete(&key.key).await.unwrap();
    }
}

/// Waits until so many contend for `name`.
async fn contended_by(fixture: &impl EtcdFixture, client: &Client, name: &LockName, count: usize) -> EtcdLine {
    loop {
        let line = line(fixture, name).await;
        if line.keys.len() == count {
            return line;
        }
        client.sleep(Duration::from_millis(20)).await;
    }
}

pub async fn every_verb_can_be_repeated_and_says_what_it_found(fixture: &impl EtcdFixture) {
    let (members, folder) = (fixture.members(), format!("{}/verbs/", fixture.prefix()));
    let (one, other) = (fixture.lease(), fixture.lease());
    for _ in 0..2 {
        assert_eq!(members.grant(one, SHORTEST_LEASE).await, Ok(SHORTEST_LEASE));
    }
    let third = fixture.lease();
    assert_eq!(members.grant(third, SHORTEST_LEASE / 2).await, Ok(SHORTEST_LEASE), "none is shorter");
    assert_eq!(members.revoke(third).await, Ok(true));
    assert_eq!(members.grant(other, Duration::from_secs(30)).await, Ok(Duration::from_secs(30)));
    assert_eq!(members.keep_alive(one).await, Ok(Some(SHORTEST_LEASE)));
    let (first, second) = (format!("{folder}{one:x}"), format!("{folder}{other:x}"));
    let entered = members.enter(&first, one, &folder).await.unwrap();
    assert_eq!((entered.keys.len(), &entered.keys[0].key, entered.keys[0].lease), (1, &first, one));
    let line = members.enter(&second, other, &folder).await.unwrap();
    assert_eq!(line.keys.iter().map(|key| &key.key).collect::<Vec<_>>(), [&first, &second]);
    assert!(line.keys[0].created < line.keys[1].created && line.keys[1].created == line.revision);
    // Entered again it stays where it is.
    assert_eq!(members.enter(&first, one, &folder).await.unwrap().keys, line.keys);
    assert_eq!(members.line(&folder).await.unwrap().keys, line.keys);
    assert_eq!(members.line(&format!("{folder}nobody")).await.unwrap().keys, []);
    let mut gone = members.deleted(&first, line.revision + 1);
    assert!((&mut gone).now_or_never().is_none());
    assert_eq!(members.revoke(one).await, Ok(true));
    assert_eq!(gone.await, Ok(()), "its key went with the lease");
    assert_eq!(members.deleted(&first, line.revision + 1).await, Ok(()), "it is told of what was before, too");
    assert_eq!(members.revoke(one).await, Ok(false));
    assert_eq!(members.keep_alive(one).await, Ok(None));
    assert_eq!(members.enter(&first, one, &folder).await, Err(EtcdError::NoLease));
    assert_eq!(members.line(&folder).await.unwrap().keys.len(), 1, "nothing was created with a dead lease");
    assert_eq!((members.delete(&second).await, members.delete(&second).await), (Ok(true), Ok(false)));
    assert_eq!(members.revoke(other).await, Ok(true));
}

/// A lease that nobody keeps alive ends with its key, and not before its time.
pub async fn a_lease_ends_by_itself_with_its_keys(fixture: &impl EtcdFixture) {
    let client = fixture.client(LONG);
    let (members, folder, lease) = (fixture.members(), format!("{}/ends/", fixture.prefix()), fixture.lease());
    let sent = client.now();
    members.grant(lease, SHORTEST_LEASE).await.unwrap();
    let line = members.enter(&format!("{folder}{lease:x}"), lease, &folder).await.unwrap();
    members.deleted(&line.keys[0].key, line.revision + 1).await.unwrap();
    assert!(client.now() >= sent + SHORTEST_LEASE, "after {:?}", client.now() - sent);
    assert_eq!(members.keep_alive(lease).await, Ok(None));
}

/// etcd#11456: the server's own clients once granted a lock to a contender whose lease had ended while it waited.
pub async fn nobody_is_granted_a_lock_on_a_lease_that_ended_while_they_waited(fixture: &impl EtcdFixture) {
    let name = LockName::new("dead-lease");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let held = first.acquire(&name, SOON).await.unwrap();
    let waiting = second.run({
        let (second, name) = (second.clone(), name.clone());
        async move { second.acquire(&name, LONG).await }
    });
    let dead = contended_by(fixture, &first, &name, 2).await.keys[1].clone();
    assert_eq!(fixture.members().revoke(dead.lease).await, Ok(true));
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    let held = waiting.await.unwrap();
    let token = held.token().expect("it has one").0;
    let line = line(fixture, &name).await;
    assert_eq!(line.keys.iter().map(|key| key.created).collect::<Vec<_>>(), [token], "its key is there");
    assert_ne!(token, dead.created);
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}

/// One test for each body, run by `$run`.
#[macro_export]
macro_rules! tests_of_etcd {
    ($run:path) => {
        $crate::tests_of!($run: every_verb_can_be_repeated_and_says_what_it_found, a_lease_ends_by_itself_with_its_keys,
            nobody_is_granted_a_lock_on_a_lease_that_ended_while_they_waited);
    };
}
