//! The znodes and sessions that a prefix of the log makes.
//!
//! Applying a transaction cannot fail: whether a change is allowed was decided before it entered the log. The root is
//! there from the start. Deliberately absent: data, versions, the `/zookeeper` folder of real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// By their whole paths, which are at hand already.
    pub children: BTreeMap<Path, Node>,
}

impl Node {
    pub fn stat(&self) -> Stat {
        Stat { czxid: self.czxid, ephemeral_owner: self.ephemeral_owner }
    }
}

/// The state of the ensemble after some transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    root: Node,
    ephemerals: BTreeMap<i64, BTreeSet<Path>>,
    sessions: BTreeMap<i64, Duration>,
    last: Zxid,
}

impl Tree {
    /// The last transaction applied.
    pub fn last(&self) -> Zxid {
        self.last
    }

    pub fn get(&self, path: &str) -> Option<&Node> {
        let mut node = &self.root;
        for ancestor in ancestors(path) {
            node = node.children.get(ancestor)?;
        }
        Some(node)
    }

    fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        let mut node = &mut self.root;
        for ancestor in ancestors(path) {
            node = node.children.get_mut(ancestor)?;
        }
        Some(node)
    }

    /// All znodes, in the order of their paths.
    pub fn nodes(&self) -> BTreeMap<&str, &Node> {
        let mut nodes = BTreeMap::from([("/", &self.root)]);
        let mut unseen = vec![&self.root];
        while let Some(node) = unseen.pop() {
            nodes.extend(node.children.iter().map(|(path, child)| (path.as_str(), child)));
            unseen.extend(node.children.values());
        }
        nodes
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
                let paths = self.ephemerals.remove(&entry.session).unwrap_or_default();
                paths.iter().for_each(|path| self.delete(path));
                paths.into_iter().map(|path| (path, EventKind::Deleted)).collect()
            }
            Transaction::Error(_) => Vec::new(),
        }
    }

    fn create(&mut self, path: &Path, czxid: Zxid, ephemeral_owner: i64, cversion: i32) {
        if let Some(parent) = self.get_mut(parent(path)) {
            parent.children.insert(path.clone(), Node { czxid, ephemeral_owner, ..Node::default() });
            // The manual says that the counter wraps around. The server's code does not let it: a lower count is taken
            // for an old one, so that after 2^31 children the last number is given again and again.
            parent.cversion = parent.cversion.max(cversion);
        }
        if ephemeral_owner != 0 {
            self.ephemerals.entry(ephemeral_owner).or_default().insert(path.clone());
        }
    }

    fn delete(&mut self, path: &Path) {
        let Some(node) = self.get_mut(parent(path)).and_then(|parent| parent.children.remove(path)) else { return };
        if let Some(paths) = self.ephemerals.get_mut(&node.ephemeral_owner) {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&node.ephemeral_owner);
            }
        }
    }
}

/// The paths of what leads to a znode, from below the root down to itself.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let below = if path == "/" { "" } else { path };
    let ends = below.match_indices('/').map(|(slash, _)| slash).filter(|slash| *slash > 0);
    ends.chain((!below.is_empty()).then_some(below.len())).map(|end| &below[..end])
}

/// The path of a znode's parent.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => "",
    }
}
