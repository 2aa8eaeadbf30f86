//! What an ensemble had, as its answers to one client tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;

use crate::env::docker::answers::Answers;
use crate::history::server::SessionEnd;
use crate::lock::backend::{Reply, SessionState, Watch, ZkConnector, ZkSession, Znode};
use crate::lock::error::{NodeOutcome, ZkError};
use crate::time::{BootClock, Clock, Nanos};

/// An ensemble whose answers are gathered.
pub(super) struct HeardEnsemble {
    ensemble: Arc<dyn ZkConnector>,
    answers: Arc<Answers>,
}

impl HeardEnsemble {
    /// That ensemble.
    pub fn new(ensemble: Arc<dyn ZkConnector>, answers: &Arc<Answers>) -> Self {
        Self { ensemble, answers: Arc::clone(answers) }
    }
}

impl ZkConnector for HeardEnsemble {
    fn connect(&self) -> Reply<Arc<dyn ZkSession>, ZkError> {
        let (connecting, answers) = (self.ensemble.connect(), Arc::clone(&self.answers));
        async move {
            let session = connecting.await?;
            let opened = BootClock.now();
            let heard = HeardSession { session, answers, opened, contenders: Arc::default() };
            Ok(Arc::new(heard) as Arc<dyn ZkSession>)
        }
        .boxed()
    }

    fn look(&self) -> Vec<(String, BoxFuture<'static, NodeOutcome>)> {
        self.ensemble.look()
    }
}

/// A session whose answers are gathered. It is told of when its last handle goes.
struct HeardSession {
    session: Arc<dyn ZkSession>,
    answers: Arc<Answers>,
    opened: Nanos,
    /// Those that were created and not deleted, and since when.
    contenders: Arc<Mutex<BTreeMap<String, Nanos>>>,
}

fn contenders(known: &Mutex<BTreeMap<String, Nanos>>) -> MutexGuard<'_, BTreeMap<String, Nanos>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ZkSession for HeardSession {
    fn id(&self) -> i64 {
        self.session.id()
    }

    fn timeout(&self) -> Duration {
        self.session.timeout()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.session.state()
    }

    fn create_parents(&self, path: &str) -> Reply<(), ZkError> {
        self.session.create_parents(path)
    }

    fn create_contender(&self, prefix: &str) -> Reply<(String, Znode), ZkError> {
        let (creating, known) = (self.session.create_contender(prefix), Arc::clone(&self.contenders));
        async move {
            let created = creating.await;
            if let Ok((path, _)) = &created {
                contenders(&known).insert(path.clone(), BootClock.now());
            }
            created
        }
        .boxed()
    }

    fn children(&self, path: &str) -> Reply<Vec<String>, ZkError> {
        self.session.children(path)
    }

    fn stat(&self, path: &str) -> Reply<Option<Znode>, ZkError> {
        self.session.stat(path)
    }

    fn watch(&self, path: &str) -> Reply<Option<Watch>, ZkError> {
        self.session.watch(path)
    }

    fn delete(&self, path: &str) -> Reply<(), ZkError> {
        let (deleting, known) = (self.session.delete(path), Arc::clone(&self.contenders));
        let (path, id, answers) = (path.to_owned(), self.session.id(), Arc::clone(&self.answers));
        async move {
            let deleted = deleting.await;
            if deleted.is_ok()
                && let Some(from) = contenders(&known).remove(&path)
            {
                answers.contender(&path, id, from, BootClock.now(), false);
            }
            deleted
        }
        .boxed()
    }

    fn sync(&self, path: &str) -> Reply<(), ZkError> {
        self.session.sync(path)
    }
}

impl Drop for HeardSession {
    fn drop(&mut self) {
        let (id, ended) = (self.session.id(), BootClock.now());
        let by = match &*self.session.state().borrow() {
            SessionState::Ended(_) => SessionEnd::Expired,
            SessionState::Connected | SessionState::Disconnected => SessionEnd::Closed,
        };
        for (path, from) in std::mem::take(&mut *contenders(&self.contenders)) {
            self.answers.contender(&path, id, from, ended, true);
        }
        self.answers.session(id, self.opened, ended, by);
    }
}
