//! The simulated world, and the loop that lets one thing after another happen in it.
//!
//! One queue holds everything that will happen by itself: deliveries, timers, retransmissions. Nothing in here runs a
//! program: futures are polled by [`super::scheduler`], outside of this lock, so that a program can call into the world
//! from anywhere, also from a destructor.

use std::sync::atomic;
use std::sync::{Arc, Mutex, MutexGuard};

use super::ids::HostId;
use super::processes::Processes;
use super::queue::Event;
use super::state::{Host, Recording, State};
use super::sync::lock;
use super::timers::TimerKey;
use super::trace::Trace;
use crate::history::ServerRecord;
use crate::scenario::Simulation;
use crate::seed::Seed;
use crate::time::Nanos;

/// The world as its parties share it.
pub struct World {
    state: Mutex<State>,
    /// What the scheduler and the world tell each other.
    pub processes: Arc<Processes>,
    /// The ops of the run.
    pub recording: Arc<Recording>,
}

impl World {
    /// A world of these machines.
    pub fn new(hosts: Vec<Host>, seed: Seed, simulation: Simulation, trace: Trace) -> Arc<Self> {
        let state = State::new(hosts, seed, simulation, trace);
        let (processes, recording) = (Arc::clone(&state.processes), Arc::clone(&state.recording));
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
            happen(&mut state, time, event);
            if self.processes.stirred() {
                return true;
            }
        }
        false
    }

    /// Takes out what the servers had for whom, when the run is over; from the run's start.
    pub fn take_records(&self) -> Vec<ServerRecord> {
        let start = Nanos(self.recording.start.load(atomic::Ordering::Relaxed));
        let mut records = self.lock().take_records();
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

/// Lets one event happen, unless it has become void meanwhile.
fn happen(state: &mut State, time: u64, event: Event) {
    match event {
        Event::Timer(slot, generation) => state.timer_fires(time, TimerKey { slot, generation }),
        Event::Arrival(flying) => {
            state.now = time;
            if let Some(arrived) = state.arrive(flying)
                && let Some((host, incoming)) = state.receive(arrived)
            {
                state.hand(host, incoming);
            }
        }
        Event::Retransmission(connection, direction, round) => state.retransmit(time, connection, direction, round),
        Event::Alarm(host, generation) => state.alarm_rings(time, host as HostId, generation),
        Event::Flip(host, id) => state.flip_clock(time, host as HostId, id),
    }
}
