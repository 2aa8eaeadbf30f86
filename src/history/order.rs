//! The order of a history's ops: that of time, and within one instant one that every reader makes alike.
//!
//! Parties report over channels of their own, so arrival order is not time order: a client that is frozen between
//! an event and its report reports late. At equal times invocations come first: intervals are closed. But one
//! process's ops keep their own order, which is the order of their arrival: in simulated time an acquire may
//! complete in the very instant in which the read after it begins.
//! Deliberately absent: other harnesses' order, which is that of their files.

use std::collections::BTreeMap;

use super::op::{Op, OpType, Process};

/// Puts the ops of one instant, which stand in the order of their arrival, into their order.
fn settle(instant: &mut [Op]) {
    if instant.len() < 2 {
        return;
    }
    // The index serves as the rank within an instant: even for invocations, odd for the rest.
    let mut ranks: BTreeMap<Process, u32> = BTreeMap::new();
    for op in &mut *instant {
        let rank = ranks.entry(op.process).or_default();
        *rank += u32::from(rank.is_multiple_of(2) != (op.kind == OpType::Invoke));
        op.index = *rank;
    }
    instant.sort_by_key(|op| op.index);
}

/// Puts ops into their order and numbers them.
pub(super) fn put_in_order(ops: &mut [Op]) {
    if !ops.is_sorted_by_key(|op| op.time) {
        ops.sort_by_key(|op| op.time);
    }
    ops.chunk_by_mut(|one, other| one.time == other.time).for_each(settle);
    for (op, index) in ops.iter_mut().zip(0..) {
        op.index = index;
        op.tidy();
    }
}

/// Does the same with ops that come one by one in the order of time; it keeps those of one instant.
#[derive(Default)]
pub(crate) struct InOrder {
    instant: Vec<Op>,
    next: u32,
}

/// An op came after a later one: all have to be known to put them in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disorder;

impl InOrder {
    /// Takes the next op, and hands on those that are in their places with it.
    ///
    /// # Errors
    /// It is earlier than one before it.
    pub fn take(&mut self, op: Op, give: &mut impl FnMut(&Op)) -> Result<(), Disorder> {
        match self.instant.last().map(|last| last.time.cmp(&op.time)) {
            Some(std::cmp::Ordering::Greater) => return Err(Disorder),
            Some(std::cmp::Ordering::Less) => self.finish(give),
            _ => {}
        }
        self.instant.push(op);
        Ok(())
    }

    /// Hands on what is left.
    pub fn finish(&mut self, give: &mut impl FnMut(&Op)) {
        settle(&mut self.instant);
        for op in &mut self.instant {
            op.index = self.next;
            self.next = self.next.wrapping_add(1);
            op.tidy();
            give(op);
        }
        self.instant.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::history::op::F;
    use crate::history::recorder::tests::header;
    use crate::time::Nanos;

    #[test]
    fn an_instant_has_invocations_first_but_keeps_each_process_in_order() {
        use OpType::{Invoke, Ok};
        let op = |process, kind, f| Op::new(Nanos(7), Process::Client(process), kind, f);
        let arrived = vec![
            op(1, Ok, F::Acquire),
            op(1, Invoke, F::Read),
            op(1, Ok, F::Read),
            op(2, Ok, F::Release),
            op(3, Invoke, F::Acquire),
        ];
        let ordered = History::new(header(), arrived.clone());
        let told: Vec<_> = ordered.ops.iter().map(|op| (op.process.to_string(), op.kind, op.f)).collect();
        let expected = [(3, Invoke, F::Acquire), (1, Ok, F::Acquire), (2, Ok, F::Release), (1, Invoke, F::Read)];
        assert_eq!(told[..4], expected.map(|(process, kind, f)| (process.to_string(), kind, f)));
        assert_eq!(History::new(header(), ordered.ops.clone()), ordered, "a stored history keeps its order");

        // One by one they come out alike, between others of other instants.
        let mut all = vec![Op::new(Nanos(6), Process::Client(9), Ok, F::Release)];
        all.extend(arrived);
        all.push(Op::new(Nanos(8), Process::Client(9), Invoke, F::Acquire));
        let (mut given, mut in_order) = (Vec::new(), InOrder::default());
        let mut give = |op: &Op| given.push(op.clone());
        all.iter().for_each(|op| in_order.take(op.clone(), &mut give).unwrap());
        assert_eq!(in_order.take(op(1, Ok, F::Acquire), &mut give), Err(Disorder));
        in_order.finish(&mut give);
        assert_eq!(given, History::new(header(), all).ops);
    }
}
