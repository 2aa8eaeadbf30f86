//! Sees what others do to what a trial uses: to its containers, to the daemon, to this machine.
//!
//! Whatever was not ours is an op of the history, `outside`, from the earliest moment at which it may have begun. Three
//! eyes: Docker's events, less those that this process asked for ([`super::own_requests`]); each container's state and
//! start, before and after the trial, for what an event did not tell; and a pulse of our own, which stumbles when the
//! machine stands still, sleeps, has its wall clock set, or is kept from its processors by whatever it is a guest of.
//! Deliberately absent: what may still be concluded; that is the history's reach. Not seen: what a program does inside
//! of a container that was there before (one that somebody starts there is), or to its network by other means than
//! Docker's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use rustix::time::ClockId;
use tokio::task::JoinHandle;

use super::clock_page;
use super::container::{Container, Standing, State};
use super::engine::Engine;
use super::own_requests::OwnRequests;
use crate::history::recorder::Record;
use crate::history::{F, Op, OpType, Process};
use crate::time::{BootClock, Clock, Nanos};

/// What is done to a container may have its effect so long before Docker tells of it.
const BEFORE: Duration = Duration::from_secs(1);
/// The pulse.
const BEAT: Duration = Duration::from_millis(200);
/// A beat so late means that the machine stood still. A laden one is late by tenths of a second.
const STANDSTILL: Duration = Duration::from_secs(2);
/// A wall clock that moves so far against the other within a beat was set; one that is disciplined moves by far less.
const STEP: i64 = 500_000_000;

/// How long the time that was stolen from this machine is summed up before it is looked at.
const WINDOW: i64 = 2_000_000_000;
/// A guest that does not get half of the processors' time for so long runs its programs in jerks.
const MOST_STOLEN: f64 = 0.5;

/// What happens to a container, in Docker's words, and in ours.
const ACTIONS: [(&str, &str); 13] = [
    ("kill", "was sent a signal"),
    ("die", "ended"),
    ("oom", "ran out of memory"),
    ("pause", "was frozen"),
    ("unpause", "was thawed"),
    ("stop", "was stopped"),
    ("start", "was started"),
    ("restart", "was restarted"),
    ("destroy", "was removed"),
    ("update", "was given other limits"),
    ("connect", "was put on a network"),
    ("disconnect", "was taken off a network"),
    // With the command line behind it: whatever it does is not ours.
    ("exec_start", "had a program started in it"),
];

/// A daemon that stops gives its containers ten seconds to end, and ends then.
const STOPPING: Duration = Duration::from_secs(15);

/// What is known of the daemon.
#[derive(Debug, Default)]
struct Daemon {
    /// Something has happened to a container that was not ours.
    is_suspect: AtomicBool,
    /// It no longer tells what happens.
    has_stopped: AtomicBool,
    /// The names of the containers that something happened to which was not ours.
    told: Mutex<BTreeSet<String>>,
}

/// The watch over one trial. Dropping it ends it.
pub struct Watch {
    eyes: [JoinHandle<()>; 2],
    engine: Engine,
    record: Arc<dyn Record>,
    began: Nanos,
    daemon: Arc<Daemon>,
    before: Vec<(Container, Standing)>,
}

impl Watch {
    /// Watches over `containers`. What others do goes to `record`.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn start(engine: &Engine, containers: Vec<Container>, record: Arc<dyn Record>) -> anyhow::Result<Self> {
        let began = BootClock.now();
        let (_, wall) = clock_page::with_wall(ClockId::Boottime);
        // What a trial is prepared with is done by now: its events are of before.
        containers.iter().for_each(|container| engine.own_requests().forget(container.id()));
        let names: BTreeMap<String, String> =
            containers.iter().map(|container| (container.id().to_owned(), container.name.clone())).collect();
        let daemon = Arc::new(Daemon::default());
        let events = events(engine.clone(), names, wall, Arc::clone(&record), Arc::clone(&daemon));
        let events = tokio::spawn(events);
        let mut before = Vec::new();
        for container in containers {
            let standing = engine.standing(&container).await?;
            before.push((container, standing));
        }
        let pulse = tokio::spawn(pulse(Arc::clone(&record)));
        Ok(Self { eyes: [events, pulse], engine: engine.clone(), record, began, daemon, before })
    }

    /// Whether the daemon has stopped, and its containers with it; they end before it does, so that whoever asks for
    /// the reason why one ended has to wait a moment. Without anything that was not ours there is nothing to wait for.
    pub async fn daemon_stops(&self) -> bool {
        let limit = BootClock.now() + STOPPING;
        while self.daemon.is_suspect.load(Ordering::Relaxed)
            && !self.daemon.has_stopped.load(Ordering::Relaxed)
            && BootClock.now() < limit
        {
            tokio::time::sleep(BEAT).await;
        }
        self.daemon.has_stopped.load(Ordering::Relaxed)
    }

    /// Ends the watch with a last look: whatever no event has told of may have been so from the beginning.
    pub async fn end(mut self) {
        for (container, before) in &self.before {
            if self.daemon.told.lock().unwrap_or_else(PoisonError::into_inner).contains(&container.name) {
                continue;
            }
            let told = match self.engine.standing(container).await {
                Ok(now) if now.state != State::Running => format!("{} is {} at the end", container.name, now.state),
                // We start what we kill: only an event can tell that somebody else did.
                Ok(now) if now.started == before.started || self.engine.own_requests().has_started(container.id()) => {
                    continue;
                }
                Ok(_) => format!("{} was started anew", container.name),
                // Until now its events would have told.
                Err(error) => {
                    note(&*self.record, BootClock.now(), format!("{}: {error}", container.name));
                    continue;
                }
            };
            note(&*self.record, self.began, told);
        }
        for eye in &mut self.eyes {
            eye.abort();
            // An aborted task that is at work on another thread is not over yet, and would still record.
            let _ = eye.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.eyes.iter().for_each(JoinHandle::abort);
    }
}

/// Records what was not ours.
pub(super) fn note(record: &dyn Record, since: Nanos, what: String) {
    let mut op = Op::new(BootClock.now(), Process::Outside, OpType::Info, F::Outside);
    (op.since, op.error) = (Some(since), Some(what));
    record.record(op);
}

/// Records what happens to containers that nobody here has asked for, from `began` on, which is the wall clock's.
async fn events(
    engine: Engine,
    names: BTreeMap<String, String>,
    began: i64,
    record: Arc<dyn Record>,
    daemon: Arc<Daemon>,
) {
    // Without a label: a network's events have none. Whose they are is told by the containers' ids.
    let filters = HashMap::from([("type", vec!["container".to_owned(), "network".to_owned()])]);
    // From the last whole second on; what was before the watch is left out below.
    let since = began / 1_000_000_000;
    let options = EventsOptionsBuilder::new().since(&since.to_string()).filters(&filters).build();
    let mut heard = BootClock.now();
    let mut told = std::pin::pin!(engine.docker().events(Some(options)));
    while let Some(Ok(event)) = told.next().await {
        heard = BootClock.now();
        let is_of_before = event.time_nano.is_some_and(|at| at < began);
        if !is_of_before && let Some((at, name, happened)) = outside(engine.own_requests(), &names, &event) {
            daemon.is_suspect.store(true, Ordering::Relaxed);
            let what = format!("{name} {happened}, not by us");
            daemon.told.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
            note(&*record, Nanos(at.0.saturating_sub(BEFORE.as_nanos() as u64)), what);
        }
    }
    daemon.has_stopped.store(true, Ordering::Relaxed);
    note(&*record, heard, "the Docker daemon stopped telling what happens to containers".to_owned());
}

/// When an event was, to which of `names`, and what, if it was not asked for here.
fn outside(
    own_requests: &OwnRequests,
    names: &BTreeMap<String, String>,
    event: &EventMessage,
) -> Option<(Nanos, String, &'static str)> {
    let actor = event.actor.as_ref()?;
    let of_network = || actor.attributes.as_ref()?.get("container");
    let (id, name) = [actor.id.as_ref(), of_network()].into_iter().flatten().find_map(|id| names.get_key_value(id))?;
    let action = event.action.as_deref()?;
    let action = action.split_once(": ").map_or(action, |(action, _)| action);
    let (_, happened) = ACTIONS.iter().find(|(known, _)| *known == action)?;
    if own_requests.explains(id, action) {
        return None;
    }
    let (boot, wall) = clock_page::with_wall(ClockId::Boottime);
    let ago = event.time_nano.map_or(0, |at| (wall - at).max(0));
    Some((Nanos(boot.saturating_sub(ago).unsigned_abs()), name.clone(), happened))
}

/// Records when this machine stood still, when its wall clock was set, and when its processors were somebody else's.
async fn pulse(record: Arc<dyn Record>) {
    let mut last = clock_page::with_wall(ClockId::Boottime);
    let mut window = (last.0, shares());
    loop {
        tokio::time::sleep(BEAT).await;
        let now = clock_page::with_wall(ClockId::Boottime);
        for what in stumbles(last, now) {
            note(&*record, Nanos(last.0.unsigned_abs()), what);
        }
        last = now;
        if now.0 - window.0 >= WINDOW {
            let shares = shares();
            if let Some(what) = window.1.zip(shares).and_then(|(before, now)| stolen(before, now)) {
                note(&*record, Nanos(window.0.unsigned_abs()), what);
            }
            window = (now.0, shares);
        }
    }
}

/// What all processors together have spent since the machine was started, and how much of it its host kept from it:
/// both in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shares {
    all: u64,
    stolen: u64,
}

/// Reads them; none where the system does not tell.
fn shares() -> Option<Shares> {
    shares_in(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// From the line `cpu user nice system idle iowait irq softirq steal guest guest_nice`; the last two are in the first
/// two.
fn shares_in(stat: &str) -> Option<Shares> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(|ticks| ticks.parse().ok()).collect::<Option<_>>()?;
    Some(Shares { all: ticks.iter().sum(), stolen: *ticks.get(7)? })
}

/// What is to be told of the time that was stolen between two looks.
fn stolen(before: Shares, now: Shares) -> Option<String> {
    let (all, stolen) = (now.all.checked_sub(before.all)?, now.stolen.checked_sub(before.stolen)?);
    let share = stolen as f64 / all.max(1) as f64;
    (share >= MOST_STOLEN)
        .then(|| format!("this machine's host kept {:.0} % of the processors' time from it", share * 100.0))
}

/// What is wrong between two beats; each is the time since the machine was started, and the wall clock's, in ns.
fn stumbles((boot, wall): (i64, i64), (next, next_wall): (i64, i64)) -> Vec<String> {
    let passed = next - boot;
    let (late, step) = (passed - BEAT.as_nanos() as i64, next_wall - wall - passed);
    let stood = late >= STANDSTILL.as_nanos() as i64;
    let seconds = |nanos: i64| nanos as f64 / 1e9;
    let stood = stood.then(|| format!("this machine stood still for {:.1} s", seconds(late)));
    let stepped = step.abs() >= STEP;
    let stepped = stepped.then(|| format!("this machine's wall clock was set by {:+.1} s", seconds(step)));
    stood.into_iter().chain(stepped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn what_is_done_to_a_container_of_ours_is_told_and_what_is_done_to_others_is_not() {
        let own_requests = OwnRequests::default();
        let names = BTreeMap::from([("0a".to_owned(), "fencepost-redis-1".to_owned())]);
        let told = |id: &str, action: &str, container: Option<&str>| {
            let attributes =
                container.map(|id| std::collections::HashMap::from([("container".to_owned(), id.to_owned())]));
            let actor = bollard::models::EventActor { id: Some(id.to_owned()), attributes };
            let event = EventMessage { actor: Some(actor), action: Some(action.to_owned()), ..EventMessage::default() };
            outside(&own_requests, &names, &event).map(|(_, name, happened)| format!("{name} {happened}, not by us"))
        };
        let ours = |what: &str| Some(format!("fencepost-redis-1 {what}, not by us"));
        own_requests.note("0a", &["die", "disconnect"]);
        assert_eq!(told("net", "disconnect", Some("0a")), None, "we have killed it");
        assert_eq!(told("0a", "update", None), ours("was given other limits"));
        assert_eq!(told("net", "disconnect", Some("0a")), ours("was taken off a network"));
        assert_eq!(told("0a", "exec_start: redis-cli shutdown", None), ours("had a program started in it"));
        for (id, action, container) in [("0b", "kill", None), ("net", "disconnect", Some("0b")), ("0a", "top", None)] {
            assert_eq!(told(id, action, container), None);
        }
    }

    #[test]
    fn a_guest_that_does_not_run_is_told_from_one_that_is_laden() {
        let stat =
            |idle: u64, steal: u64| format!("cpu  100 5 50 {idle} 7 0 3 {steal} 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n");
        let at = |idle, steal| shares_in(&stat(idle, steal)).unwrap();
        assert_eq!(at(1_000, 10), Shares { all: 1_175, stolen: 10 });
        assert_eq!(stolen(at(1_000, 10), at(1_000, 10)), None);
        assert_eq!(stolen(at(1_000, 10), at(1_300, 109)), None, "a quarter");
        let told = stolen(at(1_000, 10), at(1_100, 310)).unwrap();
        assert!(told.contains("75 %"), "{told}");
        assert_eq!(shares_in("cpu  1 2 3 4 5 6 7\n"), None, "a kernel that does not tell");
        assert_eq!(shares_in("intr 5"), None);
        // Counters that go back, as some hosts' do, tell nothing.
        assert_eq!(stolen(at(1_000, 310), at(1_100, 10)), None);
    }

    #[test]
    fn a_stumble_is_told_and_a_late_beat_is_not() {
        let told = |next, next_wall| stumbles((10 * S, 50 * S), (next, next_wall));
        assert_eq!(told(10 * S + S / 5, 50 * S + S / 5), [""; 0]);
        assert_eq!(told(11 * S, 51 * S), [""; 0], "a laden machine");
        assert_eq!(told(13 * S, 53 * S), ["this machine stood still for 2.8 s"]);
        assert_eq!(told(10 * S + S / 5, 46 * S), ["this machine's wall clock was set by -4.2 s"]);
        assert_eq!(told(15 * S, 60 * S).len(), 2);
    }
}
