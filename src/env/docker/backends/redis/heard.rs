//! What a master had, as its answers to one client tell.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use smol_str::SmolStr;

use crate::env::docker::answers::Answers;
use crate::history::server::{LeaseEnd, Vote};
use crate::ids::{FencingToken, NodeId, OwnerToken};
use crate::lock::backend::{Heard, Ownership, RedisNode, Reply, Share};
use crate::lock::error::NodeError;
use crate::time::{BootClock, Clock, Nanos};

/// A node whose answers are gathered.
pub(super) struct HeardNode {
    node: Arc<dyn RedisNode>,
    number: NodeId,
    answers: Arc<Answers>,
}

impl HeardNode {
    /// The node that the plan numbers so.
    pub fn new(node: Arc<dyn RedisNode>, number: NodeId, answers: &Arc<Answers>) -> Self {
        Self { node, number, answers: Arc::clone(answers) }
    }

    fn heard<T: Send + 'static>(
        &self,
        reply: Reply<T, NodeError>,
        told: impl FnOnce(&Answers, NodeId, &T) + Send + 'static,
    ) -> Reply<T, NodeError> {
        let (answers, number) = (Arc::clone(&self.answers), self.number);
        async move {
            let answer = reply.await;
            if let Ok(answer) = &answer {
                told(&answers, number, answer);
            }
            answer
        }
        .boxed()
    }

    fn vote<T: Send + 'static>(
        &self,
        reply: Reply<T, NodeError>,
        (owner, key, ttl): (&OwnerToken, &str, Duration),
        granted: fn(&T) -> bool,
    ) -> Reply<T, NodeError> {
        let (owner, key, asked): (_, SmolStr, _) = (owner.clone(), key.into(), BootClock.now());
        self.heard(reply, move |answers, node, answer| answers.voted(node, &owner, &key, ttl, asked, granted(answer)))
    }

    fn owned(
        &self,
        reply: Reply<Ownership, NodeError>,
        (owner, key): (&OwnerToken, &str),
        change: fn(&mut Vote, Nanos),
    ) -> Reply<Ownership, NodeError> {
        let (owner, key): (_, SmolStr) = (owner.clone(), key.into());
        self.heard(reply, move |answers, node, answer| match answer {
            Ownership::Ours => answers.change(node, &owner, &key, change),
            // It was gone before: when, nobody knows but the node.
            Ownership::Absent | Ownership::Theirs => {}
        })
    }
}

impl RedisNode for HeardNode {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn set_if_absent(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<bool, NodeError> {
        self.vote(self.node.set_if_absent(key, owner, ttl), (owner, key, ttl), |set| *set)
    }

    fn set_and_count(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.vote(self.node.set_and_count(key, counter, owner, ttl), (owner, key, ttl), Option::is_some)
    }

    fn set_and_fence(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.vote(self.node.set_and_fence(key, counter, owner, ttl), (owner, key, ttl), Option::is_some)
    }

    fn raise_if_owner(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        token: FencingToken,
    ) -> Reply<bool, NodeError> {
        self.node.raise_if_owner(key, counter, owner, token)
    }

    fn extend_if_owner(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<Ownership, NodeError> {
        self.owned(self.node.extend_if_owner(key, owner, ttl), (owner, key), |vote, at| vote.extended.push(at))
    }

    fn delete_if_owner(&self, key: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        self.owned(self.node.delete_if_owner(key, owner), (owner, key), |vote, at| vote.end(at, LeaseEnd::Deleted))
    }

    fn delete_and_call(&self, key: &str, line: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        let deleting = self.node.delete_and_call(key, line, owner);
        self.owned(deleting, (owner, key), |vote, at| vote.end(at, LeaseEnd::Deleted))
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
        owner: &OwnerToken,
        ttl: Duration,
        share: Share,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.vote(self.node.take_share(key, counter, owner, ttl, share), (owner, key, ttl), Option::is_some)
    }

    fn extend_share(&self, key: &str, owner: &OwnerToken, ttl: Duration, share: Share) -> Reply<Ownership, NodeError> {
        self.owned(self.node.extend_share(key, owner, ttl, share), (owner, key), |vote, at| vote.extended.push(at))
    }

    fn return_share(&self, key: &str, owner: &OwnerToken, share: Share) -> Reply<Ownership, NodeError> {
        let returning = self.node.return_share(key, owner, share);
        self.owned(returning, (owner, key), |vote, at| vote.end(at, LeaseEnd::Deleted))
    }
}
