//! One direction between two machines: how long a segment takes, and whether it gets through.
//!
//! Each link draws from streams of its own, so that a fault on one link does not shift what happens on another, nor its
//! removal what happens without it. Deliberately absent: connections and their order.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::fault::Refusal;
use crate::scenario::Simulation;
use crate::seed::{ChaCha8Rng, Seed};
use crate::wire::Gate;

/// How long segments take where no fault is in force, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// No segment takes less.
    least: u64,
    /// Half of all segments take no longer than this beyond the least; the rest tail off exponentially.
    half: u64,
}

impl From<Simulation> for Pace {
    fn from(Simulation { least_latency, median_latency }: Simulation) -> Self {
        // A second at most: scenarios are refused that say more.
        let [least, median] = [least_latency, median_latency].map(|latency| latency.as_nanos() as u64);
        Self { least, half: median.saturating_sub(least) }
    }
}

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

/// One direction between two machines. Small: every segment looks at two of the thousands that there may be.
pub struct Link {
    latency: SplitMix,
    /// How many strikes cut it.
    pub cuts: u32,
    /// How many strikes answer what it carries with a reset.
    pub resets: u32,
    /// What else strikes do, or did, to it.
    pub troubles: Option<Box<Troubles>>,
}

/// What strikes do to a link besides closing it.
pub struct Troubles {
    /// For the draws that only a fault makes.
    rng: ChaCha8Rng,
    /// Extra delays by strike, from the least to the most.
    pub delays: BTreeMap<u32, (Duration, Duration)>,
    /// Loss by strike, in permille.
    pub losses: BTreeMap<u32, u32>,
    /// What strikes do to a client's requests on it.
    pub gate: Gate,
    /// How many segments were lost, refused or made late since it had troubles.
    pub struck: u64,
}

impl Troubles {
    /// No troubles yet of the link called `name`: `c1/n3`.
    pub fn new(seed: Seed, name: &str) -> Self {
        let rng = seed.stream(&format!("net/{name}/faulty"));
        Self { rng, delays: BTreeMap::new(), losses: BTreeMap::new(), gate: Gate::default(), struck: 0 }
    }
}

impl Link {
    /// The link called `name`.
    pub fn new(seed: Seed, name: &str) -> Self {
        let latency = SplitMix(seed.stream(&format!("net/{name}")).next_u64());
        Self { latency, cuts: 0, resets: 0, troubles: None }
    }

    /// How many strikes close it in this way.
    pub fn closed(&mut self, refusal: Refusal) -> &mut u32 {
        match refusal {
            Refusal::Drop => &mut self.cuts,
            Refusal::Reset => &mut self.resets,
        }
    }

    /// How long the next segment takes, in nanoseconds.
    pub fn latency(&mut self, Pace { least, half }: Pace) -> u64 {
        let draw = self.latency.draw();
        // Whole halvings from the trailing zeros of one part of the draw, the rest evenly from another: an exponential
        // distribution in integers, which are the same on every machine.
        let halvings = u64::from((draw as u32).trailing_zeros());
        let part = (draw >> 32) & 0xffff;
        let mut latency = least + half * halvings + ((half * part) >> 16);
        if draw >> (64 - HICCUP_BITS) == 0 {
            latency += self.latency.draw() % HICCUP_MAX;
        }
        if let Some(Troubles { rng, delays, struck, .. }) = self.troubles.as_deref_mut() {
            *struck += u64::from(!delays.is_empty());
            for (shortest, most) in delays.values() {
                latency += rng.random_range(shortest.as_nanos() as u64..=most.as_nanos() as u64);
            }
        }
        latency
    }

    /// Takes note of a segment that a strike lost or refused.
    pub fn strike(&mut self) {
        if let Some(troubles) = self.troubles.as_deref_mut() {
            troubles.struck += 1;
        }
    }

    /// Whether the next segment gets lost on the way.
    pub fn loses(&mut self) -> bool {
        let mut lost = self.cuts > 0;
        if !lost && let Some(Troubles { rng, losses, .. }) = self.troubles.as_deref_mut() {
            for permille in losses.values() {
                lost |= rng.random_range(0..1_000) < *permille;
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Simulation::default().into()
    }

    fn latencies(link: &mut Link, pace: Pace, count: usize) -> Vec<u64> {
        let mut latencies: Vec<u64> = (0..count).map(|_| link.latency(pace)).collect();
        latencies.sort_unstable();
        latencies
    }

    #[test]
    fn latencies_have_the_intended_distribution() {
        let drawn = latencies(&mut Link::new(Seed(1), "c1/n1"), pace(), 100_000);
        assert!(drawn[0] >= 100_000);
        let median = drawn[50_000];
        assert!((195_000..205_000).contains(&median), "median {median}");
        let slow = drawn.iter().filter(|latency| **latency > 2_000_000).count();
        assert!((50..200).contains(&slow), "{slow} of 100,000 hiccups above 2 ms");
    }

    #[test]
    fn a_slower_network_is_slower_by_what_was_said_and_meets_the_same_hiccups() {
        let [least_latency, median_latency] = [1, 5].map(Duration::from_millis);
        let slow = Pace::from(Simulation { least_latency, median_latency });
        let drawn = latencies(&mut Link::new(Seed(1), "c1/n1"), slow, 100_000);
        assert!(drawn[0] >= 1_000_000, "{}", drawn[0]);
        assert!((4_900_000..5_100_000).contains(&drawn[50_000]), "median {}", drawn[50_000]);
        let none = Pace::from(Simulation { least_latency: Duration::ZERO, median_latency: Duration::ZERO });
        let drawn = latencies(&mut Link::new(Seed(1), "c1/n1"), none, 100_000);
        let hiccups = drawn.iter().filter(|latency| **latency > 0).count();
        assert!((50..200).contains(&hiccups), "{hiccups} of 100,000");
    }

    #[test]
    fn a_fault_draws_from_a_stream_of_its_own() {
        let mut calm = Link::new(Seed(1), "c1/n1");
        let mut hurt = Link::new(Seed(1), "c1/n1");
        let mut troubles = Troubles::new(Seed(1), "c1/n1");
        troubles.losses.insert(1, 500);
        troubles.delays.insert(2, (Duration::from_millis(3), Duration::from_millis(3)));
        hurt.troubles = Some(Box::new(troubles));
        for _ in 0..100 {
            hurt.loses();
            assert_eq!(calm.latency(pace()) + 3_000_000, hurt.latency(pace()));
        }
    }

    #[test]
    fn loss_comes_as_often_as_it_should() {
        let mut link = Link::new(Seed(1), "c1/n1");
        assert!(!link.loses());
        link.troubles.insert(Box::new(Troubles::new(Seed(1), "c1/n1"))).losses.insert(1, 250);
        let lost = (0..10_000).filter(|_| link.loses()).count();
        assert!((2_300..2_700).contains(&lost), "{lost}");
    }
}
