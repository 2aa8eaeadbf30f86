//! Real Redis and ZooKeeper servers in containers.
//!
//! [`cluster`] is the way in: it brings the servers up, says how they are, and takes them down. Below it: [`engine`] (the
//! Docker daemon), [`images`] and [`files`] (what the containers are made of), [`compose`] (the only caller of Compose),
//! [`settings`] (what the environment may choose), [`wire`] (the few words spoken with servers outside of a lock).
//!
//! No code here touches a container without the project's label.

pub mod cluster;
mod command;
pub mod compose;
pub mod engine;
pub mod files;
pub mod images;
pub mod settings;
pub mod status;
pub mod wire;
