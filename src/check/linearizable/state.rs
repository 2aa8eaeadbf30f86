//! What one lock may be in during a replay, and whether an op is legal then.

use std::collections::BTreeSet;
use std::time::Duration;

use super::words::{Contradiction, Grant};
use crate::ids::{ClientId, FencingToken};
use crate::time::Nanos;

/// A client's lock ops up to and including the first one in doubt.
pub(super) type Owner = (ClientId, u32);

/// A model's limits.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// How often one owner may hold the lock at once.
    pub depth: u32,
    /// Whether tokens count.
    pub fenced: bool,
}

/// One lock in the replay.
#[derive(Default)]
pub(super) struct Lock {
    /// What it may be in; empty is the same as one free state. More than one only while a release is open or has
    /// failed.
    states: Vec<State>,
    /// Who alone may hold it, and that owner's last grant: a grant takes effect in every state that is left.
    holder: Option<(Owner, Grant)>,
    /// The last grant of all.
    pub latest: Option<Grant>,
    /// The grant with the highest token.
    pub highest: Option<Grant>,
    /// The last grant since then to another client than that one's.
    passed_on: Option<Grant>,
    /// Who ever held it and is not retired.
    pub held_by: BTreeSet<Owner>,
    /// Whose hold a later grant contradicted: their releases contradict nothing more.
    pub overthrown: BTreeSet<Owner>,
}

/// One state that the lock may be in.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct State {
    hold: Option<Hold>,
    highest: Option<FencingToken>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Hold {
    owner: Owner,
    depth: u32,
    token: Option<FencingToken>,
    /// Whether its owner's open release has not taken effect.
    owes_release: bool,
}

impl State {
    /// The state after a grant, if it is legal.
    fn granted(self, owner: Owner, token: Option<FencingToken>, rules: Rules) -> Result<Self, Refusal> {
        let rises = !rules.fenced || token.is_none() || token > self.highest;
        let highest = self.highest.max(token);
        match self.hold {
            None if rises => Ok(Self { hold: Some(Hold { owner, depth: 1, token, owes_release: false }), highest }),
            None => Err(Refusal::Token),
            Some(hold) if hold.owner != owner || hold.owes_release => Err(Refusal::Held),
            Some(hold) if hold.depth >= rules.depth => Err(Refusal::Depth),
            Some(hold) => match (hold.token, token) {
                (Some(outer), Some(inner)) if rules.fenced && outer != inner => Err(Refusal::Nested),
                (None, Some(_)) if !rises => Err(Refusal::Token),
                (outer, inner) => {
                    let hold = Hold { depth: hold.depth + 1, token: outer.or(inner), ..hold };
                    Ok(Self { hold: Some(hold), highest })
                }
            },
        }
    }

    fn owes(&self, owner: Owner) -> bool {
        self.hold.is_some_and(|hold| hold.owner == owner && hold.owes_release)
    }
}

/// Why a grant is not legal in a state, from the least to the most telling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    Held,
    Depth,
    Nested,
    Token,
}

impl Lock {
    /// A grant takes effect. If that is legal in no state, says what it contradicts, and believes it.
    pub fn grant(&mut self, owner: Owner, grant: &Grant, rules: Rules) -> Option<Contradiction> {
        if self.states.is_empty() {
            self.states.push(State::default());
        }
        let mut refusal = None;
        let highest = self.states[0].highest;
        let is_held = self.states.iter().any(|state| state.hold.is_some());
        let before = self.holder.replace((owner, grant.clone())).filter(|_| is_held);
        self.overthrown.remove(&owner);
        self.states.retain_mut(|state| match state.granted(owner, grant.token, rules) {
            Ok(next) => {
                *state = next;
                true
            }
            Err(why) => {
                refusal = refusal.max(Some(why));
                false
            }
        });
        let mut contradiction = None;
        if self.states.is_empty() {
            let hold = Hold { owner, depth: 1, token: grant.token, owes_release: false };
            self.states.push(State { hold: Some(hold), highest: highest.max(grant.token) });
            self.overthrown.extend(before.as_ref().map(|(holder, _)| *holder).filter(|holder| *holder != owner));
            let holder = before.map_or_else(|| grant.clone(), |(_, grant)| grant);
            contradiction = Some(match refusal {
                Some(Refusal::Token) => self.token_too_low(grant).unwrap_or(Contradiction::Held(holder)),
                Some(Refusal::Nested) => Contradiction::NestedToken(holder),
                Some(Refusal::Depth) => Contradiction::TooDeep(holder),
                Some(Refusal::Held) | None => Contradiction::Held(holder),
            });
        }
        self.held_by.insert(owner);
        self.latest = Some(grant.clone());
        self.raise(grant);
        contradiction
    }

    /// What a grant with too low a token contradicts.
    pub fn token_too_low(&self, grant: &Grant) -> Option<Contradiction> {
        let highest = self.highest.clone()?;
        let between = self.passed_on.clone().filter(|_| highest.client == grant.client);
        Some(Contradiction::TokenTooLow(highest, between))
    }

    /// Notes a token for later ones to be compared with.
    pub fn raise(&mut self, grant: &Grant) {
        for state in &mut self.states {
            state.highest = state.highest.max(grant.token);
        }
        if grant.token > self.highest.as_ref().and_then(|highest| highest.token) {
            self.highest = Some(grant.clone());
            self.passed_on = None;
        } else if self.highest.as_ref().is_some_and(|highest| highest.client != grant.client) {
            self.passed_on = Some(grant.clone());
        }
    }

    /// The grant by which another owner has held the lock since before `since`, whatever open releases come to.
    pub fn held_throughout(&self, owner: Owner, since: Nanos, clock_error: Duration) -> Option<&Grant> {
        let (holder, grant) = self.holder.as_ref()?;
        let is_held = self.states.iter().all(|state| state.hold.is_some());
        (*holder != owner && is_held && grant.at + clock_error < since).then_some(grant)
    }

    /// A release begins, and may take effect; says by which grant its owner held the lock, if it did.
    pub fn release(&mut self, owner: Owner) -> Option<Grant> {
        let mut held = false;
        for at in 0..self.states.len() {
            let Some(hold) = self.states[at].hold.filter(|hold| hold.owner == owner) else { continue };
            held = true;
            self.states[at].hold = Some(Hold { owes_release: true, ..hold });
            let outer = Some(Hold { depth: hold.depth - 1, ..hold }).filter(|hold| hold.depth > 0);
            let released = State { hold: outer, ..self.states[at] };
            if !self.states.contains(&released) {
                self.states.push(released);
            }
        }
        self.holder.as_ref().filter(|_| held).map(|(_, grant)| grant.clone())
    }

    /// A release ended, and took effect when it began.
    pub fn released(&mut self, owner: Owner) {
        self.states.retain(|state| !state.owes(owner));
    }

    /// A release ended, and nobody knows whether it took effect.
    pub fn maybe_released(&mut self, owner: Owner) {
        let mut kept: Vec<State> = Vec::with_capacity(self.states.len());
        for mut state in self.states.drain(..) {
            if let Some(hold) = state.hold.as_mut().filter(|hold| hold.owner == owner) {
                hold.owes_release = false;
            }
            if !kept.contains(&state) {
                kept.push(state);
            }
        }
        self.states = kept;
    }

    /// A release ended, and did nothing; false if the lock was granted to another owner meanwhile.
    pub fn kept(&mut self, owner: Owner) -> bool {
        if !self.states.iter().any(|state| state.owes(owner)) {
            return false;
        }
        self.states.retain(|state| state.owes(owner));
        self.maybe_released(owner);
        true
    }
}
