//! Announces the phases at which a fault may strike, and waits for the go-ahead.
//!
//! A client may stand at several pause points at once, as a renewal goes on beside its holder, or as a program that it
//! drives is at several steps: each has a number, and is let go by it. Deliberately absent: by what way it is
//! announced; that differs from world to world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, ready};
use tokio::sync::oneshot;

use crate::lock::PausePoint;
use crate::phase::Phase;

/// Announces one client's phases.
pub struct Announcer {
    announced: Vec<Phase>,
    /// Tells where the client stands, and at which of its pause points.
    tell: Box<dyn Fn(u64, Phase) + Send + Sync>,
    standing: Mutex<Standing>,
}

/// The pause points at which a client stands.
#[derive(Default)]
struct Standing {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Announcer {
    /// Announces these phases, and no others, by telling a pause point's number and its phase.
    pub fn new(announced: Vec<Phase>, tell: impl Fn(u64, Phase) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { announced, tell: Box::new(tell), standing: Mutex::default() })
    }

    /// Whether a phase is announced.
    pub fn announces(&self, phase: Phase) -> bool {
        self.announced.contains(&phase)
    }

    /// Lets whoever waits at the pause point of this number go on. One that was given up is passed over.
    pub fn go(&self, number: u64) {
        let waiting = self.standing.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&number);
        let _ = waiting.map(|waiting| waiting.send(()));
    }

    /// A new pause point: its number, and what completes when it is let go.
    fn stand(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, gone) = oneshot::channel();
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let number = standing.next;
        standing.next += 1;
        standing.waiting.insert(number, sender);
        (number, gone)
    }
}

impl PausePoint for Announcer {
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()> {
        if !self.announces(phase) {
            return ready(()).boxed();
        }
        async move {
            let (number, gone) = self.stand();
            (self.tell)(number, phase);
            // Whoever could let it go ends with the trial.
            let _ = gone.await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A renewal that is let go must not let its holder go, nor keep it.
    #[test]
    fn each_pause_point_is_let_go_by_its_own_number() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let announced = vec![Phase::BeforeWrite, Phase::Renewing];
        let announcer = Announcer::new(announced, move |number, phase| tell.lock().unwrap().push((number, phase)));
        let mut holder = announcer.reached(Phase::BeforeWrite);
        let mut renewal = announcer.reached(Phase::Renewing);
        let mut given_up = announcer.reached(Phase::Renewing);
        assert_eq!(announcer.reached(Phase::Acquired).now_or_never(), Some(()), "not announced");
        assert_eq!((&mut holder).now_or_never(), None);
        assert_eq!((&mut renewal).now_or_never(), None);
        assert_eq!((&mut given_up).now_or_never(), None);
        let expected = [(0, Phase::BeforeWrite), (1, Phase::Renewing), (2, Phase::Renewing)];
        assert_eq!(*told.lock().unwrap(), expected);
        drop(given_up);
        announcer.go(2);
        announcer.go(1);
        assert_eq!(((&mut holder).now_or_never(), renewal.now_or_never()), (None, Some(())));
        announcer.go(1);
        assert_eq!((&mut holder).now_or_never(), None);
        announcer.go(0);
        assert_eq!(holder.now_or_never(), Some(()));
    }
}
