//! Everything that changes in a simulation: true time, the queue of what is to happen, machines, timers, the net, the
//! record.
//!
//! Deliberately absent: what happens to it. That is in the files that build on this one, up to the event loop
//! ([`super::world`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use super::clock::HostClock;
use super::connection::Net;
use super::ids::{HostId, Power};
use super::interception::Interception;
use super::processes::Processes;
use super::queue::{Event, Queue};
use super::server::{Effect, Incoming, Server};
use super::sync::lock;
use super::timers::{Alarm, TimerKey, Timers};
use super::trace::{Kind, Trace};
use crate::fault::{ClockChange, Member};
use crate::history::Op;
use crate::ids::NodeId;
use crate::scenario::Simulation;
use crate::seed::Seed;
use crate::time::Nanos;

/// One machine.
pub struct Host {
    /// Who it is in the trial; `None` for the harness itself, which no fault reaches.
    pub member: Option<Member>,
    /// Whether its program runs.
    pub power: Power,
    /// Since when its program is frozen, if it is.
    pub frozen: Option<u64>,
    /// Its clocks.
    pub clock: HostClock,
    /// What its kernel holds for the frozen program.
    pub inbox: VecDeque<Incoming>,
    /// Its program, if that is a server; others are futures, polled by the scheduler.
    pub server: Option<Box<dyn Server>>,
    /// The server's timer.
    pub alarm: Alarm,
}

impl Host {
    /// A machine that runs.
    pub fn new(member: Option<Member>, clock: HostClock, server: Option<Box<dyn Server>>) -> Self {
        let (power, frozen, inbox, alarm) = (Power::Running, None, VecDeque::new(), Alarm::default());
        Self { member, power, frozen, clock, inbox, server, alarm }
    }

    /// The lock server that it is, if it is one.
    pub fn node(&self) -> Option<NodeId> {
        match self.member {
            Some(Member::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// Its program, if that is a server of this kind.
    pub fn server<S: Server>(&self) -> Option<&S> {
        self.server.as_ref().and_then(|server| server.downcast())
    }
}

/// Where all parties' ops end up, in the order in which they happened.
#[derive(Default)]
pub struct Recording {
    /// The true time at which the trial began: ops count from there.
    pub start: AtomicU64,
    /// The ops, their instants in true time.
    pub ops: Mutex<Vec<Op>>,
}

impl Recording {
    /// Takes an op whose instants are in true time.
    pub fn push(&self, mut op: Op) {
        op.rebase(Nanos(self.start.load(atomic::Ordering::Relaxed)));
        lock(&self.ops).push(op);
    }
}

/// Everything that changes, in one place.
pub struct State {
    /// True time, in nanoseconds since the simulation began.
    pub now: u64,
    /// How often somebody waited for what was already past, in the instant behind it.
    hasty: (u32, u64),
    queue: Queue,
    /// The timers of programs.
    pub timers: Timers,
    /// Which clocks strobe, by machine and strike.
    pub strobes: BTreeMap<(HostId, u32), ClockChange>,
    /// All machines.
    pub hosts: Vec<Host>,
    /// All that is between them.
    pub net: Net,
    /// Room for what a server wants done, kept from one time to the next.
    pub effects: Vec<Effect>,
    /// What happened, as a hash.
    pub trace: Trace,
    /// What clients are about, if the plan strikes requests.
    pub interception: Option<Interception>,
    /// The ops of the run.
    pub recording: Arc<Recording>,
    /// What the scheduler is told.
    pub processes: Arc<Processes>,
}

impl State {
    /// The state in which a simulation of these machines begins.
    pub fn new(hosts: Vec<Host>, seed: Seed, simulation: Simulation, mut trace: Trace) -> Self {
        let names = hosts.iter().map(|host| host.member.map_or("harness".to_owned(), |member| member.to_string()));
        let names: Vec<String> = names.collect();
        trace.name_machines(names.clone());
        Self {
            now: 0,
            hasty: (0, 0),
            queue: Queue::new(),
            timers: Timers::default(),
            strobes: BTreeMap::new(),
            net: Net::new(seed, names, simulation.into()),
            processes: Arc::new(Processes::new(hosts.len())),
            hosts,
            effects: Vec::new(),
            trace,
            interception: None,
            recording: Arc::default(),
        }
    }

    /// Puts something into the queue, to happen at true time `at`.
    pub fn schedule(&mut self, at: u64, event: Event) {
        self.queue.push(at, event);
    }

    /// What happens next. Timers that were taken back, mostly deadlines that were met early, are passed over.
    pub fn next(&mut self) -> Option<(u64, Event)> {
        let timers = &self.timers;
        let taken_back = |event: &Event| match *event {
            Event::Timer(slot, generation) => !timers.is_armed(TimerKey { slot, generation }),
            _ => false,
        };
        self.queue.pop(taken_back).map(|due| (due.time, due.event))
    }

    /// What a machine's monotonic clock shows now.
    pub fn mono(&self, host: HostId) -> Nanos {
        self.hosts[host].clock.mono(self.now)
    }

    /// Arms a timer that wakes when the machine's monotonic clock shows `deadline`.
    pub fn arm(&mut self, host: HostId, deadline: Nanos, waker: Waker) -> TimerKey {
        let key = self.timers.add(host, deadline, waker);
        let at = self.hosts[host].clock.when(deadline).max(self.now);
        self.schedule(at, Event::Timer(key.slot, key.generation));
        key
    }

    /// Notes that somebody waited for what was already past; whether that has happened very often in this instant.
    pub fn is_hasty(&mut self) -> bool {
        const OFTEN: u32 = 10_000;
        let (count, at) = self.hasty;
        self.hasty = if at == self.now { (count.saturating_add(1), at) } else { (1, self.now) };
        self.hasty.0 > OFTEN
    }

    /// A program's timer has come, unless it was taken back.
    pub fn timer_fires(&mut self, time: u64, key: TimerKey) {
        let Some((host, deadline)) = self.timers.get(key) else { return };
        let clock = &self.hosts[host].clock;
        if clock.mono(time) < deadline {
            // The clock was slowed down meanwhile.
            let at = clock.when(deadline);
            self.schedule(at, Event::Timer(key.slot, key.generation));
            return;
        }
        self.now = time;
        self.trace.event_in_words(time, host, Kind::Timer, &deadline, |_| {
            format!("a timer runs out, set for {} ns on its own clock", deadline.0)
        });
        if let Some(waker) = self.timers.take(key) {
            waker.wake();
        }
    }

    /// Records an op whose instants are in true time.
    pub fn record(&mut self, host: HostId, op: Op) {
        if let Some(interception) = &mut self.interception {
            interception.hear(host, &op);
        }
        let fault = op.fault.as_ref().map(|fault| (fault.id, &fault.targets));
        let payload = (op.process, op.kind, op.f, &op.hold, op.token, op.value, op.valid_until, &op.error, fault);
        self.trace.event_in_words(self.now, host, Kind::Op, &payload, |_| {
            // As its line in the history, but for the index, which comes later.
            format!("records {}", serde_json::to_string(&op).unwrap_or_else(|_| format!("{op:?}")))
        });
        self.recording.push(op);
    }
}
