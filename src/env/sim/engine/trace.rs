//! What makes two runs comparable: a running hash over every event, and a fingerprint after each.
//!
//! The hash covers (true time, machine, kind, payload) of all that happens: messages sent, lost and delivered, timers,
//! faults, recorded ops. Fingerprints (the low 16 bits of the running hash) name the first event at which two runs
//! differ. Hashes hold for one build of one version; they do not depend on addresses, on the process, or on the
//! compiler's optimisation. Deliberately absent: the events themselves, unless a few were asked for.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A segment left its machine.
    Sent = 1,
    /// A segment was lost, and will be sent again.
    Lost,
    /// A segment reached a machine.
    Arrived,
    /// A timer ran out.
    Timer,
    /// A fault, or its undoing, changed the world.
    Fault,
    /// An op was recorded.
    Op,
}

/// The trace of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The hash over all events.
    pub hash: u64,
    /// The low 16 bits of the running hash after each event.
    pub fingerprints: Vec<u16>,
    /// The events that were asked for, in words, with their numbers.
    pub told: Vec<(u64, String)>,
    wanted: Range<u64>,
    /// What the machines are called, in their order.
    names: Vec<String>,
}

impl Trace {
    /// A trace that keeps the words of the events numbered `wanted`.
    pub(in crate::env::sim) fn new(wanted: Range<u64>) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.fingerprints.len() as u64
    }

    /// The number of the first event, from 0, at which two runs differ, if they do.
    pub fn first_difference(&self, other: &Self) -> Option<u64> {
        let pairs = self.fingerprints.iter().zip(&other.fingerprints);
        let differing = pairs.take_while(|(ours, theirs)| ours == theirs).count() as u64;
        let same = differing == self.events() && differing == other.events() && self.hash == other.hash;
        (!same).then_some(differing)
    }

    /// What the machines are to be called.
    pub(super) fn name_machines(&mut self, names: Vec<String>) {
        self.names = names;
    }

    /// Takes one event: at true time `now`, on machine `host`.
    pub(super) fn event(&mut self, now: u64, host: usize, kind: Kind, payload: &(impl Hash + Debug)) {
        self.event_in_words(now, host, kind, payload, |_| match kind {
            Kind::Fault => format!("a fault: {payload:?}"),
            _ => format!("{kind:?} {payload:?}"),
        });
    }

    /// The same, in words that may call machines by their names. They do not count for the hash, and must tell apart
    /// what it tells apart.
    pub(super) fn event_in_words(
        &mut self,
        now: u64,
        host: usize,
        kind: Kind,
        payload: &impl Hash,
        words: impl FnOnce(&dyn Fn(usize) -> String) -> String,
    ) {
        self.event_hashed(now, host, kind, |hasher| payload.hash(hasher), words);
    }

    /// The same, of a payload that is hashed by `payload`.
    pub(super) fn event_hashed(
        &mut self,
        now: u64,
        host: usize,
        kind: Kind,
        payload: impl FnOnce(&mut TraceHasher),
        words: impl FnOnce(&dyn Fn(usize) -> String) -> String,
    ) {
        self.tell(now, host, words);
        self.mix_in(now, host, kind, payload);
    }

    fn tell(&mut self, now: u64, host: usize, words: impl FnOnce(&dyn Fn(usize) -> String) -> String) {
        let number = self.events();
        if self.wanted.contains(&number) {
            let seconds = now as f64 / 1e9;
            let name = |host: usize| self.names.get(host).cloned().unwrap_or_else(|| format!("machine {host}"));
            let told = format!("{seconds:.9}s {}: {}", name(host), words(&name));
            self.told.push((number, told));
        }
    }

    fn mix_in(&mut self, now: u64, host: usize, kind: Kind, payload: impl FnOnce(&mut TraceHasher)) {
        let mut hasher = TraceHasher(self.hash);
        hasher.write_u64(now);
        hasher.write_u64((host as u64) << 8 | kind as u64);
        payload(&mut hasher);
        self.hash = hasher.finish();
        self.fingerprints.push(self.hash as u16);
    }
}

/// A hash that is the same everywhere: std's own is not promised to be.
pub struct TraceHasher(u64);

impl TraceHasher {
    fn mix(&mut self, word: u64) {
        // A folded product, as in wyhash: each input bit reaches all output bits.
        let product = u128::from(self.0 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(word ^ 0xd6e8_feb8_6659_fd93);
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ self.0.rotate_left(29);
    }
}

impl Hasher for TraceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]));
        }
        let rest = words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.mix(rest ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(words: &[&str]) -> Trace {
        let mut trace = Trace::new(1..2);
        for (number, word) in words.iter().enumerate() {
            trace.event(number as u64 * 10, number, Kind::Sent, word);
        }
        trace
    }

    #[test]
    fn the_first_differing_event_is_named() {
        let ours = trace(&["a", "b", "c", "d"]);
        assert_eq!(ours.first_difference(&trace(&["a", "b", "c", "d"])), None);
        assert_eq!(ours.first_difference(&trace(&["a", "b", "x", "d"])), Some(2));
        assert_eq!(ours.first_difference(&trace(&["a", "b", "c"])), Some(3));
        assert_eq!(ours.told, [(1, "0.000000010s machine 1: Sent \"b\"".to_owned())]);
        let mut named = Trace::new(0..1);
        named.name_machines(vec!["c1".to_owned(), "n1".to_owned()]);
        named.event_in_words(10, 0, Kind::Lost, &(0, 0), |name| format!("what it sent to {} is lost", name(1)));
        assert_eq!(named.told, [(0, "0.000000010s c1: what it sent to n1 is lost".to_owned())]);
        let mut plain = Trace::default();
        plain.event(10, 0, Kind::Lost, &(0, 0));
        assert_eq!(plain.hash, named.hash, "names and words do not count");
    }

    #[test]
    fn every_part_of_an_event_counts() {
        let hash = |now, host, kind, payload: &str| {
            let mut trace = Trace::default();
            trace.event(now, host, kind, &payload);
            trace.hash
        };
        let base = hash(1, 2, Kind::Sent, "payload of an event");
        for other in [
            hash(2, 2, Kind::Sent, "payload of an event"),
            hash(1, 3, Kind::Sent, "payload of an event"),
            hash(1, 2, Kind::Lost, "payload of an event"),
            hash(1, 2, Kind::Sent, "payload of an eveny"),
            hash(1, 2, Kind::Sent, "payload of an event "),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_hash_is_fixed_for_ever() {
        // A golden value: a change here means that traces of older builds no longer compare.
        assert_eq!(format!("{:016x}", trace(&["a", "b"]).hash), "2b70f10bd6c32ad4");
    }
}
