//! What the ensemble still has: the znodes of its leader, looked at from outside.

use std::collections::BTreeMap;

use super::node::ZookeeperServer;
use crate::env::session_text;
use crate::env::sim::engine::state::{Host, State};
use crate::fault::Member;
use crate::history::Left;
use crate::ids::ClientId;
use crate::trial::leftovers::{Found, Names};

/// All that may be of one of these names, or why there is nobody to ask.
pub fn leftovers(state: &State, names: &Names) -> (Vec<Found>, Option<String>) {
    let leader = state.leader();
    let is_leader = |host: &&Host| leader.is_some() && host.node() == leader;
    let Some(leader) = state.hosts.iter().find(is_leader).and_then(|host| host.server::<ZookeeperServer>()) else {
        return (Vec::new(), Some("nobody leads the ensemble".to_owned()));
    };
    // The client at the other end of each session's connection.
    let mut clients: BTreeMap<i64, ClientId> = BTreeMap::new();
    let servers = state.hosts.iter().filter_map(|host| host.server::<ZookeeperServer>());
    for (connection, session) in servers.flat_map(|server| server.model().connected()) {
        let ends = state.net.connections.get(connection.0 as usize);
        let ends = ends.filter(|ends| ends.open == [true, true]);
        if let Some(Some(Member::Client(client))) = ends.map(|ends| state.hosts[ends.hosts[0]].member) {
            clients.insert(session, client);
        }
    }
    let left = leader.model().znodes().filter(|(path, _)| names.lock_of(path).is_some());
    let found = left.map(|(path, stat)| {
        let owner = session_text(stat.ephemeral_owner);
        let client = clients.get(&stat.ephemeral_owner).copied();
        Found { left: Left { node: None, name: path.to_owned(), owner, time_left: None }, client }
    });
    (found.collect(), None)
}
