//! `fencepost inspect`: who holds a lock, who waits, since when, for how much longer, with which tokens; and taking it
//! away.
//!
//! Reads what the locks of this crate leave at their servers, with the settings that they have. It takes no part in the
//! lock: what it tells was so a moment ago. Deliberately absent: where locks of other libraries keep their keys; and how many may
//! hold at once in an ensemble, which its znodes do not tell: the first in line is the holder here, also where readers or
//! permits behind it hold as well.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ids::LockName;
use crate::lock::backend::{EtcdCluster, EtcdKey, EtcdLine, RedisNode};
use crate::lock::client::{EtcdAddressError, EtcdMembers, RedisEndpoint, RedisServer, ZkAddress, ZookeeperEnsemble};
use crate::lock::{EtcdSettings, RedlockSettings, Settings, SettingsError, ZookeeperSettings};

/// How long each server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many members of etcd are asked at most.
const ETCD_LOOKS: u32 = 3;

/// Whose locks to look at.
pub enum Servers {
    /// The masters of a Redlock, or the one server of a Redis lock, and what stands before each key.
    Redis(Vec<RedisServer>, String),
    /// The ensemble, and the path of its locks.
    Zookeeper(Box<ZookeeperEnsemble>, String),
    /// The members of etcd, and the prefix of its locks.
    Etcd(Box<EtcdMembers>, String),
}

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

impl Servers {
    /// From the command line: addresses `redis://…`, one `zk://…` or one `etcd://…`, or one settings file.
    ///
    /// # Errors
    /// An address is none, they do not go together, or the settings file is no use.
    pub fn of(places: &[String], prefix: Option<String>) -> Result<Self, InspectError> {
        let wrong = |what: &dyn std::fmt::Display| InspectError::Arguments(what.to_string());
        let in_an_ensemble = places.iter().any(|place| place.starts_with("zk://"));
        if let Some(prefix) = prefix.as_ref().filter(|prefix| in_an_ensemble && !prefix.starts_with('/')) {
            return Err(wrong(&format!("`{prefix}` is no path in an ensemble: write it as /fencepost/locks")));
        }
        match places {
            [file] if file.ends_with(".toml") => Self::configured(&Settings::load(file)?, prefix),
            [ensemble] if ensemble.starts_with("zk://") => {
                let address: ZkAddress = ensemble.parse().map_err(|error| wrong(&error))?;
                let ensemble = ZookeeperEnsemble::new(address.connect_string(), PATIENCE);
                Ok(Self::Zookeeper(Box::new(ensemble), prefix.unwrap_or_else(|| ZookeeperSettings::default().root)))
            }
            [members] if members.starts_with("etcd://") => {
                let members = EtcdMembers::new(members.parse().map_err(|error: EtcdAddressError| wrong(&error))?);
                Ok(Self::Etcd(Box::new(members), prefix.unwrap_or_else(|| EtcdSettings::default().prefix)))
            }
            masters => {
                let server = |place: &String| place.parse().map(|endpoint: RedisEndpoint| RedisServer::new(endpoint));
                let servers = masters.iter().map(server).collect::<Result<_, _>>().map_err(|error| {
                    wrong(&format!(
                        "{error}; or an ensemble, `zk://host:port,host:port`, or etcd, `etcd://host:port,host:port`, or a settings file, `lock.toml`"
                    ))
                })?;
                Ok(Self::Redis(servers, prefix.unwrap_or_else(|| RedlockSettings::default().key_prefix)))
            }
        }
    }

    fn configured(settings: &Settings, prefix: Option<String>) -> Result<Self, InspectError> {
        Ok(match settings {
            Settings::Redis(table) => {
                let nodes = table.node()?.into_iter().collect();
                Self::Redis(nodes, prefix.unwrap_or_else(|| table.key_prefix.clone()))
            }
            Settings::Redlock(table) => Self::Redis(table.nodes()?, prefix.unwrap_or_else(|| table.key_prefix.clone())),
            Settings::Etcd(table) => {
                Self::Etcd(Box::new(table.cluster()?), prefix.unwrap_or_else(|| table.prefix.clone()))
            }
            Settings::Zookeeper(table) => {
                Self::Zookeeper(Box::new(table.ensemble()?), prefix.unwrap_or_else(|| table.root.clone()))
            }
        })
    }

    /// What there is to see of the lock, as text.
    ///
    /// # Errors
    /// No server gave an answer.
    pub async fn look(&self, name: &LockName) -> Result<String, InspectError> {
        match self {
            Self::Redis(servers, prefix) => look_at_redis(servers, prefix, name).await,
            Self::Zookeeper(ensemble, root) => look_at_line(ensemble, root, name).await,
            Self::Etcd(members, prefix) => look_at_etcd(members, prefix, name).await,
        }
    }

    /// Takes the lock from whoever holds it, so that the next token is beyond theirs: what was done, as text.
    ///
    /// # Errors
    /// Some server gave no answer: the lock may still be held there.
    pub async fn release(&self, name: &LockName) -> Result<String, InspectError> {
        match self {
            Self::Redis(servers, prefix) => release_at_redis(servers, prefix, name).await,
            Self::Zookeeper(ensemble, root) => release_in_line(ensemble, root, name).await,
            Self::Etcd(members, prefix) => release_in_etcd(members, prefix, name).await,
        }
    }
}

/// The lock's key, and the key of its counter.
fn keys(prefix: &str, name: &LockName) -> (String, String) {
    let key = format!("{prefix}{name}");
    let counter = format!("#{key}");
    (key, counter)
}

/// The answer of one server, if it comes in time.
async fn in_time<T, E: std::fmt::Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

async fn look_at_redis(servers: &[RedisServer], prefix: &str, name: &LockName) -> Result<String, InspectError> {
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

async fn release_at_redis(servers: &[RedisServer], prefix: &str, name: &LockName) -> Result<String, InspectError> {
    let (key, counter) = keys(prefix, name);
    let releases =
        servers.iter().map(|server| async { (server.name(), in_time(server.force_release(&key, &counter)).await) });
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
        _ => Err(InspectError::Servers(format!("{failed} of {} servers did not release:\n{lines}", servers.len()))),
    }
}

async fn look_at_line(ensemble: &ZookeeperEnsemble, root: &str, name: &LockName) -> Result<String, InspectError> {
    let (folder, line) = in_time(ensemble.line(root, name)).await.map_err(InspectError::Servers)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let told = |contender: &crate::lock::client::ContenderSeen| {
        let created = Duration::from_millis(u64::try_from(contender.created_ms).unwrap_or_default());
        // By the ensemble's clock and ours.
        let age = now.saturating_sub(created);
        let token = format!("{} ({}:{})", contender.czxid, contender.czxid >> 32, contender.czxid & 0xffff_ffff);
        let znode = contender.path.rsplit('/').next().unwrap_or_default();
        format!("session 0x{:x}, since {age:?}, token {token}, {znode}", contender.session)
    };
    let mut text = format!("lock     {name} (znode {folder})\n");
    match line.first() {
        None => text += "state    free\n",
        Some(holder) => {
            let _ = writeln!(text, "state    held by {}\n         until its session ends", told(holder));
        }
    }
    let waiting = line.get(1..).unwrap_or_default();
    let _ = writeln!(
        text,
        "queue    {}",
        if waiting.is_empty() { "nobody waits".to_owned() } else { waiting.len().to_string() }
    );
    for contender in waiting {
        let _ = writeln!(text, "  {:>3}. {}", contender.ahead, told(contender));
    }
    Ok(text)
}

async fn release_in_line(ensemble: &ZookeeperEnsemble, root: &str, name: &LockName) -> Result<String, InspectError> {
    let (folder, line) = in_time(ensemble.line(root, name)).await.map_err(InspectError::Servers)?;
    let Some(holder) = line.first() else { return Ok(format!("lock     {name} (znode {folder})\nnobody held it\n")) };
    in_time(ensemble.remove(&holder.path)).await.map_err(InspectError::Servers)?;
    Ok(format!(
        "lock     {name} (znode {folder})\ntaken from session 0x{:x}, token {}; the next one's token is higher\n",
        holder.session, holder.czxid
    ))
}

/// What stands before the keys of all who contend for the lock, and their line. One member that is silent is passed over.
async fn etcd_line(members: &EtcdMembers, prefix: &str, name: &LockName) -> Result<(String, EtcdLine), InspectError> {
    let folder = crate::lock::etcd_folder(prefix, name);
    let mut why = String::new();
    for _ in 0..ETCD_LOOKS {
        match in_time(members.line(&folder)).await {
            Ok(line) => return Ok((folder, line)),
            Err(error) => why = error,
        }
    }
    Err(InspectError::Servers(format!("{}: {why}", members.name())))
}

async fn look_at_etcd(members: &EtcdMembers, prefix: &str, name: &LockName) -> Result<String, InspectError> {
    let (folder, line) = etcd_line(members, prefix, name).await?;
    let mut told = Vec::new();
    for EtcdKey { created, lease, .. } in &line.keys {
        let left = match in_time(members.time_left(*lease)).await {
            Ok(Some(left)) => format!("{left:?} left unless kept alive"),
            Ok(None) => "which is over".to_owned(),
            Err(why) => format!("of which nobody says how long it lasts ({why})"),
        };
        told.push(format!("lease {lease:x}, {left}, token {created}"));
    }
    let mut text = format!("lock     {name} (keys {folder})\n");
    match told.first() {
        None => text += "state    free\n",
        Some(holder) => {
            let _ = writeln!(text, "state    held by {holder}");
        }
    }
    let waiting = told.get(1..).unwrap_or_default();
    let many = if waiting.is_empty() { "nobody waits".to_owned() } else { waiting.len().to_string() };
    let _ = writeln!(text, "queue    {many}");
    for (contender, ahead) in waiting.iter().zip(1..) {
        let _ = writeln!(text, "  {ahead:>3}. {contender}");
    }
    Ok(text)
}

async fn release_in_etcd(members: &EtcdMembers, prefix: &str, name: &LockName) -> Result<String, InspectError> {
    let (folder, line) = etcd_line(members, prefix, name).await?;
    let Some(holder) = line.keys.first() else {
        return Ok(format!("lock     {name} (keys {folder})\nnobody held it\n"));
    };
    in_time(members.delete(&holder.key)).await.map_err(InspectError::Servers)?;
    Ok(format!(
        "lock     {name} (keys {folder})\ntaken from lease {:x}, token {}; the next one's token is higher\n",
        holder.lease, holder.created
    ))
}
