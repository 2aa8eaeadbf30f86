//! What is done to the requests of one link: the rules in force, and how often each has struck.
//!
//! A rule's count of requests is used up when it decides; it counts as struck when somebody did what was decided.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fault::request::{Call, Does, RequestRule};

/// The rules on one client's link to one server.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    rules: BTreeMap<u32, Armed>,
}

#[derive(Clone, Debug)]
struct Armed {
    rule: RequestRule,
    left: Option<u32>,
    struck: u64,
}

/// What is to be done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// By which strike.
    pub strike: u32,
    /// What.
    pub does: Does,
    /// For how long, where it takes time.
    pub by: Duration,
}

impl Gate {
    /// Puts a strike's rule in force.
    pub fn arm(&mut self, strike: u32, rule: RequestRule) {
        self.rules.insert(strike, Armed { rule, left: rule.times, struck: 0 });
    }

    /// Takes a strike's rule back; how many requests it struck, if it was in force.
    pub fn disarm(&mut self, strike: u32) -> Option<u64> {
        self.rules.remove(&strike).map(|armed| armed.struck)
    }

    /// How many requests a strike has struck, while its rule is in force.
    pub fn struck(&self, strike: u32) -> Option<u64> {
        self.rules.get(&strike).map(|armed| armed.struck)
    }

    /// The rule of a strike, while it is in force.
    pub fn rule(&self, strike: u32) -> Option<RequestRule> {
        self.rules.get(&strike).map(|armed| armed.rule)
    }

    /// Whether no rule is in force.
    pub fn is_open(&self) -> bool {
        self.rules.is_empty()
    }

    /// What is to be done to a request of a client that is about `call`. The oldest strike that fits decides.
    pub fn decide(&mut self, call: Call) -> Option<Decision> {
        let fits = |armed: &&mut Armed| armed.rule.phase == call && armed.left != Some(0);
        let (strike, armed) = self.rules.iter_mut().find(|(_, armed)| fits(armed))?;
        armed.left = armed.left.map(|left| left - 1);
        Some(Decision { strike: *strike, does: armed.rule.does, by: armed.rule.by })
    }

    /// Notes that what was decided was done.
    pub fn done(&mut self, strike: u32) {
        if let Some(armed) = self.rules.get_mut(&strike) {
            armed.struck += 1;
        }
    }
}
