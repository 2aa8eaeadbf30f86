//! Requests of one lease that overtake each other on their way to a node, as those do that wait for one connection to
//! open.
//!
//! Deliberately absent: everything in order, which the lock suite tries on both worlds.

#![expect(clippy::disallowed_methods, reason = "nodes that keep requests back, in real time")]

use std::sync::Mutex;

use futures_util::future::{FutureExt, ready};
use tokio::sync::Notify;

use super::*;
use crate::lock::backend::{Heard, Reply, Share};
use crate::lock::runtime::TokioRuntime;
use crate::lock::{AcquireOptions, DistributedLock, Redlock, RedlockSettings, ReleaseOutcome};

const LONG: Duration = Duration::from_secs(60);

/// One key that never expires by itself. The first request for its vote can be kept back until others have come.
struct Node {
    name: String,
    owner: Arc<Mutex<Option<OwnerToken>>>,
    /// The first request to set the key is carried out when this is told.
    go: Option<Arc<Notify>>,
    asked: Arc<AtomicU8>,
    /// After how many requests to set the key, or to extend it, the first one is let go.
    let_go_by: LetGo,
}

#[derive(Clone, Copy, PartialEq)]
enum LetGo {
    AnExtension,
    ADeletion,
    ASecondVote,
    Time,
}

impl Node {
    fn new(place: usize, let_go_by: Option<LetGo>) -> Self {
        Self {
            name: place.to_string(),
            owner: Arc::default(),
            go: let_go_by.map(|_| Arc::default()),
            asked: Arc::default(),
            let_go_by: let_go_by.unwrap_or(LetGo::Time),
        }
    }

    /// The answer to a request that found something, or nothing: the vote that this lets go is answered before it.
    fn answer(&self, found: Ownership) -> Reply<Ownership, NodeError> {
        let is_late = self.go.is_some() && found == Ownership::Absent;
        async move {
            if is_late {
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            Ok(found)
        }
        .boxed()
    }

    fn let_go(&self, by: LetGo) {
        if let Some(go) = self.go.as_ref().filter(|_| self.let_go_by == by) {
            go.notify_one();
        }
    }
}

impl RedisNode for Node {
    fn name(&self) -> &str {
        &self.name
    }

    fn set_if_absent(&self, _: &str, owner: &OwnerToken, _: Duration) -> Reply<bool, NodeError> {
        let (first, held, owner) =
            (self.asked.fetch_add(1, Ordering::SeqCst) == 0, Arc::clone(&self.owner), owner.clone());
        let set = move || {
            let mut held = held.lock().unwrap();
            let is_free = held.is_none();
            held.get_or_insert(owner);
            Ok(is_free)
        };
        match &self.go {
            Some(go) if first => {
                let (go, is_timed) = (Arc::clone(go), self.let_go_by == LetGo::Time);
                async move {
                    let late = tokio::time::sleep(Duration::from_millis(if is_timed { 100 } else { 1_000 }));
                    tokio::select! {
                        () = go.notified() => {}
                        () = late => {}
                    }
                    // Behind whatever let it go.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    set()
                }
                .boxed()
            }
            _ => {
                let done = set();
                self.let_go(LetGo::ASecondVote);
                ready(done).boxed()
            }
        }
    }

    fn extend_if_owner(&self, _: &str, owner: &OwnerToken, _: Duration) -> Reply<Ownership, NodeError> {
        let found = match &*self.owner.lock().unwrap() {
            None => Ownership::Absent,
            Some(held) if held == owner => Ownership::Ours,
            Some(_) => Ownership::Theirs,
        };
        self.let_go(LetGo::AnExtension);
        self.answer(found)
    }

    fn delete_if_owner(&self, _: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        let mut held = self.owner.lock().unwrap();
        let found = match &*held {
            None => Ownership::Absent,
            Some(other) if other != owner => Ownership::Theirs,
            Some(_) => {
                *held = None;
                Ownership::Ours
            }
        };
        self.let_go(LetGo::ADeletion);
        self.answer(found)
    }

    fn set_and_count(&self, _: &str, _: &str, _: &OwnerToken, _: Duration) -> Reply<Option<FencingToken>, NodeError> {
        unasked()
    }

    fn set_and_fence(&self, _: &str, _: &str, _: &OwnerToken, _: Duration) -> Reply<Option<FencingToken>, NodeError> {
        unasked()
    }

    fn raise_if_owner(&self, _: &str, _: &str, _: &OwnerToken, _: FencingToken) -> Reply<bool, NodeError> {
        unasked()
    }

    fn delete_and_call(&self, _: &str, _: &str, _: &OwnerToken) -> Reply<Ownership, NodeError> {
        unasked()
    }

    fn stand_in_line(&self, _: &str, _: &str, _: &str, _: bool, _: Duration) -> Reply<Option<Duration>, NodeError> {
        unasked()
    }

    fn leave_line(&self, _: &str, _: &str, _: &str) -> Reply<(), NodeError> {
        unasked()
    }

    fn listen(&self, _: &str) -> Reply<Heard, NodeError> {
        unasked()
    }

    fn take_share(
        &self,
        _: &str,
        _: &str,
        _: &OwnerToken,
        _: Duration,
        _: Share,
    ) -> Reply<Option<FencingToken>, NodeError> {
        unasked()
    }

    fn extend_share(&self, _: &str, _: &OwnerToken, _: Duration, _: Share) -> Reply<Ownership, NodeError> {
        unasked()
    }

    fn return_share(&self, _: &str, _: &OwnerToken, _: Share) -> Reply<Ownership, NodeError> {
        unasked()
    }
}

fn unasked<T: Send + 'static>() -> Reply<T, NodeError> {
    unreachable!("this lock asks for nothing else")
}

#[tokio::test]
async fn a_vote_that_is_overtaken_by_an_extension_or_a_release_is_taken_back_with_the_others() {
    for let_go_by in [LetGo::AnExtension, LetGo::ADeletion, LetGo::ASecondVote, LetGo::Time] {
        for extensions in 0..=3 {
            let node = |place| Arc::new(Node::new(place, (place == 4).then_some(let_go_by)));
            let nodes: Vec<Arc<Node>> = (0..5).map(node).collect();
            let settings = RedlockSettings { ttl: LONG, node_timeout: Duration::from_secs(5), ..Default::default() };
            let seam = nodes.iter().map(|node| Arc::clone(node) as Arc<dyn RedisNode>).collect();
            let lock = Redlock::new(seam, settings, Arc::new(TokioRuntime::from_entropy())).unwrap();
            let name = crate::ids::LockName::new("overtaken");
            let held = lock.acquire(&name, &AcquireOptions::default()).await.unwrap();
            for _ in 0..extensions {
                held.extend(2 * LONG).await.unwrap();
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            assert_eq!(held.release().await, ReleaseOutcome::Released);
            let mut left = usize::MAX;
            for _ in 0..400 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                left = nodes.iter().filter(|node| node.owner.lock().unwrap().is_some()).count();
                if left == 0 && is_through(&nodes[4]) {
                    break;
                }
            }
            assert_eq!(left, 0, "after {extensions} extensions a node is left with the key");
        }
    }
}

/// Whether no vote is kept back.
fn is_through(node: &Node) -> bool {
    node.go.as_ref().is_none_or(|go| Arc::strong_count(go) == 1)
}
