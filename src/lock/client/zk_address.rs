//! Where a ZooKeeper ensemble is, as people write it.

use std::fmt;
use std::str::FromStr;

/// A ZooKeeper ensemble: `zk://host[:port],host[:port][/chroot]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZkAddress {
    servers: Vec<String>,
    chroot: String,
}

/// Why a text names no ensemble.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the address of an ensemble, {problem}: write `zk://host:port,host:port/chroot`")]
pub struct ZkAddressError {
    text: String,
    problem: &'static str,
}

impl ZkAddress {
    /// As ZooKeeper's clients write it: `host:port,host:port/chroot`.
    pub fn connect_string(&self) -> String {
        format!("{}{}", self.servers.join(","), self.chroot)
    }

    /// The servers, each as `host:port`.
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The same ensemble, whose servers are reached at other addresses.
    #[cfg(feature = "harness")]
    #[must_use]
    pub(crate) fn reached_at(self, servers: Vec<String>) -> Self {
        Self { servers, ..self }
    }
}

impl FromStr for ZkAddress {
    type Err = ZkAddressError;

    fn from_str(text: &str) -> Result<Self, ZkAddressError> {
        let wrong = |problem| ZkAddressError { text: text.to_owned(), problem };
        let rest = text.strip_prefix("zk://").ok_or_else(|| wrong("it does not begin with `zk://`"))?;
        if rest.contains('@') {
            return Err(wrong("user and password are no part of it"));
        }
        let (hosts, chroot) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let chroot = chroot.trim_end_matches('/');
        if chroot.split('/').skip(1).any(|name| matches!(name, "" | "." | "..")) {
            return Err(wrong("the chroot is no path"));
        }
        let mut servers = Vec::new();
        for server in hosts.split(',') {
            // An IPv6 address has colons of its own, and stands in brackets.
            let (host, port) = match server.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port),
                _ => (server, "2181"),
            };
            if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
                return Err(wrong("a server has no host"));
            }
            if port.parse::<u16>().map_or(true, |port| port == 0) {
                return Err(wrong("a port is a number from 1 to 65535"));
            }
            servers.push(format!("{host}:{port}"));
        }
        Ok(Self { servers, chroot: chroot.to_owned() })
    }
}

impl fmt::Display for ZkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zk://{}", self.connect_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_connect_strings() {
        for (text, connect) in [
            ("zk://a,b:2182/shop/locks", "a:2181,b:2182/shop/locks"),
            ("zk://a", "a:2181"),
            ("zk://[::1]:2182/", "[::1]:2182"),
            ("zk://[::1]", "[::1]:2181"),
        ] {
            assert_eq!(text.parse::<ZkAddress>().unwrap().connect_string(), connect, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_is() {
        for text in
            ["a:2181", "zk://", "zk://a,,b", "zk://a:port", "zk://a:0", "zk://a//b", "zk://a/../b", "zk://u:p@a"]
        {
            let error = text.parse::<ZkAddress>().unwrap_err();
            assert!(error.to_string().contains("write `zk://host:port"), "{error}");
        }
    }
}
