//! The names that cross rooms: who acted, on which lock, under which hold, with which token.
//!
//! Newtypes only, no behaviour beyond parsing and printing. Deliberately absent: anything that knows a
//! backend, a clock or a file.

use std::fmt;
use std::hash::{Hash, Hasher};

use arcstr::ArcStr;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident($text:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "SmolStr", into = "SmolStr")]
        pub struct $name($text);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<SmolStr> for $name {
            fn from(name: SmolStr) -> Self {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

string_id! {
    /// The name of a lock: what clients compete for.
    ///
    /// Every op carries one, and there are few different ones: copies share their text.
    LockName(ArcStr)
}

string_id! {
    /// The random value that proves ownership of a grant at the lock servers; unique per attempt.
    OwnerToken(SmolStr)
}

string_id! {
    /// Who may enter a lock again that it holds already: a job, a request, a session, whatever the program calls one
    /// owner. Not a thread, and not a task.
    OwnerId(SmolStr)
}

impl OwnerId {
    /// Wraps an id as it is.
    pub fn new(id: impl Into<SmolStr>) -> Self {
        Self(id.into())
    }
}

impl From<OwnerId> for SmolStr {
    fn from(owner: OwnerId) -> Self {
        owner.0
    }
}

impl LockName {
    /// Wraps a name as it is.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(ArcStr::from(name.as_ref()))
    }
}

impl From<LockName> for SmolStr {
    fn from(name: LockName) -> Self {
        Self::new(name.as_str())
    }
}

impl OwnerToken {
    /// Wraps a value as it is.
    pub fn new(value: impl Into<SmolStr>) -> Self {
        Self(value.into())
    }

    /// The value as text that is cheap to copy.
    pub fn shared(&self) -> SmolStr {
        self.0.clone()
    }
}

impl From<OwnerToken> for SmolStr {
    fn from(owner: OwnerToken) -> Self {
        owner.0
    }
}

/// One acquire *attempt* and, if it succeeds, the hold that follows: `c3-17` is the 17th attempt of client 3.
///
/// Unique in a run, so that an attempt whose outcome is unknown can never be confused with a later one. Every op
/// carries one, so it is kept as two numbers; other harnesses' ids may be any text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "SmolStr", into = "SmolStr")]
pub struct HoldId(Attempt);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Attempt {
    Numbered(ClientId, u32),
    /// What cannot be written as numbers.
    Named(ArcStr),
}

impl HoldId {
    /// Wraps an id as it is.
    pub fn new(id: impl AsRef<str>) -> Self {
        let id = id.as_ref();
        let number = |digits: &str| {
            // Only what is printed as it was read: no sign, no leading zeros.
            let is_plain =
                digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
            is_plain.then(|| digits.parse::<u32>().ok()).flatten()
        };
        let numbers = id.strip_prefix('c').and_then(|id| id.split_once('-'));
        let numbers = numbers.and_then(|(client, attempt)| Some((ClientId(number(client)?), number(attempt)?)));
        Self(match numbers {
            Some((client, attempt)) => Attempt::Numbered(client, attempt),
            None => Attempt::Named(ArcStr::from(id)),
        })
    }

    /// The id of a client's attempt by its number.
    pub fn numbered(client: ClientId, attempt: u32) -> Self {
        Self(Attempt::Numbered(client, attempt))
    }

    /// The client and the number of its attempt, if the id tells them.
    pub fn numbers(&self) -> Option<(ClientId, u32)> {
        match &self.0 {
            Attempt::Numbered(client, attempt) => Some((*client, *attempt)),
            Attempt::Named(_) => None,
        }
    }

    /// The id as text.
    pub fn text(&self) -> SmolStr {
        match &self.0 {
            Attempt::Numbered(client, attempt) => format_smolstr!("{client}-{attempt}"),
            Attempt::Named(id) => SmolStr::new(id),
        }
    }
}

impl From<SmolStr> for HoldId {
    fn from(id: SmolStr) -> Self {
        Self::new(id)
    }
}

impl From<HoldId> for SmolStr {
    fn from(id: HoldId) -> Self {
        id.text()
    }
}

impl Hash for HoldId {
    // As text: what a trace's hash covers does not depend on how an id is kept.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl fmt::Debug for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HoldId").field(&self.text()).finish()
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

/// A number that rises with every grant of one lock name; a fencing resource refuses lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client of the trial: one program that competes for the lock. Counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u32);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// A lock server (a Redis master or a ZooKeeper server). Counted from 1, as in `node:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// The hash over every event of a simulated run: the same seed gives the same hash. In files 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceHash(pub u64);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<TraceHash> for String {
    fn from(hash: TraceHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for TraceHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        u64::from_str_radix(&text, 16)
            .map(Self)
            .map_err(|_| format!("`{text}` is no trace hash: 16 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_hold_is_printed_as_it_was_read() {
        for id in ["c3-17", "c0-0", "c4294967295-4294967295"] {
            assert!(HoldId::new(id).numbers().is_some(), "{id}");
            assert_eq!(HoldId::new(id).to_string(), id);
        }
        for id in ["", "c3", "3-17", "c03-17", "c3-017", "c+3-17", "c3--17", "c3-4294967296", "c3-17 ", "warm-up"] {
            assert_eq!(HoldId::new(id).numbers(), None, "{id}");
            assert_eq!(HoldId::new(id).to_string(), id);
        }
    }
}
