//! A client's way to the simulated resource: what the HTTP client is to the real one.

use std::sync::Mutex;

use futures_util::future::{BoxFuture, FutureExt};

use super::message::ResourceMessage;
use crate::env::sim::engine::call::Caller;
use crate::env::sim::engine::ids::ConnectionId;
use crate::env::sim::engine::sync::lock;
use crate::history::ItemValue;
use crate::lock::runtime::{SharedRuntime, before};
use crate::workload::{Access, AccessError, PATIENCE, ResourceClient};

/// The way to the resource: one connection, kept between accesses and given up when it does not answer.
pub struct ResourceLink {
    caller: Caller,
    runtime: SharedRuntime,
    connection: Mutex<Option<ConnectionId>>,
}

impl ResourceLink {
    /// The way by `caller` to the resource.
    pub fn new(caller: Caller, runtime: SharedRuntime) -> Self {
        Self { caller, runtime, connection: Mutex::new(None) }
    }

    async fn connection(&self) -> Result<ConnectionId, AccessError> {
        if let Some(connection) = lock(&self.connection).filter(|connection| self.caller.is_open(*connection)) {
            return Ok(connection);
        }
        let opening = self.caller.connect().await;
        let opened = opening.ok_or_else(|| AccessError::Unreachable("connection refused".to_owned()))?.keep();
        *lock(&self.connection) = Some(opened);
        Ok(opened)
    }

    async fn ask(&self, connection: ConnectionId, access: Access) -> Result<ItemValue, AccessError> {
        match self.caller.call(connection, ResourceMessage::Access(access)).await {
            Some(ResourceMessage::Served(served)) => served.map_err(AccessError::Refused),
            Some(_) | None => Err(AccessError::Unanswered("the connection was closed".to_owned())),
        }
    }
}

impl ResourceClient for ResourceLink {
    fn access(&self, access: Access) -> BoxFuture<'_, Result<ItemValue, AccessError>> {
        async move {
            let patience = self.runtime.now() + PATIENCE;
            let opened = before(&*self.runtime, patience, self.connection()).await;
            let connection = opened
                .unwrap_or_else(|| Err(AccessError::Unreachable(format!("no connection within {PATIENCE:?}"))))?;
            let answer = before(&*self.runtime, patience, self.ask(connection, access)).await;
            answer.unwrap_or_else(|| {
                if let Some(connection) = lock(&self.connection).take() {
                    self.caller.close(connection);
                }
                Err(AccessError::Unanswered(format!("nothing within {PATIENCE:?}")))
            })
        }
        .boxed()
    }
}
