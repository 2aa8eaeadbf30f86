//! What is needed of servers of a backend that were there before and are not fencepost's: how they are named, looked at
//! and left.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{ContainerBackend, all};
use crate::lock::{Settings, SettingsError};
use crate::scenario::LockConfig;

/// How long a server may take to show that it is there.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long the names of a trial may take to be removed from one server.
pub(super) const LEAVING: Duration = Duration::from_secs(30);

/// Why servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// They are named in a way that is not known.
    #[error("--servers `{shown}`: {problem}; give {}, or a settings file, `lock.toml`", forms())]
    Word {
        /// What was given, without passwords.
        shown: String,
        /// What is wrong.
        problem: String,
    },
    /// The settings are no use.
    #[error("--servers: {0}")]
    Settings(#[from] SettingsError),
    /// Two of a kind.
    #[error("--servers names {0} servers twice: name all of them in one word, separated by commas")]
    Twice(&'static str),
    /// They are not there, or refuse.
    #[error("--servers: {server} cannot be used: {problem}; every server that is named takes part in a trial")]
    Absent {
        /// Which.
        server: String,
        /// What it said.
        problem: String,
    },
    /// An ensemble that grants other sessions than the scenario is about.
    #[error(
        "--servers: the ensemble grants sessions of {granted:?} where lock `{lock}` asks for {asked:?}, and the scenario would \
         not run what it says: write session-timeout = \"{granted:?}\" there and suit its faults to it, or set \
         minSessionTimeout and maxSessionTimeout in the ensemble"
    )]
    Session {
        /// Whose.
        lock: String,
        /// What it asks for.
        asked: Duration,
        /// What it gets.
        granted: Duration,
    },
}

/// How servers of one backend are used that were there before. `settings` are those of a lock that rests on them.
pub trait ExternalServers: fmt::Debug + Send + Sync {
    /// How they are named in one word, for whoever named them otherwise.
    fn form(&self) -> &'static str;

    /// What begins a word that names them.
    fn scheme(&self) -> &'static str;

    /// Settings in TOML with the servers that a word lists.
    ///
    /// # Errors
    /// In words, what is wrong with the word.
    fn settings_of(&self, word: &str) -> Result<String, String>;

    /// Sees that clients in containers can reach them.
    ///
    /// # Errors
    /// The server that they cannot reach, and why.
    fn reachable(&self, settings: &Settings) -> Result<(), (String, String)> {
        let _ = settings;
        Ok(())
    }

    /// Host and port of each, by number.
    fn places(&self, settings: &Settings) -> Vec<(String, u16)>;

    /// As they can be given again, without passwords.
    fn word(&self, settings: &Settings) -> Option<String>;

    /// The environment variable with a secret that the settings name.
    fn secret(&self, settings: &Settings) -> Option<String>;

    /// Looks whether every one is there and lets us in, and grants what `locks` are about.
    fn look<'a>(
        &'a self,
        settings: &'a Settings,
        locks: &'a [(&'a str, &'a LockConfig)],
    ) -> BoxFuture<'a, Result<(), ExternalError>>;

    /// Removes what a trial left under its own names; which servers could not be rid of it, and why.
    fn remove<'a>(&'a self, settings: &'a Settings, namespace: &'a str) -> BoxFuture<'a, Vec<(String, String)>>;

    /// Their doors have the host numbers in the trial's network that follow on this one.
    fn first_door(&self) -> u8;

    /// Whether one ends connections in the course of its work.
    fn may_end_connections(&self) -> bool;
}

/// All of them, with their backends.
pub fn known() -> impl Iterator<Item = (&'static dyn ContainerBackend, &'static dyn ExternalServers)> {
    all().filter_map(|one| Some((one, one.external()?)))
}

/// How servers are named in a word, of any backend.
fn forms() -> String {
    known().map(|(_, servers)| format!("`{}`", servers.form())).collect::<Vec<_>>().join(", ")
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
