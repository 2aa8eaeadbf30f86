//! A client's side of a session, over any transport: what the `zookeeper-client` crate does, in simulated time.
//!
//! [`worker`] keeps the session alive; this file turns the verbs of the lock's seam into its requests. Timing and
//! decisions follow version 0.11 of the crate, so that a lock meets the same silences and the same errors as with real
//! servers. Deliberately absent: what the lock does not use of it (data, persistent watches, detached sessions).

mod command;
mod endpoints;
mod transport;
mod watchers;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};

use self::command::{Command, Response};
pub use self::transport::{Link, Transport};
use self::worker::Worker;
use super::model::messages::{Answer, Change, CreateMode, Operation, Path};
use crate::ids::NodeId;
use crate::lock::backend::{Reply, SessionState, Watch, ZkConnector, ZkSession, Znode};
use crate::lock::error::ZkError;
use crate::lock::runtime::SharedRuntime;

/// An ensemble as one client reaches it.
#[derive(Clone)]
pub struct SimEnsemble {
    servers: Vec<NodeId>,
    session_timeout: Duration,
    transport: Arc<dyn Transport>,
    runtime: SharedRuntime,
}

impl SimEnsemble {
    /// The ensemble with these servers. Sessions ask for `session_timeout`; the ensemble may grant another one.
    pub fn new(
        servers: Vec<NodeId>,
        session_timeout: Duration,
        transport: Arc<dyn Transport>,
        runtime: SharedRuntime,
    ) -> Self {
        Self { servers, session_timeout, transport, runtime }
    }
}

impl ZkConnector for SimEnsemble {
    fn connect(&self) -> Reply<Arc<dyn ZkSession>, ZkError> {
        let Self { servers, session_timeout, transport, runtime } = self.clone();
        async move {
            let (requests, queue) = mpsc::unbounded_channel();
            let weak = requests.downgrade();
            let worker = Worker::new(servers, session_timeout, transport, Arc::clone(&runtime), queue, weak);
            let (worker, link, opened) = worker.open().await?;
            runtime.spawn(worker.serve(link).boxed());
            let session = Session { id: opened.id, timeout: opened.timeout, state: opened.state, requests };
            Ok(Arc::new(session) as Arc<dyn ZkSession>)
        }
        .boxed()
    }
}

/// A session. The worker closes it when all senders of requests are gone.
struct Session {
    id: i64,
    timeout: Duration,
    state: watch::Receiver<SessionState>,
    requests: mpsc::UnboundedSender<Command>,
}

/// Sends one operation, and waits for its answer.
async fn ask(requests: &mpsc::UnboundedSender<Command>, operation: Operation) -> Result<Response, ZkError> {
    let (respond, response) = oneshot::channel();
    // The worker goes only after it has closed the queue, and then it has said why to all that were in it.
    let gone = || ZkError::SessionEnded("client closed".to_owned());
    requests.send(Command::Ask { operation, respond }).map_err(|_| gone())?;
    response.await.unwrap_or_else(|_| Err(gone()))
}

/// An answer that does not fit its question: a mistake in the model.
fn misfit(answer: Answer) -> ZkError {
    ZkError::Unanswered(format!("unexpected answer {answer:?}"))
}

/// The last part of a path.
fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl Session {
    fn ask<T: Send + 'static>(
        &self,
        operation: Operation,
        read: impl FnOnce(Answer) -> Result<T, ZkError> + Send + 'static,
    ) -> Reply<T, ZkError> {
        let requests = self.requests.clone();
        async move { ask(&requests, operation).await?.result().and_then(read) }.boxed()
    }
}

impl ZkSession for Session {
    fn id(&self) -> i64 {
        self.id
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    fn create_parents(&self, path: &str) -> Reply<(), ZkError> {
        let (requests, path) = (self.requests.clone(), path.to_owned());
        async move {
            // Upwards until an ancestor can be created, then down again.
            let mut end = path.len();
            loop {
                let create = Change::Create { path: path[..end].into(), mode: CreateMode::Persistent };
                match ask(&requests, Operation::Change(create)).await?.result() {
                    Ok(_) | Err(ZkError::NodeExists) if end == path.len() => return Ok(()),
                    Ok(_) | Err(ZkError::NodeExists) => {
                        end = path[end + 1..].find('/').map_or(path.len(), |next| end + 1 + next);
                    }
                    Err(ZkError::NoNode) => match path[..end].rfind('/') {
                        Some(parent) if parent > 0 => end = parent,
                        _ => return Err(ZkError::NoNode),
                    },
                    Err(error) => return Err(error),
                }
            }
        }
        .boxed()
    }

    fn create_contender(&self, prefix: &str) -> Reply<(String, Znode), ZkError> {
        let create = Change::Create { path: prefix.into(), mode: CreateMode::EphemeralSequential };
        self.ask(Operation::Change(create), |answer| match answer {
            Answer::Created { path, stat } => Ok((path.into(), stat.into())),
            other => Err(misfit(other)),
        })
    }

    fn children(&self, path: &str) -> Reply<Vec<String>, ZkError> {
        self.ask(Operation::Children { path: path.into() }, |answer| match answer {
            Answer::Children(paths) => Ok(paths.iter().map(|path| name(path).to_owned()).collect()),
            other => Err(misfit(other)),
        })
    }

    fn stat(&self, path: &str) -> Reply<Option<Znode>, ZkError> {
        self.ask(Operation::Exists { path: path.into(), watch: false }, |answer| match answer {
            Answer::Stat(stat) => Ok(stat.map(Znode::from)),
            other => Err(misfit(other)),
        })
    }

    fn watch(&self, path: &str) -> Reply<Option<Watch>, ZkError> {
        let (requests, path) = (self.requests.clone(), Path::from(path));
        async move {
            let mut response = ask(&requests, Operation::Exists { path, watch: true }).await?;
            let watch = response.watch.take();
            match response.result()? {
                Answer::Stat(Some(_)) => Ok(watch.map(|watch| watch.event().boxed())),
                // Dropping the handle takes the watch for its creation back.
                Answer::Stat(None) => Ok(None),
                other => Err(misfit(other)),
            }
        }
        .boxed()
    }

    fn delete(&self, path: &str) -> Reply<(), ZkError> {
        self.ask(Operation::Change(Change::Delete { path: path.into() }), |_| Ok(()))
    }

    fn sync(&self, _path: &str) -> Reply<(), ZkError> {
        self.ask(Operation::Sync, |_| Ok(()))
    }
}
