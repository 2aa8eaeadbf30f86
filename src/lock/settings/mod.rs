//! Settings as a TOML file that a person can write, and one call from there to a lock.
//!
//! ```toml
//! # lock.toml: one table, named after the lock
//! [redlock]
//! nodes = ["redis://10.0.0.1:6379", "redis://10.0.0.2:6379", "redis://10.0.0.3:6379"]
//! password-env = "REDIS_PASSWORD"   # never in the file
//! ttl = "5s"
//! renewal = true
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use fencepost::{ids::LockName, lock::{AcquireOptions, DistributedLock, Settings}};
//! let lock = Settings::load("lock.toml")?.connect().await?;
//! let options = AcquireOptions::within(std::time::Duration::from_secs(5));
//! let guard = lock.acquire(&LockName::new("invoice-17"), &options).await?;
//! // … the work, with guard.token() in every write …
//! guard.release().await;
//! # Ok(())
//! # }
//! ```
//!
//! Addresses that begin with `rediss://`, and a table `tls = { ca = "/etc/ssl/ours.pem" }`, mean TLS: with the feature
//! `tls`.
//!
//! Every key is used, and one that is unknown is refused with its place. The tables document each. Deliberately absent:
//! the file's search path, environment overrides of single keys, reloading.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tls")]
mod tls;
mod values;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "etcd")]
use super::EtcdLock;
#[cfg(feature = "zookeeper")]
use super::ZookeeperLock;
#[cfg(feature = "redis")]
use super::client::RedisServer;
#[cfg(feature = "zookeeper")]
use super::client::ZookeeperEnsemble;
use super::error::ConfigError;
use super::{DistributedLock, ReadWriteLock, Semaphore};
#[cfg(feature = "redis")]
use super::{RedisLock, Redlock};
use serde::Deserialize;

#[cfg(feature = "etcd")]
pub use self::etcd::EtcdTable;
#[cfg(feature = "redis")]
pub use self::redis::{RedisTable, RedlockTable};
#[cfg(feature = "tls")]
pub use self::tls::TlsTable;
#[cfg(feature = "zookeeper")]
pub use self::zookeeper::ZookeeperTable;
use super::runtime::{SharedRuntime, TokioRuntime};

/// The shortest lease: of a shorter one the allowance for clock drift (1 % and 2 ms) would leave too little.
const SHORTEST_TTL: Duration = Duration::from_millis(10);

/// How long to wait for the servers at first, if the file does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is wrong with which key.
type Problem = (String, String);

/// Which lock, over which servers, with which settings: a settings file that was read and checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Settings {
    /// The lock at one Redis server.
    #[cfg(feature = "redis")]
    Redis(RedisTable),
    /// Redlock over independent Redis masters.
    #[cfg(feature = "redis")]
    Redlock(RedlockTable),
    /// The lock in a ZooKeeper ensemble.
    #[cfg(feature = "zookeeper")]
    Zookeeper(ZookeeperTable),
    /// The lock in an etcd cluster.
    #[cfg(feature = "etcd")]
    Etcd(EtcdTable),
}

/// Why settings cannot be used, or bring no lock.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The text is no TOML, or has a key or value that is not known: with line, column and what would be right.
    #[error("{origin}: {error}")]
    Malformed {
        /// The file, or what else the text is from.
        origin: String,
        /// The place and the reason.
        error: toml::de::Error,
    },
    /// A value makes no sense where it stands.
    #[error("{origin}: `{key}`: {problem}")]
    Invalid {
        /// The file, or what else the text is from.
        origin: String,
        /// The key, with its table.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A table that was made in code names no server.
    #[error("the settings name no server")]
    NoServer,
    /// A secret's environment variable is not there.
    #[error("`{key}` names the environment variable {variable}, which {problem}")]
    Environment {
        /// The key that names it.
        key: &'static str,
        /// Its name.
        variable: String,
        /// Why it cannot be used.
        problem: &'static str,
    },
    /// A certificate or a key cannot be used.
    #[cfg(feature = "tls")]
    #[error("`{key}`: {error}")]
    Tls {
        /// The key that names it.
        key: &'static str,
        /// What is wrong.
        error: super::client::TlsError,
    },
    /// The values make no lock together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The servers refuse what a lock needs, or too few of them answer.
    #[error("no lock to be had from {servers}: {problem}")]
    Servers {
        /// Which servers.
        servers: String,
        /// What they say.
        problem: String,
    },
}

impl Settings {
    /// Reads and checks the settings in a file.
    ///
    /// # Errors
    /// It cannot be read, or says something that is not known or makes no sense.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|error| SettingsError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads and checks settings; `origin` says where the text is from, for errors.
    ///
    /// # Errors
    /// The text says something that is not known or makes no sense.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SettingsError> {
        let file: File =
            toml::from_str(text).map_err(|error| SettingsError::Malformed { origin: origin.to_owned(), error })?;
        file.settings().map_err(|(key, problem)| SettingsError::Invalid { origin: origin.to_owned(), key, problem })
    }

    /// The lock, after a look at its servers: those that refuse the password, and too few that answer, are errors now
    /// and not at the first acquire. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A secret is not there, or the servers refuse or do not answer within `connect-timeout`.
    pub async fn connect(&self) -> Result<Box<dyn DistributedLock>, SettingsError> {
        let runtime: SharedRuntime = Arc::new(TokioRuntime::from_entropy());
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(table) => {
                Ok(Box::new(RedisLock::new(master(table, &runtime).await?, table.behaviour(), runtime)?))
            }
            #[cfg(feature = "redis")]
            Self::Redlock(table) => {
                let nodes = table.nodes()?;
                redis::look_at_masters(&nodes, table.connect_timeout, &runtime).await?;
                let nodes = nodes.into_iter().map(|node| Arc::new(node) as _).collect();
                Ok(Box::new(Redlock::new(nodes, table.behaviour(), runtime)?))
            }
            #[cfg(feature = "zookeeper")]
            Self::Zookeeper(table) => {
                Ok(Box::new(ZookeeperLock::new(ensemble(table, &runtime).await?, table.behaviour(), runtime)))
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(table) => {
                Ok(Box::new(EtcdLock::new(table.looked_at(&runtime).await?, table.behaviour(), runtime)?))
            }
        }
    }

    /// The read-write lock of the same servers and settings, as [`Settings::connect`].
    ///
    /// # Errors
    /// As there; and [`ConfigError::NotOnRedlock`].
    pub async fn connect_read_write(&self) -> Result<ReadWriteLock, SettingsError> {
        let runtime: SharedRuntime = Arc::new(TokioRuntime::from_entropy());
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(table) => {
                Ok(ReadWriteLock::at_redis(master(table, &runtime).await?, table.behaviour(), runtime)?)
            }
            #[cfg(feature = "redis")]
            Self::Redlock(_) => Err(ConfigError::NotOnRedlock("read-write lock").into()),
            #[cfg(feature = "zookeeper")]
            Self::Zookeeper(table) => {
                Ok(ReadWriteLock::in_zookeeper(ensemble(table, &runtime).await?, table.behaviour(), runtime))
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(_) => Err(ConfigError::NotOnEtcd("read-write lock").into()),
        }
    }

    /// The semaphore of the same servers and settings, as [`Settings::connect`].
    ///
    /// # Errors
    /// As there; and [`ConfigError::NotOnRedlock`].
    pub async fn connect_semaphore(&self, permits: NonZeroU32) -> Result<Semaphore, SettingsError> {
        let runtime: SharedRuntime = Arc::new(TokioRuntime::from_entropy());
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(table) => {
                Ok(Semaphore::at_redis(master(table, &runtime).await?, table.behaviour(), permits, runtime)?)
            }
            #[cfg(feature = "redis")]
            Self::Redlock(_) => Err(ConfigError::NotOnRedlock("semaphore").into()),
            #[cfg(feature = "zookeeper")]
            Self::Zookeeper(table) => {
                Ok(Semaphore::in_zookeeper(ensemble(table, &runtime).await?, table.behaviour(), permits, runtime))
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(_) => Err(ConfigError::NotOnEtcd("semaphore").into()),
        }
    }
}

/// The one server of a lock, looked at.
#[cfg(feature = "redis")]
async fn master(table: &RedisTable, runtime: &SharedRuntime) -> Result<Arc<RedisServer>, SettingsError> {
    let nodes: Vec<_> = table.node()?.into_iter().collect();
    redis::look_at_masters(&nodes, table.connect_timeout, runtime).await?;
    nodes.into_iter().next().map(Arc::new).ok_or(SettingsError::NoServer)
}

/// The ensemble, looked at.
#[cfg(feature = "zookeeper")]
async fn ensemble(table: &ZookeeperTable, runtime: &SharedRuntime) -> Result<Arc<ZookeeperEnsemble>, SettingsError> {
    let ensemble = table.ensemble()?;
    table.look(&ensemble, runtime).await?;
    Ok(Arc::new(ensemble))
}

/// The file as it stands: each table is a lock's.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, expecting = "a table that is named after a lock")]
struct File {
    #[cfg(feature = "redis")]
    redis: Option<RedisTable>,
    #[cfg(feature = "redis")]
    redlock: Option<RedlockTable>,
    #[cfg(not(feature = "redis"))]
    #[serde(default, deserialize_with = "values::unbuilt")]
    #[expect(dead_code, reason = "only there to be refused")]
    redis: Option<()>,
    #[cfg(not(feature = "redis"))]
    #[serde(default, deserialize_with = "values::unbuilt")]
    #[expect(dead_code, reason = "only there to be refused")]
    redlock: Option<()>,
    #[cfg(feature = "zookeeper")]
    zookeeper: Option<ZookeeperTable>,
    #[cfg(not(feature = "zookeeper"))]
    #[serde(default, deserialize_with = "values::unbuilt")]
    #[expect(dead_code, reason = "only there to be refused")]
    zookeeper: Option<()>,
    #[cfg(feature = "etcd")]
    etcd: Option<EtcdTable>,
    #[cfg(not(feature = "etcd"))]
    #[serde(default, deserialize_with = "values::unbuilt")]
    #[expect(dead_code, reason = "only there to be refused")]
    etcd: Option<()>,
}

impl File {
    /// The one table's settings, checked.
    fn settings(self) -> Result<Settings, Problem> {
        let mut found: Vec<(&str, Result<Settings, Problem>)> = Vec::new();
        #[cfg(feature = "redis")]
        if let Some(table) = self.redis {
            found.push(("redis", table.checked().map(Settings::Redis)));
        }
        #[cfg(feature = "redis")]
        if let Some(table) = self.redlock {
            found.push(("redlock", table.checked().map(Settings::Redlock)));
        }
        #[cfg(feature = "zookeeper")]
        if let Some(table) = self.zookeeper {
            found.push(("zookeeper", table.checked().map(Settings::Zookeeper)));
        }
        #[cfg(feature = "etcd")]
        if let Some(table) = self.etcd {
            found.push(("etcd", table.checked().map(Settings::Etcd)));
        }
        match found.len() {
            1 => found.remove(0).1,
            0 => Err((
                "redlock".to_owned(),
                "there is no lock: write a table `[redlock]`, `[redis]`, `[zookeeper]` or `[etcd]`".to_owned(),
            )),
            _ => {
                let problem = format!("there is a table `[{}]`, too: a file has one lock", found[0].0);
                Err((found[1].0.to_owned(), problem))
            }
        }
    }
}

/// A secret from the environment.
fn secret(key: &'static str, variable: &str) -> Result<String, SettingsError> {
    let problem = match std::env::var(variable) {
        Ok(value) if !value.is_empty() => return Ok(value),
        Ok(_) => "is empty",
        Err(std::env::VarError::NotPresent) => "is not set",
        Err(std::env::VarError::NotUnicode(_)) => "is no UTF-8",
    };
    Err(SettingsError::Environment { key, variable: variable.to_owned(), problem })
}

#[cfg(all(test, feature = "etcd", feature = "redis", feature = "zookeeper"))]
mod tests;
