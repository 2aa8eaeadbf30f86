//! Connections and what they are made of: two ends, two ways, each over a link; all that is in flight.
//!
//! Deliberately absent: how segments travel ([`super::tcp`]) and what an end does with them ([`super::socket`]).

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use tokio::sync::oneshot;

use super::ids::{ConnectionId, HostId, UP};
use super::interception::StruckReplies;
use super::link::{Link, Pace, Troubles};
use super::message::{Payload, Segment};
use crate::seed::Seed;

/// The first retransmission of data.
pub const RETRANSMIT_AFTER: u64 = 200_000_000;

/// What waits at a connection's client end.
pub enum End {
    /// Requests whose answers come in order.
    Calls(VecDeque<oneshot::Sender<Payload>>),
    /// Somebody who takes what comes.
    Stream {
        /// What has come.
        queue: VecDeque<Payload>,
        /// Whom to wake.
        waker: Option<Waker>,
    },
    /// A server, as at the other end.
    Peer,
}

/// One connection.
pub struct Connection {
    /// The client's machine and the server's.
    pub hosts: [HostId; 2],
    /// Whether the client's end is open (or opening), and the server's.
    pub open: [bool; 2],
    /// What waits at the client's end.
    pub end: End,
    /// Who waits for the connection to be there.
    pub opening: Option<oneshot::Sender<()>>,
    /// When the client first asked for it.
    pub begun: u64,
    /// Both directions.
    pub ways: [Way; 2],
    /// How many commands were sent on it, and how many of them answered.
    pub asked: [u32; 2],
    /// What is to be done to replies, if anything ever was.
    pub struck: Option<Box<StruckReplies>>,
}

impl Connection {
    /// Whether the end that sends this way is open, or opening.
    pub fn is_open(&self, way: u8) -> bool {
        self.open[usize::from(way)]
    }

    /// Closes an end; whether it was open. Whoever waits there is told that nothing more will come.
    pub fn close_end(&mut self, way: u8) -> bool {
        let was_open = std::mem::take(&mut self.open[usize::from(way)]);
        if way == UP && was_open {
            self.opening = None;
            match &mut self.end {
                End::Calls(calls) => calls.clear(),
                End::Stream { waker, .. } => {
                    if let Some(waker) = waker.take() {
                        waker.wake();
                    }
                }
                End::Peer => {}
            }
        }
        was_open
    }

    /// Gives what has come to whoever waits at the client's end.
    pub fn deliver(&mut self, payload: Payload) {
        match &mut self.end {
            // An answer that nobody waits for any more is read and forgotten.
            End::Calls(calls) => drop(calls.pop_front().map(|call| call.send(payload))),
            End::Stream { queue, waker } => {
                queue.push_back(payload);
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
            }
            End::Peer => {}
        }
    }
}

/// One direction of a connection. Small, like [`Link`], and for the same reason.
pub struct Way {
    /// Its link, by its place in the list.
    pub link: u32,
    /// Counts how often its sender gave up what was in flight, which is void then.
    pub era: u32,
    /// Its sender's machine lost it: nothing is sent again, so what follows a lost segment is of no use to anybody.
    pub orphaned: bool,
    /// How many segments were sent.
    pub sent: u32,
    /// How many of them have arrived.
    pub received: u32,
    /// No later segment arrives before this.
    pub last_arrival: u64,
    /// What was lost, if anything ever was.
    pub losses: Option<Box<Losses>>,
}

/// What one direction of a connection has to make good.
#[derive(Default)]
pub struct Losses {
    /// Lost, or held up by a lost one; in order.
    pub stalled: VecDeque<(u32, Segment)>,
    /// Numbers the retransmission timers: an older one is void.
    pub round: u32,
    /// How often the first was sent again in vain.
    pub attempt: u32,
    /// Since when segments were delivered whose acknowledgement is lost.
    pub unacknowledged: Option<u64>,
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
    pub fn holds_back(&mut self, now: u64, way_back_cut: bool) -> bool {
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
pub struct Flying {
    /// On which connection.
    pub connection: ConnectionId,
    /// In which direction.
    pub way: u8,
    /// The direction's era when it was sent.
    pub era: u32,
    /// Its place among those sent in this direction.
    pub number: u32,
    /// What it is.
    pub segment: Segment,
}

/// All links and connections.
pub struct Net {
    seed: Seed,
    names: Vec<String>,
    /// How long segments take.
    pub pace: Pace,
    /// All links.
    pub links: Vec<Link>,
    between: BTreeMap<(HostId, HostId), u32>,
    /// The connections between peers of one cluster.
    pub pipes: BTreeMap<(HostId, HostId), ConnectionId>,
    /// All connections that there ever were.
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
    /// Puts a segment in flight: its place there.
    pub fn launch(&mut self, flying: Flying) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.flying[slot as usize] = Some(flying);
                slot
            }
            None => {
                self.flying.push(Some(flying));
                self.flying.len() as u32 - 1
            }
        }
    }

    /// Takes a segment out of the air.
    pub fn land(&mut self, slot: u32) -> Option<Flying> {
        let flying = self.flying[slot as usize].take()?;
        self.free.push(slot);
        Some(flying)
    }
}
