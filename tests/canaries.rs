//! Every flawed lock is caught by the check that its scenario names, and the sound lock beside it is not.

use std::collections::{BTreeMap, BTreeSet};

use fencepost::check::judge;
use fencepost::defendant::registry;
use fencepost::env::sim::run_trial;
use fencepost::scenario::{self, Capabilities, Scenario};
use fencepost::seed::Seed;
use fencepost::verdict::{CheckName, Demand, Verdict};

/// Each canary is caught with every one of these, not merely with some.
const SEEDS: std::ops::Range<u64> = 0..3;

fn scenarios() -> Vec<Scenario> {
    let listed = scenario::list("scenarios/canaries".as_ref()).unwrap();
    listed.into_iter().map(|file| scenario::load(&file.path, &Capabilities::sim()).unwrap()).collect()
}

#[test]
fn every_canary_has_a_scenario_that_says_what_must_catch_it() {
    let flaws: Vec<(&str, &str)> = registry::algorithms()
        .filter(|algorithm| algorithm.flaw().is_some())
        .map(|canary| (canary.name(), registry::sound(canary).name()))
        .collect();
    assert!(flaws.len() >= 19);
    let scenarios: BTreeMap<String, Scenario> =
        scenarios().into_iter().map(|scenario| (scenario.name.clone(), scenario)).collect();
    assert_eq!(
        scenarios.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        flaws.iter().map(|(name, _)| *name).collect()
    );
    for (flaw, sound) in flaws {
        let scenario = &scenarios[flaw];
        let algorithms: BTreeSet<&str> = scenario.locks.values().map(|lock| lock.algorithm()).collect();
        assert_eq!(algorithms, BTreeSet::from([flaw, sound]), "{flaw}");
        let caught_by: Vec<CheckName> = scenario.expect[flaw]
            .iter()
            .filter(|(_, demand)| **demand == Demand::Is(Verdict::Invalid))
            .map(|(check, _)| *check)
            .collect();
        assert!(!caught_by.is_empty(), "{flaw}: no check must catch it");
        for check in caught_by {
            let of_sound = scenario.expect[sound].get(&check);
            assert!(
                matches!(of_sound, Some(Demand::Is(Verdict::Valid | Verdict::NotApplicable))),
                "{flaw}: {check} of {sound}"
            );
        }
    }
}

#[test]
fn every_canary_is_caught_and_no_sound_lock_is() {
    for scenario in scenarios() {
        for (lock, expected) in &scenario.expect {
            for seed in SEEDS.map(Seed) {
                let outcome = run_trial(&scenario, lock, seed);
                assert_eq!(outcome.error, None, "{}: {lock}, seed {seed}", scenario.name);
                let judgement = judge(&outcome.history);
                let mut expected = expected.clone();
                expected.insert(CheckName::Assumptions, Demand::Is(Verdict::Valid));
                expected.insert(CheckName::Coverage, Demand::Is(Verdict::Valid));
                for check in CheckName::ALL {
                    let demand = expected.get(&check).copied().unwrap_or(Demand::NotInvalid);
                    let result = judgement.checks.iter().find(|result| result.check == check).unwrap();
                    let told = format!("{}: {lock}, seed {seed}: {check}: {}", scenario.name, result.summary);
                    assert!(demand.is_met(Some(result.verdict)), "{told}");
                    assert_eq!(
                        result.violations.is_empty(),
                        result.verdict != Verdict::Invalid,
                        "an accusation has evidence"
                    );
                }
            }
        }
    }
}
