//! What a lock may do, one operation after the other: the sequential specifications that a history is held against.

use std::fmt;
use std::str::FromStr;

use crate::lock_kind::LockKind;

/// A lock's sequential specification, by the name that `--model` takes.
///
/// The first five are those of Knossos (`mutex`) and of Jepsen's Hazelcast suite (the others), as is `semaphore:K`.
/// With `+lease` a hold may also end by itself, at any time from the end of its validity on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// `mutex`: an acquire needs a free lock, a release a held one, whoever releases.
    Mutex,
    /// All others: a lock that knows its owner.
    Owned {
        /// How often one owner may hold it at once: 1 unless reentrant.
        depth: u32,
        /// Whether a fresh hold's token is above all before it, and a nested one's equals the outer one's. An absent
        /// token is unknown: it contradicts nothing.
        fenced: bool,
        /// Whether a hold may end by itself, from the end of its validity on.
        lease: bool,
    },
    /// A semaphore: no more holds at once than it has permits, whoever has them.
    Semaphore {
        /// How many there are.
        permits: u32,
        /// Whether a hold may end by itself, from the end of its validity on.
        lease: bool,
    },
    /// A read-write lock: a writer alone, or readers together. What one owner holds twice is its own business.
    ReadWrite {
        /// Whether a hold may end by itself, from the end of its validity on.
        lease: bool,
    },
}

/// Why a model's name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no model `{0}`; there are mutex, owner-mutex, reentrant:K, fenced, reentrant-fenced:K (K holds of one owner at \
     once, 1 or more), owner-mutex+lease, fenced+lease, semaphore:K (K permits), semaphore:K+lease, read-write, \
     read-write+lease"
)]
pub struct ModelError(String);

impl Model {
    /// Owner-aware, one hold at a time, no tokens.
    pub const OWNER: Self = Self::Owned { depth: 1, fenced: false, lease: false };
    /// Owner-aware, one hold at a time, with rising tokens.
    pub const FENCED: Self = Self::Owned { depth: 1, fenced: true, lease: false };

    /// The same with holds that may end by themselves. Nested holds have no lease of their own: they stay as they are.
    #[must_use]
    pub fn leased(self) -> Self {
        match self {
            Self::Owned { depth: 1, fenced, .. } => Self::Owned { depth: 1, fenced, lease: true },
            Self::Semaphore { permits, .. } => Self::Semaphore { permits, lease: true },
            Self::ReadWrite { .. } => Self::ReadWrite { lease: true },
            other => other,
        }
    }

    /// How many may hold it at once.
    pub fn kind(self) -> LockKind {
        match self {
            Self::Mutex | Self::Owned { .. } => LockKind::Mutex,
            Self::Semaphore { permits, .. } => LockKind::Semaphore { permits },
            Self::ReadWrite { .. } => LockKind::ReadWrite,
        }
    }

    /// Whether holds may end by themselves.
    pub fn is_leased(self) -> bool {
        matches!(
            self,
            Self::Owned { lease: true, .. } | Self::Semaphore { lease: true, .. } | Self::ReadWrite { lease: true }
        )
    }
}

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let unknown = || ModelError(text.to_owned());
        if let Some(leased) = text.strip_suffix("+lease") {
            let model: Self = leased.parse().map_err(|_| unknown())?;
            return Some(model.leased()).filter(|model| model.is_leased()).ok_or_else(unknown);
        }
        let reentrant = |depth: &str, fenced| {
            let depth = depth.parse().ok().filter(|depth| *depth > 0).ok_or_else(unknown)?;
            Ok(Self::Owned { depth, fenced, lease: false })
        };
        match text.split_once(':') {
            None if text == "mutex" => Ok(Self::Mutex),
            None if text == "owner-mutex" => Ok(Self::OWNER),
            None if text == "fenced" => Ok(Self::FENCED),
            None if text == "read-write" => Ok(Self::ReadWrite { lease: false }),
            Some(("semaphore", permits)) => {
                let permits = permits.parse().ok().filter(|permits| *permits > 0).ok_or_else(unknown)?;
                Ok(Self::Semaphore { permits, lease: false })
            }
            Some(("reentrant", depth)) => reentrant(depth, false),
            Some(("reentrant-fenced", depth)) => reentrant(depth, true),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mutex => f.write_str("mutex"),
            Self::Owned { depth: 1, fenced, lease } => {
                f.write_str(if *fenced { "fenced" } else { "owner-mutex" })?;
                f.write_str(if *lease { "+lease" } else { "" })
            }
            Self::Semaphore { lease, .. } | Self::ReadWrite { lease } => {
                write!(f, "{}{}", self.kind(), if *lease { "+lease" } else { "" })
            }
            Self::Owned { depth, fenced, .. } => {
                write!(f, "reentrant{}:{depth}", if *fenced { "-fenced" } else { "" })
            }
        }
    }
}

/// How a release that failed is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedRelease {
    /// Its client has stopped using the lock: the claim ends when the release begins, whatever came of it, and to
    /// release once more is no offence.
    #[default]
    EndsTheClaim,
    /// It did nothing, as Knossos reads it: the lock stays held, and only a holder may release.
    DidNothing,
}

impl fmt::Display for FailedRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndsTheClaim => "a release ends the claim, whatever came of it",
            Self::DidNothing => "a failed release did nothing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_read_as_they_are_written() {
        for name in [
            "mutex",
            "owner-mutex",
            "fenced",
            "owner-mutex+lease",
            "fenced+lease",
            "reentrant:2",
            "semaphore:2",
            "semaphore:2+lease",
            "read-write",
            "read-write+lease",
        ] {
            assert_eq!(name.parse::<Model>().unwrap().to_string(), name);
        }
        assert_eq!("reentrant-fenced:3".parse(), Ok(Model::Owned { depth: 3, fenced: true, lease: false }));
        for name in
            ["", "lock", "reentrant", "reentrant:0", "reentrant:x", "mutex+lease", "reentrant:2+lease", "semaphore:0"]
        {
            assert!(name.parse::<Model>().unwrap_err().to_string().contains("reentrant-fenced:K"), "{name}");
        }
    }
}
