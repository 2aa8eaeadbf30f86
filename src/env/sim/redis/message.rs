//! What travels between clients and nodes.

use std::hash::Hash;

use super::model::{Command, Reply};
use crate::env::sim::engine::message::{Matching, Message, Payload};
use crate::env::sim::engine::trace::TraceHasher;

/// A message. Its number is part of every trace hash, and no other backend's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RedisMessage {
    /// To a node.
    Command(Command) = 0,
    /// From a node.
    Reply(Reply) = 1,
}

impl Message for RedisMessage {
    fn trace(&self, hasher: &mut TraceHasher) {
        self.hash(hasher);
    }

    fn words(&self) -> String {
        match self {
            Self::Command(command) => format!("the command {command:?}"),
            Self::Reply(reply) => format!("the reply {reply:?}"),
        }
    }

    fn matching(&self) -> Matching {
        Matching::InOrder
    }

    fn refused(&self) -> Option<Payload> {
        matches!(self, Self::Command(_)).then(|| Box::new(Self::Command(Command::Refused)) as Payload)
    }

    fn subject(&self) -> String {
        match self {
            Self::Command(command) => command.words().join(" "),
            Self::Reply(_) => String::new(),
        }
    }
}
