//! What one server has made of the log so far, and who sees it.

use super::clients::Clients;
use super::io::Output;
use super::log::Disk;
use super::messages::{EventKind, Path, Zxid};
use super::tree::Tree;
use crate::ids::NodeId;

/// The tree of one server, and the clients that see it.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub tree: Tree,
    applied: usize,
    pub clients: Clients,
}

impl Replica {
    /// An empty one, of server `id` that is not started.
    pub fn new(id: NodeId) -> Self {
        Self { tree: Tree::default(), applied: 0, clients: Clients::new(id, 0) }
    }

    /// How many entries of the log are applied.
    pub fn applied(&self) -> usize {
        self.applied
    }

    /// Applies the log up to and including `zxid`.
    pub fn apply_to(&mut self, zxid: Zxid, disk: &Disk, out: &mut Vec<Output>) {
        while let Some(entry) = disk.get(self.applied).filter(|entry| entry.zxid <= zxid) {
            let effects: Vec<(Path, EventKind)> = self.tree.apply(entry);
            self.applied += 1;
            self.clients.committed(entry, effects, &self.tree, out);
        }
    }

    /// Goes back to a state at or before `zxid`, for a log that was cut there.
    pub fn rewind(&mut self, zxid: Zxid, disk: &Disk) {
        if self.tree.last() > zxid {
            (self.tree, self.applied) = (Tree::default(), 0);
            self.apply_to(zxid, disk, &mut Vec::new());
        }
    }
}
