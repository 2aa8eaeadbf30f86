//! Up to when a history can be judged: until then every op is there, and whatever happened was the trial's own doing.
//!
//! Two things end that before the history ends. Parties on real servers report over channels of their own, so a history
//! that was cut off lacks some parties' last ops while others' later ones are there. And somebody else may have struck
//! what the trial used: from then on nothing can be laid at a lock's door, and nothing was shown of it either.
//! Deliberately absent: what the rest is worth; that is `check`'s.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{CutOff, EnvironmentName, F, Header, History, Op, Process};
use crate::ids::ClientId;
use crate::time::Nanos;

/// Whether a history that is cut off like this, or not, can be judged to its end if nobody else struck.
pub(crate) fn reaches_its_end(header: &Header, cut_off: Option<&CutOff>) -> bool {
    match cut_off {
        None => true,
        Some(CutOff::Lacks { .. } | CutOff::EndsAt { .. }) => false,
        // In containers parties report over channels of their own; in a simulation ops arrive in the order of time.
        Some(_) => !header.environment.is(EnvironmentName::Docker),
    }
}

impl History {
    /// Up to when it can be judged, and why no longer; `None` where that is to its end.
    pub fn reach(&self) -> Option<(Nanos, CutOff)> {
        let outside = self.ops.iter().filter(|op| op.f == F::Outside);
        let disturbed = outside.min_by_key(|op| op.since.unwrap_or(op.time)).map(|op| {
            let from = op.since.unwrap_or(op.time);
            (from, CutOff::Disturbed { from, what: op.error.clone().unwrap_or_default() })
        });
        let until = match self.cut_off {
            _ if reaches_its_end(&self.header, self.cut_off.as_ref()) => None,
            // Anything may be missing anywhere.
            Some(CutOff::Lacks { .. } | CutOff::EndsAt { .. }) => Some(Nanos::ZERO),
            _ => Some(complete_until(&self.ops, self.header.clients)),
        };
        let incomplete = until.zip(self.cut_off.as_ref());
        let incomplete = incomplete.map(|(until, why)| (until, CutOff::Incomplete { until, why: why.to_string() }));
        [disturbed, incomplete].into_iter().flatten().min_by_key(|(until, _)| *until)
    }

    /// Why it does not show all that happened in its trial, or shows what was not the trial's doing.
    pub fn lacks(&self) -> Option<CutOff> {
        self.reach().map(|(_, why)| why).or_else(|| self.cut_off.clone())
    }

    /// The part that can be judged, which is then cut off; the whole where that is to its end.
    pub fn within_reach(&self) -> Cow<'_, Self> {
        match self.reach() {
            None => Cow::Borrowed(self),
            Some((until, why)) => {
                let ops = self.ops.iter().take_while(|op| op.time < until).cloned().collect();
                Cow::Owned(Self { header: self.header.clone(), ops, servers: Vec::new(), cut_off: Some(why) })
            }
        }
    }
}

/// Until when the ops of all clients and of the resource are there. Each reports its own in their order, so it has told
/// everything up to its last one; at that very instant another may have more to tell.
fn complete_until(ops: &[Op], clients: u32) -> Nanos {
    let mut heard: BTreeMap<Option<ClientId>, Nanos> = BTreeMap::new();
    for op in ops {
        let party = match op.process {
            Process::Client(_) => op.client,
            Process::Resource => None,
            Process::Nemesis | Process::Monitor | Process::Outside | Process::Inspector => continue,
        };
        let last = heard.entry(party).or_default();
        *last = op.time.max(*last);
    }
    let parties = (1..=clients).map(|client| Some(ClientId(client))).chain([None]);
    parties.map(|party| heard.get(&party).copied().unwrap_or_default()).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::OpType;
    use crate::history::recorder::tests::header;

    fn op(time: u64, process: Process, f: F) -> Op {
        let mut op = Op::new(Nanos(time), process, OpType::Invoke, f);
        if let Process::Client(number) = process {
            op.client = Some(ClientId(number));
        }
        op
    }

    /// Two clients and a resource; `c1` is heard of last at 90, the resource at 60, `c2` at 70.
    fn torn() -> History {
        let ops = vec![
            op(10, Process::Client(1), F::Acquire),
            op(20, Process::Client(2), F::Acquire),
            op(60, Process::Resource, F::Read),
            op(70, Process::Client(2), F::Read),
            op(80, Process::Monitor, F::Stall),
            op(90, Process::Client(1), F::Write),
        ];
        History { cut_off: Some(CutOff::NoMark), ..History::new(header(), ops) }
    }

    fn times(history: &History) -> Vec<u64> {
        history.ops.iter().map(|op| op.time.0).collect()
    }

    #[test]
    fn a_whole_history_reaches_to_its_end() {
        let whole = History { cut_off: None, ..torn() };
        assert_eq!(whole.reach(), None);
        assert_eq!(whole.within_reach().as_ref(), &whole);
    }

    #[test]
    fn a_torn_one_reaches_as_far_as_the_party_that_was_heard_of_first() {
        assert_eq!(times(&torn().within_reach()), [10, 20]);
        // Nothing was heard of one: nothing is known to be there.
        let mut silent = torn();
        silent.ops.retain(|op| op.client != Some(ClientId(2)));
        assert_eq!(times(&silent.within_reach()), [0; 0]);
        // Ops of a simulation are written in the order of time: what is there is all until then.
        let mut simulated = torn();
        simulated.header.environment = EnvironmentName::Sim.into();
        assert_eq!(simulated.reach(), None);
    }

    #[test]
    fn what_somebody_else_did_ends_what_can_be_judged_from_when_it_may_have_begun() {
        let mut whole = History { cut_off: None, ..torn() };
        let mut outside = op(75, Process::Outside, F::Outside);
        (outside.since, outside.error) = (Some(Nanos(65)), Some("redis-2 was killed".to_owned()));
        whole.ops.insert(4, outside.clone());
        let judged = whole.within_reach();
        assert_eq!(times(&judged), [10, 20, 60]);
        assert!(judged.cut_off.as_ref().unwrap().to_string().contains("redis-2 was killed"));
        // What lacks an op somewhere cannot be judged at all.
        let gap = History { cut_off: Some(CutOff::Lacks { told: 9, found: 6 }), ..torn() };
        assert_eq!(times(&gap.within_reach()), [0; 0]);
        // Of two ends the first counts.
        let both = History { cut_off: Some(CutOff::NoMark), ..whole };
        assert_eq!(both.reach().unwrap().0, Nanos(60));
        let mut early = both;
        early.ops.iter_mut().filter(|op| op.f == F::Outside).for_each(|op| op.since = Some(Nanos(15)));
        assert_eq!(times(&early.within_reach()), [10]);
    }
}
