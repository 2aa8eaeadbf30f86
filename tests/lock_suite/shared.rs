//! What locks must do that several may hold, and what is made of several locks, written once and run in every world.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fencepost::ids::LockName;
use fencepost::lock::{
    AcquireError, AcquireOptions, CampaignError, Election, LostReason, MultiLock, ReleaseOutcome, Role,
};
use futures_util::future::{BoxFuture, LocalBoxFuture, join_all};

use super::{Client, Fixture, Held, LONG, SHORT, SOON};

/// What the bodies for locks with several holders need besides.
pub trait SharedFixture: Fixture {
    /// A client of a read-write lock, in a process of its own; its lock is the writers'.
    fn read_write(&self, lease: Duration) -> Client;

    /// A client of a semaphore, in a process of its own.
    fn semaphore(&self, permits: NonZeroU32, lease: Duration) -> Client;
}

/// Those who write, as clients of a lock that one may hold.
pub struct Writers<'a, F>(pub &'a F);

/// A semaphore of one permit, as a lock that one may hold.
pub struct OnePermit<'a, F>(pub &'a F);

macro_rules! as_a_lock {
    ($type:ident, $fixture:ident, $lease:ident => $client:expr) => {
        impl<F: SharedFixture> Fixture for $type<'_, F> {
            fn client(&self, $lease: Duration) -> Client {
                let $fixture = self.0;
                $client
            }

            fn crash(&self, client: &Client) {
                self.0.crash(client);
            }

            fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()> {
                self.0.revoke(name)
            }

            fn gives_tokens(&self) -> bool {
                self.0.gives_tokens()
            }

            fn has_leases(&self) -> bool {
                self.0.has_leases()
            }
        }
    };
}

as_a_lock!(Writers, fixture, lease => fixture.read_write(lease));
as_a_lock!(OnePermit, fixture, lease => fixture.semaphore(NonZeroU32::MIN, lease));

/// Acquires as a reader.
fn read(client: &Client, name: &LockName, wait: Duration) -> BoxFuture<'static, Result<Held, AcquireError>> {
    let (this, name) = (client.clone(), name.clone());
    client.run(async move {
        let readers = this.lock.for_reading().expect("a read-write lock");
        let guard = readers.acquire(&name, &AcquireOptions::within(wait)).await?;
        Ok(Held { guard: Some(guard), client: this })
    })
}

pub async fn readers_share_and_a_writer_is_alone(fixture: &impl SharedFixture) {
    let name = LockName::new("readers-share");
    let [one, other, writer] = std::array::from_fn(|_| fixture.read_write(LONG));
    let first = read(&one, &name, SOON).await.unwrap();
    let second = read(&other, &name, SOON).await.expect("readers share");
    assert!(first.token() < second.token(), "tokens rise with each grant");
    assert!(writer.try_acquire(&name).await.unwrap().is_none(), "two read");
    assert_eq!(first.release().await, ReleaseOutcome::Released);
    assert!(writer.try_acquire(&name).await.unwrap().is_none(), "one reads");
    assert!(second.is_valid());
    assert_eq!(second.release().await, ReleaseOutcome::Released);
    let held = writer.acquire(&name, SOON).await.unwrap();
    assert!(read(&one, &name, Duration::ZERO).await.is_err(), "one writes");
    assert!(other.try_acquire(&name).await.unwrap().is_none(), "one writes");
    assert_eq!(held.release().await, ReleaseOutcome::Released);
    assert_eq!(read(&one, &name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

/// Two readers take turns so that one always holds, unless new readers are kept out.
pub async fn a_writer_gets_through_readers_that_keep_coming(fixture: &impl SharedFixture) {
    let name = LockName::new("readers-keep-coming");
    let [one, other, writer] = std::array::from_fn(|_| fixture.read_write(LONG));
    let mut held = read(&one, &name, SOON).await.unwrap();
    let started = one.now();
    let mut writes = writer.run({
        let (writer, name) = (writer.clone(), name.clone());
        async move { writer.acquire(&name, LONG).await.map(|held| (held, writer.now())) }
    });
    let mut readers = [&other, &one].into_iter().cycle();
    let written = loop {
        assert!(one.now() - started < SOON, "no writer got through");
        let next = read(readers.next().expect("a cycle"), &name, SHORT).await;
        let given_back = one.now();
        assert_eq!(held.release().await, ReleaseOutcome::Released);
        match next {
            Ok(next) => held = next,
            // Kept out by the writer, who gets it now.
            Err(_) => {
                let (written, at) = (&mut writes).await.unwrap();
                assert!(at >= given_back, "it wrote while another read");
                break written;
            }
        }
    };
    assert_eq!(written.release().await, ReleaseOutcome::Released);
    assert_eq!(read(&one, &name, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
}

pub async fn a_dead_reader_keeps_no_writer_out(fixture: &impl SharedFixture) {
    let name = LockName::new("dead-reader");
    let [dead, reader, writer] = std::array::from_fn(|_| fixture.read_write(SHORT));
    let lost = read(&dead, &name, SOON).await.unwrap();
    // One that is renewed must not keep the dead one's share alive.
    let kept = read(&reader, &name, SOON).await.unwrap();
    fixture.crash(&dead);
    let valid_until = lost.valid_until();
    drop(lost);
    reader.sleep(2 * SHORT).await;
    assert!(kept.is_valid());
    assert_eq!(kept.release().await, ReleaseOutcome::Released);
    let held = writer.acquire(&name, LONG).await.expect("the dead reader's lease ends");
    assert!(writer.now() >= valid_until, "granted while the dead reader could believe in it");
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}

const THREE: NonZeroU32 = NonZeroU32::new(3).unwrap();

pub async fn as_many_hold_as_there_are_permits(fixture: &impl SharedFixture) {
    let name = LockName::new("permits");
    let clients: [Client; 5] = std::array::from_fn(|_| fixture.semaphore(THREE, LONG));
    let mut held = Vec::new();
    for client in &clients[..3] {
        held.push(client.try_acquire(&name).await.unwrap().expect("a permit is left"));
    }
    assert!(held.is_sorted_by(|one, other| one.token() < other.token()), "tokens rise with each grant");
    for client in &clients[3..] {
        assert!(client.try_acquire(&name).await.unwrap().is_none(), "no permit is left");
    }
    let waiting: Vec<_> = clients[3..].iter().map(|client| client.acquire(&name, LONG)).collect();
    // In an order that is not that of the grants.
    for place in [1, 1] {
        assert_eq!(held.remove(place).release().await, ReleaseOutcome::Released);
    }
    for granted in join_all(waiting).await {
        held.push(granted.expect("a permit came free"));
    }
    assert!(clients[1].try_acquire(&name).await.unwrap().is_none(), "no permit is left");
    assert!(held.iter().all(|held| held.is_valid()));
    for held in held {
        assert_eq!(held.release().await, ReleaseOutcome::Released);
    }
}

pub async fn the_permit_of_the_dead_comes_back(fixture: &impl SharedFixture) {
    let name = LockName::new("dead-permit");
    let clients: [Client; 4] = std::array::from_fn(|_| fixture.semaphore(THREE, SHORT));
    let mut held = Vec::new();
    for client in &clients[..3] {
        held.push(client.acquire(&name, SOON).await.unwrap());
    }
    fixture.crash(&clients[0]);
    let dead = held.remove(0);
    let valid_until = dead.valid_until();
    drop(dead);
    let next = clients[3].acquire(&name, LONG).await.expect("the dead one's lease ends");
    assert!(clients[3].now() >= valid_until, "granted while the dead client could believe in it");
    assert!(held.iter().all(|held| held.is_valid()), "the others hold on");
    for held in held.into_iter().chain([next]) {
        assert_eq!(held.release().await, ReleaseOutcome::Released);
    }
}

/// Each wants two of three, in its own order; nobody waits for ever.
pub async fn many_names_at_once_do_not_wait_for_each_other(fixture: &impl Fixture) {
    let name = |number: usize| LockName::new(format!("many-{}", number % 3));
    let clients: [Client; 6] = std::array::from_fn(|_| fixture.client(LONG));
    let turns = clients.iter().enumerate().map(|(number, client)| {
        let this = client.clone();
        client.run(async move {
            let locks = MultiLock::new(Arc::clone(&this.lock), Arc::clone(&this.runtime));
            for turn in 0..5 {
                let names = [name(number + turn), name(2 * number), name(number + turn)];
                let held = locks.acquire(&names, &AcquireOptions::within(LONG)).await.unwrap();
                assert!(held.is_valid() && held.guards().is_sorted_by(|one, other| one.name() < other.name()));
                this.runtime.sleep_until(this.runtime.now() + Duration::from_millis(2)).await;
                assert!(held.release().await.iter().all(|outcome| *outcome == ReleaseOutcome::Released));
            }
        })
    });
    join_all(turns).await;
}

/// All or none: what was acquired before the one that is held by another is given back.
pub async fn of_many_names_none_is_kept_without_the_others(fixture: &impl Fixture) {
    let [first, last] = ["all-or-none-1", "all-or-none-2"].map(LockName::new);
    let [client, other] = std::array::from_fn(|_| fixture.client(LONG));
    let held = other.acquire(&last, SOON).await.unwrap();
    let (this, names) = (client.clone(), [last.clone(), first.clone()]);
    let none = client.run(async move {
        let locks = MultiLock::new(Arc::clone(&this.lock), Arc::clone(&this.runtime));
        let wait = AcquireOptions::within(Duration::from_millis(300));
        locks.acquire(&names, &wait).await.map(drop)
    });
    assert!(matches!(none.await, Err(AcquireError::DeadlineExceeded { .. })));
    assert_eq!(other.acquire(&first, SOON).await.unwrap().release().await, ReleaseOutcome::Released);
    assert_eq!(held.release().await, ReleaseOutcome::Released);
}

/// Campaigns in the client's process, in which its term stays.
async fn campaign(client: &Client, election: &Arc<Election>) -> Result<fencepost::lock::Term, CampaignError> {
    let election = Arc::clone(election);
    client.run(async move { election.campaign(&AcquireOptions::within(LONG)).await }).await
}

pub async fn one_leads_and_each_term_has_a_higher_epoch(fixture: &impl Fixture) {
    let name = LockName::new("leader");
    let [one, other] = std::array::from_fn(|_| fixture.client(LONG));
    let election = |client: &Client| Arc::new(Election::new(Arc::clone(&client.lock), name.clone()));
    let (here, there) = (election(&one), election(&other));
    let observer = here.observe();
    if !fixture.gives_tokens() {
        assert!(matches!(campaign(&one, &here).await, Err(CampaignError::NoEpoch)));
        return;
    }
    let first = campaign(&one, &here).await.unwrap();
    assert!(first.is_leader());
    assert_eq!(*observer.borrow(), Role::Leader(first.epoch()));
    assert!(other.try_acquire(&name).await.unwrap().is_none(), "another one leads");
    let epoch = first.epoch();
    assert_eq!(one.run(first.resign()).await, ReleaseOutcome::Released);
    assert_eq!(*observer.borrow(), Role::Follower);
    let second = campaign(&other, &there).await.unwrap();
    assert!(second.is_leader() && second.epoch() > epoch);
    // Deposed behind its back: it is told.
    fixture.revoke(&name).await;
    let told = other.run({
        let runtime = Arc::clone(&other.runtime);
        async move {
            let reason = super::within(&runtime, LONG, second.deposed()).await;
            (reason, second.is_leader())
        }
    });
    assert!(matches!(told.await, (Some(LostReason::Revoked(_)), false)));
    assert_eq!(*there.observe().borrow(), Role::Follower);
    let third = campaign(&one, &here).await.unwrap();
    assert!(third.epoch() > epoch);
    assert_eq!(one.run(third.resign()).await, ReleaseOutcome::Released);
}
