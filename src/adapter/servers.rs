//! Which servers a stranger's lock rests on, as people write it: `redis:5`, `zookeeper:3`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::defendant::backend::Backend;

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
#[error("`{0}` names no servers: write {examples}", examples = Backend::EXAMPLES)]
pub struct ServersError(String);

impl FromStr for Servers {
    type Err = ServersError;

    fn from_str(text: &str) -> Result<Self, ServersError> {
        let wrong = || ServersError(text.to_owned());
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let backend = Backend::named(name).ok_or_else(wrong)?;
        let count = count.map_or(Ok(backend.usual_count()), |count| count.parse().map_err(|_| wrong()))?;
        if !backend.allows(count) {
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
