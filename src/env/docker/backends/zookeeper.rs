//! ZooKeeper in containers: the servers of one ensemble, whose size a scenario may choose, asked by four-letter words.
//!
//! A server syncs each transaction before it answers, so that a power loss is a kill.

mod external;
mod heard;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt, join_all};

use self::heard::HeardEnsemble;
use super::external::ExternalServers;
use super::talk::{not_yet, talk};
use super::{Answer, ContainerBackend, Containers, Left, Opening, Published, foreign, listed, path, path_in_requests};
use crate::defendant::backend::TICK;
use crate::env::docker::clock_reading::{self, Reading};
use crate::env::docker::container::Container;
use crate::env::docker::engine::Engine;
use crate::env::session_text;
use crate::history;
use crate::ids::{ClientId, LockName};
use crate::lock::client::ZookeeperEnsemble;
use crate::lock::{DistributedLock, Settings};
use crate::scenario::{Backend, LockConfig};
use crate::time::{BootClock, Clock};
use crate::trial::leftovers::{Found, Names};
use crate::wire::Protocol;

/// How long a server may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one look at a clock may take.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// How long a line may take from the server to the log that can be read.
const LOG_LAG: Duration = Duration::from_secs(1);
/// A four-letter word that nobody else asks: it stands in the log when we have asked it.
const WORD: &str = "isro";

/// ZooKeeper in containers.
#[derive(Debug)]
pub struct Zookeeper;

impl ContainerBackend for Zookeeper {
    fn backend(&self) -> Backend {
        Backend::Zookeeper
    }

    fn title(&self) -> &'static str {
        "ZooKeeper"
    }

    fn containers(&self) -> Containers {
        Containers {
            image: "fencepost-zookeeper",
            files: &[
                ("docker/zookeeper.Dockerfile", include_str!("../../../../docker/zookeeper.Dockerfile")),
                ("docker/zookeeper.sh", include_str!("../../../../docker/zookeeper.sh")),
            ],
            usual: 3,
            most: 5,
            size_variable: Some("FENCEPOST_ENSEMBLE"),
            on_demand: false,
            begin_together: false,
            first_host: 20,
            first_port: 17_010,
            port: 2181,
            has_clock: true,
        }
    }

    fn has_leader(&self) -> bool {
        true
    }

    fn ask(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<Answer>> {
        async move { answer(&talk(server, b"srvr", limit).await?) }.boxed()
    }

    fn is_there(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<()>> {
        async move {
            match talk(server, b"ruok", limit).await? {
                reply if reply == "imok" => Ok(()),
                reply => Err(not_yet(&reply)),
            }
        }
        .boxed()
    }

    fn sessions(&self, server: SocketAddr, limit: Duration) -> BoxFuture<'static, io::Result<Vec<(Ipv4Addr, i64)>>> {
        async move { Ok(connected(&talk(server, b"cons", limit).await?)) }.boxed()
    }

    /// A server stamps each line of its log, and it logs each four-letter word that it is asked.
    fn read_clock<'a>(
        &'a self,
        engine: &'a Engine,
        container: &'a Container,
        server: SocketAddr,
    ) -> BoxFuture<'a, io::Result<Reading>> {
        async move {
            let sent = clock_reading::now();
            talk(server, WORD.as_bytes(), LOOK_LIMIT).await?;
            let heard = clock_reading::now();
            let since = i32::try_from(sent.wall / 1_000_000_000).unwrap_or_default();
            while BootClock.now() < heard.boot + LOG_LAG {
                let log = engine.logs_since(container, since).await.map_err(io::Error::other)?;
                if let Some(wall) = stamp(&log, sent.wall) {
                    return Ok(Reading::between(sent, heard, wall, 1_000_000));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(io::Error::other("it did not log that it was asked"))
        }
        .boxed()
    }

    fn open(&self, opening: Opening<'_>) -> Result<Arc<dyn DistributedLock>, String> {
        let Opening { lock, namespace, servers, external, answers, runtime, wall } = opening;
        let LockConfig::Zookeeper(config) = lock else { return Err(foreign(lock)) };
        let (connector, root, tick) = match external {
            // A path of the trial's own, with nothing above it: it is removed whole.
            Some(settings) => {
                let ensemble = external::ensemble(settings, Some(servers), config.session_timeout);
                (ensemble.map_err(|error| error.to_string())?, format!("/{namespace}"), external::tick(settings))
            }
            None => (ZookeeperEnsemble::new(listed(servers), config.session_timeout), path(namespace), Some(TICK)),
        };
        let connector = Arc::new(HeardEnsemble::new(Arc::new(connector), answers));
        Ok(config.make(connector, root, tick, runtime, wall))
    }

    fn prefix(&self, namespace: &str) -> String {
        format!("{}/", path(namespace))
    }

    fn name_in_requests(&self, namespace: &str, lock: &LockName) -> String {
        path_in_requests(namespace, lock)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Zookeeper
    }

    /// A session is with one server.
    fn replies_needed(&self, _: usize) -> usize {
        1
    }

    fn leases_run_out(&self) -> bool {
        false
    }

    fn leftovers<'a>(&'a self, published: &'a Published, names: &'a Names) -> BoxFuture<'a, Left> {
        async move {
            let servers: Vec<SocketAddr> = published.servers.iter().map(|(_, address)| *address).collect();
            let ensemble = ZookeeperEnsemble::new(listed(&servers), PATIENCE);
            let prefix = names.prefix().trim_start_matches('/');
            // Folders of earlier trials stay for good, and there may be thousands.
            let enters = |path: &str| !is_of_another_trial(path, prefix);
            let paths = match tokio::time::timeout(PATIENCE, ensemble.paths(prefix, enters)).await {
                Ok(Ok(paths)) => paths,
                Ok(Err(error)) => return (Vec::new(), Some(error.to_string())),
                Err(_) => return (Vec::new(), Some(format!("the ensemble gave no answer within {PATIENCE:?}"))),
            };
            let clients = &published.clients;
            let mut whose: BTreeMap<i64, ClientId> = BTreeMap::new();
            let asked = servers.iter().map(|server| self.sessions(*server, PATIENCE));
            for sessions in join_all(asked).await.into_iter().flatten() {
                let known =
                    sessions.into_iter().filter_map(|(address, session)| Some((session, *clients.get(&address)?)));
                whose.extend(known);
            }
            let found = paths.into_iter().map(|(name, session)| {
                let left = history::Left { node: None, name, owner: session_text(session), time_left: None };
                Found { left, client: whose.get(&session).copied() }
            });
            (found.collect(), None)
        }
        .boxed()
    }

    fn is_for(&self, settings: &Settings) -> bool {
        matches!(settings, Settings::Zookeeper(_))
    }

    fn external(&self) -> Option<&'static dyn ExternalServers> {
        Some(&external::Ensemble)
    }
}

fn answer(reply: &str) -> io::Result<Answer> {
    let field = |name: &str| reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    match (field("Zookeeper version"), field("Mode")) {
        (Some(version), Some(mode)) => {
            // `3.9.3-${mvngit.commit.id}, built on …` as Debian builds it, `3.9.3-<commit>, built on …` elsewhere.
            let end = version.find(['-', ',']).unwrap_or(version.len());
            Ok(Answer { version: version[..end].to_owned(), mode: mode.to_owned() })
        }
        _ => Err(not_yet(reply)),
    }
}

/// From lines as ` /172.30.57.32:40186[1](queued=0,recved=9,sent=9,sid=0x1000…,…)`; a connection without a session,
/// such as the one that asks, has no `sid`.
fn connected(reply: &str) -> Vec<(Ipv4Addr, i64)> {
    let session = |line: &str| {
        let (address, rest) = line.trim().strip_prefix('/')?.split_once(':')?;
        let (_, session) = rest.split_once("sid=0x")?;
        let digits = session.find(|c: char| !c.is_ascii_hexdigit()).map_or(session, |end| &session[..end]);
        // Ids are 64 bits wide, and those of servers from 128 on have the highest one.
        Some((address.parse().ok()?, u64::from_str_radix(digits, 16).ok()? as i64))
    };
    reply.lines().filter_map(session).collect()
}

/// What the server's clock showed when it logged our word: of the last such line that the daemon received after `sent`.
/// The daemon puts its own time before each line.
fn stamp(log: &str, sent: i128) -> Option<i128> {
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).map(|since| since.as_nanos() as i128).ok();
    log.lines().rev().find_map(|line| {
        let (received, said) = line.split_once(' ')?;
        let (wall, said) = said.split_once(' ')?;
        let is_ours = said.contains(&format!("Processing {WORD} command"));
        let received = nanos(humantime::parse_rfc3339(received).ok()?)?;
        let wall = nanos(humantime::parse_rfc3339_weak(wall).ok()?)?;
        (is_ours && received >= sent).then_some(wall)
    })
}

/// Whether a znode is one of ZooKeeper's own, or surely belongs to another trial: in the folders in which trials have
/// one each, only one is this one's.
fn is_of_another_trial(path: &str, prefix: &str) -> bool {
    let own = |rest: &str| prefix.contains(rest) || rest.contains(prefix);
    match path.strip_prefix("/fencepost/").map(|rest| rest.split('/').next().unwrap_or_default()) {
        Some(trial) => !own(trial),
        None => path == "/zookeeper" || path.starts_with("/fp-") && !path.contains(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_version_and_mode() {
        let reply = "Zookeeper version: 3.9.3-${mvngit.commit.id}, built on 2026-03-08\nZxid: 0x0\nMode: leader\n";
        assert_eq!(answer(reply).unwrap(), Answer { version: "3.9.3".into(), mode: "leader".into() });
        let reply = "This ZooKeeper instance is not currently serving requests\n";
        assert!(answer(reply).unwrap_err().to_string().contains("not currently serving"));
    }

    #[test]
    fn a_server_says_whose_sessions_it_serves() {
        let reply = " /172.30.57.1:51334[0](queued=0,recved=1,sent=0)\n \
                     /172.30.57.32:40186[1](queued=0,recved=9,sent=9,sid=0x100000a2b3c0001,lop=PING,to=2000)\n";
        assert_eq!(connected(reply), [(Ipv4Addr::new(172, 30, 57, 32), 0x100000a2b3c0001)]);
    }

    #[test]
    fn a_clock_is_read_off_the_line_that_we_caused() {
        let log = "2026-11-23T22:00:00.900000000Z 2026-11-23T22:00:05.900 INFO NIOServerCnxn - Processing isro command\n\
                   2026-11-23T22:00:01.000500000Z 2026-11-23T22:00:06.000 INFO NIOServerCnxn - Processing isro command\n\
                   2026-11-23T22:00:01.000600000Z 2026-11-23T22:00:07.000 INFO NIOServerCnxn - Processing srvr command\n";
        let second = |text: &str| {
            let time = humantime::parse_rfc3339(text).unwrap();
            time.duration_since(UNIX_EPOCH).unwrap().as_nanos() as i128
        };
        let sent = second("2026-11-23T22:00:01Z");
        assert_eq!(stamp(log, sent), Some(second("2026-11-23T22:00:06Z")));
        assert_eq!(stamp(log, sent + 1_000_000), None, "an earlier line is not an answer");
    }

    #[test]
    fn folders_of_other_trials_are_passed_over() {
        for (path, prefix, passed) in [
            ("/fencepost", "fencepost/run-2-zookeeper/", false),
            ("/fencepost/run-2-zookeeper", "fencepost/run-2-zookeeper/", false),
            ("/fencepost/run-2-zookeeper/item-1", "fencepost/run-2-zookeeper/", false),
            ("/fencepost/run-1-zookeeper", "fencepost/run-2-zookeeper/", true),
            ("/fp-run-1-kazoo-item-1", "fp-run-2-kazoo-", true),
            ("/fp-run-2-kazoo-item-1", "fp-run-2-kazoo-", false),
            ("/tooz", "fp-run-2-tooz-", false),
            ("/zookeeper", "fp-run-2-tooz-", true),
        ] {
            assert_eq!(is_of_another_trial(path, prefix), passed, "{path}");
        }
    }
}
