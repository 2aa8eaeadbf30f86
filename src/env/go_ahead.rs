//! The pause points at which one client stands, and the go-ahead for each.
//!
//! A client may stand at several at once, as a renewal goes on beside its holder: each has a number, and is let go by
//! it. Deliberately absent: how a phase is announced; that differs from world to world.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// The pause points at which one client stands.
#[derive(Default)]
pub(super) struct GoAheads(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

impl GoAheads {
    /// A new pause point: its number, and what completes when it is let go.
    pub(super) fn wait(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, gone) = oneshot::channel();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, sender);
        (number, gone)
    }

    /// Lets whoever waits at the pause point of this number go on. One that was given up is passed over.
    pub(super) fn go(&self, number: u64) {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&number);
        let _ = waiting.map(|waiting| waiting.send(()));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::FutureExt;

    use super::*;

    /// A renewal that is let go must not let its holder go, nor keep it.
    #[test]
    fn each_pause_point_is_let_go_by_its_own_number() {
        let go_aheads = GoAheads::default();
        let (first, mut holder) = go_aheads.wait();
        let (second, mut renewal) = go_aheads.wait();
        let (third, given_up) = go_aheads.wait();
        drop(given_up);
        go_aheads.go(third);
        go_aheads.go(second);
        assert_eq!(((&mut holder).now_or_never(), (&mut renewal).now_or_never()), (None, Some(Ok(()))));
        go_aheads.go(second);
        assert_eq!((&mut holder).now_or_never(), None);
        go_aheads.go(first);
        assert_eq!(holder.now_or_never(), Some(Ok(())));
    }
}
