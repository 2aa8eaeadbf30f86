//! When a server acts by itself: its timer, on its own clock, whatever kind of server it is.

use rand::RngExt;

use super::node::Role;
use super::trace::Kind;
use super::world::{Event, HostId, Power, State};
use super::{etcd, zookeeper};
use crate::seed::ChaCha8Rng;
use crate::time::Nanos;

/// A server's timer.
pub(super) struct Alarm {
    /// What it is armed for, on the server's own clock.
    armed: Option<Nanos>,
    /// Numbers the timers: an older one is void.
    generation: u32,
    /// What a thawed server does first.
    rng: ChaCha8Rng,
}

impl Alarm {
    /// A timer that is not armed.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self { armed: None, generation: 0, rng }
    }
}

/// What makes a server act.
#[derive(Clone, Copy)]
enum Turn {
    Started,
    Timer,
}

impl Role {
    fn alarm(&mut self) -> Option<&mut Alarm> {
        match self {
            Self::Zookeeper(node) => Some(&mut node.alarm),
            Self::Etcd(node) => Some(&mut node.alarm),
            Self::Program | Self::Redis(_) | Self::Resource(_) => None,
        }
    }

    fn next_timer(&self) -> Option<Nanos> {
        match self {
            Self::Zookeeper(node) => node.server.next_timer(),
            Self::Etcd(node) => node.server.next_timer(),
            Self::Program | Self::Redis(_) | Self::Resource(_) => None,
        }
    }
}

impl State {
    /// Starts all servers that have to be started.
    pub(super) fn start_nodes(&mut self) {
        for host in 0..self.hosts.len() {
            self.start_node(host);
        }
    }

    /// Starts a server that has timers, the first time or after a crash.
    pub(super) fn start_node(&mut self, host: HostId) {
        self.turn(host, Turn::Started);
    }

    fn turn(&mut self, host: HostId, turn: Turn) {
        match (&self.hosts[host].role, turn) {
            (Role::Zookeeper(_), Turn::Started) => self.drive(host, zookeeper::Input::Started),
            (Role::Zookeeper(_), Turn::Timer) => self.drive(host, zookeeper::Input::Timer),
            (Role::Etcd(_), Turn::Started) => self.drive_etcd(host, etcd::Input::Started),
            (Role::Etcd(_), Turn::Timer) => self.drive_etcd(host, etcd::Input::Timer),
            (Role::Program | Role::Redis(_) | Role::Resource(_), _) => {}
        }
    }

    /// A server's timer has come, unless it is void.
    pub(super) fn node_timer(&mut self, time: u64, host: HostId, generation: u32) {
        let machine = &mut self.hosts[host];
        let (mono, is_up) = (machine.clock.mono(time), machine.frozen.is_none() && machine.power == Power::Running);
        let Some(alarm) = machine.role.alarm() else { return };
        let due = alarm.armed.is_some_and(|armed| mono >= armed);
        if alarm.generation != generation || !is_up {
            return;
        }
        self.now = time;
        // A clock that was slowed down meanwhile needs the timer once more.
        if due {
            self.trace.event_in_words(time, host, Kind::Timer, &mono, |_| {
                format!("the server's timer runs out at {} ns on its own clock", mono.0)
            });
            self.turn(host, Turn::Timer);
        }
        self.arm_node(host);
    }

    /// A thawed server may look at its timers before it looks at what has arrived: whether a client that has been heard
    /// in time keeps its session is a race there, too.
    pub(super) fn thaw_node(&mut self, host: HostId) {
        let timers_first = self.hosts[host].role.alarm().is_some_and(|alarm| alarm.rng.random());
        while timers_first && self.overdue(host) {
            self.turn(host, Turn::Timer);
        }
    }

    /// Arms a server's timer anew, after something has changed besides the server itself.
    pub(super) fn arm_node(&mut self, host: HostId) {
        if let Some(alarm) = self.hosts[host].role.alarm() {
            alarm.armed = None;
            self.arm_timer(host);
        }
    }

    fn overdue(&mut self, host: HostId) -> bool {
        let now = self.mono(host);
        self.hosts[host].role.next_timer().is_some_and(|timer| timer <= now)
    }

    pub(super) fn arm_timer(&mut self, host: HostId) {
        let now = self.now;
        let machine = &mut self.hosts[host];
        let next = machine.role.next_timer();
        let Some(alarm) = machine.role.alarm() else { return };
        if next == alarm.armed {
            return;
        }
        alarm.armed = next;
        alarm.generation = alarm.generation.wrapping_add(1);
        let generation = alarm.generation;
        if let Some(next) = next {
            let at = machine.clock.when(next).max(now);
            self.schedule(at, Event::Node(host as u32, generation));
        }
    }
}
