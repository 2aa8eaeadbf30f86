//! The model as an ensemble that sessions can be opened with: three servers, one millisecond apart from everybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fencepost::env::sim::zookeeper::session::{Link, SimEnsemble, Transport};
use fencepost::env::sim::zookeeper::{ConnectionId, Input, Output, Reply, Request, Role, Server, Settings};
use fencepost::ids::NodeId;
use fencepost::lock::runtime::Runtime;
use fencepost::seed::{ChaCha8Rng, Seed};
use fencepost::time::{Clock, Nanos};
use futures_util::future::{BoxFuture, FutureExt};
use rand::Rng;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

const LATENCY: Duration = Duration::from_millis(1);

enum Event {
    Input(NodeId, Input),
    Reply(ConnectionId, Reply),
    Close(ConnectionId),
}

#[derive(Default)]
struct World {
    servers: BTreeMap<NodeId, Server>,
    queue: BTreeMap<(Nanos, u64), Event>,
    sent: u64,
    connections: u64,
    clients: BTreeMap<ConnectionId, mpsc::UnboundedSender<Reply>>,
}

impl World {
    fn send(&mut self, now: Nanos, event: Event) {
        self.sent += 1;
        self.queue.insert((now + LATENCY, self.sent), event);
    }

    fn input(&mut self, now: Nanos, id: NodeId, input: Input) {
        let mut out = Vec::new();
        self.servers.get_mut(&id).expect("a member").handle(now, input, &mut out);
        for output in out {
            let event = match output {
                Output::ToPeer(to, message) => Event::Input(to, Input::FromPeer(id, message)),
                Output::ToClient(connection, reply) => Event::Reply(connection, reply),
                Output::Close(connection) => Event::Close(connection),
            };
            self.send(now, event);
        }
    }

    fn next(&self) -> Option<Nanos> {
        let timers = self.servers.values().filter_map(Server::next_timer);
        timers.chain(self.queue.keys().next().map(|(at, _)| *at)).min()
    }

    fn run_until(&mut self, end: Nanos) {
        while let Some(now) = self.next().filter(|at| *at <= end) {
            if let Some(event) = self.queue.first_entry().filter(|event| event.key().0 <= now) {
                match event.remove() {
                    Event::Input(id, input) => self.input(now, id, input),
                    Event::Reply(connection, reply) => {
                        self.clients.get(&connection).map(|client| client.send(reply));
                    }
                    Event::Close(connection) => drop(self.clients.remove(&connection)),
                }
            } else {
                let due = |server: &Server| server.next_timer().is_some_and(|timer| timer <= now);
                let due: Vec<NodeId> =
                    self.servers.iter().filter(|(_, server)| due(server)).map(|(id, _)| *id).collect();
                due.into_iter().for_each(|id| self.input(now, id, Input::Timer));
            }
        }
    }
}

/// The ensemble, under a paused runtime.
#[derive(Clone)]
pub struct Model {
    world: Arc<Mutex<World>>,
    woken: Arc<Notify>,
    start: Instant,
}

impl Model {
    /// Starts the servers, and waits until they serve.
    pub async fn start() -> Self {
        let members: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let mut world = World::default();
        for id in &members {
            world.servers.insert(*id, Server::new(*id, members.clone(), Settings::default()));
        }
        members.iter().for_each(|id| world.input(Nanos::ZERO, *id, Input::Started));
        let model = Self { world: Arc::new(Mutex::new(world)), woken: Arc::default(), start: Instant::now() };
        tokio::spawn(model.clone().drive());
        let serves = |server: &Server| matches!(server.role(), Role::Leading | Role::Following(_));
        while !model.world().servers.values().all(serves) {
            tokio::time::sleep(LATENCY).await;
        }
        model
    }

    async fn drive(self) {
        loop {
            let next = {
                let mut world = self.world.lock().expect("no panic before");
                world.run_until(self.now());
                world.next().expect("servers always have a timer")
            };
            let _ = tokio::time::timeout_at(self.start + Duration::from_nanos(next.0), self.woken.notified()).await;
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().expect("no panic before");
        world.run_until(self.now());
        self.woken.notify_one();
        world
    }

    /// What a client connects with.
    pub fn ensemble(&self, seed: u64, session_timeout: Duration) -> SimEnsemble {
        let process = Process { model: self.clone(), rng: Mutex::new(Seed(seed).stream("client")) };
        let servers = (1..=3).map(NodeId).collect();
        SimEnsemble::new(servers, session_timeout, Arc::new(self.clone()), Arc::new(process))
    }
}

impl Clock for Model {
    fn now(&self) -> Nanos {
        Nanos(self.start.elapsed().as_nanos() as u64)
    }
}

impl Transport for Model {
    fn connect(&self, server: NodeId) -> BoxFuture<'static, Result<Box<dyn Link>, ()>> {
        let model = self.clone();
        async move {
            let (client, replies) = mpsc::unbounded_channel();
            let mut world = model.world();
            world.connections += 1;
            let id = ConnectionId(world.connections);
            world.clients.insert(id, client);
            world.send(model.now(), Event::Input(server, Input::Opened(id)));
            drop(world);
            Ok(Box::new(Connection { model, server, id, replies }) as Box<dyn Link>)
        }
        .boxed()
    }
}

struct Connection {
    model: Model,
    server: NodeId,
    id: ConnectionId,
    replies: mpsc::UnboundedReceiver<Reply>,
}

impl Link for Connection {
    fn send(&mut self, request: Request) {
        let input = Input::FromClient(self.id, request);
        self.model.world().send(self.model.now(), Event::Input(self.server, input));
    }

    fn receive(&mut self) -> BoxFuture<'_, Option<Reply>> {
        self.replies.recv().boxed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut world = self.model.world();
        world.clients.remove(&self.id);
        world.send(self.model.now(), Event::Input(self.server, Input::Closed(self.id)));
    }
}

struct Process {
    model: Model,
    rng: Mutex<ChaCha8Rng>,
}

impl Clock for Process {
    fn now(&self) -> Nanos {
        self.model.now()
    }
}

impl Runtime for Process {
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()> {
        tokio::time::sleep_until(self.model.start + Duration::from_nanos(at.0)).boxed()
    }

    fn random(&self) -> u64 {
        self.rng.lock().expect("no panic before").next_u64()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}
