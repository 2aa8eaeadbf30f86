//! Results as one JUnit XML document.
//!
//! One run of a scenario is a test suite for each lock, with a test case for each expectation. Many seeds of it are a
//! test suite for each lock too, with a test case for each seed: little is kept of a seed that did as expected. A
//! scenario that could not be run at all is an error of its own.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::words;
use super::{Expectation, LockReport, Report};
use crate::check::Verdict;

/// The XML Schema of the documents. A change that its readers could notice gets another version.
pub const SCHEMA: &str = include_str!("assets/junit.xsd");

/// How many violations a failure tells.
const VIOLATIONS: usize = 5;

/// How many seeds of a lock are told in full when they missed an expectation; of the others, only which.
const TOLD: usize = 10;

/// Everything that one command has found, until it is printed.
#[derive(Default)]
pub struct Document {
    suites: Vec<TestSuite>,
}

impl Document {
    /// Adds one run.
    pub fn add_run(&mut self, report: &Report) {
        self.suites.extend(report.locks.iter().map(|lock| run_suite(report, lock)));
    }

    /// Adds one of many seeds of a scenario.
    pub fn add_seed(&mut self, report: &Report) {
        for lock in &report.locks {
            let name = suite_name(report, lock);
            // Those of the sweep that is going on were added last.
            let known = self.suites.iter().rposition(|suite| suite.name.as_str() == name);
            let place = known.unwrap_or_else(|| {
                let mut suite = TestSuite::new(&name);
                suite.add_property(Property::new("environment", report.environment.as_str()));
                suite.add_property(Property::new("first-seed", report.seed.to_string()));
                self.suites.push(suite);
                self.suites.len() - 1
            });
            let suite = &mut self.suites[place];
            let told = suite.failures + suite.errors < TOLD;
            suite.add_test_case(seed_case(report, lock, &name, told));
        }
    }

    /// Adds a scenario that could not be run, and why.
    pub fn add_failure(&mut self, scenario: &str, message: &str) {
        let mut suite = TestSuite::new(scenario);
        suite.add_test_case(case(scenario, "the scenario was run", error("failed", message)));
        self.suites.push(suite);
    }

    /// The document as text.
    ///
    /// # Errors
    /// Those of the XML writer, which has no reason for one: it writes to memory.
    pub fn to_xml(self) -> Result<String, SerializeError> {
        let mut document = quick_junit::Report::new("fencepost");
        document.add_test_suites(self.suites);
        document.to_string()
    }
}

fn suite_name(report: &Report, lock: &LockReport) -> String {
    format!("{}/{}", report.scenario, lock.name)
}

fn run_suite(report: &Report, lock: &LockReport) -> TestSuite {
    let name = suite_name(report, lock);
    let took = Duration::from_nanos(lock.streamed.unwrap_or_else(|| lock.history.end()).0);
    let mut suite = TestSuite::new(&name);
    suite.set_time(took);
    suite.extra.insert("timestamp".into(), report.started.replace(' ', "T").into());
    suite.add_properties(
        [
            ("environment", report.environment.to_string()),
            ("seed", report.seed.to_string()),
            ("replay", report.replay.clone()),
            ("run", report.folder.display().to_string()),
        ]
        .map(|(name, value)| Property::new(name, value)),
    );
    if let Some(reading) = &lock.reading {
        suite.add_properties(reading.taken.iter().map(|(what, how)| Property::new(format!("read-{what}"), how)));
        suite.add_property(Property::new("passed-over", words::passed_over(reading)));
        suite
            .add_properties(reading.unclear.iter().map(|(lock, why)| Property::new(format!("not-judged-{lock}"), why)));
    }
    // A suite of its expectations alone would pass when the trial never got to them.
    let ended = ended_early(report, lock);
    let status = ended.map_or_else(TestCaseStatus::success, |why| error("ended-early", &why));
    let mut ran = case(&name, "the trial ran to its end", status);
    ran.set_time(took);
    suite.add_test_case(ran);
    suite.add_test_cases(lock.expectations.iter().map(|expectation| {
        let (check, expected) = (expectation.check, expectation.expected);
        case(&name, &format!("{check} is {expected}"), expectation_status(lock, expectation))
    }));
    suite
}

fn seed_case(report: &Report, lock: &LockReport, suite: &str, told: bool) -> TestCase {
    let missed: Vec<&Expectation> = lock.expectations.iter().filter(|expectation| !expectation.held()).collect();
    let again = format!("Again: {}", report.replay);
    let status = match (ended_early(report, lock), &missed[..]) {
        (Some(why), _) => error("ended-early", &why),
        (None, []) => TestCaseStatus::success(),
        (None, [first, ..]) => {
            let messages: Vec<String> = missed.iter().map(|expectation| message(expectation)).collect();
            let texts = missed.iter().map(|expectation| evidence(lock, expectation));
            let text = if told { texts.chain([again]).collect::<Vec<_>>().join("\n\n") } else { again };
            failure(reached(first), &messages.join("; "), &text)
        }
    };
    case(suite, &format!("as expected with seed {}", report.seed), status)
}

fn case(suite: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(suite).set_time(Duration::ZERO);
    case
}

fn expectation_status(lock: &LockReport, expectation: &Expectation) -> TestCaseStatus {
    if expectation.held() {
        return TestCaseStatus::success();
    }
    failure(reached(expectation), &message(expectation), &evidence(lock, expectation))
}

fn ended_early(report: &Report, lock: &LockReport) -> Option<String> {
    let why = [lock.error.clone(), lock.cut_off(), report.interrupted.clone()];
    let why: Vec<String> = why.into_iter().flatten().collect();
    (!why.is_empty()).then(|| why.join("; "))
}

fn reached(expectation: &Expectation) -> &'static str {
    expectation.reached.map_or("did not run", Verdict::name)
}

fn message(expectation: &Expectation) -> String {
    let is = if expectation.reached.is_some() { " is" } else { "" };
    let Expectation { check, expected, .. } = expectation;
    format!("{check}{is} {}, expected {expected}{}", reached(expectation), expectation.reason())
}

fn evidence(lock: &LockReport, expectation: &Expectation) -> String {
    let Some(result) = words::result(lock, expectation.check) else { return "The check did not run.".to_owned() };
    let mut text = vec![result.summary.clone(), format!("Guarantee: {}", result.guarantee)];
    text.extend(result.violations.iter().take(VIOLATIONS).map(|violation| format!("- {}", violation.text)));
    let more = result.violations.len().saturating_sub(VIOLATIONS);
    text.extend((more > 0).then(|| format!("and {more} more; see verdict.json")));
    text.join("\n")
}

fn failure(kind: &str, message: &str, text: &str) -> TestCaseStatus {
    non_success(NonSuccessKind::Failure, kind, message, text)
}

fn error(kind: &str, message: &str) -> TestCaseStatus {
    non_success(NonSuccessKind::Error, kind, message, message)
}

fn non_success(of: NonSuccessKind, kind: &str, message: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(of);
    status.set_type(kind).set_message(message).set_description(text);
    status
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document as Xml, Node};

    use super::*;
    use crate::report::tests::sample;
    use crate::seed::Seed;

    fn xml(add: impl FnOnce(&mut Document)) -> String {
        let mut document = Document::default();
        add(&mut document);
        let text = document.to_xml().unwrap();
        assert_eq!(crate::report::xsd_check::problems(SCHEMA, &text), Vec::<String>::new(), "{text}");
        text
    }

    fn all<'a>(xml: &'a Xml<'a>, name: &'static str) -> Vec<Node<'a, 'a>> {
        xml.descendants().filter(|node| node.has_tag_name(name)).collect()
    }

    fn counts<'a>(node: Node<'a, 'a>) -> [&'a str; 3] {
        ["tests", "failures", "errors"].map(|name| node.attribute(name).unwrap())
    }

    #[test]
    fn a_failed_expectation_is_a_failure_with_its_evidence() {
        let text = xml(|document| document.add_run(&sample::report()));
        let xml = Xml::parse(&text).unwrap();
        assert_eq!(counts(xml.root_element()), ["6", "1", "0"]);
        let [failure] = all(&xml, "failure")[..] else { panic!("an expected `invalid` is no failure: {text}") };
        assert_eq!(failure.attribute("message"), Some("mutual-exclusion is invalid, expected valid"));
        assert!(failure.text().unwrap().contains("c2 still held item-1 <when> c3 was granted it & both"), "{text}");
        assert_eq!(all(&xml, "testsuite")[0].attribute("timestamp"), Some("2026-11-23T09:29:35"));
    }

    #[test]
    fn a_trial_that_ended_early_is_an_error_and_its_expectations_fail() {
        let text = xml(|document| document.add_run(&sample::empty()));
        let xml = Xml::parse(&text).unwrap();
        assert_eq!(counts(xml.root_element()), ["3", "2", "1"]);
        let message = all(&xml, "error")[0].attribute("message");
        assert_eq!(message, Some("no Redis node answered in 10s; interrupted by Ctrl-C"));
        let failure = all(&xml, "failure").pop().unwrap();
        assert_eq!(failure.attribute("message"), Some("fencing did not run, expected invalid"));
        assert_eq!(failure.text(), Some("The check did not run."));
    }

    #[test]
    fn several_runs_are_one_document() {
        let text = xml(|document| {
            document.add_run(&sample::report());
            document.add_run(&sample::empty());
            document.add_failure("calm", "the disk is full");
        });
        let xml = Xml::parse(&text).unwrap();
        assert_eq!(counts(xml.root_element()), ["10", "3", "2"]);
        let names: Vec<_> = all(&xml, "testsuite").iter().filter_map(|suite| suite.attribute("name")).collect();
        assert_eq!(names, ["client-pause/redlock", "client-pause/zookeeper", "client-pause/redlock", "calm"]);
    }

    #[test]
    fn each_seed_of_a_sweep_is_a_test_case_and_only_the_first_that_fail_are_told_in_full() {
        let seeds = TOLD as u64 + 5;
        let text = xml(|document| {
            for seed in 0..seeds {
                document.add_seed(&Report { seed: Seed(seed), ..sample::report() });
            }
        });
        let xml = Xml::parse(&text).unwrap();
        let suites = all(&xml, "testsuite");
        let all_seeds = seeds.to_string();
        assert_eq!(counts(suites[0]), [&*all_seeds, "0", "0"], "redlock did as expected");
        assert_eq!(counts(suites[1]), [&*all_seeds, &*all_seeds, "0"], "zookeeper did not");
        assert_eq!(suites.len(), 2);
        let names: Vec<_> = all(&xml, "testcase").iter().filter_map(|case| case.attribute("name")).collect();
        assert!(names.contains(&"as expected with seed 3"), "{names:?}");
        assert_eq!(text.matches("Guarantee: ").count(), TOLD);
        assert_eq!(text.matches("Again: fencepost run").count() as u64, seeds);
    }

    #[test]
    fn control_characters_do_not_reach_the_document() {
        let mut report = sample::empty();
        report.locks[0].error = Some("\u{1b}[31mred\u{0} <&\">".to_owned());
        let text = xml(|document| document.add_run(&report));
        let xml = Xml::parse(&text).unwrap();
        assert_eq!(all(&xml, "error")[0].attribute("message"), Some("red <&\">; interrupted by Ctrl-C"));
    }
}
