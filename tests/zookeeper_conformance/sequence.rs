//! Random sequences of what sessions do, drawn where the edges are, and their shrinking.

use std::fmt;

use fencepost::seed::{ChaCha8Rng, Seed};
use rand::RngExt;

/// How many sessions there are at most.
pub const SESSIONS: usize = 3;

/// A znode, named so that leaving a step out changes as little as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The znode below which the sequence takes place.
    Root,
    /// One of a few folders, which need not exist.
    Folder(u32),
    /// Three levels below a folder.
    Deep(u32),
    /// What the n-th successful creation of a contender has made; a znode that never existed if there were fewer.
    Contender(usize),
    /// Below a contender, where nothing can be.
    Below(usize),
}

/// A verb of the lock's seam.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Parents(Target),
    Contender(Target),
    Children(Target),
    Stat(Target),
    Watch(Target),
    Delete(Target),
    Sync,
}

/// One step of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A session is opened, if it is not open.
    Open(usize),
    /// A session is closed, and its watches are looked at.
    Close(usize),
    /// A session asks for all of these at once, without waiting for replies in between.
    Ask(usize, Vec<Verb>),
    /// A session looks which of its watches have fired.
    Watches(usize),
    /// A session drops its watches.
    Forget(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A sequence of `length` steps, after one that opens the first session.
pub fn draw(seed: u64, length: usize) -> Vec<Step> {
    let mut rng = Seed(seed).stream("zookeeper-conformance");
    let mut steps: Vec<Step> = (0..SESSIONS).map(Step::Open).collect();
    steps.push(Step::Ask(0, vec![Verb::Parents(Target::Folder(0))]));
    for _ in 0..length {
        let session = rng.random_range(0..SESSIONS);
        steps.push(match rng.random_range(0..100) {
            0..5 => Step::Open(session),
            5..8 => Step::Close(session),
            8..25 => Step::Watches(session),
            25..28 => Step::Forget(session),
            _ => {
                let count = if rng.random_bool(0.3) { rng.random_range(2..5) } else { 1 };
                Step::Ask(session, (0..count).map(|_| verb(&mut rng)).collect())
            }
        });
    }
    steps.extend((0..SESSIONS).map(Step::Watches));
    steps
}

fn target(rng: &mut ChaCha8Rng) -> Target {
    match rng.random_range(0..100) {
        0..5 => Target::Root,
        5..25 => Target::Folder(rng.random_range(0..3)),
        25..30 => Target::Deep(rng.random_range(0..3)),
        30..95 => Target::Contender(rng.random_range(0..8)),
        _ => Target::Below(rng.random_range(0..4)),
    }
}

fn verb(rng: &mut ChaCha8Rng) -> Verb {
    let folder = Target::Folder(rng.random_range(0..3));
    match rng.random_range(0..100) {
        0..6 => Verb::Parents(if rng.random_bool(0.3) { target(rng) } else { folder }),
        6..36 => Verb::Contender(if rng.random_bool(0.15) { target(rng) } else { folder }),
        36..46 => Verb::Children(if rng.random_bool(0.2) { target(rng) } else { folder }),
        46..58 => Verb::Stat(target(rng)),
        58..74 => Verb::Watch(target(rng)),
        74..96 => Verb::Delete(target(rng)),
        _ => Verb::Sync,
    }
}

/// The shortest sequence that still `fails`, found by leaving out ever smaller parts (delta debugging), then single
/// requests, until nothing more can go.
pub fn shortest(steps: &[Step], mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut steps = steps.to_vec();
    let mut part = steps.len().div_ceil(2);
    loop {
        let before = steps.clone();
        let mut from = 0;
        while from < steps.len() {
            let left = steps.iter().enumerate().filter(|(index, _)| !(from..from + part).contains(index));
            let shorter: Vec<Step> = left.map(|(_, step)| step.clone()).collect();
            if fails(&shorter) {
                steps = shorter;
            } else {
                from += part;
            }
        }
        if part > 1 {
            part = part.div_ceil(2);
            continue;
        }
        for (step, verb) in requests(&steps).into_iter().rev() {
            let mut shorter = steps.clone();
            if let Step::Ask(_, verbs) = &mut shorter[step] {
                verbs.remove(verb);
            }
            if fails(&shorter) {
                steps = shorter;
            }
        }
        if steps == before {
            return steps;
        }
    }
}

/// Where the single requests are: step, and place in it.
fn requests(steps: &[Step]) -> Vec<(usize, usize)> {
    let of_step = |(index, step): (usize, &Step)| match step {
        Step::Ask(_, verbs) => (0..verbs.len()).map(|verb| (index, verb)).collect(),
        _ => Vec::new(),
    };
    steps.iter().enumerate().flat_map(of_step).collect()
}
