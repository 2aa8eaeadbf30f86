//! Lock servers that were there before, and are not fencepost's: `--servers`.
//!
//! Nothing is done to them but what a client of a lock does. Each is reached through a *door*, a container of ours in
//! the trial's network that forwards connections, so that a client's link to one of them is a link between two
//! containers of ours: it is cut, delayed and looked at as any other, inside these. Behind the doors stands a [`relay`]
//! in this process: what this machine reaches, clients reach, a server at 127.0.0.1 too. What clients have left in the
//! servers under the trial's own names is removed. How servers of a backend are named, looked at and left is in that
//! backend's file, behind [`ExternalServers`].
//!
//! Deliberately absent: anything that asks a server for more than its locks need, or changes how it works.

pub mod door;
mod network;
mod relay;
mod session;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::backends;
use super::backends::external::{ExternalError, ExternalServers, known};
use crate::lock::{Settings, SettingsError};
use crate::scenario::{Backend, LockConfig};

pub use session::Doors;

/// Servers that were there before, of one backend or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct External {
    /// Settings in TOML, with a table for the servers, by the backend's name.
    settings: BTreeMap<String, String>,
}

impl External {
    /// Reads what was given with `--servers`, once or twice.
    ///
    /// # Errors
    /// A word names no servers, or they are named twice.
    pub fn parse(words: &[String]) -> Result<Self, ExternalError> {
        let mut external = Self::default();
        for word in words {
            let toml = if word.ends_with(".toml") {
                Settings::load(word)?;
                std::fs::read_to_string(word).map_err(|error| SettingsError::Unreadable { path: word.into(), error })?
            } else {
                settings_of(word)?
            };
            let settings = Settings::parse(&toml, word_shown(word).as_str())?;
            let one = backends::all().find(|one| one.is_for(&settings));
            let Some((one, servers)) = one.and_then(|one| Some((one, one.external()?))) else {
                let title = one.map_or("what", |one| one.title());
                let problem = format!("{title} that is there already is not tried yet");
                return Err(ExternalError::Word { shown: word_shown(word), problem });
            };
            if external.settings.insert(one.backend().name().to_owned(), toml).is_some() {
                return Err(ExternalError::Twice(one.title()));
            }
            servers.reachable(&settings).map_err(|(shown, problem)| ExternalError::Word { shown, problem })?;
        }
        Ok(external)
    }

    /// The settings of a backend's servers; `None` if there are none.
    ///
    /// # Errors
    /// They were changed since they were read.
    pub fn settings(&self, backend: Backend) -> Result<Option<Settings>, SettingsError> {
        self.settings.get(backend.name()).map(|text| Settings::parse(text, "--servers")).transpose()
    }

    /// Each backend of which there are servers, with these and their settings.
    fn each(&self) -> impl Iterator<Item = (Backend, &'static dyn ExternalServers, Settings)> {
        // They were read before.
        known().filter_map(|(one, servers)| Some((one.backend(), servers, self.settings(one.backend()).ok()??)))
    }

    /// How many servers of a backend there are.
    pub fn count(&self, backend: Backend) -> u32 {
        self.places(backend).len() as u32
    }

    /// Host and port of each server of a backend, by number.
    fn places(&self, backend: Backend) -> Vec<(String, u16)> {
        let of = self.each().find(|(of, ..)| *of == backend);
        of.map(|(_, servers, settings)| servers.places(&settings)).unwrap_or_default()
    }

    /// The environment variables with secrets that these settings name, as `NAME=value`, for whoever is to use them.
    fn secrets(&self) -> Vec<String> {
        let named = self.each().filter_map(|(_, servers, settings)| servers.secret(&settings));
        named.filter_map(|name| Some(format!("{name}={}", std::env::var(&name).ok()?))).collect()
    }

    /// Looks whether every server is there and lets us in, and grants the sessions that `locks` are about.
    ///
    /// # Errors
    /// One is not, or does not.
    pub async fn look(&self, locks: &[(&str, &LockConfig)]) -> Result<(), ExternalError> {
        for (backend, servers, settings) in self.each() {
            if locks.iter().any(|(_, lock)| lock.backend() == backend) {
                servers.look(&settings, locks).await?;
            }
        }
        Ok(())
    }

    /// Removes what a trial left under its own names; in words, what could not be removed and where.
    pub async fn remove(&self, backend: Backend, namespace: &str) -> Vec<String> {
        let Some((_, servers, settings)) = self.each().find(|(of, ..)| *of == backend) else { return Vec::new() };
        let in_vain = |(server, why): (String, String)| {
            format!("{server} keeps what the trial has left under `{namespace}`: {why}; remove it by hand")
        };
        servers.remove(&settings, namespace).await.into_iter().map(in_vain).collect()
    }

    /// As it can be given again, without passwords: a word for each backend.
    pub fn words(&self) -> Vec<String> {
        self.each().filter_map(|(_, servers, settings)| servers.word(&settings)).collect()
    }
}

impl fmt::Display for External {
    /// What every result says of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: given with --servers, not fencepost's. Faults were at clients and at their links only; what else happened to \
             these servers was not watched, but for connections that they refused or ended",
            self.words().join(" and ")
        )
    }
}

/// A word without what may be a password.
fn word_shown(word: &str) -> String {
    let hidden = |part: &str| match part.split_once("://").zip(part.rsplit_once('@')) {
        Some(((scheme, _), (_, place))) => format!("{scheme}://…@{place}"),
        None => part.to_owned(),
    };
    word.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

/// Settings with the servers that a word lists. One that begins like none of ours is read, and refused, as the first
/// kind is.
fn settings_of(word: &str) -> Result<String, ExternalError> {
    let all = || known().map(|(_, servers)| servers);
    let servers = all().find(|servers| word.starts_with(servers.scheme())).or_else(|| all().next());
    let read = servers.map_or_else(|| Err("no servers can be used".to_owned()), |servers| servers.settings_of(word));
    read.map_err(|problem| ExternalError::Word { shown: word_shown(word), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(words: &[&str]) -> Result<External, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        External::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        let both = external(&["redis://a,redis://:pw@b:7001,redis://c/2", "zk://x,y:2182,[::1]/shop"]).unwrap();
        assert_eq!((both.count(Backend::Redis), both.count(Backend::Zookeeper)), (3, 3));
        let places = |backend| both.places(backend);
        let owned =
            |list: &[(&str, u16)]| list.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect::<Vec<_>>();
        assert_eq!(places(Backend::Redis), owned(&[("a", 6379), ("b", 7001), ("c", 6379)]));
        assert_eq!(places(Backend::Zookeeper), owned(&[("x", 2181), ("y", 2182), ("::1", 2181)]));
        assert_eq!(
            both.words(),
            ["redis://a:6379,redis://b:7001,redis://c:6379/2", "zk://x:2181,y:2182,[::1]:2181/shop"]
        );
        assert!(!both.to_string().contains("pw") && both.to_string().contains("at clients"), "{both}");
        let one = external(&["redis://a"]).unwrap();
        assert_eq!((one.count(Backend::Redis), one.count(Backend::Zookeeper)), (1, 0));
    }

    #[test]
    fn a_settings_file_brings_its_servers_and_its_secrets_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock.toml");
        std::fs::write(&file, "[redis]\nnode = \"redis://a\"\npassword-env = \"PATH\"\n").unwrap();
        let external = external(&[file.to_str().unwrap()]).unwrap();
        assert_eq!(external.count(Backend::Redis), 1);
        assert!(external.secrets()[0].starts_with("PATH="));
        let settings = external.settings(Backend::Redis).unwrap().unwrap();
        assert_eq!(backends::redis::nodes(&settings, None).unwrap().len(), 1);
    }

    #[test]
    fn a_mistake_says_what_would_be_right_and_shows_no_password() {
        for (words, part) in [
            (&["a:6379"] as &[&str], "redis://host:port"),
            (&[""], "names no server"),
            (&["redis://:secret@a,http://:secret@b"], "redis://host:port"),
            (&["redis://:secret@a,redis://b"], "odd"),
            (&["redis://:secret@a,redis://:secret@a,redis://b"], "twice"),
            (&["zk://a,,b"], "zk://"),
            (&["redis://a", "redis://b"], "twice"),
            (&["unix:///run/redis.sock"], "socket file"),
            (&["/no/such/lock.toml"], "/no/such/lock.toml"),
        ] {
            let error = external(words).expect_err(part);
            assert!(error.contains(part) && error.contains("--servers") && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let config = |table: &str| {
            let text = format!(
                "title = \"t\"\n[workload]\nkind = \"inventory\"\nclients = 2\nhold = \"1ms\"\nthink = \"1ms\"\nduration = \
                 \"1s\"\n[lock.redlock]\n{table}"
            );
            let given = crate::scenario::Capabilities::given_servers();
            crate::scenario::parse(std::path::Path::new("t.toml"), &text, &given).unwrap()
        };
        let scenario = config("nodes = 1");
        let servers = external(&["redis://127.0.0.1:1"]).unwrap();
        let error = servers.look(&[("redlock", &scenario.locks["redlock"])]).await.unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1") && error.contains("cannot be used"), "{error}");
    }
}
