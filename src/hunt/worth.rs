//! What a search was worth: which corners of the space it reached, how often, how near it came, and what follows for a
//! bug that it did not find.
//!
//! A *corner* is a kind of fault that struck a role at a step. Let a bug show with chance `q` in a trial that has what
//! it needs. A search that had `m` such trials missed it with probability `(1 - q)^m`; so what it missed has, in 19 of
//! 20 searches like it, a `q` of at most `1 - 0.05^(1/m)`. For a bug that needs nothing in particular `m` is the number
//! of trials; for one that needs one strike it is the number of trials that struck its corner; for one that needs two,
//! the number of trials in which its two corners met. This is the argument by bug depth of Burckhardt, Kothari,
//! Musuvathi and Nagarakatte (*A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs*, ASPLOS 2010),
//! with strikes in place of ordering constraints, and with counts in place of their bound: it is for schedulers that
//! draw priorities, and plans are drawn otherwise. Deliberately absent: any claim about bugs of three strikes and more.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// What is counted while a search goes on.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    trials: u64,
    numbers: BTreeMap<String, u32>,
    met: BTreeMap<(u32, u32), u32>,
    near: Near,
}

/// How near the trials came to what would have been wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Near {
    /// The least validity that was left at a grant, in milliseconds.
    pub validity_left_ms: Option<f64>,
    /// The shortest time from the end of a hold to the next grant of its lock to another client, in milliseconds.
    pub gap_ms: Option<f64>,
}

impl Near {
    /// The nearer of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            validity_left_ms: least(self.validity_left_ms, other.validity_left_ms),
            gap_ms: least(self.gap_ms, other.gap_ms),
        }
    }
}

/// What a search was worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Worth {
    /// The chance per trial of which a bug would have shown with 95 % confidence, from 0 to 1.
    pub any_trial: f64,
    /// How many corners plans for these locks may have.
    pub corners: u64,
    /// How many were struck.
    pub struck: u64,
    /// In how many trials a struck corner was struck, at the median.
    pub trials_per_corner: u64,
    /// The chance, in a trial that strikes the median corner, of which a bug would have shown.
    pub one_strike: f64,
    /// How many sets of two struck corners there are.
    pub twos: u64,
    /// How many of them met in a trial.
    pub twos_met: u64,
    /// In how many trials, at the median of those that met.
    pub trials_per_two: u64,
    /// The chance, in a trial in which such a set met, of which a bug would have shown.
    pub two_strikes: f64,
    /// The corners that were struck least, with the number of trials; those that never were come first.
    pub least: Vec<(String, u64)>,
    /// How near the trials came.
    pub near: Near,
}

/// How many of the least covered corners are named.
const NAMED: usize = 12;

/// The greatest chance per trial that a bug may have which `trials` trials missed, with 95 % confidence.
pub fn excluded(trials: u64) -> f64 {
    if trials == 0 { 1.0 } else { 1.0 - 0.05_f64.powf(1.0 / trials as f64) }
}

impl Tally {
    /// Counts a trial that struck these corners.
    pub fn add(&mut self, corners: &BTreeSet<String>, near: Near) {
        self.trials += 1;
        self.near = self.near.and(near);
        let known: Vec<u32> = corners
            .iter()
            .map(|corner| {
                let next = self.numbers.len() as u32;
                *self.numbers.entry(corner.clone()).or_insert(next)
            })
            .collect();
        for (place, one) in known.iter().enumerate() {
            for other in &known[place + 1..] {
                *self.met.entry((*one.min(other), *one.max(other))).or_default() += 1;
            }
        }
    }

    /// What it comes to, with how often each corner was struck, of all that there are.
    pub fn worth(&self, struck: &BTreeMap<String, u64>, all: &BTreeSet<String>) -> Worth {
        let trials_per_corner = median(struck.values().copied().collect());
        let trials_per_two = median(self.met.values().map(|trials| u64::from(*trials)).collect());
        let counted = |corner: &String| (corner.clone(), struck.get(corner).copied().unwrap_or(0));
        let mut least: Vec<(String, u64)> = all.iter().map(counted).collect();
        least.sort_by(|(one, times), (other, often)| (times, one).cmp(&(often, other)));
        least.truncate(NAMED);
        let count = struck.len() as u64;
        Worth {
            any_trial: excluded(self.trials),
            corners: all.len() as u64,
            struck: all.iter().filter(|corner| struck.contains_key(*corner)).count() as u64,
            trials_per_corner,
            one_strike: excluded(trials_per_corner),
            twos: count * count.saturating_sub(1) / 2,
            twos_met: self.met.len() as u64,
            trials_per_two,
            two_strikes: excluded(trials_per_two),
            least,
            near: self.near,
        }
    }
}

impl Worth {
    /// How many of the named corners were never struck.
    pub fn never(&self) -> impl Iterator<Item = &str> {
        self.least.iter().filter(|(_, trials)| *trials == 0).map(|(corner, _)| corner.as_str())
    }

    /// What follows for bugs that were not found: a sentence for each depth.
    pub fn sentences(&self) -> Vec<String> {
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        if self.any_trial >= 1.0 {
            return vec!["No trial was run, and nothing follows for any bug.".to_owned()];
        }
        if self.struck == 0 {
            let any = format!(
                "A bug that needs no fault, and shows in more than {} of such trials, would have been found, with 95 % confidence.",
                percent(self.any_trial)
            );
            return vec![any, "Nothing was struck: nothing is said of bugs that need a fault.".to_owned()];
        }
        let mut sentences = vec![
            format!(
                "A bug that shows in more than {} of such trials would have been found, with 95 % confidence.",
                percent(self.any_trial)
            ),
            format!(
                "One strike: {} of {} corners (a fault, a role, a step) were struck, each in {} trials at the median; a bug that \
                 shows in more than {} of the trials that strike such a corner would have been found.",
                self.struck,
                self.corners,
                self.trials_per_corner,
                percent(self.one_strike)
            ),
        ];
        sentences.push(if self.twos_met == 0 {
            "Two strikes: no two met in a trial, and nothing is said of bugs that need two.".to_owned()
        } else {
            format!(
                "Two strikes: {} of {} sets of two struck corners met, each in {} trials at the median; a bug that shows in more \
                 than {} of the trials in which such two meet would have been found. Nothing is said of the other sets, nor of \
                 three strikes.",
                self.twos_met,
                self.twos,
                self.trials_per_two,
                percent(self.two_strikes)
            )
        });
        sentences
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(corners: &[&str]) -> BTreeSet<String> {
        corners.iter().map(|corner| (*corner).to_owned()).collect()
    }

    #[test]
    fn meetings_are_counted_once_per_trial_whatever_their_order() {
        let mut tally = Tally::default();
        let mut struck = BTreeMap::new();
        for corners in [&["b", "a"][..], &["a", "b"], &["a"], &["c"], &[]] {
            let corners = set(corners);
            tally.add(&corners, Near::default());
            corners.into_iter().for_each(|corner| *struck.entry(corner).or_insert(0) += 1);
        }
        let worth = tally.worth(&struck, &set(&["a", "b", "c", "d"]));
        assert_eq!((worth.corners, worth.struck, worth.trials_per_corner), (4, 3, 2));
        assert_eq!((worth.twos, worth.twos_met, worth.trials_per_two), (3, 1, 2));
        assert_eq!(worth.least[..2], [("d".to_owned(), 0), ("c".to_owned(), 1)]);
        assert_eq!(worth.never().collect::<Vec<_>>(), ["d"]);
    }

    /// Trials that each show a bug with chance `q` miss it altogether in one search of twenty.
    #[test]
    fn what_is_excluded_is_missed_in_one_search_of_twenty() {
        assert!((excluded(0) - 1.0).abs() < f64::EPSILON);
        for trials in [1, 10, 1_000] {
            let missed = (1.0 - excluded(trials)).powf(trials as f64);
            assert!((missed - 0.05).abs() < 1e-9, "{trials}: {missed}");
        }
        // The rule of three.
        assert!((excluded(3_000) - 0.001).abs() < 2e-5);
    }

    #[test]
    fn nothing_follows_from_what_was_not_tried() {
        let told = |tally: &Tally, struck: &[(&str, u64)]| {
            let struck = struck.iter().map(|(corner, trials)| ((*corner).to_owned(), *trials)).collect();
            tally.worth(&struck, &set(&["a", "b", "c"])).sentences()
        };
        let mut tally = Tally::default();
        assert_eq!(told(&tally, &[]), ["No trial was run, and nothing follows for any bug."]);
        tally.add(&BTreeSet::new(), Near::default());
        let none = told(&tally, &[]);
        assert!(none.len() == 2 && none[0].contains("95.00 %") && none[1].contains("Nothing was struck"), "{none:?}");
        tally.add(&set(&["a"]), Near::default());
        let one = told(&tally, &[("a", 1)]);
        assert!(one.len() == 3 && one[1].contains("1 of 3 corners") && one[2].contains("no two met"), "{one:?}");
        tally.add(&set(&["a", "b"]), Near::default());
        let two = told(&tally, &[("a", 2), ("b", 1)]);
        assert!(two[2].contains("1 of 1 sets of two struck corners met"), "{two:?}");
    }

    #[test]
    fn the_nearest_of_all_is_kept() {
        let near = |validity_left_ms, gap_ms| Near { validity_left_ms, gap_ms };
        let mut tally = Tally::default();
        for near in [near(Some(3.0), None), near(None, None), near(Some(2.0), Some(0.5)), near(None, Some(0.7))] {
            tally.add(&BTreeSet::new(), near);
        }
        assert_eq!(tally.near, near(Some(2.0), Some(0.5)));
        assert_eq!(Near::default().and(Near::default()), Near::default());
    }
}
