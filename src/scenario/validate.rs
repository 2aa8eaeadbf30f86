//! From the file's values to a [`super::Scenario`]'s parts: workload, resource, locks, expectations.
//!
//! Every mistake is recorded with its place and reading goes on, so that one look shows them all. A part is `None` only
//! if a mistake of it was recorded. The fault plan has a room of its own ([`super::plan`]). Deliberately absent:
//! plausibility, such as a hold longer than the lease; such scenarios are what the harness is for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::capabilities::Capabilities;
use super::error::Problem;
use super::file::{ResourceTable, ScenarioFile, WorkloadTable};
use super::place::{Count, Placed};
use super::problems::Problems;
use super::{LockConfig, Resource, Workload};
use crate::verdict::{CheckName, Demand};

/// What faults are checked against; parts that are themselves mistaken are unknown.
pub(super) struct Trial {
    pub(super) clients: Option<u32>,
    pub(super) duration: Option<Duration>,
    pub(super) locks: BTreeMap<String, Option<LockConfig>>,
}

impl Trial {
    /// The locks that are not mistaken, by name.
    pub(super) fn known_locks(&self) -> impl Iterator<Item = (&String, &LockConfig)> {
        self.locks.iter().filter_map(|(name, config)| config.as_ref().map(|config| (name, config)))
    }
}

pub(super) fn title(file: &ScenarioFile, problems: &mut Problems<'_>) {
    if file.title.trim().is_empty() {
        problems.push(Problem::at(&file.title.span, "`title` is empty", "say in one line what happens"));
    } else if file.title.contains('\n') {
        problems.push(Problem::at(&file.title.span, "`title` has more than one line", "put the rest into `why`"));
    }
}

/// The workload; and, for the fault plan, its number of clients and for how long faults may strike, even
/// if the rest is mistaken.
pub(super) fn workload(
    table: &WorkloadTable,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> (Option<Workload>, Option<u32>, Option<Duration>) {
    let kind = problems.choice("a value of `kind`", &table.kind);
    let limit =
        format!("environment {} runs at most {} clients per lock", environment.environment, environment.max_clients);
    let clients = problems.count("clients", &table.clients, environment.max_clients, &limit);
    let locks = match &table.locks {
        None => Some(1),
        Some(field) => problems.count("locks", field, u32::MAX, "lock names are counted in 32 bits"),
    };
    let hold = problems.range("hold", &table.hold);
    let think = problems.range("think", &table.think);
    let wait = match &table.wait {
        None => Some(Duration::from_secs(10)),
        Some(field) => problems.positive("wait", field),
    };
    let duration = problems.positive("duration", &table.duration);
    let quiet_end = table.quiet_end.as_ref().and_then(|field| {
        let quiet = problems.positive("quiet-end", field)?;
        if let Some(run) = duration.filter(|run| quiet >= *run) {
            let title = format!("`quiet-end` leaves no time for anything in a run of {run:?}");
            return problems.refuse(Problem::at(&field.span, title, "not shorter than the run"));
        }
        Some(quiet)
    });
    let quiet_end = quiet_end.unwrap_or_default();
    let grant_within = table.grant_within.as_ref().map(|field| problems.positive("grant-within", field));
    let client = match &table.client {
        None => Some(Default::default()),
        Some(field) => problems.choice("a value of `client`", field),
    };
    let mut share = |name, field: &Option<Placed<Count>>, of| match field {
        None => 0,
        // One that is mistaken was recorded.
        Some(field) => problems.count(name, field, 100, of).unwrap_or_default(),
    };
    let readers = share("readers", &table.readers, "it is a share of a hundred attempts");
    let abandoned = share("abandoned", &table.abandoned, "it is a share of a hundred attempts");
    let dropped = share("dropped", &table.dropped, "it is a share of a hundred holds");
    let extend = table.extend.as_ref().and_then(|field| problems.range("extend", field));
    // Taken apart only after each was read, so that every mistake was recorded.
    let workload = match (kind, clients, locks, hold, think, wait, duration, client) {
        (Some(kind), Some(clients), Some(locks), Some(hold), Some(think), Some(wait), Some(duration), Some(client)) => {
            // One that is mistaken was recorded, and keeps the file from being used.
            let grant_within = grant_within.flatten();
            Some(Workload {
                kind,
                clients,
                locks,
                hold,
                think,
                wait,
                duration,
                grant_within,
                client,
                readers,
                extend,
                abandoned,
                dropped,
                quiet_end,
            })
        }
        _ => None,
    };
    (workload, clients, duration.map(|duration| duration.saturating_sub(quiet_end)))
}

pub(super) fn resource(table: &ResourceTable, problems: &mut Problems<'_>) -> Option<Resource> {
    match &table.fencing {
        None => Some(Resource::default()),
        Some(field) => problems.choice("a value of `fencing`", field).map(|fencing| Resource { fencing }),
    }
}

/// The expectations. Those that are mistaken are left out, with a problem for each.
pub(super) fn expect(
    file: &ScenarioFile,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, BTreeMap<CheckName, Demand>> {
    let locks: Vec<&str> = file.lock.keys().map(|name| name.value.as_str()).collect();
    let mut expect: BTreeMap<String, BTreeMap<CheckName, Demand>> = BTreeMap::new();
    for (name, checks) in &file.expect {
        // Without any lock, that is the mistake.
        if !locks.is_empty() && !locks.contains(&name.as_str()) {
            let title = format!("no lock `{}` stands trial", name.value);
            let problem = Problem::at(&name.span, title, "unknown lock").help(format!("locks: {}", locks.join(", ")));
            problems.push(problem.suggest(name, locks.iter().copied()));
        }
        if checks.is_empty() {
            let problem = Problem::at(&name.span, format!("nothing is expected of `{}`", name.value), "no check");
            problems.push(problem.help("name checks and their verdicts, or leave it out: then all must be valid"));
        }
        let verdicts = expect.entry(name.value.clone()).or_default();
        for (check, verdict) in checks {
            let check = problems.choice("a check", check);
            let verdict = problems.choice("a verdict", verdict);
            if let (Some(check), Some(verdict)) = (check, verdict) {
                verdicts.insert(check, verdict);
            }
        }
    }
    expect
}
