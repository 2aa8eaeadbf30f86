//! Tries a program in fair weather: does it speak the protocol, and does its lock behave as one at all?
//!
//! Three programs at most, one lock name per step, nothing that goes wrong. It takes no lock for good: what fails here
//! is not worth a trial, and what passes has not had one. Deliberately absent: faults, histories, verdicts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::lock::AdapterLock;
use super::misdeed::{Gravity, Kept, Misdeed, Witness};
use super::program::Spec;
use super::protocol::{Capability, Hello};
use crate::ids::{FencingToken, LockName};
use crate::lock::runtime::{SharedRuntime, TokioRuntime};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock, Guard, ReleaseOutcome};

/// How long a program may try for a lock that is free, or becomes free.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a holder keeps a lock that another waits for.
const KEPT: Duration = Duration::from_millis(500);

/// How one step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the lock should do.
    pub what: &'static str,
    /// What is wrong with what it did, if something is.
    pub wrong: Option<String>,
    /// What was seen, for people.
    pub seen: String,
}

/// What was found out about a program.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Who it says that it is.
    pub hello: Hello,
    /// The steps, in order; it ends with the first that makes further ones pointless.
    pub steps: Vec<Step>,
    /// What it did that it may not.
    pub misdeeds: Vec<Misdeed>,
}

impl Checked {
    /// Whether it is fit to stand trial.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.wrong.is_none())
            && self.misdeeds.iter().all(|misdeed| misdeed.gravity == Gravity::Noise)
    }
}

/// Tries the program that `spec` names. `each` sees every step as it is done.
///
/// # Errors
/// It cannot be started, or did not introduce itself.
pub async fn check(spec: &Spec, each: &mut dyn FnMut(&Step)) -> Result<Checked, String> {
    let witness = Arc::new(Kept::default());
    let runtime: SharedRuntime = Arc::new(TokioRuntime::from_entropy());
    let prefix = format!("fp-check-{:08x}-", runtime.random() as u32);
    let open = |client: u32| {
        let spec = Spec { client, ..spec.clone() };
        let witness = Arc::clone(&witness) as Arc<dyn Witness>;
        AdapterLock::open(spec, prefix.clone(), None, Arc::clone(&runtime), witness)
    };
    let one = open(1).await?;
    let hello = one.hello().clone();
    let other = open(2).await?;
    let mut steps = Vec::new();
    let mut done = |step: Step| {
        each(&step);
        let passed = step.wrong.is_none();
        steps.push(step);
        passed
    };
    let lease = spec.lease;
    fair_weather(&one, &other, lease, &mut done).await;
    // A lock that is held for good if its holder dies is one that any crash makes useless.
    if let (Some(lease), true) = (lease, witness.is_clean()) {
        dead_holder(one, &other, lease, &mut done).await;
    } else {
        one.close().await;
    }
    other.close().await;
    Ok(Checked { hello, steps, misdeeds: witness.take() })
}

async fn fair_weather(
    one: &AdapterLock,
    other: &AdapterLock,
    lease: Option<Duration>,
    done: &mut dyn FnMut(Step) -> bool,
) {
    let name = LockName::new("a");
    let (first, step) = granted("grants a free lock", one, &name, PATIENCE).await;
    let (Some(first), true) = (first, done(step)) else { return };
    offered(one, &first, lease, done).await;
    let (second, step) = refused(other, &name).await;
    if !done(step) {
        drop(second);
        return;
    }
    let (elsewhere, step) = granted("grants another lock meanwhile", other, &LockName::new("b"), PATIENCE).await;
    done(step);
    if let Some(elsewhere) = elsewhere {
        elsewhere.release().await;
    }
    let token = first.token();
    let (outcome, step) = released("gives a lock back", first).await;
    if !done(step) || outcome != ReleaseOutcome::Released {
        return;
    }
    let (second, step) = granted("grants what was given back to another", other, &name, PATIENCE).await;
    let (Some(second), true) = (second, done(step)) else { return };
    done(rising(token, second.token()));
    // One waits, the other gives it back.
    let waits = granted("grants to whoever waits", one, &name, PATIENCE + KEPT);
    let gives = async {
        sleep(KEPT).await;
        second.release().await
    };
    let ((third, step), _) = tokio::join!(waits, gives);
    done(step);
    if let Some(third) = third {
        third.release().await;
    }
}

/// A holder dies.
async fn dead_holder(one: AdapterLock, other: &AdapterLock, lease: Duration, done: &mut dyn FnMut(Step) -> bool) {
    let name = LockName::new("c");
    let options = AcquireOptions::within(PATIENCE);
    let Ok(held) = one.acquire(&name, &options).await else { return };
    let limit = 2 * lease + Duration::from_secs(2);
    // The guard's release finds no program any more.
    one.kill().await;
    let (after, step) = granted("grants what a dead holder had, when its lease is over", other, &name, limit).await;
    done(step);
    if let Some(after) = after {
        after.release().await;
    }
    drop(held);
}

async fn granted(what: &'static str, lock: &AdapterLock, name: &LockName, wait: Duration) -> (Option<Guard>, Step) {
    let begun = Instant::now();
    let acquired = lock.acquire(name, &AcquireOptions::within(wait)).await;
    let seen = format!("after {:?}", rounded(begun.elapsed()));
    match acquired {
        Ok(guard) => (Some(guard), Step { what, wrong: None, seen }),
        Err(error) => (None, Step { what, wrong: Some(error.to_string()), seen }),
    }
}

async fn refused(lock: &AdapterLock, name: &LockName) -> (Option<Guard>, Step) {
    let what = "refuses a held lock";
    let begun = Instant::now();
    let acquired = lock.acquire(name, &AcquireOptions::default()).await;
    let seen = format!("after {:?}", rounded(begun.elapsed()));
    match acquired {
        Ok(guard) => (Some(guard), Step { what, wrong: Some("it granted it to a second client".to_owned()), seen }),
        Err(AcquireError::DeadlineExceeded { .. }) => (None, Step { what, wrong: None, seen }),
        Err(error) => (None, Step { what, wrong: Some(error.to_string()), seen }),
    }
}

async fn released(what: &'static str, guard: Guard) -> (ReleaseOutcome, Step) {
    let begun = Instant::now();
    let outcome = guard.release().await;
    let seen = format!("after {:?}", rounded(begun.elapsed()));
    let wrong = match &outcome {
        ReleaseOutcome::Released => None,
        ReleaseOutcome::AlreadyExpired | ReleaseOutcome::TakenOver => Some("it says that it had expired".to_owned()),
        ReleaseOutcome::Unknown(why) => Some(why.clone()),
    };
    (outcome, Step { what, wrong, seen })
}

/// What the lock says that it offers.
async fn offered(lock: &AdapterLock, guard: &Guard, lease: Option<Duration>, done: &mut dyn FnMut(Step) -> bool) {
    if lock.offers(Capability::ValidFor) {
        let left = guard.remaining();
        let wrong = match lease {
            _ if left.is_zero() => Some("the grant was over when it was handed out".to_owned()),
            Some(lease) if left > lease => Some(format!("it is longer than the lease of {lease:?}")),
            _ => None,
        };
        done(Step { what: "shows a validity within its lease", wrong, seen: format!("{:?} left", rounded(left)) });
    }
    if lock.offers(Capability::IsValid) {
        let wrong = (!guard.confirmed().await).then(|| "it says that a fresh hold is not valid".to_owned());
        done(Step { what: "says that a fresh hold is valid", wrong, seen: String::new() });
    }
    if lock.offers(Capability::Extend) {
        let wrong = lock.extend(guard).await.err();
        done(Step { what: "renews a hold", wrong, seen: String::new() });
    }
}

fn rising(before: Option<FencingToken>, after: Option<FencingToken>) -> Step {
    let what = "gives the next grant a higher token";
    match (before, after) {
        (Some(before), Some(after)) => {
            let wrong = (after <= before).then(|| "they must rise with every grant".to_owned());
            Step { what, wrong, seen: format!("{before} and {after}") }
        }
        _ => Step { what, wrong: None, seen: "n/a: it gives none".to_owned() },
    }
}

fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
