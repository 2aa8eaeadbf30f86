//! One strike: what a fault comes to once its target is known, what the history is told of it, its way from before it
//! is applied until after it is undone.
//!
//! Deliberately absent: when it begins, and who its targets are.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Desk, FaultError};
use crate::fault::grudge::Parties;
use crate::fault::{Direction, Fault, FaultKind, Grudge, Member, Peers, Refusal, Shape, Strike};
use crate::history::{F, FaultEvent, Op, OpType, Probe, Process};
use crate::ids::ClientId;
use crate::phase::Phase;

/// What a fault does to the members that its target turned out to be.
pub(super) fn resolved(kind: &FaultKind, targets: &[Member], parties: Parties) -> Strike {
    let links = |peers: &Peers, direction: Direction| match peers {
        Peers::Links(cuts) => Grudge { cuts: cuts.clone(), direction },
        peers => Grudge::isolate(targets, &parties.peers(peers), direction),
    };
    match kind {
        FaultKind::Pause => Strike::Freeze(targets.to_vec()),
        FaultKind::Kill | FaultKind::Restart => Strike::Kill(targets.to_vec()),
        FaultKind::PowerLoss => Strike::PowerLoss(targets.to_vec()),
        FaultKind::Partition { peers, direction, shape, refusal } => {
            let links = match shape {
                Shape::Isolate => links(peers, *direction),
                shape => Grudge::divide(*shape, targets, parties.clients(), *direction),
            };
            Strike::Cut { links, refusal: *refusal }
        }
        FaultKind::Delay { peers, direction, extra } => {
            Strike::Delay { links: links(peers, *direction), extra: *extra }
        }
        FaultKind::Loss { peers, direction, permille } => {
            Strike::Loss { links: links(peers, *direction), permille: *permille }
        }
        FaultKind::Clock(change) => Strike::Clock { members: targets.to_vec(), change: *change },
        FaultKind::Request { peers, rule } => Strike::Requests { links: links(peers, Direction::Both), rule: *rule },
    }
}

/// What a history tells of a strike beyond its targets.
fn told(strike: &Strike) -> FaultEvent {
    let nanos = |duration: Duration| duration.as_nanos() as u64;
    let mut event = FaultEvent::default();
    match strike {
        Strike::Freeze(_) | Strike::Kill(_) | Strike::PowerLoss(_) => {}
        Strike::Cut { links, refusal } => {
            event.grudge = Some(links.clone());
            event.refusal = Some(*refusal).filter(|refusal| *refusal != Refusal::Drop);
        }
        Strike::Delay { links, extra: (least, most) } => {
            event.grudge = Some(links.clone());
            event.late_by = Some((nanos(*least), nanos(*most)));
        }
        Strike::Loss { links, permille } => {
            event.grudge = Some(links.clone());
            event.lost_permille = Some(*permille);
        }
        Strike::Clock { change, .. } => event.clock = Some(*change),
        Strike::Requests { links, rule } => {
            event.grudge = Some(links.clone());
            event.request = Some(*rule);
        }
    }
    event
}

/// Whether two strikes cannot be on at once, whichever is first: a member that is stopped cannot be stopped again, and
/// what a link carries cannot be told where another strike cuts it. Late and lost packets and wrong clocks add up, and
/// each strike's part in them can be told.
pub(super) fn exclude(one: &Strike, other: &Strike) -> bool {
    let is_cut = |strike: &Strike| matches!(strike, Strike::Cut { .. });
    let (a, b) = (Reach::of(one), Reach::of(other));
    // Whoever reads a client's requests dies with it, and with it the rules and what was counted.
    let is_death = |strike: &Strike| matches!(strike, Strike::Kill(_) | Strike::PowerLoss(_));
    (is_death(one) && !a.stopped.is_disjoint(&b.read))
        || (is_death(other) && !b.stopped.is_disjoint(&a.read))
        || !a.stopped.is_disjoint(&b.stopped)
        || ((is_cut(one) || is_cut(other)) && !a.links.is_disjoint(&b.links))
}

/// Whether `stop` keeps one from seeing what `other` does: the clock of a member that is stopped cannot be read, nor
/// what was done to its requests, and what the links of one that is down carry cannot be told. Such a strike begins and
/// ends while its members run. In between they may well stop: a server dies behind a partition or with a wrong clock,
/// and comes back to both.
pub(super) fn hides(stop: &Strike, other: &Strike) -> bool {
    let stopped = Reach::of(stop).stopped;
    let is_down = matches!(stop, Strike::Kill(_) | Strike::PowerLoss(_));
    match other {
        Strike::Clock { members, .. } => members.iter().any(|member| stopped.contains(member)),
        Strike::Requests { .. } => !Reach::of(other).read.is_disjoint(&stopped),
        other => is_down && Reach::of(other).links.iter().any(|(x, y)| stopped.contains(x) || stopped.contains(y)),
    }
}

/// What a strike is about: members that it stops, and links by their ends.
#[derive(Default)]
struct Reach {
    stopped: BTreeSet<Member>,
    links: BTreeSet<(Member, Member)>,
    /// Clients whose requests it is about.
    read: BTreeSet<Member>,
}

impl Reach {
    fn of(strike: &Strike) -> Self {
        let mut reach = Self::default();
        match strike {
            Strike::Freeze(members) | Strike::Kill(members) | Strike::PowerLoss(members) => {
                reach.stopped.extend(members);
            }
            Strike::Cut { links, .. } | Strike::Delay { links, .. } | Strike::Loss { links, .. } => {
                let pairs =
                    links.cuts.iter().flat_map(|(member, peers)| peers.iter().map(move |peer| (*member, *peer)));
                reach.links.extend(pairs.map(|(member, peer)| (member.min(peer), member.max(peer))));
            }
            Strike::Clock { .. } => {}
            Strike::Requests { links, .. } => {
                reach.read.extend(links.client_links().into_iter().map(|(client, _)| Member::Client(client)));
            }
        }
        reach
    }
}

/// One strike, from before it is applied until after it is undone. When it is undone is for [`super::Nemesis`] to say.
pub(super) struct StrikeRun {
    desk: Desk,
    strike: Strike,
    event: FaultEvent,
    duration: Duration,
}

impl StrikeRun {
    /// Strike number `id` of the run, by `fault`, which struck at `phase` if a phase timed it.
    pub fn new(
        desk: Desk,
        id: u32,
        strike: Strike,
        fault: &Fault,
        mut targets: Vec<Member>,
        phase: Option<Phase>,
    ) -> Self {
        targets.sort_unstable();
        let means = desk.environment.means(&strike).to_owned();
        let event = FaultEvent {
            id,
            kind: fault.kind.fault_name().into(),
            plan: fault.to_string(),
            targets,
            means,
            phase,
            requested: fault.duration.as_nanos() as u64,
            ..told(&strike)
        };
        Self { desk, strike, event, duration: fault.duration }
    }

    /// What it does.
    pub fn strike(&self) -> &Strike {
        &self.strike
    }

    /// How long it is on.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Strikes, and lets the client that waits at a pause point go on; whether there is anything to undo.
    pub async fn begin(&self, waiting: Option<(ClientId, u64)>) -> bool {
        let environment = &self.desk.environment;
        self.note(OpType::Invoke, F::Fault, Vec::new(), None);
        let applied = environment.apply(self.event.id, &self.strike, self.duration).await;
        let struck = applied.is_ok();
        self.complete(F::Fault, applied);
        // Frozen or cut off exactly at this step: the go-ahead comes after the fault.
        if let Some((client, number)) = waiting {
            environment.go(client, number);
        }
        struck
    }

    /// Undoes the strike.
    pub async fn end(&self) {
        self.note(OpType::Invoke, F::Heal, Vec::new(), None);
        let healed = self.desk.environment.heal(self.event.id).await;
        self.complete(F::Heal, healed);
    }

    fn complete(&self, f: F, outcome: Result<Vec<Probe>, FaultError>) {
        match outcome {
            Ok(probes) if probes.iter().all(Probe::passed) => self.note(OpType::Ok, f, probes, None),
            Ok(probes) => {
                let denied = probes.iter().any(Probe::denied);
                let why = if denied { "a probe saw something else" } else { "a probe got no answer" };
                self.note(OpType::Info, f, probes, Some(why.to_owned()));
            }
            // A strike that failed left nothing behind; a failed heal is in doubt.
            Err(error) if f == F::Fault => self.note(OpType::Fail, f, Vec::new(), Some(error.to_string())),
            Err(error) => self.note(OpType::Info, f, Vec::new(), Some(error.to_string())),
        }
    }

    fn note(&self, kind: OpType, f: F, probes: Vec<Probe>, error: Option<String>) {
        let mut op = Op::new(self.desk.runtime.now(), Process::Nemesis, kind, f);
        op.fault = Some(Box::new(FaultEvent { probes, ..self.event.clone() }));
        op.error = error;
        self.desk.record.record(op);
    }
}
