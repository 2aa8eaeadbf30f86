//! How much intervals overlap, counted without looking at every pair.
//!
//! A lock that never lets go makes as many pairs as there are holds squared. Sweeping over beginnings and ends counts
//! them in O(n log n): whoever begins overlaps everything that is open. Deliberately absent: what the intervals mean.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::time::Nanos;

/// An interval. Two overlap if each begins before the other ends; ends that touch do not count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// When it begins.
    pub from: Nanos,
    /// When it ends.
    pub to: Nanos,
}

impl Span {
    /// Whether it has no length, or less: then it overlaps nothing.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// What pairs of intervals share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Overlaps {
    /// How many pairs overlap.
    pub pairs: u64,
    /// For how long, summed over all pairs, in nanoseconds.
    pub total: u128,
    /// How long the longest overlap of a pair is.
    pub longest: Duration,
}

impl Overlaps {
    /// Both together, for intervals that have nothing to do with each other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            total: self.total + other.total,
            longest: self.longest.max(other.longest),
        }
    }

    /// The summed time.
    pub fn duration(&self) -> Duration {
        let seconds = u64::try_from(self.total / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, (self.total % 1_000_000_000) as u32)
    }
}

/// Counts the overlaps of intervals that come in the order of their beginnings.
pub(super) fn overlaps(spans: &[Span]) -> Overlaps {
    let mut found = Overlaps::default();
    let mut last_end = Nanos::ZERO;
    let mut open = 0u64;
    let mut now = Nanos::ZERO;
    sweep(spans, |event| {
        let (at, is_end) = match event {
            Event::End(place) => (spans[place].to, true),
            Event::Begin(place) => (spans[place].from, false),
        };
        found.total += u128::from(open) * u128::from(open.saturating_sub(1)) / 2 * (at - now).as_nanos();
        now = at;
        if is_end {
            open -= 1;
        } else if let Event::Begin(place) = event {
            found.pairs += open;
            open += 1;
            found.longest = found.longest.max(spans[place].to.min(last_end) - at);
            last_end = last_end.max(spans[place].to);
        }
    });
    found
}

/// Counts the pairs of owners of which some intervals overlap: intervals in any order, each with its owner, whose own
/// ones are apart from each other.
///
/// An owner with several intervals may meet another one more than once; such owners are compared one by one.
pub(super) fn pairs_that_overlap(mut owned: Vec<(usize, Span)>) -> u64 {
    let is_scattered: BTreeSet<usize> =
        owned.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0).collect();
    owned.sort_by_key(|(_, span)| span.from);
    let spans: Vec<Span> = owned.iter().map(|(_, span)| *span).collect();
    if is_scattered.is_empty() {
        return overlaps(&spans).pairs;
    }
    let mut open = BTreeSet::new();
    let mut open_whole = 0u64;
    let mut pairs = 0;
    let mut met: BTreeSet<(usize, usize)> = BTreeSet::new();
    let scattered = |place: usize| is_scattered.contains(&owned[place].0);
    sweep(&spans, |event| match event {
        Event::End(place) => {
            open.remove(&(!scattered(place), place));
            open_whole -= u64::from(!scattered(place));
        }
        Event::Begin(place) => {
            let owner = owned[place].0;
            let mut meet = |other: usize| {
                met.insert((owner.min(owned[other].0), owner.max(owned[other].0)));
            };
            if scattered(place) {
                open.iter().for_each(|(_, other)| meet(*other));
            } else {
                pairs += open_whole;
                open.iter().take_while(|(whole, _)| !whole).for_each(|(_, other)| meet(*other));
            }
            open.insert((!scattered(place), place));
            open_whole += u64::from(!scattered(place));
        }
    });
    pairs + met.len() as u64
}

/// A place in two orders, of which the first comes not after the second; or none.
pub(super) type Reach = Option<(u64, u64)>;

/// Counts the pairs of intervals that overlap and whose reaches meet: neither ends before the other begins, ends
/// included.
///
/// A reach whose end is before its beginning meets what lies around it; such ones are compared one by one.
pub(super) fn overlaps_that_meet(spans: &[Span], reaches: &[Reach]) -> u64 {
    let meet = |a: (u64, u64), b: (u64, u64)| a.0 <= b.1 && b.0 <= a.1;
    if reaches.iter().flatten().any(|(first, last)| first > last) {
        let mut open = BTreeSet::new();
        let mut pairs = 0;
        sweep(spans, |event| match event {
            Event::End(place) => drop(open.remove(&place)),
            Event::Begin(place) => {
                let others = open.iter().filter_map(|other: &usize| reaches[*other]);
                pairs += reaches[place].map_or(0, |reach| others.filter(|other| meet(reach, *other)).count() as u64);
                open.insert(place);
            }
        });
        return pairs;
    }
    let mut marks: Vec<u64> = reaches.iter().flatten().flat_map(|(first, last)| [*first, *last]).collect();
    marks.sort_unstable();
    marks.dedup();
    let rank = |mark: u64| marks.partition_point(|other| *other < mark);
    let (mut firsts, mut lasts) = (Counter::new(marks.len()), Counter::new(marks.len()));
    let mut pairs = 0;
    sweep(spans, |event| {
        let (Event::Begin(place) | Event::End(place)) = event;
        let Some((first, last)) = reaches[place] else { return };
        let (first, last) = (rank(first), rank(last));
        let change = if let Event::Begin(_) = event {
            // All that are open, but for those that begin after this one's end or end before its beginning.
            pairs += firsts.below(last + 1) - lasts.below(first);
            1
        } else {
            u64::MAX
        };
        firsts.add(first, change);
        lasts.add(last, change);
    });
    pairs
}

enum Event {
    Begin(usize),
    End(usize),
}

/// Tells of beginnings and ends in the order of time, ends first; empty intervals are left out.
fn sweep(spans: &[Span], mut tell: impl FnMut(Event)) {
    let mut ends: Vec<usize> = (0..spans.len()).filter(|place| !spans[*place].is_empty()).collect();
    let begins = ends.clone();
    ends.sort_by_key(|place| spans[*place].to);
    let mut ends = ends.into_iter().peekable();
    for place in begins {
        while let Some(end) = ends.next_if(|end| spans[*end].to <= spans[place].from) {
            tell(Event::End(end));
        }
        tell(Event::Begin(place));
    }
    ends.for_each(|end| tell(Event::End(end)));
}

/// Counts by rank, with sums of all below a rank in logarithmic time (Fenwick 1994).
struct Counter(Vec<u64>);

impl Counter {
    fn new(ranks: usize) -> Self {
        Self(vec![0; ranks + 1])
    }

    fn add(&mut self, rank: usize, change: u64) {
        let mut at = rank + 1;
        while let Some(sum) = self.0.get_mut(at) {
            *sum = sum.wrapping_add(change);
            at += at & at.wrapping_neg();
        }
    }

    fn below(&self, rank: usize) -> u64 {
        let (mut at, mut sum) = (rank, 0u64);
        while at > 0 {
            sum = sum.wrapping_add(self.0[at]);
            at &= at - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use rand::RngExt;

    #[test]
    fn owners_meet_once_however_often_their_intervals_do() {
        let (mut met, mut more_than_once) = (0, 0);
        for seed in 0..500 {
            let mut rng = Seed(seed).stream("owners");
            let owned: Vec<(usize, Span)> = (0..rng.random_range(0..7))
                .flat_map(|owner| {
                    let mut now = rng.random_range(0..8);
                    let many = if rng.random_ratio(1, 3) { rng.random_range(1..4) } else { 1 };
                    (0..many)
                        .map(|_| {
                            let from = now + rng.random_range(1..5);
                            now = from + rng.random_range(0..6);
                            (owner, Span { from: Nanos(from), to: Nanos(now) })
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
            let meetings: Vec<(usize, usize)> = owned
                .iter()
                .flat_map(|one| owned.iter().map(move |other| (one, other)))
                .filter(|((a, one), (b, other))| a < b && one.from.max(other.from) < one.to.min(other.to))
                .map(|((a, _), (b, _))| (*a, *b))
                .collect();
            let pairs: BTreeSet<_> = meetings.iter().collect();
            assert_eq!(pairs_that_overlap(owned.clone()), pairs.len() as u64, "seed {seed}: {owned:?}");
            met += pairs.len();
            more_than_once += usize::from(meetings.len() > pairs.len());
        }
        assert!(met > 500 && more_than_once > 20, "too little was compared: {met}, {more_than_once}");
    }

    #[test]
    fn counts_are_those_that_comparing_all_pairs_finds() {
        let mut seen = [0; 3];
        for seed in 0..500 {
            let mut rng = Seed(seed).stream("spans");
            let mut spans: Vec<Span> = (0..rng.random_range(0..12))
                .map(|_| {
                    let from = rng.random_range(0..20);
                    Span { from: Nanos(from), to: Nanos(rng.random_range(from..24)) }
                })
                .collect();
            spans.sort_by_key(|span| span.from);
            let thin = rng.random_range(0..2);
            let reaches: Vec<Reach> = spans
                .iter()
                .map(|_| {
                    let (a, b) = (rng.random_range(0..15u64), rng.random_range(0..15u64));
                    let reach = if thin == 1 { (a, b) } else { (a.min(b), a.max(b)) };
                    rng.random_ratio(4, 5).then_some(reach)
                })
                .collect();
            let (mut expected, mut meeting) = (Overlaps::default(), 0);
            for (place, a) in spans.iter().enumerate() {
                for (other, b) in spans.iter().enumerate().skip(place + 1) {
                    let shared = a.to.min(b.to) - a.from.max(b.from);
                    if shared.is_zero() {
                        continue;
                    }
                    expected = expected.and(Overlaps { pairs: 1, total: shared.as_nanos(), longest: shared });
                    if let (Some(a), Some(b)) = (reaches[place], reaches[other]) {
                        meeting += u64::from(a.0 <= b.1 && b.0 <= a.1);
                    }
                }
            }
            assert_eq!(overlaps(&spans), expected, "seed {seed}: {spans:?}");
            assert_eq!(overlaps_that_meet(&spans, &reaches), meeting, "seed {seed}: {spans:?} {reaches:?}");
            seen = [seen[0] + expected.pairs, seen[1] + meeting, seen[2] + thin];
        }
        assert!(seen.iter().all(|count| *count > 100), "too little was compared: {seen:?}");
    }
}
