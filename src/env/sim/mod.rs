//! A world in one thread and in virtual time: nothing to install, thousands of trials a minute, every one repeatable.
//!
//! [`run_trial`] is the way in, [`Trial`] the one with choices. Inside, from the ground up:
//! - `world`: true time, the `queue` of what will happen, machines with their `clock`s and timers; `trace` hashes it all.
//! - `net`: connections as TCP keeps them, over `link`s with latency, loss and cuts; `socket`: their ends. `message`: what
//!   travels there.
//! - `node`: what servers do with it: the models of [`redis`] and [`zookeeper`] (driven by `zk_node`) and
//!   [`etcd`] (`etcd_node`), with their timers (`alarm`), the resource.
//! - `scheduler`: polls the futures of processes, which freeze and die; `runtime` is what those have for one.
//! - `call`, `redis_link`, `zk_link`, `resource_link`: the lock seam and the resource's, over the net.
//! - `leftovers`: what its servers have when all is over.
//! - `machines`: who there is. `locks`: the lock on trial, and its way to its servers.
//! - `requests`: what strikes do to single requests and replies, somewhere between a client and its link.
//! - `cast`: the clients. `faults`: what the nemesis can do. `trial`: one lock's trial, led from beginning to end.
//! - `ledger`: what the servers had for whom, beside the history.
//! - `control`: the lock that nobody may accuse.
//! - `sandbox`: the same servers without a trial, for whoever leads the clients by hand.
//!
//! Rules, on which repeatability rests: ordered maps, or hashed ones (never `std`'s) whose order nothing depends on;
//! `biased` selects; no ambient clock, randomness, thread or runtime; one random stream per process and part, so that
//! removing one fault does not shift the rest.

mod alarm;
mod call;
mod cast;
mod clock;
mod control;
pub mod etcd;
mod etcd_link;
mod etcd_node;
mod faults;
mod ledger;
mod leftovers;
mod link;
mod locks;
mod machines;
mod message;
mod net;
mod node;
mod queue;
pub mod redis;
mod redis_link;
mod requests;
mod resource_link;
mod runtime;
mod sandbox;
mod scheduler;
mod socket;
#[cfg(test)]
mod tests;
mod trace;
mod trial;
mod world;
mod zk_link;
mod zk_node;
pub mod zookeeper;

pub use control::single_process_mutex;
pub use locks::{LockMaker, Seam};
pub use sandbox::Sandbox;
pub use trace::Trace;
pub use trial::{Outcome, Trial, run_trial};
