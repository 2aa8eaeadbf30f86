//! Who changes a network next: at each door, one after the other, in the order in which they were heard.
//!
//! Otherwise a table that is lifted while it is being laid would be laid after it was lifted, and stay.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::Door;

/// Ends when the change that holds the other end is over.
type Over = oneshot::Receiver<()>;

/// The last turn that was taken at each door.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<Door, Over>>);

/// A turn at some doors, for whoever waits until it has come. It is over when this is dropped.
pub(super) struct Turn {
    before: Vec<Over>,
    _running: Vec<oneshot::Sender<()>>,
}

impl Turns {
    /// A turn at all of `doors`, after all that were taken there before.
    pub fn take(&self, doors: impl IntoIterator<Item = Door>) -> Turn {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, over| over.try_recv() == Err(TryRecvError::Empty));
        let (mut before, mut running) = (Vec::new(), BTreeMap::new());
        for door in doors {
            // Named twice, it is still one door: who waited for himself would wait for ever.
            running.entry(door).or_insert_with(|| {
                let (sender, over) = oneshot::channel();
                before.extend(last.insert(door, over));
                sender
            });
        }
        Turn { before, _running: running.into_values().collect() }
    }
}

impl Turn {
    /// Waits until it is this one's turn at each of its doors.
    pub async fn come(&mut self) {
        while let Some(over) = self.before.last_mut() {
            // Nobody sends: what ends is the other end.
            let _ = over.await;
            self.before.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::future::FutureExt;

    use super::*;

    fn door(pid: i64) -> Door {
        Door { pid, address: Ipv4Addr::LOCALHOST }
    }

    fn has_come(turn: &mut Turn) -> bool {
        turn.come().now_or_never().is_some()
    }

    #[test]
    fn turns_at_one_door_come_in_the_order_in_which_they_were_taken() {
        let turns = Turns::default();
        let mut first = turns.take([door(1), door(2)]);
        let mut second = turns.take([door(2), door(3), door(2)]);
        let mut third = turns.take([door(3)]);
        let mut elsewhere = turns.take([door(4)]);
        assert!(has_come(&mut first) && has_come(&mut elsewhere), "nobody is before them");
        assert!(!has_come(&mut second) && !has_come(&mut third));
        drop(first);
        assert!(has_come(&mut second) && !has_come(&mut third));
        drop(second);
        assert!(has_come(&mut third));
    }

    #[test]
    fn turns_that_are_over_are_forgotten() {
        let turns = Turns::default();
        for pid in 0..1_000 {
            drop(turns.take([door(pid)]));
        }
        assert!(turns.0.lock().unwrap().len() <= 1);
    }
}
