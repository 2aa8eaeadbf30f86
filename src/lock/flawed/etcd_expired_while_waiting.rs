//! A grant on a lease that ended in the wait: nobody is ahead any more, so it must be our turn. That our own key is not
//! in the line either, since our lease ended and took it along, is not looked at.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::blind_guard;
use crate::ids::{FencingToken, LockName};
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::backend::EtcdLine;
use crate::lock::etcd::lease::{RETRY_DELAY, asked, patience};
use crate::lock::etcd::{Contender, contended, release};
use crate::lock::runtime::before;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, EtcdLock, Guard};
use crate::phase::Phase;

/// Looks only at who is ahead.
pub(super) struct ExpiredWhileWaiting(pub EtcdLock);

impl ExpiredWhileWaiting {
    async fn attempt(&self, name: &LockName, options: &AcquireOptions, deadlines: Deadlines) -> Result<Guard, Stop> {
        let contender = self.0.contender(name);
        let lease = contender.granted(options, deadlines).await?;
        let mut line = contender.enter(&lease, deadlines).await?;
        let Some(own) = line.keys.iter().find(|key| key.key == contender.key).cloned() else {
            return Err(Stop::Ended("the contender's key is gone".to_owned()));
        };
        let runtime = Arc::clone(&contender.runtime);
        // The flaw: our own key may be gone by the time that nobody is ahead.
        while let Some(ahead) = line.keys.iter().rfind(|key| key.created < own.created) {
            options.reached(Phase::InLine).await;
            let gone = contender.cluster.deleted(&ahead.key, line.revision + 1);
            // As the sound lock does: a member that falls silent says nothing of what it watches.
            let until = deadlines.queue.min(runtime.now() + contender.ttl);
            let gone = before(&*runtime, until, gone).await;
            if runtime.now() >= deadlines.queue {
                return Err(contended(line.keys.len().saturating_sub(1)));
            }
            if let Some(Err(_)) = gone {
                runtime.sleep_until(runtime.now() + RETRY_DELAY).await;
            }
            line = list(&contender, deadlines).await?;
        }
        options.reached(Phase::VotesIn).await;
        contender.disarm();
        let of_release = Arc::clone(&runtime);
        let release = move || release(lease, of_release).boxed();
        Ok(blind_guard(name, Some(FencingToken(own.created)), &runtime, release))
    }
}

/// The line, whether or not we still stand in it.
async fn list(contender: &Contender, deadlines: Deadlines) -> Result<EtcdLine, Stop> {
    let runtime = &contender.runtime;
    let began = runtime.now();
    loop {
        match asked(runtime, patience(contender.ttl), contender.cluster.line(&contender.folder)).await {
            Ok(line) => return Ok(line),
            Err(error) => contender.retry(deadlines, began, &error).await?,
        }
    }
}

impl DistributedLock for ExpiredWhileWaiting {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        self.0.acquire_by(options, move |deadlines| self.attempt(name, options, deadlines).boxed()).boxed()
    }
}
