//! The table of the lock in a ZooKeeper ensemble, key by key.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

#[cfg(feature = "tls")]
use super::tls::TlsTable;
use super::{CONNECT_TIMEOUT, Problem, SHORTEST_TTL, SettingsError, secret, values};
use crate::lock::ZookeeperSettings;
use crate::lock::backend::ZkConnector;
use crate::lock::client::{ZkAddress, ZookeeperEnsemble};
use crate::lock::error::ZkError;
use crate::lock::runtime::{SharedRuntime, before};

/// The lock in a ZooKeeper ensemble: `[zookeeper]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default, expecting = "a table")]
pub struct ZookeeperTable {
    /// The ensemble: `zk://host[:port],host[:port][/chroot]`. The chroot must exist.
    #[serde(deserialize_with = "address")]
    pub servers: Option<ZkAddress>,
    /// The name of an environment variable with `user:password` for ZooKeeper's digest scheme. With it, only this user
    /// may touch the lock's znodes; without it, anybody may.
    pub auth_env: Option<String>,
    /// TLS to the servers: whom to trust, which must be said, and who the client is. Plain if absent.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsTable>,
    /// How long the ensemble waits for a silent client before it ends the session and gives its locks away, in whole
    /// milliseconds; the ensemble grants 2 to 20 of its ticks. `10s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub session_timeout: Duration,
    /// The path below which each lock has a znode of its own; `/fencepost/locks` if absent.
    pub root: String,
    /// How long a guard may last, however long its session lives, or `none` for no limit; `3600s` if absent.
    #[serde(deserialize_with = "values::limit")]
    pub max_hold: Option<Duration>,
    /// The servers' `tickTime`: the shorter, the longer a guard may be believed that reaches nobody. `none` if it is
    /// not known, as if absent: then half of the session timeout.
    #[serde(deserialize_with = "values::limit")]
    pub tick: Option<Duration>,
    /// How long [`Settings::connect`](super::Settings::connect) waits for the ensemble; `5s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
}

impl Default for ZookeeperTable {
    fn default() -> Self {
        Self {
            servers: None,
            auth_env: None,
            #[cfg(feature = "tls")]
            tls: None,
            session_timeout: Duration::from_secs(10),
            root: ZookeeperSettings::default().root,
            max_hold: ZookeeperSettings::default().max_hold,
            tick: None,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }
}

impl ZookeeperTable {
    pub(super) fn checked(self) -> Result<Self, Problem> {
        let problem = |key: &str, problem: &str| Err((format!("zookeeper.{key}"), problem.to_owned()));
        if self.servers.is_none() {
            return problem("servers", "no server is named: write `servers = \"zk://10.0.0.1:2181,10.0.0.2:2181\"`");
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.checked("zookeeper", true)?;
            if tls.ca.is_none() {
                return problem("tls.ca", "must name a file with the certificates of the servers' authority");
            }
        }
        if self.session_timeout < SHORTEST_TTL || !self.session_timeout.subsec_nanos().is_multiple_of(1_000_000) {
            return problem("session-timeout", "must be whole milliseconds, at least 10 ms");
        }
        let names = self.root.strip_prefix('/').map(|names| names.split('/'));
        if !names.is_some_and(|mut names| names.all(|name| !matches!(name, "" | "." | ".."))) {
            return problem("root", "must be a path such as `/fencepost/locks`");
        }
        values::some_time(self.max_hold).map_err(|text| ("zookeeper.max-hold".to_owned(), text))?;
        values::some_time(self.tick).map_err(|text| ("zookeeper.tick".to_owned(), text))?;
        if self.tick.is_some_and(|tick| tick >= self.session_timeout) {
            return problem(
                "tick",
                "must be shorter than session-timeout, of which the servers grant two ticks at least",
            );
        }
        Ok(self)
    }

    /// How the lock behaves.
    pub fn behaviour(&self) -> ZookeeperSettings {
        ZookeeperSettings { root: self.root.clone(), max_hold: self.max_hold, tick: self.tick }
    }

    /// The ensemble, with its credentials; nothing is sent yet.
    ///
    /// # Errors
    /// The environment variable with the credentials is not there, or a certificate cannot be used.
    pub fn ensemble(&self) -> Result<ZookeeperEnsemble, SettingsError> {
        let servers = self.servers.as_ref().map(ZkAddress::connect_string).unwrap_or_default();
        let ensemble = ZookeeperEnsemble::new(servers, self.session_timeout);
        #[cfg(feature = "tls")]
        let ensemble = match &self.tls {
            None => ensemble,
            Some(tls) => {
                let key = "zookeeper.tls";
                ensemble.with_tls(&tls.files()).map_err(|error| SettingsError::Tls { key, error })?
            }
        };
        match &self.auth_env {
            None => Ok(ensemble),
            Some(variable) => Ok(ensemble.with_digest(&secret("zookeeper.auth-env", variable)?)),
        }
    }

    /// Opens a session and closes it again.
    pub(super) async fn look(
        &self,
        ensemble: &ZookeeperEnsemble,
        runtime: &SharedRuntime,
    ) -> Result<(), SettingsError> {
        let patience = self.connect_timeout;
        let problem = match before(&**runtime, runtime.now() + patience, ensemble.connect()).await {
            Some(Ok(_)) => return Ok(()),
            Some(Err(ZkError::Refused(reason))) => format!("refused: {reason}"),
            Some(Err(error)) => error.to_string(),
            None => format!("no session within {patience:?}"),
        };
        let servers = self.servers.as_ref().map(ToString::to_string).unwrap_or_default();
        Err(SettingsError::Servers { servers, problem })
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ZkAddress>, D::Error> {
    values::Address::deserialize(deserializer).map(|address| Some(address.0))
}
