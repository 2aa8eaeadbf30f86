//! Lock servers that were there before, and are not fencepost's: `--servers`.
//!
//! Nothing is done to them but what a client of a lock does. Each is reached through a *door*, a container of ours in the
//! trial's network, so that a client's link to one of them is a link between two containers of ours: it is cut, delayed and
//! looked at as any other, inside these. Behind the doors stands a [`relay`] in this process: what this machine reaches,
//! clients reach, a server at 127.0.0.1 too. What clients have left in the servers under the trial's own names is removed.
//!
//! Deliberately absent: anything that asks a server for more than its locks need, or changes how it works.

pub mod door;
mod network;
mod relay;
mod session;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::lock::backend::ZkConnector;
use crate::lock::client::{RedisEndpoint, RedisServer, ZookeeperEnsemble};
use crate::lock::error::ZkError;
use crate::lock::{Settings, SettingsError};
use crate::scenario::{Backend, LockConfig};

pub use session::Rooms;

/// How long a server may take to show that it is there.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the names of a trial may take to be removed from one server.
const LEAVING: Duration = Duration::from_secs(30);

/// Why servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// They are named in a way that is not known.
    #[error(
        "--servers `{shown}`: {problem}; give `redis://host:port,redis://host:port,…`, `zk://host:port,host:port/chroot`, or a settings file, `lock.toml`"
    )]
    Word {
        /// What was given, without passwords.
        shown: String,
        /// What is wrong.
        problem: String,
    },
    /// The settings are no use.
    #[error("--servers: {0}")]
    Settings(#[from] SettingsError),
    /// Two of a kind.
    #[error("--servers names {0} servers twice: name all of them in one word, separated by commas")]
    Twice(&'static str),
    /// They are not there, or refuse.
    #[error("--servers: {server} cannot be used: {problem}; every server that is named takes part in a trial")]
    Absent {
        /// Which.
        server: String,
        /// What it said.
        problem: String,
    },
    /// An ensemble that grants other sessions than the scenario is about.
    #[error(
        "--servers: the ensemble grants sessions of {granted:?} where lock `{lock}` asks for {asked:?}, and the scenario would \
         not run what it says: write session-timeout = \"{granted:?}\" there and suit its faults to it, or set \
         minSessionTimeout and maxSessionTimeout in the ensemble"
    )]
    Session {
        /// Whose.
        lock: String,
        /// What it asks for.
        asked: Duration,
        /// What it gets.
        granted: Duration,
    },
}

/// Servers as they were given: of one backend, or of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Given {
    /// Settings in TOML, with a table for the masters.
    redis: Option<String>,
    /// Settings in TOML, with a table for the ensemble.
    zookeeper: Option<String>,
}

impl Given {
    /// Reads what was given with `--servers`, once or twice.
    ///
    /// # Errors
    /// A word names no servers, or they are named twice.
    pub fn parse(words: &[String]) -> Result<Self, GivenError> {
        let mut given = Self::default();
        for word in words {
            let toml = if word.ends_with(".toml") {
                Settings::load(word)?;
                std::fs::read_to_string(word).map_err(|error| SettingsError::Unreadable { path: word.into(), error })?
            } else {
                settings_of(word)?
            };
            let (slot, kind) = match Settings::parse(&toml, word_shown(word).as_str())? {
                Settings::Zookeeper(_) => (&mut given.zookeeper, "ZooKeeper"),
                Settings::Redis(_) | Settings::Redlock(_) => (&mut given.redis, "Redis"),
                Settings::Etcd(_) => {
                    let problem = "etcd that is there already is not tried yet".to_owned();
                    return Err(GivenError::Word { shown: word_shown(word), problem });
                }
            };
            if slot.replace(toml).is_some() {
                return Err(GivenError::Twice(kind));
            }
        }
        for endpoint in given.masters()? {
            if endpoint.host_and_port().is_none() {
                let problem = "a socket file is not reached from a client's container".to_owned();
                return Err(GivenError::Word { shown: endpoint.to_string(), problem });
            }
        }
        Ok(given)
    }

    fn settings(text: Option<&String>) -> Result<Option<Settings>, SettingsError> {
        text.map(|text| Settings::parse(text, "--servers")).transpose()
    }

    /// The Redis masters.
    fn masters(&self) -> Result<Vec<RedisEndpoint>, SettingsError> {
        Ok(match Self::settings(self.redis.as_ref())? {
            Some(Settings::Redlock(table)) => table.nodes,
            Some(Settings::Redis(table)) => table.node.into_iter().collect(),
            _ => Vec::new(),
        })
    }

    /// The servers of the ensemble, each as `host:port`.
    fn ensemble_members(&self) -> Result<Vec<String>, SettingsError> {
        Ok(match Self::settings(self.zookeeper.as_ref())? {
            Some(Settings::Zookeeper(table)) => table.servers.map(|all| all.servers().to_vec()).unwrap_or_default(),
            _ => Vec::new(),
        })
    }

    /// How many servers of a backend there are.
    pub fn count(&self, backend: Backend) -> u32 {
        let count = match backend {
            Backend::Redis => self.masters().map(|all| all.len()),
            Backend::Zookeeper => self.ensemble_members().map(|all| all.len()),
            // No word of `--servers` names any.
            Backend::Etcd => return 0,
        };
        // It was read before.
        count.unwrap_or_default() as u32
    }

    /// Host and port of each server of a backend, by number.
    fn places(&self, backend: Backend) -> Result<Vec<(String, u16)>, SettingsError> {
        let of_text = |text: &String| {
            let (host, port) = text.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        };
        Ok(match backend {
            Backend::Redis => {
                let place = |one: &RedisEndpoint| one.host_and_port().map(|(host, port)| (host.to_owned(), port));
                self.masters()?.iter().filter_map(place).collect()
            }
            Backend::Zookeeper => self.ensemble_members()?.iter().filter_map(of_text).collect(),
            Backend::Etcd => Vec::new(),
        })
    }

    /// The masters as clients of this machine, or through `doors`, one for each.
    ///
    /// # Errors
    /// The environment variable with the password is not there.
    pub fn nodes(&self, doors: Option<&[SocketAddr]>) -> Result<Vec<RedisServer>, SettingsError> {
        let reach = |endpoint: RedisEndpoint, at: usize| match doors.and_then(|doors| doors.get(at)) {
            Some(door) => endpoint.reached_at(*door),
            None => endpoint,
        };
        Ok(match Self::settings(self.redis.as_ref())? {
            Some(Settings::Redlock(mut table)) => {
                table.nodes = table.nodes.into_iter().zip(0..).map(|(node, at)| reach(node, at)).collect();
                table.nodes()?
            }
            Some(Settings::Redis(mut table)) => {
                table.node = table.node.map(|node| reach(node, 0));
                table.node()?.into_iter().collect()
            }
            _ => Vec::new(),
        })
    }

    /// The ensemble as a client of this machine, or through `doors`, one for each server.
    ///
    /// # Errors
    /// There is none, or the environment variable with the credentials is not there.
    pub fn ensemble(
        &self,
        doors: Option<&[SocketAddr]>,
        session: Duration,
    ) -> Result<ZookeeperEnsemble, SettingsError> {
        let Some(Settings::Zookeeper(mut table)) = Self::settings(self.zookeeper.as_ref())? else {
            return Err(SettingsError::NoServer);
        };
        table.session_timeout = session;
        if let Some(doors) = doors {
            let reached = doors.iter().map(ToString::to_string).collect();
            table.servers = table.servers.map(|servers| servers.reached_at(reached));
        }
        table.ensemble()
    }

    /// The environment variables with secrets that these settings name, as `NAME=value`, for whoever is to use them.
    fn secrets(&self) -> Vec<String> {
        let named =
            [self.redis.as_ref(), self.zookeeper.as_ref()].into_iter().filter_map(|text| {
                match Self::settings(text).ok()?? {
                    Settings::Redlock(table) => table.password_env,
                    Settings::Redis(table) => table.password_env,
                    Settings::Zookeeper(table) => table.auth_env,
                    Settings::Etcd(_) => None,
                }
            });
        named.filter_map(|name| Some(format!("{name}={}", std::env::var(&name).ok()?))).collect()
    }

    /// Looks whether every server is there and lets us in, and grants the sessions that `locks` are about.
    ///
    /// # Errors
    /// One is not, or does not.
    pub async fn look(&self, locks: &[(&str, &LockConfig)]) -> Result<(), GivenError> {
        let absent = |server: &str, problem: String| GivenError::Absent { server: server.to_owned(), problem };
        if locks.iter().any(|(_, lock)| lock.backend() == Backend::Redis) {
            let nodes = self.nodes(None)?;
            let looks = join_all(nodes.iter().map(|node| tokio::time::timeout(PATIENCE, node.ping()))).await;
            for (endpoint, look) in self.masters()?.iter().zip(looks) {
                match look {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(absent(&endpoint.to_string(), error.to_string())),
                    Err(_) => return Err(absent(&endpoint.to_string(), format!("no answer within {PATIENCE:?}"))),
                }
            }
        }
        for (name, lock) in locks {
            let LockConfig::Zookeeper(config) = lock else { continue };
            let (shown, asked) = (self.ensemble_members()?.join(","), config.session_timeout);
            let ensemble = self.ensemble(None, asked)?;
            let granted = match tokio::time::timeout(PATIENCE, ensemble.connect()).await {
                Ok(Ok(session)) => session.timeout(),
                Ok(Err(error)) => return Err(absent(&shown, error.to_string())),
                Err(_) => return Err(absent(&shown, format!("no session within {PATIENCE:?}"))),
            };
            if granted != asked {
                return Err(GivenError::Session { lock: (*name).to_owned(), asked, granted });
            }
        }
        Ok(())
    }

    /// Removes what a trial left under its own names; in words, what could not be removed and where.
    pub async fn remove(&self, backend: Backend, namespace: &str) -> Vec<String> {
        let in_vain = |server: &str, why: String| {
            format!("{server} keeps what the trial has left under `{namespace}`: {why}; remove it by hand")
        };
        let late = || format!("not done within {LEAVING:?}");
        match backend {
            Backend::Etcd => Vec::new(),
            Backend::Redis => {
                let Ok(nodes) = self.nodes(None) else { return Vec::new() };
                let shown: Vec<String> = self.masters().iter().flatten().map(ToString::to_string).collect();
                let part = format!("{namespace}:");
                let removed = nodes.iter().map(|node| tokio::time::timeout(LEAVING, node.delete_with(&part)));
                let failed =
                    join_all(removed).await.into_iter().zip(shown).filter_map(|(removed, shown)| match removed {
                        Ok(Ok(_)) => None,
                        Ok(Err(error)) => Some(in_vain(&shown, error.to_string())),
                        Err(_) => Some(in_vain(&shown, late())),
                    });
                failed.collect()
            }
            Backend::Zookeeper => {
                let Ok(ensemble) = self.ensemble(None, PATIENCE) else { return Vec::new() };
                let shown = self.ensemble_members().unwrap_or_default().join(",");
                let path = format!("/{namespace}");
                let why = match tokio::time::timeout(LEAVING, ensemble.delete_below(&path)).await {
                    Ok(Ok(_)) | Ok(Err(ZkError::NoNode)) => return Vec::new(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => late(),
                };
                vec![in_vain(&shown, why)]
            }
        }
    }

    /// As it can be given again, without passwords: a word for each backend.
    pub fn words(&self) -> Vec<String> {
        let masters = self.masters().unwrap_or_default();
        let redis: Vec<String> = masters.iter().map(|endpoint| format!("redis://{endpoint}")).collect();
        let ensemble = match Self::settings(self.zookeeper.as_ref()) {
            Ok(Some(Settings::Zookeeper(table))) => table.servers.map(|servers| servers.to_string()),
            _ => None,
        };
        let redis = (!redis.is_empty()).then(|| redis.join(","));
        redis.into_iter().chain(ensemble).collect()
    }
}

impl fmt::Display for Given {
    /// What every result says of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: given with --servers, not fencepost's. Faults were at clients and at their links only; what else happened to \
             these servers was not watched, but for connections that they refused or ended",
            self.words().join(" and ")
        )
    }
}

/// A word without what may be a password.
fn word_shown(word: &str) -> String {
    let hidden = |part: &str| match part.split_once("://").zip(part.rsplit_once('@')) {
        Some(((scheme, _), (_, place))) => format!("{scheme}://…@{place}"),
        None => part.to_owned(),
    };
    word.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

/// Settings with the servers that a word lists.
fn settings_of(word: &str) -> Result<String, GivenError> {
    let wrong = |problem: &dyn fmt::Display| GivenError::Word { shown: word_shown(word), problem: problem.to_string() };
    let quoted = |text: &str| toml::Value::from(text).to_string();
    if word.starts_with("zk://") {
        word.parse::<crate::lock::client::ZkAddress>().map_err(|error| wrong(&error))?;
        return Ok(format!("[zookeeper]\nservers = {}\n", quoted(word)));
    }
    let masters: Vec<&str> = word.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if masters.is_empty() {
        return Err(wrong(&"it names no server"));
    }
    for master in &masters {
        // Here, and not in the settings, whose errors show the line with its password.
        master.parse::<RedisEndpoint>().map_err(|error| wrong(&error))?;
    }
    let masters: Vec<String> = masters.into_iter().map(quoted).collect();
    Ok(format!("[redlock]\nnodes = [{}]\n", masters.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Given, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Given::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        let both = given(&["redis://a,redis://:pw@b:7001,redis://c/2", "zk://x,y:2182,[::1]/shop"]).unwrap();
        assert_eq!((both.count(Backend::Redis), both.count(Backend::Zookeeper)), (3, 3));
        let places = |backend| both.places(backend).unwrap();
        let owned =
            |list: &[(&str, u16)]| list.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect::<Vec<_>>();
        assert_eq!(places(Backend::Redis), owned(&[("a", 6379), ("b", 7001), ("c", 6379)]));
        assert_eq!(places(Backend::Zookeeper), owned(&[("x", 2181), ("y", 2182), ("::1", 2181)]));
        assert_eq!(
            both.words(),
            ["redis://a:6379,redis://b:7001,redis://c:6379/2", "zk://x:2181,y:2182,[::1]:2181/shop"]
        );
        assert!(!both.to_string().contains("pw") && both.to_string().contains("at clients"), "{both}");
        let one = given(&["redis://a"]).unwrap();
        assert_eq!((one.count(Backend::Redis), one.count(Backend::Zookeeper)), (1, 0));
    }

    #[test]
    fn a_settings_file_brings_its_servers_and_its_secrets_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock.toml");
        std::fs::write(&file, "[redis]\nnode = \"redis://a\"\npassword-env = \"PATH\"\n").unwrap();
        let given = given(&[file.to_str().unwrap()]).unwrap();
        assert_eq!(given.count(Backend::Redis), 1);
        assert!(given.secrets()[0].starts_with("PATH="));
        assert_eq!(given.nodes(None).unwrap().len(), 1);
    }

    #[test]
    fn a_mistake_says_what_would_be_right_and_shows_no_password() {
        for (words, part) in [
            (&["a:6379"] as &[&str], "redis://host:port"),
            (&[""], "names no server"),
            (&["redis://:secret@a,http://:secret@b"], "redis://host:port"),
            (&["redis://:secret@a,redis://b"], "odd"),
            (&["redis://:secret@a,redis://:secret@a,redis://b"], "twice"),
            (&["zk://a,,b"], "zk://"),
            (&["redis://a", "redis://b"], "twice"),
            (&["unix:///run/redis.sock"], "socket file"),
            (&["/no/such/lock.toml"], "/no/such/lock.toml"),
        ] {
            let error = given(words).expect_err(part);
            assert!(error.contains(part) && error.contains("--servers") && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let config = |table: &str| {
            let text = format!(
                "title = \"t\"\n[workload]\nkind = \"inventory\"\nclients = 2\nhold = \"1ms\"\nthink = \"1ms\"\nduration = \
                 \"1s\"\n[lock.redlock]\n{table}"
            );
            let given = crate::scenario::Capabilities::given_servers();
            crate::scenario::parse(std::path::Path::new("t.toml"), &text, &given).unwrap()
        };
        let scenario = config("nodes = 1");
        let servers = given(&["redis://127.0.0.1:1"]).unwrap();
        let error = servers.look(&[("redlock", &scenario.locks["redlock"])]).await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1") && error.contains("cannot be used"), "{error}");
    }
}
