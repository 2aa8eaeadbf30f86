//! What each check counts and tells, point by point: small histories in which a figure, a boundary or a sentence would
//! come out differently if one comparison were another one. Found by changing the checks and seeing what no test
//! noticed.

use super::story::Story;
use crate::check::evidence::Facts;
use crate::check::{CheckName, CheckResult, Verdict, fencing, judge, lost_signal, lost_updates};
use crate::history::{F, FaultEvent, History, Op, OpType, Probe, Process};
use crate::ids::{ClientId, LockName};
use crate::time::Nanos;

fn judged(history: &History, check: CheckName) -> CheckResult {
    judge(history).checks.into_iter().find(|result| result.check == check).unwrap()
}

fn figures<const N: usize>(result: &CheckResult, names: [&str; N]) -> [f64; N] {
    names.map(|name| result.figures[name])
}

/// c1 holds from 10 to 50 ms while c2 waits, and c2 from 60 to 90 ms.
fn handover() -> Story {
    let mut story = Story::new(2);
    story.acquire("c1-1", 5, 10, 1);
    story.op(20, "c2-1", OpType::Invoke, F::Acquire);
    story.release("c1-1", 50);
    story.op(60, "c2-1", OpType::Ok, F::Acquire).token = Some(crate::ids::FencingToken(2));
    story.release("c2-1", 90);
    story
}

/// The ops of the fault with this number.
fn strike(story: &mut Story, id: u32) -> impl Iterator<Item = &mut Op> {
    story.ops.iter_mut().filter(move |op| op.fault.as_ref().is_some_and(|fault| fault.id == id))
}

#[test]
fn coverage_counts_faults_by_what_came_of_them() {
    let mut story = handover();
    story.pause(1, 1, 15, 25);
    // Recorded as failed, though what was looked at was as it should be: it did not happen, and need not be undone.
    story.pause(2, 2, 30, 35);
    strike(&mut story, 2).filter(|op| (op.f, op.kind) == (F::Fault, OpType::Ok)).for_each(|op| op.kind = OpType::Fail);
    story.ops.retain(|op| op.f != F::Heal || op.fault.as_ref().is_none_or(|fault| fault.id != 2));
    story.pause(3, 1, 40, 45);
    story.refused("c2-1", 70, 0, 1);
    story.read("c2-1", 71, 0, 1);
    story.read("c2-1", 72, 0, 1);
    story.op(80, "c2-1", OpType::Ok, F::Lost);
    let result = judged(&story.history(), CheckName::Coverage);
    assert_eq!(result.verdict, Verdict::Unknown, "the second entry never struck: {}", result.summary);
    let told = figures(
        &result,
        ["faults-planned", "faults-applied", "faults-failed", "faults-healed", "holds-under-fault", "attempts-struck"],
    );
    assert_eq!(told, [3.0, 2.0, 1.0, 2.0, 1.0, 0.0], "{}", result.summary);
    assert_eq!(figures(&result, ["lost-signals", "refused-accesses", "contended-acquires"]), [1.0, 1.0, 1.0]);
}

#[test]
fn a_fault_that_begins_when_the_last_hold_ends_met_none() {
    for (from, met) in [(89, 1.0), (90, 0.0)] {
        let mut story = handover();
        story.pause(1, 2, from, 95);
        let result = judged(&story.history(), CheckName::Coverage);
        assert_eq!(result.figures["holds-under-fault"], met, "from {from} ms: {}", result.summary);
        // It is over before any hold would be: it changed nothing either way.
        assert_eq!(result.verdict, Verdict::Unknown, "from {from} ms: {}", result.summary);
        assert!(result.summary.contains("1 fault changed nothing that could be seen"), "{}", result.summary);
        assert_eq!(result.figures["strikes-with-effect"], 0.0, "{}", result.summary);
    }
    // One that lasts as long as holds do changes something.
    let mut story = handover();
    story.pause(1, 2, 89, 989);
    let result = judged(&story.history(), CheckName::Coverage);
    assert_eq!((result.verdict, result.figures["strikes-with-effect"]), (Verdict::Valid, 1.0), "{}", result.summary);
}

#[test]
fn faults_count_whether_planned_or_only_struck() {
    let mut unplanned = handover();
    unplanned.pause(1, 2, 91, 95);
    (unplanned.header.planned_faults, unplanned.header.plan) = (0, Vec::new());
    let result = judged(&unplanned.history(), CheckName::Coverage);
    assert_eq!(result.verdict, Verdict::Unknown, "{}", result.summary);
    assert!(result.summary.contains("0 faults planned, 1 of them struck, 1 strike seen"), "{}", result.summary);
    let mut idle = handover();
    idle.header.planned_faults = 1;
    let result = judged(&idle.history(), CheckName::Coverage);
    assert!(result.summary.contains("1 fault planned, 0 of them struck, 0 strikes seen"), "{}", result.summary);
}

#[test]
fn what_lacks_is_told_once() {
    let mut story = Story::new(2);
    story.op(1, "c1-1", OpType::Invoke, F::Acquire);
    let summary = judged(&story.history(), CheckName::Coverage).summary;
    assert!(summary.contains("nothing was granted, no acquire met a held lock. "), "{summary}");
}

#[test]
fn an_attempt_is_struck_if_the_fault_or_a_death_reached_it_open() {
    // The kill of c1 is asked for at 30 ms and in force at 40 ms. c1's attempt lasts from `from` to `to` and ends so.
    let struck = |from: u64, to: u64, kind: OpType, f: F| {
        let mut story = handover();
        story.ops.retain(|op| op.client != Some(ClientId(1)));
        story.op(from, "c1-1", OpType::Invoke, F::Acquire);
        let end = story.op(to, "c1-1", kind, f);
        if f == F::Crash {
            (end.hold, end.lock) = (None, None);
        }
        story.pause(1, 1, 30, 45);
        for op in strike(&mut story, 1).filter(|op| (op.f, op.kind) == (F::Fault, OpType::Ok)) {
            op.time = Nanos(40_000_000);
        }
        judged(&story.history(), CheckName::Coverage).figures["attempts-struck"]
    };
    let cases = [
        ("open when it is in force", 25, 42, OpType::Fail, F::Acquire, 1.0),
        ("answered before it is in force", 25, 35, OpType::Fail, F::Acquire, 0.0),
        ("ended by the death that it is", 25, 35, OpType::Info, F::Crash, 1.0),
        ("ended by an earlier death", 22, 28, OpType::Info, F::Crash, 0.0),
        ("begun after it was asked for", 32, 42, OpType::Fail, F::Acquire, 0.0),
    ];
    for (name, from, to, kind, f, expected) in cases {
        assert_eq!(struck(from, to, kind, f), expected, "{name}");
    }
    // A release is no attempt.
    let mut story = handover();
    story.ops.retain(|op| (op.f, op.kind) != (F::Release, OpType::Ok));
    story.pause(1, 1, 52, 95);
    assert_eq!(judged(&story.history(), CheckName::Coverage).figures["attempts-struck"], 0.0);
}

#[test]
fn what_was_not_undone_is_told_by_the_look_that_denies_it() {
    let mut story = handover();
    story.pause(1, 1, 15, 25);
    for op in strike(&mut story, 1).filter(|op| (op.f, op.kind) == (F::Heal, OpType::Ok)) {
        let probes = &mut op.fault.as_mut().unwrap().probes;
        probes.push(Probe::new("c1 pulse", "beating", "none"));
    }
    let history = story.history();
    let result = judged(&history, CheckName::Coverage);
    assert!(result.violations[0].text.ends_with("was not undone: c1 pulse was `none` where `beating` was expected."));
    assert_eq!(result.violations[0].to, history.ops.last().unwrap().time, "to the end");
    assert_eq!(figures(&result, ["faults-applied", "faults-healed"]), [1.0, 0.0]);
}

#[test]
fn ops_in_doubt_are_those_without_a_certain_answer() {
    let mut story = handover();
    story.op(91, "c1-2", OpType::Invoke, F::Acquire);
    story.op(92, "c1-2", OpType::Fail, F::Acquire);
    story.op(93, "c1-3", OpType::Invoke, F::Acquire);
    story.op(94, "c1-3", OpType::Info, F::Acquire);
    story.op(95, "c2-2", OpType::Invoke, F::Acquire);
    let result = judged(&story.history(), CheckName::Linearizable);
    assert_eq!(figures(&result, ["grants", "ops-in-doubt", "handovers"]), [2.0, 2.0, 1.0]);
}

#[test]
fn a_violation_names_the_faults_that_were_active_on_those_who_are_in_it() {
    // c1's hold and c2's overlap from 20 to 50 ms; the story of that begins at 10 ms.
    let told = |strikes: &[(u32, u64, u64)]| {
        let mut story = Story::new(3);
        story.acquire("c1-1", 1, 10, None);
        story.acquire("c2-1", 2, 20, None);
        story.release("c1-1", 50);
        story.release("c2-1", 90);
        for (id, (client, from, to)) in strikes.iter().enumerate() {
            story.pause(id as u32 + 1, *client, *from, *to);
        }
        let text = judged(&story.history(), CheckName::MutualExclusion).violations.remove(0).text;
        text.split_once("both held it for 30ms.").unwrap().1.to_owned()
    };
    let paused = |who, from, to| format!(" c{who} was paused from 0.0{from:02}s to 0.0{to:02}s.");
    assert_eq!(told(&[(1, 5, 9)]), "", "over before");
    assert_eq!(told(&[(1, 5, 10)]), paused(1, 5, 10), "over in the first moment");
    assert_eq!(told(&[(2, 50, 60)]), paused(2, 50, 60), "begun in the last moment");
    assert_eq!(told(&[(2, 51, 60)]), "", "begun after");
    assert_eq!(told(&[(3, 20, 30)]), "", "another client's");
    let four = told(&[(1, 11, 12), (2, 13, 14), (1, 15, 16), (2, 17, 18)]);
    let three = [paused(1, 11, 12), paused(2, 13, 14), paused(1, 15, 16)].concat();
    assert_eq!(four, format!("{three} 1 fault was active more."));

    let mut story = Story::new(3);
    story.acquire("c1-1", 1, 10, None);
    story.acquire("c2-1", 2, 20, None);
    for (id, kind) in [(1, OpType::Ok), (2, OpType::Ok), (3, OpType::Fail)] {
        story.pause(id, 1, 12, 60);
        for op in strike(&mut story, id).filter(|op| (op.f, op.kind) == (F::Fault, OpType::Ok)) {
            op.kind = kind;
        }
    }
    // The first one strikes a server, and is told after those that strike clients; nobody has undone it.
    for op in strike(&mut story, 1) {
        op.fault.as_mut().unwrap().targets = vec![crate::fault::Member::Node(crate::ids::NodeId(1))];
    }
    story.ops.retain(|op| op.f != F::Heal || op.fault.as_ref().is_none_or(|fault| fault.id != 1));
    story.release("c1-1", 80);
    let text = judged(&story.history(), CheckName::MutualExclusion).violations.remove(0).text;
    let active = " c1 was paused from 0.012s to 0.060s. n1 was paused from 0.012s to 0.081s.";
    assert!(text.ends_with(active), "{text}");
}

#[test]
fn accesses_are_counted_by_what_they_were_and_what_came_of_them() {
    let mut story = handover();
    story.read("c2-1", 65, 0, 9);
    story.write("c1-1", 66, 0, 1, 8);
    story.write("c1-1", 67, 1, 2, 7);
    story.read("c1-1", 68, 2, 7);
    story.refused("c1-1", 69, 2, 6);
    let result = judged(&story.history(), CheckName::Fencing);
    let names = ["accesses", "accepted", "refused", "stale-accepted", "stale-refused"];
    assert_eq!(figures(&result, names), [5.0, 4.0, 1.0, 3.0, 1.0]);
    assert_eq!(figures(&result, ["stale-reads-accepted", "stale-writes-accepted"]), [1.0, 2.0]);
    assert!(!result.summary.contains("no tokens"), "{}", result.summary);
    let text = &result.violations[0].text;
    assert!(
        text.contains("after it had served c2 (hold c2-1, token 2) at 0.065s: c1-1 was granted at 0.010s"),
        "{text}"
    );
    assert!(text.contains(". The resource's fencing was `none`."), "{text}");
}

#[test]
fn a_stale_access_is_told_by_the_first_one_that_it_comes_after() {
    for (token, known) in [(Some(2), "its token is lower"), (None, "c1-1 was granted at 0.010s, before c2-1")] {
        let mut story = Story::new(2);
        story.acquire("c1-1", 5, 10, token.map(|_| 1));
        let requested = if token.is_some() { 8 } else { 20 };
        story.acquire("c2-1", requested, 30, token);
        story.read("c2-1", 40, 0, 9);
        story.read("c2-1", 45, 0, 9);
        story.read("c1-1", 50, 0, 9);
        let text = fencing::check(&Facts::of(&story.history())).violations.remove(0).text;
        assert!(
            text.contains(&format!("(hold c2-1{}) at 0.040s: {known}", token.map_or("", |_| ", token 2"))),
            "{text}"
        );
    }
    // Served first while the other one was granted already: nothing tells which is older.
    let mut story = Story::new(2);
    story.acquire("c1-1", 5, 30, None);
    story.acquire("c2-1", 6, 40, None);
    for (hold, at) in [("c1-1", 40), ("c2-1", 50), ("c1-1", 60)] {
        story.read(hold, at, 0, 9);
    }
    let text = fencing::check(&Facts::of(&story.history())).violations.remove(0).text;
    assert!(text.contains("whichever of the two is older was served after the other"), "{text}");
}

#[test]
fn a_hold_that_reaches_several_items_is_judged_at_each_by_itself() {
    let at_item = |story: &mut Story, hold: &str, at: u64, item: u32| {
        story.read(hold, at, 0, 9);
        story.ops.iter_mut().filter_map(|op| op.value.as_mut()).rev().take(2).for_each(|value| value.item = item);
    };
    let judged = |reads: &[(&str, u32)]| {
        let mut story = Story::new(2);
        story.acquire("c1-1", 5, 30, None);
        story.acquire("c2-1", 6, 31, None);
        for (at, (hold, item)) in (40u64..).zip(reads) {
            at_item(&mut story, hold, at, *item);
        }
        let result = fencing::check(&Facts::of(&story.history()));
        (result.verdict, figures(&result, ["stale-accepted", "stale-undecided"]))
    };
    let alone = [("c1-1", 1), ("c1-1", 1), ("c1-1", 2), ("c2-1", 3)];
    assert_eq!(judged(&alone), (Verdict::Unknown, [0.0, 0.0]), "no item was reached by both");
    let first_there = [("c1-1", 1), ("c1-1", 2), ("c2-1", 3), ("c1-1", 3)];
    assert_eq!(judged(&first_there), (Verdict::Unknown, [0.0, 1.0]), "c1 had been served, but not there");
    let again_there = [("c1-1", 1), ("c1-1", 2), ("c2-1", 2), ("c1-1", 2)];
    assert_eq!(judged(&again_there), (Verdict::Invalid, [1.0, 0.0]));
}

#[test]
fn only_a_lock_without_any_token_leaves_nothing_to_fence_with() {
    let summary = |story: Story| judged(&story.history(), CheckName::Fencing).summary;
    assert!(!summary(Story::new(2)).contains("no tokens"), "nothing granted, nothing to say of tokens");
    let mut tokenless = Story::new(2);
    tokenless.acquire("c1-1", 1, 2, None);
    assert!(summary(tokenless).contains("The lock gave no tokens"));
}

#[test]
fn losses_are_counted_and_measured() {
    let mut story = Story::new(6);
    let told = [("c1-1", 100), ("c2-1", 105), ("c3-1", 110), ("c5-1", 120), ("c6-1", 150)];
    for (at, (hold, until)) in (1u64..).zip(told) {
        story.acquire(hold, at, at, None).valid_until = Some(Nanos(90_000_000));
        story.op(until, hold, OpType::Ok, F::Lost);
    }
    story.acquire("c4-1", 4, 4, None).valid_until = Some(Nanos(90_000_000));
    story.release("c4-1", 95);
    // Each in a lock of its own, so that no grant ends another hold.
    for op in &mut story.ops {
        op.lock = Some(LockName::new(format!("item-{}", op.client.unwrap().0)));
    }
    let result = lost_signal::check(&Facts::of(&story.history()));
    assert_eq!(figures(&result, ["holds-lost", "lost-signals", "ended-untold", "told-late"]), [6.0, 5.0, 1.0, 0.0]);
    assert_eq!(figures(&result, ["signal-delay-median-ms", "signal-delay-max-ms"]), [20.0, 60.0]);
}

#[test]
fn a_hold_is_lost_to_another_clients_grant_only() {
    let lost = |tell: &dyn Fn(&mut Story)| {
        let mut story = Story::new(3);
        story.acquire("c1-1", 1, 10, None);
        tell(&mut story);
        story.release("c1-1", 500);
        let result = lost_signal::check(&Facts::of(&story.history()));
        (result.figures["holds-lost"], result.violations.first().map(|violation| violation.text.clone()))
    };
    let (count, _) = lost(&|story| {
        story.acquire("c1-2", 20, 30, None);
        story.release("c1-2", 40);
    });
    assert_eq!(count, 0.0, "its own second grant takes nothing from it");
    let (count, text) = lost(&|story| {
        story.acquire("c1-2", 20, 30, None);
        story.release("c1-2", 40);
        story.acquire("c2-1", 50, 60, None);
        story.release("c2-1", 70);
    });
    assert_eq!(count, 1.0, "and hides no other one");
    assert!(text.unwrap().contains("the lock was granted to c2 (hold c2-1) at 0.060s"));
    let (count, _) = lost(&|story| {
        story.header.clock_error = 15_000_000;
        story.acquire("c2-1", 20, 24, None);
        story.release("c2-1", 70);
    });
    assert_eq!(count, 0.0, "which of two grants was later is not certain within the clock error");
}

#[test]
fn the_end_of_validity_tells_before_a_grant_of_the_same_moment() {
    let mut story = Story::new(2);
    story.header.clock_error = 5_000_000;
    story.acquire("c1-1", 1, 10, None).valid_until = Some(Nanos(100_000_000));
    story.acquire("c2-1", 2, 100, None);
    let ended = |at: u64| {
        let mut story = Story { header: story.header.clone(), ops: story.ops.clone() };
        story.release("c1-1", at);
        lost_signal::check(&Facts::of(&story.history()))
    };
    let result = ended(103);
    assert_eq!(result.figures["holds-lost"], 1.0, "{}", result.summary);
    let text = &ended(500).violations[0].text;
    assert!(text.contains("; its validity ended at 0.100s, and it was never told"), "{text}");
}

#[test]
fn lost_updates_are_counted_apart_and_explain_the_books() {
    let mut story = Story::new(3);
    for (at, hold) in (1u64..).zip(["c1-1", "c2-1", "c3-1"]) {
        story.acquire(hold, at, at, None);
        story.read(hold, 10 + at, 0, 100);
    }
    story.write("c1-1", 20, 0, 1, 95);
    story.write("c2-1", 21, 0, 2, 97);
    story.write("c3-1", 22, 0, 3, 99);
    story.op(23, "c3-1", OpType::Invoke, F::Write);
    story.op(24, "c3-1", OpType::Info, F::Write);
    let result = lost_updates::check(&Facts::of(&story.history()));
    let names = ["acknowledged", "unacknowledged", "lost", "units-sold", "stock-fell-by"];
    assert_eq!(figures(&result, names), [3.0, 1.0, 2.0, 9.0, 1.0], "{}", result.summary);
    assert_eq!((result.figures["lost-percent"] * 10.0).round(), 667.0);
    assert_eq!(result.violations.len(), 2, "what was lost explains the books: {:#?}", result.violations);
    assert!(result.summary.ends_with("; 9 units sold, stock fell by 1."), "{}", result.summary);
}

#[test]
fn books_that_cannot_be_kept_are_not_told() {
    // The read before the write is not on record.
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 2, None);
    story.write("c1-1", 10, 0, 1, 9);
    let result = lost_updates::check(&Facts::of(&story.history()));
    assert!(!result.figures.contains_key("units-sold") && !result.summary.contains("units"), "{}", result.summary);
    let mut balanced = Story::new(2);
    balanced.acquire("c1-1", 1, 2, None);
    balanced.acquire("c2-1", 1, 3, None);
    balanced.write("c1-1", 10, 0, 1, 9);
    balanced.read("c2-1", 11, 1, 9);
    balanced.write("c2-1", 12, 1, 2, 8);
    let result = lost_updates::check(&Facts::of(&balanced.history()));
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    assert!(!result.figures.contains_key("units-sold") && !result.summary.contains("units"), "{}", result.summary);
    let nothing = lost_updates::check(&Facts::of(&Story::new(2).history()));
    assert!(!nothing.figures.contains_key("units-sold"), "no item, no books");
}

#[test]
fn books_that_do_not_balance_are_told_with_their_sums() {
    let mut story = Story::new(3);
    for (at, hold) in (1u64..).zip(["c1-1", "c2-1", "c3-1"]) {
        story.acquire(hold, at, at, None);
    }
    story.read("c1-1", 11, 0, 100);
    story.read("c2-1", 12, 0, 100);
    story.write("c1-1", 20, 0, 1, 95);
    story.write("c2-1", 21, 0, 2, 97);
    story.read("c3-1", 22, 2, 96);
    story.write("c3-1", 23, 2, 3, 95);
    let result = lost_updates::check(&Facts::of(&story.history()));
    assert_eq!(result.violations.len(), 2, "{:#?}", result.violations);
    assert!(result.violations.iter().any(|violation| {
        violation.text.ends_with("its stock fell by 5, but the updates that its final value contains sold 4 units.")
    }));
}

#[test]
fn an_acknowledged_write_of_unknown_version_cannot_be_judged_by_clients_alone() {
    let mut story = Story::new(2);
    for (at, hold) in [(1, "c1-1"), (2, "c2-1")] {
        story.acquire(hold, at, at, None);
        story.write(hold, 10 + at, at - 1, at, 9);
    }
    story.ops.retain(|op| op.process != Process::Resource);
    let clear = lost_updates::check(&Facts::of(&Story { ops: story.ops.clone(), ..Story::new(2) }.history()));
    assert_eq!(clear.verdict, Verdict::Valid, "{}", clear.summary);
    story.op(20, "c1-1", OpType::Invoke, F::Write);
    let unversioned = story.op(21, "c1-1", OpType::Ok, F::Write);
    unversioned.value = Some(crate::history::ItemValue { item: 1, stock: 7, version: None, based_on: Some(2) });
    let result = lost_updates::check(&Facts::of(&story.history()));
    assert_eq!(result.verdict, Verdict::Unknown, "{}", result.summary);
    assert!(result.summary.contains("the record of 1 item lacks writes"), "{}", result.summary);
}

#[test]
fn a_write_that_the_resource_never_saw_is_counted_as_lost() {
    let mut story = handover();
    for (hold, version) in [("c1-1", 1), ("c2-1", 2)] {
        story.read(hold, 40 + version * 20, version - 1, 9);
        story.write(hold, 41 + version * 20, version - 1, version, 9);
    }
    for op in story.ops.iter_mut().filter(|op| (op.process, op.f) == (Process::Resource, F::Write)) {
        op.kind = OpType::Fail;
    }
    let result = lost_updates::check(&Facts::of(&story.history()));
    assert_eq!(figures(&result, ["acknowledged", "lost", "lost-percent"]), [2.0, 2.0, 100.0]);
}

#[test]
fn interleaved_uses_are_counted_over_all_locks() {
    let mut story = Story::new(4);
    for (one, other) in [("c1-1", "c2-1"), ("c3-1", "c4-1")] {
        story.acquire(one, 1, 3, None);
        story.acquire(other, 2, 20, None);
        for (hold, at) in [(one, 10), (other, 30), (one, 40)] {
            story.read(hold, at, 0, 9);
        }
        story.release(one, 80);
        story.release(other, 90);
    }
    for op in story.ops.iter_mut().filter(|op| op.client.is_some_and(|client| client.0 > 2)) {
        op.lock = Some(LockName::new("item-2"));
    }
    let result = judged(&story.history(), CheckName::MutualExclusion);
    assert_eq!(figures(&result, ["overlaps", "overlaps-interleaved"]), [2.0, 2.0]);
}

#[test]
fn tokens_out_of_place_are_told_as_what_they_are() {
    let texts = |tokens: [Option<u64>; 2]| {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 2, tokens[0]);
        story.release("c1-1", 5);
        story.acquire("c2-1", 10, 12, tokens[1]);
        let violations = judged(&story.history(), CheckName::TokenOrder).violations;
        violations.into_iter().map(|violation| violation.text).collect::<Vec<_>>()
    };
    let same = "c1 (hold c1-1, token 5) was granted `item-1` at 0.002s, c2 (hold c2-1, token 5) at 0.012s: one token for two grants.";
    assert_eq!(texts([Some(5), Some(5)]), [same]);
    let lower = "c1 (hold c1-1, token 5) was granted `item-1` at 0.002s. c2 (hold c2-1, token 4) asked for it at 0.010s, after \
                 that, and was given a lower token at 0.012s.";
    assert_eq!(texts([Some(5), Some(4)]), [lower]);
    let mixed =
        "Some grants carry a token and others do not: c1 (hold c1-1) at 0.002s, c2 (hold c2-1, token 4) at 0.012s.";
    assert_eq!(texts([None, Some(4)]), [mixed]);
}

#[test]
fn a_token_out_of_order_is_told_by_the_first_grant_of_the_highest() {
    let mut story = Story::new(3);
    for (at, (hold, token)) in (1u64..).zip([("c1-1", 5), ("c2-1", 5), ("c3-1", 4)]) {
        story.acquire(hold, at * 10, at * 10 + 1, token);
        story.release(hold, at * 10 + 5);
    }
    let violations = judged(&story.history(), CheckName::TokenOrder).violations;
    let told: Vec<&str> = violations.iter().map(|violation| violation.text.as_str()).collect();
    let [lower, same] = &told[..] else { panic!("{told:?}") };
    assert!(same.ends_with("one token for two grants."), "{same}");
    assert!(lower.starts_with("c1 (hold c1-1, token 5) was granted `item-1` at 0.011s. c3 (hold c3-1"), "{lower}");
}

#[test]
fn what_the_nemesis_must_not_do_is_told_as_what_it_is() {
    let text = |ops: &[(OpType, F)]| {
        let mut story = Story::new(1);
        for (at, (kind, f)) in (1u64..).zip(ops) {
            let mut op = Op::new(Nanos(at), Process::Nemesis, *kind, *f);
            op.fault = Some(Box::new(FaultEvent { id: 7, ..FaultEvent::default() }));
            story.ops.push(op);
        }
        let assumptions = judged(&story.history(), CheckName::Assumptions);
        assert_eq!(assumptions.figures["mistakes"], 1.0, "{ops:?}");
        assumptions.violations[0].text.clone()
    };
    use OpType::{Invoke, Ok};
    assert!(text(&[(Invoke, F::Heal)]).contains("heals fault 7, which was never applied"));
    assert!(text(&[(Invoke, F::Fault), (Invoke, F::Fault)]).contains("reuses fault 7"));
    assert!(text(&[(Ok, F::Fault)]).contains("completes for fault 7 what was never invoked"));
}

/// c1 held the lock until 100 ms; c2 waits from 50 ms on. The bound is a second.
fn wanted() -> Story {
    let mut story = Story::new(2);
    story.header.grant_within = Some(1_000_000_000);
    story.acquire("c1-1", 10, 12, None);
    story.op(50, "c2-1", OpType::Invoke, F::Acquire);
    story.release("c1-1", 100);
    story
}

/// Something of a lock that nobody competes for.
fn elsewhere(story: &mut Story, at: u64) {
    story.op(at, "c3-9", OpType::Invoke, F::Acquire).lock = Some(LockName::new("elsewhere"));
}

#[test]
fn a_lock_that_is_wanted_to_the_end_is_judged_to_the_end() {
    let mut story = wanted();
    elsewhere(&mut story, 1_101);
    let history = story.history();
    let result = judged(&history, CheckName::Liveness);
    assert_eq!(figures(&result, ["stuck", "longest-idle-ms"]).map(f64::round), [1.0, 1_001.0]);
    let violation = &result.violations[0];
    assert!(violation.text.ends_with("The last hold, c1-1 of c1, was released by its holder at 0.100s."));
    let [invoked, released] = &violation.ops[..] else { panic!("{violation:?}") };
    let op = |index: &u32| (history.ops[*index as usize].f, history.ops[*index as usize].kind);
    assert_eq!([op(invoked), op(released)], [(F::Acquire, OpType::Invoke), (F::Release, OpType::Invoke)]);
    assert_eq!(history.ops[*invoked as usize].client, Some(ClientId(2)));
}

#[test]
fn a_history_that_ends_while_the_lock_is_wanted_shows_nothing_from_half_the_bound_on() {
    for (end, verdict) in [(1_200, Verdict::Valid), (1_201, Verdict::Unknown)] {
        let mut story = wanted();
        story.op(150, "c2-1", OpType::Ok, F::Acquire);
        story.op(160, "c1-2", OpType::Invoke, F::Acquire);
        story.release("c2-1", 700);
        elsewhere(&mut story, end);
        let result = judged(&story.history(), CheckName::Liveness);
        assert_eq!(result.verdict, verdict, "{end} ms: {}", result.summary);
    }
}

#[test]
fn a_grant_after_a_wait_met_a_hold() {
    let waits = |asked: u64| {
        let mut story = Story::new(2);
        story.header.grant_within = Some(1_000_000_000);
        story.acquire("c1-1", 10, 12, None);
        story.release("c1-1", 100);
        story.acquire("c2-1", asked, 150, None);
        judged(&story.history(), CheckName::Liveness).figures["grants-after-a-wait"]
    };
    assert_eq!([waits(99), waits(100)], [1.0, 0.0]);
    let mut overlapping = Story::new(3);
    overlapping.header.grant_within = Some(1_000_000_000);
    overlapping.acquire("c1-1", 10, 12, None);
    overlapping.acquire("c2-1", 14, 16, None);
    assert_eq!(judged(&overlapping.history(), CheckName::Liveness).figures["grants-after-a-wait"], 1.0);
}

#[test]
fn each_starved_client_is_accused_once_when_it_stops_waiting_or_at_the_end() {
    // c1 is granted over and over; c2 and c3 try in vain, c2 in attempts that end, c3 in one that does not.
    let mut story = Story::new(3);
    story.header.grant_within = Some(1_000_000_000);
    story.op(0, "c3-0", OpType::Invoke, F::Acquire);
    for round in 0..80 {
        let (at, hold, vain) = (round * 10, format!("c1-{round}"), format!("c2-{round}"));
        story.acquire(&hold, at + 1, at + 2, None);
        story.op(at + 1, &vain, OpType::Invoke, F::Acquire);
        story.release(&hold, at + 4);
        story.op(at + 6, &vain, OpType::Fail, F::Acquire);
    }
    let history = story.history();
    let result = judged(&history, CheckName::Liveness);
    assert_eq!(figures(&result, ["starved", "passed-over-max", "stuck"]), [2.0, 80.0, 0.0], "{}", result.summary);
    for violation in &result.violations {
        let [invoked, _] = &violation.ops[..] else { panic!("{violation:?}") };
        let invoked = &history.ops[*invoked as usize];
        assert_eq!((invoked.f, invoked.kind), (F::Acquire, OpType::Invoke), "{violation:?}");
        assert!(violation.text.contains(&format!("(now as {})", invoked.hold.as_ref().unwrap())), "{violation:?}");
    }
}
