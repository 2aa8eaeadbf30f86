//! What survives a crash: the log of transactions and the two epochs of Zab.
//!
//! Every write is on disk when it returns (`forceSync=yes`, the default), so losing power loses nothing more than a
//! crash does. Deliberately absent: snapshots, and the time that writing takes.

use super::messages::Zxid;
use super::peers::Entry;

/// A server's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    entries: Vec<Entry>,
    /// The last epoch that this server has promised to follow.
    pub accepted_epoch: u32,
    /// The last epoch whose history this server has taken over.
    pub current_epoch: u32,
    /// How often the process was started. Real servers take the time of day instead, for the same end: names that are
    /// not used twice.
    pub starts: u32,
}

impl Disk {
    /// The last transaction.
    pub fn last(&self) -> Zxid {
        self.entries.last().map_or(Zxid::ZERO, |entry| entry.zxid)
    }

    /// The transaction at `index`.
    pub fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// How many transactions there are up to and including `zxid`, which mostly is one of the last.
    pub fn count_to(&self, zxid: Zxid) -> usize {
        let (mut reach, count) = (1, self.entries.len());
        while reach < count && self.entries[count - reach].zxid > zxid {
            reach *= 2;
        }
        let skipped = count.saturating_sub(reach);
        skipped + self.entries[skipped..].partition_point(|entry| entry.zxid <= zxid)
    }

    /// Adds a transaction.
    pub fn append(&mut self, entry: Entry) {
        debug_assert!(entry.zxid > self.last());
        self.entries.push(entry);
    }

    /// The last transaction at or before `zxid`, and all that follow it.
    ///
    /// A zxid names the same transaction in every log, and a log that has one has all that its leader had before it. So
    /// this is where the log of a server that ends with `zxid` and ours part.
    pub fn since(&self, zxid: Zxid) -> (Zxid, Vec<Entry>) {
        let count = self.count_to(zxid);
        let keep = count.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(Zxid::ZERO, |entry| entry.zxid);
        (keep, self.entries[count..].to_vec())
    }

    /// Forgets what comes after `zxid`. `false`, and nothing done, if `zxid` is not in the log.
    pub fn keep(&mut self, zxid: Zxid) -> bool {
        let count = self.count_to(zxid);
        let found = zxid == Zxid::ZERO || self.entries[..count].last().is_some_and(|entry| entry.zxid == zxid);
        if found {
            self.entries.truncate(count);
        }
        found
    }

    /// All transactions.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}
