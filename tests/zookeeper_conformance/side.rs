//! One of the two ensembles under comparison, and what it answers in words that both can have in common.
//!
//! Paths and sequence numbers are compared as they are, since each sequence has a fresh parent. A czxid becomes its
//! first sight's number and its rank among those seen before; an owner becomes the number of its session.

use std::sync::Arc;
use std::time::Duration;

use fencepost::lock::backend::{SessionState, Watch, WatchEvent, ZkConnector, ZkSession, Znode};
use fencepost::lock::error::ZkError;
use futures_util::future::{BoxFuture, FutureExt, join_all};

use crate::sequence::{SESSIONS, Step, Target, Verb};

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);

/// The real ensemble did not answer as an undisturbed one does: others use it, too, and may shake it.
#[derive(Clone, Debug)]
pub struct Disturbed(pub String);

#[derive(Default)]
struct Client {
    session: Option<Arc<dyn ZkSession>>,
    watches: Vec<(usize, Watch)>,
}

/// One ensemble.
pub struct Side {
    connector: Arc<dyn ZkConnector>,
    root: String,
    clients: [Client; SESSIONS],
    created: Vec<String>,
    czxids: Vec<u64>,
    owners: Vec<i64>,
    watches_set: usize,
}

enum Answer {
    Done,
    Created(String, Znode),
    Children(Vec<String>),
    Stat(Option<Znode>),
    Watch(Option<Watch>),
}

impl Side {
    /// An ensemble on which sequences take place below `root`.
    pub fn new(connector: Arc<dyn ZkConnector>, root: String) -> Self {
        Self {
            connector,
            root,
            clients: Default::default(),
            created: Vec::new(),
            czxids: Vec::new(),
            owners: Vec::new(),
            watches_set: 0,
        }
    }

    /// Carries out a step: one text for each reply.
    pub async fn step(&mut self, step: &Step) -> Result<Vec<String>, Disturbed> {
        let late = |_| Disturbed(format!("{step}: nothing within {PATIENCE:?}"));
        tokio::time::timeout(PATIENCE, self.take(step)).await.map_err(late)?
    }

    async fn take(&mut self, step: &Step) -> Result<Vec<String>, Disturbed> {
        match step {
            Step::Open(client) => self.open(*client).await,
            Step::Close(client) => self.close(*client).await,
            Step::Ask(client, verbs) => self.ask(*client, verbs).await,
            Step::Watches(client) => self.look(*client).await,
            Step::Forget(client) => {
                self.clients[*client].watches.clear();
                Ok(Vec::new())
            }
        }
    }

    async fn open(&mut self, client: usize) -> Result<Vec<String>, Disturbed> {
        if self.clients[client].session.is_none() {
            let opened = self.connector.connect().await.map_err(|error| Disturbed(error.to_string()))?;
            self.owners.push(opened.id());
            let timeout = opened.timeout();
            self.clients[client].session = Some(opened);
            return Ok(vec![format!("opened for {timeout:?}")]);
        }
        Ok(Vec::new())
    }

    async fn close(&mut self, client: usize) -> Result<Vec<String>, Disturbed> {
        let Client { session, watches } = std::mem::take(&mut self.clients[client]);
        let Some(session) = session else { return Ok(Vec::new()) };
        let mut state = session.state();
        drop(session);
        let _ = state.wait_for(|state| matches!(state, SessionState::Ended(_))).await;
        let mut events = Vec::new();
        for (number, watch) in watches {
            events.push(format!("watch {number}: {:?}", watch.await));
        }
        Ok(events)
    }

    /// The session, after it has come up to all that was done before.
    async fn caught_up(&self, client: usize) -> Result<Option<Arc<dyn ZkSession>>, Disturbed> {
        let Some(session) = &self.clients[client].session else { return Ok(None) };
        session.sync(&self.root).await.map_err(|error| Disturbed(error.to_string()))?;
        Ok(Some(Arc::clone(session)))
    }

    async fn look(&mut self, client: usize) -> Result<Vec<String>, Disturbed> {
        // Events come before the reply that would show their cause, so after this nothing is outstanding.
        self.caught_up(client).await?;
        let mut events = Vec::new();
        self.clients[client].watches.retain_mut(|(number, watch)| match watch.now_or_never() {
            Some(event) => {
                events.push(format!("watch {number}: {event:?}"));
                false
            }
            None => true,
        });
        match events.iter().any(|event| event.contains(&format!("{:?}", WatchEvent::SessionEnded))) {
            true => Err(Disturbed("a session ended".to_owned())),
            false => Ok(events),
        }
    }

    async fn ask(&mut self, client: usize, verbs: &[Verb]) -> Result<Vec<String>, Disturbed> {
        let Some(session) = self.caught_up(client).await? else { return Ok(Vec::new()) };
        let requests = verbs.iter().map(|verb| self.request(&*session, verb));
        let mut texts = Vec::new();
        for answer in join_all(requests.collect::<Vec<_>>()).await {
            texts.push(match answer {
                Ok(answer) => self.text(client, answer),
                Err(ZkError::Unanswered(reason) | ZkError::SessionEnded(reason)) => return Err(Disturbed(reason)),
                Err(error) => format!("{error}"),
            });
        }
        Ok(texts)
    }

    fn path(&self, target: Target) -> String {
        let root = &self.root;
        let contender =
            |number: usize| self.created.get(number).cloned().unwrap_or_else(|| format!("{root}/f0/never-{number}"));
        match target {
            Target::Root => root.clone(),
            Target::Folder(number) => format!("{root}/f{number}"),
            Target::Deep(number) => format!("{root}/f{number}/a/b/c"),
            Target::Contender(number) => contender(number),
            Target::Below(number) => format!("{}/x", contender(number)),
        }
    }

    fn request(&self, session: &dyn ZkSession, verb: &Verb) -> BoxFuture<'static, Result<Answer, ZkError>> {
        match verb {
            Verb::Parents(target) => {
                session.create_parents(&self.path(*target)).map(|answer| answer.map(|()| Answer::Done)).boxed()
            }
            Verb::Contender(target) => session
                .create_contender(&format!("{}/n-", self.path(*target)))
                .map(|answer| answer.map(|(path, znode)| Answer::Created(path, znode)))
                .boxed(),
            Verb::Children(target) => {
                session.children(&self.path(*target)).map(|answer| answer.map(Answer::Children)).boxed()
            }
            Verb::Stat(target) => session.stat(&self.path(*target)).map(|answer| answer.map(Answer::Stat)).boxed(),
            Verb::Watch(target) => session.watch(&self.path(*target)).map(|answer| answer.map(Answer::Watch)).boxed(),
            Verb::Delete(target) => {
                session.delete(&self.path(*target)).map(|answer| answer.map(|()| Answer::Done)).boxed()
            }
            Verb::Sync => session.sync(&self.root).map(|answer| answer.map(|()| Answer::Done)).boxed(),
        }
    }

    fn text(&mut self, client: usize, answer: Answer) -> String {
        match answer {
            Answer::Done => "done".to_owned(),
            Answer::Created(path, znode) => {
                self.created.push(path.clone());
                format!("{path} {}", self.znode(znode))
            }
            Answer::Children(mut names) => {
                names.sort_unstable();
                names.join(" ")
            }
            Answer::Stat(znode) => znode.map_or_else(|| "none".to_owned(), |znode| self.znode(znode)),
            Answer::Watch(None) => "none to watch".to_owned(),
            Answer::Watch(Some(watch)) => {
                self.watches_set += 1;
                self.clients[client].watches.push((self.watches_set, watch));
                format!("watch {}", self.watches_set)
            }
        }
    }

    fn znode(&mut self, Znode { czxid, ephemeral_owner }: Znode) -> String {
        let rank = self.czxids.iter().filter(|seen| **seen < czxid).count();
        let number = self.czxids.iter().position(|seen| *seen == czxid).unwrap_or_else(|| {
            self.czxids.push(czxid);
            self.czxids.len() - 1
        });
        let owner = self.owners.iter().position(|owner| *owner == ephemeral_owner);
        let owner = match (ephemeral_owner, owner) {
            (0, _) => "nobody's".to_owned(),
            (_, Some(session)) => format!("of session {session}"),
            (_, None) => format!("of stranger {ephemeral_owner}"),
        };
        format!("czxid {number} above {rank}, {owner}")
    }
}

/// Deletes a znode and all below it.
pub async fn clear(session: &dyn ZkSession, path: &str) {
    for name in session.children(path).await.unwrap_or_default() {
        clear(session, &format!("{path}/{name}")).boxed_local().await;
    }
    let _ = session.delete(path).await;
}
