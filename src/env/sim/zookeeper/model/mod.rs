//! A model of a ZooKeeper ensemble, for trials in simulated time.
//!
//! [`Server`] is one member: a pure state machine that is handed its own monotonic clock, its timers and its messages,
//! and says what to send. Whoever drives it owns time, the network, crashes and freezes.
//!
//! Modelled, after ZooKeeper 3.9: fast leader election; discovery, synchronisation and broadcast of Zab with epochs and
//! zxids; followers that lag; sessions with bucketed expiry on the leader's clock, kept alive by batched touches; moves
//! of sessions between servers; ephemeral and sequential znodes; one-shot watches; `sync` as the servers really do it
//! (a leader with nothing in flight answers without asking its followers).
//!
//! | file | what lives there |
//! |---|---|
//! | `settings` | the timing of an ensemble |
//! | `messages`, `peers` | what clients and servers say to each other, and servers among themselves |
//! | `io` | the inputs and outputs of a server |
//! | `log` | what survives a crash: the log and the epochs |
//! | `tree` | znodes and sessions as the log makes them |
//! | `clients` | the connections of one server: order, replies, watches (`watches`) |
//! | `replica` | the tree of one server, and the clients that see it |
//! | `local` | what a role works with |
//! | `election`, `leader` (with `broadcast`, `prepare`, `expiry`), `follower` | the roles |
//! | `server` | one member, from input to output |
//!
//! Deliberately absent: data and versions of znodes, ACLs, quotas, containers, transactions of several operations,
//! persistent watches, observers, reconfiguration, read-only servers, snapshots (the log is kept whole), the time that
//! a disk takes, throttling, and servers that hang up on a client that has been silent (only its session ends).

mod broadcast;
mod clients;
mod election;
mod expiry;
mod follower;
mod io;
mod leader;
mod local;
mod log;
pub mod messages;
pub mod peers;
mod prepare;
mod replica;
pub mod server;
mod settings;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some run on tokio, with its clock paused")]
mod tests;
mod tree;
mod watches;

pub use self::io::{Input, Output};
pub use self::messages::{ConnectionId, Reply, Request};
pub use self::peers::PeerMessage;
pub use self::server::{Role, Server};
pub use self::settings::Settings;
