//! What outlives a client that dies: the numbers with which its next life goes on.
//!
//! A process never acts again after its client's death, and no hold id is used twice, so a client that is started again
//! must not count from the beginning. Whoever kills clients follows each one's ops with a [`Life`].

use serde::{Deserialize, Serialize};

use super::op::{F, Op, OpType, Process};
use crate::ids::ClientId;
use crate::time::Nanos;

/// Where a client stands in the numbers that a history gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Life {
    client: ClientId,
    clients: u32,
    number: u32,
    process: u32,
    attempts: u32,
}

impl Life {
    /// The first life of client `client` of `clients`.
    pub fn first(client: ClientId, clients: u32) -> Self {
        Self { client, clients, number: 1, process: client.0, attempts: 0 }
    }

    /// How many lives it has had, this one included.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The logical process that acts next.
    pub fn process(&self) -> Process {
        Process::Client(self.process)
    }

    /// How many attempts it has made, in all its lives.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Follows an op. Those of others are passed over.
    pub fn hear(&mut self, op: &Op) {
        let (Process::Client(process), true) = (op.process, op.client == Some(self.client)) else { return };
        self.attempts += u32::from((op.f, op.kind) == (F::Acquire, OpType::Invoke));
        // What may have happened may happen later: its process never acts again (Jepsen's rule).
        self.process = if op.kind == OpType::Info { process + self.clients } else { process };
    }

    /// Ends this life: the op that tells of it. From here on this is the client's next life.
    pub fn crash(&mut self, time: Nanos) -> Op {
        let mut op = Op::new(time, self.process(), OpType::Info, F::Crash);
        op.client = Some(self.client);
        self.hear(&op);
        self.number += 1;
        op
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(process: u32, kind: OpType, f: F) -> Op {
        let mut op = Op::new(Nanos(1), Process::Client(process), kind, f);
        op.client = Some(ClientId((process - 1) % 3 + 1));
        op
    }

    #[test]
    fn a_new_life_goes_on_with_a_process_and_attempts_of_its_own() {
        let mut life = Life::first(ClientId(2), 3);
        for op in [op(2, OpType::Invoke, F::Acquire), op(1, OpType::Info, F::Release), op(2, OpType::Ok, F::Acquire)] {
            life.hear(&op);
        }
        assert_eq!((life.process(), life.attempts()), (Process::Client(2), 1), "others' ops are none of its own");
        let crash = life.crash(Nanos(5));
        assert_eq!((crash.process, crash.kind, crash.f), (Process::Client(2), OpType::Info, F::Crash));
        assert_eq!((life.process(), life.attempts(), life.number()), (Process::Client(5), 1, 2));
    }

    #[test]
    fn a_death_after_an_op_in_doubt_is_that_of_the_next_process() {
        let mut life = Life::first(ClientId(1), 3);
        life.hear(&op(1, OpType::Info, F::Release));
        assert_eq!(life.crash(Nanos(5)).process, Process::Client(4));
        assert_eq!(life.crash(Nanos(6)).process, Process::Client(7), "it may die again before it has done anything");
    }
}
