//! A client's way to one simulated Redis node: what [`crate::lock::client::RedisServer`] is to a real one.
//!
//! One multiplexed connection, opened when first needed by a task of its own, given up for a new one when it has owed
//! an answer for too long; or, if so asked, a new one for each request. Like the real client it says hello on a new
//! connection and waits for the answer, so that a frozen node takes connections but no requests on new ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{StreamExt, unfold};

use super::message::RedisMessage;
use super::model::{Command, Reply as RedisReply};
use crate::env::sim::engine::call::{Caller, Opening};
use crate::env::sim::engine::ids::ConnectionId;
use crate::ids::{FencingToken, OwnerToken};
use crate::lock::backend::{Connections, Heard, Ownership, RedisNode, Reply, Share};
use crate::lock::error::NodeError;
use crate::lock::opener::{Opener, Slot, connection};
use crate::lock::runtime::{SharedRuntime, before};
use crate::time::Nanos;

/// How long a connection may owe an answer before it is given up for a new one, as in the real client.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);

/// How long opening a connection may take, with the answer to hello, as in the real client.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// The way to one node.
pub struct RedisLink {
    name: String,
    inner: Arc<Inner>,
}

struct Inner {
    caller: Caller,
    runtime: SharedRuntime,
    connections: Connections,
    slot: Slot<Connection, NodeError>,
}

#[derive(Clone)]
struct Connection {
    id: ConnectionId,
    /// On the client's clock, nanoseconds plus one, the oldest request that no answer has followed; 0 for none.
    owed_since: Arc<AtomicU64>,
}

impl RedisLink {
    /// The way by `caller` to the node called `name`.
    pub fn new(name: String, caller: Caller, connections: Connections, runtime: SharedRuntime) -> Self {
        Self { name, inner: Arc::new(Inner { caller, runtime, connections, slot: Slot::default() }) }
    }

    fn ask<T: Send + 'static>(&self, command: Command, read: fn(&RedisReply) -> Option<T>) -> Reply<T, NodeError> {
        let inner = Arc::clone(&self.inner);
        async move {
            if inner.connections == Connections::Fresh {
                // Closed when this future is done or dropped.
                let opening = inner.greeted().await?;
                return outcome(inner.caller.call(opening.id(), RedisMessage::Command(command)).await, read);
            }
            let connection = connection(&inner).await?;
            // Keeps the oldest: only an answer clears it.
            let now = inner.caller.now();
            let _ = connection.owed_since.compare_exchange(0, now.0 + 1, Ordering::Relaxed, Ordering::Relaxed);
            let answer = inner.caller.call(connection.id, RedisMessage::Command(command)).await;
            connection.owed_since.store(0, Ordering::Relaxed);
            outcome(answer, read)
        }
        .boxed()
    }
}

fn outcome<T>(answer: Option<RedisMessage>, read: fn(&RedisReply) -> Option<T>) -> Result<T, NodeError> {
    match answer {
        Some(RedisMessage::Reply(RedisReply::Error(text))) => Err(NodeError::from_error_reply(&text)),
        Some(RedisMessage::Reply(reply)) => {
            read(&reply).ok_or_else(|| NodeError::Unanswered(format!("not an answer: {reply}")))
        }
        Some(RedisMessage::Command(_)) | None => Err(NodeError::Unanswered("the connection was closed".to_owned())),
    }
}

impl Inner {
    /// A new connection, on which hello was said.
    async fn greeted(&self) -> Result<Opening, NodeError> {
        let unreachable = |what: &str| NodeError::Unreachable(what.to_owned());
        let opening = self.caller.connect().await.ok_or_else(|| unreachable("connection refused"))?;
        let greeted = self.caller.call(opening.id(), RedisMessage::Command(Command::Time)).await;
        greeted.ok_or_else(|| unreachable("the connection was closed"))?;
        Ok(opening)
    }
}

impl Opener for Inner {
    type Connection = Connection;
    type Error = NodeError;

    fn slot(&self) -> &Slot<Connection, NodeError> {
        &self.slot
    }

    fn now(&self) -> Nanos {
        self.caller.now()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    fn open(self: Arc<Self>) -> BoxFuture<'static, Result<Connection, NodeError>> {
        async move {
            let limit = self.caller.now() + OPEN_WITHIN;
            let opening = before(&*self.runtime, limit, self.greeted()).await;
            let slow = || NodeError::Unreachable(format!("no connection within {OPEN_WITHIN:?}"));
            Ok(Connection { id: opening.ok_or_else(slow)??.keep(), owed_since: Arc::default() })
        }
        .boxed()
    }

    fn is_good(&self, connection: &Connection) -> bool {
        let owed_since = connection.owed_since.load(Ordering::Relaxed);
        let patience = if owed_since == 0 { Nanos(u64::MAX) } else { Nanos(owed_since - 1) + GIVE_UP_AFTER };
        self.caller.now_if_open(connection.id).is_some_and(|now| now <= patience)
    }

    fn close(&self, connection: &Connection) {
        self.caller.close(connection.id);
    }
}

fn ownership(reply: &RedisReply) -> Option<Ownership> {
    match reply {
        RedisReply::Integer(1) => Some(Ownership::Ours),
        RedisReply::Integer(0) => Some(Ownership::Absent),
        RedisReply::Integer(_) => Some(Ownership::Theirs),
        _ => None,
    }
}

fn token(reply: &RedisReply) -> Option<Option<FencingToken>> {
    match reply {
        RedisReply::Bulk(count) => count.parse().ok().map(|count| Some(FencingToken(count))),
        RedisReply::Nil => Some(None),
        _ => None,
    }
}

fn millis(ttl: Duration) -> i64 {
    // A TTL of 0 is an error to Redis.
    (ttl.as_millis() as i64).max(1)
}

impl RedisNode for RedisLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn set_if_absent(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<bool, NodeError> {
        let (key, value) = (key.into(), owner.shared());
        let command = Command::Set { key, value, if_absent: true, px_ms: Some(millis(ttl)) };
        self.ask(command, |reply| match reply {
            RedisReply::Ok => Some(true),
            RedisReply::Nil => Some(false),
            _ => None,
        })
    }

    fn set_and_count(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        let (key, counter, owner) = (key.into(), counter.into(), owner.shared());
        self.ask(Command::SetAndCount { key, counter, owner, ttl_ms: millis(ttl) }, token)
    }

    fn set_and_fence(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        let (key, counter, owner) = (key.into(), counter.into(), owner.shared());
        self.ask(Command::SetAndFence { key, counter, owner, ttl_ms: millis(ttl) }, token)
    }

    fn raise_if_owner(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        token: FencingToken,
    ) -> Reply<bool, NodeError> {
        let (key, counter, owner) = (key.into(), counter.into(), owner.shared());
        self.ask(Command::RaiseIfOwner { key, counter, owner, token: token.0 }, |reply| match reply {
            RedisReply::Integer(raised) => Some(*raised == 1),
            _ => None,
        })
    }

    fn extend_if_owner(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<Ownership, NodeError> {
        let (key, owner) = (key.into(), owner.shared());
        self.ask(Command::ExtendIfOwner { key, owner, ttl_ms: millis(ttl) }, ownership)
    }

    fn delete_if_owner(&self, key: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        let (key, owner) = (key.into(), owner.shared());
        self.ask(Command::DeleteIfOwner { key, owner }, ownership)
    }

    fn delete_and_call(&self, key: &str, line: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        let (key, line, owner) = (key.into(), line.into(), owner.shared());
        self.ask(Command::DeleteAndCall { key, line, owner }, ownership)
    }

    fn stand_in_line(
        &self,
        key: &str,
        line: &str,
        place: &str,
        front: bool,
        patience: Duration,
    ) -> Reply<Option<Duration>, NodeError> {
        let (key, line, place, patience_ms) = (key.into(), line.into(), place.into(), millis(patience));
        self.ask(Command::StandInLine { key, line, place, front, patience_ms }, |reply| match reply {
            RedisReply::Integer(-2) => Some(None),
            RedisReply::Integer(-1) => Some(Some(Duration::MAX)),
            RedisReply::Integer(left) => Some(Some(Duration::from_millis(left.unsigned_abs()))),
            _ => None,
        })
    }

    fn leave_line(&self, key: &str, line: &str, place: &str) -> Reply<(), NodeError> {
        let (key, line, place) = (key.into(), line.into(), place.into());
        self.ask(Command::LeaveLine { key, line, place }, |reply| match reply {
            RedisReply::Integer(_) => Some(()),
            _ => None,
        })
    }

    fn listen(&self, channel: &str) -> Reply<Heard, NodeError> {
        let (inner, channel) = (Arc::clone(&self.inner), channel.into());
        async move {
            let unreachable = |what: &str| NodeError::Unreachable(what.to_owned());
            let opening = inner.caller.connect_stream().await.ok_or_else(|| unreachable("connection refused"))?;
            inner.caller.post(opening.id(), RedisMessage::Command(Command::Subscribe(channel)));
            let confirmed = inner.caller.receive(opening.id()).await;
            outcome(confirmed, |reply| (*reply == RedisReply::Ok).then_some(()))?;
            // Closed with the stream.
            let said =
                unfold((inner, opening), async |(inner, opening)| match inner.caller.receive(opening.id()).await {
                    Some(RedisMessage::Reply(RedisReply::Bulk(said))) => Some((said, (inner, opening))),
                    _ => None,
                });
            Ok(said.boxed())
        }
        .boxed()
    }

    fn take_share(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
        share: Share,
    ) -> Reply<Option<FencingToken>, NodeError> {
        let (key, counter, owner) = (key.into(), counter.into(), owner.shared());
        self.ask(Command::TakeShare { key, counter, owner, ttl_ms: millis(ttl), share }, token)
    }

    fn extend_share(&self, key: &str, owner: &OwnerToken, ttl: Duration, share: Share) -> Reply<Ownership, NodeError> {
        let (key, owner) = (key.into(), owner.shared());
        self.ask(Command::ExtendShare { key, owner, ttl_ms: millis(ttl), share }, ownership)
    }

    fn return_share(&self, key: &str, owner: &OwnerToken, share: Share) -> Reply<Ownership, NodeError> {
        let (key, owner) = (key.into(), owner.shared());
        self.ask(Command::ReturnShare { key, owner, share }, ownership)
    }
}
