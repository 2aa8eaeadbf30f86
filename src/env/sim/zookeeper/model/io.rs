//! The inputs and outputs of one server.

use super::messages::{ConnectionId, Reply, Request};
use super::peers::PeerMessage;
use crate::ids::NodeId;

/// What happens to a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The process starts, the first time or after a crash.
    Started,
    /// The time of [`super::Server::next_timer`] has come. If it is still in the past afterwards, more timers follow.
    Timer,
    /// A peer's message arrived.
    FromPeer(NodeId, PeerMessage),
    /// The connections with a peer broke, as they do at once when its process dies and its machine lives. A network
    /// without this news is served as well, more slowly: by silence.
    PeerReset(NodeId),
    /// A client connected.
    Opened(ConnectionId),
    /// A client's connection is gone.
    Closed(ConnectionId),
    /// A client's request arrived.
    FromClient(ConnectionId, Request),
}

/// What a server does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Sends to a peer.
    ToPeer(NodeId, PeerMessage),
    /// Sends to a client.
    ToClient(ConnectionId, Reply),
    /// Closes a client's connection, after what was sent before has left.
    Close(ConnectionId),
}
