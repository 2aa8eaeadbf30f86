//! The proof that a lock is held, and for how long it may be believed.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::Stream;
use tokio::sync::watch;

use super::error::{ExtendError, LostReason, ReleaseOutcome};
use super::promise::{GuardState, Promise, Promises, Validity};
use super::runtime::{SharedRuntime, before};
use super::trace;
use crate::ids::{FencingToken, LockName};
use crate::time::Nanos;

/// The validity of a hold whose lock shows none: it is believed until the lock says otherwise.
#[cfg(feature = "harness")]
pub(crate) const UNSTATED: Nanos = Nanos(u64::MAX);

/// The state that a guard shares with the background work that keeps it true.
pub(crate) struct Hold {
    validity: watch::Sender<Validity>,
    /// Of which lock, once there is a guard.
    name: OnceLock<LockName>,
    /// Whether its loss was told to `tracing`.
    loss_told: AtomicBool,
}

impl Hold {
    #[cfg(any(test, feature = "harness"))]
    pub(crate) fn new(until: Nanos) -> Arc<Self> {
        Self::ending(until, Nanos(u64::MAX))
    }

    /// A hold that is valid until `until`, and that nothing can make valid beyond `last_end`.
    pub(crate) fn ending(until: Nanos, last_end: Nanos) -> Arc<Self> {
        let hold = Self {
            validity: watch::Sender::new(Validity {
                until,
                suspect: false,
                at_end: LostReason::Expired,
                lost: None,
                released: false,
            }),
            name: OnceLock::new(),
            loss_told: AtomicBool::new(false),
        };
        hold.extend(until, last_end);
        Arc::new(hold)
    }

    /// Moves the end of validity, but not beyond `last_end`; lifts a suspicion.
    pub(crate) fn extend(&self, until: Nanos, last_end: Nanos) {
        self.follow(until, false, last_end);
    }

    /// Moves the end of validity, but not beyond `last_end`, and says whether the servers are out of reach.
    pub(crate) fn follow(&self, until: Nanos, suspect: bool, last_end: Nanos) {
        self.update(|validity| {
            validity.until = until.min(last_end);
            validity.suspect = suspect;
            validity.at_end = if until >= last_end { LostReason::HeldTooLong } else { LostReason::Expired };
        });
    }

    pub(crate) fn validity(&self) -> Validity {
        self.validity.borrow().clone()
    }

    /// Changes what is known; whoever follows it is woken only if that makes a difference.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Validity)) {
        self.validity.send_if_modified(|validity| {
            let before = validity.clone();
            change(validity);
            *validity != before
        });
    }

    /// Ends the hold; the first reason stays.
    pub(crate) fn lose(&self, reason: LostReason) {
        self.lost_by(|_| reason);
    }

    /// Ends the hold because its validity is over.
    pub(crate) fn end(&self) {
        self.lost_by(|validity| validity.at_end.clone());
    }

    fn lost_by(&self, reason: impl FnOnce(&Validity) -> LostReason) {
        let mut told = None;
        self.update(|validity| {
            if validity.lost.is_none() {
                let reason = reason(validity);
                told = (!validity.released).then(|| reason.clone());
                validity.lost = Some(reason);
            }
        });
        if let Some(reason) = told {
            self.tell_loss(&reason);
        }
    }

    /// Tells `tracing` of the loss, once: by whoever sees it first, background work or who asks the guard.
    fn tell_loss(&self, reason: &LostReason) {
        if let Some(name) = self.name.get()
            && !self.loss_told.swap(true, Ordering::Relaxed)
        {
            trace::lost(name.as_str(), reason);
        }
    }

    /// Why the hold is over at `now`, if it is.
    pub(crate) fn lost_at(&self, now: Nanos) -> Option<LostReason> {
        match Promise::of(self.validity(), now).state {
            GuardState::Lost(reason) => Some(reason),
            GuardState::Held | GuardState::Suspect => None,
        }
    }

    /// Completes when the client has given the lock back or has lost it: background work for it stops.
    pub(crate) async fn over(&self) {
        let mut validity = self.validity.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = validity.wait_for(|validity| validity.released || validity.lost.is_some()).await;
    }
}

/// Asks the lock itself about a hold, and changes what is known of it.
#[cfg(feature = "harness")]
pub(crate) type Question = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Gives the lock back at the servers.
pub(crate) type Release = Box<dyn FnOnce() -> BoxFuture<'static, ReleaseOutcome> + Send + Sync>;

/// Moves the end of validity on at the servers, to a TTL from now: until when the hold is valid then.
pub(crate) type Extension = Box<dyn Fn(Duration) -> BoxFuture<'static, Result<Nanos, ExtendError>> + Send + Sync>;

/// The only proof that a lock is held. Not `Clone`; dropping it releases the lock in the background.
///
/// The proof ends by itself: after [`Guard::valid_until`] nobody may rely on it, whether or not anyone looked.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct Guard {
    name: LockName,
    token: Option<FencingToken>,
    hold: Arc<Hold>,
    runtime: SharedRuntime,
    release: Option<Release>,
    extension: Option<Extension>,
    #[cfg(feature = "harness")]
    question: Option<Question>,
}

impl Guard {
    pub(crate) fn new(
        name: LockName,
        token: Option<FencingToken>,
        hold: Arc<Hold>,
        runtime: SharedRuntime,
        release: Release,
    ) -> Self {
        // A second guard of one hold would be of the same lock.
        let _ = hold.name.set(name.clone());
        Self {
            name,
            token,
            hold,
            runtime,
            release: Some(release),
            extension: None,
            #[cfg(feature = "harness")]
            question: None,
        }
    }

    /// The same, whose validity can be moved on.
    pub(crate) fn extended_by(mut self, extension: Extension) -> Self {
        self.extension = Some(extension);
        self
    }

    /// The same for a lock that has to be asked whether the hold is valid.
    #[cfg(feature = "harness")]
    pub(crate) fn asking(mut self, question: Question) -> Self {
        self.question = Some(question);
        self
    }

    /// What it shares with the background work for it.
    #[cfg(feature = "harness")]
    pub(crate) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// Whether the hold is valid at this moment, by the word of the lock itself where it has to be asked.
    #[cfg(feature = "harness")]
    pub(crate) async fn confirmed(&self) -> bool {
        if let (true, Some(question)) = (self.is_valid(), &self.question) {
            question().await;
        }
        self.is_valid()
    }

    /// The same guard, whose release is `wrap`'s.
    pub(crate) fn around(mut self, wrap: impl FnOnce(Release) -> Release) -> Self {
        self.release = self.release.take().map(wrap);
        self
    }

    /// What is held.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// The fencing token of this grant, for locks that have one: give it to the protected resource with every access.
    pub fn token(&self) -> Option<FencingToken> {
        self.token
    }

    /// Until when the hold is valid as far as is known now. Renewal moves it on.
    pub fn valid_until(&self) -> Nanos {
        self.hold.validity().until
    }

    /// How much of the validity is left.
    pub fn remaining(&self) -> Duration {
        self.valid_until() - self.runtime.now()
    }

    /// Whether the hold is valid at this moment. Look before each access: it costs no round trip.
    pub fn is_valid(&self) -> bool {
        !matches!(self.state(), GuardState::Lost(_))
    }

    /// Whether the guard may be believed at this moment.
    pub fn state(&self) -> GuardState {
        self.promise().state
    }

    fn promise(&self) -> Promise {
        let promise = Promise::of(self.hold.validity(), self.runtime.now());
        if let GuardState::Lost(reason) = &promise.state {
            self.hold.tell_loss(reason);
        }
        promise
    }

    /// Follows what the guard promises, from what it promises now.
    pub fn promises(&self) -> Promises {
        Promises::new(self.hold.validity.subscribe(), Arc::clone(&self.runtime), self.promise())
    }

    /// Completes when the hold is lost. Driven by a timer armed at the deadline of validity, not by a poll, so it
    /// fires although no server can be reached.
    pub async fn lost(&self) -> LostReason {
        let mut validity = self.hold.validity.subscribe();
        loop {
            if let GuardState::Lost(reason) = self.state() {
                return reason;
            }
            let until = validity.borrow_and_update().until;
            // Renewed or ended: look again. The sender lives in self.hold, so waiting cannot fail.
            let _ = before(&*self.runtime, until, validity.changed()).await;
        }
    }

    /// Whether the guard may be believed, as a stream: what it is now, and each change; see [`Promises::states`].
    pub fn states(&self) -> impl Stream<Item = GuardState> + Send + use<> {
        self.promises().states()
    }

    /// Has the lease last `ttl` from now: until when the hold is valid then, which [`Guard::valid_until`] says from now
    /// on as well. Renewals after it give that TTL, too. Never beyond the longest hold.
    ///
    /// The validity moves only when a majority has answered; before that, and after an error that is no loss, it is
    /// what it was. Dropping the future leaves it so, too, and some keys that live longer, until the release.
    ///
    /// # Errors
    /// The hold is lost, it is valid for longer already, no majority has answered, or the lock has no leases.
    pub async fn extend(&self, ttl: Duration) -> Result<Nanos, ExtendError> {
        match (self.state(), &self.extension) {
            (GuardState::Lost(reason), _) => Err(ExtendError::Lost(reason)),
            (_, None) => Err(ExtendError::NoLease),
            (_, Some(extension)) => extension(ttl).await,
        }
    }

    /// Gives the lock back and says how that went.
    pub async fn release(mut self) -> ReleaseOutcome {
        self.hold.update(|validity| validity.released = true);
        let outcome = match self.release.take() {
            Some(release) => release().await,
            None => ReleaseOutcome::AlreadyExpired,
        };
        trace::release(&self.name, &outcome);
        outcome
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            self.hold.update(|validity| validity.released = true);
            let (released, name) = (release(), self.name.clone());
            self.runtime.spawn(Box::pin(async move { trace::release(&name, &released.await) }));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("name", &self.name)
            .field("token", &self.token)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::FutureExt;

    use super::*;
    use crate::lock::runtime::TokioRuntime;
    use crate::seed::Seed;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn guard() -> (Guard, Arc<Hold>, Nanos) {
        let runtime: SharedRuntime = Arc::new(TokioRuntime::new(Seed(1)));
        let until = runtime.now() + HOUR;
        let hold = Hold::new(until);
        let release: Release = Box::new(|| std::future::ready(ReleaseOutcome::Released).boxed());
        (Guard::new(LockName::new("l"), None, Arc::clone(&hold), runtime, release), hold, until)
    }

    #[tokio::test]
    async fn every_change_of_the_promise_is_told_once_and_the_loss_last() {
        let (guard, hold, until) = guard();
        let mut promises = guard.promises();
        let held = |valid_until| Promise { valid_until, state: GuardState::Held };
        assert_eq!(*promises.latest(), held(until));
        hold.update(|validity| validity.until = until);
        assert_eq!(promises.next().now_or_never(), None, "nothing has changed");
        hold.update(|validity| validity.until = until + HOUR);
        assert_eq!(promises.next().await, Some(held(until + HOUR)));
        hold.update(|validity| validity.suspect = true);
        let suspect = Promise { state: GuardState::Suspect, ..held(until + HOUR) };
        assert_eq!(promises.next().await, Some(suspect));
        hold.update(|validity| (validity.suspect, validity.until) = (false, until + 2 * HOUR));
        hold.lose(LostReason::Expired);
        let lost = Promise { state: GuardState::Lost(LostReason::Expired), ..held(until + 2 * HOUR) };
        assert_eq!(promises.next().await, Some(lost), "what nobody looked at is told as it is now");
        assert_eq!(promises.next().now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn states_tell_suspicion_and_loss_and_no_renewal() {
        use futures_util::StreamExt;

        let (guard, hold, until) = guard();
        let mut states = Box::pin(guard.states());
        assert_eq!(states.next().await, Some(GuardState::Held));
        hold.update(|validity| validity.until = until + HOUR);
        assert_eq!(states.next().now_or_never(), None, "a renewal is no change of state");
        hold.update(|validity| validity.suspect = true);
        assert_eq!(states.next().await, Some(GuardState::Suspect));
        hold.update(|validity| validity.suspect = false);
        assert_eq!(states.next().await, Some(GuardState::Held));
        hold.lose(LostReason::Expired);
        assert_eq!(states.next().await, Some(GuardState::Lost(LostReason::Expired)));
        assert_eq!(states.next().await, None);
    }

    #[tokio::test]
    async fn what_is_lost_or_has_no_lease_is_not_extended() {
        let (guard, hold, _) = guard();
        assert_eq!(guard.extend(HOUR).await, Err(ExtendError::NoLease));
        let guard = guard.extended_by(Box::new(|_| std::future::ready(Ok(Nanos(7))).boxed()));
        assert_eq!(guard.extend(HOUR).await, Ok(Nanos(7)));
        hold.lose(LostReason::Expired);
        assert_eq!(guard.extend(HOUR).await, Err(ExtendError::Lost(LostReason::Expired)));
    }

    #[tokio::test]
    async fn a_validity_that_is_over_is_told_without_anybodys_doing() {
        let (guard, hold, until) = guard();
        let mut promises = guard.promises();
        hold.update(|validity| validity.until = until.saturating_sub(2 * HOUR));
        let told = promises.next().await.map(|promise| promise.state);
        assert_eq!(told, Some(GuardState::Lost(LostReason::Expired)));
    }

    #[tokio::test]
    async fn following_ends_with_the_guard() {
        let (released, ..) = guard();
        let mut promises = released.promises();
        assert_eq!(released.release().await, ReleaseOutcome::Released);
        assert_eq!(promises.next().await, None);
        let (dropped, ..) = guard();
        let mut promises = dropped.promises();
        drop(dropped);
        assert_eq!(promises.next().await, None);
    }
}
