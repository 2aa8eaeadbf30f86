//! The history is well formed. Every other check relies on it, so judging stops where it is not.
//!
//! A malformed history says something of the harness or of an import, never of the lock. Deliberately absent: anything
//! that a lock, however broken, could make happen. So a lost signal may come before the completion of its acquire (the
//! two are told by different parts of a client), and a release may be repeated.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Listing, counted};
use super::{CheckName, CheckResult, Verdict, Violation, conclude};
use crate::history::{F, History, Op, OpType, Process};
use crate::ids::{ClientId, HoldId, LockName};
use crate::time::Nanos;

const GUARANTEE: &str = "The history is well formed: each process does one thing at a time and none after an op in doubt, every completion \
     has its invocation, and every hold has one attempt, one client and one lock.";

/// Judges whether a history is well formed.
pub(super) fn check(history: &History) -> CheckResult {
    let granted = history.ops.iter().filter(|op| (op.f, op.kind) == (F::Acquire, OpType::Ok));
    let mut examiner = Examiner {
        granted: granted.filter_map(|op| op.hold.as_ref()).collect(),
        listing: Listing::default(),
        processes: BTreeMap::new(),
        attempts: BTreeMap::new(),
        strikes: BTreeMap::new(),
        versions: BTreeMap::new(),
        deaths: BTreeMap::new(),
    };
    let mut last = Nanos::ZERO;
    for (place, op) in history.ops.iter().enumerate() {
        if op.index as usize != place {
            examiner.mistake(op, &[], &format!("stands at place {place}; indices are dense, from 0"));
        }
        if op.time < last {
            examiner.mistake(op, &[], "is earlier than the op before it");
        }
        last = op.time;
        examiner.examine(op);
    }
    let mistakes = examiner.listing.total();
    let (verdict, summary) = if mistakes > 0 {
        (Verdict::Invalid, format!("Malformed in {}; nothing else was judged.", counted(mistakes, "place", "places")))
    } else if history.ops.is_empty() {
        (Verdict::Unknown, "The history is empty.".to_owned())
    } else {
        let processes = counted(examiner.processes.len(), "client process", "client processes");
        (Verdict::Valid, format!("{} by {processes}, well formed.", counted(history.ops.len(), "op", "ops")))
    };
    let figures = [
        ("ops", history.ops.len() as f64),
        ("client-processes", examiner.processes.len() as f64),
        ("mistakes", mistakes as f64),
    ];
    conclude(CheckName::Assumptions, GUARANTEE, verdict, summary, &figures, examiner.listing)
}

struct Examiner<'a> {
    granted: BTreeSet<&'a HoldId>,
    listing: Listing,
    processes: BTreeMap<u32, ClientProcess<'a>>,
    attempts: BTreeMap<&'a HoldId, Attempt<'a>>,
    strikes: BTreeMap<u32, Strike>,
    versions: BTreeMap<u32, (u32, u32)>,
    /// For each client that died, the op that tells of the last time.
    deaths: BTreeMap<ClientId, u32>,
}

struct ClientProcess<'a> {
    client: ClientId,
    open: Option<&'a Op>,
    retired: Option<u32>,
}

struct Attempt<'a> {
    index: u32,
    client: ClientId,
    lock: &'a LockName,
    granted: bool,
}

struct Strike {
    index: u32,
    open: Option<F>,
}

impl<'a> Examiner<'a> {
    fn examine(&mut self, op: &'a Op) {
        match op.process {
            Process::Client(number) => self.client_op(number, op),
            Process::Nemesis => self.nemesis_op(op),
            Process::Resource => self.resource_op(op),
            Process::Monitor if (op.f, op.kind) != (F::Stall, OpType::Ok) && op.f != F::Adapter => {
                self.mistake(op, &[], "is not what a monitor tells; it tells stalls, as `ok`, and what an adapter did");
            }
            Process::Outside if (op.f, op.kind) != (F::Outside, OpType::Info) => {
                self.mistake(op, &[], "is not what is told of others; it is `outside`, as `info`");
            }
            Process::Monitor | Process::Outside => {}
        }
    }

    fn client_op(&mut self, number: u32, op: &'a Op) {
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
                let (retired, open) = (process.retired, process.open.replace(op));
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
            F::Fault | F::Heal | F::Stall | F::Outside | F::Crash | F::Adapter => {
                return self.mistake(op, &[], "is not what a client does");
            }
        }
        self.attempt(op, client, hold);
    }

    /// A client's death: it closes what its process had open, and the process never acts again.
    fn crash(&mut self, number: u32, client: ClientId, op: &'a Op) {
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
    fn attempt(&mut self, op: &'a Op, client: ClientId, hold: &'a HoldId) {
        if op.lock.is_none() && matches!(op.f, F::Acquire | F::Release | F::Extend | F::Suspect | F::Lost) {
            return self.mistake(op, &[], "lacks its lock");
        }
        let attempt = self.attempts.get_mut(hold);
        if let ((F::Acquire, OpType::Invoke), Some(lock)) = ((op.f, op.kind), &op.lock) {
            match attempt {
                Some(attempt) => {
                    let first = attempt.index;
                    self.mistake(op, &[first], &format!("reuses the hold id {hold}; each attempt has its own"));
                }
                None => drop(self.attempts.insert(hold, Attempt { index: op.index, client, lock, granted: false })),
            }
            return;
        }
        let Some(attempt) = attempt else {
            return self.mistake(op, &[], &format!("belongs to {hold}, which was never attempted"));
        };
        let first = attempt.index;
        if attempt.client != client || op.lock.as_ref().is_some_and(|lock| lock != attempt.lock) {
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
            F::Acquire => attempt.granted |= op.kind == OpType::Ok,
            F::Release | F::Read | F::Write if !attempt.granted => {
                self.mistake(op, &[first], &format!("uses {hold}, which was not granted"));
            }
            _ => {}
        }
    }

    fn resource_op(&mut self, op: &'a Op) {
        if !matches!(op.f, F::Read | F::Write) || !matches!(op.kind, OpType::Ok | OpType::Fail) {
            return self.mistake(op, &[], "is not what a resource tells; it tells reads and writes, as `ok` or `fail`");
        }
        let (Some(client), Some(hold), Some(value)) = (op.client, &op.hold, op.value) else {
            return self.mistake(op, &[], "lacks its client, its hold or its value");
        };
        // The resource's clock may be behind the client's, so the grant may stand later in the history.
        if !self.granted.contains(hold) {
            return self.mistake(op, &[], &format!("serves {hold}, which was not granted"));
        }
        if let Some(attempt) = self.attempts.get(hold).filter(|attempt| attempt.client != client) {
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

    fn nemesis_op(&mut self, op: &'a Op) {
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
