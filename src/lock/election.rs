//! Leader election: whoever holds the lock of an election's name leads, until it resigns or is lost.
//!
//! After Curator's leader latch. A term of office is a guard: it ends by itself when the session or the lease cannot be
//! renewed, before another candidate can be elected. Its *epoch* is the guard's fencing token, higher with every term;
//! whatever the leader tells others carries it, so that they can refuse the orders of one that was deposed. A lock
//! without tokens elects nobody.
//!
//! Deliberately absent: who leads elsewhere. The servers know an owner token or a session, and `fencepost inspect`
//! shows it; an observer here follows the candidate of its own program.

use std::sync::Arc;

use tokio::sync::watch;

use super::{AcquireError, AcquireOptions, DistributedLock, Guard, LostReason, ReleaseOutcome};
use crate::ids::{FencingToken, LockName};

/// What a candidate is at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does not lead.
    Follower,
    /// It leads, in this epoch.
    Leader(FencingToken),
}

/// Why a candidate does not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    /// The lock was not acquired.
    #[error(transparent)]
    NotElected(#[from] AcquireError),
    /// The lock gives no fencing tokens.
    #[error("the lock gives no fencing tokens, so a leader's epoch could not be told from an older one's")]
    NoEpoch,
}

/// A candidate in an election.
///
/// ```no_run
/// # async fn example(lock: std::sync::Arc<dyn fencepost::lock::DistributedLock>) -> Result<(), fencepost::lock::CampaignError> {
/// use std::time::Duration;
/// use fencepost::{ids::LockName, lock::{AcquireOptions, Election}};
/// let election = Election::new(lock, LockName::new("scheduler"));
/// let term = election.campaign(&AcquireOptions::within(Duration::from_secs(3600))).await?;
/// while term.is_leader() {
///     // … one step of the work, with term.epoch() in every order …
/// #   break;
/// }
/// term.resign().await;
/// # Ok(())
/// # }
/// ```
pub struct Election {
    lock: Arc<dyn DistributedLock>,
    name: LockName,
    role: Arc<watch::Sender<Role>>,
}

impl Election {
    /// A candidate, who does not campaign yet, in the election called `name`. The lock should renew its leases; a
    /// session does so by itself.
    pub fn new(lock: Arc<dyn DistributedLock>, name: LockName) -> Self {
        Self { lock, name, role: Arc::new(watch::Sender::new(Role::Follower)) }
    }

    /// Campaigns until elected, no longer than `options` say. Dropping the future withdraws the candidature.
    ///
    /// # Errors
    /// Not elected in time, or the lock elects nobody.
    pub async fn campaign(&self, options: &AcquireOptions) -> Result<Term, CampaignError> {
        let guard = self.lock.acquire(&self.name, options).await?;
        // Dropped if there is none: the lock is given back.
        let epoch = guard.token().ok_or(CampaignError::NoEpoch)?;
        self.role.send_replace(Role::Leader(epoch));
        Ok(Term { guard: Some(guard), epoch, role: Arc::clone(&self.role) })
    }

    /// Follows what this candidate is. A loss that nobody has looked at is told when the term is asked or dropped:
    /// [`Term::deposed`] tells it at once.
    pub fn observe(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }
}

/// A term of office. Dropping it resigns in the background.
pub struct Term {
    /// Absent once it is resigned.
    guard: Option<Guard>,
    epoch: FencingToken,
    role: Arc<watch::Sender<Role>>,
}

impl Term {
    /// The term's epoch: higher than that of every term before.
    pub fn epoch(&self) -> FencingToken {
        self.epoch
    }

    /// Whether this candidate leads at this moment. Costs no round trip: ask before each act.
    pub fn is_leader(&self) -> bool {
        let leads = self.guard.as_ref().is_some_and(Guard::is_valid);
        if !leads {
            self.step_down();
        }
        leads
    }

    /// Completes when the term is over without having been resigned, before another candidate can be elected.
    pub async fn deposed(&self) -> LostReason {
        let reason = match &self.guard {
            Some(guard) => guard.lost().await,
            None => return std::future::pending().await,
        };
        self.step_down();
        reason
    }

    /// Resigns, so that another candidate can be elected at once.
    pub async fn resign(mut self) -> ReleaseOutcome {
        self.step_down();
        match self.guard.take() {
            Some(guard) => guard.release().await,
            None => ReleaseOutcome::AlreadyExpired,
        }
    }

    /// Tells observers, unless a later term has been told already.
    fn step_down(&self) {
        let own = Role::Leader(self.epoch);
        self.role.send_if_modified(|role| {
            let changes = *role == own;
            if changes {
                *role = Role::Follower;
            }
            changes
        });
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.step_down();
    }
}
