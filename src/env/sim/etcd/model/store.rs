//! Keys, leases and revisions, as the log makes them: the same at every member that has applied as much of it.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::messages::{Answer, Ask, Listed};

/// What etcd says of a lease that is not there (`rpctypes.ErrGRPCLeaseNotFound`).
pub(super) const NO_LEASE: Answer = Answer::Error(5, "etcdserver: requested lease not found");
/// What it says of one that is there already (`rpctypes.ErrGRPCLeaseExist`).
const LEASE_EXISTS: Answer = Answer::Error(9, "etcdserver: lease already exists");

#[derive(Clone, Debug)]
struct Key {
    created: u64,
    lease: i64,
}

#[derive(Clone, Debug)]
struct Lease {
    seconds: u64,
    keys: BTreeSet<SmolStr>,
}

/// The store of one member.
#[derive(Clone, Debug)]
pub(in crate::env::sim::etcd) struct Store {
    revision: u64,
    keys: BTreeMap<SmolStr, Key>,
    leases: BTreeMap<i64, Lease>,
    /// Each deletion: at which revision, of what.
    deleted: Vec<(u64, SmolStr)>,
}

impl Default for Store {
    /// An empty store is at revision 1.
    fn default() -> Self {
        Self { revision: 1, keys: BTreeMap::new(), leases: BTreeMap::new(), deleted: Vec::new() }
    }
}

impl Store {
    /// Applies an entry of the log: its answer.
    pub fn apply(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Grant { lease, .. } if self.leases.contains_key(lease) => LEASE_EXISTS,
            Ask::Grant { lease, seconds } => {
                self.leases.insert(*lease, Lease { seconds: *seconds, keys: BTreeSet::new() });
                Answer::Granted(*seconds)
            }
            Ask::Revoke { lease } => match self.leases.remove(lease) {
                None => NO_LEASE,
                Some(Lease { keys, .. }) => {
                    // One transaction, whatever is in it.
                    self.revision += u64::from(!keys.is_empty());
                    for key in keys {
                        self.keys.remove(&key);
                        self.deleted.push((self.revision, key));
                    }
                    Answer::Revoked
                }
            },
            Ask::Enter { key, lease } => {
                if !self.keys.contains_key(key) {
                    let Some(owner) = self.leases.get_mut(lease) else { return NO_LEASE };
                    self.revision += 1;
                    owner.keys.insert(key.clone());
                    self.keys.insert(key.clone(), Key { created: self.revision, lease: *lease });
                }
                self.line("")
            }
            Ask::Delete { key } => {
                let Some(Key { lease, .. }) = self.keys.remove(key) else { return Answer::Deleted(false) };
                self.revision += 1;
                self.deleted.push((self.revision, key.clone()));
                if let Some(owner) = self.leases.get_mut(&lease) {
                    owner.keys.remove(key);
                }
                Answer::Deleted(true)
            }
            Ask::Nothing => Answer::Deleted(false),
        }
    }

    /// All keys below a prefix, the one that was created first in front.
    pub fn line(&self, prefix: &str) -> Answer {
        let below = self.keys.range(SmolStr::from(prefix)..).take_while(|(key, _)| key.starts_with(prefix));
        let listed = |(key, of): (&SmolStr, &Key)| Listed { key: key.clone(), created: of.created, lease: of.lease };
        let mut listed: Vec<Listed> = below.map(listed).collect();
        listed.sort_by_key(|listed| listed.created);
        Answer::Line(listed, self.revision)
    }

    /// Whether the key was deleted at revision `from` or later.
    pub fn was_deleted(&self, key: &str, from: u64) -> bool {
        self.deleted.iter().rev().take_while(|(at, _)| *at >= from).any(|(_, deleted)| deleted == key)
    }

    /// How many seconds a lease lasts, if it is there.
    pub fn seconds(&self, lease: i64) -> Option<u64> {
        self.leases.get(&lease).map(|lease| lease.seconds)
    }

    /// All leases with their seconds.
    pub fn leases(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.leases.iter().map(|(id, lease)| (*id, lease.seconds))
    }

    /// At which revision a key was created, if it is there.
    pub fn created(&self, key: &str) -> Option<u64> {
        self.keys.get(key).map(|key| key.created)
    }

    /// All keys with their leases.
    pub fn keys(&self) -> impl Iterator<Item = (&SmolStr, i64)> {
        self.keys.iter().map(|(key, of)| (key, of.lease))
    }
}
