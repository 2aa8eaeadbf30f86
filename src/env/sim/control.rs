//! The control of every experiment: a lock that is sound by construction.
//!
//! A mutex in one process that never fails, and that all clients reach in no time, whatever becomes of their machines
//! and of the network: the simulation's own memory. It is no lock for programs; it is what a harness must never accuse.
//! First come, first served. Tokens count grants. A hold has no lease: it ends when its client gives it back or dies,
//! and a client that is frozen keeps it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};
use tokio::sync::oneshot;

use super::backends::{LockMaker, Seam};
use super::engine::sync::lock;
use crate::ids::{FencingToken, LockName};
use crate::lock::runtime::{SharedRuntime, before};
use crate::lock::{
    AcquireError, AcquireOptions, AttemptError, AttemptReport, DistributedLock, Guard, Hold, ReleaseOutcome,
};
use crate::phase::Phase;

/// How long a hold is believed in: for ever, as far as any trial is concerned.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Makes every client's lock of *one* trial: they all share one mutex for each name.
pub fn single_process_mutex() -> LockMaker {
    let lines = Arc::new(Lines::default());
    Arc::new(move |_, Seam { runtime, .. }| Arc::new(SingleProcessMutex { lines: Arc::clone(&lines), runtime }))
}

struct SingleProcessMutex {
    lines: Arc<Lines>,
    runtime: SharedRuntime,
}

/// Who holds and who waits, by name.
#[derive(Default)]
struct Lines(Mutex<BTreeMap<LockName, Line>>);

#[derive(Default)]
struct Line {
    grants: u64,
    held: bool,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// The lock is held as long as this lives: in a guard, or on its way to a client, alive or dead.
struct Permit {
    lines: Arc<Lines>,
    name: LockName,
    token: FencingToken,
    /// Whether dropping it gives the lock to the next in line.
    counts: bool,
}

impl Lines {
    /// A permit, or a place in the line and how many are ahead of it.
    fn enter(self: &Arc<Self>, name: &LockName) -> Result<Permit, (oneshot::Receiver<Permit>, usize)> {
        let mut lines = lock(&self.0);
        let line = lines.entry(name.clone()).or_default();
        line.waiting.retain(|waiting| !waiting.is_closed());
        if line.held {
            let ahead = 1 + line.waiting.len();
            let (permit, granted) = oneshot::channel();
            line.waiting.push_back(permit);
            Err((granted, ahead))
        } else {
            line.held = true;
            Ok(self.permit(name, line))
        }
    }

    fn permit(self: &Arc<Self>, name: &LockName, line: &mut Line) -> Permit {
        line.grants += 1;
        Permit { lines: Arc::clone(self), name: name.clone(), token: FencingToken(line.grants), counts: true }
    }

    /// Gives the lock to the first in line who is still there.
    fn pass_on(self: &Arc<Self>, name: &LockName) {
        loop {
            let (next, permit) = {
                let mut lines = lock(&self.0);
                let Some(line) = lines.get_mut(name) else { return };
                let Some(next) = line.waiting.pop_front() else {
                    line.held = false;
                    return;
                };
                (next, self.permit(name, line))
            };
            match next.send(permit) {
                Ok(()) => return,
                Err(mut refused) => refused.counts = false,
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.counts {
            self.lines.pass_on(&self.name);
        }
    }
}

impl SingleProcessMutex {
    fn guard(&self, permit: Permit) -> Guard {
        let hold = Hold::new(self.runtime.now() + FOREVER);
        let (name, token) = (permit.name.clone(), Some(permit.token));
        // Given back at once, also by the destructor of a guard whose process is dead.
        let release = Box::new(move || {
            drop(permit);
            ready(ReleaseOutcome::Released).boxed()
        });
        Guard::new(name, token, hold, Arc::clone(&self.runtime), release)
    }
}

impl DistributedLock for SingleProcessMutex {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            options.check(false)?;
            let started = self.runtime.now();
            let entered = self.lines.enter(name);
            options.reached(Phase::Acquiring).await;
            let permit = match entered {
                Ok(permit) => permit,
                Err((granted, ahead)) => match before(&*self.runtime, started + options.wait, granted).await {
                    // The line keeps every place until it is served.
                    Some(permit) => permit.expect("nobody is sent away from the line"),
                    None => {
                        let waited = self.runtime.now() - started;
                        let last = AttemptError::Contended {
                            votes: 0,
                            needed: 1,
                            conflicts: ahead,
                            nodes: AttemptReport::default(),
                        };
                        return Err(AcquireError::DeadlineExceeded { waited, last });
                    }
                },
            };
            let guard = self.guard(permit);
            options.reached(Phase::VotesIn).await;
            Ok(guard)
        }
        .boxed()
    }
}
