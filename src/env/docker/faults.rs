//! Faults on the containers of one trial: applied, looked at from both sides, undone.
//!
//! One file for each mechanism: it hurts one member, and gives a [`Wound`] that knows how to undo that. Here is what they
//! have in common: all or nothing, and which strike made which wounds. Adding a mechanism takes a file, an arm in
//! [`Faults::strike`], and a kind of undo in the journal that `heal.rs` can replay without the run.
//! Deliberately absent: when a fault strikes (the nemesis), and the trial's containers.

mod clock;
mod cut;
mod face;
mod freeze;
mod ground;
mod kill;
mod skew;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::engine::{Engine, Role};
use super::hub::Orders;
use super::journal::Journal;
use super::lives::Lives;
use super::messages::{Order, Speaker};
use super::wire;
use crate::env::{Environment, FaultError};
use crate::fault::{Member, Strike};
use crate::history::Probe;
use crate::ids::{ClientId, NodeId};
use ground::{Ground, Struck};

pub use face::Face;
pub use ground::{ClockPlace, GRACE, Place};

/// How long a server may take to say whether it leads.
const PATIENCE: Duration = Duration::from_millis(500);

/// The faults of one trial.
pub struct Faults {
    ground: Arc<Ground>,
    ensemble: Vec<(NodeId, SocketAddr)>,
}

impl Faults {
    /// Faults on `places`. `ensemble` is asked for its leader. `tag` tells concurrent trials apart.
    pub fn new(
        engine: Engine,
        journal: Arc<Journal>,
        places: BTreeMap<Member, Place>,
        orders: Orders,
        lives: Arc<Lives>,
        ensemble: Vec<(NodeId, SocketAddr)>,
        tag: String,
    ) -> Self {
        let (active, clocks) = (Mutex::default(), Mutex::default());
        Self { ground: Arc::new(Ground { engine, journal, places, tag, orders, lives, active, clocks }), ensemble }
    }

    /// What a strike does to each of its members, side by side.
    async fn strike(&self, id: u32, strike: &Strike, duration: Duration) -> Result<Vec<Struck>, FaultError> {
        let ground = &self.ground;
        Ok(match strike {
            Strike::Freeze(members) => {
                join_all(members.iter().map(|member| freeze::apply(ground, *member, duration))).await
            }
            Strike::Cut(grudge) => {
                join_all(grudge.cuts.keys().map(|member| cut::apply(ground, id, *member, grudge, duration))).await
            }
            Strike::Kill(members) => {
                join_all(members.iter().map(|member| kill::apply(ground, *member, false, duration))).await
            }
            Strike::PowerLoss(members) => {
                join_all(members.iter().map(|member| kill::apply(ground, *member, true, duration))).await
            }
            Strike::Clock { members, change } => {
                join_all(members.iter().map(|member| clock::apply(ground, id, *member, *change, duration))).await
            }
            // The loader refuses these before anything starts; whoever comes another way is told the same.
            Strike::Delay { .. } => return Err(unavailable("delay is")),
            Strike::Loss { .. } => return Err(unavailable("loss is")),
        })
    }

    async fn apply_all(&self, id: u32, strike: &Strike, duration: Duration) -> Result<Vec<Probe>, FaultError> {
        let (mut wounds, mut probes, mut failure) = (Vec::new(), Vec::new(), None);
        for outcome in self.strike(id, strike, duration).await? {
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
                // By its own way if it can: a clock's strike must end here as well as on its page.
                match wound.undo(&self.ground).await {
                    Ok(_) => drop(self.ground.healed(&**wound)),
                    Err(_) => drop(self.ground.give_up(wound.entry(), String::new()).await),
                }
            }
            return Err(error);
        }
        self.ground.active.lock().unwrap_or_else(PoisonError::into_inner).insert(id, wounds);
        Ok(probes)
    }

    async fn undo_all(&self, id: u32) -> Result<Vec<Probe>, FaultError> {
        let wounds = self.ground.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default();
        let healed = join_all(wounds.iter().map(|wound| async move {
            let probes = wound.undo(&self.ground).await?;
            self.ground.healed(&**wound)?;
            Ok(probes)
        }));
        let probes: Result<Vec<Vec<Probe>>, FaultError> = healed.await.into_iter().collect();
        Ok(probes?.into_iter().flatten().collect())
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
        self.apply_all(id, strike, duration).boxed()
    }

    fn heal(&self, id: u32) -> BoxFuture<'_, Result<Vec<Probe>, FaultError>> {
        self.undo_all(id).boxed()
    }

    fn go(&self, client: ClientId, number: u64) {
        self.ground.orders.send(Speaker::Client(client), Order::Go { number });
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
