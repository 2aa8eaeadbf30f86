//! The table with the certificates for TLS, of every lock that has one.

use std::path::PathBuf;

use serde::Deserialize;

use super::Problem;
use crate::lock::client::TlsFiles;

/// TLS: `tls = { ca = "ours.pem", cert = "me.pem", key = "me.key" }`. Files in PEM; a relative path is from the
/// program's working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default, expecting = "a table")]
pub struct TlsTable {
    /// The certificates of the authorities that servers are believed by; the system's if absent.
    pub ca: Option<PathBuf>,
    /// The client's certificate, for servers that ask for one.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl TlsTable {
    /// Whether the values make sense together, in the table of this lock, and are used.
    pub(super) fn checked(&self, lock: &str, is_used: bool) -> Result<(), Problem> {
        let problem = |key: &str, problem: &str| Err((format!("{lock}.tls{key}"), problem.to_owned()));
        match (&self.cert, &self.key) {
            _ if !is_used => problem("", "no address begins with `rediss://`, so nothing is encrypted"),
            (Some(_), None) => problem(".cert", "needs its private key: write `key = \"me.key\"` beside it"),
            (None, Some(_)) => problem(".key", "needs its certificate: write `cert = \"me.pem\"` beside it"),
            _ => Ok(()),
        }
    }

    /// The files, for a client.
    pub fn files(&self) -> TlsFiles {
        TlsFiles { ca: self.ca.clone(), identity: self.cert.clone().zip(self.key.clone()) }
    }
}
