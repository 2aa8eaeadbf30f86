//! Which servers a stranger's lock rests on, as people write it: `redis:5`, `zookeeper:3`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::scenario::Backend;

/// As many as the cluster has at most of each.
const MOST: u32 = 5;
/// As many etcd members as there are.
const ETCD: u32 = 3;

/// A backend and how many of its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Servers {
    /// What they are.
    pub backend: Backend,
    /// How many; at least one.
    pub count: u32,
}

/// A text that names no servers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no servers: write redis:1, redis:5, zookeeper:3 or etcd:3 (redis alone is redis:1, zookeeper alone \
     zookeeper:3; etcd has three members)"
)]
pub struct ServersError(String);

impl FromStr for Servers {
    type Err = ServersError;

    fn from_str(text: &str) -> Result<Self, ServersError> {
        let wrong = || ServersError(text.to_owned());
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let (backend, usual) = match name {
            "redis" => (Backend::Redis, 1),
            "zookeeper" => (Backend::Zookeeper, 3),
            "etcd" => (Backend::Etcd, ETCD),
            _ => return Err(wrong()),
        };
        let count = count.map_or(Ok(usual), |count| count.parse().map_err(|_| wrong()))?;
        let fits = match backend {
            Backend::Redis => true,
            Backend::Zookeeper => count % 2 == 1,
            Backend::Etcd => count == ETCD,
        };
        if !fits || !(1..=MOST).contains(&count) {
            return Err(wrong());
        }
        Ok(Self { backend, count })
    }
}

impl TryFrom<String> for Servers {
    type Error = ServersError;

    fn try_from(text: String) -> Result<Self, ServersError> {
        text.parse()
    }
}

impl From<Servers> for String {
    fn from(servers: Servers) -> Self {
        servers.to_string()
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend.name(), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_they_are_written() {
        for (text, shown) in
            [("redis", "redis:1"), ("redis:5", "redis:5"), ("zookeeper", "zookeeper:3"), ("etcd", "etcd:3")]
        {
            assert_eq!(text.parse::<Servers>().unwrap().to_string(), shown);
        }
        for wrong in ["", "etcd:1", "consul:3", "redis:0", "redis:6", "zookeeper:2", "redis:x", "redis:"] {
            assert!(wrong.parse::<Servers>().unwrap_err().to_string().contains("redis:5"), "{wrong}");
        }
    }
}
