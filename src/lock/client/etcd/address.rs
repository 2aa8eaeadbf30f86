//! Where etcd is, as people write it.
//!
//! Deliberately absent: TLS and passwords, which the client does not speak.

use std::fmt;
use std::str::FromStr;

/// Where etcd is: `etcd://host[:port],host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddress(pub(super) Vec<String>);

/// Why a text names no etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the address of etcd, {problem}: write `etcd://host:port,host:port`")]
pub struct EtcdAddressError {
    text: String,
    problem: &'static str,
}

impl EtcdAddress {
    /// The members, each as `host:port`.
    pub fn members(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for EtcdAddress {
    type Err = EtcdAddressError;

    fn from_str(text: &str) -> Result<Self, EtcdAddressError> {
        let wrong = |problem| EtcdAddressError { text: text.to_owned(), problem };
        let rest = text.strip_prefix("etcd://").ok_or_else(|| wrong("it does not begin with `etcd://`"))?;
        if rest.contains(['@', '/', '?']) {
            return Err(wrong("only hosts and ports are part of it"));
        }
        let mut members = Vec::new();
        for member in rest.split(',') {
            // An IPv6 address has colons of its own, and stands in brackets.
            let (host, port) = match member.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port),
                _ => (member, "2379"),
            };
            if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
                return Err(wrong("a member has no host"));
            }
            if port.parse::<u16>().map_or(true, |port| port == 0) {
                return Err(wrong("a port is a number from 1 to 65535"));
            }
            members.push(format!("{host}:{port}"));
        }
        Ok(Self(members))
    }
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd://{}", self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_members_with_their_ports() {
        let members = |text: &str| text.parse::<EtcdAddress>().map(|address| address.0);
        assert_eq!(members("etcd://a,b:12379").unwrap(), ["a:2379", "b:12379"]);
        assert_eq!(members("etcd://[::1]").unwrap(), ["[::1]:2379"]);
        for text in ["a:2379", "etcd://", "etcd://a,,b", "etcd://a:port", "etcd://a:0", "etcd://a/x", "etcd://u:p@a"] {
            let error = text.parse::<EtcdAddress>().unwrap_err();
            assert!(error.to_string().contains("write `etcd://host:port"), "{error}");
        }
    }
}
