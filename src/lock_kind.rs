//! How many may hold a lock at once: what its grants are judged by.
//!
//! Deliberately absent: how a lock keeps to it, and what a check makes of that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many may hold a lock at once. In files a word, as scenarios and `--model` have it: `mutex`, `read-write`,
/// `semaphore:3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LockKind {
    /// One client.
    #[default]
    Mutex,
    /// Readers together, or a writer alone. Which a hold is, its ops say (`shared`).
    ReadWrite,
    /// As many as there are permits.
    Semaphore {
        /// How many there are; at least one.
        permits: u32,
    },
}

/// A word that is no kind of lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of lock `{0}`; there are mutex, read-write, semaphore:K (K permits, 1 or more)")]
pub struct NoKind(String);

impl LockKind {
    /// Whether one client holds it at a time.
    pub fn is_mutex(self) -> bool {
        self == Self::Mutex
    }

    /// Whether a file need not say so.
    pub(crate) fn is_the_usual(&self) -> bool {
        self.is_mutex()
    }

    /// Whether two holds can never be at once, given whether each is shared. The third holder of a semaphore of two is
    /// kept out by no single other one.
    pub fn excludes(self, one: bool, other: bool) -> bool {
        match self {
            Self::Mutex => true,
            Self::ReadWrite => !(one && other),
            Self::Semaphore { permits } => permits < 2,
        }
    }

    /// Whether it cannot be granted to a client, shared or not, while others hold it like this.
    pub fn keeps_out(self, mut held: impl Iterator<Item = bool>, shared: bool) -> bool {
        match self {
            Self::Semaphore { permits } => held.nth(permits.saturating_sub(1) as usize).is_some(),
            _ => held.any(|other| self.excludes(other, shared)),
        }
    }
}

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mutex => f.write_str("mutex"),
            Self::ReadWrite => f.write_str("read-write"),
            Self::Semaphore { permits } => write!(f, "semaphore:{permits}"),
        }
    }
}

impl FromStr for LockKind {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        let permits = |text: &str| text.strip_prefix("semaphore:")?.parse().ok().filter(|permits| *permits > 0);
        match text {
            "mutex" => Ok(Self::Mutex),
            "read-write" => Ok(Self::ReadWrite),
            _ => permits(text).map(|permits| Self::Semaphore { permits }).ok_or_else(|| NoKind(text.to_owned())),
        }
    }
}

impl TryFrom<String> for LockKind {
    type Error = NoKind;

    fn try_from(text: String) -> Result<Self, NoKind> {
        text.parse()
    }
}

impl From<LockKind> for String {
    fn from(kind: LockKind) -> Self {
        kind.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in [LockKind::Mutex, LockKind::ReadWrite, LockKind::Semaphore { permits: 3 }] {
            let written = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<LockKind>(&written).unwrap(), kind, "{written}");
        }
        for text in ["", "semaphore", "semaphore:0", "semaphore:x", "lock"] {
            assert!(text.parse::<LockKind>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_is_kept_out_by_whom() {
        let kept_out = |kind: LockKind, held: &[bool], shared| kind.keeps_out(held.iter().copied(), shared);
        assert!(!kept_out(LockKind::Mutex, &[], false) && kept_out(LockKind::Mutex, &[true], true));
        let lock = LockKind::ReadWrite;
        assert!(
            !kept_out(lock, &[true, true], true) && kept_out(lock, &[true], false) && kept_out(lock, &[false], true)
        );
        let two = LockKind::Semaphore { permits: 2 };
        assert!(!kept_out(two, &[false], false) && kept_out(two, &[false, false], false));
    }
}
