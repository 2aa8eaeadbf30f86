//! Small histories as files, one point each.
//!
//! `testdata/bad/<checks>--<point>.jsonl` is invalid in exactly those checks, which are joined by `+`; most name one.
//! `testdata/ok/<point>.jsonl` is valid in every check, `testdata/ok/<exceptions>--<point>.jsonl` in all but the
//! exceptions, which are joined by `+` and start with their verdict: `unknown-coverage+na-token-order--…`. Of [`RARE`]
//! checks they need only not be invalid. `testdata/cut/<point>.jsonl` is the beginning of a history, which accuses
//! nobody.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::check::{CheckName, Judgement, Verdict, judge};
use crate::history::file;

/// What few small histories exercise: it has tables of its own.
const RARE: [CheckName; 4] =
    [CheckName::LostSignal, CheckName::GrantValidity, CheckName::Liveness, CheckName::Leftovers];

fn fixtures(folder: &str) -> Vec<(String, Judgement)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/testdata").join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let judged = paths.iter().map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, judge(&file::read(path).unwrap()))
    });
    judged.collect()
}

fn verdicts(judgement: &Judgement) -> BTreeMap<CheckName, Verdict> {
    judgement.checks.iter().map(|result| (result.check, result.verdict)).collect()
}

/// The summaries and violations, for a failing test's reader.
fn told(judgement: &Judgement) -> String {
    let told = judgement.checks.iter().map(|result| {
        let violations: String =
            result.violations.iter().map(|violation| format!("\n    {}", violation.text)).collect();
        format!("  {} {}: {}{violations}\n", result.check, result.verdict, result.summary)
    });
    told.collect()
}

fn check_named(name: &str) -> CheckName {
    CheckName::ALL.into_iter().find(|check| check.name() == name).unwrap_or_else(|| panic!("no check `{name}`"))
}

#[test]
fn bad_histories_are_invalid_in_exactly_the_check_they_name() {
    let mut caught: BTreeMap<CheckName, usize> = BTreeMap::new();
    for (name, judgement) in fixtures("bad") {
        let named = name.split_once("--").expect("<checks>--<point>").0;
        let checks: Vec<CheckName> = named.split('+').map(check_named).collect();
        let invalid: Vec<_> =
            verdicts(&judgement).into_iter().filter(|(_, verdict)| *verdict == Verdict::Invalid).collect();
        let expected: Vec<_> = checks.iter().map(|check| (*check, Verdict::Invalid)).collect();
        assert_eq!(invalid, expected, "{name}:\n{}", told(&judgement));
        assert_eq!(judgement.verdict, Verdict::Invalid, "{name}");
        for result in judgement.checks.iter().filter(|result| checks.contains(&result.check)) {
            assert!(
                result.violations.iter().all(|violation| !violation.ops.is_empty()),
                "{name}: evidence names its ops"
            );
            assert!(!result.violations.is_empty(), "{name}: an accusation comes with evidence");
        }
        let (only, first) = (judgement.checks.len() == 1, checks[0]);
        assert_eq!(only, first == CheckName::Assumptions, "{name}: judging stops at a malformed history, only there");
        *caught.entry(first).or_default() += 1;
    }
    for check in CheckName::ALL {
        assert!(caught.contains_key(&check), "no fixture shows that `{check}` can fail");
    }
}

#[test]
fn ok_histories_are_valid_except_where_they_say_so() {
    for (name, judgement) in fixtures("ok") {
        let mut expected: BTreeMap<_, _> = CheckName::ALL.map(|check| (check, Verdict::Valid)).into();
        for exception in name.split_once("--").map_or("", |(exceptions, _)| exceptions).split('+') {
            match exception.split_once('-') {
                Some(("unknown", check)) => drop(expected.insert(check_named(check), Verdict::Unknown)),
                Some(("na", check)) => drop(expected.insert(check_named(check), Verdict::NotApplicable)),
                None if exception.is_empty() => {}
                _ => panic!("{name}: an exception is `unknown-<check>` or `na-<check>`"),
            }
        }
        let mut reached = verdicts(&judgement);
        for check in RARE {
            assert_ne!(reached.get(&check), Some(&Verdict::Invalid), "{name}:\n{}", told(&judgement));
            reached.remove(&check);
            expected.remove(&check);
        }
        assert_eq!(reached, expected, "{name}:\n{}", told(&judgement));
    }
}

#[test]
fn histories_that_are_cut_off_accuse_nobody() {
    let cut = fixtures("cut");
    assert!(cut.len() > 5);
    for (name, judgement) in cut {
        assert_eq!(judgement.verdict, Verdict::Unknown, "{name}:\n{}", told(&judgement));
        assert!(
            judgement.checks.iter().all(|result| result.verdict != Verdict::Valid),
            "{name}: it is known to be cut off"
        );
    }
}
