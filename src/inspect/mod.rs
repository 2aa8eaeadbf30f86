//! `fencepost inspect`: who holds a lock, who waits, since when, for how much longer, with which tokens; and taking it
//! away.
//!
//! Reads what the locks of this crate leave at their servers, with the settings that they have. It takes no part in the
//! lock: what it tells was so a moment ago. One file for each kind of servers, behind [`Servers`], and a line in
//! [`KINDS`]. Deliberately absent: where locks of other libraries keep their keys.

mod etcd;
mod redis;
mod zookeeper;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::ids::LockName;
use crate::lock::{Settings, SettingsError};

/// How long each server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a lock cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The servers are named in a way that is not known.
    #[error("{0}")]
    Arguments(String),
    /// The settings file is no use.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Too little was seen.
    #[error("{0}")]
    Servers(String),
}

/// The servers of a lock, as one who wants to know who holds it.
pub trait Servers: Send + Sync {
    /// What there is to see of the lock, as text.
    ///
    /// # Errors
    /// No server gave an answer.
    fn look<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>>;

    /// Takes the lock from whoever holds it, so that the next token is beyond theirs: what was done, as text.
    ///
    /// # Errors
    /// Some server gave no answer: the lock may still be held there.
    fn release<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>>;
}

/// Servers, or why there are none.
type Found = Result<Box<dyn Servers>, InspectError>;

/// One kind of servers: how the command line and settings name them.
struct Kind {
    /// What begins an address.
    scheme: &'static str,
    /// The kind and its form of addresses, for whoever gave none.
    form: &'static str,
    /// What is wrong with a prefix, if anything.
    wrong_prefix: fn(&str) -> Option<String>,
    /// From addresses, and what stands before the names of locks if that is another than usual.
    addressed: fn(&[String], Option<String>) -> Found,
    /// From settings, if they are of this kind.
    configured: fn(&Settings, Option<String>) -> Option<Found>,
}

/// Every kind. Addresses that begin like none are read, and refused, as those of the first.
const KINDS: [Kind; 3] = [redis::KIND, zookeeper::KIND, etcd::KIND];

/// From the command line: addresses of one kind, or one settings file. `prefix` stands before the names of locks, where
/// that is another than usual.
///
/// # Errors
/// An address is none, they do not go together, or the settings file is no use.
pub fn servers(places: &[String], prefix: Option<String>) -> Found {
    for kind in KINDS.iter().filter(|kind| places.iter().any(|place| place.starts_with(kind.scheme))) {
        if let Some(problem) = prefix.as_deref().and_then(kind.wrong_prefix) {
            return Err(InspectError::Arguments(problem));
        }
    }
    let [first, others @ ..] = &KINDS;
    if let [place] = places {
        if place.ends_with(".toml") {
            let settings = Settings::load(place)?;
            let found = KINDS.iter().find_map(|kind| (kind.configured)(&settings, prefix.clone()));
            return found.unwrap_or_else(|| Err(InspectError::Arguments(format!("{place} names no known servers"))));
        }
        if let Some(kind) = others.iter().find(|kind| place.starts_with(kind.scheme)) {
            return (kind.addressed)(places, prefix);
        }
    }
    (first.addressed)(places, prefix).map_err(|error| {
        let forms = others.iter().map(|kind| kind.form).collect::<Vec<_>>().join(", or ");
        InspectError::Arguments(format!("{error}; or {forms}, or a settings file, `lock.toml`"))
    })
}

/// Addresses that are none.
fn no_address(error: &dyn std::fmt::Display) -> InspectError {
    InspectError::Arguments(error.to_string())
}

/// The answer of one server, if it comes in time.
async fn in_time<T, E: std::fmt::Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
