//! Redis in the simulation: nodes that know nothing of each other, and a client's way to them.
//!
//! | file | what lives there |
//! |---|---|
//! | [`model`] | one node as a pure state machine |
//! | `message` | what travels between clients and nodes |
//! | `node` | the model as the engine drives it |
//! | `link` | a client's way to a node |
//! | `records` | what the nodes had for whom, beside the history |
//! | `leftovers` | what they have when all is over |

pub(super) mod leftovers;
pub(super) mod link;
pub(super) mod message;
pub mod model;
pub(super) mod node;
pub(super) mod records;

pub use self::model::{Command, Entry, Persistence, RedisModel, Reply};
