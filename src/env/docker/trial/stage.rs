//! A trial's containers as its course needs them: what they say is recorded and passed on, what they are told is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Trial;
use crate::env::docker::backends::{self, Published};
use crate::env::docker::client::adapter_prefix;
use crate::env::docker::container::Container;
use crate::env::docker::control_server::ControlServer;
use crate::env::docker::known::Known;
use crate::env::docker::messages::{Order, Report, Speaker};
use crate::env::docker::outside::{self, Watch};
use crate::fault::Member;
use crate::history::recorder::Record;
use crate::history::{F, Op, Recorder};
use crate::ids::ClientId;
use crate::scenario::LockConfig;
use crate::time::{BootClock, Clock, Nanos};
use crate::trial::leftovers::Names;
use crate::trial::{Looked, Opened, Word, World};

/// How long the resource may take with its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a trial runs in.
pub(super) struct Stage<'a> {
    trial: &'a Trial<'a>,
    pub control: ControlServer,
    pub containers: BTreeMap<Speaker, Container>,
    pub known: Arc<Known>,
    /// The folder on this machine with the control socket and the clients' clocks.
    pub folder: &'a Path,
    /// What there is once the trial has begun.
    pub begun: Option<Begun>,
}

/// What a trial has from its beginning on.
pub(super) struct Begun {
    /// Where ops go.
    pub recorder: Arc<Recorder>,
    /// Who looks out for what others do.
    pub watch: Watch,
    /// When it began.
    pub start: Nanos,
}

impl<'a> Stage<'a> {
    /// These containers, which report to `control`.
    pub fn new(
        trial: &'a Trial<'a>,
        control: ControlServer,
        containers: Vec<(Speaker, Container)>,
        folder: &'a Path,
    ) -> Self {
        let known = Arc::new(Known::new(trial.case.scenario.workload.clients));
        Self { trial, control, containers: containers.into_iter().collect(), known, folder, begun: None }
    }

    /// Lets everybody go, and the resource say its last words: its record may lag behind the clients'.
    pub async fn dismiss(&mut self, recorder: &Recorder) -> anyhow::Result<()> {
        self.control.orders.send_all(&Order::Leave);
        let limit = tokio::time::Instant::now() + LAST_WORDS;
        loop {
            let Ok(Some((speaker, report))) = tokio::time::timeout_at(limit, self.control.heard.recv()).await else {
                bail!("{} did not finish", self.trial.name(Speaker::Resource));
            };
            match (speaker, report) {
                (_, Some(Report::Op(op))) => recorder.record(*op),
                (_, Some(Report::Servers(record))) => recorder.observe(*record),
                (Speaker::Resource, Some(Report::Done) | None) => return Ok(()),
                _ => {}
            }
        }
    }

    async fn begin_history(&mut self) -> anyhow::Result<Opened> {
        let trial = self.trial;
        let faults = trial.faults(self)?;
        if trial.case.scenario.faults.iter().any(|fault| fault.kind.is_of_links()) {
            faults.prepare().await?;
        }
        let start = BootClock.now();
        let history = trial.folder.join("history.jsonl");
        let recorder = Recorder::create(&history, trial.header(), start).with_context(|| trial.cannot_write())?;
        let recorder = Arc::new(recorder);
        let watched = self.containers.values().chain(trial.servers().iter().map(|server| &server.container));
        let record = Arc::clone(&recorder) as Arc<dyn Record>;
        let watch = Watch::start(&trial.cluster.engine, watched.cloned().collect(), Arc::clone(&record)).await?;
        if let Some(doors) = trial.external {
            // What was before this trial.
            doors.seen(trial.case.config.backend());
        }
        self.begun = Some(Begun { recorder, watch, start });
        Ok(Opened { environment: Arc::new(faults), record, start })
    }

    /// Does what a report asks for, and says what of it is for the trial's course.
    fn take(&self, speaker: Speaker, report: Option<Report>) -> Result<Option<Word>, String> {
        match (speaker, report) {
            (_, Some(Report::Ready)) => return Ok(Some(Word::Ready)),
            (_, Some(Report::Done)) => return Ok(Some(Word::Done)),
            (_, Some(Report::Failed(reason))) => return Ok(Some(Word::Failed(reason))),
            // For the first time, or started again after it was killed.
            (_, Some(Report::Hello(_))) => {
                let plan = self.trial.plan_for(speaker, &self.known).map_err(|error| format!("{error:#}"))?;
                self.control.orders.send(speaker, plan);
            }
            (_, Some(Report::Op(op))) => self.record(*op)?,
            (_, Some(Report::Servers(record))) => {
                if let Some(Begun { recorder, .. }) = &self.begun {
                    recorder.observe(*record);
                }
            }
            (Speaker::Client(client), Some(Report::Reached { number, phase })) => {
                self.known.lives().reached(client, number, phase);
            }
            // It stands nowhere.
            (Speaker::Resource, Some(Report::Reached { .. })) => {}
            (_, Some(Report::Clock(clock))) => self.known.answer(clock),
            (_, Some(Report::Requests(report))) => self.known.ordered(report),
            (Speaker::Client(client), None) => {
                let Some((crash, told)) = self.known.ended(client) else { return Ok(Some(Word::Ended)) };
                if let Some(Begun { recorder, .. }) = &self.begun {
                    recorder.record(crash);
                }
                // Whoever killed it waits for this, unless it has given up.
                let _ = told.send(());
            }
            (Speaker::Resource, None) => return Ok(Some(Word::Ended)),
        }
        Ok(None)
    }

    /// Records what a member says. Before the trial has begun there is no history to tell.
    fn record(&self, op: Op) -> Result<(), String> {
        let Some(Begun { recorder, .. }) = &self.begun else { return Ok(()) };
        if op.f == F::Stall
            && let Some((since, until)) = self.known.stalled(&op)
            && !self.trial.freezes_all()
        {
            let seconds = (until - since).as_secs_f64();
            outside::note(&**recorder, since, format!("all clients stood still for {seconds:.1} s at once"));
        }
        self.known.hear(&op);
        recorder.record(op);
        match recorder.failure() {
            Some(failure) => Err(format!("{}: {failure}", self.trial.cannot_write())),
            None => Ok(()),
        }
    }
}

impl World for Stage<'_> {
    const REMEDY: &'static str = "; see `docker logs NAME`";

    fn members(&self) -> BTreeSet<Member> {
        self.trial.members().map(Member::from).collect()
    }

    fn name(&self, member: Member) -> String {
        match member {
            Member::Client(client) => self.trial.name(Speaker::Client(client)),
            Member::Resource => self.trial.name(Speaker::Resource),
            Member::Node(_) => member.to_string(),
        }
    }

    async fn hear(&mut self) -> Result<Option<(Member, Word)>, String> {
        while let Some((speaker, report)) = self.control.heard.recv().await {
            if let Some(word) = self.take(speaker, report)? {
                return Ok(Some((speaker.into(), word)));
            }
        }
        Ok(None)
    }

    async fn open(&mut self) -> Result<Opened, String> {
        self.begin_history().await.map_err(|error| format!("{error:#}"))
    }

    fn begin(&mut self, client: ClientId, end: Nanos) {
        self.control.orders.send(Speaker::Client(client), Order::Begin { end });
    }

    fn stop(&mut self, client: ClientId) {
        self.control.orders.send(Speaker::Client(client), Order::Stop);
    }

    /// Servers that are not ours are asked for nothing but what a lock's client asks.
    fn servers(&self) -> Looked<'_> {
        let (trial, config) = (self.trial, self.trial.case.config);
        if trial.external.is_some() {
            return Ok(None);
        }
        let namespace = trial.namespace();
        let backend = backends::of(config.backend());
        let prefix = match config {
            LockConfig::Adapter(_) => adapter_prefix(&namespace),
            _ => backend.prefix(&namespace),
        };
        let names = Names::new(config, trial.case.scenario.workload.locks, &prefix);
        let address = |client| Ok((trial.address(Speaker::Client(client))?, client));
        let clients: anyhow::Result<_> = trial.case.clients().map(address).collect();
        let clients = clients.map_err(|error| format!("{error:#}"))?;
        let servers = trial.servers().iter().map(|server| (server.node, server.published)).collect();
        Ok(Some((Box::new(Published { backend, servers, clients }), names)))
    }
}
