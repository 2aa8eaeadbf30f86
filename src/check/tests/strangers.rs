//! Locks that are not of this crate: nobody is accused on the word of a program that contradicts itself, nor of what
//! its API does not offer.

use super::story::Story;
use crate::check::{CheckName, CheckResult, Verdict, judge};
use crate::history::{Api, F, History, OpType, Process};

const SECOND: u64 = 1_000_000_000;

/// c1 holds from 10 ms to 3 s, c2 is granted the lock at 2.5 s; neither shows a validity.
fn twice(api: Option<Api>) -> Story {
    let mut story = Story::new(2);
    story.header.api = api;
    story.acquire("c1-1", 5, 10, None);
    story.acquire("c2-1", 20, 2_500, None);
    story.release("c1-1", 3_000);
    story.release("c2-1", 3_100);
    story
}

fn said(history: &History, check: CheckName) -> CheckResult {
    judge(history).checks.into_iter().find(|result| result.check == check).unwrap()
}

#[test]
fn overlaps_count_as_the_api_presents_them_and_again_within_the_stated_lease() {
    let counted = |lease: Option<u64>| {
        let story = twice(Some(Api { tells_loss: false, lease }));
        let result = said(&story.history(), CheckName::MutualExclusion);
        assert_eq!((result.verdict, result.figures["overlaps"]), (Verdict::Invalid, 1.0));
        (result.figures["overlaps-within-validity"], result.summary)
    };
    let (within, summary) = counted(Some(SECOND));
    assert_eq!(within, 0.0, "its lease was over by 1.01 s: {summary}");
    assert!(
        summary.contains("as the lock's API presents it; 0 of them within its validity and the lease"),
        "{summary}"
    );
    assert_eq!(counted(Some(3 * SECOND)).0, 1.0);
    let (within, summary) = counted(None);
    assert!(within == 1.0 && summary.contains("states no lease"), "{summary}");
}

#[test]
fn a_loss_that_an_api_has_no_word_for_is_not_judged() {
    let lost =
        |tells_loss| said(&twice(Some(Api { tells_loss, lease: None })).history(), CheckName::LostSignal).verdict;
    assert_eq!(lost(false), Verdict::NotApplicable);
    assert_eq!(lost(true), Verdict::Invalid, "it has a word, and did not say it for half a second");
}

#[test]
fn of_a_program_that_contradicts_itself_nothing_is_believed() {
    let with = |kind: OpType| {
        let mut story = twice(None);
        let op = story.op(2_700, "c2-1", kind, F::Adapter);
        (op.process, op.hold, op.lock) = (Process::Monitor, None, None);
        op.error = Some("it answered a request twice".to_owned());
        judge(&story.history())
    };
    let judgement = with(OpType::Fail);
    assert!(judgement.incidents.is_empty());
    for result in &judgement.checks {
        let silent = matches!(result.verdict, Verdict::Unknown | Verdict::NotApplicable);
        assert!(silent && result.violations.is_empty(), "{}: {}", result.check, result.summary);
    }
    assert!(judgement.checks[1].summary.contains("answered a request twice"));
    // Noise and failures leave the rest of its word.
    for kind in [OpType::Ok, OpType::Info] {
        assert_eq!(with(kind).verdict, Verdict::Invalid);
    }
}

#[test]
fn an_acquire_in_doubt_may_be_a_hold_until_its_lease_is_over() {
    let waiting = |doubt: OpType| {
        let mut story = Story::new(2);
        story.header.grant_within = Some(SECOND);
        story.acquire("c1-1", 5, 10, None);
        story.op(20, "c2-1", OpType::Invoke, F::Acquire);
        story.op(30, "c1-2", OpType::Invoke, F::Acquire);
        story.ops.last_mut().unwrap().process = Process::Client(9);
        story.release("c1-1", 40);
        let op = story.op(900, "c1-2", doubt, F::Acquire);
        op.process = Process::Client(9);
        story.op(1_800, "c2-1", OpType::Ok, F::Acquire);
        story.release("c2-1", 1_900);
        said(&story.history(), CheckName::Liveness).verdict
    };
    assert_eq!(waiting(OpType::Fail), Verdict::Invalid, "nobody had it for more than the bound");
    assert_ne!(waiting(OpType::Info), Verdict::Invalid);
}
