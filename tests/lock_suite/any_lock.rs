//! The bodies that hold for any lock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fencepost::ids::{LockName, OwnerId};
use fencepost::lock::{
    AcquireError, AcquireOptions, AttemptError, Completed, ConfigError, ExtendError, GuardState, LONGEST_NAME,
    LostReason, NameError, Reentrant, ReentrantGuard, ReleaseOutcome, WithLockError, with_lock,
};
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::oneshot;

use super::{Client, Fixture, LONG, SHORT, SOON, within};

/// Long enough that a waiter is in line, on any machine that is not stuck.
const A_WHILE: Duration = Duration::from_millis(200);

/// Asserts that the lock can be had before any lease of [`LONG`] is over.
async fn assert_free(client: &Client, name: &LockName) {
    let held = client.acquire(name, SOON).await.expect("the lock is free");
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}

pub async fn acquire_and_release(fixture: &impl Fixture) {
    let name = LockName::new("round-trip");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let held = first.acquire(&name, SOON).await.unwrap();
    assert_eq!((held.name(), held.state()), (&name, GuardState::Held));
    assert!(held.valid_until() > first.now() && held.remaining() <= LONG);
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_free(&second, &name).await;
    assert_free(&first, &name).await;
}

pub async fn waits_until_it_is_given_back(fixture: &impl Fixture) {
    let name = LockName::new("waits");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let held = first.acquire(&name, SOON).await.unwrap();
    let granted = second.run({
        let (second, name) = (second.clone(), name.clone());
        async move {
            let held = second.acquire(&name, LONG).await;
            (held, second.now())
        }
    });
    first.sleep(A_WHILE).await;
    assert!(held.is_valid());
    let given_back = first.now();
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    let (held, got) = granted.await;
    assert!(got >= given_back, "two held it at once");
    assert!(got - given_back < SOON, "got it {:?} after it was given back", got - given_back);
    assert_eq!(held.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn one_attempt_on_a_held_lock(fixture: &impl Fixture) {
    let name = LockName::new("one-attempt");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let held = first.try_acquire(&name).await.unwrap().expect("the lock is free");
    for _ in 0..3 {
        assert!(second.try_acquire(&name).await.unwrap().is_none());
    }
    assert!(held.is_valid(), "attempts of others do no harm");
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_free(&second, &name).await;
}

pub async fn the_deadline_is_kept(fixture: &impl Fixture) {
    let name = LockName::new("deadline");
    let wait = Duration::from_millis(300);
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let held = first.acquire(&name, SOON).await.unwrap();
    let started = second.now();
    match second.acquire(&name, wait).await.map(drop) {
        Err(AcquireError::DeadlineExceeded { waited, last: AttemptError::Contended { conflicts, .. } }) => {
            assert!(waited >= wait && conflicts > 0, "{waited:?}, {conflicts} conflicts");
        }
        other => panic!("{other:?}"),
    }
    assert!(second.now() - started < wait + SOON, "given up only after {:?}", second.now() - started);
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_free(&first, &name).await;
}

pub async fn a_crashed_client_loses_its_lock(fixture: &impl Fixture) {
    let name = LockName::new("crash");
    let (first, second) = (fixture.client(SHORT), fixture.client(SHORT));
    let held = first.acquire(&name, SOON).await.unwrap();
    fixture.crash(&first);
    let valid_until = held.valid_until();
    drop(held);
    let held = second.acquire(&name, LONG).await.expect("the lease of the dead client ends");
    assert!(second.now() >= valid_until, "granted while the dead client could believe in it");
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}

pub async fn a_dropped_acquire_leaves_nothing(fixture: &impl Fixture) {
    let name = LockName::new("dropped");
    let (first, second, third) = (fixture.client(LONG), fixture.client(LONG), fixture.client(LONG));
    let given_up_after = |limit: Duration| {
        let (client, name) = (second.clone(), name.clone());
        second.run(async move {
            let options = AcquireOptions::within(LONG);
            let acquired = within(&client.runtime, limit, client.lock.acquire(&name, &options)).await;
            acquired.is_some()
        })
    };
    let held = first.acquire(&name, SOON).await.unwrap();
    assert!(!given_up_after(A_WHILE).await);
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_free(&third, &name).await;
    // On a free lock, at whatever step that meets it: before the requests, between them, or as a guard.
    let mut acquired = 0;
    for micros in [0, 50, 200, 500, 1000, 2000, 5000, 20_000] {
        acquired += usize::from(given_up_after(Duration::from_micros(micros)).await);
        assert_free(&third, &name).await;
    }
    println!("  {acquired} of 8 acquires were through before they were dropped");
}

pub async fn a_dropped_guard_gives_the_lock_back(fixture: &impl Fixture) {
    let name = LockName::new("dropped-guard");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    drop(first.acquire(&name, SOON).await.unwrap());
    assert_free(&second, &name).await;
}

/// Any text is a name, and stands for itself alone; the same on every backend.
pub async fn names_are_kept_apart(fixture: &impl Fixture) {
    let client = fixture.client(LONG);
    let longest = "x".repeat(LONGEST_NAME);
    let names = ["a", "a/c-00-0000000001", "a/", "/", "a b", "a%2Fb", "a/b", ".", "..", "ä", "A", "\n", &longest];
    let mut held = Vec::new();
    for name in names {
        let name = LockName::new(name);
        held.push(client.acquire(&name, SOON).await.unwrap_or_else(|error| panic!("{name:?}: {error}")));
    }
    for held in held {
        assert_eq!(held.release().await, ReleaseOutcome::Released);
    }
    // None of them was taken for something that belongs to another.
    assert_free(&client, &LockName::new("a")).await;
    for (name, error) in [("", NameError::Empty), (&format!("{longest}x"), NameError::TooLong(LONGEST_NAME + 1))] {
        let refused = client.acquire(&LockName::new(name), SOON).await.map(drop);
        assert_eq!(refused, Err(AcquireError::Name(error)));
    }
}

pub async fn tokens_rise(fixture: &impl Fixture) {
    let name = LockName::new("tokens");
    let clients: Vec<Client> = (0..3).map(|_| fixture.client(LONG)).collect();
    let mut last = None;
    for turn in 0..60 {
        let held = clients[turn % 3].acquire(&name, SOON).await.unwrap();
        let token = held.token();
        assert_eq!(token.is_some(), fixture.gives_tokens());
        assert!(token.is_none() || token > last, "grant {turn}: {token:?} after {last:?}");
        last = token;
        assert_eq!(held.release().await, ReleaseOutcome::Released);
    }
}

pub async fn with_lock_runs_and_gives_back(fixture: &impl Fixture) {
    let name = LockName::new("with-lock");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let result = first
        .run({
            let (client, name) = (first.clone(), name.clone());
            async move {
                let options = AcquireOptions::within(SOON);
                with_lock(&*client.lock, &name, &options, async |guard| guard.is_valid()).await
            }
        })
        .await;
    assert_eq!(result, Ok(Completed { value: true, release: ReleaseOutcome::Released }));
    assert_free(&second, &name).await;
}

pub async fn with_lock_stops_when_the_lock_is_lost(fixture: &impl Fixture) {
    let name = LockName::new("robbed");
    let (first, second) = (fixture.client(SHORT), fixture.client(LONG));
    let (inside, is_inside) = oneshot::channel();
    let result = first.run({
        let (client, name) = (first.clone(), name.clone());
        async move {
            let options = AcquireOptions::within(SOON);
            with_lock(&*client.lock, &name, &options, async |_| {
                let _ = inside.send(());
                std::future::pending::<()>().await
            })
            .await
        }
    });
    is_inside.await.expect("the body runs");
    // Renewal keeps it up for longer than one lease.
    first.sleep(SHORT + SHORT / 2).await;
    fixture.revoke(&name).await;
    let result = within(&second.runtime, SOON, result).await.expect("the body is stopped");
    assert!(matches!(result, Err(WithLockError::Lost(_))), "{result:?}");
    assert_free(&second, &name).await;
}

pub async fn no_increment_is_lost(fixture: &impl Fixture) {
    let name = LockName::new("counter");
    let counter = Arc::new(Mutex::new(0));
    let clients: Vec<Client> = (0..5).map(|_| fixture.client(LONG)).collect();
    let started = clients[0].now();
    let increments = (0..50).map(|turn| {
        let (client, name, counter) = (clients[turn % clients.len()].clone(), name.clone(), Arc::clone(&counter));
        clients[turn % clients.len()].run(async move {
            let held = client.acquire(&name, 4 * LONG).await.unwrap();
            let seen = *counter.lock().unwrap();
            client.sleep(Duration::from_millis(1)).await;
            assert!(held.is_valid(), "{:?}", held.state());
            *counter.lock().unwrap() = seen + 1;
            held.release().await
        })
    });
    let outcomes = join_all(increments).await;
    println!("  50 increments in {:?}", clients[0].now() - started);
    assert_eq!(*counter.lock().unwrap(), 50);
    assert_eq!(outcomes, vec![ReleaseOutcome::Released; 50]);
}

/// However long its lease or session: then it is lost, and others have the lock at once.
pub async fn a_guard_ends_with_the_longest_hold_of_its_call(fixture: &impl Fixture) {
    let name = LockName::new("longest");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let options = || AcquireOptions::within(SOON);
    let started = first.now();
    let held = first.acquire_as(&name, options().max_hold(SHORT)).await.unwrap();
    assert!(held.valid_until() <= first.now() + SHORT);
    assert_eq!(held.lost().await, LostReason::HeldTooLong);
    assert!(first.now() - started >= SHORT);
    assert_free(&second, &name).await;
    drop(held);
    let refused = first.acquire_as(&name, options().max_hold(Duration::ZERO)).await.map(drop);
    assert_eq!(refused, Err(AcquireError::Options(ConfigError::NoMaxHold)));
}

pub async fn a_wait_that_is_called_off_leaves_nothing(fixture: &impl Fixture) {
    let name = LockName::new("called-off");
    let (first, second, third) = (fixture.client(LONG), fixture.client(LONG), fixture.client(LONG));
    let held = first.acquire(&name, SOON).await.unwrap();
    let (call_off, called_off) = tokio::sync::watch::channel(false);
    let options = AcquireOptions::within(LONG).unless(move || {
        let mut called_off = called_off.clone();
        async move { drop(called_off.wait_for(|called_off| *called_off).await) }
    });
    let waits = second.acquire_as(&name, options.clone());
    first.sleep(A_WHILE).await;
    call_off.send(true).expect("it waits");
    let stopped = within(&first.runtime, SOON, waits).await.expect("it stops waiting");
    assert_eq!(stopped.map(drop), Err(AcquireError::Cancelled));
    // Called off before it begins, also where it could be had.
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_eq!(second.acquire_as(&name, options).await.map(drop), Err(AcquireError::Cancelled));
    assert_free(&third, &name).await;
}

pub async fn a_ttl_of_one_call_is_kept_or_refused(fixture: &impl Fixture) {
    let name = LockName::new("own-ttl");
    let (first, second) = (fixture.client(SHORT), fixture.client(LONG));
    let own = first.acquire_as(&name, AcquireOptions::within(SOON).ttl(LONG)).await;
    if !fixture.has_leases() {
        assert_eq!(own.map(drop), Err(AcquireError::Options(ConfigError::NoLease)));
        let mut held = first.acquire(&name, SOON).await.unwrap();
        assert_eq!(held.extend(LONG).await, Err(ExtendError::NoLease));
        return assert_eq!(held.release().await, ReleaseOutcome::Released);
    }
    let held = own.unwrap();
    assert!(held.remaining() > LONG / 2, "{:?}", held.remaining());
    // Renewed or not, it is that long at the servers, too.
    fixture.crash(&first);
    drop(held);
    let waited = second.acquire(&name, 3 * SHORT).await.map(drop);
    assert!(matches!(waited, Err(AcquireError::DeadlineExceeded { .. })), "{waited:?}");
    let shortest = Duration::from_millis(2);
    let refused = second.acquire_as(&name, AcquireOptions::default().ttl(shortest)).await.map(drop);
    assert_eq!(refused, Err(AcquireError::Options(ConfigError::TtlTooShort(shortest))));
}

/// A lock of the client's that owners may enter again.
struct Owners(Client, Arc<Reentrant>);

impl Owners {
    fn of(client: &Client) -> Self {
        let lock = Reentrant::new(Arc::clone(&client.lock), Arc::clone(&client.runtime));
        Self(client.clone(), Arc::new(lock))
    }

    fn enter(
        &self,
        owner: &str,
        name: &LockName,
        wait: Duration,
    ) -> BoxFuture<'static, Result<ReentrantGuard, AcquireError>> {
        let (lock, owner, name) = (Arc::clone(&self.1), OwnerId::new(owner), name.clone());
        self.0.run(async move { lock.acquire(&owner, &name, &AcquireOptions::within(wait)).await })
    }

    async fn leave(&self, entered: ReentrantGuard) -> Option<ReleaseOutcome> {
        self.0.run(entered.release()).await
    }
}

pub async fn an_owner_enters_again_and_nobody_else(fixture: &impl Fixture) {
    let name = LockName::new("reentrant");
    let (first, second) = (fixture.client(LONG), fixture.client(LONG));
    let owners = Owners::of(&first);
    // Two tasks of one owner at once do not compete with each other.
    let (outer, inner) = tokio::join!(owners.enter("a", &name, SOON), owners.enter("a", &name, SOON));
    let (outer, inner) = (outer.unwrap(), inner.unwrap());
    assert_eq!((outer.token(), outer.valid_until()), (inner.token(), inner.valid_until()));
    let other = owners.enter("b", &name, Duration::ZERO).await.map(drop);
    assert!(matches!(other, Err(AcquireError::DeadlineExceeded { .. })), "{other:?}");
    assert_eq!(owners.leave(outer).await, None);
    assert!(inner.is_valid() && second.try_acquire(&name).await.unwrap().is_none());
    // Another lock of the same owner is another hold.
    let elsewhere = owners.enter("a", &LockName::new("another"), SOON).await.unwrap();
    assert_eq!(owners.leave(elsewhere).await, Some(ReleaseOutcome::Released));
    assert_eq!(owners.leave(inner).await, Some(ReleaseOutcome::Released));
    assert_free(&second, &name).await;
    let again = owners.enter("b", &name, SOON).await.unwrap();
    assert_eq!(owners.leave(again).await, Some(ReleaseOutcome::Released));
}

pub async fn a_loss_is_told_to_all_that_entered(fixture: &impl Fixture) {
    let name = LockName::new("reentrant-robbed");
    let first = fixture.client(SHORT);
    let owners = Owners::of(&first);
    let outer = owners.enter("a", &name, SOON).await.unwrap();
    let inner = owners.enter("a", &name, SOON).await.unwrap();
    fixture.revoke(&name).await;
    for entered in [&outer, &inner] {
        within(&first.runtime, SOON, entered.lost()).await.expect("it is told");
    }
    // What is lost is not entered: this is another hold.
    let anew = owners.enter("a", &name, SOON).await.unwrap();
    assert!(anew.is_valid() && !outer.is_valid());
    assert_eq!(owners.leave(outer).await, None);
    owners.leave(inner).await;
    assert!(anew.is_valid());
    assert_eq!(owners.leave(anew).await, Some(ReleaseOutcome::Released));
}
