//! The life of the cluster: up, reset between runs, down.
//!
//! `up` does as little as it can: a cluster that runs and answers is left alone, a frozen or dead server is revived,
//! and only what is missing or different goes through Compose. Nothing counts as up before every server has *answered*.
//! Deliberately absent: the containers of a run (clients, resource), beyond removing what a run left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error as ApiError;
use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;

use super::backends::{self, Answer};
use super::clocks;
use super::cluster_name::cluster;
use super::compose::{self, ComposeError};
use super::container::{Container, LABEL_CLUSTER, Role, State};
use super::engine::{Engine, EngineError, api};
use super::files::{self, FilesError};
use super::images::{self, ImageError, Images};
use super::settings::{SUBNET_VARIABLE, Settings, SettingsError, Wanted};
use crate::ids::NodeId;
use crate::scenario::{Backend, Persistence};

/// How long servers may take to answer after their containers have started.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long one server may take to answer one question.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);
/// The pause between two rounds of questions: short beside a start, long enough not to slow it.
const ROUND: Duration = Duration::from_millis(100);

/// Why the cluster could not be brought up, reset or taken down.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A wrong value in the environment.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The daemon.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The images.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Compose.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A port is in use.
    #[error(
        "port {port} on 127.0.0.1, where {server} is to be published, cannot be had ({why}): stop the program that uses \
         it, or choose another port with {variable}"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The server that needs it.
        server: String,
        /// The variable that chooses another.
        variable: String,
        /// What the system said.
        why: io::Error,
    },
    /// The network is there, with other addresses.
    #[error(
        "the cluster's network is {present} and {SUBNET_VARIABLE} asks for {wanted}: run `fencepost cluster down` first"
    )]
    OtherSubnet {
        /// What it is.
        present: String,
        /// What it should be.
        wanted: String,
    },
    /// Somebody else's container has a server's name.
    #[error(
        "a container named {0} exists that fencepost did not make for this cluster, and its servers are called so: remove \
         it (`docker rm -f {0}`) or rename it (`docker rename {0} …`), or work beside it with --cluster NAME"
    )]
    ForeignContainer(String),
    /// Somebody else's network has our name.
    #[error("a Docker network named {} exists that fencepost did not make: remove it or rename it", cluster())]
    ForeignNetwork,
    /// Something that is not ours is in the network, or Docker has lost count.
    #[error(
        "the cluster's containers are gone, but Docker keeps the network {network} as in use by {users}: disconnect those \
         containers; if there are none, Docker has lost count and a restart of its daemon mends it \
         (`sudo systemctl restart docker`)", network = cluster()
    )]
    NetworkInUse {
        /// The containers that Docker lists in it.
        users: String,
    },
    /// Compose is content, and a server is still not there.
    #[error("the container {0} is missing after the start: run `fencepost cluster down` and try again")]
    Absent(String),
    /// Servers that did not answer in time.
    #[error("the cluster did not become ready within {limit:?}: {missing}; `docker logs NAME` may say why")]
    NotReady {
        /// How long they had.
        limit: Duration,
        /// Who is missing, and what was heard of each.
        missing: String,
    },
    /// A server's clock cannot be moved.
    #[error("the clocks of the servers cannot be laid out in {}: {source}; XDG_STATE_HOME chooses another folder", folder.display())]
    Clocks {
        /// The state folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A server could not be emptied.
    #[error("{server} could not be emptied before the run ({source}): is it up? `fencepost cluster status` tells")]
    Reset {
        /// The server.
        server: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// A lock server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its number.
    pub node: NodeId,
    /// Its container, for faults.
    pub container: Container,
    /// Its address in the cluster's network, the same after every restart.
    pub address: Ipv4Addr,
    /// Its port in the cluster's network.
    pub port: u16,
    /// Where it answers on this machine.
    pub published: SocketAddr,
}

/// Versions that a report names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Of the servers of each backend that there is.
    pub servers: BTreeMap<Backend, String>,
    /// Of the Docker daemon.
    pub docker: String,
    /// Of the kernel that all containers share.
    pub kernel: String,
}

impl Versions {
    /// Of a backend's servers; empty where there are none.
    pub fn of(&self, backend: Backend) -> &str {
        self.servers.get(&backend).map_or("", String::as_str)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (backend, version) in &self.servers {
            write!(f, "{} {version}, ", backends::of(*backend).title())?;
        }
        write!(f, "Docker {}, Linux {}", self.docker, self.kernel)
    }
}

/// A cluster in which every server has answered.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The daemon it runs in.
    pub engine: Engine,
    /// The servers of each backend that there is, by number.
    pub servers: BTreeMap<Backend, Vec<Server>>,
    /// The name of its network.
    pub network: &'static str,
    /// The first three parts of its network's addresses; from `.31` on they are free for containers of a run.
    pub subnet_prefix: String,
    /// What it runs.
    pub versions: Versions,
}

impl Cluster {
    /// The servers of a backend.
    pub fn servers(&self, backend: Backend) -> &[Server] {
        self.servers.get(&backend).map_or(&[], Vec::as_slice)
    }

    /// Where the first `count` servers of a backend answer on this machine.
    pub fn published(&self, backend: Backend, count: u32) -> Vec<String> {
        self.servers(backend).iter().take(count as usize).map(|server| server.published.to_string()).collect()
    }
}

/// Brings the cluster up as the environment asks, with the servers of `backends` beside those that every cluster has
/// and those that were there. Says what it does, when that takes time, through `progress`.
pub async fn up(backends: &[Backend], progress: &(dyn Fn(&str) + Sync)) -> Result<Cluster, ClusterError> {
    let there = started_on_demand(&Engine::connect().await?.containers().await?);
    up_with(&Settings::from_env()?.with(there).with(backends.iter().copied()), progress).await
}

/// The backends that are started only where something needs them, and were.
pub(super) fn started_on_demand(containers: &[Container]) -> Vec<Backend> {
    let is_there = |backend: &Backend| containers.iter().any(|own| own.role == Role::Server(*backend));
    let on_demand = backends::all().filter(|one| one.containers().on_demand).map(|one| one.backend());
    on_demand.filter(is_there).collect()
}

/// Brings the cluster up.
pub async fn up_with(settings: &Settings, progress: &(dyn Fn(&str) + Sync)) -> Result<Cluster, ClusterError> {
    let engine = Engine::connect().await?;
    let images = images::ensure(&engine, settings.sizes().map(|(one, _)| one.backend()), progress).await?;
    let state = files::state_folder()?;
    let unseen =
        clocks::lay_out(settings, &state).map_err(|source| ClusterError::Clocks { folder: state.clone(), source })?;
    let mut containers = engine.containers().await?;
    let is_surplus = |own: &Container| match own.role {
        Role::Server(backend) => {
            let size = settings.size(backend);
            own.is_replaced() || size > 0 && own.node.is_none_or(|node| node.0 > size.into())
        }
        _ => false,
    };
    try_join_all(containers.iter().filter(|own| is_surplus(own)).map(|own| engine.remove(own))).await?;
    containers.retain(|own| !is_surplus(own));
    // A process maps the page that it finds when it starts.
    let blind = containers.iter().filter(|own| is_running(own) && unseen.contains(&own.name));
    try_join_all(blind.map(|own| async {
        engine.kill(own).await?;
        engine.start(own).await
    }))
    .await?;
    if servers(&containers).count() < settings.servers().count() || servers(&containers).any(|own| !is_running(own)) {
        free_ports(&engine, settings, &containers)?;
        if revive(&engine, &containers, progress).await? {
            containers = engine.containers().await?;
        }
    }
    let as_wanted = |wanted: &Wanted, containers: &[Container]| {
        containers.iter().find(|own| is_as_wanted(own, wanted, settings, &state, &images)).cloned()
    };
    let lacks = |containers: &[Container], backend| {
        settings.servers().any(|wanted| backend == wanted.backend && as_wanted(wanted, containers).is_none())
    };
    for (one, _) in settings.sizes().filter(|(one, _)| one.containers().begin_together) {
        let role = Role::Server(one.backend());
        if lacks(&containers, one.backend()) {
            try_join_all(containers.iter().filter(|own| own.role == role).map(|own| engine.remove(own))).await?;
            containers.retain(|own| own.role != role);
        }
    }
    let lacking: Vec<Wanted> =
        settings.servers().filter(|wanted| as_wanted(wanted, &containers).is_none()).cloned().collect();
    if !lacking.is_empty() {
        free_ports(&engine, settings, &containers)?;
        own_network(&engine, settings).await?;
        own_names(&engine, settings, &containers).await?;
        progress(&format!("starting {}", counted(settings, &lacking)));
        compose::up(&engine, settings, &lacking, &files::lay_out()?).await?;
        containers = engine.containers().await?;
    }
    let servers = settings.servers().map(|wanted| {
        let container = as_wanted(wanted, &containers);
        let container = container.ok_or_else(|| ClusterError::Absent(wanted.name.clone()))?;
        let (node, address, port) = (wanted.node, wanted.address, wanted.port());
        Ok((wanted.backend, Server { node, container, address, port, published: wanted.socket() }))
    });
    let servers = servers.collect::<Result<Vec<_>, ClusterError>>()?;
    let answers = ready(&servers, progress).await?;
    let daemon = engine.docker().version().await.map_err(api("tell its version"))?;
    let (mut of, mut versions) = (BTreeMap::<Backend, Vec<Server>>::new(), BTreeMap::new());
    for ((backend, server), answer) in servers.into_iter().zip(answers) {
        versions.entry(backend).or_insert(answer.version);
        of.entry(backend).or_default().push(server);
    }
    let versions = Versions {
        servers: versions,
        docker: daemon.version.unwrap_or_default(),
        kernel: daemon.kernel_version.unwrap_or_default(),
    };
    let subnet_prefix = settings.subnet_prefix();
    Ok(Cluster { engine, servers: of, network: cluster(), subnet_prefix, versions })
}

/// The servers to be started, in words.
fn counted(settings: &Settings, lacking: &[Wanted]) -> String {
    let counts = settings.sizes().filter_map(|(one, _)| {
        let count = lacking.iter().filter(|wanted| wanted.backend == one.backend()).count();
        (count > 0).then(|| format!("{count} {}", one.title()))
    });
    let servers = if lacking.len() == 1 { "server" } else { "servers" };
    format!("{} {servers}", counts.collect::<Vec<_>>().join(" and "))
}

/// Empties the cluster for the next run: nothing that would outlast a run in any server, which from now on keeps what
/// it is told as `kept` says where it can choose; no container of an earlier run.
pub async fn reset(cluster: &Cluster, kept: Persistence) -> Result<(), ClusterError> {
    let servers = cluster.servers.iter().flat_map(|(backend, servers)| servers.iter().map(|server| (*backend, server)));
    let emptied = try_join_all(servers.map(|(backend, server)| async move {
        let emptied = backends::of(backend).reset(server.published, kept, QUESTION_LIMIT).await;
        emptied.map_err(|source| ClusterError::Reset { server: server.container.name.clone(), source })
    }));
    let removal = async { Ok(remove_members(&cluster.engine).await?) };
    tokio::try_join!(emptied, removal).map(drop)
}

/// Removes what earlier runs left: their clients, resources and helpers. How many there were.
pub async fn remove_leftovers(engine: &Engine) -> Result<usize, EngineError> {
    remove(engine, |role| !role.outlives_runs()).await
}

/// As [`remove_leftovers`], but for network helpers: one may be the caller's own, and they end by themselves.
pub async fn remove_members(engine: &Engine) -> Result<usize, EngineError> {
    remove(engine, |role| !role.outlives_runs() && role != Role::Netns).await
}

async fn remove(engine: &Engine, which: impl Fn(Role) -> bool) -> Result<usize, EngineError> {
    let containers = engine.containers().await?;
    let leftover: Vec<_> = containers.iter().filter(|container| which(container.role)).collect();
    try_join_all(leftover.iter().map(|container| engine.remove(container))).await.map(|removed| removed.len())
}

/// Removes every container and the network of the project, with their volumes. Nothing there is fine.
pub async fn down() -> Result<(), ClusterError> {
    let engine = Engine::connect().await?;
    let containers = engine.containers().await?;
    try_join_all(containers.iter().map(|container| engine.remove(container))).await?;
    if network_subnet(&engine).await?.is_some_and(|(ours, _)| ours) {
        match engine.docker().remove_network(cluster()).await {
            Err(ApiError::DockerResponseServerError { status_code: 403, .. }) => {
                return Err(ClusterError::NetworkInUse { users: network_users(&engine).await? });
            }
            removed => removed.map_err(api("remove the network"))?,
        }
    }
    Ok(())
}

/// The containers that Docker lists in our network, by name.
async fn network_users(engine: &Engine) -> Result<String, EngineError> {
    let network = engine.docker().inspect_network(cluster(), None).await.map_err(api("inspect the network"))?;
    let names: Vec<String> =
        network.containers.unwrap_or_default().into_values().filter_map(|container| container.name).collect();
    Ok(if names.is_empty() { "no container that it could name".to_owned() } else { names.join(", ") })
}

fn servers(containers: &[Container]) -> impl Iterator<Item = &Container> {
    containers.iter().filter(|container| container.role.is_server())
}

fn is_running(container: &Container) -> bool {
    container.state == State::Running
}

/// Whether a container already is the wanted server, from the current image, with the clock that we can move.
fn is_as_wanted(own: &Container, wanted: &Wanted, settings: &Settings, state: &Path, images: &Images) -> bool {
    let is_sized = backends::of(wanted.backend).containers().size_variable.is_some();
    (own.role, own.node, &own.name) == (wanted.role(), Some(wanted.node), &wanted.name)
        && is_running(own)
        && own.address == Some(wanted.address)
        && own.published == Some(wanted.published)
        && own.clock == wanted.clock(state)
        && (!is_sized || own.ensemble == Some(settings.size(wanted.backend)))
        && images.of(wanted.role()) == Some(&own.image)
}

/// Checks that the ports our running containers don't hold can be had, where the daemon is on this machine.
fn free_ports(engine: &Engine, settings: &Settings, containers: &[Container]) -> Result<(), ClusterError> {
    if !engine.host().starts_with("unix://") {
        return Ok(());
    }
    let held: BTreeSet<u16> = containers.iter().filter_map(|container| container.published).collect();
    for server in settings.servers().filter(|server| !held.contains(&server.published)) {
        TcpListener::bind(server.socket()).map_err(|why| ClusterError::PortTaken {
            port: server.published,
            server: server.name.clone(),
            variable: server.variable(),
            why,
        })?;
    }
    Ok(())
}

/// Thaws frozen servers and starts dead ones: what an interrupted run left. Says whether there were any.
async fn revive(
    engine: &Engine,
    containers: &[Container],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<bool, ClusterError> {
    let idle: Vec<_> =
        servers(containers).filter(|server| matches!(server.state, State::Paused | State::Stopped)).collect();
    for server in &idle {
        progress(&format!("{} is {}: reviving it", server.name, server.state));
    }
    try_join_all(idle.iter().map(|server| async move {
        match server.state {
            State::Paused => engine.unpause(server).await,
            _ => engine.start(server).await,
        }
    }))
    .await?;
    Ok(!idle.is_empty())
}

/// Refuses a container that is not ours and has a server's name; Compose would only say that it is taken.
async fn own_names(engine: &Engine, settings: &Settings, containers: &[Container]) -> Result<(), ClusterError> {
    for wanted in settings.servers() {
        if containers.iter().any(|own| own.name == wanted.name) {
            continue;
        }
        match engine.docker().inspect_container(&wanted.name, None).await {
            Ok(_) => return Err(ClusterError::ForeignContainer(wanted.name.clone())),
            Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(api("look for containers")(error).into()),
        }
    }
    Ok(())
}

/// Refuses a network that is not ours, or is ours with other addresses; Compose would only say that it differs.
/// Whether it is there.
pub(super) async fn own_network(engine: &Engine, settings: &Settings) -> Result<bool, ClusterError> {
    match network_subnet(engine).await? {
        None => Ok(false),
        Some((false, _)) => Err(ClusterError::ForeignNetwork),
        Some((true, present)) if present == settings.subnet() => Ok(true),
        Some((true, present)) => Err(ClusterError::OtherSubnet { present, wanted: settings.subnet() }),
    }
}

/// Whether the network of our name is ours, and its subnet; `None` without one.
async fn network_subnet(engine: &Engine) -> Result<Option<(bool, String)>, EngineError> {
    match engine.docker().inspect_network(cluster(), None).await {
        Ok(network) => {
            let ours = network.labels.is_some_and(|labels| labels.get(LABEL_CLUSTER).is_some_and(|v| v == cluster()));
            let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
            Ok(Some((ours, configs.into_iter().find_map(|config| config.subnet).unwrap_or_default())))
        }
        Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(api("look at the network")(error)),
    }
}

/// Waits until every server has answered, and where one leads, exactly one does.
async fn ready(servers: &[(Backend, Server)], progress: &(dyn Fn(&str) + Sync)) -> Result<Vec<Answer>, ClusterError> {
    let start = Instant::now();
    loop {
        let ask = |(backend, server): &(Backend, Server)| backends::of(*backend).ask(server.published, QUESTION_LIMIT);
        let answers = join_all(servers.iter().map(ask)).await;
        let mut missing: Vec<String> = Vec::new();
        for ((_, server), answer) in servers.iter().zip(&answers) {
            missing.extend(answer.as_ref().err().map(|error| format!("{} ({error})", server.container.name)));
        }
        for one in backends::all().filter(|one| one.has_leader()) {
            let of = servers.iter().zip(&answers).filter(|((backend, _), _)| *backend == one.backend());
            let modes: Vec<&str> = of.filter_map(|(_, answer)| Some(&*answer.as_ref().ok()?.mode)).collect();
            let leaders = modes.iter().filter(|mode| matches!(**mode, "leader" | "standalone")).count();
            if missing.is_empty() && !modes.is_empty() && leaders != 1 {
                missing.push(format!("{} has {leaders} leaders, not one", one.title()));
            }
        }
        if missing.is_empty() {
            return Ok(answers.into_iter().flatten().collect());
        }
        if start.elapsed() >= ANSWER_LIMIT {
            return Err(ClusterError::NotReady { limit: ANSWER_LIMIT, missing: missing.join(", ") });
        }
        if start.elapsed() < ROUND {
            progress("waiting for all servers to answer");
        }
        tokio::time::sleep(ROUND).await;
    }
}
