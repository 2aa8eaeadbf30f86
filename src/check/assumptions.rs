//! The history is well formed. Every other check relies on it, so judging stops where it is not.
//!
//! A malformed history says something of the harness or of an import, never of the lock. Deliberately absent: anything
//! that a lock, however broken, could make happen. So a lost signal may come before the completion of its acquire (the
//! two are told by different parts of a client), and a release may be repeated.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::evidence::{Listing, counted};
use super::{CheckName, CheckResult, Verdict, Violation, conclude};
use crate::history::{F, History, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;

const GUARANTEE: &str = "The history is well formed: each process does one thing at a time and none after an op in doubt, every completion \
     has its invocation, and every hold has one attempt, one client and one lock.";

/// Judges whether a history is well formed.
pub(super) fn check(history: &History) -> CheckResult {
    let granted = OnceCell::new();
    let is_granted = |hold: &HoldId| {
        let all = || {
            let granted = history.ops.iter().filter(|op| (op.f, op.kind) == (F::Acquire, OpType::Ok));
            granted.filter_map(|op| op.hold.as_ref()).collect::<BTreeSet<&HoldId>>()
        };
        granted.get_or_init(all).contains(hold)
    };
    let mut examiner = Examiner::default();
    for op in &history.ops {
        examiner.examine(op, &is_granted);
    }
    examiner.conclude()
}

/// Judges the same of ops that come one by one, of a history without mistakes.
#[derive(Default)]
pub(super) struct Assumed {
    examiner: Examiner,
    /// What the resource served before its grant was told.
    served_early: BTreeSet<HoldId>,
}

impl Assumed {
    /// Takes the next op; false if it is not well formed.
    pub fn take(&mut self, op: &Op) -> bool {
        let served_early = std::cell::RefCell::new(&mut self.served_early);
        self.examiner.examine(op, &|hold| {
            served_early.borrow_mut().insert(hold.clone());
            true
        });
        self.examiner.listing.total() == 0
    }

    /// What comes of it, unless something is not well formed.
    pub fn finish(self) -> Option<CheckResult> {
        let Self { examiner, served_early } = self;
        let all_granted = served_early.iter().all(|hold| examiner.attempts.get(hold).is_some_and(Attempt::granted));
        (all_granted && examiner.listing.total() == 0).then(|| examiner.conclude())
    }
}

/// Whether an op of the inspector is one of its two.
fn is_told_by_an_inspector(op: &Op) -> bool {
    match op.f {
        F::Look => matches!(op.kind, OpType::Ok | OpType::Info),
        F::Left => op.kind == OpType::Ok && op.left.is_some() && op.lock.is_some(),
        _ => false,
    }
}

#[derive(Default)]
struct Examiner {
    ops: usize,
    last: Nanos,
    listing: Listing,
    processes: FxHashMap<u32, ClientProcess>,
    attempts: Attempts,
    strikes: BTreeMap<u32, Strike>,
    versions: BTreeMap<u32, (u32, u32)>,
    /// For each client that died, the op that tells of the last time.
    deaths: BTreeMap<ClientId, u32>,
}

struct ClientProcess {
    client: ClientId,
    open: Option<Open>,
    retired: Option<u32>,
}

/// What a process has begun.
struct Open {
    index: u32,
    f: F,
    hold: Option<HoldId>,
    lock: Option<LockName>,
}

/// An attempt. There is one for every few ops, and all are kept.
#[derive(Clone, Copy)]
struct Attempt {
    index: u32,
    client: ClientId,
    /// The lock's number, twice, and one more if it was granted.
    lock: u32,
}

impl Attempt {
    const NONE: Self = Self { index: u32::MAX, client: ClientId(0), lock: u32::MAX };

    fn granted(&self) -> bool {
        self.lock % 2 == 1
    }
}

/// Attempts by their ids. Only looked up, never gone through.
#[derive(Default)]
struct Attempts {
    /// By the two numbers of an id, of which the second rises from 1 as a client goes on.
    numbered: FxHashMap<ClientId, Vec<Attempt>>,
    others: BTreeMap<HoldId, Attempt>,
    locks: FxHashMap<LockName, u32>,
}

impl Attempts {
    /// How many numbers may be left out.
    const GAP: usize = 64;

    fn number(&mut self, lock: &LockName) -> u32 {
        if let Some(number) = self.locks.get(lock) {
            return *number;
        }
        let number = self.locks.len() as u32;
        self.locks.insert(lock.clone(), number);
        number
    }

    fn get(&self, id: &HoldId) -> Option<&Attempt> {
        let in_place = id.numbers().and_then(|(client, attempt)| self.numbered.get(&client)?.get(attempt as usize));
        in_place.filter(|attempt| attempt.lock != u32::MAX).or_else(|| self.others.get(id))
    }

    fn get_mut(&mut self, id: &HoldId) -> Option<&mut Attempt> {
        let Self { numbered, others, .. } = self;
        let in_place = id.numbers().and_then(|(client, attempt)| numbered.get_mut(&client)?.get_mut(attempt as usize));
        in_place.filter(|attempt| attempt.lock != u32::MAX).or_else(|| others.get_mut(id))
    }

    fn insert(&mut self, id: &HoldId, attempt: Attempt) {
        if let Some((client, number)) = id.numbers() {
            let (list, number) = (self.numbered.entry(client).or_default(), number as usize);
            if number < list.len() + Self::GAP {
                list.resize(list.len().max(number + 1), Attempt::NONE);
                list[number] = attempt;
                return;
            }
        }
        self.others.insert(id.clone(), attempt);
    }
}

struct Strike {
    index: u32,
    open: Option<F>,
}

impl Examiner {
    /// Takes the next op. `is_granted` says of a hold whose grant was not met yet whether it comes later.
    fn examine(&mut self, op: &Op, is_granted: &dyn Fn(&HoldId) -> bool) {
        let place = self.ops;
        if op.index as usize != place {
            self.mistake(op, &[], &format!("stands at place {place}; indices are dense, from 0"));
        }
        if op.time < self.last {
            self.mistake(op, &[], "is earlier than the op before it");
        }
        self.last = op.time;
        self.ops += 1;
        match op.process {
            Process::Client(number) => self.client_op(number, op),
            Process::Nemesis => self.nemesis_op(op),
            Process::Resource => self.resource_op(op, is_granted),
            Process::Monitor if (op.f, op.kind) != (F::Stall, OpType::Ok) && op.f != F::Adapter => {
                self.mistake(op, &[], "is not what a monitor tells; it tells stalls, as `ok`, and what an adapter did");
            }
            Process::Outside if (op.f, op.kind) != (F::Outside, OpType::Info) => {
                self.mistake(op, &[], "is not what is told of others; it is `outside`, as `info`");
            }
            Process::Inspector if !is_told_by_an_inspector(op) => {
                self.mistake(
                    op,
                    &[],
                    "is not what an inspector tells; it tells looks, and what is left with its lock, as `ok`",
                );
            }
            Process::Monitor | Process::Outside | Process::Inspector => {}
        }
    }

    fn conclude(self) -> CheckResult {
        let mistakes = self.listing.total();
        let (verdict, summary) = if mistakes > 0 {
            (
                Verdict::Invalid,
                format!("Malformed in {}; nothing else was judged.", counted(mistakes, "place", "places")),
            )
        } else if self.ops == 0 {
            (Verdict::Unknown, "The history is empty.".to_owned())
        } else {
            let processes = counted(self.processes.len(), "client process", "client processes");
            (Verdict::Valid, format!("{} by {processes}, well formed.", counted(self.ops, "op", "ops")))
        };
        let figures = [
            ("ops", self.ops as f64),
            ("client-processes", self.processes.len() as f64),
            ("mistakes", mistakes as f64),
        ];
        conclude(CheckName::Assumptions, GUARANTEE, verdict, summary, &figures, self.listing)
    }

    fn client_op(&mut self, number: u32, op: &Op) {
        if let (F::Crash, Some(client)) = (op.f, op.client) {
            return self.crash(number, client, op);
        }
        let (Some(client), Some(hold)) = (op.client, &op.hold) else {
            return self.mistake(op, &[], "lacks its client or its hold");
        };
        let process = self.processes.entry(number).or_insert(ClientProcess { client, open: None, retired: None });
        if process.client != client {
            let other = process.client;
            return self.mistake(op, &[], &format!("is {client}'s; this process belongs to {other}"));
        }
        match op.f {
            F::Extend | F::Suspect | F::Lost if op.kind != OpType::Ok => {
                return self.mistake(op, &[], "is a signal, which is always `ok`");
            }
            F::Extend | F::Suspect if op.valid_until.is_none() => {
                return self.mistake(op, &[], "lacks the validity that is in force from then on");
            }
            F::Extend | F::Suspect | F::Lost => {}
            F::Acquire | F::Release | F::Read | F::Write if op.kind == OpType::Invoke => {
                let begun = Open { index: op.index, f: op.f, hold: op.hold.clone(), lock: op.lock.clone() };
                let (retired, open) = (process.retired, process.open.replace(begun));
                if let Some(index) = retired {
                    self.mistake(op, &[index], "comes after an `info` op, with which its process retired");
                }
                if let Some(open) = open {
                    self.mistake(op, &[open.index], "begins while its process has another op open");
                }
            }
            F::Acquire | F::Release | F::Read | F::Write => {
                if op.kind == OpType::Info {
                    process.retired = Some(op.index);
                }
                match process.open.take() {
                    None => return self.mistake(op, &[], "completes what was never invoked"),
                    Some(open) if (open.f, &open.hold, &open.lock) != (op.f, &op.hold, &op.lock) => {
                        self.mistake(op, &[open.index], "does not match its invocation in f, hold and lock");
                    }
                    Some(_) => {}
                }
            }
            F::Fault | F::Heal | F::Stall | F::Outside | F::Crash | F::Adapter | F::Look | F::Left => {
                return self.mistake(op, &[], "is not what a client does");
            }
        }
        self.attempt(op, client, hold);
    }

    /// A client's death: it closes what its process had open, and the process never acts again.
    fn crash(&mut self, number: u32, client: ClientId, op: &Op) {
        if op.kind != OpType::Info {
            return self.mistake(op, &[], "is a signal, which is always `info`");
        }
        let process = self.processes.entry(number).or_insert(ClientProcess { client, open: None, retired: None });
        let (other, retired) = (process.client, process.retired.replace(op.index));
        process.open = None;
        self.deaths.insert(client, op.index);
        if other != client {
            self.mistake(op, &[], &format!("is {client}'s; this process belongs to {other}"));
        }
        if let Some(index) = retired {
            self.mistake(op, &[index], "comes after an `info` op, with which its process retired");
        }
    }

    /// The place of a client's op in the life of its attempt.
    fn attempt(&mut self, op: &Op, client: ClientId, hold: &HoldId) {
        if op.lock.is_none() && matches!(op.f, F::Acquire | F::Release | F::Extend | F::Suspect | F::Lost) {
            return self.mistake(op, &[], "lacks its lock");
        }
        let lock = op.lock.as_ref().map(|lock| self.attempts.number(lock));
        let attempt = self.attempts.get_mut(hold);
        if let ((F::Acquire, OpType::Invoke), Some(lock)) = ((op.f, op.kind), lock) {
            match attempt {
                Some(attempt) => {
                    let first = attempt.index;
                    self.mistake(op, &[first], &format!("reuses the hold id {hold}; each attempt has its own"));
                }
                None => self.attempts.insert(hold, Attempt { index: op.index, client, lock: lock * 2 }),
            }
            return;
        }
        let Some(attempt) = attempt else {
            return self.mistake(op, &[], &format!("belongs to {hold}, which was never attempted"));
        };
        let first = attempt.index;
        if attempt.client != client || lock.is_some_and(|lock| lock != attempt.lock / 2) {
            return self.mistake(op, &[first], &format!("names another client or lock than {hold} began with"));
        }
        if let Some(death) = self.deaths.get(&client).copied().filter(|death| *death > first) {
            return self.mistake(
                op,
                &[first, death],
                &format!("belongs to {hold}, which ended with its client's death"),
            );
        }
        match op.f {
            F::Acquire => attempt.lock |= u32::from(op.kind == OpType::Ok),
            F::Release | F::Read | F::Write if !attempt.granted() => {
                self.mistake(op, &[first], &format!("uses {hold}, which was not granted"));
            }
            _ => {}
        }
    }

    fn resource_op(&mut self, op: &Op, is_granted: &dyn Fn(&HoldId) -> bool) {
        if !matches!(op.f, F::Read | F::Write) || !matches!(op.kind, OpType::Ok | OpType::Fail) {
            return self.mistake(op, &[], "is not what a resource tells; it tells reads and writes, as `ok` or `fail`");
        }
        let (Some(client), Some(hold), Some(value)) = (op.client, &op.hold, op.value) else {
            return self.mistake(op, &[], "lacks its client, its hold or its value");
        };
        // The resource's clock may be behind the client's, so the grant may stand later in the history.
        let attempt = self.attempts.get(hold).copied();
        if !attempt.as_ref().is_some_and(Attempt::granted) && !is_granted(hold) {
            return self.mistake(op, &[], &format!("serves {hold}, which was not granted"));
        }
        if let Some(attempt) = attempt.filter(|attempt| attempt.client != client) {
            let first = attempt.index;
            return self.mistake(op, &[first], &format!("names another client than {hold} began with"));
        }
        if (op.f, op.kind) != (F::Write, OpType::Ok) {
            return;
        }
        let (Some(version), Some(based_on)) = (value.version, value.based_on) else {
            return self.mistake(op, &[], "accepts a write without its version or the version that it is based on");
        };
        if based_on >= version {
            self.mistake(op, &[], &format!("makes version {version} from version {based_on}, which is not earlier"));
        }
        match self.versions.insert(value.item, (version, op.index)) {
            Some((before, index)) if before >= version => {
                self.mistake(op, &[index], &format!("makes version {version} after version {before}; versions rise"));
            }
            _ => {}
        }
    }

    fn nemesis_op(&mut self, op: &Op) {
        let (F::Fault | F::Heal, Some(event)) = (op.f, &op.fault) else {
            return self.mistake(op, &[], "is not what the nemesis does, or lacks its fault");
        };
        let id = event.id;
        match (op.kind, self.strikes.get_mut(&id)) {
            (OpType::Invoke, None) if op.f == F::Fault => {
                self.strikes.insert(id, Strike { index: op.index, open: Some(F::Fault) });
            }
            (OpType::Invoke, Some(strike)) if op.f == F::Heal && strike.open.is_none() => strike.open = Some(F::Heal),
            (OpType::Invoke, Some(strike)) => {
                let first = strike.index;
                self.mistake(op, &[first], &format!("reuses fault {id}, or begins while its other op is open"));
            }
            (OpType::Invoke, None) => self.mistake(op, &[], &format!("heals fault {id}, which was never applied")),
            (_, Some(strike)) if strike.open == Some(op.f) => strike.open = None,
            _ => self.mistake(op, &[], &format!("completes for fault {id} what was never invoked")),
        }
    }

    /// Counts a mistake: op `op`, in the light of some earlier `others`, `does` what it must not.
    fn mistake(&mut self, op: &Op, others: &[u32], does: &str) {
        let kind = format!("{:?}", op.kind).to_lowercase();
        let others_told: String = others.iter().map(|index| format!(" (see op {index})")).collect();
        self.listing.add(|| Violation {
            severity: None,
            text: format!("Op {} (process {}, {} {kind}) {does}{others_told}.", op.index, op.process, op.f),
            ops: others.iter().copied().chain([op.index]).collect(),
            from: op.time,
            to: op.time,
            incident: None,
        });
    }
}
