//! The mistakes of a scenario file so far, and the readers of single values that add to them.
//!
//! Every mistake is recorded with its place and reading goes on, so that one look shows them all. Deliberately absent:
//! what the values are for.

use std::time::Duration;

use super::duration::{self, DurationError, DurationText, RangeText, UNITS_HELP};
use super::error::Problem;
use super::place::{Choice, Count, Placed, Word};
use crate::duration::DurationRange;

/// The mistakes so far, and the readers of single values that add to them.
pub struct Problems<'a> {
    text: &'a str,
    pub(crate) list: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, list: Vec::new() }
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    /// Records the problem and yields nothing, for use as an answer.
    pub(crate) fn refuse<T>(&mut self, problem: Problem) -> Option<T> {
        self.push(problem);
        None
    }

    pub(crate) fn bad_duration<T>(
        &mut self,
        key: &str,
        span: &std::ops::Range<usize>,
        error: &DurationError,
    ) -> Option<T> {
        let title = match error {
            DurationError::Reversed => format!("`{key}` is not a range"),
            _ => format!("`{key}` is not a duration"),
        };
        let help = match error {
            DurationError::Reversed => "write the shorter one first: \"20ms..80ms\"",
            _ => UNITS_HELP,
        };
        self.refuse(Problem::at(span, title, error.to_string()).help(help))
    }

    /// A duration, zero included.
    pub(crate) fn duration(&mut self, key: &str, field: &Placed<DurationText>) -> Option<Duration> {
        match duration::parse(&field.0) {
            Ok(duration) => Some(duration),
            Err(error) => self.bad_duration(key, &field.span, &error),
        }
    }

    /// A duration above zero.
    pub(crate) fn positive(&mut self, key: &str, field: &Placed<DurationText>) -> Option<Duration> {
        let duration = self.duration(key, field)?;
        if duration.is_zero() {
            return self.refuse(Problem::at(&field.span, format!("`{key}` must be longer than zero"), "zero"));
        }
        Some(duration)
    }

    /// A duration above zero for a server that counts milliseconds.
    pub(crate) fn milliseconds(&mut self, key: &str, field: &Placed<DurationText>) -> Option<Duration> {
        let duration = self.positive(key, field)?;
        if !duration.subsec_nanos().is_multiple_of(1_000_000) {
            let title = format!("`{key}` must be whole milliseconds");
            return self.refuse(Problem::at(&field.span, title, "the servers count milliseconds"));
        }
        Some(duration)
    }

    pub(crate) fn range(&mut self, key: &str, field: &Placed<RangeText>) -> Option<DurationRange> {
        match duration::parse_range(&field.0) {
            Ok(range) => Some(range),
            Err(error) => self.bad_duration(key, &field.span, &error),
        }
    }

    /// A number of things, from 1 to `max`; `limit` says whose limit that is.
    pub(crate) fn count(&mut self, key: &str, field: &Placed<Count>, max: u32, limit: &str) -> Option<u32> {
        match u32::try_from(field.0) {
            Ok(count) if (1..=max).contains(&count) => Some(count),
            _ if field.0 < 1 => self.refuse(Problem::at(&field.span, format!("`{key}` must be at least 1"), "too few")),
            _ => self.refuse(
                Problem::at(&field.span, format!("`{key}` must be at most {max}"), "too many").help(limit.to_owned()),
            ),
        }
    }

    /// One of a few words; `what` says what they are, such as "a phase".
    pub(crate) fn choice<T: Word>(&mut self, what: &str, field: &Placed<Choice<T>>) -> Option<T> {
        let value = field.get();
        if value.is_none() {
            let words: Vec<&str> = T::words().into_iter().map(|(word, _)| word).collect();
            self.push(
                Problem::at(&field.span, format!("`{}` is not {what}", field.word), "unknown")
                    .help(format!("valid values: {}", words.join(", ")))
                    .suggest(&field.word, words.iter().copied()),
            );
        }
        value
    }

    /// The place of a key together with its value, of which only the value's place is known.
    pub(crate) fn with_key(&self, key: &str, value: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        let before = self.text.get(..value.start).and_then(|before| before.rfind(key));
        before.map_or(value.clone(), |start| start..value.end)
    }
}
