//! One member: from inputs to outputs.
//!
//! A crash takes everything but the log, the term and the vote. A freeze needs nothing from here: whoever drives the
//! member hands nothing in meanwhile, and afterwards what has piled up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use smol_str::SmolStr;

use super::messages::{Answer, Ask, ConnectionId, Entry, Input, Output, PeerMessage, Request, Ticket};
use super::raft::{ELECTION, Raft};
use super::store::Store;
use crate::ids::NodeId;
use crate::seed::ChaCha8Rng;
use crate::time::Nanos;

/// etcd's tick, which is its leader's heartbeat.
const TICK: Duration = Duration::from_millis(100);
/// How often a leader looks for leases that are over.
const LOOK: Duration = Duration::from_millis(500);
/// The shortest lease that is granted, in seconds: one and a half election timeouts.
const SHORTEST: u64 = 2;
/// How long a request may take: 5 s and two election timeouts (`ServerConfig.ReqTimeout`).
const PATIENCE: Duration = Duration::from_secs(7);
/// What is said then (`rpctypes.ErrGRPCTimeout`). It may have been carried out, or may yet be.
const TIMED_OUT: Answer = Answer::Error(14, "etcdserver: request timed out");

fn election() -> Duration {
    TICK * ELECTION as u32
}

/// A client's request that is not answered yet.
#[derive(Clone, Debug)]
struct Pending {
    connection: ConnectionId,
    what: Wanted,
    until: Nanos,
    /// The term in whose leader's hands it is.
    sent: Option<u64>,
}

#[derive(Clone, Debug)]
enum Wanted {
    /// To be put into the log; lists what is below the prefix afterwards, if there is one.
    Change(Ask, Option<SmolStr>),
    /// To be read when so much is applied.
    Read(SmolStr, Option<u64>),
    Renewal(i64),
}

/// What waits for a majority to say that we lead.
#[derive(Clone, Debug)]
enum Question {
    Read {
        from: NodeId,
        ticket: Ticket,
        index: u64,
    },
    Renewal {
        from: NodeId,
        ticket: Ticket,
        lease: i64,
    },
    /// Leases that are over.
    Expiry(Vec<i64>),
}

/// One member of an etcd cluster.
#[derive(Debug)]
pub struct Server {
    id: NodeId,
    raft: Raft,
    store: Store,
    applied: u64,
    is_running: bool,
    life: u32,
    numbered: u64,
    pending: BTreeMap<u64, Pending>,
    watches: BTreeMap<ConnectionId, (SmolStr, u64)>,
    questions: VecDeque<(u64, Question)>,
    /// The leader's: when each lease is over, by its own clock.
    expiries: BTreeMap<i64, Nanos>,
    led: bool,
    next_tick: Nanos,
    next_look: Nanos,
}

impl Server {
    /// The member `id` of a cluster of `members`, not started yet, with an empty disk.
    pub fn new(id: NodeId, members: &[NodeId], rng: ChaCha8Rng) -> Self {
        Self {
            id,
            raft: Raft::new(id, members, rng),
            store: Store::default(),
            applied: 0,
            is_running: false,
            life: 0,
            numbered: 0,
            pending: BTreeMap::new(),
            watches: BTreeMap::new(),
            questions: VecDeque::new(),
            expiries: BTreeMap::new(),
            led: false,
            next_tick: Nanos::ZERO,
            next_look: Nanos::ZERO,
        }
    }

    /// Its number.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The term that it knows of.
    pub fn term(&self) -> u64 {
        self.raft.term()
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.is_running && self.raft.is_leader()
    }

    /// The keys that it has, with their leases and, at the leader, what is left of those at `now`.
    pub fn keys(&self, now: Nanos) -> impl Iterator<Item = (&str, i64, Option<Duration>)> {
        self.store
            .keys()
            .map(move |(key, lease)| (key.as_str(), lease, self.expiries.get(&lease).map(|over| *over - now)))
    }

    /// How many entries of the log it has applied in this life.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Those that it has applied after the first `known`, in order.
    pub fn applied_after(&self, known: u64) -> impl Iterator<Item = &Entry> {
        (known + 1..=self.applied).filter_map(|index| self.raft.entry(index))
    }

    /// The process ends.
    pub fn crash(&mut self) {
        self.is_running = false;
        self.pending.clear();
        self.watches.clear();
        self.questions.clear();
        self.expiries.clear();
        (self.led, self.store, self.applied) = (false, Store::default(), 0);
    }

    /// When it wants to be woken.
    pub fn next_timer(&self) -> Option<Nanos> {
        self.is_running.then(|| self.next_tick.min(self.next_look))
    }

    /// Lets something happen at `now` on its own clock.
    pub fn handle(&mut self, now: Nanos, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Started => {
                (self.is_running, self.life) = (true, self.life + 1);
                (self.next_tick, self.next_look) = (now + TICK, now + LOOK);
                self.raft.start();
            }
            _ if !self.is_running => return,
            Input::Timer => {
                if self.next_tick <= now {
                    self.next_tick = now + TICK;
                    self.raft.tick(out);
                    self.give_up(now, out);
                }
                if self.next_look <= now {
                    self.next_look = now + LOOK;
                    self.look(now, out);
                }
            }
            Input::FromClient(connection, request) => self.asked(now, connection, request, out),
            Input::FromPeer(from, message) => self.told(from, message, out),
            Input::Closed(connection) => {
                self.watches.remove(&connection);
                // What was asked for goes on; nobody is told.
                self.pending.retain(|_, pending| pending.connection != connection);
            }
        }
        self.settle(now, out);
    }

    fn asked(&mut self, now: Nanos, connection: ConnectionId, request: Request, out: &mut Vec<Output>) {
        let what = match request {
            Request::Watch { key, from } => {
                if self.store.was_deleted(&key, from) {
                    out.push(Output::ToClient(connection, Answer::Gone));
                } else {
                    self.watches.insert(connection, (key, from));
                }
                return;
            }
            Request::Grant { lease, seconds } => {
                Wanted::Change(Ask::Grant { lease, seconds: seconds.max(SHORTEST) }, None)
            }
            Request::Revoke { lease } => Wanted::Change(Ask::Revoke { lease }, None),
            Request::Enter { key, lease, prefix } => Wanted::Change(Ask::Enter { key, lease }, Some(prefix)),
            Request::Delete { key } => Wanted::Change(Ask::Delete { key }, None),
            Request::Line { prefix } => Wanted::Read(prefix, None),
            Request::KeepAlive { lease } => Wanted::Renewal(lease),
        };
        self.numbered += 1;
        self.pending.insert(self.numbered, Pending { connection, what, until: now + PATIENCE, sent: None });
    }

    fn told(&mut self, from: NodeId, message: PeerMessage, out: &mut Vec<Output>) {
        match message {
            PeerMessage::Propose { ticket, ask } => self.propose(Some(ticket), ask, out),
            PeerMessage::ReadIndex { ticket } => self.read_index(from, ticket, out),
            PeerMessage::Renew { ticket, lease } => self.renew(from, ticket, lease, out),
            PeerMessage::ReadAt { ticket, index } => self.readable(ticket, index),
            PeerMessage::Renewed { ticket, seconds } => self.renewed(ticket, seconds, out),
            about_the_log => self.raft.receive(from, about_the_log, out),
        }
    }

    /// Takes a change as the leader. A member that does not lead drops it, as etcd does.
    fn propose(&mut self, ticket: Option<Ticket>, ask: Ask, out: &mut Vec<Output>) {
        if self.raft.is_leader() {
            let entry = Entry { term: self.raft.term(), ticket, ask };
            self.raft.append(entry, out);
        }
    }

    fn read_index(&mut self, from: NodeId, ticket: Ticket, out: &mut Vec<Output>) {
        if self.raft.is_leader() && self.raft.has_committed_own() {
            let (index, round) = (self.raft.committed(), self.raft.question(out));
            self.questions.push_back((round, Question::Read { from, ticket, index }));
        }
    }

    fn renew(&mut self, from: NodeId, ticket: Ticket, lease: i64, out: &mut Vec<Output>) {
        if self.raft.is_leader() && self.raft.has_committed_own() {
            let round = self.raft.question(out);
            self.questions.push_back((round, Question::Renewal { from, ticket, lease }));
        }
    }

    fn readable(&mut self, ticket: Ticket, index: u64) {
        if let Some(pending) = self.own(ticket)
            && let Wanted::Read(_, at) = &mut pending.what
        {
            *at = Some(index);
        }
    }

    fn renewed(&mut self, ticket: Ticket, seconds: Option<u64>, out: &mut Vec<Output>) {
        if self.own(ticket).is_some()
            && let Some(pending) = self.pending.remove(&ticket.number)
        {
            out.push(Output::ToClient(pending.connection, Answer::Alive(seconds)));
        }
    }

    fn own(&mut self, ticket: Ticket) -> Option<&mut Pending> {
        let is_own = ticket.member == self.id && ticket.life == self.life;
        self.pending.get_mut(&ticket.number).filter(|_| is_own)
    }

    /// Looks for leases that are over, as the leader; and asks again what no leader has answered.
    fn look(&mut self, now: Nanos, out: &mut Vec<Output>) {
        for pending in self.pending.values_mut() {
            if !matches!(pending.what, Wanted::Change(..)) {
                pending.sent = None;
            }
        }
        let over: Vec<i64> = self.expiries.iter().filter(|(_, over)| **over <= now).map(|(lease, _)| *lease).collect();
        if self.raft.is_leader() && !over.is_empty() {
            let round = self.raft.question(out);
            self.questions.push_back((round, Question::Expiry(over)));
        }
    }

    /// Tells those whose time is up.
    fn give_up(&mut self, now: Nanos, out: &mut Vec<Output>) {
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| pending.until <= now).map(|(number, _)| *number).collect();
        for pending in late.iter().filter_map(|number| self.pending.remove(number)) {
            out.push(Output::ToClient(pending.connection, TIMED_OUT));
        }
    }

    /// Goes as far as it can after something has happened.
    fn settle(&mut self, now: Nanos, out: &mut Vec<Output>) {
        self.change_of_roles(now);
        self.apply(now, out);
        self.send_on(out);
        self.answer_questions(now, out);
        self.apply(now, out);
        self.answer_reads(out);
    }

    /// A new leader gives every lease its whole length, and an election timeout: nobody knows what the last one had
    /// heard.
    fn change_of_roles(&mut self, now: Nanos) {
        let leads = self.raft.is_leader();
        if leads && !self.led {
            let length = |seconds| Duration::from_secs(seconds) + election();
            self.expiries = self.store.leases().map(|(lease, seconds)| (lease, now + length(seconds))).collect();
        }
        if !leads {
            self.expiries.clear();
            self.questions.clear();
        }
        self.led = leads;
    }

    /// Applies what is committed.
    fn apply(&mut self, now: Nanos, out: &mut Vec<Output>) {
        while self.applied < self.raft.committed() {
            let Some(Entry { ticket, ask, .. }) = self.raft.entry(self.applied + 1).cloned() else { break };
            self.applied += 1;
            let answer = self.store.apply(&ask);
            match (&ask, &answer) {
                (Ask::Grant { lease, seconds }, Answer::Granted(_)) if self.led => {
                    self.expiries.insert(*lease, now + Duration::from_secs(*seconds));
                }
                (Ask::Revoke { lease }, _) => drop(self.expiries.remove(lease)),
                _ => {}
            }
            let gone = |(connection, (key, from)): (&ConnectionId, &(SmolStr, u64))| {
                self.store.was_deleted(key, *from).then_some(*connection)
            };
            for connection in self.watches.iter().filter_map(gone).collect::<Vec<_>>() {
                self.watches.remove(&connection);
                out.push(Output::ToClient(connection, Answer::Gone));
            }
            let Some(ticket) = ticket.filter(|ticket| ticket.member == self.id && ticket.life == self.life) else {
                continue;
            };
            if let Some(Pending { connection, what: Wanted::Change(_, prefix), .. }) =
                self.pending.remove(&ticket.number)
            {
                let answer = match (prefix, &answer) {
                    (Some(prefix), Answer::Line(..)) => self.store.line(&prefix),
                    _ => answer,
                };
                out.push(Output::ToClient(connection, answer));
            }
        }
    }

    /// Puts into the leader's hands what is in nobody's. A change is put there once; the others again after a change of
    /// leaders.
    fn send_on(&mut self, out: &mut Vec<Output>) {
        let Some(leader) = self.raft.leader() else { return };
        let (term, id, life) = (self.raft.term(), self.id, self.life);
        let due = |pending: &Pending| match &pending.what {
            Wanted::Change(..) => pending.sent.is_none(),
            Wanted::Read(_, at) => at.is_none() && pending.sent != Some(term),
            Wanted::Renewal(_) => pending.sent != Some(term),
        };
        // A leader that has not committed anything of its own yet would not answer.
        if leader == id && !self.raft.has_committed_own() {
            return;
        }
        let due: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| due(pending)).map(|(number, _)| *number).collect();
        for number in due {
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            pending.sent = Some(term);
            let ticket = Ticket { member: id, life, number };
            let message = match pending.what.clone() {
                Wanted::Change(ask, _) => PeerMessage::Propose { ticket, ask },
                Wanted::Read(..) => PeerMessage::ReadIndex { ticket },
                Wanted::Renewal(lease) => PeerMessage::Renew { ticket, lease },
            };
            if leader != id {
                out.push(Output::ToPeer(leader, message));
                continue;
            }
            match message {
                PeerMessage::Propose { ticket, ask } => self.propose(Some(ticket), ask, out),
                PeerMessage::ReadIndex { ticket } => self.read_index(id, ticket, out),
                PeerMessage::Renew { ticket, lease } => self.renew(id, ticket, lease, out),
                _ => {}
            }
        }
    }

    /// Answers what waited for a majority to say that we lead.
    fn answer_questions(&mut self, now: Nanos, out: &mut Vec<Output>) {
        let answered = self.raft.answered();
        while let Some((_, question)) = self.questions.pop_front_if(|(round, _)| *round <= answered) {
            match question {
                Question::Read { from, ticket, index } if from == self.id => self.readable(ticket, index),
                Question::Read { from, ticket, index } => {
                    out.push(Output::ToPeer(from, PeerMessage::ReadAt { ticket, index }));
                }
                Question::Renewal { from, ticket, lease } => {
                    let seconds = self.expiries.contains_key(&lease).then(|| self.store.seconds(lease)).flatten();
                    if let Some(seconds) = seconds {
                        self.expiries.insert(lease, now + Duration::from_secs(seconds));
                    }
                    if from == self.id {
                        self.renewed(ticket, seconds, out);
                    } else {
                        out.push(Output::ToPeer(from, PeerMessage::Renewed { ticket, seconds }));
                    }
                }
                Question::Expiry(leases) => {
                    for lease in leases {
                        // Kept alive meanwhile, or already on its way out.
                        if self.expiries.get(&lease).is_some_and(|over| *over <= now) {
                            self.expiries.remove(&lease);
                            self.propose(None, Ask::Revoke { lease }, out);
                        }
                    }
                }
            }
        }
    }

    fn answer_reads(&mut self, out: &mut Vec<Output>) {
        let ready = |pending: &Pending| matches!(pending.what, Wanted::Read(_, Some(index)) if index <= self.applied);
        let ready: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| ready(pending)).map(|(number, _)| *number).collect();
        for number in ready {
            if let Some(Pending { connection, what: Wanted::Read(prefix, _), .. }) = self.pending.remove(&number) {
                out.push(Output::ToClient(connection, self.store.line(&prefix)));
            }
        }
    }
}
