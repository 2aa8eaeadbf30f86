//! What there is to draw and to count in one history: operations with both their ends, accesses as the resource saw
//! them, fault strikes from application to healing.
//!
//! Pairs and orders ops, so that pictures and tables need not. Deliberately absent: verdicts. An access is marked
//! stale here so that it can be coloured; whether that breaks a guarantee is the checks' to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::history::{F, FaultEvent, History, Hold, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;

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

    /// Whether any grant came with a fencing token.
    pub fn gives_tokens(&self) -> bool {
        self.holds.iter().any(|hold| hold.token.is_some())
    }
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

/// Marks each access whose hold is older, by the order of grants, than one of the same lock whose access to that item was
/// accepted already. The resource's ops name a hold, and no lock.
fn served<'a>(history: &'a History, holds: &[Hold]) -> Vec<Served<'a>> {
    let granted: BTreeMap<&HoldId, (&LockName, u32)> =
        holds.iter().map(|hold| (&hold.id, (&hold.lock, hold.granted))).collect();
    let mut newest: BTreeMap<(&LockName, Option<u32>), u32> = BTreeMap::new();
    let accesses = history.ops.iter().filter(|op| op.process == Process::Resource && op.kind != OpType::Invoke);
    accesses
        .map(|op| {
            let Some((lock, rank)) = op.hold.as_ref().and_then(|hold| granted.get(hold)) else {
                return Served { op, stale: false };
            };
            let newest = newest.entry((lock, op.value.map(|value| value.item))).or_default();
            let stale = *rank < *newest;
            if op.kind == OpType::Ok {
                *newest = (*newest).max(*rank);
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
