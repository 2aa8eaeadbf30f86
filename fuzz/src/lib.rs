//! Fuzzing of what `fencepost check` does with a file from elsewhere: read it, judge it, tell of it.
//!
//! Needs `cargo install cargo-fuzz` and a nightly toolchain, or `RUSTC_BOOTSTRAP=1` on a stable one. From the
//! repository's root, with the fixtures as seeds (what is found goes to `fuzz/corpus`, what fails to `fuzz/artifacts`):
//!
//! ```sh
//! mkdir -p fuzz/corpus/json fuzz/corpus/edn
//! cargo fuzz run -s none json fuzz/corpus/json src/check/testdata/ok src/check/testdata/bad -- \
//!     -max_total_time=600 -max_len=16384 -timeout=10 -rss_limit_mb=1024
//! cargo fuzz run -s none edn fuzz/corpus/edn fuzz/seeds/edn -- \
//!     -max_total_time=600 -max_len=16384 -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! `-s none`: apart from the fuzzer's own runtime this is safe Rust, which an address sanitizer only slows down.
//! [`judge`] is what both targets do with a history that could be read; [`mutate`] changes whole lines and words, which
//! changes of single bytes hardly ever leave well formed. Deliberately absent: whether verdicts are right; the crate's
//! own tests compare them with trying every order.

use std::path::Path;

use fencepost::check::{self, FailedRelease, Judgement, Model, Verdict};
use fencepost::history::History;
use fencepost::report::console::Style;
use fencepost::report::junit::Document;
use fencepost::report::{console, json};
use fencepost::run;
use libfuzzer_sys::fuzzer_mutate;

/// The models that can be asked for, one of each kind.
pub const MODELS: [Model; 10] = [
    Model::Mutex,
    Model::OWNER,
    Model::FENCED,
    Model::Owned { depth: 1, fenced: false, lease: true },
    Model::Owned { depth: 1, fenced: true, lease: true },
    Model::Owned { depth: 2, fenced: false, lease: false },
    Model::Owned { depth: 3, fenced: true, lease: false },
    Model::Owned { depth: u32::MAX, fenced: true, lease: false },
    Model::Semaphore { permits: 2 },
    Model::ReadWrite,
];

/// Both ways in which a failed release can be read.
pub const READINGS: [FailedRelease; 2] = [FailedRelease::EndsTheClaim, FailedRelease::DidNothing];

/// Judges a history by every check and by every model, and tells of it in every form.
pub fn judge(history: &History) {
    consistent(history, &check::judge(history));
    for model in MODELS {
        for reading in READINGS {
            consistent(history, &check::judge_model(history, model, reading));
        }
    }
    for model in [None, Some((Model::FENCED, FailedRelease::DidNothing))] {
        let report = run::recheck(Path::new("history"), history.clone(), None, model);
        for width in [None, Some(0), Some(80)] {
            console::table(&report, Style { colour: true, width });
        }
        json::verdict(&report).to_string();
        let mut document = Document::default();
        document.add_run(&report);
        document.to_xml().expect("any history's results are text");
    }
}

/// What holds of every judgement, right or wrong.
fn consistent(history: &History, judgement: &Judgement) {
    for result in &judgement.checks {
        let name = result.check;
        assert_eq!(result.verdict == Verdict::Invalid, !result.violations.is_empty(), "{name}: {}", result.summary);
        for (figure, value) in &result.figures {
            assert!(value.is_finite(), "{name}: {figure} is {value}");
        }
        for violation in &result.violations {
            assert!(violation.from <= violation.to, "{name}: {violation:?}");
            assert!(violation.ops.is_sorted(), "{name}: {violation:?}");
            let last = violation.ops.last().copied().unwrap_or_default();
            assert!((last as usize) < history.ops.len(), "{name}: {violation:?}");
        }
    }
}

const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "-1",
    "1.5",
    "1e308",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];

/// Changes a file of lines: a line is copied, moved or left out, a number becomes another one, a word another one of
/// its kind (`kinds`); half of the time single bytes change. Returns the new size.
pub fn mutate(kinds: &[&[&str]], data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut dice = Dice(u64::from(seed) | 1 << 32);
    if dice.roll(2) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let text = data[..size].to_vec();
    let changed = match dice.roll(3) {
        0 => lines_changed(&text, &mut dice),
        1 => number_changed(&text, &mut dice),
        _ => word_changed(kinds, &text, &mut dice),
    };
    let Some(changed) = changed.filter(|changed| changed.len() <= max_size && *changed != text) else {
        return fuzzer_mutate(data, size, max_size);
    };
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
}

/// Draws for one mutation (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as usize) % sides.max(1)
    }
}

fn lines_changed(text: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.len() < 2 {
        return None;
    }
    let (one, other) = (dice.roll(lines.len()), dice.roll(lines.len()));
    match dice.roll(3) {
        0 => lines.swap(one, other),
        1 => lines.insert(other, lines[one]),
        _ => drop(lines.remove(one)),
    }
    Some(lines.concat())
}

fn number_changed(text: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let is_start = |at: &usize| text[*at].is_ascii_digit() && (*at == 0 || !text[*at - 1].is_ascii_alphanumeric());
    let starts: Vec<usize> = (0..text.len()).filter(is_start).collect();
    let number = |start: usize| {
        let length = text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        start..start + length
    };
    let there = number(*starts.get(dice.roll(starts.len()))?);
    let new = match dice.roll(2) {
        0 => &text[number(starts[dice.roll(starts.len())])],
        _ => NUMBERS[dice.roll(NUMBERS.len())].as_bytes(),
    };
    Some([&text[..there.start], new, &text[there.end..]].concat())
}

fn word_changed(kinds: &[&[&str]], text: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let kind = kinds[dice.roll(kinds.len())];
    let found: Vec<(usize, &str)> = (0..text.len())
        .filter_map(|at| Some((at, *kind.iter().find(|word| text[at..].starts_with(word.as_bytes()))?)))
        .collect();
    let (at, word) = *found.get(dice.roll(found.len()))?;
    let new = kind[dice.roll(kind.len())].as_bytes();
    Some([&text[..at], new, &text[at + word.len()..]].concat())
}
