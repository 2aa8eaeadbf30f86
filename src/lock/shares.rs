//! A share of a lock at one Redis server: what read-write locks and semaphores take there.
//!
//! [`Shared`] stands before the server and asks for a share where a lock of its own would ask for the key. So all the
//! rest is the lock's own code: validity from the moment of sending, renewal, release, what is taken back and how
//! ([`super::RedisLock`]). Each share has an end of its own on the server's clock and is missed by nobody when it has
//! come; the scripts say how.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;

use super::backend::{Heard, Ownership, RedisNode, Reply, Share};
use super::error::{ConfigError, NodeError};
use super::runtime::SharedRuntime;
use super::{RedisLock, RedisLockSettings, Waiting};
use crate::ids::{FencingToken, OwnerToken};

/// A Redis server of which shares are asked.
struct Shared {
    node: Arc<dyn RedisNode>,
    share: Share,
}

/// A lock whose grants are shares. Who waits asks again: the line of those who are called is for one holder's key.
///
/// # Errors
/// As [`RedisLock::new`].
pub(super) fn lock(
    node: Arc<dyn RedisNode>,
    share: Share,
    settings: RedisLockSettings,
    runtime: SharedRuntime,
) -> Result<RedisLock, ConfigError> {
    let settings = RedisLockSettings { waiting: Waiting::Poll, ..settings };
    RedisLock::new(Arc::new(Shared { node, share }), settings, runtime)
}

/// A lock at one server asks for votes with a token, and never needs to win one back.
fn never<T: Send + 'static>() -> Reply<T, NodeError> {
    std::future::ready(Err(NodeError::Refused("a share is asked for in one way only".to_owned()))).boxed()
}

impl RedisNode for Shared {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn set_if_absent(&self, _: &str, _: &OwnerToken, _: Duration) -> Reply<bool, NodeError> {
        never()
    }

    fn set_and_count(&self, _: &str, _: &str, _: &OwnerToken, _: Duration) -> Reply<Option<FencingToken>, NodeError> {
        never()
    }

    fn set_and_fence(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.node.take_share(key, counter, owner, ttl, self.share)
    }

    fn raise_if_owner(&self, _: &str, _: &str, _: &OwnerToken, _: FencingToken) -> Reply<bool, NodeError> {
        never()
    }

    fn extend_if_owner(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<Ownership, NodeError> {
        self.node.extend_share(key, owner, ttl, self.share)
    }

    fn delete_if_owner(&self, key: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        self.node.return_share(key, owner, self.share)
    }

    fn delete_and_call(&self, _: &str, _: &str, _: &OwnerToken) -> Reply<Ownership, NodeError> {
        never()
    }

    fn stand_in_line(&self, _: &str, _: &str, _: &str, _: bool, _: Duration) -> Reply<Option<Duration>, NodeError> {
        never()
    }

    fn leave_line(&self, _: &str, _: &str, _: &str) -> Reply<(), NodeError> {
        never()
    }

    fn listen(&self, _: &str) -> Reply<Heard, NodeError> {
        never()
    }

    fn take_share(
        &self,
        _: &str,
        _: &str,
        _: &OwnerToken,
        _: Duration,
        _: Share,
    ) -> Reply<Option<FencingToken>, NodeError> {
        never()
    }

    fn extend_share(&self, _: &str, _: &OwnerToken, _: Duration, _: Share) -> Reply<Ownership, NodeError> {
        never()
    }

    fn return_share(&self, _: &str, _: &OwnerToken, _: Share) -> Reply<Ownership, NodeError> {
        never()
    }
}
