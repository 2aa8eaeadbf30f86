//! Where an acquire, and the hold that it leads to, can be stopped: in trials only. Without the feature `harness`
//! nothing is left of it.

#[cfg(feature = "harness")]
use std::sync::Arc;

#[cfg(feature = "harness")]
use futures_util::future::BoxFuture;

use crate::phase::Phase;

/// Stops a client at a named step, for trials.
#[cfg(feature = "harness")]
pub trait PausePoint: Send + Sync {
    /// Called when the client reaches `phase`; it goes on when the future completes. Several may wait at once: a
    /// renewal goes on beside what its holder does.
    fn reached(&self, phase: Phase) -> BoxFuture<'_, ()>;
}

/// The pause point of one acquire and of its hold, if there is one.
#[derive(Clone, Default)]
pub(super) struct Stops {
    #[cfg(feature = "harness")]
    pause_point: Option<Arc<dyn PausePoint>>,
}

impl Stops {
    #[cfg(feature = "harness")]
    pub(super) fn at(pause_point: Arc<dyn PausePoint>) -> Self {
        Self { pause_point: Some(pause_point) }
    }

    /// Announces a phase, in trials.
    pub(super) async fn reached(&self, phase: Phase) {
        #[cfg(feature = "harness")]
        if let Some(pause_point) = &self.pause_point {
            pause_point.reached(phase).await;
        }
        #[cfg(not(feature = "harness"))]
        let _ = phase;
    }
}
