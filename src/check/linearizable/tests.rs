//! The algorithms against the definition, on random small histories; and the cases that need care, by hand.
//!
//! `FENCEPOST_HISTORIES` says how many histories of each model are compared.

use rand::RngExt;

use super::super::{Verdict, judge_model};
use super::*;
use crate::check::tests::story::Story;
use crate::history::{F, OpType, Process};
use crate::ids::{ClientId, LockName};
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

const CLIENTS: u32 = 3;
const OPS: usize = 8;
/// Far more than eight ops need; running out of it would be a mistake of the oracle.
const BUDGET: usize = 1_000_000;

fn histories() -> u64 {
    std::env::var("FENCEPOST_HISTORIES")
        .ok()
        .map_or(1_000, |count| count.parse().expect("FENCEPOST_HISTORIES is a number"))
}

/// One client of a random history.
#[derive(Default)]
struct Player {
    process: u32,
    open: Option<(F, String)>,
    held: Vec<String>,
    over: Vec<String>,
    attempts: u32,
}

/// A lock that mostly works, three clients that mostly behave, and at most eight ops with every outcome.
struct Game {
    rng: ChaCha8Rng,
    story: Story,
    model: Model,
    /// Whether clients are told of losses and renewals, and die.
    signals: bool,
    /// Whether several things may happen in one instant.
    ties: bool,
    now: u64,
    /// The clients that hold the lock, in the game's own eyes, and with which token.
    holder: Option<(usize, Option<u64>)>,
    token: u64,
}

impl Game {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn random(seed: u64, model: Model) -> History {
        // Ties only where the algorithm is exact about them.
        let ties = !matches!(model, Model::Owned { lease: false, .. });
        Self::played(seed, model, model.is_leased(), ties)
    }

    /// A game in which clients may be told of losses and renewals and may die: under models without leases only these
    /// are read as they can be, not judged against the definition.
    fn played(seed: u64, model: Model, signals: bool, ties: bool) -> History {
        let mut rng = Seed(seed).stream("game");
        let ops = rng.random_range(2..=OPS);
        let mut game = Self { rng, story: Story::new(CLIENTS), model, signals, ties, now: 1, holder: None, token: 0 };
        let mut players: Vec<Player> = (0..CLIENTS).map(|id| Player { process: id + 1, ..Player::default() }).collect();
        let mut begun = 0;
        for _ in 0..4 * OPS {
            let step = if ties { game.rng.random_range(0..=1) } else { 1 };
            game.now += step;
            let at = game.rng.random_range(0..players.len());
            let player = &mut players[at];
            if player.open.is_some() {
                game.complete(at, player);
            } else if begun < ops {
                begun += usize::from(game.begin(at, player));
            }
        }
        game.story.history()
    }

    fn op(&mut self, player: &Player, hold: &str, kind: OpType, f: F) -> &mut Op {
        let op = self.story.op(self.now, hold, kind, f);
        op.process = Process::Client(player.process);
        op
    }

    fn begin(&mut self, at: usize, player: &mut Player) -> bool {
        let nested = matches!(self.model, Model::Owned { depth: 2.., .. });
        let acquires = if player.held.is_empty() {
            90
        } else if nested {
            40
        } else {
            12
        };
        let release = if self.chance(acquires) { None } else { player.held.last().or(player.over.last()).cloned() };
        if self.signals && self.chance(8) {
            if let Some(hold) = player.held.pop() {
                self.op(player, &hold, OpType::Ok, F::Lost);
            }
            return false;
        }
        if self.signals && self.chance(10) {
            if let Some(hold) = player.held.last() {
                let until = (self.now + self.rng.random_range(0..16)).saturating_sub(2);
                self.op(player, hold, OpType::Ok, F::Extend).valid_until = Some(Nanos(until * 1_000_000));
            }
            return false;
        }
        let (f, hold) = match release {
            Some(hold) => (F::Release, hold),
            None => {
                player.attempts += 1;
                (F::Acquire, format!("c{}-{}", at + 1, player.attempts))
            }
        };
        let until = self.model.is_leased() && f == F::Release && self.chance(30);
        let valid_until = Nanos((self.now + self.rng.random_range(0..6)) * 1_000_000);
        self.op(player, &hold, OpType::Invoke, f).valid_until = until.then_some(valid_until);
        if f == F::Release && self.chance(50) && self.holder.is_some_and(|(holder, _)| holder == at) {
            self.holder = None;
        }
        player.open = Some((f, hold));
        true
    }

    fn complete(&mut self, at: usize, player: &mut Player) {
        if self.chance(30) {
            return;
        }
        let Some((f, hold)) = player.open.take() else { return };
        let mine = self.holder.filter(|(holder, _)| *holder == at);
        let wrong = if self.model.is_leased() { 18 } else { 12 };
        let kind = match f {
            F::Acquire if self.holder.is_none() || mine.is_some() || self.chance(wrong) => {
                [OpType::Ok, OpType::Ok, OpType::Ok, OpType::Ok, OpType::Ok, OpType::Ok, OpType::Info]
                    [self.rng.random_range(0..7)]
            }
            F::Acquire => match self.rng.random_range(0..10) {
                0 => OpType::Fail,
                1 => OpType::Info,
                _ => {
                    player.open = Some((f, hold));
                    return;
                }
            },
            _ => [OpType::Ok, OpType::Ok, OpType::Ok, OpType::Ok, OpType::Fail, OpType::Info]
                [self.rng.random_range(0..6)],
        };
        let mut token = None;
        if (f, kind) == (F::Acquire, OpType::Ok) {
            token = match mine {
                Some((_, token)) if self.chance(85) => token,
                _ => {
                    self.token += 1;
                    Some(self.token)
                }
            };
            token = match self.rng.random_range(0..100) {
                0..8 => None,
                8..16 => Some(self.rng.random_range(1..5)),
                _ => token,
            };
            self.holder = Some((at, token));
        }
        let lease = self.now + self.rng.random_range(0..9);
        let leased = self.model.is_leased() && f == F::Acquire && kind == OpType::Ok && self.chance(70);
        let op = self.op(player, &hold, kind, f);
        op.token = token.map(crate::ids::FencingToken);
        op.valid_until = leased.then(|| Nanos(lease.saturating_sub(3) * 1_000_000));
        match (f, kind) {
            (F::Acquire, OpType::Ok) => player.held.push(hold),
            (F::Release, _) => {
                player.held.retain(|held| *held != hold);
                player.over.push(hold);
                if self.holder.is_some_and(|(holder, _)| holder == at) && player.held.is_empty() {
                    self.holder = None;
                }
            }
            _ => {}
        }
        if kind == OpType::Info {
            // Its next life acts later.
            self.now += 1;
            // Its holds go with it: the next life cannot know of them.
            player.process += CLIENTS;
            player.held.clear();
            player.over.clear();
        } else if self.signals && self.chance(4) {
            self.now += u64::from(!self.ties);
            let mut crash =
                Op::new(Nanos(self.now * 1_000_000), Process::Client(player.process), OpType::Info, F::Crash);
            crash.client = Some(ClientId(at as u32 + 1));
            self.story.ops.push(crash);
            self.now += 1;
            player.process += CLIENTS;
            player.held.clear();
            player.over.clear();
        }
    }
}

#[derive(Debug, Default)]
struct Mix {
    histories: u64,
    valid: u64,
    invalid: u64,
    in_doubt: u64,
    with_failed_release: u64,
}

fn compare(model: Model, failed: FailedRelease) {
    let mut mix = Mix::default();
    for seed in 0..histories() {
        let history = Game::random(seed, model);
        let judgement = judge_model(&history, model, failed);
        let told = || format!("{model}, {failed}, seed {seed}:\n{:#?}\n{}", judgement.checks, listed(&history.ops));
        assert_eq!(judgement.checks.len(), 2, "well formed: {}", told());
        let expected =
            oracle::linearizable(&history.ops, history.end(), model, failed, BUDGET).expect("within the budget");
        let found = &judgement.checks[1];
        assert_eq!(found.verdict != Verdict::Invalid, expected, "{}", told());
        mix.histories += 1;
        *(if expected { &mut mix.valid } else { &mut mix.invalid }) += 1;
        mix.in_doubt += u64::from(found.figures["ops-in-doubt"] > 0.0);
        let failed_release = |op: &Op| (op.f, op.kind) == (F::Release, OpType::Fail);
        mix.with_failed_release += u64::from(history.ops.iter().any(failed_release));
        // What a mutex without owners did between two ops is everybody's doing.
        if let Some(violation) = found.violations.first().filter(|_| model != Model::Mutex) {
            // The evidence stands by itself: without what other clients did, no order is found either.
            let clients: Vec<_> = violation.ops.iter().map(|op| history.ops[*op as usize].client).collect();
            let ops: Vec<Op> = history.ops.iter().filter(|op| clients.contains(&op.client)).cloned().collect();
            assert_eq!(
                oracle::linearizable(&ops, history.end(), model, failed, BUDGET),
                Some(false),
                "evidence, {}",
                told()
            );
        }
    }
    println!("{model}, {failed}: {mix:?}");
    let enough = mix.histories / 10;
    let least = [mix.valid, mix.invalid, mix.in_doubt, mix.with_failed_release].into_iter().min();
    assert!(least >= Some(enough), "too little was compared: {mix:?}");
}

fn listed(ops: &[Op]) -> String {
    let line = |op: &Op| {
        let hold = op.hold.as_ref().map(|hold| hold.text()).unwrap_or_default();
        let until = op.valid_until.map(|until| until.0 / 1_000_000);
        format!("{:>3} {:?} {} {hold} token {:?} until {until:?}\n", op.time.0 / 1_000_000, op.kind, op.f, op.token)
    };
    ops.iter().map(line).collect()
}

#[test]
fn mutex_agrees_with_trying_every_order() {
    compare(Model::Mutex, FailedRelease::DidNothing);
    compare(Model::Mutex, FailedRelease::EndsTheClaim);
}

#[test]
fn owner_mutex_agrees_with_trying_every_order() {
    compare(Model::OWNER, FailedRelease::DidNothing);
    compare(Model::OWNER, FailedRelease::EndsTheClaim);
}

#[test]
fn fenced_agrees_with_trying_every_order() {
    compare(Model::FENCED, FailedRelease::DidNothing);
    compare(Model::FENCED, FailedRelease::EndsTheClaim);
}

#[test]
fn reentrant_agrees_with_trying_every_order() {
    for depth in [2, 3] {
        let model = Model::Owned { depth, fenced: false, lease: false };
        compare(model, FailedRelease::DidNothing);
        compare(model, FailedRelease::EndsTheClaim);
    }
}

#[test]
fn reentrant_fenced_agrees_with_trying_every_order() {
    for depth in [2, 3] {
        let model = Model::Owned { depth, fenced: true, lease: false };
        compare(model, FailedRelease::DidNothing);
        compare(model, FailedRelease::EndsTheClaim);
    }
}

#[test]
fn leased_models_agree_with_trying_every_order() {
    compare(Model::OWNER.leased(), FailedRelease::EndsTheClaim);
    compare(Model::FENCED.leased(), FailedRelease::EndsTheClaim);
}

#[test]
fn a_history_keeps_its_verdict_in_edn() {
    let mut seen = [0, 0];
    let nested = |fenced| Model::Owned { depth: 2, fenced, lease: false };
    for seed in 0..300 {
        for played in [Model::FENCED, Model::FENCED.leased(), nested(true)] {
            let history = Game::played(seed, played, true, false);
            let mut written = Vec::new();
            crate::history::edn::write_to(&mut written, &history, None).unwrap().unwrap();
            let foreign =
                crate::history::foreign::read(|| Ok(&written[..]), "history.edn".as_ref(), &Default::default());
            let foreign = foreign.unwrap().history;
            for model in [Model::Mutex, Model::OWNER, Model::FENCED, nested(false), nested(true)] {
                for failed in [FailedRelease::DidNothing, FailedRelease::EndsTheClaim] {
                    // In EDN all ops are one after the other, so nothing here happens in one instant. Whether anything
                    // was exercised may differ: there a client that goes on after an op in doubt is another.
                    let invalid = |history| judge_model(history, model, failed).verdict == Verdict::Invalid;
                    let [ours, theirs] = [&history, &foreign].map(invalid);
                    let told = || format!("{}\n{}", listed(&history.ops), String::from_utf8_lossy(&written));
                    assert_eq!(ours, theirs, "{model}, {failed}, {played}, seed {seed}:\n{}", told());
                    seen[usize::from(ours)] += 1;
                }
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 1_000), "too little was compared: {seen:?}");
}

#[test]
fn a_search_without_budget_is_undecided() {
    let history = Game::random(1, Model::OWNER);
    assert_eq!(oracle::linearizable(&history.ops, history.end(), Model::OWNER, FailedRelease::DidNothing, 0), None);
}

fn verdict(story: Story, model: Model, failed: FailedRelease) -> (Verdict, Vec<String>) {
    let result = judge_model(&story.history(), model, failed).checks.remove(1);
    (result.verdict, result.violations.into_iter().map(|violation| violation.text).collect())
}

#[test]
fn the_conflict_is_told_with_its_holds() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 5, 7);
    story.acquire("c2-1", 2, 9, 8);
    story.release("c1-1", 12);
    let (verdict, told) = verdict(story, Model::FENCED, FailedRelease::DidNothing);
    assert_eq!(verdict, Verdict::Invalid);
    let expected = "c1 (hold c1-1, token 7) was granted `item-1` at 0.005s and had not begun to release it when c2 (hold \
         c2-1, token 8) was granted it at 0.009s.";
    assert_eq!(told, [expected]);
}

#[test]
fn a_pause_past_the_lease_is_no_fault_of_a_leased_lock() {
    let story = || {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 5, 7).valid_until = Some(Nanos(50_000_000));
        story.acquire("c2-1", 2, 90, 8).valid_until = Some(Nanos(150_000_000));
        story.release("c2-1", 100);
        story.release("c1-1", 120);
        story
    };
    assert_eq!(verdict(story(), Model::FENCED.leased(), FailedRelease::EndsTheClaim).0, Verdict::Valid);
    assert_eq!(verdict(story(), Model::FENCED, FailedRelease::EndsTheClaim).0, Verdict::Invalid);
}

#[test]
fn a_lock_that_releases_twice_or_fails_to_is_not_accused_unless_read_strictly() {
    let story = |second| {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 5, 7);
        story.op(10, "c1-1", OpType::Invoke, F::Release);
        story.op(11, "c1-1", if second == OpType::Ok { OpType::Ok } else { OpType::Fail }, F::Release);
        story.acquire("c2-1", 6, 13, 8);
        story.op(20, "c1-1", OpType::Invoke, F::Release);
        story.op(21, "c1-1", second, F::Release);
        story.release("c2-1", 30);
        story
    };
    for second in [OpType::Ok, OpType::Fail] {
        for model in [Model::FENCED, Model::FENCED.leased()] {
            let found = verdict(story(second), model, FailedRelease::EndsTheClaim);
            assert_eq!(found, (Verdict::Valid, Vec::new()), "{model}");
        }
        assert_eq!(verdict(story(second), Model::FENCED, FailedRelease::DidNothing).0, Verdict::Invalid);
    }
}

#[test]
fn a_release_tried_again_after_one_in_doubt_is_undecided_if_read_strictly() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 5, None);
    story.op(10, "c1-1", OpType::Invoke, F::Release);
    story.op(11, "c1-1", OpType::Info, F::Release);
    story.op(12, "c1-1", OpType::Invoke, F::Release).process = Process::Client(3);
    story.op(13, "c1-1", OpType::Ok, F::Release).process = Process::Client(3);
    story.acquire("c2-1", 6, 15, None);
    let ops = story.ops.clone();
    assert_eq!(verdict(story, Model::OWNER, FailedRelease::DidNothing).0, Verdict::Unknown);
    let story = Story { ops, ..Story::new(2) };
    assert_eq!(verdict(story, Model::OWNER, FailedRelease::EndsTheClaim).0, Verdict::Valid);
}

#[test]
fn a_failed_release_in_the_instant_of_its_grant_does_not_hold_a_token_against_itself() {
    let story = |error| {
        let mut story = Story::new(2);
        story.header.clock_error = error;
        story.acquire("c1-1", 1, 2, 1);
        story.release("c1-1", 9);
        story.acquire("c2-1", 5, 20, 2);
        story.op(20 + error / 2_000_000, "c2-1", OpType::Invoke, F::Release);
        story.op(90, "c2-1", OpType::Fail, F::Release);
        story
    };
    let nested = Model::Owned { depth: 2, fenced: true, lease: false };
    for error in [0, 4_000_000] {
        for model in [Model::FENCED, nested] {
            let found = verdict(story(error), model, FailedRelease::DidNothing);
            assert_eq!(found, (Verdict::Valid, Vec::new()), "{model}, {error} ns");
            let mut taken = story(error);
            taken.acquire("c1-2", 95, 99, 3);
            let (verdict, told) = verdict(taken, model, FailedRelease::DidNothing);
            assert_eq!(verdict, Verdict::Invalid, "{model}, {error} ns: it is held still");
            assert!(told[0].contains("had not begun to release it"), "{told:?}");
        }
    }
}

#[test]
fn an_overlap_below_the_clock_error_is_not_certain() {
    for (error, expected) in [(0, Verdict::Invalid), (2_000_000, Verdict::Invalid), (3_000_000, Verdict::Valid)] {
        for model in [Model::OWNER, Model::OWNER.leased(), Model::Mutex] {
            let mut story = Story::new(2);
            story.header.clock_error = error;
            story.acquire("c1-1", 1, 10, None);
            story.acquire("c2-1", 2, 20, None);
            story.release("c1-1", 23);
            story.release("c2-1", 90);
            assert_eq!(verdict(story, model, FailedRelease::DidNothing).0, expected, "{model}, {error} ns");
        }
    }
}

#[test]
fn turns_without_contention_exercise_no_model() {
    let story = |asked| {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 5, 7);
        story.release("c1-1", 20);
        story.acquire("c2-1", asked, 40, 8);
        story.release("c2-1", 50);
        story
    };
    let models = [Model::Mutex, Model::OWNER, Model::FENCED, Model::OWNER.leased(), Model::FENCED.leased()];
    for (asked, expected) in [(30, Verdict::Unknown), (10, Verdict::Valid)] {
        for model in models {
            assert_eq!(
                verdict(story(asked), model, FailedRelease::EndsTheClaim).0,
                expected,
                "{model}, asked at {asked}"
            );
        }
    }
}

#[test]
fn an_overlap_is_told_with_its_severity_and_faults() {
    use crate::check::Severity;
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 3, None).valid_until = Some(Nanos(200_000_000));
    story.acquire("c2-1", 2, 20, None).valid_until = Some(Nanos(200_000_000));
    story.pause(1, 1, 15, 30);
    story.read("c1-1", 10, 0, 9);
    story.read("c2-1", 31, 0, 9);
    story.write("c2-1", 35, 0, 1, 8);
    story.write("c1-1", 40, 0, 2, 8);
    story.release("c1-1", 80);
    story.release("c2-1", 90);
    let result = check(&Facts::of(&story.history()));
    assert_eq!(result.verdict, Verdict::Invalid);
    assert_eq!(result.violations[0].severity, Some(Severity::Effect));
    let text = &result.violations[0].text;
    assert!(text.ends_with(" c1 was paused from 0.015s to 0.030s."), "{text}");
}

#[test]
fn a_grant_after_the_end_of_its_own_validity_is_as_bad_as_what_was_believed() {
    let severity = |told_at: u64| {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 2, None);
        story.acquire("c2-1", 3, 40, None).valid_until = Some(Nanos(20_000_000));
        story.op(told_at, "c2-1", OpType::Ok, F::Lost);
        story.release("c1-1", 90);
        let result = check(&Facts::of(&story.history()));
        assert!(result.violations[0].text.contains("all that time another client had it"), "{result:?}");
        result.violations[0].severity
    };
    assert_eq!(severity(41), Some(crate::check::Severity::Belief));
    assert_eq!(severity(40), None, "c2 never believed that it had it");
}

#[test]
fn each_lock_name_is_judged_by_itself() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 5, 7);
    story.acquire("c2-1", 2, 9, 3);
    for op in story.ops.iter_mut().filter(|op| op.client == Some(ClientId(2))) {
        op.lock = Some(LockName::new("item-2"));
    }
    let (verdict, told) = verdict(story, Model::FENCED, FailedRelease::DidNothing);
    assert_eq!((verdict, told), (Verdict::Unknown, Vec::new()), "and no lock passed on");
}

#[test]
fn a_mutex_without_owners_is_counted_and_told() {
    let judged = |story: Story| judge_model(&story.history(), Model::Mutex, FailedRelease::DidNothing).checks.remove(1);
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 2, None);
    story.release("c1-1", 5);
    story.acquire("c2-1", 7, 8, None);
    let result = judged(story);
    assert_eq!(["grants", "handovers", "ops-in-doubt"].map(|name| result.figures[name]), [2.0, 1.0, 0.0]);

    let mut twice = Story::new(2);
    twice.acquire("c1-1", 1, 2, None);
    twice.acquire("c2-1", 7, 8, None);
    let told =
        "c1 acquired `item-1` at 0.002s, c2 acquired it at 0.008s, and no release can have taken effect in between.";
    assert_eq!(judged(twice).violations[0].text, told);

    let mut given_back_twice = Story::new(2);
    given_back_twice.acquire("c1-1", 1, 2, None);
    given_back_twice.release("c1-1", 5);
    given_back_twice.release("c1-1", 7);
    let told =
        "c1 released `item-1` at 0.006s, c1 released it at 0.008s, and no acquire can have taken effect in between.";
    assert_eq!(judged(given_back_twice).violations[0].text, told);
}

#[test]
fn an_acquire_that_failed_takes_nothing_from_its_client() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 2, None);
    story.op(3, "c1-2", OpType::Invoke, F::Acquire);
    story.op(4, "c1-2", OpType::Fail, F::Acquire);
    story.op(5, "c2-1", OpType::Invoke, F::Acquire);
    story.release("c1-1", 6);
    story.op(8, "c2-1", OpType::Ok, F::Acquire);
    assert_eq!(verdict(story, Model::OWNER, FailedRelease::DidNothing), (Verdict::Valid, Vec::new()));
}

#[test]
fn what_a_client_had_open_when_it_died_is_in_doubt() {
    let in_doubt = |open: bool| {
        let mut story = Story::new(2);
        if open {
            story.op(3, "c1-1", OpType::Invoke, F::Acquire);
        }
        let crash = story.op(4, "c1-1", OpType::Info, F::Crash);
        (crash.hold, crash.lock) = (None, None);
        story.op(5, "c2-1", OpType::Invoke, F::Acquire);
        story.op(6, "c2-1", OpType::Info, F::Acquire);
        judge_model(&story.history(), Model::OWNER, FailedRelease::DidNothing).checks[1].figures["ops-in-doubt"]
    };
    assert_eq!([in_doubt(true), in_doubt(false)], [2.0, 1.0]);
}

/// c1 held the lock under token 5. Clocks may disagree by 10 ms.
fn imprecise() -> Story {
    let mut story = Story::new(4);
    story.header.clock_error = 10_000_000;
    story.acquire("c1-1", 1, 2, 5);
    story.release("c1-1", 50);
    story
}

#[test]
fn a_hold_too_short_for_the_clocks_still_has_a_token() {
    for (token, fits) in [(Some(4), false), (Some(5), false), (Some(6), true), (None, true)] {
        let story = || {
            let mut story = imprecise();
            story.acquire("c2-1", 45, 70, token);
            story.release("c2-1", 72);
            story
        };
        let fenced = verdict(story(), Model::FENCED, FailedRelease::DidNothing).0;
        assert_eq!(fenced == Verdict::Valid, fits, "token {token:?}");
        assert_eq!(verdict(story(), Model::OWNER, FailedRelease::DidNothing).0, Verdict::Valid, "no token counts");
    }
}

#[test]
fn a_nested_hold_too_short_for_the_clocks_does_not_contradict_its_own_outer_one() {
    let mut story = imprecise();
    story.op(51, "c2-1", OpType::Invoke, F::Acquire);
    story.acquire("c1-2", 60, 61, 6);
    story.acquire("c1-3", 90, 91, 6);
    story.release("c1-3", 93);
    story.release("c1-2", 120);
    story.op(130, "c2-1", OpType::Ok, F::Acquire);
    let nested = Model::Owned { depth: 2, fenced: false, lease: false };
    assert_eq!(verdict(story, nested, FailedRelease::DidNothing), (Verdict::Valid, Vec::new()));
}

#[test]
fn a_token_that_is_too_low_is_told_by_the_first_grant_of_the_highest() {
    let mut story = Story::new(3);
    for (at, (hold, token)) in (1u64..).zip([("c1-1", 7), ("c2-1", 7), ("c3-1", 4), ("c1-2", 5)]) {
        story.acquire(hold, at * 10, at * 10 + 1, token);
        story.release(hold, at * 10 + 5);
    }
    let told = [
        "c1 (hold c1-1, token 7) was granted `item-1` at 0.011s. c2 (hold c2-1, token 7) was granted it after that, at \
         0.021s, and its token is not higher.",
        "c1 (hold c1-1, token 7) was granted `item-1` at 0.011s. c3 (hold c3-1, token 4) was granted it after that, at \
         0.031s, and its token is not higher.",
        "c1 (hold c1-1, token 7) was granted `item-1` at 0.011s. c3 (hold c3-1, token 4) was granted it at 0.031s. c1 \
         (hold c1-2, token 5) was granted it after that, at 0.041s, and its token is not higher.",
    ];
    assert_eq!(verdict(story, Model::FENCED, FailedRelease::DidNothing).1, told);
}

#[test]
fn a_release_before_its_grant_is_certain_is_of_its_own_lock_and_hold() {
    let elsewhere = |story: &mut Story, hold: &str| {
        for op in story.ops.iter_mut().filter(|op| op.hold.as_ref().is_some_and(|id| *id.text() == *hold)) {
            op.lock = Some(LockName::new("item-2"));
        }
    };
    let mut story = imprecise();
    story.acquire("c2-1", 45, 70, 7);
    story.acquire("c2-2", 71, 72, 1);
    elsewhere(&mut story, "c2-2");
    story.release("c2-1", 74);
    story.acquire("c3-1", 100, 110, 8);
    assert_eq!(verdict(story, Model::FENCED, FailedRelease::DidNothing), (Verdict::Valid, Vec::new()));

    // c2's release fails while its grant, and one of another lock before it, are not yet certain: it holds on.
    let mut story = imprecise();
    story.acquire("c3-1", 60, 69, 1);
    elsewhere(&mut story, "c3-1");
    story.acquire("c2-1", 60, 70, 7);
    story.op(72, "c2-1", OpType::Invoke, F::Release);
    story.op(74, "c2-1", OpType::Fail, F::Release);
    story.acquire("c4-1", 100, 110, 8);
    assert_eq!(verdict(story, Model::FENCED, FailedRelease::DidNothing).0, Verdict::Invalid);
}

#[test]
fn a_hold_too_short_for_the_clocks_must_not_lie_in_anothers() {
    let short = |from: u64| {
        let mut story = Story::new(4);
        story.header.clock_error = 10_000_000;
        story.acquire("c1-1", 1, 20, None);
        story.acquire("c2-1", 2, from, None);
        story.release("c2-1", from + 3);
        story.release("c1-1", 200);
        story.acquire("c3-1", 40, 210, None);
        verdict(story, Model::OWNER, FailedRelease::EndsTheClaim).0
    };
    assert_eq!(short(60), Verdict::Invalid, "c1 certainly had it when c2's was begun and given up");
    assert_eq!(short(28), Verdict::Invalid, "c1's grant was certain at 30 ms, c2's was given up at 31 ms");
    assert_eq!(short(27), Verdict::Valid, "c2's may have been over before c1's began");
}

#[test]
fn a_nested_grant_answers_to_what_is_known_of_the_outer_one() {
    let nested = |tokens: [Option<u64>; 3]| {
        let mut story = Story::new(2);
        story.acquire("c2-1", 1, 2, 5);
        story.op(3, "c1-1", OpType::Invoke, F::Acquire);
        story.release("c2-1", 5);
        story.op(10, "c1-1", OpType::Ok, F::Acquire).token = tokens[0].map(crate::ids::FencingToken);
        story.acquire("c1-2", 11, 12, tokens[1]);
        story.acquire("c1-3", 13, 14, tokens[2]);
        verdict(story, Model::Owned { depth: 3, fenced: true, lease: false }, FailedRelease::DidNothing).0
    };
    assert_eq!(nested([None, Some(6), Some(6)]), Verdict::Valid);
    assert_eq!(nested([None, Some(6), None]), Verdict::Valid);
    assert_eq!(nested([None, Some(5), None]), Verdict::Invalid, "not above what was given before");
    assert_eq!(nested([None, Some(6), Some(7)]), Verdict::Invalid, "known by the second, and another one");
    assert_eq!(nested([Some(6), None, Some(7)]), Verdict::Invalid);
}

#[test]
fn only_a_release_of_the_doubtful_hold_is_undecided() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 2, None);
    story.op(3, "c1-1", OpType::Invoke, F::Release);
    story.op(4, "c1-1", OpType::Info, F::Release);
    story.op(5, "c1-2", OpType::Invoke, F::Acquire).process = Process::Client(3);
    story.op(6, "c1-2", OpType::Ok, F::Acquire).process = Process::Client(3);
    for at in [7, 9] {
        story.op(at, "c1-2", OpType::Invoke, F::Release).process = Process::Client(3);
        story.op(at + 1, "c1-2", OpType::Ok, F::Release).process = Process::Client(3);
    }
    let (verdict, told) = verdict(story, Model::OWNER, FailedRelease::DidNothing);
    assert_eq!(verdict, Verdict::Invalid, "{told:?}");
    assert!(told[0].contains("did not hold it"), "{told:?}");
}

#[test]
fn the_summary_says_how_releases_were_read() {
    let mut story = Story::new(2);
    story.acquire("c1-1", 1, 2, None);
    let history = story.history();
    for (reading, told) in [
        (FailedRelease::EndsTheClaim, "a release ends the claim, whatever came of it; 1 grant"),
        (FailedRelease::DidNothing, "a failed release did nothing; 1 grant"),
    ] {
        let result = judge_model(&history, Model::OWNER, reading).checks.remove(1);
        assert!(result.summary.contains(told), "{}", result.summary);
        assert_eq!(result.figures["grants"], 1.0);
    }
}

#[test]
fn a_model_of_another_kind_says_nothing_of_a_lock_that_several_may_hold() {
    let judged = |kind: &str, model: &str| {
        let mut story = Story::new(2);
        story.header.kind = kind.parse().unwrap();
        for hold in ["c1-1", "c2-1"] {
            story.acquire(hold, 1, 2, None);
            story.release(hold, 10);
        }
        story.ops.sort_by_key(|op| op.time);
        let judgement = judge_model(&story.history(), model.parse().unwrap(), FailedRelease::EndsTheClaim);
        let result = judgement.checks.into_iter().rfind(|result| result.check == CheckName::Linearizable).unwrap();
        assert!(result.verdict == Verdict::Invalid || result.violations.is_empty(), "{result:?}");
        (result.verdict, result.summary)
    };
    for kind in ["read-write", "semaphore:2"] {
        for model in ["mutex", "owner-mutex", "fenced", "reentrant:2", "owner-mutex+lease", "semaphore:1"] {
            let (verdict, summary) = judged(kind, model);
            assert_eq!(verdict, Verdict::Unknown, "{kind} by {model}: {summary}");
            assert!(summary.contains(&format!("--model {kind}")), "{summary}");
        }
    }
    // Two writers at once, two holders of one permit, and of a mutex whatever the model.
    for (kind, model) in [
        ("read-write", "read-write"),
        ("semaphore:1", "semaphore:1"),
        ("mutex", "mutex"),
        ("mutex", "owner-mutex"),
        ("mutex", "semaphore:1"),
        ("mutex", "read-write"),
    ] {
        assert_eq!(judged(kind, model).0, Verdict::Invalid, "{kind} by {model}");
    }
    assert_ne!(judged("semaphore:2", "semaphore:3").0, Verdict::Invalid);
}
