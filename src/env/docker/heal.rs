//! Undoing faults: one by one as a run ends them, or all at once when nobody else did.

use std::path::Path;

use futures_util::future::join_all;
use tokio::sync::OnceCell;

use super::clocks;
use super::container::{Container, Role, State};
use super::engine::{Engine, EngineError};
use super::journal::{Entry, Journal, Undo};
use super::netns::{Answer, Door, Netns, NetnsError, Request};
use crate::time::Nanos;

/// The way into networks, for whoever heals: the run's helper while there is one, else one of its own, started when it
/// is first needed.
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

    /// Lets go of it, and returns when the container of a helper that was started here is gone.
    pub async fn end(self, engine: &Engine) {
        if let Some(started) = self.started.into_inner() {
            started.end(engine).await;
        }
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
/// What a container was doing when it was listed decides nothing here: the request that was to freeze or kill it may
/// have been on its way then. So the daemon is asked to undo it in any case; it takes one request at a container after
/// the other.
///
/// # Errors
/// The daemon or the network helper could not do it, or a clock's page cannot be written.
pub async fn undo(engine: &Engine, containers: &[Container], entry: &Entry, reach: &Reach) -> Result<(), NetnsError> {
    set_right_of(entry)?;
    let Some(container) = containers.iter().find(|container| container.id() == entry.container) else { return Ok(()) };
    match &entry.undo {
        Undo::Unpause => engine.thaw(container).await?,
        Undo::Start { .. } => engine.revive(container).await?,
        Undo::SetClock { .. } | Undo::ForgetRule { .. } => {}
        Undo::DeleteTable(table) => {
            // The rules live in the network namespace, which ends with the container's process.
            if let Some(door) = door(engine, container).await? {
                let lift = Request::Lift { door, table: table.clone(), at_once: true };
                reach.ask(engine, &lift).await?;
            }
        }
    }
    Ok(())
}

/// Sets the clock right that an entry is about, if it is about one. For this nobody needs to be asked.
fn set_right_of(entry: &Entry) -> Result<(), EngineError> {
    match &entry.undo {
        Undo::SetClock { folder, .. } | Undo::Start { folder: Some(folder) } => {
            set_right(&entry.name, folder).map(drop)
        }
        Undo::Unpause | Undo::Start { folder: None } | Undo::DeleteTable(_) | Undo::ForgetRule { .. } => Ok(()),
    }
}

fn set_right(name: &str, folder: &Path) -> Result<bool, EngineError> {
    clocks::set_right(folder).map_err(|source| EngineError::Clock { name: name.to_owned(), source })
}

/// The network namespace of a container that runs in the cluster's network.
async fn door(engine: &Engine, container: &Container) -> Result<Option<Door>, NetnsError> {
    if container.state == State::Stopped {
        return Ok(None);
    }
    let pid = engine.pid(container).await?;
    Ok(pid.zip(container.address).map(|(pid, address)| Door { pid, address }))
}

/// Undoes the faults of the journal that should have been over by `now`. What can't be undone stays in the journal.
///
/// # Errors
/// The daemon does not answer, or the journal cannot be read.
pub async fn overdue(engine: &Engine, journal: &Journal, now: Nanos, reach: &Reach) -> anyhow::Result<()> {
    let outstanding = journal.outstanding()?.into_iter();
    let overdue: Vec<Entry> = outstanding.filter(|(_, deadline)| *deadline < now).map(|(entry, _)| entry).collect();
    if overdue.is_empty() {
        return Ok(());
    }
    let containers = engine.containers().await?;
    let undone = join_all(overdue.iter().map(|entry| undo(engine, &containers, entry, reach))).await;
    for (entry, undone) in overdue.iter().zip(undone) {
        if undone.is_ok() {
            journal.healed(entry)?;
        }
    }
    Ok(())
}

/// What came of healing.
#[derive(Debug, Default)]
pub struct Healing {
    /// What was found and undone, in words.
    pub undone: Vec<String>,
    /// What could not be undone, and why.
    pub failed: Vec<String>,
}

impl Healing {
    /// What was undone, if that is all there was.
    ///
    /// # Errors
    /// Something could not be undone.
    pub fn complete(self) -> anyhow::Result<Vec<String>> {
        anyhow::ensure!(
            self.failed.is_empty(),
            "could not be healed: {}; `fencepost cluster down` removes the containers",
            self.failed.join("; ")
        );
        Ok(self.undone)
    }
}

/// Undoes whatever a fault of ours has left in our containers: what they show, and what the journal says of them. All
/// of them side by side, and faults only: nothing is removed here. Without a `reach`, networks are not looked at.
///
/// # Errors
/// The daemon does not answer, or the journal cannot be read or written.
pub async fn everything(engine: &Engine, journal: &Journal, reach: Option<&Reach>) -> anyhow::Result<Healing> {
    heal(engine, journal, reach, |_| true).await
}

/// As [`everything`], of servers alone: what only lives as long as a run is healed by being removed.
///
/// # Errors
/// The daemon does not answer, or the journal cannot be read or written.
pub async fn servers(engine: &Engine, journal: &Journal, reach: &Reach) -> anyhow::Result<Healing> {
    heal(engine, journal, Some(reach), Role::outlives_runs).await
}

async fn heal(
    engine: &Engine,
    journal: &Journal,
    reach: Option<&Reach>,
    whose: fn(Role) -> bool,
) -> anyhow::Result<Healing> {
    let entries: Vec<Entry> = journal.outstanding()?.into_keys().collect();
    let mut healing = Healing::default();
    healing.failed.extend(entries.iter().filter_map(|entry| set_right_of(entry).err()).map(|error| error.to_string()));
    let containers = engine.containers().await?;
    // What was to be replaced is removed when the cluster is brought up; until then it must not take its successor's
    // address.
    let patients = containers.iter().filter(|container| whose(container.role) && !container.is_replaced());
    let healed = join_all(patients.map(|container| {
        let of = entries.iter().filter(|entry| entry.container == container.id());
        let undos: Vec<&Undo> = of.map(|entry| &entry.undo).collect();
        async move { (container, patient(engine, container, &undos, reach).await) }
    }));
    for (container, outcome) in healed.await {
        match outcome {
            Ok(undone) => healing.undone.extend(undone),
            Err(error) => healing.failed.push(format!("{}: {error}", container.name)),
        }
    }
    if healing.failed.is_empty() {
        let of_whom = |entry: &Entry| containers.iter().find(|container| container.id() == entry.container);
        let over = entries.iter().filter(|entry| of_whom(entry).is_none_or(|container| whose(container.role)));
        journal.all_healed(over)?;
    }
    Ok(healing)
}

/// Undoes what `container` shows of our faults, and `undos`: the clock first, the rest side by side. What was found, in
/// words.
async fn patient(
    engine: &Engine,
    container: &Container,
    undos: &[&Undo],
    reach: Option<&Reach>,
) -> Result<Vec<String>, NetnsError> {
    let Container { name, state, role, .. } = container;
    let mut undone = Vec::new();
    if let Some(folder) = &container.clock
        && set_right(name, folder)?
    {
        undone.push(format!("{name} had a wrong clock: set right"));
    }
    let revive = async {
        if *state == State::Paused || undos.contains(&&Undo::Unpause) {
            engine.thaw(container).await?;
        }
        let was_killed = undos.iter().any(|undo| matches!(undo, Undo::Start { .. }));
        if was_killed || (*state == State::Stopped && role.is_server()) {
            engine.revive(container).await?;
        }
        Ok(())
    };
    let was_cut = undos.iter().any(|undo| matches!(undo, Undo::DeleteTable(_)));
    let reconnect = async {
        let Some(reach) = reach.filter(|_| was_cut || role.outlives_runs()) else { return Ok(Vec::new()) };
        let Some(door) = door(engine, container).await? else { return Ok(Vec::new()) };
        match reach.ask(engine, &Request::Sweep(vec![door])).await? {
            Answer::Swept(swept) => Ok(swept.concat()),
            _ => Ok(Vec::new()),
        }
    };
    let (revived, tables): (Result<(), NetnsError>, Result<Vec<String>, NetnsError>) = tokio::join!(revive, reconnect);
    revived?;
    match state {
        State::Paused => undone.push(format!("{name} was frozen: thawed")),
        State::Stopped if role.is_server() => undone.push(format!("{name} was dead: started")),
        _ => {}
    }
    undone.extend(tables?.iter().map(|table| format!("{name} was cut off ({table}): reconnected")));
    Ok(undone)
}
