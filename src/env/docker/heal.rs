//! Undoing faults: one by one as a run ends them, or all at once when nobody else did.

use std::path::Path;

use futures_util::future::join_all;
use tokio::sync::OnceCell;

use super::clocks;
use super::engine::{Container, Engine, EngineError, Role, State};
use super::journal::{Entry, Journal, Undo};
use super::netns::{Answer, Door, Netns, NetnsError, Request};
use crate::time::Nanos;

/// The way into networks, for whoever heals: the run's helper while there is one, else one of its own, started when it is
/// first needed.
#[derive(Default)]
pub struct Reach {
    known: Option<Netns>,
    started: OnceCell<Netns>,
}

impl Reach {
    /// By a helper that is there.
    pub fn with(netns: &Netns) -> Self {
        Self { known: Some(netns.clone()), started: OnceCell::new() }
    }

    async fn ask(&self, engine: &Engine, request: &Request) -> Result<Answer, NetnsError> {
        if let Some(known) = &self.known {
            match known.ask(request).await {
                Err(NetnsError::Unreachable(_)) => {}
                answered => return answered,
            }
        }
        self.started.get_or_try_init(|| Netns::start(engine)).await?.ask(request).await
    }
}

/// Undoes one fault. A container that is gone took its faults with it.
///
/// # Errors
/// The daemon or the network helper could not do it, or a clock's page cannot be written.
pub async fn undo(engine: &Engine, containers: &[Container], entry: &Entry, reach: &Reach) -> Result<(), NetnsError> {
    let set_right = |folder: &Path| {
        clocks::set_right(folder).map_err(|source| EngineError::Clock { name: entry.name.clone(), source })
    };
    if let Undo::SetClock { folder, .. } | Undo::Start { folder: Some(folder) } = &entry.undo {
        set_right(folder)?;
    }
    let Some(container) = containers.iter().find(|container| container.id() == entry.container) else { return Ok(()) };
    match &entry.undo {
        Undo::Unpause if container.state == State::Paused => Ok(engine.unpause(container).await?),
        Undo::Unpause => Ok(()),
        // One of a run is not missed: it is removed with the run.
        Undo::Start { .. } if container.state == State::Stopped => Ok(engine.start(container).await?),
        Undo::Start { .. } | Undo::SetClock { .. } => Ok(()),
        Undo::DeleteTable(table) => match door(engine, container).await? {
            Some(door) => {
                let lift = Request::Lift { door, table: table.clone(), at_once: true };
                reach.ask(engine, &lift).await.map(drop)
            }
            // The rules live in the network namespace, which ends with the container's process.
            None => Ok(()),
        },
    }
}

/// The network namespace of a container that runs in the cluster's network.
async fn door(engine: &Engine, container: &Container) -> Result<Option<Door>, NetnsError> {
    if container.state == State::Stopped {
        return Ok(None);
    }
    let pid = engine.pid(container).await?;
    Ok(pid.zip(container.address).map(|(pid, address)| Door { pid, address }))
}

/// Undoes all faults of the journal whose deadline is before `until`; what was undone, and what could not be.
///
/// # Errors
/// The daemon does not answer, or the journal cannot be read.
pub async fn outstanding(
    engine: &Engine,
    journal: &Journal,
    until: Nanos,
    reach: &Reach,
) -> anyhow::Result<(Vec<Entry>, Vec<String>)> {
    outstanding_at(engine, journal, until, reach, |_| true).await
}

/// As [`outstanding`], of servers alone: what only lives as long as a run is healed by being removed.
///
/// # Errors
/// The daemon does not answer, or the journal cannot be read.
pub async fn outstanding_at_servers(
    engine: &Engine,
    journal: &Journal,
    reach: &Reach,
) -> anyhow::Result<(Vec<Entry>, Vec<String>)> {
    outstanding_at(engine, journal, Nanos(u64::MAX), reach, Role::outlives_runs).await
}

async fn outstanding_at(
    engine: &Engine,
    journal: &Journal,
    until: Nanos,
    reach: &Reach,
    whose: fn(Role) -> bool,
) -> anyhow::Result<(Vec<Entry>, Vec<String>)> {
    let mut entries: Vec<Entry> =
        journal.outstanding()?.into_iter().filter(|(_, deadline)| *deadline < until).map(|(entry, _)| entry).collect();
    if entries.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let containers = engine.containers().await?;
    let role = |entry: &Entry| containers.iter().find(|own| own.id() == entry.container).map(|own| own.role);
    entries.retain(|entry| role(entry).is_none_or(whose));
    let undone = join_all(entries.iter().map(|entry| undo(engine, &containers, entry, reach))).await;
    let (mut healed, mut failed) = (Vec::new(), Vec::new());
    for (entry, undone) in entries.into_iter().zip(undone) {
        match undone {
            Ok(()) => {
                journal.healed(&entry)?;
                healed.push(entry);
            }
            Err(error) => failed.push(format!("{}: {error}", entry.name)),
        }
    }
    Ok((healed, failed))
}

/// Undoes everything that a fault of ours could have left in any of our containers, whatever the journal says; what was
/// undone, in words.
///
/// # Errors
/// The daemon or the network helper could not do it, or a clock's page cannot be written.
pub async fn sweep(engine: &Engine, reach: &Reach) -> Result<Vec<String>, NetnsError> {
    let mut undone = Vec::new();
    let (mut names, mut doors) = (Vec::new(), Vec::new());
    for container in engine.containers().await? {
        let is_server = matches!(container.role, Role::Redis | Role::Zookeeper);
        if let Some(folder) = &container.clock {
            let was_wrong = clocks::set_right(folder);
            if was_wrong.map_err(|source| EngineError::Clock { name: container.name.clone(), source })? {
                undone.push(format!("{} had a wrong clock: set right", container.name));
            }
        }
        if container.state == State::Stopped && is_server {
            engine.start(&container).await?;
            undone.push(format!("{} was dead: started", container.name));
        }
        if container.state == State::Paused {
            engine.unpause(&container).await?;
            undone.push(format!("{} was frozen: thawed", container.name));
        }
        if container.role.outlives_runs()
            && let Some(door) = door(engine, &container).await?
        {
            names.push(container.name);
            doors.push(door);
        }
    }
    if doors.is_empty() {
        return Ok(undone);
    }
    if let Answer::Swept(swept) = reach.ask(engine, &Request::Sweep(doors)).await? {
        for (name, tables) in names.iter().zip(swept) {
            undone.extend(tables.iter().map(|table| format!("{name} was cut off ({table}): reconnected")));
        }
    }
    Ok(undone)
}
