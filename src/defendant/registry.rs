//! The one list of all that can stand trial: a lock's file and its lines here are all that a lock needs.
//!
//! Deliberately absent: anything that is true of one lock alone.

use std::fmt;
use std::ops::Deref;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::adapter::{self, ADAPTER, AdapterConfig};
use super::backend::Backend;
use super::etcd::{Etcd, EtcdConfig};
use super::holders::{KIND, PERMITS};
use super::redis::{Redis, RedisConfig};
use super::redlock::{Redlock, RedlockConfig};
use super::table::{AnyKey, Asked, Key, LockTable};
use super::zookeeper::{Zookeeper, ZookeeperConfig};
use super::{Algorithm, Defendant};
use crate::lock::flawed::{EtcdFlaw, RedlockFlaw, ZookeeperFlaw};
use crate::scenario::error::Problem;
use crate::scenario::place::{Choice, Word};
use crate::scenario::problems::Problems;

/// A lock on trial: which algorithm, with which settings. What there is to know of it, its [`Defendant`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockConfig {
    /// The lock at one Redis server.
    Redis(RedisConfig),
    /// Redlock over independent Redis masters.
    Redlock(RedlockConfig),
    /// The ZooKeeper ephemeral-sequential lock.
    Zookeeper(ZookeeperConfig),
    /// The lock in an etcd cluster.
    Etcd(EtcdConfig),
    /// A program that speaks the adapter protocol.
    Adapter(AdapterConfig),
}

impl Deref for LockConfig {
    type Target = dyn Defendant;

    fn deref(&self) -> &(dyn Defendant + 'static) {
        match self {
            Self::Redis(config) => config,
            Self::Redlock(config) => config,
            Self::Zookeeper(config) => config,
            Self::Etcd(config) => config,
            Self::Adapter(config) => config,
        }
    }
}

/// All algorithms, the sound ones first.
static ALGORITHMS: LazyLock<Vec<Box<dyn Algorithm + Send>>> = LazyLock::new(|| {
    let sound: [Box<dyn Algorithm + Send>; 4] =
        [Box::new(Redis), Box::new(Redlock(None)), Box::new(Zookeeper(None)), Box::new(Etcd(None))];
    let redlock = RedlockFlaw::ALL.iter().map(|flaw| Box::new(Redlock(Some(*flaw))) as _);
    let zookeeper = ZookeeperFlaw::ALL.iter().map(|flaw| Box::new(Zookeeper(Some(*flaw))) as _);
    let etcd = EtcdFlaw::ALL.iter().map(|flaw| Box::new(Etcd(Some(*flaw))) as _);
    sound.into_iter().chain(redlock).chain(zookeeper).chain(etcd).collect()
});

/// All algorithms that can stand trial: the sound ones, then the canaries.
pub fn algorithms() -> impl Iterator<Item = &'static dyn Algorithm> {
    ALGORITHMS.iter().map(|algorithm| &**algorithm as &'static dyn Algorithm)
}

/// The algorithm of this name.
pub fn named(name: &str) -> Option<&'static dyn Algorithm> {
    algorithms().find(|algorithm| algorithm.name() == name)
}

/// The first of fencepost's own locks over such servers: strangers over them have its rules.
pub fn own(backend: Backend) -> &'static dyn Algorithm {
    algorithms().find(|algorithm| algorithm.backend() == backend).unwrap_or(&Redis)
}

/// The sound lock that this one is, or that it is a canary of: the one that it is named after.
///
/// # Panics
/// There is none.
pub fn sound(algorithm: &'static dyn Algorithm) -> &'static dyn Algorithm {
    let is_of = |sound: &&dyn Algorithm| {
        let rest = algorithm.name().strip_prefix(sound.name());
        sound.flaw().is_none() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    algorithms().find(is_of).expect("a canary is named after a sound lock")
}

impl Word for &'static dyn Algorithm {
    fn words() -> Vec<(&'static str, Self)> {
        algorithms().map(|algorithm| (algorithm.name(), algorithm)).collect()
    }
}

/// `algorithm`
pub(super) const ALGORITHM: Key<Choice<&'static dyn Algorithm>> =
    Key::new("algorithm", "locks of fencepost", "The algorithm; if absent, the one that the lock is named after.");

/// The keys of every table, in the order in which messages list them.
static KEYS: LazyLock<Vec<&'static dyn AnyKey>> = LazyLock::new(|| {
    let common: [&'static dyn AnyKey; 4] = [&ALGORITHM, &KIND, &PERMITS, &ADAPTER];
    common.into_iter().chain(of_locks().iter().copied()).collect()
});

/// Those that are some lock's own.
static OF_LOCKS: LazyLock<Vec<&'static dyn AnyKey>> = LazyLock::new(|| {
    let of = |lock: &'static dyn Algorithm| lock.keys().iter().copied().filter(|key| key.of() == lock.name());
    algorithms().flat_map(of).collect()
});

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| keys().iter().map(|key| key.name()).collect());

/// The keys that a lock's table may have.
pub(super) fn keys() -> &'static [&'static dyn AnyKey] {
    &KEYS
}

/// Those that are some lock's own setting.
pub(super) fn of_locks() -> &'static [&'static dyn AnyKey] {
    &OF_LOCKS
}

/// Where an algorithm or a table is missing.
pub(crate) const ADD_A_TABLE: &str = "add a table `[lock.redlock]`, `[lock.zookeeper]` or `[lock.redis]`";

/// Reads the table of one lock.
pub(crate) fn read(asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockConfig> {
    if asked.table.get(&ADAPTER).is_some() {
        return adapter::read(asked, problems);
    }
    algorithm(asked, problems)?.read(asked, problems)
}

/// The algorithm that a table names, or that its lock is named after.
fn algorithm(asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<&'static dyn Algorithm> {
    if let Some(field) = asked.table.get(&ALGORITHM) {
        return problems.choice("a value of `algorithm`", &field);
    }
    let name = asked.name;
    let found = named(name);
    if found.is_none() {
        let title = format!("lock `{}` does not say its algorithm", name.value);
        problems.push(
            Problem::at(&name.span, title, "not the name of an algorithm")
                .help("add `algorithm = \"redlock\"` or `algorithm = \"zookeeper\"`")
                .suggest(name, algorithms().map(|algorithm| algorithm.name())),
        );
    }
    found
}

impl<'de> Deserialize<'de> for LockTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;

        impl<'de> Visitor<'de> for Table {
            type Value = LockTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LockTable, A::Error> {
                let mut table = LockTable::default();
                while let Some(key) = map.next_key_seed(KnownKey)? {
                    table.read(key, &mut map)?;
                }
                Ok(table)
            }
        }

        deserializer.deserialize_map(Table)
    }
}

/// Finds a key by its name, so that one that there is not is refused at its place.
struct KnownKey;

impl<'de> DeserializeSeed<'de> for KnownKey {
    type Value = &'static dyn AnyKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KnownKey {
    type Value = &'static dyn AnyKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let known = keys().iter().find(|key| key.name() == name);
        known.copied().ok_or_else(|| E::unknown_field(name, &NAMES))
    }
}

impl JsonSchema for LockTable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LockTable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        for key in keys() {
            let mut schema = key.schema(generator);
            schema.insert("description".to_owned(), key.about().into());
            properties.insert(key.name().to_owned(), schema.into());
        }
        json_schema!({
            "description": "A lock on trial.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_a_lock_takes_is_some_locks_own() {
        for algorithm in algorithms() {
            for key in algorithm.keys().iter().chain(algorithm.lease_keys()) {
                assert!(NAMES.contains(&key.name()), "{}: {}", algorithm.name(), key.name());
            }
        }
    }

    #[test]
    fn canaries_are_named_after_the_sound_lock_over_the_same_servers() {
        let canaries: Vec<_> = algorithms().filter_map(|algorithm| Some((algorithm, algorithm.flaw()?))).collect();
        assert!(canaries.len() >= 19);
        for (canary, about) in canaries {
            assert_eq!(sound(canary).backend(), canary.backend(), "{}", about.name);
            assert!(about.name == canary.name() && about.name.len() <= 40, "{}", about.name);
            assert!(about.flaw.ends_with('.') && !about.source.is_empty(), "{}", about.name);
        }
    }

    #[test]
    fn every_backend_has_a_lock_and_a_name() {
        for backend in Backend::ALL {
            assert_eq!(own(backend).backend(), backend);
            assert_eq!(Backend::named(backend.name()), Some(backend));
            assert!(backend.allows(backend.usual_count()));
        }
    }
}
