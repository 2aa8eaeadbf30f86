//! Synthetic reports for the tests of this room: small histories in which every kind of mark occurs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::check::{CheckName, CheckResult, Judgement, Severity, Verdict, Violation};
use crate::fault::Member;
use crate::history::EnvironmentName;
use crate::history::{F, FaultEvent, Header, History, ItemValue, Op, OpType, Probe, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::lock_kind::LockKind;
use crate::phase::Phase;
use crate::report::{Expectation, LockReport, Report};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::verdict::Demand;

const MS: u64 = 1_000_000;

/// Writes down what happens to one lock, in any order.
pub struct Script {
    pub ops: Vec<Op>,
    tokens: bool,
}

impl Script {
    pub fn new(tokens: bool) -> Self {
        Self { ops: Vec::new(), tokens }
    }

    fn op(&mut self, ms: f64, process: Process, kind: OpType, f: F) -> &mut Op {
        self.ops.push(Op::new(Nanos((ms * MS as f64) as u64), process, kind, f));
        self.ops.last_mut().unwrap()
    }

    fn client(&mut self, ms: f64, client: u32, kind: OpType, f: F, hold: &str) -> &mut Op {
        let op = self.op(ms, Process::Client(client), kind, f);
        op.client = Some(ClientId(client));
        op.lock = Some(LockName::new("item-1"));
        op.hold = Some(HoldId::new(hold));
        op
    }

    /// Waits from `asked` to `granted`; valid for `valid` ms from then.
    pub fn acquire(&mut self, client: u32, hold: &str, asked: f64, granted: f64, valid: f64, token: u64) {
        let tokens = self.tokens;
        self.client(asked, client, OpType::Invoke, F::Acquire, hold);
        let op = self.client(granted, client, OpType::Ok, F::Acquire, hold);
        op.valid_until = Some(Nanos(((granted + valid) * MS as f64) as u64));
        op.token = tokens.then_some(FencingToken(token));
    }

    /// Gives up waiting.
    pub fn timeout(&mut self, client: u32, hold: &str, asked: f64, failed: f64) {
        self.client(asked, client, OpType::Invoke, F::Acquire, hold);
        self.client(failed, client, OpType::Fail, F::Acquire, hold).error = Some("no majority in 5s".to_owned());
    }

    /// An access of a client, and what the resource makes of it half way.
    pub fn access(&mut self, f: F, client: u32, hold: &str, at: f64, version: u32, accepted: bool) {
        let value = ItemValue { item: 1, stock: 1_000 - i64::from(version), version: Some(version), based_on: None };
        self.client(at, client, OpType::Invoke, f, hold);
        let kind = if accepted { OpType::Ok } else { OpType::Fail };
        let refused = || (!accepted).then(|| "token below the highest seen".to_owned());
        let op = self.client(at + 2.0, client, kind, f, hold);
        (op.value, op.error) = (accepted.then_some(value), refused());
        let op = self.op(at + 1.0, Process::Resource, kind, f);
        (op.client, op.lock) = (Some(ClientId(client)), Some(LockName::new("item-1")));
        (op.hold, op.value, op.error) = (Some(HoldId::new(hold)), Some(value), refused());
    }

    pub fn release(&mut self, client: u32, hold: &str, at: f64) {
        self.client(at, client, OpType::Invoke, F::Release, hold);
        self.client(at + 2.0, client, OpType::Ok, F::Release, hold);
    }

    pub fn lost(&mut self, client: u32, hold: &str, at: f64) {
        self.client(at, client, OpType::Ok, F::Lost, hold).error = Some("validity ended".to_owned());
    }

    /// A pause of a client, its healing, and its monitor's word for it.
    pub fn pause(&mut self, id: u32, client: u32, from: f64, to: f64) {
        self.strike(id, "pause", client, from, to);
        let op = self.op(to + 1.5, Process::Monitor, OpType::Ok, F::Stall);
        op.client = Some(ClientId(client));
        op.since = Some(Nanos(((from + 0.5) * MS as f64) as u64));
    }

    pub fn strike(&mut self, id: u32, kind: &str, client: u32, from: f64, to: f64) {
        let event = |observed: &str| FaultEvent {
            id,
            kind: kind.to_owned().into(),
            plan: format!("{kind} holder at before-write, every 4s, for 2.5s"),
            targets: vec![Member::Client(ClientId(client))],
            phase: Some(Phase::BeforeWrite),
            requested: 2_500 * MS,
            probes: vec![Probe::new(format!("c{client} container state"), observed, observed)],
            ..FaultEvent::default()
        };
        self.op(from, Process::Nemesis, OpType::Invoke, F::Fault).fault = Some(Box::new(event("frozen")));
        self.op(from + 1.0, Process::Nemesis, OpType::Ok, F::Fault).fault = Some(Box::new(event("frozen")));
        self.op(to, Process::Nemesis, OpType::Invoke, F::Heal).fault = Some(Box::new(event("running")));
        self.op(to + 1.0, Process::Nemesis, OpType::Ok, F::Heal).fault = Some(Box::new(event("running")));
    }

    pub fn history(self, lock: &str, fencing: &str) -> History {
        let header = Header {
            fencepost: crate::history::FORMAT,
            scenario: "client-pause".to_owned(),
            lock: lock.to_owned(),
            algorithm: lock.to_owned(),
            kind: LockKind::Mutex,
            environment: EnvironmentName::Sim.into(),
            seed: Seed(7),
            clients: 3,
            nodes: if lock == "redlock" { 5 } else { 3 },
            fencing: fencing.to_owned().into(),
            content: Default::default(),
            planned_faults: 1,
            plan: vec!["pause holder at before-write, every 4s, for 2.5s".to_owned()],
            grant_within: None,
            leaves_within: None,
            api: None,
            clock_error: 0,
            versions: BTreeMap::new(),
        };
        History::new(header, self.ops)
    }
}

/// One client is paused with the lock in its hands, a second gets it, the first wakes up and writes.
fn pause_of_the_holder(lock: &str, tokens: bool) -> History {
    let mut script = Script::new(tokens);
    script.acquire(1, "c1-1", 10.0, 20.0, 1_000.0, 31);
    script.access(F::Read, 1, "c1-1", 25.0, 1, true);
    script.access(F::Write, 1, "c1-1", 70.0, 2, true);
    script.release(1, "c1-1", 90.0);
    script.acquire(2, "c2-1", 30.0, 200.0, 1_000.0, 32);
    script.access(F::Read, 2, "c2-1", 205.0, 2, true);
    script.pause(1, 2, 220.0, 2_720.0);
    script.acquire(3, "c3-1", 100.0, 2_700.0, 1_000.0, 33);
    script.access(F::Read, 3, "c3-1", 2_705.0, 2, true);
    script.access(F::Write, 2, "c2-1", 2_722.0, 3, !tokens);
    script.lost(2, "c2-1", 2_740.0);
    script.access(F::Write, 3, "c3-1", 2_760.0, 3, true);
    script.release(3, "c3-1", 2_800.0);
    script.timeout(1, "c1-2", 300.0, 2_900.0);
    script.history(lock, "access")
}

/// Enough of a judge for these histories; the real one is the checks'.
pub fn judge(history: &History) -> Judgement {
    let holds = history.holds();
    let mut overlaps = Vec::new();
    for (position, second) in holds.iter().enumerate() {
        for first in holds[..position].iter().filter(|first| first.to > second.from) {
            overlaps.push(Violation {
                severity: Some(Severity::Belief),
                text: format!(
                    "{} still held {} <when> {} was granted it & both believed in it.",
                    first.client, first.lock, second.client
                ),
                ops: [Some(first.granted), Some(second.granted), first.ended.map(|end| end.0)]
                    .into_iter()
                    .flatten()
                    .collect(),
                from: second.from,
                to: first.to.min(second.to),
                incident: None,
            });
        }
    }
    let scene = crate::report::scene::Scene::of(history);
    let stale = scene.served.iter().filter(|access| access.stale && access.accepted()).map(|access| Violation {
        severity: Some(Severity::Effect),
        text: format!("The resource accepted a stale {} of {}.", access.op.f, access.op.hold.as_ref().unwrap()),
        ops: vec![access.op.index],
        from: access.op.time,
        to: access.op.time,
        incident: None,
    });
    let result = |check: CheckName, violations: Vec<Violation>, summary: String, figures: &[(&str, f64)]| CheckResult {
        check,
        verdict: if violations.is_empty() { Verdict::Valid } else { Verdict::Invalid },
        guarantee: format!("The guarantee of {check}."),
        summary,
        figures: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        violations,
        grounds: Default::default(),
    };
    let stale: Vec<Violation> = stale.collect();
    let overlap_count = overlaps.len();
    let checks = vec![
        result(CheckName::Assumptions, Vec::new(), "the history is well formed".to_owned(), &[]),
        result(
            CheckName::MutualExclusion,
            overlaps,
            format!("{overlap_count} overlaps in {} holds", holds.len()),
            &[("overlap-ms", 40.0)],
        ),
        result(CheckName::Fencing, stale, "stale accesses counted".to_owned(), &[]),
        result(
            CheckName::LostUpdates,
            Vec::new(),
            "all there".to_owned(),
            &[("acknowledged", 3.0), ("lost", 1.0), ("lost-percent", 33.333)],
        ),
    ];
    crate::check::judged_together(history, checks)
}

pub fn lock(name: &str, history: History, expected: &[(CheckName, Verdict)]) -> LockReport {
    let judgement = judge(&history);
    let reached =
        |check| judgement.checks.iter().find(|result| result.check == check).map(|result: &CheckResult| result.verdict);
    let expectations = expected
        .iter()
        .map(|(check, expected)| Expectation {
            check: *check,
            expected: Demand::Is(*expected),
            reached: reached(*check),
            stated: true,
        })
        .collect();
    LockReport {
        name: name.to_owned(),
        algorithm: name.to_owned(),
        settings: vec![("ttl".to_owned(), "1s".to_owned())],
        history,
        judgement,
        expectations,
        reading: None,
        streamed: None,
        trace_hash: None,
        error: None,
    }
}

pub fn report() -> Report {
    use CheckName::{Fencing, MutualExclusion};
    use Verdict::{Invalid, Valid};
    Report {
        scenario: "client-pause".to_owned(),
        title: "A <b>client</b> stalls & holds the lock".to_owned(),
        why: "Kleppmann 2016: a pause longer than the lease lets a second client in.".to_owned(),
        source: "title = \"A <b>client</b>\"\n[workload]\nclients = 3\n".to_owned(),
        environment: EnvironmentName::Sim.into(),
        seed: Seed(7),
        folder: PathBuf::from("reports/client-pause/20261123-092935-7"),
        started: "2026-11-23 09:29:35".to_owned(),
        settings: vec![("clients".to_owned(), "3".to_owned()), ("fencing".to_owned(), "access".to_owned())],
        plan: vec!["pause holder at before-write, every 4s, for 2.5s".to_owned()],
        replay: "fencepost run client-pause --seed 7".to_owned(),
        servers: None,
        versions: BTreeMap::from([("fencepost".to_owned(), "0.1.0".to_owned())]),
        locks: vec![
            lock("redlock", pause_of_the_holder("redlock", false), &[(MutualExclusion, Invalid), (Fencing, Invalid)]),
            lock("zookeeper", pause_of_the_holder("zookeeper", true), &[(MutualExclusion, Valid), (Fencing, Valid)]),
        ],
        interrupted: None,
    }
}

/// What is said where no check ran.
pub fn undecided() -> Judgement {
    Judgement { verdict: Verdict::Unknown, checks: Vec::new(), incidents: Vec::new(), incidents_in_all: 0 }
}

/// A run that was over before it began.
pub fn empty() -> Report {
    let mut report = report();
    report.locks.truncate(1);
    let lock = &mut report.locks[0];
    lock.history.ops.clear();
    lock.judgement = undecided();
    lock.expectations.iter_mut().for_each(|expectation| expectation.reached = None);
    lock.error = Some("no Redis node answered in 10s".to_owned());
    report.interrupted = Some("interrupted by Ctrl-C".to_owned());
    report
}
