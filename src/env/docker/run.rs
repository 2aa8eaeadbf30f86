//! One run in containers: the cluster made ready, all locks tried side by side, everything healed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use futures_util::future::join_all;
use tokio::sync::watch;

use super::cluster::{self, Cluster};
use super::engine::Engine;
use super::files::state_folder;
use super::heal::{self, Reach};
use super::journal::Journal;
use super::netns::Netns;
use super::run_lock::RunLock;
use super::trial::{Outcome, Trial};
use super::watchdog::Watchdog;
use crate::scenario::Scenario;
use crate::seed::Seed;
use crate::time::Nanos;

/// The cluster, ready for a run, and ours alone until this is dropped.
pub struct Session {
    cluster: Cluster,
    journal: Arc<Journal>,
    netns: Netns,
    // Fields are dropped in order: the lock says "given back" before the watchdog looks whether it was.
    _lock: RunLock,
    _watchdog: Watchdog,
}

impl Session {
    /// Takes the cluster: brings it up, heals what an interrupted run left, empties it.
    ///
    /// # Errors
    /// Another run has it, Docker can't be used, or the servers do not become ready.
    pub async fn open(who: &str, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Self> {
        let folder = state_folder()?;
        // The daemon first: without one there is nothing to take.
        let engine = Engine::connect().await?;
        let lock = RunLock::take(&folder, &format!("{who}, process {}", std::process::id())).await?;
        let journal = Arc::new(Journal::open(&folder).with_context(|| format!("cannot use {}", folder.display()))?);
        if lock.was_left {
            progress("an earlier run did not end as it should: healing what it left");
            heal_leftovers(&engine, &journal).await?;
        }
        let cluster = cluster::up(progress).await?;
        cluster::reset(&cluster).await?;
        let netns = Netns::start(&engine).await?;
        let watchdog = Watchdog::start(&folder, netns.socket()).context("cannot start the watchdog")?;
        Ok(Self { cluster, journal, netns, _lock: lock, _watchdog: watchdog })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Tries the locks named `locks` side by side: each with clients, a resource, a nemesis and a history of its own.
    /// Returns each lock's outcome, in the order given;
    /// a trial that could not even begin has an empty history and an error.
    pub async fn try_locks(
        &self,
        scenario: &Scenario,
        locks: &[String],
        seed: Seed,
        folder: &Path,
        stop: &watch::Receiver<bool>,
    ) -> Vec<Outcome> {
        // Short: it is part of container names, keys and paths.
        let run = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let trials = locks.iter().zip(0..).filter_map(|(lock, number)| {
            let config = scenario.locks.get(lock)?;
            let (folder, journal, stop) = (folder.join(lock), Arc::clone(&self.journal), stop.clone());
            let netns = self.netns.clone();
            Some(Trial {
                scenario,
                lock,
                config,
                number,
                seed,
                run: &run,
                folder,
                cluster: &self.cluster,
                journal,
                netns,
                stop,
            })
        });
        let trials: Vec<Trial<'_>> = trials.collect();
        let outcomes = join_all(trials.iter().map(Trial::run)).await;
        // Nothing should be outstanding now; what is, a heal that failed, is tried once more.
        let _ =
            heal::outstanding(&self.cluster.engine, &self.journal, Nanos(u64::MAX), &Reach::with(&self.netns)).await;
        let _ = self.journal.clear();
        let kept = |(trial, outcome): (&Trial<'_>, anyhow::Result<Outcome>)| {
            outcome.unwrap_or_else(|error| trial.failed(format!("{error:#}")))
        };
        trials.iter().zip(outcomes).map(kept).collect()
    }
}

/// Undoes what the journal and the containers show of an interrupted run, and removes its containers; what was undone,
/// in words.
///
/// # Errors
/// Something could not be healed.
pub async fn heal_leftovers(engine: &Engine, journal: &Journal) -> anyhow::Result<Vec<String>> {
    let reach = Reach::default();
    let (healed, failed) = heal::outstanding(engine, journal, Nanos(u64::MAX), &reach).await?;
    if !failed.is_empty() {
        bail!("could not be healed: {}; `fencepost cluster down` removes the containers", failed.join("; "));
    }
    let mut undone: Vec<String> = healed.iter().map(|entry| format!("{}: healed", entry.name)).collect();
    undone.extend(heal::sweep(engine, &reach).await?);
    drop(reach);
    cluster::remove_leftovers(engine).await?;
    journal.clear()?;
    Ok(undone)
}

/// `fencepost cluster heal`: undoes every fault of ours on this machine. A run that is going on keeps its containers.
///
/// # Errors
/// Something could not be healed.
pub async fn heal_all() -> anyhow::Result<Vec<String>> {
    let engine = Engine::connect().await?;
    let folder = state_folder()?;
    let journal = Journal::open(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
    match RunLock::try_take(&folder, "fencepost cluster heal") {
        Ok(_lock) => heal_leftovers(&engine, &journal).await,
        Err(_) => {
            let reach = Reach::default();
            let (healed, failed) = heal::outstanding(&engine, &journal, Nanos(u64::MAX), &reach).await?;
            let mut undone: Vec<String> = healed.iter().map(|entry| format!("{}: healed", entry.name)).collect();
            undone.extend(failed);
            undone.extend(heal::sweep(&engine, &reach).await?);
            Ok(undone)
        }
    }
}
