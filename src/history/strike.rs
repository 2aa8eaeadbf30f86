//! Each strike of a fault with both its ends: what checks judge by and pages draw.
//!
//! Of several orders to heal one strike the first counts: from there on nobody can say that it was in force. Of several
//! words on whether it is healed the last counts. Deliberately absent: what a strike changed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{F, FaultEvent, Op, OpType, Probe};
use crate::time::Nanos;

/// One strike of a fault, from the order to apply it to the word that it is healed.
pub struct Strike<'a> {
    /// What was done, as last recorded by a `fault` op.
    pub event: &'a FaultEvent,
    /// The `fault` op that began it.
    pub invoked: &'a Op,
    /// How the `fault` op completed.
    pub applied: Option<&'a Op>,
    /// The order to undo it.
    pub healing: Option<&'a Op>,
    /// How the last `heal` op completed.
    pub healed: Option<&'a Op>,
}

impl Strike<'_> {
    /// Whether it certainly never took effect.
    pub fn missed(&self) -> bool {
        self.applied.is_some_and(|op| op.kind == OpType::Fail)
    }

    /// Whether it was recorded as applied.
    pub fn is_recorded(&self) -> bool {
        self.applied.is_some_and(|op| op.kind == OpType::Ok)
    }

    /// Whether it was seen to have its effect: recorded as applied, looked at, and every look confirmed it. A fault
    /// that nobody looked at is not known to have happened.
    pub fn is_verified(&self) -> bool {
        self.is_recorded() && !self.event.probes.is_empty() && self.event.probes.iter().all(|probe| probe.passed())
    }

    /// Whether it was undone, and no look at the world denied it.
    pub fn is_healed(&self) -> bool {
        self.healed.is_some_and(|op| {
            let probes = op.fault.as_ref().map_or(&[][..], |event| &event.probes);
            op.kind == OpType::Ok && probes.iter().all(|probe| probe.passed())
        })
    }

    /// Where a look at whether it had its effect got no answer, and none denied it: that look.
    pub fn unseen(&self) -> Option<&Probe> {
        unseen(&self.event.probes)
    }

    /// Where a look at whether it was undone got no answer, and none showed that it was not: that look.
    pub fn unseen_healed(&self) -> Option<&Probe> {
        let probes = self.healed.and_then(|op| op.fault.as_ref()).map_or(&[][..], |event| &event.probes);
        unseen(probes)
    }

    /// From when and until when the struck members may have felt it, in a history that ends at `end`.
    pub fn felt(&self, end: Nanos) -> (Nanos, Nanos) {
        (self.invoked.time, self.healed.or(self.healing).map_or(end, |op| op.time))
    }

    /// How long it certainly lasted: from the report that it is applied to the order to heal it.
    pub fn lasted(&self) -> Option<Duration> {
        Some(self.healing?.time - self.applied?.time)
    }
}

/// The first of these looks without an answer, unless another one shows how things are.
fn unseen(probes: &[Probe]) -> Option<&Probe> {
    probes.iter().find(|probe| probe.unseen).filter(|_| !probes.iter().any(Probe::denied))
}

/// The strikes so far, by their faults' numbers.
#[derive(Default)]
pub struct Strikes<'a>(BTreeMap<u32, Strike<'a>>);

impl<'a> Strikes<'a> {
    /// Takes note of a `fault` or a `heal` op.
    pub fn take(&mut self, op: &'a Op) {
        let Some(event) = &op.fault else { return };
        let begins = (op.f, op.kind) == (F::Fault, OpType::Invoke);
        match self.0.get_mut(&event.id).filter(|_| !begins) {
            None if op.f == F::Fault => {
                let applied = (!begins).then_some(op);
                self.0.insert(event.id, Strike { event, invoked: op, applied, healing: None, healed: None });
            }
            None => {}
            Some(strike) => match (op.f, op.kind) {
                (F::Fault, _) => {
                    strike.event = event;
                    strike.applied = Some(op);
                }
                (F::Heal, OpType::Invoke) => strike.healing = strike.healing.or(Some(op)),
                (F::Heal, _) => strike.healed = Some(op),
                _ => {}
            },
        }
    }

    /// All of them, in the order of the faults' numbers.
    pub fn all(self) -> Vec<Strike<'a>> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Process;

    #[test]
    fn of_orders_to_heal_the_first_counts_and_of_words_on_it_the_last() {
        let op = |at: u64, kind, f| {
            let mut op = Op::new(Nanos(at), Process::Nemesis, kind, f);
            op.fault = Some(Box::new(FaultEvent { id: 1, ..FaultEvent::default() }));
            op
        };
        let ops = [
            op(1, OpType::Invoke, F::Fault),
            op(2, OpType::Ok, F::Fault),
            op(5, OpType::Invoke, F::Heal),
            op(6, OpType::Info, F::Heal),
            op(8, OpType::Invoke, F::Heal),
            op(9, OpType::Ok, F::Heal),
        ];
        let mut strikes = Strikes::default();
        ops.iter().for_each(|op| strikes.take(op));
        let strike = &strikes.all()[0];
        assert_eq!((strike.lasted(), strike.felt(Nanos(20))), (Some(Duration::from_nanos(3)), (Nanos(1), Nanos(9))));
        assert!(strike.is_recorded() && strike.is_healed() && !strike.missed() && !strike.is_verified(), "no probe");
    }
}
