//! The table of the lock in an etcd cluster, key by key.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{CONNECT_TIMEOUT, Problem, SettingsError, values};
use crate::lock::EtcdSettings;
use crate::lock::backend::EtcdCluster;
use crate::lock::client::{EtcdAddress, EtcdMembers};
use crate::lock::error::EtcdError;
use crate::lock::runtime::{SharedRuntime, before};

/// The pause between two looks at members that do not answer yet.
const AGAIN: Duration = Duration::from_millis(100);

/// The lock in an etcd cluster: `[etcd]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default, expecting = "a table")]
pub struct EtcdTable {
    /// The members: `etcd://host[:port],host[:port]`, without TLS and passwords.
    #[serde(deserialize_with = "address")]
    pub members: Option<EtcdAddress>,
    /// How long etcd keeps a hold whose client is silent, in whole seconds; `10s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub ttl: Duration,
    /// The prefix below which each lock has its keys; `/fencepost/locks` if absent.
    pub prefix: String,
    /// How long a guard may last, however long its lease is kept alive, or `none` for no limit; `3600s` if absent.
    #[serde(deserialize_with = "values::limit")]
    pub max_hold: Option<Duration>,
    /// How long [`Settings::connect`](super::Settings::connect) waits for an answer; `5s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
}

impl Default for EtcdTable {
    fn default() -> Self {
        let EtcdSettings { prefix, ttl, max_hold } = EtcdSettings::default();
        Self { members: None, ttl, prefix, max_hold, connect_timeout: CONNECT_TIMEOUT }
    }
}

impl EtcdTable {
    pub(super) fn checked(self) -> Result<Self, Problem> {
        let problem = |key: &str, problem: &str| Err((format!("etcd.{key}"), problem.to_owned()));
        if self.members.is_none() {
            return problem("members", "no member is named: write `members = \"etcd://10.0.0.1:2379,10.0.0.2:2379\"`");
        }
        if self.ttl < Duration::from_secs(1) || self.ttl.subsec_nanos() != 0 {
            return problem(
                "ttl",
                "must be whole seconds, at least 1 s; etcd grants no less than one and a half of its election timeouts",
            );
        }
        if self.prefix.is_empty() || self.prefix.ends_with('/') {
            return problem("prefix", "must be a text such as `/fencepost/locks`, without a `/` at its end");
        }
        values::some_time(self.max_hold).map_err(|text| ("etcd.max-hold".to_owned(), text))?;
        Ok(self)
    }

    /// How the lock behaves.
    pub fn behaviour(&self) -> EtcdSettings {
        EtcdSettings { prefix: self.prefix.clone(), ttl: self.ttl, max_hold: self.max_hold }
    }

    /// The members; nothing is sent yet.
    ///
    /// # Errors
    /// None is named.
    pub fn cluster(&self) -> Result<EtcdMembers, SettingsError> {
        self.members.clone().map(EtcdMembers::new).ok_or(SettingsError::NoServer)
    }

    /// The members, after one of them has answered for a majority.
    pub(super) async fn looked_at(&self, runtime: &SharedRuntime) -> Result<Arc<EtcdMembers>, SettingsError> {
        let members = self.cluster()?;
        let patience = self.connect_timeout;
        let until = runtime.now() + patience;
        let mut last = format!("no answer within {patience:?}");
        loop {
            match before(&**runtime, until.min(runtime.now() + patience / 3), members.line(&self.prefix)).await {
                Some(Ok(_)) => return Ok(Arc::new(members)),
                Some(Err(EtcdError::Denied(why))) => {
                    return Err(SettingsError::Servers { servers: members.name().to_owned(), problem: why });
                }
                Some(Err(error)) => last = error.to_string(),
                None => {}
            }
            if runtime.now() + AGAIN >= until {
                return Err(SettingsError::Servers { servers: members.name().to_owned(), problem: last });
            }
            runtime.sleep_until(runtime.now() + AGAIN).await;
        }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EtcdAddress>, D::Error> {
    values::Address::deserialize(deserializer).map(|address| Some(address.0))
}
