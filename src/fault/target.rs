//! Whom a fault is aimed at, as a scenario file says it. Deliberately absent: who that is in a run; the nemesis
//! resolves it when the fault strikes.

use std::fmt;

use super::Member;
use crate::ids::{ClientId, NodeId};

/// Whom a fault is aimed at, as a scenario file says it; resolved when the fault strikes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The client that holds the lock.
    Holder,
    /// A client that waits for the lock.
    Waiter,
    /// One client by number.
    Client(ClientId),
    /// One lock server by number.
    Node(NodeId),
    /// The lock server that leads the others, where one does.
    Leader,
    /// The lock server that the holder's session is connected to, where clients have sessions.
    HolderServer,
    /// One lock server, drawn from the seed.
    One,
    /// The largest minority of the lock servers, drawn from the seed.
    Minority,
    /// The smallest majority of the lock servers, drawn from the seed.
    Majority,
    /// All lock servers.
    All,
    /// These members, as a `[[strike]]` lists them.
    Members(Vec<Member>),
}

impl Target {
    /// What a scenario file may say.
    pub const FORMS: &'static str =
        "holder, waiter, client:N, node:N, leader, holder-server, one, minority, majority, all";

    /// Whether the target is a client, or clients alone, not a lock server.
    pub fn is_client(&self) -> bool {
        match self {
            Self::Holder | Self::Waiter | Self::Client(_) => true,
            Self::Members(members) => members.iter().all(|member| matches!(member, Member::Client(_))),
            _ => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder => f.pad("holder"),
            Self::Waiter => f.pad("waiter"),
            Self::Client(client) => write!(f, "client:{}", client.0),
            Self::Node(node) => write!(f, "node:{}", node.0),
            Self::Leader => f.pad("leader"),
            Self::HolderServer => f.pad("holder-server"),
            Self::One => f.pad("one"),
            Self::Minority => f.pad("minority"),
            Self::Majority => f.pad("majority"),
            Self::All => f.pad("all"),
            Self::Members(members) => {
                let names: Vec<String> = members.iter().map(ToString::to_string).collect();
                f.pad(&names.join(", "))
            }
        }
    }
}

/// A text that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a target; valid targets: {forms}", forms = Target::FORMS)]
pub struct TargetError(String);

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n > 0);
        Ok(match text.split_once(':') {
            None => match text {
                "holder" => Self::Holder,
                "waiter" => Self::Waiter,
                "leader" => Self::Leader,
                "holder-server" => Self::HolderServer,
                "one" => Self::One,
                "minority" => Self::Minority,
                "majority" => Self::Majority,
                "all" => Self::All,
                _ => return Err(TargetError(text.to_owned())),
            },
            Some(("client", digits)) => {
                number(digits).map(|n| Self::Client(ClientId(n))).ok_or_else(|| TargetError(text.to_owned()))?
            }
            Some(("node", digits)) => {
                number(digits).map(|n| Self::Node(NodeId(n))).ok_or_else(|| TargetError(text.to_owned()))?
            }
            Some(_) => return Err(TargetError(text.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back_as_they_print() {
        let sets = ["one", "minority", "majority", "all"];
        for text in ["holder", "waiter", "client:3", "node:1", "leader", "holder-server"].into_iter().chain(sets) {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_target_lists_the_right_ones() {
        for text in ["owner", "client:0", "client:x", "node:", "server:1", ""] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains("holder, waiter, client:N"), "{error}");
        }
    }
}
