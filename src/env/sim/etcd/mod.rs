//! etcd in the simulation: the members of one cluster, and a client's way to them.
//!
//! | file | what lives there |
//! |---|---|
//! | [`model`] | one member as a pure state machine |
//! | `message` | what travels between clients and members, and among members |
//! | `node` | the model as the engine drives it |
//! | `link` | a client's way to the cluster |
//! | `leftovers` | what the cluster has when all is over |
//!
//! Deliberately absent: records beside the history, which a lock over etcd has none of yet.

pub(super) mod leftovers;
pub(super) mod link;
pub(super) mod message;
pub mod model;
pub(super) mod node;
