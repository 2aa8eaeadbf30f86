//! Canaries: locks that are wrong, each in one way in which somebody's lock once was. A harness that does not catch
//! them is not worth its verdicts.
//!
//! One file each, over the same seam and with the same interfaces as the sound locks, so that they run through the same
//! client loop, in both worlds. Each takes from the sound locks whatever is not its flaw. [`RedlockFlaw`],
//! [`ZookeeperFlaw`] and [`EtcdFlaw`] list them, with what they break and where it was seen. Part of the harness, not
//! of the library: deliberately absent from a build without the feature `harness`.
//!
//! *The article*, here and in the examples, is Hamed Salameh's "Implementing Distributed Locks in .NET Core with Redis
//! or ZooKeeper" (<https://hamedsalameh.com/implementing-distributed-locks-in-net-core-with-redis-or-zookeeper/>), its
//! code HamedSalameh/blog-distributed-locks on GitHub.

mod adopts_old_session;
mod article;
mod clock_token;
mod etcd_expired_while_waiting;
mod expired_while_waiting;
mod gives_up_without_leaving;
mod lists_then_creates;
mod never_tells;
mod no_validity_check;
mod one_owner;
mod quorum_of_one;
mod revives;
mod runs_without_grant;
mod set_then_expire;
mod sorts_by_clock;
mod told_while_waiting;
mod two_names;
mod votes;
mod wall_clock;
mod writer_ignores_readers;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backend::{EtcdCluster, RedisNode, ZkConnector};
use super::error::ReleaseOutcome;
use super::guard::{Guard, Hold, Release};
use super::runtime::SharedRuntime;
use super::{DistributedLock, EtcdLock, EtcdSettings, Redlock, RedlockSettings, ZookeeperLock, ZookeeperSettings};
use crate::ids::{FencingToken, LockName};
use crate::lock_kind::LockKind;
use crate::time::Nanos;

/// The time of day of a client's machine, since the epoch. No lock decision may rest on it; these do.
pub type WallClock = Arc<dyn Fn() -> Nanos + Send + Sync>;

/// What there is to know of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The algorithm's name, as in `algorithm = "redlock-quorum-of-one"`.
    pub name: &'static str,
    /// What it does wrong.
    pub flaw: &'static str,
    /// Where this was seen.
    pub source: &'static str,
}

macro_rules! flaws {
    ($(#[$doc:meta])* $type:ident { $($variant:ident: $name:literal, $flaw:literal, $source:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $type {
            $(#[doc = $flaw] #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// What there is to know of it.
            pub fn about(self) -> About {
                match self {
                    $(Self::$variant => About { name: $name, flaw: $flaw, source: $source },)+
                }
            }
        }
    };
}

flaws! {
    /// The flawed locks over Redis masters.
    RedlockFlaw {
        DeleteWithoutOwnerCheck: "redlock-delete-without-owner-check",
            "A release deletes the key, whoever's it is: one that comes late frees the next holder's lock.",
            "antirez, Distributed Locks with Redis: why the value must be random and the release compare it";
        SetThenExpire: "redlock-set-then-expire",
            "The key is set first and given its time to live by a second command: whoever dies in between holds for ever.",
            "redis.io, SETNX: the pattern before SET had NX and PX";
        QuorumOfOne: "redlock-quorum-of-one",
            "The vote of one master is enough.",
            "samcook/RedLock.net and others, run with one endpoint of several; antirez: N/2+1";
        NoValidityCheck: "redlock-no-validity-check",
            "The lease is counted from the last reply, not from the request: a grant that comes late is taken for a fresh one.",
            "mike-marcacci/node-redlock PR 369; Kleppmann 2016 and antirez 2016 on delays before the check";
        WallClock: "redlock-wall-clock",
            "The lease is measured by the time of day: a clock that is set back makes it longer.",
            "redlock-py and redlock-ng: time.time(); antirez 2016: use a monotonic clock";
        RevivesLapsedLease: "redlock-revives-lapsed-lease",
            "A renewal sets a key that is no longer there, and nobody is told that the lease had lapsed.",
            "samcook/RedLock.net Lua/Extend.lua, issue 93; the article's demo is built on it";
        TwoNames: "redlock-two-names",
            "Readers and writers of one thing lock it under different names.",
            "the article's web demo: ReadAllData and WriteData guard the same file";
        TokenFromAClock: "redlock-token-from-a-clock",
            "The fencing token is the client's time of day at the grant.",
            "Kleppmann 2016: a token must rise with every grant, which clocks don't ensure";
    }
}

flaws! {
    /// The flawed locks in a ZooKeeper ensemble.
    ZookeeperFlaw {
        ToldWhileWaiting: "zookeeper-told-while-waiting",
            "Whoever stands in the line is told that it holds the lock.",
            "the article's own lock provider: LockAsync falls through to `return true`";
        RunsWithoutGrant: "zookeeper-runs-without-grant",
            "An acquire that ran out of time gives no handle, and the body runs all the same.",
            "the article's inventory demo (`await using` of null is legal); redis/redis-py issue 621";
        SortsByClock: "zookeeper-sorts-by-clock",
            "The line is sorted by when each contender was created, by a clock, instead of by sequence number.",
            "the article's own lock provider sorts by ctime, which a server's time of day stamps; here the client's does";
        AdoptsOldSession: "zookeeper-adopts-old-session",
            "After a reconnect the contender of the dead session is found by its GUID and taken for one's own.",
            "apache/curator issues 1121 and 1018 (CURATOR-604, CURATOR-498)";
        ExpiredWhileWaiting: "zookeeper-expired-while-waiting",
            "Whatever ends the wait is a grant, also the end of the waiter's own session.",
            "etcd-io/etcd issue 11456, found by Jepsen in etcd 3.4.3";
        NeverTells: "zookeeper-never-tells",
            "The holder is never told that its session is over.",
            "apache/curator issue 727 (CURATOR-206); python-zk/kazoo: is_acquired stays true";
        GivesUpWithoutLeaving: "zookeeper-gives-up-without-leaving",
            "A waiter that gives up leaves its znode in the line, for as long as its session lives.",
            "python-zk/kazoo issue 732; madelson/DistributedLock issue 156; the article's own lock provider";
        Article: "zookeeper-article",
            "The article's own lock provider, bug for bug: whoever has stood in the line once is told that it holds the lock.",
            "HamedSalameh/blog-distributed-locks, Demo4/LockProvider/DistributedLockProvider.cs";
        WriterIgnoresReaders: "zookeeper-writer-ignores-readers",
            "A read-write lock whose writers stand behind writers only: one is granted it while readers hold it.",
            "apache/curator issue 1138 (CURATOR-621): the write lock is taken while a read lock is held";
        ListsThenCreates: "zookeeper-lists-then-creates",
            "A semaphore that counts who holds it and enters if there is room, in two requests: two that count at once both enter.",
            "python-zk/kazoo issue 213: a non-blocking Semaphore looks and takes outside of its lock";
    }
}

flaws! {
    /// The flawed locks in an etcd cluster.
    EtcdFlaw {
        ExpiredWhileWaiting: "etcd-expired-while-waiting",
            "Whoever has nobody ahead in the line holds the lock: that its own key went with its lease is not looked at.",
            "etcd-io/etcd issue 11456, found by Jepsen in etcd 3.4.3";
    }
}

impl ZookeeperFlaw {
    /// The kind of lock that it is a flaw of; a semaphore's may have another number of permits.
    pub fn kind(self) -> LockKind {
        match self {
            Self::WriterIgnoresReaders => LockKind::ReadWrite,
            Self::ListsThenCreates => LockKind::Semaphore { permits: 2 },
            _ => LockKind::Mutex,
        }
    }
}

/// The sound lock over Redis masters, of settings that were checked when their scenario was loaded.
///
/// # Panics
/// They were not.
pub fn without_flaw(nodes: Vec<Arc<dyn RedisNode>>, settings: RedlockSettings, runtime: SharedRuntime) -> Redlock {
    Redlock::new(nodes, settings, runtime).expect("a scenario's settings were checked when it was loaded")
}

/// Makes a flawed lock over Redis masters.
pub fn redlock(
    flaw: RedlockFlaw,
    nodes: Vec<Arc<dyn RedisNode>>,
    settings: RedlockSettings,
    runtime: SharedRuntime,
    wall: WallClock,
) -> Arc<dyn DistributedLock> {
    let cluster = |nodes, settings, runtime| votes::Cluster { nodes, settings, runtime };
    match flaw {
        RedlockFlaw::DeleteWithoutOwnerCheck => {
            Arc::new(without_flaw(nodes.into_iter().map(one_owner::OneOwner::wrap).collect(), settings, runtime))
        }
        RedlockFlaw::SetThenExpire => Arc::new(set_then_expire::SetThenExpire::new(nodes, settings, runtime)),
        RedlockFlaw::QuorumOfOne => Arc::new(quorum_of_one::QuorumOfOne::new(nodes, settings, runtime)),
        RedlockFlaw::NoValidityCheck => {
            Arc::new(no_validity_check::NoValidityCheck(Arc::new(cluster(nodes, settings, runtime))))
        }
        RedlockFlaw::WallClock => {
            let runtime = Arc::new(wall_clock::WallRuntime::new(runtime, wall));
            Arc::new(without_flaw(nodes, settings, runtime))
        }
        RedlockFlaw::RevivesLapsedLease => Arc::new(revives::Revives(Arc::new(cluster(nodes, settings, runtime)))),
        RedlockFlaw::TwoNames => {
            Arc::new(two_names::TwoNames { lock: without_flaw(nodes, settings, Arc::clone(&runtime)), runtime })
        }
        RedlockFlaw::TokenFromAClock => Arc::new(clock_token::ClockToken {
            lock: without_flaw(nodes, settings, Arc::clone(&runtime)),
            runtime,
            wall,
        }),
    }
}

/// Makes a flawed lock in a ZooKeeper ensemble.
pub fn zookeeper(
    flaw: ZookeeperFlaw,
    kind: LockKind,
    ensemble: Arc<dyn ZkConnector>,
    settings: ZookeeperSettings,
    runtime: SharedRuntime,
    wall: WallClock,
) -> Arc<dyn DistributedLock> {
    if flaw == ZookeeperFlaw::Article {
        return Arc::new(article::Article { ensemble, settings, runtime });
    }
    // A scenario in which it is no semaphore is refused when it is loaded.
    let permits = if let LockKind::Semaphore { permits } = kind { permits } else { 1 };
    let lock = ZookeeperLock::new(ensemble, settings, Arc::clone(&runtime));
    match flaw {
        ZookeeperFlaw::Article => unreachable!("it is made above"),
        ZookeeperFlaw::ToldWhileWaiting => Arc::new(told_while_waiting::ToldWhileWaiting(lock)),
        ZookeeperFlaw::RunsWithoutGrant => Arc::new(runs_without_grant::RunsWithoutGrant { lock, runtime }),
        ZookeeperFlaw::SortsByClock => Arc::new(sorts_by_clock::SortsByClock { lock, runtime, wall }),
        ZookeeperFlaw::AdoptsOldSession => Arc::new(adopts_old_session::AdoptsOldSession { lock, runtime }),
        ZookeeperFlaw::ExpiredWhileWaiting => Arc::new(expired_while_waiting::ExpiredWhileWaiting { lock, runtime }),
        ZookeeperFlaw::NeverTells => Arc::new(never_tells::NeverTells { lock, runtime }),
        ZookeeperFlaw::WriterIgnoresReaders => Arc::new(writer_ignores_readers::WriterIgnoresReaders::new(&lock)),
        ZookeeperFlaw::ListsThenCreates => Arc::new(lists_then_creates::ListsThenCreates { lock, permits }),
        ZookeeperFlaw::GivesUpWithoutLeaving => Arc::new(gives_up_without_leaving::GivesUpWithoutLeaving(lock)),
    }
}

/// The sound lock in an etcd cluster, of settings that were checked when their scenario was loaded.
///
/// # Panics
/// They were not.
pub fn etcd_without_flaw(cluster: Arc<dyn EtcdCluster>, settings: EtcdSettings, runtime: SharedRuntime) -> EtcdLock {
    EtcdLock::new(cluster, settings, runtime).expect("a scenario's settings were checked when it was loaded")
}

/// Makes a flawed lock in an etcd cluster.
pub fn etcd(
    flaw: EtcdFlaw,
    cluster: Arc<dyn EtcdCluster>,
    settings: EtcdSettings,
    runtime: SharedRuntime,
) -> Arc<dyn DistributedLock> {
    let lock = etcd_without_flaw(cluster, settings, runtime);
    match flaw {
        EtcdFlaw::ExpiredWhileWaiting => Arc::new(etcd_expired_while_waiting::ExpiredWhileWaiting(lock)),
    }
}

/// As good as for ever: longer than any trial, and still an instant that clocks can be asked for.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// A guard that is never lost, as locks have them that tell their holders nothing.
fn blind_guard(
    name: &LockName,
    token: Option<FencingToken>,
    runtime: &SharedRuntime,
    release: impl FnOnce() -> futures_util::future::BoxFuture<'static, ReleaseOutcome> + Send + Sync + 'static,
) -> Guard {
    let hold = Hold::new(runtime.now() + FOR_EVER);
    Guard::new(name.clone(), token, hold, Arc::clone(runtime), Box::new(release) as Release)
}
