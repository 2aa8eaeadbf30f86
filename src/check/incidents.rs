//! What began violations: one pause of a holder can break a guarantee with every hold that follows, and is one
//! incident.
//!
//! Each violation that is some hold's doing is put down to the fault that struck that hold's client, or else the lock
//! servers, while it asked for the lock, had it, or acted under it; without such a fault to the end of the hold's own
//! validity; without that to nothing that is known. Deliberately absent: proof. A cause is what was there when it
//! began, and the evidence of the violation itself needs none.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::evidence::{Blame, Facts, Grounds};
use super::{CheckName, CheckResult, Violation};
use crate::fault::{FaultName, Member};
use crate::history::{OpType, Strike};
use crate::ids::{ClientId, HoldId};
use crate::time::Nanos;

/// Incidents beyond this many are counted.
const LIMIT: usize = 100;

/// What began an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A fault: the number of the strike.
    Fault(u32),
    /// No fault: this hold outlived its validity.
    Outlived(HoldId),
    /// Nothing that is known: no fault struck, and no validity was over.
    Nothing,
}

/// Violations with one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Incident {
    /// What began it.
    pub cause: Cause,
    /// The first hold whose doing it is, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    /// When the first of its violations happened.
    pub from: Nanos,
    /// When the last of them happened.
    pub to: Nanos,
    /// How many there are of each check, listed or not.
    pub violations: BTreeMap<CheckName, u64>,
}

/// What incidents are told apart by. The order decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Fault(u32),
    Outlived(usize),
    Nothing,
}

/// The first incidents in the order of time, and how many there are; writes into each listed violation which one it is
/// part of.
pub(super) fn of(facts: &Facts<'_>, checks: &mut [CheckResult]) -> (Vec<Incident>, u64) {
    let mut causes = Causes { facts, known: FxHashMap::default() };
    let mut incidents: BTreeMap<Key, Incident> = BTreeMap::new();
    let mut keys: Vec<Vec<Key>> = Vec::new();
    for result in checks.iter_mut() {
        let grounds = std::mem::take(&mut result.grounds);
        keys.push(Vec::new());
        if matches!(result.check, CheckName::Assumptions | CheckName::Coverage) {
            // About the record itself, and about the faults themselves.
            continue;
        }
        let listed = blames(facts, &result.violations, &grounds);
        keys.last_mut().into_iter().for_each(|keys| keys.extend(listed.iter().map(|blame| causes.of(blame))));
        let all = if grounds.all.is_empty() { &listed } else { &grounds.all };
        for blame in all {
            let incident = incidents.entry(causes.of(blame)).or_insert_with(|| Incident {
                cause: Cause::Nothing,
                hold: None,
                from: Nanos(u64::MAX),
                to: Nanos::ZERO,
                violations: BTreeMap::new(),
            });
            if blame.at < incident.from || incident.hold.is_none() {
                incident.hold = facts.holds.get(blame.place).map(|hold| hold.id.clone());
            }
            incident.from = incident.from.min(blame.at);
            incident.to = incident.to.max(blame.at);
            *incident.violations.entry(result.check).or_default() += blame.count;
        }
    }
    let mut sorted: Vec<(Key, Incident)> = incidents.into_iter().collect();
    sorted.sort_by_key(|(key, incident)| (incident.from, *key));
    let numbers: BTreeMap<Key, u32> = sorted.iter().take(LIMIT).map(|(key, _)| *key).zip(1..).collect();
    for (result, keys) in checks.iter_mut().zip(keys) {
        for (violation, key) in result.violations.iter_mut().zip(keys) {
            violation.incident = numbers.get(&key).copied();
        }
    }
    let in_all = sorted.len() as u64;
    let told = sorted.into_iter().take(LIMIT).map(|(key, incident)| Incident { cause: causes.told(key), ..incident });
    (told.collect(), in_all)
}

/// Whose doing each listed violation is: as its check says, or else that of the first hold among its ops.
fn blames(facts: &Facts<'_>, violations: &[Violation], grounds: &Grounds) -> Vec<Blame> {
    let known = grounds.listed.iter().copied().chain(std::iter::repeat(None));
    let of = |(violation, blame): (&Violation, Option<Blame>)| {
        blame.unwrap_or_else(|| {
            let ops = violation.ops.iter().filter_map(|index| facts.history.ops.get(*index as usize));
            let mut places = ops.filter_map(|op| facts.place(op.hold.as_ref()?));
            let place = places.next().unwrap_or(usize::MAX);
            Blame { place, other: places.find(|other| *other != place), at: violation.to, count: 1 }
        })
    };
    violations.iter().zip(known).map(of).collect()
}

struct Causes<'a> {
    facts: &'a Facts<'a>,
    /// By the place of the hold: what is one hold's doing has one cause.
    known: FxHashMap<usize, Key>,
}

impl Causes<'_> {
    fn of(&mut self, blame: &Blame) -> Key {
        if let Some(key) = self.known.get(&blame.place) {
            return *key;
        }
        let key = self.find(blame);
        if blame.place != usize::MAX {
            self.known.insert(blame.place, key);
        }
        key
    }

    fn find(&self, blame: &Blame) -> Key {
        let facts = self.facts;
        let hold = facts.holds.get(blame.place);
        let others = blame.other.and_then(|place| facts.holds.get(place));
        let clients: Vec<ClientId> = hold.into_iter().chain(others).map(|hold| hold.client).collect();
        let since = facts.requested.get(blame.place).copied().unwrap_or_default();
        let struck = facts.strikes.iter().filter(|strike| {
            let until = strike.healed.map_or(facts.end(), |op| op.time);
            let failed = strike.applied.is_some_and(|op| op.kind == OpType::Fail);
            !failed && strike.invoked.time <= blame.at && until >= since
        });
        let ranked = struck.filter_map(|strike| Some((rank(strike, &clients)?, strike)));
        // Of those that could as well be it the last one: what was over before did less.
        let likely = ranked.min_by_key(|(rank, strike)| (*rank, std::cmp::Reverse(strike.invoked.time)));
        let outlived = || hold?.lapses().next().filter(|(over, _)| *over < blame.at);
        match (likely, outlived()) {
            (Some((_, strike)), _) => Key::Fault(strike.event.id),
            (None, Some(_)) => Key::Outlived(blame.place),
            (None, None) => Key::Nothing,
        }
    }

    fn told(&self, key: Key) -> Cause {
        match key {
            Key::Fault(strike) => Cause::Fault(strike),
            Key::Outlived(place) => Cause::Outlived(self.facts.holds[place].id.clone()),
            Key::Nothing => Cause::Nothing,
        }
    }
}

/// How likely a strike is to have led a hold of one of these clients astray, the likeliest first; none for one that
/// does not concern them.
fn rank(strike: &Strike<'_>, clients: &[ClientId]) -> Option<u8> {
    let event = strike.event;
    let is_theirs = |member: &Member| matches!(member, Member::Client(client) if clients.contains(client));
    let cut = event.grudge.iter().flat_map(|grudge| &grudge.cuts);
    let theirs = event.targets.iter().any(is_theirs)
        || cut.clone().any(|(member, peers)| is_theirs(member) || peers.iter().any(is_theirs));
    let servers = event.targets.iter().any(|member| !matches!(member, Member::Client(_)));
    let name = event.kind.known();
    let kills = name.is_some_and(FaultName::kills);
    let of_clocks = name.is_some_and(FaultName::is_of_clocks);
    match (theirs, servers) {
        (true, _) if name == Some(FaultName::Pause) => Some(0),
        (true, _) if of_clocks && event.clock.is_some() => Some(1),
        (false, true) if event.clock.is_some() => Some(1),
        (true, _) if kills => Some(1),
        (false, true) if kills => Some(2),
        (true, _) => Some(3),
        (false, true) if name == Some(FaultName::Pause) => Some(4),
        (false, true) => Some(5),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::tests::story::Story;
    use crate::check::{CheckName, Judgement, judge};
    use crate::history::{F, OpType};

    use super::*;

    /// c1 outlives its validity from 100 ms on; c2 and c3 each hold in that time; then c1 writes over what they wrote.
    fn outlived(story: &mut Story, at: u64, number: u32) {
        let [one, two, three] = [1, 2, 3].map(|client| format!("c{client}-{number}"));
        story.acquire(&one, at + 1, at + 5, None).valid_until = Some(Nanos((at + 100) * 1_000_000));
        let version = u64::from(number - 1) * 3;
        story.read(&one, at + 10, version, 9);
        for (hold, asked, version) in [(&two, at + 110, version), (&three, at + 130, version + 1)] {
            story.acquire(hold, asked, asked + 1, None);
            story.read(hold, asked + 2, version, 9);
            story.write(hold, asked + 3, version, version + 1, 8);
            story.release(hold, asked + 10);
        }
        story.write(&one, at + 200, version, version + 3, 7);
        story.op(at + 201, &one, OpType::Ok, F::Lost);
    }

    fn incidents(judgement: &Judgement) -> Vec<(Cause, u64, u64)> {
        let count = |incident: &Incident, check| incident.violations.get(&check).copied().unwrap_or(0);
        let of = |incident: &Incident| {
            let [overlaps, lost] =
                [CheckName::MutualExclusion, CheckName::LostUpdates].map(|check| count(incident, check));
            (incident.cause.clone(), overlaps, lost)
        };
        judgement.incidents.iter().map(of).collect()
    }

    #[test]
    fn each_pause_is_one_incident_however_much_it_broke() {
        let mut story = Story::new(3);
        outlived(&mut story, 0, 1);
        story.pause(1, 1, 20, 195);
        outlived(&mut story, 1_000, 2);
        story.pause(2, 1, 1_020, 1_195);
        let judgement = judge(&story.history());
        assert_eq!(incidents(&judgement), [(Cause::Fault(1), 2, 2), (Cause::Fault(2), 2, 2)]);
        assert_eq!(judgement.incidents_in_all, 2);
        let listed = judgement.checks.iter().flat_map(|result| &result.violations);
        for violation in listed.filter(|violation| !violation.text.starts_with("The books")) {
            assert_eq!(
                violation.incident,
                Some(1 + u32::from(violation.from >= Nanos(1_000_000_000))),
                "{violation:?}"
            );
        }
    }

    #[test]
    fn a_fault_of_somebody_else_began_nothing() {
        let mut story = Story::new(4);
        outlived(&mut story, 0, 1);
        story.pause(1, 4, 20, 195);
        assert_eq!(incidents(&judge(&story.history())), [(Cause::Outlived(HoldId::new("c1-1")), 2, 2)]);
    }

    #[test]
    fn a_grant_of_what_is_held_needs_no_cause() {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 5, None);
        story.acquire("c2-1", 6, 10, None);
        story.release("c1-1", 20);
        story.release("c2-1", 20);
        assert_eq!(incidents(&judge(&story.history())), [(Cause::Nothing, 1, 0)]);
    }

    #[test]
    fn a_strike_is_a_cause_only_while_it_could_be_one() {
        let mut story = Story::new(3);
        story.pause(1, 1, 10, 20);
        story.acquire("c1-1", 30, 40, None);
        story.pause(2, 1, 50, 60);
        story.pause(3, 1, 80, 90);
        story.pause(4, 1, 91, 95);
        story.ops.iter_mut().filter(|op| op.fault.as_ref().is_some_and(|fault| fault.id == 4)).for_each(|op| {
            if (op.f, op.kind) == (F::Fault, OpType::Ok) {
                op.kind = OpType::Fail;
            }
        });
        story.release("c1-1", 100);
        let history = story.history();
        let facts = Facts::of(&history);
        let cause = |at: u64| {
            let mut causes = Causes { facts: &facts, known: FxHashMap::default() };
            let key = causes.of(&Blame { place: 0, other: None, at: Nanos(at * 1_000_000), count: 1 });
            // What is one hold's doing has one cause, whatever comes later.
            assert_eq!(causes.of(&Blame { place: 0, other: None, at: Nanos(99_000_000), count: 1 }), key);
            key
        };
        assert_eq!(
            cause(45),
            Key::Nothing,
            "the first was over before the lock was asked for, the second had not begun"
        );
        assert_eq!([cause(50), cause(70), cause(80), cause(99)], [2, 2, 3, 3].map(Key::Fault), "the fourth failed");
    }

    #[test]
    fn what_is_no_holds_doing_may_have_many_causes() {
        let mut story = Story::new(3);
        story.pause(1, 1, 10, 20);
        story.pause(2, 1, 50, 60);
        for op in &mut story.ops {
            if let Some(fault) = &mut op.fault {
                fault.targets = vec![Member::Node(crate::ids::NodeId(1))];
            }
        }
        let history = story.history();
        let facts = Facts::of(&history);
        let mut causes = Causes { facts: &facts, known: FxHashMap::default() };
        let mut cause =
            |at: u64| causes.of(&Blame { place: usize::MAX, other: None, at: Nanos(at * 1_000_000), count: 1 });
        assert_eq!([cause(5), cause(30), cause(70)], [Key::Nothing, Key::Fault(1), Key::Fault(2)]);
    }

    #[test]
    fn a_model_alone_groups_what_breaks_it_where_holds_are_known() {
        use crate::check::{FailedRelease, Model, judge_model};

        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 5, None);
        story.acquire("c2-1", 6, 10, None);
        story.release("c1-1", 20);
        story.release("c2-1", 20);
        let mut history = story.history();
        let judged = |history: &crate::history::History| judge_model(history, Model::OWNER, FailedRelease::DidNothing);
        let own = judged(&history);
        assert_eq!((own.incidents.len(), own.incidents_in_all), (1, 1));
        let listed: Vec<Option<u32>> =
            own.checks.iter().flat_map(|result| &result.violations).map(|violation| violation.incident).collect();
        assert_eq!(listed, [Some(1)]);
        history.header.environment = crate::history::EnvironmentName::Foreign.into();
        let foreign = judged(&history);
        assert_eq!((foreign.verdict, foreign.incidents), (crate::check::Verdict::Invalid, Vec::new()));
    }

    #[test]
    fn a_sound_history_has_no_incident() {
        let mut story = Story::new(2);
        story.acquire("c1-1", 1, 5, None);
        story.op(6, "c2-1", OpType::Invoke, F::Acquire);
        story.pause(1, 1, 7, 8);
        story.release("c1-1", 20);
        story.op(30, "c2-1", OpType::Ok, F::Acquire);
        story.release("c2-1", 40);
        assert_eq!(judge(&story.history()).incidents, []);
    }
}
