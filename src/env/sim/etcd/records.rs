//! What the cluster had for whom, as it had it: leases, the keys that live with them, who led; for the record beside
//! the history.
//!
//! It looks on: nothing that it does reaches a member, a random stream or the trace hash. Deliberately absent: keys
//! that contend for nothing, of which a lock over etcd has none, and when a lease was kept alive.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::model::Ask;
use super::model::messages::{Answer, Entry};
use super::model::store::Store;
use crate::history::ServerRecord;
use crate::history::server::{Contender, Reign, Seen, Session, SessionEnd};
use crate::ids::{ClientId, NodeId};
use crate::time::Nanos;

/// What an entry of the log did to the keys of contenders, by their numbers.
#[derive(Clone, Debug)]
enum Change {
    /// Nothing.
    None,
    /// It created this one's.
    Created(usize),
    /// It deleted these, which went with their lease or alone.
    Deleted(Vec<usize>, bool),
}

/// The record so far. None of its maps' order shows.
#[derive(Default)]
pub struct Records {
    /// A store that has applied whatever any member has.
    store: Store,
    /// What each entry of the log changed.
    changes: Vec<Change>,
    /// How many entries each member is known to have applied, ever.
    applied: FxHashMap<NodeId, usize>,
    /// Who asked for which lease.
    clients: FxHashMap<i64, ClientId>,
    leases: Vec<Session>,
    /// Those that are there: their numbers, and those of the keys that live with them.
    by_lease: FxHashMap<i64, (usize, Vec<usize>)>,
    contenders: Vec<Contender>,
    /// The contenders whose keys are there.
    by_key: FxHashMap<SmolStr, usize>,
    reigns: Vec<Reign>,
}

impl Records {
    /// Notes that a client has asked for a lease.
    pub fn asked(&mut self, lease: i64, client: ClientId) {
        self.clients.insert(lease, client);
    }

    /// Notes that a member has applied an entry of the log, the one with this index. A restarted one goes through its
    /// log again, which is nothing new.
    pub fn applied(&mut self, node: NodeId, now: u64, index: usize, entry: &Entry) {
        let known = self.applied.entry(node).or_default();
        if index <= *known {
            return;
        }
        *known = index;
        // Whoever applies it first applies it for all: they agree on the log.
        if index > self.changes.len() {
            let change = self.change(Nanos(now), entry);
            self.changes.push(change);
        }
        let now = Nanos(now);
        match &self.changes[index - 1] {
            Change::None => {}
            Change::Created(contender) => {
                self.contenders[*contender].seen.push(Seen { node: Some(node), from: now, to: None });
            }
            Change::Deleted(contenders, with_lease) => {
                for contender in contenders {
                    let contender = &mut self.contenders[*contender];
                    if let Some(there) = contender.seen.iter_mut().rfind(|seen| seen.node == Some(node)) {
                        there.to.get_or_insert(now);
                    }
                    contender.with_session |= *with_lease;
                }
            }
        }
    }

    /// What an entry changes that nobody has applied before.
    fn change(&mut self, now: Nanos, Entry { ask, ticket, .. }: &Entry) -> Change {
        let answer = self.store.apply(ask);
        match (ask, answer) {
            (Ask::Grant { lease, .. }, Answer::Granted(seconds)) => {
                self.by_lease.insert(*lease, (self.leases.len(), Vec::new()));
                let (session, client) = (*lease, self.clients.get(lease).copied());
                let (ttl, ended, by, on) = (Some(seconds.saturating_mul(1_000_000_000)), None, None, Vec::new());
                self.leases.push(Session { session, client, ttl, opened: now, ended, by, inferred: false, on });
                Change::None
            }
            (Ask::Enter { key, lease }, Answer::Line(..)) if !self.by_key.contains_key(key) => {
                let number = self.contenders.len();
                let (session, client) = (*lease, self.clients.get(lease).copied());
                let (path, revision, seen) = (key.clone(), self.store.created(key), Vec::new());
                self.contenders.push(Contender { path, revision, session, client, seen, with_session: false });
                self.by_key.insert(key.clone(), number);
                if let Some((_, keys)) = self.by_lease.get_mut(lease) {
                    keys.push(number);
                }
                Change::Created(number)
            }
            (Ask::Revoke { lease }, Answer::Revoked) => {
                let Some((number, keys)) = self.by_lease.remove(lease) else { return Change::None };
                // What no client asked for, the leader does by itself.
                let by = if ticket.is_none() { SessionEnd::Expired } else { SessionEnd::Closed };
                let lease = &mut self.leases[number];
                (lease.ended, lease.by) = (Some(now), Some(by));
                let there = |number: &usize| self.by_key.remove(&self.contenders[*number].path).is_some();
                // A release, too, revokes the lease; what is told is whether it went by itself.
                Change::Deleted(keys.into_iter().filter(there).collect(), by == SessionEnd::Expired)
            }
            (Ask::Delete { key }, Answer::Deleted(true)) => {
                let gone = self.by_key.remove(key);
                Change::Deleted(gone.into_iter().collect(), false)
            }
            _ => Change::None,
        }
    }

    /// Notes whether a member leads, in which term, as far as it knows.
    pub fn leads(&mut self, node: NodeId, now: u64, term: Option<u64>) {
        let open = self.reigns.iter_mut().rfind(|reign| reign.node == node && reign.to.is_none());
        match (open, term) {
            (Some(reign), Some(term)) if reign.term == term => return,
            (Some(reign), _) => reign.to = Some(Nanos(now)),
            (None, _) => {}
        }
        if let Some(term) = term {
            self.reigns.push(Reign { node, term, from: Nanos(now), to: None });
        }
    }

    /// All of it, when the trial is over. Instants are in true time.
    pub fn take(&mut self) -> Vec<ServerRecord> {
        let Self { leases, contenders, reigns, .. } = std::mem::take(self);
        let leases = leases.into_iter().map(ServerRecord::Session);
        let contenders = contenders.into_iter().map(ServerRecord::Contender);
        leases.chain(contenders).chain(reigns.into_iter().map(ServerRecord::Reign)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::messages::Ticket;
    use super::*;

    fn by_client(ask: Ask) -> Entry {
        Entry { term: 1, ticket: Some(Ticket { member: NodeId(1), life: 1, number: 1 }), ask }
    }

    #[test]
    fn a_key_is_told_as_each_member_had_it_and_goes_with_its_lease() {
        let mut records = Records::default();
        records.asked(7, ClientId(2));
        records.leads(NodeId(1), 5, Some(3));
        let log = [
            by_client(Ask::Grant { lease: 7, seconds: 2 }),
            by_client(Ask::Enter { key: "/l/7".into(), lease: 7 }),
            Entry { term: 1, ticket: None, ask: Ask::Revoke { lease: 7 } },
        ];
        for (node, late) in [(NodeId(1), 0), (NodeId(2), 100)] {
            for (at, entry) in log.iter().enumerate() {
                records.applied(node, 10 * (at as u64 + 1) + late, at + 1, entry);
            }
        }
        // A member that begins anew shows nothing twice.
        records.applied(NodeId(1), 500, 2, &log[1]);
        records.leads(NodeId(1), 600, None);
        let told = records.take();
        let [ServerRecord::Session(lease), ServerRecord::Contender(key), ServerRecord::Reign(reign)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((lease.client, lease.ttl), (Some(ClientId(2)), Some(2_000_000_000)));
        assert_eq!((lease.opened, lease.ended, lease.by), (Nanos(10), Some(Nanos(30)), Some(SessionEnd::Expired)));
        let seen = |node, from, to| Seen { node: Some(NodeId(node)), from: Nanos(from), to: Some(Nanos(to)) };
        assert_eq!((key.client, key.revision, key.with_session), (Some(ClientId(2)), Some(2), true));
        assert_eq!(key.seen, [seen(1, 20, 30), seen(2, 120, 130)]);
        assert_eq!((reign.from, reign.to, reign.term), (Nanos(5), Some(Nanos(600)), 3));
    }

    #[test]
    fn a_client_that_gives_its_lease_back_has_not_lost_it() {
        let mut records = Records::default();
        let log = [
            by_client(Ask::Grant { lease: 7, seconds: 2 }),
            by_client(Ask::Enter { key: "/l/7".into(), lease: 7 }),
            by_client(Ask::Enter { key: "/l/7".into(), lease: 7 }),
            by_client(Ask::Revoke { lease: 7 }),
            by_client(Ask::Revoke { lease: 7 }),
        ];
        log.iter().enumerate().for_each(|(at, entry)| records.applied(NodeId(1), at as u64, at + 1, entry));
        let told = records.take();
        let [ServerRecord::Session(lease), ServerRecord::Contender(key)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((lease.by, key.with_session, key.seen.len()), (Some(SessionEnd::Closed), false, 1));
    }
}
