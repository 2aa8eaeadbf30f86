//! What a lock needs from the world besides its servers: a clock, timers, randomness, a place for background work.
//!
//! Handed in, never ambient, so that the same lock runs on a real machine ([`TokioRuntime`]) and in simulated time.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use rand::Rng;

use crate::seed::{ChaCha8Rng, Seed};
use crate::time::{BootClock, Clock, Nanos};

/// A clock with timers, a random stream, and a spawner whose tasks live and die with their process.
pub trait Runtime: Clock {
    /// Completes at `at` or as soon after it as the process runs.
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()>;

    /// The next number of the process's random stream.
    fn random(&self) -> u64;

    /// Runs `task` in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// A runtime as the locks hold it.
pub type SharedRuntime = Arc<dyn Runtime>;

/// The result of `future`, or `None` if `at` comes first.
pub(crate) async fn before<T>(runtime: &dyn Runtime, at: Nanos, future: impl Future<Output = T>) -> Option<T> {
    unless(&mut runtime.sleep_until(at), future).await
}

/// The result of `future`, or `None` if `timer` is over first: for several waits with one deadline.
pub(crate) async fn unless<T>(timer: &mut BoxFuture<'static, ()>, future: impl Future<Output = T>) -> Option<T> {
    // A result that is there beats a deadline that has passed: after a pause both are ready, and the caller
    // judges a late result by its own clock.
    match select(pin!(future), timer).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

/// A duration drawn uniformly from `min..=max`.
pub(crate) fn jitter(runtime: &dyn Runtime, min: Duration, max: Duration) -> Duration {
    let span = max.saturating_sub(min).as_nanos() as u64;
    // The bias of the modulus is far below a nanosecond's worth of what jitter is for.
    min + Duration::from_nanos(if span == 0 { 0 } else { runtime.random() % (span + 1) })
}

/// A random text of 40 hexadecimal digits: 160 bits, as Redlock's authors advise.
pub(crate) fn random_text(runtime: &dyn Runtime) -> String {
    format!("{:016x}{:016x}{:08x}", runtime.random(), runtime.random(), runtime.random() as u32)
}

/// The real world: `CLOCK_BOOTTIME`, tokio's timers and tasks.
///
/// Must be used inside a tokio runtime with time enabled.
pub struct TokioRuntime {
    clock: BootClock,
    rng: Mutex<ChaCha8Rng>,
}

impl TokioRuntime {
    /// A runtime whose random stream comes from `seed`.
    pub fn new(seed: Seed) -> Self {
        Self { clock: BootClock, rng: Mutex::new(seed.stream("lock")) }
    }

    /// A runtime with a random stream from the operating system: what a program in production wants.
    #[expect(clippy::disallowed_methods, reason = "production locks draw from the operating system")]
    pub fn from_entropy() -> Self {
        Self { clock: BootClock, rng: Mutex::new(rand::make_rng()) }
    }
}

impl Clock for TokioRuntime {
    fn now(&self) -> Nanos {
        self.clock.now()
    }
}

#[expect(clippy::disallowed_methods, reason = "what the others hand in on a real machine")]
impl Runtime for TokioRuntime {
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()> {
        let clock = self.clock;
        async move {
            // tokio's timers stop during suspend and round to milliseconds; the clock decides when it is over.
            loop {
                let left = at - clock.now();
                if left.is_zero() {
                    break;
                }
                tokio::time::sleep(left).await;
            }
        }
        .boxed()
    }

    fn random(&self) -> u64 {
        self.rng.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next_u64()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}
