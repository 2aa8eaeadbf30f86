//! The trial of one lock in containers: a resource, clients, a nemesis, one history.
//!
//! Here is its course. [`containers`] are what it takes place in, [`plan`] is what it asks of them, [`conversation`]
//! what they say to each other, [`header`] what its history says of itself.

mod containers;
mod conversation;
mod header;
mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use tokio::sync::{mpsc, watch};

use super::backends::{self, Published};
use super::client::adapter_prefix;
use super::cluster::{Cluster, Server};
use super::container::Container;
use super::control_server::ControlServer;
use super::external::Doors;
use super::journal::Journal;
use super::lives::Lives;
use super::messages::{Order, Report, Speaker};
use super::netns::Netns;
use super::outside::{self, Watch};
use super::tempdir::TempDir;
use crate::env::leftovers::{Names, inspect};
use crate::fault::grudge::Parties;
use crate::history::recorder::Record;
use crate::history::{History, Recorder};
use crate::ids::ClientId;
use crate::lock::runtime::TokioRuntime;
use crate::nemesis::{Desk, Environment, Nemesis};
use crate::scenario::{LockConfig, Scenario};
use crate::seed::Seed;
use crate::time::{BootClock, Clock};

/// What a trial is about.
pub struct Trial<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The lock's table name.
    pub lock: &'a str,
    /// Its settings.
    pub config: &'a LockConfig,
    /// Numbers the trials of a run from 0: each has addresses of its own.
    pub number: u8,
    /// The run's seed.
    pub seed: Seed,
    /// The image of its clients, where it is a program of others.
    pub image: Option<&'a str>,
    /// Names the run, in container names, keys and paths.
    pub run: &'a str,
    /// The lock's folder in the run's folder.
    pub folder: PathBuf,
    /// The servers, or the doors to them.
    pub cluster: &'a Cluster,
    /// What is behind the doors, if the servers are not ours.
    pub external: Option<&'a Doors>,
    /// Where faults are written down.
    pub journal: Arc<Journal>,
    /// Who changes and looks at networks.
    pub netns: Netns,
    /// Becomes true when the run is called off.
    pub stop: watch::Receiver<bool>,
}

/// What is left of a trial.
pub struct Outcome {
    /// What was recorded.
    pub history: History,
    /// Why it ended early, if it did.
    pub error: Option<String>,
}

impl Trial<'_> {
    /// Runs the trial. What was recorded is kept also when it fails on the way.
    ///
    /// # Errors
    /// It could not begin, or its history could not be written.
    pub async fn run(&self) -> anyhow::Result<Outcome> {
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot create {}", self.folder.display()))?;
        let sockets = TempDir::new()?;
        let mut control =
            ControlServer::listen(&sockets.path().join("control.sock")).context("cannot open the control socket")?;
        let made = try_join_all(self.members().map(|speaker| self.create(speaker, sockets.path()))).await;
        let outcome = match made {
            Ok(containers) => {
                let lives = Arc::new(Lives::new(self.scenario.workload.clients));
                let members = Members { containers: containers.into_iter().collect(), lives, folder: sockets.path() };
                self.with_members(&mut control, &members).await
            }
            Err(error) => Err(error),
        };
        self.remove_containers().await;
        outcome
    }

    /// What is left of a trial that did not begin.
    pub fn failed(&self, why: String) -> Outcome {
        Outcome { history: History::new(self.header(), Vec::new()).ended_early(Some(&why)), error: Some(why) }
    }

    fn parties(&self) -> Parties {
        Parties { clients: self.scenario.workload.clients, nodes: self.config.nodes() }
    }

    fn clients(&self) -> impl Iterator<Item = ClientId> + use<> {
        (1..=self.scenario.workload.clients).map(ClientId)
    }

    fn members(&self) -> impl Iterator<Item = Speaker> {
        [Speaker::Resource].into_iter().chain(self.clients().map(Speaker::Client))
    }

    fn servers(&self) -> &[Server] {
        let servers = self.cluster.servers(self.config.backend());
        &servers[..(self.config.nodes() as usize).min(servers.len())]
    }

    /// What stands before its names at the servers.
    fn namespace(&self) -> String {
        match self.external {
            Some(doors) => doors.namespace(self.lock),
            None => format!("{}-{}", self.run, self.lock),
        }
    }

    /// Removes what clients have left in servers that are not ours; what could not be removed, in words.
    pub async fn leave(&self) -> Vec<String> {
        match self.external {
            Some(doors) => doors.servers().remove(self.config.backend(), &self.namespace()).await,
            None => Vec::new(),
        }
    }

    async fn with_members(&self, control: &mut ControlServer, members: &Members<'_>) -> anyhow::Result<Outcome> {
        self.make_ready(control, &members.lives).await?;
        let faults = self.faults(control, members)?;
        if self.scenario.faults.iter().any(|fault| fault.kind.is_of_links()) {
            faults.prepare().await?;
        }
        let start = BootClock.now();
        let end = start + self.scenario.workload.duration;
        let recorder = Arc::new(
            Recorder::create(&self.folder.join("history.jsonl"), self.header(), start)
                .with_context(|| format!("cannot write the history in {}", self.folder.display()))?,
        );
        let (events, heard_by_nemesis) = mpsc::unbounded_channel();
        let desk = Desk {
            environment: Arc::new(faults) as Arc<dyn Environment>,
            record: Arc::clone(&recorder) as Arc<dyn Record>,
            runtime: Arc::new(TokioRuntime::new(self.seed)),
            stop: self.stop.clone(),
            start,
            end,
        };
        let watched = members.containers.values().chain(self.servers().iter().map(|server| &server.container));
        let watch =
            Watch::start(&self.cluster.engine, watched.cloned().collect(), Arc::clone(&recorder) as Arc<dyn Record>);
        let watch = watch.await?;
        if let Some(doors) = self.external {
            // What was before this trial.
            doors.seen(self.config.backend());
        }
        let nemesis = Nemesis::new(&self.scenario.faults, self.parties(), self.seed, desk);
        let mut nemesis = tokio::spawn(nemesis.run(heard_by_nemesis));
        control.orders.send_all(&Order::Begin { end });
        let ended = self.listen(control, &recorder, &members.lives, events, end).await;
        // Its channel is closed now: it undoes what is left and goes.
        loop {
            tokio::select! {
                biased;
                gone = &mut nemesis => break gone.context("the nemesis failed")?,
                // To see that a clock is right again it asks.
                Some((_, report)) = control.heard.recv() => match report {
                    Some(Report::Clock(clock)) => members.lives.answer(clock),
                    Some(Report::Requests(report)) => members.lives.ordered(report),
                    Some(Report::Op(op)) => recorder.record(*op),
                    Some(Report::Servers(record)) => recorder.observe(*record),
                    _ => {}
                }
            }
        }
        // Servers that are not ours are asked for nothing but what a lock's client asks.
        if ended.is_ok() && !*self.stop.borrow() && self.external.is_none() {
            self.inspect(&*recorder).await?;
        }
        let daemon_stopped = ended.is_err() && watch.daemon_stops().await;
        // Before members go by themselves.
        watch.end().await;
        for (since, what) in self.external.into_iter().flat_map(|doors| doors.seen(self.config.backend())) {
            outside::note(&*recorder, since.max(start), what);
        }
        let finished = self.dismiss(control, &recorder).await;
        let remedy = if daemon_stopped {
            "; the Docker daemon stopped meanwhile, and its containers with it: when it runs again, `fencepost cluster heal` \
             starts the servers and removes what is left, as the next run does"
        } else {
            ""
        };
        let error = ended.and(finished).err().map(|error| format!("{error:#}{remedy}"));
        if error.is_some() {
            self.save_logs(&members.containers).await;
        }
        let recorder = Arc::into_inner(recorder).context("the recorder is still in use")?;
        let history = recorder
            .finish(error.as_deref())
            .with_context(|| format!("cannot write the history in {}", self.folder.display()))?;
        Ok(Outcome { history, error })
    }

    /// Has the servers looked at when all is over, while the clients are still there with their sessions.
    async fn inspect(&self, record: &dyn Record) -> anyhow::Result<()> {
        let namespace = self.namespace();
        let backend = backends::of(self.config.backend());
        let prefix = match self.config {
            LockConfig::Adapter(_) => adapter_prefix(&namespace),
            _ => backend.prefix(&namespace),
        };
        let names = Names::new(self.config, self.scenario.workload.locks, &prefix);
        let address = |client| Ok((self.address(Speaker::Client(client))?, client));
        let clients = self.clients().map(address).collect::<anyhow::Result<_>>()?;
        let servers = self.servers().iter().map(|server| (server.node, server.published)).collect();
        let published = Published { backend, servers, clients };
        let bound = Duration::from_nanos(self.config.leaves_within());
        let calm = self.scenario.faults.is_empty();
        inspect(&published, &names, bound, calm, &TokioRuntime::new(self.seed), record).await;
        Ok(())
    }
}

/// What a trial runs in.
struct Members<'a> {
    containers: BTreeMap<Speaker, Container>,
    lives: Arc<Lives>,
    /// The folder on this machine with the control socket and the clients' clocks.
    folder: &'a Path,
}
