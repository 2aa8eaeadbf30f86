//! What every lock over Redis says of its leases and servers: keys, rules, words.
//!
//! Deliberately absent: how many servers there are, and what is granted; that is each lock's own.

use std::time::Duration;

use super::Assumed;
use super::backend::Persistence;
use super::draw::Scale;
use super::table::{AnyKey, Asked, Key, Line, quoted, time, word};
use crate::duration::{DurationRange, text};
use crate::lock::backend::Connections;
use crate::lock::{Tokens, Waiting};
use crate::scenario::duration::{DurationText, RangeText};
use crate::scenario::error::Problem;
use crate::scenario::place::{Choice, Word, words};
use crate::scenario::problems::Problems;

words! {
    Connections { "pooled" => Pooled, "fresh" => Fresh }
    Tokens { "none" => None, "quorum" => Quorum }
    Waiting { "poll" => Poll, "called" => Called }
}

/// `ttl`
pub const TTL: Key<DurationText> = Key::new(
    "ttl",
    "redlock",
    "Redlock, redis: the lease's length, in whole milliseconds, at least 10 ms; 1 s if absent.",
);

/// `renewal`
pub const RENEWAL: Key<bool> = Key::new(
    "renewal",
    "redlock",
    "Redlock, redis: whether a held lease is renewed every third of its length; off if absent, as published.",
);

/// `node-timeout`
pub const NODE_TIMEOUT: Key<DurationText> = Key::new(
    "node-timeout",
    "redlock",
    "Redlock, redis: how long one node may take to answer before it counts as not having voted, less than the ttl; \
     if\nabsent, a tenth of the ttl, but at most 50 ms.",
);

/// `retry-delay`
pub const RETRY_DELAY: Key<RangeText> =
    Key::new("retry-delay", "redlock", "Redlock, redis: the random delay between attempts; 20 to 80 ms if absent.");

/// `persistence`
pub const PERSISTENCE: Key<Choice<Persistence>> = Key::new(
    "persistence",
    "redlock",
    "Redlock, redis: when a master writes what it was told to its disk, and so what it still has after a kill or a \
     power\nloss; never if absent.",
);

/// `connections`
pub const CONNECTIONS: Key<Choice<Connections>> = Key::new(
    "connections",
    "redlock",
    "Redlock, redis: whether requests share one connection to each master, or each has a new one; shared if absent. \
     Where only\nreplies are lost, a request on an established connection is carried out, and a new connection never \
     comes about. A\nZooKeeper session has a connection of its own by nature.",
);

/// `waiting`
pub const WAITING: Key<Choice<Waiting>> = Key::new(
    "waiting",
    "redlock",
    "Redlock, redis: whether who waits asks again after a retry delay, or stands in a line at one node and is called \
     when the\nlock is given back; asks again if absent, as published.",
);

/// What a program over Redis is told of its lease and its servers.
pub(super) const LEASE_KEYS: &[&'static dyn AnyKey] = &[&TTL, &PERSISTENCE];

/// The lease of a table that does not say.
pub(super) const USUAL_TTL: Duration = Duration::from_secs(1);

/// The shortest lease: below it the allowance for clock drift (1 % and 2 ms) leaves next to nothing.
const SHORTEST_TTL: Duration = Duration::from_millis(10);

/// The usual delay between attempts.
pub(super) const USUAL_RETRY_DELAY: DurationRange =
    DurationRange { min: Duration::from_millis(20), max: Duration::from_millis(80) };

/// A lease, and the servers that keep it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) renewal: bool,
    pub(super) node_timeout: Duration,
    pub(super) retry_delay: DurationRange,
    pub(super) persistence: Persistence,
    pub(super) connections: Connections,
    pub(super) waiting: Waiting,
}

impl Lease {
    pub(super) fn read(asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<Self> {
        let (table, environment) = (asked.table, asked.environment);
        let ttl = match &table.get(&TTL) {
            None => Some(USUAL_TTL),
            Some(field) => problems.milliseconds(TTL.name, field).and_then(|ttl| {
                if ttl < SHORTEST_TTL {
                    let title = format!("`ttl` must be at least {SHORTEST_TTL:?}");
                    let label = "the allowance for clock drift (1 % and 2 ms) would use it up";
                    return problems.refuse(Problem::at(&field.span, title, label));
                }
                Some(ttl)
            }),
        };
        let node_timeout = match &table.get(&NODE_TIMEOUT) {
            None => ttl.map(usual_node_timeout),
            Some(field) => problems.positive(NODE_TIMEOUT.name, field).and_then(|timeout| {
                if let Some(ttl) = ttl.filter(|ttl| timeout >= *ttl) {
                    let title = format!("`node-timeout` must be shorter than the ttl of {ttl:?}");
                    let label = "one silent node would use up the lease";
                    return problems.refuse(Problem::at(&field.span, title, label));
                }
                Some(timeout)
            }),
        };
        let retry_delay = match &table.get(&RETRY_DELAY) {
            None => Some(USUAL_RETRY_DELAY),
            Some(field) => problems.range(RETRY_DELAY.name, field).and_then(|delay| {
                if delay.max.is_zero() {
                    return problems.refuse(Problem::at(&field.span, "`retry-delay` must be longer than zero", "zero"));
                }
                Some(delay)
            }),
        };
        let renewal = table.get(&RENEWAL).is_some_and(|renewal| renewal.value);
        let persistence = match &table.get(&PERSISTENCE) {
            None => Some(Persistence::default()),
            Some(field) => problems.choice("a value of `persistence`", field).and_then(|persistence| {
                if environment.persistence.contains(&persistence) {
                    return Some(persistence);
                }
                let (word, name) = (&field.word, environment.environment);
                let title = format!("persistence `{word}` is not available in environment {name} yet");
                let known =
                    Persistence::words().into_iter().filter(|(_, value)| environment.persistence.contains(value));
                let available = known.map(|(word, _)| word).collect::<Vec<_>>().join(", ");
                let problem = Problem::at(&field.span, title, "not available");
                problems.refuse(problem.help(format!("available in {name}: {available}")))
            }),
        };
        let connections = match &table.get(&CONNECTIONS) {
            None => Some(Connections::default()),
            Some(field) => problems.choice("a value of `connections`", field),
        };
        let waiting = match &table.get(&WAITING) {
            None => Some(Waiting::default()),
            Some(field) => problems.choice("a value of `waiting`", field),
        };
        Some(Self {
            ttl: ttl?,
            renewal,
            node_timeout: node_timeout?,
            retry_delay: retry_delay?,
            persistence: persistence?,
            connections: connections?,
            waiting: waiting?,
        })
    }

    /// The lines that say it in a file; what has its usual value is left out.
    pub(super) fn written(&self) -> Vec<Line> {
        let Self { ttl, renewal, node_timeout, retry_delay, persistence, connections, waiting } = *self;
        let mut lines = vec![(TTL.name, time(ttl))];
        if renewal {
            lines.push((RENEWAL.name, "true".to_owned()));
        }
        lines.push((NODE_TIMEOUT.name, time(node_timeout)));
        lines.push((RETRY_DELAY.name, quoted(&retry_delay.to_string())));
        lines.extend(kept(persistence));
        if connections != Connections::default() {
            lines.push((CONNECTIONS.name, word(connections)));
        }
        if waiting != Waiting::default() {
            lines.push((WAITING.name, word(waiting)));
        }
        lines
    }

    /// As pages show it.
    pub(super) fn shown(&self) -> Vec<Line> {
        let mut lines = vec![
            ("ttl", text(self.ttl)),
            ("renewal", if self.renewal { "every third of the ttl" } else { "off" }.to_owned()),
            ("node timeout", text(self.node_timeout)),
            ("retry delay", self.retry_delay.to_string()),
            ("persistence", self.persistence.about().to_owned()),
        ];
        if self.waiting == Waiting::Called {
            lines.push(("waiting", "in a line, until called".to_owned()));
        }
        lines
    }

    pub(super) fn scale(&self) -> Scale {
        Scale { lease: self.ttl, renewal: self.ttl / 3, patience: self.node_timeout }
    }

    /// What its servers must not do, who keep leases by the time of day; `counts` says whether they count for tokens
    /// too.
    pub(super) fn assumes(&self, counts: bool) -> Assumed {
        Assumed { lease: self.ttl, persistence: self.persistence, counts }
    }
}

/// A tenth of the lease, so that a silent node does not use it up; at most 50 ms, the published upper end for a lease
/// of ten seconds.
pub(super) fn usual_node_timeout(ttl: Duration) -> Duration {
    (ttl / 10).min(Duration::from_millis(50))
}

/// The line that says what servers keep, where it is not nothing.
pub(super) fn kept(persistence: Persistence) -> Option<Line> {
    (persistence != Persistence::default()).then(|| (PERSISTENCE.name, word(persistence)))
}
