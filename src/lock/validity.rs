//! Until when a client may believe in what its lock lives by, a session or a lease, and why no longer.
//!
//! The deadline moves on with each answer of the servers that proves it, and never after it has passed: what has lapsed
//! is not revived. Deliberately absent: what proves how much, which differs between backends.

use std::time::Duration;

use tokio::sync::watch;

use super::error::LostReason;
use super::guard::Hold;
use super::runtime::{SharedRuntime, before};
use crate::time::Nanos;

/// What is known now.
#[derive(Clone)]
struct Known {
    until: Nanos,
    /// The servers may not have heard of the client of late.
    suspect: bool,
    lost: Option<LostReason>,
}

/// The deadline of a session or a lease, and whoever waits for it.
pub(in crate::lock) struct Validity {
    runtime: SharedRuntime,
    known: watch::Sender<Known>,
}

/// Until when a lease or session of `length` may be believed that was asked for, or proven alive, at `sent`: clocks may
/// drift apart by 1 %, and Redis expires keys with a precision of a millisecond; 2 ms allow for that, as Redlock's text
/// does.
pub(in crate::lock) fn valid_until(sent: Nanos, length: Duration) -> Nanos {
    (sent + length).saturating_sub(length / 100 + Duration::from_millis(2))
}

impl Validity {
    pub fn new(until: Nanos, runtime: SharedRuntime) -> Self {
        Self { runtime, known: watch::Sender::new(Known { until, suspect: false, lost: None }) }
    }

    /// Until when it may be believed.
    pub fn until(&self) -> Nanos {
        self.known.borrow().until
    }

    fn subscribe(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Why it may no longer be believed, if so. Once lost it stays lost.
    pub fn lost(&self) -> Option<LostReason> {
        if self.known.borrow().lost.is_none() && self.runtime.now() >= self.until() {
            self.lose(LostReason::Expired);
        }
        self.known.borrow().lost.clone()
    }

    /// Completes when it may no longer be believed.
    pub async fn ended(&self) -> LostReason {
        let mut known = self.known.subscribe();
        loop {
            if let Some(reason) = self.lost() {
                return reason;
            }
            let until = known.borrow_and_update().until;
            // The sender lives in self, so waiting cannot fail.
            let _ = before(&*self.runtime, until, known.changed()).await;
        }
    }

    /// Ends it, if it has not ended before for another reason.
    pub fn lose(&self, reason: LostReason) {
        self.known.send_modify(|known| {
            known.lost.get_or_insert(reason);
        });
    }

    /// Takes note that the servers may not hear of the client.
    pub fn suspect(&self) {
        self.known.send_modify(|known| known.suspect = true);
    }

    /// Moves the deadline on after an answer, unless it had passed.
    pub fn move_on(&self, until: Nanos) {
        if self.lost().is_none() {
            self.known.send_modify(|known| {
                known.until = known.until.max(until);
                known.suspect = false;
            });
        }
    }

    /// Keeps a hold true until it is over: passes on what is known, and ends it when it is `gone` from the servers, or
    /// at `last_end`. Then it is given back here, since nobody may ever come to do that.
    pub async fn follow(
        &self,
        hold: &Hold,
        gone: impl Future<Output = &'static str>,
        last_end: Nanos,
        give_back: impl Future<Output = ()>,
    ) {
        let mut known = self.subscribe();
        let mut gone = std::pin::pin!(gone);
        loop {
            let now = known.borrow_and_update().clone();
            match now.lost {
                Some(reason) => return hold.lose(reason),
                None => hold.follow(now.until, now.suspect, last_end),
            }
            tokio::select! {
                biased;
                () = hold.over() => return,
                what = &mut gone => return hold.lose(LostReason::Revoked(what.to_owned())),
                () = self.runtime.sleep_until(last_end), if last_end < Nanos(u64::MAX) => {
                    hold.end();
                    return give_back.await;
                }
                // The sender lives in self, so waiting cannot fail.
                _ = known.changed() => {}
            }
        }
    }
}
