//! What a simulated process has for a runtime: its own machine's monotonic clock, timers on it, a random stream, and a
//! spawner whose tasks freeze and die with the process.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use rand::Rng;

use super::ids::ProcessId;
use super::sync::lock;
use super::timers::TimerKey;
use super::world::World;
use crate::lock::runtime::Runtime;
use crate::seed::ChaCha8Rng;
use crate::time::{Clock, Nanos};

/// The runtime of one process.
pub struct SimRuntime {
    world: Arc<World>,
    process: ProcessId,
    rng: Mutex<ChaCha8Rng>,
}

impl SimRuntime {
    /// The runtime of `process`, with a random stream of its own.
    pub fn new(world: Arc<World>, process: ProcessId, rng: ChaCha8Rng) -> Self {
        Self { world, process, rng: Mutex::new(rng) }
    }
}

impl Clock for SimRuntime {
    fn now(&self) -> Nanos {
        self.world.lock().mono(self.process.host)
    }
}

impl Runtime for SimRuntime {
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()> {
        Box::pin(Sleep { world: Arc::clone(&self.world), process: self.process, at, timer: None, has_yielded: false })
    }

    fn random(&self) -> u64 {
        lock(&self.rng).next_u64()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.world.processes.spawn(self.process, task);
    }
}

/// Waits for a local instant.
struct Sleep {
    world: Arc<World>,
    process: ProcessId,
    at: Nanos,
    timer: Option<TimerKey>,
    /// Whether it has let others go on, though it had nothing to wait for.
    has_yielded: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.lock();
        if state.mono(self.process.host) >= self.at {
            match self.timer {
                Some(timer) => drop(state.timers.take(timer)),
                // Otherwise a loop around it would never come to its end, nor the scheduler to its turn.
                None if !self.has_yielded && state.is_hasty() => {
                    drop(state);
                    self.has_yielded = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {}
            }
            drop(state);
            self.timer = None;
            return Poll::Ready(());
        }
        let armed = self.timer.is_some_and(|timer| state.timers.rearm(timer, context.waker()));
        if !armed {
            let timer = state.arm(self.process.host, self.at, context.waker().clone());
            drop(state);
            self.timer = Some(timer);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            drop(self.world.lock().timers.take(timer));
        }
    }
}
