//! What there is to draw and to count in one history: operations with both their ends, accesses as the resource saw
//! them, fault strikes from application to healing.
//!
//! Pairs and orders ops, so that pictures and tables need not. Deliberately absent: verdicts. An access is marked
//! stale here so that it can be coloured; whether that breaks a guarantee is the checks' to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::history::server::{Ballot, Contender, LeaseEnd, Session, SessionEnd, Vote};
use crate::history::{F, FaultEvent, History, Hold, Op, OpType, Process, ServerRecord};
use crate::ids::{ClientId, HoldId, LockName, NodeId};
use crate::lock_kind::LockKind;
use crate::time::Nanos;

use super::words;

/// One operation of a client from invocation to completion.
pub(super) struct Span<'a> {
    /// Where it starts.
    pub invoke: &'a Op,
    /// Where it completes; absent for one that never did.
    pub completion: Option<&'a Op>,
    /// Whose it is.
    pub client: ClientId,
    /// When it completed, or the end of the history.
    pub to: Nanos,
}

impl Span<'_> {
    /// What is known of it.
    pub fn outcome(&self) -> OpType {
        self.completion.map_or(OpType::Info, |op| op.kind)
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        self.to - self.invoke.time
    }
}

/// One access as the resource served or refused it.
pub(super) struct Served<'a> {
    /// The resource's op.
    pub op: &'a Op,
    /// Whether a hold that was granted later had been served before.
    pub stale: bool,
}

impl Served<'_> {
    /// Whether the resource took it.
    pub fn accepted(&self) -> bool {
        self.op.kind == OpType::Ok
    }
}

/// One strike of a fault, from the order to apply it to its healing.
pub(super) struct Strike<'a> {
    /// What was done, as last reported by the `fault` op.
    pub event: &'a FaultEvent,
    /// The order to apply it.
    pub ordered: &'a Op,
    /// The report that it is applied.
    pub applied: Option<&'a Op>,
    /// The order to heal it.
    pub healing: Option<&'a Op>,
    /// The report that it is healed.
    pub healed: Option<&'a Op>,
}

impl Strike<'_> {
    /// Whether it certainly never took effect.
    pub fn missed(&self) -> bool {
        self.applied.is_some_and(|op| op.kind == OpType::Fail)
    }

    /// From when and until when the struck members may have felt it.
    pub fn felt(&self, end: Nanos) -> (Nanos, Nanos) {
        (self.ordered.time, self.healed.or(self.healing).map_or(end, |op| op.time))
    }

    /// How long it certainly lasted: from the report that it is applied to the order to heal it.
    pub fn lasted(&self) -> Option<Duration> {
        Some(self.healing?.time - self.applied?.time)
    }

    /// What it did, in one or two words for a label.
    pub fn label(&self) -> String {
        match self.event.kind.as_str() {
            "pause" => "paused".to_owned(),
            "partition" => "cut off".to_owned(),
            other => other.to_owned(),
        }
    }

    /// The class that its band is drawn with.
    pub fn class(&self) -> &'static str {
        match self.event.kind.as_str() {
            "pause" => "pause",
            "partition" => "partition",
            _ => "other-fault",
        }
    }
}

/// What a server had for a client, or refused it: drawn on the server's lane.
pub(super) struct Had<'a> {
    /// The server; absent where it is not known which.
    pub node: Option<NodeId>,
    /// For whom.
    pub client: Option<ClientId>,
    /// From when.
    pub from: Nanos,
    /// Until when; that of a refusal is its instant.
    pub to: Nanos,
    /// What it is.
    pub what: Thing<'a>,
}

/// What a server can have.
#[derive(Clone, Copy)]
pub(super) enum Thing<'a> {
    /// A lease.
    Lease(&'a Ballot, &'a Vote),
    /// A refusal: somebody else had it.
    Refusal(&'a Ballot),
    /// A znode that contends.
    Contender(&'a Contender),
}

impl Had<'_> {
    /// Whether it is a lease or a contender, and not a refusal.
    pub fn is_given(&self) -> bool {
        !matches!(self.what, Thing::Refusal(_))
    }

    /// Whether it ended by itself: nobody gave it back.
    pub fn ended_by_itself(&self) -> bool {
        match self.what {
            Thing::Lease(_, vote) => vote.by.is_some_and(|by| by != LeaseEnd::Deleted),
            Thing::Contender(contender) => contender.with_session,
            Thing::Refusal(_) => false,
        }
    }

    /// Everything about it, for a hover text.
    pub fn title(&self) -> String {
        let node = self.node.map_or_else(|| "the ensemble".to_owned(), |node| node.to_string());
        let client = self.client.map_or_else(|| "somebody".to_owned(), |client| client.to_string());
        match self.what {
            Thing::Refusal(ballot) => {
                format!(
                    "{node} refused {client} at {}: somebody else had it. Owner token {}",
                    self.from,
                    short(&ballot.owner)
                )
            }
            Thing::Lease(ballot, vote) => {
                let ttl = ballot.ttl.map_or_else(
                    || " without end".to_owned(),
                    |ttl| format!(" of {}", words::lasting(Duration::from_nanos(ttl))),
                );
                let extended = match &vote.extended[..] {
                    [] => String::new(),
                    [.., last] => {
                        format!(
                            ", extended {}, last at {last}",
                            words::counted(vote.extended.len() as u64, "time", "times")
                        )
                    }
                };
                let ended = match (vote.ended, vote.by) {
                    (Some(at), Some(by)) => format!("; it {} at {at}", by.told()),
                    _ => "; it was there to the end".to_owned(),
                };
                let clock = words::clock_error(vote.clock_error)
                    .map(|wrong| format!(", by a clock {wrong}"))
                    .unwrap_or_default();
                let inferred = if vote.inferred { " (inferred from its time to live)" } else { "" };
                format!(
                    "{node} gave {client} a lease{ttl} at {}{extended}{ended}{clock}{inferred}. Owner token {}",
                    vote.at,
                    short(&ballot.owner)
                )
            }
            Thing::Contender(contender) => {
                let end = if contender.with_session { ", gone with its session" } else { "" };
                format!(
                    "{node} shows the contender {} of {client}, session {:#x}: {} – {}{end}",
                    contender.path, contender.session, self.from, self.to
                )
            }
        }
    }
}

/// Everything of one history, ready to be drawn.
pub(super) struct Scene<'a> {
    /// Where it comes from.
    pub history: &'a History,
    /// The holds, in the order of their grants.
    pub holds: Vec<Hold>,
    /// The clients' operations, in the order of invocation.
    pub spans: Vec<Span<'a>>,
    /// The accesses that reached the resource, in the order in which it served them.
    pub served: Vec<Served<'a>>,
    /// The lost, stall and crash signals.
    pub signals: Vec<&'a Op>,
    /// The fault strikes, in order.
    pub strikes: Vec<Strike<'a>>,
    /// What the servers had, server by server, in the order of time.
    pub had: Vec<Had<'a>>,
    /// The sessions of an ensemble.
    pub sessions: Vec<&'a Session>,
    /// Everyone who has a lane.
    pub clients: Vec<ClientId>,
    /// When the history ends.
    pub end: Nanos,
}

impl<'a> Scene<'a> {
    /// Sorts out a history.
    pub fn of(history: &'a History) -> Self {
        let holds = history.holds();
        // Whoever looks at the servers when all is over waits for that, and a drawing need not.
        let all_over = |op: &&Op| op.f != F::Look;
        let end = history.ops.iter().rfind(all_over).map_or(Nanos::ZERO, |op| op.time);
        // A file may claim any number of clients: no more of them have a lane in vain than there are ops.
        let claimed = history.header.clients.min(u32::try_from(history.ops.len()).unwrap_or(u32::MAX));
        let mut clients: BTreeSet<ClientId> = (1..=claimed).map(ClientId).collect();
        clients.extend(history.ops.iter().filter_map(|op| client_of(op, history)));
        Self {
            spans: spans(history, end),
            served: served(history, &holds),
            signals: history
                .ops
                .iter()
                .filter(|op| matches!(op.f, F::Lost | F::Stall | F::Outside | F::Crash | F::Adapter))
                .collect(),
            strikes: strikes(history),
            had: had(history, end),
            sessions: history
                .servers
                .iter()
                .filter_map(|record| match record {
                    ServerRecord::Session(session) => Some(session),
                    _ => None,
                })
                .collect(),
            clients: clients.into_iter().collect(),
            holds,
            history,
            end,
        }
    }

    /// The op with this index.
    pub fn op(&self, index: u32) -> Option<&'a Op> {
        self.history.ops.get(index as usize)
    }

    /// The acquire attempts, in the order of invocation.
    pub fn acquires(&self) -> impl Iterator<Item = &Span<'a>> {
        self.spans.iter().filter(|span| span.invoke.f == F::Acquire)
    }

    /// How many stale accesses the resource accepted, and how many it refused.
    pub fn stale(&self) -> (usize, usize) {
        let stale = || self.served.iter().filter(|access| access.stale);
        (stale().filter(|access| access.accepted()).count(), stale().filter(|access| !access.accepted()).count())
    }

    /// What the servers had for a hold: of what was asked for in its acquire, the last.
    pub fn had_for(&self, hold: &Hold) -> Vec<&Had<'a>> {
        let of = |span: &&Span<'a>| span.completion.is_some_and(|op| op.index == hold.granted);
        let Some(asked) = self.acquires().find(of).map(|span| span.invoke.time) else { return Vec::new() };
        let begun = |had: &&Had<'a>| {
            had.client == Some(hold.client) && had.is_given() && (asked..=hold.from).contains(&had.from)
        };
        let Some(last) = self.had.iter().filter(begun).max_by_key(|had| had.from) else { return Vec::new() };
        let same = |had: &&Had<'a>| match (had.what, last.what) {
            (Thing::Lease(one, _), Thing::Lease(other, _)) => std::ptr::eq(one, other) && had.from >= asked,
            (Thing::Contender(one), Thing::Contender(other)) => std::ptr::eq(one, other),
            _ => false,
        };
        self.had.iter().filter(same).collect()
    }

    /// The session that a contender lives with, if it was the servers that ended it.
    pub fn expired_session(&self, contender: &Contender) -> Option<&'a Session> {
        let of = |session: &&&Session| session.session == contender.session && session.by == Some(SessionEnd::Expired);
        self.sessions.iter().find(of).copied()
    }

    /// Whether any grant came with a fencing token.
    pub fn gives_tokens(&self) -> bool {
        self.holds.iter().any(|hold| hold.token.is_some())
    }
}

/// What the servers had, by server and time.
fn had(history: &History, end: Nanos) -> Vec<Had<'_>> {
    let mut all: Vec<Had<'_>> = Vec::new();
    for record in &history.servers {
        match record {
            ServerRecord::Ballot(ballot) => {
                all.extend(ballot.votes.iter().map(|vote| {
                    let (node, from, what) = (Some(vote.node), vote.at, Thing::Lease(ballot, vote));
                    Had { node, client: ballot.client, from, to: vote.ended.unwrap_or(end).max(from), what }
                }));
                all.extend(ballot.refused.iter().map(|(node, at)| {
                    let (node, client, what) = (Some(*node), ballot.client, Thing::Refusal(ballot));
                    Had { node, client, from: *at, to: *at, what }
                }));
            }
            ServerRecord::Contender(contender) => all.extend(contender.seen.iter().map(|seen| {
                let (from, to, what) = (seen.from, seen.to.unwrap_or(end), Thing::Contender(contender));
                Had { node: seen.node, client: contender.client, from, to: to.max(from), what }
            })),
            ServerRecord::Session(_) => {}
        }
    }
    all.sort_by_key(|had| (had.node, had.from));
    all
}

/// As much of an owner token as tells it from others.
fn short(owner: &str) -> String {
    const LETTERS: usize = 8;
    let mut letters = owner.chars();
    let short: String = letters.by_ref().take(LETTERS).collect();
    if letters.next().is_some() { short + "…" } else { short }
}

/// How many of a lock's servers must have a lease for it to be had: a majority, or the only one.
fn quorum(nodes: u32) -> usize {
    nodes as usize / 2 + 1
}

/// Of the leases that one hold had, those that ended by themselves before `until`, if so many did that no majority was
/// left; and when that was.
pub(super) fn undone<'b, 'a>(had: &[&'b Had<'a>], nodes: u32, until: Nanos) -> Option<(Nanos, Vec<&'b Had<'a>>)> {
    let mut gone: Vec<&Had<'a>> = had.iter().copied().filter(|had| had.to < until && had.ended_by_itself()).collect();
    gone.sort_by_key(|had| had.to);
    let kept_one_too_few = (had.len() + 1).saturating_sub(quorum(nodes)).max(1);
    let at = gone.get(kept_one_too_few - 1)?.to;
    Some((at, gone))
}

/// The client behind an op, also where the op leaves it out: processes retire by going up by the number of clients.
pub(super) fn client_of(op: &Op, history: &History) -> Option<ClientId> {
    match (op.client, op.process) {
        (Some(client), _) => Some(client),
        (None, Process::Client(number)) if history.header.clients > 0 => {
            Some(ClientId(number.checked_sub(1)? % history.header.clients + 1))
        }
        _ => None,
    }
}

/// Pairs invocations and completions: a process does one thing at a time.
fn spans(history: &History, end: Nanos) -> Vec<Span<'_>> {
    let mut spans: Vec<Span<'_>> = Vec::new();
    let mut pending: BTreeMap<Process, usize> = BTreeMap::new();
    for op in &history.ops {
        if op.f == F::Crash {
            // What a dead client had open is never answered, but nobody waits for it any more.
            if let Some(at) = pending.remove(&op.process) {
                spans[at].to = op.time;
            }
            continue;
        }
        let (Process::Client(_), false, Some(client)) = (op.process, op.is_signal(), client_of(op, history)) else {
            continue;
        };
        if op.kind == OpType::Invoke {
            pending.insert(op.process, spans.len());
            spans.push(Span { invoke: op, completion: None, client, to: end });
        } else if let Some(span) = pending.remove(&op.process).map(|at| &mut spans[at])
            && span.invoke.f == op.f
        {
            span.completion = Some(op);
            span.to = op.time;
        }
    }
    spans
}

/// Marks each access whose hold is older, by the order of grants, than one of the same lock whose access to that item
/// was accepted already. Readers are older than writers only, and the holders of a semaphore than nobody. The
/// resource's ops name a hold, and no lock.
fn served<'a>(history: &'a History, holds: &[Hold]) -> Vec<Served<'a>> {
    let kind = history.header.kind;
    let granted: BTreeMap<&HoldId, &Hold> = holds.iter().map(|hold| (&hold.id, hold)).collect();
    // The newest grant of anybody, and of one that is shared with nobody.
    let mut newest: BTreeMap<(&LockName, Option<u32>), (u32, u32)> = BTreeMap::new();
    let accesses = history.ops.iter().filter(|op| op.process == Process::Resource && op.kind != OpType::Invoke);
    accesses
        .map(|op| {
            let Some(hold) = op.hold.as_ref().and_then(|hold| granted.get(hold)) else {
                return Served { op, stale: false };
            };
            let (newest, alone) = newest.entry((&hold.lock, op.value.map(|value| value.item))).or_default();
            let stale = match kind {
                LockKind::Semaphore { .. } => false,
                LockKind::ReadWrite if hold.shared => hold.granted < *alone,
                _ => hold.granted < *newest,
            };
            if op.kind == OpType::Ok {
                *newest = (*newest).max(hold.granted);
                *alone = if hold.shared { *alone } else { (*alone).max(hold.granted) };
            }
            Served { op, stale }
        })
        .collect()
}

fn strikes(history: &History) -> Vec<Strike<'_>> {
    let mut strikes: Vec<Strike<'_>> = Vec::new();
    let mut places: BTreeMap<u32, usize> = BTreeMap::new();
    for op in history.ops.iter().filter(|op| matches!(op.f, F::Fault | F::Heal)) {
        let Some(event) = &op.fault else { continue };
        let known = places.get(&event.id).map(|place| &mut strikes[*place]);
        match (known, op.f, op.kind) {
            (None, F::Fault, kind) => {
                places.insert(event.id, strikes.len());
                strikes.push(Strike {
                    event,
                    ordered: op,
                    applied: (kind != OpType::Invoke).then_some(op),
                    healing: None,
                    healed: None,
                });
            }
            (Some(strike), F::Fault, _) => {
                strike.event = event;
                strike.applied = Some(op);
            }
            (Some(strike), F::Heal, OpType::Invoke) => strike.healing = Some(op),
            (Some(strike), F::Heal, _) => strike.healed = Some(op),
            _ => {}
        }
    }
    strikes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_late_write_of_an_older_hold_is_stale_once_a_newer_one_was_served() {
        let report = sample::report();
        let accepted = Scene::of(&report.locks[0].history);
        assert_eq!(accepted.stale(), (1, 0), "redlock has no token: the stale write is taken");
        let refused = Scene::of(&report.locks[1].history);
        assert_eq!(refused.stale(), (0, 1), "zookeeper's token is lower: the stale write is refused");
    }

    #[test]
    fn accesses_under_different_locks_are_not_stale_for_each_other() {
        let mut report = sample::report();
        let history = &mut report.locks[0].history;
        let late = history.ops.iter().rfind(|op| op.process == Process::Resource).and_then(|op| op.hold.clone());
        for op in history.ops.iter_mut().filter(|op| op.hold == late && op.lock.is_some()) {
            op.lock = Some(LockName::new("another"));
        }
        let history = History::new(history.header.clone(), history.ops.clone());
        assert_eq!(Scene::of(&history).stale(), (0, 0));
    }

    #[test]
    fn a_strike_is_felt_from_the_order_to_the_healing() {
        let report = sample::report();
        let scene = Scene::of(&report.locks[0].history);
        let [strike] = &scene.strikes[..] else { panic!("one strike") };
        assert_eq!(strike.felt(scene.end), (Nanos(220_000_000), Nanos(2_721_000_000)));
        assert_eq!(strike.lasted(), Some(Duration::from_millis(2_499)));
        assert!(!strike.missed());
    }

    #[test]
    fn a_retired_process_still_belongs_to_its_client() {
        let report = sample::report();
        let history = &report.locks[0].history;
        let op = Op::new(Nanos(1), Process::Client(3 + 2 * history.header.clients), OpType::Invoke, F::Acquire);
        assert_eq!(client_of(&op, history), Some(ClientId(3)));
    }
}
