//! The simulation's own mechanics, on small worlds, and whole trials over many seeds.

mod net;
mod requests;
mod scheduler;
mod trials;

use std::collections::VecDeque;
use std::sync::Arc;

use super::call::Caller;
use super::clock::HostClock;
use super::message::Payload;
use super::node::Role;
use super::redis::{Command, Persistence, RedisModel, Reply};
use super::runtime::SimRuntime;
use super::scheduler::Scheduler;
use super::trace::Trace;
use super::world::{Host, HostId, Power, World};
use crate::fault::Member;
use crate::ids::{ClientId, NodeId};
use crate::lock::runtime::SharedRuntime;
use crate::scenario::Simulation;
use crate::seed::Seed;
use crate::time::Nanos;

/// The machine that nothing happens to.
const HARNESS: HostId = 0;
/// A program's machine.
const CLIENT: HostId = 1;
/// A Redis node's machine.
const NODE: HostId = 2;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// A world of a harness, a client and a Redis node that keeps everything.
fn world() -> (Arc<World>, Scheduler) {
    let host = |member, role| Host {
        member,
        power: Power::Running,
        frozen: None,
        clock: HostClock::new(Nanos::ZERO, 0),
        inbox: VecDeque::new(),
        role,
    };
    let hosts = vec![
        host(None, Role::Program),
        host(Some(Member::Client(ClientId(1))), Role::Program),
        host(Some(Member::Node(NodeId(1))), Role::Redis(RedisModel::new(Persistence::Always))),
    ];
    let world = World::new(hosts, Seed(7), Simulation::default(), Trace::default());
    let scheduler = Scheduler::new(Arc::clone(&world));
    (world, scheduler)
}

/// The runtime of the program that lives on a machine now.
fn runtime(world: &Arc<World>, host: HostId) -> SharedRuntime {
    let process = world.processes.current(host);
    Arc::new(SimRuntime::new(Arc::clone(world), process, Seed(7).stream("test")))
}

/// The client's way to the node.
fn caller(world: &Arc<World>) -> Caller {
    Caller::new(Arc::clone(world), world.processes.current(CLIENT), NODE)
}

/// Waits until true time `at`.
async fn until(world: &Arc<World>, at: u64) {
    runtime(world, HARNESS).sleep_until(Nanos(at)).await;
}

/// Waits for this long.
async fn pass(world: &Arc<World>, duration: u64) {
    let now = world.lock().now;
    until(world, now + duration).await;
}

fn incr() -> Payload {
    Payload::Command(Command::Incr("key".into()))
}

/// What the node holds, as often as [`incr`] was executed.
fn count(world: &Arc<World>) -> u64 {
    match &world.lock().hosts[NODE].role {
        Role::Redis(model) => model.peek("key").map_or(0, |entry| entry.value.parse().unwrap()),
        _ => unreachable!("the node is a Redis node"),
    }
}

fn number(payload: Option<Payload>) -> i64 {
    match payload {
        Some(Payload::Reply(Reply::Integer(number))) => number,
        other => panic!("not a number: {other:?}"),
    }
}

/// Cuts the link both ways, or heals it.
fn cut(world: &Arc<World>, from: HostId, to: HostId, cut: bool) {
    world.lock().net.link(from, to).cuts = cut.into();
}
