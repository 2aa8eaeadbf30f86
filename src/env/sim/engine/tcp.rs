//! Connections as TCP keeps them: in order, reliable, and therefore late when segments are lost.
//!
//! - Segments of one direction arrive in the order in which they were sent. A lost one holds up all that follow, until
//!   a retransmission comes through: after 200 ms, then after twice as long each time. So a cut or a loss is a delay,
//!   not an error, and what was sent into a cut is delivered some time after it is healed.
//! - A cut is looked at when a segment leaves and when it arrives. If only the way back is cut, what is sent on an
//!   established connection arrives, but unacknowledged: after 200 ms of that the sender holds back what is new. A new
//!   connection needs both ways.
//! - A request to connect that is not answered is sent again 1, 3, 7, … s after the first, and so is its answer: one
//!   second doubled each time (RFC 6298, section 2; `TCP_TIMEOUT_INIT` in Linux, as tcp(7) tells of `tcp_syn_retries`).
//! - A cut may answer with resets instead: the sender's end is over at once, the other end hears of it only when it
//!   sends something itself. Resets pass. One that refuses a connection's answer ends the server's end alone; the
//!   client's kernel still waits for an answer, and asks again.
//! - A frozen program's kernel goes on: it accepts connections, acknowledges, and keeps what arrives, also from a
//!   client that has given up since.
//! - A killed process's kernel resets its connections; a machine that is off says nothing. What either had put on the
//!   wire still arrives, before the reset; what was lost of it is never sent again.
//!
//! Deliberately absent: windows and bandwidth, which locks do not fill; what becomes of a segment that has arrived
//! ([`super::socket`]).

use std::hash::Hash;

use super::connection::{End, Flying, Losses, Net, RETRANSMIT_AFTER, Way};
use super::ids::{ConnectionId, HostId, Power, UP};
use super::message::Segment;
use super::queue::Event;
use super::state::State;
use super::trace::{Kind, TraceHasher};

/// The first retransmission of a request to connect, and of its answer.
const RECONNECT_AFTER: u64 = 1_000_000_000;
/// Retransmissions are never further apart.
const RETRANSMIT_MAX: u64 = 120_000_000_000;
/// Peers give a silent connection up and make a new one; for them what is lost is tried again this often at least.
const RECONNECT_PEER_AFTER: u64 = 1_000_000_000;

/// A segment at the end of its way.
pub struct Arrived {
    /// On which connection.
    pub connection: ConnectionId,
    /// In which direction.
    pub way: u8,
    /// What it is.
    pub segment: Segment,
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
    pub fn hold_up(&mut self, connection: ConnectionId, way: u8, until: u64) {
        let way = &mut self.net.connections[connection as usize].ways[usize::from(way)];
        way.last_arrival = way.last_arrival.max(until);
    }

    /// Sends a segment on its way.
    pub fn send(&mut self, connection: ConnectionId, way: u8, segment: Segment) {
        let [from, to] = self.ends(connection, way);
        let hash = |hasher: &mut TraceHasher| {
            (connection, way).hash(hasher);
            segment.trace(hasher);
        };
        self.trace.event_hashed(self.now, from, Kind::Sent, hash, |name| {
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
        let slot = net.launch(Flying { connection, way, era, number, segment });
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
    pub fn retransmit(&mut self, time: u64, connection: ConnectionId, way: u8, round: u32) {
        let Net { connections, links, .. } = &mut self.net;
        let sending = &mut connections[connection as usize];
        let way_back_cut = links[sending.ways[usize::from(1 - way)].link as usize].cuts > 0;
        let (given_up, asked) = (sending.open == [false, false], sending.begun);
        let longest = if matches!(sending.end, End::Peer) { RECONNECT_PEER_AFTER } else { RETRANSMIT_MAX };
        let Way { link, losses: Some(losses), .. } = &mut sending.ways[usize::from(way)] else { return };
        let Losses { stalled, round: current, attempt, unacknowledged } = &mut **losses;
        let Some((_, head)) = stalled.front().filter(|_| *current == round) else { return };
        if given_up && matches!(head, Segment::Syn) {
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

    /// A segment reaches the end of its link; what of it reaches the end of its way.
    pub fn arrive(&mut self, slot: u32) -> Option<Arrived> {
        let Flying { connection, way, era, number, segment } = self.net.land(slot)?;
        let Net { connections, links, .. } = &self.net;
        let going = &connections[connection as usize];
        let receiver = going.hosts[usize::from(1 - way)];
        let Way { link, received, era: current, orphaned, .. } = &going.ways[usize::from(way)];
        if era != *current {
            return None;
        }
        let link = &links[*link as usize];
        let lost = link.cuts > 0 || self.hosts[receiver].power == Power::Off;
        // The reset of a dead process needs none of what was lost before it.
        let is_last = *orphaned && segment.is_reset();
        if lost || (number != *received && !is_last) {
            if *orphaned && !is_last {
                let [from, _] = self.ends(connection, way);
                self.trace.event_in_words(self.now, receiver, Kind::Lost, &(connection, way, number), |name| {
                    let place = format!("connection {connection}, segment {number}");
                    format!("what {} sent before it died is lost: {segment} ({place})", name(from))
                });
                return None;
            }
            self.stall(connection, way, number, segment);
            return None;
        }
        if link.resets > 0 && !segment.is_reset() {
            // Answered at the receiver's door: the receiver never hears of it.
            let refusing = going.ways[usize::from(way)].link;
            self.net.links[refusing as usize].strike();
            let [from, _] = self.ends(connection, way);
            self.trace.event_in_words(self.now, receiver, Kind::Lost, &(connection, way, number), |name| {
                let place = format!("connection {connection}, segment {number}");
                format!("its door refuses what {} sent: {segment} ({place})", name(from))
            });
            self.net.connections[connection as usize].ways[usize::from(way)].received += 1;
            let is_granted = matches!(segment, Segment::SynAck);
            self.send(connection, 1 - way, Segment::Reset);
            if is_granted && self.net.connections[connection as usize].is_open(UP) {
                self.ask_again(connection);
            }
            return None;
        }
        let [from, _] = self.ends(connection, way);
        self.trace.event_in_words(self.now, receiver, Kind::Arrived, &(connection, way, number), |name| {
            format!("receives from {} {segment} (connection {connection}, segment {number})", name(from))
        });
        self.net.connections[connection as usize].ways[usize::from(way)].received += 1;
        Some(Arrived { connection, way, segment })
    }
}
