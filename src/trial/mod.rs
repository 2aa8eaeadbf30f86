//! The trial of one lock, the same in every world: its course, and what its clients do there.
//!
//! [`course`] leads a trial from its members' first word to the look at what is left, and asks a world for the rest
//! ([`World`]). [`case`] is what a trial is about, and what its history says of itself. [`lives`] follows the clients
//! from one life to the next, and tells the nemesis what they do. [`client`] is what a client's program does around the
//! client loop, [`announcer`] stops it at phases, [`leftovers`] looks at the servers when all is over.
//!
//! The room stands before the worlds, as the nemesis does: worlds know it, and it knows no world. Deliberately absent:
//! how members are started and heard, where ops go, and by what a fault is done.

mod announcer;
mod case;
pub mod client;
mod course;
pub mod leftovers;
mod lives;
#[cfg(test)]
mod tests;

pub use announcer::Announcer;
pub use case::{Case, header};
pub use course::{Course, Looked, Opened, Word, World};
pub use lives::Lives;
