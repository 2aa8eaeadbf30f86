//! A session and the deadline until which it may be believed.
//!
//! The ensemble ends a session when its leader has not heard of it for the session timeout. The client must stop
//! believing *before* that, while it may be unable to reach anybody. What it can know: a round trip through the leader
//! that it sent at `t` and that was answered. Followers tell the leader of their clients' signs of life in batches,
//! every half tick, over the same ordered connection that carries our round trip; so an answer proves that the leader
//! has heard of everything the follower had seen by the *previous* one. Hence the rule: a session is good for the
//! session timeout, less 1 % drift and 2 ms, from the sending of the last-but-one acknowledged round trip.
//! (A read would not do: a follower that is cut off from its leader answers reads until it notices.)

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::FutureExt;
use tokio::sync::watch;

use crate::lock::backend::{SessionState, ZkSession};
use crate::lock::error::{LostReason, ZkError};
use crate::lock::runtime::SharedRuntime;
use crate::time::Nanos;

/// Round trips per session timeout. Ten keep the deadline close to what the ensemble would grant, at little cost.
const ROUND_TRIPS_PER_TIMEOUT: u32 = 10;

/// How long the session may be believed, as known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lock) struct SessionValidity {
    pub until: Nanos,
    pub suspect: bool,
    pub lost: Option<LostReason>,
}

/// A session with its own deadline, kept true by round trips in the background for as long as anybody uses it.
pub(in crate::lock) struct KeptSession {
    pub session: Arc<dyn ZkSession>,
    runtime: SharedRuntime,
    validity: watch::Sender<SessionValidity>,
}

impl KeptSession {
    /// Keeps a session whose connect request was sent at `connecting`.
    pub fn keep(session: Arc<dyn ZkSession>, connecting: Nanos, runtime: SharedRuntime) -> Arc<Self> {
        let until = valid_until(connecting, session.timeout());
        let validity = watch::Sender::new(SessionValidity { until, suspect: false, lost: None });
        let kept = Arc::new(Self { session, runtime: Arc::clone(&runtime), validity });
        runtime.spawn(confirm(Arc::downgrade(&kept), connecting, Arc::clone(&runtime)).boxed());
        runtime.spawn(follow_state(Arc::downgrade(&kept), kept.session.state()).boxed());
        kept
    }

    /// Until when the session may be believed.
    pub fn valid_until(&self) -> Nanos {
        self.validity.borrow().until
    }

    /// Follows the validity.
    pub fn validity(&self) -> watch::Receiver<SessionValidity> {
        self.validity.subscribe()
    }

    /// Why the session may no longer be believed, if so. Once lost it stays lost.
    pub fn lost(&self) -> Option<LostReason> {
        if self.validity.borrow().lost.is_none() && self.runtime.now() >= self.valid_until() {
            self.lose(LostReason::Expired);
        }
        self.validity.borrow().lost.clone()
    }

    /// Completes when the session may no longer be believed.
    pub async fn ended(&self) -> LostReason {
        let mut validity = self.validity.subscribe();
        loop {
            if let Some(reason) = self.lost() {
                return reason;
            }
            let until = validity.borrow_and_update().until;
            // The sender lives in self, so waiting cannot fail.
            let _ = crate::lock::runtime::before(&*self.runtime, until, validity.changed()).await;
        }
    }

    /// Takes note that the ensemble, or the client library, called the session over. The state may not have been followed
    /// yet; whoever asks next must get another session and not this one again.
    pub fn called_over(&self, reason: &str) {
        self.lose(LostReason::SessionEnded(reason.to_owned()));
    }

    fn lose(&self, reason: LostReason) {
        self.validity.send_modify(|validity| {
            validity.lost.get_or_insert(reason);
        });
    }

    /// Moves the deadline on after an answer, unless it had passed: a lapsed session is not revived.
    fn confirmed(&self, last_but_one: Nanos) {
        if self.lost().is_none() {
            let until = valid_until(last_but_one, self.session.timeout());
            self.validity.send_modify(|validity| {
                validity.until = validity.until.max(until);
                validity.suspect = false;
            });
        }
    }
}

fn valid_until(sent: Nanos, timeout: Duration) -> Nanos {
    (sent + timeout).saturating_sub(timeout / 100 + Duration::from_millis(2))
}

/// Sends round trips until the session is lost or nobody uses it any more.
async fn confirm(kept: Weak<KeptSession>, connecting: Nanos, runtime: SharedRuntime) {
    let mut last = connecting;
    loop {
        // Between two round trips nothing here may keep the session open.
        let Some(session) = kept.upgrade() else { return };
        let sent = runtime.now();
        tokio::select! {
            biased;
            answer = session.session.sync("/") => match answer {
                Ok(()) => {
                    session.confirmed(last);
                    last = sent;
                }
                Err(ZkError::SessionEnded(reason)) => session.lose(LostReason::SessionEnded(reason)),
                // Without connection. The state says so, and the next round trip waits for a new one.
                Err(_) => {}
            },
            _ = session.ended() => {}
        }
        if session.lost().is_some() {
            return;
        }
        let pause = session.session.timeout() / ROUND_TRIPS_PER_TIMEOUT;
        drop(session);
        runtime.sleep_until(sent + pause).await;
    }
}

/// Passes on what the client library says of the connection.
async fn follow_state(kept: Weak<KeptSession>, mut state: watch::Receiver<SessionState>) {
    loop {
        let seen = state.borrow_and_update().clone();
        let Some(session) = kept.upgrade() else { return };
        match seen {
            // Only an answered round trip lifts the suspicion.
            SessionState::Connected => {}
            SessionState::Disconnected => session.validity.send_modify(|validity| validity.suspect = true),
            SessionState::Ended(reason) => return session.lose(LostReason::SessionEnded(reason)),
        }
        drop(session);
        if state.changed().await.is_err() {
            return;
        }
    }
}
