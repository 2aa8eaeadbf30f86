//! What the servers had for whom, as they had it: sessions and contenders, for the record beside the history.
//!
//! It looks on: nothing that it does reaches a server, a random stream or the trace hash. Deliberately absent: znodes
//! that no session owns.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::model::messages::Zxid;
use super::model::peers::{Entry, Transaction};
use crate::history::ServerRecord;
use crate::history::server::{Contender, Seen, Session, SessionEnd, Stay};
use crate::ids::{ClientId, NodeId};
use crate::time::Nanos;

/// The record so far. None of its maps' order shows.
#[derive(Default)]
pub struct Records {
    sessions: Vec<Session>,
    by_session: FxHashMap<i64, (usize, Vec<usize>)>,
    contenders: Vec<Contender>,
    by_path: FxHashMap<SmolStr, usize>,
    /// The last transaction that each server is known to have applied.
    applied: FxHashMap<NodeId, Zxid>,
}

impl Records {
    /// Notes that a server serves a session on a client's connection.
    pub fn connected(&mut self, session: i64, client: Option<ClientId>, node: NodeId, now: u64) {
        let Some((number, contenders)) = self.by_session.get(&session) else { return };
        let known = &mut self.sessions[*number];
        if known.on.last().is_some_and(|stay| stay.node == node && stay.to.is_none()) {
            return;
        }
        if let Some(stay) = known.on.last_mut().filter(|stay| stay.to.is_none()) {
            stay.to = Some(Nanos(now));
        }
        known.client = known.client.or(client);
        for contender in contenders {
            self.contenders[*contender].client = known.client;
        }
        known.on.push(Stay { node, from: Nanos(now), to: None });
    }

    /// Notes that a server has seen the end of a session's connection.
    pub fn disconnected(&mut self, session: i64, node: NodeId, now: u64) {
        let known = self.by_session.get(&session).map(|(number, _)| &mut self.sessions[*number]);
        if let Some(stay) = known.and_then(|known| known.on.last_mut()).filter(|stay| stay.node == node) {
            stay.to.get_or_insert(Nanos(now));
        }
    }

    /// Notes what a server shows after a transaction. A restarted one goes through its log again, which is nothing new.
    pub fn applied(&mut self, node: NodeId, now: u64, entry: &Entry) {
        let known = self.applied.entry(node).or_insert(Zxid::ZERO);
        if entry.zxid <= *known {
            return;
        }
        *known = entry.zxid;
        let now = Nanos(now);
        match &entry.transaction {
            Transaction::Create { path, ephemeral_owner, .. } if *ephemeral_owner != 0 => {
                let contenders = &mut self.contenders;
                let session = *ephemeral_owner;
                let number = *self.by_path.entry(path.clone()).or_insert_with(|| {
                    let seen = Vec::new();
                    let (path, revision, client) = (path.clone(), None, None);
                    contenders.push(Contender { path, revision, session, client, seen, with_session: false });
                    contenders.len() - 1
                });
                let contender = &mut self.contenders[number];
                contender.seen.push(Seen { node: Some(node), from: now, to: None });
                if let Some((known, of)) = self.by_session.get_mut(&session) {
                    contender.client = self.sessions[*known].client;
                    if of.last() != Some(&number) {
                        of.push(number);
                    }
                }
            }
            Transaction::Delete { path } => {
                if let Some(number) = self.by_path.get(path) {
                    self.contenders[*number].leaves(node, now);
                }
            }
            Transaction::OpenSession { .. } => {
                let sessions = &mut self.sessions;
                self.by_session.entry(entry.session).or_insert_with(|| {
                    let (session, opened) = (entry.session, now);
                    let (client, ended, by, inferred, on) = (None, None, None, false, Vec::new());
                    sessions.push(Session { session, client, ttl: None, opened, ended, by, inferred, on });
                    (sessions.len() - 1, Vec::new())
                });
            }
            Transaction::CloseSession => {
                let Some((number, contenders)) = self.by_session.get(&entry.session) else { return };
                let session = &mut self.sessions[*number];
                if session.ended.is_none() {
                    // What no client asked for, the leader does by itself.
                    let by = if entry.xid == 0 { SessionEnd::Expired } else { SessionEnd::Closed };
                    (session.ended, session.by) = (Some(now), Some(by));
                }
                for contender in contenders {
                    let contender = &mut self.contenders[*contender];
                    contender.with_session |= contender.leaves(node, now);
                }
            }
            _ => {}
        }
    }

    /// All of it, when the trial is over. Instants are in true time.
    pub fn take(&mut self) -> Vec<ServerRecord> {
        let Self { sessions, contenders, .. } = std::mem::take(self);
        let sessions = sessions.into_iter().map(ServerRecord::Session);
        sessions.chain(contenders.into_iter().map(ServerRecord::Contender)).collect()
    }
}

impl Contender {
    /// Whether it was on the server until now.
    fn leaves(&mut self, node: NodeId, now: Nanos) -> bool {
        let there = self.seen.iter_mut().rfind(|seen| seen.node == Some(node) && seen.to.is_none());
        there.map(|seen| seen.to = Some(now)).is_some()
    }
}
