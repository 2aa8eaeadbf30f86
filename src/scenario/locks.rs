//! The locks on trial: each one's name and table, and whether the workload and the resource suit it.
//!
//! Deliberately absent: what a table says, which is each lock's own ([`crate::defendant`]), and the faults.

use std::collections::BTreeMap;
use std::path::Path;

use super::capabilities::Capabilities;
use super::error::Problem;
use super::file::ScenarioFile;
use super::place::Placed;
use super::problems::Problems;
use super::{Fencing, LockConfig};
use crate::defendant::holders::KIND;
use crate::defendant::registry;
use crate::defendant::table::{Asked, LockTable};
use crate::lock_kind::LockKind;

/// A lock's name becomes the name of a folder in the run's own, which has this one already.
const RESERVED_NAME: &str = "logs";

pub(super) fn locks(
    tables: &BTreeMap<Placed<String>, LockTable>,
    path: &Path,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Option<LockConfig>> {
    if tables.is_empty() {
        problems.push(Problem::of_file("no lock stands trial").help(registry::ADD_A_TABLE));
    }
    let mut locks = BTreeMap::new();
    for (name, table) in tables {
        lock_name(name, problems);
        let config = registry::read(&Asked { name, table, path, environment }, problems);
        locks.insert(name.value.clone(), config);
    }
    locks
}

fn lock_name(name: &Placed<String>, problems: &mut Problems<'_>) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(plain) || name.starts_with('-') {
        let title = format!("`{}` cannot be a lock's name", name.value);
        let label = "its records get a folder of this name";
        problems.push(Problem::at(&name.span, title, label).help("use a-z, 0-9 and -, at most 40 of them"));
    } else if name.value == RESERVED_NAME {
        let title = format!("`{}` cannot be a lock's name", name.value);
        problems.push(Problem::at(&name.span, title, "a run's folder keeps something else under it"));
    }
}

/// Refuses a workload or a resource that some lock's kind cannot be tried with.
pub(super) fn fit(file: &ScenarioFile, locks: &BTreeMap<String, Option<LockConfig>>, problems: &mut Problems<'_>) {
    if let Some(extend) = &file.workload.extend
        && locks.values().all(|lock| lock.as_ref().is_some_and(|lock| !lock.extends()))
        && !locks.is_empty()
    {
        let problem =
            Problem::at(&extend.span, "no lock on trial has a lease that its holder can extend", "nothing to extend");
        problems.push(problem.help("locks with a `ttl` have one; a session is kept up by itself"));
    }
    for (name, table) in &file.lock {
        let Some(Some(config)) = locks.get(&name.value) else { continue };
        let span = &table.get(&KIND).map_or_else(|| name.span.clone(), |kind| kind.span);
        let fencing = file.resource.fencing.as_ref().filter(|fencing| fencing.get() != Some(Fencing::None));
        match (config.kind(), &file.workload.readers, fencing) {
            (LockKind::ReadWrite, None, _) => {
                let title = format!("lock `{}` has readers, and nobody only reads", name.value);
                let problem = Problem::at(span, title, "nothing would be shared");
                problems
                    .push(problem.help("add `readers = 70` to `[workload]`: so many of a hundred attempts only read"));
            }
            (LockKind::Semaphore { .. }, _, Some(fencing)) => {
                let title = format!("a resource cannot fence the holders of the semaphore `{}`", name.value);
                let label = "several may use it at once and in any order: whose token is lower says nothing";
                problems.push(Problem::at(&fencing.span, title, label).help("leave `fencing` out"));
            }
            _ => {}
        }
    }
}
