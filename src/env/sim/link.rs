//! One direction between two machines: how long a segment takes, and whether it gets through.
//!
//! Each link draws from streams of its own, so that a fault on one link does not shift what happens on another, nor its
//! removal what happens without it. Deliberately absent: connections and their order.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::fault::Refusal;
use crate::seed::{ChaCha8Rng, Seed};

/// The least that a segment takes, in nanoseconds: a hop inside of a data centre.
const LATENCY_MIN: u64 = 100_000;
/// Half of all segments take no longer than this beyond the least; the rest tail off exponentially.
const LATENCY_HALF: u64 = 100_000;
/// One segment in two to the power of this meets a hiccup: a full queue, a busy host.
const HICCUP_BITS: u32 = 10;
/// How long a hiccup is at most, in nanoseconds.
const HICCUP_MAX: u64 = 10_000_000;

/// SplitMix64 (Steele, Lea, Flood): eight bytes, where a trial of 500 clients has thousands of links and draws for each
/// segment. Good enough for latencies.
struct SplitMix(u64);

impl SplitMix {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// One direction between two machines.
pub(super) struct Link {
    /// `c1/n3`: in the names of its streams.
    name: String,
    seed: Seed,
    latency: SplitMix,
    /// For the draws that only a fault makes.
    faulty: Option<ChaCha8Rng>,
    /// How many strikes cut it.
    pub cuts: u32,
    /// How many strikes answer what it carries with a reset.
    pub resets: u32,
    /// Extra delays by strike, from the least to the most.
    pub delays: BTreeMap<u32, (Duration, Duration)>,
    /// Loss by strike, in permille.
    pub losses: BTreeMap<u32, u32>,
}

impl Link {
    /// The link called `name`.
    pub fn new(seed: Seed, name: String) -> Self {
        let latency = SplitMix(seed.stream(&format!("net/{name}")).next_u64());
        Self { name, seed, latency, faulty: None, cuts: 0, resets: 0, delays: BTreeMap::new(), losses: BTreeMap::new() }
    }

    /// How many strikes close it in this way.
    pub fn closed(&mut self, refusal: Refusal) -> &mut u32 {
        match refusal {
            Refusal::Drop => &mut self.cuts,
            Refusal::Reset => &mut self.resets,
        }
    }

    /// How long the next segment takes, in nanoseconds.
    pub fn latency(&mut self) -> u64 {
        let draw = self.latency.draw();
        // Whole halvings from the trailing zeros of one part of the draw, the rest evenly from another: an exponential
        // distribution in integers, which are the same on every machine.
        let halvings = u64::from((draw as u32).trailing_zeros());
        let part = (draw >> 32) & 0xffff;
        let mut latency = LATENCY_MIN + LATENCY_HALF * halvings + ((LATENCY_HALF * part) >> 16);
        if draw >> (64 - HICCUP_BITS) == 0 {
            latency += self.latency.draw() % HICCUP_MAX;
        }
        for (least, most) in self.delays.values() {
            let rng = self.faulty.get_or_insert_with(|| self.seed.stream(&format!("net/{}/faulty", self.name)));
            latency += rng.random_range(least.as_nanos() as u64..=most.as_nanos() as u64);
        }
        latency
    }

    /// Whether the next segment gets lost on the way.
    pub fn loses(&mut self) -> bool {
        if self.cuts > 0 {
            return true;
        }
        if self.losses.is_empty() {
            return false;
        }
        let rng = self.faulty.get_or_insert_with(|| self.seed.stream(&format!("net/{}/faulty", self.name)));
        let mut lost = false;
        for permille in self.losses.values() {
            lost |= rng.random_range(0..1_000) < *permille;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(link: &mut Link, count: usize) -> Vec<u64> {
        let mut latencies: Vec<u64> = (0..count).map(|_| link.latency()).collect();
        latencies.sort_unstable();
        latencies
    }

    #[test]
    fn latencies_have_the_intended_distribution() {
        let drawn = latencies(&mut Link::new(Seed(1), "c1/n1".to_owned()), 100_000);
        assert!(drawn[0] >= LATENCY_MIN);
        let median = drawn[50_000];
        assert!((195_000..205_000).contains(&median), "median {median}");
        let slow = drawn.iter().filter(|latency| **latency > 2_000_000).count();
        assert!((50..200).contains(&slow), "{slow} of 100,000 hiccups above 2 ms");
    }

    #[test]
    fn a_fault_draws_from_a_stream_of_its_own() {
        let mut calm = Link::new(Seed(1), "c1/n1".to_owned());
        let mut hurt = Link::new(Seed(1), "c1/n1".to_owned());
        hurt.losses.insert(1, 500);
        hurt.delays.insert(2, (Duration::from_millis(3), Duration::from_millis(3)));
        for _ in 0..100 {
            hurt.loses();
            assert_eq!(calm.latency() + 3_000_000, hurt.latency());
        }
    }

    #[test]
    fn loss_comes_as_often_as_it_should() {
        let mut link = Link::new(Seed(1), "c1/n1".to_owned());
        assert!(!link.loses());
        link.losses.insert(1, 250);
        let lost = (0..10_000).filter(|_| link.loses()).count();
        assert!((2_300..2_700).contains(&lost), "{lost}");
    }
}
