//! What a comparison says, as plain data: for each lock and scenario in how many runs it broke what, for each lock what
//! that comes to and what it costs. The page, the terminal's table and the Markdown are drawn from it.
//!
//! Everything is a count of runs or a pooled duration. Deliberately absent: whether a scenario's file had foreseen it.

use std::collections::BTreeSet;

use super::cell::{Cell, Share};
use super::cost::Cost;
use super::real::Real;
use super::standing::Standing;
use super::sweep::Sweep;
use super::words;
use crate::check::{CheckName, Verdict};

/// What all sweeps together say.
pub(super) struct Comparison<'a> {
    /// The scenarios.
    pub sweeps: &'a [Sweep],
    /// The locks that any of them tried, in the order of their names.
    pub locks: Vec<&'a str>,
    /// The same scenarios on real servers, if they are to stand beside them.
    pub real: Option<&'a Real>,
}

/// One consideration of whoever has to choose, and what was found for each lock.
pub(super) struct Consideration {
    /// The question.
    pub question: &'static str,
    /// The answer for each lock, in their order; none where it is not measured here.
    pub answers: Option<Vec<String>>,
}

impl<'a> Comparison<'a> {
    /// Of these sweeps.
    pub fn of(sweeps: &'a [Sweep]) -> Self {
        let locks: BTreeSet<&str> =
            sweeps.iter().flat_map(|sweep| &sweep.locks).map(|tally| tally.lock.as_str()).collect();
        Self { sweeps, locks: locks.into_iter().collect(), real: None }
    }

    /// The same, with runs on real servers beside the simulated ones.
    pub fn beside(self, real: &'a Real) -> Self {
        Self { real: Some(real), ..self }
    }

    /// The cell of a lock in a scenario; none if the scenario does not try it.
    pub fn cell(&self, sweep: &'a Sweep, lock: &str) -> Option<Cell<'a>> {
        sweep.locks.iter().find(|tally| tally.lock == lock).map(|tally| Cell { sweep, tally })
    }

    /// The cells of a lock.
    pub fn cells(&self, lock: &'a str) -> impl Iterator<Item = Cell<'a>> + use<'a, '_> {
        self.sweeps.iter().filter_map(move |sweep| self.cell(sweep, lock))
    }

    /// The costs of a lock, pooled over the scenarios that strike nothing, or else over all; and which.
    pub fn cost(&self, lock: &'a str) -> (Cost, &'static str) {
        let pooled = |calm: bool| {
            let mut cost = Cost::default();
            let of = self.cells(lock).filter(|cell| !calm || cell.tally.figure("faults-struck") == 0.0);
            of.for_each(|cell| cost.add(&cell.tally.cost));
            cost
        };
        let calm = pooled(true);
        if calm.waits.count() > 0 {
            (calm, "where nothing was struck")
        } else {
            (pooled(false), "in all runs, faults included")
        }
    }

    /// How long a lock was not granted around a fault, pooled over all scenarios.
    fn outages(&self, lock: &'a str) -> Cost {
        let mut cost = Cost::default();
        self.cells(lock).for_each(|cell| cost.add(&cell.tally.cost));
        cost
    }

    /// What a lock did, a sentence for each outcome that came.
    pub fn conclusion(&self, lock: &'a str) -> Vec<(Standing, String)> {
        let cells: Vec<Cell<'a>> = self.cells(lock).collect();
        let of = |standing| -> Vec<&Cell<'a>> { cells.iter().filter(|cell| cell.standing() == standing).collect() };
        let named = |cells: &[&Cell<'a>]| -> String {
            let names: Vec<String> = cells
                .iter()
                .map(|cell| {
                    let share = cell.share();
                    format!("{} ({} of {} runs)", cell.sweep.scenario, share.of, share.runs)
                })
                .collect();
            names.join(", ")
        };
        let mut told = Vec::new();
        let harmed = of(Standing::Harmed);
        if !harmed.is_empty() {
            told.push((Standing::Harmed, format!("unsafe under {}: the data took harm.", named(&harmed))));
        }
        let broken = of(Standing::Broken);
        if !broken.is_empty() {
            told.push((
                Standing::Broken,
                format!("broke a guarantee, without harm to the data, under {}.", named(&broken)),
            ));
        }
        let kept = of(Standing::Kept);
        if !kept.is_empty() {
            let names: Vec<&str> = kept.iter().map(|cell| cell.sweep.scenario.as_str()).collect();
            let runs = kept.iter().map(|cell| cell.sweep.seeds).min().unwrap_or(0);
            let (_, most) = Share { of: 0, runs }.interval();
            told.push((
                Standing::Kept,
                format!(
                    "safe in every run of {} (0 of {runs} runs leave room for up to {:.0} %).",
                    names.join(", "),
                    most * 100.0
                ),
            ));
        }
        let undecided = of(Standing::Undecided);
        if !undecided.is_empty() {
            let names: Vec<&str> = undecided.iter().map(|cell| cell.sweep.scenario.as_str()).collect();
            told.push((Standing::Undecided, format!("not decided in every run of {}.", names.join(", "))));
        }
        told
    }

    /// What a lock costs, in one sentence.
    pub fn cost_told(&self, lock: &'a str) -> String {
        let (cost, when) = self.cost(lock);
        let told = |duration: Option<std::time::Duration>| duration.map_or_else(|| "–".to_owned(), words::lasting);
        let rate = cost.rate().map_or_else(|| "–".to_owned(), words::number);
        let outages = self.outages(lock).outages;
        let without = if outages.count() > 0 {
            format!(
                "; around a fault nobody was granted the lock for {} at the median, {} at most",
                told(outages.at(0.5)),
                told(outages.longest())
            )
        } else {
            String::new()
        };
        format!(
            "{rate} grants/s, wait p50 {} and p99 {}, hand-off p50 {} ({when}){without}.",
            told(cost.waits.at(0.5)),
            told(cost.waits.at(0.99)),
            told(cost.handoffs.at(0.5)),
        )
    }

    /// The considerations of whoever has to choose, answered with what was measured.
    pub fn considerations(&self) -> Vec<Consideration> {
        let each = |answer: &dyn Fn(&'a str) -> String| Some(self.locks.iter().map(|lock| answer(lock)).collect());
        let told = |duration: Option<std::time::Duration>| duration.map_or_else(|| "–".to_owned(), words::lasting);
        let scenarios = |lock: &'a str, is: &dyn Fn(&Cell<'a>) -> bool| {
            let all = self.cells(lock).count();
            let names: Vec<&str> =
                self.cells(lock).filter(|cell| is(cell)).map(|cell| cell.sweep.scenario.as_str()).collect();
            if names.is_empty() {
                format!("in none of {}", words::counted(all as u64, "scenario", "scenarios"))
            } else {
                format!("in {} of {all}: {}", names.len(), names.join(", "))
            }
        };
        let sum = |lock: &'a str, figure: &str| -> f64 { self.cells(lock).map(|cell| cell.tally.figure(figure)).sum() };
        let about = |part: &'static [&'static str]| -> Option<Vec<String>> {
            let of = |lock: &'a str| -> Vec<Cell<'a>> {
                self.cells(lock).filter(|cell| part.iter().any(|part| cell.sweep.scenario.contains(part))).collect()
            };
            if self.locks.iter().all(|lock| of(lock).is_empty()) {
                return None;
            }
            let answer = |lock: &&'a str| {
                let cells = of(lock);
                let told = cells.iter().map(|cell| format!("{} {}", cell.sweep.scenario, cell.standing().told()));
                if cells.is_empty() { "not measured here".to_owned() } else { told.collect::<Vec<_>>().join(", ") }
            };
            Some(self.locks.iter().map(answer).collect())
        };
        vec![
            Consideration {
                question: "Can two clients hold it at once?",
                answers: each(&|lock| scenarios(lock, &|cell| cell.tally.two_holders > 0)),
            },
            Consideration {
                question: "Does the data take harm?",
                answers: each(&|lock| {
                    let (lost, all) = (sum(lock, "lost"), sum(lock, "acknowledged"));
                    let share = if all > 0.0 {
                        format!(
                            "; {lost} of {all} updates lost, {} pooled over all runs",
                            words::percent(100.0 * lost / all)
                        )
                    } else {
                        String::new()
                    };
                    format!("{}{share}", scenarios(lock, &|cell| cell.tally.harmed > 0))
                }),
            },
            Consideration {
                question: "Does fencing at the resource help?",
                answers: each(&|lock| {
                    let tokens = self.cells(lock).any(|cell| {
                        cell.tally
                            .verdicts
                            .get(&CheckName::TokenOrder)
                            .is_some_and(|verdicts| verdicts.keys().any(|verdict| *verdict != Verdict::NotApplicable))
                    });
                    let (refused, accepted) = (sum(lock, "stale-refused"), sum(lock, "stale-accepted"));
                    let gives = if tokens { "gives tokens" } else { "gives no tokens" };
                    format!("{gives}; {refused} stale accesses refused, {accepted} accepted")
                }),
            },
            Consideration {
                question: "How fast is it while nothing fails?",
                answers: each(&|lock| {
                    let (cost, when) = self.cost(lock);
                    format!(
                        "{} grants/s, wait p50 {}, p99 {}, hand-off p50 {} ({when}; {} waits pooled)",
                        cost.rate().map_or_else(|| "–".to_owned(), words::number),
                        told(cost.waits.at(0.5)),
                        told(cost.waits.at(0.99)),
                        told(cost.handoffs.at(0.5)),
                        cost.waits.count()
                    )
                }),
            },
            Consideration {
                question: "For how long does a fault keep everybody out?",
                answers: each(&|lock| {
                    let outages = self.outages(lock).outages;
                    format!(
                        "p50 {}, p99 {}, longest {} ({} strikes pooled)",
                        told(outages.at(0.5)),
                        told(outages.at(0.99)),
                        told(outages.longest()),
                        outages.count()
                    )
                }),
            },
            Consideration { question: "Does it hang on clocks?", answers: about(&["clock", "drift"]) },
            Consideration {
                question: "Does it outlast a network that is cut?",
                answers: about(&["partition", "reply-loss"]),
            },
            Consideration {
                question: "Does it outlast servers that fail?",
                answers: about(&["amnesia", "power-loss", "leader-kill", "thawed-node"]),
            },
            Consideration {
                question: "Is somebody left waiting?",
                answers: each(&|lock| {
                    scenarios(lock, &|cell| cell.broken().iter().any(|(check, _)| *check == CheckName::Liveness))
                }),
            },
            Consideration { question: "How much does it cost to operate (memory, disks, people)?", answers: None },
            Consideration { question: "How mature are its client libraries?", answers: None },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;
    use std::time::Duration;

    #[test]
    fn the_conclusion_follows_from_the_counts() {
        let report = sample::report();
        let mut sweep = Sweep::new(&report, Duration::from_secs(20));
        for _ in 0..4 {
            sweep.add(&report, &Cost::of_all(&report));
        }
        let sweeps = [sweep];
        let comparison = Comparison::of(&sweeps);
        assert_eq!(comparison.locks, ["redlock", "zookeeper"]);
        assert_eq!(
            comparison.conclusion("redlock"),
            [(Standing::Harmed, "unsafe under client-pause (4 of 4 runs): the data took harm.".to_owned())]
        );
        assert_eq!(comparison.conclusion("zookeeper")[0].0, Standing::Broken, "fenced");
        assert!(
            comparison.cost_told("redlock").contains("grants/s, wait p50 170"),
            "{}",
            comparison.cost_told("redlock")
        );
        let considered = comparison.considerations();
        assert!(considered.iter().any(|line| line.answers.is_none()), "what is not measured is said so");
        let fencing = considered.iter().find(|line| line.question.contains("fencing")).unwrap();
        assert_eq!(fencing.answers.as_ref().unwrap()[1], "gives no tokens; 0 stale accesses refused, 0 accepted");
    }
}
