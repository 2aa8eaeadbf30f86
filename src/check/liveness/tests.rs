//! What is judged a ghost and what starvation, point by point, and against a look at every millisecond.

use rand::RngExt;

use super::*;
use crate::check::tests::story::Story;
use crate::seed::Seed;

/// A story of two clients with a bound of a second.
fn bounded() -> Story {
    let mut story = Story::new(2);
    story.header.grant_within = Some(1_000_000_000);
    story
}

/// c1 held the lock until 100 ms; c2 waits from 50 ms on. The bound is a second.
fn wanted() -> Story {
    let mut story = bounded();
    story.acquire("c1-1", 10, 12, None);
    story.op(50, "c2-1", OpType::Invoke, F::Acquire);
    story.release("c1-1", 100);
    story
}

fn judged(story: Story) -> CheckResult {
    check(&Facts::of(&story.history()))
}

fn granted(story: &mut Story, at: u64) {
    story.op(at, "c2-1", OpType::Ok, F::Acquire);
    story.release("c2-1", at + 5);
}

/// A semaphore goes on granting while a ghost has one of its permits: who waits beside the other is stuck all the same.
#[test]
fn a_permit_that_is_free_is_granted_within_the_bound() {
    // c1 comes again and again; c2 waits from 20 ms on.
    let story = |full: bool, granted: u64| {
        let mut story = Story::new(3);
        story.header.grant_within = Some(1_000_000_000);
        story.header.kind = LockKind::Semaphore { permits: 2 };
        story.acquire("c1-1", 10, 12, None);
        story.op(20, "c2-1", OpType::Invoke, F::Acquire);
        story.release("c1-1", 100);
        story.acquire("c1-2", 110, 112, None);
        if full {
            story.acquire("c3-1", 120, 122, None);
            story.release("c3-1", 500);
        }
        story.release("c1-2", 600);
        story.acquire("c1-3", 610, 612, None);
        story.op(granted, "c2-1", OpType::Ok, F::Acquire);
        story.release("c2-1", granted + 5);
        judged(story)
    };
    let late = story(false, 1_021);
    assert_eq!((late.verdict, late.figures["stuck"]), (Verdict::Invalid, 1.0), "{}", late.summary);
    assert!(late.violations[0].text.contains("c2"), "{}", late.violations[0].text);
    assert_eq!(story(false, 1_020).figures["stuck"], 0.0);
    // All permits were in use until 500 ms.
    assert_eq!(story(true, 1_500).verdict, Verdict::Valid);
    assert_eq!(story(true, 1_501).verdict, Verdict::Invalid);
}

#[test]
fn what_keeps_a_lock_from_being_granted_is_told_apart() {
    let mut cases: Vec<(&str, Story, Verdict)> = Vec::new();
    let mut add = |name, verdict, finish: &dyn Fn(&mut Story)| {
        let mut story = wanted();
        finish(&mut story);
        cases.push((name, story, verdict));
    };
    add("granted at once", Verdict::Valid, &|story| granted(story, 101));
    add("granted at the bound", Verdict::Valid, &|story| granted(story, 1_100));
    add("granted after the bound", Verdict::Invalid, &|story| granted(story, 1_101));
    add("never granted", Verdict::Invalid, &|story| {
        story.op(1_101, "c2-1", OpType::Fail, F::Acquire);
    });
    add("not granted yet", Verdict::Unknown, &|story| {
        story.op(700, "c2-1", OpType::Fail, F::Acquire);
    });
    add("under a fault all the time", Verdict::Valid, &|story| {
        story.pause(1, 1, 100, 3_000);
        granted(story, 4_000);
    });
    add("not granted after the fault", Verdict::Invalid, &|story| {
        story.pause(1, 1, 100, 3_000);
        granted(story, 4_001);
    });
    add("after the second of two faults", Verdict::Valid, &|story| {
        story.pause(1, 1, 110, 200);
        story.pause(2, 1, 300, 400);
        granted(story, 500);
    });
    add("under a fault that nobody undid", Verdict::Unknown, &|story| {
        story.pause(1, 1, 110, 200);
        story.ops.retain(|op| op.f != F::Heal);
        granted(story, 4_000);
    });
    add("not granted after a fault that failed", Verdict::Invalid, &|story| {
        story.pause(1, 1, 110, 200);
        story.ops.retain(|op| op.f != F::Heal);
        story.ops.last_mut().unwrap().kind = OpType::Fail;
        granted(story, 4_000);
    });
    add("no grant after the fault", Verdict::Unknown, &|story| {
        granted(story, 101);
        story.pause(1, 1, 300, 400);
    });
    add("granted while the fault is in force only", Verdict::Unknown, &|story| {
        story.pause(1, 1, 60, 1_000);
        granted(story, 500);
    });
    add("granted while the fault is in force, and after it", Verdict::Valid, &|story| {
        story.pause(1, 1, 60, 1_000);
        granted(story, 500);
        story.acquire("c1-2", 1_100, 1_101, None);
    });
    add("nobody wants it any more", Verdict::Unknown, &|story| {
        story.op(110, "c2-1", OpType::Fail, F::Acquire);
        story.acquire("c1-2", 5_000, 5_001, None);
    });
    add("who wanted it has died", Verdict::Unknown, &|story| {
        story.op(110, "c2-1", OpType::Info, F::Crash);
        story.acquire("c1-2", 5_000, 5_001, None);
    });
    for (name, story, verdict) in cases {
        let result = judged(story);
        assert_eq!(result.verdict, verdict, "{name}: {}", result.summary);
    }
}

#[test]
fn who_never_waited_shows_nothing() {
    let mut story = bounded();
    for (hold, at) in [("c1-1", 10), ("c2-1", 30)] {
        story.acquire(hold, at, at + 1, None);
        story.release(hold, at + 5);
    }
    assert_eq!(judged(story).verdict, Verdict::Unknown);
    assert_eq!(judged(bounded()).verdict, Verdict::Unknown);
    assert_eq!(judged(Story::new(2)).verdict, Verdict::NotApplicable, "no bound, nothing to hold it to");
}

#[test]
fn being_passed_over_is_counted_through_all_attempts_until_a_grant() {
    let story = |rounds: u64, granted_at: Option<u64>| {
        let mut story = bounded();
        for round in 0..rounds {
            let (at, hold, vain) = (round * 10, format!("c1-{round}"), format!("c2-{round}"));
            story.acquire(&hold, at + 1, at + 2, None);
            story.op(at + 1, &vain, OpType::Invoke, F::Acquire);
            story.release(&hold, at + 4);
            let kind = if granted_at == Some(round) { OpType::Ok } else { OpType::Fail };
            story.op(at + 6, &vain, kind, F::Acquire);
            if kind == OpType::Ok {
                story.release(&vain, at + 7);
            }
        }
        judged(story)
    };
    let limit = 2 * PASSES_PER_CLIENT as u64;
    let passes = |result: &CheckResult| result.figures["passed-over-max"] as u64;
    assert_eq!((story(limit, None).figures["starved"], passes(&story(limit, None))), (0.0, limit));
    assert_eq!((story(limit + 1, None).verdict, passes(&story(limit + 1, None))), (Verdict::Invalid, limit + 1));
    assert_eq!(story(limit + 1, Some(20)).verdict, Verdict::Valid);
}

#[test]
fn being_passed_over_in_one_attempt_counts_though_that_is_granted_at_last() {
    let story = |passes: u64| {
        let mut story = bounded();
        story.op(0, "c2-1", OpType::Invoke, F::Acquire);
        for round in 0..passes {
            story.acquire(&format!("c1-{round}"), round * 10 + 1, round * 10 + 2, None);
            story.release(&format!("c1-{round}"), round * 10 + 4);
        }
        granted(&mut story, passes * 10);
        judged(story)
    };
    let limit = 2 * PASSES_PER_CLIENT as u64;
    assert_eq!(story(limit).verdict, Verdict::Valid);
    let starved = story(limit + 1);
    assert_eq!((starved.verdict, starved.figures["passed-over-max"] as u64), (Verdict::Invalid, limit + 1));
}

#[test]
fn finds_what_a_look_at_every_millisecond_finds() {
    let (mut stuck, mut fine) = (0, 0);
    for seed in 0..400 {
        let mut rng = Seed(seed).stream("liveness");
        let mut story = Story::new(3);
        story.header.grant_within = Some(200_000_000);
        // What happens when: waiting and held go up or down; what sets the count back.
        let mut waiting: Vec<(u64, i64)> = Vec::new();
        let mut held: Vec<(u64, i64)> = Vec::new();
        let mut faults: Vec<(u64, i64)> = Vec::new();
        let mut now = 10;
        for attempt in 0..rng.random_range(2..8) {
            let hold = format!("c1-{attempt}");
            let (asked, got) = (now, now + rng.random_range(1..260));
            let given_back = got + rng.random_range(1..100);
            waiting.extend([(asked, 1), (got, -1)]);
            if rng.random_range(0..4) == 0 {
                story.op(asked, &hold, OpType::Invoke, F::Acquire);
                story.op(got, &hold, OpType::Fail, F::Acquire);
            } else {
                story.acquire(&hold, asked, got, None);
                story.release(&hold, given_back);
                held.extend([(got, 1), (given_back, -1)]);
            }
            now = given_back + rng.random_range(2..80);
        }
        for (id, start) in [(1, 100u64), (2, 700)].into_iter().take(rng.random_range(0..=2)) {
            let until = start + rng.random_range(1..400);
            story.pause(id, 3, start, until);
            faults.extend([(start, 1), (until, -1)]);
        }
        let state =
            |changes: &[(u64, i64)], t| changes.iter().filter(|(at, _)| *at <= t).map(|(_, by)| by).sum::<i64>();
        let (mut idle, mut longest) = (0u64, 0u64);
        let history = story.history();
        let end = history.ops.last().map_or(0, |op| op.time.0 / 1_000_000);
        for t in 0..end {
            if held.iter().chain(&faults).any(|(at, _)| *at == t) {
                idle = 0;
            }
            let counts = state(&waiting, t) > 0 && state(&held, t) == 0 && state(&faults, t) == 0;
            idle += u64::from(counts);
            longest = longest.max(idle);
        }
        let result = check(&Facts::of(&history));
        assert_eq!(result.figures["longest-idle-ms"] as u64, longest, "seed {seed}: {}", result.summary);
        assert_eq!(result.verdict == Verdict::Invalid, longest > 200, "seed {seed}: {}", result.summary);
        *(if longest > 200 { &mut stuck } else { &mut fine }) += 1;
    }
    assert!(stuck > 50 && fine > 50, "{stuck} stuck, {fine} fine: the mix shows nothing");
}

/// Found by a search: a naive client whose session lives on goes on working for four seconds after it was told.
#[test]
fn who_does_not_listen_keeps_others_waiting_until_the_hold_is_given_back() {
    let story = |finish: &dyn Fn(&mut Story)| {
        let mut story = bounded();
        story.acquire("c1-1", 10, 12, None);
        story.op(50, "c2-1", OpType::Invoke, F::Acquire);
        story.op(100, "c1-1", OpType::Ok, F::Lost);
        finish(&mut story);
        judged(story)
    };
    let ends = [
        ("given back in time", Verdict::Valid, 3_000, F::Release, 3_500),
        ("kept when it had been given back", Verdict::Invalid, 3_000, F::Release, 4_501),
        ("asked for again", Verdict::Invalid, 3_000, F::Acquire, 4_501),
    ];
    for (name, verdict, at, f, granted_at) in ends {
        let hold = if f == F::Release { "c1-1" } else { "c1-2" };
        let result = story(&|story| {
            story.op(at, hold, OpType::Invoke, f);
            story.op(at + 5, hold, if f == F::Release { OpType::Ok } else { OpType::Fail }, f);
            granted(story, granted_at);
        });
        assert_eq!(result.verdict, verdict, "{name}: {result:?}");
    }
    let elsewhere = story(&|story| {
        story.op(3_000, "c1-2", OpType::Invoke, F::Acquire);
        story.op(3_005, "c1-2", OpType::Fail, F::Acquire);
        for op in story.ops.iter_mut().rev().take(2) {
            op.lock = Some(LockName::new("item-2"));
        }
        granted(story, 4_501);
    });
    assert_eq!(elsewhere.violations.len(), 1, "it has gone on to another lock: {elsewhere:?}");
    let died = story(&|story| {
        story.op(3_000, "c1-1", OpType::Info, F::Crash);
        granted(story, 4_501);
    });
    assert_eq!(died.verdict, Verdict::Invalid, "its holder is dead: {died:?}");
    // c3 is granted it meanwhile and gives it back: whatever keeps it from c2 is not that c1 has not.
    let passed_on = story(&|story| {
        story.acquire("c3-1", 1_000, 1_010, None);
        story.release("c3-1", 1_100);
        granted(story, 2_200);
    });
    assert_eq!(passed_on.verdict, Verdict::Invalid, "it was kept for nobody: {passed_on:?}");
    // The file ends before the holder has said anything.
    let cut = story(&|story| {
        story.op(4_501, "c2-1", OpType::Fail, F::Acquire);
    });
    assert_eq!(cut.violations, [], "still kept for c1, for all that is known");
}
