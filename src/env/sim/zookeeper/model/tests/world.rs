//! A small world for the tests: one queue of events, links that keep order and hold what is cut off, crashes, freezes.
//!
//! It stands in for the simulation's scheduler and network, and is kept apart from them on purpose: the model must not
//! need more of its driver than this.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::mpsc;

use crate::env::sim::zookeeper::model::messages::{Change, CreateMode, Operation, Reply, Request, Zxid};
use crate::env::sim::zookeeper::model::peers::PeerMessage;
use crate::env::sim::zookeeper::{ConnectionId, Input, Output, Role, Server, Settings};
use crate::ids::NodeId;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Node(NodeId),
    Client(u32),
}

#[derive(Clone, Debug)]
enum Event {
    Peer(PeerMessage),
    PeerReset,
    Opened(ConnectionId),
    Closed(ConnectionId),
    Request(ConnectionId, Request),
    Reply(ConnectionId, Reply),
    ClosedByServer(ConnectionId),
}

/// What one connection's client has received.
#[derive(Debug, Default)]
pub struct Mailbox {
    pub replies: Vec<(Nanos, Reply)>,
    pub closed: bool,
    pub sink: Option<mpsc::UnboundedSender<Reply>>,
}

#[derive(Clone, Copy)]
struct Connection {
    client: u32,
    server: NodeId,
    open: bool,
}

pub struct World {
    pub now: Nanos,
    pub servers: BTreeMap<NodeId, Server>,
    pub mailboxes: BTreeMap<ConnectionId, Mailbox>,
    connections: BTreeMap<ConnectionId, Connection>,
    queue: BTreeMap<(Nanos, u64), (Host, Host, Event)>,
    /// The last delivery of each link: later messages do not overtake.
    last: BTreeMap<(Host, Host), Nanos>,
    /// Cut links, and what waits at them.
    cut: BTreeMap<(Host, Host), Vec<Event>>,
    frozen: BTreeMap<NodeId, Vec<(Host, Event)>>,
    sequence: u64,
    rng: ChaCha8Rng,
    latency: (u64, u64),
    /// A hash over all that the servers did.
    pub trace: DefaultHasher,
    watched_session: Option<i64>,
    /// When a leader first served without the watched session.
    pub session_ended: Option<Nanos>,
}

impl World {
    /// An ensemble of `size` servers that start together. Latencies are 0.2 to 3 ms.
    pub fn new(size: u32, seed: u64) -> Self {
        let members: Vec<NodeId> = (1..=size).map(NodeId).collect();
        let server = |id: &NodeId| (*id, Server::new(*id, members.clone(), Settings::default()));
        let servers = members.iter().map(server).collect();
        let mut world = Self {
            now: Nanos::ZERO,
            servers,
            mailboxes: BTreeMap::new(),
            connections: BTreeMap::new(),
            queue: BTreeMap::new(),
            last: BTreeMap::new(),
            cut: BTreeMap::new(),
            frozen: BTreeMap::new(),
            sequence: 0,
            rng: Seed(seed).stream("world"),
            latency: (200_000, 3_000_000),
            trace: DefaultHasher::new(),
            watched_session: None,
            session_ended: None,
        };
        members.iter().for_each(|id| world.start(*id));
        world
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.servers.keys().copied().collect()
    }

    fn input(&mut self, id: NodeId, input: Input) {
        let mut out = Vec::new();
        let server = self.servers.get_mut(&id).unwrap();
        server.handle(self.now, input, &mut out);
        if let Some(watched) = self.watched_session
            && self.session_ended.is_none()
            && server.role() == Role::Leading
            && !server.sessions().any(|session| session == watched)
        {
            self.session_ended = Some(self.now);
        }
        (self.now, id, &out).hash(&mut self.trace);
        for output in out {
            match output {
                Output::ToPeer(to, message) => self.send(Host::Node(id), Host::Node(to), Event::Peer(message)),
                Output::ToClient(connection, reply) => {
                    self.send_client(id, connection, Event::Reply(connection, reply))
                }
                Output::Close(connection) => self.send_client(id, connection, Event::ClosedByServer(connection)),
            }
        }
    }

    fn send_client(&mut self, id: NodeId, connection: ConnectionId, event: Event) {
        let client = Host::Client(self.connections[&connection].client);
        self.send(Host::Node(id), client, event);
    }

    fn send(&mut self, from: Host, to: Host, event: Event) {
        if let Some(held) = self.cut.get_mut(&(from, to)) {
            held.push(event);
            return;
        }
        let (min, max) = self.latency;
        let latency = Duration::from_nanos(self.rng.random_range(min..=max));
        let last = self.last.entry((from, to)).or_default();
        *last = (self.now + latency).max(*last);
        self.sequence += 1;
        self.queue.insert((*last, self.sequence), (from, to, event));
    }

    fn deliver(&mut self, from: Host, to: Host, event: Event) {
        match (to, event) {
            (Host::Node(id), event) if self.frozen.contains_key(&id) => {
                self.frozen.get_mut(&id).unwrap().push((from, event));
            }
            (Host::Node(id), event) => {
                let Some(input) = self.as_input(from, event) else { return };
                self.input(id, input);
            }
            (Host::Client(_), Event::Reply(id, reply)) => {
                let mailbox = self.mailboxes.get_mut(&id).unwrap();
                if !mailbox.closed {
                    mailbox.sink.as_ref().map(|sink| sink.send(reply.clone()));
                    mailbox.replies.push((self.now, reply));
                }
            }
            (Host::Client(_), Event::ClosedByServer(id)) => {
                self.connections.get_mut(&id).unwrap().open = false;
                let mailbox = self.mailboxes.get_mut(&id).unwrap();
                (mailbox.closed, mailbox.sink) = (true, None);
            }
            (Host::Client(_), other) => panic!("{other:?} at a client"),
        }
    }

    fn as_input(&self, from: Host, event: Event) -> Option<Input> {
        let open = |id: &ConnectionId| self.connections.get(id).is_some_and(|connection| connection.open);
        Some(match (from, event) {
            (Host::Node(from), Event::Peer(message)) => Input::FromPeer(from, message),
            (Host::Node(from), Event::PeerReset) => Input::PeerReset(from),
            (_, Event::Opened(id)) if open(&id) => Input::Opened(id),
            (_, Event::Request(id, request)) if open(&id) => Input::FromClient(id, request),
            (_, Event::Closed(id)) => Input::Closed(id),
            _ => return None,
        })
    }

    /// When something happens next.
    pub fn next(&self) -> Option<Nanos> {
        let message = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timers = self.servers.iter().filter(|(id, _)| !self.frozen.contains_key(id));
        let timer = timers.filter_map(|(_, server)| server.next_timer()).min();
        message.into_iter().chain(timer).min()
    }

    fn step(&mut self, at: Nanos) {
        self.now = self.now.max(at);
        if let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            let (from, to, event) = entry.remove();
            return self.deliver(from, to, event);
        }
        let due = |(id, server): &(&NodeId, &Server)| {
            !self.frozen.contains_key(id) && server.next_timer().is_some_and(|timer| timer <= self.now)
        };
        if let Some(id) = self.servers.iter().find(due).map(|(id, _)| *id) {
            self.input(id, Input::Timer);
        }
    }

    pub fn run_until(&mut self, end: Nanos) {
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.step(at);
        }
        self.now = self.now.max(end);
    }

    pub fn run(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Runs until `done`, for at most 30 s.
    pub fn run_to(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + Duration::from_secs(30);
        while !done(self) {
            let at = self.next().filter(|at| *at <= end).unwrap_or_else(|| panic!("never: {what}"));
            self.step(at);
        }
    }

    // Faults.

    pub fn start(&mut self, id: NodeId) {
        self.input(id, Input::Started);
    }

    pub fn crash(&mut self, id: NodeId) {
        self.servers.get_mut(&id).unwrap().crash();
        self.frozen.remove(&id);
        let host = Host::Node(id);
        self.queue.retain(|_, (from, to, _)| *from != host && *to != host);
        self.cut.iter_mut().filter(|((from, to), _)| *from == host || *to == host).for_each(|(_, held)| held.clear());
        for peer in self.ids().into_iter().filter(|peer| *peer != id) {
            self.send(host, Host::Node(peer), Event::PeerReset);
        }
        let lost = self.connections.iter().filter(|(_, connection)| connection.server == id && connection.open);
        for id in lost.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.send_client(self.connections[&id].server, id, Event::ClosedByServer(id));
        }
    }

    pub fn freeze(&mut self, id: NodeId) {
        self.frozen.entry(id).or_default();
    }

    pub fn thaw(&mut self, id: NodeId) {
        for (from, event) in self.frozen.remove(&id).unwrap_or_default() {
            self.deliver(from, Host::Node(id), event);
        }
    }

    pub fn cut(&mut self, from: Host, to: Host) {
        self.cut.entry((from, to)).or_default();
    }

    pub fn cut_both(&mut self, one: Host, other: Host) {
        self.cut(one, other);
        self.cut(other, one);
    }

    pub fn is_cut(&self, from: Host, to: Host) -> bool {
        self.cut.contains_key(&(from, to))
    }

    /// Cuts `some` off from all other servers.
    pub fn isolate(&mut self, some: &[NodeId]) {
        let ids = self.ids();
        for inside in some {
            for outside in ids.iter().filter(|id| !some.contains(id)) {
                self.cut_both(Host::Node(*inside), Host::Node(*outside));
            }
        }
    }

    pub fn heal(&mut self) {
        for ((from, to), held) in std::mem::take(&mut self.cut) {
            held.into_iter().for_each(|event| self.send(from, to, event));
        }
        for id in self.ids() {
            self.thaw(id);
            if self.servers[&id].role() == Role::Down {
                self.start(id);
            }
        }
    }

    // What the tests look at.

    pub fn leader(&self) -> Option<NodeId> {
        self.servers.values().find(|server| server.role() == Role::Leading).map(|server| self.id_of(server))
    }

    fn id_of(&self, wanted: &Server) -> NodeId {
        *self.servers.iter().find(|(_, server)| std::ptr::eq(*server, wanted)).unwrap().0
    }

    pub fn serving(&self) -> BTreeSet<NodeId> {
        let serves = |server: &Server| matches!(server.role(), Role::Leading | Role::Following(_));
        self.servers.iter().filter(|(_, server)| serves(server)).map(|(id, _)| *id).collect()
    }

    pub fn settled(&self) -> bool {
        self.serving().len() == self.servers.len()
    }

    pub fn paths(&self, id: NodeId) -> Vec<String> {
        self.servers[&id].znodes().map(|(path, _)| path.to_owned()).collect()
    }

    /// The server that a client is connected to.
    pub fn home(&self, client: u32) -> Option<NodeId> {
        let newest = self.connections.values().rev().find(|connection| connection.client == client);
        newest.map(|connection| connection.server)
    }

    /// Notes in [`Self::session_ended`] when the session of a client ends.
    pub fn watch_session_of(&mut self, client: u32) {
        let of_client = |id: &&ConnectionId| self.connections[id].client == client;
        let newest = *self.connections.keys().rev().find(of_client).unwrap();
        let session = self.replies(newest).find_map(|reply| match reply {
            Reply::Connected { credentials, .. } => Some(credentials.session),
            _ => None,
        });
        self.watched_session = session;
    }

    // Raw clients.

    pub fn open(&mut self, client: u32, server: NodeId) -> ConnectionId {
        let id = ConnectionId(self.connections.len() as u64 + 1);
        let down = self.servers[&server].role() == Role::Down;
        self.connections.insert(id, Connection { client, server, open: !down });
        self.mailboxes.insert(id, Mailbox { closed: down, ..Mailbox::default() });
        if !down {
            self.send(Host::Client(client), Host::Node(server), Event::Opened(id));
        }
        id
    }

    pub fn request(&mut self, id: ConnectionId, request: Request) {
        let Connection { client, server, open } = self.connections[&id];
        if open {
            self.send(Host::Client(client), Host::Node(server), Event::Request(id, request));
        }
    }

    /// The client closes a connection.
    pub fn hang_up(&mut self, id: ConnectionId) {
        let Connection { client, server, open } = self.connections[&id];
        if open {
            self.mailboxes.get_mut(&id).unwrap().closed = true;
            self.send(Host::Client(client), Host::Node(server), Event::Closed(id));
        }
    }

    pub fn connect_with(&mut self, client: u32, server: NodeId, timeout: Duration) -> ConnectionId {
        let id = self.open(client, server);
        self.request(id, Request::Connect { session: None, timeout, last_seen: Zxid::ZERO });
        id
    }

    pub fn ask(&mut self, id: ConnectionId, xid: i32, operation: Operation) {
        self.request(id, Request::Operation { xid, operation });
    }

    pub fn create(&mut self, id: ConnectionId, xid: i32, path: &str, mode: CreateMode) {
        self.ask(id, xid, Operation::Change(Change::Create { path: path.into(), mode }));
    }

    pub fn replies(&self, id: ConnectionId) -> impl Iterator<Item = &Reply> {
        self.mailboxes[&id].replies.iter().map(|(_, reply)| reply)
    }

    /// The reply to an operation, once it is there.
    pub fn done(&self, id: ConnectionId, wanted: i32) -> Option<&Reply> {
        self.replies(id).find(|reply| matches!(reply, Reply::Done { xid, .. } if *xid == wanted))
    }
}
