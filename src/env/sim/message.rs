//! What travels over the simulated network.

use std::fmt;

use super::etcd;
use super::redis::{Command, Reply};
use super::zookeeper;
use crate::history::ItemValue;
use crate::workload::Access;

/// The content of a segment: one request or one answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Payload {
    /// To a Redis node.
    Command(Command),
    /// From a Redis node.
    Reply(Reply),
    /// To a ZooKeeper server.
    Request(zookeeper::Request),
    /// From a ZooKeeper server.
    Answer(zookeeper::Reply),
    /// From one ZooKeeper server to another.
    Peer(Box<zookeeper::PeerMessage>),
    /// To an etcd member.
    Asked(etcd::Request),
    /// From an etcd member.
    Told(etcd::Answer),
    /// From one etcd member to another.
    Raft(Box<etcd::PeerMessage>),
    /// To the protected resource.
    Access(Box<Access>),
    /// From the protected resource: the item, or why it refused.
    Served(Result<ItemValue, String>),
}

/// One segment of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// The client asks for a connection.
    Syn,
    /// The server's kernel grants it.
    SynAck,
    /// A request or an answer.
    Data(Payload),
    /// The sender closes the connection; what it sent before is still delivered.
    Fin,
    /// The sender knows no such connection.
    Reset,
}

impl Segment {
    /// Whether it is of a connection that is not there yet.
    pub fn is_handshake(&self) -> bool {
        matches!(self, Self::Syn | Self::SynAck)
    }
}

/// For whoever asks what happened at one event; nothing is made of these words.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syn => f.write_str("a request to connect"),
            Self::SynAck => f.write_str("the connection, granted"),
            Self::Data(payload) => match payload {
                Payload::Command(command) => write!(f, "the command {command:?}"),
                Payload::Reply(reply) => write!(f, "the reply {reply:?}"),
                Payload::Request(request) => write!(f, "the request {request:?}"),
                Payload::Answer(answer) => write!(f, "the answer {answer:?}"),
                Payload::Peer(message) => write!(f, "the peer's message {message:?}"),
                Payload::Asked(request) => write!(f, "the request {request:?}"),
                Payload::Told(answer) => write!(f, "the answer {answer:?}"),
                Payload::Raft(message) => write!(f, "the peer's message {message:?}"),
                Payload::Access(access) => write!(f, "the access {access:?}"),
                Payload::Served(served) => write!(f, "the resource's answer {served:?}"),
            },
            Self::Fin => f.write_str("the connection's end"),
            Self::Reset => f.write_str("a reset"),
        }
    }
}
