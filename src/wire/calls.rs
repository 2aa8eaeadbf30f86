//! What a client is about with each lock, from the ops that it records, and under which names servers know the locks.

use std::collections::BTreeMap;

use crate::fault::request::Call;
use crate::history::{F, Op, OpType};
use crate::ids::LockName;

/// The names of a trial's locks at the servers.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<(LockName, Vec<u8>)>);

impl Names {
    /// Each lock, and the bytes by which a request about it is known.
    pub fn new(names: impl IntoIterator<Item = (LockName, Vec<u8>)>) -> Self {
        Self(names.into_iter().filter(|(_, written)| !written.is_empty()).collect())
    }

    /// The lock whose name is in these bytes: the longest, where one name begins another.
    pub fn find(&self, bytes: &[u8]) -> Option<&LockName> {
        let named = self.0.iter().filter(|(_, written)| mentions(bytes, written));
        named.max_by_key(|(_, written)| written.len()).map(|(lock, _)| lock)
    }
}

/// What one client is about.
#[derive(Clone, Debug, Default)]
pub struct Calls(BTreeMap<LockName, Call>);

impl Calls {
    /// Follows an op of the client.
    pub fn hear(&mut self, op: &Op) {
        if op.f == F::Crash {
            return self.0.clear();
        }
        let Some(lock) = &op.lock else { return };
        let call = match (op.f, op.kind) {
            (F::Acquire, OpType::Invoke) => Some(Call::Acquiring),
            (F::Acquire, OpType::Ok) => Some(Call::Renewing),
            // What was lost is given back, too, without an op of its own.
            (F::Release, OpType::Invoke) | (F::Lost, _) => Some(Call::Releasing),
            (F::Acquire | F::Release, _) => None,
            _ => return,
        };
        match call {
            Some(call) => drop(self.0.insert(lock.clone(), call)),
            None => drop(self.0.remove(lock)),
        }
    }

    /// What it is about with a lock, if anything.
    pub fn of(&self, lock: &LockName) -> Option<Call> {
        self.0.get(lock).copied()
    }
}

/// Whether `bytes` have `word` in them.
pub(super) fn mentions(bytes: &[u8], word: &[u8]) -> bool {
    !word.is_empty() && bytes.windows(word.len()).any(|window| window == word)
}
