//! The simulated world: true time, the queue of what is to happen, machines, timers.
//!
//! One queue holds everything that will happen by itself: deliveries, timers, retransmissions. Nothing in here runs a program: futures are polled by [`super::scheduler`], outside of this lock, so
//! that a program can call into the world from anywhere, also from a destructor.

use std::collections::VecDeque;
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::clock::HostClock;
use super::ledger::Ledger;
use super::net::{ConnectionId, Net};
use super::node::{Incoming, Role};
use super::queue::Queue;
use super::requests::Tap;
use super::scheduler::Processes;
use super::trace::{Kind, Trace};
use super::zookeeper::Output;
use crate::fault::{ClockChange, Member};
use crate::history::{Op, ServerRecord};
use crate::scenario::Simulation;
use crate::seed::Seed;
use crate::time::Nanos;

/// A machine, by its place in the list.
pub(super) type HostId = usize;

/// One life of the program on a machine: a crash ends it, a restart begins the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ProcessId {
    /// The machine.
    pub host: HostId,
    /// Counts the machine's crashes.
    pub life: u32,
}

/// Whether a machine's program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// It runs, or is frozen.
    Running,
    /// The process is gone, its kernel answers for it.
    Killed,
    /// The machine is off: nobody answers.
    Off,
}

/// One machine.
pub(super) struct Host {
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
    /// What its program is.
    pub role: Role,
}

/// Something that will happen. Small, because it is moved about in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A program's timer, by slot and generation.
    Timer(u32, u32),
    /// A segment in flight reaches its machine.
    Arrival(u32),
    /// A sender looks whether its lost segments come through now: connection, direction, round.
    Retransmission(ConnectionId, u8, u32),
    /// A ZooKeeper server's timer is due: machine, generation.
    Node(u32, u32),
    /// A strobing clock moves to its other side: machine, strike.
    Flip(u32, u32),
}

struct TimerSlot {
    generation: u32,
    host: HostId,
    deadline: Nanos,
    waker: Option<Waker>,
}

/// A registered timer.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimerKey {
    slot: u32,
    generation: u32,
}

/// Where all parties' ops end up, in the order in which they happened.
#[derive(Default)]
pub(super) struct Recording {
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
pub(super) struct State {
    /// True time, in nanoseconds since the simulation began.
    pub now: u64,
    /// How often somebody waited for what was already past, in the instant behind it.
    hasty: (u32, u64),
    queue: Queue,
    timers: Vec<TimerSlot>,
    free_timers: Vec<u32>,
    strobes: std::collections::BTreeMap<(HostId, u32), ClockChange>,
    pub hosts: Vec<Host>,
    pub net: Net,
    /// Room for what a server wants done, kept from one input to the next.
    pub outputs: Vec<Output>,
    pub trace: Trace,
    /// What clients are about, if the plan strikes requests.
    pub tap: Option<Tap>,
    /// What the lock servers had for whom.
    pub ledger: Ledger,
    pub recording: Arc<Recording>,
    pub processes: Arc<Processes>,
}

/// The world as its parties share it.
pub(super) struct World {
    state: Mutex<State>,
    /// What the scheduler and the world tell each other.
    pub processes: Arc<Processes>,
    /// The ops of the run.
    pub recording: Arc<Recording>,
}

impl World {
    /// A world of these machines.
    pub fn new(hosts: Vec<Host>, seed: Seed, simulation: Simulation, mut trace: Trace) -> Arc<Self> {
        let processes = Arc::new(Processes::new(hosts.len()));
        let recording = Arc::new(Recording::default());
        let names = hosts.iter().map(|host| host.member.map_or("harness".to_owned(), |member| member.to_string()));
        let names: Vec<String> = names.collect();
        trace.name_machines(names.clone());
        let state = State {
            now: 0,
            hasty: (0, 0),
            queue: Queue::new(),
            timers: Vec::new(),
            free_timers: Vec::new(),
            strobes: Default::default(),
            net: Net::new(seed, names, simulation.into()),
            hosts,
            outputs: Vec::new(),
            trace,
            tap: None,
            ledger: Ledger::default(),
            recording: Arc::clone(&recording),
            processes: Arc::clone(&processes),
        };
        Arc::new(Self { state: Mutex::new(state), processes, recording })
    }

    /// The world's state, for as long as the guard lives. Never held while a program runs.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Lets things happen until somebody can go on because of it; `false` if there is nothing more to come.
    pub fn step(&self) -> bool {
        let mut state = self.lock();
        while let Some((time, event)) = state.next() {
            state.happen(time, event);
            if self.processes.stirred() {
                return true;
            }
        }
        false
    }

    /// Takes out what the lock servers had, when the run is over; from the run's start.
    pub fn take_ledger(&self) -> Vec<ServerRecord> {
        let mut state = self.lock();
        let State { hosts, ledger, now, .. } = &mut *state;
        for (host, machine) in hosts.iter().enumerate() {
            ledger.settle(host, &machine.clock, *now);
        }
        let start = Nanos(self.recording.start.load(atomic::Ordering::Relaxed));
        let mut records = ledger.take();
        // What was over before the trial began, as connections were warmed up, is no part of it.
        records.retain(|record| record.over().is_none_or(|over| over >= start));
        records.iter_mut().for_each(|record| record.rebase(start));
        records
    }

    /// Takes the trace out, when the run is over.
    pub fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.lock().trace)
    }
}

/// Locks; a panic elsewhere does not make the state unreadable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Puts something into the queue, to happen at true time `at`.
    pub fn schedule(&mut self, at: u64, event: Event) {
        self.queue.push(at, event);
    }

    /// What happens next. Timers that were taken back, mostly deadlines that were met early, are passed over.
    fn next(&mut self) -> Option<(u64, Event)> {
        let timers = &self.timers;
        let taken_back = |event: &Event| match event {
            Event::Timer(slot, generation) => timers[*slot as usize].generation != *generation,
            _ => false,
        };
        self.queue.pop(taken_back).map(|due| (due.time, due.event))
    }

    /// Lets one event happen, unless it has become void meanwhile.
    fn happen(&mut self, time: u64, event: Event) {
        match event {
            Event::Timer(slot, generation) => self.timer_fires(time, slot, generation),
            Event::Arrival(flying) => {
                self.now = time;
                self.arrive(flying);
            }
            Event::Retransmission(connection, direction, round) => self.retransmit(time, connection, direction, round),
            Event::Node(host, generation) => self.node_timer(time, host as HostId, generation),
            Event::Flip(host, id) => {
                let host = host as HostId;
                let Some(ClockChange::Strobe { by_ns, period }) = self.strobes.get(&(host, id)).copied() else {
                    return;
                };
                self.now = time;
                self.before_clock_change(host);
                self.hosts[host].clock.flip(id, by_ns);
                self.trace.event(time, host, Kind::Fault, &("flip", id));
                self.schedule(time + period.as_nanos() as u64, event);
            }
        }
    }

    /// Arms a timer that wakes when the machine's monotonic clock shows `deadline`.
    pub fn arm(&mut self, host: HostId, deadline: Nanos, waker: Waker) -> TimerKey {
        let slot = self.free_timers.pop().unwrap_or_else(|| {
            self.timers.push(TimerSlot { generation: 0, host, deadline, waker: None });
            self.timers.len() as u32 - 1
        });
        let timer = &mut self.timers[slot as usize];
        *timer = TimerSlot { generation: timer.generation, host, deadline, waker: Some(waker) };
        let key = TimerKey { slot, generation: timer.generation };
        let at = self.hosts[host].clock.when(deadline).max(self.now);
        self.schedule(at, Event::Timer(slot, key.generation));
        key
    }

    /// Notes that somebody waited for what was already past; whether that has happened very often in this instant.
    pub fn is_hasty(&mut self) -> bool {
        const OFTEN: u32 = 10_000;
        let (count, at) = self.hasty;
        self.hasty = if at == self.now { (count.saturating_add(1), at) } else { (1, self.now) };
        self.hasty.0 > OFTEN
    }

    /// Has an armed timer wake somebody else; `false` if it has gone off.
    pub fn rearm(&mut self, key: TimerKey, waker: &Waker) -> bool {
        let timer = &mut self.timers[key.slot as usize];
        let armed = timer.generation == key.generation;
        if armed && !timer.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            timer.waker = Some(waker.clone());
        }
        armed
    }

    /// Takes a timer back, if it has not gone off.
    pub fn disarm(&mut self, key: TimerKey) {
        if self.timers[key.slot as usize].generation == key.generation {
            self.free_timer(key.slot);
        }
    }

    fn free_timer(&mut self, slot: u32) -> Option<Waker> {
        let timer = &mut self.timers[slot as usize];
        timer.generation = timer.generation.wrapping_add(1);
        self.free_timers.push(slot);
        timer.waker.take()
    }

    fn timer_fires(&mut self, time: u64, slot: u32, generation: u32) {
        let timer = &self.timers[slot as usize];
        if timer.generation != generation {
            return;
        }
        let (host, deadline) = (timer.host, timer.deadline);
        let clock = &self.hosts[host].clock;
        if clock.mono(time) < deadline {
            // The clock was slowed down meanwhile.
            let at = clock.when(deadline);
            self.schedule(at, Event::Timer(slot, generation));
            return;
        }
        self.now = time;
        self.trace.event_in_words(time, host, Kind::Timer, &deadline, |_| {
            format!("a timer runs out, set for {} ns on its own clock", deadline.0)
        });
        if let Some(waker) = self.free_timer(slot) {
            waker.wake();
        }
    }

    /// Makes the clock of a machine go wrong, under the number of a strike.
    pub fn change_clock(&mut self, host: HostId, id: u32, change: &ClockChange) {
        self.before_clock_change(host);
        let now = self.now;
        self.hosts[host].clock.change(id, change, now);
        if let ClockChange::Strobe { period, .. } = change {
            self.strobes.insert((host, id), *change);
            self.schedule(now + period.as_nanos() as u64, Event::Flip(host as u32, id));
        }
        self.after_clock_change(host);
    }

    /// Undoes what strike `id` did to the clock of a machine.
    pub fn undo_clock(&mut self, host: HostId, id: u32) {
        self.before_clock_change(host);
        let now = self.now;
        self.hosts[host].clock.undo(id, now);
        self.strobes.remove(&(host, id));
        self.after_clock_change(host);
    }

    /// A clock that was made to run faster reaches deadlines earlier than was thought when they were set.
    fn after_clock_change(&mut self, host: HostId) {
        let armed = self.timers.iter().enumerate().filter(|(_, timer)| timer.host == host && timer.waker.is_some());
        let moved: Vec<(u64, Event)> = armed
            .map(|(slot, timer)| {
                let at = self.hosts[host].clock.when(timer.deadline).max(self.now);
                (at, Event::Timer(slot as u32, timer.generation))
            })
            .collect();
        for (at, event) in moved {
            self.schedule(at, event);
        }
        self.arm_node(host);
    }

    /// What a machine's monotonic clock shows now.
    pub fn mono(&self, host: HostId) -> Nanos {
        self.hosts[host].clock.mono(self.now)
    }

    /// Stops a machine's program where it stands. Its kernel goes on.
    pub fn freeze(&mut self, host: HostId) {
        self.trace.event(self.now, host, Kind::Fault, &"freeze");
        self.hosts[host].frozen = Some(self.now);
        self.processes.freeze(host);
    }

    /// Lets a frozen program go on: it finds what has arrived meanwhile, in order.
    pub fn thaw(&mut self, host: HostId) -> Option<u64> {
        let since = self.hosts[host].frozen.take()?;
        self.trace.event(self.now, host, Kind::Fault, &"thaw");
        self.processes.thaw(host);
        self.thaw_node(host);
        for incoming in std::mem::take(&mut self.hosts[host].inbox) {
            self.serve(host, incoming);
        }
        self.arm_node(host);
        Some(since)
    }

    /// Ends a machine's program at once; with `power` off, the whole machine.
    pub fn crash(&mut self, host: HostId, power: Power) {
        self.trace.event(self.now, host, Kind::Fault, &("crash", power == Power::Off));
        let mono = self.mono(host);
        let machine = &mut self.hosts[host];
        machine.power = power;
        machine.frozen = None;
        machine.inbox.clear();
        machine.role.crash(power, mono);
        self.ledger.settle(host, &machine.clock, self.now);
        if let Role::Redis(model) = &machine.role {
            self.ledger.crashed(host, self.now, model);
        }
        self.processes.crash(host);
        self.drop_connections(host, power == Power::Killed);
    }

    /// Starts a machine's program again; for a client, the caller has to spawn it.
    pub fn restart(&mut self, host: HostId) {
        self.trace.event(self.now, host, Kind::Fault, &"restart");
        self.hosts[host].power = Power::Running;
        self.hosts[host].role.restart();
        self.start_node(host);
    }
}
