//! What the environment may choose about the cluster: its subnet and its published ports; and what a scenario may: how
//! many servers the ensemble has, and whether there is etcd.
//!
//! The names and defaults are those of `docker-compose.yml`. Deliberately absent: the number of Redis masters, which is
//! fixed: they know nothing of each other, and a lock takes as many of them as it needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::cluster_name;
use super::engine::Role;
use crate::ids::NodeId;

/// How many Redis masters the cluster has.
pub const REDIS_SERVERS: u8 = 5;
/// How many ZooKeeper servers the cluster has, unless a scenario asks for another number.
pub const ZOOKEEPER_SERVERS: u8 = 3;
/// How many etcd members the cluster has, if a scenario needs any.
pub const ETCD_SERVERS: u8 = 3;
/// How many ZooKeeper servers a scenario may ask for at most.
pub const MOST_ZOOKEEPER_SERVERS: u8 = 5;
/// The variable that tells Compose how many ZooKeeper servers there are.
const ENSEMBLE_VARIABLE: &str = "FENCEPOST_ENSEMBLE";
/// The variable that tells Compose the network, and what containers' names begin with.
const NAMES_VARIABLE: &str = "FENCEPOST_NAMES";
/// The variable that tells Compose the folder with the servers' clocks.
const STATE_VARIABLE: &str = "FENCEPOST_STATE";
/// The variable that names the first three parts of the cluster's /24 subnet.
pub const SUBNET_VARIABLE: &str = "FENCEPOST_SUBNET_PREFIX";

/// How many named clusters have a subnet and ports of their own; two of one place are told apart by the variables.
const PLACES: u16 = 190;
/// The ports that a cluster has for itself: `x1` to `x5` for Redis, ten higher for ZooKeeper, behind those etcd's.
const PORTS: u16 = 20;

/// A wrong value in the environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not the first three parts of an IPv4 address.
    #[error("{SUBNET_VARIABLE}=`{0}` is not the first three parts of an IPv4 address: give something like 172.30.57")]
    Subnet(String),
    /// Not a port.
    #[error("{variable}=`{value}` is not a port: give a number from 1 to 65535")]
    Port {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
    },
    /// The same port for two servers.
    #[error("{variable} asks for port {port}, which another server of the cluster has: give each server its own")]
    Twice {
        /// The variable of the second server.
        variable: String,
        /// The port.
        port: u16,
    },
}

/// One server as it is meant to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Redis, ZooKeeper or etcd.
    pub role: Role,
    /// Its number.
    pub node: NodeId,
    /// Its container's name.
    pub name: String,
    /// Its address in the cluster's network.
    pub address: Ipv4Addr,
    /// The port published on 127.0.0.1.
    pub published: u16,
}

impl Wanted {
    /// The variable that chooses the published port.
    pub fn variable(&self) -> String {
        port_variable(self.role, self.node)
    }

    /// The port inside of the container.
    pub fn port(&self) -> u16 {
        match self.role {
            Role::Zookeeper => 2181,
            Role::Etcd => 2379,
            _ => 6379,
        }
    }

    /// Where the server answers on this machine.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.published))
    }

    /// Its name among Compose's services, and in the network.
    pub fn service(&self) -> String {
        format!("{}-{}", self.role, self.node.0)
    }

    /// The folder with its clock's page, below the state folder. etcd is a Go program: it asks the kernel for the time, not
    /// the C library, so that no preloaded shim moves its clock, and it has no page.
    pub fn clock(&self, state: &Path) -> Option<PathBuf> {
        (self.role != Role::Etcd).then(|| state.join("clocks").join(self.service()))
    }
}

/// The subnet and the servers of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the containers' names begin with.
    names: String,
    prefix: [u8; 3],
    ensemble: u8,
    etcd: bool,
    servers: Vec<Wanted>,
}

impl Settings {
    /// Reads the process' environment.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_lookup(cluster_name::chosen(), |name| std::env::var(name).ok())
    }

    /// The settings of the cluster called `name`, with variables from `lookup`; an empty value counts as absent, as it does
    /// for Compose.
    pub fn from_lookup(name: Option<&str>, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let place = cluster_name::place(name, PLACES);
        let names = name.map_or_else(|| "fencepost".to_owned(), |name| format!("fencepost-{name}"));
        // The third part is a byte: 57 and all places behind it fit.
        let own = 57 + place as u8;
        let prefix = lookup(SUBNET_VARIABLE).map_or(Ok([172, 30, own]), |text| {
            // Parsed as an address, so that what passes here also passes at Docker.
            let address = format!("{text}.0").parse::<Ipv4Addr>().map_err(|_| SettingsError::Subnet(text))?;
            let [a, b, c, _] = address.octets();
            Ok([a, b, c])
        })?;
        let redis = (1..=REDIS_SERVERS).map(|n| (Role::Redis, n, 10, 17000));
        let zookeeper = (1..=MOST_ZOOKEEPER_SERVERS).map(|n| (Role::Zookeeper, n, 20, 17010));
        let mut servers: Vec<Wanted> = Vec::new();
        let etcd = (1..=ETCD_SERVERS).map(|n| (Role::Etcd, n, 25, 17015));
        for (role, number, first_host, first_port) in redis.chain(zookeeper).chain(etcd) {
            let node = NodeId(number.into());
            let variable = port_variable(role, node);
            let published = match lookup(&variable) {
                None => first_port + place * PORTS + u16::from(number),
                Some(value) => match value.parse::<u16>() {
                    Ok(port) if port > 0 => port,
                    _ => return Err(SettingsError::Port { variable, value }),
                },
            };
            if servers.iter().any(|server| server.published == published) {
                return Err(SettingsError::Twice { variable, port: published });
            }
            let [a, b, c] = prefix;
            let address = Ipv4Addr::new(a, b, c, first_host + number);
            servers.push(Wanted { role, node, name: format!("{names}-{role}-{number}"), address, published });
        }
        Ok(Self { names, prefix, ensemble: ZOOKEEPER_SERVERS, etcd: false, servers })
    }

    /// The same with an ensemble of `servers`, at most [`MOST_ZOOKEEPER_SERVERS`].
    #[must_use]
    pub fn with_ensemble(self, servers: u8) -> Self {
        Self { ensemble: servers.clamp(1, MOST_ZOOKEEPER_SERVERS), ..self }
    }

    /// The same with etcd, or without.
    #[must_use]
    pub fn with_etcd(self, etcd: bool) -> Self {
        Self { etcd, ..self }
    }

    /// Whether there are etcd servers.
    pub fn has_etcd(&self) -> bool {
        self.etcd
    }

    /// How many servers the ensemble has.
    pub fn ensemble(&self) -> u8 {
        self.ensemble
    }

    /// The first three parts of the subnet, `172.30.57`.
    pub fn subnet_prefix(&self) -> String {
        let [a, b, c] = self.prefix;
        format!("{a}.{b}.{c}")
    }

    /// The subnet, `172.30.57.0/24`.
    pub fn subnet(&self) -> String {
        format!("{}.0/24", self.subnet_prefix())
    }

    /// All servers, Redis first, etcd last.
    pub fn servers(&self) -> impl Iterator<Item = &Wanted> {
        let is_there = |server: &&Wanted| match server.role {
            Role::Zookeeper => server.node.0 <= self.ensemble.into(),
            Role::Etcd => self.etcd,
            _ => true,
        };
        self.servers.iter().filter(is_there)
    }

    /// Hands the settings to a Compose command, and the folder where clocks are.
    pub fn export(&self, command: &mut Command, state: &Path) {
        command
            .env(NAMES_VARIABLE, &self.names)
            .env(SUBNET_VARIABLE, self.subnet_prefix())
            .env(ENSEMBLE_VARIABLE, self.ensemble.to_string())
            .env(STATE_VARIABLE, state);
        for server in &self.servers {
            command.env(server.variable(), server.published.to_string());
        }
    }
}

fn port_variable(role: Role, node: NodeId) -> String {
    format!("FENCEPOST_{}_{}_PORT", role.to_string().to_uppercase(), node.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::docker::files;

    fn with(name: &'static str, value: &'static str) -> Result<Settings, SettingsError> {
        Settings::from_lookup(None, |asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn defaults_are_those_of_the_compose_file() {
        let compose = files::content(files::COMPOSE);
        let settings = Settings::from_lookup(None, |_| None).unwrap();
        assert_eq!(settings.servers().count(), 8);
        assert!(compose.contains(&format!("{{{ENSEMBLE_VARIABLE}:-{ZOOKEEPER_SERVERS}}}")));
        let settings = settings.with_ensemble(MOST_ZOOKEEPER_SERVERS).with_etcd(true);
        assert_eq!(settings.servers().count(), 13);
        assert!(compose.contains(&format!("{{{SUBNET_VARIABLE}:-{}}}", settings.subnet_prefix())));
        for server in settings.servers() {
            let ending = server.name.strip_prefix("fencepost").unwrap();
            let named = format!("container_name: ${{{NAMES_VARIABLE}:-fencepost}}{ending}\n");
            assert!(compose.contains(&named), "{server:?}");
            let ports = format!("127.0.0.1:${{{}:-{}}}:{}", server.variable(), server.published, server.port());
            assert!(compose.contains(&ports), "{ports}");
            let clock = format!("{{{STATE_VARIABLE}:-./target/fencepost}}/clocks/{}:", server.service());
            assert_eq!(compose.contains(&clock), server.clock(Path::new("")).is_some(), "{clock}");
            let host = format!("ipv4_address: \"${{{SUBNET_VARIABLE}:-172.30.57}}.{}\"", server.address.octets()[3]);
            assert!(compose.contains(&host), "{host}");
        }
    }

    #[test]
    fn the_environment_chooses_subnet_and_ports() {
        let settings = with(SUBNET_VARIABLE, "10.9.8").unwrap();
        assert_eq!((settings.subnet(), settings.servers[0].address), ("10.9.8.0/24".into(), [10, 9, 8, 11].into()));
        let settings = with("FENCEPOST_ZOOKEEPER_3_PORT", "2183").unwrap();
        assert_eq!(settings.servers[7].published, 2183);
        assert_eq!(with(SUBNET_VARIABLE, ""), Settings::from_lookup(None, |_| None), "Compose treats empty as absent");
    }

    #[test]
    fn a_cluster_with_a_name_shares_nothing_with_another() {
        let of =
            |name| Settings::from_lookup(name, |_| None).unwrap().with_ensemble(MOST_ZOOKEEPER_SERVERS).with_etcd(true);
        let all = [of(None), of(Some("a")), of(Some("nightly"))];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.subnet(), other.subnet());
                let shared = |server: &&Wanted| {
                    other.servers().any(|own| own.published == server.published || own.name == server.name)
                };
                assert_eq!(one.servers().find(shared), None);
            }
        }
        assert_eq!(all[2].servers[0].name, "fencepost-nightly-redis-1");
        // Bytes, and ports below those that the kernel gives away.
        const { assert!(57 + PLACES <= 255 && 17_018 + PLACES * PORTS < 32_768) }
    }

    #[test]
    fn wrong_values_name_the_variable() {
        for wrong in ["172.30", "172.30.57.1", "172.30.256", "here"] {
            let error = with(SUBNET_VARIABLE, wrong).unwrap_err().to_string();
            assert!(error.contains(SUBNET_VARIABLE) && error.contains(wrong), "{error}");
        }
        for (wrong, says) in [("0", "1 to 65535"), ("x", "1 to 65535"), ("17002", "its own")] {
            let error = with("FENCEPOST_REDIS_4_PORT", wrong).unwrap_err().to_string();
            assert!(error.contains("FENCEPOST_REDIS_4_PORT") && error.contains(says), "{error}");
        }
    }
}
