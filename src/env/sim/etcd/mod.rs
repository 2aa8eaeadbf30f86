//! etcd in the simulation: the members of one cluster, and a client's way to them.
//!
//! | file | what lives there |
//! |---|---|
//! | [`model`] | one member as a pure state machine |
//! | `message` | what travels between clients and members, and among members |
//! | `node` | the model as the engine drives it |
//! | `link` | a client's way to the cluster |
//! | `records` | what the cluster had for whom, for the record beside the history |
//! | `leftovers` | what the cluster has when all is over |
//!
//! Deliberately absent: what etcd has beside what a lock needs ([`model`] says what that is).

pub(super) mod leftovers;
pub(super) mod link;
pub(super) mod message;
pub mod model;
pub(super) mod node;
mod records;
