//! Announces the phases at which a fault may strike, and waits for the go-ahead: the client's own, and those of a
//! program that it drives, which may be at several steps at once.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::control_client::Reports;
use super::messages::Report;
use crate::env::go_ahead::GoAheads;
use crate::lock::PausePoint;
use crate::phase::Phase;

/// Announces one client's phases.
pub struct Announcer {
    announce: Vec<Phase>,
    reports: Arc<Reports>,
    go_aheads: GoAheads,
}

impl Announcer {
    /// Announces these phases, and no others.
    pub fn new(announce: Vec<Phase>, reports: Arc<Reports>) -> Arc<Self> {
        Arc::new(Self { announce, reports, go_aheads: GoAheads::default() })
    }

    /// Whether a phase is announced.
    pub fn announces(&self, phase: Phase) -> bool {
        self.announce.contains(&phase)
    }

    /// Lets whoever waits at the pause point of this number go on. One that was given up is passed over.
    pub fn go(&self, number: u64) {
        self.go_aheads.go(number);
    }
}

impl PausePoint for Announcer {
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()> {
        async move {
            if !self.announces(phase) {
                return;
            }
            let (number, gone) = self.go_aheads.wait();
            self.reports.send(Report::Reached { number, phase });
            // The harness's end ends the process.
            let _ = gone.await;
        }
        .boxed()
    }
}
