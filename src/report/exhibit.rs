//! The evidence of one incident in the order of time: the numbered steps that its text and its drawing share.
//!
//! An incident can be hundreds of violations; what is told is how the first ones came about. Deliberately absent: what
//! is drawn, which is `excerpt`'s, and what would have prevented it, which is `remedy`'s.

use std::collections::BTreeSet;

use super::LockReport;
use super::scene::{Had, Scene, Thing, undone};
use super::words;
use crate::check::{Cause, CheckName, Incident, Severity, Violation};
use crate::fault::{ClockChange, FaultName, Member};
use crate::history::server::LeaseEnd;
use crate::history::{F, Hold, Op, OpType, Process, Strike};
use crate::ids::{ClientId, HoldId};
use crate::time::Nanos;

/// More steps than a reader follows; a lost update can be the last of hundreds of ops.
const STEPS: usize = 16;

/// One step: something that a client, a server, the resource or the nemesis did, or the end of a validity.
pub(super) struct Step<'a> {
    /// When.
    pub at: Nanos,
    /// In whose lane it stands, if in a client's.
    pub client: Option<ClientId>,
    /// Who acts.
    pub who: String,
    /// What happens, as a clause that follows.
    pub what: String,
    /// The rest that is known of it.
    pub details: String,
    /// The op that records it; none where nobody acts.
    pub op: Option<&'a Op>,
    /// Whether the guarantee breaks here.
    pub breaks: bool,
    /// Whether it is what servers did, without an op.
    pub by_servers: bool,
}

/// Steps, and what they are about.
pub(super) struct Exhibit<'a> {
    /// What its elements' ids on the page begin with.
    pub anchor: String,
    /// The holds that it is about.
    pub holds: BTreeSet<HoldId>,
    /// In the order of time.
    pub steps: Vec<Step<'a>>,
    /// From when the guarantee was broken.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
    /// How many ops are left out.
    pub left_out: usize,
    /// Other faults that were in force meanwhile, a clause each.
    pub meanwhile: Vec<String>,
}

/// The listed violations of an incident, by its number; the worst first, each with its check.
pub(super) fn listed(lock: &LockReport, number: u32) -> Vec<(CheckName, &Violation)> {
    let of = |result: &'_ crate::check::CheckResult| result.check;
    let mut listed: Vec<(CheckName, &Violation)> = lock
        .judgement
        .checks
        .iter()
        .flat_map(|result| result.violations.iter().map(move |violation| (of(result), violation)))
        .filter(|(_, violation)| violation.incident == Some(number))
        .collect();
    listed.sort_by_key(|(check, violation)| (std::cmp::Reverse(violation.severity), *check, violation.from));
    listed
}

impl<'a> Exhibit<'a> {
    /// How an incident came about: the first violation of each check, the fault, the end of the validity.
    pub fn of_incident(scene: &Scene<'a>, lock: &LockReport, number: u32, incident: &Incident, anchor: String) -> Self {
        let listed = listed(lock, number);
        let mut told: Vec<&Violation> = Vec::new();
        let mut checks = BTreeSet::new();
        for (check, violation) in &listed {
            // The order of the lock's operations says again what the holds say.
            let repeats = *check == CheckName::Linearizable && !told.is_empty();
            if !repeats && checks.insert(*check) && told.len() < 3 {
                told.push(violation);
            }
        }
        let strike = match incident.cause {
            Cause::Fault(id) => scene.strikes.iter().find(|strike| strike.event.id == id),
            Cause::Outlived(_) | Cause::Nothing => None,
        };
        Self::of(scene, &told, strike, anchor)
    }

    /// One violation that is part of no incident.
    pub fn of_violation(scene: &Scene<'a>, violation: &Violation, anchor: String) -> Self {
        Self::of(scene, &[violation], None, anchor)
    }

    fn of(scene: &Scene<'a>, told: &[&Violation], strike: Option<&Strike<'a>>, anchor: String) -> Self {
        let indices: BTreeSet<u32> = told.iter().flat_map(|violation| violation.ops.iter().copied()).collect();
        let ops: Vec<&'a Op> = indices.iter().filter_map(|index| scene.op(*index)).collect();
        let left_out = ops.len().saturating_sub(STEPS);
        let ops: Vec<&'a Op> = ops.into_iter().take(STEPS).collect();
        let holds: BTreeSet<HoldId> = ops.iter().filter_map(|op| op.hold.clone()).collect();
        let involved: Vec<&Hold> = scene.holds.iter().filter(|hold| holds.contains(&hold.id)).collect();
        let mut steps: Vec<Step<'a>> = ops.iter().map(|op| step(scene, op, &involved)).collect();
        let last = steps.iter().map(|step| step.at).max().unwrap_or_default();
        let lapses = involved.iter().filter_map(|hold| Some((hold, hold.lapses().next()?.0)));
        steps.extend(lapses.filter(|(_, at)| *at <= last).map(|(hold, at)| validity_over(hold, at)));
        steps
            .extend(involved.iter().filter_map(|hold| gone_at_the_servers(scene, hold)).filter(|step| step.at <= last));
        if let Some(strike) = strike {
            let known = |op: &Op| indices.contains(&op.index);
            steps.extend((!known(strike.invoked)).then(|| struck(strike)));
            steps.extend(strike.healed.filter(|op| !known(op) && op.time <= last).map(|op| healed(strike, op)));
        }
        // What is told without an op goes before what is recorded in the same instant.
        // What the servers did of themselves follows from what is recorded: it goes behind.
        let place = |step: &Step<'_>| step.op.map_or(if step.by_servers { u32::MAX } else { 0 }, |op| op.index + 1);
        steps.sort_by_key(|step| (step.at, place(step)));
        let from = told.iter().map(|violation| violation.from).min().unwrap_or_default();
        let to = told.iter().map(|violation| violation.to).max().unwrap_or_default();
        let meanwhile = meanwhile(scene, strike, &involved, &steps);
        Self { anchor, holds, steps, from, to, left_out, meanwhile }
    }
}

/// What else was in force from the first step to the last: on those clients, on servers, on the resource.
fn meanwhile(scene: &Scene<'_>, cause: Option<&Strike<'_>>, involved: &[&Hold], steps: &[Step<'_>]) -> Vec<String> {
    const TOLD: usize = 4;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    let concerns = |member: &Member| match member {
        Member::Client(client) => involved.iter().any(|hold| hold.client == *client),
        Member::Node(_) | Member::Resource => true,
    };
    let others = scene.strikes.iter().filter(|strike| {
        let (from, to) = strike.felt(scene.end);
        let is_cause = cause.is_some_and(|cause| cause.event.id == strike.event.id);
        !strike.missed() && !is_cause && from <= last.at && to >= first.at && strike.event.targets.iter().any(concerns)
    });
    let told: Vec<String> = others
        .map(|strike| {
            let (who, what) = hit(strike);
            let (from, to) = strike.felt(scene.end);
            format!("{who} {what} ({from} – {to})")
        })
        .collect();
    let more = told.len().saturating_sub(TOLD);
    let more = (more > 0).then(|| words::counted(more as u64, "other fault", "other faults"));
    told.into_iter().take(TOLD).chain(more).collect()
}

/// What one op says; a grant of what somebody else believes to hold says so.
fn step<'a>(scene: &Scene<'a>, op: &'a Op, involved: &[&Hold]) -> Step<'a> {
    let mut what = words::what(&scene.history.header, op);
    let mut breaks = false;
    let believer = involved.iter().find(|hold| {
        Some(hold.client) != op.client
            && hold.from < op.time
            && hold.to > op.time
            && op.lock.as_ref() == Some(&hold.lock)
    });
    if let (F::Acquire, OpType::Ok, Some(hold)) = (op.f, op.kind, believer) {
        let still = if hold.lapses().any(|(from, to)| from <= op.time && op.time < to) {
            "still believes that it holds"
        } else {
            "holds"
        };
        what += &format!(", while {} {still} it", hold.client);
        breaks = true;
    }
    if scene.served.iter().any(|access| access.stale && access.op.index == op.index) {
        let accepted = op.kind == OpType::Ok;
        what += ": stale, since a later hold was served before";
        breaks |= accepted;
    }
    Step {
        at: op.time,
        client: op.client.filter(|_| op.process != Process::Resource),
        who: words::who(op),
        what,
        details: words::details(&scene.history.header, op),
        op: Some(op),
        breaks,
        by_servers: false,
    }
}

fn validity_over<'a>(hold: &Hold, at: Nanos) -> Step<'a> {
    Step {
        at,
        client: Some(hold.client),
        who: format!("{}’s hold", hold.client),
        what: "is not valid any more: from now on the servers may give the lock to somebody else".to_owned(),
        details: format!("hold {}", hold.id),
        op: None,
        breaks: false,
        by_servers: false,
    }
}

/// That the servers had given up a hold which its client still had: whose clock ended which lease, which session was
/// ended.
pub(super) fn gone_at_the_servers<'a>(scene: &Scene<'_>, hold: &Hold) -> Option<Step<'a>> {
    let had = scene.had_for(hold);
    let step = |at, who: String, what: String, details: String| Step {
        at,
        client: None,
        who,
        what,
        details,
        op: None,
        breaks: false,
        by_servers: true,
    };
    let told = |had: &&&Had<'_>| had.node.map_or_else(|| "the ensemble".to_owned(), |node| node.to_string());
    match had.first()?.what {
        Thing::Refusal(_) => None,
        Thing::Contender(contender) => {
            let session = scene.expired_session(contender)?;
            let at = session.ended.filter(|at| *at < hold.to)?;
            let what = "is ended by its servers, which had not heard of it for its timeout: the contender goes, and the next \
                        in line gets the lock";
            let who = format!("{}’s {}", hold.client, contender.lives_with());
            Some(step(at, who, what.to_owned(), contender.told()))
        }
        Thing::Lease(ballot, _) => {
            let (at, gone) = undone(&had, scene.history.header.nodes, hold.to)?;
            let names = |of: &dyn Fn(&Had<'_>) -> bool| -> String {
                gone.iter().filter(|had| of(had)).map(|had| told(&had)).collect::<Vec<_>>().join(", ")
            };
            let by =
                |had: &Had<'_>, which: LeaseEnd| matches!(had.what, Thing::Lease(_, vote) if vote.by == Some(which));
            let clauses =
                [LeaseEnd::Expired, LeaseEnd::Forgotten, LeaseEnd::Replaced].into_iter().filter_map(|which| {
                    let nodes = names(&|had| by(had, which));
                    let how = match which {
                        LeaseEnd::Expired => "runs out on the clock of",
                        LeaseEnd::Forgotten => "is forgotten by",
                        _ => "is written over on",
                    };
                    (!nodes.is_empty()).then(|| format!("{how} {nodes}"))
                });
            let wrong: Vec<String> = gone
                .iter()
                .filter_map(|had| match had.what {
                    Thing::Lease(_, vote) => {
                        Some(format!("{}’s clock is {}", told(&had), words::clock_error(vote.clock_error)?))
                    }
                    Thing::Contender(_) | Thing::Refusal(_) => None,
                })
                .collect();
            let early = if wrong.is_empty() { String::new() } else { format!("; {}", wrong.join(", ")) };
            let left = had.len() - gone.len();
            let rest = if scene.history.header.nodes > 1 {
                format!(": {left} of {} servers still have it, which is no majority", scene.history.header.nodes)
            } else {
                String::new()
            };
            let instants =
                gone.iter().map(|had| format!("{} at {}", told(&had), had.to)).collect::<Vec<_>>().join(", ");
            let what = format!("{}{early}{rest}", clauses.collect::<Vec<_>>().join(", and "));
            let inferred = gone.iter().any(|had| matches!(had.what, Thing::Lease(_, vote) if vote.inferred));
            let inferred = if inferred { " · inferred from its time to live" } else { "" };
            Some(step(
                at,
                format!("{}’s lease", hold.client),
                what,
                format!("{instants} · owner token {}{inferred}", ballot.owner),
            ))
        }
    }
}

/// Whom a strike hit and what that is to them: `c2`, `is paused`.
pub(super) fn hit(strike: &Strike<'_>) -> (String, String) {
    let event = strike.event;
    let is = if event.targets.len() == 1 { "is" } else { "are" };
    let cut = event.targets.first().and_then(|member| event.grudge.as_ref()?.cuts.get(member));
    let peers = cut.map(|peers| peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let from = peers.map(|peers| format!(" from {peers}")).unwrap_or_default();
    let what = match event.kind.known() {
        Some(FaultName::Pause) => format!("{is} paused"),
        Some(FaultName::Kill) => format!("{is} killed"),
        Some(FaultName::Restart) => format!("{is} restarted"),
        Some(FaultName::PowerLoss) => format!("{is} without power"),
        Some(FaultName::Partition) => format!("{is} cut off{from}"),
        Some(FaultName::Delay) => format!("{is} on slow links"),
        Some(FaultName::Loss) => format!("{is} on links that lose packets"),
        Some(FaultName::Request) => {
            let rule = event.request.map(|rule| format!(" ({rule})")).unwrap_or_default();
            format!("{is} having requests struck{rule}")
        }
        _ => match event.clock {
            Some(change) => {
                let does = match change {
                    ClockChange::Jump { .. } => "jumps",
                    ClockChange::Drift { .. } => "runs wrong",
                    ClockChange::Strobe { .. } => "jumps back and forth",
                };
                return (format!("{}’s clock", words::members(event)), format!("{does} {change}"));
            }
            None => format!("{is} under `{}`", event.kind),
        },
    };
    (words::members(event), what)
}

fn only_client(strike: &Strike<'_>) -> Option<ClientId> {
    match strike.event.targets[..] {
        [Member::Client(client)] => Some(client),
        _ => None,
    }
}

fn struck<'a>(strike: &Strike<'a>) -> Step<'a> {
    let (who, what) = hit(strike);
    let event = strike.event;
    let phase = match (event.phase, only_client(strike)) {
        (Some(phase), Some(_)) => format!(" at its step {phase}"),
        (Some(phase), None) => format!(" when a client is at its step {phase}"),
        (None, _) => String::new(),
    };
    // Which of the two a server's clock does is what leases hang on.
    let leases = match event.clock {
        Some(ClockChange::Jump { by_ns: 1.. } | ClockChange::Drift { ppm: 1.. }) if only_client(strike).is_none() => {
            ": what it counts by that clock, as Redis its leases, ends early"
        }
        Some(ClockChange::Jump { .. } | ClockChange::Drift { .. }) if only_client(strike).is_none() => {
            ": what it counts by that clock, as Redis its leases, ends late"
        }
        _ => "",
    };
    Step {
        at: strike.invoked.time,
        client: only_client(strike),
        who,
        what: format!("{what}{phase}{leases}"),
        details: format!("strike {} · {}", event.id, event.plan),
        op: Some(strike.invoked),
        breaks: false,
        by_servers: false,
    }
}

fn healed<'a>(strike: &Strike<'a>, op: &'a Op) -> Step<'a> {
    let lasted = strike.lasted().map(|lasted| format!(", after {}", words::lasting(lasted))).unwrap_or_default();
    let what = match strike.event.kind.known() {
        Some(FaultName::Pause) => format!("runs again{lasted}, and knows nothing of it"),
        _ if strike.event.clock.is_some() => format!("is set right{lasted}"),
        _ => format!("is rid of the {}{lasted}", strike.event.kind),
    };
    Step {
        at: op.time,
        client: only_client(strike),
        who: hit(strike).0,
        what,
        details: format!("strike {}", strike.event.id),
        op: Some(op),
        breaks: false,
        by_servers: false,
    }
}

/// What an incident is called: who was struck, or whose hold was over.
pub(super) fn title(scene: &Scene<'_>, incident: &Incident) -> String {
    let hold = incident.hold.as_ref().and_then(|id| scene.holds.iter().find(|hold| hold.id == *id));
    match &incident.cause {
        Cause::Fault(id) => {
            let Some(strike) = scene.strikes.iter().find(|strike| strike.event.id == *id) else {
                return format!("strike {id}");
            };
            let (who, what) = hit(strike);
            let theirs = |hold: &&Hold| strike.event.targets.contains(&Member::Client(hold.client));
            let held = hold.filter(theirs).map(|hold| format!(" under its hold of {}", hold.lock)).unwrap_or_default();
            let long = strike.lasted().map(|lasted| format!(" for {}", words::lasting(lasted))).unwrap_or_default();
            format!("{who} {what}{held}{long}")
        }
        Cause::Outlived(id) => match hold {
            Some(hold) => format!("{} goes on after the validity of its hold {id} of {}", hold.client, hold.lock),
            None => format!("hold {id} goes on after its validity"),
        },
        Cause::Nothing => "without a fault, and with no validity over".to_owned(),
    }
}

/// What an incident broke, counted: `36 overlaps, 1 stale access accepted, 37 updates lost`.
pub(super) fn broke(incident: &Incident) -> String {
    let told = incident.violations.iter().map(|(check, count)| {
        let (one, many) = match check {
            CheckName::MutualExclusion => ("overlap of two holds", "overlaps of two holds"),
            CheckName::TokenOrder => ("token out of order", "tokens out of order"),
            CheckName::Fencing => ("stale access accepted", "stale accesses accepted"),
            CheckName::LostUpdates => ("update lost", "updates lost"),
            CheckName::Linearizable => ("operation that fits in no order", "operations that fit in no order"),
            CheckName::LostSignal => ("loss not told in time", "losses not told in time"),
            CheckName::GrantValidity => {
                ("grant that was over when it was given", "grants that were over when they were given")
            }
            CheckName::Leftovers => ("leftover at the servers", "leftovers at the servers"),
            CheckName::Liveness => ("wait without end", "waits without end"),
            CheckName::Assumptions | CheckName::Coverage => ("violation", "violations"),
        };
        words::counted(*count, one, many)
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The worst that is listed of an incident.
pub(super) fn severity(lock: &LockReport, number: u32) -> Option<Severity> {
    listed(lock, number).iter().filter_map(|(_, violation)| violation.severity).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ServerRecord;
    use crate::history::server::{Ballot, Contender, Seen, Session, SessionEnd, Vote};
    use crate::ids::NodeId;
    use crate::report::tests::sample;

    /// What a client's hold of the sample had on the servers: leases of five nodes, of which some ended by themselves.
    fn with_leases(ends: &[(u32, u64, LeaseEnd, i64)]) -> crate::report::Report {
        let mut report = sample::report();
        let history = &mut report.locks[0].history;
        history.header.nodes = 5;
        let asked = history.ops.iter().find(|op| op.f == F::Acquire && op.client == Some(ClientId(2))).unwrap().time;
        let votes = (1..=5).map(|node| {
            let mut vote = Vote::new(NodeId(node), asked + std::time::Duration::from_micros(u64::from(node)));
            if let Some((_, at, by, clock_error)) = ends.iter().find(|end| end.0 == node) {
                vote.end(Nanos(*at), *by);
                vote.clock_error = *clock_error;
            }
            vote
        });
        let (owner, key, client) = ("o-2".into(), "item-1".into(), Some(ClientId(2)));
        let ballot =
            Ballot { owner, key, client, ttl: Some(1_000_000_000), votes: votes.collect(), refused: Vec::new() };
        history.servers = vec![ServerRecord::Ballot(ballot)];
        report
    }

    fn steps(report: &crate::report::Report) -> Vec<String> {
        let lock = &report.locks[0];
        let scene = Scene::of(&lock.history);
        let exhibit = Exhibit::of_incident(&scene, lock, 1, &lock.judgement.incidents[0], "x".to_owned());
        exhibit.steps.iter().map(|step| format!("{} {} {}", step.who, step.what, step.details)).collect()
    }

    #[test]
    fn it_is_told_on_whose_clock_the_leases_of_an_incident_ran_out() {
        use LeaseEnd::{Deleted, Expired, Forgotten};
        let told = |ends: &[_]| steps(&with_leases(ends)).into_iter().find(|step| step.starts_with("c2’s lease"));
        let jumped =
            [(1, 700_000_000, Expired, 0), (3, 500_000_000, Expired, 2_000_000_000), (4, 800_000_000, Forgotten, 0)];
        let step = told(&jumped).unwrap();
        for part in [
            "runs out on the clock of n3, n1, and is forgotten by n4",
            "n3’s clock is 2.000s ahead",
            "2 of 5 servers still have it, which is no majority",
            "n3 at 0.500s, n1 at 0.700s, n4 at 0.800s",
            "owner token o-2",
        ] {
            assert!(step.contains(part), "{part}: {step}");
        }
        assert_eq!(told(&jumped[..2]), None, "a majority had it still");
        let released = [1, 2, 3, 4, 5].map(|node| (node, 700_000_000, Deleted, 0));
        assert_eq!(told(&released), None, "its owner gave it back");
        let late = [1, 2, 3, 4, 5].map(|node| (node, 9_000_000_000, Expired, 0));
        assert_eq!(told(&late), None, "its client did not believe in it any more");
    }

    #[test]
    fn it_is_told_that_the_ensemble_ended_a_session() {
        let mut report = with_leases(&[]);
        let history = &mut report.locks[0].history;
        let ServerRecord::Ballot(ballot) = &history.servers[0] else { panic!("a ballot") };
        let (from, client) = (ballot.votes[0].at, Some(ClientId(2)));
        let seen = vec![Seen { node: Some(NodeId(1)), from, to: Some(Nanos(900_000_000)) }];
        let contender =
            Contender { path: "/l/x-7".into(), revision: None, session: 7, client, seen, with_session: true };
        let (opened, ended, inferred, on) = (Nanos(0), Some(Nanos(900_000_000)), false, Vec::new());
        let by = Some(SessionEnd::Expired);
        let session = Session { session: 7, client, ttl: None, opened, ended, by, inferred, on };
        history.servers = vec![ServerRecord::Session(session), ServerRecord::Contender(contender)];
        let told = steps(&report).join("\n");
        assert!(told.contains("c2’s session is ended by its servers") && told.contains("contender /l/x-7"), "{told}");
    }

    #[test]
    fn a_server_s_clock_is_told_by_what_it_does_to_leases_and_what_else_was_in_force_is_named() {
        let mut report = sample::report();
        let history = &mut report.locks[0].history;
        for event in history.ops.iter_mut().filter_map(|op| op.fault.as_mut()) {
            (event.kind, event.targets) = (FaultName::ClockJump.into(), vec![Member::Node(NodeId(3))]);
            event.clock = Some(ClockChange::Jump { by_ns: 4_000_000_000 });
        }
        let scene = Scene::of(history);
        let strike = &scene.strikes[0];
        let step = struck(strike);
        assert_eq!(
            format!("{} {}", step.who, step.what),
            "n3’s clock jumps by +4s when a client is at its step before-write: what it counts by that clock, as Redis its \
             leases, ends early"
        );
        let around = [struck(strike)];
        assert_eq!(meanwhile(&scene, None, &[], &around), ["n3’s clock jumps by +4s (0.220s – 2.721s)"]);
        assert!(meanwhile(&scene, Some(strike), &[], &around).is_empty(), "the cause is told already");
    }

    #[test]
    fn the_steps_tell_the_pause_the_end_of_the_validity_and_what_came_of_it() {
        let report = sample::report();
        let lock = &report.locks[0];
        let scene = Scene::of(&lock.history);
        let [incident] = &lock.judgement.incidents[..] else { panic!("{:?}", lock.judgement.incidents) };
        assert_eq!(title(&scene, incident), "c2 is paused under its hold of item-1 for 2.499s");
        assert_eq!(broke(incident), "1 overlap of two holds, 1 stale access accepted");
        let exhibit = Exhibit::of_incident(&scene, lock, 1, incident, "x".to_owned());
        let told: Vec<String> =
            exhibit.steps.iter().map(|step| format!("{} {} {}", step.at, step.who, step.what)).collect();
        let places = [
            "0.200s c2 is granted the lock",
            "0.220s c2 is paused at its step before-write",
            "1.200s c2’s hold is not valid any more",
            "2.700s c3 is granted the lock, while c2 still believes that it holds it",
            "2.721s c2 runs again, after 2.499s",
            "2.723s resource accepts c2’s write (item 1: stock 997, version 3): stale",
            "2.740s c2 is told that the lock is lost",
        ]
        .map(|part| told.iter().position(|step| step.starts_with(part)));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {told:#?}");
    }
}
