//! Whoever can stand trial: one file per lock, which says all that the rest of the house asks of it.
//!
//! - [`Algorithm`]: how a lock's table is read, which keys it has, how a search draws it. [`Defendant`]: one that is
//!   configured: its servers, its lease, what it assumes and promises, its words. [`registry`] lists them all, and has
//!   the one `match` on which it is ([`LockConfig`]).
//! - [`redis`]; [`redlock`], [`zookeeper`] and [`etcd`], each with its canaries; [`adapter`] for programs of others.
//! - [`backend`]: the servers; [`table`]: a lock's table in a scenario file; [`holders`]: how many may hold a lock;
//!   `over_redis`: what all locks over Redis say of their leases; [`draw`]: by what a search draws settings.
//!
//! To add a lock: its file here, and its lines in the registry; the simulation hands it its servers.
//!
//! Deliberately absent: the locks themselves ([`crate::lock`]), which each file makes with its settings, and the worlds
//! that hand in what they are made over.

pub mod adapter;
pub mod backend;
pub mod draw;
pub mod etcd;
pub mod holders;
pub mod over_redis;
pub mod redis;
pub mod redlock;
pub mod registry;
pub mod table;
pub mod zookeeper;

use std::time::Duration;

pub use adapter::AdapterConfig;
pub use backend::{Backend, Persistence};
pub use etcd::EtcdConfig;
pub use redis::RedisConfig;
pub use redlock::RedlockConfig;
pub use registry::LockConfig;
pub use zookeeper::ZookeeperConfig;

use self::draw::{Scale, Stress};
use self::table::{AnyKey, Asked, Line};
use crate::fault::Target;
use crate::lock::flawed::About;
use crate::lock_kind::LockKind;
use crate::scenario::problems::Problems;
use crate::seed::ChaCha8Rng;

/// An algorithm that can stand trial, sound or flawed.
pub trait Algorithm: Sync {
    /// Its name, as in `algorithm = "redlock"`.
    fn name(&self) -> &'static str;

    /// What it is, in a sentence.
    fn about(&self) -> &'static str;

    /// What is wrong with it, if it is a canary.
    fn flaw(&self) -> Option<About> {
        None
    }

    /// The servers that it rests on. A flawed lock shares them with the sound one.
    fn backend(&self) -> Backend;

    /// The keys that its table may have beside those of every lock.
    fn keys(&self) -> &'static [&'static dyn AnyKey];

    /// Those by which a program over the same servers is told its lease, which comes first, and what its servers keep.
    fn lease_keys(&self) -> &'static [&'static dyn AnyKey];

    /// The lease or session timeout of a table that does not say.
    fn usual_lease(&self) -> Duration;

    /// Reads its table. `None` only if a mistake was recorded.
    fn read(&self, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<LockConfig>;

    /// Draws settings for a search, around what a trial is to be hard on.
    fn draw(&self, stress: Stress, rng: &mut ChaCha8Rng) -> LockConfig;

    /// Whether a search that names no lock tries it.
    fn is_searched_unasked(&self) -> bool {
        self.flaw().is_none()
    }

    /// Why it gives no fencing tokens, where that is known.
    fn why_no_tokens(&self) -> Option<&'static str> {
        None
    }
}

/// A lock on trial with its settings: what the rest of the house asks of it.
pub trait Defendant {
    /// The algorithm's name; one word for all programs of others.
    fn algorithm(&self) -> &'static str;

    /// What is wrong with it, if it is a canary.
    fn flaw(&self) -> Option<About> {
        None
    }

    /// The servers that it rests on.
    fn backend(&self) -> Backend;

    /// How many of them it uses.
    fn nodes(&self) -> u32;

    /// The same over another number of servers, where that is a setting.
    fn with_nodes(&self, _: u32) -> Option<LockConfig> {
        None
    }

    /// How many may hold it at once.
    fn kind(&self) -> LockKind {
        LockKind::Mutex
    }

    /// Its lease or session timeout, if it has one.
    fn lease(&self) -> Option<Duration>;

    /// How long that may last once its client is gone.
    fn longest_lease(&self) -> Option<Duration> {
        self.lease()
    }

    /// Whether a holder may have its lease extended by hand.
    fn extends(&self) -> bool {
        false
    }

    /// Whether what a client sends while it holds the lock keeps its hold alive.
    fn renews(&self) -> bool;

    /// What its servers keep on their disks, where a scenario says so.
    fn persistence(&self) -> Option<Persistence> {
        None
    }

    /// What the lock keeps at its servers for good, by its own word: patterns of keys or paths, in which `*` stands for
    /// anything and `{lock}` for a lock's name as the servers see it.
    fn permanent(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it promises whoever uses it, beside that one client holds it at a time.
    fn promised(&self) -> Promised;

    /// What it assumes of its servers' clocks and memory. Nothing, if they sync before they answer and measure leases
    /// by clocks that nobody sets.
    fn assumes(&self) -> Option<Assumed> {
        None
    }

    /// The constants around which a search draws lengths.
    fn scale(&self) -> Scale;

    /// The same with one setting less, or a usual one: what a finding is made smaller by.
    fn simpler(&self) -> Vec<LockConfig> {
        Vec::new()
    }

    /// The program that it is, if it is somebody else's.
    fn program(&self) -> Option<&AdapterConfig> {
        None
    }

    /// The lines of its table in a file; what has its usual value may be left out.
    fn written(&self) -> Vec<Line>;

    /// Its settings as pages show them.
    fn shown(&self) -> Vec<Line>;
}

/// What a lock promises, beside that one client holds it at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promised {
    /// A fencing token with every grant.
    pub tokens: bool,
    /// A line: who asks first is granted first.
    pub line: bool,
    /// That whoever gives up an attempt or a hold, and lives, takes back what stays behind before its lease ends.
    pub takes_back: bool,
}

/// What a lock assumes of servers that keep its leases by the time of day: that nobody sets it, and that they remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumed {
    /// How long a lease is that they must not forget.
    pub lease: Duration,
    /// What they still have after they were killed or lost power.
    pub persistence: Persistence,
    /// Whether they count for tokens, and so must never go back.
    pub counts: bool,
}

impl LockConfig {
    /// The servers that it rests on. A flawed lock shares them with the sound one.
    pub fn backend(&self) -> Backend {
        (**self).backend()
    }

    /// How many may hold it at once.
    pub fn kind(&self) -> LockKind {
        (**self).kind()
    }

    /// What its servers keep on their disks, where a scenario says so.
    pub fn persistence(&self) -> Option<Persistence> {
        (**self).persistence()
    }

    /// The algorithm's name, as in `algorithm = "redlock"`.
    pub fn algorithm(&self) -> &'static str {
        (**self).algorithm()
    }

    /// How many lock servers it uses.
    pub fn nodes(&self) -> u32 {
        (**self).nodes()
    }

    /// `lease`, or the lease that its holder may ask for by hand where that is longer and there is such a thing.
    pub fn or_extended(&self, lease: Duration, extended: Option<Duration>) -> Duration {
        extended.filter(|_| self.extends()).map_or(lease, |extended| lease.max(extended))
    }

    /// How long the lock may need, once nothing is wrong any more, to be granted to somebody who waits: until the lease
    /// or session of whoever had it is over, twice, since its successor may have died meanwhile, and two seconds for an
    /// election and for those who ask in turns. `extended` is the longest lease that holders ask for by hand. `None`
    /// for a lock without lease.
    pub fn grant_within(&self, extended: Option<Duration>) -> Option<Duration> {
        Some(2 * self.or_extended(self.longest_lease()?, extended) + Duration::from_secs(2))
    }

    /// How long what an attempt has left at the servers may outlast its end, in nanoseconds as histories have it: a
    /// lease or a session's timeout; nothing for a lock that has neither.
    pub fn leaves_within(&self, extended: Option<Duration>) -> u64 {
        let longest = self.longest_lease().map(|lease| self.or_extended(lease, extended));
        u64::try_from(longest.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether there can be such a target: not all servers have a leader, and fewer have sessions with their clients.
    pub fn has(&self, target: &Target) -> bool {
        match target {
            Target::Leader => self.backend().has_leader(),
            Target::HolderServer => self.backend().has_sessions(),
            _ => true,
        }
    }
}
