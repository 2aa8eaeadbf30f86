//! The trial of one lock in containers: a resource, clients, a nemesis, one history.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::{mpsc, watch};

use super::client::{adapter_prefix, key_prefix, root};
use super::clock_page::ClockPage;
use super::cluster::{Cluster, Server};
use super::cluster_name::cluster;
use super::engine::{Container, Role};
use super::faults::{ClockPlace, Face, Faults, Hands, Place};
use super::given::Rooms;
use super::hub::Hub;
use super::images::TOOLS;
use super::journal::Journal;
use super::launch::{NewContainer, launch};
use super::leftovers::Published;
use super::lives::Lives;
use super::messages::{ClientPlan, Order, RESOURCE_PORT, Report, ResourcePlan, SOCKET, Speaker};
use super::netns::Netns;
use super::outside::{self, Watch};
use super::tempdir::TempDir;
use crate::adapter::protocol::Capability;
use crate::env::leftovers::{Names, inspect};
use crate::fault::grudge::Parties;
use crate::fault::{At, Member, Target};
use crate::history::EnvironmentName;
use crate::history::recorder::Record;
use crate::history::{Api, F, FORMAT, Header, History, Recorder};
use crate::ids::{ClientId, NodeId};
use crate::lock::runtime::TokioRuntime;
use crate::nemesis::{Desk, Environment, Event, Nemesis};
use crate::phase::Phase;
use crate::scenario::{Backend, LockConfig, Scenario};
use crate::seed::Seed;
use crate::time::{BootClock, Clock, Nanos};

/// How long containers may take to start and clients to open their sessions.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long clients may take to bring their last turn to its end, beyond a hold and a fault that began before the end.
const FINISH_LIMIT: Duration = Duration::from_secs(20);

/// How long a member may take to come back, beyond the time that a fault stops it. Until then the watchdog leaves a fault alone
/// whose end that puts off; at a load of 14 on each processor a ZooKeeper server took 7.6 s, and with 8 s here a clock was set
/// right before its fault was over.
const COMING_BACK: Duration = Duration::from_secs(25);

/// The first host number that trials may use in the cluster's network, and how many each has.
const FIRST_HOST: u8 = 31;
/// Hosts per trial: the resource and up to 20 clients.
const HOSTS: u8 = 21;

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
    pub given: Option<&'a Rooms>,
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
        let mut hub = Hub::listen(&sockets.path().join("control.sock")).context("cannot open the control socket")?;
        let made = try_join_all(self.members().map(|speaker| self.create(speaker, sockets.path()))).await;
        let outcome = match made {
            Ok(containers) => {
                let lives = Arc::new(Lives::new(self.scenario.workload.clients));
                let members = Members { containers: containers.into_iter().collect(), lives, folder: sockets.path() };
                self.with_members(&mut hub, &members).await
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

    /// What the labels of its containers say. A name's beginning would not do: one lock's name may begin another's.
    fn label(&self) -> String {
        format!("{}/{}", self.run, self.lock)
    }

    /// What stands before its names at the servers.
    fn namespace(&self) -> String {
        match self.given {
            Some(given) => given.namespace(self.lock),
            None => format!("{}-{}", self.run, self.lock),
        }
    }

    fn name(&self, speaker: Speaker) -> String {
        match speaker {
            Speaker::Client(client) => format!("{}-{}-{}-{client}", cluster(), self.run, self.lock),
            Speaker::Resource => format!("{}-{}-{}-resource", cluster(), self.run, self.lock),
        }
    }

    fn address(&self, speaker: Speaker) -> anyhow::Result<Ipv4Addr> {
        let offset = match speaker {
            Speaker::Resource => 0,
            Speaker::Client(client) => u8::try_from(client.0)?,
        };
        let host = FIRST_HOST + self.number * HOSTS + offset;
        Ok(format!("{}.{host}", self.cluster.subnet_prefix).parse()?)
    }

    async fn create(&self, speaker: Speaker, sockets: &Path) -> anyhow::Result<(Speaker, Container)> {
        let exe = std::env::current_exe()?;
        let (role, node, command) = match speaker {
            Speaker::Client(client) => (
                Role::Client,
                Some(NodeId(client.0)),
                vec![
                    "client".to_owned(),
                    "--id".to_owned(),
                    client.0.to_string(),
                    "--socket".to_owned(),
                    SOCKET.to_owned(),
                ],
            ),
            Speaker::Resource => {
                (Role::Resource, None, vec!["resource".to_owned(), "--socket".to_owned(), SOCKET.to_owned()])
            }
        };
        let clock = clock_folder(sockets, speaker);
        if let Some(folder) = &clock {
            ClockPage::open(folder).with_context(|| format!("cannot make a clock in {}", folder.display()))?;
        }
        let (image, folder) = match (self.config, self.image, speaker) {
            (LockConfig::Adapter(config), Some(image), Speaker::Client(_)) => {
                (image.to_owned(), Some(config.settings.folder.clone()))
            }
            _ => (TOOLS.to_owned(), None),
        };
        let wanted = NewContainer {
            image,
            folder,
            name: self.name(speaker),
            role,
            node,
            trial: self.label(),
            address: self.address(speaker)?,
            program: exe,
            command,
            sockets: sockets.to_owned(),
            clock,
            environment: match speaker {
                Speaker::Client(_) => self.given.map(Rooms::secrets).unwrap_or_default(),
                Speaker::Resource => Vec::new(),
            },
        };
        Ok((speaker, launch(&self.cluster.engine, wanted).await?))
    }

    /// Removes what clients have left in servers that are not ours; what could not be removed, in words.
    pub async fn leave(&self) -> Vec<String> {
        match self.given {
            Some(rooms) => rooms.given().remove(self.config.backend(), &self.namespace()).await,
            None => Vec::new(),
        }
    }

    /// Removes the trial's containers; what can't be removed now is removed by the next start.
    async fn remove_containers(&self) {
        let label = self.label();
        let containers = self.cluster.engine.containers().await.unwrap_or_default();
        let ours = containers.iter().filter(|container| container.trial.as_ref() == Some(&label));
        join_all(ours.map(|container| self.cluster.engine.remove(container))).await;
    }

    async fn with_members(&self, hub: &mut Hub, members: &Members<'_>) -> anyhow::Result<Outcome> {
        self.make_ready(hub, &members.lives).await?;
        let faults = self.faults(hub, members)?;
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
        if let Some(given) = self.given {
            // What was before this trial.
            given.seen(self.config.backend());
        }
        let nemesis = Nemesis::new(&self.scenario.faults, self.parties(), self.seed, desk);
        let mut nemesis = tokio::spawn(nemesis.run(heard_by_nemesis));
        hub.orders.send_all(&Order::Begin { end });
        let ended = self.listen(hub, &recorder, &members.lives, events, end).await;
        // Its channel is closed now: it undoes what is left and goes.
        loop {
            tokio::select! {
                biased;
                gone = &mut nemesis => break gone.context("the nemesis failed")?,
                // To see that a clock is right again it asks.
                Some((_, report)) = hub.heard.recv() => match report {
                    Some(Report::Clock(clock)) => members.lives.answer(clock),
                    Some(Report::Requests(report)) => members.lives.ordered(report),
                    Some(Report::Op(op)) => recorder.record(*op),
                    Some(Report::Servers(record)) => recorder.observe(*record),
                    _ => {}
                }
            }
        }
        // Servers that are not ours are asked for nothing but what a lock's client asks.
        if ended.is_ok() && !*self.stop.borrow() && self.given.is_none() {
            self.inspect(&*recorder).await?;
        }
        let daemon_stopped = ended.is_err() && watch.daemon_stops().await;
        // Before members go by themselves.
        watch.end().await;
        for (since, what) in self.given.into_iter().flat_map(|given| given.seen(self.config.backend())) {
            outside::note(&*recorder, since.max(start), what);
        }
        let finished = self.dismiss(hub, &recorder).await;
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
        let prefix = match (self.config, self.config.backend()) {
            (LockConfig::Adapter(_), _) => adapter_prefix(&namespace),
            (_, Backend::Redis) => key_prefix(&namespace),
            (_, Backend::Zookeeper | Backend::Etcd) => format!("{}/", root(&namespace)),
        };
        let names = Names::new(self.config, self.scenario.workload.locks, &prefix);
        let servers = match self.config.backend() {
            Backend::Redis => {
                Published::Redis(self.servers().iter().map(|server| (server.node, server.published)).collect())
            }
            Backend::Zookeeper => {
                let address = |client| Ok((self.address(Speaker::Client(client))?, client));
                let clients = self.clients().map(address).collect::<anyhow::Result<_>>()?;
                Published::Zookeeper(self.servers().iter().map(|server| server.published).collect(), clients)
            }
            Backend::Etcd => Published::Etcd(self.servers().iter().map(|server| server.published).collect()),
        };
        let bound = Duration::from_nanos(self.config.leaves_within());
        let calm = self.scenario.faults.is_empty();
        inspect(&servers, &names, bound, calm, &TokioRuntime::new(self.seed), record).await;
        Ok(())
    }

    fn header(&self) -> Header {
        let versions = &self.cluster.versions;
        let server = match self.config.backend() {
            Backend::Redis => ("redis", &versions.redis),
            Backend::Zookeeper => ("zookeeper", &versions.zookeeper),
            Backend::Etcd => ("etcd", &versions.etcd),
        };
        let fencepost = env!("CARGO_PKG_VERSION").to_owned();
        let plan = self.scenario.plan_for(self.lock);
        let named = [("fencepost", &fencepost), server, ("docker", &versions.docker), ("kernel", &versions.kernel)];
        Header {
            fencepost: FORMAT,
            scenario: self.scenario.name.clone(),
            lock: self.lock.to_owned(),
            algorithm: self.config.algorithm().to_owned(),
            kind: self.config.kind(),
            environment: EnvironmentName::Docker.into(),
            seed: self.seed,
            clients: self.scenario.workload.clients,
            nodes: self.config.nodes(),
            fencing: self.scenario.resource.fencing.into(),
            content: self.scenario.workload.kind.content(),
            planned_faults: plan.len() as u32,
            plan,
            grant_within: self.scenario.grant_within(self.lock),
            leaves_within: Some(self.config.leaves_within()),
            api: self.api(),
            // All containers read the same clock of the same kernel; a microsecond allows for the reading itself.
            clock_error: 1_000,
            versions: named
                .into_iter()
                .map(|(name, version)| (name.to_owned(), version.clone()))
                .chain(self.packages())
                .collect(),
        }
    }

    /// What a stranger's lock offers, as far as a check has to know.
    fn api(&self) -> Option<Api> {
        let LockConfig::Adapter(config) = self.config else { return None };
        let settings = &config.settings;
        // A validity is a word on the loss too: it is over when it says so.
        let tells_loss = settings.offers(Capability::Lost) || settings.offers(Capability::ValidFor);
        let lease = config.lease.filter(|_| !settings.renew && config.settings.servers.backend == Backend::Redis);
        Some(Api { tells_loss, lease: lease.and_then(|lease| u64::try_from(lease.as_nanos()).ok()) })
    }

    /// The packages that a stranger's lock is made of, with their versions.
    fn packages(&self) -> Vec<(String, String)> {
        let LockConfig::Adapter(config) = self.config else { return Vec::new() };
        let pinned = config.settings.pip.iter().filter_map(|package| package.split_once("=="));
        pinned.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    fn faults(&self, hub: &Hub, members: &Members<'_>) -> anyhow::Result<Faults> {
        let mut places = BTreeMap::new();
        for (speaker, container) in &members.containers {
            let address = self.address(*speaker)?;
            let member = match speaker {
                Speaker::Client(client) => Member::Client(*client),
                Speaker::Resource => Member::Resource,
            };
            let clock = match speaker {
                Speaker::Client(client) => clock_folder(members.folder, *speaker)
                    .map(|folder| ClockPlace { folder, face: Face::Client(*client) }),
                Speaker::Resource => None,
            };
            places.insert(member, Place { container: container.clone(), address, published: None, clock });
        }
        for server in self.servers() {
            let published = server.published;
            let face = match self.config.backend() {
                Backend::Redis => Some(Face::Redis(published)),
                Backend::Zookeeper => Some(Face::Zookeeper(published)),
                Backend::Etcd => None,
            };
            let container = server.container.clone();
            let clock = container.clock.clone().zip(face).map(|(folder, face)| ClockPlace { folder, face });
            let (address, published) = (server.address, Some(published));
            places.insert(Member::Node(server.node), Place { container, address, published, clock });
        }
        let leaders = || self.servers().iter().map(|server| (server.node, server.published)).collect();
        let ensemble = match self.config.backend() {
            Backend::Redis => (Role::Redis, Vec::new()),
            // No plan asks a given ensemble who leads, and it need not say so.
            Backend::Zookeeper if self.given.is_some() => (Role::Zookeeper, Vec::new()),
            Backend::Zookeeper => (Role::Zookeeper, leaders()),
            Backend::Etcd => (Role::Etcd, leaders()),
        };
        let hands = Hands {
            engine: self.cluster.engine.clone(),
            journal: Arc::clone(&self.journal),
            netns: self.netns.clone(),
            put_off: self.put_off(),
        };
        let (orders, lives) = (hub.orders.clone(), Arc::clone(&members.lives));
        Ok(Faults::new(hands, places, orders, lives, ensemble, self.number.to_string()))
    }

    /// How long a fault's end may be put off by another of the plan that hides it.
    fn put_off(&self) -> Duration {
        let stops = self.scenario.faults.iter().filter(|fault| fault.kind.is_stop());
        stops.map(|fault| fault.duration + COMING_BACK).max().unwrap_or_default()
    }

    /// Whether the plan itself may stop all clients at once.
    fn freezes_all(&self) -> bool {
        let clients = self.scenario.workload.clients as usize;
        let stops_all = |target: &Target| match target {
            Target::Members(members) => {
                members.iter().filter(|one| matches!(one, Member::Client(_))).count() >= clients
            }
            // One at a time; faults of several entries may meet.
            _ => false,
        };
        let stops: Vec<_> =
            self.scenario.faults.iter().filter(|fault| fault.kind.is_stop() && fault.target.is_client()).collect();
        stops.len() >= clients || stops.iter().any(|fault| stops_all(&fault.target))
    }

    /// The phases at which the plan may strike.
    fn announced(&self) -> Vec<Phase> {
        let phases = self.scenario.faults.iter().filter_map(|fault| match fault.at {
            At::Phase { phase, .. } => Some(phase),
            At::Time(_) | At::Every(_) => None,
        });
        phases.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether clients reach their servers by doors of their own, where their requests are read: if the plan strikes
    /// requests, or at a step inside of a program that nobody here wrote.
    fn proxied(&self) -> bool {
        let is_foreign = matches!(self.config, LockConfig::Adapter(_));
        let inside = [Phase::Acquiring, Phase::VotesIn, Phase::InLine, Phase::Renewing];
        self.scenario.faults.iter().any(|fault| fault.kind.is_of_requests())
            || (is_foreign && self.announced().iter().any(|phase| inside.contains(phase)))
    }

    /// Greets every member, tells it its plan, and waits until all are ready.
    async fn make_ready(&self, hub: &mut Hub, lives: &Lives) -> anyhow::Result<()> {
        let mut missing: BTreeSet<Speaker> = self.members().collect();
        let limit = tokio::time::Instant::now() + READY_LIMIT;
        let mut stop = self.stop.clone();
        while !missing.is_empty() {
            let heard = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => bail!("called off before it began"),
                heard = tokio::time::timeout_at(limit, hub.heard.recv()) => heard,
            };
            match heard {
                Ok(Some((speaker, Some(Report::Hello(_))))) => hub.orders.send(speaker, self.plan_for(speaker, lives)?),
                Ok(Some((speaker, Some(Report::Ready)))) => drop(missing.remove(&speaker)),
                Ok(Some((speaker, Some(Report::Failed(reason))))) => bail!("{}: {reason}", self.name(speaker)),
                Ok(Some((speaker, None))) => bail!("{} ended before the trial began", self.name(speaker)),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    let names: Vec<_> = missing.iter().map(|speaker| self.name(*speaker)).collect();
                    bail!("not ready within {READY_LIMIT:?}: {}; see `docker logs NAME`", names.join(", "));
                }
            }
        }
        Ok(())
    }

    fn plan_for(&self, speaker: Speaker, lives: &Lives) -> anyhow::Result<Order> {
        let workload = &self.scenario.workload;
        Ok(match speaker {
            Speaker::Resource => Order::Resource(ResourcePlan {
                kind: workload.kind,
                fencing: self.scenario.resource.fencing,
                items: workload.locks,
            }),
            Speaker::Client(client) => Order::Client(Box::new(ClientPlan {
                client,
                life: lives.life(client).with_context(|| format!("there is no {client} in this trial"))?,
                seed: self.seed,
                workload: workload.clone(),
                lock: self.config.clone(),
                namespace: self.namespace(),
                servers: self.servers().iter().map(|server| SocketAddr::from((server.address, server.port))).collect(),
                given: self.given.map(|rooms| rooms.given().clone()),
                resource: SocketAddr::from((self.address(Speaker::Resource)?, RESOURCE_PORT)),
                announce: self.announced(),
                proxied: self.proxied(),
            })),
        })
    }

    /// Records and passes on what members say until all clients are done.
    async fn listen(
        &self,
        hub: &mut Hub,
        recorder: &Recorder,
        lives: &Lives,
        events: mpsc::UnboundedSender<Event>,
        end: Nanos,
    ) -> anyhow::Result<()> {
        // The nemesis has no ear for what happens after it has gone.
        let tell = |event| drop(events.send(event));
        let mut busy: BTreeSet<Speaker> = self.clients().map(Speaker::Client).collect();
        let longest_fault = self.scenario.faults.iter().map(|fault| fault.duration).max().unwrap_or_default();
        let allowance = self.scenario.workload.hold.max + longest_fault + FINISH_LIMIT;
        let limit = tokio::time::Instant::now() + (end - BootClock.now()) + allowance;
        let mut stop = self.stop.clone();
        let mut stopping = false;
        while !busy.is_empty() {
            let heard = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    hub.orders.send_all_clients(&Order::Stop);
                    continue;
                }
                heard = tokio::time::timeout_at(limit, hub.heard.recv()) => heard,
            };
            let Ok(Some((speaker, report))) = heard else {
                let names: Vec<_> = busy.iter().map(|speaker| self.name(*speaker)).collect();
                bail!("not done {allowance:?} after the end: {}", names.join(", "));
            };
            match (speaker, report) {
                (Speaker::Client(_), Some(Report::Done)) => drop(busy.remove(&speaker)),
                (_, Some(Report::Op(op))) => {
                    lives.hear(&op);
                    if op.f == F::Stall
                        && let Some((since, until)) = lives.stalled(&op)
                        && !self.freezes_all()
                    {
                        let seconds = (until - since).as_secs_f64();
                        outside::note(recorder, since, format!("all clients stood still for {seconds:.1} s at once"));
                    }
                    Event::of(&op).map(tell);
                    recorder.record(*op);
                    if let Some(failure) = recorder.failure() {
                        bail!("cannot write the history in {}: {failure}", self.folder.display());
                    }
                }
                (_, Some(Report::Servers(record))) => recorder.observe(*record),
                (Speaker::Client(client), Some(Report::Reached { number, phase })) => {
                    tell(Event::Reached { client, number, phase });
                }
                (_, Some(Report::Clock(clock))) => lives.answer(clock),
                (_, Some(Report::Requests(report))) => lives.ordered(report),
                // Started again after it was killed.
                (_, Some(Report::Hello(_))) => {
                    busy.insert(speaker);
                    hub.orders.send(speaker, self.plan_for(speaker, lives)?);
                }
                (_, Some(Report::Ready)) => {
                    hub.orders.send(speaker, Order::Begin { end });
                    if stopping {
                        hub.orders.send(speaker, Order::Stop);
                    }
                }
                (_, Some(Report::Failed(reason))) => bail!("{}: {reason}", self.name(speaker)),
                (Speaker::Client(client), None) => match lives.ended(client) {
                    Some((crash, told)) => {
                        Event::of(&crash).map(tell);
                        recorder.record(crash);
                        // Whoever killed it waits for this, unless it has given up.
                        let _ = told.send(());
                    }
                    None if busy.contains(&speaker) => bail!("{} ended before the trial did", self.name(speaker)),
                    None => {}
                },
                (Speaker::Resource, None) => bail!("{} ended before the trial did", self.name(speaker)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets everybody go, and the resource say its last words: its record may lag behind the clients'.
    async fn dismiss(&self, hub: &mut Hub, recorder: &Recorder) -> anyhow::Result<()> {
        hub.orders.send_all(&Order::Leave);
        let limit = tokio::time::Instant::now() + Duration::from_secs(5);
        loop {
            match tokio::time::timeout_at(limit, hub.heard.recv()).await {
                Ok(Some((_, Some(Report::Op(op))))) => recorder.record(*op),
                Ok(Some((_, Some(Report::Servers(record))))) => recorder.observe(*record),
                Ok(Some((Speaker::Resource, Some(Report::Done) | None))) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => bail!("{} did not finish", self.name(Speaker::Resource)),
            }
        }
    }

    /// Keeps what the containers printed, for whoever looks into a failure. Best effort: the failure itself is reported.
    async fn save_logs(&self, containers: &BTreeMap<Speaker, Container>) {
        let folder = self.folder.join("logs");
        let _ = std::fs::create_dir_all(&folder);
        for container in containers.values() {
            if let Ok(logs) = self.cluster.engine.logs(container).await {
                let _ = std::fs::write(folder.join(format!("{}.log", container.name)), logs);
            }
        }
    }
}

/// What a trial runs in.
struct Members<'a> {
    containers: BTreeMap<Speaker, Container>,
    lives: Arc<Lives>,
    /// The folder on this machine with the control socket and the clients' clocks.
    folder: &'a Path,
}

/// Where the page of a client's clock is. The resource's clock is not moved: it has no part in any lock.
fn clock_folder(sockets: &Path, speaker: Speaker) -> Option<PathBuf> {
    match speaker {
        Speaker::Client(client) => Some(sockets.join(format!("clock-{client}"))),
        Speaker::Resource => None,
    }
}
