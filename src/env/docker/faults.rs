//! Faults on the containers of one trial: applied, looked at from both sides, undone.
//!
//! One file for each mechanism: it strikes one member, and knows how to undo that. [`context`] has what they share, the
//! bookkeeping of one fault; here is that of one strike: all or nothing, and which faults it made. Adding a mechanism
//! takes a file, an arm in [`Faults::strike`], and a kind of undo in the journal that `heal.rs` can replay without the
//! run. Deliberately absent: when a fault strikes (the nemesis), and the trial's containers.

mod clock;
mod context;
mod freeze;
mod kill;
mod links;
mod requests;
mod skew;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::backends;
use super::control_server::Orders;
use super::engine::Engine;
use super::journal::Journal;
use super::known::Known;
use super::messages::{Order, Speaker};
use super::netns::{Effect, Netns};
use crate::fault::{Member, Refusal, Strike};
use crate::history::Probe;
use crate::ids::{ClientId, NodeId};
use crate::nemesis::{Environment, FaultError};
use crate::scenario::Backend;
use context::{Context, Struck};

pub use context::{ClockPlace, ClockReader, GRACE, Place};

/// How long a server may take to say whether it leads.
const PATIENCE: Duration = Duration::from_millis(500);

/// What faults are made with.
pub struct Tools {
    /// The Docker daemon.
    pub engine: Engine,
    /// Where each is written down first.
    pub journal: Arc<Journal>,
    /// Who changes networks.
    pub netns: Netns,
    /// How long after its time is up a fault may last whose end another one hides.
    pub put_off: Duration,
}

/// The faults of one trial.
pub struct Faults {
    context: Arc<Context>,
    /// The servers that can be asked who leads them, and whose session is where.
    ensemble: (Backend, Vec<(NodeId, SocketAddr)>),
}

impl Faults {
    /// Faults on `places`. `ensemble` is asked for its leader. `tag` tells concurrent trials apart.
    pub fn new(
        tools: Tools,
        places: BTreeMap<Member, Place>,
        orders: Orders,
        known: Arc<Known>,
        ensemble: (Backend, Vec<(NodeId, SocketAddr)>),
        tag: String,
    ) -> Self {
        let (active, clocks, doors) = (Mutex::default(), Mutex::default(), Mutex::default());
        let Tools { engine, journal, netns, put_off } = tools;
        let context = Context { engine, journal, places, netns, put_off, tag, orders, known, active, clocks, doors };
        Self { context: Arc::new(context), ensemble }
    }

    /// Finds the way into everybody's network and knocks at each door once, so that the first strike need not.
    ///
    /// # Errors
    /// A network cannot be reached.
    pub async fn prepare(&self) -> Result<(), FaultError> {
        links::prepare(&self.context).await
    }

    /// What a strike does to each of its members, side by side.
    async fn strike(&self, id: u32, strike: &Strike, duration: Duration) -> Result<Vec<Struck>, FaultError> {
        let context = &self.context;
        Ok(match strike {
            Strike::Freeze(members) => {
                join_all(members.iter().map(|member| freeze::apply(context, *member, duration))).await
            }
            Strike::Cut { links, refusal } => {
                let effect = match refusal {
                    Refusal::Drop => Effect::Drop,
                    Refusal::Reset => Effect::Reset,
                };
                links::apply(context, id, links, effect, duration).await?
            }
            Strike::Loss { links, permille } => {
                links::apply(context, id, links, Effect::Lose { permille: *permille }, duration).await?
            }
            Strike::Delay { links, extra: (least, most) } => {
                let nanos = |time: &Duration| time.as_nanos() as u64;
                // Drawn here as everywhere outside of the simulation: a seed fixes a plan, not a machine.
                let effect = Effect::Late { least: nanos(least), most: nanos(most), seed: rand::random() };
                links::apply(context, id, links, effect, duration).await?
            }
            Strike::Kill(members) => {
                join_all(members.iter().map(|member| kill::apply(context, *member, false, duration))).await
            }
            Strike::PowerLoss(members) => {
                join_all(members.iter().map(|member| kill::apply(context, *member, true, duration))).await
            }
            Strike::Requests { links, rule } => requests::apply(context, id, links, *rule, duration).await,
            Strike::Clock { members, change } => {
                join_all(members.iter().map(|member| clock::apply(context, id, *member, *change, duration))).await
            }
        })
    }

    async fn apply_all(&self, id: u32, strike: &Strike, duration: Duration) -> Result<Vec<Probe>, FaultError> {
        let (mut faults, mut probes, mut failure) = (Vec::new(), Vec::new(), None);
        for outcome in self.strike(id, strike, duration).await? {
            match outcome {
                Ok((fault, seen)) => {
                    faults.push(fault);
                    probes.extend(seen);
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            // All or nothing: a half-made partition is not the one that was asked for.
            for fault in &faults {
                // By its own way if it can: a clock's strike must end here as well as on its page.
                match fault.undo(&self.context).await {
                    Ok(_) => drop(self.context.healed(fault)),
                    Err(_) => drop(self.context.give_up(&fault.entry, String::new()).await),
                }
            }
            return Err(error);
        }
        self.context.active.lock().unwrap_or_else(PoisonError::into_inner).insert(id, faults);
        Ok(probes)
    }

    async fn undo_all(&self, id: u32) -> Result<Vec<Probe>, FaultError> {
        let faults = self.context.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default();
        let healed = join_all(faults.iter().map(|fault| async move {
            let probes = fault.undo(&self.context).await?;
            self.context.healed(fault)?;
            Ok(probes)
        }));
        let probes: Result<Vec<Vec<Probe>>, FaultError> = healed.await.into_iter().collect();
        Ok(probes?.into_iter().flatten().collect())
    }
}

impl Environment for Faults {
    fn apply<'a>(
        &'a self,
        id: u32,
        strike: &'a Strike,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        self.apply_all(id, strike, duration).boxed()
    }

    fn heal(&self, id: u32) -> BoxFuture<'_, Result<Vec<Probe>, FaultError>> {
        self.undo_all(id).boxed()
    }

    fn means(&self, strike: &Strike) -> &'static str {
        match strike {
            Strike::Cut { .. } | Strike::Loss { .. } => "nftables",
            Strike::Delay { .. } => "nfqueue",
            Strike::Freeze(_) | Strike::Kill(_) | Strike::PowerLoss(_) | Strike::Clock { .. } => "",
            Strike::Requests { .. } => "proxy",
        }
    }

    fn go(&self, client: ClientId, number: u64) {
        self.context.orders.send(Speaker::Client(client), Order::Go { number });
    }

    fn session_server(&self, client: ClientId) -> BoxFuture<'_, Option<NodeId>> {
        async move {
            let address = self.context.places.get(&Member::Client(client))?.address;
            let (backend, servers) = &self.ensemble;
            let asked = servers.iter().map(|(node, server)| async move {
                let sessions = backends::of(*backend).sessions(*server, PATIENCE).await.ok()?;
                sessions.iter().any(|(from, _)| *from == address).then_some(*node)
            });
            join_all(asked).await.into_iter().flatten().next()
        }
        .boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Option<NodeId>> {
        async move {
            let (backend, servers) = &self.ensemble;
            let asked = servers.iter().map(|(node, address)| async move {
                let answer = backends::of(*backend).ask(*address, PATIENCE).await.ok()?;
                (answer.mode == "leader").then_some(*node)
            });
            join_all(asked).await.into_iter().flatten().next()
        }
        .boxed()
    }
}
