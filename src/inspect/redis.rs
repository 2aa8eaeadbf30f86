//! A Redlock over Redis masters, or a lock at one Redis server.

use std::fmt::Write;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::{Found, InspectError, Kind, Servers, in_time, no_address};
use crate::ids::LockName;
use crate::lock::backend::RedisNode;
use crate::lock::client::{RedisEndpoint, RedisServer};
use crate::lock::{RedlockSettings, Settings, SettingsError};

/// As the command line and settings name them.
pub(super) const KIND: Kind = Kind {
    scheme: "redis",
    form: "masters, `redis://host:port`",
    wrong_prefix: |_| None,
    addressed,
    configured: |settings, prefix| match settings {
        Settings::Redis(table) => {
            let nodes = table.node().map(|node| node.into_iter().collect());
            Some(masters(nodes, prefix, &table.key_prefix))
        }
        Settings::Redlock(table) => Some(masters(table.nodes(), prefix, &table.key_prefix)),
        _ => None,
    },
};

fn addressed(places: &[String], prefix: Option<String>) -> Found {
    let server = |place: &String| place.parse().map(|endpoint: RedisEndpoint| RedisServer::new(endpoint));
    let servers: Result<Vec<_>, _> = places.iter().map(server).collect();
    let servers = servers.map_err(|error| no_address(&error))?;
    masters(Ok(servers), prefix, &RedlockSettings::default().key_prefix)
}

fn masters(servers: Result<Vec<RedisServer>, SettingsError>, prefix: Option<String>, usual: &str) -> Found {
    Ok(Box::new(Masters { servers: servers?, prefix: prefix.unwrap_or_else(|| usual.to_owned()) }))
}

/// The masters, and what stands before each key.
struct Masters {
    servers: Vec<RedisServer>,
    prefix: String,
}

impl Servers for Masters {
    fn look<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>> {
        async move {
            let Self { servers, prefix } = self;
            let (key, counter) = keys(prefix, name);
            let looks = servers.iter().map(|server| async { (server.name(), in_time(server.look(&key, &counter)).await) });
            let looks = futures_util::future::join_all(looks).await;
            let needed = servers.len() / 2 + 1;
            let mut owners: Vec<(String, usize)> = Vec::new();
            let mut lines = String::new();
            let mut answered = 0;
            for (server, look) in &looks {
                let told = match look {
                    Err(error) => error.clone(),
                    Ok(seen) => {
                        answered += 1;
                        let count = seen.count.map_or_else(String::new, |count| format!(", count {count}"));
                        match &seen.owner {
                            None => format!("free{count}"),
                            Some(owner) => {
                                match owners.iter_mut().find(|(known, _)| known == owner) {
                                    Some((_, votes)) => *votes += 1,
                                    None => owners.push((owner.clone(), 1)),
                                }
                                let left = seen.left.map_or("for ever".to_owned(), |left| format!("{left:?} left"));
                                format!("held by {owner}, {left}{count}")
                            }
                        }
                    }
                };
                let _ = writeln!(lines, "  {server:<24} {told}");
            }
            if answered == 0 {
                return Err(InspectError::Servers(format!("no server answers:\n{lines}")));
            }
            let holder = owners.iter().find(|(_, votes)| *votes >= needed);
            let verdict = match holder {
                Some((owner, votes)) => {
                    // The grant ends when its majority does: with the shortest lives that leave too few votes.
                    let mut left: Vec<_> = looks
                        .iter()
                        .filter_map(|(_, look)| look.as_ref().ok())
                        .filter(|seen| seen.owner.as_ref() == Some(owner))
                        .map(|seen| seen.left)
                        .collect();
                    left.sort_unstable_by_key(|left| std::cmp::Reverse(left.unwrap_or(Duration::MAX)));
                    let left = left.get(needed - 1).copied().flatten();
                    let left = left.map_or_else(String::new, |left| format!(", {left:?} left unless renewed"));
                    format!("held by {owner}: {votes} of {} votes{left}", servers.len())
                }
                None if answered < needed => format!("not known: {answered} of {} servers answer", servers.len()),
                None if owners.is_empty() => "free".to_owned(),
                None => format!("not held: the votes are split, {needed} of {} are needed", servers.len()),
            };
            let tokens = looks.iter().filter_map(|(_, look)| look.as_ref().ok()?.count).max();
            let token = tokens.map_or_else(String::new, |token| format!("\ntokens   {token} is the highest given"));
            Ok(format!(
                "lock     {name} (key {key})\nstate    {verdict}{token}\nqueue    not kept: who waits asks again\n{lines}"
            ))
        }
        .boxed()
    }

    fn release<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<String, InspectError>> {
        async move {
            let Self { servers, prefix } = self;
            let (key, counter) = keys(prefix, name);
            let releases = servers
                .iter()
                .map(|server| async { (server.name(), in_time(server.force_release(&key, &counter)).await) });
            let (mut lines, mut failed) = (String::new(), 0);
            for (server, release) in futures_util::future::join_all(releases).await {
                let told = match release {
                    Err(error) => {
                        failed += 1;
                        error
                    }
                    Ok((owner, count)) => {
                        let count = count.map_or_else(String::new, |count| format!(", count {count} now"));
                        owner.map_or("was free".to_owned(), |owner| format!("taken from {owner}")) + &count
                    }
                };
                let _ = writeln!(lines, "  {server:<24} {told}");
            }
            match failed {
                0 => Ok(format!("lock     {name} (key {key})\n{lines}")),
                _ => Err(InspectError::Servers(format!(
                    "{failed} of {} servers did not release:\n{lines}",
                    servers.len()
                ))),
            }
        }
        .boxed()
    }
}

/// The lock's key, and the key of its counter.
fn keys(prefix: &str, name: &LockName) -> (String, String) {
    let key = format!("{prefix}{name}");
    let counter = format!("#{key}");
    (key, counter)
}
