//! What the nemesis says of its faults: what it did to whom, and what was seen of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault::{ClockChange, FaultName, Grudge, Member, Refusal, RequestRule};
use crate::phase::Phase;
use crate::time::Nanos;
use crate::word::{Named, Word};

/// When a look at a fault's effect was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before it was applied.
    Before,
    /// Once it was applied.
    During,
    /// Just before it was undone.
    UntilTheEnd,
    /// Once it was undone.
    After,
}

impl Named for Stage {
    const ALL: &'static [Self] = &[Self::Before, Self::During, Self::UntilTheEnd, Self::After];

    fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::UntilTheEnd => "until the end",
            Self::After => "after",
        }
    }
}

/// What was looked at: `c3 container state`, `during: c3 to n1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Look {
    /// When, if it says so.
    pub stage: Option<Stage>,
    /// At what.
    pub at: String,
}

impl From<String> for Look {
    fn from(told: String) -> Self {
        let staged = Stage::ALL.iter().find_map(|stage| {
            let at = told.strip_prefix(stage.name())?.strip_prefix(": ")?;
            Some(Self { stage: Some(*stage), at: at.to_owned() })
        });
        staged.unwrap_or(Self { stage: None, at: told })
    }
}

impl From<Look> for String {
    fn from(look: Look) -> Self {
        look.to_string()
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = self.stage {
            write!(f, "{}: ", stage.name())?;
        }
        f.write_str(&self.at)
    }
}

/// One look at the world to see whether a fault has the effect it should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Probe {
    /// What was looked at, and when.
    pub what: Look,
    /// What should be seen.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// The figures behind it: a round trip, a count.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub measured: String,
    /// Where a clock was looked at: what it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockReading>,
    /// Where a link's fault was lifted: how many packets it had lost, refused or made late, where that is counted; or
    /// how many requests it had struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub struck: Option<u64>,
    /// How often it was looked at, where the first look got no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<u32>,
    /// Whether no look got an answer: what is there is not known, and nobody may conclude anything from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// What is observed where no look got an answer.
const NO_ANSWER: &str = "no answer";

impl Probe {
    /// A look at something that is not a clock.
    pub fn new(what: impl Into<String>, expected: impl Into<String>, observed: impl Into<String>) -> Self {
        let (what, expected, observed) = (Look::from(what.into()), expected.into(), observed.into());
        Self {
            what,
            expected,
            observed,
            measured: String::new(),
            clock: None,
            struck: None,
            looks: None,
            unseen: false,
        }
    }

    /// Looks at something, so many times, that got no answer. A machine with too much to do gives none in time,
    /// whatever is the matter with what was looked at.
    pub fn unseen(what: impl Into<String>, expected: impl Into<String>, looks: u32) -> Self {
        Self { looks: Some(looks), unseen: true, ..Self::new(what, expected, NO_ANSWER) }
    }

    /// The same, seen by the last of so many looks.
    #[must_use]
    pub fn after_looks(self, looks: u32) -> Self {
        Self { looks: (looks > 1).then_some(looks), ..self }
    }

    /// The same, with its figures.
    #[must_use]
    pub fn measured(self, measured: impl Into<String>) -> Self {
        Self { measured: measured.into(), ..self }
    }

    /// Whether it was made while the fault was in force. What is seen before a strike and after it is another one's
    /// part, or nobody's.
    pub fn is_in_force(&self) -> bool {
        !matches!(self.what.stage, Some(Stage::Before | Stage::After))
    }

    /// Whether something else was seen than what should be. What got no answer denies nothing.
    pub fn denied(&self) -> bool {
        !self.unseen && !self.passed()
    }

    /// Whether what was seen is what should be seen.
    pub fn passed(&self) -> bool {
        match &self.clock {
            _ if self.unseen => false,
            Some(ClockReading { expected: Some(expected), error, uncertainty, .. }) => {
                error.abs_diff(*expected) <= *uncertainty
            }
            _ => self.expected == self.observed,
        }
    }
}

/// By how much a party's wall clock was wrong, in nanoseconds; above zero, it was ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClockReading {
    /// Whose clock.
    pub member: Member,
    /// When it was looked at, on the timeline of the op's `time`.
    pub at: Nanos,
    /// By how much it was wrong.
    pub error: i64,
    /// By how much it should have been, if that is what the probe is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<i64>,
    /// How far the reading itself may be off.
    pub uncertainty: u64,
}

/// What the nemesis did: the payload of `fault` and `heal` ops.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FaultEvent {
    /// Numbers the strikes of a run from 1; a strike's `fault` and `heal` ops share it.
    pub id: u32,
    /// The fault's name.
    pub kind: Word<FaultName>,
    /// The plan's entry as a sentence: `pause holder at before-write, every 4s, for 2.5s`.
    pub plan: String,
    /// The members it struck.
    pub targets: Vec<Member>,
    /// The phase it struck at, if it was timed by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// By what means it is done, where there is a choice: `nftables`, `nfqueue`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub means: String,
    /// How long it was to last, in nanoseconds.
    pub requested: u64,
    /// For a partition, a delay, a loss: on which links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grudge: Option<Grudge>,
    /// For a partition: what the sender of a packet learns, unless it is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// For a delay: how much later than usual packets are, from the least to the most, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_by: Option<(u64, u64)>,
    /// For a loss: how many of a thousand packets are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_permille: Option<u32>,
    /// For a fault of clocks: what is done to each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockChange>,
    /// For a fault of requests: which are struck, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestRule>,
    /// What was seen of it on completion (`ok`: every probe passed).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_without_an_answer_neither_confirms_nor_denies() {
        let unseen = Probe::unseen("after: n2 to c1", "reachable", 3);
        assert!(!unseen.passed() && !unseen.denied());
        // Not even where silence is what was expected in the same words.
        assert!(!Probe { expected: NO_ANSWER.to_owned(), ..unseen.clone() }.passed());
        let denied = Probe::new("after: n2 to c1", "reachable", "blocked");
        assert!(!denied.passed() && denied.denied());
        let json = serde_json::to_string(&unseen).unwrap();
        assert!(json.contains(r#""observed":"no answer","looks":3,"unseen":true"#), "{json}");
        assert_eq!(serde_json::from_str::<Probe>(&json).unwrap(), unseen);
        let seen = serde_json::to_string(&denied.after_looks(1)).unwrap();
        assert!(!seen.contains("looks") && !seen.contains("unseen"), "as files always were: {seen}");
    }

    #[test]
    fn when_a_look_was_made_is_known_and_written_as_it_was_read() {
        let stages = [
            ("before: clock of n3", Some(Stage::Before), false),
            ("during: c1 to n1", Some(Stage::During), true),
            ("until the end: clock of n3", Some(Stage::UntilTheEnd), true),
            ("after: n1 answers", Some(Stage::After), false),
            ("c1 container state", None, true),
            ("afterwards: all", None, true),
        ];
        for (told, stage, in_force) in stages {
            let probe = Probe::new(told, "", "");
            assert_eq!((probe.what.stage, probe.is_in_force()), (stage, in_force), "{told}");
            let json = serde_json::to_string(&probe).unwrap();
            assert!(json.contains(&format!("\"what\":\"{told}\"")), "{json}");
            assert_eq!(serde_json::from_str::<Probe>(&json).unwrap(), probe);
        }
    }
}
