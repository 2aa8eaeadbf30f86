//! The time of day for a clock: under an otherwise sound lock, the lease is as long as the time of day says. A clock
//! that is set back between the request and the end of the lease makes the client believe for longer than the masters
//! do.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::WallClock;
use crate::lock::runtime::{Runtime, SharedRuntime};
use crate::time::{Clock, Nanos};

/// A runtime whose clock is the time of day, moved to the origin of the clock that it hides.
pub(super) struct WallRuntime {
    inner: SharedRuntime,
    wall: WallClock,
    /// One instant, by both clocks.
    origin: (Nanos, Nanos),
}

impl WallRuntime {
    pub fn new(inner: SharedRuntime, wall: WallClock) -> Self {
        let origin = (inner.now(), wall());
        Self { inner, wall, origin }
    }
}

impl Clock for WallRuntime {
    fn now(&self) -> Nanos {
        told(self.origin, (self.wall)())
    }
}

fn told((monotonic, then): (Nanos, Nanos), now: Nanos) -> Nanos {
    (monotonic + (now - then)).saturating_sub(then - now)
}

impl Runtime for WallRuntime {
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()> {
        let (inner, wall, origin) = (Arc::clone(&self.inner), Arc::clone(&self.wall), self.origin);
        async move {
            loop {
                let left = at - told(origin, wall());
                if left.is_zero() {
                    return;
                }
                inner.sleep_until(inner.now() + left).await;
            }
        }
        .boxed()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.inner.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_shows_earlier_instants() {
        let origin = (Nanos(500), Nanos(1_000));
        assert_eq!([1_000, 1_030, 800].map(|now| told(origin, Nanos(now)).0), [500, 530, 300]);
    }
}
