//! Undoing faults: one by one as a run ends them, or all at once when nobody else did.

use std::path::Path;

use futures_util::future::join_all;

use super::clocks;
use super::engine::{Container, Engine, EngineError, Role, State};
use super::journal::{Entry, Journal, Undo};
use super::netns::Script;
use crate::time::Nanos;

/// Undoes one fault. A container that is gone took its faults with it.
///
/// # Errors
/// The daemon could not do it, or a clock's page cannot be written.
pub async fn undo(engine: &Engine, containers: &[Container], entry: &Entry) -> Result<(), EngineError> {
    let set_right = |folder: &Path| {
        clocks::set_right(folder).map_err(|source| EngineError::Clock { name: entry.name.clone(), source })
    };
    if let Undo::SetClock { folder, .. } | Undo::Start { folder: Some(folder) } = &entry.undo {
        set_right(folder)?;
    }
    let Some(container) = containers.iter().find(|container| container.id() == entry.container) else { return Ok(()) };
    match &entry.undo {
        Undo::Unpause if container.state == State::Paused => engine.unpause(container).await,
        Undo::Unpause => Ok(()),
        // One of a run is not missed: it is removed with the run.
        Undo::Start { .. } if container.state == State::Stopped => engine.start(container).await,
        Undo::Start { .. } | Undo::SetClock { .. } => Ok(()),
        // The rules live in the network namespace, which ends with the container's process.
        Undo::DeleteTable(_) if container.state == State::Stopped => Ok(()),
        Undo::DeleteTable(table) => {
            Script::default().delete_table(table).run(engine, container.id(), &container.name).await.map(drop)
        }
    }
}

/// Undoes all faults of the journal whose deadline is before `until`; what was undone, and what could not be.
///
/// # Errors
/// The daemon does not answer, or the journal cannot be read.
pub async fn outstanding(
    engine: &Engine,
    journal: &Journal,
    until: Nanos,
) -> anyhow::Result<(Vec<Entry>, Vec<String>)> {
    let entries: Vec<Entry> =
        journal.outstanding()?.into_iter().filter(|(_, deadline)| *deadline < until).map(|(entry, _)| entry).collect();
    if entries.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let containers = engine.containers().await?;
    let undone = join_all(entries.iter().map(|entry| undo(engine, &containers, entry))).await;
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
/// The daemon could not do it.
pub async fn sweep(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let containers = engine.containers().await?;
    let swept = join_all(containers.iter().map(|container| async move {
        let mut undone = Vec::new();
        let is_server = matches!(container.role, Role::Redis | Role::Zookeeper);
        if let Some(folder) = &container.clock {
            let was_wrong = clocks::set_right(folder);
            if was_wrong.map_err(|source| EngineError::Clock { name: container.name.clone(), source })? {
                undone.push(format!("{} had a wrong clock: set right", container.name));
            }
        }
        if container.state == State::Stopped && is_server {
            engine.start(container).await?;
            undone.push(format!("{} was dead: started", container.name));
        }
        if container.state == State::Paused {
            engine.unpause(container).await?;
            undone.push(format!("{} was frozen: thawed", container.name));
        }
        if matches!(container.state, State::Paused | State::Running) && container.role.outlives_runs() {
            let script = Script::default().delete_all_tables();
            let tables = script.run(engine, container.id(), &container.name).await?;
            undone.extend(tables.lines().map(|table| format!("{} was cut off ({table}): reconnected", container.name)));
        }
        Ok(undone)
    }))
    .await;
    let undone: Result<Vec<Vec<String>>, EngineError> = swept.into_iter().collect();
    Ok(undone?.into_iter().flatten().collect())
}
