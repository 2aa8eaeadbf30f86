//! What this process has asked the Docker daemon to do to containers lately, so that what others do can be told apart.
//!
//! Docker tells what happens to a container, not who asked for it. Each request is noted *before* it is sent, with the
//! events that it brings about; an event that nobody here has asked for is somebody else's. Deliberately absent:
//! requests of other processes of ours (the watchdog acts only where the harness failed to).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after a request its events may come. One that failed brings none, and must not excuse a stranger for ever.
const LAG: Duration = Duration::from_secs(15);

/// The requests whose events are still to come.
#[derive(Debug, Default)]
pub struct OwnRequests {
    pending: Mutex<Vec<Request>>,
    /// The containers that were ever asked to start.
    started: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Request {
    container: String,
    action: &'static str,
    since: Instant,
}

impl OwnRequests {
    /// Notes that `container` is about to be asked for something that brings about these events.
    pub fn note(&self, container: &str, actions: &[&'static str]) {
        let since = now();
        let noted = actions.iter().map(|action| Request { container: container.to_owned(), action, since });
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(noted);
        if actions.contains(&"start") {
            self.started.lock().unwrap_or_else(PoisonError::into_inner).insert(container.to_owned());
        }
    }

    /// Whether `container` was ever asked to start.
    pub fn has_started(&self, container: &str) -> bool {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).contains(container)
    }

    /// Takes back what was noted of a request that failed: it brings about no event, and must not excuse a stranger's.
    pub fn take_back(&self, container: &str, actions: &[&'static str]) {
        for action in actions {
            self.explains(container, action);
        }
    }

    /// Forgets what `container` was asked for: whoever listens from now on hears nothing of it, and it must not excuse
    /// a stranger.
    pub fn forget(&self, container: &str) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|request| request.container != container);
    }

    /// Whether an event of `container` is one that was asked for here. Each request explains one event of a kind.
    pub fn explains(&self, container: &str, action: &str) -> bool {
        let now = now();
        let mut own_requests = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        own_requests.retain(|request| now.duration_since(request.since) < LAG);
        let of_it = |request: &Request| request.container == container && request.action == action;
        match own_requests.iter().position(of_it) {
            Some(at) => {
                own_requests.swap_remove(at);
                true
            }
            None => false,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "real servers live in real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_explains_its_own_events_once() {
        let own_requests = OwnRequests::default();
        assert!(!own_requests.explains("a", "kill"));
        own_requests.note("a", &["kill", "die"]);
        assert!(!own_requests.explains("b", "kill"), "another container's");
        assert!(!own_requests.explains("a", "pause"), "another kind");
        assert!(own_requests.explains("a", "die") && own_requests.explains("a", "kill"));
        assert!(!own_requests.explains("a", "kill"), "a second one is somebody else's");
        own_requests.note("a", &["pause"]);
        own_requests.take_back("a", &["pause"]);
        assert!(!own_requests.explains("a", "pause"), "the request failed");
        own_requests.note("a", &["kill"]);
        own_requests.note("b", &["kill"]);
        own_requests.forget("a");
        assert!(!own_requests.explains("a", "kill") && own_requests.explains("b", "kill"), "nobody listened yet");
    }
}
