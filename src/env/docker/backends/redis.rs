//! Redis in containers: masters that know nothing of each other.
//!
//! What a server keeps of what it is told is chosen while it runs, and written to its own configuration file, so that a
//! kill and a restart do not undo it. A power loss is played by `docker/redis.sh`, which cuts the append-only file back
//! when the server starts and finds the news beside its clock's page.

mod external;
mod heard;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tokio::time::Instant;

use self::heard::HeardNode;
use super::external::ExternalServers;
use super::talk::{not_yet, talk};
use super::{Answer, ContainerBackend, Containers, Left, Opening, PowerLoss, Published, foreign};
use crate::env::docker::clock_reading::{self, Reading};
use crate::env::docker::container::Container;
use crate::env::docker::engine::Engine;
use crate::history;
use crate::ids::{LockName, NodeId};
use crate::lock::backend::{Connections, RedisNode};
use crate::lock::client::RedisServer;
use crate::lock::{DistributedLock, Settings};
use crate::scenario::{Backend, LockConfig, Persistence};
use crate::trial::leftovers::{Found, Names};
use crate::wire::Protocol;

pub use external::nodes;

/// How long a server may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one look at a clock may take.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// How long the server may take to begin its append-only file: it forks and writes all keys, of which there are none.
const REWRITE_LIMIT: Duration = Duration::from_secs(20);
/// How long one answer about that may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(2);
/// The pause between two looks.
const ROUND: Duration = Duration::from_millis(20);

/// Redis in containers.
#[derive(Debug)]
pub struct Redis;

impl ContainerBackend for Redis {
    fn backend(&self) -> Backend {
        Backend::Redis
    }

    fn title(&self) -> &'static str {
        "Redis"
    }

    fn containers(&self) -> Containers {
        Containers {
            image: "fencepost-redis",
            files: &[
                ("docker/redis.Dockerfile", include_str!("../../../../docker/redis.Dockerfile")),
                ("docker/redis.sh", include_str!("../../../../docker/redis.sh")),
            ],
            usual: 5,
            most: 5,
            size_variable: None,
            on_demand: false,
            begin_together: false,
            first_host: 10,
            first_port: 17_000,
            port: 6379,
            has_clock: true,
        }
    }

    fn power_loss(&self) -> Option<PowerLoss> {
        Some(PowerLoss {
            mapped: ["/usr/local/lib/fencepost-sync.so", "/data/synced"],
            means: "a preloaded shim notes what was synced, the start cuts off the rest",
            instead: "`kill` takes what was in memory only",
            taken: cut_from,
        })
    }

    fn has_leader(&self) -> bool {
        false
    }

    fn ask(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<Answer>> {
        async move { answer(&commands(server, &["PING", "INFO server", "INFO replication"], limit).await?) }.boxed()
    }

    fn reset(&self, server: SocketAddr, kept: Persistence, limit: Duration) -> BoxFuture<'static, io::Result<()>> {
        async move {
            commands(server, &["FLUSHALL SYNC"], limit).await?;
            keep(server, kept).await
        }
        .boxed()
    }

    /// By `TIME`.
    fn read_clock<'a>(
        &'a self,
        _: &'a Engine,
        _: &'a Container,
        server: SocketAddr,
    ) -> BoxFuture<'a, io::Result<Reading>> {
        async move {
            let sent = clock_reading::now();
            let reply = commands(server, &["TIME"], LOOK_LIMIT).await?;
            let heard = clock_reading::now();
            // `*2 $10 1700000000 $6 123456`, one a line.
            let mut numbers = reply.lines().filter(|line| !line.starts_with(['*', '$', '+'])).map(str::parse::<i128>);
            match (numbers.next(), numbers.next()) {
                (Some(Ok(seconds)), Some(Ok(micros))) => {
                    Ok(Reading::between(sent, heard, (seconds * 1_000_000 + micros) * 1_000, 1_000))
                }
                _ => Err(io::Error::other(format!("not a time: {reply}"))),
            }
        }
        .boxed()
    }

    fn open(&self, opening: Opening<'_>) -> Result<Arc<dyn DistributedLock>, String> {
        let Opening { lock, namespace, servers, external, answers, runtime, wall } = opening;
        let nodes = |connections: Connections| -> Result<Vec<RedisServer>, String> {
            match external {
                Some(settings) => nodes(settings, Some(servers)).map_err(|error| error.to_string()),
                None => Ok(servers.iter().map(|address| RedisServer::with(*address, connections)).collect()),
            }
        };
        let heard = |(number, node): (u32, RedisServer)| {
            Arc::new(HeardNode::new(Arc::new(node), NodeId(number), answers)) as Arc<dyn RedisNode>
        };
        let prefix = self.prefix(namespace);
        Ok(match lock {
            LockConfig::Redis(config) => {
                let node = nodes(config.connections)?.into_iter().next().ok_or("the plan names no server")?;
                config.make(heard((1, node)), prefix, runtime)
            }
            LockConfig::Redlock(config) => {
                let nodes = (1..).zip(nodes(config.connections)?).map(heard).collect();
                config.make(nodes, prefix, runtime, wall)
            }
            other => return Err(foreign(other)),
        })
    }

    fn prefix(&self, namespace: &str) -> String {
        format!("{namespace}:")
    }

    fn name_in_requests(&self, namespace: &str, lock: &LockName) -> String {
        format!("{namespace}:{lock}")
    }

    fn protocol(&self) -> Protocol {
        Protocol::Resp
    }

    fn replies_needed(&self, servers: usize) -> usize {
        servers / 2 + 1
    }

    fn leases_run_out(&self) -> bool {
        true
    }

    fn leftovers<'a>(&'a self, published: &'a Published, names: &'a Names) -> BoxFuture<'a, Left> {
        async move {
            let looks = published.servers.iter().map(|(node, address)| async move {
                let server = RedisServer::new(*address);
                match tokio::time::timeout(PATIENCE, server.keys(names.prefix())).await {
                    Ok(Ok(keys)) => Ok((*node, keys)),
                    Ok(Err(error)) => Err(format!("{node}: {error}")),
                    Err(_) => Err(format!("{node} gave no answer within {PATIENCE:?}")),
                }
            });
            let (mut found, mut missing) = (Vec::new(), None);
            for look in join_all(looks).await {
                match look {
                    Err(why) => missing = Some(why),
                    Ok((node, keys)) => found.extend(keys.into_iter().map(|(name, key)| {
                        let time_left = key.left.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
                        let left = history::Left { node: Some(node), name, owner: key.value, time_left };
                        Found { left, client: None }
                    })),
                }
            }
            (found, missing)
        }
        .boxed()
    }

    fn is_for(&self, settings: &Settings) -> bool {
        matches!(settings, Settings::Redis(_) | Settings::Redlock(_))
    }

    fn external(&self) -> Option<&'static dyn ExternalServers> {
        Some(&external::Masters)
    }
}

/// Sends plain commands to a server in one go and returns all replies as they came.
///
/// # Errors
/// It gave no answer, or one is an error.
pub async fn commands(server: SocketAddr, commands: &[&str], limit: Duration) -> io::Result<String> {
    // QUIT makes the server end the connection, which is how the end of the last reply is known.
    let reply = talk(server, (commands.join("\r\n") + "\r\nQUIT\r\n").as_bytes(), limit).await?;
    match reply.lines().find(|line| line.starts_with('-')) {
        Some(error) => Err(io::Error::other(error[1..].to_owned())),
        None => Ok(reply),
    }
}

fn answer(reply: &str) -> io::Result<Answer> {
    let field = |name: &str| reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    match (reply.starts_with("+PONG"), field("redis_version"), field("role")) {
        (true, Some(version), Some(mode)) => Ok(Answer { version: version.to_owned(), mode: mode.to_owned() }),
        _ => Err(not_yet(reply)),
    }
}

/// Has a server keep what it is told as `kept` says, from now on.
///
/// # Errors
/// It does not answer, refuses, or has not begun its append-only file in time.
pub async fn keep(server: SocketAddr, kept: Persistence) -> io::Result<()> {
    let chosen = match kept {
        Persistence::None => "CONFIG SET appendonly no",
        Persistence::Everysec => "CONFIG SET appendfsync everysec appendonly yes",
        Persistence::Always => "CONFIG SET appendfsync always appendonly yes",
    };
    commands(server, &[chosen, "CONFIG REWRITE"], QUESTION_LIMIT).await?;
    let start = Instant::now();
    loop {
        let told = commands(server, &["INFO persistence"], QUESTION_LIMIT).await?;
        if is_in_force(&told, kept) {
            return Ok(());
        }
        if start.elapsed() > REWRITE_LIMIT {
            let problem = format!("its persistence is not {kept:?} {REWRITE_LIMIT:?} after it was asked for");
            return Err(io::Error::other(problem));
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Whether the server says that it keeps everything from now on, or nothing. Until its first rewrite is over, an
/// append-only file that was just switched on would not be found again after a restart.
fn is_in_force(told: &str, kept: Persistence) -> bool {
    let says = |line: &str| told.lines().any(|told| told == line);
    match kept {
        Persistence::None => says("aof_enabled:0"),
        Persistence::Everysec | Persistence::Always => {
            says("aof_enabled:1")
                && says("aof_rewrite_in_progress:0")
                && says("aof_rewrite_scheduled:0")
                && says("aof_last_bgrewrite_status:ok")
                && says("aof_last_write_status:ok")
        }
    }
}

/// How many bytes a power loss took, and whether it was played to its end.
fn cut_from(log: &str) -> (u64, bool) {
    let mut lost = 0;
    let mut is_done = false;
    for line in log.lines().filter_map(|line| line.split_once("power loss: ").map(|(_, said)| said)) {
        let numbers: Vec<u64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [had, left] => lost += had.saturating_sub(left),
            _ => is_done |= line == "done",
        }
    }
    (lost, is_done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::docker::{clock_page, files};

    #[test]
    fn a_master_says_version_and_role() {
        let reply = "+PONG\r\n$40\r\n# Server\r\nredis_version:8.0.2\r\nredis_mode:standalone\r\n\r\n\
                     $30\r\n# Replication\r\nrole:master\r\n\r\n+OK\r\n";
        assert_eq!(answer(reply).unwrap(), Answer { version: "8.0.2".into(), mode: "master".into() });
        assert_eq!(answer("").unwrap_err().to_string(), "not serving yet");
    }

    #[test]
    fn an_append_only_file_counts_once_its_first_rewrite_is_over() {
        let told = |rewriting: u8| {
            format!(
                "# Persistence\r\naof_enabled:1\r\naof_rewrite_in_progress:{rewriting}\r\naof_rewrite_scheduled:0\r\n\
                 aof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n"
            )
        };
        assert!(is_in_force(&told(0), Persistence::Always));
        assert!(!is_in_force(&told(1), Persistence::Always));
        assert!(!is_in_force(&told(0), Persistence::None));
        assert!(is_in_force("aof_enabled:0\r\n", Persistence::None));
    }

    #[test]
    fn what_a_power_loss_took_is_added_up() {
        let log = "2026-11-23T22:00:00Z power loss: appendonly.aof.1.base.rdb had 88 bytes, 88 are left\n\
                   2026-11-23T22:00:00Z power loss: appendonly.aof.1.incr.aof had 300 bytes, 130 are left\n";
        assert_eq!(cut_from(log), (170, false));
        assert_eq!(cut_from(&format!("{log}2026-11-23T22:00:00Z power loss: done\n")), (170, true));
        assert_eq!(cut_from("2026-11-23T22:00:00Z Ready to accept connections\n"), (0, false));
    }

    #[test]
    fn what_the_shims_map_is_what_is_looked_for() {
        let [shim, notes] = Redis.power_loss().unwrap().mapped;
        assert!(files::content("docker/syncshim.c").contains(&format!("\"{notes}\"")));
        assert!(files::content("docker/redis.sh").contains(&format!("{}:{shim}\n", clock_page::SHIM)));
    }
}
