//! Random sequences of commands and clock moves, drawn where the edges are, and their shrinking.

use std::fmt;
use std::time::Duration;

use fencepost::env::sim::redis::{Command, Persistence, RedisModel};
use fencepost::lock::backend::Share;
use fencepost::seed::{ChaCha8Rng, Seed};
use fencepost::time::Nanos;
use rand::RngExt;
use smol_str::SmolStr;

/// Where the clock stands when a sequence begins, milliseconds since the epoch.
pub const START_MS: i64 = 1_700_000_000_123;
/// Few keys, so that commands meet.
const KEYS: [&str; 3] = ["a", "b", "n"];
/// Keys of shares, apart from the others: what a string command says of a set is not modelled.
const SETS: [&str; 2] = ["s", "t"];
const VALUES: [&str; 9] = ["x", "y", "41", "-1", "007", "+5", "", "9223372036854775806", "-9223372036854775808"];

/// The key of the line; and who stands there, without anybody listening.
pub const LINE: &str = "line";
const PLACES: [&str; 3] = ["left 1", "left 2", "right 1"];

/// One step. Clock moves are absolute, so that leaving a step out changes no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets the clock, milliseconds since the epoch.
    Clock(i64),
    /// Says a command and compares the replies.
    Say(Command),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(wall_ms) => write!(f, "clock to start {:+} ms", wall_ms - START_MS),
            Self::Say(command) => command.fmt(f),
        }
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

/// A sequence of `length` steps. The model runs along, so that clock moves can aim at deadlines.
pub fn draw(seed: u64, length: usize) -> Vec<Step> {
    let mut rng = Seed(seed).stream("redis-conformance");
    // Every third is about shares.
    let of_shares = seed % 3 == 2;
    let keys: &[&str] = if of_shares { &SETS } else { &KEYS };
    let mut model = RedisModel::new(Persistence::None);
    let mut wall_ms = START_MS;
    let mut steps = Vec::with_capacity(length);
    for _ in 0..length {
        if rng.random_bool(0.35) {
            wall_ms = clock(&mut rng, &model, wall_ms, keys);
            steps.push(Step::Clock(wall_ms));
        } else {
            let command = if of_shares { shares(&mut rng) } else { command(&mut rng, wall_ms) };
            model.execute(wall_ms, Nanos::ZERO, &command);
            steps.push(Step::Say(command));
        }
    }
    steps
}

/// Looks at everything that can be seen of all keys.
pub fn look_at_all() -> Vec<Step> {
    let look = |key: &&str| [Command::Get((*key).into()), Command::Pttl((*key).into())].map(Step::Say);
    // The line is of another type in the server, and a text to the model.
    KEYS.iter().flat_map(look).chain([Step::Say(Command::Pttl(LINE.into()))]).collect()
}

fn clock(rng: &mut ChaCha8Rng, model: &RedisModel, wall_ms: i64, keys: &[&str]) -> i64 {
    let deadline = model.peek(pick(rng, keys)).and_then(|entry| entry.deadline);
    // Not a deadline at the end of time: the page counts nanoseconds in 64 bits.
    let near = deadline.filter(|deadline| (deadline - START_MS).abs() < 1_000_000_000);
    match (rng.random_range(0..10), near) {
        (0..5, Some(deadline)) => deadline + pick(rng, &[-1, 0, 1]),
        (5, _) => START_MS,
        (6, _) => wall_ms - rng.random_range(1..4000),
        _ => wall_ms + pick(rng, &[1, 1, 2, 10, 999, 1000, 3000]),
    }
}

fn command(rng: &mut ChaCha8Rng, wall_ms: i64) -> Command {
    let key = SmolStr::new(pick(rng, &KEYS));
    let value = SmolStr::new(pick(rng, &VALUES));
    let millis = |rng: &mut ChaCha8Rng| match rng.random_range(0..12) {
        0 => pick(rng, &[0, -1, -5000, i64::MIN, i64::MAX, i64::MAX - START_MS]),
        1..4 => pick(rng, &[1, 2, 1000]),
        _ => rng.random_range(1..3000),
    };
    match rng.random_range(0..140) {
        0..26 => {
            let px_ms = rng.random_bool(0.8).then(|| millis(rng));
            Command::Set { key, value, if_absent: rng.random_bool(0.6), px_ms }
        }
        26..38 => Command::Get(key),
        38..43 => Command::Del(key),
        43..55 => Command::Pttl(key),
        55..61 => Command::Pexpire(key, millis(rng)),
        61..67 => {
            let deadline = match rng.random_range(0..6) {
                0 => pick(rng, &[0, -1, i64::MIN, i64::MAX]),
                1..4 => wall_ms + pick(rng, &[-1, 0, 1]),
                _ => wall_ms + millis(rng).clamp(-10_000, 10_000),
            };
            Command::PexpireAt(key, deadline)
        }
        67..75 => Command::Incr(key),
        75..81 => Command::Exists(key),
        81..83 => Command::Time,
        83 => Command::FlushAll,
        84..92 => Command::ExtendIfOwner { key, owner: value, ttl_ms: millis(rng) },
        92..100 => Command::DeleteIfOwner { key, owner: value },
        100..105 => Command::SetAndFence { key, counter: pick(rng, &KEYS).into(), owner: value, ttl_ms: millis(rng) },
        105..111 => Command::SetAndCount { key, counter: pick(rng, &KEYS).into(), owner: value, ttl_ms: millis(rng) },
        111..120 => {
            let token = pick(rng, &[0, 1, 2, 9, 10, 42, 9_007_199_254_740_993, i64::MAX as u64, u64::MAX]);
            Command::RaiseIfOwner { key, counter: pick(rng, &KEYS).into(), owner: value, token }
        }
        120..130 => {
            let (place, front) = (pick(rng, &PLACES).into(), rng.random_bool(0.3));
            Command::StandInLine { key, line: LINE.into(), place, front, patience_ms: millis(rng) }
        }
        130..134 => Command::LeaveLine { key, line: LINE.into(), place: pick(rng, &PLACES).into() },
        134..138 => Command::DeleteAndCall { key, line: LINE.into(), owner: value },
        _ => Command::Exists(LINE.into()),
    }
}

fn shares(rng: &mut ChaCha8Rng) -> Command {
    let (key, owner) = (SmolStr::new(pick(rng, &SETS)), SmolStr::new(pick(rng, &VALUES)));
    let share = match rng.random_range(0..5) {
        0 | 1 => Share::Read,
        2 => Share::Write { waits: Duration::from_millis(pick(rng, &[1, 100, 2000])) },
        _ => Share::Permit { of: rng.random_range(1..4) },
    };
    let ttl_ms = pick(rng, &[1, 2, 1000, 1500, 2999]);
    match rng.random_range(0..9) {
        8 => counters(rng),
        0..4 => Command::TakeShare { key, counter: pick(rng, &["n", "c"]).into(), owner, ttl_ms, share },
        4 | 5 => Command::ExtendShare { key, owner, ttl_ms, share },
        6 => Command::ReturnShare { key, owner, share },
        _ if rng.random_bool(0.5) => Command::Pttl(key),
        _ => Command::Del(key),
    }
}

/// What else befalls the counters of tokens.
fn counters(rng: &mut ChaCha8Rng) -> Command {
    let key = SmolStr::new(pick(rng, &["n", "c"]));
    match rng.random_range(0..3) {
        0 => Command::Get(key),
        1 => Command::Set { key, value: pick(rng, &VALUES).into(), if_absent: false, px_ms: None },
        _ => Command::Del(key),
    }
}

/// The shortest sequence that still `fails`, found by leaving out ever smaller parts (delta debugging).
pub fn shortest(steps: &[Step], mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut steps = steps.to_vec();
    let mut part = steps.len().div_ceil(2);
    while part > 0 {
        let mut from = 0;
        while from < steps.len() {
            let shorter: Vec<Step> = steps
                .iter()
                .enumerate()
                .filter(|(i, _)| !(from..from + part).contains(i))
                .map(|(_, s)| s.clone())
                .collect();
            if fails(&shorter) {
                steps = shorter;
            } else {
                from += part;
            }
        }
        part /= 2;
    }
    steps
}
