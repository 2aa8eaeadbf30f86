//! No more clients than a lock allows hold it at once: `mutual-exclusion` of read-write locks and semaphores.
//!
//! As of one client's lock, a hold is what its client may believe, cut as short as it can be. Deliberately absent: what
//! the holders of a semaphore did with the resource; they may use it together.

use std::time::Duration;

use super::evidence::{Facts, Listing, counted, lasting, milliseconds, seconds, united, validity};
use super::severity::Severities;
use super::{CheckName, CheckResult, Severity, Verdict, Violation, conclude, contention, crowds, uses};
use crate::lock_kind::LockKind;

/// The guarantee of a lock of this kind.
fn guarantee(kind: LockKind) -> String {
    let hold = "from the completion of an acquire to the invocation of its release or the signal that it was lost";
    match kind {
        LockKind::Semaphore { permits } => {
            format!("No more than {} of one lock overlap, {hold}.", counted(permits as usize, "hold", "holds"))
        }
        _ => format!("A writer's hold overlaps no other one of its lock, {hold}; readers hold it together."),
    }
}

/// Judges whether more clients held a lock at once than its kind allows.
pub(super) fn check(facts: &Facts<'_>, kind: LockKind) -> CheckResult {
    let error = facts.clock_error();
    let crowds = crowds::of(facts, kind, |place| {
        let hold = &facts.holds[place];
        std::iter::once((hold.from + error, hold.to))
    });
    let within =
        crowds::of(facts, kind, |place| facts.holds[place].valid_spans().map(move |(from, to)| (from + error, to)));
    let uses = uses::uses(facts);
    let places = crowds.iter().flat_map(|crowd| crowd.others.iter().copied().chain([crowd.place])).collect();
    let severities = Severities::of(facts, &uses, &places);
    let mut listing = Listing::default();
    let mut interleaved = 0;
    for crowd in &crowds {
        // Who shares a semaphore may use the resource together.
        let severity = match kind {
            LockKind::Semaphore { .. } => Severity::Belief,
            _ => crowd
                .others
                .iter()
                .map(|other| severities.of_overlap(*other, crowd.place))
                .max()
                .unwrap_or(Severity::Belief),
        };
        interleaved += usize::from(severity > Severity::Belief);
        // Whose validity was over first.
        let blamed = crowd.others.iter().copied().min_by_key(|other| facts.holds[*other].clipped_to());
        listing
            .blame(blamed.unwrap_or(crowd.place), Some(crowd.place), crowd.from, || told(facts, kind, crowd, severity));
    }
    let spans = united(crowds.iter().map(|crowd| (crowd.from, crowd.to)).collect());
    let in_all: Duration = spans.iter().map(|(from, to)| *to - *from).sum();
    let longest = spans.iter().map(|(from, to)| *to - *from).max().unwrap_or_default();
    let holds = counted(facts.holds.len(), "hold", "holds");
    let (verdict, summary) = if !crowds.is_empty() {
        let grants = counted(crowds.len(), "grant beside", "grants beside");
        let summary = format!(
            "{grants} those who kept it out among {holds} of a {kind}, {} of them while all were valid by their own API; \
             {} in all, the longest {}.",
            within.len(),
            lasting(in_all),
            lasting(longest)
        );
        (Verdict::Invalid, summary)
    } else if !contention::occurs(facts.history, kind) {
        let summary =
            format!("{holds} of a {kind}, and no acquire met holders who kept it out: nobody was one too many.");
        (Verdict::Unknown, summary)
    } else {
        (Verdict::Valid, format!("{holds} of a {kind}, never more at once than it allows."))
    };
    let figures = [
        ("holds", facts.holds.len() as f64),
        ("overlaps", crowds.len() as f64),
        ("overlaps-within-validity", within.len() as f64),
        ("overlaps-interleaved", interleaved as f64),
        ("overlap-ms", milliseconds(in_all)),
        ("longest-overlap-ms", milliseconds(longest)),
    ];
    conclude(CheckName::MutualExclusion, &guarantee(kind), verdict, summary, &figures, listing)
}

fn told(facts: &Facts<'_>, kind: LockKind, crowd: &crowds::Crowd, severity: Severity) -> Violation {
    let held = |place: usize| {
        let hold = &facts.holds[place];
        let until = format!("{} to {}", seconds(hold.from), seconds(hold.to));
        format!("{} held it{} from {until}{}", facts.holder(hold), crowds::role(kind, hold), validity(hold))
    };
    let others = crowd.others.iter().map(|place| held(*place)).collect::<Vec<_>>().join("; ");
    let text = format!(
        "`{}`, a {kind}: {others}; and beside them {}: too many for {}.{}",
        facts.holds[crowd.place].lock,
        held(crowd.place),
        lasting(crowd.to - crowd.from),
        match severity {
            Severity::Belief => "",
            Severity::Interleaved => " Their uses of the resource interleaved.",
            Severity::Effect => " One of them wrote over an update of another that it had not seen.",
        },
    );
    Violation { severity: Some(severity), ..crowds::violation(facts, crowd, text) }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::{CheckName, Judgement, judge};
    use super::*;
    use crate::check::tests::story::Story;
    use crate::history::{F, Hold, Op, OpType};
    use crate::ids::HoldId;
    use crate::seed::Seed;
    use crate::time::Nanos;

    const TWO: LockKind = LockKind::Semaphore { permits: 2 };

    fn story(kind: LockKind) -> Story {
        let mut story = Story::new(4);
        story.header.kind = kind;
        story.header.grant_within = Some(100_000_000);
        story
    }

    /// Marks the ops of these holds as readers'.
    fn reading(mut story: Story, readers: &[&str]) -> Story {
        let reads = |op: &&mut Op| readers.iter().any(|reader| op.hold == Some(HoldId::new(reader)));
        story.ops.iter_mut().filter(reads).for_each(|op| op.shared = true);
        story
    }

    fn verdict(judgement: &Judgement, check: CheckName) -> Verdict {
        judgement.checks.iter().find(|result| result.check == check).unwrap().verdict
    }

    /// Both checks of who holds, with what a lease promises to last for longer than all of it.
    fn judged(mut story: Story) -> [Verdict; 2] {
        let granted = |op: &&mut Op| op.f == F::Acquire && op.kind == OpType::Ok;
        story.ops.iter_mut().filter(granted).for_each(|op| op.valid_until = Some(Nanos(1_000_000_000)));
        let judgement = judge(&story.history());
        [CheckName::MutualExclusion, CheckName::Linearizable].map(|check| verdict(&judgement, check))
    }

    /// Three acquires one after the other; the first is released, when the third has been granted or before.
    fn three(kind: LockKind, third: u64) -> Story {
        let mut story = story(kind);
        story.acquire("c1-1", 10, 11, None);
        story.acquire("c2-1", 12, 13, None);
        story.acquire("c3-1", 14, third, None);
        story.release("c1-1", 20);
        story.release("c2-1", 30);
        story.release("c3-1", 40);
        story
    }

    #[test]
    fn one_too_many_is_caught_and_as_many_as_permits_are_not() {
        assert_eq!(judged(three(TWO, 15)), [Verdict::Invalid; 2]);
        assert_eq!(judged(three(TWO, 20)), [Verdict::Valid; 2], "granted when another began to release");
        let three_permits = LockKind::Semaphore { permits: 3 };
        assert_eq!(judged(three(three_permits, 15)), [Verdict::Unknown; 2], "nobody had to wait");
    }

    #[test]
    fn a_writer_beside_readers_is_caught_and_readers_together_are_not() {
        let lock = LockKind::ReadWrite;
        assert_eq!(judged(reading(three(lock, 15), &["c1-1", "c2-1"])), [Verdict::Invalid; 2], "c3 writes");
        assert_eq!(judged(reading(three(lock, 30), &["c1-1", "c2-1"])), [Verdict::Valid; 2], "c3 waits for both");
        assert_eq!(judged(reading(three(lock, 15), &["c1-1", "c2-1", "c3-1"])), [Verdict::Unknown; 2]);
        assert_eq!(judged(reading(three(lock, 15), &["c2-1", "c3-1"])), [Verdict::Invalid; 2], "beside c1, a writer");
    }

    #[test]
    fn a_hold_past_its_lease_is_believed_and_not_promised() {
        let mut story = three(TWO, 15);
        let granted = |op: &&mut Op| op.f == F::Acquire && op.kind == OpType::Ok;
        story.ops.iter_mut().filter(granted).for_each(|op| op.valid_until = Some(Nanos(op.time.0 + 3_000_000)));
        let judgement = judge(&story.history());
        assert_eq!(verdict(&judgement, CheckName::MutualExclusion), Verdict::Invalid);
        assert_eq!(verdict(&judgement, CheckName::Linearizable), Verdict::Valid, "c1's lease was over at 14 ms");
    }

    #[test]
    fn what_is_too_short_for_the_clocks_is_no_crowd() {
        let mut story = three(TWO, 19);
        story.header.clock_error = 2_000_000;
        assert_eq!(judged(story)[0], Verdict::Valid);
    }

    #[test]
    fn what_a_semaphore_cannot_promise_is_not_judged() {
        let mut told = three(TWO, 20);
        told.write("c1-1", 15, 0, 1, 99);
        told.write("c2-1", 16, 0, 2, 99);
        let judgement = judge(&told.history());
        for check in [CheckName::Fencing, CheckName::LostUpdates] {
            assert_eq!(verdict(&judgement, check), Verdict::NotApplicable, "{check}");
        }
    }

    #[test]
    fn readers_are_stale_after_writers_only() {
        let lock = LockKind::ReadWrite;
        let told = |writer: bool| {
            let mut story = story(lock);
            story.acquire("c1-1", 10, 11, 1);
            story.acquire("c2-1", 12, 13, 2);
            story.op(13, "c3-1", OpType::Invoke, F::Acquire);
            story.read("c1-1", 14, 0, 9);
            story.read("c2-1", 15, 0, 9);
            story.read("c1-1", 16, 0, 9);
            story.op(18, "c3-1", OpType::Ok, F::Acquire);
            let readers = if writer { &["c1-1"][..] } else { &["c1-1", "c2-1"] };
            verdict(&judge(&reading(story, readers).history()), CheckName::Fencing)
        };
        assert_eq!(told(true), Verdict::Invalid, "c1 was served, then the writer c2, then c1 again");
        assert_eq!(told(false), Verdict::Valid);
    }

    #[test]
    fn a_permit_that_is_gone_is_missed() {
        let mut told = story(TWO);
        told.acquire("c1-1", 1, 2, None);
        told.op(3, "c2-1", OpType::Invoke, F::Acquire);
        told.op(150, "c2-1", OpType::Fail, F::Acquire);
        told.release("c1-1", 160);
        assert_eq!(verdict(&judge(&told.history()), CheckName::Liveness), Verdict::Invalid, "one of two was free");
        let mut behind = story(LockKind::ReadWrite);
        behind.acquire("c1-1", 1, 2, None);
        behind.op(3, "c2-1", OpType::Invoke, F::Acquire);
        behind.op(4, "c3-1", OpType::Invoke, F::Acquire);
        behind.op(150, "c3-1", OpType::Fail, F::Acquire);
        behind.release("c1-1", 160);
        let behind = reading(behind, &["c1-1", "c3-1"]).history();
        assert_ne!(verdict(&judge(&behind), CheckName::Liveness), Verdict::Invalid, "the writer c2 comes first");
    }

    /// A lock of its kind that works, driven at random: granted only to those whom nobody keeps out.
    fn lawful(seed: u64, kind: LockKind) -> Story {
        let mut rng = Seed(seed).stream("several");
        let mut told = story(kind);
        let mut held: Vec<(u64, String, bool)> = Vec::new();
        let mut readers = Vec::new();
        let (mut now, mut token) = (1, 0);
        for attempt in 1..60 {
            now += rng.random_range(0..4);
            let client = attempt % 4 + 1;
            let id = format!("c{client}-{attempt}");
            let reads = kind == LockKind::ReadWrite && rng.random::<bool>();
            if held.iter().any(|(holder, ..)| *holder == client) {
                continue;
            }
            let asked = now;
            now += 1;
            while kind.keeps_out(held.iter().map(|(.., shared)| *shared), reads) {
                let (_, over, _) = held.remove(rng.random_range(0..held.len()));
                told.release(&over, now);
                now += 2;
            }
            token += 1;
            told.acquire(&id, asked, now, token).valid_until = Some(Nanos(1_000_000_000));
            if reads {
                readers.push(id.clone());
            }
            held.push((client, id, reads));
            now += 1;
        }
        for (_, over, _) in held {
            now += 2;
            told.release(&over, now);
        }
        reading(told, &readers.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn a_lock_that_works_is_never_accused_wherever_its_history_is_cut() {
        let mut valid = 0;
        for seed in 0..40 {
            for kind in [LockKind::ReadWrite, TWO, LockKind::Semaphore { permits: 3 }] {
                let history = lawful(seed, kind).history();
                let whole = judge(&history);
                let told: Vec<_> = whole.checks.iter().flat_map(|result| &result.violations).collect();
                assert_ne!(whole.verdict, Verdict::Invalid, "seed {seed}, {kind}: {told:#?}");
                valid += usize::from(verdict(&whole, CheckName::MutualExclusion) == Verdict::Valid);
                let mut cut = history.clone();
                cut.ops.truncate((seed as usize * 7) % history.ops.len());
                cut.cut_off = Some(crate::history::CutOff::EndedEarly { why: "cut".to_owned() });
                let judgement = judge(&cut);
                assert_ne!(judgement.verdict, Verdict::Invalid, "seed {seed}, {kind}, cut");
            }
        }
        assert!(valid > 60, "{valid}");
    }

    /// The grants that come beside too many others, by their definition.
    fn by_definition(holds: &[Hold], kind: LockKind) -> Vec<usize> {
        let beside = |place: usize| {
            let before = holds[..place].iter().filter(|other| other.to > holds[place].from);
            kind.keeps_out(before.map(|other| other.shared), holds[place].shared)
        };
        (0..holds.len()).filter(|place| holds[*place].from < holds[*place].to && beside(*place)).collect()
    }

    #[test]
    fn crowds_are_those_that_comparing_all_holds_finds() {
        let mut found = 0;
        for seed in 0..200 {
            let mut rng = Seed(seed).stream("crowds");
            let kind = [LockKind::ReadWrite, TWO][rng.random_range(0..2)];
            let mut told = story(kind);
            let mut readers = Vec::new();
            for client in 1..=9u64 {
                let id = format!("c{client}-1");
                let from = rng.random_range(2..30);
                told.acquire(&id, 1, from, None);
                told.release(&id, from + rng.random_range(0..12));
                if rng.random::<bool>() {
                    readers.push(id);
                }
            }
            let history = reading(told, &readers.iter().map(String::as_str).collect::<Vec<_>>()).history();
            let facts = Facts::of(&history);
            let span = |place: usize| std::iter::once((facts.holds[place].from, facts.holds[place].to));
            let crowds: Vec<usize> = crowds::of(&facts, kind, span).iter().map(|crowd| crowd.place).collect();
            assert_eq!(crowds, by_definition(&facts.holds, kind), "seed {seed}");
            found += crowds.len();
        }
        assert!(found > 200, "{found}");
    }
}
