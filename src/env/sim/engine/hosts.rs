//! What can be done to a machine: its program frozen, thawed, ended and started again, its clock set wrong and right.

use super::ids::{HostId, Power};
use super::queue::Event;
use super::server::{Moment, Server};
use super::state::{Host, State};
use super::trace::Kind;
use crate::fault::ClockChange;
use crate::history::ServerRecord;

impl State {
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
        self.thaw_server(host);
        for incoming in std::mem::take(&mut self.hosts[host].inbox) {
            self.serve(host, incoming);
        }
        self.rearm_alarm(host);
        Some(since)
    }

    /// Ends a machine's program at once; with `power` off, the whole machine.
    pub fn crash(&mut self, host: HostId, power: Power) {
        self.trace.event(self.now, host, Kind::Fault, &("crash", power == Power::Off));
        let machine = &mut self.hosts[host];
        machine.power = power;
        machine.frozen = None;
        machine.inbox.clear();
        self.tell_server(host, |server, moment| server.crash(moment, power));
        self.processes.crash(host);
        self.drop_connections(host, power == Power::Killed);
    }

    /// Starts a machine's program again; for a client, the caller has to spawn it.
    pub fn restart(&mut self, host: HostId) {
        self.trace.event(self.now, host, Kind::Fault, &"restart");
        self.hosts[host].power = Power::Running;
        self.start_server(host);
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

    /// Moves a clock to its other side, if strike `id` still has it strobe.
    pub fn flip_clock(&mut self, time: u64, host: HostId, id: u32) {
        let Some(ClockChange::Strobe { by_ns, period }) = self.strobes.get(&(host, id)).copied() else { return };
        self.now = time;
        self.before_clock_change(host);
        self.hosts[host].clock.flip(id, by_ns);
        self.trace.event(time, host, Kind::Fault, &("flip", id));
        self.schedule(time + period.as_nanos() as u64, Event::Flip(host as u32, id));
    }

    fn before_clock_change(&mut self, host: HostId) {
        self.tell_server(host, |server, moment| server.before_clock_change(moment));
    }

    /// A clock that was made to run faster reaches deadlines earlier than was thought when they were set.
    fn after_clock_change(&mut self, host: HostId) {
        let clock = &self.hosts[host].clock;
        let armed = self.timers.of(host);
        let moved: Vec<(u64, Event)> = armed
            .map(|(key, deadline)| (clock.when(deadline).max(self.now), Event::Timer(key.slot, key.generation)))
            .collect();
        for (at, event) in moved {
            self.schedule(at, event);
        }
        self.rearm_alarm(host);
    }

    /// Tells a server of something that it has no say in.
    fn tell_server(&mut self, host: HostId, tell: impl FnOnce(&mut dyn Server, &Moment<'_>)) {
        let Host { server: Some(server), clock, frozen, .. } = &mut self.hosts[host] else { return };
        tell(&mut **server, &Moment { now: self.now, clock, is_frozen: frozen.is_some() });
    }

    /// What the servers had for whom, when the run is over. Instants are in true time.
    pub fn take_records(&mut self) -> Vec<ServerRecord> {
        for host in 0..self.hosts.len() {
            self.tell_server(host, |server, moment| server.finish(moment));
        }
        let servers = self.hosts.iter_mut().filter_map(|host| host.server.as_mut());
        servers.flat_map(|server| server.records()).collect()
    }
}
