//! Which server a client tries next, and after which pause.
//!
//! Servers are shuffled after every success and tried in turn. The first round after a loss is tried without pause;
//! then each round begins after a longer one.

use std::time::Duration;

use crate::ids::NodeId;
use crate::lock::runtime::{SharedRuntime, jitter};

const UNIT: Duration = Duration::from_millis(100);

/// The servers in the order in which they are tried.
pub(super) struct Endpoints {
    servers: Vec<NodeId>,
    next: usize,
    start: usize,
}

impl Endpoints {
    pub fn new(servers: Vec<NodeId>, runtime: &SharedRuntime) -> Self {
        let mut endpoints = Self { servers, next: 0, start: 0 };
        endpoints.shuffle(runtime);
        endpoints
    }

    /// Begins anew in another order.
    pub fn shuffle(&mut self, runtime: &SharedRuntime) {
        (self.next, self.start) = (0, 0);
        for last in (1..self.servers.len()).rev() {
            self.servers.swap(last, (runtime.random() % (last as u64 + 1)) as usize);
        }
    }

    /// Begins to look for a connection, with the server whose turn it is.
    pub fn start(&mut self) {
        self.start = self.next;
    }

    /// The next server, and the pause before it is tried; `None` if there are no servers.
    pub fn next(&mut self, runtime: &SharedRuntime) -> Option<(NodeId, Duration)> {
        let (index, count) = (self.next - self.start, self.servers.len());
        let offset = index.checked_rem(count)?;
        let round = (index / count) as u32;
        let random = |limit: u64| jitter(&**runtime, Duration::ZERO, Duration::from_millis(limit - 1));
        let pause = match (round, offset) {
            (0, _) => Duration::ZERO,
            (_, 0) => {
                let base = (UNIT * count as u32).min(Duration::from_secs(1));
                base.saturating_mul(2_u32.saturating_pow(round - 1)).saturating_add(random(100))
            }
            _ => UNIT * offset as u32 / 2 + random(50),
        };
        self.next += 1;
        Some((self.servers[offset], pause))
    }
}
