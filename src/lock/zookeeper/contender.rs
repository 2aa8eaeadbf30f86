//! One contender: its znode, its place in the line, and how it is taken back whatever happens.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, join, select_all, try_join_all};

use super::session::KeptSession;
use crate::lock::AcquireOptions;
use crate::lock::attempts::{Deadlines, Stop};
use crate::lock::backend::{Reply, Watch, WatchEvent, ZkSession, Znode};
use crate::lock::error::{AttemptError, AttemptReport, NodeOutcome, NodeReport, ZkError};
use crate::lock::runtime::{SharedRuntime, before, random_text};
use crate::phase::Phase;
use crate::time::Nanos;

/// The pause between two tries to reach an ensemble that does not answer.
pub(in crate::lock) const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Whom a contender stands behind, and with how many others it may hold.
#[derive(Clone, Copy, Debug)]
pub(in crate::lock) struct Admission {
    /// What its name begins with.
    letter: char,
    /// Whether it stands behind readers; behind all others it does.
    behind_readers: bool,
    /// It holds when fewer than so many whom it stands behind are ahead.
    permits: usize,
}

impl Admission {
    /// A lock's that one client holds.
    pub const ALONE: Self = Self { letter: 'c', behind_readers: true, permits: 1 };
    /// A reader's.
    pub const READ: Self = Self { letter: READER, behind_readers: false, permits: 1 };
    /// A writer's.
    pub const WRITE: Self = Self { letter: 'w', behind_readers: true, permits: 1 };

    /// The same, which does not stand behind readers.
    #[cfg(feature = "harness")]
    pub fn past_readers(self) -> Self {
        Self { behind_readers: false, ..self }
    }

    /// Of those who share so many permits.
    pub fn permits(permits: NonZeroU32) -> Self {
        Self { letter: 'p', behind_readers: true, permits: permits.get() as usize }
    }
}

/// What a reader's name begins with.
const READER: char = 'r';
/// What contenders' names begin with.
const LETTERS: [char; 4] = ['c', READER, 'w', 'p'];

/// A contender in the line for one lock. Dropping it takes its znode back in the background.
pub(in crate::lock) struct Contender {
    pub kept: Arc<KeptSession>,
    pub runtime: SharedRuntime,
    /// The lock's own znode, the parent of all contenders.
    pub folder: String,
    admission: Admission,
    guid: String,
    entered: Option<(String, Znode)>,
    armed: bool,
}

impl Contender {
    pub fn new(kept: Arc<KeptSession>, runtime: SharedRuntime, folder: String, admission: Admission) -> Self {
        let guid = random_text(&*runtime);
        Self { kept, runtime, folder, admission, guid, entered: None, armed: false }
    }

    /// Enters the line: creates the znode and lists the line, in one round trip. Returns the znode and the line.
    pub async fn enter(
        &mut self,
        options: &AcquireOptions,
        deadlines: Deadlines,
    ) -> Result<(Znode, Vec<String>), Stop> {
        let session = Arc::clone(&self.kept.session);
        let prefix = format!("{}/{}-{}-", self.folder, self.admission.letter, self.guid);
        loop {
            self.armed = true;
            // Requests of one session are carried out in order, so the list shows the create.
            let mut both = join(session.create_contender(&prefix), session.children(&self.folder)).boxed();
            let answers = (&mut both).now_or_never();
            options.reached(Phase::Acquiring).await;
            let (created, line) = match answers {
                Some(answers) => answers,
                None => self.answer(deadlines.servers, both).await?,
            };
            match created {
                Ok(entered) => {
                    let znode = self.entered.insert(entered).1;
                    let line = match line {
                        Ok(line) => line,
                        Err(_) => self.list(deadlines).await?,
                    };
                    return Ok((znode, line));
                }
                Err(ZkError::NoNode) => {
                    // A chroot is made by whoever owns the ensemble.
                    let without_chroot = |made| match made {
                        Err(ZkError::NoNode) => Err(ZkError::Refused("no such chroot in the ensemble".to_owned())),
                        made => made,
                    };
                    self.ask(deadlines, || session.create_parents(&self.folder).map(without_chroot).boxed()).await?;
                }
                // The reply is lost, the znode may be there: look for the GUID, among our own session's znodes only.
                Err(ZkError::Unanswered(_)) => {
                    if let Some(znode) = self.recover(deadlines).await? {
                        return Ok((znode, self.list(deadlines).await?));
                    }
                }
                Err(error) => return Err(self.stop(error)),
            }
        }
    }

    /// The line as it is now.
    pub async fn list(&self, deadlines: Deadlines) -> Result<Vec<String>, Stop> {
        self.ask(deadlines, || self.kept.session.children(&self.folder)).await
    }

    /// How many contenders there are; none if nobody has ever come.
    #[cfg(feature = "harness")]
    pub async fn holders(&self, deadlines: Deadlines) -> Result<usize, Stop> {
        let listed = |line: Result<Vec<String>, ZkError>| match line {
            Err(ZkError::NoNode) => Ok(Vec::new()),
            line => line,
        };
        let line = self.ask(deadlines, || self.kept.session.children(&self.folder).map(listed).boxed()).await?;
        Ok(line.iter().filter(|name| guid(name).is_some()).count())
    }

    /// Our place in `line`; `None` if our znode is not in it.
    pub fn place(&self, line: &[String]) -> Option<Place> {
        let own = line.iter().find(|name| guid(name) == Some(&self.guid)).and_then(|name| sequence(name))?;
        Some(Place::among(own, line, self.admission))
    }

    /// Watches a contender ahead of us; `None` if it is gone already.
    pub async fn watch(&self, name: &str, deadlines: Deadlines) -> Result<Option<Watch>, Stop> {
        let path = format!("{}/{name}", self.folder);
        self.ask(deadlines, || self.kept.session.watch(&path)).await
    }

    /// Stands in line until the watched contender's znode changes.
    pub async fn stand(&self, watch: Watch, ahead: usize, deadlines: Deadlines) -> Result<WatchEvent, Stop> {
        let event = async {
            tokio::select! {
                biased;
                event = watch => Ok(event),
                reason = self.kept.validity.ended() => Err(Stop::Ended(reason.to_string())),
            }
        };
        before(&*self.runtime, deadlines.queue, event).await.unwrap_or(Err(Stop::Deadline(AttemptError::Contended {
            votes: 0,
            needed: 1,
            conflicts: ahead,
            nodes: AttemptReport::default(),
        })))
    }

    /// Stands in line until its admission lets it hold.
    pub async fn come_first(
        &self,
        mut line: Vec<String>,
        options: &AcquireOptions,
        deadlines: Deadlines,
    ) -> Result<(), Stop> {
        loop {
            let Some(place) = self.place(&line) else {
                // Gone without our doing: the session is dying, or somebody deleted it.
                return Err(Stop::Ended("the contender's znode is gone".to_owned()));
            };
            let permits = self.admission.permits;
            if place.ahead < permits {
                return Ok(());
            }
            // As many as there are permits: when one comes free for us, fewer of those ahead are left than that.
            let watches = place.nearest.iter().map(|name| self.watch(name, deadlines));
            let watches: Option<Vec<Watch>> = try_join_all(watches).await?.into_iter().collect();
            if let Some(watches) = watches {
                options.reached(Phase::InLine).await;
                let any = select_all(watches).map(|(event, ..)| event).boxed();
                let event = self.stand(any, place.ahead, deadlines).await?;
                // All that were ahead were watched, nobody can enter between them and us, and one is gone: no need to
                // list again.
                if event == WatchEvent::Deleted && place.ahead == permits {
                    return Ok(());
                }
            }
            line = self.list(deadlines).await?;
        }
    }

    /// Hands the duty to take the znode back over to the caller, with its path.
    pub fn disarm(mut self) -> String {
        self.armed = false;
        self.entered.take().map_or_else(String::new, |(path, _)| path)
    }

    async fn recover(&mut self, deadlines: Deadlines) -> Result<Option<Znode>, Stop> {
        let session = Arc::clone(&self.kept.session);
        self.ask(deadlines, || settled(&*session, &self.folder, &self.guid)).await?;
        let line = self.list(deadlines).await?;
        let Some(name) = line.iter().find(|name| guid(name) == Some(&self.guid)) else { return Ok(None) };
        let path = format!("{}/{name}", self.folder);
        match self.ask(deadlines, || session.stat(&path)).await? {
            Some(znode) if znode.ephemeral_owner == session.id() => {
                self.entered = Some((path, znode));
                Ok(Some(znode))
            }
            _ => Ok(None),
        }
    }

    /// Asks until there is an answer; for requests that may be repeated.
    async fn ask<T>(&self, deadlines: Deadlines, request: impl Fn() -> Reply<T, ZkError>) -> Result<T, Stop> {
        loop {
            match self.answer(deadlines.servers, request()).await? {
                Ok(answer) => return Ok(answer),
                Err(ZkError::Unanswered(_)) => {
                    let retry = self.runtime.sleep_until(self.runtime.now() + RETRY_DELAY);
                    self.answer(deadlines.servers, retry).await?;
                }
                Err(error) => return Err(self.stop(error)),
            }
        }
    }

    /// Why an answer ends the attempt.
    fn stop(&self, error: ZkError) -> Stop {
        if let ZkError::SessionEnded(reason) = &error {
            self.kept.called_over(reason);
        }
        error.into()
    }

    /// Waits for an answer, but not past the deadline nor past the session's end.
    async fn answer<T>(&self, deadline: Nanos, answer: impl Future<Output = T>) -> Result<T, Stop> {
        let asked = self.runtime.now();
        let answer = async {
            tokio::select! {
                biased;
                answer = answer => Ok(answer),
                reason = self.kept.validity.ended() => Err(Stop::Ended(reason.to_string())),
            }
        };
        before(&*self.runtime, deadline, answer)
            .await
            .unwrap_or_else(|| Err(Stop::Deadline(no_answer(self.runtime.now() - asked))))
    }
}

/// What to report when the ensemble did not answer before the deadline.
pub(super) fn no_answer(waited: Duration) -> AttemptError {
    failed(NodeOutcome::Silent, waited)
}

/// What to report when the ensemble could not be asked.
pub(super) fn failed(outcome: NodeOutcome, latency: Duration) -> AttemptError {
    let ensemble = NodeReport { node: "the ensemble".to_owned(), outcome, latency };
    AttemptError::NoQuorum { votes: 0, needed: 1, nodes: AttemptReport(vec![ensemble]) }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if self.armed {
            let session = Arc::clone(&self.kept.session);
            let path = self.entered.take().map(|(path, _)| path);
            let (folder, guid) = (std::mem::take(&mut self.folder), std::mem::take(&mut self.guid));
            let runtime = Arc::clone(&self.runtime);
            self.runtime.spawn(async move { take_back(session, path, folder, guid, runtime).await }.boxed());
        }
    }
}

/// Completes when this server shows what became of all that the session asked for before.
///
/// Only a change waits for that: a server that we were moved to may lag behind, and a leader answers even a `sync` from
/// its own clients with what it has applied, while our create is proposed and not yet committed. The refused deletion
/// of a znode that nobody has is a change, too.
fn settled(session: &dyn ZkSession, folder: &str, guid: &str) -> Reply<(), ZkError> {
    let deletion = session.delete(&format!("{folder}/c-{guid}"));
    let refused = |outcome| if outcome == Err(ZkError::NoNode) { Ok(()) } else { outcome };
    deletion.map(refused).boxed()
}

/// The line, with all that became of what the session asked for before.
async fn listed(session: &dyn ZkSession, folder: &str, guid: &str) -> Result<Vec<String>, ZkError> {
    settled(session, folder, guid).await?;
    session.children(folder).await
}

/// Deletes a contender's znode, found by GUID if its path is not known, until it is gone or its session has ended.
async fn take_back(
    session: Arc<dyn ZkSession>,
    mut path: Option<String>,
    folder: String,
    own_guid: String,
    runtime: SharedRuntime,
) {
    loop {
        let outcome = match &path {
            Some(path) => session.delete(path).await,
            None => match listed(&*session, &folder, &own_guid).await {
                Ok(line) => match line.into_iter().find(|name| guid(name) == Some(&own_guid)) {
                    Some(name) => {
                        path = Some(format!("{folder}/{name}"));
                        continue;
                    }
                    None => return,
                },
                Err(error) => Err(error),
            },
        };
        match outcome {
            Err(ZkError::Unanswered(_)) => runtime.sleep_until(runtime.now() + RETRY_DELAY).await,
            _ => return,
        }
    }
}

/// Deletes a znode until there is an answer: whether it was there.
pub(super) async fn delete(session: &dyn ZkSession, path: &str, runtime: &SharedRuntime) -> Result<bool, ZkError> {
    loop {
        match session.delete(path).await {
            Ok(()) => return Ok(true),
            Err(ZkError::NoNode) => return Ok(false),
            Err(ZkError::Unanswered(_)) => runtime.sleep_until(runtime.now() + RETRY_DELAY).await,
            Err(error) => return Err(error),
        }
    }
}

/// A place in the line.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lock) struct Place {
    /// How many of those whom it stands behind are ahead.
    pub ahead: usize,
    /// The names of the nearest of them, as many as there are permits; the one directly ahead first.
    pub nearest: Vec<String>,
}

impl Place {
    /// The place of sequence number `own` in `line`. Names that are no contenders' are passed over.
    pub fn among(own: i32, line: &[String], admission: Admission) -> Self {
        // The server's counter wraps around from 2^31 - 1 to -2^31; the sign of the wrapped distance is the order.
        let mut before_us: Vec<(i32, &String)> = Vec::new();
        for name in line {
            let Some((letter, _, sequence)) = parts(name) else { continue };
            let distance = own.wrapping_sub(sequence);
            if distance > 0 && (admission.behind_readers || letter != READER) {
                before_us.push((distance, name));
            }
        }
        let ahead = before_us.len();
        before_us.sort_unstable();
        let nearest = before_us.into_iter().take(admission.permits).map(|(_, name)| name.clone()).collect();
        Self { ahead, nearest }
    }
}

/// The parts of a contender's name, `LETTER-GUID-SEQUENCE`. The server writes the number with at least ten digits,
/// negative after a wrap.
pub(in crate::lock) fn parts(name: &str) -> Option<(char, &str, i32)> {
    let (letter, rest) = LETTERS.iter().find_map(|letter| Some((*letter, name.strip_prefix(*letter)?)))?;
    let (guid, sequence) = rest.strip_prefix('-')?.split_once('-')?;
    Some((letter, guid, sequence.parse().ok()?))
}

/// The GUID in a contender's name.
pub(in crate::lock) fn guid(name: &str) -> Option<&str> {
    parts(name).map(|(_, guid, _)| guid)
}

/// The sequence number in a contender's name.
pub(in crate::lock) fn sequence(name: &str) -> Option<i32> {
    parts(name).map(|(.., sequence)| sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sequences: &[i32]) -> Vec<String> {
        sequences.iter().map(|sequence| format!("c-{:040x}-{sequence:010}", sequence.unsigned_abs())).collect()
    }

    fn alone(own: i32, line: &[String]) -> Place {
        Place::among(own, line, Admission::ALONE)
    }

    #[test]
    fn the_nearest_lower_number_is_the_predecessor() {
        let line = line(&[12, 7, 9, 30]);
        assert_eq!(alone(12, &line), Place { ahead: 2, nearest: vec![line[2].clone()] });
        assert_eq!(alone(7, &line), Place { ahead: 0, nearest: vec![] });
    }

    #[test]
    fn the_order_survives_the_wrap_around() {
        let line = line(&[i32::MIN, i32::MAX, i32::MAX - 1]);
        assert_eq!(alone(i32::MIN, &line), Place { ahead: 2, nearest: vec![line[1].clone()] });
        assert_eq!(alone(i32::MAX - 1, &line).ahead, 0);
    }

    #[test]
    fn readers_stand_behind_writers_only_and_permits_are_watched_each() {
        let line: Vec<String> = ["r-a-1", "w-b-2", "r-c-3", "r-d-4", "w-e-5"].map(str::to_owned).to_vec();
        let among = |own, admission| Place::among(own, &line, admission);
        assert_eq!(among(1, Admission::READ).ahead, 0);
        assert_eq!(among(4, Admission::READ), Place { ahead: 1, nearest: vec!["w-b-2".to_owned()] });
        assert_eq!(among(5, Admission::WRITE), Place { ahead: 4, nearest: vec!["r-d-4".to_owned()] });
        let two = Admission::permits(NonZeroU32::MIN.saturating_add(1));
        assert_eq!(among(2, two).ahead, 1);
        assert_eq!(among(4, two), Place { ahead: 3, nearest: vec!["r-c-3".to_owned(), "w-b-2".to_owned()] });
    }

    #[test]
    fn strangers_in_the_folder_are_passed_over() {
        let line =
            vec!["config".to_owned(), "c-x".to_owned(), "lock-0000000001".to_owned(), "c-ab-0000000002".to_owned()];
        assert_eq!(alone(5, &line), Place { ahead: 1, nearest: vec!["c-ab-0000000002".to_owned()] });
        assert_eq!(guid("c-ab-0000000002"), Some("ab"));
    }
}
