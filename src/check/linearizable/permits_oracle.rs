//! Semaphores and read-write locks by their definition, for tests: try every order.
//!
//! Exponential, and shares no code with [`super::permits`]. What is noted in one instant happened in the order of the
//! notes; there the algorithm may be too lenient, never too strict. Histories are short and random: several holds at
//! once of one client, too many of them at once now and then, attempts that end in any way or never.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;

use super::model::{FailedRelease, Model};
use super::permits;
use crate::check::tests::story::Story;
use crate::history::{F, Op, OpType};
use crate::ids::{ClientId, HoldId};
use crate::seed::{ChaCha8Rng, Seed};

const MODELS: [Model; 4] = [
    Model::Semaphore { permits: 1, lease: false },
    Model::Semaphore { permits: 2, lease: false },
    Model::Semaphore { permits: 3, lease: false },
    Model::ReadWrite { lease: false },
];

/// Something that must or may take effect between two instants.
struct Step {
    /// Which hold begins, or ends if it has begun.
    hold: usize,
    begins: bool,
    must: bool,
    from: u64,
    to: u64,
}

struct Attempt {
    name: HoldId,
    client: ClientId,
    shared: bool,
}

struct Search<'a> {
    model: Model,
    attempts: &'a [Attempt],
    steps: &'a [Step],
    met: BTreeSet<(u64, u64)>,
}

impl Search<'_> {
    /// Whether the steps that are not in `done` can follow, with the holds in `held`.
    fn can_go_on(&mut self, done: u64, held: u64) -> bool {
        let open = |at: &usize| done & 1 << at == 0;
        if !(0..self.steps.len()).filter(open).any(|at| self.steps[at].must) {
            return true;
        }
        if !self.met.insert((done, held)) {
            return false;
        }
        // Whatever must end before a step begins comes before it.
        let earliest_end =
            (0..self.steps.len()).filter(open).filter(|at| self.steps[*at].must).map(|at| self.steps[at].to).min();
        for at in (0..self.steps.len()).filter(open) {
            let step = &self.steps[at];
            if earliest_end.is_some_and(|end| step.from > end) {
                continue;
            }
            let bit = 1 << step.hold;
            let allowed = if step.begins { self.allows(held, step.hold) } else { held & bit != 0 };
            if allowed && self.can_go_on(done | 1 << at, held ^ bit) {
                return true;
            }
        }
        false
    }

    fn allows(&self, held: u64, wanted: usize) -> bool {
        let holds = (0..self.attempts.len()).filter(|at| held & 1 << at != 0);
        let wanted = &self.attempts[wanted];
        match self.model {
            Model::Semaphore { permits, .. } => holds.count() < permits as usize,
            _ => holds
                .map(|at| &self.attempts[at])
                .all(|other| other.client == wanted.client || (other.shared && wanted.shared)),
        }
    }
}

fn explained(ops: &[Op], model: Model, failed: FailedRelease) -> bool {
    let invoked = || ops.iter().enumerate().filter(|(_, op)| op.kind == OpType::Invoke);
    let attempts: Vec<Attempt> = invoked()
        .filter(|(_, op)| op.f == F::Acquire)
        .map(|(_, op)| Attempt { name: op.hold.clone().unwrap(), client: op.client.unwrap(), shared: op.shared })
        .collect();
    let mut steps = Vec::new();
    for (place, op) in invoked() {
        let completion = (place + 1..ops.len()).find(|later| ops[*later].process == op.process);
        let hold = attempts.iter().position(|attempt| op.hold.as_ref() == Some(&attempt.name)).unwrap();
        let (from, begins) = (place as u64, op.f == F::Acquire);
        let (must, to) = match completion {
            Some(done) if ops[done].kind == OpType::Ok => (true, done as u64),
            Some(done) if ops[done].kind == OpType::Fail && (begins || failed == FailedRelease::DidNothing) => continue,
            _ => (false, u64::MAX),
        };
        steps.push(Step { hold, begins, must, from, to });
    }
    Search { model, attempts: &attempts, steps: &steps, met: BTreeSet::new() }.can_go_on(0, 0)
}

/// A history of three clients with two processes each, so that one client has two holds at once.
fn random(rng: &mut ChaCha8Rng, ties: bool) -> Vec<Op> {
    const PROCESSES: usize = 6;
    let mut story = Story::new(3);
    // What each process has open, and what it holds.
    let mut open: [Option<(F, HoldId)>; PROCESSES] = Default::default();
    let mut held: [Option<HoldId>; PROCESSES] = Default::default();
    let mut dead = [false; PROCESSES];
    let mut made = 0;
    let mut now = 0;
    for _ in 0..rng.random_range(6..22) {
        now += rng.random_range(u64::from(!ties)..3);
        let at = rng.random_range(0..PROCESSES);
        if dead[at] {
            continue;
        }
        let client = at / 2 + 1;
        let (kind, f, hold) = match open[at].take() {
            None => {
                let (f, hold) = match held[at].take() {
                    Some(hold) => (F::Release, hold),
                    None => {
                        made += 1;
                        (F::Acquire, HoldId::new(format!("c{client}-{made}")))
                    }
                };
                open[at] = Some((f, hold.clone()));
                (OpType::Invoke, f, hold)
            }
            Some((f, hold)) => {
                let kind = match rng.random_range(0..10) {
                    0 => OpType::Info,
                    1 => OpType::Fail,
                    _ => OpType::Ok,
                };
                dead[at] = kind == OpType::Info;
                if f == F::Acquire && kind == OpType::Ok {
                    held[at] = Some(hold.clone());
                }
                (kind, f, hold)
            }
        };
        let reads = hold.to_string().bytes().last().is_some_and(|digit| digit % 2 == 0);
        let op = story.op(now, &hold.to_string(), kind, f);
        op.process = crate::history::Process::Client(at as u32 + 1);
        op.shared = reads;
    }
    story.history().ops
}

fn compare(failed: FailedRelease, ties: bool) {
    let mut rng = Seed(7).stream("permits");
    let mut verdicts = [[0u32; 2]; MODELS.len()];
    for number in 0..1_500 {
        let ops = random(&mut rng, ties);
        for (at, model) in MODELS.into_iter().enumerate() {
            let taken: Vec<&Op> = ops.iter().collect();
            let (listing, ..) = permits::check(&taken, model, failed, Duration::ZERO);
            let expected = explained(&ops, model, failed);
            let told: Vec<String> = ops.iter().map(|op| serde_json::to_string(op).unwrap()).collect();
            let agree = (listing.total() == 0) == expected || (ties && !expected);
            assert!(agree, "history {number}, {model}: explained {expected}\n{}", told.join("\n"));
            verdicts[at][usize::from(expected)] += 1;
        }
    }
    assert!(verdicts.iter().flatten().all(|count| *count > 40), "each model accuses and does not: {verdicts:?}");
}

#[test]
fn what_several_may_hold_agrees_with_trying_every_order() {
    compare(FailedRelease::EndsTheClaim, false);
    compare(FailedRelease::EndsTheClaim, true);
}

#[test]
fn and_where_a_failed_release_did_nothing() {
    compare(FailedRelease::DidNothing, false);
    compare(FailedRelease::DidNothing, true);
}
