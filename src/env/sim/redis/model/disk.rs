//! What a Redis node would find again after a crash: the append-only file, as far as it reached the disk.
//!
//! A killed process loses nothing that it wrote to the file, because the kernel's page cache outlives it; a power loss
//! takes what no fsync had covered. Deliberately absent: the file's format, its rewriting, and RDB snapshots.

use std::collections::VecDeque;

use smol_str::SmolStr;

use super::entry::{Entry, Keys};
use crate::scenario::Persistence;
use crate::time::Nanos;

/// How often an `everysec` server calls fsync.
const FSYNC_EVERY_NANOS: u64 = 1_000_000_000;

/// A change of the keys, as the append-only file records it: deadlines are absolute.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(SmolStr, Entry),
    Delete(SmolStr),
    Clear,
}

impl Change {
    pub(super) fn apply(self, keys: &mut Keys) {
        match self {
            Self::Put(key, entry) => drop(keys.insert(key, entry)),
            Self::Delete(key) => drop(keys.remove(&key)),
            Self::Clear => keys.clear(),
        }
    }
}

/// The append-only file of one node.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub persistence: Persistence,
    /// The keys as of the last fsync. Kept for `everysec` only: with `always` they are the node's own.
    synced: Keys,
    /// What was written since, with the node's monotonic time, oldest first.
    cached: VecDeque<(Nanos, Change)>,
}

impl Disk {
    pub fn new(persistence: Persistence) -> Self {
        Self { persistence, synced: Keys::default(), cached: VecDeque::new() }
    }

    /// Records a change made at `mono`. `change` is only asked for if anything hangs on it.
    pub fn write(&mut self, mono: Nanos, change: impl FnOnce() -> Change) {
        if self.persistence == Persistence::Everysec {
            self.sync(mono);
            self.cached.push_back((mono, change()));
        }
    }

    /// Loses what no fsync had covered at `mono`.
    pub fn power_loss(&mut self, mono: Nanos, keys: &mut Keys) {
        if self.persistence == Persistence::Everysec {
            self.sync(mono);
            self.cached.clear();
            keys.clone_from(&self.synced);
        }
    }

    /// Carries out the fsyncs due by `mono`. Each covers what was written before it began.
    fn sync(&mut self, mono: Nanos) {
        let last = Nanos(mono.0 / FSYNC_EVERY_NANOS * FSYNC_EVERY_NANOS);
        while self.cached.front().is_some_and(|(written, _)| *written < last) {
            if let Some((_, change)) = self.cached.pop_front() {
                change.apply(&mut self.synced);
            }
        }
    }
}
