//! Draws a workload that fits a lock's settings.

use std::time::Duration;

use rand::RngExt;

use crate::defendant::LockConfig;
use crate::defendant::draw::{Scale, Stress, ms, pick, round};
use crate::lock_kind::LockKind;
use crate::scenario::{ClientStyle, DurationRange, Workload, WorkloadKind};
use crate::seed::ChaCha8Rng;

fn range(min: Duration, max: Duration) -> DurationRange {
    DurationRange::new(round(min), round(max.max(min)))
}

pub(super) fn workload(stress: Stress, config: &LockConfig, scale: Scale, rng: &mut ChaCha8Rng) -> Workload {
    let (kind, lease) = (config.kind(), scale.lease);
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
    let clients = pick(rng, &[2, 2, 3, 3, 3, 4, 5]);
    let clients = match kind {
        LockKind::Mutex => clients,
        // Two who read together and one who writes.
        LockKind::ReadWrite => clients.max(3),
        // As many as hold, and somebody who has to wait.
        LockKind::Semaphore { permits } => clients.max(permits + 1),
    };
    let drawn = Workload {
        readers: if kind == LockKind::ReadWrite { 50 } else { 0 },
        kind: WorkloadKind::Inventory,
        clients,
        locks: if stress == Stress::Any && rng.random_ratio(1, 4) { 2 } else { 1 },
        hold,
        think,
        wait: wait.max(ms(5)),
        duration: (lease * 20).clamp(Duration::from_secs(5), Duration::from_secs(12)),
        grant_within: None,
        client: if rng.random_ratio(1, 3) { ClientStyle::Naive } else { ClientStyle::Careful },
        extend: None,
        abandoned: 0,
        dropped: 0,
        quiet_end: Duration::ZERO,
    };
    ways(drawn, stress, config, scale, rng)
}

/// Ways in which a client may use a lock beside the plain one: each in some of the trials, so that most have one alone.
fn ways(mut workload: Workload, stress: Stress, config: &LockConfig, scale: Scale, rng: &mut ChaCha8Rng) -> Workload {
    let lease = scale.lease;
    let of = |percent: u32| lease * percent / 100;
    let in_ten = |rng: &mut ChaCha8Rng, times: u32| rng.random_ratio(times, 10);
    let (extends, abandons) = match stress {
        Stress::Edge | Stress::Renewal | Stress::Stopped => (4, 1),
        Stress::GivenUp => (1, 4),
        Stress::Any | Stress::Together => (2, 2),
    };
    if config.extends() && in_ten(rng, extends) {
        let longest = if lease > Duration::from_secs(4) { of(130) } else { of(300) };
        workload.extend = Some(pick(
            rng,
            &[range(of(50), of(95)), range(of(100), of(120)), range(of(105), longest), range(longest, longest)],
        ));
    }
    if in_ten(rng, abandons) {
        workload.abandoned = pick(rng, &[20, 50, 90]);
    }
    if in_ten(rng, 2) {
        workload.dropped = pick(rng, &[20, 50, 100]);
    }
    // For as long may a lock lawfully stay with nobody once faults are over. In plans that strike until the end it is
    // never seen for so long, and what keeps it for good does not show.
    let lawful = config.grant_within(workload.longest_extension()).unwrap_or_default();
    let is_semaphore = matches!(config.kind(), LockKind::Semaphore { .. });
    if lawful >= Duration::from_secs(5) {
        // What the living take back they take back sooner than such a lease ends.
        let leaves_much = matches!(stress, Stress::Any | Stress::GivenUp);
        if leaves_much && config.promised().takes_back && in_ten(rng, 3) {
            workload.quiet_end = Duration::from_secs(7);
        }
    } else if is_semaphore && in_ten(rng, 4) {
        // Of a permit that is lost somebody has to wait beside it, and not be granted another one meanwhile.
        workload.hold = range(lawful * 12 / 10, lawful * 14 / 10);
        workload.wait = Duration::from_secs(10);
        workload.quiet_end = lawful * 18 / 10;
    } else if in_ten(rng, 3) {
        workload.quiet_end = lawful + ms(500);
    }
    workload.quiet_end = round(workload.quiet_end);
    if !workload.quiet_end.is_zero() {
        // Of five leases any plan can be made.
        let struck = Duration::from_secs(5).max(of(500).min(Duration::from_secs(8)));
        workload.duration = workload.duration.max(workload.quiet_end + struck);
    }
    workload
}
