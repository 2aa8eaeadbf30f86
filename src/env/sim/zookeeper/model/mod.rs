//! A model of a ZooKeeper ensemble, for trials in simulated time.
//!
//! [`Server`] is one member: a pure state machine that is handed its own monotonic clock, its timers and its messages,
//! and says what to send. Whoever drives it owns time, the network, crashes and freezes.
//!
//! Modelled, after ZooKeeper 3.9: fast leader election; discovery, synchronisation and broadcast of Zab with epochs and
//! zxids; followers that lag; sessions with bucketed expiry on the leader's clock, kept alive by batched touches; moves
//! of sessions between servers; ephemeral and sequential znodes; one-shot watches; `sync` as the servers really do it
//! (a leader with nothing in flight answers without asking its followers).
//!
//! | file | what lives there |
//! |---|---|
//! | `messages`, `peers` | everything that is sent, and the inputs and outputs of a server |
//! | `log` | what survives a crash: the log and the epochs |
//! | `tree` | znodes and sessions as the log makes them |
//! | `clients` | the connections of one server: order, replies, watches (`watches`) |
//! | `election`, `leader` (with `broadcast`, `prepare`, `expiry`), `follower` | the roles |
//! | `server` | one member, from input to output |
//!
//! Deliberately absent: data and versions of znodes, ACLs, quotas, containers, transactions of several operations,
//! persistent watches, observers, reconfiguration, read-only servers, snapshots (the log is kept whole), the time that a
//! disk takes, throttling, and servers that hang up on a client that has been silent (only its session ends).

mod broadcast;
mod clients;
mod election;
mod expiry;
mod follower;
mod leader;
mod log;
pub mod messages;
pub mod peers;
mod prepare;
pub mod server;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some run on tokio, with its clock paused")]
mod tests;
mod tree;
mod watches;

use std::time::Duration;

pub use self::messages::{ConnectionId, Input, Output, Reply, Request};
pub use self::peers::PeerMessage;
pub use self::server::{Role, Server};

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

    pub(self) fn sync_time(&self) -> Duration {
        self.tick * self.sync_limit
    }

    pub(self) fn init_time(&self) -> Duration {
        self.tick * self.init_limit
    }
}
