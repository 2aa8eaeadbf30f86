//! What every mechanism shares: the members' containers, what is in force, and the bookkeeping of one fault. It is
//! written down, done, looked at, and taken back if it failed half-way ([`Context::strike`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all, ready};

use super::skew::SkewedClock;
use crate::env::docker::container::Container;
use crate::env::docker::control_server::Orders;
use crate::env::docker::engine::Engine;
use crate::env::docker::heal::{self, Reach};
use crate::env::docker::journal::{Entry, Journal, Undo};
use crate::env::docker::known::Known;
use crate::env::docker::netns::{Door, Netns};
use crate::fault::Member;
use crate::history::Probe;
use crate::ids::ClientId;
use crate::nemesis::FaultError;
use crate::scenario::Backend;
use crate::time::{BootClock, Clock};

/// How long after its planned end a fault may last before the watchdog undoes it, and the kernel forgets a cut.
pub const GRACE: Duration = Duration::from_secs(2);

/// How often something is looked at that gives no answer. What has given none by then is recorded as unseen: it says
/// nothing of the fault.
pub const LOOKS: u32 = 3;

/// How long applying a fault and looking at it may take on a busy machine, before the watchdog takes the strike for
/// forgotten and undoes it under the harness's hands.
pub const LOOKING: Duration = Duration::from_secs(6);

/// The pause before Docker is asked again.
const BREATH: Duration = Duration::from_millis(200);

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
    pub reader: ClockReader,
}

/// How a clock is read: whose process is asked what it shows.
#[derive(Clone, Copy, Debug)]
pub enum ClockReader {
    /// A lock server, at its published address.
    Server(Backend, SocketAddr),
    /// A client, over the control socket.
    Client(ClientId),
}

/// What one strike did to one member.
pub(super) struct ActiveFault {
    /// Who was struck.
    pub member: Member,
    /// What the journal says of it.
    pub entry: Entry,
    mechanism: Box<dyn Mechanism>,
}

impl ActiveFault {
    /// Undoes it, and looks whether its effect is gone. The journal is told by the caller.
    pub async fn undo(&self, context: &Context) -> Result<Vec<Probe>, FaultError> {
        self.mechanism.undo(context, self.member).await
    }
}

/// How a fault that is in force is undone.
pub(super) trait Mechanism: Send + Sync {
    /// Undoes it, and looks whether its effect is gone.
    fn undo<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>>;

    /// Does it again to a member whose container was started again meanwhile. By default there is nothing to do: what
    /// it did outlives the container's processes.
    fn again<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<(), FaultError>> {
        let _ = (context, member);
        ready(Ok(())).boxed()
    }
}

/// What a mechanism made of one member: a fault in force, and what was seen before and during. An error means that
/// nothing of it remains.
pub(super) type Struck = Result<(Arc<ActiveFault>, Vec<Probe>), FaultError>;

/// What all mechanisms share.
pub(super) struct Context {
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
    pub known: Arc<Known>,
    /// What the strikes in force did, by their numbers.
    pub active: Mutex<BTreeMap<u32, Vec<Arc<ActiveFault>>>>,
    /// The clocks that were moved so far.
    pub clocks: Mutex<BTreeMap<Member, Arc<SkewedClock>>>,
}

impl Context {
    pub fn place(&self, member: Member) -> Result<&Place, FaultError> {
        self.places.get(&member).ok_or_else(|| FaultError(format!("there is no {member} in this trial")))
    }

    /// The network namespaces of `members`, as they were when they were first needed, or as they are now: a container
    /// that was started again has another one.
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

    /// Whether a strike in force has a table at a member's door.
    pub fn has_tables(&self, member: Member) -> bool {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let mut here = active.values().flatten().filter(|fault| fault.member == member);
        here.any(|fault| matches!(fault.entry.undo, Undo::DeleteTable(_)))
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
        for fault in all.values().flatten().filter(|fault| fault.member == member) {
            if let Err(error) = fault.mechanism.again(self, member).await {
                probes.push(Probe::new(format!("after: {:?} again", fault.entry.undo), "in force", error.0));
            }
        }
        probes
    }

    /// Makes a fault of `member` that `undo` undoes: writes it down before `act` does it and looks at it, and takes
    /// back what was done if that fails. It is overdue when it outlasts `duration` by [`GRACE`].
    pub async fn strike<M: Mechanism + 'static>(
        &self,
        member: Member,
        undo: Undo,
        duration: Duration,
        act: impl Future<Output = Result<(M, Vec<Probe>), FaultError>>,
    ) -> Struck {
        let act = async { act.await.map(|struck| vec![struck]) };
        let mut struck = self.strike_all(vec![(member, undo)], duration, act).await?;
        struck.pop().ok_or_else(|| FaultError(format!("nothing was done to {member}")))
    }

    /// As [`Context::strike`], for several members at once: all of them or none.
    pub async fn strike_all<M: Mechanism + 'static>(
        &self,
        members: Vec<(Member, Undo)>,
        duration: Duration,
        act: impl Future<Output = Result<Vec<(M, Vec<Probe>)>, FaultError>>,
    ) -> Result<Vec<(Arc<ActiveFault>, Vec<Probe>)>, FaultError> {
        let entry = |(member, undo)| Ok((member, self.entry(member, undo)?));
        let entries: Vec<(Member, Entry)> = members.into_iter().map(entry).collect::<Result<_, FaultError>>()?;
        for (_, entry) in &entries {
            self.note(entry, duration)?;
        }
        match act.await {
            Ok(struck) => {
                let active = entries.into_iter().zip(struck).map(|((member, entry), (mechanism, probes))| {
                    (Arc::new(ActiveFault { member, entry, mechanism: Box::new(mechanism) }), probes)
                });
                Ok(active.collect())
            }
            Err(FaultError(mut why)) => {
                for (_, entry) in &entries {
                    FaultError(why) = self.give_up(entry, why).await;
                }
                Err(FaultError(why))
            }
        }
    }

    /// What the journal is to say of a fault at `member` that `undo` undoes.
    fn entry(&self, member: Member, undo: Undo) -> Result<Entry, FaultError> {
        let Place { container, .. } = self.place(member)?;
        Ok(Entry { container: container.id().to_owned(), name: container.name.clone(), undo })
    }

    /// Writes a fault down before it is applied.
    fn note(&self, entry: &Entry, duration: Duration) -> Result<(), FaultError> {
        self.journal
            .apply(entry, BootClock.now() + duration + GRACE)
            .map_err(|error| FaultError(format!("not applied, the journal cannot be written: {error}")))
    }

    /// Writes down that a fault was undone.
    pub fn healed(&self, fault: &ActiveFault) -> Result<(), FaultError> {
        self.journal.healed(&fault.entry).map_err(|error| not_healed(fault.member, error))
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

    /// As [`Context::container_state`], once a fault was undone: Docker may be too busy to say at once.
    pub async fn state_after(&self, member: Member, expected: &str) -> Probe {
        let mut why = String::new();
        for look in 1..=LOOKS {
            match self.container_state(member, "after", expected).await {
                Ok(seen) => return seen.after_looks(look),
                Err(error) => why = error.0,
            }
            tokio::time::sleep(BREATH).await;
        }
        Probe::unseen(format!("after: state of {member}"), expected, LOOKS).measured(why)
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
