//! What a trial's plan asks of its clients, its servers and its faults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::Trial;
use super::containers::clock_folder;
use super::stage::Stage;
use crate::env::docker::backends;
use crate::env::docker::faults::{ClockPlace, ClockReader, Faults, Place, Tools};
use crate::env::docker::known::Known;
use crate::env::docker::messages::{ClientPlan, Order, RESOURCE_PORT, ResourcePlan, Speaker};
use crate::fault::{Member, Target};
use crate::phase::Phase;
use crate::scenario::LockConfig;

/// How long a member may take to come back, beyond the time that a fault stops it. Until then the watchdog leaves a
/// fault alone whose end that puts off; at a load of 14 on each processor a server in Java took 7.6 s, and with 8 s
/// here a clock was set right before its fault was over.
const COMING_BACK: Duration = Duration::from_secs(25);

impl Trial<'_> {
    pub(super) fn faults(&self, stage: &Stage<'_>) -> anyhow::Result<Faults> {
        let backend = self.case.config.backend();
        let mut places = BTreeMap::new();
        for (speaker, container) in &stage.containers {
            let address = self.address(*speaker)?;
            let clock = match speaker {
                Speaker::Client(client) => clock_folder(stage.folder, *speaker)
                    .map(|folder| ClockPlace { folder, reader: ClockReader::Client(*client) }),
                Speaker::Resource => None,
            };
            places.insert(
                Member::from(*speaker),
                Place { container: container.clone(), address, published: None, clock },
            );
        }
        for server in self.servers() {
            let published = server.published;
            let reader = ClockReader::Server(backend, published);
            let container = server.container.clone();
            let clock = container.clock.clone().map(|folder| ClockPlace { folder, reader });
            let (address, published) = (server.address, Some(published));
            places.insert(Member::Node(server.node), Place { container, address, published, clock });
        }
        // No plan asks servers that are not ours who leads, and they need not say so.
        let is_asked = backends::of(backend).has_leader() && self.external.is_none();
        let asked = self.servers().iter().filter(|_| is_asked).map(|server| (server.node, server.published));
        let ensemble = (backend, asked.collect());
        let tools = Tools {
            engine: self.cluster.engine.clone(),
            journal: Arc::clone(&self.journal),
            netns: self.netns.clone(),
            put_off: self.put_off(),
        };
        let (orders, known) = (stage.control.orders.clone(), Arc::clone(&stage.known));
        Ok(Faults::new(tools, places, orders, known, ensemble, self.number.to_string()))
    }

    /// How long a fault's end may be put off by another of the plan that hides it.
    pub(super) fn put_off(&self) -> Duration {
        let stops = self.case.scenario.faults.iter().filter(|fault| fault.kind.is_stop());
        stops.map(|fault| fault.duration + COMING_BACK).max().unwrap_or_default()
    }

    /// Whether the plan itself may stop all clients at once.
    pub(super) fn freezes_all(&self) -> bool {
        let clients = self.case.scenario.workload.clients as usize;
        let stops_all = |target: &Target| match target {
            Target::Members(members) => {
                members.iter().filter(|one| matches!(one, Member::Client(_))).count() >= clients
            }
            // One at a time; faults of several entries may meet.
            _ => false,
        };
        let stops: Vec<_> =
            self.case.scenario.faults.iter().filter(|fault| fault.kind.is_stop() && fault.target.is_client()).collect();
        stops.len() >= clients || stops.iter().any(|fault| stops_all(&fault.target))
    }

    /// Whether clients reach their servers by doors of their own, where their requests are read: if the plan strikes
    /// requests, or at a step inside of a program that nobody here wrote.
    pub(super) fn proxied(&self) -> bool {
        let is_foreign = matches!(self.case.config, LockConfig::Adapter(_));
        let inside = [Phase::Acquiring, Phase::VotesIn, Phase::InLine, Phase::Renewing];
        self.case.strikes_requests() || (is_foreign && self.case.announced().iter().any(|phase| inside.contains(phase)))
    }

    pub(super) fn plan_for(&self, speaker: Speaker, known: &Known) -> anyhow::Result<Order> {
        let workload = &self.case.scenario.workload;
        Ok(match speaker {
            Speaker::Resource => Order::Resource(ResourcePlan {
                kind: workload.kind,
                fencing: self.case.scenario.resource.fencing,
                items: workload.locks,
            }),
            Speaker::Client(client) => Order::Client(Box::new(ClientPlan {
                client,
                life: known.lives().life(client).with_context(|| format!("there is no {client} in this trial"))?,
                seed: self.case.seed,
                workload: workload.clone(),
                lock: self.case.config.clone(),
                namespace: self.namespace(),
                servers: self.servers().iter().map(|server| SocketAddr::from((server.address, server.port))).collect(),
                external: self.external.map(|doors| doors.servers().clone()),
                resource: SocketAddr::from((self.address(Speaker::Resource)?, RESOURCE_PORT)),
                announce: self.case.announced(),
                proxied: self.proxied(),
            })),
        })
    }
}
