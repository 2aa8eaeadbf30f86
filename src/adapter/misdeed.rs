//! What a program may not do, and what follows from it.
//!
//! None of it is a lock's fault, so none of it accuses a lock. Deliberately absent: how it is found out; that is the
//! driver's.

use std::fmt;
use std::sync::Mutex;

/// How much of what a program says can still be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// No harm is done: it was passed over, and the trial goes on.
    Noise,
    /// The program failed: what it was asked is in doubt, what it held counts as lost, and it is started again.
    Failure,
    /// It contradicted the protocol or itself. Nothing that it says can be believed: all verdicts are `unknown`.
    Breach,
    /// It could not be started, or failed too often in a row: the trial ends.
    GaveUp,
}

/// Something that a program may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misdeed {
    /// What follows from it.
    pub gravity: Gravity,
    /// What it did, in a sentence for its author.
    pub text: String,
}

impl fmt::Display for Misdeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Who is told of misdeeds, each once.
pub trait Witness: Send + Sync {
    /// Takes one.
    fn misdeed(&self, misdeed: Misdeed);
}

/// Keeps what it is told, for whoever looks afterwards.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<Misdeed>>);

impl Kept {
    /// Whether nothing was told that matters.
    pub fn is_clean(&self) -> bool {
        let kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.iter().all(|misdeed| misdeed.gravity == Gravity::Noise)
    }

    /// What was told so far, and forgotten here.
    pub fn take(&self) -> Vec<Misdeed> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Witness for Kept {
    fn misdeed(&self, misdeed: Misdeed) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(misdeed);
    }
}
