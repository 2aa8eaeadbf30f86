//! The watches that a client waits for, whichever connection will bring their events.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use super::command::{Command, WatchHandle};
use crate::env::sim::zookeeper::model::messages::{EventKind, Path};
use crate::lock::backend::WatchEvent;

struct Watcher {
    id: u64,
    /// Whether the znode existed when the watch was set.
    existed: bool,
    fire: oneshot::Sender<WatchEvent>,
}

/// All watches of a session.
pub(super) struct Watchers {
    by_path: BTreeMap<Path, Vec<Watcher>>,
    last_id: u64,
    requests: mpsc::WeakUnboundedSender<Command>,
}

impl Watchers {
    pub fn new(requests: mpsc::WeakUnboundedSender<Command>) -> Self {
        Self { by_path: BTreeMap::new(), last_id: 0, requests }
    }

    /// Adds a watch that the server has set.
    pub fn add(&mut self, path: Path, existed: bool) -> WatchHandle {
        self.last_id += 1;
        let (id, (fire, fired)) = (self.last_id, oneshot::channel());
        self.by_path.entry(path).or_default().push(Watcher { id, existed, fire });
        WatchHandle { id, fired, requests: self.requests.clone() }
    }

    /// An event has come: all watches on the znode fire.
    pub fn fire(&mut self, path: &str, event: EventKind) {
        let event = match event {
            EventKind::Deleted => WatchEvent::Deleted,
            EventKind::Created | EventKind::Changed => WatchEvent::Changed,
        };
        for watcher in self.by_path.remove(path).unwrap_or_default() {
            let _ = watcher.fire.send(event.clone());
        }
    }

    /// The session is over.
    pub fn end(&mut self) {
        for watcher in std::mem::take(&mut self.by_path).into_values().flatten() {
            let _ = watcher.fire.send(WatchEvent::SessionEnded);
        }
    }

    /// Forgets a watch: its path, if no other watch is on it.
    pub fn remove(&mut self, id: u64) -> Option<Path> {
        let of_id = |watchers: &&mut Vec<Watcher>| watchers.iter().any(|watcher| watcher.id == id);
        let watchers = self.by_path.values_mut().find(of_id)?;
        watchers.retain(|watcher| watcher.id != id);
        let path = self.by_path.iter().find(|(_, watchers)| watchers.is_empty()).map(|(path, _)| path.clone())?;
        self.by_path.remove(&path);
        Some(path)
    }

    /// The znodes watched, those that existed and those that did not.
    pub fn paths(&self) -> (Vec<Path>, Vec<Path>) {
        let with = |existed: bool| {
            let has = move |watchers: &Vec<Watcher>| watchers.iter().any(|watcher| watcher.existed == existed);
            self.by_path.iter().filter(|(_, watchers)| has(watchers)).map(|(path, _)| path.clone()).collect()
        };
        (with(true), with(false))
    }
}
