//! What real lock servers had, as far as the answers to one client tell: for the record beside the history.
//!
//! Wraps the seam between the algorithms and the servers and looks on: requests and answers pass unchanged. Where a
//! server tells nobody when a lease runs out, that is inferred from the time to live, and marked so; a page may correct
//! it by what is known of the node's clock. Deliberately absent: answers that come after the algorithm has ceased to
//! wait for them, and which server of an ensemble answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use smol_str::SmolStr;
use tokio::sync::watch;

use crate::history::ServerRecord;
use crate::history::recorder::Record;
use crate::history::server::{Ballot, Contender, LeaseEnd, Seen, Session, SessionEnd, Vote};
use crate::ids::{ClientId, FencingToken, NodeId, OwnerToken};
use crate::lock::backend::{
    Heard, Ownership, RedisNode, Reply, SessionState, Share, Watch, ZkConnector, ZkSession, Znode,
};
use crate::lock::error::{NodeError, NodeOutcome, ZkError};
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

    fn voted(&self, node: NodeId, owner: &OwnerToken, key: &str, ttl: Duration, asked: Nanos, granted: bool) {
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

    fn change(&self, node: NodeId, owner: &OwnerToken, key: &str, change: impl FnOnce(&mut Vote, Nanos)) {
        let mut ballots = self.lock();
        let ballot = ballots.get_mut(&(owner.shared(), key.into()));
        let open = |vote: &&mut Vote| vote.node == node && vote.ended.is_none();
        if let Some(vote) = ballot.and_then(|ballot| ballot.votes.iter_mut().rfind(open)) {
            change(vote, BootClock.now());
        }
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

/// A node whose answers are gathered.
pub struct HeardNode {
    node: Arc<dyn RedisNode>,
    number: NodeId,
    answers: Arc<Answers>,
}

impl HeardNode {
    /// The node that the plan numbers so.
    pub fn new(node: Arc<dyn RedisNode>, number: NodeId, answers: &Arc<Answers>) -> Self {
        Self { node, number, answers: Arc::clone(answers) }
    }

    fn heard<T: Send + 'static>(
        &self,
        reply: Reply<T, NodeError>,
        told: impl FnOnce(&Answers, NodeId, &T) + Send + 'static,
    ) -> Reply<T, NodeError> {
        let (answers, number) = (Arc::clone(&self.answers), self.number);
        async move {
            let answer = reply.await;
            if let Ok(answer) = &answer {
                told(&answers, number, answer);
            }
            answer
        }
        .boxed()
    }

    fn vote<T: Send + 'static>(
        &self,
        reply: Reply<T, NodeError>,
        (owner, key, ttl): (&OwnerToken, &str, Duration),
        granted: fn(&T) -> bool,
    ) -> Reply<T, NodeError> {
        let (owner, key, asked): (_, SmolStr, _) = (owner.clone(), key.into(), BootClock.now());
        self.heard(reply, move |answers, node, answer| answers.voted(node, &owner, &key, ttl, asked, granted(answer)))
    }

    fn owned(
        &self,
        reply: Reply<Ownership, NodeError>,
        (owner, key): (&OwnerToken, &str),
        change: fn(&mut Vote, Nanos),
    ) -> Reply<Ownership, NodeError> {
        let (owner, key): (_, SmolStr) = (owner.clone(), key.into());
        self.heard(reply, move |answers, node, answer| match answer {
            Ownership::Ours => answers.change(node, &owner, &key, change),
            // It was gone before: when, nobody knows but the node.
            Ownership::Absent | Ownership::Theirs => {}
        })
    }
}

impl RedisNode for HeardNode {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn set_if_absent(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<bool, NodeError> {
        self.vote(self.node.set_if_absent(key, owner, ttl), (owner, key, ttl), |set| *set)
    }

    fn set_and_count(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.vote(self.node.set_and_count(key, counter, owner, ttl), (owner, key, ttl), Option::is_some)
    }

    fn set_and_fence(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.vote(self.node.set_and_fence(key, counter, owner, ttl), (owner, key, ttl), Option::is_some)
    }

    fn raise_if_owner(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        token: FencingToken,
    ) -> Reply<bool, NodeError> {
        self.node.raise_if_owner(key, counter, owner, token)
    }

    fn extend_if_owner(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<Ownership, NodeError> {
        self.owned(self.node.extend_if_owner(key, owner, ttl), (owner, key), |vote, at| vote.extended.push(at))
    }

    fn delete_if_owner(&self, key: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        self.owned(self.node.delete_if_owner(key, owner), (owner, key), |vote, at| vote.end(at, LeaseEnd::Deleted))
    }

    fn delete_and_call(&self, key: &str, line: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        let deleting = self.node.delete_and_call(key, line, owner);
        self.owned(deleting, (owner, key), |vote, at| vote.end(at, LeaseEnd::Deleted))
    }

    fn stand_in_line(
        &self,
        key: &str,
        line: &str,
        place: &str,
        front: bool,
        patience: Duration,
    ) -> Reply<Option<Duration>, NodeError> {
        self.node.stand_in_line(key, line, place, front, patience)
    }

    fn leave_line(&self, key: &str, line: &str, place: &str) -> Reply<(), NodeError> {
        self.node.leave_line(key, line, place)
    }

    fn listen(&self, channel: &str) -> Reply<Heard, NodeError> {
        self.node.listen(channel)
    }

    fn take_share(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
        share: Share,
    ) -> Reply<Option<FencingToken>, NodeError> {
        self.vote(self.node.take_share(key, counter, owner, ttl, share), (owner, key, ttl), Option::is_some)
    }

    fn extend_share(&self, key: &str, owner: &OwnerToken, ttl: Duration, share: Share) -> Reply<Ownership, NodeError> {
        self.owned(self.node.extend_share(key, owner, ttl, share), (owner, key), |vote, at| vote.extended.push(at))
    }

    fn return_share(&self, key: &str, owner: &OwnerToken, share: Share) -> Reply<Ownership, NodeError> {
        let returning = self.node.return_share(key, owner, share);
        self.owned(returning, (owner, key), |vote, at| vote.end(at, LeaseEnd::Deleted))
    }
}

/// An ensemble whose answers are gathered.
pub struct HeardEnsemble {
    ensemble: Arc<dyn ZkConnector>,
    answers: Arc<Answers>,
}

impl HeardEnsemble {
    /// That ensemble.
    pub fn new(ensemble: Arc<dyn ZkConnector>, answers: &Arc<Answers>) -> Self {
        Self { ensemble, answers: Arc::clone(answers) }
    }
}

impl ZkConnector for HeardEnsemble {
    fn connect(&self) -> Reply<Arc<dyn ZkSession>, ZkError> {
        let (connecting, answers) = (self.ensemble.connect(), Arc::clone(&self.answers));
        async move {
            let session = connecting.await?;
            let opened = BootClock.now();
            let heard = HeardSession { session, answers, opened, contenders: Arc::default() };
            Ok(Arc::new(heard) as Arc<dyn ZkSession>)
        }
        .boxed()
    }

    fn look(&self) -> Vec<(String, BoxFuture<'static, NodeOutcome>)> {
        self.ensemble.look()
    }
}

/// A session whose answers are gathered. It is told of when its last handle goes.
struct HeardSession {
    session: Arc<dyn ZkSession>,
    answers: Arc<Answers>,
    opened: Nanos,
    /// Those that were created and not deleted, and since when.
    contenders: Arc<Mutex<BTreeMap<String, Nanos>>>,
}

fn contenders(known: &Mutex<BTreeMap<String, Nanos>>) -> MutexGuard<'_, BTreeMap<String, Nanos>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answers {
    fn contender(&self, path: &str, session: i64, from: Nanos, to: Nanos, with_session: bool) {
        let seen = vec![Seen { node: None, from, to: Some(to) }];
        let (path, client) = (path.into(), Some(self.client));
        self.record.observe(ServerRecord::Contender(Contender { path, session, client, seen, with_session }));
    }
}

impl ZkSession for HeardSession {
    fn id(&self) -> i64 {
        self.session.id()
    }

    fn timeout(&self) -> Duration {
        self.session.timeout()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.session.state()
    }

    fn create_parents(&self, path: &str) -> Reply<(), ZkError> {
        self.session.create_parents(path)
    }

    fn create_contender(&self, prefix: &str) -> Reply<(String, Znode), ZkError> {
        let (creating, known) = (self.session.create_contender(prefix), Arc::clone(&self.contenders));
        async move {
            let created = creating.await;
            if let Ok((path, _)) = &created {
                contenders(&known).insert(path.clone(), BootClock.now());
            }
            created
        }
        .boxed()
    }

    fn children(&self, path: &str) -> Reply<Vec<String>, ZkError> {
        self.session.children(path)
    }

    fn stat(&self, path: &str) -> Reply<Option<Znode>, ZkError> {
        self.session.stat(path)
    }

    fn watch(&self, path: &str) -> Reply<Option<Watch>, ZkError> {
        self.session.watch(path)
    }

    fn delete(&self, path: &str) -> Reply<(), ZkError> {
        let (deleting, known) = (self.session.delete(path), Arc::clone(&self.contenders));
        let (path, id, answers) = (path.to_owned(), self.session.id(), Arc::clone(&self.answers));
        async move {
            let deleted = deleting.await;
            if deleted.is_ok()
                && let Some(from) = contenders(&known).remove(&path)
            {
                answers.contender(&path, id, from, BootClock.now(), false);
            }
            deleted
        }
        .boxed()
    }

    fn sync(&self, path: &str) -> Reply<(), ZkError> {
        self.session.sync(path)
    }
}

impl Drop for HeardSession {
    fn drop(&mut self) {
        let (id, ended) = (self.session.id(), BootClock.now());
        let by = match &*self.session.state().borrow() {
            SessionState::Ended(_) => SessionEnd::Expired,
            SessionState::Connected | SessionState::Disconnected => SessionEnd::Closed,
        };
        for (path, from) in std::mem::take(&mut *contenders(&self.contenders)) {
            self.answers.contender(&path, id, from, ended, true);
        }
        let session = Session {
            session: id,
            client: Some(self.answers.client),
            opened: self.opened,
            ended: Some(ended),
            by: Some(by),
            inferred: true,
            on: Vec::new(),
        };
        self.answers.record.observe(ServerRecord::Session(session));
    }
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
