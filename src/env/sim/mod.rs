//! A world in one thread and virtual time: nothing to install, and every run repeats.

pub mod redis;
pub mod zookeeper;
