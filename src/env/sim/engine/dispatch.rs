//! How a server is handed what has arrived, woken by its timer, and had its way.
//!
//! Deliberately absent: what any server does; that is behind [`Server`].

use super::ids::{DOWN, HostId, Power};
use super::queue::Event;
use super::server::{Effect, Incoming, Moment, Server};
use super::state::{Host, State};
use super::trace::Kind;
use crate::ids::NodeId;

impl State {
    /// Starts all servers.
    pub fn start_servers(&mut self) {
        for host in 0..self.hosts.len() {
            self.start_server(host);
        }
    }

    /// Starts a server, the first time or after a crash.
    pub fn start_server(&mut self, host: HostId) {
        self.act(host, |server, moment, effects| server.start(moment, effects));
    }

    /// Hands a server what has arrived; a frozen one finds it when it goes on.
    pub fn hand(&mut self, host: HostId, incoming: Incoming) {
        if self.hosts[host].frozen.is_some() {
            self.hosts[host].inbox.push_back(incoming);
        } else {
            self.serve(host, incoming);
        }
    }

    /// Lets a server deal with what has arrived.
    pub fn serve(&mut self, host: HostId, incoming: Incoming) {
        let [low, high] = self.net.connections[incoming.connection as usize].hosts;
        let from = self.hosts[if low == host { high } else { low }].member;
        self.act(host, |server, moment, effects| server.receive(moment, from, incoming, effects));
    }

    /// Lets a server act, carries out what it wants, and arms its timer.
    fn act(&mut self, host: HostId, act: impl FnOnce(&mut dyn Server, &Moment<'_>, &mut Vec<Effect>)) {
        let Host { server: Some(server), clock, frozen, .. } = &mut self.hosts[host] else { return };
        let mut effects = std::mem::take(&mut self.effects);
        let moment = Moment { now: self.now, clock, is_frozen: frozen.is_some() };
        act(&mut **server, &moment, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Answer(connection, payload) => self.answer(connection, payload),
                Effect::Tell(peer, payload) => self.tell_peer(host, peer, payload),
                Effect::Close(connection) => self.close(connection, DOWN),
                Effect::Record(op) => self.record(host, *op),
            }
        }
        self.effects = effects;
        self.arm_alarm(host);
    }

    /// A server's timer has come, unless it is void.
    pub fn alarm_rings(&mut self, time: u64, host: HostId, generation: u32) {
        let Host { clock, frozen, power, alarm, .. } = &self.hosts[host];
        let mono = clock.mono(time);
        if alarm.generation != generation || frozen.is_some() || *power != Power::Running {
            return;
        }
        let is_due = alarm.armed.is_some_and(|armed| mono >= armed);
        self.now = time;
        // A clock that was slowed down meanwhile needs the timer once more.
        if is_due {
            self.trace.event_in_words(time, host, Kind::Timer, &mono, |_| {
                format!("the server's timer runs out at {} ns on its own clock", mono.0)
            });
            self.act(host, |server, moment, effects| server.timer(moment, effects));
        }
        self.rearm_alarm(host);
    }

    /// A server goes on: it may look at its timers before it looks at what has arrived.
    pub fn thaw_server(&mut self, host: HostId) {
        let timers_first = self.hosts[host].server.as_mut().is_some_and(|server| server.looks_at_timers_first());
        while timers_first && self.is_overdue(host) {
            self.act(host, |server, moment, effects| server.timer(moment, effects));
        }
    }

    /// Arms a server's timer anew, after something has changed besides the server itself.
    pub fn rearm_alarm(&mut self, host: HostId) {
        self.hosts[host].alarm.armed = None;
        self.arm_alarm(host);
    }

    fn is_overdue(&self, host: HostId) -> bool {
        let next = self.hosts[host].server.as_ref().and_then(|server| server.next_timer());
        next.is_some_and(|timer| timer <= self.mono(host))
    }

    fn arm_alarm(&mut self, host: HostId) {
        let now = self.now;
        let Host { server: Some(server), alarm, clock, .. } = &mut self.hosts[host] else { return };
        let next = server.next_timer();
        if next == alarm.armed {
            return;
        }
        alarm.armed = next;
        alarm.generation = alarm.generation.wrapping_add(1);
        let generation = alarm.generation;
        if let Some(next) = next {
            let at = clock.when(next).max(now);
            self.schedule(at, Event::Alarm(host as u32, generation));
        }
    }

    /// The server that leads the others, if there is one that runs: of several that believe so, the one that has the
    /// newest belief; else the first.
    pub fn leader(&self) -> Option<NodeId> {
        let running = self.hosts.iter().rev().filter(|host| host.frozen.is_none());
        let leading = running.filter_map(|host| Some((host.server.as_ref()?.leads()?, host)));
        leading.max_by_key(|(belief, _)| *belief).and_then(|(_, host)| host.node())
    }

    /// The server that the machine `client` was connected to last, if it has a session there and the connection is
    /// open.
    pub fn session_server(&self, client: HostId) -> Option<NodeId> {
        let serves = |host: &Host| host.server.as_ref().is_some_and(|server| server.keeps_sessions());
        let mut connections = self.net.connections.iter().rev().filter(|connection| connection.hosts[0] == client);
        let of = connections.find(|of| serves(&self.hosts[of.hosts[1]]) && of.open[0])?;
        self.hosts[of.hosts[1]].node()
    }
}
