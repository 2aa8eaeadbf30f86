//! What the environment may choose about the cluster: its subnet and its published ports; and what a scenario may:
//! which backends there are, and of some how many servers.
//!
//! The names and defaults are those of `docker-compose.yml`. Deliberately absent: the number of servers that know
//! nothing of each other, which is fixed: a lock takes as many of them as it needs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::backends::{self, ContainerBackend};
use super::cluster_name;
use super::container::Role;
use crate::ids::NodeId;
use crate::scenario::Backend;

/// The variable that tells Compose the network, and what containers' names begin with.
const NAMES_VARIABLE: &str = "FENCEPOST_NAMES";
/// The variable that tells Compose the folder with the servers' clocks.
const STATE_VARIABLE: &str = "FENCEPOST_STATE";
/// The variable that names the first three parts of the cluster's /24 subnet.
pub const SUBNET_VARIABLE: &str = "FENCEPOST_SUBNET_PREFIX";

/// How many named clusters have a subnet and ports of their own; two of one place are told apart by the variables.
const PLACES: u16 = 190;
/// The ports that a cluster has for itself, for all backends together.
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
    /// Of which backend.
    pub backend: Backend,
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
        port_variable(self.backend, self.node)
    }

    /// What its container is for.
    pub fn role(&self) -> Role {
        Role::Server(self.backend)
    }

    /// The port inside of the container.
    pub fn port(&self) -> u16 {
        backends::of(self.backend).containers().port
    }

    /// Where the server answers on this machine.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.published))
    }

    /// Its name among Compose's services, and in the network.
    pub fn service(&self) -> String {
        format!("{}-{}", self.backend.name(), self.node.0)
    }

    /// The folder with its clock's page, below the state folder, if a shim can move its clock.
    pub fn clock(&self, state: &Path) -> Option<PathBuf> {
        backends::of(self.backend).containers().has_clock.then(|| state.join("clocks").join(self.service()))
    }
}

/// The subnet and the servers of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the containers' names begin with.
    names: String,
    prefix: [u8; 3],
    /// How many servers each backend has, of those that there are.
    sizes: BTreeMap<Backend, u8>,
    /// As many of each backend as there may be.
    servers: Vec<Wanted>,
}

impl Settings {
    /// Reads the process' environment.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_lookup(cluster_name::chosen(), |name| std::env::var(name).ok())
    }

    /// The settings of the cluster called `name`, with variables from `lookup`; an empty value counts as absent, as it
    /// does for Compose.
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
        let mut servers: Vec<Wanted> = Vec::new();
        let places = backends::all().flat_map(|one| {
            let own = one.containers();
            (1..=own.most).map(move |number| (one.backend(), number, own.first_host, own.first_port))
        });
        for (backend, number, first_host, first_port) in places {
            let node = NodeId(number.into());
            let variable = port_variable(backend, node);
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
            let name = format!("{names}-{}-{number}", backend.name());
            servers.push(Wanted { backend, node, name, address, published });
        }
        Ok(Self { names, prefix, sizes: BTreeMap::new(), servers }.with(backends::always()))
    }

    /// The same with these backends, each with as many servers as usual where nothing else was said.
    #[must_use]
    pub fn with(mut self, backends: impl IntoIterator<Item = Backend>) -> Self {
        for backend in backends {
            self.sizes.entry(backend).or_insert(backends::of(backend).containers().usual);
        }
        self
    }

    /// The same with `servers` servers of a backend, of at most as many as there may be.
    #[must_use]
    pub fn with_size(mut self, backend: Backend, servers: u8) -> Self {
        self.sizes.insert(backend, servers.clamp(1, backends::of(backend).containers().most));
        self
    }

    /// The backends that have servers, and how many each.
    pub fn sizes(&self) -> impl Iterator<Item = (&'static dyn ContainerBackend, u8)> {
        self.sizes.iter().map(|(backend, size)| (backends::of(*backend), *size))
    }

    /// How many servers a backend has; none if it is not there.
    pub fn size(&self, backend: Backend) -> u8 {
        self.sizes.get(&backend).copied().unwrap_or_default()
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

    /// All servers, backend by backend.
    pub fn servers(&self) -> impl Iterator<Item = &Wanted> {
        self.servers.iter().filter(|server| server.node.0 <= self.size(server.backend).into())
    }

    /// Hands the settings to a Compose command, and the folder where clocks are.
    pub fn export(&self, command: &mut Command, state: &Path) {
        command.env(NAMES_VARIABLE, &self.names).env(SUBNET_VARIABLE, self.subnet_prefix()).env(STATE_VARIABLE, state);
        for (backend, size) in self.sizes() {
            if let Some(variable) = backend.containers().size_variable {
                command.env(variable, size.to_string());
            }
        }
        for server in &self.servers {
            command.env(server.variable(), server.published.to_string());
        }
    }
}

fn port_variable(backend: Backend, node: NodeId) -> String {
    format!("FENCEPOST_{}_{}_PORT", backend.name().to_uppercase(), node.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::docker::files;

    /// With as many servers as there may be.
    fn all(settings: Settings) -> Settings {
        backends::all().fold(settings, |all, one| all.with_size(one.backend(), u8::MAX))
    }

    fn with(name: &'static str, value: &'static str) -> Result<Settings, SettingsError> {
        Settings::from_lookup(None, |asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn defaults_are_those_of_the_compose_file() {
        let compose = files::content(files::COMPOSE);
        let settings = Settings::from_lookup(None, |_| None).unwrap();
        assert_eq!(settings.servers().count(), 8);
        for own in backends::all().map(|one| one.containers()) {
            assert!(compose.contains(&format!("image: {}\n", own.image)), "{own:?}");
            assert!(
                own.size_variable.is_none_or(|name| compose.contains(&format!("{{{name}:-{}}}", own.usual))),
                "{own:?}"
            );
        }
        let settings = all(settings);
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
        let of = |name| all(Settings::from_lookup(name, |_| None).unwrap());
        let clusters = [of(None), of(Some("a")), of(Some("nightly"))];
        for (at, one) in clusters.iter().enumerate() {
            for other in &clusters[at + 1..] {
                assert_ne!(one.subnet(), other.subnet());
                let shared = |server: &&Wanted| {
                    other.servers().any(|own| own.published == server.published || own.name == server.name)
                };
                assert_eq!(one.servers().find(shared), None);
            }
        }
        assert_eq!(clusters[2].servers[0].name, "fencepost-nightly-redis-1");
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
