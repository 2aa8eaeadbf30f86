//! A token from a clock: milliseconds of the client's time of day. Two clients' clocks differ, and one alone may go
//! back.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::WallClock;
use crate::ids::{FencingToken, LockName};
use crate::lock::guard::{Guard, Hold};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Redlock};

/// Redlock with the tokens that it lacks.
pub(super) struct ClockToken {
    pub lock: Redlock,
    pub runtime: SharedRuntime,
    pub wall: WallClock,
}

impl DistributedLock for ClockToken {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        options: &'a AcquireOptions,
    ) -> BoxFuture<'a, Result<Guard, AcquireError>> {
        async move {
            let sound = self.lock.acquire(name, options).await?;
            let token = FencingToken((self.wall)().0 / 1_000_000);
            // A lease that is not renewed ends when it ends: no need to follow the sound guard.
            let hold = Hold::new(sound.valid_until());
            let release = Box::new(move || sound.release().boxed());
            Ok(Guard::new(name.clone(), Some(token), hold, Arc::clone(&self.runtime), release))
        }
        .boxed()
    }
}
