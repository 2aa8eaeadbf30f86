//! The znodes and sessions that a prefix of the log makes.
//!
//! Applying a transaction cannot fail: whether a change is allowed was decided before it entered the log. The root is
//! there from the start. Deliberately absent: data, versions, the `/zookeeper` folder of real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::messages::{EventKind, Path, Stat, Zxid};
use super::peers::{Entry, Transaction};

/// A znode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub czxid: Zxid,
    /// The session that it lives with, or 0.
    pub ephemeral_owner: i64,
    /// How many children it has ever had: the next sequence number.
    pub cversion: i32,
    /// Their whole paths, which are at hand already.
    pub children: BTreeSet<Path>,
}

impl Node {
    pub fn stat(&self) -> Stat {
        Stat { czxid: self.czxid, ephemeral_owner: self.ephemeral_owner }
    }
}

/// The state of the ensemble after some transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    /// By their whole paths: one look-up, however many there are.
    nodes: FxHashMap<Path, Node>,
    /// In the order of their creation.
    ephemerals: FxHashMap<i64, Vec<Path>>,
    sessions: BTreeMap<i64, Duration>,
    last: Zxid,
}

impl Default for Tree {
    fn default() -> Self {
        let nodes = FxHashMap::from_iter([(Path::new_static("/"), Node::default())]);
        Self { nodes, ephemerals: FxHashMap::default(), sessions: BTreeMap::new(), last: Zxid::ZERO }
    }
}

impl Tree {
    /// The last transaction applied.
    pub fn last(&self) -> Zxid {
        self.last
    }

    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All znodes, in the order of their paths.
    pub fn nodes(&self) -> BTreeMap<&str, &Node> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node)).collect()
    }

    /// The sessions alive, and their timeouts.
    pub fn sessions(&self) -> &BTreeMap<i64, Duration> {
        &self.sessions
    }

    /// Applies a transaction: which znodes it created and deleted.
    pub fn apply(&mut self, entry: &Entry) -> Vec<(Path, EventKind)> {
        debug_assert!(entry.zxid > self.last);
        self.last = entry.zxid;
        match &entry.transaction {
            Transaction::Create { path, ephemeral_owner, cversion } => {
                self.create(path, entry.zxid, *ephemeral_owner, *cversion);
                vec![(path.clone(), EventKind::Created)]
            }
            Transaction::Delete { path } => {
                self.delete(path);
                vec![(path.clone(), EventKind::Deleted)]
            }
            Transaction::OpenSession { timeout } => {
                self.sessions.insert(entry.session, *timeout);
                Vec::new()
            }
            Transaction::CloseSession => {
                self.sessions.remove(&entry.session);
                let mut paths = self.ephemerals.remove(&entry.session).unwrap_or_default();
                paths.sort_unstable();
                paths.iter().for_each(|path| self.delete(path));
                paths.into_iter().map(|path| (path, EventKind::Deleted)).collect()
            }
            Transaction::Error(_) => Vec::new(),
        }
    }

    fn create(&mut self, path: &Path, czxid: Zxid, ephemeral_owner: i64, cversion: i32) {
        if let Some(parent) = self.nodes.get_mut(parent(path)) {
            parent.children.insert(path.clone());
            // The manual says that the counter wraps around. The server's code does not let it: a lower count is taken
            // for an old one, so that after 2^31 children the last number is given again and again.
            parent.cversion = parent.cversion.max(cversion);
            self.nodes.insert(path.clone(), Node { czxid, ephemeral_owner, ..Node::default() });
        }
        if ephemeral_owner != 0 {
            self.ephemerals.entry(ephemeral_owner).or_default().push(path.clone());
        }
    }

    fn delete(&mut self, path: &Path) {
        let Some(node) = self.nodes.remove(path) else { return };
        if let Some(parent) = self.nodes.get_mut(parent(path)) {
            parent.children.remove(path);
        }
        if let Some(paths) = self.ephemerals.get_mut(&node.ephemeral_owner) {
            paths.retain(|known| known != path);
            if paths.is_empty() {
                self.ephemerals.remove(&node.ephemeral_owner);
            }
        }
    }
}

/// The path of a znode's parent.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => "",
    }
}
