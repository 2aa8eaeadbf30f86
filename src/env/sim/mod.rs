//! A world in one thread and in virtual time: nothing to install, thousands of trials a minute, every one repeatable.
//!
//! [`run_trial`] is the way in, [`Trial`] the one with choices. Inside, from the ground up:
//! - `engine`: time, machines, processes, the network; it knows no server.
//! - [`redis`], [`zookeeper`], [`etcd`]: a backend each, of one shape: its servers and a client's way to them.
//!   `resource`: the protected resource, in the same shape.
//! - `backends`: the registry of these, and the lock on trial, made over one of them.
//! - `machines`: who there is. `clients`: the clients of a trial. `faults`: what the nemesis can do. `leftovers`: what
//!   the servers have when all is over. `trial`: one lock's trial, led from beginning to end.
//! - `control`: the lock that nobody may accuse.
//! - `sandbox`: the same servers without a trial, for whoever leads the clients by hand.
//!
//! Rules, on which repeatability rests: ordered maps, or hashed ones (never `std`'s) whose order nothing depends on;
//! `biased` selects; no ambient clock, randomness, thread or runtime; one random stream per process and part, so that
//! removing one fault does not shift the rest.

mod backends;
mod clients;
mod control;
mod engine;
pub mod etcd;
mod faults;
mod leftovers;
mod machines;
pub mod redis;
mod resource;
mod sandbox;
#[cfg(test)]
mod tests;
mod trial;
pub mod zookeeper;

pub use backends::{LockMaker, Seam};
pub use control::single_process_mutex;
pub use engine::trace::Trace;
pub use sandbox::Sandbox;
pub use trial::{Outcome, Trial, run_trial};
