//! The patterns that hover texts are made of: texts without their times, names and numbers.
//!
//! A scene has its own, so that all of its pictures share them. Deliberately absent: who says what, which is `marks`'.

use std::cell::{Cell, RefCell};

/// Stands in a pattern for each word that has a digit; no text of ours holds it.
pub(super) const BLANK: char = '\u{fffc}';
/// What separates patterns: texts are single lines.
pub(super) const BREAK: char = '\n';

/// The patterns of the hover texts of one scene's pictures: a text without its times, names and numbers, of which there
/// are few. Each is written with the first picture that has it.
#[derive(Default)]
pub(super) struct Patterns {
    known: RefCell<Vec<String>>,
    written: Cell<usize>,
}

impl Patterns {
    /// Those that no picture had before, as the script reads them.
    pub fn fresh(&self) -> String {
        let known = self.known.borrow();
        known[self.written.replace(known.len())..].join(&BREAK.to_string())
    }

    /// The place of a text's pattern, and the words that fill it.
    pub fn split(&self, text: &str) -> (usize, Vec<String>) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-._µ".contains(c);
        let (mut pattern, mut words, mut rest) = (String::new(), Vec::new(), text);
        while let Some(first) = rest.chars().next() {
            let same = |c: char| is_word(c) == is_word(first);
            let (run, after) = rest.split_at(rest.find(|c| !same(c)).unwrap_or(rest.len()));
            if is_word(first) && run.contains(|c: char| c.is_ascii_digit()) {
                pattern.push(BLANK);
                words.push(run.to_owned());
            } else {
                pattern.extend(run.chars().map(|c| if c == BLANK || c.is_control() { ' ' } else { c }));
            }
            rest = after;
        }
        let mut known = self.known.borrow_mut();
        let place = known.iter().position(|one| *one == pattern).unwrap_or_else(|| {
            known.push(pattern);
            known.len() - 1
        });
        (place, words)
    }
}
