//! The ends of connections: opening and closing them, and what a kernel does with a segment that has arrived.
//!
//! Peers of one cluster keep a *pipe* for each pair: a connection that is there from the first message on and made anew
//! after it broke. Deliberately absent: how segments travel ([`super::tcp`]); what a server does with what it is
//! handed.

use tokio::sync::oneshot;

use super::connection::{Connection, End};
use super::ids::{ConnectionId, DOWN, HostId, Power, UP};
use super::message::{Payload, Segment};
use super::server::{Incoming, What};
use super::state::State;
use super::tcp::Arrived;

impl State {
    /// Begins to open a connection; `opening` is told when it is there, or dropped when it is refused.
    pub fn connect(&mut self, client: HostId, server: HostId, end: End, opening: oneshot::Sender<()>) -> ConnectionId {
        let connection = self.net.add(self.now, client, server, [true, false], end);
        self.net.connections[connection as usize].opening = Some(opening);
        self.send(connection, UP, Segment::Syn);
        connection
    }

    /// Sends from one server to a peer of its cluster.
    pub fn tell_peer(&mut self, from: HostId, to: HostId, payload: Payload) {
        let way = if from < to { UP } else { DOWN };
        let (low, high) = (from.min(to), from.max(to));
        let known = self.net.pipes.get(&(low, high)).copied();
        let pipe = known.filter(|pipe| self.net.connections[*pipe as usize].is_open(way)).unwrap_or_else(|| {
            let there = [low, high].map(|host| self.hosts[host].power == Power::Running);
            let pipe = self.net.add(self.now, low, high, there, End::Peer);
            self.net.pipes.insert((low, high), pipe);
            pipe
        });
        self.send(pipe, way, Segment::Data(payload));
    }

    /// Closes the end that sends this way: what was sent is still delivered.
    pub fn close(&mut self, connection: ConnectionId, way: u8) {
        if self.net.connections[connection as usize].close_end(way) {
            self.send(connection, way, Segment::Fin);
        }
    }

    /// The machine's program has ended: its connections end with it. `told`: its kernel is there to tell the others.
    pub fn drop_connections(&mut self, host: HostId, told: bool) {
        for connection in 0..self.net.connections.len() as ConnectionId {
            for way in [UP, DOWN] {
                let ending = &mut self.net.connections[connection as usize];
                if ending.hosts[usize::from(way)] == host && ending.close_end(way) {
                    ending.ways[usize::from(way)].orphan();
                    if told {
                        self.send(connection, way, Segment::Reset);
                    }
                }
            }
        }
    }

    /// A segment has reached the machine at the end of its way: what its kernel has for the server there, if anything.
    pub fn receive(&mut self, Arrived { connection, way, segment }: Arrived) -> Option<(HostId, Incoming)> {
        let back = 1 - way;
        let Connection { hosts, end, .. } = &mut self.net.connections[connection as usize];
        let host = hosts[usize::from(back)];
        let is_peer = matches!(end, End::Peer);
        let open = self.net.connections[connection as usize].is_open(back);
        match segment {
            Segment::Syn if self.hosts[host].power == Power::Running => {
                self.net.connections[connection as usize].open[usize::from(DOWN)] = true;
                self.send(connection, DOWN, Segment::SynAck);
                return Some((host, Incoming { connection, what: What::Opened }));
            }
            Segment::Syn | Segment::SynAck | Segment::Data(_) if !open => {
                self.send(connection, back, Segment::Reset);
            }
            Segment::SynAck => {
                let opening = &mut self.net.connections[connection as usize].opening;
                // Whoever has stopped waiting for it closes it by itself.
                let _ = opening.take().map(|opening| opening.send(()));
            }
            Segment::Data(payload) if back == DOWN || is_peer => {
                return Some((host, Incoming { connection, what: What::Data(payload) }));
            }
            Segment::Data(payload) => self.net.connections[connection as usize].deliver(payload),
            Segment::Fin | Segment::Reset => {
                let ending = &mut self.net.connections[connection as usize];
                if ending.close_end(back) {
                    ending.ways[usize::from(back)].clear();
                    if back == DOWN || is_peer {
                        return Some((host, Incoming { connection, what: What::Closed }));
                    }
                }
            }
            Segment::Syn => {}
        }
        None
    }
}
