//! The connections of one server: each session's requests in order, the replies, the watches.
//!
//! A change goes to the leader at once; whatever the same session asks for after it waits here until it is committed
//! and applied *here*. So a session sees its own writes and reads in the order of its requests, though another session
//! may already know better. What the leader is to be told collects in `upstream` and `touched`.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::io::Output;
use super::messages::{
    Answer, Change, ConnectionId, Credentials, EventKind, Operation, Path, Refusal, Reply, Request, Zxid,
};
use super::peers::{Entry, Forward, Transaction};
use super::settings::Settings;
use super::tree::Tree;
use super::watches::Watches;
use crate::ids::NodeId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was said yet.
    Opened,
    /// The leader is asked about the session. Requests wait unread.
    Connecting,
    /// The session is open here.
    Established,
}

/// A request that was read and not answered.
#[derive(Clone, Debug)]
enum Pending {
    /// The leader is asked for a change.
    Change(i32),
    /// The leader is asked for a `sync`.
    Sync(i32),
    /// To be answered here, when all before it is.
    Local(Request),
}

#[derive(Clone, Debug)]
struct Connection {
    stage: Stage,
    session: i64,
    timeout: Duration,
    unread: VecDeque<Request>,
    pending: VecDeque<Pending>,
}

/// The clients of one server.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    connections: FxHashMap<ConnectionId, Connection>,
    /// The newest connection of each session.
    by_session: FxHashMap<i64, ConnectionId>,
    watches: Watches,
    /// The session id before the next new one.
    last_session: i64,
    /// Whether this server leads. A leader answers a `sync` like a read.
    pub leading: bool,
    /// What to ask the leader.
    pub upstream: VecDeque<Forward>,
    /// The sessions that gave a sign of life, and their timeouts.
    touched: FxHashMap<i64, Duration>,
}

impl Clients {
    /// No clients yet. `starts` keeps the session ids of a restarted server from being used twice.
    pub fn new(id: NodeId, starts: u32) -> Self {
        Self {
            connections: FxHashMap::default(),
            by_session: FxHashMap::default(),
            watches: Watches::default(),
            last_session: i64::from(id.0) << 56 | i64::from(starts) << 32,
            leading: false,
            upstream: VecDeque::new(),
            touched: FxHashMap::default(),
        }
    }

    pub fn opened(&mut self, id: ConnectionId) {
        let connection = Connection {
            stage: Stage::Opened,
            session: 0,
            timeout: Duration::ZERO,
            unread: VecDeque::new(),
            pending: VecDeque::new(),
        };
        self.connections.insert(id, connection);
    }

    /// The session that is open on a connection, and its timeout.
    pub fn session(&self, id: ConnectionId) -> Option<(i64, Duration)> {
        let connection = self.connections.get(&id).filter(|connection| connection.stage == Stage::Established)?;
        Some((connection.session, connection.timeout))
    }

    /// The sessions that are open here, each with its connection, in no order.
    pub fn established(&self) -> impl Iterator<Item = (ConnectionId, i64)> {
        let open = self.connections.iter().filter(|(_, connection)| connection.stage == Stage::Established);
        open.map(|(id, connection)| (*id, connection.session))
    }

    /// Forgets a connection.
    pub fn forget(&mut self, id: ConnectionId) {
        self.watches.forget(id);
        if let Some(connection) = self.connections.remove(&id)
            && self.by_session.get(&connection.session) == Some(&id)
        {
            self.by_session.remove(&connection.session);
        }
    }

    pub fn close(&mut self, id: ConnectionId, out: &mut Vec<Output>) {
        if self.connections.contains_key(&id) {
            self.forget(id);
            out.push(Output::Close(id));
        }
    }

    /// Closes all connections: this server no longer serves.
    pub fn shut_down(&mut self, out: &mut Vec<Output>) {
        let mut connections: Vec<ConnectionId> = self.connections.drain().map(|(id, _)| id).collect();
        connections.sort_unstable();
        out.extend(connections.into_iter().map(Output::Close));
        self.by_session.clear();
        self.watches = Watches::default();
        self.upstream.clear();
        self.touched.clear();
    }

    /// Takes the sessions that gave a sign of life since this was last asked, in order.
    pub fn take_touched(&mut self) -> Vec<(i64, Duration)> {
        let mut touched: Vec<(i64, Duration)> = self.touched.drain().collect();
        touched.sort_unstable_by_key(|(session, _)| *session);
        touched
    }

    /// Forgets who gave a sign of life.
    pub fn forget_touched(&mut self) {
        self.touched.clear();
    }

    /// Takes a request.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        request: Request,
        settings: &Settings,
        tree: &Tree,
        out: &mut Vec<Output>,
    ) {
        // A connection that we have closed may still bring requests.
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match (connection.stage, request) {
            (Stage::Opened, Request::Connect { session, timeout, last_seen }) => {
                let timeout = settings.negotiate(timeout);
                self.connect(id, session, timeout, last_seen, tree, out);
            }
            (Stage::Connecting, request) => connection.unread.push_back(request),
            (Stage::Established, request) if !matches!(request, Request::Connect { .. }) => {
                self.read(id, request);
                self.settle(id, tree, out);
            }
            _ => self.close(id, out),
        }
    }

    fn connect(
        &mut self,
        id: ConnectionId,
        resumed: Option<Credentials>,
        timeout: Duration,
        last_seen: Zxid,
        tree: &Tree,
        out: &mut Vec<Output>,
    ) {
        if last_seen > tree.last() {
            // The client has seen more than this server: it must not go back in time.
            return self.close(id, out);
        }
        let session = match resumed {
            Some(Credentials { session, password: given }) if given == password(session) => session,
            Some(_) => return self.expired(id, out),
            None => {
                self.last_session += 1;
                self.last_session
            }
        };
        if let Some(old) = self.by_session.insert(session, id) {
            self.close(old, out);
            self.by_session.insert(session, id);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            (connection.stage, connection.session, connection.timeout) = (Stage::Connecting, session, timeout);
        }
        self.upstream.push_back(match resumed {
            Some(_) => Forward::Revalidate { session, timeout },
            None => Forward::OpenSession { session, timeout },
        });
    }

    fn expired(&mut self, id: ConnectionId, out: &mut Vec<Output>) {
        out.push(Output::ToClient(id, Reply::Expired));
        self.close(id, out);
    }

    /// The session is open: reads what came meanwhile.
    fn establish(&mut self, id: ConnectionId, tree: &Tree, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.stage = Stage::Established;
        let (session, timeout) = (connection.session, connection.timeout);
        let unread = std::mem::take(&mut connection.unread);
        let credentials = Credentials { session, password: password(session) };
        out.push(Output::ToClient(id, Reply::Connected { credentials, timeout }));
        unread.into_iter().for_each(|request| self.read(id, request));
        self.settle(id, tree, out);
    }

    /// Puts a request in its session's line.
    fn read(&mut self, id: ConnectionId, request: Request) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let session = connection.session;
        self.touched.insert(session, connection.timeout);
        connection.pending.push_back(match request {
            Request::Operation { xid, operation: Operation::Change(change) } => {
                self.upstream.push_back(Forward::Change { session, xid, change });
                Pending::Change(xid)
            }
            Request::Operation { xid, operation: Operation::Sync } if !self.leading => {
                self.upstream.push_back(Forward::Sync { session, xid });
                Pending::Sync(xid)
            }
            local => Pending::Local(local),
        });
    }

    /// Answers what stands first in line and needs nobody else.
    fn settle(&mut self, id: ConnectionId, tree: &Tree, out: &mut Vec<Output>) {
        while let Some(connection) = self.connections.get_mut(&id)
            && let Some(Pending::Local(_)) = connection.pending.front()
            && let Some(Pending::Local(request)) = connection.pending.pop_front()
        {
            self.answer(id, request, tree, out);
        }
    }

    fn answer(&mut self, id: ConnectionId, request: Request, tree: &Tree, out: &mut Vec<Output>) {
        let reply = match request {
            Request::Ping => Reply::Pong,
            Request::SetWatches { since, existing, missing } => {
                self.set_watches(id, since, existing, missing, tree, out);
                Reply::WatchesSet
            }
            Request::Operation { xid, operation } => {
                let result = self.look(id, operation, tree);
                Reply::Done { xid, zxid: tree.last(), result }
            }
            Request::Connect { .. } => return self.close(id, out),
        };
        out.push(Output::ToClient(id, reply));
    }

    fn look(&mut self, id: ConnectionId, operation: Operation, tree: &Tree) -> Result<Answer, Refusal> {
        match operation {
            Operation::Exists { path, watch } => {
                if watch {
                    self.watches.set(id, &path);
                }
                Ok(Answer::Stat(tree.get(&path).map(|node| node.stat())))
            }
            Operation::Children { path } => {
                let node = tree.get(&path).ok_or(Refusal::NoNode)?;
                Ok(Answer::Children(node.children.iter().cloned().collect()))
            }
            Operation::RemoveWatch { path } => {
                self.watches.remove(id, &path);
                Ok(Answer::Empty)
            }
            Operation::Sync => Ok(Answer::Empty),
            Operation::Change(_) => Err(Refusal::BadArguments),
        }
    }

    fn set_watches(
        &mut self,
        id: ConnectionId,
        since: Zxid,
        existing: Vec<Path>,
        missing: Vec<Path>,
        tree: &Tree,
        out: &mut Vec<Output>,
    ) {
        let existing = existing.into_iter().map(|path| match tree.get(&path) {
            None => (path, Some(EventKind::Deleted)),
            Some(node) if node.czxid > since => (path, Some(EventKind::Changed)),
            Some(_) => (path, None),
        });
        let missing = missing.into_iter().map(|path| {
            let event = tree.get(&path).map(|_| EventKind::Created);
            (path, event)
        });
        for (path, event) in existing.chain(missing) {
            match event {
                Some(event) => out.push(Output::ToClient(id, Reply::Event { path, event })),
                None => self.watches.set(id, &path),
            }
        }
    }

    /// A transaction was applied: fires watches, then answers the client that asked for it.
    pub fn committed(&mut self, entry: &Entry, effects: Vec<(Path, EventKind)>, tree: &Tree, out: &mut Vec<Output>) {
        for (path, event) in effects {
            for watcher in self.watches.fire(&path) {
                out.push(Output::ToClient(watcher, Reply::Event { path: path.clone(), event }));
            }
        }
        let Some(&id) = self.by_session.get(&entry.session) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if entry.transaction.opens() {
            if connection.stage == Stage::Connecting {
                self.establish(id, tree, out);
            }
            return;
        }
        if matches!(connection.pending.front(), Some(Pending::Change(xid)) if *xid == entry.xid) {
            connection.pending.pop_front();
            let result = match &entry.transaction {
                Transaction::Error(Refusal::SessionMoved) => return self.close(id, out),
                Transaction::Error(refusal) => Err(*refusal),
                Transaction::Create { path, .. } => match tree.get(path) {
                    Some(node) => Ok(Answer::Created { path: path.clone(), stat: node.stat() }),
                    None => Err(Refusal::NoNode),
                },
                _ => Ok(Answer::Empty),
            };
            out.push(Output::ToClient(id, Reply::Done { xid: entry.xid, zxid: tree.last(), result }));
        }
        match entry.transaction {
            Transaction::CloseSession => self.close(id, out),
            _ => self.settle(id, tree, out),
        }
    }

    /// The leader has answered a `sync`.
    pub fn synced(&mut self, session: i64, xid: i32, tree: &Tree, out: &mut Vec<Output>) {
        let Some(&id) = self.by_session.get(&session) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if matches!(connection.pending.front(), Some(Pending::Sync(waiting)) if *waiting == xid) {
            connection.pending.pop_front();
            out.push(Output::ToClient(id, Reply::Done { xid, zxid: tree.last(), result: Ok(Answer::Empty) }));
            self.settle(id, tree, out);
        }
    }

    /// The leader has said whether a session is alive.
    pub fn revalidated(&mut self, session: i64, alive: bool, tree: &Tree, out: &mut Vec<Output>) {
        let Some(&id) = self.by_session.get(&session) else { return };
        match self.connections.get(&id) {
            Some(connection) if connection.stage == Stage::Connecting && alive => self.establish(id, tree, out),
            Some(connection) if connection.stage == Stage::Connecting => self.expired(id, out),
            _ => {}
        }
    }
}

impl Transaction {
    fn opens(&self) -> bool {
        matches!(self, Self::OpenSession { .. })
    }
}

/// A session's password. Every server can tell it from the id, as real ones do; no client can guess it there.
fn password(session: i64) -> u64 {
    (session as u64 ^ 0xb3b5_3415_7a5c_fcb1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A request to end a session.
pub(super) fn close_session(session: i64) -> Forward {
    Forward::Change { session, xid: 0, change: Change::CloseSession }
}
