//! When a connection is opened: by a task of its own, one at a time, and not again at once after a failure.
//!
//! Requests wait for a connection that is being opened, each as long as its caller likes; the opening does not depend
//! on them. After a failed try the next one is put off, longer each time, and meanwhile requests fail at once with what
//! stood in the way. Shared with the simulation, so that a lock meets the same there. Deliberately absent: how a
//! connection is opened, and how long that may take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use tokio::sync::oneshot;

use crate::time::Nanos;

/// The pause after the first failed try to connect. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What opens connections to one server.
pub(crate) trait Opener: Send + Sync + 'static {
    /// A connection. Clones are the same one.
    type Connection: Clone + Send + Sync + 'static;
    /// Why there is none.
    type Error: Clone + Send + Sync + 'static;

    /// Where the connection in use is kept.
    fn slot(&self) -> &Slot<Self::Connection, Self::Error>;

    /// The time.
    fn now(&self) -> Nanos;

    /// Runs `task` in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Opens a connection; gives up by itself when that takes too long.
    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Self::Connection, Self::Error>>;

    /// Whether a connection is fit for another request.
    fn is_good(&self, connection: &Self::Connection) -> bool;

    /// Closes a connection that is not.
    fn close(&self, connection: &Self::Connection);
}

/// What becomes of opening a connection; `None` if whatever it was opened in has ended first.
type Opening<C, E> = Shared<BoxFuture<'static, Option<Result<C, E>>>>;

/// The connection in use, or why there is none.
pub(crate) struct Slot<C, E>(Mutex<State<C, E>>);

enum State<C, E> {
    /// Not asked for anything yet.
    Idle,
    Opening(Opening<C, E>),
    Open(C),
    /// The last try failed; the next one comes not before `again`.
    Down {
        error: E,
        again: Nanos,
        pause: Duration,
    },
}

impl<C, E> Default for Slot<C, E> {
    fn default() -> Self {
        Self(Mutex::new(State::Idle))
    }
}

impl<C: Clone, E> Slot<C, E> {
    fn state(&self) -> MutexGuard<'_, State<C, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if there is one.
    #[cfg(feature = "redis")]
    pub fn connection(&self) -> Option<C> {
        match &*self.state() {
            State::Open(connection) => Some(connection.clone()),
            _ => None,
        }
    }
}

/// The connection in use, or the next one as soon as it is open.
pub(crate) async fn connection<O: Opener>(opener: &Arc<O>) -> Result<O::Connection, O::Error> {
    loop {
        let opening = {
            let mut state = opener.slot().state();
            let pause = match &*state {
                State::Open(connection) if opener.is_good(connection) => return Ok(connection.clone()),
                State::Open(connection) => {
                    opener.close(connection);
                    Duration::ZERO
                }
                State::Opening(opening) if opening.peek().is_none() => Duration::MAX,
                State::Down { error, again, .. } if opener.now() < *again => return Err(error.clone()),
                State::Down { pause, .. } => *pause,
                State::Idle | State::Opening(_) => Duration::ZERO,
            };
            if pause < Duration::MAX {
                *state = State::Opening(start(opener, pause));
            }
            let State::Opening(opening) = &*state else { continue };
            opening.clone()
        };
        // Without outcome it is opened anew.
        if let Some(outcome) = opening.await {
            return outcome;
        }
    }
}

/// Begins to open a connection; `pause` was the one before this try.
fn start<O: Opener>(opener: &Arc<O>, pause: Duration) -> Opening<O::Connection, O::Error> {
    let (done, opened) = oneshot::channel();
    let task = {
        let opener = Arc::clone(opener);
        async move {
            let outcome = Arc::clone(&opener).open().await;
            let now = opener.now();
            *opener.slot().state() = match &outcome {
                Ok(connection) => State::Open(connection.clone()),
                Err(error) => {
                    let pause = (2 * pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    State::Down { error: error.clone(), again: now + pause, pause }
                }
            };
            let _ = done.send(outcome);
        }
    };
    opener.spawn(task.boxed());
    opened.map(Result::ok).boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use futures_util::future::{join_all, ready};

    use super::*;
    use crate::lock::error::NodeError;

    /// Opens what [`World::outcome`] says, in tasks that a test runs.
    #[derive(Default)]
    struct World {
        slot: Slot<u32, NodeError>,
        now: AtomicU64,
        tries: AtomicU32,
        up: std::sync::atomic::AtomicBool,
        tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
    }

    impl Opener for World {
        type Connection = u32;
        type Error = NodeError;

        fn slot(&self) -> &Slot<u32, NodeError> {
            &self.slot
        }

        fn now(&self) -> Nanos {
            Nanos(self.now.load(Ordering::Relaxed))
        }

        fn spawn(&self, task: BoxFuture<'static, ()>) {
            self.tasks.lock().unwrap().push(task);
        }

        fn open(self: Arc<Self>) -> BoxFuture<'static, Result<u32, NodeError>> {
            let number = self.tries.fetch_add(1, Ordering::Relaxed) + 1;
            let down = || NodeError::Unreachable("refused".to_owned());
            ready(self.up.load(Ordering::Relaxed).then_some(number).ok_or_else(down)).boxed()
        }

        fn is_good(&self, _: &u32) -> bool {
            false
        }

        fn close(&self, _: &u32) {}
    }

    impl World {
        fn run(&self) {
            for task in std::mem::take(&mut *self.tasks.lock().unwrap()) {
                task.now_or_never().expect("nothing to wait for");
            }
        }

        fn pass(&self, time: Duration) {
            self.now.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_wait_for_one_try_and_the_next_one_is_put_off() {
        let world = Arc::new(World::default());
        let mut waiting = Box::pin(join_all((0..9).map(|_| connection(&world))));
        assert!((&mut waiting).now_or_never().is_none());
        world.run();
        let outcomes = waiting.now_or_never().expect("the try is over");
        assert!(outcomes.iter().all(|outcome| outcome == &Err(NodeError::Unreachable("refused".to_owned()))));
        // Asked for 10 s, every millisecond.
        for _ in 0..10_000 {
            world.pass(Duration::from_millis(1));
            let _ = connection(&world).now_or_never();
            world.run();
        }
        let tries = world.tries.load(Ordering::Relaxed);
        assert!((10..20).contains(&tries), "{tries}");
        world.up.store(true, Ordering::Relaxed);
        world.pass(LONGEST_PAUSE);
        for _ in 0..2 {
            let mut opened = Box::pin(connection(&world));
            assert!((&mut opened).now_or_never().is_none(), "there is none, or none that is good");
            world.run();
            assert!(opened.now_or_never().expect("the try is over").is_ok());
        }
    }

    #[test]
    fn a_try_whose_task_is_gone_is_made_again() {
        let world = Arc::new(World::default());
        world.up.store(true, Ordering::Relaxed);
        let mut opened = Box::pin(connection(&world));
        assert!((&mut opened).now_or_never().is_none());
        world.tasks.lock().unwrap().clear();
        assert!((&mut opened).now_or_never().is_none());
        world.run();
        assert_eq!(opened.now_or_never(), Some(Ok(1)));
    }
}
