//! What the simulated servers still have: their state, looked at from outside, which nobody in the simulation can notice.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::node::Role;
use super::world::{Power, State, World};
use super::zookeeper;
use crate::env::leftovers::{Found, Names, Servers};
use crate::env::session_text;
use crate::fault::Member;
use crate::history::Left;
use crate::ids::ClientId;

/// The servers of a world.
pub(super) struct Inside(pub Arc<World>);

impl Servers for Inside {
    fn look<'a>(&'a self, names: &'a Names) -> BoxFuture<'a, (Vec<Found>, Option<String>)> {
        let state = self.0.lock();
        let (mut found, mut missing) = (Vec::new(), None);
        for host in &state.hosts {
            let Some(Member::Node(node)) = host.member else { continue };
            match &host.role {
                Role::Redis(model) if host.power == Power::Running => {
                    let now = host.clock.wall_ms(state.now);
                    for (key, entry) in model.entries() {
                        let left = entry.deadline.map(|deadline| deadline - now);
                        if names.lock_of(key).is_none() || left.is_some_and(|left| left < 0) {
                            continue;
                        }
                        let time_left = left.map(|left| left.unsigned_abs() * 1_000_000);
                        let (name, owner) = (key.to_owned(), entry.value.to_string());
                        let left = Left { node: Some(node), name, owner, time_left };
                        found.push(Found { left, client: None });
                    }
                }
                Role::Redis(_) => missing = Some(format!("{node} is down")),
                _ => {}
            }
        }
        let (in_ensemble, leaderless) = state.contenders(names);
        found.extend(in_ensemble);
        let (in_etcd, unled) = state.contenders_in_etcd(names);
        found.extend(in_etcd);
        let missing = missing.or(leaderless).or(unled);
        std::future::ready((found, missing)).boxed()
    }
}

impl State {
    /// What the leader of an etcd cluster has, if there is a cluster; why not, if nobody leads it.
    fn contenders_in_etcd(&self, names: &Names) -> (Vec<Found>, Option<String>) {
        let is_etcd = |host: &&super::world::Host| matches!(host.role, Role::Etcd(_));
        if !self.hosts.iter().any(|host| is_etcd(&host)) {
            return (Vec::new(), None);
        }
        let leader = self.etcd_leader();
        let host = self.hosts.iter().find(|host| {
            let Role::Etcd(node) = &host.role else { return false };
            leader.is_some_and(|leader| leader.id() == node.server.id())
        });
        let (Some(leader), Some(host)) = (leader, host) else {
            return (Vec::new(), Some("nobody leads etcd".to_owned()));
        };
        let left = leader.keys(host.clock.mono(self.now)).filter(|(key, ..)| names.lock_of(key).is_some());
        let found = left.map(|(key, lease, left)| {
            let time_left = left.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
            let owner = format!("lease {lease:016x}");
            Found { left: Left { node: None, name: key.to_owned(), owner, time_left }, client: None }
        });
        (found.collect(), None)
    }

    /// What the leader of an ensemble has, if there is an ensemble; why not, if nobody leads it.
    fn contenders(&self, names: &Names) -> (Vec<Found>, Option<String>) {
        let servers = self.hosts.iter().filter_map(|host| match &host.role {
            Role::Zookeeper(node) => Some((host, node)),
            _ => None,
        });
        let mut servers = servers.peekable();
        if servers.peek().is_none() {
            return (Vec::new(), None);
        }
        let leads = |node: &super::zk_node::ZkNode| node.server.role() == zookeeper::Role::Leading;
        let Some((_, leader)) = servers.clone().find(|(host, node)| host.frozen.is_none() && leads(node)) else {
            return (Vec::new(), Some("nobody leads the ensemble".to_owned()));
        };
        // The client at the other end of each session's connection.
        let mut clients: BTreeMap<i64, ClientId> = BTreeMap::new();
        for (connection, session) in servers.flat_map(|(_, node)| node.server.connected()) {
            let ends = self.net.connections.get(connection.0 as usize);
            let ends = ends.filter(|ends| ends.open == [true, true]);
            if let Some(Some(Member::Client(client))) = ends.map(|ends| self.hosts[ends.hosts[0]].member) {
                clients.insert(session, client);
            }
        }
        let left = leader.server.znodes().filter(|(path, _)| names.lock_of(path).is_some());
        let found = left.map(|(path, stat)| {
            let owner = session_text(stat.ephemeral_owner);
            let client = clients.get(&stat.ephemeral_owner).copied();
            Found { left: Left { node: None, name: path.to_owned(), owner, time_left: None }, client }
        });
        (found.collect(), None)
    }
}
