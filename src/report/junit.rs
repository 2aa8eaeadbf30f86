//! The result as JUnit XML: a test suite per lock, a test case per expectation.

use maud::{Markup, PreEscaped, html};

use super::words;
use super::{Expectation, LockReport, Report};
use crate::check::Verdict;

/// How many violations a failure tells.
const VIOLATIONS: usize = 5;

/// The whole document.
pub fn junit(report: &Report) -> String {
    let suites = html! {
        testsuites name="fencepost" tests=(count(report, |lock| lock.expectations.len() + 1))
            failures=(count(report, failures)) errors=(count(report, |lock| errors(report, lock))) {
            @for lock in &report.locks { (suite(report, lock)) }
        }
    };
    printable(&format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", suites.into_string()))
}

fn count(report: &Report, of: impl Fn(&LockReport) -> usize) -> usize {
    report.locks.iter().map(of).sum()
}

fn failures(lock: &LockReport) -> usize {
    lock.expectations.iter().filter(|expectation| !expectation.held()).count()
}

fn errors(report: &Report, lock: &LockReport) -> usize {
    usize::from(lock.error.is_some() || report.interrupted.is_some())
}

fn suite(report: &Report, lock: &LockReport) -> Markup {
    let name = format!("{}/{}", report.scenario, lock.name);
    let seconds = lock.history.ops.last().map_or(0.0, |op| op.time.as_secs_f64());
    let ended = [&lock.error, &report.interrupted].into_iter().flatten().cloned().collect::<Vec<_>>().join("; ");
    html! {
        testsuite name=(name) tests=(lock.expectations.len() + 1) failures=(failures(lock))
            errors=(errors(report, lock)) time=(format!("{seconds:.3}")) timestamp=(report.started.replace(' ', "T")) {
            (PreEscaped("\n"))
            properties {
                property name="environment" value=(report.environment) {}
                property name="seed" value=(report.seed) {}
                property name="replay" value=(report.replay) {}
                property name="run" value=(report.folder.display()) {}
            }
            (PreEscaped("\n"))
            // A suite of its expectations alone would pass when the trial never got to them.
            testcase classname=(name) name="the trial ran to its end" time=(format!("{seconds:.3}")) {
                @if !ended.is_empty() { error type="ended-early" message=(ended) { (ended) } }
            }
            @for expectation in &lock.expectations {
                (PreEscaped("\n"))
                testcase classname=(name) name=(format!("{} is {}", expectation.check, expectation.expected)) time="0" {
                    @if !expectation.held() { (failure(lock, expectation)) }
                }
            }
            (PreEscaped("\n"))
        }
    }
}

fn failure(lock: &LockReport, expectation: &Expectation) -> Markup {
    let result = words::result(lock, expectation.check);
    let reached = expectation.reached.map_or("did not run", Verdict::name);
    let mut text = vec![result.map_or_else(|| "The check did not run.".to_owned(), |result| result.summary.clone())];
    if let Some(result) = result {
        text.push(format!("Guarantee: {}", result.guarantee));
        text.extend(result.violations.iter().take(VIOLATIONS).map(|violation| format!("- {}", violation.text)));
        let more = result.violations.len().saturating_sub(VIOLATIONS);
        text.extend((more > 0).then(|| format!("and {more} more; see verdict.json")));
    }
    let is = if expectation.reached.is_some() { " is" } else { "" };
    let message = format!("{}{is} {reached}, expected {}", expectation.check, expectation.expected);
    html! { failure type=(reached) message=(message) { (text.join("\n")) } }
}

/// Leaves out what XML 1.0 cannot hold even escaped: control characters other than tab and line ends.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    /// Names of elements left open or closed wrongly; enough of a parser for what this file writes.
    fn misnested(xml: &str) -> Vec<String> {
        let mut open: Vec<&str> = Vec::new();
        for tag in xml.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag ends");
            assert!(!text.contains('>') || !text.contains('&'), "text is escaped: {text}");
            match tag.strip_prefix('/') {
                Some(name) if open.pop() != Some(name) => return vec![name.to_owned()],
                Some(_) => {}
                None if tag.starts_with('?') => {}
                None => open.push(tag.split(' ').next().unwrap_or(tag)),
            }
        }
        open.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_failed_expectation_is_a_failure_with_its_evidence() {
        let xml = junit(&sample::report());
        assert_eq!(misnested(&xml), Vec::<String>::new(), "{xml}");
        assert!(xml.contains(r#"<testsuites name="fencepost" tests="6" failures="1" errors="0">"#), "{xml}");
        assert!(xml.contains(r#"message="mutual-exclusion is invalid, expected valid""#), "{xml}");
        assert!(xml.contains("c2 still held item-1 &lt;when&gt; c3 was granted it &amp; both"), "{xml}");
        assert_eq!(xml.matches("<failure").count(), 1, "an expected `invalid` is no failure");
    }

    #[test]
    fn a_trial_that_ended_early_is_an_error_and_its_expectations_fail() {
        let xml = junit(&sample::empty());
        assert_eq!(misnested(&xml), Vec::<String>::new(), "{xml}");
        assert!(xml.contains(r#"tests="3" failures="2" errors="1""#), "{xml}");
        assert!(xml.contains("no Redis node answered in 10s; interrupted by Ctrl-C"), "{xml}");
        assert!(xml.contains("message=\"fencing did not run, expected invalid\">The check did not run.<"), "{xml}");
    }

    #[test]
    fn control_characters_do_not_reach_the_file() {
        let mut report = sample::empty();
        report.locks[0].error = Some("\u{1b}[31mred\u{0}".to_owned());
        assert!(junit(&report).contains("[31mred;"), "{}", junit(&report));
    }
}
