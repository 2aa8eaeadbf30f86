//! What a trial's containers and the harness say to each other: JSON lines over a Unix socket on a bind mount, which
//! no network fault reaches.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::external::External;
use crate::fault::{Member, RequestRule};
use crate::history::{Life, Op, ServerRecord};
use crate::ids::{ClientId, NodeId};
use crate::phase::Phase;
use crate::scenario::{Fencing, LockConfig, Workload, WorkloadKind};
use crate::seed::Seed;
use crate::time::Nanos;

/// Where the control socket is inside a container.
pub const SOCKET: &str = "/run/fencepost/control.sock";

/// The port that the resource listens on, inside its container.
pub const RESOURCE_PORT: u16 = 8080;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speaker {
    /// A client.
    Client(ClientId),
    /// The protected resource.
    Resource,
}

impl From<Speaker> for Member {
    fn from(speaker: Speaker) -> Self {
        match speaker {
            Speaker::Client(client) => Self::Client(client),
            Speaker::Resource => Self::Resource,
        }
    }
}

/// From a container to the harness.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The first line.
    Hello(Speaker),
    /// Ready to begin.
    Ready,
    /// Something happened. Instants are on the host's `CLOCK_BOOTTIME`.
    Op(Box<Op>),
    /// What lock servers had, as their answers tell. Instants are on the host's `CLOCK_BOOTTIME`.
    Servers(Box<ServerRecord>),
    /// The client stands at a pause point and waits for the go-ahead with the same number.
    Reached {
        /// Numbers the client's pause points.
        number: u64,
        /// Where it stands.
        phase: Phase,
    },
    /// What the client's clock shows, as an order asked.
    Clock(ClientClock),
    /// What is done to the client's requests, as an order wanted.
    Requests(RequestsReport),
    /// Through; nothing more will come.
    Done,
    /// Gave up.
    Failed(String),
}

/// From the harness to a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// To a client: what to do. It answers `Ready` when its lock can be used.
    Client(Box<ClientPlan>),
    /// To the resource: what to serve. It answers `Ready` when it listens.
    Resource(ResourcePlan),
    /// Begin, and start no attempt after `end`.
    Begin {
        /// When to stop starting attempts.
        end: Nanos,
    },
    /// Go on from the pause point.
    Go {
        /// The pause point's number.
        number: u64,
    },
    /// To a client: say what your wall clock shows.
    Clock {
        /// The question's number.
        number: u64,
    },
    /// To a client with doors of its own: strike requests, or strike them no longer.
    Requests {
        /// The order's number.
        number: u64,
        /// By which strike.
        strike: u32,
        /// Which, and how; none, if the strike is over.
        rule: Option<RequestRule>,
        /// On the way to which servers.
        nodes: Vec<NodeId>,
    },
    /// To a client: bring the current turn to its end and be done.
    Stop,
    /// The trial is over, faults and all: go. Until then a container that is done stays, so that its faults can be
    /// healed and looked at.
    Leave,
}

/// What a client's wall clock showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientClock {
    /// The question's number.
    pub number: u64,
    /// The host's `CLOCK_BOOTTIME` before it was looked at.
    pub before: Nanos,
    /// The host's `CLOCK_BOOTTIME` afterwards.
    pub after: Nanos,
    /// Nanoseconds since the epoch.
    pub wall: i64,
}

/// What is done to a client's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestsReport {
    /// The order's number.
    pub number: u64,
    /// For each server: the strike's rule that is in force now, and how many requests the strike has struck.
    pub nodes: Vec<(NodeId, Option<RequestRule>, u64)>,
}

/// What a client needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientPlan {
    /// Who it is.
    pub client: ClientId,
    /// What this life of it goes on with.
    pub life: Life,
    /// The run's seed.
    pub seed: Seed,
    /// What to do.
    pub workload: Workload,
    /// Which lock to use.
    pub lock: LockConfig,
    /// Put before lock names at the servers, so that runs don't meet.
    pub namespace: String,
    /// The lock servers, or the doors to them.
    pub servers: Vec<SocketAddr>,
    /// Which servers are behind the doors, if they are not ours.
    #[serde(default)]
    pub external: Option<External>,
    /// The resource.
    pub resource: SocketAddr,
    /// Phases at which a fault may strike: announce these, and no others, and wait for the go-ahead.
    pub announce: Vec<Phase>,
    /// Whether requests are read on their way: the plan strikes some, or nobody else can tell where a program is.
    pub proxied: bool,
}

/// What the resource needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResourcePlan {
    /// What its items are.
    pub kind: WorkloadKind,
    /// What to refuse.
    pub fencing: Fencing,
    /// How many items there are.
    pub items: u32,
}
