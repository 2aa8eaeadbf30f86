//! What counts as left over, and what does not, on histories of one lock.

use super::*;
use crate::check::tests::story::Story;
use crate::check::{CheckResult, judge};
use crate::fault::grudge::Grudge;
use crate::fault::request::{Call, Does};
use crate::fault::{ClockChange, FaultName, RequestRule};
use crate::history::{Api, CutOff, History, Process};
use crate::ids::NodeId;

const SECOND: u64 = 1_000_000_000;

/// c1 held and released, c2 asked and failed, both by 100 ms; the lease is a second.
fn turns() -> Story {
    let mut story = Story::new(2);
    story.header.leaves_within = Some(SECOND);
    story.acquire("c1-1", 5, 10, None);
    story.op(20, "c2-1", OpType::Invoke, F::Acquire);
    story.release("c1-1", 60);
    story.op(100, "c2-1", OpType::Fail, F::Acquire);
    story
}

/// Something is left at `at` milliseconds.
fn left(story: &mut Story, at: u64, time_left: Option<u64>) -> &mut Op {
    let op = story.op(at, "c1-1", OpType::Ok, F::Left);
    (op.process, op.client, op.hold) = (Process::Inspector, None, None);
    let (name, owner) = ("k:item-1".to_owned(), "x7".to_owned());
    op.left = Some(Box::new(Left { node: Some(NodeId(2)), name, owner, time_left }));
    op
}

fn looked(story: &mut Story, at: u64, kind: OpType) {
    let op = story.op(at, "c1-1", kind, F::Look);
    (op.process, op.client, op.hold, op.lock) = (Process::Inspector, None, None, None);
}

fn said(history: &History) -> CheckResult {
    judge(history).checks.into_iter().find(|result| result.check == CheckName::Leftovers).unwrap()
}

/// What is said of turns after which `at` milliseconds something is left for so many more.
fn of(at: u64, time_left: Option<u64>) -> CheckResult {
    let mut story = turns();
    left(&mut story, at, time_left.map(|ms| ms * 1_000_000));
    looked(&mut story, at, OpType::Ok);
    said(&story.history())
}

#[test]
fn nothing_left_is_valid_only_if_somebody_looked_everywhere() {
    let with = |kind: Option<OpType>| {
        let mut story = turns();
        kind.into_iter().for_each(|kind| looked(&mut story, 2_000, kind));
        said(&story.history())
    };
    assert_eq!(with(Some(OpType::Ok)).verdict, Verdict::Valid);
    assert_eq!(with(Some(OpType::Info)).verdict, Verdict::Unknown);
    assert_eq!(with(None).verdict, Verdict::Unknown);
    let mut foreign = turns();
    foreign.header.leaves_within = None;
    assert_eq!(said(&foreign.history()).verdict, Verdict::NotApplicable);
    let mut empty = Story::new(2);
    empty.header.leaves_within = Some(SECOND);
    looked(&mut empty, 2_000, OpType::Ok);
    assert_eq!(said(&empty.history()).verdict, Verdict::Unknown, "nobody asked for anything");
}

#[test]
fn what_stays_beyond_the_lease_is_accused_and_what_goes_within_it_is_not() {
    for (at, time_left, verdict) in [
        // For ever, at a server that has had time enough.
        (2_000, None, Verdict::Invalid),
        // It began anew after its attempt was over: somebody renews it.
        (2_000, Some(900), Verdict::Invalid),
        // The lease of the attempt that ended last goes on until 1.1 s.
        (300, Some(800), Verdict::Unknown),
        (300, Some(5_000), Verdict::Invalid),
        (1_400, None, Verdict::Unknown),
    ] {
        let result = of(at, time_left);
        assert_eq!(result.verdict, verdict, "{at} {time_left:?}: {}", result.summary);
        assert_eq!(result.violations.is_empty(), verdict != Verdict::Invalid);
    }
    let told = of(2_000, None).violations.remove(0);
    assert!(
        told.text.contains("n2 still has `k:item-1` of `item-1`, of x7: it does not go by itself"),
        "{}",
        told.text
    );
    assert!(told.text.contains("c2-1 of c2, failed at 0.100s"), "{}", told.text);
    assert_eq!(told.ops.len(), 2);
}

#[test]
fn it_is_its_own_attempt_that_counts_where_that_is_known() {
    let known = |hold: Option<&str>, client: Option<u32>| {
        let mut story = turns();
        story.acquire("c2-2", 1_800, 1_900, None);
        story.release("c2-2", 1_950);
        let op = left(&mut story, 2_000, Some(SECOND / 2));
        (op.hold, op.client) = (hold.map(HoldId::new), client.map(ClientId));
        looked(&mut story, 2_000, OpType::Ok);
        said(&story.history()).verdict
    };
    assert_eq!(known(Some("c1-1"), Some(1)), Verdict::Invalid);
    assert_eq!(known(None, Some(1)), Verdict::Invalid);
    assert_eq!(known(None, Some(2)), Verdict::Unknown, "it may be of the attempt that has just ended");
    assert_eq!(known(None, None), Verdict::Unknown);
}

#[test]
fn who_holds_has_left_nothing() {
    let mut story = turns();
    story.acquire("c2-2", 200, 210, None);
    left(&mut story, 2_000, Some(SECOND));
    looked(&mut story, 2_000, OpType::Ok);
    let result = said(&story.history());
    assert_eq!((result.verdict, result.figures["left-held"]), (Verdict::Valid, 1.0));
}

#[test]
fn the_end_of_a_fault_counts_as_the_end_of_what_it_delayed() {
    let mut story = turns();
    story.pause(1, 2, 50, 1_500);
    left(&mut story, 2_000, Some(SECOND / 2));
    looked(&mut story, 2_000, OpType::Ok);
    assert_eq!(said(&story.history()).verdict, Verdict::Unknown);
    let mut late = turns();
    late.pause(1, 2, 50, 1_500);
    left(&mut late, 3_200, None);
    looked(&mut late, 3_200, OpType::Ok);
    assert_eq!(said(&late.history()).verdict, Verdict::Invalid);
}

#[test]
fn a_request_that_was_held_up_goes_on_after_its_strike() {
    let held = |by: u64| {
        let mut story = turns();
        story.pause(1, 2, 50, 90);
        for op in story.ops.iter_mut().filter(|op| op.fault.is_some()) {
            let by = Duration::from_millis(by);
            let rule = RequestRule { does: Does::Hold, phase: Call::Acquiring, times: None, by };
            op.fault.as_mut().unwrap().request = Some(rule);
        }
        left(&mut story, 2_000, Some(SECOND / 2));
        looked(&mut story, 2_000, OpType::Ok);
        said(&story.history()).verdict
    };
    assert_eq!(
        held(1_000),
        Verdict::Unknown,
        "a key that was set at 1.09 s may stay for another lease, late as servers are"
    );
    assert_eq!(held(100), Verdict::Invalid);
}

/// Found by a search: a request that was cut off came 1.6 s after the cuts, which had lasted for 2.2 s in sum.
#[test]
fn a_request_that_a_link_held_back_may_come_as_long_after_the_fault_as_that_lasted() {
    let of = |kind: FaultName, peer: Member, time_left: Option<u64>| {
        let mut story = turns();
        story.pause(1, 2, 50, 1_050);
        for op in story.ops.iter_mut().filter(|op| op.fault.is_some()) {
            let fault = op.fault.as_mut().unwrap();
            let cuts = [(Member::Client(ClientId(2)), vec![peer])].into();
            (fault.kind, fault.grudge) = (kind.into(), Some(Grudge { cuts, ..Grudge::default() }));
        }
        left(&mut story, 3_000, time_left);
        looked(&mut story, 3_000, OpType::Ok);
        said(&story.history()).verdict
    };
    let with = |kind, time_left| of(kind, Member::Node(NodeId(2)), time_left);
    for kind in [FaultName::Partition, FaultName::Loss] {
        assert_eq!(with(kind, Some(SECOND / 2)), Verdict::Unknown, "until 2.05 s, for a second's lease");
        assert_eq!(of(kind, Member::Resource, Some(SECOND / 2)), Verdict::Invalid, "no request to a lock server");
    }
    assert_eq!(with(FaultName::Delay, Some(SECOND / 2)), Verdict::Invalid, "what is late is not sent again");
    assert_eq!(with(FaultName::Partition, Some(2 * SECOND)), Verdict::Invalid, "beyond any of that");
    assert_eq!(with(FaultName::Partition, None), Verdict::Invalid, "it does not go by itself");
    assert_eq!(with(FaultName::Pause, Some(SECOND / 2)), Verdict::Invalid, "what is frozen goes on at once");
}

#[test]
fn a_key_at_a_server_whose_clock_was_wrong_is_not_held_against_the_lock() {
    let with = |node: u32, time_left| {
        let mut story = turns();
        story.pause(1, 2, 50, 90);
        for op in story.ops.iter_mut().filter(|op| op.fault.is_some()) {
            let fault = op.fault.as_mut().unwrap();
            fault.targets = vec![Member::Node(NodeId(node))];
            fault.clock = Some(ClockChange::Jump { by_ns: -5_000_000_000 });
        }
        left(&mut story, 2_000, time_left);
        looked(&mut story, 2_000, OpType::Ok);
        said(&story.history()).verdict
    };
    assert_eq!(with(2, Some(4 * SECOND)), Verdict::Unknown);
    assert_eq!(with(1, Some(4 * SECOND)), Verdict::Invalid, "it was another one's");
    assert_eq!(with(2, None), Verdict::Invalid, "no clock keeps what has no time to live");
}

#[test]
fn a_strangers_attempt_in_doubt_may_hold_but_not_beyond_its_death() {
    let with = |api: Option<Api>, dies: bool, client: Option<u32>| {
        let mut story = Story::new(2);
        story.header.leaves_within = Some(SECOND);
        story.header.api = api;
        story.op(20, "c2-1", OpType::Invoke, F::Acquire);
        story.op(100, "c2-1", OpType::Info, F::Acquire);
        let op = story.op(110, "c2-2", OpType::Invoke, F::Acquire);
        op.process = Process::Client(4);
        if dies {
            let op = story.op(120, "c2-2", OpType::Info, F::Crash);
            (op.process, op.hold, op.lock) = (Process::Client(4), None, None);
        } else {
            story.op(120, "c2-2", OpType::Fail, F::Acquire).process = Process::Client(4);
        }
        let op = story.op(130, "c2-3", OpType::Invoke, F::Acquire);
        op.process = Process::Client(6);
        story.op(140, "c2-3", OpType::Fail, F::Acquire).process = Process::Client(6);
        left(&mut story, 5_000, None).client = client.map(ClientId);
        looked(&mut story, 5_000, OpType::Ok);
        said(&story.history()).verdict
    };
    let stranger = || Some(Api { tells_loss: true, lease: None });
    assert_eq!(with(None, false, None), Verdict::Invalid, "our own locks see to it themselves");
    assert_eq!(with(stranger(), false, None), Verdict::Unknown);
    assert_eq!(with(stranger(), true, Some(2)), Verdict::Invalid, "its session is one of its later life");
}

#[test]
fn a_sound_history_cut_anywhere_is_not_accused() {
    let mut story = turns();
    story.acquire("c1-2", 1_000, 1_001, None);
    story.release("c1-2", 1_100);
    // Still held by a client that nobody waited for.
    story.acquire("c2-2", 1_200, 1_300, None);
    left(&mut story, 4_000, Some(SECOND));
    looked(&mut story, 4_000, OpType::Ok);
    let whole = story.history();
    assert_eq!(said(&whole).verdict, Verdict::Valid);
    for length in 0..whole.ops.len() {
        let ops = whole.ops[..length].to_vec();
        let cut = History { cut_off: Some(CutOff::NoMark), ..History::new(whole.header.clone(), ops) };
        assert_eq!(said(&cut).verdict, Verdict::Unknown, "cut after {length} ops");
    }
}
