//! What clients do to a lock and to the resource that it protects.
//!
//! [`client`] is the loop acquire → read → hold → write → release, the same code in every environment; [`resource`] is
//! the protected resource as a pure state machine. Both reach the world only through what the environment hands in.

pub mod client;
pub mod resource;
mod way;

use std::hash::{Hash, Hasher};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::history::ItemValue;
use crate::ids::{ClientId, FencingToken, HoldId};

/// One access to the protected resource, made under a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Which item.
    pub item: u32,
    /// Under which hold.
    pub hold: HoldId,
    /// By which client.
    pub client: ClientId,
    /// With which fencing token, if the lock gave one.
    pub token: Option<FencingToken>,
    /// Whether the hold is one of readers, who hold together: their tokens come in any order.
    pub shared: bool,
    /// What is done.
    pub action: Action,
}

impl Hash for Access {
    /// Shared or not stands last, and only if it is: an access of one client's lock adds to a run's trace hash what it
    /// always did.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { item, hold, client, token, shared, action } = self;
        (item, hold, client, token, action).hash(state);
        if *shared {
            shared.hash(state);
        }
    }
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reads the item.
    Read,
    /// Writes the item.
    Write {
        /// The new stock.
        stock: i64,
        /// The version that the same hold read.
        based_on: u32,
    },
}

/// Why an access brought no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The resource refused it: it had no effect.
    #[error("refused: {0}")]
    Refused(String),
    /// It was never sent.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// It was sent, or may have been, and no answer came.
    #[error("no answer: {0}")]
    Unanswered(String),
}

impl AccessError {
    /// Whether the access certainly had no effect.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unanswered(_))
    }
}

/// How long a client waits for the resource before the outcome of an access is in doubt.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The way to the protected resource.
pub trait ResourceClient: Send + Sync {
    /// Makes one access: the item as it was read, or as it was written.
    fn access(&self, access: Access) -> BoxFuture<'_, Result<ItemValue, AccessError>>;
}
