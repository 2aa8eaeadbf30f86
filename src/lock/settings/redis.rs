//! The tables of locks over Redis, key by key.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Deserializer};

#[cfg(feature = "tls")]
use super::tls::TlsTable;
use super::{CONNECT_TIMEOUT, Problem, SHORTEST_TTL, SettingsError, secret, values};
use crate::duration::{self, DurationRange, UNITS_HELP};
use crate::lock::backend::RedisNode;
#[cfg(feature = "tls")]
use crate::lock::client::Tls;
use crate::lock::client::{RedisEndpoint, RedisServer};
use crate::lock::error::NodeError;
use crate::lock::runtime::{SharedRuntime, before};
use crate::lock::{RedisLockSettings, RedlockSettings, Tokens, Waiting};

/// Redlock: `[redlock]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default, expecting = "a table")]
pub struct RedlockTable {
    /// The masters: `redis://[user[:password]@]host[:port][/database]`, `rediss://…` for TLS, `unix:///path`. They must
    /// know nothing of each other; an odd number, five as published.
    #[serde(deserialize_with = "addresses")]
    pub nodes: Vec<RedisEndpoint>,
    /// The name of an environment variable with the password of every node that has none in its address.
    pub password_env: Option<String>,
    /// Certificates for addresses that begin with `rediss://`: whom to trust, and who the client is.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsTable>,
    /// The lease's length, in whole milliseconds; `10s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub ttl: Duration,
    /// How long one node may take to answer before it counts as not having voted; `50ms` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub node_timeout: Duration,
    /// The random delay between two attempts; `20ms..80ms` if absent.
    #[serde(deserialize_with = "range")]
    pub retry_delay: DurationRange,
    /// Whether who waits asks again after a retry delay, `"poll"`, or is called when the lock is given back,
    /// `"called"`; the former if absent. The same for all that compete for a lock.
    pub waiting: Waiting,
    /// Whether a held lease is renewed every third of its length until it is released or lost; off if absent.
    pub renewal: bool,
    /// How long a guard may last, however often it is renewed, or `none` for no limit; `3600s` if absent.
    #[serde(deserialize_with = "values::limit")]
    pub max_hold: Option<Duration>,
    /// Fencing tokens, `"quorum"` or `"none"`; none if absent, as published.
    pub tokens: Tokens,
    /// Put before every lock's name to make its key; `fencepost:` if absent.
    pub key_prefix: String,
    /// How long [`Settings::connect`](super::Settings::connect) waits for the servers; `5s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
}

impl Default for RedlockTable {
    fn default() -> Self {
        let behaviour = RedlockSettings::default();
        Self {
            nodes: Vec::new(),
            password_env: None,
            #[cfg(feature = "tls")]
            tls: None,
            ttl: behaviour.ttl,
            node_timeout: behaviour.node_timeout,
            retry_delay: DurationRange::new(behaviour.retry_delay_min, behaviour.retry_delay_max),
            waiting: behaviour.waiting,
            renewal: behaviour.renewal,
            max_hold: behaviour.max_hold,
            tokens: behaviour.tokens,
            key_prefix: behaviour.key_prefix,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }
}

impl RedlockTable {
    pub(super) fn checked(self) -> Result<Self, Problem> {
        let problem = |key: &str, problem: String| Err((format!("redlock.{key}"), problem));
        if self.nodes.is_empty() {
            let example = "nodes = [\"redis://10.0.0.1\", \"redis://10.0.0.2\", \"redis://10.0.0.3\"]";
            return problem("nodes", format!("no node is named: write `{example}`"));
        }
        for (place, node) in self.nodes.iter().enumerate() {
            if self.nodes[..place].contains(node) {
                return problem("nodes", format!("`{node}` is named twice, and would have two votes"));
            }
        }
        if self.nodes.len().is_multiple_of(2) {
            let (nodes, fewer) = (self.nodes.len(), self.nodes.len() - 1);
            return problem("nodes", format!("{nodes} nodes bear no more failures than {fewer}: name an odd number"));
        }
        if self.password_env.is_some() && self.nodes.iter().all(RedisEndpoint::has_password) {
            return problem("password-env", "every node has a password in its address already".to_owned());
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.checked("redlock", self.nodes.iter().any(RedisEndpoint::is_encrypted))?;
        }
        lease(self.ttl, self.node_timeout, self.retry_delay).map_err(|(key, text)| (format!("redlock.{key}"), text))?;
        values::some_time(self.max_hold).map_err(|text| ("redlock.max-hold".to_owned(), text))?;
        let more_keys = self.tokens == Tokens::Quorum || self.waiting == Waiting::Called;
        if more_keys && self.key_prefix.chars().all(|c| c == '#') {
            let text = "with tokens, or to be called, it needs some character that is not `#`: the keys for that begin with it";
            return problem("key-prefix", text.to_owned());
        }
        Ok(self)
    }

    /// How the lock behaves.
    pub fn behaviour(&self) -> RedlockSettings {
        RedlockSettings {
            ttl: self.ttl,
            node_timeout: self.node_timeout,
            retry_delay_min: self.retry_delay.min,
            retry_delay_max: self.retry_delay.max,
            waiting: self.waiting,
            renewal: self.renewal,
            max_hold: self.max_hold,
            tokens: self.tokens,
            key_prefix: self.key_prefix.clone(),
        }
    }

    /// The masters, with their passwords; nothing is sent yet.
    ///
    /// # Errors
    /// The environment variable with the password is not there, or a certificate cannot be used.
    pub fn nodes(&self) -> Result<Vec<RedisServer>, SettingsError> {
        let endpoints = self.nodes.iter().map(|node| keyed(node, "redlock.password-env", self.password_env.as_deref()));
        #[cfg(feature = "tls")]
        let endpoints = encrypted(endpoints, "redlock.tls", self.tls.as_ref())?;
        endpoints.map(|endpoint| Ok(RedisServer::new(endpoint?))).collect()
    }
}

/// The lock at one server: `[redis]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default, expecting = "a table")]
pub struct RedisTable {
    /// The server: `redis://[user[:password]@]host[:port][/database]`, `rediss://…` for TLS, `unix:///path`.
    #[serde(deserialize_with = "address")]
    pub node: Option<RedisEndpoint>,
    /// The name of an environment variable with the password, if the address has none.
    pub password_env: Option<String>,
    /// Certificates for addresses that begin with `rediss://`: whom to trust, and who the client is.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsTable>,
    /// The lease's length, in whole milliseconds; `10s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub ttl: Duration,
    /// How long the server may take to answer one request; `50ms` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub node_timeout: Duration,
    /// The random delay between two attempts; `20ms..80ms` if absent.
    #[serde(deserialize_with = "range")]
    pub retry_delay: DurationRange,
    /// Whether who waits asks again after a retry delay, `"poll"`, or is called when the lock is given back,
    /// `"called"`; the former if absent. The same for all that compete for a lock.
    pub waiting: Waiting,
    /// Whether a held lease is renewed every third of its length until it is released or lost; off if absent.
    pub renewal: bool,
    /// How long a guard may last, however often it is renewed, or `none` for no limit; `3600s` if absent.
    #[serde(deserialize_with = "values::limit")]
    pub max_hold: Option<Duration>,
    /// Put before every lock's name to make its key; `fencepost:` if absent. The token's counter has a `#` before that.
    pub key_prefix: String,
    /// How long [`Settings::connect`](super::Settings::connect) waits for the server; `5s` if absent.
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
}

impl Default for RedisTable {
    fn default() -> Self {
        let behaviour = RedisLockSettings::default();
        Self {
            node: None,
            password_env: None,
            #[cfg(feature = "tls")]
            tls: None,
            ttl: behaviour.ttl,
            node_timeout: behaviour.node_timeout,
            retry_delay: DurationRange::new(behaviour.retry_delay_min, behaviour.retry_delay_max),
            waiting: behaviour.waiting,
            renewal: behaviour.renewal,
            max_hold: behaviour.max_hold,
            key_prefix: behaviour.key_prefix,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }
}

impl RedisTable {
    pub(super) fn checked(self) -> Result<Self, Problem> {
        let problem = |key: &str, problem: &str| Err((format!("redis.{key}"), problem.to_owned()));
        let Some(node) = &self.node else {
            return problem("node", "no server is named: write `node = \"redis://10.0.0.1\"`");
        };
        if self.password_env.is_some() && node.has_password() {
            return problem("password-env", "the node has a password in its address already");
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.checked("redis", node.is_encrypted())?;
        }
        lease(self.ttl, self.node_timeout, self.retry_delay).map_err(|(key, text)| (format!("redis.{key}"), text))?;
        values::some_time(self.max_hold).map_err(|text| ("redis.max-hold".to_owned(), text))?;
        if self.key_prefix.chars().all(|c| c == '#') {
            return problem(
                "key-prefix",
                "it needs some character that is not `#`: the counter has that before its key",
            );
        }
        Ok(self)
    }

    /// How the lock behaves.
    pub fn behaviour(&self) -> RedisLockSettings {
        RedisLockSettings {
            ttl: self.ttl,
            node_timeout: self.node_timeout,
            retry_delay_min: self.retry_delay.min,
            retry_delay_max: self.retry_delay.max,
            waiting: self.waiting,
            renewal: self.renewal,
            max_hold: self.max_hold,
            key_prefix: self.key_prefix.clone(),
        }
    }

    /// The server, with its password; nothing is sent yet. None if no address is set.
    ///
    /// # Errors
    /// The environment variable with the password is not there, or a certificate cannot be used.
    pub fn node(&self) -> Result<Option<RedisServer>, SettingsError> {
        let endpoints = self.node.iter().map(|node| keyed(node, "redis.password-env", self.password_env.as_deref()));
        #[cfg(feature = "tls")]
        let mut endpoints = encrypted(endpoints, "redis.tls", self.tls.as_ref())?;
        #[cfg(not(feature = "tls"))]
        let mut endpoints = endpoints;
        endpoints.next().map(|endpoint| Ok(RedisServer::new(endpoint?))).transpose()
    }
}

/// An address with the password from a variable, if it has none.
fn keyed(endpoint: &RedisEndpoint, key: &'static str, variable: Option<&str>) -> Result<RedisEndpoint, SettingsError> {
    Ok(match variable {
        Some(variable) if !endpoint.has_password() => endpoint.clone().or_password(&secret(key, variable)?),
        _ => endpoint.clone(),
    })
}

/// The same with certificates, where the address asks for TLS.
#[cfg(feature = "tls")]
fn encrypted(
    endpoints: impl Iterator<Item = Result<RedisEndpoint, SettingsError>>,
    key: &'static str,
    table: Option<&TlsTable>,
) -> Result<impl Iterator<Item = Result<RedisEndpoint, SettingsError>>, SettingsError> {
    let tls =
        table.map(|table| Tls::new(table.files()).map_err(|error| SettingsError::Tls { key, error })).transpose()?;
    Ok(endpoints.map(move |endpoint| {
        endpoint.map(|endpoint| match &tls {
            Some(tls) => endpoint.with_tls(tls),
            None => endpoint,
        })
    }))
}

/// What holds for every lease at Redis nodes.
fn lease(ttl: Duration, timeout: Duration, retry: DurationRange) -> Result<(), (&'static str, String)> {
    if ttl < SHORTEST_TTL {
        let shortest = SHORTEST_TTL;
        let text =
            format!("must be at least {shortest:?}: the allowance for clock drift (1 % and 2 ms) would use it up");
        return Err(("ttl", text));
    }
    if !ttl.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(("ttl", "must be whole milliseconds, as Redis counts them".to_owned()));
    }
    if timeout.is_zero() || timeout >= ttl {
        let text =
            format!("must be longer than zero and shorter than the ttl of {ttl:?}: one silent node would use it up");
        return Err(("node-timeout", text));
    }
    if retry.max.is_zero() {
        return Err(("retry-delay", "must be longer than zero: it would ask without pause".to_owned()));
    }
    Ok(())
}

/// Asks every master for a sign of life, until a majority has given one.
pub(super) async fn look_at_masters(
    nodes: &[RedisServer],
    patience: Duration,
    runtime: &SharedRuntime,
) -> Result<(), SettingsError> {
    let needed = nodes.len() / 2 + 1;
    let mut failures = Vec::new();
    let mut alive = 0;
    let mut answers: FuturesUnordered<_> =
        nodes.iter().map(|node| async move { (node.name(), node.ping().await) }).collect();
    let all = async {
        while let Some((name, answer)) = answers.next().await {
            match answer {
                Ok(()) => alive += 1,
                // One that refuses would refuse every vote: a mistake in the settings, not an outage.
                Err(NodeError::Refused(reason)) => return Err(format!("{name} refuses: {reason}")),
                Err(error) => failures.push(format!("{name}: {error}")),
            }
            if alive >= needed {
                break;
            }
        }
        Ok(())
    };
    let looked = before(&**runtime, runtime.now() + patience, all).await;
    let problem = match looked {
        Some(Err(refused)) => refused,
        _ if alive >= needed => return Ok(()),
        _ => {
            let silent = nodes.len() - alive - failures.len();
            if silent > 0 {
                failures.push(format!("{silent} did not answer within {patience:?}"));
            }
            format!("{alive} of {} answer, {needed} are needed ({})", nodes.len(), failures.join("; "))
        }
    };
    let names: Vec<&str> = nodes.iter().map(RedisNode::name).collect();
    Err(SettingsError::Servers { servers: names.join(", "), problem })
}

/// `"20ms..80ms"`.
fn range<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DurationRange, D::Error> {
    let read = |text: &str| duration::parse_range(text).map_err(|error| format!("`{text}` {error}; {UNITS_HELP}"));
    deserializer.deserialize_str(values::Text { what: "a range of durations in quotes, such as \"20ms..80ms\"", read })
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RedisEndpoint>, D::Error> {
    let addresses = Vec::<values::Address<RedisEndpoint>>::deserialize(deserializer)?;
    Ok(addresses.into_iter().map(|address| address.0).collect())
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RedisEndpoint>, D::Error> {
    values::Address::deserialize(deserializer).map(|address| Some(address.0))
}
