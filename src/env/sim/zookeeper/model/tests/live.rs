//! The small world under a paused tokio runtime: what the client's session and the lock on top of it need.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use rand::Rng;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::world::{Host, World};
use crate::env::sim::zookeeper::model::messages::{Reply, Request};
use crate::env::sim::zookeeper::session::{Link, SimEnsemble, Transport};
use crate::env::sim::zookeeper::{ConnectionId, Role};
use crate::ids::NodeId;
use crate::lock::backend::{ZkConnector, ZkSession};
use crate::lock::runtime::Runtime;
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::{Clock, Nanos};

/// Runs `test` in a paused runtime.
pub fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

/// A world that goes on by itself.
#[derive(Clone)]
pub struct Live {
    world: Arc<Mutex<World>>,
    woken: Arc<Notify>,
    start: Instant,
    seed: u64,
}

impl Live {
    /// Three servers, all serving.
    pub async fn new(seed: u64) -> Self {
        let live = Self {
            world: Arc::new(Mutex::new(World::new(3, seed))),
            woken: Arc::new(Notify::new()),
            start: Instant::now(),
            seed,
        };
        tokio::spawn(live.clone().drive());
        live.until("all serve", World::settled).await;
        live
    }

    async fn drive(self) {
        loop {
            let next = {
                let mut world = self.world.lock().unwrap();
                world.run_until(self.now());
                world.next()
            };
            let woken = self.woken.notified();
            match next {
                Some(next) => drop(tokio::time::timeout_at(self.start + Duration::from_nanos(next.0), woken).await),
                None => woken.await,
            }
        }
    }

    pub fn now(&self) -> Nanos {
        Nanos(self.start.elapsed().as_nanos() as u64)
    }

    /// The world at this moment. What is done to it takes effect at once.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap();
        world.run_until(self.now());
        self.woken.notify_one();
        world
    }

    pub async fn until(&self, what: &str, done: impl Fn(&World) -> bool) {
        for _ in 0..30_000 {
            if done(&self.world()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never: {what}");
    }

    /// The ensemble as client `client` reaches it, by way of `servers`.
    pub fn ensemble(&self, client: u32, servers: &[NodeId], timeout: Duration) -> SimEnsemble {
        let transport = Wire { live: self.clone(), client };
        SimEnsemble::new(servers.to_vec(), timeout, Arc::new(transport), self.runtime(client))
    }

    pub async fn session(&self, client: u32, servers: &[NodeId], timeout: Duration) -> Arc<dyn ZkSession> {
        self.ensemble(client, servers, timeout).connect().await.unwrap()
    }

    pub fn runtime(&self, client: u32) -> Arc<Process> {
        let rng = Mutex::new(Seed(self.seed).stream(&format!("client/{client}")));
        Arc::new(Process { live: self.clone(), rng })
    }

    pub fn all(&self) -> Vec<NodeId> {
        self.world().ids()
    }
}

/// One client's process.
pub struct Process {
    live: Live,
    rng: Mutex<ChaCha8Rng>,
}

impl Clock for Process {
    fn now(&self) -> Nanos {
        self.live.now()
    }
}

impl Runtime for Process {
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()> {
        tokio::time::sleep_until(self.live.start + Duration::from_nanos(at.0)).boxed()
    }

    fn random(&self) -> u64 {
        self.rng.lock().unwrap().next_u64()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

struct Wire {
    live: Live,
    client: u32,
}

impl Transport for Wire {
    fn connect(&self, server: NodeId) -> BoxFuture<'static, Result<Box<dyn Link>, ()>> {
        let (live, client) = (self.live.clone(), self.client);
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (client_end, server_end) = (Host::Client(client), Host::Node(server));
            if live.world().is_cut(client_end, server_end) || live.world().is_cut(server_end, client_end) {
                return std::future::pending().await;
            }
            let mut world = live.world();
            if world.servers[&server].role() == Role::Down {
                return Err(());
            }
            let id = world.open(client, server);
            let (sink, replies) = mpsc::unbounded_channel();
            world.mailboxes.get_mut(&id).unwrap().sink = Some(sink);
            drop(world);
            Ok(Box::new(Connection { live, id, replies }) as Box<dyn Link>)
        }
        .boxed()
    }
}

struct Connection {
    live: Live,
    id: ConnectionId,
    replies: mpsc::UnboundedReceiver<Reply>,
}

impl Link for Connection {
    fn send(&mut self, request: Request) {
        self.live.world().request(self.id, request);
    }

    fn receive(&mut self) -> BoxFuture<'_, Option<Reply>> {
        self.replies.recv().boxed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.live.world().hang_up(self.id);
    }
}
