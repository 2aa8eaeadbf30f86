//! A session and the deadline until which it may be believed.
//!
//! The ensemble ends a session when its leader has not heard of it for the session timeout. The client must stop
//! believing *before* that, while it may be unable to reach anybody. What it can know: a round trip through the leader
//! that it sent and that was answered. Followers tell the leader of their clients' signs of life in batches, every half
//! tick, over the same ordered connection that carries our round trip; so an answer proves that the leader has heard of
//! what the follower had seen half a tick before it was asked. Hence the rule: when a round trip is answered, the
//! session is good for the session timeout, less 1 % drift and 2 ms, from the sending of the latest one that had been
//! answered half a tick before this one was sent, and an eighth for what delays a batch.
//! (A read would not do: a follower that is cut off from its leader answers reads until it notices.)

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use crate::lock::backend::{SessionState, ZkConnector, ZkSession};
use crate::lock::error::{AttemptReport, LostReason, NodeOutcome, NodeReport, ZkError};
use crate::lock::opener::{Opener, Slot};
use crate::lock::runtime::SharedRuntime;
use crate::lock::stops::Stops;
use crate::lock::validity::{Validity, valid_until};
use crate::phase::Phase;
use crate::time::Nanos;

/// The session of one lock, opened when needed by a task of its own, and what a look at the servers shows meanwhile.
pub(in crate::lock) struct Sessions {
    connector: Arc<dyn ZkConnector>,
    runtime: SharedRuntime,
    /// The ensemble's tick, if it is known.
    tick: Option<Duration>,
    slot: Slot<Arc<KeptSession>, ZkError>,
    seen: Mutex<AttemptReport>,
}

/// How long opening a session may take before somebody looks what is wrong.
const LOOK_AFTER: Duration = Duration::from_millis(20);
/// The pause before the next look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Sessions {
    pub fn new(connector: Arc<dyn ZkConnector>, tick: Option<Duration>, runtime: SharedRuntime) -> Arc<Self> {
        Arc::new(Self { connector, runtime, tick, slot: Slot::default(), seen: Mutex::default() })
    }

    /// What a look at the servers showed when opening the session took long; empty if nobody looked.
    pub fn seen(&self) -> AttemptReport {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn look(&self) -> Infallible {
        let mut due = self.runtime.now() + LOOK_AFTER;
        loop {
            self.runtime.sleep_until(due).await;
            let started = self.runtime.now();
            let (servers, looks): (Vec<_>, Vec<_>) = self.connector.look().into_iter().unzip();
            if servers.is_empty() {
                return std::future::pending().await;
            }
            let silent = |node| NodeReport { node, outcome: NodeOutcome::Silent, latency: Duration::ZERO };
            // What the last look showed stands until this one shows something.
            let mut seen: Vec<NodeReport> = servers.into_iter().map(silent).collect();
            let numbered = |(number, look): (usize, BoxFuture<'static, _>)| look.map(move |outcome| (number, outcome));
            let mut looks: FuturesUnordered<_> = looks.into_iter().enumerate().map(numbered).collect();
            while let Some((number, outcome)) = looks.next().await {
                let latency = self.runtime.now() - started;
                seen[number] = NodeReport { outcome, latency, ..seen[number].clone() };
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = AttemptReport(seen.clone());
            }
            due = self.runtime.now() + LOOK_AGAIN;
        }
    }
}

impl Opener for Sessions {
    type Connection = Arc<KeptSession>;
    type Error = ZkError;

    fn slot(&self) -> &Slot<Arc<KeptSession>, ZkError> {
        &self.slot
    }

    fn now(&self) -> Nanos {
        self.runtime.now()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Arc<KeptSession>, ZkError>> {
        async move {
            let connecting = self.runtime.now();
            let opened = tokio::select! {
                biased;
                opened = self.connector.connect() => opened?,
                never = self.look() => match never {},
            };
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = AttemptReport::default();
            Ok(KeptSession::keep(opened, connecting, self.tick, Arc::clone(&self.runtime)))
        }
        .boxed()
    }

    fn is_good(&self, kept: &Arc<KeptSession>) -> bool {
        kept.validity.lost().is_none()
    }

    // The session is closed when its last contender is through, and what it may have left behind goes with it.
    fn close(&self, _: &Arc<KeptSession>) {}
}

/// Round trips per session timeout. Ten keep the deadline close to what the ensemble would grant, at little cost.
const ROUND_TRIPS_PER_TIMEOUT: u32 = 10;

/// A session with its own deadline, kept true by round trips in the background for as long as anybody uses it.
pub(in crate::lock) struct KeptSession {
    pub session: Arc<dyn ZkSession>,
    pub validity: Validity,
    /// Where the holds that live by this session can be stopped, in trials.
    stops: Mutex<Vec<Weak<Stops>>>,
}

impl KeptSession {
    /// Keeps a session whose connect request was sent at `connecting`, with an ensemble of this tick.
    pub fn keep(
        session: Arc<dyn ZkSession>,
        connecting: Nanos,
        tick: Option<Duration>,
        runtime: SharedRuntime,
    ) -> Arc<Self> {
        let validity = Validity::new(valid_until(connecting, session.timeout()), Arc::clone(&runtime));
        let kept = Arc::new(Self { session, validity, stops: Mutex::default() });
        let trips = Trips::new(kept.session.timeout(), tick, connecting);
        runtime.spawn(confirm(Arc::downgrade(&kept), trips, Arc::clone(&runtime)).boxed());
        runtime.spawn(follow_state(Arc::downgrade(&kept), kept.session.state()).boxed());
        kept
    }

    /// Stops at `stops`, for as long as they are there, while a round trip is on its way.
    pub fn stop_at(&self, stops: &Arc<Stops>) {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(stops));
    }

    /// Announces that a round trip is on its way, by which each hold of this session lives on.
    async fn renewing(&self) {
        let stops: Vec<Arc<Stops>> = {
            let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
            stops.retain(|stops| stops.strong_count() > 0);
            stops.iter().filter_map(Weak::upgrade).collect()
        };
        for stops in stops {
            stops.reached(Phase::Renewing).await;
        }
    }

    /// Takes note that the ensemble, or the client library, called the session over. The state may not have been
    /// followed yet; whoever asks next must get another session and not this one again.
    pub fn called_over(&self, reason: &str) {
        self.validity.lose(LostReason::SessionEnded(reason.to_owned()));
    }
}

/// Round trips that were answered, and from when on the leader is known to have heard of the session.
struct Trips {
    /// How long a follower may keep to itself what it has seen.
    untold: Duration,
    /// When those were sent and answered that came after what the leader is known to have heard of.
    answered: VecDeque<(Nanos, Nanos)>,
    /// The sending of the latest that the leader is known to have heard of.
    heard: Nanos,
}

impl Trips {
    /// The leader itself has opened the session, when it was asked at `connecting`.
    fn new(timeout: Duration, tick: Option<Duration>, connecting: Nanos) -> Self {
        // A session timeout has two ticks at least, unless the servers were told otherwise.
        let tick = tick.unwrap_or(timeout / 2);
        Self { untold: tick / 2 + tick / 8, answered: VecDeque::new(), heard: connecting }
    }

    /// One that was sent at `sent` is answered at `now`: from when on the leader has heard of the session.
    fn answered(&mut self, sent: Nanos, now: Nanos) -> Nanos {
        while let Some((earlier, told)) = self.answered.front().copied()
            && told + self.untold <= sent
        {
            self.heard = earlier;
            self.answered.pop_front();
        }
        self.answered.push_back((sent, now));
        self.heard
    }
}

/// Sends round trips until the session is lost or nobody uses it any more.
async fn confirm(kept: Weak<KeptSession>, mut trips: Trips, runtime: SharedRuntime) {
    loop {
        // Between two round trips nothing here may keep the session open.
        let Some(session) = kept.upgrade() else { return };
        let sent = runtime.now();
        let mut round_trip = session.session.sync("/");
        // The first poll sends it.
        let early = (&mut round_trip).now_or_never();
        session.renewing().await;
        let answer = async {
            match early {
                Some(answer) => answer,
                None => round_trip.await,
            }
        };
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(()) => {
                    let heard = trips.answered(sent, runtime.now());
                    session.validity.move_on(valid_until(heard, session.session.timeout()));
                }
                Err(ZkError::SessionEnded(reason)) => session.validity.lose(LostReason::SessionEnded(reason)),
                // Without connection. The state says so, and the next round trip waits for a new one.
                Err(_) => {}
            },
            _ = session.validity.ended() => {}
        }
        if session.validity.lost().is_some() {
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
            SessionState::Disconnected => session.validity.suspect(),
            SessionState::Ended(reason) => return session.validity.lose(LostReason::SessionEnded(reason)),
        }
        drop(session);
        if state.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What was heard of after each of these round trips, sent and answered at these milliseconds.
    fn heard(timeout: u32, tick: Option<u32>, trips: &[(u64, u64)]) -> Vec<u64> {
        let at = |ms: u64| Nanos(ms * 1_000_000);
        let mut kept = Trips::new(timeout * MS, tick.map(|tick| tick * MS), at(0));
        trips.iter().map(|(sent, now)| kept.answered(at(*sent), at(*now)).0 / 1_000_000).collect()
    }

    #[test]
    fn an_answer_proves_what_the_follower_had_seen_half_a_tick_and_more_before() {
        // Farther apart than a follower is silent: the last but one.
        assert_eq!(heard(2_000, Some(200), &[(200, 201), (400, 401), (600, 601)]), [0, 200, 400]);
        // Closer together: an earlier one.
        let close = [(60, 61), (120, 121), (180, 181), (240, 241), (300, 301)];
        assert_eq!(heard(600, Some(200), &close), [0, 0, 0, 60, 120]);
        // A slow answer counts from when it came: until then the follower may not have seen it.
        assert_eq!(heard(2_000, Some(200), &[(200, 390), (400, 401), (600, 601)]), [0, 0, 400]);
        // Of an unknown tick half of the timeout is the most there is.
        assert_eq!(
            heard(400, None, &[(40, 41), (120, 121), (200, 201)]),
            heard(400, Some(200), &[(40, 41), (120, 121), (200, 201)])
        );
    }
}
