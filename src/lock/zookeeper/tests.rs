//! The lock against a client library that says what a test wants it to say.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::ready;
use tokio::sync::watch;

use super::*;
use crate::lock::backend::{Reply, SessionState, Watch, ZkSession, Znode};
use crate::lock::runtime::TokioRuntime;
use crate::seed::Seed;

/// A session that is over, though its state does not say so yet.
struct Ended {
    asked: Arc<AtomicU32>,
    state: watch::Sender<SessionState>,
}

impl Ended {
    fn answer<T: Send + 'static>(&self) -> Reply<T, ZkError> {
        ready(Err(ZkError::SessionEnded("expired".to_owned()))).boxed()
    }
}

impl ZkSession for Ended {
    fn id(&self) -> i64 {
        1
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    fn create_parents(&self, _: &str) -> Reply<(), ZkError> {
        self.answer()
    }

    fn create_contender(&self, _: &str) -> Reply<(String, Znode), ZkError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer()
    }

    fn children(&self, _: &str) -> Reply<Vec<String>, ZkError> {
        self.answer()
    }

    fn stat(&self, _: &str) -> Reply<Option<Znode>, ZkError> {
        self.answer()
    }

    fn watch(&self, _: &str) -> Reply<Option<Watch>, ZkError> {
        self.answer()
    }

    fn delete(&self, _: &str) -> Reply<(), ZkError> {
        self.answer()
    }

    fn sync(&self, _: &str) -> Reply<(), ZkError> {
        self.answer()
    }
}

/// Opens a session that is over; the second time it refuses.
#[derive(Default)]
struct OnceOnly {
    opened: AtomicU32,
    asked: Arc<AtomicU32>,
}

impl ZkConnector for OnceOnly {
    fn connect(&self) -> Reply<Arc<dyn ZkSession>, ZkError> {
        if self.opened.fetch_add(1, Ordering::Relaxed) > 0 {
            return ready(Err(ZkError::Refused("once is enough".to_owned()))).boxed();
        }
        let state = watch::Sender::new(SessionState::Connected);
        let session: Arc<dyn ZkSession> = Arc::new(Ended { asked: Arc::clone(&self.asked), state });
        ready(Ok(session)).boxed()
    }
}

/// Asking it again would spin until somebody else has time to follow the session's state: for ever, where nobody has
/// before the attempt waits for something.
#[tokio::test]
async fn a_session_that_answers_that_it_is_over_is_not_asked_again() {
    let connector = Arc::new(OnceOnly::default());
    let runtime = Arc::new(TokioRuntime::new(Seed(1)));
    let lock = ZookeeperLock::new(Arc::clone(&connector) as _, ZookeeperSettings::default(), runtime);
    let refused = lock.acquire(&LockName::new("item-1"), &AcquireOptions::default()).await;
    assert!(matches!(refused, Err(AcquireError::Refused(_))));
    assert_eq!(connector.asked.load(Ordering::Relaxed), 1);
}
