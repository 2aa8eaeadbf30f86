//! The machines of a simulation: who there is, what each one's program is, how wrong its clocks are.

use std::collections::{BTreeMap, VecDeque};

use rand::RngExt;

use super::clock::HostClock;
use super::etcd_node::EtcdNode;
use super::node::Role;
use super::redis::RedisModel;
use super::world::{Host, HostId, Power};
use super::zk_node::ZkNode;
use crate::fault::Member;
use crate::fault::grudge::Parties;
use crate::ids::NodeId;
use crate::scenario::{Backend, LockConfig};
use crate::seed::Seed;
use crate::time::Nanos;
use crate::workload::resource::Resource;

/// The machine of the harness itself, which no fault reaches.
pub(super) const HARNESS: HostId = 0;

/// By how much an oscillator may be off by itself, in parts per million: ordinary crystals.
const NATURAL_PPM: i64 = 20;

/// Machines booted up to this long before the trial, so that no two monotonic clocks agree.
const UPTIME_MAX: u64 = 10_000_000_000_000;

/// An ordinary machine's clock: booted some time ago, and a little fast or slow.
pub(super) fn ordinary_clock(seed: Seed, member: Member) -> HostClock {
    let mut rng = seed.stream(&format!("clock/{member}"));
    let uptime = Nanos(rng.random_range(0..UPTIME_MAX));
    HostClock::new(uptime, rng.random_range(-NATURAL_PPM..=NATURAL_PPM))
}

/// The harness, `clients`, the lock's servers, the resource; and which machine is whose.
pub(super) fn machines(
    clients: u32,
    config: &LockConfig,
    resource: Resource,
    seed: Seed,
    clock: impl Fn(Member) -> HostClock,
) -> (Vec<Host>, BTreeMap<Member, HostId>) {
    let parties = Parties { clients, nodes: config.nodes() };
    let mut hosts = vec![host(None, HostClock::new(Nanos::ZERO, 0), Role::Program)];
    let mut members = BTreeMap::new();
    let mut add = |member: Member, role| {
        members.insert(member, hosts.len());
        hosts.push(host(Some(member), clock(member), role));
    };
    parties.clients().for_each(|client| add(client, Role::Program));
    let peers = || {
        let first = 1 + clients as HostId;
        (1..=parties.nodes).map(|peer| (NodeId(peer), first + peer as HostId - 1)).collect()
    };
    for node in 1..=parties.nodes {
        let role = match config.backend() {
            Backend::Etcd => Role::Etcd(Box::new(EtcdNode::new(NodeId(node), peers(), seed))),
            Backend::Redis => Role::Redis(RedisModel::new(config.persistence().unwrap_or_default())),
            Backend::Zookeeper => Role::Zookeeper(Box::new(ZkNode::new(NodeId(node), peers(), seed))),
        };
        add(Member::Node(NodeId(node)), role);
    }
    add(Member::Resource, Role::Resource(resource));
    (hosts, members)
}

fn host(member: Option<Member>, clock: HostClock, role: Role) -> Host {
    Host { member, power: Power::Running, frozen: None, clock, inbox: VecDeque::new(), role }
}
