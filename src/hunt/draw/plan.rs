//! Draws a plan of faults for a lock and a workload: each by itself, or those together that a [`Stress`] needs.

use std::time::Duration;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::{DRAWN, phases, pick_of};
use crate::defendant::LockConfig;
use crate::defendant::draw::{Scale, Stress, ms, pick, round};
use crate::fault::request::{Call, Does, RequestRule};
use crate::fault::{At, ClockChange, Direction, Fault, FaultKind, Member, PeerGroup, Peers, Refusal, Shape, Target};
use crate::hunt::law;
use crate::ids::{ClientId, NodeId};
use crate::phase::Phase;
use crate::scenario::{FaultName, Workload};
use crate::seed::ChaCha8Rng;

/// The longest time for which a request is held, or its reply: a long lease need not be outwaited.
const LONGEST_HELD: Duration = ms(2_500);

/// What a plan is drawn for.
pub(super) struct Drawing<'a> {
    pub(super) config: &'a LockConfig,
    pub(super) workload: &'a Workload,
    pub(super) scale: Scale,
}

impl Drawing<'_> {
    pub(super) fn plan(&self, stress: Stress, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        match stress {
            Stress::Any => self.any(rng),
            Stress::Edge => self.edge(rng),
            Stress::Renewal => self.renewal(rng),
            Stress::GivenUp => self.given_up(rng),
            Stress::Together => self.together(rng),
            Stress::Stopped => self.stopped(rng),
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
        // Nothing else ends a lease that is renewed.
        if config.renews() || rng.random_ratio(1, 4) {
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
                1 if !matches!(target, Target::Waiter) && self.config.renews() => {
                    At::Phase { phase: Phase::Renewing, every: Some(every), from: Duration::ZERO }
                }
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

    /// One or two failures where requests or their answers are on the way. Once each where leases are long, so that
    /// what stays behind stands out.
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
        if config.has(&Target::HolderServer) {
            of_servers =
                vec![Target::HolderServer, Target::HolderServer, Target::HolderServer, Target::Leader, Target::One];
        } else if config.has(&Target::Leader) {
            of_servers = vec![Target::Leader, Target::Leader, Target::One, Target::Minority, Target::All];
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
        let steps = phases(&of_client, config.renews());
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

    /// A client that stands still at a step where its lock has yet to look at its clock, for a good part of a lease or
    /// for longer; and, half the time, a holder that nothing reaches after that, so that no later answer mends what it
    /// believes.
    fn stopped(&self, rng: &mut ChaCha8Rng) -> Vec<Fault> {
        let Self { config, scale, .. } = *self;
        let mut steps = vec![
            (Target::Waiter, Phase::VotesIn),
            (Target::Waiter, Phase::VotesIn),
            (Target::Waiter, Phase::Acquiring),
            (Target::Waiter, Phase::InLine),
        ];
        if config.renews() {
            steps.extend(vec![(Target::Holder, Phase::Renewing); 4]);
        }
        let (target, phase) = pick_of(rng, &steps);
        let duration = round(scale.lease * pick(rng, &[20, 30, 50, 70, 90, 99, 101, 110, 150]) / 100).max(ms(5));
        let every = Some(self.every(duration, rng));
        let mut plan = vec![Fault {
            kind: FaultKind::Pause,
            target,
            at: At::Phase { phase, every, from: Duration::ZERO },
            duration,
        }];
        if rng.random_ratio(1, 2) {
            let duration = round(scale.lease * pick(rng, &[100, 130, 180]) / 100);
            let kind = self.cut(&Target::Holder, rng);
            let phase = if config.renews() { Phase::Renewing } else { self.step(&Target::Holder, rng) };
            let every = Some(self.every(duration, rng));
            let at = At::Phase { phase, every, from: Duration::ZERO };
            plan.push(Fault { kind, target: Target::Holder, at, duration });
        }
        plan
    }

    /// What fails, of the servers or of a client's links.
    fn failure(&self, rng: &mut ChaCha8Rng) -> (FaultKind, Target) {
        let Self { config, scale, .. } = *self;
        if rng.random_ratio(1, 2) {
            let target = pick_of(rng, &[Target::Holder, Target::Holder, Target::Waiter, Target::Client(ClientId(1))]);
            return match rng.random_range(0..10) {
                0 => (FaultKind::Pause, target),
                1 => (FaultKind::Kill, target),
                8 | 9 => (requests(&target, config, scale, rng), target),
                2 => (kind(FaultName::Delay, &target, config, scale, rng), target),
                3 => (kind(FaultName::Loss, &target, config, scale, rng), target),
                _ => (self.cut(&target, rng), target),
            };
        }
        let mut targets = vec![Target::One, Target::One, Target::All];
        if config.nodes() >= 3 {
            targets.extend([Target::Minority, Target::Minority, Target::Majority]);
        }
        if config.has(&Target::HolderServer) {
            targets.extend([Target::Leader, Target::HolderServer, Target::HolderServer]);
        } else if config.has(&Target::Leader) {
            targets.extend([Target::Leader, Target::Leader]);
        }
        let target = pick_of(rng, &targets);
        match rng.random_range(0..9) {
            0 | 1 => (FaultKind::Pause, target),
            2 | 3 => (FaultKind::Kill, target),
            8 => (requests(&target, config, scale, rng), target),
            4 => (FaultKind::Restart, target),
            5 => (kind(FaultName::Delay, &target, config, scale, rng), target),
            _ => (self.cut(&target, rng), target),
        }
    }

    /// A cut, at times from some of the servers only.
    fn cut(&self, target: &Target, rng: &mut ChaCha8Rng) -> FaultKind {
        let direction = pick(rng, &[Direction::Both, Direction::Both, Direction::In, Direction::Out]);
        let refusal = pick(rng, &[Refusal::Drop, Refusal::Drop, Refusal::Reset]);
        let peers = if !target.is_client() { peers(target, self.config, rng) } else { some_nodes(self.config, rng) };
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
        let steps = phases(target, self.config.renews());
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
    duration = duration.min(round(workload.duration / 3));
    let every = round((scale.lease * pick(rng, &[1, 2, 3, 5])).max(duration * 13 / 10) + ms(1));
    let phases = phases(&target, config.renews());
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
    if config.has(&Target::HolderServer) {
        of_servers.extend([Target::Leader, Target::HolderServer]);
    } else if config.has(&Target::Leader) {
        of_servers.push(Target::Leader);
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
        FaultName::Request => requests(target, config, scale, rng),
    }
}

/// What befalls single requests about a lock, or their replies: at times the first ones only, or those to some servers.
fn requests(target: &Target, config: &LockConfig, scale: Scale, rng: &mut ChaCha8Rng) -> FaultKind {
    let calls: &[Call] = match target {
        Target::Waiter => &[Call::Acquiring],
        Target::Holder if config.renews() => &[Call::Renewing, Call::Renewing, Call::Releasing],
        Target::Holder => &[Call::Releasing],
        _ if config.renews() => &Call::ALL,
        _ => &[Call::Acquiring, Call::Acquiring, Call::Releasing],
    };
    let mut possible = Does::ALL.to_vec();
    possible.retain(|does| *does != Does::Refuse || config.backend().refuses());
    let does = pick(rng, &possible);
    let late = pick(rng, &[scale.patience * 7 / 10, scale.patience * 2, scale.lease / 2, scale.lease * 11 / 10]);
    let by = if does.takes_time() { round(late.min(LONGEST_HELD)).max(ms(2)) } else { Duration::ZERO };
    let times = pick(rng, &[Some(1), Some(1), Some(3), None]);
    let peers = match target {
        target if target.is_client() => some_nodes(config, rng),
        _ => PeerGroup::Clients.into(),
    };
    FaultKind::Request { peers, rule: RequestRule { does, phase: pick(rng, calls), times, by } }
}

/// All lock servers, or some of them.
fn some_nodes(config: &LockConfig, rng: &mut ChaCha8Rng) -> Peers {
    let nodes = config.nodes();
    if nodes < 3 || rng.random_ratio(2, 3) {
        return PeerGroup::Nodes.into();
    }
    let mut of: Vec<Member> = (1..=nodes).map(|node| Member::Node(NodeId(node))).collect();
    of.shuffle(rng);
    of.truncate(pick(rng, &[nodes / 2, nodes / 2 + 1]) as usize);
    of.sort_unstable();
    Peers::Members(of)
}

/// How far a clock is set wrong, in nanoseconds.
fn by(scale: Scale, rng: &mut ChaCha8Rng) -> i64 {
    let far = round(scale.lease * pick(rng, &[50, 100, 300, 1_000]) / 100).as_nanos() as i64;
    if rng.random() { far } else { -far }
}

fn peers(target: &Target, config: &LockConfig, rng: &mut ChaCha8Rng) -> Peers {
    let is_ensemble = config.has(&Target::Leader);
    let groups: &[PeerGroup] = match target {
        target if target.is_client() => &[PeerGroup::Nodes, PeerGroup::Nodes, PeerGroup::Nodes, PeerGroup::Resource],
        Target::All => &[PeerGroup::Clients],
        _ if is_ensemble => &[PeerGroup::All, PeerGroup::Clients, PeerGroup::Nodes],
        _ => &[PeerGroup::Clients],
    };
    pick(rng, groups).into()
}
