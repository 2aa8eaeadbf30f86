//! What is wrong with a scenario file, shown as a compiler shows it: place, offending text, what would be right.
//!
//! Colour only where the caller asks for it: [`LoadError`]'s `Display` is plain, [`LoadError::styled`] is for
//! terminals.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a range of bytes of the file; none if it concerns the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong, in one line.
    pub title: String,
    /// What is wrong with the text at the place; may be empty.
    pub label: String,
    /// What would be right.
    pub help: Vec<String>,
}

impl Problem {
    pub(crate) fn at(span: &Range<usize>, title: impl Into<String>, label: impl Into<String>) -> Self {
        Self { span: Some(span.clone()), title: title.into(), label: label.into(), help: Vec::new() }
    }

    pub(crate) fn of_file(title: impl Into<String>) -> Self {
        Self { span: None, title: title.into(), label: String::new(), help: Vec::new() }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds a suggestion if one of `valid` looks like what was meant.
    pub(crate) fn suggest<'a>(self, word: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, valid) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// A text that is not TOML.
    pub(crate) fn of_syntax(error: &toml::de::Error) -> Self {
        let title = format!("not TOML: {}", error.message());
        Self { span: error.span(), title, label: String::new(), help: Vec::new() }
    }

    /// TOML that is not a scenario: serde's message in the words of a scenario's author.
    pub(crate) fn of_structure(error: &toml::de::Error) -> Self {
        // What the file as a whole lacks has an empty place at its start.
        let span = error.span().filter(|span| !span.is_empty());
        let message = error.message();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let problem = |title: String, label: String| Self { span: span.clone(), title, label, help: Vec::new() };
        if let (true, [key, valid @ ..]) = (message.starts_with("unknown field"), quoted.as_slice()) {
            return problem(format!("unknown key `{key}`"), "unknown".to_owned())
                .help(format!("valid keys: {}", valid.join(", ")))
                .suggest(key, valid.iter().copied());
        }
        if let (true, [key]) = (message.starts_with("missing field"), quoted.as_slice()) {
            let missing = problem(format!("key `{key}` is missing"), format!("`{key}` belongs here"));
            return if span.is_some() { missing } else { missing.help(format!("`{key}` belongs at the top level")) };
        }
        let Some((found, expected)) = message.rsplit_once(", expected ") else {
            return problem(message.to_owned(), String::new());
        };
        let found = found.split_once(": ").map_or(found, |(_, found)| found);
        let label = format!("found {}", if found == "map" { "table" } else { found });
        match expected {
            "a sequence" => problem("a fault is an entry of a list".to_owned(), label)
                .help("write `[[fault.KIND]]`, with two brackets on each side"),
            "a map" => problem("expected a table".to_owned(), label),
            "a boolean" => problem("expected `true` or `false`".to_owned(), label),
            "a string" => problem("expected text in quotes".to_owned(), label),
            other => problem(format!("expected {other}"), label),
        }
    }
}

/// Why a scenario was refused: every mistake that was found, in file order.
#[derive(Debug)]
pub struct LoadError {
    path: PathBuf,
    source: String,
    problems: Vec<Problem>,
}

impl LoadError {
    pub(crate) fn new(path: &Path, source: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        Self { path: path.to_owned(), source: source.to_owned(), problems }
    }

    /// The mistakes, in file order; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first mistake's line, counted from 1; 1 if it concerns the file as a whole.
    pub fn line(&self) -> usize {
        self.places().next().map_or(1, |(line, _)| line)
    }

    /// The first mistake's column in characters, counted from 1; 1 if it concerns the file as a whole.
    pub fn column(&self) -> usize {
        self.places().next().map_or(1, |(_, column)| column)
    }

    /// Line and column of each mistake, counted from 1, in file order.
    pub fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        self.problems.iter().map(|problem| {
            let start = problem.span.as_ref().map_or(0, |span| span.start);
            let before = self.source.get(..start).unwrap_or(&self.source);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        })
    }

    /// The mistakes in colour, for a terminal.
    pub fn styled(&self) -> String {
        self.render(Renderer::styled())
    }

    fn render(&self, renderer: Renderer) -> String {
        let path = self.path.display().to_string();
        let groups: Vec<Group<'_>> = self
            .problems
            .iter()
            .map(|problem| {
                let group = Group::with_title(Level::ERROR.primary_title(&problem.title));
                let group = match &problem.span {
                    None => group.element(Origin::path(&path)),
                    Some(span) => group.element(
                        Snippet::source(&self.source).path(&path).annotation(
                            AnnotationKind::Primary
                                .span(span.clone())
                                .label(Some(problem.label.as_str()).filter(|label| !label.is_empty())),
                        ),
                    ),
                };
                group.elements(problem.help.iter().map(|help| Level::HELP.message(help)))
            })
            .collect();
        // One report per mistake: inside one report, later groups would look like notes on the first.
        let reports: Vec<String> = groups.into_iter().map(|group| renderer.render(&[group])).collect();
        reports.join("\n\n")
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Renderer::plain()))
    }
}

impl std::error::Error for LoadError {}

/// The word of `valid` that `word` was most likely meant to be.
pub(crate) fn nearest<'a>(word: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word may be wrong; more is another word.
    let limit = (word.chars().count() / 3).max(1);
    let candidates = valid.into_iter().map(|near| (distance(&word.to_lowercase(), near), near));
    candidates.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, near)| near)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to turn one into the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && *b == from[i - 1] {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_strangers_are_not() {
        let valid = ["hold", "think", "duration", "mutual-exclusion", "zookeeper"];
        for (word, near) in [
            ("holdd", Some("hold")),
            ("hodl", Some("hold")),
            ("Hold", Some("hold")),
            ("duraton", Some("duration")),
            ("mutual_exclusion", Some("mutual-exclusion")),
            ("zokeper", Some("zookeeper")),
            ("ttl", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, valid), near, "{word}");
        }
    }

    #[test]
    fn a_mistake_is_shown_with_its_place_and_the_remedy() {
        let text = "# die Sperre hält\nttl = \"5 parsecs\" # ö\n";
        let start = text.find("\"5").unwrap();
        let problem = Problem::at(&(start..start + 11), "`ttl` is not a duration", "`parsecs` is not a unit");
        let error = LoadError::new(Path::new("a.toml"), text, vec![problem.help("valid units: ms")]);
        let shown = "\
error: `ttl` is not a duration
 --> a.toml:2:7
  |
2 | ttl = \"5 parsecs\" # ö
  |       ^^^^^^^^^^^ `parsecs` is not a unit
  |
  = help: valid units: ms";
        assert_eq!(error.to_string(), shown);
        assert_eq!((error.line(), error.column()), (2, 7));
        assert!(error.styled().contains("\u{1b}["));
    }
}
