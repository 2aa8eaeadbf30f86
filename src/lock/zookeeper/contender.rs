//! One contender: its znode, its place in the line, and how it is taken back whatever happens.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, join};

use super::Stop;
use super::session::KeptSession;
use crate::lock::AcquireOptions;
use crate::lock::backend::{Reply, Watch, WatchEvent, ZkSession, Znode};
use crate::lock::error::{AttemptError, AttemptReport, NodeOutcome, NodeReport, ZkError};
use crate::lock::runtime::{SharedRuntime, before, random_text};
use crate::phase::Phase;
use crate::time::Nanos;

/// The pause between two tries to reach an ensemble that does not answer.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(50);

/// By when an attempt must be through.
#[derive(Clone, Copy)]
pub(in crate::lock) struct Deadlines {
    /// How long to stand in line behind others.
    pub queue: Nanos,
    /// How long to wait for the servers' answers: at least long enough for the round trips of one attempt.
    pub servers: Nanos,
}

/// A contender in the line for one lock. Dropping it takes its znode back in the background.
pub(in crate::lock) struct Contender {
    pub kept: Arc<KeptSession>,
    pub runtime: SharedRuntime,
    /// The lock's own znode, the parent of all contenders.
    pub folder: String,
    guid: String,
    entered: Option<(String, Znode)>,
    armed: bool,
}

impl Contender {
    pub fn new(kept: Arc<KeptSession>, runtime: SharedRuntime, folder: String) -> Self {
        let guid = random_text(&*runtime);
        Self { kept, runtime, folder, guid, entered: None, armed: false }
    }

    /// Enters the line: creates the znode and lists the line, in one round trip. Returns the znode and the line.
    pub async fn enter(
        &mut self,
        options: &AcquireOptions,
        deadlines: Deadlines,
    ) -> Result<(Znode, Vec<String>), Stop> {
        let session = Arc::clone(&self.kept.session);
        let prefix = format!("{}/c-{}-", self.folder, self.guid);
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

    /// Our place in `line`; `None` if our znode is not in it.
    pub fn place(&self, line: &[String]) -> Option<Place> {
        let own = line.iter().find(|name| guid(name) == Some(&self.guid)).and_then(|name| sequence(name))?;
        Some(Place::among(own, line))
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
                reason = self.kept.ended() => Err(Stop::Session(reason.to_string())),
            }
        };
        before(&*self.runtime, deadlines.queue, event).await.unwrap_or(Err(Stop::Deadline(AttemptError::Contended {
            votes: 0,
            needed: 1,
            conflicts: ahead,
            nodes: AttemptReport::default(),
        })))
    }

    /// Stands in line until nobody is ahead.
    pub async fn come_first(
        &self,
        mut line: Vec<String>,
        options: &AcquireOptions,
        deadlines: Deadlines,
    ) -> Result<(), Stop> {
        loop {
            let Some(place) = self.place(&line) else {
                // Gone without our doing: the session is dying, or somebody deleted it.
                return Err(Stop::Session("the contender's znode is gone".to_owned()));
            };
            let Some(predecessor) = place.predecessor else { return Ok(()) };
            if let Some(watch) = self.watch(&predecessor, deadlines).await? {
                options.reached(Phase::InLine).await;
                let event = self.stand(watch, place.ahead, deadlines).await?;
                // The predecessor was first in line, nobody can enter between it and us, and it is gone: the line
                // begins with us, no need to list again.
                if event == WatchEvent::Deleted && place.ahead == 1 {
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
                reason = self.kept.ended() => Err(Stop::Session(reason.to_string())),
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
/// its own clients with what it has applied, while our create is proposed and not yet committed. The refused deletion of a
/// znode that nobody has is a change, too.
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
    /// How many contenders stand ahead.
    pub ahead: usize,
    /// The name of the one directly ahead.
    pub predecessor: Option<String>,
}

impl Place {
    /// The place of sequence number `own` in `line`. Names that are no contenders' are passed over.
    pub fn among(own: i32, line: &[String]) -> Self {
        // The server's counter wraps around from 2^31 - 1 to -2^31; the sign of the wrapped distance is the order.
        let before_us = line.iter().filter_map(|name| {
            let distance = own.wrapping_sub(sequence(name)?);
            (distance > 0).then_some((distance, name))
        });
        let mut place = Self { ahead: 0, predecessor: None };
        let mut nearest = i32::MAX;
        for (distance, name) in before_us {
            place.ahead += 1;
            if distance <= nearest {
                nearest = distance;
                place.predecessor = Some(name.clone());
            }
        }
        place
    }
}

/// The GUID in a contender's name: `c-GUID-SEQUENCE`.
pub(in crate::lock) fn guid(name: &str) -> Option<&str> {
    name.strip_prefix("c-")?.split_once('-').map(|(guid, _)| guid)
}

/// The sequence number in a contender's name; the server writes it with at least ten digits, negative after a wrap.
pub(in crate::lock) fn sequence(name: &str) -> Option<i32> {
    name.strip_prefix("c-")?.split_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sequences: &[i32]) -> Vec<String> {
        sequences.iter().map(|sequence| format!("c-{:040x}-{sequence:010}", sequence.unsigned_abs())).collect()
    }

    #[test]
    fn the_nearest_lower_number_is_the_predecessor() {
        let line = line(&[12, 7, 9, 30]);
        assert_eq!(Place::among(12, &line), Place { ahead: 2, predecessor: Some(line[2].clone()) });
        assert_eq!(Place::among(7, &line), Place { ahead: 0, predecessor: None });
    }

    #[test]
    fn the_order_survives_the_wrap_around() {
        let line = line(&[i32::MIN, i32::MAX, i32::MAX - 1]);
        assert_eq!(Place::among(i32::MIN, &line), Place { ahead: 2, predecessor: Some(line[1].clone()) });
        assert_eq!(Place::among(i32::MAX - 1, &line).ahead, 0);
    }

    #[test]
    fn strangers_in_the_folder_are_passed_over() {
        let line =
            vec!["config".to_owned(), "c-x".to_owned(), "lock-0000000001".to_owned(), "c-ab-0000000002".to_owned()];
        assert_eq!(Place::among(5, &line), Place { ahead: 1, predecessor: Some("c-ab-0000000002".to_owned()) });
        assert_eq!(guid("c-ab-0000000002"), Some("ab"));
    }
}
