//! What is said to a Redis node and what it answers, in the words of the protocol (RESP 2).
//!
//! Deliberately absent: commands that no lock uses.

use std::fmt;

use smol_str::SmolStr;

use crate::lock::backend::Share;
use crate::lock::client::{
    DELETE_AND_CALL, DELETE_IF_OWNER, EXTEND_IF_OWNER, EXTEND_SHARE, LEAVE_LINE, RAISE_IF_OWNER, RETURN_SHARE,
    SET_AND_COUNT, SET_AND_FENCE, STAND_IN_LINE, TAKE_SHARE,
};

/// A command. Times are in milliseconds, as the server takes them, wrong ones included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// `SET key value [NX] [PX ms]`
    Set {
        /// The key.
        key: SmolStr,
        /// What it is to hold.
        value: SmolStr,
        /// `NX`: only if the key does not exist.
        if_absent: bool,
        /// `PX`: milliseconds to live from now. Without it the key lives for ever, also one that had a deadline.
        px_ms: Option<i64>,
    },
    /// `GET key`
    Get(SmolStr),
    /// `DEL key`
    Del(SmolStr),
    /// `PTTL key`
    Pttl(SmolStr),
    /// `PEXPIRE key ms`: milliseconds from now; zero or less deletes.
    Pexpire(SmolStr, i64),
    /// `PEXPIREAT key ms`: milliseconds since the epoch; now or earlier deletes.
    PexpireAt(SmolStr, i64),
    /// `INCR key`: fetch-and-increment, the counter of fencing tokens.
    Incr(SmolStr),
    /// `EXISTS key`
    Exists(SmolStr),
    /// `TIME`
    Time,
    /// `FLUSHALL`
    FlushAll,
    /// [`EXTEND_IF_OWNER`]
    ExtendIfOwner {
        /// The lock's key.
        key: SmolStr,
        /// The owner token that it must hold.
        owner: SmolStr,
        /// The new time to live, milliseconds.
        ttl_ms: i64,
    },
    /// [`DELETE_IF_OWNER`]
    DeleteIfOwner {
        /// The lock's key.
        key: SmolStr,
        /// The owner token that it must hold.
        owner: SmolStr,
    },
    /// [`SET_AND_COUNT`]
    SetAndCount {
        /// The lock's key.
        key: SmolStr,
        /// The counter's.
        counter: SmolStr,
        /// The owner token that the key is to hold.
        owner: SmolStr,
        /// Its time to live, milliseconds.
        ttl_ms: i64,
    },
    /// [`SET_AND_FENCE`]
    SetAndFence {
        /// The lock's key.
        key: SmolStr,
        /// The counter's.
        counter: SmolStr,
        /// The owner token that the key is to hold.
        owner: SmolStr,
        /// Its time to live, milliseconds.
        ttl_ms: i64,
    },
    /// [`RAISE_IF_OWNER`]
    RaiseIfOwner {
        /// The lock's key.
        key: SmolStr,
        /// The counter's.
        counter: SmolStr,
        /// The owner token that the key must hold.
        owner: SmolStr,
        /// What the counter is to say.
        token: u64,
    },
    /// [`DELETE_AND_CALL`]
    DeleteAndCall {
        /// The lock's key.
        key: SmolStr,
        /// The line's.
        line: SmolStr,
        /// The owner token that it must hold.
        owner: SmolStr,
    },
    /// [`STAND_IN_LINE`]
    StandInLine {
        /// The lock's key.
        key: SmolStr,
        /// The line's.
        line: SmolStr,
        /// `channel name`
        place: SmolStr,
        /// Whether it is put before all others.
        front: bool,
        /// How long the line lives, milliseconds.
        patience_ms: i64,
    },
    /// [`LEAVE_LINE`]
    LeaveLine {
        /// The lock's key.
        key: SmolStr,
        /// The line's.
        line: SmolStr,
        /// `channel name`
        place: SmolStr,
    },
    /// `SUBSCRIBE channel`: what is published there is said on the connection from then on.
    Subscribe(SmolStr),
    /// [`TAKE_SHARE`]
    TakeShare {
        /// The key of the shares.
        key: SmolStr,
        /// The counter's.
        counter: SmolStr,
        /// Whose share.
        owner: SmolStr,
        /// Its time to live, milliseconds.
        ttl_ms: i64,
        /// What is taken.
        share: Share,
    },
    /// [`EXTEND_SHARE`]
    ExtendShare {
        /// The key of the shares.
        key: SmolStr,
        /// Whose share.
        owner: SmolStr,
        /// Its new time to live, milliseconds.
        ttl_ms: i64,
        /// What was taken.
        share: Share,
    },
    /// [`RETURN_SHARE`]
    ReturnShare {
        /// The key of the shares.
        key: SmolStr,
        /// Whose share.
        owner: SmolStr,
        /// What was taken.
        share: Share,
    },
    /// Any command that comes while the server still reads its data.
    Refused,
}

/// The last argument of [`TAKE_SHARE`].
fn number(share: Share) -> String {
    match share {
        Share::Read => 0,
        Share::Write { waits } => waits.as_millis().max(1),
        Share::Permit { of } => of.into(),
    }
    .to_string()
}

impl Command {
    /// The command as a client sends it, word by word.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut say = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        match self {
            Self::Set { key, value, if_absent, px_ms } => {
                say(&["SET", key, value]);
                if *if_absent {
                    say(&["NX"]);
                }
                if let Some(px_ms) = px_ms {
                    say(&["PX", &px_ms.to_string()]);
                }
            }
            Self::Get(key) => say(&["GET", key]),
            Self::Del(key) => say(&["DEL", key]),
            Self::Pttl(key) => say(&["PTTL", key]),
            Self::Pexpire(key, ms) => say(&["PEXPIRE", key, &ms.to_string()]),
            Self::PexpireAt(key, ms) => say(&["PEXPIREAT", key, &ms.to_string()]),
            Self::Incr(key) => say(&["INCR", key]),
            Self::Exists(key) => say(&["EXISTS", key]),
            Self::Time => say(&["TIME"]),
            Self::FlushAll => say(&["FLUSHALL"]),
            Self::ExtendIfOwner { key, owner, ttl_ms } => {
                say(&["EVAL", EXTEND_IF_OWNER, "1", key, owner, &ttl_ms.to_string()]);
            }
            Self::DeleteIfOwner { key, owner } => say(&["EVAL", DELETE_IF_OWNER, "1", key, owner]),
            Self::SetAndCount { key, counter, owner, ttl_ms } => {
                say(&["EVAL", SET_AND_COUNT, "2", key, counter, owner, &ttl_ms.to_string()]);
            }
            Self::SetAndFence { key, counter, owner, ttl_ms } => {
                say(&["EVAL", SET_AND_FENCE, "2", key, counter, owner, &ttl_ms.to_string()]);
            }
            Self::RaiseIfOwner { key, counter, owner, token } => {
                say(&["EVAL", RAISE_IF_OWNER, "2", key, counter, owner, &token.to_string()]);
            }
            Self::DeleteAndCall { key, line, owner } => say(&["EVAL", DELETE_AND_CALL, "2", key, line, owner]),
            Self::StandInLine { key, line, place, front, patience_ms } => {
                let push = if *front { "LPUSH" } else { "RPUSH" };
                say(&["EVAL", STAND_IN_LINE, "2", key, line, place, push, &patience_ms.to_string()]);
            }
            Self::LeaveLine { key, line, place } => say(&["EVAL", LEAVE_LINE, "2", key, line, place]),
            Self::Subscribe(channel) => say(&["SUBSCRIBE", channel]),
            Self::TakeShare { key, counter, owner, ttl_ms, share } => {
                let (ttl_ms, number) = (ttl_ms.to_string(), number(*share));
                say(&["EVAL", TAKE_SHARE, "2", key, counter, owner, &ttl_ms, share.letter(), &number]);
            }
            Self::ExtendShare { key, owner, ttl_ms, share } => {
                say(&["EVAL", EXTEND_SHARE, "1", key, owner, &ttl_ms.to_string(), share.letter()]);
            }
            Self::ReturnShare { key, owner, share } => {
                say(&["EVAL", RETURN_SHARE, "1", key, owner, share.letter()]);
            }
            Self::Refused => {}
        }
        words
    }
}

impl fmt::Display for Command {
    /// As a person would type it; scripts by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExtendIfOwner { key, owner, ttl_ms } => write!(f, "extend-if-owner {key} {owner} {ttl_ms}"),
            Self::DeleteIfOwner { key, owner } => write!(f, "delete-if-owner {key} {owner}"),
            Self::SetAndCount { key, counter, owner, ttl_ms } => {
                write!(f, "set-and-count {key} {counter} {owner} {ttl_ms}")
            }
            Self::SetAndFence { key, counter, owner, ttl_ms } => {
                write!(f, "set-and-fence {key} {counter} {owner} {ttl_ms}")
            }
            Self::RaiseIfOwner { key, counter, owner, token } => {
                write!(f, "raise-if-owner {key} {counter} {owner} {token}")
            }
            Self::DeleteAndCall { key, line, owner } => write!(f, "delete-and-call {key} {line} {owner}"),
            Self::StandInLine { key, line, place, front, patience_ms } => {
                let end = if *front { "front" } else { "end" };
                write!(f, "stand-in-line {key} {line} {place:?} {end} {patience_ms}")
            }
            Self::LeaveLine { key, line, place } => write!(f, "leave-line {key} {line} {place:?}"),
            Self::TakeShare { key, counter, owner, ttl_ms, share } => {
                write!(f, "take-share {key} {counter} {owner} {ttl_ms} {} {}", share.letter(), number(*share))
            }
            Self::ExtendShare { key, owner, ttl_ms, share } => {
                write!(f, "extend-share {key} {owner} {ttl_ms} {}", share.letter())
            }
            Self::ReturnShare { key, owner, share } => write!(f, "return-share {key} {owner} {}", share.letter()),
            Self::Refused => f.write_str("what the server does not do now"),
            plain => f.write_str(&plain.words().join(" ")),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// `+OK`
    Ok,
    /// Nothing: the key does not exist, or `NX` did not hold.
    Nil,
    /// A number.
    Integer(i64),
    /// A text.
    Bulk(String),
    /// Several answers.
    Array(Vec<Reply>),
    /// A refusal: nothing was changed. Of a refusal inside of a script the script's own words are left out.
    Error(String),
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Nil => f.write_str("(nil)"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bulk(text) => write!(f, "{text:?}"),
            Self::Array(parts) => f.debug_list().entries(parts.iter().map(ToString::to_string)).finish(),
            Self::Error(text) => write!(f, "({text})"),
        }
    }
}

impl Reply {
    pub(super) fn refused(text: impl fmt::Display) -> Self {
        Self::Error(format!("ERR {text}"))
    }

    pub(super) fn flag(flag: bool) -> Self {
        Self::Integer(flag.into())
    }
}
