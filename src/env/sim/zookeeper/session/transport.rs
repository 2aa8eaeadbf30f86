//! What a session needs of the network.

use futures_util::future::BoxFuture;

use crate::env::sim::zookeeper::model::messages::{Reply, Request};
use crate::ids::NodeId;

/// Opens connections from one client to the servers.
pub trait Transport: Send + Sync {
    /// Opens a connection. `Err` if the server's machine refuses it; no answer at all if nothing comes back.
    fn connect(&self, server: NodeId) -> BoxFuture<'static, Result<Box<dyn Link>, ()>>;
}

/// One open connection. Dropping it closes it.
pub trait Link: Send {
    /// Sends a request. One that cannot leave any more is lost, and [`Link::receive`] tells so.
    fn send(&mut self, request: Request);

    /// The next reply, or `None` once the connection is closed. A dropped future loses no reply.
    fn receive(&mut self) -> BoxFuture<'_, Option<Reply>>;
}
