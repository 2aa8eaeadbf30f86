//! The words in which a contradiction is told: whole holds with their ops and instants, never a search trace.

use crate::check::Violation;
use crate::check::evidence::seconds;
use crate::history::Op;
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::time::Nanos;

/// What is known of an acquire that was granted.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// Who acquired.
    pub client: ClientId,
    /// The attempt's id.
    pub hold: HoldId,
    /// The token, where known.
    pub token: Option<FencingToken>,
    /// The op that told of the grant.
    pub op: u32,
    /// When.
    pub at: Nanos,
}

impl Grant {
    fn who(&self) -> String {
        match self.token {
            Some(token) => format!("{} (hold {}, token {token})", self.client, self.hold),
            None => format!("{} (hold {})", self.client, self.hold),
        }
    }
}

/// What a grant contradicts: an earlier one.
pub(super) enum Contradiction {
    /// The lock was held.
    Held(Grant),
    /// Its own owner held it as often as it may.
    TooDeep(Grant),
    /// The token is not that of the hold that it is nested in.
    NestedToken(Grant),
    /// The token is not above that of an earlier grant; if that was the same client's, with the grant in between that
    /// shows that it had let go.
    TokenTooLow(Grant, Option<Grant>),
}

impl Contradiction {
    /// The violation that `grant` of `lock` is.
    pub fn violation(&self, lock: &LockName, grant: &Grant) -> Violation {
        let (Self::Held(before) | Self::TooDeep(before) | Self::NestedToken(before) | Self::TokenTooLow(before, _)) =
            self;
        let was_granted = format!("{} was granted `{lock}` at {}", before.who(), seconds(before.at));
        let (who, at) = (grant.who(), seconds(grant.at));
        let text = match self {
            Self::Held(_) => {
                format!("{was_granted} and had not begun to release it when {who} was granted it at {at}.")
            }
            Self::TooDeep(_) => format!(
                "{was_granted} and was granted it again at {at} (hold {}): more often at once than the model allows.",
                grant.hold
            ),
            Self::NestedToken(_) => {
                format!("{was_granted}, and again at {at}, nested in it, with another token: {who}.")
            }
            Self::TokenTooLow(_, between) => {
                let between = between.as_ref().map_or_else(String::new, |between| {
                    format!(" {} was granted it at {}.", between.who(), seconds(between.at))
                });
                format!(
                    "{was_granted}.{between} {who} was granted it after that, at {at}, and its token is not higher."
                )
            }
        };
        // Dated by the grant with which it begins: what follows from a contradiction must not be told before it.
        let between = if let Self::TokenTooLow(_, Some(between)) = self { Some(between.op) } else { None };
        violation(text, between.into_iter().chain([before.op, grant.op]).collect(), grant.at, grant.at)
    }
}

/// A release failed, and so did nothing; yet the lock was granted to another client before it ended.
pub(super) fn granted_over_failed_release(lock: &LockName, holder: &Grant, other: &Grant, failed: &Op) -> Violation {
    let text = format!(
        "{} was granted `{lock}` at {}; its release failed at {} and did nothing, but {} was granted it at {}.",
        holder.who(),
        seconds(holder.at),
        seconds(failed.time),
        other.who(),
        seconds(other.at)
    );
    violation(text, vec![holder.op, other.op, failed.index], failed.time, failed.time)
}

/// A release succeeded of what its client did not hold.
pub(super) fn released_unheld(lock: &LockName, client: ClientId, op: &Op) -> Violation {
    let text = format!("{client} released `{lock}` at {} with success, and did not hold it.", seconds(op.time));
    violation(text, vec![op.index], op.time, op.time)
}

/// A violation of the order of a lock's operations.
pub(super) fn violation(text: String, mut ops: Vec<u32>, from: Nanos, to: Nanos) -> Violation {
    ops.sort_unstable();
    ops.dedup();
    Violation { severity: None, text, ops, from: from.min(to), to: to.max(from), incident: None }
}
