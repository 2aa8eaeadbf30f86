//! Commands in another container's network namespace.
//!
//! They run in a helper container that shares the target's network and has `NET_ADMIN`, so that targets need neither
//! tools nor capabilities of their own, and a frozen target can be reached as well.

use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::WaitContainerOptions;
use futures_util::stream::StreamExt;

use super::engine::{Engine, EngineError, Role, api, labels};
use super::images::TOOLS;
use crate::fault::Direction;

/// How long a probe waits for a handshake. On one host it takes a millisecond; a busy host gets some more.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// How often a link is tried before it counts as blocked, where it should be open.
const HANDSHAKE_TRIES: u32 = 6;

/// The names of our nft tables begin with this.
pub const TABLE_PREFIX: &str = "fencepost_";

/// A peer of a link, and a port of it to knock at. A port where nobody listens is as good: a refusal is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
}

/// A script for a helper container.
#[derive(Clone, Debug, Default)]
pub struct Script(String);

impl Script {
    /// Deletes all our tables, if there are any, and prints their names.
    pub fn delete_all_tables(mut self) -> Self {
        self.0 += &format!(
            "for table in $(nft list tables inet | grep -o '{TABLE_PREFIX}[a-z0-9_]*' || true); do \
             nft delete table inet $table; echo $table; done\n"
        );
        self
    }

    /// Deletes one of our tables; one that is gone is fine.
    pub fn delete_table(mut self, table: &str) -> Self {
        self.0 += &format!("nft delete table inet {table} 2>/dev/null || true\n");
        self
    }

    /// Drops packets to or from `peers`, in one transaction. The kernel itself forgets the peers after `expiry`: a cut
    /// ends even if everybody who could end it is dead.
    pub fn cut(mut self, table: &str, peers: &[Peer], direction: Direction, expiry: Duration) -> Self {
        let expiry = expiry.as_millis();
        let elements: Vec<_> = peers.iter().map(|peer| format!("{} timeout {expiry}ms", peer.address)).collect();
        let chain = |hook: &str, side: &str| {
            format!("chain {hook} {{ type filter hook {hook} priority -300; ip {side} @peers counter drop; }}\n")
        };
        let input = if direction.drops_in() { chain("input", "saddr") } else { String::new() };
        let output = if direction.drops_out() { chain("output", "daddr") } else { String::new() };
        self.0 += &format!(
            "nft -f - <<'END'\ntable inet {table} {{\n\
             set peers {{ type ipv4_addr; flags timeout; elements = {{ {} }}; }}\n{input}{output}}}\nEND\n",
            elements.join(", ")
        );
        self
    }

    /// Prints a line `LABEL ADDRESS reachable` for each peer that can be reached, `… blocked` for each that can't. One
    /// success proves a link open, so on a busy host it is tried a few times.
    pub fn probe_open(self, label: &str, peers: &[Peer]) -> Self {
        self.probe(label, peers, HANDSHAKE_TRIES)
    }

    /// As [`Script::probe_open`], with one try: that a link is blocked shows by silence.
    pub fn probe_blocked(self, label: &str, peers: &[Peer]) -> Self {
        self.probe(label, peers, 1)
    }

    fn probe(mut self, label: &str, peers: &[Peer], tries: u32) -> Self {
        let limit = HANDSHAKE.as_secs_f64();
        for Peer { address, port } in peers {
            // 124: timeout's own code. A refused handshake fails at once, and shows that packets travel.
            self.0 += &format!(
                "( for try in $(seq {tries}); do code=0; \
                 timeout {limit} bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null || code=$?; \
                 if [ $code != 124 ]; then echo {label} {address} reachable; exit; fi; done; \
                 echo {label} {address} blocked ) &\n"
            );
        }
        self.0 += "wait\n";
        self
    }

    /// Runs the script in the network namespace of `container`; what it printed.
    ///
    /// # Errors
    /// The helper could not be run, or the script failed.
    pub async fn run(self, engine: &Engine, container: &str, name: &str) -> Result<String, EngineError> {
        let docker = engine.docker();
        let body = ContainerCreateBody {
            image: Some(TOOLS.to_owned()),
            entrypoint: Some(vec!["bash".to_owned(), "-e".to_owned(), "-c".to_owned()]),
            cmd: Some(vec![self.0]),
            user: Some("0".to_owned()),
            labels: Some(labels(Role::Helper, None)),
            host_config: Some(HostConfig {
                network_mode: Some(format!("container:{container}")),
                cap_add: Some(vec!["NET_ADMIN".to_owned()]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let doing = || format!("run a helper in the network of {name}");
        let helper = docker.create_container(None, body).await.map_err(api(doing()))?.id;
        let outcome = async {
            docker.start_container(&helper, None).await.map_err(api(doing()))?;
            // A non-zero exit comes as an error with the code; what the script printed says more.
            let exit = docker.wait_container(&helper, None::<WaitContainerOptions>).next().await;
            let printed = engine.logs_own(&helper, "a helper").await?;
            match exit {
                Some(Ok(exit)) if exit.status_code == 0 => Ok(printed),
                _ => Err(EngineError::Script { name: name.to_owned(), printed: printed.trim().to_owned() }),
            }
        };
        let outcome = outcome.await;
        engine.remove_own(&helper, "a helper").await?;
        outcome
    }
}

/// Reads what [`Script::probe_open`] printed under `label`: each peer, and whether it was reachable.
pub fn read_probes<'a>(printed: &'a str, label: &'a str) -> impl Iterator<Item = (Ipv4Addr, &'a str)> {
    printed.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        (words.next()? == label).then_some(())?;
        Some((words.next()?.parse().ok()?, words.next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: [Peer; 1] = [Peer { address: Ipv4Addr::new(10, 0, 0, 7), port: 6379 }];

    fn script(direction: Direction) -> String {
        Script::default().cut("fencepost_1", &PEERS, direction, Duration::from_secs(3)).0
    }

    #[test]
    fn a_one_way_cut_drops_one_way() {
        let (both, out, back) = (script(Direction::Both), script(Direction::Out), script(Direction::In));
        assert!(both.contains("hook input") && both.contains("hook output"));
        assert!(!out.contains("hook input") && out.contains("hook output") && out.contains("daddr"));
        assert!(back.contains("hook input") && !back.contains("hook output") && back.contains("saddr"));
    }

    #[test]
    fn every_cut_expires_by_itself() {
        assert!(script(Direction::Both).contains("10.0.0.7 timeout 3000ms"));
    }

    #[test]
    fn probes_are_read_by_label() {
        let printed = "before 10.0.0.7 reachable\nduring 10.0.0.7 blocked\nnoise\n";
        assert_eq!(read_probes(printed, "during").collect::<Vec<_>>(), [(PEERS[0].address, "blocked")]);
    }
}
