//! What must hold for every history of a kind, on random ones; and quick checks against slow ones.

use std::time::Duration;

use rand::RngExt;

use super::story::Story;
use crate::check::evidence::Facts;
use crate::check::{CheckName, CheckResult, Judgement, Severity, Verdict, judge};
use crate::history::{F, History, Hold, Op, OpType, Process};
use crate::ids::ClientId;
use crate::seed::Seed;
use crate::time::Nanos;

const SEEDS: u64 = 300;

fn result(judgement: &Judgement, check: CheckName) -> &CheckResult {
    judgement.checks.iter().find(|result| result.check == check).unwrap()
}

/// A lock that works: one hold after the other, each reads and sells one, with every outcome that an op can have.
/// Acquires are invoked long before they succeed or not at all, ties are frequent, processes retire.
pub(crate) fn sequential(seed: u64, tokens: bool) -> Story {
    let mut rng = Seed(seed).stream("story");
    let clients = rng.random_range(2..=5);
    let mut story = Story::new(clients);
    let mut process: Vec<u32> = (0..=clients).collect();
    let mut free_since = vec![0; clients as usize + 1];
    let (mut now, mut version) = (0, 0);
    for attempt in 1..=rng.random_range(4..40u64) {
        let client = rng.random_range(1..=clients) as usize;
        let hold = format!("c{client}-{attempt}");
        let first = story.ops.len();
        now = free_since[client].max(now + rng.random_range(0..3u64));
        let invoked = rng.random_range(free_since[client]..=now);
        let kind = [OpType::Ok, OpType::Ok, OpType::Ok, OpType::Fail, OpType::Info][rng.random_range(0..5)];
        let mut retired = kind == OpType::Info;
        if kind == OpType::Ok {
            let granted = story.acquire(&hold, invoked, now, tokens.then_some(attempt));
            granted.valid_until = rng.random::<bool>().then_some(Nanos((now + 2) * 1_000_000));
            now += rng.random_range(0..2u64);
            story.read(&hold, now, version, 100 - version as i64);
            now += rng.random_range(0..2u64);
            version += 1;
            story.write(&hold, now, version - 1, version, 100 - version as i64);
            now += rng.random_range(0..2u64);
            if rng.random_range(0..4) == 0 {
                story.op(now, &hold, OpType::Ok, F::Lost);
            } else {
                let outcome = [OpType::Ok, OpType::Fail, OpType::Info][rng.random_range(0..3)];
                story.op(now, &hold, OpType::Invoke, F::Release);
                story.op(now + 1, &hold, outcome, F::Release);
                retired = outcome == OpType::Info;
            }
        } else {
            story.op(invoked, &hold, OpType::Invoke, F::Acquire);
            story.op(now, &hold, kind, F::Acquire);
        }
        free_since[client] = now + 1;
        for op in story.ops[first..].iter_mut().filter(|op| matches!(op.process, Process::Client(_))) {
            op.process = Process::Client(process[client]);
        }
        if retired {
            process[client] += clients;
        }
    }
    story
}

#[test]
fn a_lock_that_works_is_never_accused() {
    for seed in 0..SEEDS {
        for tokens in [true, false] {
            let judgement = judge(&sequential(seed, tokens).history());
            let told: Vec<_> = judgement.checks.iter().flat_map(|result| &result.violations).collect();
            assert_ne!(judgement.verdict, Verdict::Invalid, "seed {seed}, tokens {tokens}: {told:#?}");
        }
    }
}

#[test]
fn a_hold_stretched_over_the_next_one_is_always_accused() {
    let mut stretched = 0;
    for seed in 0..SEEDS {
        let mut history = sequential(seed, true).history();
        let holds = history.holds();
        // The ends of a working lock's holds may touch the next grant; so stretch one over all of the next hold.
        let Some(pair) = holds.windows(2).find(|pair| pair[1].from < pair[1].to) else { continue };
        stretched += 1;
        let mine = |op: &Op| op.hold.as_ref() == Some(&pair[0].id);
        history.ops.retain(|op| !(mine(op) && matches!(op.f, F::Release | F::Lost)));
        let mut history = History::new(history.header, history.ops);
        let judgement = judge(&history);
        let exclusion = result(&judgement, CheckName::MutualExclusion);
        assert_eq!(exclusion.verdict, Verdict::Invalid, "seed {seed}: {}", exclusion.summary);
        let grant = history.holds().iter().find(|hold| hold.id == pair[0].id).map(|hold| hold.granted).unwrap();
        assert!(exclusion.violations.iter().any(|violation| violation.ops.contains(&grant)), "seed {seed}");
        // The same overlap is no longer certain when clocks may disagree by more than it lasted.
        history.header.clock_error = 1_000_000_000;
        assert_ne!(result(&judge(&history), CheckName::MutualExclusion).verdict, Verdict::Invalid, "seed {seed}");
    }
    assert!(stretched > SEEDS / 2, "only {stretched} histories could be stretched");
}

/// Holds of three clients at random times, overlapping freely, with accesses in any order.
fn anarchy(seed: u64) -> History {
    let mut rng = Seed(seed).stream("anarchy");
    let mut story = Story::new(9);
    story.header.clock_error = [0, 0, 3_000_000][rng.random_range(0..3)];
    let tokens = rng.random_range(0..3);
    for client in 1..=rng.random_range(2..=9u64) {
        let hold = format!("c{client}-1");
        let mut times: Vec<u64> = (0..6).map(|_| rng.random_range(0..25)).collect();
        times.sort_unstable();
        // No tokens; tokens at random; tokens by the order of completion.
        let token = [None, Some(rng.random_range(0..5u64)), Some(times[1])][tokens];
        story.acquire(&hold, times[0], times[1], token).valid_until = Some(Nanos(times[3] * 1_000_000));
        for (access, at) in [(F::Read, times[2]), (F::Write, times[3]), (F::Read, times[4])] {
            match (access, rng.random_range(0..4)) {
                (_, 0) => {}
                (F::Read, 1) | (F::Write, 1) => story.refused(&hold, at, 0, 1),
                _ => story.read(&hold, at, 0, 1),
            }
        }
        if rng.random_range(0..5) > 0 {
            story.release(&hold, times[5]);
        }
    }
    story.history()
}

#[test]
fn overlaps_and_token_orders_are_those_that_comparing_all_pairs_finds() {
    let mut seen = [0; 3];
    for seed in 0..SEEDS {
        let history = anarchy(seed);
        let facts = Facts::of(&history);
        let judgement = judge(&history);
        let (mut overlaps, mut within, mut total) = (0, 0, Duration::ZERO);
        let (mut duplicates, mut inverted) = (0, std::collections::BTreeSet::new());
        let error = Duration::from_nanos(history.header.clock_error);
        for (place, a) in facts.holds.iter().enumerate() {
            for (other, b) in facts.holds.iter().enumerate().skip(place + 1) {
                let (from, to) = (a.from.max(b.from), a.to.min(b.to));
                if from + error < to {
                    overlaps += 1;
                    total += (to - from) - error;
                    let valid = |hold: &Hold| hold.valid_spans().collect::<Vec<_>>();
                    within += u64::from(
                        valid(a).iter().any(|a| valid(b).iter().any(|b| a.0.max(b.0) + error < a.1.min(b.1))),
                    );
                }
                duplicates += u64::from(a.token.is_some() && a.token == b.token);
                for (x, y) in [(place, other), (other, place)] {
                    let after = facts.holds[x].from + error < facts.requested[y];
                    if after && facts.holds[x].token > facts.holds[y].token {
                        inverted.insert(y);
                    }
                }
            }
        }
        let exclusion = &result(&judgement, CheckName::MutualExclusion).figures;
        assert_eq!(exclusion["overlaps"], f64::from(overlaps), "seed {seed}");
        assert_eq!(exclusion["overlaps-within-validity"], within as f64, "seed {seed}");
        assert_eq!(exclusion["overlap-ms"].round(), total.as_millis() as f64, "seed {seed}");
        let order = &result(&judgement, CheckName::TokenOrder).figures;
        assert_eq!(order["tokens-out-of-order"], inverted.len() as f64, "seed {seed}");
        // Three grants with one token are two pairs of neighbours but three pairs.
        assert_eq!(order["duplicate-tokens"] > 0.0, duplicates > 0, "seed {seed}");
        seen = [seen[0] + overlaps, seen[1] + within as i32, seen[2] + inverted.len() as i32];
    }
    assert!(seen.iter().all(|count| *count > 20), "too little was compared: {seen:?}");
}

#[test]
fn a_stale_access_is_accused_only_if_every_possible_order_of_grants_has_one() {
    // The definition itself: try every order of grants that the certain facts allow. If one of them has no stale access
    // among the accepted ones, nobody may be accused.
    fn innocent(order: &mut Vec<usize>, left: &[usize], older: &[Vec<bool>], served: &[usize]) -> bool {
        if left.is_empty() {
            let rank = |place: usize| order.iter().position(|other| *other == place).unwrap();
            return served.windows(2).all(|pair| rank(pair[0]) <= rank(pair[1]));
        }
        left.iter().any(|next| {
            if left.iter().any(|other| older[*other][*next]) {
                return false;
            }
            order.push(*next);
            let rest: Vec<usize> = left.iter().copied().filter(|other| other != next).collect();
            let found = innocent(order, &rest, older, served);
            order.pop();
            found
        })
    }
    let (mut accused, mut spared) = (0, 0);
    for seed in 0..SEEDS {
        let history = anarchy(seed);
        let facts = Facts::of(&history);
        let judgement = judge(&history);
        // Contradictory tokens leave no order at all; `token-order` tells of those.
        if facts.holds.len() > 5 || result(&judgement, CheckName::TokenOrder).verdict == Verdict::Invalid {
            continue;
        }
        let places: Vec<usize> = (0..facts.holds.len()).collect();
        let before = |a: usize, b: usize| facts.before(facts.holds[a].from, facts.requested[b]);
        let lower = |a: usize, b: usize| facts.holds[a].token.is_some() && facts.holds[a].token < facts.holds[b].token;
        let older: Vec<Vec<bool>> =
            places.iter().map(|a| places.iter().map(|b| before(*a, *b) || lower(*a, *b)).collect()).collect();
        let served: Vec<usize> =
            facts.served.iter().filter(|(op, _)| op.kind == OpType::Ok).map(|(_, place)| *place).collect();
        let innocent = innocent(&mut Vec::new(), &places, &older, &served);
        let verdict = result(&judgement, CheckName::Fencing).verdict;
        assert_eq!(verdict == Verdict::Invalid, !innocent, "seed {seed}: {:?}", result(&judgement, CheckName::Fencing));
        *(if innocent { &mut spared } else { &mut accused }) += 1;
    }
    assert!(accused > 20 && spared > 20, "too little was compared: {accused} accused, {spared} spared");
}

#[test]
fn a_violation_tells_the_whole_story() {
    let mut story = Story::new(4);
    story.acquire("c2-7", 4008, 4012, None).valid_until = Some(Nanos(4_995_000_000));
    story.read("c2-7", 4020, 0, 90);
    story.pause(1, 2, 4040, 6540);
    story.acquire("c4-3", 4010, 5034, None).valid_until = Some(Nanos(6_020_000_000));
    story.read("c4-3", 5040, 0, 90);
    story.write("c4-3", 5060, 0, 1, 89);
    story.op(6000, "c3-1", OpType::Invoke, F::Acquire);
    story.release("c4-3", 7000);
    story.write("c2-7", 6545, 0, 2, 89);
    story.op(6611, "c2-7", OpType::Ok, F::Lost);
    let judgement = judge(&story.history());
    let exclusion = &result(&judgement, CheckName::MutualExclusion).violations;
    assert_eq!(exclusion[0].severity, Some(Severity::Effect));
    assert_eq!(
        exclusion[0].text,
        "c2 (hold c2-7) held `item-1` from 4.012s; its validity ended at 4.995s, but it believed that it held it until \
         6.611s, when it was told that it had lost it. c4 (hold c4-3) was granted it at 5.034s and held it; its validity \
         ended at 6.020s, but it believed that it held it until 7.000s: both believed that they held it for 1.577s. One of them wrote over an update of the other that it had not seen. c2 was paused from 4.040s to 6.540s."
    );
    let fencing = &result(&judgement, CheckName::Fencing).violations;
    assert_eq!(
        fencing[0].text,
        "The resource accepted a write of item 1 from c2 (hold c2-7) at 6.545s, after it had served c4 (hold c4-3) at \
         5.060s: c2-7 had been served before, at 4.020s, when c4-3 was not yet granted; its validity ended at 4.995s. The \
         lock gave no tokens: the resource had nothing to fence with. c2 was paused from 4.040s to 6.540s."
    );
    let lost = result(&judgement, CheckName::LostUpdates);
    assert_eq!(
        lost.violations[0].text,
        "The write of item 1 by c4 (hold c4-3), which made version 1 (stock 89) and was acknowledged at 5.060s, vanished: \
         c2 (hold c2-7) wrote version 2 (stock 89) at 6.545s from version 0, read at 4.020s; c4-3's \
         validity ended at 6.020s; c2-7's validity ended at 4.995s. c2 was paused from 4.040s to 6.540s."
    );
    let figures = ["acknowledged", "lost", "lost-percent", "units-sold", "stock-fell-by"];
    assert_eq!(figures.map(|name| lost.figures[name]), [2.0, 1.0, 50.0, 2.0, 1.0]);
    let coverage = result(&judgement, CheckName::Coverage);
    assert_eq!(coverage.verdict, Verdict::Valid, "{}", coverage.summary);
    assert_eq!(coverage.figures["holds-under-fault"], 1.0);
}

/// Two holds overlap; the accesses are `told`.
fn overlap(told: impl FnOnce(&mut Story)) -> Story {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 3, None);
    story.acquire("c2-1", 2, 20, None);
    told(&mut story);
    story.release("c1-1", 80);
    story.release("c2-1", 90);
    story
}

#[test]
fn an_overlap_is_as_bad_as_what_the_resource_served() {
    let severity = |story: Story| result(&judge(&story.history()), CheckName::MutualExclusion).violations[0].severity;
    let interleaved = |story: &mut Story| {
        story.read("c1-1", 10, 0, 9);
        story.read("c2-1", 30, 0, 9);
        story.write("c1-1", 40, 0, 1, 8);
    };
    assert_eq!(severity(overlap(interleaved)), Some(Severity::Interleaved));
    let one_after_the_other = |story: &mut Story| {
        story.read("c1-1", 10, 0, 9);
        story.write("c1-1", 25, 0, 1, 8);
        story.read("c2-1", 30, 1, 8);
    };
    assert_eq!(severity(overlap(one_after_the_other)), Some(Severity::Belief));
    let refused = |story: &mut Story| {
        story.read("c1-1", 10, 0, 9);
        story.read("c2-1", 30, 0, 9);
        story.refused("c1-1", 40, 0, 8);
    };
    assert_eq!(severity(overlap(refused)), Some(Severity::Belief));
    // Another harness's history may know clients' ops only.
    let mut clients_only = overlap(interleaved);
    clients_only.ops.retain(|op| op.process != Process::Resource);
    assert_eq!(severity(clients_only), Some(Severity::Interleaved));
}

#[test]
fn clients_alone_can_tell_of_a_lost_update() {
    let mut story = overlap(|story| {
        story.read("c1-1", 10, 0, 9);
        story.read("c2-1", 30, 0, 9);
        story.write("c2-1", 35, 0, 1, 8);
        story.write("c1-1", 40, 0, 2, 8);
    });
    story.ops.retain(|op| op.process != Process::Resource);
    let judgement = judge(&story.history());
    assert_eq!(result(&judgement, CheckName::LostUpdates).figures["lost"], 1.0);
    assert_eq!(result(&judgement, CheckName::Fencing).verdict, Verdict::Unknown);
}

#[test]
fn books_of_any_size_are_kept() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 3, None);
    story.read("c1-1", 10, 0, i64::MAX);
    story.write("c1-1", 20, 0, 1, i64::MIN);
    story.read("c1-1", 30, 1, i64::MAX);
    story.write("c1-1", 40, 1, 2, i64::MIN);
    let lost = result(&judge(&story.history()), CheckName::LostUpdates).clone();
    assert_eq!(lost.verdict, Verdict::Invalid, "{}", lost.summary);
    assert!(
        lost.summary.contains("36893488147419103230 units sold, stock fell by 18446744073709551615"),
        "{}",
        lost.summary
    );
}

#[test]
fn only_the_stale_side_of_an_interleaving_is_counted() {
    let history = overlap(|story| {
        story.read("c1-1", 10, 0, 9);
        story.read("c2-1", 30, 0, 9);
        story.write("c1-1", 40, 0, 1, 8);
        story.write("c2-1", 50, 0, 2, 8);
        story.read("c1-1", 60, 2, 8);
    });
    let judgement = judge(&history.history());
    let figures = &result(&judgement, CheckName::Fencing).figures;
    assert_eq!(["stale-reads-accepted", "stale-writes-accepted"].map(|name| figures[name]), [1.0, 1.0]);
}

#[test]
fn many_violations_are_counted_and_the_first_listed() {
    let mut story = Story::new(150);
    for client in 1..=150 {
        story.acquire(&format!("c{client}-1"), client, client, client);
    }
    story.op(1000, "c1-1", OpType::Invoke, F::Release);
    let judgement = judge(&story.history());
    let exclusion = result(&judgement, CheckName::MutualExclusion);
    assert_eq!(exclusion.figures["overlaps"], 150.0 * 149.0 / 2.0);
    assert_eq!(exclusion.violations.len(), 100);
    assert!(exclusion.summary.contains("100 of these 11175 violations are listed"), "{}", exclusion.summary);
}

#[test]
fn ops_out_of_time_or_place_are_malformed() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 2, 1);
    let good = story.history();
    assert_ne!(judge(&good).verdict, Verdict::Invalid);
    let mut shuffled = good.clone();
    shuffled.ops[1].time = Nanos::ZERO;
    let mut sparse = good.clone();
    sparse.ops[1].index = 5;
    let mut foreign = good;
    foreign.ops[1].client = Some(ClientId(2));
    for history in [shuffled, sparse, foreign] {
        assert_eq!(judge(&history).checks.len(), 1);
        assert_eq!(judge(&history).verdict, Verdict::Invalid);
    }
}
