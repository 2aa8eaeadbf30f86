//! The steps of a client at which it can be stopped.
//!
//! Locks break when their *holder* stalls at a particular step, so steps have names of their own: the lock library
//! announces the ones inside an acquire, the client loop the rest, and faults are timed by them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step in a client's own order, at which it can be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The requests of an acquire attempt are on their way.
    Acquiring,
    /// Waiting for the turn: a contender whose predecessor is watched, or a pause between two attempts.
    InLine,
    /// The replies are in, the validity is not yet checked.
    VotesIn,
    /// The guard was returned.
    Acquired,
    /// Validity checked, the read of the resource not yet sent.
    BeforeRead,
    /// The requests of a renewal, or of a sign of life for the session, are on their way. It goes on beside what the holder
    /// does, so a client may be at this step and at another at once.
    Renewing,
    /// Validity checked, the write not yet sent: the window that no lease lock can close.
    BeforeWrite,
    /// The write was answered.
    AfterWrite,
    /// The release is about to be sent.
    Releasing,
    /// The release was answered.
    Released,
}

impl Phase {
    /// All phases, in a client's own order.
    pub const ALL: [Self; 10] = [
        Self::Acquiring,
        Self::InLine,
        Self::VotesIn,
        Self::Acquired,
        Self::BeforeRead,
        Self::Renewing,
        Self::BeforeWrite,
        Self::AfterWrite,
        Self::Releasing,
        Self::Released,
    ];

    /// The name used in scenario files, histories and pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acquiring => "acquiring",
            Self::InLine => "in-line",
            Self::VotesIn => "votes-in",
            Self::Acquired => "acquired",
            Self::BeforeRead => "before-read",
            Self::Renewing => "renewing",
            Self::BeforeWrite => "before-write",
            Self::AfterWrite => "after-write",
            Self::Releasing => "releasing",
            Self::Released => "released",
        }
    }

    /// Whether a client at this phase believes that it holds the lock.
    pub fn holds(self) -> bool {
        matches!(
            self,
            Self::Acquired | Self::BeforeRead | Self::Renewing | Self::BeforeWrite | Self::AfterWrite | Self::Releasing
        )
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
