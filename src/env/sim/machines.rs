//! The machines of a simulation: who there is, what each one's program is, how wrong its clocks are.

use std::collections::BTreeMap;

use rand::RngExt;

use super::backends;
use super::engine::clock::HostClock;
use super::engine::ids::HostId;
use super::engine::server::Server;
use super::engine::state::Host;
use super::resource::node::ResourceServer;
use crate::fault::Member;
use crate::fault::grudge::Parties;
use crate::ids::NodeId;
use crate::scenario::LockConfig;
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
    let mut hosts = vec![Host::new(None, HostClock::new(Nanos::ZERO, 0), None)];
    let mut members = BTreeMap::new();
    let mut add = |member: Member, server: Option<Box<dyn Server>>| {
        members.insert(member, hosts.len());
        hosts.push(Host::new(Some(member), clock(member), server));
    };
    parties.clients().for_each(|client| add(client, None));
    let first = 1 + clients as HostId;
    let nodes: BTreeMap<_, _> = (1..=parties.nodes).map(|node| (NodeId(node), first + node as HostId - 1)).collect();
    for (node, server) in nodes.keys().zip(backends::servers(config, &nodes, seed)) {
        add(Member::Node(*node), Some(server));
    }
    add(Member::Resource, Some(Box::new(ResourceServer(resource))));
    (hosts, members)
}
