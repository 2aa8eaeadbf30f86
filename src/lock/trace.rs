//! What the locks tell `tracing`, with the feature of that name. Without it nothing is told, and nothing is paid.
//!
//! All is under the target `fencepost::lock`. A span `acquire` stands round each acquire, with the fields `algorithm`,
//! `lock`, and in the end `outcome` and `token`. Events, with `lock` and what else there is to say of it:
//! - `attempt` (debug): why an attempt brought no grant; of a Redlock, one `vote` (trace) for each node with `node`,
//!   `outcome`, `latency_us`;
//! - `renewal` (debug; warn if it failed): `owner`, `outcome`;
//! - `lost` (warn): `reason`, as soon as anybody notices, which for a lease that is not renewed is who looks at it;
//! - `release` (debug; warn if its outcome is unknown): `outcome`.
//!
//! `owner` is the random value that a grant is known by at the servers. Deliberately absent: a subscriber, and metrics,
//! which can be counted from these.

#[cfg(feature = "tracing")]
pub(super) use told::*;
#[cfg(not(feature = "tracing"))]
pub(super) use untold::*;

#[cfg(feature = "tracing")]
mod told {
    use std::future::Future;

    use tracing::field::{Empty, display};
    use tracing::{Instrument, debug, debug_span, trace, warn};

    use crate::ids::LockName;
    use crate::lock::error::{AcquireError, AttemptError, AttemptReport, LostReason, NodeOutcome, ReleaseOutcome};
    use crate::lock::guard::Guard;

    const TARGET: &str = "fencepost::lock";

    /// An acquire from end to end.
    pub(in crate::lock) async fn acquire(
        algorithm: &'static str,
        name: &LockName,
        acquire: impl Future<Output = Result<Guard, AcquireError>>,
    ) -> Result<Guard, AcquireError> {
        let span = debug_span!(target: TARGET, "acquire", algorithm, lock = %name, outcome = Empty, token = Empty);
        let acquired = acquire.instrument(span.clone()).await;
        match &acquired {
            Ok(guard) => {
                span.record("outcome", "granted");
                if let Some(token) = guard.token() {
                    span.record("token", token.0);
                }
            }
            Err(error) => {
                span.record("outcome", display(error));
            }
        }
        acquired
    }

    /// An attempt brought no grant.
    pub(in crate::lock) fn attempt(name: &LockName, error: &AttemptError) {
        debug!(target: TARGET, lock = %name, outcome = %error, "attempt");
        let (AttemptError::Contended { nodes, .. } | AttemptError::NoQuorum { nodes, .. }) = error else { return };
        votes(name, nodes);
    }

    fn votes(name: &LockName, AttemptReport(nodes): &AttemptReport) {
        for report in nodes {
            let outcome = match &report.outcome {
                NodeOutcome::Vote => "vote".to_owned(),
                NodeOutcome::Conflict => "conflict".to_owned(),
                NodeOutcome::Failed(error) => error.to_string(),
                NodeOutcome::Silent => "silent".to_owned(),
            };
            let latency_us = report.latency.as_micros() as u64;
            trace!(target: TARGET, lock = %name, node = report.node, outcome, latency_us, "vote");
        }
    }

    /// A renewal was answered, or not by enough.
    pub(in crate::lock) fn renewal(key: &str, owner: &str, failure: Option<&str>) {
        match failure {
            None => debug!(target: TARGET, lock = %key, owner, outcome = "renewed", "renewal"),
            Some(outcome) => warn!(target: TARGET, lock = %key, owner, outcome, "renewal"),
        }
    }

    /// A hold is over that nobody gave back.
    pub(in crate::lock) fn lost(name: &str, reason: &LostReason) {
        warn!(target: TARGET, lock = %name, %reason, "lost");
    }

    /// A lock was given back.
    pub(in crate::lock) fn release(name: &LockName, outcome: &ReleaseOutcome) {
        match outcome {
            ReleaseOutcome::Released => debug!(target: TARGET, lock = %name, outcome = "released", "release"),
            ReleaseOutcome::AlreadyExpired => {
                debug!(target: TARGET, lock = %name, outcome = "expired before", "release")
            }
            ReleaseOutcome::TakenOver => debug!(target: TARGET, lock = %name, outcome = "taken over before", "release"),
            ReleaseOutcome::Unknown(why) => warn!(target: TARGET, lock = %name, outcome = "unknown", why, "release"),
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod untold {
    use std::future::Future;

    use crate::ids::LockName;
    use crate::lock::error::{AcquireError, AttemptError, LostReason, ReleaseOutcome};
    use crate::lock::guard::Guard;

    pub(in crate::lock) fn acquire<'a>(
        _: &'static str,
        _: &LockName,
        acquire: impl Future<Output = Result<Guard, AcquireError>> + 'a,
    ) -> impl Future<Output = Result<Guard, AcquireError>> + 'a {
        acquire
    }

    pub(in crate::lock) fn attempt(_: &LockName, _: &AttemptError) {}

    pub(in crate::lock) fn renewal(_: &str, _: &str, _: Option<&str>) {}

    pub(in crate::lock) fn lost(_: &str, _: &LostReason) {}

    pub(in crate::lock) fn release(_: &LockName, _: &ReleaseOutcome) {}
}
