//! Delete without owner check: the key has the same value whoever sets it, so that every compare-and-delete finds "its
//! own" value, as a plain `DEL` would. A holder whose lease has run out frees the next one's lock.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{FencingToken, OwnerToken};
use crate::lock::backend::{Heard, Ownership, RedisNode, Reply, Share};
use crate::lock::error::NodeError;

/// A master that is never told who owns a key.
pub(super) struct OneOwner {
    node: Arc<dyn RedisNode>,
    anybody: OwnerToken,
}

impl OneOwner {
    pub fn wrap(node: Arc<dyn RedisNode>) -> Arc<dyn RedisNode> {
        Arc::new(Self { node, anybody: OwnerToken::new("locked") })
    }
}

impl RedisNode for OneOwner {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn set_if_absent(&self, key: &str, _: &OwnerToken, ttl: Duration) -> Reply<bool, NodeError> {
        self.node.set_if_absent(key, &self.anybody, ttl)
    }

    fn set_and_count(
        &self,
        key: &str,
        counter: &str,
        _: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.node.set_and_count(key, counter, &self.anybody, ttl)
    }

    fn set_and_fence(
        &self,
        key: &str,
        counter: &str,
        _: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.node.set_and_fence(key, counter, &self.anybody, ttl)
    }

    fn raise_if_owner(&self, key: &str, counter: &str, _: &OwnerToken, token: FencingToken) -> Reply<bool, NodeError> {
        self.node.raise_if_owner(key, counter, &self.anybody, token)
    }

    fn extend_if_owner(&self, key: &str, _: &OwnerToken, ttl: Duration) -> Reply<Ownership, NodeError> {
        self.node.extend_if_owner(key, &self.anybody, ttl)
    }

    fn delete_if_owner(&self, key: &str, _: &OwnerToken) -> Reply<Ownership, NodeError> {
        self.node.delete_if_owner(key, &self.anybody)
    }

    fn delete_and_call(&self, key: &str, line: &str, _: &OwnerToken) -> Reply<Ownership, NodeError> {
        self.node.delete_and_call(key, line, &self.anybody)
    }

    fn stand_in_line(
        &self,
        key: &str,
        line: &str,
        place: &str,
        front: bool,
        patience: Duration,
    ) -> Reply<Option<Duration>, NodeError> {
        self.node.stand_in_line(key, line, place, front, patience)
    }

    fn leave_line(&self, key: &str, line: &str, place: &str) -> Reply<(), NodeError> {
        self.node.leave_line(key, line, place)
    }

    fn listen(&self, channel: &str) -> Reply<Heard, NodeError> {
        self.node.listen(channel)
    }

    fn take_share(
        &self,
        key: &str,
        counter: &str,
        _: &OwnerToken,
        ttl: Duration,
        share: Share,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.node.take_share(key, counter, &self.anybody, ttl, share)
    }

    fn extend_share(&self, key: &str, _: &OwnerToken, ttl: Duration, share: Share) -> Reply<Ownership, NodeError> {
        self.node.extend_share(key, &self.anybody, ttl, share)
    }

    fn return_share(&self, key: &str, _: &OwnerToken, share: Share) -> Reply<Ownership, NodeError> {
        self.node.return_share(key, &self.anybody, share)
    }
}
