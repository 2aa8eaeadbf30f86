//! What a lock needs from the world besides its servers: a clock, timers, randomness, a place for background work.
//!
//! Handed in, never ambient, so that the same lock runs on a real machine ([`TokioRuntime`]) and in simulated time.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use rand::Rng;
use tokio::runtime::{Builder, Handle};

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

/// The tokio runtime that the caller is in or, where it is in none, one of the library's own.
///
/// That one runs on a thread which is started the first time and never ends. It is for guards and acquires that are
/// dropped, or driven, outside of tokio: what they left at the servers has to be taken back there, too. `None` if the
/// system has no thread for it.
pub(crate) fn tokio_around() -> Option<Handle> {
    static OWN: OnceLock<Option<Handle>> = OnceLock::new();
    Handle::try_current().ok().or_else(|| {
        let start = || {
            let runtime = Builder::new_current_thread().enable_all().build().ok()?;
            let handle = runtime.handle().clone();
            let drive = move || runtime.block_on(std::future::pending::<()>());
            std::thread::Builder::new().name("fencepost-lock".to_owned()).spawn(drive).ok()?;
            Some(handle)
        };
        OWN.get_or_init(start).clone()
    })
}

/// The real world: `CLOCK_BOOTTIME`, tokio's timers and tasks.
///
/// Background work runs in the tokio runtime that the caller is in. Outside of one, as where a guard is dropped after
/// the runtime's end, it runs on a thread of the library's own.
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
                let sleep = {
                    let around = tokio_around();
                    let _within = around.as_ref().map(Handle::enter);
                    tokio::time::sleep(left)
                };
                sleep.await;
            }
        }
        .boxed()
    }

    fn random(&self) -> u64 {
        self.rng.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next_u64()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        if let Some(around) = tokio_around() {
            around.spawn(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn timers_and_tasks_do_without_a_runtime_around_them() {
        let runtime = Arc::new(TokioRuntime::new(Seed(1)));
        let (done, is_done) = mpsc::channel();
        let slept = {
            let runtime = Arc::clone(&runtime);
            async move {
                runtime.sleep_until(runtime.now() + Duration::from_millis(2)).await;
                let _ = done.send(());
            }
        };
        runtime.spawn(slept.boxed());
        is_done.recv().expect("the task runs");
        futures_util::future::FutureExt::now_or_never(runtime.sleep_until(Nanos::ZERO)).expect("it is past");
    }
}
