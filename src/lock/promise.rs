//! What a guard promises at a moment, and how to follow it.
//!
//! Deliberately absent: the guard, and who changes what it promises.

use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;

use super::error::LostReason;
use super::runtime::{SharedRuntime, before};
use crate::time::Nanos;

/// What is known of a hold's validity at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// Until when the hold is safe to believe in.
    pub until: Nanos,
    /// Whether the servers are out of reach, so that `until` may not be extended any more.
    pub suspect: bool,
    /// What it will be lost by when `until` has come.
    pub at_end: LostReason,
    /// Set once, when the hold ended without release.
    pub lost: Option<LostReason>,
    /// Whether the client has given it back: background work for it stops.
    pub released: bool,
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

/// What a guard promises at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Until when the hold is valid as far as was known then.
    pub valid_until: Nanos,
    /// Whether the guard could be believed then.
    pub state: GuardState,
}

impl Promise {
    pub(super) fn of(validity: Validity, now: Nanos) -> Self {
        let Validity { until, suspect, at_end, lost, .. } = validity;
        let state = match lost {
            Some(reason) => GuardState::Lost(reason),
            None if now >= until => GuardState::Lost(at_end),
            None if suspect => GuardState::Suspect,
            None => GuardState::Held,
        };
        Self { valid_until: until, state }
    }
}

/// Follows what a guard promises: each renewal, each suspicion, and the loss, which is the last thing it tells.
///
/// Like [`super::Guard::lost`] it needs no server to tell of a validity that is over. Changes that nobody looked at are
/// told once, as they are when somebody looks. It holds nothing: the guard is released as if nobody followed it.
pub struct Promises {
    validity: watch::Receiver<Validity>,
    runtime: SharedRuntime,
    latest: Promise,
}

impl Promises {
    /// Follows `validity`; `latest` is what the guard promises now.
    pub(super) fn new(validity: watch::Receiver<Validity>, runtime: SharedRuntime, latest: Promise) -> Self {
        Self { validity, runtime, latest }
    }

    /// The promise that was told last: at first, the one in force when following began.
    pub fn latest(&self) -> &Promise {
        &self.latest
    }

    /// Completes with the guard's promise as soon as it is another one than the last that was told; `None` after the
    /// loss or the release. Nothing is missed if the future is dropped.
    pub async fn next(&mut self) -> Option<Promise> {
        loop {
            if matches!(self.latest.state, GuardState::Lost(_)) {
                return None;
            }
            let validity = self.validity.borrow_and_update().clone();
            if validity.released {
                return None;
            }
            let promise = Promise::of(validity, self.runtime.now());
            if promise != self.latest {
                self.latest = promise.clone();
                return Some(promise);
            }
            // Changed, or over: look again. Without sender there is no guard any more.
            if let Some(Err(_)) = before(&*self.runtime, promise.valid_until, self.validity.changed()).await {
                return None;
            }
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Promise> + Send {
        unfold(self, async |mut promises| Some((promises.next().await?, promises)))
    }

    /// Whether the guard may be believed, as a stream: what it is now, then each change to suspect, back to held, and
    /// to lost, which comes last. Renewals, which change no more than the end of validity, are left out.
    pub fn states(self) -> impl Stream<Item = GuardState> + Send {
        unfold((self, None::<GuardState>), async |(mut promises, told)| {
            let mut state = promises.latest().state.clone();
            while told.as_ref() == Some(&state) {
                state = promises.next().await?.state;
            }
            Some((state.clone(), (promises, Some(state))))
        })
    }
}
