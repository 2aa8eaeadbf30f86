//! The background work of one session: connects, sends, receives, pings, and decides when a connection or the session
//! is over.
//!
//! With a granted session timeout T, a tick is T/20: after 3 silent ticks a ping is sent; after 8 ticks (2/5 T) without
//! any reply the connection is given up; after 7/5 T without one the client takes the session for expired. Requests in
//! flight when a connection ends stay unanswered; those that come meanwhile wait for the next connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::command::{Command, Response};
use super::endpoints::Endpoints;
use super::transport::{Link, Transport};
use super::watchers::Watchers;
use crate::env::sim::zookeeper::model::messages::{
    Answer, Change, Credentials, Operation, Path, Refusal, Reply, Request, Zxid,
};
use crate::ids::NodeId;
use crate::lock::backend::SessionState;
use crate::lock::error::ZkError;
use crate::lock::runtime::{SharedRuntime, before};
use crate::time::Nanos;

/// A request that was sent and not answered.
struct InFlight {
    /// The znode that it watches.
    watches: Option<Path>,
    respond: Option<oneshot::Sender<Result<Response, ZkError>>>,
}

/// Why a connection, or the attempt to make one, is over.
enum Over {
    /// Another one may do better.
    Connection(&'static str),
    /// The session is over.
    Session(&'static str),
}

const EXPIRED: Over = Over::Session("session expired");

/// What is known of a session that was opened.
pub(super) struct Opened {
    pub id: i64,
    pub timeout: Duration,
    pub state: watch::Receiver<SessionState>,
}

pub(super) struct Worker {
    transport: Arc<dyn Transport>,
    runtime: SharedRuntime,
    endpoints: Endpoints,
    queue: mpsc::UnboundedReceiver<Command>,
    credentials: Option<Credentials>,
    timeout: Duration,
    state: watch::Sender<SessionState>,
    watchers: Watchers,
    in_flight: BTreeMap<i32, InFlight>,
    last_xid: i32,
    last_zxid: Zxid,
    last_received: Nanos,
    last_sent: Nanos,
    pinged: bool,
    watches_sent: bool,
    /// All handles are gone.
    closing: bool,
}

impl Worker {
    pub fn new(
        servers: Vec<NodeId>,
        timeout: Duration,
        transport: Arc<dyn Transport>,
        runtime: SharedRuntime,
        queue: mpsc::UnboundedReceiver<Command>,
        requests: mpsc::WeakUnboundedSender<Command>,
    ) -> Self {
        let now = runtime.now();
        Self {
            transport,
            endpoints: Endpoints::new(servers, &runtime),
            runtime,
            queue,
            credentials: None,
            timeout,
            state: watch::Sender::new(SessionState::Connected),
            watchers: Watchers::new(requests),
            in_flight: BTreeMap::new(),
            last_xid: 0,
            last_zxid: Zxid::ZERO,
            last_received: now,
            last_sent: now,
            pinged: false,
            watches_sent: false,
            closing: false,
        }
    }

    /// Opens the session.
    pub async fn open(mut self) -> Result<(Self, Box<dyn Link>, Opened), ZkError> {
        let link = match self.reconnect().await {
            Ok(link) => link,
            Err(Over::Connection(reason)) => return Err(ZkError::Unanswered(reason.to_owned())),
            Err(Over::Session(reason)) => return Err(ZkError::SessionEnded(reason.to_owned())),
        };
        let id = self.credentials.map_or(0, |credentials| credentials.session);
        let opened = Opened { id, timeout: self.timeout, state: self.state.subscribe() };
        Ok((self, link, opened))
    }

    /// Keeps the session until it is over.
    pub async fn serve(mut self, mut link: Box<dyn Link>) {
        let reason = loop {
            self.endpoints.shuffle(&self.runtime);
            let over = self.serve_connection(&mut *link).await;
            drop(link);
            match over {
                Over::Session(reason) => break reason,
                Over::Connection(reason) => {
                    self.set_state(SessionState::Disconnected);
                    self.fail_in_flight(&ZkError::Unanswered(reason.to_owned()));
                }
            }
            link = match self.reconnect().await {
                Ok(link) => link,
                Err(Over::Session(reason)) => break reason,
                // Nobody could be reached for 7/5 of the session timeout.
                Err(Over::Connection(_)) => break "session expired",
            };
        };
        let error = ZkError::SessionEnded(reason.to_owned());
        self.set_state(SessionState::Ended(reason.to_owned()));
        self.watchers.end();
        self.fail_in_flight(&error);
        self.queue.close();
        while let Ok(command) = self.queue.try_recv() {
            if let Command::Ask { respond, .. } = command {
                let _ = respond.send(Err(error.clone()));
            }
        }
    }

    fn tick(&self) -> Duration {
        (self.timeout / 20).max(Duration::from_millis(1))
    }

    /// How long a connection may be silent.
    fn patience(&self) -> Duration {
        self.tick() * 8
    }

    fn set_state(&self, state: SessionState) {
        self.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
    }

    fn fail_in_flight(&mut self, error: &ZkError) {
        for respond in std::mem::take(&mut self.in_flight).into_values().filter_map(|request| request.respond) {
            let _ = respond.send(Err(error.clone()));
        }
    }

    /// Tries one server after the other until the session is open on one.
    async fn reconnect(&mut self) -> Result<Box<dyn Link>, Over> {
        self.endpoints.start();
        let patience = if self.credentials.is_some() { self.timeout * 7 / 5 } else { self.timeout };
        let deadline = self.last_received + patience;
        loop {
            let Some((server, pause)) = self.endpoints.next(&self.runtime) else {
                return Err(Over::Session("no servers"));
            };
            if !pause.is_zero() {
                self.runtime.sleep_until((self.runtime.now() + pause).min(deadline)).await;
            }
            match self.connect(server, deadline).await {
                Err(Over::Connection(_)) if self.runtime.now() < deadline => {}
                outcome => return outcome,
            }
        }
    }

    /// Opens the session on one server.
    async fn connect(&mut self, server: NodeId, deadline: Nanos) -> Result<Box<dyn Link>, Over> {
        let until = (self.runtime.now() + self.patience()).min(deadline);
        let mut link = match before(&*self.runtime, until, self.transport.connect(server)).await {
            Some(Ok(link)) => link,
            Some(Err(())) => return Err(Over::Connection("connection refused")),
            None => return Err(Over::Connection("no connection in time")),
        };
        let connect = Request::Connect { session: self.credentials, timeout: self.timeout, last_seen: self.last_zxid };
        link.send(connect);
        let (existing, missing) = self.watchers.paths();
        self.watches_sent = !(existing.is_empty() && missing.is_empty());
        if self.watches_sent {
            link.send(Request::SetWatches { since: self.last_zxid, existing, missing });
        }
        self.last_sent = self.runtime.now();
        self.last_received = self.last_sent;
        self.pinged = false;
        let mut connected = false;
        let started = self.last_sent;
        while !connected || self.pinged || self.watches_sent {
            let due = self.on_tick(started, self.last_received + self.patience());
            let Some(received) = before(&*self.runtime, due, link.receive()).await else {
                return Err(Over::Connection("no response in time"));
            };
            match received {
                Some(Reply::Connected { credentials, timeout }) => {
                    self.last_received = self.runtime.now();
                    self.credentials = Some(credentials);
                    self.timeout = timeout;
                    self.set_state(SessionState::Connected);
                    connected = true;
                    self.ping(&mut *link);
                }
                received => self.receive(received)?,
            }
        }
        Ok(link)
    }

    /// The first tick at or after `due`, counted from `started`: timers are looked at once per tick.
    fn on_tick(&self, started: Nanos, due: Nanos) -> Nanos {
        let tick = self.tick().as_nanos() as u64;
        let after = (due - started).as_nanos() as u64;
        started + Duration::from_nanos(after.div_ceil(tick).saturating_mul(tick))
    }

    fn ping(&mut self, link: &mut dyn Link) {
        link.send(Request::Ping);
        self.last_sent = self.runtime.now();
        self.pinged = true;
    }

    async fn serve_connection(&mut self, link: &mut dyn Link) -> Over {
        let started = self.runtime.now();
        self.closing = false;
        // Every message moves the deadline on: a timer that goes off early costs less than a new one each time.
        let mut armed = self.last_received;
        let mut timer = self.runtime.sleep_until(armed);
        while !(self.closing && self.in_flight.is_empty() && !self.pinged) {
            let dead = self.last_received + self.patience();
            let due = if self.pinged { dead } else { dead.min(self.last_sent + self.tick() * 3) };
            let due = self.on_tick(started, due);
            if due < armed || self.runtime.now() >= armed {
                armed = due;
                timer = self.runtime.sleep_until(due);
            }
            tokio::select! {
                biased;
                received = link.receive() => {
                    if let Err(over) = self.receive(received) {
                        return over;
                    }
                }
                command = self.queue.recv(), if !self.closing => self.obey(command, link),
                () = &mut timer => {
                    if self.runtime.now() >= self.last_received + self.patience() {
                        return Over::Connection("no response in time");
                    }
                    if !self.pinged && self.runtime.now() >= self.last_sent + self.tick() * 3 {
                        self.ping(link);
                    }
                }
            }
        }
        Over::Session("client closed")
    }

    fn obey(&mut self, command: Option<Command>, link: &mut dyn Link) {
        match command {
            Some(Command::Ask { operation, respond }) => self.send(operation, Some(respond), link),
            Some(Command::Unwatch { id }) => {
                let Some(path) = self.watchers.remove(id) else { return };
                // A request for a new watch on the same znode is on its way, and must not lose it.
                if !self.in_flight.values().any(|request| request.watches.as_ref() == Some(&path)) {
                    self.send(Operation::RemoveWatch { path }, None, link);
                }
            }
            None => {
                self.closing = true;
                self.send(Operation::Change(Change::CloseSession), None, link);
            }
        }
    }

    fn send(
        &mut self,
        operation: Operation,
        respond: Option<oneshot::Sender<Result<Response, ZkError>>>,
        link: &mut dyn Link,
    ) {
        self.last_xid = if self.last_xid == i32::MAX { 1 } else { self.last_xid + 1 };
        let watches = match &operation {
            Operation::Exists { path, watch: true } => Some(path.clone()),
            _ => None,
        };
        self.in_flight.insert(self.last_xid, InFlight { watches, respond });
        link.send(Request::Operation { xid: self.last_xid, operation });
        self.last_sent = self.runtime.now();
    }

    fn receive(&mut self, received: Option<Reply>) -> Result<(), Over> {
        let Some(reply) = received else { return Err(Over::Connection("connection loss")) };
        self.last_received = self.runtime.now();
        match reply {
            Reply::Pong => self.pinged = false,
            Reply::WatchesSet => self.watches_sent = false,
            Reply::Event { path, event } => self.watchers.fire(&path, event),
            Reply::Expired | Reply::Done { result: Err(Refusal::SessionExpired), .. } => return Err(EXPIRED),
            Reply::Done { xid, zxid, result } => {
                self.last_zxid = self.last_zxid.max(zxid);
                let Some(InFlight { watches, respond }) = self.in_flight.remove(&xid) else {
                    return Err(Over::Connection("unexpected reply"));
                };
                let watch = match (watches, &result) {
                    (Some(path), Ok(Answer::Stat(stat))) => Some(self.watchers.add(path, stat.is_some())),
                    _ => None,
                };
                if let Some(respond) = respond {
                    let _ = respond.send(Ok(Response { answer: result, watch }));
                }
            }
            Reply::Connected { .. } => return Err(Over::Connection("unexpected reply")),
        }
        Ok(())
    }
}
