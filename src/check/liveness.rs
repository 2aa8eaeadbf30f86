//! Who wants the lock gets it, once nothing is wrong any more.
//!
//! Judged while no fault is in force, from the moment at which the last one was undone. A lock is *idle but wanted*
//! while somebody waits for it whom nobody's hold keeps out; how much of that a lock may need, to be rid of a dead
//! holder's lease or session, is the history's own bound. More than that means that something which nobody holds keeps
//! it: a ghost. A semaphore may go on granting while a ghost has one of its permits; so there each waiter's own time
//! beside a free permit counts, through grants to others until all permits are in use. Besides, nobody may be passed
//! over for ever: a fair draw among all clients passes one over twenty-five times as often as there are clients about
//! once in 10^10 times. Deliberately absent: how fast a lock is; that is told in figures, not judged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::{Facts, Listing, counted, lasting, milliseconds, seconds};
use super::{CheckName, CheckResult, Verdict, Violation, conclude};
use crate::history::{Ending, F, Hold, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::lock_kind::LockKind;
use crate::time::Nanos;

const GUARANTEE: &str = "While no fault is in force, a lock that somebody waits for and nobody holds is granted within the bound, and \
     no client is passed over without end.";

/// How often a client may be passed over, per client that competes.
const PASSES_PER_CLIENT: usize = 25;

/// Judges whether the lock was granted to those who waited.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let Some(bound) = facts.history.header.grant_within else {
        let summary = "The history does not say how long its lock may need.".to_owned();
        return conclude(CheckName::Liveness, GUARANTEE, Verdict::NotApplicable, summary, &[], Listing::default());
    };
    let mut watch = Watch::new(facts, Duration::from_nanos(bound));
    for op in &facts.history.ops {
        watch.see(op);
    }
    watch.end();
    watch.conclude()
}

/// One lock, as far as the history has been read.
#[derive(Default)]
struct Lock<'a> {
    /// The open acquires.
    waiting: BTreeMap<&'a HoldId, Waiter>,
    /// The open holds, and whether each is shared.
    held: Vec<(&'a HoldId, bool)>,
    /// The last hold that ended.
    last: Option<usize>,
    /// How long it has been idle but wanted, without a fault in force, since the last grant, end of a hold, or fault.
    idle: Duration,
    /// From when on.
    idle_from: Nanos,
    /// Until when time has been counted.
    seen_until: Nanos,
    /// Whether that was found too long.
    accused: bool,
    /// Whether a fault was undone since the last grant.
    recovering: bool,
    /// Grants while no fault was in force.
    grants: usize,
    /// For each client that has waited in vain so far: how often it was passed over, since when, in which attempt.
    passed: BTreeMap<ClientId, Passed<'a>>,
}

/// An open acquire.
struct Waiter {
    client: ClientId,
    /// When it was invoked.
    since: Nanos,
    /// Whether others that share the lock, too, keep it from nothing.
    shared: bool,
    /// Whether the holds of others kept it out at some moment.
    kept_out: bool,
    /// How long it has waited beside a free permit, without a fault in force, since all permits were in use.
    beside: Duration,
    /// From when on.
    beside_from: Nanos,
    /// Whether that was found too long.
    accused: bool,
}

/// What a client that waits has seen go by.
struct Passed<'a> {
    /// Grants to others while it waited, in attempts that are over.
    times: usize,
    /// In the open attempt: how many grants there had been when it began.
    mark: Option<usize>,
    since: Nanos,
    attempt: &'a HoldId,
    accused: bool,
}

impl Passed<'_> {
    fn times(&self, grants: usize) -> usize {
        self.times + self.mark.map_or(0, |mark| grants - mark)
    }
}

struct Watch<'a, 'b> {
    facts: &'b Facts<'a>,
    bound: Duration,
    limit: usize,
    locks: BTreeMap<&'a LockName, Lock<'a>>,
    /// Where each hold ends, by the op's index.
    ends: BTreeMap<u32, Vec<usize>>,
    /// By how many the faults in force change at an op.
    faults: BTreeMap<u32, i64>,
    in_force: i64,
    listing: Listing,
    contended: usize,
    recoveries: usize,
    ghosts: usize,
    starved: usize,
    longest_idle: Duration,
    longest_wait: Duration,
    most_passes: usize,
}

impl<'a, 'b> Watch<'a, 'b> {
    fn new(facts: &'b Facts<'a>, bound: Duration) -> Self {
        let ends = ends(facts);
        let mut faults: BTreeMap<u32, i64> = BTreeMap::new();
        for strike in &facts.strikes {
            *faults.entry(strike.invoked.index).or_default() += 1;
            // What failed leaves nothing behind; what is not known to be undone is in force to the end.
            let failed = strike.applied.filter(|op| op.kind == OpType::Fail);
            let over = strike.healed.filter(|op| op.kind == OpType::Ok).or(failed);
            if let Some(over) = over {
                *faults.entry(over.index).or_default() -= 1;
            }
        }
        Self {
            facts,
            bound,
            limit: PASSES_PER_CLIENT * facts.history.header.clients as usize,
            locks: BTreeMap::new(),
            ends,
            faults,
            in_force: 0,
            listing: Listing::default(),
            contended: 0,
            recoveries: 0,
            ghosts: 0,
            starved: 0,
            longest_idle: Duration::ZERO,
            longest_wait: Duration::ZERO,
            most_passes: 0,
        }
    }

    fn see(&mut self, op: &'a Op) {
        if let Some(change) = self.faults.get(&op.index).copied() {
            self.pass_time_everywhere(op.time);
            self.in_force += change;
            for lock in self.locks.values_mut() {
                lock.forget(op.time);
                lock.recovering |= self.in_force == 0;
            }
        }
        for place in self.ends.remove(&op.index).unwrap_or_default() {
            let Some((name, _)) = self.locks.get_key_value(&self.facts.holds[place].lock) else { continue };
            self.pass_time(name, op.time);
            let Some(lock) = self.locks.get_mut(&self.facts.holds[place].lock) else { continue };
            lock.held.retain(|(id, _)| **id != self.facts.holds[place].id);
            lock.last = Some(place);
            match self.facts.holds[place].ended {
                Some((_, Ending::Released)) => lock.start_over(op.time),
                // The servers may keep its permit for as long as a lease.
                _ => lock.forget(op.time),
            }
        }
        match (op.process, op.f, &op.lock, &op.hold, op.client) {
            (Process::Client(_), F::Acquire, Some(name), Some(attempt), Some(client)) => {
                self.acquire(op, name, attempt, client);
            }
            (Process::Client(_), F::Crash, _, _, Some(client)) => {
                self.pass_time_everywhere(op.time);
                for lock in self.locks.values_mut() {
                    let left = lock.waiting.iter().find(|(_, waiter)| waiter.client == client).map(|(id, _)| *id);
                    left.inspect(|attempt| lock.stop_waiting(attempt));
                }
            }
            _ => {}
        }
    }

    /// Counts the time up to `now` for a lock, if it was idle but wanted.
    fn pass_time(&mut self, name: &'a LockName, now: Nanos) {
        let kind = self.facts.history.header.kind;
        let lock = self.locks.entry(name).or_default();
        let passed = now - std::mem::replace(&mut lock.seen_until, now);
        if self.in_force > 0 || !lock.is_free_for_somebody(kind) {
            return;
        }
        lock.idle += passed;
        self.longest_idle = self.longest_idle.max(lock.idle);
        if lock.idle > self.bound && !std::mem::replace(&mut lock.accused, true) {
            self.ghosts += 1;
            let (facts, bound) = (self.facts, self.bound);
            lock.waiting.values_mut().for_each(|waiter| waiter.accused = true);
            let all: Vec<&HoldId> = lock.waiting.keys().copied().collect();
            self.listing.add(|| ghost(facts, name, lock, (&all, lock.idle_from), bound, now));
            return;
        }
        if matches!(kind, LockKind::Semaphore { .. }) {
            self.pass_time_beside(name, passed, now);
        }
    }

    /// Counts time that waiters spent beside a free permit.
    fn pass_time_beside(&mut self, name: &'a LockName, passed: Duration, now: Nanos) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        let mut late = Vec::new();
        for (attempt, waiter) in &mut lock.waiting {
            waiter.beside += passed;
            self.longest_idle = self.longest_idle.max(waiter.beside);
            if waiter.beside > self.bound && !std::mem::replace(&mut waiter.accused, true) {
                late.push((*attempt, waiter.beside_from));
            }
        }
        self.ghosts += late.len();
        let (facts, bound) = (self.facts, self.bound);
        for (attempt, from) in late {
            self.listing.add(|| ghost(facts, name, lock, (&[attempt], from), bound, now));
        }
    }

    fn pass_time_everywhere(&mut self, now: Nanos) {
        let names: Vec<&'a LockName> = self.locks.keys().copied().collect();
        names.into_iter().for_each(|name| self.pass_time(name, now));
    }

    /// Looks at how often a client has been passed over, now that it waits no longer.
    fn count_passes(&mut self, name: &'a LockName, client: ClientId, op: u32, now: Nanos) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        let Some(passed) = lock.passed.get_mut(&client) else { return };
        let times = passed.times(lock.grants);
        self.most_passes = self.most_passes.max(times);
        if times > self.limit && !std::mem::replace(&mut passed.accused, true) {
            self.starved += 1;
            let facts = self.facts;
            self.listing.add(|| starved(facts, name, client, passed, times, op, now));
        }
    }

    fn acquire(&mut self, op: &Op, name: &'a LockName, attempt: &'a HoldId, client: ClientId) {
        self.pass_time(name, op.time);
        if op.kind != OpType::Invoke {
            self.count_passes(name, client, op.index, op.time);
        }
        let kind = self.facts.history.header.kind;
        let lock = self.locks.entry(name).or_default();
        if op.kind == OpType::Invoke {
            let (since, shared, kept_out) = (op.time, op.shared, lock.keeps_out(kind, op.shared));
            let (beside, beside_from, accused) = (Duration::ZERO, op.time, false);
            lock.waiting.insert(attempt, Waiter { client, since, shared, kept_out, beside, beside_from, accused });
            let (mark, since) = (lock.grants, op.time);
            let passed =
                lock.passed.entry(client).or_insert(Passed { times: 0, mark: None, since, attempt, accused: false });
            (passed.mark, passed.attempt) = (Some(mark), attempt);
            return;
        }
        let waiter = lock.waiting.get(attempt);
        let (waited_from, kept_out) = waiter.map_or((op.time, false), |waiter| (waiter.since, waiter.kept_out));
        lock.stop_waiting(attempt);
        if op.kind == OpType::Info {
            // It may be held by somebody who does not know, until its lease is over; the bound allows for that.
            lock.forget(op.time);
        }
        if op.kind != OpType::Ok {
            return;
        }
        self.longest_wait = self.longest_wait.max(op.time - waited_from);
        self.contended += usize::from(kept_out);
        self.recoveries += usize::from(std::mem::take(&mut lock.recovering) && self.in_force == 0);
        lock.held.push((attempt, op.shared));
        let held = std::mem::take(&mut lock.held);
        for waiter in lock.waiting.values_mut() {
            waiter.kept_out |= kind.keeps_out(held.iter().map(|(_, shared)| *shared), waiter.shared);
        }
        lock.held = held;
        lock.grants += usize::from(self.in_force == 0);
        if lock.keeps_out(kind, op.shared) {
            lock.forget(op.time);
        } else {
            lock.start_over(op.time);
        }
        lock.passed.remove(&client);
    }

    /// Looks at those who still wait.
    fn end(&mut self) {
        let Some(last) = self.facts.history.ops.last() else { return };
        self.pass_time_everywhere(last.time);
        let waiting = self.locks.iter().flat_map(|(name, lock)| lock.passed.keys().map(|client| (*name, *client)));
        for (name, client) in waiting.collect::<Vec<_>>() {
            self.count_passes(name, client, last.index, last.time);
        }
    }

    fn conclude(self) -> CheckResult {
        let faulty = !self.facts.strikes.is_empty();
        let longest =
            |lock: &Lock<'_>| lock.waiting.values().map(|waiter| waiter.beside).fold(lock.idle, Duration::max);
        let early = self.locks.values().any(|lock| longest(lock) > self.bound / 2);
        let missing = [
            (self.contended == 0, "nobody who had to wait was granted the lock"),
            (faulty && self.recoveries == 0, "no grant followed the end of a fault"),
            (early, "the history ends while the lock is idle but wanted, too early to judge"),
        ];
        let missing: Vec<&str> = missing.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect();
        let told = format!(
            "{} after a wait, {} after faults were over; idle but wanted for {} at most, the bound is {}; the longest wait \
             {}, passed over {} at most",
            counted(self.contended, "grant", "grants"),
            self.recoveries,
            lasting(self.longest_idle),
            lasting(self.bound),
            lasting(self.longest_wait),
            counted(self.most_passes, "time", "times"),
        );
        let (verdict, summary) = if self.listing.total() > 0 {
            let ghosts = counted(self.ghosts, "time", "times");
            let starved = counted(self.starved, "client", "clients");
            (Verdict::Invalid, format!("Stuck {ghosts}, {starved} starved: {told}."))
        } else if missing.is_empty() {
            (Verdict::Valid, format!("{told}."))
        } else {
            (Verdict::Unknown, format!("Too little was exercised: {}. {told}.", missing.join(", ")))
        };
        let figures = [
            ("grants-after-a-wait", self.contended as f64),
            ("recoveries", self.recoveries as f64),
            ("stuck", self.ghosts as f64),
            ("starved", self.starved as f64),
            ("bound-ms", milliseconds(self.bound)),
            ("longest-idle-ms", milliseconds(self.longest_idle)),
            ("longest-wait-ms", milliseconds(self.longest_wait)),
            ("passed-over-max", self.most_passes as f64),
        ];
        conclude(CheckName::Liveness, GUARANTEE, verdict, summary, &figures, self.listing)
    }
}

impl Lock<'_> {
    fn keeps_out(&self, kind: LockKind, shared: bool) -> bool {
        kind.keeps_out(self.held.iter().map(|(_, shared)| *shared), shared)
    }

    /// Whether somebody waits whom those who hold it do not keep out. Readers may have to let a writer go first.
    fn is_free_for_somebody(&self, kind: LockKind) -> bool {
        let mut writers = self.waiting.values().filter(|waiter| !waiter.shared);
        match (kind, writers.next()) {
            _ if self.waiting.is_empty() => false,
            (LockKind::ReadWrite, None) => !self.keeps_out(kind, true),
            _ => !self.keeps_out(kind, false),
        }
    }

    fn start_over(&mut self, now: Nanos) {
        (self.idle, self.idle_from, self.accused) = (Duration::ZERO, now, false);
    }

    /// As [`Self::start_over`], for what each waiter spent beside a free permit, too.
    fn forget(&mut self, now: Nanos) {
        self.start_over(now);
        for waiter in self.waiting.values_mut() {
            (waiter.beside, waiter.beside_from, waiter.accused) = (Duration::ZERO, now, false);
        }
    }

    fn stop_waiting(&mut self, attempt: &HoldId) {
        let Some(waiter) = self.waiting.remove(attempt) else { return };
        if let Some(passed) = self.passed.get_mut(&waiter.client) {
            passed.times = passed.times(self.grants);
            passed.mark = None;
        }
    }
}

/// Which holds end at which op, by its index.
///
/// What a client was told to have lost may lawfully be kept for it until it gives it back: who does not listen leaves
/// its place in a line only then, as long as its session lives. So such a hold ends when its release begins, when its
/// client dies or asks for a lock again, this one or another, when somebody is granted the lock whom it would keep out,
/// and otherwise not within this history.
fn ends(facts: &Facts<'_>) -> BTreeMap<u32, Vec<usize>> {
    let mut ends: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut lost: BTreeMap<u32, usize> = BTreeMap::new();
    for (place, hold) in facts.holds.iter().enumerate() {
        match hold.ended {
            Some((end, Ending::Lost)) => drop(lost.insert(end, place)),
            Some((end, Ending::Released | Ending::Crashed)) => ends.entry(end).or_default().push(place),
            None => {}
        }
    }
    let (kind, mut kept) = (facts.history.header.kind, Vec::<usize>::new());
    for op in facts.history.ops.iter().filter(|_| !lost.is_empty()) {
        kept.retain(|place| {
            let hold = &facts.holds[*place];
            let (own, of_the_lock) = (op.client == Some(hold.client), op.lock.as_ref() == Some(&hold.lock));
            let is_over = match (op.f, op.kind) {
                (F::Crash, _) => own,
                (F::Release, OpType::Invoke) => own && op.hold.as_ref() == Some(&hold.id),
                // A client does one thing after another: it has given back what it had.
                (F::Acquire, OpType::Invoke) => own,
                // It was kept for nobody.
                (F::Acquire, OpType::Ok) => of_the_lock && kind.excludes(op.shared, hold.shared),
                _ => false,
            };
            if is_over {
                ends.entry(op.index).or_default().push(*place);
            }
            !is_over
        });
        kept.extend(lost.get(&op.index));
    }
    ends
}

/// That `waiting` could have been granted the lock `from` then on.
fn ghost(
    facts: &Facts<'_>,
    name: &LockName,
    lock: &Lock<'_>,
    (waiting, from): (&[&HoldId], Nanos),
    bound: Duration,
    now: Nanos,
) -> Violation {
    let last = lock.last.map(|place| &facts.holds[place]);
    let history = match last {
        Some(hold @ Hold { ended: Some((_, ending)), .. }) => {
            let how = match ending {
                Ending::Released => "was released by its holder",
                Ending::Lost => "was lost",
                Ending::Crashed => "ended with its holder's death",
            };
            format!("The last hold, {} of {}, {how} at {}.", hold.id, hold.client, seconds(hold.to))
        }
        _ => "It was never held.".to_owned(),
    };
    let waiters = waiting.iter().filter_map(|attempt| lock.waiting.get(*attempt));
    let waiters = waiters.map(|waiter| waiter.client.to_string()).collect::<Vec<_>>().join(", ");
    let free = match lock.held.len() {
        0 => format!("Nobody holds {name}"),
        held => format!("{name} has room beside {}", counted(held, "hold", "holds")),
    };
    let text = format!(
        "{free} since {}, no fault is in force, and by {} whoever waits for it ({waiters}) has waited longer \
         than the {} that it may take. {history}",
        seconds(from),
        seconds(now),
        lasting(bound),
    );
    let waiting = waiting.first().copied();
    let invoked = facts.history.ops.iter().find(|op| op.hold.as_ref() == waiting && op.f == F::Acquire);
    let ended = last.and_then(|hold| hold.ended).map(|(op, _)| op);
    let ops = ended.into_iter().chain(invoked.map(|op| op.index)).collect();
    Violation { severity: None, text, ops, from, to: now, incident: None }
}

fn starved(
    facts: &Facts<'_>,
    name: &LockName,
    client: ClientId,
    passed: &Passed<'_>,
    times: usize,
    granted: u32,
    now: Nanos,
) -> Violation {
    let text = format!(
        "{client} waits for {name} since {} (now as {}) and by {} has been passed over {times} times while no fault was in \
         force.",
        seconds(passed.since),
        passed.attempt,
        seconds(now),
    );
    let invoked = facts.history.ops.iter().find(|op| op.hold.as_ref() == Some(passed.attempt) && op.f == F::Acquire);
    let ops = invoked.map(|op| op.index).into_iter().chain([granted]).collect();
    Violation { severity: None, text, ops, from: passed.since, to: now, incident: None }
}

#[cfg(test)]
mod tests;
