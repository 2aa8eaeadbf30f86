//! The page of a search: what it found, what it was worth, which corners it reached least.
//!
//! Every figure is `hunt.json`'s. Deliberately absent: how a finding came about; each has the page of its own run.

use std::io;
use std::path::{Path, PathBuf};

use maud::{Markup, html};

use super::compare::{INDEX, link};
use super::document::document;
use super::{replace, words};
use crate::hunt::worth::Worth;

/// What a search came to, for its page.
pub struct Search<'a> {
    /// What was searched, in words: locks, plans, seed.
    pub about: String,
    /// How much was tried, in words.
    pub effort: String,
    /// Whether it was called off.
    pub interrupted: bool,
    /// What it found, in order.
    pub found: Vec<Found<'a>>,
    /// What it was worth.
    pub worth: &'a Worth,
    /// The command that repeats it.
    pub again: String,
}

/// One finding.
pub struct Found<'a> {
    /// What was broken of which lock.
    pub title: String,
    /// What happened, in the check's words.
    pub text: &'a str,
    /// The assumptions that the plan was beyond.
    pub beyond: String,
    /// The run that shows it as it was found.
    pub run: &'a Path,
    /// What shrinking left: what it says, its size, the command that runs it, its run.
    pub small: Option<Small<'a>>,
}

/// What shrinking left of a finding.
pub struct Small<'a> {
    /// What it says.
    pub title: &'a str,
    /// Its size and how surely it fails; what came of it on real servers.
    pub told: String,
    /// The command that runs it.
    pub command: String,
    /// Its run.
    pub run: &'a Path,
}

/// Writes the page into the search's folder and says where.
///
/// # Errors
/// The folder cannot be written to.
pub fn write(folder: &Path, search: &Search<'_>) -> io::Result<PathBuf> {
    let index = folder.join(INDEX);
    replace(&index, page(folder, search).as_bytes())?;
    Ok(index)
}

/// The page.
pub fn page(folder: &Path, search: &Search<'_>) -> String {
    let Search { about, effort, interrupted, found, worth, again } = search;
    let count = found.len();
    let body = html! {
        header {
            h1 { "A search for what breaks a lock" }
            p.why { (about) }
        }
        main {
            @if *interrupted { p.summary.odd { b { "Called off. " } "This is what was found until then." } }
            @if found.is_empty() {
                p.summary.odd { "? Nothing was found. " (worth.sentences()[0]) }
            } @else {
                p.summary.bad { "✗ " (words::counted(count as u64, "finding", "findings")) "." }
            }
            p.dim { (effort) }
            @if !found.is_empty() {
                section #findings {
                    h2 { "What was found" }
                    @for (number, finding) in (1..).zip(found) { (self::finding(folder, number, finding)) }
                }
            }
            section #worth {
                h2 { "What the search was worth" }
                ul { @for sentence in worth.sentences() { li { (sentence) } } }
                p { (near(worth)) }
                p.dim {
                    "If a bug shows with chance q in a trial that has what it needs, m such trials miss it with probability (1 − q)^m; \
                     what is told here is the q at which that is 5 %. The argument by the number of strikes that must come together is \
                     Burckhardt et al.’s (ASPLOS 2010), with counts in place of their bound. A search finds violations and cannot prove \
                     their absence."
                }
            }
            section #corners {
                h2 { "The corners reached least" }
                table.pairs {
                    thead { tr { th { "fault, role, step" } th { "trials" } } }
                    tbody { @for (corner, trials) in &worth.least { tr { td { (corner) } td { (trials) } } } }
                }
            }
            section #again { h2 { "To repeat it" } pre { code { (again) } } }
        }
    };
    document("A search for what breaks a lock", &body)
}

fn finding(folder: &Path, number: usize, finding: &Found<'_>) -> Markup {
    html! {
        article {
            h3 { (number) ". " (finding.title) }
            p { (finding.text) }
            @if !finding.beyond.is_empty() { p.dim { "Beyond what the lock assumes: " (finding.beyond) } }
            p { a href=(link(folder, finding.run)) { "The run as it was found" } }
            @if let Some(small) = &finding.small {
                p { b { "Shrunk: " } (small.title) " " span.dim { "(" (small.told) ")" } }
                p { a href=(link(folder, small.run)) { "The run of what is left" } }
                pre { code { (small.command) } }
            }
        }
    }
}

fn near(worth: &Worth) -> String {
    let told = |figure: Option<f64>| figure.map_or("none was seen".to_owned(), |ms| format!("{ms:.3} ms"));
    format!(
        "Near misses: the least validity left at a grant, {}; the shortest time from the end of a hold to the next grant to \
         another client, {}.",
        told(worth.near.validity_left_ms),
        told(worth.near.gap_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search<'a>(found: Vec<Found<'a>>, worth: &'a Worth) -> Search<'a> {
        let again = "fencepost hunt --lock redlock --seed 7".to_owned();
        Search { about: "redlock".to_owned(), effort: "40 trials".to_owned(), interrupted: false, found, worth, again }
    }

    #[test]
    fn names_the_least_covered_corners_and_what_was_found() {
        let least = vec![("pause holder at before-write".to_owned(), 0), ("kill one by time".to_owned(), 3)];
        let worth = Worth { least, any_trial: 0.01, ..Worth::default() };
        let folder = Path::new("/reports/hunt/1");
        let clean = page(folder, &search(Vec::new(), &worth));
        assert!(clean.contains("Nothing was found") && clean.contains("more than 1.00 %"), "{clean}");
        assert!(clean.contains("<td>pause holder at before-write</td><td>0</td>"), "{clean}");
        let found = Found {
            title: "redlock breaks liveness".to_owned(),
            text: "c1 <waits>",
            beyond: String::new(),
            run: Path::new("/reports/hunt/1/finding/2"),
            small: None,
        };
        let page = page(folder, &search(vec![found], &worth));
        assert!(page.contains("1 finding.") && page.contains("c1 &lt;waits&gt;"), "{page}");
        assert!(page.contains("href=\"../1/finding/2/report.html\"") && !page.contains("Nothing was found"), "{page}");
    }
}
