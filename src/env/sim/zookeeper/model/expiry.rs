//! When the leader ends which session: expiry in buckets of one tick, on the leader's monotonic clock.
//!
//! A session's time is rounded *up* to the next bucket, so it never ends early, and up to a tick late. After a stop the
//! overdue buckets are emptied one per timer: what arrived meanwhile is read in between, so that a session whose client
//! lives may or may not survive its leader's sleep, as with real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::messages::Refusal;
use crate::ids::NodeId;
use crate::time::Nanos;

#[derive(Clone, Debug)]
struct Tracked {
    /// When it expires.
    bucket: Nanos,
    /// Its end is being agreed on.
    closing: bool,
    /// The server that its client is connected to, once it has asked for something.
    server: Option<NodeId>,
}

/// The sessions of the ensemble, as its leader tracks them.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    tick: Duration,
    sessions: FxHashMap<i64, Tracked>,
    buckets: BTreeMap<Nanos, BTreeSet<i64>>,
}

impl Tracker {
    pub fn new(tick: Duration) -> Self {
        Self { tick, sessions: FxHashMap::default(), buckets: BTreeMap::new() }
    }

    /// The bucket after `now + timeout`.
    fn bucket(&self, now: Nanos, timeout: Duration) -> Nanos {
        let tick = self.tick.as_nanos() as u64;
        Nanos(((now + timeout).0 / tick + 1).saturating_mul(tick))
    }

    /// Begins to track a session, or gives it more time.
    pub fn track(&mut self, now: Nanos, session: i64, timeout: Duration) {
        if !self.sessions.contains_key(&session) {
            let bucket = self.bucket(now, timeout);
            self.sessions.insert(session, Tracked { bucket, closing: false, server: None });
            self.buckets.entry(bucket).or_default().insert(session);
        }
        self.touch(now, session, timeout);
    }

    /// Notes a sign of life: whether the session is alive.
    pub fn touch(&mut self, now: Nanos, session: i64, timeout: Duration) -> bool {
        let bucket = self.bucket(now, timeout);
        let Some(tracked) = self.sessions.get_mut(&session).filter(|tracked| !tracked.closing) else { return false };
        let before = std::mem::replace(&mut tracked.bucket, bucket);
        // Most signs of life come within a tick of the one before.
        if before != bucket {
            self.forget_bucket(before, session);
            self.buckets.entry(bucket).or_default().insert(session);
        }
        true
    }

    /// Notes the server that a session is connected to.
    pub fn set_server(&mut self, session: i64, server: NodeId) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.server = Some(server);
        }
    }

    /// Whether a session may ask for something by way of `server`.
    pub fn check(&mut self, session: i64, server: NodeId) -> Result<(), Refusal> {
        match self.sessions.get_mut(&session) {
            Some(tracked) if !tracked.closing => match *tracked.server.get_or_insert(server) {
                known if known == server => Ok(()),
                _ => Err(Refusal::SessionMoved),
            },
            _ => Err(Refusal::SessionExpired),
        }
    }

    /// From now on the session can only end.
    pub fn close(&mut self, session: i64) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.closing = true;
            let bucket = tracked.bucket;
            self.forget_bucket(bucket, session);
        }
    }

    /// The session has ended.
    pub fn remove(&mut self, session: i64) {
        if let Some(tracked) = self.sessions.remove(&session) {
            self.forget_bucket(tracked.bucket, session);
        }
    }

    /// When the next session expires.
    pub fn next(&self) -> Option<Nanos> {
        self.buckets.first_key_value().map(|(at, _)| *at)
    }

    /// Empties the first bucket if it is due: the sessions that have expired.
    pub fn expire(&mut self, now: Nanos) -> BTreeSet<i64> {
        match self.buckets.first_entry() {
            Some(bucket) if *bucket.key() <= now => bucket.remove(),
            _ => BTreeSet::new(),
        }
    }

    fn forget_bucket(&mut self, bucket: Nanos, session: i64) {
        if let Some(sessions) = self.buckets.get_mut(&bucket) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(200);

    fn at(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    #[test]
    fn time_is_rounded_up_to_the_next_bucket() {
        let mut tracker = Tracker::new(TICK);
        tracker.track(at(150), 7, Duration::from_millis(1000));
        assert_eq!(tracker.next(), Some(at(1200)));
        assert!(tracker.expire(at(1199)).is_empty());
        // An exact multiple is rounded up as well: never early.
        assert!(tracker.touch(at(200), 7, Duration::from_millis(1000)));
        assert_eq!(tracker.next(), Some(at(1400)));
        assert_eq!(tracker.expire(at(5000)), BTreeSet::from([7]));
    }

    #[test]
    fn a_closing_session_cannot_be_touched_nor_used() {
        let mut tracker = Tracker::new(TICK);
        tracker.track(at(0), 7, TICK);
        assert_eq!(tracker.check(7, NodeId(1)), Ok(()));
        assert_eq!(tracker.check(7, NodeId(2)), Err(Refusal::SessionMoved));
        tracker.close(7);
        assert!(!tracker.touch(at(1), 7, TICK));
        assert_eq!(tracker.check(7, NodeId(1)), Err(Refusal::SessionExpired));
        assert_eq!(tracker.next(), None);
    }
}
