//! Set, then expire: two commands where one would do. A client that dies between them leaves keys that nobody takes
//! away.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::FOR_EVER;
use super::votes::{Cluster, Votes};
use crate::ids::LockName;
use crate::lock::backend::RedisNode;
use crate::lock::guard::{Guard, Hold};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, RedlockSettings};

/// Wins the votes first and gives them their time to live then.
pub(super) struct SetThenExpire {
    cluster: Arc<Cluster>,
    ttl: std::time::Duration,
}

impl SetThenExpire {
    pub fn new(nodes: Vec<Arc<dyn RedisNode>>, settings: RedlockSettings, runtime: SharedRuntime) -> Self {
        let ttl = settings.ttl;
        // The seam has no SET without time to live; a day is as good as none.
        let settings = RedlockSettings { ttl: FOR_EVER, ..settings };
        Self { cluster: Arc::new(Cluster { nodes, settings, runtime }), ttl }
    }
}

impl DistributedLock for SetThenExpire {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            let runtime = &self.cluster.runtime;
            let grant = |votes: Votes| {
                // Counted from before the second command: never longer than the masters count.
                let until = (runtime.now() + self.ttl).saturating_sub(self.ttl / 100);
                let expire = votes.ask(|node| node.extend_if_owner(&votes.key, &votes.owner, self.ttl));
                runtime.spawn(expire.map(drop).boxed());
                let release = Box::new(move || votes.give_back());
                Guard::new(name.clone(), None, Hold::new(until), Arc::clone(runtime), release)
            };
            self.cluster.acquire(name, options, grant).await
        }
        .boxed()
    }
}
