//! What the nodes still have: their keys, looked at from outside.

use super::node::RedisServer;
use crate::env::sim::engine::ids::Power;
use crate::env::sim::engine::state::State;
use crate::history::Left;
use crate::trial::leftovers::{Found, Names};

/// All that may be of one of these names, and which node could not be looked at.
pub fn leftovers(state: &State, names: &Names) -> (Vec<Found>, Option<String>) {
    let (mut found, mut missing) = (Vec::new(), None);
    for host in &state.hosts {
        let (Some(server), Some(node)) = (host.server::<RedisServer>(), host.node()) else { continue };
        if host.power != Power::Running {
            missing = Some(format!("{node} is down"));
            continue;
        }
        let now = host.clock.wall_ms(state.now);
        for (key, entry) in server.model().entries() {
            let left = entry.deadline.map(|deadline| deadline - now);
            if names.lock_of(key).is_none() || left.is_some_and(|left| left < 0) {
                continue;
            }
            let time_left = left.map(|left| left.unsigned_abs() * 1_000_000);
            let (name, owner) = (key.to_owned(), entry.value.to_string());
            found.push(Found { left: Left { node: Some(node), name, owner, time_left }, client: None });
        }
    }
    (found, missing)
}
