//! What the simulated servers still have: their state, looked at from outside, which nobody in the simulation can
//! notice.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::backends;
use super::engine::world::World;
use crate::scenario::LockConfig;
use crate::trial::leftovers::{Found, Names, Servers};

/// The servers of a world, and the lock that they are for.
pub(super) struct Inside<'a>(pub Arc<World>, pub &'a LockConfig);

impl Servers for Inside<'_> {
    fn look<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, (Vec<Found>, Option<String>)> {
        ready(backends::leftovers(self.1, &self.0.lock(), names)).boxed()
    }
}
