//! Whatever a scenario, a server or another harness's history calls things: it is shown as text, in every form.

use super::sample;
use crate::history::EnvironmentName;
use crate::history::ServerRecord;
use crate::history::server::{Ballot, Contender, Seen, Vote};
use crate::ids::{ClientId, LockName, NodeId};
use crate::report::console::{self, Style};
use crate::report::cost::Cost;
use crate::report::junit::Document;
use crate::report::sweep::Sweep;
use crate::report::{Report, compare, html, json};
use crate::time::Nanos;

/// Markup, quotes, a terminal's escapes, line breaks, the direction of text, and what breaks a layout.
fn hostile() -> String {
    format!(
        "</title><script>alert(1)</script>\"'&lt; onload=x\u{1b}[2J\n\ras expected\u{202e}\u{0}| {}",
        "x".repeat(10_000)
    )
}

/// A report that is hostile wherever it has a text of others.
fn report() -> Report {
    let mut report = sample::report();
    let text = hostile();
    for field in [&mut report.scenario, &mut report.title, &mut report.why, &mut report.source, &mut report.started] {
        field.clone_from(&text);
    }
    report.environment = EnvironmentName::Sim.into();
    report.settings.push((text.clone(), text.clone()));
    report.plan.push(text.clone());
    report.replay.clone_from(&text);
    report.servers = Some(text.clone());
    report.versions.insert(text.clone(), text.clone());
    report.interrupted = Some(text.clone());
    for lock in &mut report.locks {
        lock.name = format!("{}{text}", lock.name);
        lock.algorithm.clone_from(&text);
        lock.error = Some(text.clone());
        lock.settings.push((text.clone(), text.clone()));
        for op in &mut lock.history.ops {
            op.lock = Some(LockName::new(&text));
            op.error = Some(text.clone());
            if let Some(fault) = &mut op.fault {
                (fault.kind, fault.plan) = (text.clone().into(), text.clone());
                fault.probes.iter_mut().for_each(|probe| probe.observed.clone_from(&text));
            }
        }
        let ballot = Ballot {
            owner: text.as_str().into(),
            key: text.as_str().into(),
            client: Some(ClientId(2)),
            ttl: Some(u64::MAX),
            votes: vec![Vote::new(NodeId(u32::MAX), Nanos(u64::MAX))],
            refused: vec![(NodeId(0), Nanos(0))],
        };
        let contender = Contender {
            revision: None,
            path: text.as_str().into(),
            session: i64::MIN,
            client: Some(ClientId(2)),
            seen: vec![Seen { node: None, from: Nanos(u64::MAX), to: Some(Nanos(0)) }],
            with_session: true,
        };
        lock.history.servers = vec![ServerRecord::Ballot(ballot), ServerRecord::Contender(contender)];
        for result in &mut lock.judgement.checks {
            (result.summary, result.guarantee) = (text.clone(), text.clone());
            result.figures.insert(text.clone(), 1.0);
            result.violations.iter_mut().for_each(|violation| violation.text.clone_from(&text));
        }
    }
    report
}

/// The tags of a page, without what stands in them but their names.
fn tags(page: &str) -> Vec<&str> {
    let names = page.split('<').skip(1).map(|rest| rest.split([' ', '>', '\n', '/']).next().unwrap_or_default());
    names.collect()
}

/// What would take a text for something else.
const STEERING: [char; 4] = ['\u{1b}', '\u{202e}', '\u{0}', '\r'];

#[test]
fn a_page_shows_it_as_text() {
    let page = html::page(&report());
    assert_eq!(tags(&page).iter().filter(|tag| **tag == "script").count(), 1, "the page's own");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !page.contains("<script>alert"));
    assert!(!page.contains(STEERING));
    // An attribute ends at its quote: none may come from a text.
    assert!(!page.contains("\"' onload") && !page.contains("\"'&lt; onload"));
    assert_eq!(page.matches("onload=x").count(), page.matches("&quot;'&amp;lt; onload=x").count());
}

#[test]
fn a_comparison_shows_it_as_text() {
    let report = report();
    let mut sweep = Sweep::new(&report, std::time::Duration::from_secs(1));
    sweep.add(&report, &Cost::of_all(&report));
    let sweeps = [sweep];
    let compared = compare::Compared { unfinished: Some(&report.title), ..sweeps[..].into() };
    let page = compare::page(std::path::Path::new("reports/compare"), compared);
    assert!(!page.contains("<script>") && !page.contains(STEERING));
    let markdown = compare::markdown(&sweeps[..]);
    assert!(!markdown.contains("<script") && !markdown.contains(STEERING));
    let table = compare::table(&sweeps[..], Style::default());
    assert!(!table.contains(STEERING));
    assert!(!table.lines().any(|line| line.starts_with("as expected")));
    assert!(table.lines().all(|line| line.chars().count() <= 100), "however long a name is");
}

#[test]
fn the_terminal_shows_it_as_text() {
    let text = console::table(&report(), Style::default());
    assert!(!text.contains(STEERING));
    assert!(!text.lines().any(|line| line.starts_with("as expected")));
}

#[test]
fn json_and_xml_keep_it_whole() {
    let report = report();
    let verdict = json::verdict(&report);
    let read: serde_json::Value = serde_json::from_str(&verdict.to_string()).unwrap();
    assert_eq!(read["scenario"], hostile());
    assert_eq!(verdict.to_string().lines().count(), 1, "an object a line");
    let mut document = Document::default();
    document.add_run(&report);
    document.add_seed(&report);
    document.add_failure(&report.scenario, &report.title);
    let xml = document.to_xml().unwrap();
    let read = roxmltree::Document::parse(&xml).unwrap();
    let suites = read.descendants().filter(|node| node.has_tag_name("testsuite"));
    assert!(suites.filter_map(|suite| suite.attribute("name")).all(|name| name.contains("<script>alert(1)</script>")));
}
