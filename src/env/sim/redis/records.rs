//! What the nodes had for whom, as they had it: the leases, for the record beside the history.
//!
//! It looks on: nothing that it does reaches a server, a random stream or the trace hash. Deliberately absent: counters
//! of fencing tokens.

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::model::{Command, RedisModel, Reply};
use crate::env::sim::engine::clock::HostClock;
use crate::history::ServerRecord;
use crate::history::server::{Ballot, LeaseEnd, Vote};
use crate::ids::{ClientId, NodeId};
use crate::time::Nanos;

/// A lease that a node has.
struct Open {
    ballot: usize,
    vote: usize,
    /// The last millisecond of its life, on the node's wall clock.
    deadline: Option<i64>,
}

/// Where a command came from, and where it was carried out.
pub struct Asked<'a> {
    /// The node.
    pub node: NodeId,
    /// Who asked.
    pub client: Option<ClientId>,
    /// The node's clocks.
    pub clock: &'a HostClock,
    /// True time.
    pub now: u64,
}

/// The record so far. None of its maps' order shows.
#[derive(Default)]
pub struct Records {
    ballots: Vec<Ballot>,
    by_owner: FxHashMap<(SmolStr, SmolStr), usize>,
    open: FxHashMap<(NodeId, SmolStr), Open>,
    /// When each node's clock was last changed.
    changed: FxHashMap<NodeId, u64>,
}

/// The owner that a command would give a key to, and for how long, in milliseconds.
type Wish<'a> = (&'a SmolStr, Option<i64>);

/// The key that a command is about, and what it would make of it.
fn lease(command: &Command) -> Option<(&SmolStr, Option<Wish<'_>>)> {
    match command {
        Command::Set { key, value, px_ms, .. } => Some((key, Some((value, *px_ms)))),
        Command::SetAndCount { key, owner, ttl_ms, .. } | Command::SetAndFence { key, owner, ttl_ms, .. } => {
            Some((key, Some((owner, Some(*ttl_ms)))))
        }
        Command::Del(key)
        | Command::Pexpire(key, _)
        | Command::PexpireAt(key, _)
        | Command::ExtendIfOwner { key, .. }
        | Command::DeleteIfOwner { key, .. }
        | Command::DeleteAndCall { key, .. } => Some((key, None)),
        _ => None,
    }
}

impl Records {
    /// Notes what a node has after it has carried out a command.
    pub fn executed(&mut self, asked: &Asked<'_>, command: &Command, reply: &Reply, model: &RedisModel) {
        let Some((key, wish)) = lease(command) else { return };
        let wall_ms = asked.clock.wall_ms(asked.now);
        let has = model.peek(key);
        let place = (asked.node, key.clone());
        if let Some(open) = self.open.get_mut(&place) {
            let overdue = open.deadline.is_some_and(|deadline| deadline < wall_ms);
            let ballot = &mut self.ballots[open.ballot];
            let ours = has.is_some_and(|entry| entry.value == ballot.owner);
            let vote = &mut ballot.votes[open.vote];
            if ours && !overdue {
                let deadline = has.and_then(|entry| entry.deadline);
                if deadline != open.deadline {
                    open.deadline = deadline;
                    vote.extended.push(Nanos(asked.now));
                }
                if wish.is_none() {
                    return;
                }
            } else {
                let since = vote.at.0.max(self.changed.get(&asked.node).copied().unwrap_or_default());
                let (at, by) = match open.deadline.filter(|_| overdue) {
                    Some(deadline) => (ran_out(asked.clock, deadline, since, asked.now), LeaseEnd::Expired),
                    None if has.is_some() => (asked.now, LeaseEnd::Replaced),
                    None => (asked.now, LeaseEnd::Deleted),
                };
                vote.end(Nanos(at), by);
                vote.clock_error = noted(asked.clock.wall_error(at.max(since)));
                self.open.remove(&place);
            }
        }
        let Some((owner, ttl)) = wish else { return };
        let granted = match reply {
            Reply::Ok | Reply::Bulk(_) => true,
            Reply::Nil => false,
            // A refusal of the request is no vote.
            _ => return,
        };
        let ballots = &mut self.ballots;
        let ballot = *self.by_owner.entry((owner.clone(), key.clone())).or_insert_with(|| {
            let ttl = ttl.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms * 1_000_000);
            let (owner, key) = (owner.clone(), key.clone());
            ballots.push(Ballot { owner, key, client: asked.client, ttl, votes: Vec::new(), refused: Vec::new() });
            ballots.len() - 1
        });
        let Ballot { votes, refused, .. } = &mut self.ballots[ballot];
        if granted {
            votes.push(Vote::new(asked.node, Nanos(asked.now)));
            let deadline = has.and_then(|entry| entry.deadline);
            self.open.insert(place, Open { ballot, vote: votes.len() - 1, deadline });
        } else {
            refused.push((asked.node, Nanos(asked.now)));
        }
    }

    /// Notes what has run out on a node's clock until now, when that clock is about to be changed or nobody looks any
    /// more.
    pub fn settle(&mut self, node: NodeId, clock: &HostClock, now: u64) {
        let wall_ms = clock.wall_ms(now);
        let changed = self.changed.insert(node, now).unwrap_or_default();
        let ballots = &mut self.ballots;
        self.open.retain(|(on, _), open| {
            let overdue = open.deadline.filter(|deadline| *on == node && *deadline < wall_ms);
            if let Some(deadline) = overdue {
                let vote = &mut ballots[open.ballot].votes[open.vote];
                let since = vote.at.0.max(changed);
                let at = ran_out(clock, deadline, since, now);
                vote.end(Nanos(at), LeaseEnd::Expired);
                vote.clock_error = noted(clock.wall_error(at.max(since)));
            }
            overdue.is_none()
        });
    }

    /// Notes which leases a node has lost by dying.
    pub fn crashed(&mut self, node: NodeId, now: u64, model: &RedisModel) {
        let ballots = &mut self.ballots;
        self.open.retain(|(on, key), open| {
            let ballot = &mut ballots[open.ballot];
            let kept = *on != node || model.peek(key).is_some_and(|entry| entry.value == ballot.owner);
            if !kept {
                ballot.votes[open.vote].end(Nanos(now), LeaseEnd::Forgotten);
            }
            kept
        });
    }

    /// All of it, when the trial is over. Instants are in true time.
    pub fn take(&mut self) -> Vec<ServerRecord> {
        std::mem::take(self).ballots.into_iter().map(ServerRecord::Ballot).collect()
    }
}

/// An error of a clock that is worth a note: any less is an ordinary clock's.
fn noted(error: i64) -> i64 {
    if error.unsigned_abs() < 1_000_000 { 0 } else { error }
}

/// The first instant from `since` on, in true time, at which the wall clock was past `deadline`; it is by `now`, and
/// nobody has touched the clock in between.
fn ran_out(clock: &HostClock, deadline: i64, since: u64, now: u64) -> u64 {
    let (mut early, mut late) = (since.min(now), now);
    while early < late {
        let middle = early + (late - early) / 2;
        if clock.wall_ms(middle) > deadline {
            late = middle;
        } else {
            early = middle + 1;
        }
    }
    late
}

#[cfg(test)]
mod tests {
    use super::super::model::Persistence;
    use super::*;
    use crate::fault::ClockChange;

    const MS: u64 = 1_000_000;

    struct Node {
        model: RedisModel,
        clock: HostClock,
        records: Records,
    }

    impl Node {
        fn new() -> Self {
            let model = RedisModel::new(Persistence::None);
            Self { model, clock: HostClock::new(Nanos(0), 0), records: Records::default() }
        }

        fn ask(&mut self, now: u64, command: &Command) -> Reply {
            let reply = self.model.execute(self.clock.wall_ms(now), self.clock.mono(now), command);
            let asked = Asked { node: NodeId(1), client: Some(ClientId(2)), clock: &self.clock, now };
            self.records.executed(&asked, command, &reply, &self.model);
            reply
        }

        fn set(&mut self, now: u64, owner: &str) {
            let command = Command::Set { key: "k".into(), value: owner.into(), if_absent: true, px_ms: Some(100) };
            self.ask(now, &command);
        }

        fn ballots(mut self, now: u64) -> Vec<Ballot> {
            self.records.settle(NodeId(1), &self.clock, now);
            let told = self.records.take().into_iter().filter_map(|record| match record {
                ServerRecord::Ballot(ballot) => Some(ballot),
                _ => None,
            });
            told.collect()
        }
    }

    #[test]
    fn a_lease_is_told_as_the_node_had_it() {
        let mut node = Node::new();
        node.set(10 * MS, "a");
        node.set(20 * MS, "b");
        node.ask(30 * MS, &Command::ExtendIfOwner { key: "k".into(), owner: "a".into(), ttl_ms: 100 });
        node.ask(40 * MS, &Command::DeleteIfOwner { key: "k".into(), owner: "b".into() });
        node.ask(50 * MS, &Command::DeleteIfOwner { key: "k".into(), owner: "a".into() });
        let ballots = node.ballots(60 * MS);
        let [a, b] = &ballots[..] else { panic!("{ballots:?}") };
        assert_eq!(
            (a.ttl, a.client, a.votes[0].extended.clone()),
            (Some(100 * MS), Some(ClientId(2)), vec![Nanos(30 * MS)])
        );
        assert_eq!((a.votes[0].ended, a.votes[0].by), (Some(Nanos(50 * MS)), Some(LeaseEnd::Deleted)));
        assert_eq!((b.votes.len(), &b.refused[..]), (0, &[(NodeId(1), Nanos(20 * MS))][..]));
    }

    #[test]
    fn a_lease_runs_out_on_the_node_s_own_clock_whoever_looks_and_when() {
        // By itself: in the millisecond behind its last; seen by the next request, or by nobody.
        for next in [Some(300), None] {
            let mut node = Node::new();
            node.set(10 * MS, "a");
            if let Some(next) = next {
                node.set(next * MS, "b");
            }
            let ended = node.ballots(400 * MS)[0].votes[0].clone();
            assert_eq!((ended.ended, ended.by), (Some(Nanos(111 * MS)), Some(LeaseEnd::Expired)));
        }
        // A clock that jumps ends it at the jump; one that is twice as fast, in half the time.
        let mut jumped = Node::new();
        jumped.set(10 * MS, "a");
        jumped.records.settle(NodeId(1), &jumped.clock, 50 * MS);
        jumped.clock.change(1, &ClockChange::Jump { by_ns: 90 * MS as i64 }, 50 * MS);
        jumped.set(60 * MS, "b");
        let vote = jumped.ballots(70 * MS)[0].votes[0].clone();
        assert_eq!((vote.ended, vote.clock_error), (Some(Nanos(50 * MS)), 90 * MS as i64));
        let mut fast = Node::new();
        fast.records.settle(NodeId(1), &fast.clock, 0);
        fast.clock.change(1, &ClockChange::Drift { ppm: 1_000_000 }, 0);
        fast.set(10 * MS, "a");
        let ended = fast.ballots(200 * MS)[0].votes[0].ended.unwrap().0;
        assert!((60 * MS..61 * MS).contains(&ended), "{ended}");
    }

    #[test]
    fn a_node_that_dies_without_a_disk_forgets() {
        let mut node = Node::new();
        node.set(10 * MS, "a");
        node.model.crash();
        node.records.crashed(NodeId(1), 20 * MS, &node.model);
        let vote = node.ballots(30 * MS)[0].votes[0].clone();
        assert_eq!((vote.ended, vote.by), (Some(Nanos(20 * MS)), Some(LeaseEnd::Forgotten)));
    }
}
