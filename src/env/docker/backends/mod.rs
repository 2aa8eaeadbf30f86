//! What a world of containers needs of a backend: its containers, the few words spoken with its servers, its clock, its
//! locks, what it has left. One file for each backend, of equal shape, behind one trait.
//!
//! All else in this world asks the trait, and knows no backend by name. A new one is a file here and a line in [`of`],
//! beside its files for Docker and its services in the Compose file. They stand together here, and not with the
//! simulated servers, because they share what the simulation has none of: containers, published ports, clocks to be
//! read. Deliberately absent: how a lock works, and what a scenario may say of it.

pub mod etcd;
pub mod external;
pub mod redis;
pub mod talk;
pub mod zookeeper;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};

use self::external::ExternalServers;
use super::answers::Answers;
use super::clock_reading::Reading;
use super::container::Container;
use super::engine::Engine;
use crate::ids::{ClientId, LockName, NodeId};
use crate::lock::flawed::WallClock;
use crate::lock::name::as_path_part;
use crate::lock::runtime::SharedRuntime;
use crate::lock::{DistributedLock, Settings};
use crate::scenario::{Backend, LockConfig, Persistence};
use crate::trial::leftovers::{Found, Names, Servers};
use crate::wire::Protocol;

/// The backend's part in this world.
pub fn of(backend: Backend) -> &'static dyn ContainerBackend {
    match backend {
        Backend::Redis => &redis::Redis,
        Backend::Zookeeper => &zookeeper::Zookeeper,
        Backend::Etcd => &etcd::Etcd,
    }
}

/// All backends, in the order in which their servers are started and told.
pub fn all() -> impl Iterator<Item = &'static dyn ContainerBackend> {
    Backend::ALL.into_iter().map(of)
}

/// The backends whose servers every cluster has.
pub fn always() -> Vec<Backend> {
    all().filter(|one| !one.containers().on_demand).map(ContainerBackend::backend).collect()
}

/// What a backend's containers are made of and how many there are, as in the Compose file.
#[derive(Clone, Copy, Debug)]
pub struct Containers {
    /// The image.
    pub image: &'static str,
    /// The files that it is made of beside the shims, by their paths in the repository, with their content; its
    /// Dockerfile first.
    pub files: &'static [(&'static str, &'static str)],
    /// How many servers there are, unless a scenario asks for another number.
    pub usual: u8,
    /// How many there are at most.
    pub most: u8,
    /// The variable that tells Compose how many there are, where a scenario may ask for another number.
    pub size_variable: Option<&'static str>,
    /// Whether they are started only where something needs them.
    pub on_demand: bool,
    /// Whether all must be made anew where one is: a member that begins anew under its old name has forgotten its
    /// votes.
    pub begin_together: bool,
    /// Servers have the host numbers in the cluster's network that follow on this one.
    pub first_host: u8,
    /// Servers are published at the ports of this machine that follow on this one.
    pub first_port: u16,
    /// The port inside of the container.
    pub port: u16,
    /// Whether a preloaded shim can move the servers' clocks.
    pub has_clock: bool,
}

/// How a power loss takes what a server has not synced, where it keeps anything that it has not.
#[derive(Clone, Copy, Debug)]
pub struct PowerLoss {
    /// The files that a server's process must have mapped: the shim that notes what was synced, and its notes.
    pub mapped: [&'static str; 2],
    /// By what means, in words.
    pub means: &'static str,
    /// What does instead where there is none.
    pub instead: &'static str,
    /// How many bytes it took, and whether it was played to its end, from what the container has printed.
    pub taken: fn(log: &str) -> (u64, bool),
}

/// What a healthy server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its version.
    pub version: String,
    /// What it is to the others: `master`, `leader`, `follower`, `standalone`.
    pub mode: String,
}

/// What a client has to open a lock with, beside the clock and the randomness that every lock is handed.
pub struct Opening<'a> {
    /// Which lock, with its settings.
    pub lock: &'a LockConfig,
    /// What stands before lock names at the servers.
    pub namespace: &'a str,
    /// Where the servers are reached.
    pub servers: &'a [SocketAddr],
    /// What is known of the servers, if they are not ours.
    pub external: Option<&'a Settings>,
    /// Who hears what the servers answer.
    pub answers: &'a Arc<Answers>,
    /// The clock, the timers and the randomness.
    pub runtime: SharedRuntime,
    /// The wall clock, for flawed locks.
    pub wall: WallClock,
}

/// Where a trial's servers answer on this machine, and where its clients come from.
pub struct Published {
    /// What they are.
    pub backend: &'static dyn ContainerBackend,
    /// The servers, by number.
    pub servers: Vec<(NodeId, SocketAddr)>,
    /// Which client has which address.
    pub clients: BTreeMap<Ipv4Addr, ClientId>,
}

impl Servers for Published {
    fn look<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, Left> {
        self.backend.leftovers(self, names)
    }
}

/// What servers still have, and why it may not be all.
pub type Left = (Vec<Found>, Option<String>);

/// What a world of containers needs of a backend.
pub trait ContainerBackend: fmt::Debug + Send + Sync {
    /// Which it is.
    fn backend(&self) -> Backend;

    /// As people write it.
    fn title(&self) -> &'static str;

    /// Its containers.
    fn containers(&self) -> Containers;

    /// What a power loss takes of its servers; `None` where each syncs what it promises, so that a power loss is a
    /// kill.
    fn power_loss(&self) -> Option<PowerLoss> {
        None
    }

    /// Whether one of its servers leads the others.
    fn has_leader(&self) -> bool;

    /// Asks one server how it is. An error's text says what is missing.
    fn ask(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<Answer>>;

    /// Asks one server whether its process is there and well, whether or not it can serve.
    fn is_there(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<()>> {
        self.ask(server, limit).map(|answer| answer.map(drop)).boxed()
    }

    /// The sessions that are connected to one server, with the addresses that they come from.
    fn sessions(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<Vec<(Ipv4Addr, i64)>>> {
        let _ = (server, limit);
        ready(Ok(Vec::new())).boxed()
    }

    /// Empties one server for the next run, which from now on keeps what it is told as `kept` says. By default there is
    /// nothing to do: what locks leave goes with their sessions and leases, and each run works under names of its own.
    fn reset(&self, server: SocketAddr, kept: Persistence, limit: Duration) -> BoxFuture<'static, io::Result<()>> {
        let _ = (server, kept, limit);
        ready(Ok(())).boxed()
    }

    /// Looks once at the wall clock of the process in `container`, which answers at `server`. It is asked itself, never
    /// another program beside it, which would have a page of its own view.
    fn read_clock<'a>(
        &'a self,
        engine: &'a Engine,
        container: &'a Container,
        server: SocketAddr,
    ) -> BoxFuture<'a, io::Result<Reading>>;

    /// Opens the lock that a client's plan is about.
    ///
    /// # Errors
    /// It is no lock of this backend, or its servers cannot be named as it wants them.
    fn open(&self, opening: Opening<'_>) -> Result<Arc<dyn DistributedLock>, String>;

    /// What stands before the names of a trial's locks at the servers.
    fn prefix(&self, namespace: &str) -> String;

    /// By what a request about a lock is known.
    fn name_in_requests(&self, namespace: &str, lock: &LockName) -> String;

    /// What is spoken with the servers.
    fn protocol(&self) -> Protocol;

    /// How many servers must have replied until a lock can have been granted.
    fn replies_needed(&self, servers: usize) -> usize;

    /// Whether what a program of others is told as its lease ends by itself, where the program does not renew it.
    fn leases_run_out(&self) -> bool;

    /// All that servers have under one of these names.
    fn leftovers<'a>(&'a self, published: &'a Published, names: &'a Names) -> BoxFuture<'a, Left>;

    /// Whether the settings of a lock name servers of this backend.
    fn is_for(&self, settings: &Settings) -> bool;

    /// How servers are used that were there before; `None` where they cannot be yet.
    fn external(&self) -> Option<&'static dyn ExternalServers>;
}

/// Why a plan's lock is not opened.
fn foreign(lock: &LockConfig) -> String {
    format!("the lock {} does not rest on these servers", lock.algorithm())
}

/// All addresses, separated by commas.
fn listed(servers: &[SocketAddr]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Below which path a trial's locks have theirs, where names are paths.
fn path(namespace: &str) -> String {
    format!("/fencepost/{namespace}")
}

/// By what a request about a lock is known, where names are paths.
fn path_in_requests(namespace: &str, lock: &LockName) -> String {
    format!("{namespace}/{}", as_path_part(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_backends_share_a_name_or_a_place() {
        for backend in Backend::ALL {
            assert_eq!(of(backend).backend(), backend);
        }
        let spans: Vec<_> = all().map(|one| one.containers()).collect();
        for (at, one) in spans.iter().enumerate() {
            for other in &spans[at + 1..] {
                assert_ne!(one.image, other.image);
                assert!(one.first_host + one.most <= other.first_host);
                assert!(one.first_port + u16::from(one.most) <= other.first_port);
            }
        }
    }
}
