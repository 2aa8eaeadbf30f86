//! The locks on trial, from the file's values: each one's kind, servers and settings.
//!
//! A setting that is another lock's is refused rather than passed over. Deliberately absent: plausibility, and the faults.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::path::Path;
use std::time::Duration;

use super::capabilities::Capabilities;
use super::error::Problem;
use super::file::{LockTable, ScenarioFile};
use super::place::{Algorithm, Count, KindName, Placed, Word};
use super::validate::Problems;
use super::{
    AdapterConfig, Backend, DurationRange, EtcdConfig, Fencing, LockConfig, Persistence, RedisConfig, RedlockConfig,
    ZookeeperConfig,
};
use crate::adapter::settings;
use crate::lock::Tokens;
use crate::lock::backend::Connections;
use crate::lock::flawed::{RedlockFlaw, ZookeeperFlaw};
use crate::lock_kind::LockKind;

/// The shortest lease that etcd grants as it comes, and in the containers.
const SHORTEST_ETCD_LEASE: Duration = Duration::from_secs(2);

/// A lock's name becomes the name of a folder in the run's own, which has this one already.
const RESERVED_NAME: &str = "logs";

/// The shortest lease: below it the allowance for clock drift (1 % and 2 ms) leaves next to nothing.
const SHORTEST_TTL: Duration = Duration::from_millis(10);

pub(super) fn locks(
    tables: &BTreeMap<Placed<String>, LockTable>,
    path: &Path,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Option<LockConfig>> {
    if tables.is_empty() {
        let problem = Problem::of_file("no lock stands trial");
        problems.push(problem.help("add a table `[lock.redlock]`, `[lock.zookeeper]` or `[lock.redis]`"));
    }
    let mut locks = BTreeMap::new();
    for (name, table) in tables {
        lock_name(name, problems);
        let config = match &table.adapter {
            Some(adapter) => self::adapter(adapter, table, path, environment, problems).map(LockConfig::Adapter),
            None => algorithm(name, table, problems).and_then(|algorithm| match algorithm {
                Algorithm::Redis => redis(table, environment, problems).map(LockConfig::Redis),
                Algorithm::Redlock(flaw) => redlock(table, flaw, environment, problems).map(LockConfig::Redlock),
                Algorithm::Zookeeper(flaw) => zookeeper(table, flaw, environment, problems).map(LockConfig::Zookeeper),
                Algorithm::Etcd => etcd(name, table, environment, problems).map(LockConfig::Etcd),
            }),
        };
        locks.insert(name.value.clone(), config);
    }
    locks
}

/// A defendant of its own folder. What the folder says holds; the scenario says the lease, and what Redis keeps.
fn adapter(
    field: &Placed<String>,
    table: &LockTable,
    path: &Path,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> Option<AdapterConfig> {
    if !environment.adapters {
        if !environment.strikes_servers {
            let title = format!("`{}` is a program of others: it is tried on servers of fencepost's own", field.value);
            let problem = Problem::at(&field.span, title, "not with --servers");
            return problems.refuse(problem.help("leave out --servers, or choose the other locks with --lock"));
        }
        let title = format!("`{}` is a program: it cannot be simulated", field.value);
        let problem = Problem::at(&field.span, title, "real servers only");
        return problems.refuse(problem.help("run it on real ones with `--env docker`"));
    }
    let Some(folder) = settings::find(field, path) else {
        let title = format!("there is no adapter `{}`", field.value);
        let problem = Problem::at(&field.span, title, format!("no folder with a {}", settings::FILE));
        return problems.refuse(problem.help(format!("looked in {0}/ here and beside the scenario", settings::FOLDER)));
    };
    let found = match settings::load(&folder) {
        Ok(found) => found,
        Err(error) => {
            return problems.refuse(Problem::at(&field.span, error.to_string(), "its settings are wrong"));
        }
    };
    let of = "locks of fencepost";
    foreign("algorithm", table.algorithm.as_ref(), of, "an adapter", problems);
    foreign("kind", table.kind.as_ref(), of, "an adapter", problems);
    foreign("permits", table.permits.as_ref(), of, "an adapter", problems);
    foreign("nodes", table.nodes.as_ref(), of, "an adapter", problems);
    foreign("servers", table.servers.as_ref(), of, "an adapter", problems);
    foreign("renewal", table.renewal.as_ref(), of, "an adapter", problems);
    foreign("node-timeout", table.node_timeout.as_ref(), of, "an adapter", problems);
    foreign("retry-delay", table.retry_delay.as_ref(), of, "an adapter", problems);
    foreign("connections", table.connections.as_ref(), of, "an adapter", problems);
    foreign("tokens", table.tokens.as_ref(), of, "an adapter", problems);
    // The rules for the lease and for what is kept are those of fencepost's own lock over the same servers.
    let (lease, persistence) = match found.servers.backend {
        Backend::Redis => {
            foreign("session-timeout", table.session_timeout.as_ref(), "zookeeper", "over redis", problems);
            let like = redlock(
                &LockTable { ttl: table.ttl.clone(), persistence: table.persistence.clone(), ..LockTable::default() },
                None,
                environment,
                problems,
            )?;
            (like.ttl, like.persistence)
        }
        Backend::Zookeeper => {
            foreign("ttl", table.ttl.as_ref(), "redis", "over zookeeper", problems);
            foreign("persistence", table.persistence.as_ref(), "redis", "over zookeeper", problems);
            let like = zookeeper(
                &LockTable { session_timeout: table.session_timeout.clone(), ..LockTable::default() },
                None,
                environment,
                problems,
            )?;
            (like.session_timeout, Persistence::None)
        }
        Backend::Etcd => {
            foreign("session-timeout", table.session_timeout.as_ref(), "zookeeper", "over etcd", problems);
            foreign("persistence", table.persistence.as_ref(), "redis", "over etcd", problems);
            (etcd_ttl(table, problems)?, Persistence::None)
        }
    };
    Some(AdapterConfig { lease: found.lease(lease), persistence, settings: found })
}

fn lock_name(name: &Placed<String>, problems: &mut Problems<'_>) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(plain) || name.starts_with('-') {
        let title = format!("`{}` cannot be a lock's name", name.value);
        let label = "its records get a folder of this name";
        problems.push(Problem::at(&name.span, title, label).help("use a-z, 0-9 and -, at most 40 of them"));
    } else if name.value == RESERVED_NAME {
        let title = format!("`{}` cannot be a lock's name", name.value);
        problems.push(Problem::at(&name.span, title, "a run's folder keeps something else under it"));
    }
}

fn algorithm(name: &Placed<String>, table: &LockTable, problems: &mut Problems<'_>) -> Option<Algorithm> {
    if let Some(field) = &table.algorithm {
        return problems.choice("a value of `algorithm`", field);
    }
    let words = Algorithm::words();
    let named = words.iter().find(|(word, _)| *word == name.value).map(|(_, algorithm)| *algorithm);
    if named.is_none() {
        let title = format!("lock `{}` does not say its algorithm", name.value);
        problems.push(
            Problem::at(&name.span, title, "not the name of an algorithm")
                .help("add `algorithm = \"redlock\"` or `algorithm = \"zookeeper\"`")
                .suggest(name, words.iter().map(|(word, _)| *word)),
        );
    }
    named
}

fn foreign<T>(key: &str, field: Option<&Placed<T>>, of: &str, lock: &str, problems: &mut Problems<'_>) {
    if let Some(field) = field {
        let place = problems.with_key(key, &field.span);
        let title = format!("`{key}` is a setting of {of}, this lock is {lock}");
        problems.push(Problem::at(&place, title, format!("not a setting of {lock}")));
    }
}

fn odd(key: &str, field: &Placed<Count>, count: u32, problems: &mut Problems<'_>) -> Option<u32> {
    if count.is_multiple_of(2) {
        let title = format!("`{key}` must be odd");
        let label = format!("{count} bear no more failures than {}", count - 1);
        return problems.refuse(Problem::at(&field.span, title, label));
    }
    Some(count)
}

fn redis(table: &LockTable, environment: &Capabilities, problems: &mut Problems<'_>) -> Option<RedisConfig> {
    foreign("nodes", table.nodes.as_ref(), "redlock", "redis", problems);
    foreign("tokens", table.tokens.as_ref(), "redlock", "redis", problems);
    let kind = kind(table, problems);
    let lease = lease(table, "redis", environment, problems);
    let Lease { ttl, renewal, node_timeout, retry_delay, persistence, connections } = lease?;
    Some(RedisConfig { kind: kind?, ttl, renewal, node_timeout, retry_delay, persistence, connections })
}

fn redlock(
    table: &LockTable,
    flaw: Option<RedlockFlaw>,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> Option<RedlockConfig> {
    let limit = format!("environment {} has {} Redis masters", environment.environment, environment.max_redis_nodes);
    let nodes = match &table.nodes {
        None => Some(5),
        Some(field) => problems
            .count("nodes", field, environment.max_redis_nodes, &limit)
            .and_then(|count| odd("nodes", field, count, problems)),
    };
    one_client_s(
        table,
        "redlock",
        "majorities that grant apart from each other may let one too many in, and nobody sees it",
        problems,
    );
    let lease = lease(table, "redlock", environment, problems);
    let tokens = match (&table.tokens, flaw) {
        (None, _) => Some(Tokens::None),
        (Some(field), None) => problems.choice("a value of `tokens`", field),
        (Some(field), Some(flaw)) => {
            foreign("tokens", Some(field), "redlock", flaw.about().name, problems);
            None
        }
    };
    let Lease { ttl, renewal, node_timeout, retry_delay, persistence, connections } = lease?;
    let (nodes, tokens) = (nodes?, tokens?);
    Some(RedlockConfig { nodes, ttl, renewal, node_timeout, retry_delay, persistence, connections, tokens, flaw })
}

/// Refuses, with the reason, that several hold a lock whose algorithm is one client's.
fn one_client_s(table: &LockTable, algorithm: &str, why: &str, problems: &mut Problems<'_>) {
    foreign("permits", table.permits.as_ref(), "a semaphore", algorithm, problems);
    let Some(field) = &table.kind else { return };
    if problems.choice("a value of `kind`", field).is_none_or(|kind| kind == KindName::Mutex) {
        return;
    }
    let problem = Problem::at(&field.span, format!("there is no `{}` on {algorithm}", field.word), why);
    problems.push(problem.help("use `algorithm = \"redis\"` or `algorithm = \"zookeeper\"`"));
}

/// How many may hold a lock at once.
fn kind(table: &LockTable, problems: &mut Problems<'_>) -> Option<LockKind> {
    let kind = match &table.kind {
        None => KindName::Mutex,
        Some(field) => problems.choice("a value of `kind`", field)?,
    };
    let permits = match &table.permits {
        Some(field) if kind == KindName::Semaphore => {
            Some(problems.count("permits", field, u32::MAX, "permits are counted in 32 bits")?)
        }
        Some(field) => {
            foreign("permits", Some(field), "a semaphore", "none", problems);
            return None;
        }
        None => None,
    };
    match (kind, permits, &table.kind) {
        (KindName::Mutex, ..) => Some(LockKind::Mutex),
        (KindName::ReadWrite, ..) => Some(LockKind::ReadWrite),
        (KindName::Semaphore, Some(permits), _) => Some(LockKind::Semaphore { permits }),
        (KindName::Semaphore, None, field) => {
            let span = field.as_ref().map_or(0..0, |field| field.span.clone());
            let problem = Problem::at(&span, "a semaphore without `permits`", "how many may hold it at once?");
            problems.refuse(problem.help("add `permits = 3`"))
        }
    }
}

/// What every lock over Redis says of its leases and servers.
struct Lease {
    ttl: Duration,
    renewal: bool,
    node_timeout: Duration,
    retry_delay: DurationRange,
    persistence: Persistence,
    connections: Connections,
}

fn lease(table: &LockTable, lock: &str, environment: &Capabilities, problems: &mut Problems<'_>) -> Option<Lease> {
    foreign("servers", table.servers.as_ref(), "zookeeper", lock, problems);
    foreign("session-timeout", table.session_timeout.as_ref(), "zookeeper", lock, problems);
    let ttl = match &table.ttl {
        None => Some(Duration::from_secs(1)),
        Some(field) => problems.milliseconds("ttl", field).and_then(|ttl| {
            if ttl < SHORTEST_TTL {
                let title = format!("`ttl` must be at least {SHORTEST_TTL:?}");
                let label = "the allowance for clock drift (1 % and 2 ms) would use it up";
                return problems.refuse(Problem::at(&field.span, title, label));
            }
            Some(ttl)
        }),
    };
    let node_timeout = match &table.node_timeout {
        None => ttl.map(default_node_timeout),
        Some(field) => problems.positive("node-timeout", field).and_then(|timeout| {
            if let Some(ttl) = ttl.filter(|ttl| timeout >= *ttl) {
                let title = format!("`node-timeout` must be shorter than the ttl of {ttl:?}");
                let label = "one silent node would use up the lease";
                return problems.refuse(Problem::at(&field.span, title, label));
            }
            Some(timeout)
        }),
    };
    let retry_delay = match &table.retry_delay {
        None => Some(DurationRange::new(Duration::from_millis(20), Duration::from_millis(80))),
        Some(field) => problems.range("retry-delay", field).and_then(|delay| {
            if delay.max.is_zero() {
                return problems.refuse(Problem::at(&field.span, "`retry-delay` must be longer than zero", "zero"));
            }
            Some(delay)
        }),
    };
    let renewal = table.renewal.as_ref().is_some_and(|renewal| renewal.value);
    let persistence = match &table.persistence {
        None => Some(Persistence::default()),
        Some(field) => problems.choice("a value of `persistence`", field).and_then(|persistence| {
            if environment.persistence.contains(&persistence) {
                return Some(persistence);
            }
            let (word, name) = (&field.word, environment.environment);
            let title = format!("persistence `{word}` is not available in environment {name} yet");
            let known = Persistence::words().into_iter().filter(|(_, value)| environment.persistence.contains(value));
            let available = known.map(|(word, _)| word).collect::<Vec<_>>().join(", ");
            let problem = Problem::at(&field.span, title, "not available");
            problems.refuse(problem.help(format!("available in {name}: {available}")))
        }),
    };
    let connections = match &table.connections {
        None => Some(Connections::default()),
        Some(field) => problems.choice("a value of `connections`", field),
    };
    Some(Lease {
        ttl: ttl?,
        renewal,
        node_timeout: node_timeout?,
        retry_delay: retry_delay?,
        persistence: persistence?,
        connections: connections?,
    })
}

/// A tenth of the lease, so that a silent node does not use it up; at most 50 ms, the published upper end for a lease
/// of ten seconds.
fn default_node_timeout(ttl: Duration) -> Duration {
    (ttl / 10).min(Duration::from_millis(50))
}

/// The lock in an etcd cluster.
fn etcd(
    name: &Placed<String>,
    table: &LockTable,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> Option<EtcdConfig> {
    if !environment.etcd {
        let title =
            format!("lock `{}` rests on etcd, which environment {} does not have", name.value, environment.environment);
        let problem = Problem::at(&name.span, title, "an etcd lock");
        return problems.refuse(problem.help("run it on fencepost's own containers with `--env docker`"));
    }
    one_client_s(table, "etcd", "what fencepost has in etcd is one client's lock", problems);
    foreign("nodes", table.nodes.as_ref(), "redlock", "etcd", problems);
    foreign("servers", table.servers.as_ref(), "zookeeper", "etcd", problems);
    foreign("session-timeout", table.session_timeout.as_ref(), "zookeeper", "etcd", problems);
    foreign("renewal", table.renewal.as_ref(), "redlock", "etcd", problems);
    foreign("node-timeout", table.node_timeout.as_ref(), "redlock", "etcd", problems);
    foreign("retry-delay", table.retry_delay.as_ref(), "redlock", "etcd", problems);
    foreign("persistence", table.persistence.as_ref(), "redlock", "etcd", problems);
    foreign("connections", table.connections.as_ref(), "redlock", "etcd", problems);
    foreign("tokens", table.tokens.as_ref(), "redlock", "etcd", problems);
    Some(EtcdConfig { ttl: etcd_ttl(table, problems)? })
}

/// The lease of a lock over etcd. etcd takes leases in whole seconds, and none that is shorter than one and a half of its
/// election timeouts: it grants the shortest instead, without a word (`server/etcdserver/server.go`, `minTTL`).
fn etcd_ttl(table: &LockTable, problems: &mut Problems<'_>) -> Option<Duration> {
    let Some(field) = &table.ttl else { return Some(SHORTEST_ETCD_LEASE) };
    let ttl = problems.milliseconds("ttl", field)?;
    if ttl < SHORTEST_ETCD_LEASE || ttl.subsec_nanos() != 0 {
        let title = format!("`ttl` must be whole seconds, at least {SHORTEST_ETCD_LEASE:?}");
        return problems.refuse(Problem::at(&field.span, title, "etcd would grant another one"));
    }
    Some(ttl)
}

fn zookeeper(
    table: &LockTable,
    flaw: Option<ZookeeperFlaw>,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> Option<ZookeeperConfig> {
    foreign("nodes", table.nodes.as_ref(), "redlock", "zookeeper", problems);
    foreign("ttl", table.ttl.as_ref(), "redlock", "zookeeper", problems);
    foreign("renewal", table.renewal.as_ref(), "redlock", "zookeeper", problems);
    foreign("node-timeout", table.node_timeout.as_ref(), "redlock", "zookeeper", problems);
    foreign("retry-delay", table.retry_delay.as_ref(), "redlock", "zookeeper", problems);
    foreign("persistence", table.persistence.as_ref(), "redlock", "zookeeper", problems);
    foreign("connections", table.connections.as_ref(), "redlock", "zookeeper", problems);
    foreign("tokens", table.tokens.as_ref(), "redlock", "zookeeper", problems);
    let limit =
        format!("environment {} has {} ZooKeeper servers", environment.environment, environment.max_zookeeper_servers);
    let servers = match &table.servers {
        None => Some(3),
        Some(field) => problems
            .count("servers", field, environment.max_zookeeper_servers, &limit)
            .and_then(|count| odd("servers", field, count, problems)),
    };
    let kind = kind(table, problems).and_then(|kind| kind_of_flaw(kind, flaw, table, problems));
    let granted = environment.session_timeouts();
    let session_timeout = match &table.session_timeout {
        None => Some(Duration::from_secs(2)),
        Some(field) => problems.milliseconds("session-timeout", field).and_then(|timeout| {
            if let Some((granted, tick)) = granted.as_ref().zip(environment.zookeeper_tick)
                && !granted.contains(&timeout)
            {
                let (min, max) = (granted.start(), granted.end());
                let title = format!("`session-timeout` must be {min:?} to {max:?}");
                return problems.refuse(Problem::at(&field.span, title, "the ensemble would grant another one").help(
                    format!(
                        "in environment {} a tick is {tick:?}, and ZooKeeper grants 2 to 20 ticks",
                        environment.environment
                    ),
                ));
            }
            Some(timeout)
        }),
    };
    Some(ZookeeperConfig { kind: kind?, servers: servers?, session_timeout: session_timeout?, flaw })
}

/// The kind of a lock that may be a canary: each of those is of one kind.
fn kind_of_flaw(
    kind: LockKind,
    flaw: Option<ZookeeperFlaw>,
    table: &LockTable,
    problems: &mut Problems<'_>,
) -> Option<LockKind> {
    let Some(flaw) = flaw else { return Some(kind) };
    if discriminant(&kind) == discriminant(&flaw.kind()) {
        return Some(kind);
    }
    let wanted = match flaw.kind() {
        LockKind::Mutex => "one client's lock",
        LockKind::ReadWrite => "a read-write lock",
        LockKind::Semaphore { .. } => "a semaphore",
    };
    let place = table.kind.as_ref().map(|field| &field.span).or(table.algorithm.as_ref().map(|field| &field.span));
    let title = format!("`{}` is {wanted}", flaw.about().name);
    let problem = Problem::at(place.unwrap_or(&(0..0)), title, format!("here it would be: {kind}"));
    problems.refuse(problem.help("say so with `kind`: \"mutex\", \"read-write\", \"semaphore\" (with `permits`)"))
}

/// Refuses a workload or a resource that some lock's kind cannot be tried with.
pub(super) fn fit(file: &ScenarioFile, locks: &BTreeMap<String, Option<LockConfig>>, problems: &mut Problems<'_>) {
    for (name, table) in &file.lock {
        let Some(Some(config)) = locks.get(&name.value) else { continue };
        let span = table.kind.as_ref().map_or(&name.span, |kind| &kind.span);
        let fencing = file.resource.fencing.as_ref().filter(|fencing| fencing.get() != Some(Fencing::None));
        match (config.kind(), &file.workload.readers, fencing) {
            (LockKind::ReadWrite, None, _) => {
                let title = format!("lock `{}` has readers, and nobody only reads", name.value);
                let problem = Problem::at(span, title, "nothing would be shared");
                problems
                    .push(problem.help("add `readers = 70` to `[workload]`: so many of a hundred attempts only read"));
            }
            (LockKind::Semaphore { .. }, _, Some(fencing)) => {
                let title = format!("a resource cannot fence the holders of the semaphore `{}`", name.value);
                let label = "several may use it at once and in any order: whose token is lower says nothing";
                problems.push(Problem::at(&fencing.span, title, label).help("leave `fencing` out"));
            }
            _ => {}
        }
    }
}
