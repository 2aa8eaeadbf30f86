//! The simulated world: models of the lock servers.

pub mod zookeeper;
