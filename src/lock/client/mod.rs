//! The seam filled with real servers: one file per client crate.
//!
//! Each maps its crate's errors to *certainly did not happen* and *may have happened*, and nothing else: no retries,
//! no timeouts, no decisions. Deliberately absent: the crates' own lock recipes and reconnecting managers, which hide
//! what a lock must know.

mod redis;
mod zookeeper;

pub use redis::{DELETE_IF_OWNER, EXTEND_IF_OWNER, RAISE_IF_OWNER, RedisServer, SET_AND_COUNT};
pub use zookeeper::ZookeeperEnsemble;
