//! What real lock servers had, as far as the answers to one client tell: for the record beside the history.
//!
//! Backends wrap the seam between the algorithms and their servers and look on: requests and answers pass unchanged.
//! Where a server tells nobody when a lease runs out, that is inferred from the time to live, and marked so; a page may
//! correct it by what is known of the node's clock. Deliberately absent: answers that come after the algorithm has
//! ceased to wait for them, and which server of an ensemble answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smol_str::SmolStr;

use crate::history::ServerRecord;
use crate::history::recorder::Record;
use crate::history::server::{Ballot, Contender, LeaseEnd, Seen, Session, SessionEnd, Vote};
use crate::ids::{ClientId, NodeId, OwnerToken};
use crate::time::{BootClock, Clock, Nanos};

/// Where the answers to one client are gathered.
pub struct Answers {
    client: ClientId,
    record: Arc<dyn Record>,
    ballots: Mutex<BTreeMap<(SmolStr, SmolStr), Ballot>>,
}

impl Answers {
    /// Those of `client`, told to `record` as soon as nothing is to be added.
    pub fn new(client: ClientId, record: Arc<dyn Record>) -> Arc<Self> {
        Arc::new(Self { client, record, ballots: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SmolStr, SmolStr), Ballot>> {
        self.ballots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a vote, or the refusal of one.
    pub fn voted(&self, node: NodeId, owner: &OwnerToken, key: &str, ttl: Duration, asked: Nanos, granted: bool) {
        self.tell_what_is_over();
        let mut ballots = self.lock();
        let ballot = ballots.entry((owner.shared(), key.into())).or_insert_with(|| Ballot {
            owner: owner.shared(),
            key: key.into(),
            client: Some(self.client),
            ttl: u64::try_from(ttl.as_nanos()).ok(),
            votes: Vec::new(),
            refused: Vec::new(),
        });
        if granted {
            ballot.votes.push(Vote { asked: Some(asked), ..Vote::new(node, BootClock.now()) });
        } else {
            ballot.refused.push((node, BootClock.now()));
        }
    }

    /// Changes the last vote of a node that has not ended.
    pub fn change(&self, node: NodeId, owner: &OwnerToken, key: &str, change: impl FnOnce(&mut Vote, Nanos)) {
        let mut ballots = self.lock();
        let ballot = ballots.get_mut(&(owner.shared(), key.into()));
        let open = |vote: &&mut Vote| vote.node == node && vote.ended.is_none();
        if let Some(vote) = ballot.and_then(|ballot| ballot.votes.iter_mut().rfind(open)) {
            change(vote, BootClock.now());
        }
    }

    /// Tells what was seen of a contender of the client.
    pub fn contender(&self, path: &str, session: i64, from: Nanos, to: Nanos, with_session: bool) {
        let seen = vec![Seen { node: None, from, to: Some(to) }];
        let (path, client) = (path.into(), Some(self.client));
        self.record.observe(ServerRecord::Contender(Contender {
            path,
            revision: None,
            session,
            client,
            seen,
            with_session,
        }));
    }

    /// Tells of a session of the client that is over.
    pub fn session(&self, session: i64, opened: Nanos, ended: Nanos, by: SessionEnd) {
        let session = Session {
            session,
            client: Some(self.client),
            ttl: None,
            opened,
            ended: Some(ended),
            by: Some(by),
            inferred: true,
            on: Vec::new(),
        };
        self.record.observe(ServerRecord::Session(session));
    }

    /// Tells those whose leases all have ended, or must have.
    fn tell_what_is_over(&self) {
        let now = BootClock.now();
        let mut ballots = self.lock();
        let over = |ballot: &Ballot| {
            let ends = ballot.votes.iter().map(|vote| vote.ended.unwrap_or_else(|| lapse(vote, ballot.ttl)));
            // An answer or two may still be under way.
            ends.chain(ballot.refused.iter().map(|(_, at)| *at)).all(|end| end + Duration::from_secs(1) < now)
        };
        let told: Vec<(SmolStr, SmolStr)> =
            ballots.iter().filter(|(_, ballot)| over(ballot)).map(|(owner, _)| owner.clone()).collect();
        for owner in told {
            if let Some(ballot) = ballots.remove(&owner) {
                self.record.observe(ServerRecord::Ballot(inferred(ballot, now)));
            }
        }
    }

    /// Tells all that is left: the client goes.
    pub fn tell_all(&self) {
        let now = BootClock.now();
        for ballot in std::mem::take(&mut *self.lock()).into_values() {
            self.record.observe(ServerRecord::Ballot(inferred(ballot, now)));
        }
    }
}

/// When a lease runs out by a right clock, counted from the last answer that gave it time.
fn lapse(vote: &Vote, ttl: Option<u64>) -> Nanos {
    let last = vote.extended.last().copied().unwrap_or(vote.at);
    ttl.map_or(Nanos(u64::MAX / 2), |ttl| Nanos(last.0.saturating_add(ttl)))
}

/// The same with the ends that nobody answered.
fn inferred(mut ballot: Ballot, now: Nanos) -> Ballot {
    for vote in ballot.votes.iter_mut().filter(|vote| vote.ended.is_none()) {
        let at = lapse(vote, ballot.ttl);
        if at <= now {
            vote.end(at, LeaseEnd::Expired);
            vote.inferred = true;
        }
    }
    ballot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Op;

    #[derive(Default)]
    struct Heard(Mutex<Vec<ServerRecord>>);

    impl Record for Heard {
        fn record(&self, _: Op) {}

        fn observe(&self, record: ServerRecord) {
            self.0.lock().unwrap().push(record);
        }
    }

    #[test]
    fn what_was_answered_is_told_and_what_nobody_answered_is_marked() {
        let heard = Arc::new(Heard::default());
        let answers = Answers::new(ClientId(2), heard.clone());
        let (owner, ttl) = (OwnerToken::new("o"), Duration::from_secs(1));
        for (node, granted) in [(1, true), (2, true), (3, false)] {
            answers.voted(NodeId(node), &owner, "k", ttl, Nanos(5), granted);
        }
        answers.change(NodeId(1), &owner, "k", |vote, at| vote.end(at, LeaseEnd::Deleted));
        let long_ago = |ballot: &mut Ballot| ballot.votes.iter_mut().for_each(|vote| vote.at = Nanos(7));
        answers.lock().values_mut().for_each(long_ago);
        answers.tell_all();
        let told = heard.0.lock().unwrap();
        let [ServerRecord::Ballot(ballot)] = &told[..] else { panic!("{told:?}") };
        let [one, two] = &ballot.votes[..] else { panic!("{ballot:?}") };
        assert_eq!((one.by, one.inferred), (Some(LeaseEnd::Deleted), false));
        assert_eq!((two.ended, two.by, two.inferred), (Some(Nanos(1_000_000_007)), Some(LeaseEnd::Expired), true));
        assert_eq!((ballot.refused[0].0, ballot.client), (NodeId(3), Some(ClientId(2))));
    }
}
