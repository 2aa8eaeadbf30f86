//! A few words to write histories in, for tests: times in milliseconds, clients told by the hold's id (`c2-7` is c2's).

use crate::fault::{FaultName, Member};
use crate::fencing::Fencing;
use crate::history::EnvironmentName;
use crate::history::{F, FaultEvent, Header, History, ItemValue, Op, OpType, Probe, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::lock_kind::LockKind;
use crate::seed::Seed;
use crate::time::Nanos;

/// A history in the making.
pub struct Story {
    pub header: Header,
    pub ops: Vec<Op>,
}

impl Story {
    /// A story of so many clients, with no fault planned and clocks that agree.
    pub fn new(clients: u32) -> Self {
        let header = Header {
            fencepost: crate::history::FORMAT,
            scenario: "story".to_owned(),
            lock: "fable".to_owned(),
            algorithm: "fable".to_owned(),
            kind: LockKind::Mutex,
            environment: EnvironmentName::Sim.into(),
            seed: Seed(1),
            clients,
            nodes: 1,
            fencing: Fencing::None.into(),
            content: Default::default(),
            planned_faults: 0,
            plan: Vec::new(),
            grant_within: None,
            leaves_within: None,
            api: None,
            clock_error: 0,
            versions: Default::default(),
        };
        Self { header, ops: Vec::new() }
    }

    /// One op of the client of `hold`, as the client's first process.
    pub fn op(&mut self, at: u64, hold: &str, kind: OpType, f: F) -> &mut Op {
        let client: u32 = hold[1..].split('-').next().unwrap().parse().unwrap();
        let op = self.push(at, Process::Client(client), kind, f);
        op.client = Some(ClientId(client));
        op.hold = Some(HoldId::new(hold));
        op.lock = Some(LockName::new("item-1"));
        op
    }

    /// An acquire that succeeds.
    pub fn acquire(&mut self, hold: &str, invoked: u64, granted: u64, token: impl Into<Option<u64>>) -> &mut Op {
        self.op(invoked, hold, OpType::Invoke, F::Acquire);
        let op = self.op(granted, hold, OpType::Ok, F::Acquire);
        op.token = token.into().map(FencingToken);
        op
    }

    /// A release, done in the millisecond after it began.
    pub fn release(&mut self, hold: &str, invoked: u64) {
        self.op(invoked, hold, OpType::Invoke, F::Release);
        self.op(invoked + 1, hold, OpType::Ok, F::Release);
    }

    /// A client reads `stock` at `version`; the resource serves it in the same millisecond.
    pub fn read(&mut self, hold: &str, at: u64, version: u64, stock: i64) {
        let seen = ItemValue { item: 1, stock, version: Some(count(version)), based_on: None };
        self.access(hold, at, F::Read, OpType::Ok, seen);
    }

    /// A client writes `stock` over what it had read at `based_on`; the resource makes it `version`.
    pub fn write(&mut self, hold: &str, at: u64, based_on: u64, version: u64, stock: i64) {
        let made = ItemValue { item: 1, stock, version: Some(count(version)), based_on: Some(count(based_on)) };
        self.access(hold, at, F::Write, OpType::Ok, made);
    }

    /// A client's write that the resource refuses.
    pub fn refused(&mut self, hold: &str, at: u64, based_on: u64, stock: i64) {
        let meant = ItemValue { item: 1, stock, version: None, based_on: Some(count(based_on)) };
        self.access(hold, at, F::Write, OpType::Fail, meant);
    }

    fn access(&mut self, hold: &str, at: u64, f: F, kind: OpType, value: ItemValue) {
        self.op(at, hold, OpType::Invoke, f);
        let served = self.op(at, hold, kind, f);
        served.process = Process::Resource;
        served.value = Some(value);
        self.op(at, hold, kind, f).value = Some(value);
    }

    /// A fault that strikes a client at one time, and is undone at another.
    pub fn pause(&mut self, id: u32, client: u32, from: u64, to: u64) {
        let plan = format!("pause client:{client} at 0s, for 1s");
        self.header.planned_faults += 1;
        self.header.plan.push(plan.clone());
        for (at, kind, f) in [
            (from, OpType::Invoke, F::Fault),
            (from, OpType::Ok, F::Fault),
            (to, OpType::Invoke, F::Heal),
            (to, OpType::Ok, F::Heal),
        ] {
            let state = if f == F::Fault { "frozen" } else { "running" };
            let what = format!("c{client} state");
            let probe = Probe::new(what, state, state);
            self.push(at, Process::Nemesis, kind, f).fault = Some(Box::new(FaultEvent {
                id,
                kind: FaultName::Pause.into(),
                plan: plan.clone(),
                targets: vec![Member::Client(ClientId(client))],
                phase: None,
                requested: 1_000_000_000,
                probes: if kind == OpType::Ok { vec![probe] } else { Vec::new() },
                ..FaultEvent::default()
            }));
        }
    }

    fn push(&mut self, at: u64, process: Process, kind: OpType, f: F) -> &mut Op {
        self.ops.push(Op::new(Nanos(at * 1_000_000), process, kind, f));
        self.ops.last_mut().unwrap()
    }

    /// The end.
    pub fn history(self) -> History {
        History::new(self.header, self.ops)
    }
}

fn count(version: u64) -> u32 {
    version.try_into().unwrap()
}
