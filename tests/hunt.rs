//! The search finds what is wrong with flawed locks, accuses no sound one, repeats itself, and makes findings small.

use std::path::Path;

use fencepost::defendant::registry;
use fencepost::hunt::draw::Assume;
use fencepost::run::{self, Broken, Finding, HuntRequest, Hunted};
use fencepost::seed::Seed;
use fencepost::verdict::CheckName;
use tokio::sync::watch;

fn request(locks: &[&str], trials: u64, out: &Path) -> HuntRequest {
    HuntRequest {
        locks: locks.iter().map(|lock| (*lock).to_owned()).collect(),
        seed: Some(Seed(1)),
        trials: Some(trials),
        time: None,
        cpu: None,
        findings: None,
        assume: Assume::Declared,
        shrink: false,
        out: out.to_owned(),
    }
}

fn hunt(request: &HuntRequest) -> Hunted {
    run::hunt(request, &watch::channel(false).1, &mut |_| {}).unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What does not depend on the folder and the time.
fn told(finding: &Finding) -> (u64, String, Vec<Broken>, String, Seed) {
    let Finding { trial, lock, broken, text, seed, .. } = finding.clone();
    (trial, lock, broken, text, seed)
}

/// Plans within what a lock assumes cannot make a sound lock break what it promises.
#[test]
fn no_sound_lock_is_accused_by_a_lawful_plan() {
    let out = folder();
    let hunted = hunt(&request(&["redis", "redlock", "zookeeper"], 120, out.path()));
    assert!(hunted.findings.is_empty(), "{:#?}", hunted.findings);
    assert!(hunted.distinct >= 118 && hunted.pairs.len() > 60, "{hunted:?}");
}

/// Without their own scenarios, by plans that were drawn for any lock of their kind.
#[test]
fn every_canary_is_found() {
    let out = folder();
    let canaries: Vec<_> = registry::algorithms().filter(|algorithm| algorithm.flaw().is_some()).collect();
    assert!(canaries.len() >= 19);
    for canary in canaries.into_iter().map(|canary| canary.name()) {
        let found = hunt(&HuntRequest { findings: Some(1), ..request(&[canary], 200, out.path()) });
        let finding = found.findings.first().unwrap_or_else(|| panic!("{canary} was not found"));
        assert!(finding.scenario.is_file() && finding.run.join("report.html").is_file(), "{finding:?}");
    }
}

#[test]
fn the_same_seed_finds_the_same_in_the_same_order() {
    let out = folder();
    let request = request(&["redlock-two-names", "zookeeper-never-tells", "zookeeper-sorts-by-clock"], 70, out.path());
    let (one, other) = (hunt(&request), hunt(&request));
    assert!(one.findings.len() >= 3, "{:?}", one.findings);
    let findings = |hunted: &Hunted| hunted.findings.iter().map(told).collect::<Vec<_>>();
    assert_eq!(findings(&one), findings(&other));
    assert_eq!(one.pairs, other.pairs);
}

/// Beyond what Redlock assumes there is something to find, and each finding says what the plan was beyond.
#[test]
fn what_is_found_beyond_the_assumptions_names_them() {
    let out = folder();
    let request = HuntRequest { assume: Assume::Nothing, findings: Some(1), ..request(&["redlock"], 400, out.path()) };
    let found = hunt(&request);
    let finding = found.findings.first().expect("nothing was found");
    assert!(!finding.beyond.is_empty(), "{finding:?}");
}

#[test]
fn a_finding_is_made_small_and_repeats() {
    let out = folder();
    let request =
        HuntRequest { shrink: true, findings: Some(1), ..request(&["zookeeper-told-while-waiting"], 8, out.path()) };
    let found = hunt(&request);
    let small = found.findings[0].shrunk.as_ref().unwrap();
    assert!(small.repeats && small.fails_of_10 >= 9 && small.strikes == 0 && small.clients == 2, "{small:?}");
    // Also a run's own folder can be made small, and there the guarantee that is asked for.
    let again = run::shrink(&found.findings[0].run, None, Some(CheckName::MutualExclusion)).unwrap();
    assert!(again.fails_of_10 >= 9 && again.title.contains("mutual-exclusion"), "{again:?}");
}
