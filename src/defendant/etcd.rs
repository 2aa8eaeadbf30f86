//! The lock in an etcd cluster, keys with leases in a line by the revision at which they were created, and the flawed
//! locks there.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backend::{Backend, ETCD_MEMBERS};
use super::draw::{Scale, Stress};
use super::over_redis::TTL;
use super::registry::{self, LockConfig};
use super::table::{AnyKey, Asked, Line, time};
use super::{Algorithm, Defendant, Promised, holders};
use crate::duration::text;
use crate::lock::backend::EtcdCluster;
use crate::lock::flawed::{self, About, EtcdFlaw};
use crate::lock::runtime::SharedRuntime;
use crate::lock::{DistributedLock, EtcdSettings};
use crate::scenario::error::Problem;
use crate::scenario::problems::Problems;
use crate::seed::ChaCha8Rng;

/// The shortest lease that etcd grants as it comes, and in the containers.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);

/// What messages call the lock and its canaries.
const NAME: &str = "etcd";

/// The algorithm, or a flawed one.
pub(super) struct Etcd(pub(super) Option<EtcdFlaw>);

impl Algorithm for Etcd {
    fn name(&self) -> &'static str {
        self.0.map_or(NAME, |flaw| flaw.about().name)
    }

    fn about(&self) -> &'static str {
        "Keys with leases in an etcd cluster."
    }

    fn flaw(&self) -> Option<About> {
        self.0.map(EtcdFlaw::about)
    }

    fn backend(&self) -> Backend {
        Backend::Etcd
    }

    fn keys(&self) -> &'static [&'static dyn AnyKey] {
        &[&TTL]
    }

    fn lease_keys(&self) -> &'static [&'static dyn AnyKey] {
        &[&TTL]
    }

    fn usual_lease(&self) -> Duration {
        SHORTEST_LEASE
    }

    fn read(&self, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockConfig> {
        let Asked { name, environment, .. } = asked;
        if environment.supply(Backend::Etcd).is_none() {
            let world = environment.environment;
            let title = format!("lock `{}` rests on etcd, which environment {world} does not have", name.value);
            let problem = Problem::at(&name.span, title, "an etcd lock");
            return problems.refuse(problem.help("run it on fencepost's own containers with `--env docker`"));
        }
        holders::refuse_several(asked, NAME, "what fencepost has in etcd is one client's lock", problems);
        asked.refuse_others(registry::of_locks(), self.keys(), NAME, problems);
        Some(LockConfig::Etcd(EtcdConfig { ttl: ttl(asked, problems)?, flaw: self.0 }))
    }

    /// The shortest lease: plans around a longer one do not fit into a run.
    fn draw(&self, _: Stress, _: &mut ChaCha8Rng) -> LockConfig {
        LockConfig::Etcd(EtcdConfig { ttl: SHORTEST_LEASE, flaw: self.0 })
    }
}

/// etcd takes leases in whole seconds, and none that is shorter than one and a half of its election timeouts: it grants
/// the shortest instead, without a word (`server/etcdserver/server.go`, `minTTL`).
fn ttl(asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<Duration> {
    let Some(field) = asked.table.get(&TTL) else { return Some(SHORTEST_LEASE) };
    let ttl = problems.milliseconds(TTL.name, &field)?;
    if ttl < SHORTEST_LEASE || ttl.subsec_nanos() != 0 {
        let title = format!("`ttl` must be whole seconds, at least {SHORTEST_LEASE:?}");
        return problems.refuse(Problem::at(&field.span, title, "etcd would grant another one"));
    }
    Some(ttl)
}

/// The settings of the lock in an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdConfig {
    /// The lease's length, in whole seconds.
    pub ttl: Duration,
    /// What is wrong with it, if it is a canary.
    #[serde(default)]
    pub flaw: Option<EtcdFlaw>,
}

impl EtcdConfig {
    /// The lock on trial, sound or not, in this cluster.
    pub(crate) fn make(
        &self,
        cluster: Arc<dyn EtcdCluster>,
        prefix: String,
        runtime: SharedRuntime,
    ) -> Arc<dyn DistributedLock> {
        // A trial is shorter than any longest hold.
        let settings = EtcdSettings { prefix, ttl: self.ttl, max_hold: None };
        match self.flaw {
            None => Arc::new(flawed::etcd_without_flaw(cluster, settings, runtime)),
            Some(flaw) => flawed::etcd(flaw, cluster, settings, runtime),
        }
    }

    /// The sound lock with leases of this length.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, flaw: None }
    }
}

impl Defendant for EtcdConfig {
    fn algorithm(&self) -> &'static str {
        Etcd(self.flaw).name()
    }

    fn flaw(&self) -> Option<About> {
        Etcd(self.flaw).flaw()
    }

    fn backend(&self) -> Backend {
        Backend::Etcd
    }

    fn nodes(&self) -> u32 {
        ETCD_MEMBERS
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    /// A new leader gives a lease its whole length once more, and an election timeout; and leases that are over are
    /// looked for every half second.
    fn longest_lease(&self) -> Option<Duration> {
        Some(2 * self.ttl + Duration::from_millis(1_500))
    }

    fn renews(&self) -> bool {
        true
    }

    fn promised(&self) -> Promised {
        Promised { tokens: true, line: true, takes_back: false }
    }

    fn scale(&self) -> Scale {
        Scale { lease: self.ttl, renewal: self.ttl / 4, patience: self.ttl / 5 }
    }

    fn written(&self) -> Vec<Line> {
        // All named, so that nothing is left of a field that is added and not written.
        let Self { ttl, flaw: _ } = self;
        vec![(TTL.name, time(*ttl))]
    }

    fn shown(&self) -> Vec<Line> {
        vec![
            ("members", format!("{} {}", self.nodes(), self.backend().servers())),
            ("ttl", text(self.ttl)),
            ("renewal", "every fourth of the ttl".to_owned()),
            ("fencing tokens", "the revision at which the key was created".to_owned()),
        ]
    }
}
