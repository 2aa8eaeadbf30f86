//! The protected resource in the simulation: `node`, the server; `link`, a client's way to it; `message`, what they
//! say.

pub(super) mod link;
pub(super) mod message;
pub(super) mod node;
