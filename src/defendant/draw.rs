//! By what a search draws a lock's settings: what a trial is hard on, and the lock's own constants.
//!
//! Deliberately absent: workloads and plans, which are the search's own.

use std::time::Duration;

use rand::RngExt;

use super::backend::TICK;
use crate::seed::ChaCha8Rng;

/// What a trial is hard on: which of a lock's duties its workload, its settings and its faults press together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stress {
    /// Nothing in particular: all is drawn by itself.
    Any,
    /// The lease's end: holds that reach it or outlast it, waiters who ask without pause, clocks that drift just inside
    /// of the margin, replies as late as they may be, holders that cannot renew.
    Edge,
    /// Renewal: holds of several leases, while servers and links fail and come back.
    Renewal,
    /// What is given up: attempts and waits that end too soon for their answers, replies that are lost, deletions into
    /// silence. Leases so long that what stays behind is not soon over by itself.
    GivenUp,
    /// Two things at once: a client and the server that it talks to, the requests and their answers.
    Together,
    /// Clients that stand still where their lock has yet to look at its clock, and then read answers that are as old.
    Stopped,
}

/// The lock's own constants: what lengths are drawn around.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The lease or the session timeout.
    pub lease: Duration,
    /// After how long it is renewed or confirmed.
    pub renewal: Duration,
    /// How long a single server may be silent.
    pub patience: Duration,
}

impl Scale {
    /// What is left of the lease for its holder: less the margin for drift.
    pub(crate) fn margin(self) -> Duration {
        self.lease / 100 + ms(2)
    }

    /// A length around one of the constants.
    pub(crate) fn length(self, rng: &mut ChaCha8Rng) -> Duration {
        let Self { lease, renewal, patience } = self;
        let constant = pick(rng, &[lease, lease, lease, lease - self.margin(), renewal, patience, TICK]);
        let percent = pick(rng, &[30, 50, 70, 90, 98, 100, 102, 110, 130, 180, 250]);
        round(constant * percent / 100).max(ms(5))
    }
}

/// To whole milliseconds.
pub(crate) fn round(duration: Duration) -> Duration {
    ms(duration.as_millis() as u64)
}

/// One of several.
pub(crate) fn pick<T: Copy>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

/// So many milliseconds.
pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
