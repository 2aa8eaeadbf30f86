//! The definition itself, for tests: try every order of one lock's operations.
//!
//! Exponential, so it has a budget; what exceeds it is undecided. States that were met before with the same ops done are
//! not entered again (Lowe 2017, on Wing and Gong 1993). It shares no code with the algorithms it judges.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{FailedRelease, Model};
use crate::history::{F, Op, OpType};
use crate::ids::{HoldId, LockName};

/// Something that must or may take effect between two instants.
#[derive(Clone, Copy, Debug)]
struct Step {
    act: Act,
    must: bool,
    from: u64,
    to: u64,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Acquire {
        owner: u32,
        token: Option<u64>,
    },
    /// A release that says that it worked.
    Release {
        owner: u32,
    },
    /// The hold ends: by a release in doubt or failed, or by itself.
    End {
        owner: u32,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    holder: Option<(u32, u32, Option<u64>)>,
    highest: Option<u64>,
    held_by: u32,
}

/// Whether some order explains the history under the model; `None` if the budget, in states entered, is used up.
pub(super) fn linearizable(ops: &[Op], model: Model, failed: FailedRelease, budget: usize) -> Option<bool> {
    let mut locks: BTreeSet<&LockName> = BTreeSet::new();
    locks.extend(ops.iter().filter_map(|op| op.lock.as_ref()));
    for lock in locks {
        let ops: Vec<&Op> = ops.iter().filter(|op| op.lock.as_ref() == Some(lock) || op.f == F::Crash).collect();
        let steps = steps(&ops, model, failed);
        let mut search = Search { steps: &steps, model, failed, met: BTreeSet::new(), budget };
        if !search.from(0, State::default())? {
            return Some(false);
        }
    }
    Some(true)
}

fn steps(ops: &[&Op], model: Model, failed: FailedRelease) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lives: BTreeMap<u32, u32> = BTreeMap::new();
    let mut owners: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut attempts: BTreeMap<&HoldId, u32> = BTreeMap::new();
    for (place, op) in ops.iter().enumerate() {
        let client = op.client.unwrap().0;
        let completion = ops[place + 1..].iter().find(|later| {
            later.process == op.process && (later.f == op.f && later.kind != OpType::Invoke || later.f == F::Crash)
        });
        let outcome = completion.map_or(OpType::Info, |op| op.kind);
        let life = *lives.entry(client).or_default();
        if (op.f, op.kind) == (F::Crash, OpType::Info) || op.kind == OpType::Info {
            lives.insert(client, life + 1);
        }
        let many = owners.len() as u32;
        let owner = match &op.hold {
            Some(hold) if model.is_leased() => {
                let many = attempts.len() as u32;
                *attempts.entry(hold).or_insert(many)
            }
            _ => *owners.entry((client, life)).or_insert(many),
        };
        let from = op.time.0;
        let to = completion.map_or(u64::MAX, |op| op.time.0);
        let in_doubt = Step { act: Act::End { owner }, must: false, from, to: u64::MAX };
        match (op.f, op.kind) {
            (F::Acquire, OpType::Invoke) if outcome != OpType::Fail => {
                let token = completion.and_then(|op| op.token).map(|token| token.0);
                let must = outcome == OpType::Ok;
                let to = if must { to } else { u64::MAX };
                steps.push(Step { act: Act::Acquire { owner, token }, must, from, to });
                // A validity that was told later, when the hold was given up, counts instead.
                let later = ops.iter().find(|later| {
                    later.hold == op.hold
                        && ((later.f, later.kind) == (F::Release, OpType::Invoke) || later.f == F::Lost)
                });
                let told = completion.and_then(|op| op.valid_until);
                let until = later.and_then(|op| op.valid_until).or(told);
                if let (true, Some(until)) = (model.is_leased(), until) {
                    steps.push(Step { from: until.0, ..in_doubt });
                }
            }
            (F::Release, OpType::Invoke) => match (outcome, failed) {
                (OpType::Ok, _) => steps.push(Step { act: Act::Release { owner }, must: true, from, to }),
                (OpType::Fail, FailedRelease::DidNothing) => {}
                (OpType::Fail, _) if !model.is_leased() && model != Model::Mutex => steps.push(Step { to, ..in_doubt }),
                _ => steps.push(in_doubt),
            },
            (F::Lost, _) if model.is_leased() => steps.push(in_doubt),
            (F::Crash, _) if model.is_leased() => {
                let mine = ops[..place].iter().filter(|earlier| earlier.client == op.client);
                let held: BTreeSet<u32> = mine.filter_map(|op| attempts.get(op.hold.as_ref()?).copied()).collect();
                steps.extend(held.into_iter().map(|owner| Step { act: Act::End { owner }, ..in_doubt }));
            }
            _ => {}
        }
    }
    assert!(steps.len() < 32, "the oracle is for small histories");
    steps
}

struct Search<'a> {
    steps: &'a [Step],
    model: Model,
    failed: FailedRelease,
    met: BTreeSet<(u32, State)>,
    budget: usize,
}

impl Search<'_> {
    fn from(&mut self, done: u32, state: State) -> Option<bool> {
        let is_done = |place: usize| done & (1 << place) != 0;
        if self.steps.iter().enumerate().all(|(place, step)| is_done(place) || !step.must) {
            return Some(true);
        }
        if !self.met.insert((done, state)) {
            return Some(false);
        }
        self.budget = self.budget.checked_sub(1)?;
        for (place, step) in self.steps.iter().enumerate() {
            let too_late = |(at, other): (usize, &Step)| {
                if is_done(at) { step.to < other.from } else { at != place && other.must && other.to < step.from }
            };
            if is_done(place) || self.steps.iter().enumerate().any(too_late) {
                continue;
            }
            if let Some(next) = self.act(state, step.act)
                && self.from(done | 1 << place, next)?
            {
                return Some(true);
            }
        }
        Some(false)
    }

    fn act(&self, state: State, act: Act) -> Option<State> {
        let Model::Owned { depth: limit, fenced, .. } = self.model else {
            return match (act, state.holder) {
                (Act::Acquire { .. }, None) => Some(State { holder: Some((0, 1, None)), ..state }),
                (Act::Release { .. } | Act::End { .. }, Some(_)) => Some(State { holder: None, ..state }),
                _ => None,
            };
        };
        let lower = |(owner, depth, token)| Some((owner, depth - 1, token)).filter(|_| depth > 1);
        match (act, state.holder) {
            (Act::Acquire { owner, token }, holder) => {
                let (depth, outer) = match holder {
                    None => (0, None),
                    Some((other, depth, outer)) if other == owner && depth < limit => (depth, outer),
                    Some(_) => return None,
                };
                if let (true, Some(token)) = (fenced, token) {
                    let allowed = outer.map_or(state.highest < Some(token), |outer| outer == token);
                    if !allowed {
                        return None;
                    }
                }
                let held_by = state.held_by | 1 << owner;
                Some(State {
                    holder: Some((owner, depth + 1, outer.or(token))),
                    highest: state.highest.max(token),
                    held_by,
                })
            }
            (Act::Release { owner } | Act::End { owner }, Some(hold)) if hold.0 == owner => {
                Some(State { holder: lower(hold), ..state })
            }
            (Act::Release { owner }, _) => {
                let tolerated = self.failed == FailedRelease::EndsTheClaim && state.held_by & 1 << owner != 0;
                tolerated.then_some(state)
            }
            (Act::End { .. }, _) => None,
        }
    }
}
