//! Leased locks: may each hold be given a place in time, so that no two overlap and tokens rise with it?
//!
//! Each acquire attempt counts as an owner of its own. Of a granted hold it is known that it began between its
//! acquire's invocation and completion, and that it ended at the earliest when its release began, its client was told
//! that it is lost or died, or its validity was over. If it certainly began before it may have ended, it covers the
//! *forward zone* between; else an instant somewhere in the *backward window* suffices (the reply came after the lease
//! was over). No two forward zones may overlap, and no backward window may lie inside a forward zone; that is also
//! enough, since a window in no single zone has a gap somewhere (Gibbons and Korach 1997, Testing Shared Memories, on
//! registers). Tokens fit if placing the holds in their order, each as early as it can be, succeeds. O(n log n),
//! whatever is in doubt: an acquire that was not granted for certain claims nothing.

use crate::time::Nanos;

/// One granted hold, as the algorithm needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Its place among the holds of the history.
    pub place: usize,
    /// When the acquire was invoked.
    pub requested: Nanos,
    /// By when the hold had certainly begun.
    pub begun: Nanos,
    /// From when on it may have ended; absent for one that was never given up.
    pub may_end: Option<Nanos>,
    /// Its token, where known.
    pub token: Option<u64>,
}

impl Claim {
    /// The latest beginning of its ops: Z in the literature.
    fn last_start(&self) -> Nanos {
        self.may_end.map_or(Nanos(u64::MAX), |end| end.max(self.requested))
    }

    /// The earliest end of its ops: z in the literature.
    fn first_end(&self) -> Nanos {
        self.begun
    }

    /// Whether it lasts: else an instant suffices.
    pub fn is_forward(&self) -> bool {
        self.first_end() < self.last_start()
    }
}

/// Holds that no order of a lock's operations explains, by their places in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Both were held at once.
    Overlap(usize, usize),
    /// The first had to take place while the second was held.
    Inside(usize, usize),
    /// Two holds with one token.
    SameToken(usize, usize),
    /// The last has the highest token and cannot follow the others, which are in the order of their tokens but for one
    /// without a token that keeps them apart.
    TokenOrder(Vec<usize>),
}

impl Misfit {
    /// The holds that do not fit.
    pub fn places(&self) -> Vec<usize> {
        match self {
            Self::Overlap(one, other) | Self::Inside(one, other) | Self::SameToken(one, other) => vec![*one, *other],
            Self::TokenOrder(places) => places.clone(),
        }
    }
}

/// Whether each claim, in the order given, had surely ended when the next one surely began, and tokens rise with them.
/// Then that order is one that fits, as it is with most locks; if not, another one may.
pub(super) fn follow_each_other(claims: impl Iterator<Item = Claim>, fenced: bool) -> bool {
    let (mut over, mut highest) = (Nanos::ZERO, None);
    for claim in claims {
        if !claim.is_forward() || claim.first_end() < over {
            return false;
        }
        over = claim.last_start();
        if let Some(token) = claim.token.filter(|_| fenced)
            && highest.replace(token).is_some_and(|highest| highest >= token)
        {
            return false;
        }
    }
    true
}

/// Finds what does not fit among the claims on one lock; tokens are looked at only if nothing overlaps.
pub(super) fn misfits(claims: &[Claim], fenced: bool) -> Vec<Misfit> {
    let mut misfits = contradictions(claims, fenced);
    for misfit in &mut misfits {
        if let Misfit::TokenOrder(places) = misfit {
            places.sort_unstable();
            places.dedup();
            let chain = claims.iter().filter(|claim| places.binary_search(&claim.place).is_ok());
            *places = smallest(chain.copied().collect());
        }
    }
    misfits
}

/// The same with all that led to a token that does not fit, needed or not.
fn contradictions(claims: &[Claim], fenced: bool) -> Vec<Misfit> {
    let mut forward: Vec<&Claim> = claims.iter().filter(|claim| claim.is_forward()).collect();
    forward.sort_by_key(|claim| (claim.first_end(), claim.place));
    let zones = Zones::new(forward);
    let mut misfits = zones.overlaps();
    for window in claims.iter().filter(|claim| !claim.is_forward()) {
        if let Some(zone) = zones.containing(window.last_start(), window.first_end()) {
            misfits.push(Misfit::Inside(window.place, zone.place));
        }
    }
    if fenced && misfits.is_empty() {
        misfits = token_misfits(claims, &zones);
    }
    misfits
}

/// Forward zones by their beginning, and for each the longest-lasting one up to it.
struct Zones<'a> {
    zones: Vec<&'a Claim>,
    last: Vec<usize>,
}

impl<'a> Zones<'a> {
    fn new(zones: Vec<&'a Claim>) -> Self {
        let mut last: Vec<usize> = Vec::with_capacity(zones.len());
        for (at, zone) in zones.iter().enumerate() {
            let before = last.last().copied().filter(|before| zones[*before].last_start() >= zone.last_start());
            last.push(before.unwrap_or(at));
        }
        Self { zones, last }
    }

    fn overlaps(&self) -> Vec<Misfit> {
        let pairs = self.zones.iter().skip(1).zip(&self.last);
        let overlaps = pairs.filter(|(zone, before)| zone.first_end() < self.zones[**before].last_start());
        overlaps.map(|(zone, before)| Misfit::Overlap(self.zones[*before].place, zone.place)).collect()
    }

    /// A zone that began before `from` and ends after `to`.
    fn containing(&self, from: Nanos, to: Nanos) -> Option<&'a Claim> {
        let begun = self.zones.partition_point(|zone| zone.first_end() < from);
        let zone = self.zones[*self.last.get(begun.checked_sub(1)?)?];
        Some(zone).filter(|zone| to < zone.last_start())
    }
}

/// Places the holds in the order of their tokens, each as early as it can be. No zones overlap here and no window lies
/// inside one, so no place is inside a zone either: it is the end of one, or an instant in none.
fn token_misfits(claims: &[Claim], zones: &Zones<'_>) -> Vec<Misfit> {
    let mut fenced: Vec<(u64, &Claim)> = claims.iter().filter_map(|claim| Some((claim.token?, claim))).collect();
    fenced.sort_by_key(|(token, claim)| (*token, claim.first_end(), claim.place));
    let mut misfits = Vec::new();
    let mut placed_until = Nanos::ZERO;
    // Why nothing with a higher token can come before that: the hold placed there, and the zone that it had to let
    // pass.
    let mut because: Vec<&Claim> = Vec::new();
    let mut before: Option<(u64, &Claim)> = None;
    for (token, claim) in fenced {
        if let Some((same, other)) = before.replace((token, claim))
            && same == token
        {
            misfits.push(Misfit::SameToken(other.place, claim.place));
            continue;
        }
        if placed_until > claim.first_end() {
            let chain = because.iter().copied().chain([claim]);
            misfits.push(Misfit::TokenOrder(chain.map(|claim| claim.place).collect()));
            continue;
        }
        let start = claim.last_start();
        let zone = if claim.is_forward() { None } else { zones.containing(start, start) };
        let place = zone.unwrap_or(claim).last_start();
        if place > placed_until {
            placed_until = place;
            because = zone.into_iter().chain([claim]).collect();
        }
    }
    misfits
}

/// As few of these claims as do not fit by themselves.
fn smallest(mut claims: Vec<Claim>) -> Vec<usize> {
    let mut at = 0;
    while at < claims.len() {
        let dropped = claims.remove(at);
        if contradictions(&claims, true).is_empty() {
            claims.insert(at, dropped);
            at += 1;
        }
    }
    claims.iter().map(|claim| claim.place).collect()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::seed::Seed;

    fn claim(place: usize, requested: u64, begun: u64, may_end: u64, token: Option<u64>) -> Claim {
        let [requested, begun, may_end] = [requested, begun, may_end].map(Nanos);
        Claim { place, requested, begun, may_end: Some(may_end), token }
    }

    #[test]
    fn holds_that_touch_fit_and_those_that_overlap_do_not() {
        assert_eq!(misfits(&[claim(0, 0, 1, 5, None), claim(1, 0, 5, 9, None)], false), []);
        assert_eq!(misfits(&[claim(0, 0, 1, 6, None), claim(1, 0, 5, 9, None)], false), [Misfit::Overlap(0, 1)]);
    }

    #[test]
    fn a_reply_after_the_lease_needs_an_instant_of_its_own() {
        let holder = claim(0, 0, 2, 9, None);
        assert_eq!(misfits(&[holder, claim(1, 1, 7, 4, None)], false), [Misfit::Inside(1, 0)]);
        assert_eq!(misfits(&[holder, claim(1, 1, 7, 2, None)], false), []);
    }

    #[test]
    fn a_hold_without_token_can_keep_tokens_from_fitting() {
        // Token 1's window begins inside the tokenless hold and ends after it, token 2's begins before it and ends in
        // it.
        let holds = [claim(0, 0, 10, 20, None), claim(1, 0, 25, 15, Some(1)), claim(2, 0, 12, 5, Some(2))];
        let Misfit::TokenOrder(places) = misfits(&holds, true).remove(0) else { panic!("tokens do not fit") };
        assert_eq!(places, [1, 2], "the windows alone do not fit either: 15 is after 12");
        let holds = [claim(0, 0, 10, 20, None), claim(1, 0, 25, 15, Some(1)), claim(2, 0, 17, 5, Some(2))];
        let Misfit::TokenOrder(places) = misfits(&holds, true).remove(0) else { panic!("tokens do not fit") };
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(misfits(&holds[1..], true), [], "without it they do");
    }

    #[test]
    fn of_holds_that_last_equally_long_the_first_one_is_told() {
        let for_ever = |place: usize| Claim { may_end: None, ..claim(place, 0, place as u64 + 1, 0, None) };
        let expected = [Misfit::Overlap(0, 1), Misfit::Overlap(0, 2)];
        assert_eq!(misfits(&[for_ever(0), for_ever(1), for_ever(2)], false), expected);
    }

    #[test]
    fn tokens_are_told_with_what_they_cannot_follow_and_no_more() {
        // Four holds that fit; the last one's window was over before the third began.
        let mut holds: Vec<Claim> =
            (0..4).map(|turn| claim(turn, 0, turn as u64 * 10 + 1, turn as u64 * 10 + 5, Some(turn as u64))).collect();
        assert_eq!(misfits(&holds, true), []);
        holds.push(claim(4, 0, 17, 16, Some(9)));
        assert_eq!(misfits(&holds, true), [Misfit::TokenOrder(vec![3, 4])]);
        holds[4].token = Some(2);
        holds[2].token = None;
        assert_eq!(misfits(&holds, true), [], "it fits between the second and the fourth");
        let one_instant = [claim(0, 0, 20, 10, Some(1)), claim(1, 0, 30, 10, Some(2)), claim(2, 0, 8, 7, Some(3))];
        assert_eq!(misfits(&one_instant, true), [Misfit::TokenOrder(vec![0, 2])], "the first one there");
    }

    #[test]
    fn only_zones_in_turn_follow_each_other() {
        let follow = |claims: &[Claim]| follow_each_other(claims.iter().copied(), true);
        assert!(follow(&[claim(0, 0, 1, 5, Some(1)), claim(1, 0, 5, 9, Some(2))]), "they touch");
        assert!(!follow(&[claim(0, 0, 1, 6, Some(1)), claim(1, 0, 5, 9, Some(2))]), "they overlap");
        assert!(!follow(&[claim(0, 0, 1, 5, Some(2)), claim(1, 0, 5, 9, Some(2))]), "one token");
        assert!(!follow(&[claim(0, 1, 7, 4, None)]), "a window has to be looked at");
    }

    #[test]
    fn claims_that_follow_each_other_fit() {
        let mut seen = [0, 0];
        for seed in 0..20_000 {
            let mut rng = Seed(seed).stream("claims");
            let mut now = 0;
            let claims: Vec<Claim> = (0..rng.random_range(1..4))
                .map(|place| {
                    let mut step = |least: u64| {
                        now += rng.random_range(least..4);
                        now
                    };
                    let (begun, may_end) = (step(0), step(0));
                    now -= rng.random_range(0..2).min(now);
                    let token = rng.random_ratio(4, 5).then(|| place as u64 + rng.random_range(0..3));
                    claim(place, begun.saturating_sub(2), begun, may_end, token)
                })
                .collect();
            for fenced in [false, true] {
                let follow = follow_each_other(claims.iter().copied(), fenced);
                assert!(!follow || misfits(&claims, fenced).is_empty(), "seed {seed}: {claims:?}");
                seen[usize::from(follow)] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 1_000), "too little was compared: {seen:?}");
    }
}
