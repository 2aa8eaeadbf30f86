//! What a program's own locks did, as a history that can be judged: `fencepost check` on a service's log.
//!
//! Wrap the lock, and write a line for each event. Ten lines of hook, in a program that has `serde_json`:
//!
//! ```no_run
//! # fn example(lock: Box<dyn fencepost::lock::DistributedLock>) -> std::io::Result<()> {
//! use std::{fs::OpenOptions, io::Write, sync::{Arc, Mutex}};
//! use fencepost::lock::events::{Event, Told};
//!
//! let log = Mutex::new(OpenOptions::new().create(true).append(true).open("locks.jsonl")?);
//! let tell = move |event: &Event| {
//!     # use serde::Serialize as _;
//!     # mod serde_json { pub fn to_string<T: serde::Serialize>(_: &T) -> Result<String, std::fmt::Error> { Ok(String::new()) } }
//!     if let (Ok(mut log), Ok(line)) = (log.lock(), serde_json::to_string(event)) {
//!         let _ = writeln!(log, "{line}");
//!     }
//! };
//! let lock = Told::new(lock, "billing-1", Arc::new(tell));
//! # Ok(())
//! # }
//! ```
//!
//! The logs of all processes on one host, one after the other, are judged by `cat *.jsonl | fencepost check - --model
//! fenced+lease --order time` (`owner-mutex+lease` for a lock without tokens). Times are [`crate::time::BootClock`]'s,
//! which the processes of one host share, and no others.
//!
//! Each attempt is a process of its own in the history, since a program makes several at a time. A hold that is lost is
//! told as a release that has begun: from then on its client does not believe in it. An acquire that is dropped has
//! failed: it gave no guard. Deliberately absent: where events go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::{BoxFuture, FutureExt};
use serde::Serialize;

use super::guard::Release;
use super::promise::{GuardState, Promises};
use super::runtime::SharedRuntime;
use super::{AcquireError, AcquireOptions, DistributedLock, Guard, ReleaseOutcome};
use crate::ids::{FencingToken, LockName};
use crate::time::Nanos;

/// One op of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// When, on the lock's own clock, nanoseconds.
    pub time: Nanos,
    /// The program's name and the number of its attempt.
    pub process: String,
    /// Whether something begins or has ended, and how.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// What is done.
    pub f: Deed,
    /// Which lock.
    pub lock: LockName,
    /// The grant's fencing token, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<FencingToken>,
    /// Until when the hold is valid, as far as is known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Nanos>,
    /// Why not, or why it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether something begins or has ended, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may have happened, or may yet.
    Info,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// The lock is asked for.
    Acquire,
    /// A hold's validity moves on.
    Extend,
    /// The lock is given back, or its hold is no longer believed in.
    Release,
}

/// Where events go. Called where the event happens: it should not take long.
pub type Tell = Arc<dyn Fn(&Event) + Send + Sync>;

/// A lock that tells what is done with it.
pub struct Told<L = Box<dyn DistributedLock>> {
    lock: L,
    program: String,
    tell: Tell,
    runtime: SharedRuntime,
    attempts: AtomicU64,
}

impl<L: AsRef<dyn DistributedLock> + Send + Sync> Told<L> {
    /// Tells of what is done with `lock` in the program called `program`, of which the name must be its own.
    pub fn new(lock: L, program: impl Into<String>, tell: Tell) -> Self {
        Self::with_runtime(lock, program, tell, Arc::new(super::runtime::TokioRuntime::from_entropy()))
    }

    /// The same, by the clock of `runtime`, which must be the lock's.
    pub fn with_runtime(lock: L, program: impl Into<String>, tell: Tell, runtime: SharedRuntime) -> Self {
        Self { lock, program: program.into(), tell, runtime, attempts: AtomicU64::new(0) }
    }
}

/// What all events of one attempt share.
struct Attempt {
    process: String,
    lock: LockName,
    token: Option<FencingToken>,
    tell: Tell,
    runtime: SharedRuntime,
    /// Whether the end of the hold has been told: by the loss, or by the release.
    over: AtomicBool,
}

impl Attempt {
    fn tell(&self, kind: EventKind, f: Deed, valid_until: Option<Nanos>, error: Option<String>) {
        let (process, lock) = (self.process.clone(), self.lock.clone());
        let event = Event { time: self.runtime.now(), process, kind, f, lock, token: self.token, valid_until, error };
        (self.tell)(&event);
    }

    /// Tells that the hold is no longer believed in, once.
    fn end(&self, why: Option<String>) {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.tell(EventKind::Invoke, Deed::Release, None, why);
        }
    }

    /// Tells of every change of what the guard promises.
    async fn follow(self: Arc<Self>, mut promises: Promises) {
        let mut until = promises.latest().valid_until;
        while let Some(promise) = promises.next().await {
            if let GuardState::Lost(reason) = &promise.state {
                return self.end(Some(format!("lost: {reason}")));
            }
            if promise.valid_until > until && !self.over.load(Ordering::Relaxed) {
                until = promise.valid_until;
                self.tell(EventKind::Invoke, Deed::Extend, None, None);
                self.tell(EventKind::Ok, Deed::Extend, Some(until), None);
            }
        }
    }
}

/// Tells that an acquire failed, unless it has ended otherwise: its future may be dropped.
struct Asked<'a>(&'a Attempt, bool);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.tell(EventKind::Fail, Deed::Acquire, None, Some("given up".to_owned()));
        }
    }
}

impl<L: AsRef<dyn DistributedLock> + Send + Sync> DistributedLock for Told<L> {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            let number = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
            let mut attempt = Attempt {
                process: format!("{}/{number}", self.program),
                lock: name.clone(),
                token: None,
                tell: Arc::clone(&self.tell),
                runtime: Arc::clone(&self.runtime),
                over: AtomicBool::new(false),
            };
            attempt.tell(EventKind::Invoke, Deed::Acquire, None, None);
            let mut asked = Asked(&attempt, true);
            let acquired = self.lock.as_ref().acquire(name, options).await;
            asked.1 = false;
            drop(asked);
            let guard = match acquired {
                Ok(guard) => guard,
                Err(error) => {
                    attempt.tell(EventKind::Fail, Deed::Acquire, None, Some(error.to_string()));
                    return Err(error);
                }
            };
            attempt.token = guard.token();
            let promises = guard.promises();
            attempt.tell(EventKind::Ok, Deed::Acquire, Some(promises.latest().valid_until), None);
            let attempt = Arc::new(attempt);
            self.runtime.spawn(Arc::clone(&attempt).follow(promises).boxed());
            Ok(guard.around(|release| told(release, attempt)))
        }
        .boxed()
    }
}

/// The same release, told of.
fn told(release: Release, attempt: Arc<Attempt>) -> Release {
    Box::new(move || {
        attempt.end(None);
        let released = release();
        async move {
            let outcome = released.await;
            let (kind, error) = match &outcome {
                ReleaseOutcome::Released => (EventKind::Ok, None),
                ReleaseOutcome::AlreadyExpired => (EventKind::Fail, Some("it was no longer ours".to_owned())),
                ReleaseOutcome::TakenOver => (EventKind::Fail, Some("another client had it".to_owned())),
                ReleaseOutcome::Unknown(reason) => (EventKind::Info, Some(reason.clone())),
            };
            attempt.tell(kind, Deed::Release, None, error);
            outcome
        }
        .boxed()
    })
}

#[cfg(all(test, feature = "harness"))]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::lock::error::LostReason;
    use crate::lock::guard::Hold;
    use crate::lock::runtime::TokioRuntime;
    use crate::seed::Seed;

    /// Grants every wish, for an hour, until it is told to take it away.
    struct Granted(SharedRuntime, Mutex<Vec<Arc<Hold>>>);

    impl DistributedLock for Granted {
        fn acquire<'a>(
            &'a self,
            name: &'a LockName,
            _: &'a AcquireOptions,
        ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
            let hold = Hold::new(self.0.now() + Duration::from_secs(3_600));
            let mut holds = self.1.lock().unwrap();
            holds.push(Arc::clone(&hold));
            let token = Some(FencingToken(holds.len() as u64));
            let release = Box::new(|| std::future::ready(ReleaseOutcome::Released).boxed());
            std::future::ready(Ok(Guard::new(name.clone(), token, hold, Arc::clone(&self.0), release))).boxed()
        }
    }

    /// What was written so far.
    type Lines = Arc<Mutex<Vec<String>>>;

    fn lock() -> (Told<Arc<dyn DistributedLock>>, Arc<Granted>, Lines) {
        let runtime: SharedRuntime = Arc::new(TokioRuntime::new(Seed(1)));
        let granted = Arc::new(Granted(Arc::clone(&runtime), Mutex::default()));
        let lines: Lines = Arc::default();
        let written = Arc::clone(&lines);
        let tell: Tell = Arc::new(move |event| written.lock().unwrap().push(serde_json::to_string(event).unwrap()));
        let lock: Arc<dyn DistributedLock> = granted.clone();
        (Told::with_runtime(lock, "p", tell, runtime), granted, lines)
    }

    #[tokio::test]
    async fn a_turn_is_told_from_end_to_end() {
        let (lock, granted, lines) = lock();
        let name = LockName::new("l");
        let guard = lock.acquire(&name, &AcquireOptions::default()).await.unwrap();
        granted.1.lock().unwrap()[0].update(|validity| validity.until = validity.until + Duration::from_secs(1));
        tokio::task::yield_now().await;
        guard.release().await;
        let lines = lines.lock().unwrap().clone();
        let told: Vec<String> = lines
            .iter()
            .map(|line| {
                let op: serde_json::Value = serde_json::from_str(line).unwrap();
                format!("{} {} {} {}", op["process"], op["type"], op["f"], op["token"])
            })
            .collect();
        let expected = [
            r#""p/1" "invoke" "acquire" null"#,
            r#""p/1" "ok" "acquire" 1"#,
            r#""p/1" "invoke" "extend" 1"#,
            r#""p/1" "ok" "extend" 1"#,
            r#""p/1" "invoke" "release" 1"#,
            r#""p/1" "ok" "release" 1"#,
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn a_loss_is_a_release_that_has_begun_and_is_told_once() {
        let (lock, granted, lines) = lock();
        let guard = lock.acquire(&LockName::new("l"), &AcquireOptions::default()).await.unwrap();
        granted.1.lock().unwrap()[0].lose(LostReason::Expired);
        tokio::task::yield_now().await;
        assert!(lines.lock().unwrap().last().unwrap().contains("lost: the validity ran out"));
        guard.release().await;
        let lines = lines.lock().unwrap();
        assert_eq!(lines.iter().filter(|line| line.contains("release") && line.contains("invoke")).count(), 1);
        assert!(lines.last().unwrap().contains(r#""type":"ok","f":"release""#));
    }

    #[tokio::test]
    async fn an_acquire_that_is_dropped_has_failed() {
        struct Never;
        impl DistributedLock for Never {
            fn acquire<'a>(
                &'a self,
                _: &'a LockName,
                _: &'a AcquireOptions,
            ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
                std::future::pending().boxed()
            }
        }
        let lines: Lines = Arc::default();
        let written = Arc::clone(&lines);
        let tell: Tell = Arc::new(move |event| written.lock().unwrap().push(serde_json::to_string(event).unwrap()));
        let lock: Told<Arc<dyn DistributedLock>> = Told::new(Arc::new(Never), "p", tell);
        assert!(lock.acquire(&LockName::new("l"), &AcquireOptions::default()).now_or_never().is_none());
        assert!(lines.lock().unwrap().last().unwrap().contains(r#""type":"fail","f":"acquire""#));
    }
}
