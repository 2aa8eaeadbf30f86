//! Whether a strike changed anything: what a fault was for, not that it was applied.
//!
//! A stop counts if it lasted as long as what it met takes without it, or ended it; a death if it ended a hold or an
//! attempt, or a server that one relied on; a link's fault by the packets that it struck, where the environment counts
//! them; a request's by the requests that were struck; a clock's by an error that locks do not allow for. Deliberately
//! absent: whether that was enough to break a lock.

use std::time::Duration;

use super::evidence::Facts;
use crate::fault::{ClockChange, FaultName, Member};
use crate::history::{Ending, F, Op, OpType, Probe, Strike};
use crate::ids::ClientId;
use crate::time::Nanos;

/// Locks allow for this much between clocks, and for [`DRIFT_PPM`] of a lease (Redlock's own 2 ms and 1 %).
const CLOCK_MARGIN: u64 = 2_000_000;
/// A clock that is that much too fast or slow is within what locks allow for, parts per million.
const DRIFT_PPM: u64 = 10_000;
/// Packets that are late by less are as late every day: ten times a hop inside of a data centre.
const LATE: u64 = 1_000_000;

/// From the invocation of an acquire to its completion or its client's death; or a hold.
#[derive(Clone, Copy)]
struct Span {
    client: ClientId,
    from: Nanos,
    to: Nanos,
    died: bool,
}

/// The attempts and holds of a history, and how long they usually take.
pub(super) struct Effects {
    attempts: Vec<Span>,
    holds: Vec<Span>,
    /// Of the granted ones that no strike met; of all, if there is none.
    usual_attempt: Duration,
    usual_hold: Duration,
    margin: u64,
}

impl Effects {
    /// Of a history.
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut attempts: Vec<Span> = Vec::new();
        let mut open = std::collections::BTreeMap::new();
        let mut granted: Vec<Span> = Vec::new();
        for op in facts.history.ops.iter().filter(|op| op.f == F::Acquire || op.f == F::Crash) {
            let Some(client) = op.client else { continue };
            match op.kind {
                OpType::Invoke => {
                    open.insert(client, attempts.len());
                    attempts.push(Span { client, from: op.time, to: facts.end(), died: false });
                }
                kind => {
                    let Some(at) = open.remove(&client) else { continue };
                    (attempts[at].to, attempts[at].died) = (op.time, op.f == F::Crash);
                    if kind == OpType::Ok {
                        granted.push(attempts[at]);
                    }
                }
            }
        }
        let holds = facts.holds.iter().map(|hold| {
            let died = hold.ended.is_some_and(|(_, ending)| ending == Ending::Crashed);
            Span { client: hold.client, from: hold.from, to: hold.to, died }
        });
        let holds: Vec<Span> = holds.collect();
        let usual = |spans: &[Span]| {
            let untouched = spans.iter().filter(|span| {
                !facts.strikes.iter().any(|strike| {
                    let healed = strike.healed.map_or(facts.end(), |op| op.time);
                    span.from <= healed && span.to >= strike.invoked.time
                })
            });
            let lengths = |spans: &mut dyn Iterator<Item = &Span>| spans.map(|span| span.to - span.from).collect();
            let untouched: Vec<Duration> = lengths(&mut { untouched });
            median(if untouched.is_empty() { lengths(&mut spans.iter()) } else { untouched })
        };
        let (usual_attempt, usual_hold) = (usual(&granted), usual(&holds));
        // What a lease allows for; without a word of it, what is allowed for on top.
        let lease = facts.history.header.grant_within.map_or(0, |bound| bound.saturating_sub(2_000_000_000) / 2);
        let margin = CLOCK_MARGIN + lease / 100;
        Self { attempts, holds, usual_attempt, usual_hold, margin }
    }

    /// How many attempts were open while a strike was in force that was seen to have its effect.
    pub fn attempts_under(&self, strikes: &[&Strike<'_>], end: Nanos) -> usize {
        let under = |span: &&Span| {
            strikes.iter().any(|strike| {
                let (from, until) = in_force(strike, end);
                let concerns = |member: &Member| !matches!(member, Member::Client(client) if *client != span.client);
                strike.event.targets.iter().any(concerns) && span.from < until && span.to > from
            })
        };
        self.attempts.iter().filter(under).count()
    }

    /// How many holds and attempts a client's death ended while a strike on it began.
    pub fn ended_by(&self, strike: &Strike<'_>, end: Nanos) -> usize {
        let (_, until) = in_force(strike, end);
        let ended = |span: &&Span| {
            let struck = strike.event.targets.contains(&Member::Client(span.client));
            struck && span.died && span.to >= strike.invoked.time && span.to <= until
        };
        self.attempts.iter().chain(&self.holds).filter(ended).count()
    }

    /// Whether a strike that was seen to be applied changed anything.
    pub fn had(&self, facts: &Facts<'_>, strike: &Strike<'_>) -> bool {
        let end = facts.end();
        let (from, until) = in_force(strike, end);
        let length = until - from;
        let during = |span: &&Span| span.from < until && span.to > from;
        let targets = &strike.event.targets;
        // What nobody needs to wait for is not felt; how long clients queue says nothing of that.
        let felt = length >= self.usual_attempt.min(self.usual_hold);
        let outlived = |client: ClientId| {
            facts
                .holds
                .iter()
                .any(|hold| hold.client == client && hold.from < until && hold.to >= from && hold.outlived_validity())
        };
        match strike.event.kind.known() {
            Some(FaultName::Pause) => targets.iter().any(|member| match member {
                Member::Client(client) => {
                    let met = |spans: &[Span], usual: Duration| {
                        let own = spans.iter().filter(during).any(|span| span.client == *client);
                        own && length >= usual
                    };
                    outlived(*client) || met(&self.holds, self.usual_hold) || met(&self.attempts, self.usual_attempt)
                }
                Member::Node(_) => felt && self.attempts.iter().chain(&self.holds).any(|span| during(&span)),
                Member::Resource => length >= self.usual_hold && self.holds.iter().any(|span| during(&span)),
            }),
            Some(name) if name.kills() => targets.iter().any(|member| match member {
                Member::Client(_) => self.ended_by(strike, end) > 0,
                // What a server has forgotten, and whom it does not answer, is whoever relies on it.
                Member::Node(_) | Member::Resource => self.attempts.iter().chain(&self.holds).any(|span| during(&span)),
            }),
            Some(name) if name.is_of_links() => {
                let noticeable = strike.event.late_by.is_none_or(|(_, most)| most >= LATE);
                let counted = struck(strike.healed);
                noticeable
                    && counted.map_or_else(
                        || {
                            let lost = |member: &Member| matches!(member, Member::Client(client) if outlived(*client));
                            felt && self.attempts.iter().any(|span| during(&span)) || targets.iter().any(lost)
                        },
                        |packets| packets > 0,
                    )
            }
            // Whoever reads requests knows what was done to how many.
            Some(FaultName::Request) => struck(strike.healed).is_some_and(|requests| requests > 0),
            _ => {
                let worst = readings(strike).map(|error| error.unsigned_abs()).max().unwrap_or_default();
                let fast = match strike.event.clock {
                    Some(ClockChange::Drift { ppm }) => ppm.unsigned_abs() > DRIFT_PPM,
                    _ => false,
                };
                (worst > self.margin || fast) && self.attempts.iter().chain(&self.holds).any(|span| during(&span))
            }
        }
    }
}

/// While it certainly was in force.
fn in_force(strike: &Strike<'_>, end: Nanos) -> (Nanos, Nanos) {
    (strike.applied.map_or(end, |op| op.time), strike.healing.map_or(end, |op| op.time))
}

fn probes(op: Option<&Op>) -> impl Iterator<Item = &Probe> {
    op.and_then(|op| op.fault.as_ref()).into_iter().flat_map(|event| &event.probes)
}

/// How many packets it struck, where that was counted.
fn struck(healed: Option<&Op>) -> Option<u64> {
    let counts: Vec<u64> = probes(healed).filter_map(|probe| probe.struck).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

/// By how much clocks were seen wrong while it was in force, ns.
fn readings<'a>(strike: &Strike<'a>) -> impl Iterator<Item = i64> {
    let all = probes(strike.applied).chain(probes(strike.healed));
    all.filter(|probe| probe.is_in_force()).filter_map(|probe| probe.clock.as_ref()).map(|reading| reading.error)
}

fn median(mut lengths: Vec<Duration>) -> Duration {
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::story::Story;

    fn usual(tell: impl FnOnce(&mut Story)) -> (u128, u128) {
        let mut story = Story::new(9);
        tell(&mut story);
        let history = story.history();
        let effects = Effects::of(&Facts::of(&history));
        (effects.usual_attempt.as_millis(), effects.usual_hold.as_millis())
    }

    /// An attempt and a hold that begin at an instant and last so long.
    fn taken(story: &mut Story, hold: &str, at: u64, attempt: u64, held: u64) {
        story.acquire(hold, at, at + attempt, None);
        story.release(hold, at + attempt + held);
    }

    #[test]
    fn what_is_usual_is_the_middle_of_what_no_strike_met() {
        let untouched = |story: &mut Story| {
            taken(story, "c1-1", 100, 2, 30);
            taken(story, "c2-1", 200, 4, 10);
            taken(story, "c3-1", 300, 9, 20);
        };
        let touched = |story: &mut Story| {
            // Each touches the strike at one end, or lies within it, or around it.
            taken(story, "c4-1", 1_000, 50, 1);
            taken(story, "c5-1", 1_100, 60, 400);
            taken(story, "c6-1", 1_010, 70, 500);
            taken(story, "c7-1", 1_200, 80, 600);
            story.pause(1, 8, 1_050, 1_200);
        };
        assert_eq!(usual(untouched), (4, 20));
        assert_eq!(
            usual(|story| {
                untouched(story);
                touched(story);
            }),
            // The last of the holds began when it was over.
            (4, 30)
        );
        // Where a strike met all of them, they are all there is to go by.
        assert_eq!(usual(touched), (70, 600));
        assert_eq!(usual(|story| story.pause(1, 8, 1, 2)), (0, 0));
    }
}
