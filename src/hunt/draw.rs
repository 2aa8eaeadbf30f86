//! Draws one trial: a lock's settings, a workload, a plan of faults.
//!
//! Swarm search (Groce et al., ISSTA 2012): each trial first draws *which* kinds of fault it has, so that one kind does not
//! hide what another would show. Lengths are drawn around the lock's own constants, just below, at, just above: that is
//! where locks are wrong. Half of all trials draw everything by itself; the others have a [`Stress`], in which workload,
//! settings and faults go together: what must meet for a bug to show seldom meets by chance. Deliberately absent: what is
//! lawful ([`super::law`]), and how a trial is run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::law;
use crate::fault::{At, ClockChange, Direction, Fault, FaultKind, Member, PeerGroup, Peers, Refusal, Shape, Target};
use crate::ids::{ClientId, NodeId};
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

/// What a trial is hard on: which of a lock's duties its workload, its settings and its faults press together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stress {
    /// Nothing in particular: all is drawn by itself.
    Any,
    /// The lease's end: holds that reach it or outlast it, waiters who ask without pause, clocks that drift just inside of
    /// the margin, replies as late as they may be, holders that cannot renew.
    Edge,
    /// Renewal: holds of several leases, while servers and links fail and come back.
    Renewal,
    /// What is given up: attempts and waits that end too soon for their answers, replies that are lost, deletions into
    /// silence. Leases so long that what stays behind is not soon over by itself.
    GivenUp,
    /// Two things at once: a client and the server that it talks to, the requests and their answers.
    Together,
}

impl Stress {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        pick(
            rng,
            &[Self::Any, Self::Any, Self::Any, Self::Any, Self::Edge, Self::Renewal, Self::GivenUp, Self::Together],
        )
    }
}

/// A trial of the algorithm called `lock`; none if there is no such algorithm.
pub fn scenario(lock: &str, assume: Assume, rng: &mut ChaCha8Rng) -> Option<Scenario> {
    let stress = Stress::draw(rng);
    stressed(lock, stress, assume, rng)
}

/// A trial that is hard on one thing.
fn stressed(lock: &str, stress: Stress, assume: Assume, rng: &mut ChaCha8Rng) -> Option<Scenario> {
    let algorithm = Algorithm::words().into_iter().find(|(name, _)| *name == lock)?.1;
    let config = match algorithm {
        Algorithm::Redis => {
            let RedlockConfig { ttl, renewal, node_timeout, retry_delay, persistence, connections, .. } =
                redlock(stress, false, rng);
            LockConfig::Redis(RedisConfig { ttl, renewal, node_timeout, retry_delay, persistence, connections })
        }
        Algorithm::Redlock(flaw) => LockConfig::Redlock(RedlockConfig { flaw, ..redlock(stress, flaw.is_none(), rng) }),
        Algorithm::Zookeeper(flaw) => LockConfig::Zookeeper(ZookeeperConfig { flaw, ..zookeeper(rng) }),
    };
    let scale = Scale::of(&config);
    let workload = workload(stress, scale, rng);
    let drawing = Drawing { config: &config, workload: &workload, scale };
    let faults = loop {
        let plan = drawing.plan(stress, rng);
        if assume == Assume::Nothing || law::beyond(&config, &plan).is_empty() {
            break plan;
        }
    };
    let workload = Workload { grant_within: law::taken_back_within(&config, &faults), ..workload };
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

/// As [`pick`], of what has to be cloned.
fn pick_of<T: Clone>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())].clone()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn redlock(stress: Stress, may_have_tokens: bool, rng: &mut ChaCha8Rng) -> RedlockConfig {
    // Short leases: what needs one to end happens more often in the same simulated time. A long one for what outlives its
    // use, or is too small a part of a lease to be met in a short one.
    let ttl = match stress {
        Stress::Any | Stress::Renewal | Stress::Together => pick(rng, &[ms(200), ms(300), ms(500), ms(500), ms(1_000)]),
        Stress::Edge => pick(rng, &[ms(300), ms(500), ms(1_000), ms(2_000)]),
        Stress::GivenUp => pick(rng, &[ms(300), ms(1_000), ms(10_000), ms(10_000)]),
    };
    let renewal = match stress {
        Stress::Renewal => true,
        Stress::Edge => rng.random_ratio(1, 4),
        Stress::Any | Stress::GivenUp | Stress::Together => rng.random_ratio(1, 2),
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

fn workload(stress: Stress, scale: Scale, rng: &mut ChaCha8Rng) -> Workload {
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
        Stress::Edge | Stress::Renewal => patient,
        Stress::GivenUp => pick(rng, &[ms(5), round(patience / 2), patience, patience * 3 / 2, ms(400), patient]),
        Stress::Together => pick(rng, &[patient, patient, patient, round(of(25).min(ms(400)))]),
    };
    Workload {
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

/// What a plan is drawn for.
struct Drawing<'a> {
    config: &'a LockConfig,
    workload: &'a Workload,
    scale: Scale,
}

impl Drawing<'_> {
    fn plan(&self, stress: Stress, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        match stress {
            Stress::Any => self.any(rng),
            Stress::Edge => self.edge(rng),
            Stress::Renewal => self.renewal(rng),
            Stress::GivenUp => self.given_up(rng),
            Stress::Together => self.together(rng),
        }
    }

    fn any(&self, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        let Self { config, workload, scale } = *self;
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

    /// One or two of what moves the end of a lease, or what its holder knows of it; and a holder that is cut off, where
    /// nothing else ends a lease.
    fn edge(&self, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        let Self { config, workload, scale } = *self;
        let client = || Target::Client(ClientId(1));
        let mut plan = Vec::new();
        if rng.random_ratio(2, 3) {
            // Slow clients believe for longer, fast servers keep for less.
            let target = pick(rng, &[0, 0, 1, 2]);
            let (target, sign) = match target {
                0 => (client(), -1),
                1 => (Target::All, 1),
                _ => (if config.nodes() >= 3 { Target::Majority } else { Target::All }, 1),
            };
            let ppm = pick(rng, &[law::DRIFT_PPM, law::DRIFT_PPM, law::DRIFT_PPM / 2]);
            let sign = if rng.random_ratio(1, 8) { -sign } else { sign };
            let at = At::Time(round(scale.lease * pick(rng, &[1, 30, 130]) / 100).max(ms(1)));
            let kind = FaultKind::Clock(ClockChange::Drift { ppm: sign * ppm });
            plan.push(Fault { kind, target, at, duration: round(workload.duration * 7 / 10) });
        }
        if plan.is_empty() || rng.random_ratio(1, 2) {
            let target = pick_of(rng, &[Target::Waiter, client(), Target::All]);
            let late = round(scale.patience * pick(rng, &[40, 70, 90, 97]) / 100).max(ms(2));
            let direction = pick(rng, &[Direction::In, Direction::Out, Direction::Both]);
            let peers = if target.is_client() { PeerGroup::Nodes } else { PeerGroup::Clients }.into();
            let extra = (round(pick(rng, &[late, late / 2])), late);
            let at = if target == Target::Waiter {
                At::Phase {
                    phase: Phase::Acquiring,
                    every: Some(self.every(scale.lease * 2, rng)),
                    from: Duration::ZERO,
                }
            } else {
                At::Time(ms(1))
            };
            let lasts = if target == Target::Waiter { scale.lease * 2 } else { workload.duration * 7 / 10 };
            let kind = FaultKind::Delay { peers, direction, extra };
            plan.push(Fault { kind, target, at, duration: round(lasts) });
        }
        let never_ends = match config {
            LockConfig::Zookeeper(_) => true,
            LockConfig::Redlock(config) => config.renewal,
            LockConfig::Redis(config) => config.renewal,
            LockConfig::Adapter(_) => false,
        };
        if never_ends || rng.random_ratio(1, 4) {
            let target = pick_of(rng, &[Target::Holder, client()]);
            let duration = round(scale.lease * pick(rng, &[100, 110, 130, 180]) / 100);
            let kind = if rng.random_ratio(1, 4) { FaultKind::Pause } else { self.cut(&target, rng) };
            plan.push(self.at_step(kind, target, duration, rng));
        }
        plan
    }

    /// One to three failures of servers, or of the holder's links to some of them.
    fn renewal(&self, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        let Self { scale, .. } = *self;
        let mut plan = Vec::new();
        for _ in 0..pick(rng, &[1, 2, 2, 3]) {
            let (kind, target) = self.failure(rng);
            let duration = self.outlasting(&kind, &target, rng);
            let every = self.every(duration, rng);
            let at = match rng.random_range(0..4) {
                0 => At::Phase { phase: self.step(&target, rng), every: Some(every), from: Duration::ZERO },
                _ => At::Every(every),
            };
            plan.push(Fault { kind, target, at, duration });
        }
        if rng.random_ratio(1, 3) {
            let late = round(scale.patience * pick(rng, &[40, 70, 90]) / 100).max(ms(2));
            let kind = FaultKind::Delay {
                peers: PeerGroup::Nodes.into(),
                direction: pick(rng, &[Direction::In, Direction::Out, Direction::Both]),
                extra: (round(late / 2), late),
            };
            let target = Target::Client(ClientId(1));
            plan.push(Fault { kind, target, at: At::Time(ms(1)), duration: round(self.workload.duration * 7 / 10) });
        }
        plan
    }

    /// One or two failures where requests or their answers are on the way. Once each where leases are long, so that what
    /// stays behind stands out.
    fn given_up(&self, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        let Self { scale, workload, .. } = *self;
        let mut plan = Vec::new();
        for _ in 0..pick(rng, &[0, 1, 1, 2, 2]) {
            let (kind, target) = self.failure(rng);
            let phase = pick(
                rng,
                &[
                    Phase::Acquiring,
                    Phase::Acquiring,
                    Phase::InLine,
                    Phase::VotesIn,
                    Phase::AfterWrite,
                    Phase::Releasing,
                ],
            );
            let target = match target {
                Target::Holder if !phase.holds() => Target::Waiter,
                Target::Waiter if phase.holds() => Target::Holder,
                target => target,
            };
            let shortest = self.outlasting(&kind, &target, rng);
            let is_long = scale.lease > ms(2_000);
            let duration = if is_long { pick(rng, &[ms(100), ms(300), ms(1_000)]) } else { shortest };
            let from = if is_long { ms(rng.random_range(0..2_500)) } else { Duration::ZERO };
            let every = (!is_long).then(|| self.every(duration, rng));
            plan.push(Fault { kind, target, at: At::Phase { phase, every, from }, duration });
        }
        plan.retain(|fault| fault.duration + ms(10) < workload.duration);
        plan
    }

    /// A client's failure and a server's, in the same moment or from one step to the next.
    fn together(&self, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        let Self { config, scale, .. } = *self;
        let of_client = pick_of(rng, &[Target::Holder, Target::Holder, Target::Waiter, Target::Client(ClientId(1))]);
        let duration = round(scale.lease * pick(rng, &[50, 80, 100, 110, 130, 180]) / 100);
        let first = if rng.random_ratio(1, 4) { FaultKind::Pause } else { self.cut(&of_client, rng) };
        let mut of_servers = vec![Target::One, Target::Minority, Target::Majority, Target::All];
        if matches!(config, LockConfig::Zookeeper(_)) {
            of_servers =
                vec![Target::HolderServer, Target::HolderServer, Target::HolderServer, Target::Leader, Target::One];
        }
        if config.nodes() < 3 {
            of_servers = vec![Target::One];
        }
        let of_servers = pick_of(rng, &of_servers);
        let second = match rng.random_range(0..6) {
            0 => FaultKind::Pause,
            1 | 2 => FaultKind::Kill,
            3 => FaultKind::Restart,
            _ => self.cut(&of_servers, rng),
        };
        let length = self.outlasting(&second, &of_servers, rng);
        let every = self.every(duration.max(length), rng);
        let steps = phases(&of_client);
        let (one, other) = if rng.random_ratio(1, 3) {
            (At::Every(every), At::Every(every + ms(pick(rng, &[0, 1, 5]))))
        } else {
            // The first strike holds the client up where it stands; the next step is the nearest moment there is.
            let place = rng.random_range(0..steps.len());
            let at = |place: usize| At::Phase {
                phase: steps[place.min(steps.len() - 1)],
                every: Some(every),
                from: Duration::ZERO,
            };
            if rng.random() { (at(place), at(place + 1)) } else { (at(place + 1), at(place)) }
        };
        vec![
            Fault { kind: first, target: of_client, at: one, duration },
            Fault { kind: second, target: of_servers, at: other, duration: length },
        ]
    }

    /// What fails, of the servers or of a client's links.
    fn failure(&self, rng: &mut ChaCha8Rng) -> (FaultKind, Target) {
        let Self { config, scale, .. } = *self;
        if rng.random_ratio(1, 2) {
            let target = pick_of(rng, &[Target::Holder, Target::Holder, Target::Waiter, Target::Client(ClientId(1))]);
            return match rng.random_range(0..8) {
                0 => (FaultKind::Pause, target),
                1 => (FaultKind::Kill, target),
                2 => (kind(FaultName::Delay, &target, config, scale, rng), target),
                3 => (kind(FaultName::Loss, &target, config, scale, rng), target),
                _ => (self.cut(&target, rng), target),
            };
        }
        let mut targets = vec![Target::One, Target::One, Target::All];
        if config.nodes() >= 3 {
            targets.extend([Target::Minority, Target::Minority, Target::Majority]);
        }
        if matches!(config, LockConfig::Zookeeper(_)) {
            targets.extend([Target::Leader, Target::HolderServer, Target::HolderServer]);
        }
        let target = pick_of(rng, &targets);
        match rng.random_range(0..8) {
            0 | 1 => (FaultKind::Pause, target),
            2 | 3 => (FaultKind::Kill, target),
            4 => (FaultKind::Restart, target),
            5 => (kind(FaultName::Delay, &target, config, scale, rng), target),
            _ => (self.cut(&target, rng), target),
        }
    }

    /// A cut, at times from some of the servers only.
    fn cut(&self, target: &Target, rng: &mut ChaCha8Rng) -> FaultKind {
        let nodes = self.config.nodes();
        let direction = pick(rng, &[Direction::Both, Direction::Both, Direction::In, Direction::Out]);
        let refusal = pick(rng, &[Refusal::Drop, Refusal::Drop, Refusal::Reset]);
        let peers = if !target.is_client() {
            peers(target, self.config, rng)
        } else if nodes >= 3 && rng.random_ratio(1, 3) {
            let mut of: Vec<Member> = (1..=nodes).map(|node| Member::Node(NodeId(node))).collect();
            of.shuffle(rng);
            of.truncate(pick(rng, &[nodes / 2, nodes / 2 + 1]) as usize);
            of.sort_unstable();
            Peers::Members(of)
        } else {
            PeerGroup::Nodes.into()
        };
        FaultKind::Partition { peers, direction, shape: Shape::Isolate, refusal }
    }

    /// A length around the lease; of what forgets, one that its leases do not outlive.
    fn outlasting(&self, kind: &FaultKind, target: &Target, rng: &mut ChaCha8Rng) -> Duration {
        let Self { scale, workload, .. } = *self;
        let is_death = matches!(kind, FaultKind::Kill | FaultKind::Restart | FaultKind::PowerLoss);
        let length = if is_death && !target.is_client() && rng.random_ratio(1, 2) {
            scale.lease * 12 / 10 + ms(60)
        } else {
            scale.lease * pick(rng, &[20, 40, 60, 80, 100, 110, 130, 180]) / 100
        };
        round(length.min(workload.duration / 3)).max(ms(5))
    }

    /// How often something that lasts for `duration` comes again.
    fn every(&self, duration: Duration, rng: &mut ChaCha8Rng) -> Duration {
        round((self.scale.lease * pick(rng, &[50, 100, 200, 300]) / 100).max(duration * 13 / 10))
            .min(self.workload.duration / 2)
            + ms(1)
    }

    fn step(&self, target: &Target, rng: &mut ChaCha8Rng) -> Phase {
        let steps = phases(target);
        pick(rng, &steps)
    }

    /// A fault at some step of its target, again and again.
    fn at_step(&self, kind: FaultKind, target: Target, duration: Duration, rng: &mut ChaCha8Rng) -> Fault {
        let phase = self.step(&target, rng);
        let every = self.every(duration, rng);
        Fault { kind, target, at: At::Phase { phase, every: Some(every), from: Duration::ZERO }, duration }
    }
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

    /// What goes together in one trial, of each stress, for each sound lock: else a bug that needs it is never met.
    #[test]
    fn each_stress_draws_what_it_is_named_for() {
        let has = |drawn: &Scenario, wanted: &dyn Fn(&Fault) -> bool| drawn.faults.iter().any(wanted);
        let outlasts = |drawn: &Scenario, lease: Duration| drawn.workload.hold.max > lease;
        for lock in ["redlock", "zookeeper"] {
            let share = |stress: Stress, wanted: &dyn Fn(&Scenario, Duration) -> bool| {
                let drawn = (0..200).map(|seed| {
                    let drawn = stressed(lock, stress, Assume::Declared, &mut Seed(seed).stream("stress")).unwrap();
                    let lease = Scale::of(&drawn.locks[lock]).lease;
                    wanted(&drawn, lease)
                });
                drawn.filter(|wanted| *wanted).count()
            };
            let drifts = |fault: &Fault| matches!(fault.kind, FaultKind::Clock(ClockChange::Drift { .. }));
            let edge = share(Stress::Edge, &|drawn, lease| outlasts(drawn, lease) && has(drawn, &drifts));
            assert!(edge > 60, "{lock}: {edge}");
            let renewal = share(Stress::Renewal, &|drawn, lease| {
                outlasts(drawn, lease) && has(drawn, &|fault| !fault.target.is_client())
            });
            assert!(renewal > 60, "{lock}: {renewal}");
            let given_up = share(Stress::GivenUp, &|drawn, _| {
                drawn.workload.wait < ms(500)
                    && has(drawn, &|fault| matches!(fault.at, At::Phase { phase: Phase::Acquiring, .. }))
            });
            assert!(given_up > 30, "{lock}: {given_up}");
            let together = share(Stress::Together, &|drawn, _| {
                has(drawn, &|fault| fault.target.is_client()) && has(drawn, &|fault| !fault.target.is_client())
            });
            assert!(together > 150, "{lock}: {together}");
        }
    }

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
