//! The result of a run for people at a terminal: the verdict matrix, the telling figures, the first evidence.
//!
//! A pure function of the report. Deliberately absent: any question to the terminal; the caller says what it can show.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::plain::plain;
use super::scene::Scene;
use super::words::{self, Cell as VerdictCell};
use super::{PAGE, Report};
use crate::check::Verdict;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour; off writes plain text.
    pub colour: bool,
    /// How many columns the terminal has; without one, lines are as long as they are.
    pub width: Option<u16>,
}

/// The whole result as text, with a line end.
pub fn table(report: &Report, style: Style) -> String {
    let mut lines = vec![
        style.bold(&plain(&report.title)),
        format!("{} · {} · seed {}", plain(&report.scenario), report.environment, report.seed),
        String::new(),
    ];
    if report.locks.is_empty() {
        lines.push("No lock was tried.".to_owned());
    } else {
        lines.extend(matrix(report, style).lines().map(|line| line.trim_end().to_owned()));
    }
    lines.push(String::new());
    for lock in &report.locks {
        let scene = Scene::of(&lock.history);
        let figures: Vec<String> = words::key_figures(lock, &scene)
            .into_iter()
            .map(|figure| format!("{} {}", figure.label, figure.value))
            .collect();
        let name = plain(&lock.name);
        let figures = wrap(&format!("{name}: {}", figures.join(", ")), style.width);
        lines.push(figures.replacen(&*name, &style.bold(&name), 1));
        for check in lock.judgement.checks.iter().filter(|check| check.verdict == Verdict::Invalid) {
            let more = match check.violations.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more listed)", count - 1),
            };
            let first = check.violations.first().map_or_else(
                || check.summary.clone(),
                |violation| match violation.severity.map(words::severity) {
                    Some(severity) => format!("{} [severity: {severity}]", violation.text),
                    None => violation.text.clone(),
                },
            );
            lines.push(wrap(&format!("  {}: {}{more}", check.check, plain(&first)), style.width));
        }
        let missed = lock.expectations.iter().filter(|expectation| !expectation.held() && !expectation.stated);
        lines.extend(missed.map(|expectation| {
            let (check, says) = (expectation.check, expectation.reached.map_or("did not run", Verdict::name));
            style.alarm(&wrap(
                &format!("  {check}: {says}, expected {}{}", expectation.expected, expectation.reason()),
                style.width,
            ))
        }));
        lines.extend(lock.cut_off().iter().map(|what| style.alarm(&format!("  {}", plain(what)))));
        for (what, how) in lock.reading.iter().flat_map(|reading| &reading.taken) {
            lines.push(wrap(&format!("  {}: {}", plain(what), plain(how)), style.width));
        }
        if let Some(reading) = lock.reading.as_ref().filter(|reading| reading.passed() > 0) {
            let told = format!("  ops passed over, which are not about a lock: {}", words::passed_over(reading));
            lines.push(wrap(&told, style.width));
        }
        lines.extend(lock.error.iter().map(|error| style.alarm(&format!("  ended early: {}", plain(error)))));
    }
    lines.extend(report.interrupted.iter().map(|why| style.alarm(&format!("The run ended early: {}", plain(why)))));
    if !report.replay.is_empty() {
        lines.extend([
            String::new(),
            format!("run     {}", plain(&report.folder.display().to_string())),
            format!("page    {}", plain(&report.folder.join(PAGE).display().to_string())),
            format!("seed    {}", report.seed),
        ]);
        lines.extend(report.commands().into_iter().map(|(name, command)| format!("{name:6}  {}", plain(&command))));
    }
    lines.extend([
        String::new(),
        if report.expected() { style.bold("as expected") } else { style.alarm("not as expected") },
    ]);
    lines.join("\n") + "\n"
}

/// Breaks a line at words so that it fits the terminal; what follows is indented.
fn wrap(line: &str, width: Option<u16>) -> String {
    const INDENT: &str = "    ";
    let Some(width) = width.map(usize::from) else { return line.to_owned() };
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
        wrapped.push_str(word);
        column += word.chars().count();
    }
    wrapped
}

fn matrix(report: &Report, style: Style) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = style.width {
        table.set_width(width);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    // The caller knows the terminal; the crate must not look for one by itself.
    table.force_no_tty();
    if style.colour {
        table.enforce_styling();
    }
    let names = report.locks.iter().map(|lock| Cell::new(plain(&lock.name)).add_attribute(Attribute::Bold));
    table.set_header([Cell::new("check")].into_iter().chain(names));
    for check in words::checks_shown(report) {
        let verdicts = report.locks.iter().map(|lock| cell(&VerdictCell::of(lock, check)));
        table.add_row([Cell::new(check)].into_iter().chain(verdicts));
    }
    let overall = report.locks.iter().map(|lock| {
        cell(&VerdictCell { verdict: Some(lock.judgement.verdict), expected: None }).add_attribute(Attribute::Bold)
    });
    table.add_row([Cell::new("overall").add_attribute(Attribute::Bold)].into_iter().chain(overall));
    table.to_string()
}

fn cell(cell: &VerdictCell) -> Cell {
    let remark = match (cell.unmet(), cell.remark()) {
        (true, remark) => format!(" ({remark})"),
        (false, remark) if remark.is_empty() => remark,
        (false, remark) => format!(", {remark}"),
    };
    let text = Cell::new(format!("{}{remark}", cell.says()));
    match cell.verdict {
        _ if cell.unmet() => text.fg(Color::Red).add_attribute(Attribute::Bold),
        Some(Verdict::Valid) => text.fg(Color::Green),
        Some(Verdict::Invalid | Verdict::Unknown) => text.fg(Color::Yellow),
        Some(Verdict::NotApplicable) | None => text.add_attribute(Attribute::Dim),
    }
}

impl Style {
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
    use crate::report::sample;

    #[test]
    fn says_what_was_expected_and_what_came() {
        let text = table(&sample::report(), Style::default());
        let row = |name: &str| text.lines().find(|line| line.starts_with(&format!("│ {name}"))).unwrap_or_default();
        assert!(row("mutual-exclusion").contains("invalid, as expected"), "{text}");
        assert!(row("mutual-exclusion").contains("invalid (expected valid)"), "{text}");
        assert!(row("fencing").contains("invalid, as expected"), "{text}");
        for part in [
            "A <b>client</b> stalls & holds the lock",
            "redlock: grants 3, overlaps 1, overlap time 40ms, stale accesses accepted 1, stale accesses refused 0",
            "updates lost 1, share of updates lost 33.3 %",
            "mutual-exclusion: c2 still held item-1",
            "seed    7",
            "replay  fencepost replay reports/client-pause/20261123-092935-7",
            "again   fencepost run client-pause --seed 7",
            "report.html",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.ends_with("\nnot as expected\n"), "{text}");
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
        assert!(text.matches("a\\u{1b}[2Jb\\nas expected\\u{202e}").count() >= 5, "{text}");
    }

    #[test]
    fn long_lines_are_broken_at_words() {
        let text = wrap("  mutual-exclusion: c2 still held it when c3 was granted it.", Some(30));
        assert_eq!(text, "  mutual-exclusion: c2 still\n    held it when c3 was\n    granted it.");
        assert_eq!(wrap("  one line", None), "  one line");
        let narrow = table(&sample::report(), Style { colour: false, width: Some(60) });
        let told = |line: &&str| !["run ", "page ", "replay ", "again "].iter().any(|name| line.starts_with(name));
        assert!(narrow.lines().filter(told).all(|line| line.chars().count() <= 60), "{narrow}");
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
        for part in
            ["ended early: no Redis node answered in 10s", "interrupted by Ctrl-C", "did not run", "not as expected"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
