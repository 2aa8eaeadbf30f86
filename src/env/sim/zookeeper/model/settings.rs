//! The timing of an ensemble.

use std::time::Duration;

/// The timing of an ensemble, the same for all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The ensemble's unit of time. Sessions may last 2 to 20 ticks, and expire in buckets of one.
    pub tick: Duration,
    /// Ticks of silence after which a leader gives up a follower, and a follower its leader.
    pub sync_limit: u32,
    /// Ticks that a new leader and its followers have to agree on a common history.
    pub init_limit: u32,
    /// How long a server waits for a better vote once a majority agrees.
    pub finalize_wait: Duration,
    /// The first pause before a vote is sent again; it doubles each time.
    pub notification_min: Duration,
    /// The longest pause before a vote is sent again.
    pub notification_max: Duration,
    /// The pause before a follower tries again to reach a leader that is not ready for it.
    pub connect_retry: Duration,
}

impl Default for Settings {
    /// What the containers of `docker/` run with, so that both worlds keep the same time.
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(200),
            sync_limit: 10,
            init_limit: 50,
            finalize_wait: Duration::from_millis(200),
            notification_min: Duration::from_millis(200),
            notification_max: Duration::from_secs(60),
            connect_retry: Duration::from_millis(100),
        }
    }
}

impl Settings {
    /// The session timeout that is granted to a client that asks for `asked`: 2 to 20 ticks.
    pub fn negotiate(&self, asked: Duration) -> Duration {
        asked.clamp(self.tick * 2, self.tick * 20)
    }

    pub(super) fn sync_time(&self) -> Duration {
        self.tick * self.sync_limit
    }

    pub(super) fn init_time(&self) -> Duration {
        self.tick * self.init_limit
    }
}
