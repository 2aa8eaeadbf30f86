//! A source file cut into what the rules look at: its code without comments, texts and tests, and its comment lines.

use std::collections::BTreeSet;
use std::ops::Range;

/// One file, by its path from the top of the repository.
pub struct Source {
    pub path: String,
    pub text: String,
    /// The code alone, without comments, literals and tests; what was left out is blank, so that lines stay lines.
    pub code: String,
    /// The same with its literals.
    pub code_and_literals: String,
    /// The modules in files of their own that are compiled for tests only.
    pub test_modules: BTreeSet<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let (mut code, mut code_and_literals) = (chars.clone(), chars.clone());
        let mut at = 0;
        while at < chars.len() {
            let end = literal_end(&chars, at);
            blank(&mut code[at..end]);
            if chars[at] == '/' {
                blank(&mut code_and_literals[at..end]);
            }
            at = end.max(at + 1);
        }
        let tests = Tests::of(&code);
        for span in tests.spans {
            blank(&mut code[span.clone()]);
            blank(&mut code_and_literals[span]);
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: code.into_iter().collect(),
            code_and_literals: code_and_literals.into_iter().collect(),
            test_modules: tests.modules,
        }
    }

    /// Line number and text of each line that is nothing but a comment.
    pub fn comment_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().zip(1..).map(|(line, number)| (number, line));
        lines.filter(|(_, line)| line.trim_start().starts_with("//"))
    }
}

fn blank(chars: &mut [char]) {
    chars.iter_mut().filter(|character| **character != '\n').for_each(|character| *character = ' ');
}

/// Where the comment or literal that begins here ends; `at` itself where none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let is = |place: usize, wanted: char| chars.get(place) == Some(&wanted);
    let until = |from: usize, done: &dyn Fn(usize) -> bool| (from..chars.len()).find(|&place| done(place));
    if is(at, '/') && is(at + 1, '/') {
        return until(at, &|place| is(place, '\n')).unwrap_or(chars.len());
    }
    if is(at, '/') && is(at + 1, '*') {
        return until(at + 2, &|place| is(place, '*') && is(place + 1, '/')).map_or(chars.len(), |place| place + 2);
    }
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if is(at, 'r') && !in_word || is(at, 'r') && is(at.wrapping_sub(1), 'b') {
        let hashes = chars[at + 1..].iter().take_while(|&&character| character == '#').count();
        if is(at + 1 + hashes, '"') {
            let closed = |place: usize| is(place, '"') && (1..=hashes).all(|ahead| is(place + ahead, '#'));
            return until(at + 2 + hashes, &closed).map_or(chars.len(), |place| place + 1 + hashes);
        }
    }
    if is(at, '"') {
        let mut place = at + 1;
        while place < chars.len() && chars[place] != '"' {
            place += if chars[place] == '\\' { 2 } else { 1 };
        }
        return (place + 1).min(chars.len());
    }
    // A character, and not a lifetime.
    if is(at, '\'') && is(at + 1, '\\') {
        return until(at + 3, &|place| is(place, '\'')).map_or(chars.len(), |place| place + 1);
    }
    if is(at, '\'') && is(at + 2, '\'') { at + 3 } else { at }
}

/// What stands under `#[cfg(test)]`.
#[derive(Default)]
struct Tests {
    spans: Vec<Range<usize>>,
    modules: BTreeSet<String>,
}

impl Tests {
    fn of(code: &[char]) -> Self {
        let mut tests = Self::default();
        let mut at = 0;
        while at < code.len() {
            if code[at] != '#' || code.get(at + 1) != Some(&'[') {
                at += 1;
                continue;
            }
            let mut item = closing(code, at + 1);
            let attribute: String = code[at..item].iter().filter(|character| !character.is_whitespace()).collect();
            if !["#[cfg(test)]", "#[cfg(all(test,", "#[cfg(all(doctest,"].iter().any(|test| attribute.starts_with(test))
            {
                at = item;
                continue;
            }
            loop {
                item += code[item..].iter().take_while(|character| character.is_whitespace()).count();
                if code.get(item) != Some(&'#') {
                    break;
                }
                item = closing(code, item + 1);
            }
            let body = (item..code.len()).find(|&place| matches!(code[place], ';' | '{')).unwrap_or(code.len());
            let words: String = code[item..body].iter().collect();
            let end = if code.get(body) == Some(&'{') { closing(code, body) } else { (body + 1).min(code.len()) };
            if let Some((_, name)) = words.split_once("mod ")
                && code.get(body) == Some(&';')
            {
                tests.modules.insert(name.trim().to_owned());
            }
            tests.spans.push(at..end);
            at = end;
        }
        tests
    }
}

/// One past the bracket that closes the one at `open`.
fn closing(chars: &[char], open: usize) -> usize {
    let mut depth = 0_usize;
    for (place, character) in chars.iter().enumerate().skip(open) {
        match character {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return place + 1;
        }
    }
    chars.len()
}
