//! What there is to draw and to count in one history: operations with both their ends, accesses as the resource saw
//! them, fault strikes from application to healing.
//!
//! Pairs and orders ops, so that pictures and tables need not. Which accesses are stale the checks say; here they are
//! marked, to be coloured. Deliberately absent: verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::patterns::Patterns;
use crate::check;
use crate::fault::FaultName;
use crate::history::server::{Ballot, Contender, LeaseEnd, Session, SessionEnd, Vote};
use crate::history::{F, History, Hold, Op, OpType, Process, ServerRecord, Strike, Strikes};
use crate::ids::{ClientId, NodeId};
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

/// What bands of faults are told apart by: charts and timelines have a colour for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// A pause.
    Pause,
    /// A partition.
    Partition,
    /// Any other fault.
    Other,
}

impl Colour {
    /// The class that the page's style sheet has for it.
    pub fn class(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Other => "other-fault",
        }
    }
}

/// What a strike did, in one or two words for a label.
pub(super) fn label(strike: &Strike<'_>) -> String {
    match strike.event.kind.known() {
        Some(FaultName::Pause) => "paused".to_owned(),
        Some(FaultName::Partition) => "cut off".to_owned(),
        _ => strike.event.kind.to_string(),
    }
}

/// What a strike's band is coloured as.
pub(super) fn colour(strike: &Strike<'_>) -> Colour {
    match strike.event.kind.known() {
        Some(FaultName::Pause) => Colour::Pause,
        Some(FaultName::Partition) => Colour::Partition,
        _ => Colour::Other,
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
    /// A znode or a key that contends.
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
                let with = contender.lives_with();
                let end = if contender.with_session { format!(", gone with its {with}") } else { String::new() };
                format!("{node} shows of {client} the {}: {} – {}{end}", contender.told(), self.from, self.to)
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
    /// The sessions of an ensemble, or the leases of a cluster.
    pub sessions: Vec<&'a Session>,
    /// Everyone who has a lane.
    pub clients: Vec<ClientId>,
    /// When the history ends.
    pub end: Nanos,
    /// What the hover texts of its pictures are made of.
    pub patterns: Patterns,
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
            served: served(history),
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
            patterns: Patterns::default(),
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
            ServerRecord::Session(_) | ServerRecord::Reign(_) => {}
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

/// The accesses that reached the resource; which are stale says the check.
fn served(history: &History) -> Vec<Served<'_>> {
    let stale = check::stale_accesses(history);
    let accesses = history.ops.iter().filter(|op| op.process == Process::Resource && op.kind != OpType::Invoke);
    accesses.map(|op| Served { op, stale: stale.contains(&op.index) }).collect()
}

fn strikes(history: &History) -> Vec<Strike<'_>> {
    let mut strikes = Strikes::default();
    history.ops.iter().filter(|op| matches!(op.f, F::Fault | F::Heal)).for_each(|op| strikes.take(op));
    strikes.all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LockName;
    use crate::report::tests::sample;

    #[test]
    fn a_late_write_of_an_older_hold_is_stale_once_a_newer_one_was_served() {
        let report = sample::report();
        let accepted = Scene::of(&report.locks[0].history);
        assert_eq!(accepted.stale(), (1, 0), "redlock has no token: the stale write is taken");
        let refused = Scene::of(&report.locks[1].history);
        assert_eq!(refused.stale(), (0, 1), "zookeeper's token is lower: the stale write is refused");
    }

    #[test]
    fn what_is_drawn_as_stale_is_what_the_check_counts() {
        let below = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/testdata");
        let files = ["ok", "bad"].into_iter().flat_map(|folder| std::fs::read_dir(below.join(folder)).unwrap());
        let mut compared = 0;
        for path in files.map(|file| file.unwrap().path()) {
            let Ok(history) = crate::history::file::read(&path) else { continue };
            let judgement = check::judge(&history);
            let fencing = judgement.checks.iter().find(|result| result.check == check::CheckName::Fencing);
            let figure = |name| fencing.and_then(|fencing| fencing.figures.get(name)).map(|figure| *figure as usize);
            let Some(counted) = figure("stale-accepted").zip(figure("stale-refused")) else { continue };
            assert_eq!(Scene::of(&history).stale(), counted, "{}", path.display());
            compared += 1;
        }
        assert!(compared > 80, "{compared}");
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
