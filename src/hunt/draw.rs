//! Draws one trial: a lock's settings, a workload, a plan of faults.
//!
//! Swarm search (Groce et al., ISSTA 2012): each trial first draws *which* kinds of fault it has, so that one kind does not
//! hide what another would show. Lengths are drawn around the lock's own constants, just below, at, just above: that is
//! where locks are wrong. Deliberately absent: what is lawful ([`super::law`]), and how a trial is run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::law;
use crate::fault::{At, ClockChange, Direction, Fault, FaultKind, PeerGroup, Peers, Refusal, Shape, Target};
use crate::ids::ClientId;
use crate::lock::Tokens;
use crate::lock::backend::Connections;
use crate::phase::Phase;
use crate::scenario::place::{Algorithm, Word};
use crate::scenario::{
    ClientStyle, DurationRange, FaultName, Fencing, LockConfig, Persistence, RedisConfig, RedlockConfig, Resource,
    Scenario, Workload, WorkloadKind, ZookeeperConfig,
};
use crate::seed::ChaCha8Rng;

/// What plans may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assume {
    /// Those within what the lock assumes.
    Declared,
    /// Any.
    Nothing,
}

/// ZooKeeper's tick, in both worlds.
const TICK: Duration = Duration::from_millis(200);

/// The names of the locks that can be searched: those of the algorithms.
pub fn locks() -> Vec<&'static str> {
    Algorithm::words().into_iter().map(|(name, _)| name).collect()
}

/// A trial of the algorithm called `lock`; none if there is no such algorithm.
pub fn scenario(lock: &str, assume: Assume, rng: &mut ChaCha8Rng) -> Option<Scenario> {
    let algorithm = Algorithm::words().into_iter().find(|(name, _)| *name == lock)?.1;
    let config = match algorithm {
        Algorithm::Redis => {
            let RedlockConfig { ttl, renewal, node_timeout, retry_delay, persistence, connections, .. } =
                redlock(false, rng);
            LockConfig::Redis(RedisConfig { ttl, renewal, node_timeout, retry_delay, persistence, connections })
        }
        Algorithm::Redlock(flaw) => LockConfig::Redlock(RedlockConfig { flaw, ..redlock(flaw.is_none(), rng) }),
        Algorithm::Zookeeper(flaw) => LockConfig::Zookeeper(ZookeeperConfig { flaw, ..zookeeper(rng) }),
    };
    let scale = Scale::of(&config);
    let workload = workload(scale, rng);
    let faults = loop {
        let plan = plan(&config, &workload, scale, rng);
        if assume == Assume::Nothing || law::beyond(&config, &plan).is_empty() {
            break plan;
        }
    };
    let fencing = if rng.random_ratio(1, 2) { Fencing::Access } else { Fencing::None };
    Some(Scenario {
        name: "hunt".to_owned(),
        path: PathBuf::from("hunt.toml"),
        source: String::new(),
        title: format!("A plan that was drawn, for {lock}"),
        why: String::new(),
        workload,
        resource: Resource { fencing },
        locks: BTreeMap::from([(lock.to_owned(), config)]),
        faults,
        expect: BTreeMap::new(),
    })
}

/// The faults that are drawn: what strikes single requests is for scenarios that somebody thought out.
const DRAWN: [FaultName; 10] = [
    FaultName::Pause,
    FaultName::Kill,
    FaultName::Restart,
    FaultName::PowerLoss,
    FaultName::Partition,
    FaultName::Delay,
    FaultName::Loss,
    FaultName::ClockJump,
    FaultName::ClockDrift,
    FaultName::ClockStrobe,
];

/// Every (fault, role, step) that plans for these locks may have, as the search counts them.
pub fn pairs(locks: &[String], lawful: bool) -> BTreeSet<String> {
    let mut pairs = BTreeSet::new();
    for lock in locks {
        let Some((_, algorithm)) = Algorithm::words().into_iter().find(|(name, _)| name == lock) else { continue };
        let is_ensemble = matches!(algorithm, Algorithm::Zookeeper(_));
        let of_servers: &[&str] = if is_ensemble {
            &["one", "minority", "majority", "all", "leader", "holder-server"]
        } else {
            &["one", "minority", "majority", "all"]
        };
        for name in DRAWN {
            let sets_clocks = matches!(name, FaultName::ClockJump | FaultName::ClockStrobe);
            let of_clients = if name == FaultName::PowerLoss { &[][..] } else { &["holder", "waiter", "client"] };
            let of_servers = if sets_clocks && lawful && !is_ensemble { &[] } else { of_servers };
            for role in of_clients.iter().chain(of_servers) {
                let target = match *role {
                    "client" => Target::Client(ClientId(1)),
                    role => role.parse().unwrap_or(Target::One),
                };
                let steps = phases(&target).into_iter().map(|phase| format!("at {phase}"));
                let steps = steps.chain(["by time".to_owned()]);
                pairs.extend(steps.map(|step| format!("{name} {role} {step}")));
            }
        }
    }
    pairs
}

/// The steps at which a target can be struck.
fn phases(target: &Target) -> Vec<Phase> {
    let reaches = |phase: &Phase| match target {
        Target::Holder => phase.holds(),
        Target::Waiter => matches!(phase, Phase::Acquiring | Phase::InLine | Phase::VotesIn),
        _ => true,
    };
    Phase::ALL.into_iter().filter(reaches).collect()
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn redlock(may_have_tokens: bool, rng: &mut ChaCha8Rng) -> RedlockConfig {
    // Short leases: what needs one to end happens more often in the same simulated time.
    let ttl = pick(rng, &[ms(200), ms(300), ms(500), ms(500), ms(1_000)]);
    let usual = (ttl / 10).min(ms(50));
    let tokens = if may_have_tokens && rng.random_ratio(2, 5) { Tokens::Quorum } else { Tokens::None };
    RedlockConfig {
        nodes: pick(rng, &[5, 5, 5, 5, 3, 3, 3, 1]),
        ttl,
        renewal: rng.random_ratio(1, 2),
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

fn zookeeper(rng: &mut ChaCha8Rng) -> ZookeeperConfig {
    ZookeeperConfig {
        servers: pick(rng, &[3, 3, 3, 3, 3, 3, 5, 1]),
        session_timeout: pick(rng, &[ms(400), ms(600), ms(1_000), ms(1_000), ms(2_000)]),
        flaw: None,
    }
}

/// The lock's own constants: what lengths are drawn around.
#[derive(Clone, Copy)]
struct Scale {
    /// The lease or the session timeout.
    lease: Duration,
    /// After how long it is renewed or confirmed.
    renewal: Duration,
    /// How long a single server may be silent.
    patience: Duration,
}

impl Scale {
    fn of(config: &LockConfig) -> Self {
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
            LockConfig::Zookeeper(config) => {
                Self { lease: config.session_timeout, renewal: config.session_timeout / 10, patience: TICK }
            }
        }
    }

    /// What is left of the lease for its holder: less the margin for drift.
    fn margin(self) -> Duration {
        self.lease / 100 + ms(2)
    }

    /// A length around one of the constants.
    fn length(self, rng: &mut ChaCha8Rng) -> Duration {
        let Self { lease, renewal, patience } = self;
        let constant = pick(rng, &[lease, lease, lease, lease - self.margin(), renewal, patience, TICK]);
        let percent = pick(rng, &[30, 50, 70, 90, 98, 100, 102, 110, 130, 180, 250]);
        round(constant * percent / 100).max(ms(5))
    }
}

/// To whole milliseconds.
fn round(duration: Duration) -> Duration {
    ms(duration.as_millis() as u64)
}

fn range(min: Duration, max: Duration) -> DurationRange {
    DurationRange::new(round(min), round(max.max(min)))
}

fn workload(scale: Scale, rng: &mut ChaCha8Rng) -> Workload {
    let lease = scale.lease;
    let of = |percent: u32| lease * percent / 100;
    let hold = pick(
        rng,
        &[
            range(of(2), of(10)),
            range(of(10), of(40)),
            range(of(40), of(90)),
            range(of(96), of(100)),
            range(of(120), of(250)),
        ],
    );
    let think = pick(rng, &[range(ms(0), of(2)), range(ms(0), of(20)), range(of(30), of(50))]);
    let patient = Duration::from_secs(10);
    let wait = pick(rng, &[patient, patient, patient, round(of(5)), round(of(25)), round(of(60)), round(of(150))]);
    Workload {
        kind: WorkloadKind::Inventory,
        clients: pick(rng, &[2, 2, 3, 3, 3, 4, 5]),
        locks: if rng.random_ratio(1, 8) { 2 } else { 1 },
        hold,
        think,
        wait: wait.max(ms(5)),
        duration: (lease * 20).clamp(Duration::from_secs(5), Duration::from_secs(12)),
        grant_within: None,
        client: if rng.random_ratio(1, 3) { ClientStyle::Naive } else { ClientStyle::Careful },
    }
}

fn plan(config: &LockConfig, workload: &Workload, scale: Scale, rng: &mut ChaCha8Rng) -> Vec<Fault> {
    let mut kinds = DRAWN.to_vec();
    kinds.shuffle(rng);
    kinds.truncate(pick(rng, &[0, 1, 1, 1, 2, 2, 3]));
    let mut plan: Vec<Fault> = Vec::new();
    for name in kinds {
        for _ in 0..pick(rng, &[1, 1, 2]) {
            if let Some(fault) = fault(name, config, workload, scale, rng)
                && !plan.contains(&fault)
            {
                plan.push(fault);
            }
        }
    }
    plan
}

fn fault(
    name: FaultName,
    config: &LockConfig,
    workload: &Workload,
    scale: Scale,
    rng: &mut ChaCha8Rng,
) -> Option<Fault> {
    let target = target(name, config, workload, rng);
    let mut duration = scale.length(rng);
    if name == FaultName::ClockDrift {
        // A rate needs time to make a difference.
        duration = (scale.lease * pick(rng, &[3, 6])).min(workload.duration / 2);
    }
    // Half of a master's deaths last as long as its leases, so that they are lawful without a disk.
    if matches!(name, FaultName::Kill | FaultName::PowerLoss) && !target.is_client() && rng.random_ratio(1, 2) {
        duration = scale.lease * 12 / 10 + ms(60);
    }
    if name == FaultName::ClockStrobe {
        duration = duration.max(ms(50));
    }
    duration = duration.min(workload.duration / 3);
    let every = round((scale.lease * pick(rng, &[1, 2, 3, 5])).max(duration * 13 / 10) + ms(1));
    let phases = phases(&target);
    let at = match rng.random_range(0..10) {
        0..6 => At::Phase { phase: *phases.choose(rng)?, every: Some(every), from: Duration::ZERO },
        _ => At::Every(every),
    };
    if every + duration > workload.duration {
        return None;
    }
    let kind = kind(name, &target, config, scale, rng);
    Some(Fault { kind, target, at, duration })
}

fn target(name: FaultName, config: &LockConfig, workload: &Workload, rng: &mut ChaCha8Rng) -> Target {
    let mut of_clients = vec![Target::Holder, Target::Holder, Target::Waiter];
    of_clients.push(Target::Client(ClientId(rng.random_range(1..=workload.clients))));
    let mut of_servers = vec![Target::One, Target::All];
    if config.nodes() >= 3 {
        of_servers.extend([Target::Minority, Target::Majority]);
    }
    if matches!(config, LockConfig::Zookeeper(_)) {
        of_servers.extend([Target::Leader, Target::HolderServer]);
    }
    // Only servers have disks; in the simulation's Redis world nobody sets a server's clock lawfully.
    let sets_clocks = matches!(name, FaultName::ClockJump | FaultName::ClockStrobe);
    let wants_client = match name {
        FaultName::PowerLoss => false,
        _ if sets_clocks => rng.random_ratio(4, 5),
        _ => rng.random_ratio(3, 5),
    };
    let choices = if wants_client { of_clients } else { of_servers };
    choices[rng.random_range(0..choices.len())].clone()
}

fn kind(name: FaultName, target: &Target, config: &LockConfig, scale: Scale, rng: &mut ChaCha8Rng) -> FaultKind {
    let direction = pick(rng, &[Direction::Both, Direction::Both, Direction::In, Direction::Out]);
    match name {
        FaultName::Pause => FaultKind::Pause,
        FaultName::Kill => FaultKind::Kill,
        FaultName::Restart => FaultKind::Restart,
        FaultName::PowerLoss => FaultKind::PowerLoss,
        FaultName::Partition => {
            let shape = match target {
                Target::All if config.nodes() >= 3 => {
                    pick(rng, &[Shape::Isolate, Shape::Halves, Shape::Bridge, Shape::MajoritiesRing])
                }
                _ => Shape::Isolate,
            };
            let refusal = pick(rng, &[Refusal::Drop, Refusal::Drop, Refusal::Reset]);
            // One-way resets hit the answer to a SYN. A real kernel sends the SYN again within a second, the simulated one
            // does not, and its client opens anew only after five: longer than a lock may be idle, and not the lock's fault.
            let direction = if refusal == Refusal::Reset { Direction::Both } else { direction };
            // The shapes have peers of their own; this is what their files say of them.
            let peers = if shape == Shape::Isolate { peers(target, config, rng) } else { PeerGroup::All.into() };
            FaultKind::Partition { peers, direction, shape, refusal }
        }
        FaultName::Delay => {
            let most = pick(rng, &[scale.patience / 2, scale.patience * 2, scale.lease / 3, scale.lease * 11 / 10]);
            let most = round(most).max(ms(2));
            let least = pick(rng, &[ms(0), most / 2, most]);
            FaultKind::Delay { peers: peers(target, config, rng), direction, extra: (round(least), most) }
        }
        FaultName::Loss => {
            FaultKind::Loss { peers: peers(target, config, rng), direction, permille: pick(rng, &[50, 200, 500]) }
        }
        FaultName::ClockJump => FaultKind::Clock(ClockChange::Jump { by_ns: by(scale, rng) }),
        FaultName::ClockStrobe => {
            let period = pick(rng, &[ms(2), ms(10)]);
            FaultKind::Clock(ClockChange::Strobe { by_ns: by(scale, rng), period })
        }
        FaultName::ClockDrift => {
            let ppm = pick(rng, &[law::DRIFT_PPM, law::DRIFT_PPM, law::DRIFT_PPM / 2, 30_000]);
            FaultKind::Clock(ClockChange::Drift { ppm: if rng.random() { ppm } else { -ppm } })
        }
        FaultName::Request => unreachable!("not drawn"),
    }
}

/// How far a clock is set wrong, in nanoseconds.
fn by(scale: Scale, rng: &mut ChaCha8Rng) -> i64 {
    let far = round(scale.lease * pick(rng, &[50, 100, 300, 1_000]) / 100).as_nanos() as i64;
    if rng.random() { far } else { -far }
}

fn peers(target: &Target, config: &LockConfig, rng: &mut ChaCha8Rng) -> Peers {
    let is_ensemble = matches!(config, LockConfig::Zookeeper(_));
    let groups: &[PeerGroup] = match target {
        target if target.is_client() => &[PeerGroup::Nodes, PeerGroup::Nodes, PeerGroup::Nodes, PeerGroup::Resource],
        Target::All => &[PeerGroup::Clients],
        _ if is_ensemble => &[PeerGroup::All, PeerGroup::Clients, PeerGroup::Nodes],
        _ => &[PeerGroup::Clients],
    };
    pick(rng, groups).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{self, Capabilities};
    use crate::seed::Seed;

    /// A plan that a file could not say would be a finding that nobody can run.
    #[test]
    fn what_is_drawn_can_be_written_and_is_lawful() {
        let (mut plans, mut kinds) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for seed in 0..600 {
            for lock in locks() {
                let mut rng = Seed(seed).stream(lock);
                let drawn = scenario(lock, Assume::Declared, &mut rng).unwrap();
                assert!(law::beyond(&drawn.locks[lock], &drawn.faults).is_empty(), "{:?}", drawn.faults);
                let text = scenario::write(&drawn, &[]);
                let read = scenario::parse(&drawn.path, &text, &Capabilities::sim())
                    .unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!((&read.faults, &read.workload, &read.locks), (&drawn.faults, &drawn.workload, &drawn.locks));
                kinds.extend(drawn.faults.iter().map(|fault| fault.kind.name()));
                plans.insert(text);
            }
        }
        assert_eq!(kinds.len(), DRAWN.len(), "{kinds:?}");
        assert!(plans.len() > 600 * locks().len() * 9 / 10, "{}", plans.len());
    }
}
