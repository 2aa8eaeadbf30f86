//! No check says `valid` of what was not exercised: for each, histories that lack what it is about.

use std::collections::BTreeSet;

use super::story::Story;
use crate::check::{CheckName, FailedRelease, Judgement, Model, Verdict, judge, judge_model};
use crate::history::{CutOff, F, History, OpType};
use crate::ids::ClientId;

fn nothing() -> Story {
    let mut story = Story::new(2);
    story.header.grant_within = Some(1_000_000_000);
    story.header.leaves_within = Some(1_000_000_000);
    story
}

/// One client takes turns with itself, and uses the resource.
fn alone() -> Story {
    let mut story = nothing();
    for turn in 0..3u64 {
        let (hold, at) = (format!("c1-{turn}"), 10 + turn * 20);
        story.acquire(&hold, at, at + 1, turn + 1);
        story.read(&hold, at + 2, turn, 100 - turn as i64);
        story.write(&hold, at + 3, turn, turn + 1, 99 - turn as i64);
        story.release(&hold, at + 5);
    }
    story
}

/// Two clients compete, and neither uses the resource.
fn idle() -> Story {
    let mut story = nothing();
    story.acquire("c1-1", 10, 11, 1);
    story.op(12, "c2-1", OpType::Invoke, F::Acquire);
    story.release("c1-1", 20);
    story.op(22, "c2-1", OpType::Ok, F::Acquire);
    story.release("c2-1", 30);
    story
}

/// Two clients take turns, and use the resource: the lock never has to keep anybody out.
fn taking_turns() -> Story {
    let mut story = nothing();
    for turn in 0..4u64 {
        let (hold, at) = (format!("c{}-{turn}", turn % 2 + 1), 10 + turn * 20);
        story.acquire(&hold, at, at + 1, turn + 1);
        story.read(&hold, at + 2, turn, 100 - turn as i64);
        story.write(&hold, at + 3, turn, turn + 1, 99 - turn as i64);
        story.release(&hold, at + 5);
    }
    story
}

/// Nobody is ever granted anything.
fn refused() -> Story {
    let mut story = nothing();
    for hold in ["c1-1", "c2-1"] {
        story.op(10, hold, OpType::Invoke, F::Acquire);
        story.op(20, hold, OpType::Fail, F::Acquire);
    }
    story
}

#[test]
fn no_check_is_valid_of_what_was_not_exercised() {
    use CheckName::*;
    type Case = (&'static str, fn() -> Story, &'static [CheckName]);
    let cases: [Case; 5] = [
        ("an empty history", nothing, &CheckName::ALL),
        (
            "nothing granted",
            refused,
            &[MutualExclusion, TokenOrder, Fencing, LostUpdates, Linearizable, LostSignal, Liveness, Coverage],
        ),
        // It shows that tokens rise and updates stay, among the turns of one client.
        ("one client alone", alone, &[MutualExclusion, Linearizable, LostSignal, Liveness, Coverage]),
        // It shows that tokens rise and updates stay, from one client to the other.
        ("turns without contention", taking_turns, &[MutualExclusion, Linearizable, LostSignal, Coverage]),
        ("nothing used, nothing lost", idle, &[Fencing, LostUpdates, LostSignal, Leftovers]),
    ];
    let mut shown = BTreeSet::new();
    for (name, story, checks) in cases {
        let judgement = judge(&story().history());
        for result in judgement.checks.iter().filter(|result| checks.contains(&result.check)) {
            let judged = matches!(result.verdict, Verdict::Valid | Verdict::Invalid);
            assert!(!judged, "{name}: {} is {}: {}", result.check, result.verdict, result.summary);
            shown.insert(result.check);
        }
    }
    assert_eq!(shown, CheckName::ALL.into(), "a check that no history here leaves without a verdict");
}

#[test]
fn coverage_names_each_planned_fault_that_never_struck() {
    let mut story = idle();
    story.pause(1, 1, 13, 15);
    for entry in ["clock-jump node:3 by +4s at votes-in, for 1s", "kill leader every 6s, for 1s"] {
        story.header.planned_faults += 1;
        story.header.plan.push(entry.to_owned());
    }
    let judgement = judge(&story.history());
    let coverage = judgement.checks.iter().find(|result| result.check == CheckName::Coverage).unwrap();
    assert_eq!(coverage.verdict, Verdict::Unknown);
    let named = "2 planned faults were never seen to strike (`clock-jump node:3 by +4s at votes-in, for 1s`, \
                 `kill leader every 6s, for 1s`)";
    assert!(coverage.summary.contains(named), "{}", coverage.summary);
    assert_eq!(["faults-planned", "faults-struck"].map(|name| coverage.figures[name]), [3.0, 1.0]);
}

#[test]
fn no_check_is_valid_of_a_history_that_is_cut_off() {
    let cut = |story: Story| History { cut_off: Some(CutOff::NoMark), ..story.history() };
    let model = |history: &History| judge_model(history, Model::FENCED, FailedRelease::EndsTheClaim);
    let told = |judgement: Judgement| {
        assert_ne!(judgement.verdict, Verdict::Valid);
        for result in judgement.checks {
            assert_ne!(result.verdict, Verdict::Valid, "{}: {}", result.check, result.summary);
        }
    };
    assert_eq!(model(&idle().history()).verdict, Verdict::Valid, "while it is whole");
    for history in [idle, alone, taking_turns, nothing].map(|story| cut(story())) {
        told(judge(&history));
        told(model(&history));
    }
    // What was seen broken was broken, whatever is missing.
    let mut twice = idle();
    twice.ops.retain(|op| op.f != F::Release || op.client == Some(ClientId(2)));
    let judgement = judge(&cut(twice));
    let exclusion = judgement.checks.iter().find(|result| result.check == CheckName::MutualExclusion).unwrap();
    assert_eq!(exclusion.verdict, Verdict::Invalid, "{}", exclusion.summary);
    let coverage = judgement.checks.iter().find(|result| result.check == CheckName::Coverage).unwrap();
    assert!(coverage.summary.contains("cut off (no end mark follows its last op)"), "{}", coverage.summary);
}
