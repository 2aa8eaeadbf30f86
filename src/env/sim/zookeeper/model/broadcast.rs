//! What a serving leader does with requests: orders every change, proposes it, commits what a majority has.

use super::leader::Leader;
use super::local::Local;
use super::messages::{Change, Refusal, Zxid};
use super::peers::{Entry, Forward, ToFollower, Transaction};
use super::prepare::prepare;
use crate::ids::NodeId;

impl Leader {
    /// Begins to serve: all that is in the log is committed, as a majority has it.
    pub(super) fn serve(&mut self, local: &mut Local) {
        self.committed = local.disk.last();
        local.replica.apply_to(self.committed, local.disk, local.out);
        self.prepared = local.replica.tree.clone();
        // Every session gets its whole time anew: nobody knows what the last leader had heard.
        for (session, timeout) in local.replica.tree.sessions() {
            self.tracker.track(local.now, *session, *timeout);
        }
    }

    /// Takes a request that came by way of `server`, maybe ourselves.
    pub(super) fn submit(&mut self, server: NodeId, forward: Forward, local: &mut Local) {
        match forward {
            Forward::OpenSession { session, timeout } => {
                self.tracker.track(local.now, session, timeout);
                self.tracker.set_server(session, server);
                self.propose(session, 0, Transaction::OpenSession { timeout }, local);
            }
            Forward::Revalidate { session, timeout } => {
                let alive = self.tracker.touch(local.now, session, timeout);
                self.tracker.set_server(session, server);
                match server == local.id {
                    true => local.replica.clients.revalidated(session, alive, &local.replica.tree, local.out),
                    false => self.send(server, ToFollower::Revalidated { session, alive }, local),
                }
            }
            Forward::Change { session, xid, change } => {
                // An end needs no right: expiry asks for it, too.
                let transaction = if change == Change::CloseSession {
                    self.tracker.close(session);
                    Transaction::CloseSession
                } else {
                    match self.tracker.check(session, server) {
                        Ok(()) => prepare(&self.prepared, session, change),
                        Err(refusal) => Transaction::Error(refusal),
                    }
                };
                self.propose(session, xid, transaction, local);
            }
            // Nothing is checked here, not even that a majority still follows: so it is with real servers.
            Forward::Sync { session, xid } if self.committed == local.disk.last() => {
                self.send(server, ToFollower::Synced { session, xid }, local);
            }
            Forward::Sync { session, xid } => self.syncs.push_back((local.disk.last(), server, session, xid)),
        }
    }

    fn propose(&mut self, session: i64, xid: i32, transaction: Transaction, local: &mut Local) {
        self.proposed += 1;
        let entry = Entry { zxid: Zxid::new(self.epoch, self.proposed), session, xid, transaction };
        self.prepared.apply(&entry);
        local.disk.append(entry.clone());
        self.broadcast(&ToFollower::Proposal(entry), local);
        self.commit(local);
    }

    /// Commits what a majority has.
    pub(super) fn commit(&mut self, local: &mut Local) {
        let agreed = self.agreed(local);
        if agreed <= self.committed {
            return;
        }
        let before = std::mem::replace(&mut self.committed, agreed);
        self.broadcast(&ToFollower::Commit(agreed), local);
        for entry in &local.disk.entries()[local.disk.count_to(before)..local.disk.count_to(agreed)] {
            if entry.transaction == Transaction::CloseSession {
                self.tracker.remove(entry.session);
            }
        }
        local.replica.apply_to(agreed, local.disk, local.out);
        while let Some((after, server, session, xid)) = self.syncs.front().copied()
            && after <= agreed
        {
            self.syncs.pop_front();
            self.send(server, ToFollower::Synced { session, xid }, local);
        }
    }

    /// Notes a client's sign of life at this very server: `Err` with what real servers do about a session that is over
    /// (nothing is answered) or has moved away (the connection closes).
    pub(super) fn admit(&mut self, session: i64, timeout: std::time::Duration, local: &Local) -> Result<(), Refusal> {
        match self.tracker.touch(local.now, session, timeout) {
            true => self.tracker.check(session, local.id),
            false => Err(Refusal::SessionExpired),
        }
    }
}
