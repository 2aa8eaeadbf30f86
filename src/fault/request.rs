//! What can be done to one request of a client to a lock server, or to its reply.
//!
//! A request is recognised by the lock's name in it, and by what its client is about with that lock at that moment: not by
//! the commands that a lock happens to use. Deliberately absent: how a request is cut out of bytes (`crate::wire`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a client is about with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// From the invocation of an acquire to its completion: also what takes a failed attempt back.
    Acquiring,
    /// While it holds the lock: renewals, and what was late for the acquire.
    Renewing,
    /// From the invocation of a release to its completion.
    Releasing,
}

impl Call {
    /// All of them, in a client's own order.
    pub const ALL: [Self; 3] = [Self::Acquiring, Self::Renewing, Self::Releasing];

    /// The name used in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acquiring => "acquiring",
            Self::Renewing => "renewing",
            Self::Releasing => "releasing",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is done to a request, or to its reply. Bytes of one connection keep their order, so whatever is behind waits too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// The request reaches its server late.
    Hold,
    /// The connection ends, the request with it.
    CutBefore,
    /// The request reaches its server, and the connection ends before its reply.
    CutAfter,
    /// The request reaches its server; its reply, and all that follows on this connection, reaches nobody.
    DropReply,
    /// The reply reaches its client late.
    DelayReply,
    /// The server is not asked; it replies that it cannot do this now, as one that still reads its data does.
    Refuse,
}

impl Does {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Hold, Self::CutBefore, Self::CutAfter, Self::DropReply, Self::DelayReply, Self::Refuse];

    /// The name used in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::CutBefore => "cut-before",
            Self::CutAfter => "cut-after",
            Self::DropReply => "drop-reply",
            Self::DelayReply => "delay-reply",
            Self::Refuse => "refuse",
        }
    }

    /// Whether it takes a time of its own.
    pub fn takes_time(self) -> bool {
        matches!(self, Self::Hold | Self::DelayReply)
    }
}

impl fmt::Display for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which requests are struck, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RequestRule {
    /// What is done to each.
    pub does: Does,
    /// What its client is about.
    pub phase: Call,
    /// How many requests are struck on each link, the first ones; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How long it is held or its reply delayed, in files in nanoseconds; zero if neither.
    #[serde(default, skip_serializing_if = "Duration::is_zero", with = "nanos")]
    pub by: Duration,
}

mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

impl fmt::Display for RequestRule {
    /// `hold by 2s when acquiring, first 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.does)?;
        if !self.by.is_zero() {
            write!(f, " by {:?}", self.by)?;
        }
        write!(f, " when {}", self.phase)?;
        self.times.map_or(Ok(()), |times| write!(f, ", first {times}"))
    }
}
