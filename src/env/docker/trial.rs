//! The trial of one lock in containers: a resource, clients, one history.
//!
//! Its course is that of any trial; here is what is around it. [`containers`] are what it takes place in, [`plan`] is
//! what it asks of them, [`stage`] is what they say and are told, [`header`] what its history says of itself.

mod containers;
mod header;
mod plan;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use futures_util::future::try_join_all;
use tokio::sync::watch;

use self::stage::{Begun, Stage};
use super::cluster::{Cluster, Server};
use super::control_server::ControlServer;
use super::external::Doors;
use super::journal::Journal;
use super::messages::Speaker;
use super::netns::Netns;
use super::outside;
use super::tempdir::TempDir;
use crate::history::History;
use crate::lock::runtime::TokioRuntime;
use crate::trial::{Case, Course};

/// What a trial is about, and what it takes place in.
pub struct Trial<'a> {
    /// Its lock, its scenario and its seed.
    pub case: Case<'a>,
    /// Numbers the trials of a run from 0: each has addresses of its own.
    pub number: u8,
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
        let control =
            ControlServer::listen(&sockets.path().join("control.sock")).context("cannot open the control socket")?;
        let made = try_join_all(self.members().map(|speaker| self.create(speaker, sockets.path()))).await;
        let outcome = match made {
            Ok(containers) => self.lead(Stage::new(self, control, containers, sockets.path())).await,
            Err(error) => Err(error),
        };
        self.remove_containers().await;
        outcome
    }

    /// What is left of a trial that did not begin.
    pub fn failed(&self, why: String) -> Outcome {
        Outcome { history: History::new(self.header(), Vec::new()).ended_early(Some(&why)), error: Some(why) }
    }

    fn members(&self) -> impl Iterator<Item = Speaker> {
        [Speaker::Resource].into_iter().chain(self.case.clients().map(Speaker::Client))
    }

    fn servers(&self) -> &[Server] {
        let servers = self.cluster.servers(self.case.config.backend());
        &servers[..(self.case.config.nodes() as usize).min(servers.len())]
    }

    /// What stands before its names at the servers.
    fn namespace(&self) -> String {
        match self.external {
            Some(doors) => doors.namespace(self.case.lock),
            None => format!("{}-{}", self.run, self.case.lock),
        }
    }

    /// Removes what clients have left in servers that are not ours; what could not be removed, in words.
    pub async fn leave(&self) -> Vec<String> {
        match self.external {
            Some(doors) => doors.servers().remove(self.case.config.backend(), &self.namespace()).await,
            None => Vec::new(),
        }
    }

    /// Leads it, and closes what was opened for it.
    async fn lead(&self, mut stage: Stage<'_>) -> anyhow::Result<Outcome> {
        let course = Course {
            case: self.case,
            lives: Arc::clone(stage.known.lives()),
            runtime: Arc::new(TokioRuntime::new(self.case.seed)),
            stop: self.stop.clone(),
        };
        let ended = course.run(&mut stage).await.map_err(anyhow::Error::from);
        let Some(Begun { recorder, watch, start }) = stage.begun.take() else {
            return Err(ended.err().unwrap_or_else(|| anyhow!("the trial did not begin")));
        };
        let daemon_stopped = ended.is_err() && watch.daemon_stops().await;
        // Before members go by themselves.
        watch.end().await;
        for (since, what) in self.external.into_iter().flat_map(|doors| doors.seen(self.case.config.backend())) {
            outside::note(&*recorder, since.max(start), what);
        }
        let finished = stage.dismiss(&recorder).await;
        let remedy = if daemon_stopped {
            "; the Docker daemon stopped meanwhile, and its containers with it: when it runs again, `fencepost cluster heal` \
             starts the servers and removes what is left, as the next run does"
        } else {
            ""
        };
        let error = ended.and(finished).err().map(|error| format!("{error:#}{remedy}"));
        if error.is_some() {
            self.save_logs(&stage.containers).await;
        }
        drop(stage);
        let recorder = Arc::into_inner(recorder).context("the recorder is still in use")?;
        let history = recorder.finish(error.as_deref()).with_context(|| self.cannot_write())?;
        Ok(Outcome { history, error })
    }

    fn cannot_write(&self) -> String {
        format!("cannot write the history in {}", self.folder.display())
    }
}
