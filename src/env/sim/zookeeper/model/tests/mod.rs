//! Tests of the model: single behaviours, random faults, and the lock on top of it.

mod behaviour;
mod client;
mod live;
mod lock;
mod properties;
mod sessions;
mod world;

use std::time::Duration;

use self::world::World;
use super::ConnectionId;
use super::messages::{Answer, Change, CreateMode, Credentials, Operation, Path, Refusal, Reply};
use crate::ids::NodeId;

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

fn world() -> World {
    let mut world = World::new(3, 1);
    world.run_to("all serve", World::settled);
    world
}

fn follower(world: &World) -> NodeId {
    *world.serving().iter().find(|id| Some(**id) != world.leader()).unwrap()
}

fn connect(world: &mut World, client: u32, server: NodeId) -> (ConnectionId, Credentials) {
    connect_for(world, client, server, SECOND)
}

fn connect_for(world: &mut World, client: u32, server: NodeId, timeout: Duration) -> (ConnectionId, Credentials) {
    let id = world.connect_with(client, server, timeout);
    world.run_to("connected", |world| world.replies(id).next().is_some());
    let Some(Reply::Connected { credentials, .. }) = world.replies(id).next() else { panic!("refused") };
    let credentials = *credentials;
    (id, credentials)
}

fn result(world: &World, id: ConnectionId, xid: i32) -> Result<Answer, Refusal> {
    match world.done(id, xid) {
        Some(Reply::Done { result, .. }) => result.clone(),
        other => panic!("{other:?}"),
    }
}

fn ask(world: &mut World, id: ConnectionId, xid: i32, operation: Operation) -> Result<Answer, Refusal> {
    world.ask(id, xid, operation);
    world.run_to("answered", |world| world.done(id, xid).is_some());
    result(world, id, xid)
}

fn create(world: &mut World, id: ConnectionId, xid: i32, path: &str) -> Result<Answer, Refusal> {
    let create = Change::Create { path: path.into(), mode: CreateMode::Persistent };
    ask(world, id, xid, Operation::Change(create))
}

fn contend(world: &mut World, id: ConnectionId, xid: i32, path: &str) -> Path {
    let create = Change::Create { path: path.into(), mode: CreateMode::EphemeralSequential };
    match ask(world, id, xid, Operation::Change(create)) {
        Ok(Answer::Created { path, .. }) => path,
        other => panic!("{other:?}"),
    }
}

fn exists(path: &str, watch: bool) -> Operation {
    Operation::Exists { path: path.into(), watch }
}

fn delete(path: &str) -> Operation {
    Operation::Change(Change::Delete { path: path.into() })
}
