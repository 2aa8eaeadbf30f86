//! The kinds of fault by their names: the one table of them, for scenario files and histories.

use std::fmt;

use crate::word::Named;

/// A kind of fault by its name, in the order in which scenario files list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultName {
    /// The process stops and goes on later.
    Pause,
    /// The process is killed and started again later.
    Kill,
    /// The server is shut down in order and started again later, with or without its data.
    Restart,
    /// The server loses what was not yet on its disk.
    PowerLoss,
    /// Packets between the target and its peers are dropped.
    Partition,
    /// Packets arrive late.
    Delay,
    /// Packets get lost now and then.
    Loss,
    /// The clock is set.
    ClockJump,
    /// The clock runs at another rate.
    ClockDrift,
    /// The clock jumps back and forth.
    ClockStrobe,
    /// Something is done to a request, or to its reply.
    Request,
}

impl FaultName {
    /// All kinds, in the order in which the format lists them.
    pub const ALL: [Self; 11] = [
        Self::Pause,
        Self::Kill,
        Self::Restart,
        Self::PowerLoss,
        Self::Partition,
        Self::Delay,
        Self::Loss,
        Self::ClockJump,
        Self::ClockDrift,
        Self::ClockStrobe,
        Self::Request,
    ];

    /// The name used in scenario files, as in `[[fault.pause]]`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::PowerLoss => "power-loss",
            Self::Partition => "partition",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::ClockJump => "clock-jump",
            Self::ClockDrift => "clock-drift",
            Self::ClockStrobe => "clock-strobe",
            Self::Request => "request",
        }
    }

    /// Whether a process that it strikes does not run.
    pub fn stops(self) -> bool {
        self == Self::Pause || self.kills()
    }

    /// Whether a process that it strikes is dead, and started again later.
    pub fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::Restart | Self::PowerLoss)
    }

    /// Whether it is about packets between members.
    pub fn is_of_links(self) -> bool {
        matches!(self, Self::Partition | Self::Delay | Self::Loss)
    }

    /// Whether it is about what a clock shows.
    pub fn is_of_clocks(self) -> bool {
        matches!(self, Self::ClockJump | Self::ClockDrift | Self::ClockStrobe)
    }
}

impl Named for FaultName {
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.name()
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
