//! What a look at a link shows, and what it does not.

use super::*;

fn probe(effect: Effect, seen: Seen, met: u64, struck: u64) -> Probe {
    struck_probe(
        "c1 to n1",
        effect,
        seen,
        Some(Count { peer: Ipv4Addr::LOCALHOST, outgoing: false, met, struck }),
        false,
        1,
    )
}

#[test]
fn a_link_that_should_be_open_is_cut_only_where_the_rules_still_stand() {
    let after = |seen, stand| open_probe("after", "n2 to c1", (seen, LOOKS), stand);
    assert!(after(Seen::Answered(1), true).passed(), "it carries what it should, whatever stands there");
    let silent = after(Seen::Silent, false);
    assert!(silent.unseen && silent.looks == Some(LOOKS) && silent.observed == "no answer");
    let cut = after(Seen::Silent, true);
    assert!(cut.denied() && cut.observed == "blocked");
    assert!(after(Seen::Reset, false).denied(), "somebody refuses it");
}

#[test]
fn a_look_that_the_rules_did_not_meet_proves_nothing() {
    let late = Effect::Late { least: 10_000_000, most: 30_000_000, seed: 1 };
    for effect in [Effect::Drop, Effect::Reset, Effect::Lose { permille: 200 }, late] {
        assert!(probe(effect, Seen::Silent, 0, 0).unseen, "{effect:?}: it never arrived");
    }
    for effect in [Effect::Reset, late] {
        assert!(probe(effect, Seen::Silent, 1, 1).unseen, "{effect:?}: its answer never came");
    }
    for effect in [Effect::Drop, Effect::Reset, late] {
        assert!(probe(effect, Seen::Silent, 5, 0).denied(), "{effect:?}: they passed the rules");
        let unruled = struck_probe("c1 to n1", effect, Seen::Silent, None, false, 1);
        assert!(unruled.denied(), "{effect:?}: there are no rules");
    }
    assert!(probe(Effect::Lose { permille: 200 }, Seen::Silent, 1_000, 0).denied());
    assert!(probe(Effect::Drop, Seen::Answered(1), 0, 0).denied(), "it carries");
    assert!(probe(late, Seen::Reset, 1, 1).denied());
}

#[test]
fn silence_alone_is_no_cut() {
    assert!(probe(Effect::Drop, Seen::Silent, 1, 1).passed());
    assert!(!probe(Effect::Drop, Seen::Silent, 0, 0).passed());
    assert!(!probe(Effect::Drop, Seen::Answered(1), 1, 1).passed());
    assert!(!probe(Effect::Drop, Seen::Reset, 1, 1).passed());
    assert!(probe(Effect::Reset, Seen::Reset, 1, 1).passed());
    assert!(!probe(Effect::Reset, Seen::Silent, 1, 1).passed());
}

#[test]
fn what_is_counted_is_what_passed_by_itself() {
    let count = |met, struck| Count { peer: Ipv4Addr::LOCALHOST, outgoing: false, met, struck };
    assert_eq!(since(Some(&count(3, 2)), &count(9, 6)), 4);
    assert_eq!(since(Some(&count(3, 2)), &count(3, 2)), 0, "only our own knocks");
    assert_eq!(since(Some(&count(9, 6)), &count(5, 5)), 5, "laid again in a new life");
    assert_eq!(since(None, &count(5, 5)), 5);
}

#[test]
fn a_loss_is_judged_by_its_share() {
    let lossy = Effect::Lose { permille: 200 };
    for (met, struck, passed) in [(1_000, 200, true), (1_000, 140, true), (1_000, 100, false), (1_000, 300, false)] {
        assert_eq!(probe(lossy, Seen::Silent, met, struck).passed(), passed, "{struck} of {met}");
    }
    assert!(!probe(lossy, Seen::Silent, 0, 0).passed());
    assert!(!probe(Effect::Lose { permille: 1_000 }, Seen::Silent, 1_000, 990).passed());
}

#[test]
fn a_delay_is_judged_by_the_round_trip_and_the_packets_held_back() {
    let millis = |millis: u64| millis * 1_000_000;
    let late = |least, most| Effect::Late { least: millis(least), most: millis(most), seed: 1 };
    assert!(probe(late(10, 30), Seen::Answered(millis(20)), 1, 1).passed());
    assert!(!probe(late(10, 30), Seen::Answered(millis(9)), 1, 1).passed());
    assert!(!probe(late(10, 30), Seen::Answered(millis(2_500)), 1, 1).passed());
    assert!(!probe(late(10, 30), Seen::Answered(millis(20)), 1, 0).passed());
    assert!(!probe(late(10, 30), Seen::Silent, 1, 1).passed());
    assert!(probe(late(3_000, 3_000), Seen::Silent, 1, 1).passed());
}
