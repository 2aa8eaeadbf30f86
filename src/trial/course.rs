//! The course of a trial: all members ready, the beginning, the nemesis, all clients done, the nemesis gone, a look at
//! what is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use tokio::sync::{oneshot, watch};

use super::case::Case;
use super::leftovers::{Names, Servers, inspect};
use super::lives::Lives;
use crate::fault::Member;
use crate::history::recorder::Record;
use crate::ids::ClientId;
use crate::lock::runtime::{SharedRuntime, before};
use crate::nemesis::{Desk, Environment, Nemesis};
use crate::time::Nanos;

/// How long members may take to start, servers to become one ensemble, and clients to open their sessions.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long clients may take to bring their last turn to its end, beyond a hold and a fault that began before the end.
pub(super) const FINISH_LIMIT: Duration = Duration::from_secs(20);

/// What a member of a trial has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is ready to begin: a client has its connections and sessions.
    Ready,
    /// It has brought its last turn to its end.
    Done,
    /// It cannot do its part at all.
    Failed(String),
    /// It is gone, and nobody killed it.
    Ended,
}

/// A trial that may begin.
pub struct Opened {
    /// Where faults are applied.
    pub environment: Arc<dyn Environment>,
    /// Where ops go that are nobody's of the members.
    pub record: Arc<dyn Record>,
    /// When the trial begins.
    pub start: Nanos,
}

/// The lock servers, and what they call the trial's locks; `None` if they may not be looked at. Or why they cannot be.
pub type Looked<'a> = Result<Option<(Box<dyn Servers + 'a>, Names)>, String>;

/// A world, as the course of a trial needs it: it has started the trial's members.
pub trait World {
    /// What can be done about a member that does not become ready, if there is something.
    const REMEDY: &'static str = "";

    /// Whoever must be ready before the trial begins.
    fn members(&self) -> BTreeSet<Member>;

    /// What people call a member.
    fn name(&self, member: Member) -> String;

    /// The next word of a member; `None` if nobody is left. Whatever else one says is for the world to do, as soon as
    /// it is said: to have the trial's lives follow its ops, and to record them.
    ///
    /// # Errors
    /// The trial cannot go on, and why. There may be more to hear all the same.
    async fn hear(&mut self) -> Result<Option<(Member, Word)>, String>;

    /// Opens the history: the trial begins as soon as the nemesis hears.
    ///
    /// # Errors
    /// It cannot begin, and why.
    async fn open(&mut self) -> Result<Opened, String>;

    /// Has a client take turns until `end`, for the first time or in a new life.
    fn begin(&mut self, client: ClientId, end: Nanos);

    /// Has a client bring its turn to its end and be done.
    fn stop(&mut self, client: ClientId);

    /// Whom to look at when all is over.
    ///
    /// # Errors
    /// They cannot be looked at, and why.
    fn servers(&self) -> Looked<'_>;
}

/// Why a trial did not come to its end, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// Nobody wants it any more.
    #[error("called off before it began")]
    CalledOff,
    /// Members were not ready in time.
    #[error("not ready within {READY_LIMIT:?}: {missing}{remedy}")]
    NotReady {
        /// Who.
        missing: String,
        /// What can be done.
        remedy: &'static str,
    },
    /// A member cannot do its part.
    #[error("{member}: {reason}")]
    Failed {
        /// Which.
        member: String,
        /// Why.
        reason: String,
    },
    /// A member is gone.
    #[error("{member} ended before the trial {}", if *has_begun { "did" } else { "began" })]
    Ended {
        /// Which.
        member: String,
        /// Whether the trial had begun.
        has_begun: bool,
    },
    /// Clients were not done in time.
    #[error("not done {allowance:?} after the end: {busy}")]
    NotDone {
        /// How long they had.
        allowance: Duration,
        /// Who.
        busy: String,
    },
    /// No member can say anything any more.
    #[error("nobody is left to be heard")]
    Deserted,
    /// The nemesis has panicked.
    #[error("the nemesis failed")]
    Nemesis,
    /// The world itself cannot go on.
    #[error("{0}")]
    World(String),
}

/// Leads one trial.
pub struct Course<'a> {
    /// What it is about.
    pub case: Case<'a>,
    /// Its clients.
    pub lives: Arc<Lives>,
    /// The harness's own clock, timers and spawner.
    pub runtime: SharedRuntime,
    /// Becomes true when the run is called off.
    pub stop: watch::Receiver<bool>,
}

impl Course<'_> {
    /// Leads a trial whose members are being started to its end. Faults are undone also when it fails on the way.
    ///
    /// # Errors
    /// It did not come to its end.
    pub async fn run(&self, world: &mut impl World) -> Result<(), TrialError> {
        self.make_ready(world).await?;
        let Opened { environment, record, start } = world.open().await.map_err(TrialError::World)?;
        let workload = &self.case.scenario.workload;
        let end = start + workload.duration;
        let nemesis = self.start_nemesis(environment, Arc::clone(&record), start, start + workload.struck());
        self.case.clients().for_each(|client| world.begin(client, end));
        let ended = self.until_done(world, end).await;
        self.lives.close();
        let undone = match nemesis {
            Some(gone) => until_gone(world, gone).await,
            None => Ok(()),
        };
        ended.and(undone)?;
        if !*self.stop.borrow()
            && let Some((servers, names)) = world.servers().map_err(TrialError::World)?
        {
            let calm = self.case.scenario.faults.is_empty();
            inspect(&*servers, &names, self.case.leaves_within(), calm, &*self.runtime, &*record).await;
        }
        Ok(())
    }

    /// Waits until all members are ready.
    async fn make_ready<W: World>(&self, world: &mut W) -> Result<(), TrialError> {
        let mut missing = world.members();
        let limit = self.runtime.now() + READY_LIMIT;
        let mut stop = self.stop.clone();
        while !missing.is_empty() {
            let heard = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Err(TrialError::CalledOff),
                heard = before(&*self.runtime, limit, world.hear()) => heard,
            };
            let Some(heard) = heard else {
                return Err(TrialError::NotReady { missing: names(world, &missing), remedy: W::REMEDY });
            };
            let (member, word) = heard.map_err(TrialError::World)?.ok_or(TrialError::Deserted)?;
            match word {
                Word::Ready => drop(missing.remove(&member)),
                Word::Done => {}
                Word::Failed(reason) => return Err(TrialError::Failed { member: world.name(member), reason }),
                Word::Ended => return Err(TrialError::Ended { member: world.name(member), has_begun: false }),
            }
        }
        Ok(())
    }

    /// Starts the nemesis, if there is anything for it to do; what completes when it is gone.
    fn start_nemesis(
        &self,
        environment: Arc<dyn Environment>,
        record: Arc<dyn Record>,
        start: Nanos,
        end: Nanos,
    ) -> Option<oneshot::Receiver<()>> {
        let plan = &self.case.scenario.faults;
        if plan.is_empty() {
            return None;
        }
        let (runtime, stop) = (Arc::clone(&self.runtime), self.stop.clone());
        let desk = Desk { environment, record, runtime, stop, start, end };
        let nemesis = Nemesis::new(plan, self.case.parties(), self.case.seed, desk);
        let (done, gone) = oneshot::channel();
        let nemesis = nemesis.run(self.lives.listen()).map(move |()| done.send(()).unwrap_or_default());
        self.runtime.spawn(nemesis.boxed());
        Some(gone)
    }

    /// Waits until all clients are done.
    async fn until_done(&self, world: &mut impl World, end: Nanos) -> Result<(), TrialError> {
        let mut busy: BTreeSet<Member> = self.case.parties().clients().collect();
        let longest_fault = self.case.scenario.faults.iter().map(|fault| fault.duration).max().unwrap_or_default();
        let allowance = self.case.scenario.workload.hold.max + longest_fault + FINISH_LIMIT;
        let mut stop = self.stop.clone();
        let mut stopping = false;
        while !busy.is_empty() {
            let heard = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    self.case.clients().for_each(|client| world.stop(client));
                    continue;
                }
                heard = before(&*self.runtime, end + allowance, world.hear()) => heard,
            };
            let Some(heard) = heard else {
                return Err(TrialError::NotDone { allowance, busy: names(world, &busy) });
            };
            let (member, word) = heard.map_err(TrialError::World)?.ok_or(TrialError::Deserted)?;
            match (member, word) {
                (_, Word::Done) => drop(busy.remove(&member)),
                // Started again after it was killed.
                (Member::Client(client), Word::Ready) => {
                    busy.insert(member);
                    world.begin(client, end);
                    if stopping {
                        world.stop(client);
                    }
                }
                (_, Word::Ready) => {}
                (_, Word::Failed(reason)) => return Err(TrialError::Failed { member: world.name(member), reason }),
                // A client that is done may go.
                (Member::Client(_), Word::Ended) if !busy.contains(&member) => {}
                (_, Word::Ended) => return Err(TrialError::Ended { member: world.name(member), has_begun: true }),
            }
        }
        Ok(())
    }
}

/// Waits until the nemesis has undone what is left and is gone. To see that it is undone it asks the members, so that
/// they must still be heard, also where the trial cannot go on: what cannot be recorded is undone all the same.
async fn until_gone(world: &mut impl World, mut gone: oneshot::Receiver<()>) -> Result<(), TrialError> {
    let mut hears = true;
    loop {
        tokio::select! {
            biased;
            gone = &mut gone => return gone.map_err(|_| TrialError::Nemesis),
            heard = world.hear(), if hears => hears = !matches!(heard, Ok(None)),
        }
    }
}

fn names(world: &impl World, members: &BTreeSet<Member>) -> String {
    members.iter().map(|member| world.name(*member)).collect::<Vec<_>>().join(", ")
}
