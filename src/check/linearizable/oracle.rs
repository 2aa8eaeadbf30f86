//! The definition itself, for tests: try every order of one lock's operations.
//!
//! Exponential, so it has a budget; what exceeds it is undecided. States that were met before with the same ops done
//! are not entered again (Lowe 2017, on Wing and Gong 1993). It shares no code with the algorithms it judges.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{FailedRelease, Model};
use crate::history::{F, Op, OpType};
use crate::ids::{HoldId, LockName};
use crate::time::Nanos;

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
/// What happens after `end` is not known.
pub(super) fn linearizable(ops: &[Op], end: Nanos, model: Model, failed: FailedRelease, budget: usize) -> Option<bool> {
    let mut locks: BTreeSet<&LockName> = BTreeSet::new();
    locks.extend(ops.iter().filter_map(|op| op.lock.as_ref()));
    for lock in locks {
        let ops: Vec<&Op> = ops.iter().filter(|op| op.lock.as_ref() == Some(lock) || op.f == F::Crash).collect();
        let steps = steps(&ops, end, model, failed);
        let mut search = Search { steps: &steps, model, failed, met: BTreeSet::new(), budget };
        if !search.from(0, State::default())? {
            return Some(false);
        }
    }
    Some(true)
}

fn steps(ops: &[&Op], history_end: Nanos, model: Model, failed: FailedRelease) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lives: BTreeMap<u32, u32> = BTreeMap::new();
    let mut owners: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut attempts: BTreeMap<&HoldId, u32> = BTreeMap::new();
    let mut again = 0;
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
                if model.is_leased() && must {
                    let mut promised = promised(ops, history_end, op).into_iter();
                    steps.extend(promised.next().map(|(_, to)| Step { from: to, ..in_doubt }));
                    // Promised again when it was over: as if it had been acquired again, in that instant.
                    for (from, to) in promised {
                        again += 1;
                        let owner = u32::BITS - again;
                        let act = Act::Acquire { owner, token: None };
                        steps.push(Step { act, must: true, from, to: from });
                        steps.push(Step { act: Act::End { owner }, from: to, ..in_doubt });
                    }
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

/// From when to when the lock promised the hold of an acquire at the least: once, and again for each renewal that came
/// when that was over. Nobody knows what holds beyond the end of the history.
fn promised(ops: &[&Op], history_end: Nanos, acquire: &Op) -> Vec<(u64, u64)> {
    let of_hold = |op: &&&Op| op.hold == acquire.hold;
    let Some(granted) = ops.iter().find(|op| of_hold(op) && (op.f, op.kind) == (F::Acquire, OpType::Ok)) else {
        return Vec::new();
    };
    let end = ops.iter().find(|op| {
        of_hold(op) && ((op.f, op.kind) == (F::Release, OpType::Invoke) || op.f == F::Lost)
            || op.f == F::Crash && op.client == acquire.client && op.index > granted.index
    });
    let over = end.map_or(history_end.0, |end| end.time.0);
    let is_before_end = |op: &&&Op| end.is_none_or(|end| op.index < end.index) && op.index > granted.index;
    let renewals = ops.iter().filter(|op| of_hold(op) && op.f == F::Extend).filter(is_before_end);
    let mut told: Vec<(u64, u64)> = vec![(0, granted.valid_until.map_or(u64::MAX, |until| until.0))];
    told.extend(renewals.filter_map(|op| Some((op.time.0, op.valid_until?.0))));
    // What it was at the end of the hold it was from the last known change on, unless it was over then.
    if let (Some(until), Some((since, last))) = (end.and_then(|op| op.valid_until), told.last_mut())
        && (*since).max(granted.time.0) < *last
    {
        *last = until.0;
    }
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for (since, until) in told {
        match spans.last_mut() {
            Some((_, to)) if *to >= since => *to = until.max(since),
            _ => spans.push((since, until.max(since))),
        }
    }
    let mut spans = spans.into_iter().map(|(from, to)| (from, to.min(over)));
    let first = spans.next();
    first.into_iter().chain(spans.filter(|(from, to)| from < to)).collect()
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
