//! The middle between a client and its lock servers, in the client's own container: it reads requests, and strikes
//! them.
//!
//! One door on 127.0.0.1 for each server, so that what passes it leaves from the client's own address and every fault
//! of the client's is its own too: frozen, cut off, killed with it. What is done to a request is decided by
//! `crate::wire`; here are the sockets. Where the server cannot be reached, the door still opens, and closes again: a
//! program sees a connection that ends, not one that is refused.
//!
//! A request of a program that nobody here wrote also tells where that program is inside of its lock: [`Steps`] are
//! announced before the request goes on, or its reply. Deliberately absent: servers that name addresses which lead past
//! the doors (Sentinel and Cluster), and TLS, which cannot be read.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::steps::Steps;
use crate::fault::request::{Does, RequestRule};
use crate::history::Op;
use crate::ids::NodeId;
use crate::wire::gate::Decision;
use crate::wire::{Calls, Conversation, FromClient, FromServer, Gate, Names, Protocol};

/// How much is read at once.
const READ: usize = 16 << 10;

/// How long a server is listened to whose client's connection was cut: until it has certainly read what it was sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The doors of one client.
pub struct Proxy {
    shared: Arc<Shared>,
    /// Where the servers are found now, in their order.
    pub doors: Vec<SocketAddr>,
}

struct Shared {
    protocol: Protocol,
    names: Names,
    calls: Mutex<Calls>,
    gates: Vec<Mutex<Gate>>,
    /// Grows whenever a strike ends: connections whose replies it swallowed end with it.
    ended: watch::Sender<u64>,
    opened: AtomicU64,
    /// Told where a program is inside of its lock, if that is a program of others.
    steps: Option<Arc<Steps>>,
}

impl Proxy {
    /// Opens a door to each server.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn open(
        protocol: Protocol,
        servers: &[SocketAddr],
        names: Names,
        steps: Option<Arc<Steps>>,
    ) -> io::Result<Self> {
        let gates = servers.iter().map(|_| Mutex::default()).collect();
        let (calls, ended) = (Mutex::default(), watch::Sender::new(0));
        let shared = Arc::new(Shared { protocol, names, calls, gates, ended, opened: AtomicU64::new(0), steps });
        let mut doors = Vec::new();
        for (place, server) in servers.iter().enumerate() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            doors.push(listener.local_addr()?);
            tokio::spawn(Arc::clone(&shared).keep(listener, place, *server));
        }
        Ok(Self { shared, doors })
    }

    /// Follows an op of the client.
    pub fn hear(&self, op: &Op) {
        lock(&self.shared.calls).hear(op);
        if let Some(steps) = &self.shared.steps {
            steps.hear(op);
        }
    }

    /// Puts a strike's rule in force on the way to these servers, or takes it back; for each, the rule that is in force
    /// then, and how many requests it has struck.
    pub fn set(
        &self,
        strike: u32,
        rule: Option<RequestRule>,
        nodes: &[NodeId],
    ) -> Vec<(NodeId, Option<RequestRule>, u64)> {
        let told = nodes.iter().filter_map(|node| {
            let mut gate = lock(self.shared.gates.get((node.0 as usize).checked_sub(1)?)?);
            let struck = match rule {
                Some(rule) => {
                    gate.arm(strike, rule);
                    0
                }
                None => gate.disarm(strike).unwrap_or_default(),
            };
            Some((*node, gate.rule(strike), struck))
        });
        let told = told.collect();
        if rule.is_none() {
            self.shared.ended.send_modify(|ended| *ended += 1);
        }
        told
    }
}

impl Shared {
    async fn keep(self: Arc<Self>, listener: TcpListener, place: usize, server: SocketAddr) {
        loop {
            // Out of files for a moment, or a client that has gone again: the door stays open.
            let Ok((client, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                if let Ok(upstream) = TcpStream::connect(server).await {
                    shared.pass(place, client, upstream).await;
                }
            });
        }
    }

    /// Hands on what the two say to each other until one of them ends it, or a strike does.
    async fn pass(self: Arc<Self>, place: usize, client: TcpStream, server: TcpStream) {
        // Nothing is to wait for more that might come.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let both = Connection {
            id: self.opened.fetch_add(1, Ordering::Relaxed),
            conversation: Mutex::new(Conversation::new(self.protocol, self.names.clone())),
            due: Mutex::default(),
            place,
        };
        let cut = Notify::new();
        let mut from_server = from_server;
        let mut replies = Box::pin(async {
            tokio::select! {
                biased;
                () = cut.notified() => {}
                () = self.replies(&both, &mut from_server, to_client) => {}
            }
        });
        let end = tokio::select! {
            biased;
            end = self.requests(&both, from_client, to_server) => end,
            // The server ended it.
            () = &mut replies => return,
        };
        match end {
            End::CutBefore => {}
            End::CutAfter(mut to_server) => {
                // The client's end is closed at once; the server's only when it has read what it was sent.
                cut.notify_one();
                replies.await;
                let _ = to_server.shutdown().await;
                let mut rest = vec![0; READ];
                let last_words = async { while from_server.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
                let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
            }
            // What the server still has to say is heard; it ends when it has read the end.
            End::Over(mut to_server) => {
                if let Some(to_server) = &mut to_server {
                    let _ = to_server.shutdown().await;
                }
                let _ = tokio::time::timeout(LAST_WORDS, replies).await;
            }
        }
    }

    /// Reads the client's requests, and hands them on when their time has come.
    async fn requests(&self, both: &Connection, from: OwnedReadHalf, to: OwnedWriteHalf) -> End {
        let (queue, out) = mpsc::unbounded_channel();
        tokio::select! {
            biased;
            end = self.hand_on(both, out, to) => end,
            never = self.read_requests(both, from, queue) => match never {},
        }
    }

    async fn read_requests(&self, both: &Connection, mut from: OwnedReadHalf, queue: Queue) -> Infallible {
        let mut buffer = vec![0; READ];
        // The other end of the queue is there for as long as this runs.
        let put = |due, bytes: Vec<u8>, then| {
            if !bytes.is_empty() || then != Then::GoOn {
                let _ = queue.send(Item { due, bytes, then });
            }
        };
        loop {
            let read = from.read(&mut buffer).await;
            let Some(read) = read.ok().filter(|read| *read > 0) else {
                put(Instant::now(), lock(&both.conversation).client_ended(), Then::Over);
                break;
            };
            let requests = lock(&both.conversation).client_sent(&buffer[..read]);
            // Behind one another in one packet, as they came.
            let mut ready = Vec::new();
            let mut is_cut = false;
            for request in requests {
                let (name, number, is_paired, bytes) = match request {
                    FromClient::Bytes(bytes) => {
                        ready.extend(bytes);
                        continue;
                    }
                    FromClient::About { lock, number, is_paired, bytes } => (lock, number, is_paired, bytes),
                };
                let call = lock(&self.calls).of(&name);
                let Some(call) = call else {
                    ready.extend(bytes);
                    continue;
                };
                if let Some(steps) = &self.steps
                    && let Some(phase) = steps.asked((both.id, number), both.place, call, is_paired)
                {
                    put(Instant::now(), std::mem::take(&mut ready), Then::GoOn);
                    steps.reached(phase).await;
                }
                let decision = lock(&self.gates[both.place]).decide(call);
                let Some(decision) = decision else {
                    ready.extend(bytes);
                    continue;
                };
                put(Instant::now(), std::mem::take(&mut ready), Then::GoOn);
                match decision.does {
                    Does::Hold => {
                        self.done(both, decision.strike);
                        put(Instant::now() + decision.by, bytes, Then::GoOn);
                    }
                    Does::CutBefore => put(Instant::now(), Vec::new(), Then::CutBefore(decision.strike)),
                    Does::CutAfter => put(Instant::now(), bytes, Then::CutAfter(decision.strike)),
                    Does::DropReply | Does::DelayReply => {
                        if is_paired {
                            lock(&both.due).insert(number, decision);
                        }
                        put(Instant::now(), bytes, Then::GoOn);
                    }
                    Does::Refuse => {
                        let refusal = self.protocol.refusal().filter(|_| is_paired);
                        let asked = refusal.map_or(bytes, |refusal| {
                            lock(&both.due).insert(number, decision);
                            refusal.asked
                        });
                        put(Instant::now(), asked, Then::GoOn);
                    }
                }
                is_cut = matches!(decision.does, Does::CutBefore | Does::CutAfter);
                if is_cut {
                    break;
                }
            }
            if is_cut {
                break;
            }
            put(Instant::now(), ready, Then::GoOn);
        }
        // Kept open until the other end of the queue has done what is in it.
        let _kept = (from, queue);
        std::future::pending().await
    }

    async fn hand_on(
        &self,
        both: &Connection,
        mut queue: mpsc::UnboundedReceiver<Item>,
        mut to: OwnedWriteHalf,
    ) -> End {
        while let Some(Item { due, bytes, then }) = queue.recv().await {
            wait_until(due).await;
            if let Then::CutBefore(strike) = then {
                self.done(both, strike);
                return End::CutBefore;
            }
            if to.write_all(&bytes).await.is_err() {
                return End::Over(None);
            }
            match then {
                Then::GoOn => {}
                Then::CutAfter(strike) => {
                    self.done(both, strike);
                    return End::CutAfter(to);
                }
                Then::CutBefore(_) | Then::Over => return End::Over(Some(to)),
            }
        }
        End::Over(Some(to))
    }

    /// Reads the server's replies, and delivers them when their time has come.
    async fn replies(&self, both: &Connection, from: &mut OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (queue, mut out) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let mut deliver = pin!(async {
            while let Some((due, bytes)) = out.recv().await {
                wait_until(due).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
                if let Some(steps) = &self.steps {
                    steps.delivered();
                }
            }
            let _ = to.shutdown().await;
        });
        tokio::select! {
            biased;
            () = &mut deliver => return,
            () = self.read_replies(both, from, queue) => {}
        }
        deliver.await;
    }

    async fn read_replies(
        &self,
        both: &Connection,
        from: &mut OwnedReadHalf,
        queue: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
    ) {
        let mut buffer = vec![0; READ];
        let mut ended = self.ended.subscribe();
        // The strike since which nothing reaches the client.
        let mut deaf: Option<u32> = None;
        let put = |due, bytes: Vec<u8>, deaf: Option<u32>| {
            if deaf.is_none() && !bytes.is_empty() {
                let _ = queue.send((due, bytes));
            }
        };
        let over = |strike: u32| lock(&self.gates[both.place]).rule(strike).is_none();
        loop {
            let read = match deaf {
                None => from.read(&mut buffer).await,
                Some(strike) => tokio::select! {
                    biased;
                    _ = ended.wait_for(|_| over(strike)) => return,
                    read = from.read(&mut buffer) => read,
                },
            };
            let Some(read) = read.ok().filter(|read| *read > 0) else {
                return put(Instant::now(), lock(&both.conversation).server_ended(), deaf);
            };
            let replies = lock(&both.conversation).server_sent(&buffer[..read]);
            let mut ready = Vec::new();
            for reply in replies {
                let (number, bytes) = match reply {
                    FromServer::Bytes(bytes) => {
                        ready.extend(bytes);
                        continue;
                    }
                    FromServer::Reply { number, bytes } => (number, bytes),
                };
                if let Some(steps) = &self.steps
                    && let Some(phase) = steps.answered((both.id, number), both.place)
                {
                    put(Instant::now(), std::mem::take(&mut ready), deaf);
                    steps.reached(phase).await;
                }
                let decision = lock(&both.due).remove(&number);
                // The strike may be over by now; of what was refused nothing was asked.
                let is_due = |decision: &Decision| decision.does == Does::Refuse || !over(decision.strike);
                let decision = decision.filter(|decision| deaf.is_none() && is_due(decision));
                let Some(decision) = decision else {
                    ready.extend(bytes);
                    continue;
                };
                put(Instant::now(), std::mem::take(&mut ready), deaf);
                self.done(both, decision.strike);
                match decision.does {
                    Does::DropReply => deaf = Some(decision.strike),
                    Does::Refuse => ready.extend(self.protocol.refusal().map_or(bytes, |refusal| refusal.replied)),
                    _ => put(Instant::now() + decision.by, bytes, deaf),
                }
            }
            put(Instant::now(), ready, deaf);
        }
    }

    fn done(&self, both: &Connection, strike: u32) {
        lock(&self.gates[both.place]).done(strike);
    }
}

/// One connection, as its two directions share it.
struct Connection {
    /// Numbers the client's connections.
    id: u64,
    conversation: Mutex<Conversation>,
    /// What is to be done to replies, by the numbers of their requests.
    due: Mutex<BTreeMap<u64, Decision>>,
    /// The server's.
    place: usize,
}

/// What is to be handed on, when, and what is to be done then.
struct Item {
    due: Instant,
    bytes: Vec<u8>,
    then: Then,
}

type Queue = mpsc::UnboundedSender<Item>;

/// What comes after some bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// More of them.
    GoOn,
    /// The connection is cut, by this strike; there are no bytes.
    CutBefore(u32),
    /// The connection is cut, by this strike.
    CutAfter(u32),
    /// The client has ended it.
    Over,
}

/// How the client's direction of a connection ended.
enum End {
    /// By itself; with the way to the server, if that is still there.
    Over(Option<OwnedWriteHalf>),
    /// Before a request went on.
    CutBefore,
    /// After a request went on.
    CutAfter(OwnedWriteHalf),
}

/// Waits, if there is anything to wait for: a timer that is due already still takes until its next tick, a millisecond.
async fn wait_until(due: Instant) {
    if due > Instant::now() {
        sleep_until(due).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
