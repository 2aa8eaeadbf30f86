//! One hold, gathered from its ops: what its client may believe between grant and end.

use std::collections::BTreeMap;

use super::op::{F, Op, OpType, Process};
use crate::ids::{ClientId, FencingToken, HoldId, LockName};
use crate::time::Nanos;

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client began to release it.
    Released,
    /// The lock told the client that it is over.
    Lost,
    /// The client died: nobody is left to believe in it.
    Crashed,
}

/// From the completion of an acquire to the invocation of its release, the lost signal or the client's death, whichever
/// is first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The attempt that became this hold.
    pub id: HoldId,
    /// Who holds.
    pub client: ClientId,
    /// What is held.
    pub lock: LockName,
    /// The fencing token, where the lock gives one.
    pub token: Option<FencingToken>,
    /// Index of the op that completed the acquire.
    pub granted: u64,
    /// When the acquire completed.
    pub from: Nanos,
    /// Index of the op that ended the hold, and how; absent for a hold that was still open when the history ended.
    pub ended: Option<(u64, Ending)>,
    /// When it ended; for an open hold, when the history ended.
    pub to: Nanos,
    /// Until when the API said that the hold is valid, as last known before its end.
    pub valid_until: Option<Nanos>,
}

impl Hold {
    /// The hold's end clipped to the validity that the API exposed to its client.
    pub fn clipped_to(&self) -> Nanos {
        self.valid_until.map_or(self.to, |valid_until| valid_until.min(self.to)).max(self.from)
    }

    /// Whether the hold outlived the validity that the API exposed.
    pub fn outlived_validity(&self) -> bool {
        self.valid_until.is_some_and(|valid_until| valid_until < self.to)
    }
}

/// Gathers the holds of a history, in the order of their grants.
pub(super) fn holds(ops: &[Op]) -> Vec<Hold> {
    let end_of_history = ops.last().map_or(Nanos::ZERO, |op| op.time);
    let mut holds: Vec<Hold> = Vec::new();
    let mut position: BTreeMap<&HoldId, usize> = BTreeMap::new();
    // What ends with its client, should it die.
    let mut open: BTreeMap<ClientId, Vec<usize>> = BTreeMap::new();
    for op in ops.iter().filter(|op| matches!(op.process, Process::Client(_))) {
        if let (F::Crash, Some(client)) = (op.f, op.client) {
            for at in open.remove(&client).unwrap_or_default() {
                let hold = &mut holds[at];
                if hold.ended.is_none() {
                    hold.ended = Some((op.index, Ending::Crashed));
                    hold.to = op.time;
                }
            }
            continue;
        }
        let (Some(id), Some(lock), Some(client)) = (&op.hold, &op.lock, op.client) else { continue };
        let ending = match (op.f, op.kind) {
            (F::Acquire, OpType::Ok) => {
                position.insert(id, holds.len());
                let open = open.entry(client).or_default();
                open.retain(|at| holds[*at].ended.is_none());
                open.push(holds.len());
                holds.push(Hold {
                    id: id.clone(),
                    client,
                    lock: lock.clone(),
                    token: op.token,
                    granted: op.index,
                    from: op.time,
                    ended: None,
                    to: end_of_history,
                    valid_until: op.valid_until,
                });
                continue;
            }
            (F::Release, OpType::Invoke) => Ending::Released,
            (F::Lost, _) => Ending::Lost,
            _ => continue,
        };
        let Some(hold) = position.get(id).map(|at| &mut holds[*at]).filter(|hold| hold.ended.is_none()) else {
            continue;
        };
        hold.ended = Some((op.index, ending));
        hold.to = op.time;
        hold.valid_until = op.valid_until.or(hold.valid_until);
    }
    holds
}
