//! What a run has of servers that are not ours: their doors, the relays behind these, the names that its trials use
//! there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;

use super::relay::{Relay, Seen};
use super::{External, network};
use crate::env::docker::backends::external::known;
use crate::env::docker::backends::{self, ContainerBackend};
use crate::env::docker::cluster::{Cluster, Server, Versions};
use crate::env::docker::cluster_name::cluster;
use crate::env::docker::container::Role;
use crate::env::docker::engine::{Engine, api};
use crate::env::docker::images::TOOLS;
use crate::env::docker::launch::{NewContainer, launch};
use crate::env::docker::settings::Settings;
use crate::env::docker::tempdir::TempDir;
use crate::ids::NodeId;
use crate::scenario::{Backend, LockConfig};
use crate::time::Nanos;

/// How long a door may take to open.
const OPENING: Duration = Duration::from_secs(20);
/// How long a server may take to tell its version, which is told only.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// What a run has of servers that are not ours, until it is closed.
pub struct Doors {
    servers: External,
    /// Begins the names of all that its trials make at the servers.
    prefix: String,
    seen: BTreeMap<Backend, Seen>,
    relays: Vec<Relay>,
    made_network: bool,
    /// With the relays' sockets.
    sockets: TempDir,
}

impl Doors {
    /// Looks at the servers, and opens a door for each that `locks` use. What is returned beside is as a cluster whose
    /// servers are these doors.
    ///
    /// # Errors
    /// A server is not there or refuses, or the doors cannot be opened; nothing of them is left then.
    pub async fn open(
        engine: &Engine,
        servers: &External,
        locks: &[(&str, &LockConfig)],
        progress: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<(Self, Cluster)> {
        servers.look(locks).await?;
        let settings = Settings::from_env()?;
        let mut doors = Self {
            servers: servers.clone(),
            prefix: format!("fencepost-{:016x}", rand::random::<u64>()),
            seen: Backend::ALL.into_iter().map(|backend| (backend, Seen::default())).collect(),
            relays: Vec::new(),
            made_network: network::ensure(engine, &settings).await?,
            sockets: TempDir::new()?,
        };
        progress("opening doors to the given servers");
        match doors.open_all(engine, &settings, locks).await {
            Ok(cluster) => Ok((doors, cluster)),
            Err(error) => {
                doors.close(engine).await;
                Err(error)
            }
        }
    }

    async fn open_all(
        &mut self,
        engine: &Engine,
        settings: &Settings,
        locks: &[(&str, &LockConfig)],
    ) -> anyhow::Result<Cluster> {
        let mut all = Vec::new();
        for (one, kind) in known() {
            let backend = one.backend();
            let used = locks.iter().any(|(_, lock)| lock.backend() == backend);
            let places = if used { self.servers.places(backend) } else { Vec::new() };
            let seen = self.seen.entry(backend).or_default();
            for (place, number) in places.into_iter().zip(1..) {
                let file = format!("{}-{number}.sock", backend.name());
                let (path, may_end) = (self.sockets.path().join(&file), kind.may_end_connections());
                let (name, port) = (format!("{}:{}", place.0, place.1), place.1);
                let relay = Relay::listen(&path, name, place, may_end, seen.clone()).context("cannot open a relay")?;
                self.relays.push(relay);
                all.push((backend, kind.first_door() + number, number, port, file));
            }
        }
        let exe = std::env::current_exe()?;
        let opened = all.into_iter().map(|(backend, host, number, port, file)| {
            let program = exe.clone();
            let sockets = self.sockets.path().to_owned();
            async move {
                let address: Ipv4Addr = format!("{}.{}", settings.subnet_prefix(), host).parse()?;
                let socket = format!("/run/fencepost/{file}");
                let command = ["door", "--port", &port.to_string(), "--socket", &socket].map(str::to_owned).to_vec();
                let wanted = NewContainer {
                    name: format!("{}-door-{}-{number}", cluster(), backend.name()),
                    image: TOOLS.to_owned(),
                    folder: None,
                    role: Role::Door,
                    node: Some(NodeId(number.into())),
                    trial: "doors".to_owned(),
                    address,
                    program,
                    command,
                    sockets,
                    clock: None,
                    environment: Vec::new(),
                };
                let container = launch(engine, wanted).await?;
                let published = SocketAddr::from((address, port));
                wait_for(published).await.with_context(|| format!("{} does not open", container.name))?;
                Ok::<_, anyhow::Error>((
                    backend,
                    Server { node: NodeId(number.into()), container, address, port, published },
                ))
            }
        });
        let opened = try_join_all(opened).await?;
        let mut servers: BTreeMap<Backend, Vec<Server>> = BTreeMap::new();
        for (backend, door) in opened {
            servers.entry(backend).or_default().push(door);
        }
        let daemon = engine.docker().version().await.map_err(api("tell its version"))?;
        let told = servers.iter().map(|(backend, doors)| async move {
            Some((*backend, version(backends::of(*backend), doors.first()?).await))
        });
        let versions = Versions {
            servers: join_all(told).await.into_iter().flatten().collect(),
            docker: daemon.version.unwrap_or_default(),
            kernel: daemon.kernel_version.unwrap_or_default(),
        };
        // Of the servers themselves, before the first trial, nothing is told.
        self.seen.values().for_each(|seen| drop(seen.take()));
        let subnet_prefix = settings.subnet_prefix();
        Ok(Cluster { engine: engine.clone(), servers, network: cluster(), subnet_prefix, versions })
    }

    /// The servers.
    pub fn servers(&self) -> &External {
        &self.servers
    }

    /// What stands before all names that the trial of this lock uses at the servers. It occurs nowhere else.
    pub fn namespace(&self, lock: &str) -> String {
        format!("{}-{lock}", self.prefix)
    }

    /// The environment variables with secrets that clients need.
    pub fn secrets(&self) -> Vec<String> {
        self.servers.secrets()
    }

    /// What was seen of a backend's servers since this was last asked: since when it may have been so, and what.
    pub fn seen(&self, backend: Backend) -> Vec<(Nanos, String)> {
        self.seen.get(&backend).map(Seen::take).unwrap_or_default()
    }

    /// Closes the doors, and removes what was made for them.
    pub async fn close(self, engine: &Engine) {
        let containers = engine.containers().await.unwrap_or_default();
        join_all(containers.iter().filter(|own| own.role == Role::Door).map(|door| engine.remove(door))).await;
        if self.made_network {
            network::remove(engine).await;
        }
    }
}

/// Waits until somebody takes connections there.
async fn wait_for(address: SocketAddr) -> anyhow::Result<()> {
    let limit = Instant::now() + OPENING;
    loop {
        match tokio::time::timeout_at(limit, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) if Instant::now() < limit => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(Err(error)) => return Err(error.into()),
            Err(late) => return Err(late.into()),
        }
    }
}

/// What a server says of its version, if it says so to anybody.
async fn version(backend: &dyn ContainerBackend, door: &Server) -> String {
    let answer = backend.ask(door.published, QUESTION_LIMIT).await;
    answer.map_or_else(|_| "not told".to_owned(), |answer| answer.version)
}
