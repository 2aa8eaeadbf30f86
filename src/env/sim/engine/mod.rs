//! The simulation's engine: time, machines, processes, the network. It knows no server by name.
//!
//! Whatever runs on a machine is either a set of futures, which the scheduler polls, or a [`Server`](server::Server): a
//! state machine behind one trait. What they send is opaque ([`message`]). Each file builds on those above it and on no
//! other:
//!
//! | file | what lives there |
//! |---|---|
//! | `ids`, `sync` | machines, processes, connections by number; how a mutex is taken |
//! | `clock`, `link`, `trace` | a machine's clocks; one direction between two machines; the hash of all that happens |
//! | `queue`, `timers` | what will happen by itself; who is to be woken when |
//! | `message`, `server` | what travels; what a server is |
//! | `processes`, `interception` | what the scheduler is told; what is known of requests that strikes are aimed at |
//! | `connection` | connections and all that is in flight |
//! | `state` | all of this in one place |
//! | `tcp`, `socket`, `requests` | segments on their way; the ends of connections; requests, answers, what strikes do to them |
//! | `dispatch`, `hosts` | servers at work; machines that are frozen, killed, started again, set wrong |
//! | `world` | the event loop, which alone hands from one of these to the other |
//! | `scheduler`, `runtime`, `call` | processes: polled, given a clock and timers, heard by servers |
//!
//! Deliberately absent: scenarios, when a fault strikes, locks.

pub mod call;
pub mod clock;
pub mod connection;
pub mod dispatch;
pub mod hosts;
pub mod ids;
pub mod interception;
pub mod link;
pub mod message;
pub mod processes;
pub mod queue;
pub mod requests;
pub mod runtime;
pub mod scheduler;
pub mod server;
pub mod socket;
pub mod state;
pub mod sync;
pub mod tcp;
pub mod timers;
pub mod trace;
pub mod world;
