//! What the conformance tests share: seeded random sequences in lockstep on a model and on real servers, reply by
//! reply, and the shortest sequence that differs.
//!
//! `FENCEPOST_TEST_SEED` and `FENCEPOST_TEST_SEQUENCES` choose other sequences. Deliberately absent: what a sequence is
//! made of.

use std::fmt::Display;
use std::time::Instant;

/// What a comparison found.
pub struct Compared {
    /// How many replies were compared.
    pub replies: usize,
    /// The first step with different replies: the model's and the server's, as they are shown.
    pub difference: Option<(usize, String, String)>,
}

/// A model and real servers, side by side.
pub trait Lockstep {
    /// One step of a sequence.
    type Step: Display;

    /// The sequence of a seed.
    fn draw(&self, seed: u64) -> Vec<Self::Step>;

    /// Carries out a sequence on both, from a clean state, up to the first difference.
    fn compare(&mut self, steps: &[Self::Step]) -> Compared;

    /// The shortest sequence that still differs.
    fn shortest(&mut self, steps: &[Self::Step]) -> Vec<Self::Step>;

    /// What else there is to tell of the comparison.
    fn told(&mut self) -> String;
}

/// A number from the environment.
fn chosen(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Compares as many sequences as `usual`, tells the share of replies that agree, and fails with the shortest sequence
/// that differs.
pub fn same_replies(both: &mut impl Lockstep, usual: u64) {
    let (first, count) = (chosen("FENCEPOST_TEST_SEED", 1), chosen("FENCEPOST_TEST_SEQUENCES", usual));
    let start = Instant::now();
    let (mut compared, mut differing, mut shown) = (0, 0, String::new());
    for seed in first..first + count {
        let steps = both.draw(seed);
        let Compared { replies, difference } = both.compare(&steps);
        compared += replies;
        if difference.is_some() {
            differing += 1;
            if shown.is_empty() {
                let short = both.shortest(&steps);
                let (at, expected, answered) = both.compare(&short).difference.expect("it differs every time");
                let lines: Vec<String> = short[..=at].iter().map(|step| format!("    {step}")).collect();
                shown = format!(
                    "seed {seed}, shortest sequence that differs:\n{}\n  model:  {expected}\n  server: {answered}",
                    lines.join("\n")
                );
            }
        }
    }
    let share = 100.0 * (compared - differing) as f64 / compared as f64;
    println!(
        "{} of {compared} replies agree ({share:.3} %), {count} sequences from seed {first}, {}, {:?}",
        compared - differing,
        both.told(),
        start.elapsed()
    );
    assert!(shown.is_empty(), "{shown}");
}
