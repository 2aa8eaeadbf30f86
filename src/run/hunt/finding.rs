//! What is asked of a search, and what it comes to, as data.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::hunt::draw::Assume;
use crate::hunt::shrink::SEEDS;
use crate::hunt::worth::Worth;
use crate::seed::Seed;
use crate::verdict::CheckName;
use std::collections::BTreeMap;

/// What to search.
#[derive(Clone, Debug)]
pub struct HuntRequest {
    /// The locks' algorithms.
    pub locks: Vec<String>,
    /// The seed; drawn if absent.
    pub seed: Option<Seed>,
    /// After how many trials to stop.
    pub trials: Option<u64>,
    /// After how long to stop, if sooner.
    pub time: Option<Duration>,
    /// After how much CPU time to stop, if sooner.
    pub cpu: Option<Duration>,
    /// After how many findings to stop, if sooner.
    pub findings: Option<u64>,
    /// Whether plans stay within what the locks assume.
    pub assume: Assume,
    /// Whether findings are made small.
    pub shrink: bool,
    /// The folder for run folders; the hunt's own is made in it.
    pub out: PathBuf,
}

/// What a trial showed of its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub enum Broken {
    /// A guarantee.
    Check(CheckName),
    /// It did not come to its end: something panicked, or waited for ever.
    End,
}

impl From<Broken> for String {
    fn from(broken: Broken) -> Self {
        broken.to_string()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(check) => check.fmt(f),
            Self::End => f.pad("did-not-end"),
        }
    }
}

/// One thing that was found: the first trial that showed it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// Numbers the findings from 1.
    pub number: u64,
    /// The trial's number, from 0.
    pub trial: u64,
    /// The lock.
    pub lock: String,
    /// What was broken, the most telling first.
    pub broken: Vec<Broken>,
    /// The assumptions of the lock that the plan was beyond; none in a lawful search.
    pub beyond: Vec<&'static str>,
    /// What happened, in the check's words.
    pub text: String,
    /// The trial's seed.
    pub seed: Seed,
    /// The scenario as it was drawn.
    pub scenario: PathBuf,
    /// Its run.
    pub run: PathBuf,
    /// How much CPU time the search had taken when it was found, in seconds.
    pub cpu_seconds: f64,
    /// What is left of it after shrinking.
    pub shrunk: Option<Small>,
}

/// A scenario that was made small.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Small {
    /// The scenario file.
    pub scenario: PathBuf,
    /// What it says, in one line.
    pub title: String,
    /// Its run.
    pub run: PathBuf,
    /// The seed that its run has.
    pub seed: Seed,
    /// With how many of ten seeds it fails.
    pub fails_of_10: u64,
    /// How many faults and strikes it has.
    pub strikes: usize,
    /// How many clients.
    pub clients: u32,
    /// How long it runs, in seconds.
    pub seconds: f64,
    /// How many trials the shrinking took.
    pub trials: u64,
    /// Whether a second run of it had the same trace hash.
    pub repeats: bool,
    /// What came of it on real servers, if it was tried there.
    pub confirmed: Option<Confirmed>,
}

/// What came of a small scenario on real servers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Confirmed {
    /// In how many runs the same guarantee was broken.
    pub broken: u64,
    /// How many there were; none if the servers cannot do what it asks for.
    pub runs: u64,
    /// Why there were none, or fewer than wanted.
    pub refused: Option<String>,
}

/// What a search came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hunted {
    /// The seed.
    pub seed: Seed,
    /// The locks.
    pub locks: Vec<String>,
    /// Whether plans stayed within what the locks assume.
    pub lawful: bool,
    /// How many trials were run and judged.
    pub trials: u64,
    /// How many different plans and workloads they had.
    pub distinct: u64,
    /// How many trials showed something, also what was found before.
    pub failing: u64,
    /// How much simulated time that was, in seconds.
    pub simulated_seconds: f64,
    /// How much CPU time, in seconds.
    pub cpu_seconds: f64,
    /// How often each kind of fault struck whom at which step.
    pub pairs: BTreeMap<String, u64>,
    /// What it was worth.
    pub worth: Worth,
    /// The findings, in order.
    pub findings: Vec<Finding>,
    /// The hunt's folder.
    pub folder: PathBuf,
    /// Whether it was called off.
    pub interrupted: bool,
}

/// Something that a search tells as it goes.
pub enum Heard<'a> {
    /// So many trials were judged.
    Judged(u64),
    /// Something was found and written; shrinking begins.
    Found(&'a Finding),
    /// It was shrunk.
    Shrunk(&'a Finding),
}

impl Small {
    /// The size and the sureness in one line.
    pub fn told(&self) -> String {
        let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        format!(
            "{}, {}, {}s, fails with {} of {SEEDS} seeds{}",
            counted(self.strikes, "fault", "faults"),
            counted(self.clients as usize, "client", "clients"),
            self.seconds,
            self.fails_of_10,
            if self.repeats { "" } else { "; two runs of it differed" },
        )
    }
}

impl Hunted {
    /// What was searched, in words.
    pub fn about(&self) -> String {
        let plans = if self.lawful { "within what the locks assume" } else { "beyond what the locks assume, too" };
        format!("{}; plans {plans}; seed {}", self.locks.join(", "), self.seed)
    }

    /// How much was tried, in words.
    pub fn effort(&self) -> String {
        format!(
            "{} trials, {} of them different; {:.0} simulated seconds in {:.1} CPU-seconds",
            self.trials, self.distinct, self.simulated_seconds, self.cpu_seconds
        )
    }

    /// The command that repeats it.
    pub fn again(&self) -> String {
        let locks: String = self.locks.iter().map(|lock| format!(" --lock {lock}")).collect();
        let assume = if self.lawful { "" } else { " --assume nothing" };
        format!("fencepost hunt{locks}{assume} --seed {} --seeds {}", self.seed, self.trials)
    }
}

impl Confirmed {
    /// What came of it, in words.
    pub fn told(&self) -> String {
        let Self { broken, runs, refused } = self;
        match refused {
            None => format!("broken on real servers too in {broken} of {runs} runs"),
            Some(refused) => format!("not tried on real servers ({broken} of {runs} runs): {refused}"),
        }
    }
}
