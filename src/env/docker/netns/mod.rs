//! What is done in the network namespaces of containers: links cut, made lossy, made late, and knocked at.
//!
//! One helper container per run does all of it ([`agent`]): it is in the host's process namespace, may enter the
//! network namespaces of others and change them, and does so for whole sets of them at once, on request over a Unix
//! socket. So targets need neither tools nor rights of their own, a frozen target is reached as well, and a change
//! takes as long as one call of `nft`. It ends when nobody holds a [`Netns`] any more.
//!
//! What gets lost or is late is so *where packets arrive*: of what a sender's own kernel drops, its TCP would hear.
//! [`rules`] has the nftables text, [`late`] holds packets back, [`knock`] looks whether a link carries
//! anything, [`inside`] enters a namespace, [`turns`] keeps changes of one network in the order of their requests.
//!
//! It also tells, as nobody else could as cheaply, whether processes have our [`shims`] loaded.
//!
//! Deliberately absent: which links a fault means, and what was expected of them.

pub mod agent;
mod helper;
mod inside;
mod knock;
mod late;
pub mod rules;
mod shims;
mod turns;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

pub use helper::{Netns, NetnsError};

/// A container's network namespace: that of a process in it. The address is checked on entering, so that a number which
/// the kernel has given to another process since leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Door {
    /// The container's first process, in the host's numbers.
    pub pid: i64,
    /// The container's address.
    pub address: Ipv4Addr,
}

/// What happens to packets between a door and its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Effect {
    /// They are dropped: silence.
    Drop,
    /// They are refused, and the sender is told at once by a TCP reset. Resets pass.
    Reset,
    /// Some are dropped, each by a draw of its own.
    Lose {
        /// How many of a thousand.
        permille: u32,
    },
    /// Each is held back; those of one connection keep their order.
    Late {
        /// The least extra time, in nanoseconds.
        least: u64,
        /// The most.
        most: u64,
        /// Seeds the draws.
        seed: u64,
    },
}

/// One effect at one door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Layer {
    /// Where packets are struck.
    pub door: Door,
    /// The nftables table's name, unique to the strike.
    pub table: String,
    /// Whose packets are struck as they arrive.
    pub incoming: Vec<Ipv4Addr>,
    /// To whom packets are struck as they leave.
    pub outgoing: Vec<Ipv4Addr>,
    /// What happens to them.
    pub effect: Effect,
    /// After how many milliseconds the kernel forgets the peers, whoever else is dead by then.
    pub expiry: u64,
}

/// What is asked of the agent. One request a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Request {
    /// Stay while this connection lasts.
    Stay,
    /// Put these layers in place, or nothing.
    Lay(Vec<Layer>),
    /// Take a table away. Packets that are held back still arrive when they were to, unless `at_once`.
    Lift {
        /// Where.
        door: Door,
        /// Which.
        table: String,
        /// Whether packets that are held back are given up.
        at_once: bool,
    },
    /// Say how many packets a table has met.
    Count {
        /// Where.
        door: Door,
        /// Which.
        table: String,
    },
    /// Knock: each from a door at another.
    Knock {
        /// From where to where.
        links: Vec<(Door, Door)>,
        /// How long to wait for an answer, in milliseconds.
        patience: u64,
    },
    /// Send a burst of datagrams that nobody reads, for a lossy link to lose some of.
    Burst {
        /// From where to where.
        links: Vec<(Door, Door)>,
        /// How many on each link.
        count: u32,
    },
    /// Take all our tables away, whoever made them; their names are the answer.
    Sweep(Vec<Door>),
    /// Say which of our tables stand, whoever made them.
    Tables(Vec<Door>),
    /// Try out what this machine's kernel can do.
    Abilities,
    /// Say which of some files processes have mapped.
    Mapped {
        /// The processes, in the host's numbers.
        pids: Vec<i64>,
        /// The files, by their paths in the processes' own view.
        files: Vec<String>,
    },
    /// Try out whether the clock of a program can be moved in the helper's own image.
    MoveClock,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Done,
    /// For each peer of a table, and each way.
    Counts(Vec<Count>),
    /// For each knock.
    Seen(Vec<Seen>),
    /// For each door: names of tables that stand.
    Tables(Vec<Vec<String>>),
    /// For each door: names of tables that were taken away.
    Swept(Vec<Vec<String>>),
    /// What the kernel can do.
    Abilities(Abilities),
    /// For each process: those of the files that it has mapped.
    Mapped(Vec<Vec<String>>),
    /// Whether it could be done; why not.
    Tried(Result<(), String>),
    /// It could not be done, and nothing of it remains.
    Failed(String),
}

/// What a table has met from one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Count {
    /// The peer.
    pub peer: Ipv4Addr,
    /// Whether this is about packets to it, not from it.
    pub outgoing: bool,
    /// Packets that passed by.
    pub met: u64,
    /// Packets of these that the effect struck.
    pub struck: u64,
}

/// What came of a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The handshake came about, after this many nanoseconds.
    Answered(u64),
    /// A reset came back.
    Reset,
    /// Nothing came.
    Silent,
}

/// What a machine's kernel can do for links; what can't be done says why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Abilities {
    /// nftables.
    pub nftables: Result<(), String>,
    /// Sets whose elements the kernel forgets by itself.
    pub set_timeouts: Result<(), String>,
    /// Random numbers in rules.
    pub numgen: Result<(), String>,
    /// Answering with a TCP reset.
    pub reject: Result<(), String>,
    /// Handing packets to a program.
    pub queue: Result<(), String>,
    /// The qdisc that delays; not used, told for comparison.
    pub netem: Result<(), String>,
}
