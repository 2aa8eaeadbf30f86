//! From the file's fault tables to the fault plan.
//!
//! Refused is what could never do what it says: a target that does not exist, a phase that the target never reaches, a
//! strike after the end, a cut of links that nobody uses. A run with such a fault would pass without having been
//! tried. Deliberately absent: who the target turns out to be; that is drawn when the fault strikes.

use std::ops::Range;
use std::time::Duration;

use super::LockConfig;
use super::capabilities::{Capabilities, FaultName};
use super::error::{Problem, nearest};
use super::file::{AtValue, FaultTables, PartitionTable};
use super::place::{Placed, TargetText};
use super::validate::{Problems, Trial};
use crate::fault::{At, Direction, Fault, FaultKind, PeerGroup, Target};
use crate::phase::Phase;

/// The fault plan in file order, with a problem for each fault that is left out.
pub(super) fn faults(
    tables: &FaultTables,
    trial: &Trial,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> Vec<Fault> {
    let mut reader = Reader { trial, environment, problems };
    let mut plan: Vec<(usize, Fault)> = Vec::new();
    for table in &tables.pause {
        if reader.available(FaultName::Pause, &table.span)
            && let Some((target, at, duration)) = reader.common(&table.target, &table.at, &table.duration)
        {
            plan.push((table.span.start, Fault { kind: FaultKind::Pause, target, at, duration }));
        }
    }
    for table in &tables.partition {
        if reader.available(FaultName::Partition, &table.span) {
            let common = reader.common(&table.target, &table.at, &table.duration);
            let kind = reader.partition(table);
            if let (Some((target, at, duration)), Some(kind)) = (common, kind) {
                plan.push((table.span.start, Fault { kind, target, at, duration }));
            }
        }
    }
    // The shared vocabulary has no values for the rest yet, so that no environment can do them.
    let rest = [
        (FaultName::Kill, places(&tables.kill)),
        (FaultName::Restart, places(&tables.restart)),
        (FaultName::PowerLoss, places(&tables.power_loss)),
        (FaultName::Delay, places(&tables.delay)),
        (FaultName::Loss, places(&tables.loss)),
        (FaultName::ClockJump, places(&tables.clock_jump)),
        (FaultName::ClockDrift, places(&tables.clock_drift)),
        (FaultName::ClockStrobe, places(&tables.clock_strobe)),
    ];
    for (name, places) in rest {
        for place in places {
            reader.unavailable(name, &place);
        }
    }
    plan.sort_by_key(|(place, _)| *place);
    plan.into_iter().map(|(_, fault)| fault).collect()
}

fn places<T>(tables: &[Placed<T>]) -> Vec<Range<usize>> {
    tables.iter().map(|table| table.span.clone()).collect()
}

struct Reader<'a, 'b> {
    trial: &'a Trial,
    environment: &'a Capabilities,
    problems: &'a mut Problems<'b>,
}

impl Reader<'_, '_> {
    fn available(&mut self, name: FaultName, place: &Range<usize>) -> bool {
        let available = self.environment.faults.contains(&name);
        if !available {
            self.unavailable(name, place);
        }
        available
    }

    fn unavailable(&mut self, name: FaultName, place: &Range<usize>) {
        let environment = self.environment.environment;
        let title = format!("fault `{name}` is not available in environment {environment} yet");
        let available = self.environment.fault_names();
        self.problems
            .push(Problem::at(place, title, "not available").help(format!("available in {environment}: {available}")));
    }

    /// What every fault has: whom it strikes, when, for how long.
    fn common(
        &mut self,
        target: &Placed<TargetText>,
        at: &Placed<AtValue>,
        duration: &Placed<super::duration::DurationText>,
    ) -> Option<(Target, At, Duration)> {
        let aimed = self.target(target);
        let strikes = self.at(at);
        let lasts = self.problems.positive("for", duration);
        if let (Some(lasts), Some(run)) = (lasts, self.trial.duration)
            && lasts > run
        {
            let title = format!("the fault lasts longer than the run of {run:?}");
            self.problems.push(Problem::at(&duration.span, title, "longer than the run"));
        }
        if let (Some(lasts), Some(At::Every(every))) = (lasts, strikes)
            && lasts >= every
        {
            let title = "the fault strikes again before it has ended";
            let label = format!("not shorter than every {every:?}");
            self.problems.push(Problem::at(&duration.span, title, label));
        }
        if let (Some(aimed), Some(strikes)) = (aimed, strikes) {
            self.meet(aimed, target, strikes, at);
        }
        Some((aimed?, strikes?, lasts?))
    }

    fn target(&mut self, field: &Placed<TargetText>) -> Option<Target> {
        let text = field.0.as_str();
        let target = match text.parse::<Target>() {
            Ok(target) => target,
            Err(_) => {
                let problem = Problem::at(&field.span, format!("`{text}` is not a target"), "unknown")
                    .help(format!("valid targets: {}", Target::FORMS));
                let forms = ["holder", "waiter", "leader", "one", "minority", "majority", "all"];
                let problem = match text.split_once(':') {
                    // `clinet:3` was meant to be `client:3`, not `client`.
                    Some((kind, number)) => match nearest(kind, ["client", "node"]) {
                        Some(near) if near != kind => problem.help(format!("did you mean `{near}:{number}`?")),
                        _ => problem.help("clients and nodes are counted from 1"),
                    },
                    None => problem.suggest(text, forms),
                };
                return self.problems.refuse(problem);
            }
        };
        let trial = self.trial;
        let known = || trial.locks.iter().filter_map(|(name, config)| config.as_ref().map(|config| (name, config)));
        match target {
            Target::Client(client) => {
                if let Some(clients) = trial.clients.filter(|clients| client.0 > *clients) {
                    let title = format!("there is no client {}", client.0);
                    let help = format!("clients of this workload: client:1 to client:{clients}");
                    self.problems.push(Problem::at(&field.span, title, "no such client").help(help));
                }
            }
            Target::Node(node) => {
                for (name, config) in known().filter(|(_, config)| node.0 > config.nodes()) {
                    let nodes = config.nodes();
                    let title = format!("lock `{name}` has no node {}", node.0);
                    let help = format!("nodes of `{name}`: node:1 to node:{nodes}; every lock on trial must have it");
                    self.problems.push(Problem::at(&field.span, title, "no such node").help(help));
                }
            }
            Target::Minority => {
                for (name, _) in known().filter(|(_, config)| config.nodes() < 3) {
                    let title = format!("lock `{name}` has no minority");
                    self.problems.push(Problem::at(&field.span, title, "one node is always a majority"));
                }
            }
            Target::Leader => {
                let zookeeper = |lock: &Option<LockConfig>| !matches!(lock, Some(LockConfig::Redlock(_)));
                if !trial.locks.is_empty() && !trial.locks.values().any(zookeeper) {
                    let title = "no lock on trial has a leader";
                    let help = "only a ZooKeeper ensemble has one; Redis masters are equals";
                    self.problems.push(Problem::at(&field.span, title, "nobody").help(help));
                }
            }
            Target::Holder | Target::Waiter | Target::One | Target::Majority | Target::All => {}
        }
        Some(target)
    }

    fn at(&mut self, field: &Placed<AtValue>) -> Option<At> {
        match &field.value {
            AtValue::Time(text) => {
                let text = Placed { value: text.clone(), span: field.span.clone() };
                let time = self.problems.duration("at", &text)?;
                if let Some(run) = self.trial.duration.filter(|run| time >= *run) {
                    self.never(&field.span, run);
                }
                Some(At::Time(time))
            }
            AtValue::Table(table) => {
                let every = table.every.as_ref().map(|every| (self.problems.positive("every", every), every));
                if let (Some((Some(every), field)), Some(run)) = (&every, self.trial.duration)
                    && *every >= run
                {
                    self.never(&field.span, run);
                }
                let phase = table.phase.as_ref().map(|phase| self.problems.choice("a phase", phase));
                match (phase, every) {
                    (None, None) => self
                        .problems
                        .refuse(Problem::at(&field.span, "`at` says no time", "empty").help(
                            "write \"5s\", { phase = \"before-write\" }, { every = \"3s\" }, or phase and every",
                        )),
                    (None, Some((every, _))) => Some(At::Every(every?)),
                    (Some(phase), None) => Some(At::Phase { phase: phase?, every: None }),
                    (Some(phase), Some((every, _))) => Some(At::Phase { phase: phase?, every: Some(every?) }),
                }
            }
        }
    }

    fn never(&mut self, place: &Range<usize>, run: Duration) {
        let title = format!("the fault never strikes within the run of {run:?}");
        self.problems.push(Problem::at(place, title, "not before the end"));
    }

    /// Whether the target ever reaches the phase.
    fn meet(&mut self, target: Target, place: &Placed<TargetText>, at: At, at_place: &Placed<AtValue>) {
        let At::Phase { phase, .. } = at else { return };
        if !target.is_client() {
            let title = format!("`{target}` is no client, and only clients have phases");
            let problem = Problem::at(&place.span, title, "a lock server");
            self.problems.push(problem.help("strike it at a time, \"5s\", or { every = \"3s\" }"));
            return;
        }
        let reached: Vec<&str> =
            Phase::ALL.into_iter().filter(|phase| reaches(target, *phase)).map(Phase::name).collect();
        if !reaches(target, phase) {
            let phase_span = match &at_place.value {
                AtValue::Table(table) => table.phase.as_ref().map(|phase| phase.span.clone()),
                AtValue::Time(_) => None,
            };
            let title = format!("a {target} is never at phase `{phase}`");
            self.problems.push(
                Problem::at(&phase_span.unwrap_or(at_place.span.clone()), title, format!("not a phase of a {target}"))
                    .help(format!("phases of a {target}: {}", reached.join(", ")))
                    .help("`client:N` can be struck at any phase"),
            );
        }
    }

    fn partition(&mut self, table: &PartitionTable) -> Option<FaultKind> {
        let direction = match &table.direction {
            None => Some(Direction::default()),
            Some(field) => self.problems.choice("a value of `direction`", field),
        };
        // A mistaken target was recorded already.
        let target = table.target.0.parse::<Target>().ok();
        let peers = match (&table.peers, target) {
            (None, Some(target)) => Some(if target.is_client() { PeerGroup::Nodes } else { PeerGroup::All }),
            (None, None) => None,
            (Some(field), target) => {
                let peers = self.problems.choice("a value of `peers`", field);
                if let (Some(peers), Some(target)) = (peers, target)
                    && let Some(reason) = self.cuts_nothing(target, peers)
                {
                    let title = format!("a partition of `{target}` from `{peers}` cuts nothing");
                    self.problems.push(Problem::at(&field.span, title, reason));
                }
                peers
            }
        };
        Some(FaultKind::Partition { peers: peers?.into(), direction: direction? })
    }

    /// Why nobody uses the links between the target and the peers, if so.
    fn cuts_nothing(&self, target: Target, peers: PeerGroup) -> Option<&'static str> {
        // A mistaken lock may be one with an ensemble; without any lock, that is the mistake.
        let locks = &self.trial.locks;
        let ensemble = locks.is_empty() || locks.values().any(|lock| !matches!(lock, Some(LockConfig::Redlock(_))));
        match peers {
            PeerGroup::Clients if target.is_client() => Some("clients do not talk to each other"),
            PeerGroup::Resource if !target.is_client() => Some("lock servers do not talk to the resource"),
            PeerGroup::Nodes if target == Target::All => Some("the cut-off servers keep together"),
            PeerGroup::Nodes if !target.is_client() && !ensemble => Some("Redis masters do not talk to each other"),
            _ => None,
        }
    }
}

/// Whether a client that the target names can be at the phase.
fn reaches(target: Target, phase: Phase) -> bool {
    match target {
        Target::Holder => phase.holds(),
        Target::Waiter => matches!(phase, Phase::Acquiring | Phase::VotesIn),
        _ => true,
    }
}
