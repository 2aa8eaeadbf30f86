//! Announces the phases at which a fault may strike, and waits for the go-ahead: the client's own, and those of a program
//! that it drives, which may be at several steps at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::oneshot;

use super::member::Reports;
use super::messages::Report;
use crate::lock::PausePoint;
use crate::phase::Phase;

/// Announces one client's phases.
pub struct Announcer {
    announce: Vec<Phase>,
    reports: Arc<Reports>,
    number: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

impl Announcer {
    /// Announces these phases, and no others.
    pub fn new(announce: Vec<Phase>, reports: Arc<Reports>) -> Arc<Self> {
        Arc::new(Self { announce, reports, number: AtomicU64::new(0), waiting: Mutex::default() })
    }

    /// Whether a phase is announced.
    pub fn announces(&self, phase: Phase) -> bool {
        self.announce.contains(&phase)
    }

    /// Lets whoever waits at the pause point of this number go on. One that was given up is passed over.
    pub fn go(&self, number: u64) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let _ = waiting.map(|waiting| waiting.send(()));
    }
}

impl PausePoint for Announcer {
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()> {
        async move {
            if !self.announces(phase) {
                return;
            }
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let (sender, gone) = oneshot::channel();
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
            self.reports.send(Report::Reached { number, phase });
            // The harness's end ends the process.
            let _ = gone.await;
        }
        .boxed()
    }
}
