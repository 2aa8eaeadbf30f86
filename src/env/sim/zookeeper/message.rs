//! What travels between clients and servers, and among servers.

use std::hash::Hash;

use super::model::PeerMessage;
use super::model::messages::{Change, Operation, Reply, Request};
use crate::env::sim::engine::message::{Matching, Message};
use crate::env::sim::engine::trace::TraceHasher;

/// A message. Its number is part of every trace hash, and no other backend's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ZookeeperMessage {
    /// To a server.
    Request(Request) = 2,
    /// From a server.
    Reply(Reply) = 3,
    /// From one server to another.
    Peer(PeerMessage) = 4,
}

impl Message for ZookeeperMessage {
    fn trace(&self, hasher: &mut TraceHasher) {
        self.hash(hasher);
    }

    fn words(&self) -> String {
        match self {
            Self::Request(request) => format!("the request {request:?}"),
            Self::Reply(reply) => format!("the answer {reply:?}"),
            Self::Peer(message) => format!("the peer's message {message:?}"),
        }
    }

    fn matching(&self) -> Matching {
        match self {
            Self::Request(Request::Operation { xid, .. }) | Self::Reply(Reply::Done { xid, .. }) => {
                Matching::Numbered(*xid)
            }
            _ => Matching::None,
        }
    }

    fn subject(&self) -> String {
        // What a client's library says by itself when it has a new connection is about no znode: nobody waits for its
        // reply.
        let Self::Request(Request::Operation { operation, .. }) = self else { return String::new() };
        match operation {
            Operation::Change(Change::Create { path, .. } | Change::Delete { path })
            | Operation::Exists { path, .. }
            | Operation::Children { path }
            | Operation::RemoveWatch { path } => path.to_string(),
            Operation::Change(Change::CloseSession) | Operation::Sync => String::new(),
        }
    }
}
