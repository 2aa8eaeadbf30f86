//! ZooKeeper in the simulation: the servers of one ensemble, and a client's way to them.
//!
//! | file | what lives there |
//! |---|---|
//! | [`model`] | one server as a pure state machine |
//! | [`session`] | the client's session, which outlives connections |
//! | `message` | what travels between clients and servers, and among servers |
//! | `node` | the model as the engine drives it |
//! | `link` | a client's way to the ensemble |
//! | `records` | what the servers had for whom, beside the history |
//! | `leftovers` | what the ensemble has when all is over |

pub(super) mod leftovers;
pub(super) mod link;
pub(super) mod message;
pub mod model;
pub(super) mod node;
pub(super) mod records;
pub mod session;

pub use self::model::{ConnectionId, Input, Output, PeerMessage, Reply, Request, Role, Server, Settings};
