//! What travels between clients and the resource.

use std::hash::Hash;

use crate::env::sim::engine::message::Message;
use crate::env::sim::engine::trace::TraceHasher;
use crate::history::ItemValue;
use crate::workload::Access;

/// A message. Its number is part of every trace hash, and no backend's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResourceMessage {
    /// To the resource.
    Access(Access) = 8,
    /// From the resource: the item, or why it refused.
    Served(Result<ItemValue, String>) = 9,
}

impl Message for ResourceMessage {
    fn trace(&self, hasher: &mut TraceHasher) {
        self.hash(hasher);
    }

    fn words(&self) -> String {
        match self {
            Self::Access(access) => format!("the access {access:?}"),
            Self::Served(served) => format!("the resource's answer {served:?}"),
        }
    }
}
