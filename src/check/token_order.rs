//! Tokens are unique and rise with each grant.
//!
//! Judged in real time: a grant that completed before another one's acquire was invoked has the lower token. The order
//! in which concurrent acquires complete says nothing, since a completion may be late. Gaps are legal: an acquire in
//! doubt may have used up a token. Deliberately absent: what the resource makes of tokens; that is `fencing`'s.

use super::evidence::{Facts, Listing, counted, seconds};
use super::{CheckName, CheckResult, Verdict, Violation, conclude, contention};
use crate::ids::FencingToken;

const GUARANTEE: &str = "Every grant of a lock carries a token of its own, higher than that of every grant that was complete when \
     its acquire began.";

/// Judges the order of tokens.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    let mut listing = Listing::default();
    let mut locks: Vec<Vec<(usize, FencingToken)>> = Vec::with_capacity(facts.locks.len());
    for places in &facts.locks {
        locks.push(places.iter().filter_map(|place| Some((*place, facts.holds[*place].token?))).collect());
    }
    let tokens: usize = locks.iter().map(Vec::len).sum();
    let grants = facts.holds.len();
    let tokenless = grants - tokens;
    if tokens > 0 && tokenless > 0 {
        listing.add(|| mixture(facts));
    }
    let (mut duplicates, mut ordered, mut inversions) = (0, 0, 0);
    for grants in &mut locks {
        let (followers, inverted) = inversions_of(facts, grants, &mut listing);
        ordered += followers;
        inversions += inverted;
        grants.sort_by_key(|(place, token)| (*token, *place));
        for pair in grants.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
            duplicates += 1;
            let (one, other) = (pair[0].0, pair[1].0);
            listing.blame(other, Some(one), facts.holds[other].from, || contradiction(facts, one, other));
        }
    }

    let (verdict, summary) = if listing.total() > 0 {
        let summary = format!(
            "{grants} grants: {} given twice, {} out of order, {} without a token.",
            counted(duplicates, "token", "tokens"),
            counted(inversions, "token", "tokens"),
            counted(tokenless, "grant", "grants"),
        );
        (Verdict::Invalid, summary)
    } else if grants == 0 {
        (Verdict::Unknown, "Nothing was granted.".to_owned())
    } else if tokens == 0 {
        (Verdict::NotApplicable, "The lock gives no tokens.".to_owned())
    } else if ordered == 0 {
        let grants = counted(grants, "grant", "grants");
        (Verdict::Unknown, format!("{grants}, and none of a lock was certain to follow another one."))
    } else if !contention::occurs(facts.history, facts.history.header.kind) {
        let grants = counted(grants, "grant", "grants");
        (Verdict::Unknown, format!("{grants}, and no acquire met a held lock: nobody was there to be told apart."))
    } else {
        let summary = format!(
            "{}, all different; {ordered} followed a finished grant, each with a higher token.",
            counted(tokens, "token", "tokens")
        );
        (Verdict::Valid, summary)
    };
    let figures = [
        ("grants", grants as f64),
        ("tokens", tokens as f64),
        ("ordered-grants", ordered as f64),
        ("duplicate-tokens", duplicates as f64),
        ("tokens-out-of-order", inversions as f64),
    ];
    conclude(CheckName::TokenOrder, GUARANTEE, verdict, summary, &figures, listing)
}

/// How many grants of one lock certainly followed another one, and how many of those have a lower token than it.
fn inversions_of(facts: &Facts<'_>, grants: &[(usize, FencingToken)], listing: &mut Listing) -> (usize, usize) {
    let mut by_request = grants.to_vec();
    by_request.sort_by_key(|(place, _)| (facts.requested[*place], *place));
    let mut by_completion = grants.iter().peekable();
    let mut highest: Option<(usize, FencingToken)> = None;
    let (mut followers, mut inversions) = (0, 0);
    for (place, token) in by_request {
        while let Some(done) =
            by_completion.next_if(|(done, _)| facts.before(facts.holds[*done].from, facts.requested[place]))
        {
            if highest.is_none_or(|(_, highest)| highest < done.1) {
                highest = Some(*done);
            }
        }
        let Some((before, highest)) = highest else { continue };
        followers += 1;
        // Equal tokens are told as given twice.
        if token < highest {
            inversions += 1;
            listing.blame(place, Some(before), facts.holds[place].from, || contradiction(facts, before, place));
        }
    }
    (followers, inversions)
}

/// A grant whose token is not above that of an earlier one, or equals another one's.
fn contradiction(facts: &Facts<'_>, one: usize, other: usize) -> Violation {
    let (one, requested, other) = (&facts.holds[one], facts.requested[other], &facts.holds[other]);
    let text = if one.token == other.token {
        format!(
            "{} was granted `{}` at {}, {} at {}: one token for two grants.",
            facts.holder(one),
            one.lock,
            seconds(one.from),
            facts.holder(other),
            seconds(other.from)
        )
    } else {
        format!(
            "{} was granted `{}` at {}. {} asked for it at {}, after that, and was given a lower token at {}.",
            facts.holder(one),
            one.lock,
            seconds(one.from),
            facts.holder(other),
            seconds(requested),
            seconds(other.from),
        )
    };
    let ops = vec![one.granted.min(other.granted), one.granted.max(other.granted)];
    Violation { severity: None, text, ops, from: one.from, to: other.from, incident: None }
}

/// A lock that gives tokens sometimes: the first grant of either sort.
fn mixture(facts: &Facts<'_>) -> Violation {
    let mut shown: Vec<_> =
        [true, false].iter().filter_map(|with| facts.holds.iter().find(|hold| hold.token.is_some() == *with)).collect();
    shown.sort_by_key(|hold| hold.granted);
    let told: Vec<String> =
        shown.iter().map(|hold| format!("{} at {}", facts.holder(hold), seconds(hold.from))).collect();
    let instants = shown.iter().map(|hold| hold.from);
    Violation {
        severity: None,
        text: format!("Some grants carry a token and others do not: {}.", told.join(", ")),
        ops: shown.iter().map(|hold| hold.granted).collect(),
        from: instants.clone().min().unwrap_or_default(),
        to: instants.max().unwrap_or_default(),
        incident: None,
    }
}
