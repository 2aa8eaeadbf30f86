//! From the file's values to a [`super::Scenario`]'s parts: workload, resource, locks, expectations.
//!
//! Every mistake is recorded with its place and reading goes on, so that one look shows them all. A part is `None` only
//! if a mistake of it was recorded. The fault plan has a room of its own ([`super::plan`]). Deliberately absent:
//! plausibility, such as a hold longer than the lease; such scenarios are what the harness is for.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::capabilities::Capabilities;
use super::duration::{self, DurationError, DurationText, RangeText, UNITS_HELP};
use super::error::Problem;
use super::file::{LockTable, ResourceTable, ScenarioFile, WorkloadTable};
use super::place::{Algorithm, Choice, Count, Placed, Word};
use super::{
    AdapterConfig, Backend, DurationRange, EtcdConfig, LockConfig, Persistence, RedisConfig, RedlockConfig, Resource,
    Workload, ZookeeperConfig,
};
use crate::adapter::settings;
use crate::lock::Tokens;
use crate::lock::backend::Connections;
use crate::lock::flawed::{RedlockFlaw, ZookeeperFlaw};
use crate::verdict::{CheckName, Demand};

/// The shortest lease: below it the allowance for clock drift (1 % and 2 ms) leaves next to nothing.
const SHORTEST_TTL: Duration = Duration::from_millis(10);

/// The shortest lease that etcd grants as it comes, and in the containers.
pub(super) const SHORTEST_ETCD_LEASE: Duration = Duration::from_secs(2);

/// A lock's name becomes the name of a folder in the run's own, which has this one already.
const RESERVED_NAME: &str = "logs";

/// The mistakes so far, and the readers of single values that add to them.
pub(super) struct Problems<'a> {
    text: &'a str,
    pub(super) list: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, list: Vec::new() }
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Records the problem and yields nothing, for use as an answer.
    pub(super) fn refuse<T>(&mut self, problem: Problem) -> Option<T> {
        self.push(problem);
        None
    }

    pub(super) fn bad_duration<T>(
        &mut self,
        key: &str,
        span: &std::ops::Range<usize>,
        error: &DurationError,
    ) -> Option<T> {
        let title = match error {
            DurationError::Reversed => format!("`{key}` is not a range"),
            _ => format!("`{key}` is not a duration"),
        };
        let help = match error {
            DurationError::Reversed => "write the shorter one first: \"20ms..80ms\"",
            _ => UNITS_HELP,
        };
        self.refuse(Problem::at(span, title, error.to_string()).help(help))
    }

    /// A duration, zero included.
    pub(super) fn duration(&mut self, key: &str, field: &Placed<DurationText>) -> Option<Duration> {
        match duration::parse(&field.0) {
            Ok(duration) => Some(duration),
            Err(error) => self.bad_duration(key, &field.span, &error),
        }
    }

    /// A duration above zero.
    pub(super) fn positive(&mut self, key: &str, field: &Placed<DurationText>) -> Option<Duration> {
        let duration = self.duration(key, field)?;
        if duration.is_zero() {
            return self.refuse(Problem::at(&field.span, format!("`{key}` must be longer than zero"), "zero"));
        }
        Some(duration)
    }

    /// A duration above zero for a server that counts milliseconds.
    fn milliseconds(&mut self, key: &str, field: &Placed<DurationText>) -> Option<Duration> {
        let duration = self.positive(key, field)?;
        if !duration.subsec_nanos().is_multiple_of(1_000_000) {
            let title = format!("`{key}` must be whole milliseconds");
            return self.refuse(Problem::at(&field.span, title, "the servers count milliseconds"));
        }
        Some(duration)
    }

    pub(super) fn range(&mut self, key: &str, field: &Placed<RangeText>) -> Option<DurationRange> {
        match duration::parse_range(&field.0) {
            Ok(range) => Some(range),
            Err(error) => self.bad_duration(key, &field.span, &error),
        }
    }

    /// A number of things, from 1 to `max`; `limit` says whose limit that is.
    pub(super) fn count(&mut self, key: &str, field: &Placed<Count>, max: u32, limit: &str) -> Option<u32> {
        match u32::try_from(field.0) {
            Ok(count) if (1..=max).contains(&count) => Some(count),
            _ if field.0 < 1 => self.refuse(Problem::at(&field.span, format!("`{key}` must be at least 1"), "too few")),
            _ => self.refuse(
                Problem::at(&field.span, format!("`{key}` must be at most {max}"), "too many").help(limit.to_owned()),
            ),
        }
    }

    /// One of a few words; `what` says what they are, such as "a phase".
    pub(super) fn choice<T: Word>(&mut self, what: &str, field: &Placed<Choice<T>>) -> Option<T> {
        let value = field.get();
        if value.is_none() {
            let words: Vec<&str> = T::words().into_iter().map(|(word, _)| word).collect();
            self.push(
                Problem::at(&field.span, format!("`{}` is not {what}", field.word), "unknown")
                    .help(format!("valid values: {}", words.join(", ")))
                    .suggest(&field.word, words.iter().copied()),
            );
        }
        value
    }

    /// The place of a key together with its value, of which only the value's place is known.
    fn with_key(&self, key: &str, value: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        let before = self.text.get(..value.start).and_then(|before| before.rfind(key));
        before.map_or(value.clone(), |start| start..value.end)
    }
}

/// What faults are checked against; parts that are themselves mistaken are unknown.
pub(super) struct Trial {
    pub(super) clients: Option<u32>,
    pub(super) duration: Option<Duration>,
    pub(super) locks: BTreeMap<String, Option<LockConfig>>,
}

impl Trial {
    /// The locks that are not mistaken, by name.
    pub(super) fn known_locks(&self) -> impl Iterator<Item = (&String, &LockConfig)> {
        self.locks.iter().filter_map(|(name, config)| config.as_ref().map(|config| (name, config)))
    }
}

pub(super) fn title(file: &ScenarioFile, problems: &mut Problems<'_>) {
    if file.title.trim().is_empty() {
        problems.push(Problem::at(&file.title.span, "`title` is empty", "say in one line what happens"));
    } else if file.title.contains('\n') {
        problems.push(Problem::at(&file.title.span, "`title` has more than one line", "put the rest into `why`"));
    }
}

/// The workload; and, for the fault plan, its number of clients and its duration even if the rest is mistaken.
pub(super) fn workload(
    table: &WorkloadTable,
    environment: &Capabilities,
    problems: &mut Problems<'_>,
) -> (Option<Workload>, Option<u32>, Option<Duration>) {
    let kind = problems.choice("a value of `kind`", &table.kind);
    let limit =
        format!("environment {} runs at most {} clients per lock", environment.environment, environment.max_clients);
    let clients = problems.count("clients", &table.clients, environment.max_clients, &limit);
    let locks = match &table.locks {
        None => Some(1),
        Some(field) => problems.count("locks", field, u32::MAX, "lock names are counted in 32 bits"),
    };
    let hold = problems.range("hold", &table.hold);
    let think = problems.range("think", &table.think);
    let wait = match &table.wait {
        None => Some(Duration::from_secs(10)),
        Some(field) => problems.positive("wait", field),
    };
    let duration = problems.positive("duration", &table.duration);
    let grant_within = table.grant_within.as_ref().map(|field| problems.positive("grant-within", field));
    let client = match &table.client {
        None => Some(Default::default()),
        Some(field) => problems.choice("a value of `client`", field),
    };
    // Taken apart only after each was read, so that every mistake was recorded.
    let workload = match (kind, clients, locks, hold, think, wait, duration, client) {
        (Some(kind), Some(clients), Some(locks), Some(hold), Some(think), Some(wait), Some(duration), Some(client)) => {
            // One that is mistaken was recorded, and keeps the file from being used.
            let grant_within = grant_within.flatten();
            Some(Workload { kind, clients, locks, hold, think, wait, duration, grant_within, client })
        }
        _ => None,
    };
    (workload, clients, duration)
}

pub(super) fn resource(table: &ResourceTable, problems: &mut Problems<'_>) -> Option<Resource> {
    match &table.fencing {
        None => Some(Resource::default()),
        Some(field) => problems.choice("a value of `fencing`", field).map(|fencing| Resource { fencing }),
    }
}

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
    let lease = lease(table, "redis", environment, problems);
    let Lease { ttl, renewal, node_timeout, retry_delay, persistence, connections } = lease?;
    Some(RedisConfig { ttl, renewal, node_timeout, retry_delay, persistence, connections })
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
    Some(ZookeeperConfig { servers: servers?, session_timeout: session_timeout?, flaw })
}

/// The expectations. Those that are mistaken are left out, with a problem for each.
pub(super) fn expect(
    file: &ScenarioFile,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, BTreeMap<CheckName, Demand>> {
    let locks: Vec<&str> = file.lock.keys().map(|name| name.value.as_str()).collect();
    let mut expect: BTreeMap<String, BTreeMap<CheckName, Demand>> = BTreeMap::new();
    for (name, checks) in &file.expect {
        // Without any lock, that is the mistake.
        if !locks.is_empty() && !locks.contains(&name.as_str()) {
            let title = format!("no lock `{}` stands trial", name.value);
            let problem = Problem::at(&name.span, title, "unknown lock").help(format!("locks: {}", locks.join(", ")));
            problems.push(problem.suggest(name, locks.iter().copied()));
        }
        if checks.is_empty() {
            let problem = Problem::at(&name.span, format!("nothing is expected of `{}`", name.value), "no check");
            problems.push(problem.help("name checks and their verdicts, or leave it out: then all must be valid"));
        }
        let verdicts = expect.entry(name.value.clone()).or_default();
        for (check, verdict) in checks {
            let check = problems.choice("a check", check);
            let verdict = problems.choice("a verdict", verdict);
            if let (Some(check), Some(verdict)) = (check, verdict) {
                verdicts.insert(check, verdict);
            }
        }
    }
    expect
}
