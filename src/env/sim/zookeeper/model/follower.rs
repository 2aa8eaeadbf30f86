//! A server that follows: takes over its leader's history, then writes, acknowledges and applies what it is told to.

use std::time::Duration;

use super::io::Output;
use super::local::{Abdicate, Local};
use super::messages::Zxid;
use super::peers::{Forward, PeerMessage, ToFollower, ToLeader};
use crate::ids::NodeId;
use crate::time::Nanos;

/// How often a follower tries to reach a leader that is not ready for it.
const TRIES: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Hello was said, or will be said again.
    Connecting,
    /// The leader has answered, and its history is being taken over.
    Synchronising,
    /// Clients are served.
    Serving,
}

/// A server with a leader.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub leader: NodeId,
    association: u64,
    incoming: u64,
    outgoing: u64,
    stage: Stage,
    tries: u32,
    retry_at: Option<Nanos>,
    committed: Zxid,
    /// When to give the leader up unless something is heard of it.
    deadline: Nanos,
    /// Whether the deadline was found to have passed in our sleep.
    overslept: bool,
}

impl Follower {
    /// Turns to `leader`. Connections are numbered from `association`.
    pub fn follow(leader: NodeId, association: u64, local: &mut Local) -> Self {
        let deadline = local.now + local.settings.init_time();
        let mut follower = Self {
            leader,
            association,
            incoming: 0,
            outgoing: 0,
            stage: Stage::Connecting,
            tries: 0,
            retry_at: None,
            committed: Zxid::ZERO,
            deadline,
            overslept: false,
        };
        follower.hello(local);
        follower
    }

    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    pub fn next_timer(&self) -> Nanos {
        self.retry_at.map_or(self.deadline, |retry_at| retry_at.min(self.deadline))
    }

    fn hello(&mut self, local: &mut Local) {
        (self.retry_at, self.incoming, self.outgoing) = (None, 0, 0);
        self.tries += 1;
        self.send(ToLeader::Hello { accepted_epoch: local.disk.accepted_epoch }, local);
    }

    fn send(&mut self, body: ToLeader, local: &mut Local) {
        let message = PeerMessage::ToLeader { association: self.association, number: self.outgoing, body };
        self.outgoing += 1;
        local.out.push(Output::ToPeer(self.leader, message));
    }

    /// Passes a client's request on.
    pub fn forward(&mut self, forward: Forward, local: &mut Local) {
        self.send(ToLeader::Forward(forward), local);
    }

    pub fn timer(&mut self, local: &mut Local) -> Result<(), Abdicate> {
        if self.retry_at.is_some_and(|at| at <= local.now) {
            self.association += 1;
            self.hello(local);
        }
        if self.deadline <= local.now {
            // After a stop of this process, what has arrived meanwhile counts: a kernel that finds both data and an
            // expired timer hands out the data.
            if local.now - self.deadline < Duration::from_millis(1) || self.overslept {
                return Err(Abdicate("the leader is silent"));
            }
            self.overslept = true;
            self.deadline = local.now + Duration::from_millis(1);
        }
        Ok(())
    }

    /// The connection broke.
    pub fn reset(&mut self, association: Option<u64>, local: &Local) -> Result<(), Abdicate> {
        if association.is_some_and(|broken| broken != self.association) {
            return Ok(());
        }
        if self.stage != Stage::Connecting || self.tries >= TRIES {
            return Err(Abdicate("the leader hung up"));
        }
        self.retry_at = Some(local.now + local.settings.connect_retry);
        Ok(())
    }

    /// Hangs up.
    pub fn leave(&self, out: &mut Vec<Output>) {
        out.push(Output::ToPeer(self.leader, PeerMessage::Reset { association: self.association }));
    }

    pub fn receive(
        &mut self,
        association: u64,
        number: u64,
        body: ToFollower,
        local: &mut Local,
    ) -> Result<(), Abdicate> {
        if association != self.association {
            local.out.push(Output::ToPeer(self.leader, PeerMessage::Reset { association }));
            return Ok(());
        }
        if number != self.incoming {
            return Err(Abdicate("the connection with the leader broke"));
        }
        self.incoming += 1;
        self.take(body, local)?;
        let patience = if self.is_serving() { local.settings.sync_time() } else { local.settings.init_time() };
        (self.deadline, self.overslept) = (local.now + patience, false);
        Ok(())
    }

    fn take(&mut self, body: ToFollower, local: &mut Local) -> Result<(), Abdicate> {
        match body {
            ToFollower::NewEpoch(epoch) => self.promise(epoch, local)?,
            ToFollower::History { epoch, keep, entries } => {
                if !local.disk.keep(keep) {
                    return Err(Abdicate("the leader's history does not fit"));
                }
                local.replica.rewind(keep, local.disk);
                entries.into_iter().for_each(|entry| local.disk.append(entry));
                local.disk.current_epoch = epoch;
                self.send(ToLeader::AckHistory(local.disk.last()), local);
            }
            ToFollower::UpToDate { committed } => {
                self.stage = Stage::Serving;
                self.commit(committed, local);
            }
            ToFollower::Proposal(entry) => {
                let zxid = entry.zxid;
                local.disk.append(entry);
                self.send(ToLeader::Ack(zxid), local);
            }
            ToFollower::Commit(zxid) => self.commit(zxid, local),
            ToFollower::Synced { session, xid } => {
                local.replica.clients.synced(session, xid, &local.replica.tree, local.out);
            }
            ToFollower::Revalidated { session, alive } => {
                local.replica.clients.revalidated(session, alive, &local.replica.tree, local.out);
            }
            ToFollower::Ping => {
                let touched = local.replica.clients.take_touched();
                self.send(ToLeader::Pong(touched), local);
            }
        }
        Ok(())
    }

    fn promise(&mut self, epoch: u32, local: &mut Local) -> Result<(), Abdicate> {
        if epoch < local.disk.accepted_epoch {
            return Err(Abdicate("the leader is of the past"));
        }
        self.stage = Stage::Synchronising;
        let new = epoch > local.disk.accepted_epoch;
        local.disk.accepted_epoch = epoch;
        let current_epoch = new.then_some(local.disk.current_epoch);
        self.send(ToLeader::AckEpoch { current_epoch, last: local.disk.last() }, local);
        Ok(())
    }

    fn commit(&mut self, zxid: Zxid, local: &mut Local) {
        self.committed = self.committed.max(zxid);
        // Until the whole history is known to be the ensemble's, nothing of it may be shown.
        if self.is_serving() {
            local.replica.apply_to(self.committed, local.disk, local.out);
        }
    }
}
