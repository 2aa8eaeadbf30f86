//! What the handles of a session and its worker say to each other.

use tokio::sync::{mpsc, oneshot};

use crate::env::sim::zookeeper::model::messages::{Answer, Operation, Refusal};
use crate::lock::backend::WatchEvent;
use crate::lock::error::ZkError;

/// What the handles of a session want.
pub(super) enum Command {
    /// An answer to an operation.
    Ask { operation: Operation, respond: oneshot::Sender<Result<Response, ZkError>> },
    /// Nothing more of a watch.
    Unwatch { id: u64 },
}

/// What the worker makes of a reply.
pub(super) struct Response {
    pub answer: Result<Answer, Refusal>,
    pub watch: Option<WatchHandle>,
}

impl Response {
    pub fn result(self) -> Result<Answer, ZkError> {
        self.answer.map_err(|refusal| match refusal {
            Refusal::NoNode => ZkError::NoNode,
            Refusal::NodeExists => ZkError::NodeExists,
            Refusal::SessionExpired => ZkError::SessionEnded(refusal.to_string()),
            other => ZkError::Refused(other.to_string()),
        })
    }
}

/// The waiting end of a watch. Dropped unfired, it takes the watch back.
pub(super) struct WatchHandle {
    pub id: u64,
    pub fired: oneshot::Receiver<WatchEvent>,
    pub requests: mpsc::WeakUnboundedSender<Command>,
}

impl WatchHandle {
    /// Completes when the watch fires or the session ends.
    pub async fn event(mut self) -> WatchEvent {
        // The worker fires all watches before it goes; a simulation that ends drops it before.
        (&mut self.fired).await.unwrap_or(WatchEvent::SessionEnded)
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        // After its event nothing is left to take back, and the worker knows no watch with this id.
        if let Some(requests) = self.requests.upgrade() {
            let _ = requests.send(Command::Unwatch { id: self.id });
        }
    }
}
