//! What came of a lock's trial in one sentence that needs no knowledge of locks, the same on the page and at the
//! terminal.
//!
//! Says what the lock did. Deliberately absent: whether the scenario's file had foreseen it.

use std::time::Duration;

use super::scene::Scene;
use super::standing::Standing;
use super::words;
use super::{LockReport, key_figures};
use crate::check::{CheckName, Verdict};
use crate::history::foreign::Reading;

/// The sentence, without the lock's name: `let two clients …`.
pub(super) fn sentence(lock: &LockReport, scene: &Scene<'_>) -> String {
    if lock.history.ops.is_empty() && lock.streamed.is_none() {
        return match (&lock.error, &lock.reading) {
            (Some(error), _) => format!("was not tried: {error}."),
            (None, Some(reading)) if !reading.unclear.is_empty() => format!("was not judged: {}.", unclear(reading)),
            (None, _) => "was not tried: nothing was recorded.".to_owned(),
        };
    }
    if lock.judgement.checks.is_empty() {
        return "was tried, and no check ran.".to_owned();
    }
    let figure = |check, name: &str| {
        let result = words::result(lock, check)?;
        result.figures.get(name).copied()
    };
    let count = |check, name| figure(check, name).unwrap_or(0.0) as u64;
    let grants = key_figures::grants(lock, scene) as u64;
    let overlaps = words::result(lock, CheckName::MutualExclusion).filter(|result| result.verdict == Verdict::Invalid);
    let lost = count(CheckName::LostUpdates, "lost") + count(CheckName::LostUpdates, "unacknowledged-lost");
    let acknowledged = count(CheckName::LostUpdates, "acknowledged");
    let (accepted, refused) = scene.stale();
    let incidents = lock.judgement.incidents_in_all;
    let mut told = Vec::new();
    if overlaps.is_some() {
        let believed = count(CheckName::MutualExclusion, "overlaps-within-validity") == 0;
        let what = if believed {
            "let two clients believe at once that they held it"
        } else {
            "was held by two clients at once"
        };
        told.push(format!("{what}, in {}", words::counted(incidents, "incident", "incidents")));
    }
    if lost > 0 {
        let share = if acknowledged > 0 {
            format!(" of {acknowledged} acknowledged ({})", words::percent(100.0 * lost as f64 / acknowledged as f64))
        } else {
            String::new()
        };
        told.push(format!("{}{share}", words::counted(lost, "update was lost", "updates were lost")));
    } else if accepted > 0 {
        told.push(format!(
            "{} accepted, though no update was lost",
            words::counted(accepted as u64, "late access was", "late accesses were")
        ));
    }
    if refused > 0 {
        let all = if accepted == 0 { "all " } else { "" };
        told.push(format!(
            "the resource refused {all}{}",
            words::counted(refused as u64, "late access", "late accesses")
        ));
    }
    if overlaps.is_some() && lost == 0 && accepted == 0 && words::result(lock, CheckName::LostUpdates).is_some() {
        told.push("no update was lost".to_owned());
    }
    let mut broken: Vec<&str> = lock
        .judgement
        .checks
        .iter()
        .filter(|result| result.verdict == Verdict::Invalid)
        .filter_map(|result| match result.check {
            CheckName::Liveness => Some("left clients waiting for what nobody held"),
            CheckName::LostSignal => Some("did not tell a client in time that it had lost the lock"),
            CheckName::GrantValidity => Some("handed out grants that were over already"),
            CheckName::Leftovers => Some("left at the servers what nobody would ever take away"),
            CheckName::TokenOrder => Some("gave fencing tokens in the wrong order"),
            CheckName::Linearizable if overlaps.is_none() => Some("granted what no correct lock could have granted"),
            CheckName::Assumptions => Some("left a record that is not well formed"),
            CheckName::Coverage => Some("was not put to the test as planned"),
            _ => None,
        })
        .collect();
    broken.dedup();
    told.extend(broken.into_iter().map(str::to_owned));
    let ended = if lock.error.is_some() { " Its trial ended early." } else { "" };
    if told.is_empty() {
        let said = match Standing::of(lock) {
            Standing::Kept => format!(
                "kept every guarantee that was put to the test, over {}",
                words::counted(grants, "grant", "grants")
            ),
            _ => {
                let why = match lock.reading.as_ref().filter(|reading| !reading.unclear.is_empty()) {
                    Some(reading) => unclear(reading),
                    None => format!("too little happened to tell ({})", words::counted(grants, "grant", "grants")),
                };
                format!("broke nothing that was seen, but {why}")
            }
        };
        return format!("{said}.{ended}");
    }
    let last = told.pop().unwrap_or_default();
    let text = if told.is_empty() { last } else { format!("{}; {last}", told.join("; ")) };
    format!("{text}.{ended}")
}

/// That locks of another harness's history are left out. The check that would have judged them says why of each.
fn unclear(reading: &Reading) -> String {
    let locks = words::counted(reading.unclear.len() as u64, "lock has a history", "locks have histories");
    format!("{locks} that can be read in more than one way")
}

/// How long the run was, in words.
pub(super) fn lasted(scene: &Scene<'_>) -> String {
    words::lasting(Duration::from_nanos(scene.end.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LockName;
    use crate::report::tests::sample;

    fn told(lock: &LockReport) -> String {
        sentence(lock, &Scene::of(&lock.history))
    }

    #[test]
    fn says_what_happened_and_not_whether_it_was_foreseen() {
        let report = sample::report();
        assert_eq!(
            told(&report.locks[0]),
            "let two clients believe at once that they held it, in 1 incident; 1 update was lost of 3 acknowledged (33.3 %)."
        );
        let fenced = &report.locks[1];
        assert_eq!(Standing::of(fenced), Standing::Broken);
        assert!(told(fenced).contains("the resource refused all 1 late access"), "{}", told(fenced));
    }

    #[test]
    fn locks_whose_history_can_be_read_in_more_than_one_way_are_not_said_to_be_untried() {
        let unclear = [(LockName::new("a"), "why".to_owned())].into_iter().collect();
        let reading = Some(Reading { unclear, ..Reading::default() });
        let nothing_left = LockReport { error: None, reading, ..sample::empty().locks[0].clone() };
        assert_eq!(told(&nothing_left), "was not judged: 1 lock has a history that can be read in more than one way.");
    }

    #[test]
    fn a_lock_that_was_not_tried_says_why() {
        let report = sample::empty();
        assert_eq!(told(&report.locks[0]), "was not tried: no Redis node answered in 10s.");
        assert_eq!(Standing::of(&report.locks[0]), Standing::Undecided);
    }
}
