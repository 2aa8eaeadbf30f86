//! The nemesis against a world that only takes notes, in paused time.

use std::sync::Mutex;

use super::*;
use crate::fault::request::{Call, Does};
use crate::fault::{ClockChange, Direction, FaultKind, Grudge, PeerGroup, Peers, Refusal, RequestRule, Shape};
use crate::history::Probe;
use crate::ids::NodeId;
use crate::lock::runtime::Runtime;
use crate::time::Clock;

/// tokio's time, paused: it jumps whenever nobody has anything to do.
pub(crate) struct Paused(tokio::time::Instant);

impl Paused {
    /// From now on.
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for Paused {
    fn now(&self) -> Nanos {
        Nanos(self.0.elapsed().as_nanos() as u64)
    }
}

impl Runtime for Paused {
    fn sleep_until(&self, at: Nanos) -> BoxFuture<'static, ()> {
        tokio::time::sleep_until(self.0 + Duration::from_nanos(at.0)).boxed()
    }

    fn random(&self) -> u64 {
        4
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

/// Takes down what is asked of it; its second server leads.
#[derive(Default)]
struct Notes {
    applied: Mutex<Vec<(u32, Strike)>>,
    gone: Mutex<Vec<u64>>,
}

impl Environment for Notes {
    fn apply<'a>(&'a self, id: u32, strike: &'a Strike, _: Duration) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        self.applied.lock().unwrap().push((id, strike.clone()));
        async { Ok(Vec::new()) }.boxed()
    }

    fn heal(&self, _: u32) -> BoxFuture<'_, Result<Vec<Probe>, FaultError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn go(&self, _: ClientId, number: u64) {
        self.gone.lock().unwrap().push(number);
    }

    fn means(&self, _: &Strike) -> &'static str {
        "notes"
    }

    fn session_server(&self, client: ClientId) -> BoxFuture<'_, Option<NodeId>> {
        async move { Some(NodeId(client.0)) }.boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Option<crate::ids::NodeId>> {
        async { Some(NodeId(2)) }.boxed()
    }
}

#[derive(Default)]
struct Ops(Mutex<Vec<Op>>);

impl Record for Ops {
    fn record(&self, op: Op) {
        self.0.lock().unwrap().push(op);
    }
}

const C1: Member = Member::Client(ClientId(1));
const N1: Member = Member::Node(NodeId(1));

fn fault(kind: FaultKind, target: &str, at: At, millis: u64) -> Fault {
    Fault { kind, target: target.parse().unwrap(), at, duration: Duration::from_millis(millis) }
}

fn at(millis: u64) -> At {
    At::Time(Duration::from_millis(millis))
}

/// Runs a plan for ten seconds; each event comes at its time in milliseconds. What was applied, and what was recorded
/// as (time in ms, op).
fn trial(plan: &[Fault], events: Vec<(u64, Event)>) -> (Vec<Strike>, Vec<(u64, Op)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(Paused::new());
        let (notes, ops) = (Arc::new(Notes::default()), Arc::new(Ops::default()));
        let (_stop, stopped) = watch::channel(false);
        let desk = Desk {
            environment: Arc::clone(&notes) as _,
            record: Arc::clone(&ops) as _,
            runtime: Arc::clone(&clock) as _,
            stop: stopped,
            start: Nanos::ZERO,
            end: Nanos(10_000_000_000),
        };
        let (tell, told) = mpsc::unbounded_channel();
        let nemesis = Nemesis::new(plan, Parties { clients: 2, nodes: 3 }, Seed(1), desk);
        let tells = async move {
            for (millis, event) in events {
                clock.sleep_until(Nanos(millis * 1_000_000)).await;
                tell.send(event).unwrap();
            }
            clock.sleep_until(Nanos(10_000_000_000)).await;
        };
        tokio::join!(nemesis.run(told), tells);
        let applied = notes.applied.lock().unwrap().drain(..).map(|(_, strike)| strike).collect();
        let ops = ops.0.lock().unwrap().drain(..).map(|op| (op.time.0 / 1_000_000, op)).collect();
        (applied, ops)
    })
}

fn acquired(client: u32, hold: &str) -> Event {
    Event::Op { client: ClientId(client), f: F::Acquire, kind: OpType::Ok, hold: HoldId::new(hold) }
}

#[test]
fn each_kind_becomes_its_strike_and_tells_what_was_asked() {
    let seconds = Duration::from_secs;
    let links = || Grudge::isolate(&[N1], &[C1, Member::Client(ClientId(2))], Direction::Out);
    let peers = || Peers::from(PeerGroup::Clients);
    let direction = Direction::Out;
    let jump = ClockChange::Jump { by_ns: -5 };
    let rule = RequestRule { does: Does::CutAfter, phase: Call::Releasing, times: Some(2), by: Duration::ZERO };
    let extra = (seconds(1), seconds(2));
    for (kind, strike) in [
        (FaultKind::Pause, Strike::Freeze(vec![N1])),
        (FaultKind::Kill, Strike::Kill(vec![N1])),
        (FaultKind::Restart, Strike::Kill(vec![N1])),
        (FaultKind::PowerLoss, Strike::PowerLoss(vec![N1])),
        (
            FaultKind::Partition { peers: peers(), direction, shape: Shape::Isolate, refusal: Refusal::Reset },
            Strike::Cut { links: links(), refusal: Refusal::Reset },
        ),
        (FaultKind::Delay { peers: peers(), direction, extra }, Strike::Delay { links: links(), extra }),
        (FaultKind::Loss { peers: peers(), direction, permille: 7 }, Strike::Loss { links: links(), permille: 7 }),
        (FaultKind::Clock(jump), Strike::Clock { members: vec![N1], change: jump }),
        (
            FaultKind::Request { peers: peers(), rule },
            Strike::Requests { links: Grudge { direction: Direction::Both, ..links() }, rule },
        ),
    ] {
        let name = kind.name();
        let (applied, ops) = trial(&[fault(kind, "node:1", at(0), 1_500)], Vec::new());
        assert_eq!(applied, std::slice::from_ref(&strike), "{name}: a fault at 0 s waits for nobody");
        let event = ops[0].1.fault.as_ref().unwrap();
        assert_eq!((event.kind.as_str(), &event.targets), (name, &vec![N1]));
        assert_eq!(event.clock, matches!(strike, Strike::Clock { .. }).then_some(jump));
        assert_eq!(event.late_by, matches!(strike, Strike::Delay { .. }).then_some((1_000_000_000, 2_000_000_000)));
        assert_eq!(event.lost_permille, matches!(strike, Strike::Loss { .. }).then_some(7));
        let has_links = matches!(strike, Strike::Cut { .. } | Strike::Delay { .. } | Strike::Loss { .. });
        let is_request = matches!(strike, Strike::Requests { .. });
        assert_eq!(event.request, is_request.then_some(rule));
        let both = is_request.then(|| Grudge { direction: Direction::Both, ..links() });
        assert_eq!(event.grudge, both.or(has_links.then(links)), "{name}");
        let told: Vec<(u64, F, OpType)> = ops.iter().map(|(millis, op)| (*millis, op.f, op.kind)).collect();
        let (fault, heal) = (F::Fault, F::Heal);
        let expected = [(0, fault, OpType::Invoke), (0, fault, OpType::Ok), (1_500, heal, OpType::Invoke)];
        assert_eq!(told[..3], expected, "{name}");
    }
}

#[test]
fn the_leader_and_drawn_sets_are_lock_servers() {
    for (target, count) in [("leader", 1), ("one", 1), ("minority", 1), ("majority", 2), ("all", 3)] {
        let (applied, _) = trial(&[fault(FaultKind::Kill, target, at(100), 500)], Vec::new());
        let [Strike::Kill(members)] = applied.as_slice() else { panic!("{applied:?}") };
        assert_eq!(members.len(), count, "{target}");
        assert!(members.is_sorted() && members.iter().all(|member| matches!(member, Member::Node(_))));
        assert!(target != "leader" || members == &[Member::Node(NodeId(2))]);
    }
}

fn cut(direction: Direction) -> FaultKind {
    FaultKind::Partition { peers: PeerGroup::Nodes.into(), direction, shape: Shape::Isolate, refusal: Refusal::Drop }
}

#[test]
fn a_strike_that_another_hinders_waits_for_its_end() {
    let loss = || FaultKind::Loss { peers: PeerGroup::Nodes.into(), direction: Direction::Both, permille: 5 };
    let drift = || FaultKind::Clock(ClockChange::Drift { ppm: 9 });
    for (first, second, waits) in [
        (FaultKind::Pause, FaultKind::Kill, true),
        (FaultKind::Kill, FaultKind::Pause, true),
        (FaultKind::Kill, cut(Direction::In), true),
        (cut(Direction::Out), cut(Direction::In), true),
        (cut(Direction::Both), FaultKind::Kill, false),
        (FaultKind::Kill, loss(), true),
        (loss(), FaultKind::Kill, false),
        (loss(), cut(Direction::Out), true),
        (loss(), loss(), false),
        (FaultKind::Pause, cut(Direction::Both), false),
        (FaultKind::Pause, drift(), true),
        (FaultKind::PowerLoss, drift(), true),
        (drift(), FaultKind::PowerLoss, false),
        (drift(), drift(), false),
    ] {
        let names = format!("{} then {}", first.name(), second.name());
        let plan = [fault(first, "client:1", at(1_000), 3_000), fault(second, "client:1", at(2_000), 1_000)];
        let (_, ops) = trial(&plan, Vec::new());
        let second = ops.iter().find(|(_, op)| op.fault.as_ref().unwrap().id == 2).unwrap();
        assert_eq!(second.0, if waits { 4_000 } else { 2_000 }, "{names}");
    }
}

#[test]
fn a_strike_ends_when_its_end_can_be_seen() {
    let drift = || FaultKind::Clock(ClockChange::Drift { ppm: 9 });
    // The kill is due before the drift has ended, and would hide its end again.
    let plan = [
        fault(drift(), "client:1", at(1_000), 1_000),
        fault(FaultKind::Pause, "client:1", at(1_500), 1_000),
        fault(FaultKind::Kill, "client:1", at(2_400), 1_000),
        fault(cut(Direction::Both), "client:1", at(3_900), 1_000),
        fault(FaultKind::PowerLoss, "client:1", at(4_500), 1_000),
        fault(FaultKind::Kill, "client:1", at(5_600), 1_000),
    ];
    let (_, ops) = trial(&plan, Vec::new());
    let told = ops.iter().filter(|(_, op)| op.kind == OpType::Ok);
    let told: Vec<(u64, F, &str)> =
        told.map(|(at, op)| (*at, op.f, op.fault.as_ref().unwrap().kind.as_str())).collect();
    let (fault, heal) = (F::Fault, F::Heal);
    let expected = [
        (1_000, fault, "clock-drift"),
        (1_500, fault, "pause"),
        (2_500, heal, "pause"),
        (2_500, heal, "clock-drift"),
        (2_500, fault, "kill"),
        (3_500, heal, "kill"),
        (3_900, fault, "partition"),
        (4_500, fault, "power-loss"),
        (5_500, heal, "power-loss"),
        (5_500, heal, "partition"),
        (5_600, fault, "kill"),
        (6_600, heal, "kill"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn who_waits_longest_strikes_next() {
    let loss = || FaultKind::Loss { peers: PeerGroup::Nodes.into(), direction: Direction::Both, permille: 5 };
    let every = At::Every(Duration::from_secs(1));
    // Between them they are always on.
    let (one, other) = (fault(loss(), "client:1", every, 1_500), fault(loss(), "client:1", every, 1_200));
    let plan = [one, other, fault(cut(Direction::Both), "client:1", at(1_500), 1_000)];
    let (_, ops) = trial(&plan, Vec::new());
    let begun = ops.iter().filter(|(_, op)| op.f == F::Fault && op.kind == OpType::Invoke);
    let begun: Vec<(u64, String)> = begun.map(|(at, op)| (*at, op.fault.as_ref().unwrap().kind.to_string())).collect();
    let told: Vec<(u64, &str)> = begun.iter().take(5).map(|(at, kind)| (*at, kind.as_str())).collect();
    assert_eq!(told, [(1_000, "loss"), (1_000, "loss"), (2_500, "partition"), (3_500, "loss"), (3_500, "loss")]);
}

#[test]
fn a_phase_that_does_not_come_again_keeps_nobody_waiting_for_ever() {
    let delay = FaultKind::Delay {
        peers: PeerGroup::Nodes.into(),
        direction: Direction::Both,
        extra: (Duration::from_millis(1), Duration::from_millis(2)),
    };
    let held = At::Phase { phase: Phase::Acquired, every: None, from: Duration::ZERO };
    let reached = Event::Reached { client: ClientId(1), number: 1, phase: Phase::Acquired };
    let plan = [
        fault(delay, "client:1", At::Every(Duration::from_secs(1)), 500),
        fault(cut(Direction::Both), "holder", held, 500),
    ];
    let (applied, ops) = trial(&plan, vec![(1_200, reached)]);
    assert!(applied.iter().all(|strike| matches!(strike, Strike::Delay { .. })), "the phase came while it was late");
    let begun = ops.iter().filter(|(_, op)| op.f == F::Fault && op.kind == OpType::Invoke).map(|(at, _)| *at);
    assert_eq!(begun.take(3).collect::<Vec<_>>(), [1_000, 7_200, 8_000], "held back from 1.2 s on, for six seconds");
}

#[test]
fn a_lock_server_is_struck_when_a_client_reaches_the_phase() {
    let reached = |client, number, phase| Event::Reached { client: ClientId(client), number, phase };
    let at = At::Phase { phase: Phase::Acquired, every: None, from: Duration::ZERO };
    let events = vec![(100, reached(1, 1, Phase::BeforeRead)), (200, reached(2, 1, Phase::Acquired))];
    let (applied, ops) = trial(&[fault(FaultKind::Restart, "node:1", at, 100)], events);
    assert_eq!((applied, ops[0].0), (vec![Strike::Kill(vec![N1])], 200));
    assert_eq!(ops[0].1.fault.as_ref().unwrap().phase, Some(Phase::Acquired));
}

#[test]
fn a_plan_is_drawn_the_same_when_another_fault_is_taken_out_of_it() {
    let one = |target| fault(FaultKind::Pause, target, At::Every(Duration::from_secs(2)), 500);
    let jump = FaultKind::Clock(ClockChange::Jump { by_ns: 1 });
    let (alone, _) = trial(&[one("one")], Vec::new());
    let (both, _) = trial(&[fault(jump, "minority", at(500), 100), one("one")], Vec::new());
    assert_eq!(both.iter().filter(|strike| matches!(strike, Strike::Freeze(_))).cloned().collect::<Vec<_>>(), alone);
}

#[test]
fn the_dead_neither_hold_nor_wait() {
    let asked = Event::Op { client: ClientId(2), f: F::Acquire, kind: OpType::Invoke, hold: HoldId::new("c2-1") };
    let mut crash = Op::new(Nanos(0), Process::Client(1), OpType::Info, F::Crash);
    crash.client = Some(ClientId(1));
    let events = vec![
        (100, acquired(1, "c1-1")),
        (200, asked),
        (300, Event::of(&crash).unwrap()),
        (400, Event::Crashed { client: ClientId(2) }),
        (5_000, acquired(2, "c2-2")),
    ];
    let plan = [fault(FaultKind::Pause, "holder", at(1_000), 500), fault(FaultKind::Pause, "waiter", at(1_000), 500)];
    let (applied, ops) = trial(&plan, events);
    assert_eq!(applied, [Strike::Freeze(vec![Member::Client(ClientId(2))])]);
    assert_eq!(ops[0].0, 5_000, "the holder strike waits until somebody holds");
}
