//! Sees what others do to what a trial uses: to its containers, to the daemon, to this machine.
//!
//! Whatever was not ours is an op of the history, `outside`, from the earliest moment at which it may have begun. Three
//! eyes: Docker's events, less those that this process asked for ([`super::doings`]); each container's state and start,
//! before and after the trial, for what an event did not tell; and a pulse of our own, which stumbles when the machine
//! stands still, sleeps, or has its wall clock set. Deliberately absent: what may still be concluded; that is the history's
//! reach. Not seen: what is done inside of a container, or to its network by other means than Docker's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use rustix::time::ClockId;
use tokio::task::JoinHandle;

use super::clock_page;
use super::cluster_name::cluster;
use super::engine::{Container, Engine, LABEL_CLUSTER, Standing, State};
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

/// What happens to a container, in Docker's words, and in ours.
const ACTIONS: [(&str, &str); 10] = [
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
];

/// The watch over one trial. Dropping it ends it.
pub struct Watch {
    eyes: [JoinHandle<()>; 2],
    engine: Engine,
    record: Arc<dyn Record>,
    began: Nanos,
    before: Vec<(Container, Standing)>,
}

impl Watch {
    /// Watches over `containers`. What others do goes to `record`.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn start(engine: &Engine, containers: Vec<Container>, record: Arc<dyn Record>) -> anyhow::Result<Self> {
        let began = BootClock.now();
        let names: BTreeMap<String, String> =
            containers.iter().map(|container| (container.id().to_owned(), container.name.clone())).collect();
        let events = tokio::spawn(events(engine.clone(), names, Arc::clone(&record)));
        let mut before = Vec::new();
        for container in containers {
            let standing = engine.standing(&container).await?;
            before.push((container, standing));
        }
        let pulse = tokio::spawn(pulse(Arc::clone(&record)));
        Ok(Self { eyes: [events, pulse], engine: engine.clone(), record, began, before })
    }

    /// Ends the watch with a last look: whatever no event has told of may have been so from the beginning.
    pub async fn end(self) {
        for (container, before) in &self.before {
            let told = match self.engine.standing(container).await {
                Ok(now) if now.state != State::Running => format!("{} is {} at the end", container.name, now.state),
                // We start what we kill: only an event can tell that somebody else did.
                Ok(now) if now.started == before.started || self.engine.doings().has_started(container.id()) => {
                    continue;
                }
                Ok(_) => format!("{} was started anew", container.name),
                Err(error) => format!("{}: {error}", container.name),
            };
            note(&*self.record, self.began, told);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.eyes.iter().for_each(JoinHandle::abort);
    }
}

fn note(record: &dyn Record, since: Nanos, what: String) {
    let mut op = Op::new(BootClock.now(), Process::Outside, OpType::Info, F::Outside);
    (op.since, op.error) = (Some(since), Some(what));
    record.record(op);
}

/// Records what happens to containers that nobody here has asked for.
async fn events(engine: Engine, names: BTreeMap<String, String>, record: Arc<dyn Record>) {
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("label", vec![format!("{LABEL_CLUSTER}={}", cluster())]),
    ]);
    let (_, began) = clock_page::with_wall(ClockId::Boottime);
    // From the last whole second on; what was before the watch is left out below.
    let since = began / 1_000_000_000;
    let options = EventsOptionsBuilder::new().since(&since.to_string()).filters(&filters).build();
    let mut heard = BootClock.now();
    let mut told = std::pin::pin!(engine.docker().events(Some(options)));
    while let Some(Ok(event)) = told.next().await {
        heard = BootClock.now();
        let is_of_before = event.time_nano.is_some_and(|at| at < began);
        if !is_of_before && let Some((at, what)) = outside(&engine, &names, &event) {
            note(&*record, Nanos(at.0.saturating_sub(BEFORE.as_nanos() as u64)), what);
        }
    }
    note(&*record, heard, "the Docker daemon stopped telling what happens to containers".to_owned());
}

/// When an event was, and what, if it is about one of `names` and was not asked for here.
fn outside(engine: &Engine, names: &BTreeMap<String, String>, event: &EventMessage) -> Option<(Nanos, String)> {
    let id = event.actor.as_ref()?.id.as_ref()?;
    let name = names.get(id)?;
    let action = event.action.as_deref()?;
    let (_, happened) = ACTIONS.iter().find(|(known, _)| *known == action)?;
    if engine.doings().explains(id, action) {
        return None;
    }
    let (boot, wall) = clock_page::with_wall(ClockId::Boottime);
    let ago = event.time_nano.map_or(0, |at| (wall - at).max(0));
    Some((Nanos(boot.saturating_sub(ago).unsigned_abs()), format!("{name} {happened}, not by us")))
}

/// Records when this machine stood still, and when its wall clock was set.
async fn pulse(record: Arc<dyn Record>) {
    let mut last = clock_page::with_wall(ClockId::Boottime);
    loop {
        tokio::time::sleep(BEAT).await;
        let now = clock_page::with_wall(ClockId::Boottime);
        for what in stumbles(last, now) {
            note(&*record, Nanos(last.0.unsigned_abs()), what);
        }
        last = now;
    }
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
    fn a_stumble_is_told_and_a_late_beat_is_not() {
        let told = |next, next_wall| stumbles((10 * S, 50 * S), (next, next_wall));
        assert_eq!(told(10 * S + S / 5, 50 * S + S / 5), [""; 0]);
        assert_eq!(told(11 * S, 51 * S), [""; 0], "a laden machine");
        assert_eq!(told(13 * S, 53 * S), ["this machine stood still for 2.8 s"]);
        assert_eq!(told(10 * S + S / 5, 46 * S), ["this machine's wall clock was set by -4.2 s"]);
        assert_eq!(told(15 * S, 60 * S).len(), 2);
    }
}
