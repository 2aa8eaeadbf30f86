//! Faults on the simulated world: applied, looked at, undone.
//!
//! Probes look at the world's state itself (machines, links, clocks), never at what was asked for. Deliberately absent:
//! when a fault strikes; that is the nemesis's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::clients::Clients;
use super::engine::ids::{HostId, Power};
use super::engine::state::State;
use super::engine::sync::lock;
use crate::fault::{ClockChange, Grudge, Member, Refusal, RequestRule, Strike};
use crate::history::{ClockReading, Probe};
use crate::ids::{ClientId, NodeId};
use crate::nemesis::{Environment, FaultError};
use crate::time::Nanos;
use crate::trial::client::stall;

/// For each link, from one machine to another: how many segments were ever struck there, or requests by one strike.
type Struck = BTreeMap<(HostId, HostId), u64>;

/// The faults of one trial.
pub(super) struct Faults {
    clients: Arc<Clients>,
    active: Mutex<BTreeMap<u32, (Strike, Struck)>>,
}

impl Faults {
    /// Faults on the members of these clients' world.
    pub fn new(clients: Arc<Clients>) -> Self {
        Self { clients, active: Mutex::default() }
    }

    fn hosts(&self, members: &[Member]) -> Result<Vec<(Member, HostId)>, FaultError> {
        let host = |member: &Member| {
            let host = self.clients.hosts.get(member).copied();
            host.map(|host| (*member, host)).ok_or_else(|| FaultError(format!("there is no {member} in this trial")))
        };
        members.iter().map(host).collect()
    }

    /// The links that a grudge means, each once, by their ends: from, to.
    fn links(&self, grudge: &Grudge) -> Result<BTreeSet<(HostId, HostId)>, FaultError> {
        let host = |member| Ok(self.hosts(&[member])?[0].1);
        grudge.links().into_iter().map(|(from, to)| Ok((host(from)?, host(to)?))).collect()
    }

    /// The links between a client and a lock server that a grudge means: from the client, to the server.
    fn asked(&self, grudge: &Grudge) -> Result<BTreeSet<(HostId, HostId)>, FaultError> {
        let host = |member| Ok(self.hosts(&[member])?[0].1);
        let links = grudge.client_links().into_iter();
        links.map(|(client, node)| Ok((host(Member::Client(client))?, host(Member::Node(node))?))).collect()
    }

    fn strike(&self, id: u32, strike: &Strike) -> Result<Vec<Probe>, FaultError> {
        let mut probes = self.look(id, strike, Stage::Before)?;
        self.change(id, strike)?;
        let struck = self.struck(id, strike)?;
        lock(&self.active).insert(id, (strike.clone(), struck));
        probes.extend(self.look(id, strike, Stage::During)?);
        Ok(probes)
    }

    /// Changes the world: all of the strike or nothing.
    fn change(&self, id: u32, strike: &Strike) -> Result<(), FaultError> {
        let mut state = self.clients.world.lock();
        match strike {
            Strike::Freeze(members) => {
                let hosts = self.hosts(members)?;
                if let Some((member, host)) = hosts.iter().find(|(_, host)| power(&state, *host) != "running") {
                    return Err(FaultError(format!("{member} is {} already", power(&state, *host))));
                }
                hosts.iter().for_each(|(_, host)| state.freeze(*host));
            }
            Strike::Kill(members) | Strike::PowerLoss(members) => {
                let hosts = self.hosts(members)?;
                if let Some((member, _)) = hosts.iter().find(|(_, host)| state.hosts[*host].power != Power::Running) {
                    return Err(FaultError(format!("{member} is down already")));
                }
                let to = if matches!(strike, Strike::Kill(_)) { Power::Killed } else { Power::Off };
                hosts.iter().for_each(|(_, host)| state.crash(*host, to));
                drop(state);
                for member in members {
                    if let Member::Client(client) = member {
                        self.clients.died(*client);
                    }
                }
            }
            Strike::Cut { links, refusal } => {
                for (from, to) in self.links(links)? {
                    *state.net.link(from, to).closed(*refusal) += 1;
                }
            }
            Strike::Delay { links, extra } => {
                for (from, to) in self.links(links)? {
                    state.net.troubles(from, to).delays.insert(id, *extra);
                }
            }
            Strike::Loss { links, permille } => {
                for (from, to) in self.links(links)? {
                    state.net.troubles(from, to).losses.insert(id, *permille);
                }
            }
            Strike::Clock { members, change } => {
                self.hosts(members)?.iter().for_each(|(_, host)| state.change_clock(*host, id, change));
            }
            Strike::Requests { links, rule } => {
                for (client, node) in self.asked(links)? {
                    state.net.troubles(client, node).gate.arm(id, *rule);
                }
            }
        }
        Ok(())
    }

    fn undo(&self, id: u32) -> Result<Vec<Probe>, FaultError> {
        let Some((strike, before)) = lock(&self.active).remove(&id) else { return Ok(Vec::new()) };
        // What a clock has gained or lost is seen at the end only.
        let mut probes = match &strike {
            Strike::Clock { change: ClockChange::Drift { .. }, .. } => self.look(id, &strike, Stage::Until)?,
            _ => Vec::new(),
        };
        let struck = self.struck(id, &strike)?;
        self.change_back(id, &strike)?;
        let mut after = self.look(id, &strike, Stage::After)?;
        // One look for each link, in the same order.
        for (probe, (link, count)) in after.iter_mut().zip(&struck) {
            probe.struck = Some(count - before.get(link).copied().unwrap_or_default());
        }
        probes.extend(after);
        Ok(probes)
    }

    /// How many segments were ever struck on each link that a strike is about; of one of requests, how many it struck.
    fn struck(&self, id: u32, strike: &Strike) -> Result<Struck, FaultError> {
        if let Strike::Requests { links, .. } = strike {
            let mut state = self.clients.world.lock();
            let count = |(client, node)| {
                let struck = state.net.troubles(client, node).gate.struck(id).unwrap_or_default();
                ((client, node), struck)
            };
            return Ok(self.asked(links)?.into_iter().map(count).collect());
        }
        let (Strike::Cut { links, .. } | Strike::Delay { links, .. } | Strike::Loss { links, .. }) = strike else {
            return Ok(BTreeMap::new());
        };
        let mut state = self.clients.world.lock();
        let links = self.links(links)?.into_iter();
        Ok(links.map(|(from, to)| ((from, to), state.net.troubles(from, to).struck)).collect())
    }

    fn change_back(&self, id: u32, strike: &Strike) -> Result<(), FaultError> {
        let mut state = self.clients.world.lock();
        match strike {
            Strike::Freeze(members) => {
                for (member, host) in self.hosts(members)? {
                    let since = state.thaw(host);
                    if let (Member::Client(client), Some(since)) = (member, since) {
                        note_stall(&mut state, host, client, since);
                    }
                }
            }
            Strike::Kill(members) | Strike::PowerLoss(members) => {
                self.hosts(members)?.iter().for_each(|(_, host)| state.restart(*host));
                drop(state);
                for member in members {
                    if let Member::Client(client) = member {
                        self.clients.start(*client);
                    }
                }
            }
            Strike::Cut { links, refusal } => {
                for (from, to) in self.links(links)? {
                    let closed = state.net.link(from, to).closed(*refusal);
                    *closed = closed.saturating_sub(1);
                }
            }
            Strike::Delay { links, .. } => {
                for (from, to) in self.links(links)? {
                    state.net.troubles(from, to).delays.remove(&id);
                }
            }
            Strike::Loss { links, .. } => {
                for (from, to) in self.links(links)? {
                    state.net.troubles(from, to).losses.remove(&id);
                }
            }
            Strike::Clock { members, .. } => {
                self.hosts(members)?.iter().for_each(|(_, host)| state.undo_clock(*host, id));
            }
            Strike::Requests { links, .. } => {
                for (client, node) in self.asked(links)? {
                    state.net.troubles(client, node).gate.disarm(id);
                }
                state.end_deaf(id);
            }
        }
        Ok(())
    }

    /// Looks at what a strike is about.
    fn look(&self, id: u32, strike: &Strike, stage: Stage) -> Result<Vec<Probe>, FaultError> {
        let during = matches!(stage, Stage::During | Stage::Until);
        let mut state = self.clients.world.lock();
        let mut probes = Vec::new();
        match strike {
            Strike::Freeze(members) | Strike::Kill(members) | Strike::PowerLoss(members) => {
                let struck = if matches!(strike, Strike::Freeze(_)) { "paused" } else { "down" };
                for (member, host) in self.hosts(members)? {
                    let expected = if during { struck } else { "running" };
                    probes.push(stage.probe(format!("state of {member}"), expected, power(&state, host)));
                }
            }
            Strike::Cut { links, refusal } => {
                let expected = match (during, refusal) {
                    (false, _) => "reachable",
                    (true, Refusal::Drop) => "blocked",
                    (true, Refusal::Reset) => "reset",
                };
                for (from, to) in self.links(links)? {
                    let observed = state.carries(from, to);
                    probes.push(stage.probe(name(&state, from, to), expected, observed));
                }
            }
            Strike::Delay { links, extra } => {
                let told = |extra: Option<&(Duration, Duration)>| {
                    extra.map_or("prompt".to_owned(), |(least, most)| format!("{least:?}..{most:?} late"))
                };
                for (from, to) in self.links(links)? {
                    let seen = told(state.net.troubles(from, to).delays.get(&id));
                    probes.push(stage.probe(name(&state, from, to), &told(during.then_some(extra)), &seen));
                }
            }
            Strike::Loss { links, permille } => {
                let told = |permille: Option<&u32>| match permille {
                    None => "loses nothing".to_owned(),
                    Some(permille) => format!("loses {permille} of 1000"),
                };
                for (from, to) in self.links(links)? {
                    let seen = told(state.net.troubles(from, to).losses.get(&id));
                    probes.push(stage.probe(name(&state, from, to), &told(during.then_some(permille)), &seen));
                }
            }
            Strike::Clock { members, change } => {
                for (member, host) in self.hosts(members)? {
                    let clock = &state.hosts[host].clock;
                    let (what, expected, observed) = match change {
                        ClockChange::Drift { ppm } => ("rate of", *ppm, clock.drift_ppm(id)),
                        ClockChange::Jump { by_ns } | ClockChange::Strobe { by_ns, .. } => {
                            ("error in ms of", by_ns / 1_000_000, clock.jump_ns(id) / 1_000_000)
                        }
                    };
                    let expected = if during { expected } else { 0 };
                    let what = format!("{what} the clock of {member}");
                    let mut probe = stage.probe(what, &expected.to_string(), &observed.to_string());
                    let (at, error) = (Nanos(state.now), clock.wall_error(state.now));
                    probe.clock = Some(ClockReading { member, at, error, expected: None, uncertainty: 0 });
                    probes.push(probe);
                }
            }
            Strike::Requests { links, rule } => {
                let told = |rule: Option<RequestRule>| rule.map_or("handed on".to_owned(), |rule| rule.to_string());
                for (client, node) in self.asked(links)? {
                    let seen = told(state.net.troubles(client, node).gate.rule(id));
                    let what = format!("requests of {}", name(&state, client, node));
                    probes.push(stage.probe(what, &told(during.then_some(*rule)), &seen));
                }
            }
        }
        Ok(probes)
    }
}

/// When a probe looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    During,
    /// Just before it is undone.
    Until,
    After,
}

impl Stage {
    fn probe(self, what: String, expected: &str, observed: &str) -> Probe {
        let when = match self {
            Self::Before => "before",
            Self::During => "during",
            Self::Until => "until the end",
            Self::After => "after",
        };
        Probe::new(format!("{when}: {what}"), expected, observed)
    }
}

fn power(state: &State, host: HostId) -> &'static str {
    let host = &state.hosts[host];
    match host.power {
        Power::Running if host.frozen.is_some() => "paused",
        Power::Running => "running",
        Power::Killed | Power::Off => "down",
    }
}

fn name(state: &State, from: HostId, to: HostId) -> String {
    let name = |host: HostId| state.hosts[host].member.map_or(String::new(), |member| member.to_string());
    format!("{} to {}", name(from), name(to))
}

/// What a client's own monitor sees when it runs again.
fn note_stall(state: &mut State, host: HostId, client: ClientId, since: u64) {
    if let Some(op) = stall(client, Nanos(since), Nanos(state.now)) {
        state.record(host, op);
    }
}

impl Environment for Faults {
    fn apply<'a>(
        &'a self,
        id: u32,
        strike: &'a Strike,
        _duration: Duration,
    ) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        ready(self.strike(id, strike)).boxed()
    }

    fn heal(&self, id: u32) -> BoxFuture<'_, Result<Vec<Probe>, FaultError>> {
        ready(self.undo(id)).boxed()
    }

    fn means(&self, _: &Strike) -> &'static str {
        ""
    }

    fn go(&self, client: ClientId, number: u64) {
        self.clients.go(client, number);
    }

    fn leader(&self) -> BoxFuture<'_, Option<NodeId>> {
        ready(self.clients.world.lock().leader()).boxed()
    }

    fn session_server(&self, client: ClientId) -> BoxFuture<'_, Option<NodeId>> {
        let client = self.clients.host(Member::Client(client));
        ready(self.clients.world.lock().session_server(client)).boxed()
    }
}
