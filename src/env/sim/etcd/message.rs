//! What travels between clients and members, and among members.

use std::hash::Hash;

use super::model::{Answer, PeerMessage, Request};
use crate::env::sim::engine::message::{Matching, Message};
use crate::env::sim::engine::trace::TraceHasher;

/// A message. Its number is part of every trace hash, and no other backend's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EtcdMessage {
    /// To a member.
    Request(Request) = 5,
    /// From a member.
    Answer(Answer) = 6,
    /// From one member to another.
    Peer(PeerMessage) = 7,
}

impl Message for EtcdMessage {
    fn trace(&self, hasher: &mut TraceHasher) {
        self.hash(hasher);
    }

    fn words(&self) -> String {
        match self {
            Self::Request(request) => format!("the request {request:?}"),
            Self::Answer(answer) => format!("the answer {answer:?}"),
            Self::Peer(message) => format!("the peer's message {message:?}"),
        }
    }

    fn matching(&self) -> Matching {
        match self {
            // One at a time.
            Self::Request(_) | Self::Answer(_) => Matching::InOrder,
            Self::Peer(_) => Matching::None,
        }
    }

    fn subject(&self) -> String {
        let Self::Request(request) = self else { return String::new() };
        match request {
            Request::Enter { key, .. } | Request::Watch { key, .. } | Request::Delete { key } => key.to_string(),
            Request::Line { prefix } => prefix.to_string(),
            Request::Grant { .. } | Request::KeepAlive { .. } | Request::Revoke { .. } => String::new(),
        }
    }
}
