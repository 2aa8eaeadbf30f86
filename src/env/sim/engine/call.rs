//! Requests of one process to one server, and their answers, over the simulated network.
//!
//! A request is sent at once; dropping its future abandons the answer only. Nothing leaves a process that is dead.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::oneshot;

use super::connection::{Connection, End};
use super::ids::{ConnectionId, HostId, ProcessId, UP};
use super::message::{Message, Payload, downcast};
use super::world::World;
use crate::time::Nanos;

/// One process, as a client of one server.
#[derive(Clone)]
pub struct Caller {
    world: Arc<World>,
    process: ProcessId,
    server: HostId,
}

impl Caller {
    /// `process` as a client of `server`.
    pub fn new(world: Arc<World>, process: ProcessId, server: HostId) -> Self {
        Self { world, process, server }
    }

    /// The process's monotonic clock.
    pub fn now(&self) -> Nanos {
        self.world.lock().mono(self.process.host)
    }

    /// Opens a connection; `None` if it is refused.
    pub async fn connect(&self) -> Option<Opening> {
        self.open(End::Calls(VecDeque::new())).await
    }

    /// Opens a connection whose answers [`Caller::receive`] takes; `None` if it is refused.
    pub async fn connect_stream(&self) -> Option<Opening> {
        self.open(End::Stream { queue: VecDeque::new(), waker: None }).await
    }

    async fn open(&self, end: End) -> Option<Opening> {
        let (sender, opened) = oneshot::channel();
        if !self.world.processes.is_alive(self.process) {
            return None;
        }
        let id = self.world.lock().connect(self.process.host, self.server, end, sender);
        let opening = Opening { caller: self.clone(), id, kept: false };
        opened.await.ok().map(|()| opening)
    }

    /// The process's monotonic clock, if the connection was not closed.
    pub fn now_if_open(&self, connection: ConnectionId) -> Option<Nanos> {
        let state = self.world.lock();
        state.net.connections[connection as usize].is_open(UP).then(|| state.mono(self.process.host))
    }

    /// Whether a connection was not closed.
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        self.world.lock().net.connections[connection as usize].is_open(UP)
    }

    /// Closes a connection.
    pub fn close(&self, connection: ConnectionId) {
        if self.world.processes.is_alive(self.process) {
            self.world.lock().close(connection, UP);
        }
    }

    /// Sends a request; its answer, or `None` if the connection is closed before it comes.
    pub async fn call<M: Message>(&self, connection: ConnectionId, request: M) -> Option<M> {
        let answer = self.send(connection, Box::new(request))?;
        answer.await.ok().and_then(downcast)
    }

    /// Sends a request on a stream. One that cannot leave any more is lost.
    pub fn post(&self, connection: ConnectionId, request: impl Message) {
        if self.world.processes.is_alive(self.process) {
            self.world.lock().request(connection, Box::new(request));
        }
    }

    /// The next thing that came on a stream; `None` once it is closed and empty.
    pub fn receive<M: Message>(&self, connection: ConnectionId) -> impl Future<Output = Option<M>> + Send + '_ {
        poll_fn(move |context| {
            let mut state = self.world.lock();
            let Connection { end, open, .. } = &mut state.net.connections[connection as usize];
            let End::Stream { queue, waker } = end else { return Poll::Ready(None) };
            if let Some(payload) = queue.pop_front() {
                return Poll::Ready(downcast(payload));
            }
            if !open[usize::from(UP)] {
                return Poll::Ready(None);
            }
            *waker = Some(context.waker().clone());
            Poll::Pending
        })
    }

    fn send(&self, connection: ConnectionId, payload: Payload) -> Option<oneshot::Receiver<Payload>> {
        if !self.world.processes.is_alive(self.process) {
            return None;
        }
        let mut state = self.world.lock();
        let (sender, answer) = oneshot::channel();
        match &mut state.net.connections[connection as usize].end {
            End::Calls(calls) => calls.push_back(sender),
            End::Stream { .. } | End::Peer => return None,
        }
        state.request(connection, payload).then_some(answer)
    }
}

/// A connection that is being opened: closed when dropped, unless it is kept.
pub struct Opening {
    caller: Caller,
    id: ConnectionId,
    kept: bool,
}

impl Opening {
    /// The connection.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Keeps the connection.
    pub fn keep(mut self) -> ConnectionId {
        self.kept = true;
        self.id
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.kept {
            self.caller.close(self.id);
        }
    }
}
