//! Attempts until one is granted, of locks whose contenders stand in a line and live with a session or a lease.
//!
//! Deliberately absent: what an attempt is, which is each lock's; and Redlock's, which has votes in place of a line.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::AcquireOptions;
use super::error::{AcquireError, AttemptError};
use super::guard::Guard;
use super::runtime::SharedRuntime;
use crate::time::Nanos;

/// How long the servers may take to answer a release, or the one attempt of a caller who will not wait for the lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// By when an attempt must be through.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// How long to stand in line behind others.
    pub queue: Nanos,
    /// How long to wait for the servers' answers: at least long enough for the round trips of one attempt.
    pub servers: Nanos,
}

/// Why an attempt ended without a grant.
pub(super) enum Stop {
    /// Not before the deadline.
    Deadline(AttemptError),
    /// The session or the lease is gone: start again with a new one.
    Ended(String),
    /// The servers refuse.
    Refused(String),
}

/// Makes attempts with `attempt` until one of them is granted, or none can be any more.
///
/// # Errors
/// The servers refuse, or there was no grant in time.
pub(super) async fn until_granted<'a>(
    runtime: &SharedRuntime,
    options: &'a AcquireOptions,
    attempt: impl Fn(Deadlines) -> BoxFuture<'a, Result<Guard, Stop>> + Send,
) -> Result<Guard, AcquireError> {
    let started = runtime.now();
    // One attempt has to be given time for the servers' answers.
    let patience = if options.wait.is_zero() { PATIENCE } else { options.wait };
    let deadlines = Deadlines { queue: started + options.wait, servers: started + patience };
    loop {
        let last = match attempt(deadlines).await {
            Ok(guard) => return Ok(guard),
            Err(Stop::Refused(reason)) => return Err(AcquireError::Refused(reason)),
            Err(Stop::Ended(_)) if runtime.now() < deadlines.servers => continue,
            Err(Stop::Ended(reason)) => AttemptError::SessionEnded(reason),
            Err(Stop::Deadline(last)) => last,
        };
        return Err(AcquireError::DeadlineExceeded { waited: runtime.now() - started, last });
    }
}
