//! What a world must offer the nemesis: faults that are applied, looked at and undone.
//!
//! It stands here, with its only caller, so that worlds know the nemesis and the nemesis knows no world. Deliberately
//! absent: how a world does any of it.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::fault::Strike;
use crate::history::Probe;
use crate::ids::{ClientId, NodeId};

/// Why a fault could not be applied or undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(pub String);

/// What the nemesis asks of a world.
pub trait Environment: Send + Sync {
    /// Applies strike number `id`, which is to last `duration`, and looks whether it has its effect. An error means
    /// that nothing of it remains.
    fn apply<'a>(
        &'a self,
        id: u32,
        strike: &'a Strike,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>>;

    /// Undoes strike number `id`, and looks whether its effect is gone.
    fn heal(&self, id: u32) -> BoxFuture<'_, Result<Vec<Probe>, FaultError>>;

    /// By what means it does a strike, where a reader might ask.
    fn means(&self, strike: &Strike) -> &'static str;

    /// Lets a client go on from its pause point.
    fn go(&self, client: ClientId, number: u64);

    /// The lock server that leads the ensemble, if there is one.
    fn leader(&self) -> BoxFuture<'_, Option<NodeId>>;

    /// The lock server that the client's session is connected to, if it has one.
    fn session_server(&self, client: ClientId) -> BoxFuture<'_, Option<NodeId>>;
}
