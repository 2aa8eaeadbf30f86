//! One run in containers: the cluster made ready, all locks tried, everything healed.
//!
//! Locks that use different servers are tried side by side, others in turns: a fault on a server must not strike a lock
//! that was not meant, and how a server keeps its data is the lock's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::abilities;
use super::backends;
use super::cluster::{self, Cluster};
use super::cluster_lock;
use super::container::{Container, Role};
use super::defendant;
use super::engine::Engine;
use super::external::{Doors, External};
use super::files::state_folder;
use super::heal::{self, Reach};
use super::images;
use super::journal::Journal;
use super::netns::Netns;
use super::run_lock::RunLock;
use super::settings::Settings;
use super::tempdir;
use super::trial::{Outcome, Trial};
use super::watchdog::Watchdog;
use crate::adapter;
use crate::scenario::{Backend, LockConfig, Persistence, Scenario};
use crate::seed::Seed;
use crate::trial::Case;

/// The cluster, ready for a run, and ours alone until this is dropped.
pub struct Session {
    cluster: Cluster,
    /// What is behind the doors that the cluster's servers are, if the servers are not ours.
    external: Option<Doors>,
    /// The images of defendants that are programs of others, by lock.
    programs: BTreeMap<String, String>,
    journal: Arc<Journal>,
    netns: Netns,
    // Fields are dropped in order: the lock says "given back" before the watchdog looks whether it was.
    lock: RunLock,
    watchdog: Watchdog,
}

impl Session {
    /// Takes the cluster for a trial of `locks`: brings it up, heals what an interrupted run left, empties it, and sees
    /// that the faults of the plan can be made. With `external` servers none of ours are brought up or emptied, and
    /// those are looked at only.
    ///
    /// # Errors
    /// Another run has it, Docker can't be used, the servers do not become ready, or this machine cannot do a fault.
    pub async fn open(
        scenario: &Scenario,
        locks: &[String],
        external: Option<&External>,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Self> {
        let who = &scenario.name;
        let folder = state_folder()?;
        for settings in programs(scenario, locks).map(|(_, settings)| settings) {
            defendant::build(settings, progress).await?;
        }
        // The daemon first: without one there is nothing to take.
        let engine = Engine::connect().await?;
        let who = format!("{who}, process {}{}", std::process::id(), of_user());
        let lock = RunLock::take(&folder, &who).await?;
        // What takes the daemon is made from one of them.
        images::ensure(&engine, backends::always(), progress).await?;
        let netns = cluster_lock::take(&engine, &who).await?;
        let journal = Arc::new(Journal::open(&folder).with_context(|| format!("cannot use {}", folder.display()))?);
        if lock.was_left {
            progress("an earlier run did not end as it should: healing what it left");
            heal::everything(&engine, &journal, Some(&Reach::with(&netns))).await?.complete()?;
            cluster::remove_members(&engine).await?;
            journal.clear()?;
        }
        let configs: Vec<(&str, &LockConfig)> =
            locks.iter().filter_map(|lock| Some((lock.as_str(), scenario.locks.get(lock)?))).collect();
        let (external, cluster) = match external {
            None => {
                let present = present(&engine.containers().await?);
                let settings = with_sizes(Settings::from_env()?, configs.iter().map(|(_, config)| *config), &present);
                let cluster = cluster::up_with(&settings, progress).await?;
                cluster::reset(&cluster, Persistence::None).await?;
                (None, cluster)
            }
            Some(servers) => {
                cluster::remove_members(&engine).await?;
                match Doors::open(&engine, servers, &configs, progress).await {
                    Ok((doors, cluster)) => (Some(doors), cluster),
                    Err(error) => {
                        netns.end(&engine).await;
                        return Err(error);
                    }
                }
            }
        };
        // Whatever the lock says: the watchdog of a run that was killed may have been killed too, or outrun.
        for undone in heal::everything(&engine, &journal, Some(&Reach::with(&netns))).await?.complete()? {
            progress(&format!("left by an earlier run: {undone}"));
        }
        // Before the watchdog holds on to the helper as well.
        let configs: Vec<&LockConfig> = configs.into_iter().map(|(_, config)| config).collect();
        if let Err(unable) = abilities::require(&engine, &netns, &scenario.faults, &configs).await {
            if let Some(doors) = external {
                doors.close(&engine).await;
            }
            netns.end(&engine).await;
            return Err(unable);
        }
        let mut images = BTreeMap::new();
        for (lock, settings) in programs(scenario, locks) {
            images.insert(lock.clone(), images::ensure_for(&engine, settings, progress).await?);
        }
        tempdir::remove_abandoned();
        let watchdog = Watchdog::start(&folder, netns.socket()).context("cannot start the watchdog")?;
        Ok(Self { cluster, external, programs: images, journal, netns, lock, watchdog })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Tries the locks named `locks`, each with clients, a resource, a nemesis and a history of its own. Returns each
    /// lock's outcome, in the order given; a trial that could not even begin has an empty history and an error.
    ///
    /// # Errors
    /// The cluster could not be made ready for some of the locks.
    pub async fn try_locks(
        &mut self,
        scenario: &Scenario,
        locks: &[String],
        seed: Seed,
        folder: &Path,
        stop: &watch::Receiver<bool>,
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Vec<Outcome>> {
        let mut outcomes = BTreeMap::new();
        let rounds = rounds(scenario, locks);
        for round in &rounds {
            if rounds.len() > 1 {
                progress(&format!("trying {}", round.join(" and ")));
            }
            self.make_ready(scenario, round, progress).await?;
            let tried = self.try_side_by_side(scenario, round, seed, folder, stop, progress).await;
            outcomes.extend(round.iter().copied().zip(tried));
        }
        Ok(locks.iter().filter_map(|lock| outcomes.remove(&**lock)).collect())
    }

    /// Gives the servers what the locks of one round ask for.
    async fn make_ready(
        &mut self,
        scenario: &Scenario,
        round: &[&str],
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<()> {
        if self.external.is_some() {
            return Ok(());
        }
        let configs = || round.iter().filter_map(|lock| scenario.locks.get(*lock));
        let servers = self.cluster.servers.iter();
        let present = servers.map(|(backend, servers)| (*backend, u8::try_from(servers.len()).unwrap_or(u8::MAX)));
        let present: BTreeMap<Backend, u8> = present.collect();
        let settings = with_sizes(Settings::from_env()?, configs(), &present);
        if settings.sizes().any(|(one, size)| present.get(&one.backend()) != Some(&size)) {
            self.cluster = cluster::up_with(&settings, progress).await?;
        }
        let kept = configs().find_map(LockConfig::persistence);
        Ok(cluster::reset(&self.cluster, kept.unwrap_or_default()).await?)
    }

    /// Gives the cluster back, and returns when nothing of the run is left: dropping this does the first alone.
    pub async fn close(self) {
        let Self { cluster, external, netns, lock, watchdog, .. } = self;
        if let Some(doors) = external {
            doors.close(&cluster.engine).await;
        }
        drop(lock);
        drop(watchdog);
        netns.end(&cluster.engine).await;
    }

    async fn try_side_by_side(
        &self,
        scenario: &Scenario,
        locks: &[&str],
        seed: Seed,
        folder: &Path,
        stop: &watch::Receiver<bool>,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Vec<Outcome> {
        // Short: it is part of container names, keys and paths.
        let run = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let trials = locks.iter().copied().zip(0..).filter_map(|(lock, number)| {
            let case = Case::of(scenario, lock, seed)?;
            let (folder, journal, stop) = (folder.join(lock), Arc::clone(&self.journal), stop.clone());
            let netns = self.netns.clone();
            Some(Trial {
                case,
                number,
                image: self.programs.get(lock).map(String::as_str),
                run: &run,
                folder,
                cluster: &self.cluster,
                external: self.external.as_ref(),
                journal,
                netns,
                stop,
            })
        });
        let trials: Vec<Trial<'_>> = trials.collect();
        let outcomes = join_all(trials.iter().map(Trial::run)).await;
        for left in join_all(trials.iter().map(Trial::leave)).await.into_iter().flatten() {
            progress(&left);
        }
        // Nothing should be outstanding now. A heal that failed is tried once more, and what somebody else has left
        // wrong, of which the history tells, is set right for the next run.
        match heal::everything(&self.cluster.engine, &self.journal, Some(&Reach::with(&self.netns))).await {
            Ok(healing) => {
                if healing.failed.is_empty() {
                    let _ = self.journal.clear();
                }
                healing.undone.iter().for_each(|undone| progress(&format!("left wrong after the trials: {undone}")));
                healing.failed.iter().for_each(|failed| progress(&format!("could not be healed: {failed}")));
            }
            Err(error) => progress(&format!("could not see whether anything is left wrong: {error:#}")),
        }
        let kept = |(trial, outcome): (&Trial<'_>, anyhow::Result<Outcome>)| {
            outcome.unwrap_or_else(|error| trial.failed(format!("{error:#}")))
        };
        trials.iter().zip(outcomes).map(kept).collect()
    }
}

/// How many servers there are of each backend that is there, as far as the containers tell without being asked.
fn present(containers: &[Container]) -> BTreeMap<Backend, u8> {
    let servers = containers.iter().filter_map(|own| match own.role {
        Role::Server(backend) => Some((backend, own.ensemble.unwrap_or(backends::of(backend).containers().usual))),
        _ => None,
    });
    // Of several that disagree the first: the others are made anew then.
    servers.rev().collect()
}

/// The servers that these locks need, beside those that every cluster has. Where a lock may choose how many, as many as
/// the one that asks for most of them; if none does, a backend stays as it is: another size is another ensemble, and
/// its servers take ten seconds to start and more.
fn with_sizes<'a>(
    settings: Settings,
    locks: impl Iterator<Item = &'a LockConfig>,
    present: &BTreeMap<Backend, u8>,
) -> Settings {
    let mut sizes = present.clone();
    let mut asked: BTreeMap<Backend, u8> = BTreeMap::new();
    for config in locks {
        let size = asked.entry(config.backend()).or_default();
        *size = (*size).max(u8::try_from(config.nodes()).unwrap_or(u8::MAX));
    }
    for (backend, size) in asked {
        let own = backends::of(backend).containers();
        sizes.insert(backend, if own.size_variable.is_some() { size } else { own.usual });
    }
    sizes.into_iter().fold(settings, |settings, (backend, size)| settings.with_size(backend, size))
}

/// Sorts locks into rounds: in each there is at most one of a backend, since those share servers.
fn rounds<'a>(scenario: &Scenario, locks: &'a [String]) -> Vec<Vec<&'a str>> {
    let mut rounds: Vec<(BTreeSet<Backend>, Vec<&'a str>)> = Vec::new();
    for lock in locks {
        let Some(backend) = scenario.locks.get(lock).map(LockConfig::backend) else { continue };
        match rounds.iter_mut().find(|(taken, _)| !taken.contains(&backend)) {
            Some((taken, round)) => {
                taken.insert(backend);
                round.push(lock);
            }
            None => rounds.push((BTreeSet::from([backend]), vec![lock])),
        }
    }
    rounds.into_iter().map(|(_, round)| round).collect()
}

/// Undoes what the journal and the containers show of an interrupted run, and removes its containers; what was undone,
/// in words.
///
/// # Errors
/// Something could not be healed.
async fn heal_leftovers(engine: &Engine, journal: &Journal) -> anyhow::Result<Vec<String>> {
    let undone = heal_by_ourselves(engine, journal).await?;
    cluster::remove_leftovers(engine).await?;
    tempdir::remove_abandoned();
    journal.clear()?;
    Ok(undone)
}

/// `fencepost cluster heal`: undoes every fault of ours on this machine. A run that is going on keeps its containers.
///
/// # Errors
/// Something could not be healed.
pub async fn heal_all(force: bool) -> anyhow::Result<Vec<String>> {
    let engine = Engine::connect().await?;
    if !force {
        cluster_lock::idle(&engine, "; `--force` heals all the same, and undoes the faults that it is about").await?;
    }
    let folder = state_folder()?;
    let journal = Journal::open(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
    match RunLock::take(&folder, "fencepost cluster heal").await {
        Ok(_lock) => heal_leftovers(&engine, &journal).await,
        Err(_) => heal_by_ourselves(&engine, &journal).await,
    }
}

/// `fencepost cluster up`: brings the cluster up as the environment asks, with the servers of these backends.
///
/// # Errors
/// A run is going on and `force` is not given, or the cluster cannot be brought up.
pub async fn up(force: bool, backends: &[Backend], progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Cluster> {
    if !force {
        let engine = Engine::connect().await?;
        cluster_lock::idle(&engine, "; `--force` goes on all the same, and revives what it has stopped or frozen")
            .await?;
    }
    Ok(cluster::up(backends, progress).await?)
}

/// `fencepost cluster down`: removes all containers and the network.
///
/// # Errors
/// A run is going on and `force` is not given, or something could not be removed.
pub async fn down(force: bool) -> anyhow::Result<()> {
    if !force {
        let engine = Engine::connect().await?;
        cluster_lock::idle(&engine, "; `--force` takes the cluster down all the same, and the run fails").await?;
    }
    Ok(cluster::down().await?)
}

/// The defendants among `locks` that are programs of others.
fn programs<'a>(
    scenario: &'a Scenario,
    locks: &'a [String],
) -> impl Iterator<Item = (&'a String, &'a adapter::Settings)> {
    scenario.locks.iter().filter_map(|(lock, config)| match config {
        LockConfig::Adapter(config) if locks.contains(lock) => Some((lock, &config.settings)),
        _ => None,
    })
}

/// Who runs this, for the one who finds the cluster taken.
fn of_user() -> String {
    std::env::var("USER").map(|user| format!(" of {user}")).unwrap_or_default()
}

/// Heals everything, by a network helper of our own if there is need for one.
async fn heal_by_ourselves(engine: &Engine, journal: &Journal) -> anyhow::Result<Vec<String>> {
    let reach = Reach::default();
    let healing = heal::everything(engine, journal, Some(&reach)).await;
    reach.end(engine).await;
    healing?.complete()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{self, Capabilities};

    #[test]
    fn an_ensemble_is_made_anew_only_for_a_lock_that_rests_on_one() {
        let text = "title = \"t\"\n[workload]\nkind = \"inventory\"\nclients = 2\nhold = \"1ms\"\nthink = \"1ms\"\n\
                    duration = \"1s\"\n[lock.redlock]\n[lock.zookeeper]\nservers = 5\n[lock.small]\nalgorithm = \
                    \"zookeeper\"\n";
        let scenario = scenario::parse(Path::new("t.toml"), text, &Capabilities::docker()).unwrap();
        let needed = |locks: &[&str], present: Option<u8>| {
            let present = present.map(|size| (Backend::Zookeeper, size)).into_iter().collect();
            let settings = Settings::from_lookup(None, |_| None).unwrap();
            let locks = locks.iter().map(|lock| &scenario.locks[*lock]);
            with_sizes(settings, locks, &present).size(Backend::Zookeeper)
        };
        assert_eq!(needed(&["redlock"], Some(5)), 5, "nobody asks");
        assert_eq!(needed(&["redlock"], Some(3)), 3);
        assert_eq!(needed(&["redlock"], None), 3);
        assert_eq!(needed(&["redlock", "zookeeper", "small"], Some(3)), 5);
        assert_eq!(needed(&["small"], Some(5)), 3);
    }

    #[test]
    fn what_is_started_on_demand_is_there_for_a_lock_that_needs_it_or_stays() {
        let settings = || Settings::from_lookup(None, |_| None).unwrap();
        let none = || std::iter::empty::<&LockConfig>();
        assert_eq!(with_sizes(settings(), none(), &BTreeMap::new()).size(Backend::Etcd), 0);
        assert_eq!(with_sizes(settings(), none(), &BTreeMap::from([(Backend::Etcd, 3)])).size(Backend::Etcd), 3);
        let text = "title = \"t\"\n[workload]\nkind = \"inventory\"\nclients = 2\nhold = \"1ms\"\nthink = \"1ms\"\n\
                    duration = \"1s\"\n[lock.etcd]\nttl = \"2s\"\n";
        let scenario = scenario::parse(Path::new("t.toml"), text, &Capabilities::docker()).unwrap();
        assert_eq!(with_sizes(settings(), scenario.locks.values(), &BTreeMap::new()).size(Backend::Etcd), 3);
    }

    #[test]
    fn locks_that_share_servers_take_turns_whatever_their_algorithm() {
        let locks = |names: &[&str]| -> String {
            let table = |name: &&str| match name.split_once('=') {
                Some((name, algorithm)) => format!("[lock.{name}]\nalgorithm = \"{algorithm}\"\n"),
                None => format!("[lock.{name}]\n"),
            };
            names.iter().map(table).collect()
        };
        let text = format!(
            "title = \"t\"\n[workload]\nkind = \"inventory\"\nclients = 2\nhold = \"1ms\"\nthink = \"1ms\"\n\
             duration = \"1s\"\n{}",
            locks(&["a=redlock", "b=redlock-two-names", "c=zookeeper", "d=zookeeper-never-tells", "e=redlock"])
        );
        let scenario = scenario::parse(Path::new("t.toml"), &text, &Capabilities::docker()).unwrap();
        let all: Vec<String> = scenario.locks.keys().cloned().collect();
        assert_eq!(rounds(&scenario, &all), [vec!["a", "c"], vec!["b", "d"], vec!["e"]]);
    }
}
