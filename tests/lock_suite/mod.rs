//! What every lock must do, written once and run in every world.
//!
//! A world brings a [`Fixture`]: clients that compete, each in a process of its own, and ways to end and to rob them.
//! All time goes through the clients' own [`Runtime`], so a simulated world runs the same bodies in virtual time.
//! Bounds are generous: they tell *got it because it was given back* from *got it because a lease ran out*, nothing
//! finer.
//!
//! Deliberately absent: faults, and anything that knows Docker or a simulation.

mod any_lock;
mod called;
mod etcd;
mod redlock;
mod shared;

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::Duration;

pub use any_lock::*;
pub use called::*;
pub use etcd::*;
use fencepost::ids::LockName;
use fencepost::lock::runtime::SharedRuntime;
use fencepost::lock::{
    AcquireError, AcquireOptions, DistributedLock, ExtendError, Guard, RedlockSettings, ReleaseOutcome,
};
use fencepost::time::Nanos;
use futures_util::future::{BoxFuture, Either, LocalBoxFuture, select};
pub use redlock::*;
pub use shared::*;
use tokio::sync::oneshot;

/// A lease that no body outlives: whoever gets a lock sooner did not wait for it to run out. A world may grant less to
/// a lease that goes on as long as its client lives, such as a session.
pub const LONG: Duration = Duration::from_secs(30);
/// A lease that a body waits for.
pub const SHORT: Duration = Duration::from_secs(1);
/// How long a lock that is free may take to get, on a machine with other things to do. Well below [`LONG`].
pub const SOON: Duration = Duration::from_secs(10);

/// One lock in one world.
pub trait Fixture {
    /// A new client in a process of its own. It keeps its lease up while it lives; without it the lease ends after
    /// about `lease`.
    fn client(&self, lease: Duration) -> Client;

    /// Ends a client's process: nothing of it runs any more, and nothing that it drops is sent.
    fn crash(&self, client: &Client);

    /// Takes the lock from whoever has it, behind their back.
    fn revoke<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, ()>;

    /// Whether grants carry fencing tokens.
    fn gives_tokens(&self) -> bool;

    /// Whether a hold is a lease with a TTL, and not as long as its session.
    fn has_leases(&self) -> bool {
        true
    }
}

/// What the bodies for Redlock need besides.
pub trait RedlockFixture: Fixture {
    /// A client of a Redlock over five masters of which `stopped`, counted from 0, refuse connections, and the names of
    /// those.
    fn redlock(&self, stopped: Range<usize>, settings: RedlockSettings) -> (Client, Vec<String>);

    /// On how many masters somebody holds the name.
    fn holders<'a>(&'a self, name: &'a LockName) -> LocalBoxFuture<'a, usize>;

    /// Has one master, counted from 0, forget who holds the name.
    fn forget<'a>(&'a self, master: usize, name: &'a LockName) -> LocalBoxFuture<'a, ()>;

    /// What becomes from now on of what the client and the masters send to each other.
    fn links(&self, client: &Client, fate: Fate);
}

/// What becomes of what a client and the masters send to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Open,
    /// Requests arrive, answers do not.
    NoAnswers,
    /// Nothing arrives, and connections break.
    Cut,
}

/// A client that competes for locks, in a process of its own.
#[derive(Clone)]
pub struct Client {
    /// What its world knows it by.
    pub id: usize,
    /// Its lock.
    pub lock: Arc<dyn DistributedLock>,
    /// Its process's clock and tasks.
    pub runtime: SharedRuntime,
}

impl Client {
    /// Starts `work` in the client's process, at once; the future waits for the result. Panics if the process ends.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
        let (done, result) = oneshot::channel();
        self.runtime.spawn(Box::pin(async move { drop(done.send(work.await)) }));
        Box::pin(async move { result.await.expect("the process lives until its work is done") })
    }

    /// Tries to acquire for `wait`.
    pub fn acquire(&self, name: &LockName, wait: Duration) -> BoxFuture<'static, Result<Held, AcquireError>> {
        self.acquire_as(name, AcquireOptions::within(wait))
    }

    /// Tries to acquire as `options` say.
    pub fn acquire_as(
        &self,
        name: &LockName,
        options: AcquireOptions,
    ) -> BoxFuture<'static, Result<Held, AcquireError>> {
        let (client, name) = (self.clone(), name.clone());
        self.run(async move {
            let guard = client.lock.acquire(&name, &options).await?;
            Ok(Held { guard: Some(guard), client })
        })
    }

    /// Makes one attempt.
    pub fn try_acquire(&self, name: &LockName) -> BoxFuture<'static, Result<Option<Held>, AcquireError>> {
        let (client, name) = (self.clone(), name.clone());
        self.run(async move {
            let guard = client.lock.try_acquire(&name).await?;
            Ok(guard.map(|guard| Held { guard: Some(guard), client }))
        })
    }

    /// Lets time pass.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let runtime = Arc::clone(&self.runtime);
        self.run(async move { runtime.sleep_until(runtime.now() + duration).await })
    }

    /// The process's time.
    pub fn now(&self) -> Nanos {
        self.runtime.now()
    }
}

/// A guard that stays in its client's process: released there, dropped there.
pub struct Held {
    guard: Option<Guard>,
    client: Client,
}

impl Held {
    /// Has the lease last `ttl` from now.
    pub async fn extend(&mut self, ttl: Duration) -> Result<Nanos, ExtendError> {
        let guard = self.guard.take().expect("not released yet");
        let (guard, extended) = self
            .client
            .run(async move {
                let extended = guard.extend(ttl).await;
                (guard, extended)
            })
            .await;
        self.guard = Some(guard);
        extended
    }

    /// Gives the lock back.
    pub async fn release(mut self) -> ReleaseOutcome {
        let guard = self.guard.take().expect("released once");
        self.client.run(guard.release()).await
    }
}

impl Deref for Held {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        self.guard.as_ref().expect("not released yet")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let guard = self.guard.take();
        self.client.runtime.spawn(Box::pin(async move { drop(guard) }));
    }
}

/// The result of `work`, or `None` if it takes longer than `limit` by the client's clock; then it is dropped.
pub async fn within<T>(runtime: &SharedRuntime, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let work = std::pin::pin!(work);
    match select(work, runtime.sleep_until(runtime.now() + limit)).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

/// Makes one `#[test]` of each body that holds for any lock. `$run` takes the body and brings the fixture.
#[macro_export]
macro_rules! tests_of_any_lock {
    ($run:path) => {
        $crate::tests_of!($run: acquire_and_release, waits_until_it_is_given_back, one_attempt_on_a_held_lock,
            the_deadline_is_kept, a_crashed_client_loses_its_lock, a_dropped_acquire_leaves_nothing,
            a_dropped_guard_gives_the_lock_back, tokens_rise, with_lock_runs_and_gives_back,
            with_lock_stops_when_the_lock_is_lost, no_increment_is_lost, names_are_kept_apart,
            a_guard_ends_with_the_longest_hold_of_its_call, a_wait_that_is_called_off_leaves_nothing,
            a_ttl_of_one_call_is_kept_or_refused, an_owner_enters_again_and_nobody_else,
            a_loss_is_told_to_all_that_entered,
            many_names_at_once_do_not_wait_for_each_other, of_many_names_none_is_kept_without_the_others,
            one_leads_and_each_term_has_a_higher_epoch);
    };
}

/// Makes one `#[test]` of each body that is about locks that several may hold.
#[macro_export]
macro_rules! tests_of_shared_locks {
    ($run:path) => {
        $crate::tests_of!($run: readers_share_and_a_writer_is_alone, a_writer_gets_through_readers_that_keep_coming,
            a_dead_reader_keeps_no_writer_out, as_many_hold_as_there_are_permits, the_permit_of_the_dead_comes_back);
    };
}

/// Makes one `#[test]` of each body that is about Redlock.
#[macro_export]
macro_rules! tests_of_redlock {
    ($run:path) => {
        $crate::tests_of!($run: a_stopped_minority_does_not_matter, without_a_quorum_the_stopped_are_named,
            a_release_after_the_ttl_says_so, a_release_after_another_has_it_says_so, tokens_rise_through_any_majority,
            a_token_takes_votes_that_last, a_release_reaches_every_master, a_release_that_nobody_answered_is_repeated,
            an_acquire_that_nobody_answered_is_taken_back, a_renewal_wins_back_masters_that_forgot,
            a_forgotten_guard_ends, an_extension_moves_the_validity_and_lasts, what_has_lapsed_is_not_extended,
            without_a_majority_nothing_is_extended, who_waits_is_served_in_the_order_of_coming,
            a_call_that_is_lost_does_not_matter, the_dead_and_the_gone_are_passed_over);
    };
}

/// Makes one `#[test]` of each named body.
#[macro_export]
macro_rules! tests_of {
    ($run:path: $($body:ident),*) => { $(
        #[test]
        fn $body() {
            $run(async |fixture| $crate::lock_suite::$body(fixture).await);
        }
    )* };
}
