//! Quorum of one: whichever master answers first decides. Which one that is depends on the network; here it is drawn.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::without_flaw;
use crate::ids::LockName;
use crate::lock::backend::RedisNode;
use crate::lock::runtime::SharedRuntime;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, Redlock, RedlockSettings};

/// As many locks as there are masters, all under one name.
pub(super) struct QuorumOfOne {
    locks: Vec<Redlock>,
    runtime: SharedRuntime,
}

impl QuorumOfOne {
    pub fn new(nodes: Vec<Arc<dyn RedisNode>>, settings: RedlockSettings, runtime: SharedRuntime) -> Self {
        let lock = |node| without_flaw(vec![node], settings.clone(), Arc::clone(&runtime));
        Self { locks: nodes.into_iter().map(lock).collect(), runtime }
    }
}

impl DistributedLock for QuorumOfOne {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        let first = self.runtime.random() as usize % self.locks.len();
        self.locks[first].acquire(name, options)
    }
}
