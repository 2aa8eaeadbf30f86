//! A client's way to the servers of a simulated ensemble: what a TCP stream is to the real client.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};

use super::message::ZookeeperMessage;
use super::model::{Reply, Request};
use super::session::{Link, Transport};
use crate::env::sim::engine::call::Caller;
use crate::env::sim::engine::ids::ConnectionId;
use crate::ids::NodeId;

/// The way to all servers.
pub struct ZkTransport {
    callers: BTreeMap<NodeId, Caller>,
}

impl ZkTransport {
    /// The way by these callers.
    pub fn new(callers: BTreeMap<NodeId, Caller>) -> Self {
        Self { callers }
    }
}

impl Transport for ZkTransport {
    fn connect(&self, server: NodeId) -> BoxFuture<'static, Result<Box<dyn Link>, ()>> {
        let caller = self.callers.get(&server).cloned();
        async move {
            let caller = caller.ok_or(())?;
            let connection = caller.connect_stream().await.ok_or(())?.keep();
            Ok(Box::new(ZkLink { caller, connection }) as Box<dyn Link>)
        }
        .boxed()
    }
}

/// One open connection.
struct ZkLink {
    caller: Caller,
    connection: ConnectionId,
}

impl Link for ZkLink {
    fn send(&mut self, request: Request) {
        self.caller.post(self.connection, ZookeeperMessage::Request(request));
    }

    fn receive(&mut self) -> BoxFuture<'_, Option<Reply>> {
        async move {
            match self.caller.receive(self.connection).await {
                Some(ZookeeperMessage::Reply(reply)) => Some(reply),
                Some(_) | None => None,
            }
        }
        .boxed()
    }
}

impl Drop for ZkLink {
    fn drop(&mut self) {
        self.caller.close(self.connection);
    }
}
