//! Connections as TCP keeps them: in order, reliable, and therefore late when segments are lost.
//!
//! - Segments of one direction arrive in the order in which they were sent. A lost one holds up all that follow, until a
//!   retransmission comes through: after 200 ms, then after twice as long each time. So a cut or a loss is a delay, not an
//!   error, and what was sent into a cut is delivered some time after it is healed.
//! - A cut is looked at when a segment leaves and when it arrives. If only the way back is cut, what is sent on an
//!   established connection arrives, but unacknowledged: after 200 ms of that the sender holds back what is new. A new
//!   connection needs both ways.
//! - A frozen program's kernel goes on: it accepts connections, acknowledges, and keeps what arrives, also from a client
//!   that has given up since.
//! - A killed process's kernel resets its connections; a machine that is off says nothing.
//!
//! Deliberately absent: windows and bandwidth, which locks do not fill.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use tokio::sync::oneshot;

use super::link::Link;
use super::message::{Payload, Segment};
use super::node::{Incoming, What};
use super::trace::Kind;
use super::world::{Event, HostId, Power, State};
use crate::seed::Seed;

/// A connection, by its place in the list. Never used again within a run.
pub(super) type ConnectionId = u32;

/// The first retransmission of data.
const RETRANSMIT_AFTER: u64 = 200_000_000;
/// The first retransmission of a request to connect.
const RECONNECT_AFTER: u64 = 1_000_000_000;
/// Retransmissions are never further apart.
const RETRANSMIT_MAX: u64 = 120_000_000_000;

/// From the client to the server.
const UP: u8 = 0;
/// From the server to the client.
const DOWN: u8 = 1;

/// What waits at a connection's client end.
pub(super) enum End {
    /// Requests whose answers come in order.
    Calls(VecDeque<oneshot::Sender<Payload>>),
    /// Somebody who takes what comes.
    Stream {
        /// What has come.
        queue: VecDeque<Payload>,
        /// Whom to wake.
        waker: Option<Waker>,
    },
}

/// One connection.
pub(super) struct Connection {
    client: HostId,
    server: HostId,
    /// Whether the client end is open, or opening.
    pub client_open: bool,
    server_open: bool,
    pub end: End,
    opening: Option<oneshot::Sender<()>>,
    ways: [Way; 2],
}

/// One direction of a connection.
struct Way {
    link: usize,
    /// Counts how often its program's end came over it: what was in flight then is void.
    era: u32,
    sent: u64,
    received: u64,
    last_arrival: u64,
    /// Lost, or held up by a lost one; in order.
    stalled: VecDeque<(u64, Segment)>,
    /// Numbers the retransmission timers: an older one is void.
    round: u32,
    attempt: u32,
    /// Since when segments were delivered whose acknowledgement is lost.
    unacknowledged: Option<u64>,
}

impl Way {
    fn new(link: usize) -> Self {
        Self {
            link,
            era: 0,
            sent: 0,
            received: 0,
            last_arrival: 0,
            stalled: VecDeque::new(),
            round: 0,
            attempt: 0,
            unacknowledged: None,
        }
    }

    /// Forgets all that was sent and has not arrived.
    fn clear(&mut self) {
        self.era += 1;
        (self.sent, self.received) = (0, 0);
        self.stalled.clear();
    }
}

/// A segment on its way.
struct Flying {
    connection: ConnectionId,
    way: u8,
    era: u32,
    number: u64,
    segment: Segment,
}

/// All links and connections.
pub(super) struct Net {
    seed: Seed,
    names: Vec<String>,
    links: Vec<Link>,
    between: BTreeMap<(HostId, HostId), usize>,
    pub connections: Vec<Connection>,
    flying: Vec<Option<Flying>>,
    free: Vec<u32>,
}

impl Net {
    /// A net between machines of these names, in their order.
    pub fn new(seed: Seed, names: Vec<String>) -> Self {
        Self {
            seed,
            names,
            links: Vec::new(),
            between: BTreeMap::new(),
            connections: Vec::new(),
            flying: Vec::new(),
            free: Vec::new(),
        }
    }

    fn link_index(&mut self, from: HostId, to: HostId) -> usize {
        let Self { seed, names, links, between, .. } = self;
        *between.entry((from, to)).or_insert_with(|| {
            links.push(Link::new(*seed, format!("{}/{}", names[from], names[to])));
            links.len() - 1
        })
    }

    /// The link from one machine to another.
    pub fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let index = self.link_index(from, to);
        &mut self.links[index]
    }
}

impl State {
    /// Begins to open a connection; `opening` is told when it is there, or dropped when it is refused.
    pub fn connect(
        &mut self,
        client: HostId,
        server: HostId,
        end: End,
        opening: oneshot::Sender<()>,
    ) -> ConnectionId {
        let ways = [self.net.link_index(client, server), self.net.link_index(server, client)].map(Way::new);
        let connection = self.net.connections.len() as ConnectionId;
        let opened =
            Connection { client, server, client_open: true, server_open: false, end, opening: Some(opening), ways };
        self.net.connections.push(opened);
        self.send(connection, UP, Segment::Syn);
        connection
    }

    /// Sends from the client's end; `false` if the connection is closed.
    pub fn request(&mut self, connection: ConnectionId, payload: Payload) -> bool {
        let open = self.net.connections[connection as usize].client_open;
        if open {
            self.send(connection, UP, Segment::Data(payload));
        }
        open
    }

    /// Sends from the server's end, if it is still open there.
    pub fn answer(&mut self, connection: ConnectionId, payload: Payload) {
        if self.net.connections[connection as usize].server_open {
            self.send(connection, DOWN, Segment::Data(payload));
        }
    }

    /// Closes the client's end: what was sent is still delivered.
    pub fn close(&mut self, connection: ConnectionId) {
        let closing = &mut self.net.connections[connection as usize];
        if std::mem::take(&mut closing.client_open) {
            closing.close_client_end();
            self.send(connection, UP, Segment::Fin);
        }
    }

    /// The machine's program has ended: its connections end with it. `told`: its kernel is there to tell the others.
    pub fn drop_connections(&mut self, host: HostId, told: bool) {
        for connection in 0..self.net.connections.len() as ConnectionId {
            let ending = &mut self.net.connections[connection as usize];
            let as_client = ending.client == host && std::mem::take(&mut ending.client_open);
            if as_client {
                ending.close_client_end();
            }
            let as_server = ending.server == host && std::mem::take(&mut ending.server_open);
            for (way, ends) in [(UP, as_client), (DOWN, as_server)] {
                if ends {
                    // What was in flight is of no use to anybody: a reset overtakes it, a machine that is off is silent.
                    self.net.connections[connection as usize].ways[usize::from(way)].clear();
                    if told {
                        self.send(connection, way, Segment::Reset);
                    }
                }
            }
        }
    }

    /// Whether a new connection would come about: both ways are open and somebody is there.
    pub fn reachable(&mut self, one: HostId, other: HostId) -> bool {
        self.net.link(one, other).cuts == 0
            && self.net.link(other, one).cuts == 0
            && [one, other].iter().all(|host| self.hosts[*host].power == Power::Running)
    }

    fn sender(&self, connection: ConnectionId, way: u8) -> HostId {
        let connection = &self.net.connections[connection as usize];
        if way == UP { connection.client } else { connection.server }
    }

    fn send(&mut self, connection: ConnectionId, way: u8, segment: Segment) {
        let from = self.sender(connection, way);
        self.trace.event(self.now, from, Kind::Sent, &(connection, way, &segment));
        let now = self.now;
        let Net { connections, links, .. } = &mut self.net;
        let ways = &mut connections[connection as usize].ways;
        let way_back_cut = links[ways[usize::from(1 - way)].link].cuts > 0;
        let Way { link, sent, stalled, unacknowledged, .. } = &mut ways[usize::from(way)];
        let number = *sent;
        *sent += 1;
        let held_back = match (way_back_cut, *unacknowledged) {
            (true, None) => {
                *unacknowledged = Some(now);
                false
            }
            (true, Some(since)) => now - since >= RETRANSMIT_AFTER,
            (false, _) => {
                *unacknowledged = None;
                false
            }
        };
        if !stalled.is_empty() {
            stalled.push_back((number, segment));
        } else if held_back || links[*link].loses() {
            self.stall(connection, way, number, segment);
        } else {
            self.fly(connection, way, number, segment);
        }
    }

    fn fly(&mut self, connection: ConnectionId, way: u8, number: u64, segment: Segment) {
        let net = &mut self.net;
        let Way { link, last_arrival, era, .. } = &mut net.connections[connection as usize].ways[usize::from(way)];
        let era = *era;
        let arrival = (self.now + net.links[*link].latency()).max(*last_arrival);
        *last_arrival = arrival;
        let flying = Some(Flying { connection, way, era, number, segment });
        let slot = match net.free.pop() {
            Some(slot) => {
                net.flying[slot as usize] = flying;
                slot
            }
            None => {
                net.flying.push(flying);
                net.flying.len() as u32 - 1
            }
        };
        self.schedule(arrival, Event::Arrival(slot));
    }

    /// Keeps a segment that was lost, or waits for a lost one, and sees that it is sent again.
    fn stall(&mut self, connection: ConnectionId, way: u8, number: u64, segment: Segment) {
        let from = self.sender(connection, way);
        self.trace.event(self.now, from, Kind::Lost, &(connection, way, number));
        let Way { stalled, round, attempt, .. } =
            &mut self.net.connections[connection as usize].ways[usize::from(way)];
        let first = stalled.is_empty();
        let after = if segment == Segment::Syn { RECONNECT_AFTER } else { RETRANSMIT_AFTER };
        let place = stalled.partition_point(|(known, _)| *known < number);
        stalled.insert(place, (number, segment));
        if first {
            *attempt = 0;
            *round += 1;
            let round = *round;
            self.schedule(self.now + after, Event::Retransmission(connection, way, round));
        }
    }

    /// Sends again what was lost; `false` if nothing is left to send.
    pub(super) fn retransmit(&mut self, time: u64, connection: ConnectionId, way: u8, round: u32) -> bool {
        let Net { connections, links, .. } = &mut self.net;
        let sending = &mut connections[connection as usize];
        let way_back_cut = links[sending.ways[usize::from(1 - way)].link].cuts > 0;
        let given_up = way == UP && !sending.client_open && !sending.server_open;
        let Way { link, stalled, round: current, attempt, unacknowledged, .. } = &mut sending.ways[usize::from(way)];
        let Some((_, head)) = stalled.front().filter(|_| *current == round) else { return false };
        if given_up && *head == Segment::Syn {
            stalled.clear();
            return false;
        }
        self.now = time;
        let still_held_back = unacknowledged.is_some() && way_back_cut;
        if still_held_back || links[*link].loses() {
            *attempt += 1;
            let after = if *head == Segment::Syn { RECONNECT_AFTER } else { RETRANSMIT_AFTER };
            let wait = after.saturating_mul(1 << (*attempt).min(20)).min(RETRANSMIT_MAX);
            self.schedule(time + wait, Event::Retransmission(connection, way, round));
            return true;
        }
        *unacknowledged = None;
        for (number, segment) in std::mem::take(stalled) {
            self.fly(connection, way, number, segment);
        }
        true
    }

    /// A segment reaches the end of its link.
    pub(super) fn arrive(&mut self, slot: u32) {
        let Some(Flying { connection, way, era, number, segment }) = self.net.flying[slot as usize].take() else { return };
        self.net.free.push(slot);
        let Net { connections, links, .. } = &self.net;
        let going = &connections[connection as usize];
        let receiver = if way == UP { going.server } else { going.client };
        let Way { link, received, era: current, .. } = &going.ways[usize::from(way)];
        if era != *current {
            return;
        }
        let lost = links[*link].cuts > 0 || self.hosts[receiver].power == Power::Off;
        if lost || number != *received {
            return self.stall(connection, way, number, segment);
        }
        self.trace.event(self.now, receiver, Kind::Arrived, &(connection, way, number));
        self.net.connections[connection as usize].ways[usize::from(way)].received += 1;
        if way == UP {
            self.arrive_at_server(connection, receiver, segment);
        } else {
            self.arrive_at_client(connection, segment);
        }
    }

    fn arrive_at_server(&mut self, connection: ConnectionId, host: HostId, segment: Segment) {
        let running = self.hosts[host].power == Power::Running;
        let server_open = &mut self.net.connections[connection as usize].server_open;
        match segment {
            Segment::Syn if running => {
                *server_open = true;
                self.send(connection, DOWN, Segment::SynAck);
                self.hand(host, Incoming { connection, what: What::Opened });
            }
            Segment::Data(payload) if *server_open => {
                self.hand(host, Incoming { connection, what: What::Data(payload) });
            }
            Segment::Syn | Segment::Data(_) => self.send(connection, DOWN, Segment::Reset),
            Segment::Fin | Segment::Reset if *server_open => {
                *server_open = false;
                self.hand(host, Incoming { connection, what: What::Closed });
            }
            Segment::Fin | Segment::Reset | Segment::SynAck => {}
        }
    }

    fn arrive_at_client(&mut self, connection: ConnectionId, segment: Segment) {
        let Connection { client_open, end, opening, .. } = &mut self.net.connections[connection as usize];
        match segment {
            Segment::SynAck | Segment::Data(_) if !*client_open => self.send(connection, UP, Segment::Reset),
            Segment::SynAck => {
                // Whoever has stopped waiting for it closes it by itself.
                opening.take().map(|opening| opening.send(()));
            }
            Segment::Data(payload) => match end {
                // An answer that nobody waits for any more is read and forgotten.
                End::Calls(calls) => drop(calls.pop_front().map(|call| call.send(payload))),
                End::Stream { queue, waker } => {
                    queue.push_back(payload);
                    if let Some(waker) = waker.take() {
                        waker.wake();
                    }
                }
            },
            Segment::Fin | Segment::Reset => {
                if std::mem::take(client_open) {
                    self.net.connections[connection as usize].close_client_end();
                    self.net.connections[connection as usize].ways[usize::from(UP)].clear();
                }
            }
            Segment::Syn => {}
        }
    }
}

impl Connection {
    /// Tells whoever waits at the client's end that nothing more will come.
    fn close_client_end(&mut self) {
        self.opening = None;
        match &mut self.end {
            End::Calls(calls) => calls.clear(),
            End::Stream { waker, .. } => {
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
            }
        }
    }
}
