//! The servers that locks rest on: what each kind of them has, and its words for people.
//!
//! Deliberately absent: how servers are run or simulated, and what a lock does with them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scenario::place::words;

/// The servers that a lock rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// Independent Redis masters.
    Redis,
    /// A ZooKeeper ensemble.
    Zookeeper,
    /// The members of an etcd cluster.
    Etcd,
}

/// How many members the etcd cluster has.
pub const ETCD_MEMBERS: u32 = 3;

/// The tick of a ZooKeeper server, in both worlds, so that one file means the same in each.
pub const TICK: Duration = Duration::from_millis(200);

/// As many servers as the containers have at most of each kind.
const MOST_IN_CONTAINERS: u32 = 5;

/// What an environment has of one kind of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// How many one lock may have.
    pub most: u32,
    /// Whether their wall clocks can be moved.
    pub moves_clocks: bool,
    /// The tick by which they grant session timeouts; none where they have no sessions, or it is not known yet.
    pub tick: Option<Duration>,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis, Self::Zookeeper, Self::Etcd];

    /// How the command line says what a program rests on.
    pub const FORMS: &'static str = "redis:N, zookeeper:N or etcd:3";

    /// The same by examples.
    pub const EXAMPLES: &'static str = "redis:1, redis:5, zookeeper:3 or etcd:3 (redis alone is redis:1, zookeeper alone \
                                     zookeeper:3; etcd has three members)";

    /// Who has a leader, for whoever wants one that has none.
    pub const WHO_HAS_LEADERS: &'static str = "only a ZooKeeper ensemble and etcd have one; Redis masters are equals";

    /// Who has sessions, for whoever wants one that has none.
    pub const WHO_HAS_SESSIONS: &'static str =
        "only a ZooKeeper client has one, with one server; Redlock asks all masters";

    /// The name used on pages and at the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Zookeeper => "zookeeper",
            Self::Etcd => "etcd",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// What several of its servers are called.
    pub fn servers(self) -> &'static str {
        match self {
            Self::Redis => "Redis masters",
            Self::Zookeeper => "ZooKeeper servers",
            Self::Etcd => "etcd members",
        }
    }

    /// How such servers are given at the command line, where they can be.
    pub fn given_example(self) -> Option<&'static str> {
        match self {
            Self::Redis => Some("--servers redis://host:port,redis://host:port,…"),
            Self::Zookeeper => Some("--servers zk://host:port,host:port"),
            Self::Etcd => None,
        }
    }

    /// Whether its servers make up a cluster: they talk to each other, and one of them leads.
    pub fn has_leader(self) -> bool {
        self != Self::Redis
    }

    /// Whether its clients have a session, with one server at a time.
    pub fn has_sessions(self) -> bool {
        self == Self::Zookeeper
    }

    /// Whether its servers refuse requests for a time and go on ([`crate::fault::request::Does::Refuse`]).
    pub fn refuses(self) -> bool {
        self == Self::Redis
    }

    /// Who refuses requests, for whoever wants one that does not.
    pub const WHO_REFUSES: &'static str =
        "only Redis masters do (LOADING); other servers end the connection: does = \"cut-before\"";

    /// Whether a scenario says what its servers keep on their disks.
    pub fn has_persistence(self) -> bool {
        self == Self::Redis
    }

    /// Whether its containers are started only for whoever needs them.
    pub fn is_started_on_demand(self) -> bool {
        self == Self::Etcd
    }

    /// How many servers a program rests on that does not say.
    pub fn usual_count(self) -> u32 {
        match self {
            Self::Redis => 1,
            Self::Zookeeper => 3,
            Self::Etcd => ETCD_MEMBERS,
        }
    }

    /// Whether a program can rest on so many of them.
    pub fn allows(self, count: u32) -> bool {
        let fits = match self {
            Self::Redis => true,
            Self::Zookeeper => count % 2 == 1,
            Self::Etcd => count == ETCD_MEMBERS,
        };
        fits && (1..=MOST_IN_CONTAINERS).contains(&count)
    }

    /// What a program is taken to keep for good that says nothing of it, as patterns of names: in an ensemble the znode
    /// below which contenders stand, which every recipe leaves.
    pub fn usually_kept(self) -> &'static [&'static str] {
        match self {
            Self::Redis | Self::Etcd => &[],
            Self::Zookeeper => &["*{lock}"],
        }
    }

    /// What the containers have of it.
    pub fn in_containers(self) -> Supply {
        let supply = Supply { most: MOST_IN_CONTAINERS, moves_clocks: true, tick: None };
        match self {
            Self::Redis => supply,
            Self::Zookeeper => Supply { tick: Some(TICK), ..supply },
            // etcd asks the kernel, and the harness can only stand between a program and its C library.
            Self::Etcd => Supply { most: ETCD_MEMBERS, moves_clocks: false, ..supply },
        }
    }

    /// What there may be of it where servers are given that were there before.
    pub fn given(self) -> Option<Supply> {
        let supply = Supply { tick: None, ..self.in_containers() };
        self.given_example().map(|_| supply)
    }

    /// What the simulation has of it: as much as a page can still show.
    pub fn simulated(self) -> Supply {
        let most = match self {
            Self::Redis => 99,
            Self::Zookeeper => 9,
            Self::Etcd => ETCD_MEMBERS,
        };
        Supply { most, moves_clocks: true, ..self.in_containers() }
    }

    /// Why the clocks of its servers stay as they are where nobody can move them, and what to do then.
    pub fn unmoved_clocks(self) -> &'static [&'static str] {
        match self {
            Self::Redis | Self::Zookeeper => &[],
            Self::Etcd => &[
                "etcd is a Go program: it asks the kernel for the time, and no preloaded shim is in between",
                "leave the lock out, or the fault; etcd counts leases on its monotonic clock",
            ],
        }
    }

    /// How a page explains its fencing tokens, where that needs saying: an example, and what it means.
    pub fn token_term(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Redis | Self::Etcd => None,
            Self::Zookeeper => Some((
                "token 1:186",
                "A fencing token of ZooKeeper is a transaction number: the leader’s epoch, then a counter. The higher epoch \
                 is the newer one; within an epoch, the higher counter.",
            )),
        }
    }
}

/// When a Redis master writes what it was told to its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// Never: whatever ends the process ends its leases too.
    #[default]
    None,
    /// To its kernel at once and to the disk every second: a kill loses nothing, a power loss up to a second.
    Everysec,
    /// To the disk before it answers: nothing is lost.
    Always,
}

words! { Persistence { "none" => None, "everysec" => Everysec, "always" => Always } }

impl Persistence {
    /// In words, for pages.
    pub fn about(self) -> &'static str {
        match self {
            Self::None => "none: memory only",
            Self::Everysec => "everysec: synced once a second",
            Self::Always => "always: synced before each answer",
        }
    }
}
