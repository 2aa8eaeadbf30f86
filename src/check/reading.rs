//! What the way in which another harness's history was read makes of its verdict.
//!
//! What could not be read is not judged, and what nothing was said of is no contradiction: such a verdict is `unknown`, with
//! the reason. Deliberately absent: the reading itself, which is the history's.

use super::{CheckName, FailedRelease, Judgement, Model, Verdict, judge_model};
use crate::history::History;
use crate::history::foreign::Reading;

/// Judges a history of another harness by one model, as it was read.
pub fn judge_foreign(history: &History, reading: &Reading, model: Model, failed_release: FailedRelease) -> Judgement {
    qualified(judge_model(history, model, failed_release), reading, model)
}

/// The judgement that is left when it is known how the history was read.
pub fn qualified(mut judgement: Judgement, reading: &Reading, model: Model) -> Judgement {
    let Some(result) = judgement.checks.iter_mut().find(|result| result.check == CheckName::Linearizable) else {
        return judgement;
    };
    if reading.lacks_validity {
        if result.verdict == Verdict::Invalid {
            result.verdict = Verdict::Unknown;
            result.violations.clear();
        }
        result.summary += " Nothing says how long a hold is valid (no :valid-until, no :ttl), so +lease had nothing to go by, \
                           and any hold may have ended by itself: give it as --lease 10s.";
    }
    if !reading.unclear.is_empty() {
        result.verdict = result.verdict.merge(Verdict::Unknown);
        for (lock, why) in reading.unclear.iter().take(5) {
            result.summary += &format!(" Lock `{lock}` is not judged: {why}.");
        }
        if let more @ 1.. = reading.unclear.len().saturating_sub(5) {
            result.summary += &format!(" So are {more} more.");
        }
    }
    let of_one = matches!(model, Model::Mutex | Model::Owned { .. });
    if of_one && result.verdict == Verdict::Invalid {
        result.summary += " If several may hold it at once, say so: --model semaphore:K judges it with K permits.";
    }
    Judgement::of(judgement.checks)
}
