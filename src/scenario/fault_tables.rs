//! The `[[fault.KIND]]` tables as serde sees them, key by key.
//!
//! The documentation of each key is what `fencepost schema` and editors show. Deliberately absent: whether the values
//! make sense ([`super::plan`]).

use schemars::JsonSchema;
use serde::Deserialize;

use super::duration::{DurationText, JumpText, RangeText};
use super::fault_values::{AtValue, DriftText, PeersValue, PercentValue};
use super::place::{Choice, Count, Placed, TargetText};
use crate::fault::request::{Call, Does};
use crate::fault::{Direction, Refusal, Shape};

/// The fault plan: a list of tables per kind. An environment refuses the kinds that it cannot do.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default, expecting = "a table")]
pub struct FaultTables {
    /// The process stops at once and goes on later, none the wiser.
    pub pause: Vec<Placed<PauseTable>>,
    /// The process dies at once and is started again later.
    pub kill: Vec<Placed<KillTable>>,
    /// The process dies at once and is started again after a moment.
    pub restart: Vec<Placed<RestartTable>>,
    /// The server dies at once and loses what was not yet on its disk.
    pub power_loss: Vec<Placed<PowerLossTable>>,
    /// Packets between the target and its peers are dropped.
    pub partition: Vec<Placed<PartitionTable>>,
    /// Packets between the target and its peers arrive late.
    pub delay: Vec<Placed<DelayTable>>,
    /// Packets between the target and its peers get lost now and then.
    pub loss: Vec<Placed<LossTable>>,
    /// The target's wall clock is set wrong, and right again in the end.
    pub clock_jump: Vec<Placed<ClockJumpTable>>,
    /// The target's clock runs too fast or too slow, and is set right in the end.
    pub clock_drift: Vec<Placed<ClockDriftTable>>,
    /// The target's wall clock is set wrong and right in turn.
    pub clock_strobe: Vec<Placed<ClockStrobeTable>>,
    /// Something is done to the target's requests about a lock, or to their replies.
    pub request: Vec<Placed<RequestTable>>,
}

/// What every fault's table says: whom it strikes, when, for how long.
pub struct Aim<'a> {
    /// Whom it strikes.
    pub target: &'a Placed<TargetText>,
    /// When it strikes.
    pub at: &'a Placed<AtValue>,
    /// For how long, if the table says so.
    pub duration: Option<&'a Placed<DurationText>>,
}

/// A fault's table, of whatever kind.
pub trait FaultTable {
    /// What every fault's table says.
    fn aim(&self) -> Aim<'_>;
}

macro_rules! fault_table {
    ($(#[$doc:meta])* $name:ident { $($fields:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
        pub struct $name {
            /// Whom it strikes.
            pub target: Placed<TargetText>,
            /// When it strikes.
            pub at: Placed<AtValue>,
            $($fields)*
        }

        impl FaultTable for $name {
            fn aim(&self) -> Aim<'_> {
                Aim { target: &self.target, at: &self.at, duration: (&self.duration).into() }
            }
        }
    };
}

fault_table! {
    /// The process stops at once and goes on later, none the wiser.
    PauseTable {
        /// For how long it stands still.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
    }
}

fault_table! {
    /// The process dies at once and is started again later. A Redis master comes back with what its `persistence` had
    /// handed to the kernel, a ZooKeeper server with its log, a client with nothing.
    KillTable {
        /// How long it stays down.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
    }
}

fault_table! {
    /// The process dies at once and is started again after a moment; otherwise as `kill`.
    RestartTable {
        /// How long it stays down; 100 ms if absent.
        #[serde(rename = "for")]
        pub duration: Option<Placed<DurationText>>,
    }
}

fault_table! {
    /// The server dies at once and is started again later, with what its `persistence` had on the disk.
    PowerLossTable {
        /// How long it stays down.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
    }
}

fault_table! {
    /// Packets between the target and its peers are dropped.
    PartitionTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// Whom it is cut off from; if absent, nodes for a client and all for a lock server.
        pub peers: Option<Placed<PeersValue>>,
        /// Which way packets are dropped, as the target sees it; both if absent.
        pub direction: Option<Placed<Choice<Direction>>>,
        /// Who is on which side; if absent, the target on one and its peers on the other. The other shapes divide
        /// everybody: `target = "all"`, and no peers.
        pub shape: Option<Placed<Choice<Shape>>>,
        /// What the sender of a packet that is not let through learns: nothing (`drop`, if absent), as from a cable that was
        /// pulled, or a TCP reset, as from a firewall.
        pub refusal: Option<Placed<Choice<Refusal>>>,
    }
}

fault_table! {
    /// Packets between the target and its peers arrive late.
    DelayTable {
        /// For how long. What was sent meanwhile stays late.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// How much later than usual each packet is.
        pub by: Placed<RangeText>,
        /// On the links to whom; if absent, nodes for a client and all for a lock server.
        pub peers: Option<Placed<PeersValue>>,
        /// Which way packets are late, as the target sees it; both if absent.
        pub direction: Option<Placed<Choice<Direction>>>,
    }
}

fault_table! {
    /// Packets between the target and its peers get lost now and then.
    LossTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// How many of a hundred packets are lost: 0.1 to 100, in tenths.
        pub percent: Placed<PercentValue>,
        /// On the links to whom; if absent, nodes for a client and all for a lock server.
        pub peers: Option<Placed<PeersValue>>,
        /// Which way packets are lost, as the target sees it; both if absent.
        pub direction: Option<Placed<Choice<Direction>>>,
    }
}

fault_table! {
    /// The target's wall clock is set wrong, and right again in the end. Leases that a Redis master gave by the wrong
    /// clock keep their stamp: set back, they last longer.
    ClockJumpTable {
        /// How far it jumps: `+3s` or `-3s`.
        pub by: Placed<JumpText>,
        /// After how long it is set right.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
    }
}

fault_table! {
    /// The target's clocks, monotonic and wall, run too fast or too slow; set right in the end.
    ClockDriftTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// What it gains or loses: `+5%`, `-200ppm`.
        pub by: Placed<DriftText>,
    }
}

fault_table! {
    /// The target's wall clock is set wrong and right in turn.
    ClockStrobeTable {
        /// For how long.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// How far it jumps: `+3s` or `-3s`.
        pub by: Placed<JumpText>,
        /// How long it stays on either side; less than `for`.
        pub period: Placed<DurationText>,
    }
}

fault_table! {
    /// Something is done to requests about a lock, or to their replies. A request is known by the lock's name in it. What
    /// is behind it on its connection waits with it.
    RequestTable {
        /// For how long requests are struck.
        #[serde(rename = "for")]
        pub duration: Placed<DurationText>,
        /// What is done: the request is held, its connection cut before or after it went on, its reply dropped (and all that
        /// follows on this connection) or delayed; or it is refused (`LOADING`), and not carried out.
        pub does: Placed<Choice<Does>>,
        /// Which requests: those of an acquire that is going on, of a hold, of a release.
        pub phase: Placed<Choice<Call>>,
        /// How many requests to each server, the first ones; all if absent.
        pub times: Option<Placed<Count>>,
        /// With `hold` and `delay-reply`: for how long, counted from each request or reply. It may outlast `for`.
        pub by: Option<Placed<DurationText>>,
        /// Requests to which lock servers (of which clients, if the target is a lock server); all if absent.
        pub peers: Option<Placed<PeersValue>>,
    }
}
