//! Faults on the containers of one trial: applied, looked at from both sides, undone.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::engine::{Container, Engine, Role};
use super::heal;
use super::hub::Orders;
use super::journal::{Entry, Journal, Undo};
use super::messages::{Order, Speaker};
use super::netns::{Peer, Script, TABLE_PREFIX, read_probes};
use super::wire;
use crate::env::{Environment, FaultError};
use crate::fault::{Grudge, Member, Strike};
use crate::history::Probe;
use crate::ids::{ClientId, NodeId};
use crate::time::{BootClock, Clock};

/// How long after its planned end a fault may last before the watchdog undoes it, and the kernel forgets a cut.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long a server may take to say whether it leads.
const PATIENCE: Duration = Duration::from_millis(500);

/// One member of the trial: its container, and where it can be knocked at.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its container.
    pub container: Container,
    /// Its address in the cluster's network, and a port.
    pub peer: Peer,
}

/// The faults of one trial.
pub struct Faults {
    engine: Engine,
    journal: Arc<Journal>,
    places: BTreeMap<Member, Place>,
    orders: Orders,
    ensemble: Vec<(NodeId, std::net::SocketAddr)>,
    /// Makes table names of concurrent trials differ.
    tag: String,
    active: Mutex<BTreeMap<u32, Vec<Wound>>>,
}

/// What one strike did to one member.
#[derive(Clone, Debug)]
struct Wound {
    member: Member,
    entry: Entry,
    /// For a cut: the peers.
    peers: Vec<Member>,
}

impl Faults {
    /// Faults on `places`. `ensemble` is asked for its leader.
    pub fn new(
        engine: Engine,
        journal: Arc<Journal>,
        places: BTreeMap<Member, Place>,
        orders: Orders,
        ensemble: Vec<(NodeId, std::net::SocketAddr)>,
        tag: String,
    ) -> Self {
        Self { engine, journal, places, orders, ensemble, tag, active: Mutex::default() }
    }

    fn place(&self, member: Member) -> Result<&Place, FaultError> {
        self.places.get(&member).ok_or_else(|| FaultError(format!("there is no {member} in this trial")))
    }

    fn peers(&self, members: &[Member]) -> Result<Vec<Peer>, FaultError> {
        members.iter().map(|member| Ok(self.place(*member)?.peer)).collect()
    }

    /// Writes a fault down before it is applied.
    fn note(&self, wound: &Wound, duration: Duration) -> Result<(), FaultError> {
        self.journal
            .apply(&wound.entry, BootClock.now() + duration + GRACE)
            .map_err(|error| FaultError(format!("not applied, the journal cannot be written: {error}")))
    }

    async fn freeze(&self, member: Member, duration: Duration) -> Result<(Wound, Vec<Probe>), FaultError> {
        let Place { container, .. } = self.place(member)?;
        let entry = Entry { container: container.id().to_owned(), name: container.name.clone(), undo: Undo::Unpause };
        let wound = Wound { member, entry, peers: Vec::new() };
        let before = self.container_state(member, "before", "running").await?;
        self.note(&wound, duration)?;
        if let Err(error) = self.engine.pause(container).await {
            return Err(self.give_up(&wound, error.to_string()).await);
        }
        let during = self.container_state(member, "during", "paused").await?;
        Ok((wound, vec![before, during]))
    }

    async fn cut(
        &self,
        id: u32,
        member: Member,
        grudge: &Grudge,
        duration: Duration,
    ) -> Result<(Wound, Vec<Probe>), FaultError> {
        let Place { container, .. } = self.place(member)?;
        let table = format!("{TABLE_PREFIX}{}_{id}", self.tag);
        let entry = Entry {
            container: container.id().to_owned(),
            name: container.name.clone(),
            undo: Undo::DeleteTable(table.clone()),
        };
        let members = grudge.cuts.get(&member).cloned().unwrap_or_default();
        let peers = self.peers(&members)?;
        let wound = Wound { member, entry, peers: members };
        self.note(&wound, duration)?;
        let script = Script::default()
            .probe_open("before", &peers)
            .cut(&table, &peers, grudge.direction, duration + GRACE)
            .probe_blocked("during", &peers);
        match script.run(&self.engine, container.id(), &container.name).await {
            Ok(printed) => {
                let mut probes = self.link_probes(&wound, &printed, "before", "reachable");
                probes.extend(self.link_probes(&wound, &printed, "during", "blocked"));
                Ok((wound, probes))
            }
            Err(error) => Err(self.give_up(&wound, error.to_string()).await),
        }
    }

    async fn undo(&self, wound: &Wound) -> Result<Vec<Probe>, FaultError> {
        let failed =
            |error: &dyn std::fmt::Display| FaultError(format!("{} could not be healed: {error}", wound.member));
        let Place { container, .. } = self.place(wound.member)?;
        let probes = match &wound.entry.undo {
            Undo::Unpause => {
                self.engine.unpause(container).await.map_err(|error| failed(&error))?;
                vec![self.container_state(wound.member, "after", "running").await?]
            }
            Undo::DeleteTable(table) => {
                let script = Script::default().delete_table(table).probe_open("after", &self.peers(&wound.peers)?);
                let printed = script.run(&self.engine, container.id(), &container.name).await;
                self.link_probes(wound, &printed.map_err(|error| failed(&error))?, "after", "reachable")
            }
        };
        self.journal.healed(&wound.entry).map_err(|error| failed(&error))?;
        Ok(probes)
    }

    /// Undoes a fault that could not be applied as it should; why, in words.
    async fn give_up(&self, wound: &Wound, why: String) -> FaultError {
        let containers = self.engine.containers().await.unwrap_or_default();
        match heal::undo(&self.engine, &containers, &wound.entry).await {
            // What could not be written down as healed is healed again, which does no harm.
            Ok(()) => drop(self.journal.healed(&wound.entry)),
            Err(error) => return FaultError(format!("{why}; and it could not be undone: {error}")),
        }
        FaultError(why)
    }

    async fn container_state(&self, member: Member, when: &str, expected: &str) -> Result<Probe, FaultError> {
        let Place { container, .. } = self.place(member)?;
        let observed = self.engine.state(container).await.map_err(|error| FaultError(error.to_string()))?;
        let what = format!("{when}: state of {member}");
        Ok(Probe { what, expected: expected.to_owned(), observed: observed.to_string() })
    }

    /// One probe for each peer of a cut; a peer that the script said nothing of was not looked at.
    fn link_probes(&self, wound: &Wound, printed: &str, when: &str, expected: &str) -> Vec<Probe> {
        let seen: BTreeMap<Ipv4Addr, &str> = read_probes(printed, when).collect();
        let probe = |peer: &Member| {
            let observed = self.places.get(peer).and_then(|place| seen.get(&place.peer.address)).copied();
            Probe {
                what: format!("{when}: {} to {peer}", wound.member),
                expected: expected.to_owned(),
                observed: observed.unwrap_or("not looked at").to_owned(),
            }
        };
        wound.peers.iter().map(probe).collect()
    }
}

fn unavailable(what: &str) -> FaultError {
    FaultError(format!("{what} not available in environment docker yet"))
}

impl Environment for Faults {
    fn apply<'a>(
        &'a self,
        id: u32,
        strike: &'a Strike,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let applied = match strike {
                Strike::Freeze(members) => join_all(members.iter().map(|member| self.freeze(*member, duration))).await,
                Strike::Cut(grudge) => {
                    join_all(grudge.cuts.keys().map(|member| self.cut(id, *member, grudge, duration))).await
                }
                // The loader refuses these before anything starts; whoever comes another way is told the same.
                Strike::Kill(_) => return Err(unavailable("kill and restart are")),
                Strike::PowerLoss(_) => return Err(unavailable("power-loss is")),
                Strike::Delay { .. } => return Err(unavailable("delay is")),
                Strike::Loss { .. } => return Err(unavailable("loss is")),
                Strike::Clock { .. } => return Err(unavailable("faults of clocks are")),
            };
            let (mut wounds, mut probes, mut failure) = (Vec::new(), Vec::new(), None);
            for outcome in applied {
                match outcome {
                    Ok((wound, seen)) => {
                        wounds.push(wound);
                        probes.extend(seen);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(error) = failure {
                // All or nothing: a half-made partition is not the one that was asked for.
                for wound in &wounds {
                    self.give_up(wound, String::new()).await;
                }
                return Err(error);
            }
            self.active.lock().unwrap_or_else(PoisonError::into_inner).insert(id, wounds);
            Ok(probes)
        }
        .boxed()
    }

    fn heal(&self, id: u32) -> BoxFuture<'_, Result<Vec<Probe>, FaultError>> {
        async move {
            let wounds = self.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default();
            let healed = join_all(wounds.iter().map(|wound| self.undo(wound))).await;
            let probes: Result<Vec<Vec<Probe>>, FaultError> = healed.into_iter().collect();
            Ok(probes?.into_iter().flatten().collect())
        }
        .boxed()
    }

    fn go(&self, client: ClientId, number: u64) {
        self.orders.send(Speaker::Client(client), Order::Go { number });
    }

    fn leader(&self) -> BoxFuture<'_, Option<NodeId>> {
        async move {
            let asked = self.ensemble.iter().map(|(node, address)| async move {
                let answer = wire::ask(Role::Zookeeper, *address, PATIENCE).await.ok()?;
                (answer.mode == "leader").then_some(*node)
            });
            join_all(asked).await.into_iter().flatten().next()
        }
        .boxed()
    }
}
