//! The one-shot watches of one server: who is told what becomes of which znode.
//!
//! A connection has at most one watch per znode, however often it was set. Watches live with the connection, not with
//! the session: a client sets them again when it comes back. Deliberately absent: watches on children and on data,
//! which no lock here sets.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::messages::{ConnectionId, Path};

/// The watches of one server. Who watches what are a few at most: lists in order do for sets.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches {
    by_path: FxHashMap<Path, Vec<ConnectionId>>,
    by_connection: FxHashMap<ConnectionId, Vec<Path>>,
}

impl Watches {
    pub fn set(&mut self, connection: ConnectionId, path: &Path) {
        let watchers = self.by_path.entry(path.clone()).or_default();
        if let Err(place) = watchers.binary_search(&connection) {
            watchers.insert(place, connection);
            self.by_connection.entry(connection).or_default().push(path.clone());
        }
    }

    pub fn remove(&mut self, connection: ConnectionId, path: &Path) {
        remove(&mut self.by_path, path, &connection);
        remove(&mut self.by_connection, &connection, path);
    }

    /// Takes the watches on `path` off: who had one, in order.
    pub fn fire(&mut self, path: &Path) -> Vec<ConnectionId> {
        let watchers = self.by_path.remove(path).unwrap_or_default();
        for watcher in &watchers {
            remove(&mut self.by_connection, watcher, path);
        }
        watchers
    }

    /// Forgets a connection's watches.
    pub fn forget(&mut self, connection: ConnectionId) {
        for path in self.by_connection.remove(&connection).unwrap_or_default() {
            remove(&mut self.by_path, &path, &connection);
        }
    }
}

/// Takes `value` out of the list at `key`, and the list with it if it was the last.
fn remove<K: Eq + Hash, V: PartialEq>(lists: &mut FxHashMap<K, Vec<V>>, key: &K, value: &V) {
    if let Some(list) = lists.get_mut(key) {
        list.retain(|known| known != value);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}
