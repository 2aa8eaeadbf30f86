//! Where a program that nobody here wrote is inside of its lock, seen from its requests.
//!
//! - `acquiring`: the first request about the lock is here, and not yet handed on; again when a server that has
//!   answered is asked anew, which is another attempt.
//! - `votes-in`: the reply of the server that makes a majority is here, and not yet delivered; each reply, where the
//!   servers agree among themselves.
//! - `renewing`: the first request about the lock while it is held, and not yet handed on; again when a server that was
//!   asked is asked anew, which is another renewal. Signs of life that do not name the lock, as those of a session, are
//!   not seen.
//! - `in-line`: the acquire goes on, all its requests are answered, and for a while it sends no more.
//!
//! Each is announced only for requests that were read as such. Deliberately absent: `releasing` and all phases outside
//! of an acquire; the client loop announces them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fault::request::Call;
use crate::history::{F, Op, OpType};
use crate::lock::PausePoint;
use crate::phase::Phase;
use crate::trial::Announcer;

/// A program that has sent nothing for so long waits for its turn, or between two attempts.
const QUIET: Duration = Duration::from_millis(20);

/// Names a request: its connection, and its number there.
type RequestId = (u64, u64);

/// The steps of one client's program.
pub struct Steps {
    announcer: Arc<Announcer>,
    /// How many servers' answers are a majority's.
    needed: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    acquiring: bool,
    /// Grows with each request and each acquire.
    stirred: u64,
    outstanding: BTreeSet<RequestId>,
    /// Which servers have answered in this attempt.
    answered: BTreeSet<usize>,
    begun: bool,
    voted: bool,
    in_line: bool,
    /// Which servers were asked for this renewal.
    renewing: BTreeSet<usize>,
}

impl Steps {
    /// Announced by `announcer`. The answers of `needed` servers are a majority's.
    pub fn new(announcer: Arc<Announcer>, needed: usize) -> Arc<Self> {
        Arc::new(Self { announcer, needed, state: Mutex::default() })
    }

    /// Follows an op of the client.
    pub fn hear(&self, op: &Op) {
        if op.f == F::Acquire {
            let stirred = self.lock().stirred + 1;
            *self.lock() = State { acquiring: op.kind == OpType::Invoke, stirred, ..State::default() };
        }
    }

    /// A request about a lock is here; the phase that is then to be announced, if any.
    pub fn asked(&self, id: RequestId, place: usize, call: Call, is_paired: bool) -> Option<Phase> {
        let mut state = self.lock();
        if call == Call::Renewing {
            if state.renewing.contains(&place) {
                state.renewing.clear();
            }
            let is_first = state.renewing.is_empty();
            state.renewing.insert(place);
            return Some(Phase::Renewing).filter(|phase| is_first && self.announcer.announces(*phase));
        }
        if call != Call::Acquiring || !state.acquiring {
            return None;
        }
        state.stirred += 1;
        if is_paired {
            state.outstanding.insert(id);
        }
        if state.answered.contains(&place) {
            (state.begun, state.voted, state.in_line) = (false, false, false);
            state.answered.clear();
        }
        let is_first = !std::mem::replace(&mut state.begun, true);
        Some(Phase::Acquiring).filter(|phase| is_first && self.announcer.announces(*phase))
    }

    /// The reply to a request about a lock is here; the phase that is then to be announced, if any.
    pub fn answered(&self, id: RequestId, place: usize) -> Option<Phase> {
        let mut state = self.lock();
        if !state.outstanding.remove(&id) || !state.acquiring {
            return None;
        }
        state.answered.insert(place);
        let is_majority = state.answered.len() >= self.needed;
        let is_first = is_majority && !std::mem::replace(&mut state.voted, true);
        Some(Phase::VotesIn).filter(|phase| is_first && self.announcer.announces(*phase))
    }

    /// Announces a phase, before the request or the reply goes on that tells of it.
    pub async fn reached(&self, phase: Phase) {
        self.announcer.reached(phase).await;
    }

    /// Replies were delivered.
    pub fn delivered(self: &Arc<Self>) {
        let stirred = {
            let state = self.lock();
            let waits = state.acquiring && state.outstanding.is_empty() && !state.answered.is_empty();
            if !waits || state.in_line || !self.announcer.announces(Phase::InLine) {
                return;
            }
            state.stirred
        };
        let steps = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(QUIET).await;
            {
                let mut state = steps.lock();
                let is_quiet = state.acquiring && state.stirred == stirred && state.outstanding.is_empty();
                if !is_quiet || std::mem::replace(&mut state.in_line, true) {
                    return;
                }
            }
            steps.announcer.reached(Phase::InLine).await;
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
