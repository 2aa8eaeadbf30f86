//! Draws what a trial runs with: a lock's settings, and a workload that fits them.

use std::time::Duration;

use rand::RngExt;

use super::{Stress, TICK, ms, pick};
use crate::lock::Tokens;
use crate::lock::backend::Connections;
use crate::lock_kind::LockKind;
use crate::scenario::{
    ClientStyle, DurationRange, EtcdConfig, LockConfig, Persistence, RedlockConfig, Workload, WorkloadKind,
    ZookeeperConfig,
};
use crate::seed::ChaCha8Rng;

pub(super) fn redlock(stress: Stress, may_have_tokens: bool, rng: &mut ChaCha8Rng) -> RedlockConfig {
    // Short leases: what needs one to end happens more often in the same simulated time. A long one for what outlives its
    // use, or is too small a part of a lease to be met in a short one.
    let ttl = match stress {
        Stress::Any | Stress::Renewal | Stress::Together => pick(rng, &[ms(200), ms(300), ms(500), ms(500), ms(1_000)]),
        Stress::Edge => pick(rng, &[ms(300), ms(500), ms(1_000), ms(2_000)]),
        Stress::Stopped => pick(rng, &[ms(300), ms(500), ms(1_000)]),
        Stress::GivenUp => pick(rng, &[ms(300), ms(1_000), ms(10_000), ms(10_000)]),
    };
    let renewal = match stress {
        Stress::Renewal => true,
        Stress::Edge => rng.random_ratio(1, 4),
        Stress::Any | Stress::GivenUp | Stress::Together | Stress::Stopped => rng.random_ratio(1, 2),
    };
    let usual = (ttl / 10).min(ms(50));
    let tokens = if may_have_tokens && rng.random_ratio(2, 5) { Tokens::Quorum } else { Tokens::None };
    RedlockConfig {
        nodes: pick(rng, &[5, 5, 5, 5, 3, 3, 3, 1]),
        ttl,
        renewal,
        node_timeout: pick(rng, &[usual, usual, ttl / 4, ttl / 20]),
        retry_delay: pick(
            rng,
            &[
                DurationRange::new(ms(2), ms(8)),
                DurationRange::new(ms(20), ms(80)),
                DurationRange::new(ttl / 50, ttl / 10),
            ],
        ),
        persistence: pick(rng, &[Persistence::Always, Persistence::Always, Persistence::Everysec, Persistence::None]),
        connections: pick(rng, &[Connections::Pooled, Connections::Pooled, Connections::Pooled, Connections::Fresh]),
        tokens,
        flaw: None,
    }
}

pub(super) fn zookeeper(rng: &mut ChaCha8Rng) -> ZookeeperConfig {
    ZookeeperConfig {
        kind: LockKind::Mutex,
        servers: pick(rng, &[3, 3, 3, 3, 3, 3, 5, 1]),
        session_timeout: pick(rng, &[ms(400), ms(600), ms(1_000), ms(1_000), ms(2_000)]),
        flaw: None,
    }
}

/// The shortest lease that etcd grants: plans around a longer one do not fit into a run.
pub(super) fn etcd() -> EtcdConfig {
    EtcdConfig { ttl: ms(2_000) }
}

/// The lock's own constants: what lengths are drawn around.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// The lease or the session timeout.
    pub(super) lease: Duration,
    /// After how long it is renewed or confirmed.
    pub(super) renewal: Duration,
    /// How long a single server may be silent.
    pub(super) patience: Duration,
}

impl Scale {
    pub(super) fn of(config: &LockConfig) -> Self {
        match config {
            LockConfig::Redis(config) => {
                Self { lease: config.ttl, renewal: config.ttl / 3, patience: config.node_timeout }
            }
            LockConfig::Adapter(config) => {
                let lease = config.lease.unwrap_or(ms(1_000));
                Self { lease, renewal: lease / 3, patience: TICK }
            }
            LockConfig::Redlock(config) => {
                Self { lease: config.ttl, renewal: config.ttl / 3, patience: config.node_timeout }
            }
            LockConfig::Etcd(config) => Self { lease: config.ttl, renewal: config.ttl / 4, patience: config.ttl / 5 },
            LockConfig::Zookeeper(config) => {
                Self { lease: config.session_timeout, renewal: config.session_timeout / 10, patience: TICK }
            }
        }
    }

    /// What is left of the lease for its holder: less the margin for drift.
    pub(super) fn margin(self) -> Duration {
        self.lease / 100 + ms(2)
    }

    /// A length around one of the constants.
    pub(super) fn length(self, rng: &mut ChaCha8Rng) -> Duration {
        let Self { lease, renewal, patience } = self;
        let constant = pick(rng, &[lease, lease, lease, lease - self.margin(), renewal, patience, TICK]);
        let percent = pick(rng, &[30, 50, 70, 90, 98, 100, 102, 110, 130, 180, 250]);
        round(constant * percent / 100).max(ms(5))
    }
}

/// To whole milliseconds.
pub(super) fn round(duration: Duration) -> Duration {
    ms(duration.as_millis() as u64)
}

fn range(min: Duration, max: Duration) -> DurationRange {
    DurationRange::new(round(min), round(max.max(min)))
}

pub(super) fn workload(stress: Stress, scale: Scale, rng: &mut ChaCha8Rng) -> Workload {
    let lease = scale.lease;
    let of = |percent: u32| lease * percent / 100;
    let brief = range(ms(5), ms(5) + of(4).min(ms(80)));
    let hold = match stress {
        Stress::Any => pick(
            rng,
            &[
                range(of(2), of(10)),
                range(of(10), of(40)),
                range(of(40), of(90)),
                range(of(96), of(100)),
                range(of(120), of(250)),
            ],
        ),
        Stress::Edge => pick(rng, &[range(of(96), of(100)), range(of(105), of(180)), range(of(120), of(250))]),
        Stress::Renewal => pick(rng, &[range(of(120), of(250)), range(of(200), of(400)), range(of(400), of(600))]),
        Stress::GivenUp => {
            pick(rng, &[brief, brief, range(of(2), of(10)), range(of(40).min(ms(400)), of(90).min(ms(900)))])
        }
        Stress::Together => pick(rng, &[brief, range(of(96), of(180)), range(of(120), of(300))]),
        Stress::Stopped => pick(rng, &[brief, range(of(120), of(300)), range(of(200), of(400))]),
    };
    let think = match stress {
        Stress::Any => pick(rng, &[range(ms(0), of(2)), range(ms(0), of(20)), range(of(30), of(50))]),
        _ => pick(rng, &[range(ms(0), ms(4)), range(ms(0), of(2).min(ms(20))), range(ms(0), of(20).min(ms(200)))]),
    };
    let patient = Duration::from_secs(10);
    let patience = scale.patience;
    let wait = match stress {
        Stress::Any => {
            pick(rng, &[patient, patient, patient, round(of(5)), round(of(25)), round(of(60)), round(of(150))])
        }
        Stress::Edge | Stress::Renewal | Stress::Stopped => patient,
        Stress::GivenUp => pick(rng, &[ms(5), round(patience / 2), patience, patience * 3 / 2, ms(400), patient]),
        Stress::Together => pick(rng, &[patient, patient, patient, round(of(25).min(ms(400)))]),
    };
    Workload {
        readers: 0,
        kind: WorkloadKind::Inventory,
        clients: pick(rng, &[2, 2, 3, 3, 3, 4, 5]),
        locks: if stress == Stress::Any && rng.random_ratio(1, 4) { 2 } else { 1 },
        hold,
        think,
        wait: wait.max(ms(5)),
        duration: (lease * 20).clamp(Duration::from_secs(5), Duration::from_secs(12)),
        grant_within: None,
        client: if rng.random_ratio(1, 3) { ClientStyle::Naive } else { ClientStyle::Careful },
    }
}
