//! The seam filled with real servers: one file per client crate, and one for etcd's gateway.
//!
//! Each maps its crate's errors to *certainly did not happen* and *may have happened*, and nothing else: no retries,
//! no timeouts, no decisions. Deliberately absent: the crates' own lock recipes and reconnecting managers, which hide
//! what a lock must know.

#[cfg(feature = "harness")]
mod contents;
#[cfg(feature = "redis")]
mod endpoint;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "redis")]
mod fenced;
#[cfg(feature = "zookeeper")]
mod line;
#[cfg(feature = "redis")]
mod look;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "zookeeper")]
mod zk_address;
#[cfg(feature = "zookeeper")]
mod zookeeper;

#[cfg(feature = "redis")]
pub use endpoint::{EndpointError, RedisEndpoint};
#[cfg(feature = "etcd")]
pub use etcd::{EtcdAddress, EtcdAddressError, EtcdMembers};
#[cfg(feature = "redis")]
pub use fenced::{FENCED_READ, FENCED_WRITE, Fenced, FencedRedis};
#[cfg(feature = "zookeeper")]
pub use line::ContenderSeen;
#[cfg(feature = "redis")]
pub use look::KeySeen;
#[cfg(feature = "redis")]
pub use redis::{
    DELETE_AND_CALL, DELETE_IF_OWNER, EXTEND_IF_OWNER, EXTEND_SHARE, LEAVE_LINE, RAISE_IF_OWNER, RETURN_SHARE,
    RedisServer, SET_AND_COUNT, SET_AND_FENCE, STAND_IN_LINE, TAKE_SHARE,
};
#[cfg(all(feature = "tls", feature = "redis"))]
pub use tls::Tls;
#[cfg(feature = "tls")]
pub use tls::{TlsError, TlsFiles};
#[cfg(feature = "zookeeper")]
pub use zk_address::{ZkAddress, ZkAddressError};
#[cfg(feature = "zookeeper")]
pub use zookeeper::ZookeeperEnsemble;
