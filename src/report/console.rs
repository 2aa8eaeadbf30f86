//! The result of a run for people at a terminal: what each lock did in a sentence, the verdict matrix, the telling
//! figures, the first evidence; whether the scenario's file had foreseen it comes last, and apart.
//!
//! Lines fit a hundred columns, but for paths and commands, which are to be copied. A pure function of the report.
//! Deliberately absent: any question to the terminal; the caller says what it can show.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::scene::Scene;
use super::standing::Standing;
use super::summary;
use super::words;
use super::{LockReport, PAGE, Report, key_figures};
use crate::check::{CheckResult, Verdict, Violation};
use crate::plain::plain;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour; off writes plain text.
    pub colour: bool,
    /// How many columns the terminal has, if it is one.
    pub width: Option<u16>,
}

/// No line is longer than this: longer ones are hard to read.
const COLUMNS: u16 = 100;
/// So many violations of a lock are told in full.
const TOLD: usize = 3;

/// The whole result as text, with a line end.
pub fn table(report: &Report, style: Style) -> String {
    let columns = style.columns();
    let wrap = |line: &str| wrap(line, columns);
    let mut lines = vec![
        style.bold(&wrap(&plain(&report.title))),
        wrap(&format!("{} · {} · seed {}", plain(&report.scenario), report.environment, report.seed)),
    ];
    lines.extend(report.servers.iter().map(|servers| wrap(&format!("servers {}", plain(servers)))));
    lines.push(String::new());
    let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
    lines.extend(
        report.interrupted.iter().map(|why| style.alarm(&wrap(&format!("The run ended early: {}", plain(why))))),
    );
    if report.locks.is_empty() {
        lines.push("No lock was tried.".to_owned());
    } else {
        for (lock, scene) in report.locks.iter().zip(&scenes) {
            let standing = Standing::of(lock);
            let told =
                wrap(&format!("{} {} {}", standing.sign(), plain(&lock.name), plain(&summary::sentence(lock, scene))));
            lines.push(if standing == Standing::Harmed { style.alarm(&told) } else { style.bold(&told) });
        }
        lines.push(String::new());
        lines.extend(matrix(report, style).lines().map(|line| line.trim_end().to_owned()));
    }
    lines.push(String::new());
    for (lock, scene) in report.locks.iter().zip(&scenes) {
        let figures: Vec<String> = key_figures::key_figures(lock, scene)
            .into_iter()
            .map(|figure| format!("{} {}", figure.label, figure.value))
            .collect();
        let name = plain(&lock.name);
        let figures = wrap(&format!("{name}: {}", figures.join(", ")));
        lines.push(figures.replacen(&*name, &style.bold(&name), 1));
        lines.extend(evidence(lock).iter().map(|line| wrap(line)));
        lines.extend(lock.cut_off().iter().map(|what| style.alarm(&wrap(&format!("  {}", plain(what))))));
        for (what, how) in lock.reading.iter().flat_map(|reading| &reading.taken) {
            lines.push(wrap(&format!("  {}: {}", plain(what), plain(how))));
        }
        if let Some(reading) = lock.reading.as_ref().filter(|reading| reading.passed() > 0) {
            lines
                .push(wrap(&format!("  ops passed over, which are not about a lock: {}", words::passed_over(reading))));
        }
        lines.extend(lock.error.iter().map(|error| style.alarm(&wrap(&format!("  ended early: {}", plain(error))))));
    }
    if !report.replay.is_empty() {
        lines.extend([
            String::new(),
            format!("run     {}", plain(&report.folder.display().to_string())),
            format!("page    {}", plain(&report.folder.join(PAGE).display().to_string())),
            format!("seed    {}", report.seed),
        ]);
        lines.extend(report.commands().into_iter().map(|(name, command)| format!("{name:6}  {}", plain(&command))));
    }
    lines.push(String::new());
    for lock in &report.locks {
        for missed in lock.expectations.iter().filter(|expectation| !expectation.held()) {
            let says = missed.reached.map_or("did not run", Verdict::name);
            let (name, check) = (plain(&lock.name), missed.check);
            let told = format!("{name} {check}: {says}, expected {}{}", missed.expected, missed.reason());
            lines.push(style.alarm(&wrap(&told)));
        }
    }
    let stated = report.locks.iter().any(|lock| lock.expectations.iter().any(|expectation| expectation.stated));
    let by = if stated { " by the scenario's file" } else { "" };
    lines.push(if report.expected() {
        style.bold(&format!("as expected{by}"))
    } else {
        style.alarm(&format!("not as expected{by}"))
    });
    lines.join("\n") + "\n"
}

/// The first violation of each broken check, the worst first; and how many more there are.
fn evidence(lock: &LockReport) -> Vec<String> {
    let broken = || lock.judgement.checks.iter().filter(|check| check.verdict == Verdict::Invalid);
    let mut firsts: Vec<(&CheckResult, Option<&Violation>)> =
        broken().map(|check| (check, check.violations.first())).collect();
    firsts.sort_by_key(|(_, violation)| std::cmp::Reverse(violation.and_then(|violation| violation.severity)));
    let told = firsts.iter().take(TOLD).map(|(check, violation)| {
        let text = violation.map_or_else(
            || check.summary.clone(),
            |violation| match violation.severity.map(words::severity) {
                Some(severity) => format!("{} [severity: {severity}]", violation.text),
                None => violation.text.clone(),
            },
        );
        format!("  {}: {}", check.check, plain(&text))
    });
    let mut told: Vec<String> = told.collect();
    let in_incidents: u64 = lock.judgement.incidents.iter().flat_map(|incident| incident.violations.values()).sum();
    let listed: usize = broken().map(|check| check.violations.len()).sum();
    let more = in_incidents.max(listed as u64).saturating_sub(told.len() as u64);
    if more > 0 {
        let incidents = lock.judgement.incidents_in_all;
        let of = if incidents > 0 {
            format!(", of {} in all", words::counted(incidents, "incident", "incidents"))
        } else {
            String::new()
        };
        told.push(format!("  {} on the page{of}", words::counted(more, "more violation", "more violations")));
    }
    told
}

/// Breaks a line at words so that it fits; what follows is indented. A word that is longer than a line is cut.
pub(super) fn wrap(line: &str, width: u16) -> String {
    const INDENT: &str = "    ";
    let width = usize::from(width).max(2 * INDENT.len());
    let mut wrapped = String::new();
    let mut column = 0;
    for word in line.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if column > INDENT.len() && column + length > width {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            wrapped.push_str(INDENT);
            column = INDENT.len();
        }
        for (place, letter) in word.chars().enumerate() {
            if column >= width && place < length {
                wrapped.push('\n');
                wrapped.push_str(INDENT);
                column = INDENT.len();
            }
            wrapped.push(letter);
            column += 1;
        }
    }
    wrapped.truncate(wrapped.trim_end().len());
    wrapped
}

fn matrix(report: &Report, style: Style) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(style.columns());
    // The caller knows the terminal; the crate must not look for one by itself.
    table.force_no_tty();
    if style.colour {
        table.enforce_styling();
    }
    let names = report.locks.iter().map(|lock| Cell::new(plain(&lock.name)).add_attribute(Attribute::Bold));
    table.set_header([Cell::new("check")].into_iter().chain(names));
    for check in words::checks_shown(report) {
        let verdicts = report.locks.iter().map(|lock| cell(words::result(lock, check).map(|result| result.verdict)));
        table.add_row([Cell::new(check)].into_iter().chain(verdicts));
    }
    let overall = report.locks.iter().map(|lock| cell(Some(lock.judgement.verdict)).add_attribute(Attribute::Bold));
    table.add_row([Cell::new("overall").add_attribute(Attribute::Bold)].into_iter().chain(overall));
    table.to_string()
}

fn cell(verdict: Option<Verdict>) -> Cell {
    let text = Cell::new(verdict.map_or("did not run", Verdict::name));
    match verdict {
        Some(Verdict::Valid) => text.fg(Color::Green),
        Some(Verdict::Invalid) => text.fg(Color::Red),
        Some(Verdict::Unknown) => text.fg(Color::Yellow),
        Some(Verdict::NotApplicable) | None => text.add_attribute(Attribute::Dim),
    }
}

impl Style {
    /// How long a line may be.
    pub fn columns(self) -> u16 {
        self.width.map_or(COLUMNS, |width| width.min(COLUMNS))
    }

    fn bold(self, text: &str) -> String {
        self.wrapped("1", text)
    }

    fn alarm(self, text: &str) -> String {
        self.wrapped("1;31", text)
    }

    fn wrapped(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn says_what_was_expected_and_what_came() {
        let printed = table(&sample::report(), Style::default());
        assert!(printed.lines().all(|line| line.chars().count() <= 100), "{printed}");
        // As one line, however it was broken.
        let text = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        let row = |name: &str| printed.lines().find(|line| line.starts_with(&format!("│ {name}"))).unwrap_or_default();
        assert_eq!(row("mutual-exclusion").matches("invalid").count(), 2, "{printed}");
        assert!(!row("mutual-exclusion").contains("expected"), "what was foreseen stands apart: {printed}");
        for part in [
            "✗ redlock let two clients believe at once that they held it, in 1 incident; 1 update was lost",
            "zookeeper mutual-exclusion: invalid, expected valid",
            "A <b>client</b> stalls & holds the lock",
            "redlock: grants 3, overlaps 1, overlap time 40ms, stale accesses accepted 1, stale accesses refused 0",
            "updates lost 1, share of updates lost 33.3 %",
            "mutual-exclusion: c2 still held item-1",
            "seed 7",
            "replay fencepost replay reports/client-pause/20261123-092935-7",
            "again fencepost run client-pause --seed 7",
            "report.html",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(printed.ends_with("\nnot as expected by the scenario's file\n"), "{printed}");
        assert!(!text.contains('\x1b'), "plain text has no escapes");
    }

    #[test]
    fn nothing_that_a_file_says_steers_the_terminal() {
        let hostile = "a\u{1b}[2Jb\nas expected\u{202e}";
        let mut report = sample::report();
        (report.title, report.scenario) = (hostile.to_owned(), hostile.to_owned());
        report.interrupted = Some(hostile.to_owned());
        let lock = &mut report.locks[0];
        (lock.name, lock.error) = (hostile.to_owned(), Some(hostile.to_owned()));
        let violations = lock.judgement.checks.iter_mut().flat_map(|check| &mut check.violations);
        violations.for_each(|violation| violation.text = hostile.to_owned());
        let text = table(&report, Style::default());
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("as expected")), "{text}");
        let text = text.replace("\n    ", " ");
        assert!(text.matches("a\\u{1b}[2Jb\\nas expected\\u{202e}").count() >= 5, "{text}");
    }

    #[test]
    fn long_lines_are_broken_at_words() {
        let text = wrap("  mutual-exclusion: c2 still held it when c3 was granted it.", 30);
        assert_eq!(text, "  mutual-exclusion: c2 still\n    held it when c3 was\n    granted it.");
        assert_eq!(wrap("  one line", 100), "  one line");
        let long = wrap(&"x".repeat(10_000), 100);
        assert!(long.lines().all(|line| line.chars().count() <= 100) && long.matches('x').count() == 10_000);
        let narrow = table(&sample::report(), Style { colour: false, width: Some(60) });
        let told = |line: &&str| !["run ", "page ", "replay ", "again "].iter().any(|name| line.starts_with(name));
        assert!(narrow.lines().filter(told).all(|line| line.chars().count() <= 60), "{narrow}");
    }

    #[test]
    fn at_most_three_violations_are_told_and_the_others_counted() {
        let mut report = sample::report();
        let judgement = &mut report.locks[0].judgement;
        *judgement.incidents[0].violations.values_mut().next().unwrap() = 144;
        for result in &mut judgement.checks {
            result.verdict = Verdict::Invalid;
        }
        let text = table(&report, Style::default());
        let (_, redlock) = text.split_once("\nredlock: ").unwrap();
        let (redlock, _) = redlock.split_once("\nzookeeper: ").unwrap();
        assert!(redlock.contains("142 more violations on the page, of 1 incident in all"), "{redlock}");
        let told = ["mutual-exclusion: ", "fencing: ", "assumptions: ", "lost-updates: "];
        assert_eq!(told.iter().filter(|check| redlock.contains(&format!("\n  {check}"))).count(), TOLD, "{redlock}");
    }

    #[test]
    fn colours_only_when_asked() {
        assert!(
            table(&sample::report(), Style { colour: true, width: Some(80) }).contains("\x1b[1;31mnot as expected")
        );
    }

    #[test]
    fn a_run_that_was_cut_short_says_so() {
        let text = table(&sample::empty(), Style { colour: false, width: Some(60) });
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in
            ["ended early: no Redis node answered in 10s", "interrupted by Ctrl-C", "did not run", "not as expected"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
