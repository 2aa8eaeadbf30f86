//! The one-shot watches of one server: who is told what becomes of which znode.
//!
//! A connection has at most one watch per znode, however often it was set. Watches live with the connection, not with
//! the session: a client sets them again when it comes back. Deliberately absent: watches on children and on data,
//! which no lock here sets.

use std::collections::{BTreeMap, BTreeSet};

use super::messages::ConnectionId;

/// The watches of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches {
    by_path: BTreeMap<String, BTreeSet<ConnectionId>>,
    by_connection: BTreeMap<ConnectionId, BTreeSet<String>>,
}

impl Watches {
    pub fn set(&mut self, connection: ConnectionId, path: &str) {
        self.by_path.entry(path.to_owned()).or_default().insert(connection);
        self.by_connection.entry(connection).or_default().insert(path.to_owned());
    }

    pub fn remove(&mut self, connection: ConnectionId, path: &str) {
        remove(&mut self.by_path, path, &connection);
        remove(&mut self.by_connection, &connection, path);
    }

    /// Takes the watches on `path` off: who had one.
    pub fn fire(&mut self, path: &str) -> BTreeSet<ConnectionId> {
        let watchers = self.by_path.remove(path).unwrap_or_default();
        for watcher in &watchers {
            remove(&mut self.by_connection, watcher, path);
        }
        watchers
    }

    /// Forgets a connection's watches.
    pub fn forget(&mut self, connection: ConnectionId) {
        for path in self.by_connection.remove(&connection).unwrap_or_default() {
            remove(&mut self.by_path, path.as_str(), &connection);
        }
    }
}

/// Takes `value` out of the set at `key`, and the set with it if it was the last.
fn remove<K, V, Q, R>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &Q, value: &R)
where
    K: Ord + std::borrow::Borrow<Q>,
    V: Ord + std::borrow::Borrow<R>,
    Q: Ord + ?Sized,
    R: Ord + ?Sized,
{
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
