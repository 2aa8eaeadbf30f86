//! The way to one server: one connection, and requests that go their way once they are sent.
//!
//! Deliberately absent: when a connection is opened ([`crate::lock::opener`]), and sending a request a second time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::StreamExt;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::refusal;
use crate::lock::backend::{Connections, Heard};
use crate::lock::client::endpoint::RedisEndpoint;
use crate::lock::error::NodeError;
use crate::lock::opener::{Opener, Slot, connection};
use crate::lock::runtime::tokio_around;
use crate::time::{BootClock, Clock, Nanos};

/// How long a connection may owe an answer before it is given up for a new one. A cut-off connection comes back only
/// with the next retransmission, which TCP puts off further and further; a new one is there at once.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);

/// How long opening a connection may take, with the first answer. As long as a SYN and two retransmissions.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// The way to one server.
pub(super) struct Link {
    endpoint: RedisEndpoint,
    connections: Connections,
    slot: Slot<Connection, NodeError>,
}

#[derive(Clone)]
pub(super) struct Connection {
    handle: MultiplexedConnection,
    alive: Arc<AtomicBool>,
    /// When the oldest request was sent that no answer has followed, nanoseconds; 0 for none.
    owed_since: Arc<AtomicU64>,
    driver: tokio::task::AbortHandle,
}

/// Ends with the connection's driver, however that ends: by itself, aborted, or with its runtime.
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Link {
    pub fn new(endpoint: RedisEndpoint, connections: Connections) -> Arc<Self> {
        Arc::new(Self { endpoint, connections, slot: Slot::default() })
    }

    /// Sends a command, and waits for its answer. Dropped before it is sent, it is not sent; dropped after that, it is
    /// carried out all the same.
    pub async fn ask(self: Arc<Self>, command: Cmd) -> Result<Value, NodeError> {
        let around = around()?;
        let reply = match self.connections {
            Connections::Fresh => {
                // Ends with this future.
                let mut request = JoinSet::new();
                let whole = async move {
                    let mut opened = Opened(Some(self.open_now(&Handle::current()).await?));
                    Ok(opened.handle()?.send_packed_command(&command).await)
                };
                request.spawn_on(whole, &around);
                request.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(ended()))?
            }
            Connections::Pooled => {
                let mut connection = connection(&self).await?;
                let now = BootClock.now().0.max(1);
                // Keeps the oldest: only an answer clears it.
                let _ = connection.owed_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
                let request = async move {
                    let reply = connection.handle.send_packed_command(&command).await;
                    connection.owed_since.store(0, Ordering::Relaxed);
                    reply
                };
                Carried { request: Some(request.boxed()), around }.await
            }
        };
        reply.map_err(|error| NodeError::Unanswered(error.to_string()))
    }

    /// Listens on a channel, over a connection of its own.
    pub async fn listen(self: Arc<Self>, channel: String) -> Result<Heard, NodeError> {
        // The crate needs a runtime around it. Ends with this future.
        let mut opening = JoinSet::new();
        let open = async move {
            let unreachable = |error: &dyn ToString| NodeError::Unreachable(error.to_string());
            let stream = self.endpoint.open().await.map_err(|error| unreachable(&error))?;
            let login = self.endpoint.login().set_skip_set_lib_name();
            let mut ear = PubSub::new(&login, stream).await.map_err(|error| unreachable(&error))?;
            ear.subscribe(channel).await.map_err(|error| unreachable(&error))?;
            let said = ear.into_on_message().filter_map(|said| ready(said.get_payload::<String>().ok()));
            Ok(said.boxed())
        };
        opening.spawn_on(open, &around()?);
        opening.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(ended()))
    }

    async fn open_now(&self, around: &Handle) -> Result<Connection, NodeError> {
        let unreachable = |error: &dyn ToString| NodeError::Unreachable(error.to_string());
        let stream = self.endpoint.open().await.map_err(|error| unreachable(&error))?;
        // The crate's own greeting hides what the server has against it.
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (handle, driver) = MultiplexedConnection::new_with_config(&silent, stream, config)
            .await
            .map_err(|error| unreachable(&error))?;
        let alive = Arc::new(AtomicBool::new(true));
        let ends = Alive(Arc::clone(&alive));
        let driver = around.spawn(driver.map(move |()| drop(ends))).abort_handle();
        let mut opened = Opened(Some(Connection { handle, alive, owed_since: Arc::default(), driver }));
        self.greet(opened.handle()?).await?;
        opened.0.take().ok_or_else(ended)
    }

    /// Logs in, and sees that somebody answers: a frozen server's kernel takes connections, too.
    async fn greet(&self, handle: &mut MultiplexedConnection) -> Result<(), NodeError> {
        let info = self.endpoint.login();
        let mut login = redis::cmd("AUTH");
        login.arg(info.username()).arg(info.password());
        let mut database = redis::cmd("SELECT");
        database.arg(info.db());
        let greetings =
            [info.password().map(|_| login), (info.db() != 0).then_some(database), Some(redis::cmd("PING"))];
        for greeting in greetings.into_iter().flatten() {
            match handle.send_packed_command(&greeting).await {
                Ok(Value::ServerError(error)) => match refusal(&error) {
                    // Who may set keys need not be allowed to say hello.
                    NodeError::Denied(text) if text.starts_with("NOPERM") => {}
                    NodeError::Unanswered(text) => return Err(NodeError::Unreachable(text)),
                    refused => return Err(refused),
                },
                Ok(_) => {}
                Err(error) => return Err(NodeError::Unreachable(error.to_string())),
            }
        }
        Ok(())
    }
}

impl Opener for Link {
    type Connection = Connection;
    type Error = NodeError;

    fn slot(&self) -> &Slot<Connection, NodeError> {
        &self.slot
    }

    fn now(&self) -> Nanos {
        BootClock.now()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        if let Ok(around) = around() {
            around.spawn(task);
        }
    }

    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Connection, NodeError>> {
        async move {
            let within = tokio::time::timeout(OPEN_WITHIN, self.open_now(&Handle::current())).await;
            within.unwrap_or_else(|_| Err(NodeError::Unreachable(format!("no connection within {OPEN_WITHIN:?}"))))
        }
        .boxed()
    }

    fn is_good(&self, connection: &Connection) -> bool {
        let owed_since = connection.owed_since.load(Ordering::Relaxed);
        let given_up = owed_since > 0 && BootClock.now() - Nanos(owed_since) > GIVE_UP_AFTER;
        connection.alive.load(Ordering::Relaxed) && !given_up
    }

    fn close(&self, connection: &Connection) {
        connection.driver.abort();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(connection) = self.slot.connection() {
            connection.driver.abort();
        }
    }
}

/// The tokio runtime to work in.
fn around() -> Result<Handle, NodeError> {
    tokio_around().ok_or_else(|| NodeError::Unreachable("the system has no thread to spare".to_owned()))
}

fn ended() -> NodeError {
    NodeError::Unanswered("the runtime has ended".to_owned())
}

/// A connection that is closed with this unless it is taken out.
struct Opened(Option<Connection>);

impl Opened {
    fn handle(&mut self) -> Result<&mut MultiplexedConnection, NodeError> {
        self.0.as_mut().map(|connection| &mut connection.handle).ok_or_else(ended)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.driver.abort();
        }
    }
}

/// A request that is on its way: if nobody waits for it any more, a task does.
///
/// The crate does not send a request whose caller went away before its turn came. What a lock cannot wait for must be
/// carried out all the same, and whoever sends something after it relies on the order.
struct Carried {
    request: Option<BoxFuture<'static, RedisResult<Value>>>,
    around: Handle,
}

impl Future for Carried {
    type Output = RedisResult<Value>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(request) = &mut self.request else { return Poll::Pending };
        let reply = request.poll_unpin(context);
        if reply.is_ready() {
            self.request = None;
        }
        reply
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.around.spawn(request);
        }
    }
}
