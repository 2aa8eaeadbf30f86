//! From the file's fault tables to the fault plan.
//!
//! Refused is what could never do what it says: a target that does not exist, a phase that the target never reaches, a
//! strike after the end, a cut of links that nobody uses. A run with such a fault would pass without having been tried.
//! What is done to links, clocks and requests is read by `links`, `clocks` and `requests`. Deliberately absent: who the
//! target turns out to be; that is drawn when the fault strikes.

use std::ops::Range;
use std::time::Duration;

use super::capabilities::{Capabilities, FaultName};
use super::duration::DurationText;
use super::error::{Problem, nearest};
use super::fault_tables::{Aim, FaultTable, FaultTables};
use super::fault_values::{AtTable, AtValue};
use super::place::{Placed, TargetText};
use super::problems::Problems;
use super::strikes::StrikeTable;
use super::validate::Trial;
use super::{Backend, LockConfig};
use crate::fault::{At, Fault, FaultKind, RESTART_DOWNTIME, Target};
use crate::ids::{ClientId, NodeId};
use crate::phase::Phase;

/// The fault plan in file order, with a problem for each fault that is left out.
pub(super) fn faults(
    tables: &FaultTables,
    strikes: &[Placed<StrikeTable>],
    trial: &Trial,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> Vec<Fault> {
    let mut reader = Reader { trial, environment, problems, plan: Vec::new() };
    reader.read(FaultName::Pause, &tables.pause, |_, _| Some(FaultKind::Pause));
    reader.read(FaultName::Kill, &tables.kill, |_, _| Some(FaultKind::Kill));
    reader.read(FaultName::Restart, &tables.restart, |_, _| Some(FaultKind::Restart));
    reader.read(FaultName::PowerLoss, &tables.power_loss, |reader, table| {
        reader.has_disk(&table.target);
        Some(FaultKind::PowerLoss)
    });
    reader.read(FaultName::Partition, &tables.partition, Reader::partition);
    reader.read(FaultName::Delay, &tables.delay, Reader::delay);
    reader.read(FaultName::Loss, &tables.loss, Reader::loss);
    reader.read(FaultName::ClockJump, &tables.clock_jump, Reader::clock_jump);
    reader.read(FaultName::ClockDrift, &tables.clock_drift, Reader::clock_drift);
    reader.read(FaultName::ClockStrobe, &tables.clock_strobe, Reader::clock_strobe);
    reader.read(FaultName::Request, &tables.request, Reader::request);
    reader.strikes(strikes);
    let mut plan = reader.plan;
    plan.sort_by_key(|(place, _)| *place);
    plan.into_iter().map(|(_, fault)| fault).collect()
}

/// Reads one table after the other.
pub(super) struct Reader<'a, 'b> {
    pub(super) trial: &'a Trial,
    pub(super) environment: &'a Capabilities,
    pub(super) problems: &'a mut Problems<'b>,
    /// The faults so far, each with its place.
    pub(super) plan: Vec<(usize, Fault)>,
}

impl Reader<'_, '_> {
    fn read<T: FaultTable>(
        &mut self,
        name: FaultName,
        tables: &[Placed<T>],
        kind: impl Fn(&mut Self, &T) -> Option<FaultKind>,
    ) {
        for table in tables {
            if !self.available(name, &table.span) {
                continue;
            }
            // Both before either is looked at, so that all mistakes are recorded.
            let (common, kind) = (self.common(&table.aim()), kind(self, table));
            if let (Some((target, at, duration)), Some(kind)) = (common, kind) {
                self.moves(&kind, &target, &table.aim().target.span);
                self.plan.push((table.span.start, Fault { kind, target, at, duration }));
            }
        }
    }

    pub(super) fn available(&mut self, name: FaultName, place: &Range<usize>) -> bool {
        let available = self.environment.faults.contains(&name);
        if !available {
            let environment = self.environment.environment;
            let title = format!("fault `{name}` is not available in environment {environment} yet");
            let help = format!("available in {environment}: {}", self.environment.fault_names());
            self.problems.push(Problem::at(place, title, "not available").help(help));
        }
        available
    }

    /// Refuses what strikes lock servers where those are not ours.
    pub(super) fn ours(&mut self, target: &Target, place: &Range<usize>) {
        if !self.environment.strikes_servers && !target.is_client() {
            let title = "nothing is done to lock servers that fencepost has not started itself";
            let problem = Problem::at(place, title, "a lock server")
                .help("with --servers, aim faults at clients: holder, waiter, client:N; links from a client to servers may be cut")
                .help("without --servers this file runs on servers of fencepost's own");
            self.problems.push(problem);
        }
    }

    /// Refuses to move clocks that nobody here can move.
    pub(super) fn moves(&mut self, kind: &FaultKind, target: &Target, place: &Range<usize>) {
        let stays = |lock: &LockConfig| {
            let supply = self.environment.supply(lock.backend());
            supply.is_some_and(|supply| !supply.moves_clocks) && lock.has(target)
        };
        let found = self.trial.known_locks().find(|(_, lock)| stays(lock));
        if let (FaultKind::Clock(_), false, Some((lock, config))) = (kind, target.is_client(), found) {
            let servers = config.backend().name();
            let title = format!("the clocks of the {servers} servers of `{lock}` cannot be moved here");
            let problem = Problem::at(place, title, format!("{servers} servers"));
            let problem = config.backend().unmoved_clocks().iter().fold(problem, |problem, help| problem.help(*help));
            self.problems.push(problem);
        }
    }

    /// What every fault has: whom it strikes, when, for how long.
    fn common(&mut self, aim: &Aim<'_>) -> Option<(Target, At, Duration)> {
        let aimed = self.target(aim.target);
        if let Some(target) = &aimed {
            self.ours(target, &aim.target.span);
        }
        let (strikes, lasts) = self.times(aim.at, aim.duration);
        if let (Some(aimed), Some(strikes)) = (&aimed, strikes) {
            self.meet(aimed, strikes, aim.at);
        }
        Some((aimed?, strikes?, lasts?))
    }

    /// When it strikes, and for how long.
    pub(super) fn times(
        &mut self,
        at: &Placed<AtValue>,
        duration: Option<&Placed<DurationText>>,
    ) -> (Option<At>, Option<Duration>) {
        let strikes = self.at(at);
        let lasts = match duration {
            None => Some(RESTART_DOWNTIME),
            Some(field) => self.problems.positive("for", field),
        };
        if let Some(lasts) = lasts {
            self.fits(lasts, strikes, duration.map_or(&at.span, |duration| &duration.span));
        }
        (strikes, lasts)
    }

    /// Whether a fault of this length can strike at all: it must be over before the run is, and before it strikes
    /// again.
    fn fits(&mut self, lasts: Duration, strikes: Option<At>, place: &Range<usize>) {
        let first = match strikes {
            Some(At::Time(first) | At::Every(first)) => first,
            Some(At::Phase { every, from, .. }) => every.unwrap_or_default().max(from),
            None => Duration::ZERO,
        };
        // One that begins after the end was refused at its own place.
        if let Some(run) = self.trial.duration.filter(|run| first < *run && first + lasts > *run) {
            let problem = if lasts > run {
                let title = format!("the fault lasts longer than the run of {run:?}");
                Problem::at(place, title, "longer than the run")
            } else {
                let title = format!("the fault would outlast the run of {run:?}, so it never strikes");
                Problem::at(place, title, format!("longer than the {:?} that are left then", run - first))
            };
            self.problems.push(problem);
        }
        if let Some(At::Every(every)) = strikes.filter(|at| matches!(at, At::Every(every) if lasts >= *every)) {
            let title = "the fault strikes again before it has ended";
            let label = format!("not shorter than every {every:?}");
            self.problems.push(Problem::at(place, title, label));
        }
    }

    fn target(&mut self, field: &Placed<TargetText>) -> Option<Target> {
        let text = field.0.as_str();
        let target = match text.parse::<Target>() {
            Ok(target) => target,
            Err(_) => {
                let problem = Problem::at(&field.span, format!("`{text}` is not a target"), "unknown")
                    .help(format!("valid targets: {}", Target::FORMS));
                let forms = ["holder", "waiter", "leader", "holder-server", "one", "minority", "majority", "all"];
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
        match target {
            Target::Client(client) => self.client_exists(client, &field.span),
            Target::Node(node) => self.node_exists(node, &field.span),
            Target::Minority => {
                for (name, _) in self.trial.known_locks().filter(|(_, config)| config.nodes() < 3) {
                    let title = format!("lock `{name}` has no minority");
                    self.problems.push(Problem::at(&field.span, title, "one node is always a majority"));
                }
            }
            Target::Leader | Target::HolderServer => {
                let mut locks = self.trial.locks.values();
                let somebody = locks.any(|lock| lock.as_ref().is_none_or(|lock| lock.has(&target)));
                if !self.trial.locks.is_empty() && !somebody {
                    let (title, help) = match target {
                        Target::Leader => ("no lock on trial has a leader", Backend::WHO_HAS_LEADERS),
                        _ => ("no lock on trial has sessions", Backend::WHO_HAS_SESSIONS),
                    };
                    self.problems.push(Problem::at(&field.span, title, "nobody").help(help));
                }
            }
            // Of a strike's list each member was looked at by itself.
            Target::Holder | Target::Waiter | Target::One | Target::Majority | Target::All | Target::Members(_) => {}
        }
        Some(target)
    }

    pub(super) fn client_exists(&mut self, client: ClientId, place: &Range<usize>) {
        if let Some(clients) = self.trial.clients.filter(|clients| client.0 > *clients) {
            let title = format!("there is no client {}", client.0);
            let help = format!("clients of this workload: client:1 to client:{clients}");
            self.problems.push(Problem::at(place, title, "no such client").help(help));
        }
    }

    pub(super) fn node_exists(&mut self, node: NodeId, place: &Range<usize>) {
        for (name, config) in self.trial.known_locks().filter(|(_, config)| node.0 > config.nodes()) {
            let nodes = config.nodes();
            let title = format!("lock `{name}` has no node {}", node.0);
            let help = format!("nodes of `{name}`: node:1 to node:{nodes}; every lock on trial must have it");
            self.problems.push(Problem::at(place, title, "no such node").help(help));
        }
    }

    fn has_disk(&mut self, target: &Placed<TargetText>) {
        if let Some(aimed) = target.0.parse::<Target>().ok().filter(|target| target.is_client()) {
            let title = format!("`{aimed}` is a client, and only lock servers have anything on a disk");
            self.problems
                .push(Problem::at(&target.span, title, "a client").help("`[[fault.kill]]` strikes clients too"));
        }
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
                let from = self.from(table);
                match (phase, every) {
                    (None, None) => self
                        .problems
                        .refuse(Problem::at(&field.span, "`at` says no time", "empty").help(
                            "write \"5s\", { phase = \"before-write\" }, { every = \"3s\" }, or phase and every",
                        )),
                    (None, Some((every, _))) => Some(At::Every(every?)),
                    (Some(phase), None) => Some(At::Phase { phase: phase?, every: None, from }),
                    (Some(phase), Some((every, _))) => Some(At::Phase { phase: phase?, every: Some(every?), from }),
                }
            }
        }
    }

    /// From when on a phase counts; zero if the table does not say, or says it wrongly.
    fn from(&mut self, table: &AtTable) -> Duration {
        let Some(field) = &table.from else { return Duration::ZERO };
        if table.phase.is_none() {
            let problem = Problem::at(&field.span, "`from` goes with a phase", "without one");
            self.problems.push(problem.help("a fault without a phase strikes at a time: at = \"5s\""));
        }
        let from = self.problems.duration("from", field).unwrap_or_default();
        if let Some(run) = self.trial.duration.filter(|run| from >= *run) {
            self.never(&field.span, run);
        }
        from
    }

    fn never(&mut self, place: &Range<usize>, run: Duration) {
        let title = format!("the fault never strikes within the run of {run:?}");
        self.problems.push(Problem::at(place, title, "not before the end"));
    }

    /// Whether the target ever reaches the phase. A lock server is struck when any client does.
    pub(super) fn meet(&mut self, target: &Target, at: At, at_place: &Placed<AtValue>) {
        let At::Phase { phase, .. } = at else { return };
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
}

/// Whether a client that the target names can be at the phase.
fn reaches(target: &Target, phase: Phase) -> bool {
    match target {
        Target::Holder => phase.holds(),
        Target::Waiter => matches!(phase, Phase::Acquiring | Phase::InLine | Phase::VotesIn),
        _ => true,
    }
}
