//! Nothing outlives its owner at the servers: no key and no contender of an attempt that is over.
//!
//! When a trial is over its environment waits until leases and sessions of that time are over, asks all lock servers
//! what they still have under the trial's lock names, and writes that down (`left`, then `look`). What a lock keeps by
//! design it states itself, and that is not written down. Here each thing is put down to the attempt that it can be
//! of, by its owner where that is known, else to the one that ended last; whoever holds lawfully has left nothing. A
//! lease may last as long as the lock says, so what goes by itself within that is no leftover, however soon its owner
//! could have taken it away; a fault that ended later than the attempt counts as its end, since it may have kept
//! requests until then. A packet to a lock server that was lost is sent again after waits that double (RFC 6298, 5.5),
//! so that it may come as long after a cut or a loss as that lasted: a lease that begins by then is laid at nobody's
//! door.
//!
//! Deliberately absent: what was there for a while and went; and sessions that own nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::{Facts, Listing, counted, lasting, seconds};
use super::{CheckName, CheckResult, Verdict, Violation, conclude};
use crate::fault::{FaultName, Member};
use crate::history::{F, Left, Op, OpType, Strike};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;

const GUARANTEE: &str =
    "When an attempt is over, granted or not, nothing of it stays at the lock servers beyond its lease or session.";

/// How late a server may delete what is over: the pace of Redis's own sweep and of ZooKeeper's expiry, and a round
/// trip.
const LATE: Duration = Duration::from_millis(500);

/// One attempt, as far as it matters here.
struct Attempt<'a> {
    id: &'a HoldId,
    client: ClientId,
    /// The op that ended it; absent while it goes on or its hold lasts.
    ended: Option<&'a Op>,
    /// Whether it was granted.
    granted: bool,
    /// Whether it is unknown what became of it.
    in_doubt: bool,
}

/// What is to be said of one thing that is left.
enum Finding<'a> {
    /// Somebody holds it.
    Held,
    /// It goes by itself in time.
    Bounded,
    /// Something else than the lock may have kept it.
    Undecided,
    /// It outlives its owner, and whose it may be.
    Outlives(Option<&'a Attempt<'a>>),
}

/// Judges what was left at the servers.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let conclude = |verdict, summary: String, figures: &[(&str, f64)], listing| {
        conclude(CheckName::Leftovers, GUARANTEE, verdict, summary, figures, listing)
    };
    let Some(bound) = facts.history.header.leaves_within else {
        let summary = "Nobody looks at the lock servers.".to_owned();
        return conclude(Verdict::NotApplicable, summary, &[], Listing::default());
    };
    let bound = Duration::from_nanos(bound);
    let look = facts.history.ops.iter().rfind(|op| op.f == F::Look);
    let mut listing = Listing::default();
    let (mut found, mut held, mut bounded, mut undecided) = (0u64, 0u64, 0u64, 0u64);
    // Mostly nothing is left, and nobody has to know whose it would be.
    let ledger = facts.history.ops.iter().any(|op| op.f == F::Left).then(|| Ledger::of(facts, bound));
    for op in facts.history.ops.iter().filter(|op| op.f == F::Left) {
        let (Some(ledger), Some(left), Some(lock)) = (&ledger, &op.left, &op.lock) else { continue };
        found += 1;
        match ledger.finding(op, left, lock) {
            Finding::Held => held += 1,
            Finding::Bounded => bounded += 1,
            Finding::Undecided => undecided += 1,
            Finding::Outlives(of) => listing.add(|| ledger.violation(op, left, lock, of)),
        }
    }
    let count = |f, kind| facts.history.ops.iter().filter(|op| (op.f, op.kind) == (f, kind)).count();
    let attempts = count(F::Acquire, OpType::Invoke);
    let told = counted(attempts, "attempt", "attempts");
    let (verdict, summary) = match look {
        _ if listing.total() > 0 => {
            let left = counted(listing.total(), "key or znode", "keys or znodes");
            (Verdict::Invalid, format!("{told}; {left} left that nobody owns any more and nothing takes away in time."))
        }
        None => (Verdict::Unknown, "Nobody looked at the lock servers when all was over.".to_owned()),
        Some(look) if look.kind != OpType::Ok => {
            let why = look.error.as_deref().unwrap_or("some gave no answer");
            (Verdict::Unknown, format!("Not every lock server could be asked when all was over: {why}."))
        }
        _ if attempts == 0 => (Verdict::Unknown, "Nobody asked for a lock.".to_owned()),
        _ if undecided > 0 => {
            let left = counted(undecided as usize, "key or znode", "keys or znodes");
            let why = "a clock that was wrong, a request that a link held back, or an attempt of which nobody knows what \
                       became of it may have kept it";
            (Verdict::Unknown, format!("{told}; {left} left, and {why}."))
        }
        _ if bounded > 0 => {
            let left = counted(bounded as usize, "key or znode", "keys or znodes");
            let bound = lasting(bound);
            (
                Verdict::Unknown,
                format!("{told}; {left} left within the {bound} that it may stay: nobody waited for its end."),
            )
        }
        _ => {
            let kept = if held > 0 { format!(", but for {held} of who holds it") } else { String::new() };
            (Verdict::Valid, format!("{told}, and nothing was left of them when all was over{kept}."))
        }
    };
    let figures = [
        ("attempts", attempts as f64),
        ("attempts-failed", count(F::Acquire, OpType::Fail) as f64),
        ("deaths", count(F::Crash, OpType::Info) as f64),
        ("left", found as f64),
        ("left-held", held as f64),
        ("left-within-bound", bounded as f64),
        ("left-undecided", undecided as f64),
        ("leftovers", listing.total() as f64),
    ];
    conclude(verdict, summary, &figures, listing)
}

/// Whether a strike loses packets to or among lock servers, which a request may be in.
fn loses_requests(strike: &Strike<'_>) -> bool {
    let loses = [FaultName::Partition, FaultName::Loss].into_iter().any(|name| strike.event.kind.is(name));
    let is_node = |member: &Member| matches!(member, Member::Node(_));
    let meets = |(one, peers): (&Member, &Vec<Member>)| peers.iter().any(|peer| is_node(one) || is_node(peer));
    loses && strike.event.grudge.as_ref().is_none_or(|grudge| grudge.cuts.iter().any(meets))
}

/// Who asked for what, and when that was over.
struct Ledger<'a> {
    facts: &'a Facts<'a>,
    /// How long something may outlast its attempt.
    bound: Duration,
    /// By lock, in the order in which they began.
    attempts: BTreeMap<&'a LockName, Vec<Attempt<'a>>>,
    /// For each client that died, when it last did.
    deaths: BTreeMap<ClientId, Nanos>,
    /// When the last fault was over, and all that it had kept had gone on.
    healed: Nanos,
    /// For how long packets to lock servers were lost, one strike after another.
    lost_for: Duration,
}

impl<'a> Ledger<'a> {
    fn of(facts: &'a Facts<'a>, bound: Duration) -> Self {
        let mut attempts: BTreeMap<&LockName, Vec<Attempt<'_>>> = BTreeMap::new();
        // Where the attempts of each client stand that are not over.
        let mut open: BTreeMap<ClientId, Vec<(&LockName, usize)>> = BTreeMap::new();
        let mut deaths = BTreeMap::new();
        for op in &facts.history.ops {
            let Some(client) = op.client else { continue };
            if op.f == F::Crash {
                deaths.insert(client, op.time);
                for (lock, place) in open.remove(&client).unwrap_or_default() {
                    attempts
                        .get_mut(lock)
                        .and_then(|of| of.get_mut(place))
                        .into_iter()
                        .for_each(|it| it.ended = Some(op));
                }
                continue;
            }
            let (Some(id), Some(lock)) = (&op.hold, &op.lock) else { continue };
            match (op.f, op.kind) {
                (F::Acquire, OpType::Invoke) => {
                    let of = attempts.entry(lock).or_default();
                    open.entry(client).or_default().push((lock, of.len()));
                    of.push(Attempt { id, client, ended: None, granted: false, in_doubt: false });
                }
                (F::Acquire | F::Release | F::Lost, kind) if kind != OpType::Invoke => {
                    let mine = open.entry(client).or_default();
                    let at = mine.iter().position(|(lock, place)| attempts[lock][*place].id == id);
                    let Some(at) = at else { continue };
                    let (lock, place) = mine[at];
                    let Some(attempt) = attempts.get_mut(lock).and_then(|of| of.get_mut(place)) else { continue };
                    attempt.in_doubt |= kind == OpType::Info;
                    if (op.f, kind) == (F::Acquire, OpType::Ok) {
                        attempt.granted = true;
                    } else {
                        attempt.ended = Some(op);
                        mine.swap_remove(at);
                    }
                }
                _ => {}
            }
        }
        // A request that was held up goes on after its strike is over.
        let over = |strike: &Strike<'_>| {
            let held = strike.event.request.map_or(Duration::ZERO, |rule| rule.by);
            strike.healed.map_or(facts.end(), |op| op.time) + held
        };
        let healed = facts.strikes.iter().map(over).max();
        let lasted = |strike: &Strike<'_>| strike.healed.map_or(facts.end(), |op| op.time).since(strike.invoked.time);
        let lost_for = facts.strikes.iter().filter(|strike| loses_requests(strike)).map(lasted).sum();
        Self { facts, bound, attempts, deaths, healed: healed.unwrap_or_default(), lost_for }
    }

    /// The attempts that something left can be of.
    fn suspects(&self, op: &Op, lock: &LockName) -> impl Iterator<Item = &Attempt<'a>> {
        let (hold, client) = (op.hold.clone(), op.client);
        // What is known to be a living client's is of its present life.
        let since = client.and_then(|client| self.deaths.get(&client)).copied();
        self.attempts.get(lock).into_iter().flatten().filter(move |attempt| match (&hold, client) {
            (Some(hold), _) => attempt.id == hold,
            (None, Some(client)) => {
                attempt.client == client
                    && attempt.ended.is_none_or(|ended| since.is_none_or(|since| ended.time > since))
            }
            (None, None) => true,
        })
    }

    fn finding(&self, op: &Op, left: &Left, lock: &LockName) -> Finding<'_> {
        let mut last: Option<(&Attempt<'_>, Nanos)> = None;
        let mut in_doubt = false;
        for attempt in self.suspects(op, lock) {
            let Some(ended) = attempt.ended else { return Finding::Held };
            in_doubt |= attempt.in_doubt;
            if last.is_none_or(|(_, latest)| ended.time >= latest) {
                last = Some((attempt, ended.time));
            }
        }
        let ended = last.map_or(Nanos::ZERO, |(_, ended)| ended).max(self.healed);
        let goes = op.time + Duration::from_nanos(left.time_left.unwrap_or_default());
        // Clocks may run apart by a little; the lock allows for no more than 1 %.
        let stays = self.bound + self.bound / 50 + LATE;
        if goes <= ended + stays {
            return Finding::Bounded;
        }
        if left.time_left.is_some() && goes <= self.healed + self.lost_for + stays {
            return Finding::Undecided;
        }
        // Of a program that cannot say what became of an attempt nobody knows whether it holds.
        let nobody_knows = in_doubt && self.facts.history.header.api.is_some();
        if nobody_knows || left.time_left.is_some() && self.was_wrong(left) {
            return Finding::Undecided;
        }
        Finding::Outlives(last.map(|(attempt, _)| attempt))
    }

    /// Whether the clock of the server was made to go wrong, by which it measures times to live.
    fn was_wrong(&self, left: &Left) -> bool {
        let clocks = self.facts.strikes.iter().filter(|strike| strike.event.clock.is_some());
        let mut struck = clocks.flat_map(|strike| &strike.event.targets);
        struck.any(|member| matches!(member, Member::Node(node) if left.node.is_none_or(|at| at == *node)))
    }

    fn violation(&self, op: &Op, left: &Left, lock: &LockName, of: Option<&Attempt<'_>>) -> Violation {
        let at = left.node.map_or_else(|| "the ensemble".to_owned(), |node| node.to_string());
        let owner = if left.owner.is_empty() { "nobody's".to_owned() } else { format!("of {}", left.owner) };
        let goes = match left.time_left {
            Some(left) => format!("would stay for another {}", lasting(Duration::from_nanos(left))),
            None => "does not go by itself".to_owned(),
        };
        let is_sure = op.hold.is_some();
        let whose = match (of, of.and_then(|attempt| attempt.ended)) {
            (Some(attempt), Some(ended)) => {
                let how = match (ended.f, ended.kind, attempt.granted) {
                    (F::Crash, ..) => "ended with its client's death",
                    (F::Acquire, OpType::Info, _) | (F::Release, OpType::Info, _) => "ended in doubt",
                    (F::Acquire, ..) => "failed",
                    (F::Lost, ..) => "was lost",
                    _ => "was released",
                };
                let the = match (is_sure, op.client) {
                    (true, _) => "It is of",
                    (false, Some(_)) => "It is that client's; its last attempt at that lock,",
                    (false, None) => "The last attempt at that lock,",
                };
                let comma = if is_sure { ", which" } else { "," };
                format!(" {the} {} of {}{comma} {how} at {}.", attempt.id, attempt.client, seconds(ended.time))
            }
            _ => " Nobody is known to have asked for that lock.".to_owned(),
        };
        let client =
            op.client.filter(|_| !is_sure).map(|client| format!(", a session of {client}")).unwrap_or_default();
        let text = format!(
            "At {} {at} still has `{}` of `{lock}`, {owner}{client}: it {goes}, and may stay for {} after its attempt.{whose}",
            seconds(op.time),
            left.name,
            lasting(self.bound),
        );
        let ended = of.and_then(|attempt| attempt.ended);
        let ops = ended.map(|ended| ended.index).into_iter().chain([op.index]).collect();
        let from = ended.map_or(op.time, |ended| ended.time).max(self.healed).min(op.time);
        Violation { severity: None, text, ops, from, to: op.time, incident: None }
    }
}

#[cfg(test)]
mod tests;
