//! What every mechanism stands on: the members' containers, the journal, and how to take back what failed half-way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all, ready};

use super::face::Face;
use super::skew::SkewedClock;

use crate::env::docker::engine::{Container, Engine};
use crate::env::docker::heal::{self, Reach};
use crate::env::docker::hub::Orders;
use crate::env::docker::journal::{Entry, Journal, Undo};
use crate::env::docker::lives::Lives;
use crate::env::docker::netns::{Door, Netns};
use crate::fault::Member;
use crate::history::Probe;
use crate::nemesis::FaultError;
use crate::time::{BootClock, Clock};

/// How long after its planned end a fault may last before the watchdog undoes it, and the kernel forgets a cut.
pub const GRACE: Duration = Duration::from_secs(2);

/// One member of the trial: its container, and where it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its container.
    pub container: Container,
    /// Its address in the cluster's network.
    pub address: Ipv4Addr,
    /// Where it answers on this machine, if it is a server.
    pub published: Option<SocketAddr>,
    /// Its clock, if that can be moved.
    pub clock: Option<ClockPlace>,
}

/// A clock that can be moved and read.
#[derive(Clone, Debug)]
pub struct ClockPlace {
    /// The folder with its page.
    pub folder: PathBuf,
    /// How it is read.
    pub face: Face,
}

/// What one strike did to one member.
pub(super) trait Wound: Send + Sync {
    /// Who was struck.
    fn member(&self) -> Member;

    /// What the journal says of it.
    fn entry(&self) -> &Entry;

    /// Undoes it, and looks whether its effect is gone. The journal is told by the caller.
    fn undo<'a>(&'a self, ground: &'a Ground) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>>;

    /// Does it again to a member whose container was started again meanwhile. By default there is nothing to do: what it
    /// did outlives the container's processes.
    fn again<'a>(&'a self, ground: &'a Ground) -> BoxFuture<'a, Result<(), FaultError>> {
        let _ = ground;
        ready(Ok(())).boxed()
    }
}

/// What a mechanism made of one member: a wound, and what was seen before and during. An error means that nothing of it
/// remains.
pub(super) type Struck = Result<(Arc<dyn Wound>, Vec<Probe>), FaultError>;

/// What all mechanisms share.
pub(super) struct Ground {
    pub engine: Engine,
    pub journal: Arc<Journal>,
    pub places: BTreeMap<Member, Place>,
    pub netns: Netns,
    /// How long after its time is up a fault may last whose end another one hides.
    pub put_off: Duration,
    /// Makes names of concurrent trials differ.
    pub tag: String,
    /// Network namespaces, as far as they were needed.
    pub doors: Mutex<BTreeMap<Member, Door>>,
    pub orders: Orders,
    pub lives: Arc<Lives>,
    /// What the strikes in force did, by their numbers.
    pub active: Mutex<BTreeMap<u32, Vec<Arc<dyn Wound>>>>,
    /// The clocks that were moved so far.
    pub clocks: Mutex<BTreeMap<Member, Arc<SkewedClock>>>,
}

impl Ground {
    pub fn place(&self, member: Member) -> Result<&Place, FaultError> {
        self.places.get(&member).ok_or_else(|| FaultError(format!("there is no {member} in this trial")))
    }

    /// The network namespaces of `members`, as they were when they were first needed, or as they are now: a container that
    /// was started again has another one.
    pub async fn doors(
        &self,
        members: impl Iterator<Item = Member>,
        now: bool,
    ) -> Result<BTreeMap<Member, Door>, FaultError> {
        let members: BTreeSet<Member> = members.collect();
        let known = |member: &Member| self.doors.lock().unwrap_or_else(PoisonError::into_inner).get(member).copied();
        let doors = join_all(members.into_iter().map(|member| async move {
            let Place { container, address, .. } = self.place(member)?;
            if let Some(door) = known(&member).filter(|_| !now) {
                return Ok((member, door));
            }
            let pid = self.engine.pid(container).await.map_err(|error| FaultError(error.to_string()))?;
            let pid =
                pid.ok_or_else(|| FaultError(format!("{member} does not run, so its links cannot be reached")))?;
            Ok((member, Door { pid, address: *address }))
        }));
        let doors: BTreeMap<Member, Door> = doors.await.into_iter().collect::<Result<_, FaultError>>()?;
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).extend(&doors);
        Ok(doors)
    }

    /// Where a server answers on this machine.
    pub fn published(&self, member: Member) -> Option<SocketAddr> {
        self.places.get(&member)?.published
    }

    /// A member's clock: one for all strikes of the trial, because they add up.
    pub fn clock(&self, member: Member, place: &ClockPlace) -> Result<Arc<SkewedClock>, FaultError> {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clock) = clocks.get(&member) {
            return Ok(Arc::clone(clock));
        }
        let opened = SkewedClock::open(&place.folder);
        let clock =
            opened.map_err(|error| FaultError(format!("the page of {member}'s clock cannot be used: {error}")))?;
        clocks.insert(member, Arc::clone(&clock));
        Ok(clock)
    }

    /// Does again to a member what did not outlive its container's processes; what became of it, for the history.
    pub async fn came_back(&self, member: Member) -> Vec<Probe> {
        // Its network is another one now.
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
        let all = self.active.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut probes = Vec::new();
        for wound in all.values().flatten().filter(|wound| wound.member() == member) {
            if let Err(error) = wound.again(self).await {
                probes.push(Probe::new(format!("after: {:?} again", wound.entry().undo), "in force", error.0));
            }
        }
        probes
    }

    /// What the journal is to say of a fault at `member` that `undo` undoes.
    pub fn entry(&self, member: Member, undo: Undo) -> Result<Entry, FaultError> {
        let Place { container, .. } = self.place(member)?;
        Ok(Entry { container: container.id().to_owned(), name: container.name.clone(), undo })
    }

    /// Writes a fault down before it is applied. It is overdue when it outlasts `duration` by [`GRACE`].
    pub fn note(&self, entry: &Entry, duration: Duration) -> Result<(), FaultError> {
        self.journal
            .apply(entry, BootClock.now() + duration + GRACE)
            .map_err(|error| FaultError(format!("not applied, the journal cannot be written: {error}")))
    }

    /// Writes down that a fault was undone.
    pub fn healed(&self, wound: &dyn Wound) -> Result<(), FaultError> {
        self.journal.healed(wound.entry()).map_err(|error| not_healed(wound.member(), error))
    }

    /// Undoes a fault that could not be applied as it should; why, in words.
    pub async fn give_up(&self, entry: &Entry, why: String) -> FaultError {
        let undone = async {
            let containers = self.engine.containers().await?;
            heal::undo(&self.engine, &containers, entry, &Reach::with(&self.netns)).await
        };
        match undone.await {
            // What could not be written down as healed is healed again, which does no harm.
            Ok(()) => drop(self.journal.healed(entry)),
            Err(error) => return FaultError(format!("{why}; and it could not be undone: {error}")),
        }
        FaultError(why)
    }

    /// Looks at what a member's container is doing.
    pub async fn container_state(&self, member: Member, when: &str, expected: &str) -> Result<Probe, FaultError> {
        let Place { container, .. } = self.place(member)?;
        let observed = self.engine.state(container).await.map_err(|error| FaultError(error.to_string()))?;
        Ok(Probe::new(format!("{when}: state of {member}"), expected, observed.to_string()))
    }
}

/// Why a heal is in doubt.
pub(super) fn not_healed(member: Member, error: impl Display) -> FaultError {
    FaultError(format!("{member} could not be healed: {error}"))
}
