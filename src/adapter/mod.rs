//! Other people's locks: a program that wraps a lock, spoken to in JSON lines, stands trial like any lock of ours.
//!
//! [`protocol`] is what is said, [`program`] the process, `driver` makes requests and copes with whatever the program
//! does, [`misdeed`] is what it may not do, [`lock`] makes a [`crate::lock::DistributedLock`] of it, [`check`] tries it
//! in fair weather, [`servers`] reads what it rests on, [`settings`] a defendant's folder, [`own`] is our own locks
//! behind the protocol. Deliberately absent: containers and images, which are the environment's, and any library's
//! name.

pub mod check;
mod driver;
pub mod lock;
pub mod misdeed;
pub mod own;
pub mod program;
pub mod protocol;
pub mod servers;
pub mod settings;
#[cfg(test)]
mod tests;

pub use lock::AdapterLock;
pub use misdeed::{Gravity, Misdeed, Witness};
pub use program::Spec;
pub use servers::Servers;
pub use settings::Settings;
