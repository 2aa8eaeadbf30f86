//! Connections as TCP keeps them: in order, reliable, and therefore late when segments are lost.
//!
//! - Segments of one direction arrive in the order in which they were sent. A lost one holds up all that follow, until a
//!   retransmission comes through: after 200 ms, then after twice as long each time. So a cut or a loss is a delay, not an
//!   error, and what was sent into a cut is delivered some time after it is healed.
//! - A cut is looked at when a segment leaves and when it arrives. If only the way back is cut, what is sent on an
//!   established connection arrives, but unacknowledged: after 200 ms of that the sender holds back what is new. A new
//!   connection needs both ways.
//! - A request to connect that is not answered is sent again 1, 3, 7, … s after the first, and so is its answer: one second
//!   doubled each time (RFC 6298, section 2; `TCP_TIMEOUT_INIT` in Linux, as tcp(7) tells of `tcp_syn_retries`).
//! - A cut may answer with resets instead: the sender's end is over at once, the other end hears of it only when it sends
//!   something itself. Resets pass. One that refuses a connection's answer ends the server's end alone; the client's kernel
//!   still waits for an answer, and asks again.
//! - A frozen program's kernel goes on: it accepts connections, acknowledges, and keeps what arrives, also from a client
//!   that has given up since.
//! - A killed process's kernel resets its connections; a machine that is off says nothing. What either had put on the
//!   wire still arrives, before the reset; what was lost of it is never sent again.
//!
//! Deliberately absent: windows and bandwidth, which locks do not fill.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::link::{Link, Pace, Troubles};
use super::message::Segment;
use super::requests::StruckReplies;
use super::socket::End;
use super::trace::Kind;
use super::world::{Event, HostId, Power, State};
use crate::seed::Seed;

/// A connection, by its place in the list. Never used again within a run.
pub(super) type ConnectionId = u32;

/// The first retransmission of data.
const RETRANSMIT_AFTER: u64 = 200_000_000;
/// The first retransmission of a request to connect, and of its answer.
const RECONNECT_AFTER: u64 = 1_000_000_000;
/// Retransmissions are never further apart.
const RETRANSMIT_MAX: u64 = 120_000_000_000;
/// Peers give a silent connection up and make a new one; for them what is lost is tried again this often at least.
const RECONNECT_PEER_AFTER: u64 = 1_000_000_000;

/// From the client to the server; also the client's end.
pub(super) const UP: u8 = 0;
/// From the server to the client; also the server's end.
pub(super) const DOWN: u8 = 1;

/// One connection.
pub(super) struct Connection {
    /// The client's machine and the server's.
    pub hosts: [HostId; 2],
    /// Whether the client's end is open (or opening), and the server's.
    pub open: [bool; 2],
    /// What waits at the client's end.
    pub end: End,
    /// Who waits for the connection to be there.
    pub opening: Option<oneshot::Sender<()>>,
    /// When the client first asked for it.
    begun: u64,
    pub ways: [Way; 2],
    /// How many commands were sent on it, and how many of them answered.
    pub asked: [u32; 2],
    /// What is to be done to replies, if anything ever was.
    pub struck: Option<Box<StruckReplies>>,
}

/// One direction of a connection. Small, like [`Link`], and for the same reason.
pub(super) struct Way {
    link: u32,
    /// Counts how often its sender gave up what was in flight, which is void then.
    era: u32,
    /// Its sender's machine lost it: nothing is sent again, so what follows a lost segment is of no use to anybody.
    orphaned: bool,
    sent: u32,
    received: u32,
    last_arrival: u64,
    /// What was lost, if anything ever was.
    losses: Option<Box<Losses>>,
}

/// What one direction of a connection has to make good.
#[derive(Default)]
struct Losses {
    /// Lost, or held up by a lost one; in order.
    stalled: VecDeque<(u32, Segment)>,
    /// Numbers the retransmission timers: an older one is void.
    round: u32,
    attempt: u32,
    /// Since when segments were delivered whose acknowledgement is lost.
    unacknowledged: Option<u64>,
}

impl Way {
    fn new(link: u32) -> Self {
        Self { link, era: 0, orphaned: false, sent: 0, received: 0, last_arrival: 0, losses: None }
    }

    /// Its sender has died: what is on the wire goes on, all else is forgotten.
    pub fn orphan(&mut self) {
        self.orphaned = true;
        if let Some(losses) = &mut self.losses {
            losses.stalled.clear();
        }
    }

    /// Forgets all that was sent and has not arrived.
    pub fn clear(&mut self) {
        self.era += 1;
        (self.sent, self.received) = (0, 0);
        if let Some(losses) = &mut self.losses {
            losses.stalled.clear();
        }
    }

    /// Whether what is sent now has to wait for its like: with the way back cut, what was sent 200 ms ago is not
    /// acknowledged.
    fn holds_back(&mut self, now: u64, way_back_cut: bool) -> bool {
        if !way_back_cut {
            if let Some(losses) = &mut self.losses {
                losses.unacknowledged = None;
            }
            return false;
        }
        let since = *self.losses.get_or_insert_default().unacknowledged.get_or_insert(now);
        now - since >= RETRANSMIT_AFTER
    }
}

/// A segment on its way.
struct Flying {
    connection: ConnectionId,
    way: u8,
    era: u32,
    number: u32,
    segment: Segment,
}

/// All links and connections.
pub(super) struct Net {
    seed: Seed,
    names: Vec<String>,
    pace: Pace,
    links: Vec<Link>,
    between: BTreeMap<(HostId, HostId), u32>,
    /// The connections between peers of an ensemble.
    pub pipes: BTreeMap<(HostId, HostId), ConnectionId>,
    pub connections: Vec<Connection>,
    flying: Vec<Option<Flying>>,
    free: Vec<u32>,
}

impl Net {
    /// A net between machines of these names, in their order.
    pub fn new(seed: Seed, names: Vec<String>, pace: Pace) -> Self {
        Self {
            seed,
            names,
            pace,
            links: Vec::new(),
            between: BTreeMap::new(),
            pipes: BTreeMap::new(),
            connections: Vec::new(),
            flying: Vec::new(),
            free: Vec::new(),
        }
    }

    fn link_index(&mut self, from: HostId, to: HostId) -> u32 {
        let Self { seed, names, links, between, .. } = self;
        *between.entry((from, to)).or_insert_with(|| {
            links.push(Link::new(*seed, &format!("{}/{}", names[from], names[to])));
            links.len() as u32 - 1
        })
    }

    /// A new connection, asked for at `now`, with these ends open.
    pub fn add(&mut self, now: u64, client: HostId, server: HostId, open: [bool; 2], end: End) -> ConnectionId {
        let ways = [self.link_index(client, server), self.link_index(server, client)].map(Way::new);
        self.connections.push(Connection {
            hosts: [client, server],
            open,
            end,
            opening: None,
            begun: now,
            ways,
            asked: [0; 2],
            struck: None,
        });
        self.connections.len() as ConnectionId - 1
    }

    /// The link from one machine to another.
    pub fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let index = self.link_index(from, to);
        &mut self.links[index as usize]
    }

    /// What strikes do to the link from one machine to another besides closing it.
    pub fn troubles(&mut self, from: HostId, to: HostId) -> &mut Troubles {
        let index = self.link_index(from, to);
        let Self { seed, names, links, .. } = self;
        let none = || Box::new(Troubles::new(*seed, &format!("{}/{}", names[from], names[to])));
        links[index as usize].troubles.get_or_insert_with(none)
    }
}

/// When a connection that was first asked for at `asked`, and is not there at `now`, is asked for again.
fn asked_again(asked: u64, now: u64) -> u64 {
    let after = |attempt: u32| asked + RECONNECT_AFTER * ((1 << attempt) - 1);
    (1..=20).map(after).find(|due| *due > now).unwrap_or(now + RETRANSMIT_MAX)
}

impl State {
    /// What becomes of what one machine sends to another.
    pub fn carries(&mut self, from: HostId, to: HostId) -> &'static str {
        let link = self.net.link(from, to);
        let there = |host: &HostId| self.hosts[*host].power == Power::Running;
        match (link.cuts, link.resets) {
            (0, 0) if [from, to].iter().all(there) => "reachable",
            (0, 1..) => "reset",
            _ => "blocked",
        }
    }

    /// Who sends on one direction of a connection, and who receives.
    fn ends(&self, connection: ConnectionId, way: u8) -> [HostId; 2] {
        let hosts = self.net.connections[connection as usize].hosts;
        [hosts[usize::from(way)], hosts[usize::from(1 - way)]]
    }

    /// What is sent this way from now on arrives no earlier than this.
    pub(super) fn hold_up(&mut self, connection: ConnectionId, way: u8, until: u64) {
        let way = &mut self.net.connections[connection as usize].ways[usize::from(way)];
        way.last_arrival = way.last_arrival.max(until);
    }

    /// Sends a segment on its way.
    pub(super) fn send(&mut self, connection: ConnectionId, way: u8, segment: Segment) {
        let [from, to] = self.ends(connection, way);
        self.trace.event_in_words(self.now, from, Kind::Sent, &(connection, way, &segment), |name| {
            format!("sends {} {segment} (connection {connection})", name(to))
        });
        let now = self.now;
        let Net { connections, links, .. } = &mut self.net;
        let ways = &mut connections[connection as usize].ways;
        let way_back_cut = links[ways[usize::from(1 - way)].link as usize].cuts > 0;
        let sending = &mut ways[usize::from(way)];
        let number = sending.sent;
        sending.sent += 1;
        let held_back = sending.holds_back(now, way_back_cut);
        match &mut sending.losses {
            Some(losses) if !losses.stalled.is_empty() => losses.stalled.push_back((number, segment)),
            _ if held_back || links[sending.link as usize].loses() => self.stall(connection, way, number, segment),
            _ => self.fly(connection, way, number, segment),
        }
    }

    fn fly(&mut self, connection: ConnectionId, way: u8, number: u32, segment: Segment) {
        let net = &mut self.net;
        let Way { link, last_arrival, era, .. } = &mut net.connections[connection as usize].ways[usize::from(way)];
        let era = *era;
        let arrival = (self.now + net.links[*link as usize].latency(net.pace)).max(*last_arrival);
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
    fn stall(&mut self, connection: ConnectionId, way: u8, number: u32, segment: Segment) {
        let [from, to] = self.ends(connection, way);
        self.trace.event_in_words(self.now, from, Kind::Lost, &(connection, way, number), |name| {
            let place = format!("connection {connection}, segment {number}");
            format!("what it sent {} is lost or held up, and kept: {segment} ({place})", name(to))
        });
        let (now, asked) = (self.now, self.net.connections[connection as usize].begun);
        let way_of = &mut self.net.connections[connection as usize].ways[usize::from(way)];
        self.net.links[way_of.link as usize].strike();
        let Losses { stalled, round, attempt, .. } = &mut **way_of.losses.get_or_insert_default();
        let first = stalled.is_empty();
        let due = if segment.is_handshake() { asked_again(asked, now) } else { now + RETRANSMIT_AFTER };
        let place = stalled.partition_point(|(known, _)| *known < number);
        stalled.insert(place, (number, segment));
        if first {
            *attempt = 0;
            *round += 1;
            let round = *round;
            self.schedule(due, Event::Retransmission(connection, way, round));
        }
    }

    /// The client's kernel did not hear of the connection that it asked for: it asks once more when it is time.
    fn ask_again(&mut self, connection: ConnectionId) {
        let (now, asked) = (self.now, self.net.connections[connection as usize].begun);
        let asking = &mut self.net.connections[connection as usize].ways[usize::from(UP)];
        let number = asking.sent;
        asking.sent += 1;
        let Losses { stalled, round, .. } = &mut **asking.losses.get_or_insert_default();
        // Behind a reset that is lost itself it goes when that one goes.
        stalled.push_back((number, Segment::Syn));
        if stalled.len() == 1 {
            *round += 1;
            let round = *round;
            self.schedule(asked_again(asked, now), Event::Retransmission(connection, UP, round));
        }
    }

    /// Sends again what was lost, if anything is left to send.
    pub(super) fn retransmit(&mut self, time: u64, connection: ConnectionId, way: u8, round: u32) {
        let Net { connections, links, .. } = &mut self.net;
        let sending = &mut connections[connection as usize];
        let way_back_cut = links[sending.ways[usize::from(1 - way)].link as usize].cuts > 0;
        let (given_up, asked) = (sending.open == [false, false], sending.begun);
        let longest = if matches!(sending.end, End::Peer) { RECONNECT_PEER_AFTER } else { RETRANSMIT_MAX };
        let Way { link, losses: Some(losses), .. } = &mut sending.ways[usize::from(way)] else { return };
        let Losses { stalled, round: current, attempt, unacknowledged } = &mut **losses;
        let Some((_, head)) = stalled.front().filter(|_| *current == round) else { return };
        if given_up && *head == Segment::Syn {
            stalled.clear();
            return;
        }
        self.now = time;
        let still_held_back = unacknowledged.is_some() && way_back_cut;
        if still_held_back || links[*link as usize].loses() {
            *attempt += 1;
            let wait = RETRANSMIT_AFTER.saturating_mul(1 << (*attempt).min(20)).min(longest);
            let due = if head.is_handshake() { asked_again(asked, time) } else { time + wait };
            self.schedule(due, Event::Retransmission(connection, way, round));
            return;
        }
        *unacknowledged = None;
        for (number, segment) in std::mem::take(stalled) {
            self.fly(connection, way, number, segment);
        }
    }

    /// A segment reaches the end of its link.
    pub(super) fn arrive(&mut self, slot: u32) {
        let Some(Flying { connection, way, era, number, segment }) = self.net.flying[slot as usize].take() else {
            return;
        };
        self.net.free.push(slot);
        let Net { connections, links, .. } = &self.net;
        let going = &connections[connection as usize];
        let receiver = going.hosts[usize::from(1 - way)];
        let Way { link, received, era: current, orphaned, .. } = &going.ways[usize::from(way)];
        if era != *current {
            return;
        }
        let link = &links[*link as usize];
        let lost = link.cuts > 0 || self.hosts[receiver].power == Power::Off;
        // The reset of a dead process needs none of what was lost before it.
        let is_last = *orphaned && segment == Segment::Reset;
        if lost || (number != *received && !is_last) {
            if *orphaned && !is_last {
                let [from, _] = self.ends(connection, way);
                self.trace.event_in_words(self.now, receiver, Kind::Lost, &(connection, way, number), |name| {
                    let place = format!("connection {connection}, segment {number}");
                    format!("what {} sent before it died is lost: {segment} ({place})", name(from))
                });
                return;
            }
            return self.stall(connection, way, number, segment);
        }
        if link.resets > 0 && segment != Segment::Reset {
            // Answered at the receiver's door: the receiver never hears of it.
            let refusing = going.ways[usize::from(way)].link;
            self.net.links[refusing as usize].strike();
            let [from, _] = self.ends(connection, way);
            self.trace.event_in_words(self.now, receiver, Kind::Lost, &(connection, way, number), |name| {
                let place = format!("connection {connection}, segment {number}");
                format!("its door refuses what {} sent: {segment} ({place})", name(from))
            });
            self.net.connections[connection as usize].ways[usize::from(way)].received += 1;
            let is_granted = segment == Segment::SynAck;
            self.send(connection, 1 - way, Segment::Reset);
            if is_granted && self.net.connections[connection as usize].is_open(UP) {
                self.ask_again(connection);
            }
            return;
        }
        let [from, _] = self.ends(connection, way);
        self.trace.event_in_words(self.now, receiver, Kind::Arrived, &(connection, way, number), |name| {
            format!("receives from {} {segment} (connection {connection}, segment {number})", name(from))
        });
        self.net.connections[connection as usize].ways[usize::from(way)].received += 1;
        self.receive(connection, way, segment);
    }
}
