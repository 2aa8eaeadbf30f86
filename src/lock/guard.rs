//! The proof that a lock is held, and for how long it may be believed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::error::{LostReason, ReleaseOutcome};
use super::runtime::{SharedRuntime, before};
use crate::ids::{FencingToken, LockName};
use crate::time::Nanos;

/// What is known of a hold's validity at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Until when the hold is safe to believe in.
    pub until: Nanos,
    /// Whether the servers are out of reach, so that `until` may not be extended any more.
    pub suspect: bool,
    /// Set once, when the hold ended without release.
    pub lost: Option<LostReason>,
    /// Whether the client has given it back: background work for it stops.
    pub released: bool,
}

/// The state that a guard shares with the background work that keeps it true.
pub(crate) struct Hold {
    validity: watch::Sender<Validity>,
}

impl Hold {
    pub(crate) fn new(until: Nanos) -> Arc<Self> {
        let validity = Validity { until, suspect: false, lost: None, released: false };
        Arc::new(Self { validity: watch::Sender::new(validity) })
    }

    pub(crate) fn validity(&self) -> Validity {
        self.validity.borrow().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Validity)) {
        self.validity.send_modify(change);
    }

    /// Ends the hold; the first reason stays.
    pub(crate) fn lose(&self, reason: LostReason) {
        self.update(|validity| {
            validity.lost.get_or_insert(reason);
        });
    }

    /// Completes when the client has given the lock back or has lost it: background work for it stops.
    pub(crate) async fn over(&self) {
        let mut validity = self.validity.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = validity.wait_for(|validity| validity.released || validity.lost.is_some()).await;
    }
}

/// Whether a guard may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// Held.
    Held,
    /// Held as far as anybody can know, but the servers are out of reach: wind up.
    Suspect,
    /// No longer held.
    Lost(LostReason),
}

/// Gives the lock back at the servers.
pub(crate) type Release = Box<dyn FnOnce() -> BoxFuture<'static, ReleaseOutcome> + Send + Sync>;

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
}

impl Guard {
    pub(crate) fn new(
        name: LockName,
        token: Option<FencingToken>,
        hold: Arc<Hold>,
        runtime: SharedRuntime,
        release: Release,
    ) -> Self {
        Self { name, token, hold, runtime, release: Some(release) }
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
        let validity = self.hold.validity();
        match validity.lost {
            Some(reason) => GuardState::Lost(reason),
            None if self.runtime.now() >= validity.until => GuardState::Lost(LostReason::Expired),
            None if validity.suspect => GuardState::Suspect,
            None => GuardState::Held,
        }
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

    /// Gives the lock back and says how that went.
    pub async fn release(mut self) -> ReleaseOutcome {
        self.hold.update(|validity| validity.released = true);
        match self.release.take() {
            Some(release) => release().await,
            None => ReleaseOutcome::AlreadyExpired,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            self.hold.update(|validity| validity.released = true);
            let released = release();
            self.runtime.spawn(Box::pin(async move {
                released.await;
            }));
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
