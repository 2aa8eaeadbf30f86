//! What the cluster still has: the keys of its leader, looked at from outside.

use super::node::EtcdServer;
use crate::env::sim::engine::state::State;
use crate::history::Left;
use crate::trial::leftovers::{Found, Names};

/// All that may be of one of these names, or why there is nobody to ask.
pub fn leftovers(state: &State, names: &Names) -> (Vec<Found>, Option<String>) {
    let leader = state.leader();
    let host = state.hosts.iter().find(|host| leader.is_some() && host.node() == leader);
    let Some((host, member)) = host.and_then(|host| Some((host, host.server::<EtcdServer>()?))) else {
        return (Vec::new(), Some("nobody leads etcd".to_owned()));
    };
    let left = member.model().keys(host.clock.mono(state.now)).filter(|(key, ..)| names.lock_of(key).is_some());
    let found = left.map(|(key, lease, left)| {
        let time_left = left.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
        let owner = format!("lease {lease:016x}");
        Found { left: Left { node: None, name: key.to_owned(), owner, time_left }, client: None }
    });
    (found.collect(), None)
}
