//! The lock in a ZooKeeper ensemble, ephemeral sequential znodes in a line, and the flawed locks there.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backend::{Backend, TICK};
use super::draw::{Scale, Stress, ms, pick};
use super::registry::{self, LockConfig};
use super::table::{AnyKey, Asked, Key, Line, odd, time};
use super::{Algorithm, Defendant, Promised, holders};
use crate::duration::text;
use crate::lock::backend::ZkConnector;
use crate::lock::flawed::{self, About, WallClock, ZookeeperFlaw};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{DistributedLock, ReadWriteLock, Semaphore, ZookeeperLock, ZookeeperSettings};
use crate::lock_kind::LockKind;
use crate::scenario::duration::DurationText;
use crate::scenario::error::Problem;
use crate::scenario::place::Count;
use crate::scenario::problems::Problems;
use crate::seed::ChaCha8Rng;

/// What messages call the lock and its canaries.
const NAME: &str = "zookeeper";

/// `servers`
const SERVERS: Key<Count> =
    Key::new("servers", NAME, "ZooKeeper: how many servers the ensemble has, an odd number; 3 if absent.");

/// `session-timeout`
const SESSION_TIMEOUT: Key<DurationText> = Key::new(
    "session-timeout",
    NAME,
    "ZooKeeper: how long the ensemble waits for a silent client before it ends the session, in whole milliseconds;\n2 s \
     if absent.",
);

/// The session timeout of a table that does not say.
const USUAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The algorithm, or a flawed one.
pub(super) struct Zookeeper(pub(super) Option<ZookeeperFlaw>);

impl Algorithm for Zookeeper {
    fn name(&self) -> &'static str {
        self.0.map_or(NAME, |flaw| flaw.about().name)
    }

    fn about(&self) -> &'static str {
        "Ephemeral sequential znodes in a ZooKeeper ensemble."
    }

    fn flaw(&self) -> Option<About> {
        self.0.map(ZookeeperFlaw::about)
    }

    fn backend(&self) -> Backend {
        Backend::Zookeeper
    }

    fn keys(&self) -> &'static [&'static dyn AnyKey] {
        &[&SERVERS, &SESSION_TIMEOUT]
    }

    fn lease_keys(&self) -> &'static [&'static dyn AnyKey] {
        &[&SESSION_TIMEOUT]
    }

    fn usual_lease(&self) -> Duration {
        USUAL_TIMEOUT
    }

    fn read(&self, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockConfig> {
        asked.refuse_others(registry::of_locks(), self.keys(), NAME, problems);
        let supply = asked.environment.supply(Backend::Zookeeper);
        let most = supply.map_or(0, |supply| supply.most);
        let servers = odd(&SERVERS, 3, most, Backend::Zookeeper.servers(), asked, problems);
        let kind = holders::kind(asked, problems).and_then(|kind| kind_of_flaw(kind, self.0, asked, problems));
        let session_timeout = match &asked.table.get(&SESSION_TIMEOUT) {
            None => Some(USUAL_TIMEOUT),
            Some(field) => problems.milliseconds(SESSION_TIMEOUT.name, field).and_then(|timeout| {
                // The ensemble moves any other to the nearest of these without a word, so that a scenario would not run
                // what it says.
                let tick = supply.and_then(|supply| supply.tick);
                if let Some(tick) = tick.filter(|tick| !(*tick * 2..=*tick * 20).contains(&timeout)) {
                    let title = format!("`session-timeout` must be {:?} to {:?}", tick * 2, tick * 20);
                    return problems.refuse(
                        Problem::at(&field.span, title, "the ensemble would grant another one").help(format!(
                            "in environment {} a tick is {tick:?}, and ZooKeeper grants 2 to 20 ticks",
                            asked.environment.environment
                        )),
                    );
                }
                Some(timeout)
            }),
        };
        let (kind, servers, session_timeout, flaw) = (kind?, servers?, session_timeout?, self.0);
        Some(LockConfig::Zookeeper(ZookeeperConfig { kind, servers, session_timeout, flaw }))
    }

    fn draw(&self, _: Stress, rng: &mut ChaCha8Rng) -> LockConfig {
        LockConfig::Zookeeper(ZookeeperConfig {
            kind: self.0.map_or_else(|| holders::drawn(rng), ZookeeperFlaw::kind),
            servers: pick(rng, &[3, 3, 3, 3, 3, 3, 5, 1]),
            session_timeout: pick(rng, &[ms(400), ms(600), ms(1_000), ms(1_000), ms(2_000)]),
            flaw: self.0,
        })
    }
}

/// The kind of a lock that may be a canary: each of those is of one kind.
fn kind_of_flaw(
    kind: LockKind,
    flaw: Option<ZookeeperFlaw>,
    asked: &Asked<'_>,
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
    let stated = asked.table.get(&holders::KIND).map(|field| field.span);
    let place = stated.or_else(|| asked.table.get(&registry::ALGORITHM).map(|field| field.span));
    let title = format!("`{}` is {wanted}", flaw.about().name);
    let problem = Problem::at(&place.unwrap_or(0..0), title, format!("here it would be: {kind}"));
    problems.refuse(problem.help("say so with `kind`: \"mutex\", \"read-write\", \"semaphore\" (with `permits`)"))
}

/// The ZooKeeper lock's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZookeeperConfig {
    /// How many may hold it at once.
    #[serde(default)]
    pub kind: LockKind,
    /// How many servers the ensemble has.
    pub servers: u32,
    /// How long the ensemble waits for a silent client before it ends the session.
    pub session_timeout: Duration,
    /// What is wrong with it, if it is a canary.
    #[serde(default)]
    pub flaw: Option<ZookeeperFlaw>,
}

impl ZookeeperConfig {
    /// The lock on trial, in this ensemble, whose tick may be known.
    pub(crate) fn make(
        &self,
        ensemble: Arc<dyn ZkConnector>,
        root: String,
        tick: Option<Duration>,
        runtime: SharedRuntime,
        wall: WallClock,
    ) -> Arc<dyn DistributedLock> {
        // A trial is shorter than any longest hold.
        let settings = ZookeeperSettings { root, max_hold: None, tick };
        match (self.flaw, self.kind) {
            (Some(flaw), kind) => flawed::zookeeper(flaw, kind, ensemble, settings, runtime, wall),
            (None, LockKind::Mutex) => Arc::new(ZookeeperLock::new(ensemble, settings, runtime)),
            (None, LockKind::ReadWrite) => Arc::new(ReadWriteLock::in_zookeeper(ensemble, settings, runtime)),
            (None, LockKind::Semaphore { permits }) => {
                Arc::new(Semaphore::in_zookeeper(ensemble, settings, holders::at_least_one(permits), runtime))
            }
        }
    }
}

impl Defendant for ZookeeperConfig {
    fn algorithm(&self) -> &'static str {
        Zookeeper(self.flaw).name()
    }

    fn flaw(&self) -> Option<About> {
        Zookeeper(self.flaw).flaw()
    }

    fn backend(&self) -> Backend {
        Backend::Zookeeper
    }

    fn nodes(&self) -> u32 {
        self.servers
    }

    fn with_nodes(&self, count: u32) -> Option<LockConfig> {
        Some(LockConfig::Zookeeper(Self { servers: count, ..self.clone() }))
    }

    fn kind(&self) -> LockKind {
        self.kind
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.session_timeout)
    }

    fn renews(&self) -> bool {
        true
    }

    fn permanent(&self) -> Vec<String> {
        vec![ZookeeperSettings::PERMANENT.to_owned()]
    }

    fn promised(&self) -> Promised {
        Promised { tokens: true, line: true, takes_back: false }
    }

    fn scale(&self) -> Scale {
        Scale { lease: self.session_timeout, renewal: self.session_timeout / 10, patience: TICK }
    }

    fn simpler(&self) -> Vec<LockConfig> {
        let mutex = Self { kind: LockKind::Mutex, ..self.clone() };
        // A canary is of one kind.
        if self.flaw.is_none() { vec![LockConfig::Zookeeper(mutex)] } else { Vec::new() }
    }

    fn written(&self) -> Vec<Line> {
        // All named, so that nothing is left of a field that is added and not written.
        let Self { kind, servers, session_timeout, flaw: _ } = self;
        let mut lines = holders::written(*kind);
        lines.push((SERVERS.name, servers.to_string()));
        lines.push((SESSION_TIMEOUT.name, time(*session_timeout)));
        lines
    }

    fn shown(&self) -> Vec<Line> {
        vec![
            ("servers", format!("{} ZooKeeper servers", self.servers)),
            ("session timeout", text(self.session_timeout)),
        ]
    }
}
