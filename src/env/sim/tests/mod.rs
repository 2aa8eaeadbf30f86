//! The simulation's own mechanics, on small worlds, and whole trials over many seeds.

mod net;
mod requests;
mod scheduler;
mod trials;

use std::sync::{Arc, Mutex};

use super::engine::call::Caller;
use super::engine::clock::HostClock;
use super::engine::ids::{HostId, Power};
use super::engine::runtime::SimRuntime;
use super::engine::scheduler::Scheduler;
use super::engine::state::{Host, State};
use super::engine::trace::Trace;
use super::engine::world::World;
use super::redis::message::RedisMessage;
use super::redis::node::RedisServer;
use super::redis::{Command, Persistence, RedisModel, Reply};
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
    let clock = || HostClock::new(Nanos::ZERO, 0);
    let node = RedisServer::new(NodeId(1), Persistence::Always, Arc::new(Mutex::default()));
    let hosts = vec![
        Host::new(None, clock(), None),
        Host::new(Some(Member::Client(ClientId(1))), clock(), None),
        Host::new(Some(Member::Node(NodeId(1))), clock(), Some(Box::new(node))),
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

fn incr() -> RedisMessage {
    RedisMessage::Command(Command::Incr("key".into()))
}

/// The node's keys.
fn keys(state: &State) -> &RedisModel {
    state.hosts[NODE].server::<RedisServer>().expect("the node is a Redis node").model()
}

/// What the node holds, as often as [`incr`] was executed.
fn count(world: &Arc<World>) -> u64 {
    keys(&world.lock()).peek("key").map_or(0, |entry| entry.value.parse().unwrap())
}

fn number(answer: Option<RedisMessage>) -> i64 {
    match answer {
        Some(RedisMessage::Reply(Reply::Integer(number))) => number,
        other => panic!("not a number: {other:?}"),
    }
}

/// Cuts the link both ways, or heals it.
fn cut(world: &Arc<World>, from: HostId, to: HostId, cut: bool) {
    world.lock().net.link(from, to).cuts = cut.into();
}
