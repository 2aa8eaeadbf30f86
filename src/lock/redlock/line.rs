//! Waiting for the turn: in a line at one of the nodes, called by whoever gives the lock back there.
//!
//! A lock that is held sends its waiter into the line of one node, the first that can be reached. The script that
//! deletes the key calls the first in that line and nobody else, so a release costs one attempt and not one of
//! everybody who waits; who is called and comes too late, because somebody new was quicker, goes back to the front.
//! Whether anybody hears the call is known to the script, which passes over the dead.
//!
//! **Nothing rests on the call.** A waiter asks again when the holder's key should have run out, which the node tells
//! it ([`RedisNode::stand_in_line`]), and from time to time ([`LOOK_AGAIN`]): a call that is lost, with its connection,
//! with a waiter that is stopped, or because the server's user may not publish, costs that long and no more. Where no
//! node has a line to offer, the waiter asks after random delays as without lines; so does one that lost to others of
//! several with the votes split among them, since only chance parts those.
//!
//! Calls come over one connection for each node, kept for as long as the lock lives, on a channel of its own.
//!
//! Deliberately absent: a turn that is certain. Who asks for the first time is not sent to the end of the line, so it
//! may come before those that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::StreamExt;
use tokio::sync::{Notify, oneshot};

use super::Shared;
use crate::ids::LockName;
use crate::lock::backend::{Heard, RedisNode};
use crate::lock::error::{AttemptError, NodeError};
use crate::lock::opener::{Opener, Slot, connection};
use crate::lock::runtime::{SharedRuntime, before, jitter, random_text};
use crate::time::Nanos;

/// What who waits for a lock does meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Waiting {
    /// It asks again after a random delay.
    #[default]
    Poll,
    /// It stands in a line at one node and is called when the lock is given back, about in the order in which they
    /// came. Asks again from time to time all the same. The user needs the right to publish and to subscribe on
    /// channels `fencepost:*`; without it all is as with [`Waiting::Poll`].
    Called,
}

/// The longest that one who stands in line goes without asking.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a line is kept after the last who entered it: all that stand there ask, and enter again, more often.
const LINE_LASTS: Duration = Duration::from_secs(10);
/// How long opening the connection for calls may take.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// The key of the line for a lock's key. A counter's begins with one `#` only.
pub(super) fn line(key: &str) -> String {
    format!("##{key}")
}

/// What one who waits is told.
#[derive(Default)]
struct Ring {
    /// Whether it was called, and has left the line by that.
    called: AtomicBool,
    /// It has something to look at.
    bell: Notify,
}

/// Who of this lock waits, by name.
#[derive(Default)]
struct Waiters(Mutex<BTreeMap<String, Arc<Ring>>>);

impl Waiters {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Ring>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ways to be called, one for each node.
pub(super) struct Lines {
    channel: String,
    waiters: Arc<Waiters>,
    ears: Vec<Arc<Ear>>,
    entered: AtomicU64,
}

impl Lines {
    pub fn new(nodes: &[Arc<dyn RedisNode>], runtime: &SharedRuntime) -> Self {
        let channel = format!("fencepost:{}", random_text(&**runtime));
        let waiters = Arc::new(Waiters::default());
        let ear = |node: &Arc<dyn RedisNode>| Ear {
            node: Arc::clone(node),
            channel: channel.clone(),
            waiters: Arc::clone(&waiters),
            runtime: Arc::clone(runtime),
            slot: Slot::default(),
        };
        let ears = nodes.iter().map(ear).map(Arc::new).collect();
        Self { channel, waiters, ears, entered: AtomicU64::new(0) }
    }
}

/// The way to be called by one node.
struct Ear {
    node: Arc<dyn RedisNode>,
    channel: String,
    waiters: Arc<Waiters>,
    runtime: SharedRuntime,
    slot: Slot<Arc<Open>, NodeError>,
}

/// An ear that hears. Dropped, it is closed.
struct Open {
    hears: Arc<AtomicBool>,
    _open: oneshot::Sender<()>,
}

impl Opener for Ear {
    type Connection = Arc<Open>;
    type Error = NodeError;

    fn slot(&self) -> &Slot<Arc<Open>, NodeError> {
        &self.slot
    }

    fn now(&self) -> Nanos {
        self.runtime.now()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Arc<Open>, NodeError>> {
        async move {
            let limit = self.runtime.now() + OPEN_WITHIN;
            let opened = before(&*self.runtime, limit, self.node.listen(&self.channel)).await;
            let slow = || NodeError::Unreachable(format!("no connection within {OPEN_WITHIN:?}"));
            let heard = opened.ok_or_else(slow)??;
            let (open, closed) = oneshot::channel();
            let hears = Arc::new(AtomicBool::new(true));
            self.runtime.spawn(hear(heard, Arc::clone(&self.waiters), Arc::clone(&hears), closed).boxed());
            Ok(Arc::new(Open { hears, _open: open }))
        }
        .boxed()
    }

    fn is_good(&self, open: &Arc<Open>) -> bool {
        open.hears.load(Ordering::SeqCst)
    }

    // It is, when the last handle is dropped.
    fn close(&self, _: &Arc<Open>) {}
}

/// Passes calls on for as long as the connection lives and is wanted.
async fn hear(mut heard: Heard, waiters: Arc<Waiters>, hears: Arc<AtomicBool>, mut closed: oneshot::Receiver<()>) {
    loop {
        let name = tokio::select! {
            biased;
            _ = &mut closed => break,
            name = heard.next() => name,
        };
        let Some(name) = name else { break };
        // Who is not there any more has left the line, or will, and has the next one called by that.
        if let Some(waiter) = waiters.all().get(&name) {
            waiter.called.store(true, Ordering::SeqCst);
            waiter.bell.notify_one();
        }
    }
    hears.store(false, Ordering::SeqCst);
    // Without calls they need not wait for any.
    waiters.all().values().for_each(|waiter| waiter.bell.notify_one());
}

/// One who waits. Dropped, it leaves the line.
pub(super) struct Place {
    shared: Arc<Shared>,
    name: String,
    place: String,
    key: String,
    ring: Arc<Ring>,
    /// Whether it was called and has not entered again since.
    was_called: bool,
    /// The nodes in whose lines it may stand.
    entered: BTreeSet<usize>,
    /// Whether the key was not there when it was to enter the line last.
    was_free: bool,
    granted: bool,
}

impl Place {
    pub fn new(shared: &Arc<Shared>, lines: &Lines, name: &LockName) -> Self {
        let number = lines.entered.fetch_add(1, Ordering::Relaxed).to_string();
        let ring = Arc::new(Ring::default());
        lines.waiters.all().insert(number.clone(), Arc::clone(&ring));
        Self {
            place: format!("{} {number}", lines.channel),
            name: number,
            key: format!("{}{name}", shared.settings.key_prefix),
            shared: Arc::clone(shared),
            ring,
            was_called: false,
            entered: BTreeSet::new(),
            was_free: false,
            granted: false,
        }
    }

    /// Waits until it may be worth asking again after an attempt that failed by `last`: until it is called, or else for
    /// `delay` or as long as there is nothing to expect; not past the deadline.
    pub async fn wait(&mut self, last: &AttemptError, delay: Duration, deadline: Nanos) {
        let shared = Arc::clone(&self.shared);
        let Shared { nodes, runtime, .. } = &*shared;
        let retry = runtime.now() + delay;
        let until = match last {
            // Of several who have some of the votes each, none may wait for the others.
            AttemptError::Contended { votes, .. } if *votes == 0 || nodes.len() == 1 => self.stand(retry).await,
            _ => retry,
        };
        let _ = before(&**runtime, until.min(deadline), self.ring.bell.notified()).await;
    }

    /// Enters the line at the first node that has one: until when a call is worth waiting for, at the longest.
    async fn stand(&mut self, retry: Nanos) -> Nanos {
        let shared = Arc::clone(&self.shared);
        let Shared { nodes, settings, runtime, lines, .. } = &*shared;
        for (number, ear) in lines.iter().flat_map(|lines| &lines.ears).enumerate() {
            let limit = runtime.now() + settings.node_timeout;
            if !matches!(before(&**runtime, limit, connection(ear)).await, Some(Ok(_))) {
                continue;
            }
            self.entered.insert(number);
            let (key, place) = (&self.key, &self.place);
            // Who was called and came too late does not lose its turn.
            self.was_called |= self.ring.called.swap(false, Ordering::SeqCst);
            let entering = nodes[number].stand_in_line(key, &line(key), place, self.was_called, LINE_LASTS);
            match before(&**runtime, limit, entering).await {
                Some(Ok(Some(left))) => {
                    (self.was_called, self.was_free) = (false, false);
                    let now = runtime.now();
                    // Not all at once.
                    let look_again = now + jitter(&**runtime, LOOK_AGAIN / 2, LOOK_AGAIN);
                    let over = now + left.min(LOOK_AGAIN) + (retry - now);
                    return look_again.min(over);
                }
                // Given back meanwhile: nobody will call. Twice in a row it is held elsewhere.
                Some(Ok(None)) if !std::mem::replace(&mut self.was_free, true) => return runtime.now(),
                Some(Ok(None)) => return retry,
                Some(Err(_)) | None => {}
            }
        }
        retry
    }

    /// It has the lock.
    pub fn granted(&mut self) {
        self.granted = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Shared { nodes, runtime, lines, .. } = &*self.shared;
        if let Some(lines) = lines {
            lines.waiters.all().remove(&self.name);
        }
        let called = self.was_called || self.ring.called.load(Ordering::SeqCst);
        // Whoever calls has taken it out of that line.
        if self.granted && called && self.entered.len() == 1 {
            return;
        }
        for node in std::mem::take(&mut self.entered) {
            let leaving = nodes[node].leave_line(&self.key, &line(&self.key), &self.place);
            let limit = runtime.now() + LINE_LASTS;
            let patient = Arc::clone(runtime);
            runtime.spawn(async move { drop(before(&*patient, limit, leaving).await) }.boxed());
        }
    }
}
