//! The master seed and its named child streams.
//!
//! Every random choice of a run comes from one seed. Each part draws from a stream of its own, named after the part
//! (`client/3/think`, `nemesis`), so that removing one part or one fault does not shift what the others draw.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
pub use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The number that fixes every random choice of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// A fresh seed from the operating system, for runs that were given none.
    #[expect(clippy::disallowed_methods, reason = "the one number that no other number decides")]
    pub fn from_entropy() -> Self {
        // Short enough to read aloud and to pass through JSON numbers unharmed.
        Self(u64::from(rand::random::<u32>()))
    }

    /// The random stream called `name`. The same seed and name give the same stream on every platform.
    pub fn stream(self, name: &str) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        key[8..16].copy_from_slice(&fnv1a(name.as_bytes()).to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): a stable hash, where std's is not promised to stay the same.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no seed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a seed: give a whole number from 0 to 18446744073709551615")]
pub struct SeedError(String);

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        text.parse().map(Self).map_err(|_| SeedError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_are_fixed_for_ever() {
        // Golden values: a change here means that old seeds no longer replay.
        let mut rng = Seed(42).stream("nemesis");
        assert_eq!([rng.random::<u64>(), rng.random()], [7_756_227_543_116_665_958, 5_460_284_212_376_103_776]);
    }

    #[test]
    fn streams_differ_by_name_and_by_seed() {
        let draw = |seed, name| Seed(seed).stream(name).random::<u64>();
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn a_bad_seed_says_what_it_wants() {
        assert!("x1".parse::<Seed>().unwrap_err().to_string().contains("whole number"));
    }
}
