//! How times, ops and figures read: the same words in the console, the page and the JUnit file.

use std::time::Duration;

use maud::{Markup, html};

use super::{Expectation, LockReport, Report};
use crate::check::{CheckName, CheckResult, Severity};
use crate::history::foreign::Reading;
use crate::history::{F, FaultEvent, Header, ItemValue, Op, OpType, Process};
use crate::time::Nanos;
pub(super) use crate::time::lasting;

/// How long a fault lasted beside how long it was to last: a difference that could matter is pointed out.
pub(super) fn lasted_mark(requested: Duration, lasted: Duration) -> Markup {
    // A twentieth, or what a busy host is late by; below that a reader has nothing to learn from it.
    let tolerance = (requested / 20).max(Duration::from_millis(20));
    let off = lasted.abs_diff(requested) > tolerance;
    html! { span class=[off.then_some("notice-word")] { (lasting(lasted)) } }
}

/// `later` relative to `origin`, with its sign: `+512ms`.
pub(super) fn relative(later: Nanos, origin: Nanos) -> String {
    if later >= origin { format!("+{}", lasting(later - origin)) } else { format!("−{}", lasting(origin - later)) }
}

/// By how much a clock was wrong, where it was wrong enough to matter: `2.000s ahead`.
pub(super) fn clock_error(nanos: i64) -> Option<String> {
    let told = lasting(Duration::from_nanos(nanos.unsigned_abs()));
    // Less than a millisecond is an ordinary clock.
    (nanos.unsigned_abs() >= 1_000_000).then(|| format!("{told} {}", if nanos > 0 { "ahead" } else { "behind" }))
}

/// A number without needless decimals: `12`, `33.3`.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        "–".to_owned()
    } else if value.fract() == 0.0 || value.abs() >= 10_000.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// A figure's name and value as a reader wants them: `overlap-ms`, `40` become `overlap` and `40ms`.
pub(super) fn figure(name: &str, value: f64) -> (String, String) {
    if let Some(name) = name.strip_suffix("-percent") {
        return (name.replace('-', " "), percent(value));
    }
    let units = [("-ms", 1e-3), ("-us", 1e-6), ("-s", 1.0)];
    let unit = units.iter().find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, *unit)));
    let duration = unit.and_then(|(_, unit)| Duration::try_from_secs_f64(value * unit).ok());
    let value = duration.map_or_else(|| number(value), lasting);
    (unit.map_or(name, |(name, _)| name).replace('-', " "), value)
}

/// A share of a hundred: `33.3 %`.
pub(super) fn percent(value: f64) -> String {
    if value >= 1.0 && value.fract() != 0.0 { format!("{value:.1} %") } else { format!("{} %", number(value)) }
}

/// `1 incident`, `4 incidents`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The result of one check of a lock, if it ran.
pub(super) fn result(lock: &LockReport, check: CheckName) -> Option<&CheckResult> {
    lock.judgement.checks.iter().find(|result| result.check == check)
}

/// What was expected of one check of a lock, if anything.
pub(super) fn expectation(lock: &LockReport, check: CheckName) -> Option<&Expectation> {
    lock.expectations.iter().find(|expectation| expectation.check == check)
}

/// The checks that any lock of the report ran or should have run, in order.
pub(super) fn checks_shown(report: &Report) -> impl Iterator<Item = CheckName> {
    CheckName::ALL.into_iter().filter(|check| {
        report.locks.iter().any(|lock| result(lock, *check).is_some() || expectation(lock, *check).is_some())
    })
}

/// The ops that were passed over, by name: `read 3, write 1`.
pub(super) fn passed_over(reading: &Reading) -> String {
    let told: Vec<String> = reading.passed_over.iter().take(12).map(|(f, count)| format!("{f} {count}")).collect();
    match reading.passed_over.len() {
        0 => "none".to_owned(),
        all if all > told.len() => format!("{} in all: {}, …", reading.passed(), told.join(", ")),
        _ => told.join(", "),
    }
}

/// The name of a degree of severity.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Effect => "effect",
        Severity::Interleaved => "interleaved",
        Severity::Belief => "belief",
    }
}

/// What a degree of severity means where a check tells of it.
pub(super) fn meaning(check: CheckName, severity: Severity) -> &'static str {
    match (severity, check) {
        (Severity::Effect, CheckName::Fencing) => "The resource accepted a stale access.",
        (Severity::Effect, CheckName::LostUpdates) => {
            "An update that was accepted or acknowledged is not in the final value, or the item's books do not balance."
        }
        (Severity::Effect, _) => {
            "Two holds overlapped, and one wrote over an update of the other that it had not seen."
        }
        (Severity::Interleaved, _) => {
            "Two holds overlapped, and the resource served one between accesses of the other."
        }
        (Severity::Belief, _) => "Two holds overlapped: the lock was believed to be held twice at the same time.",
    }
}

/// Whose op it is.
pub(super) fn who(op: &Op) -> String {
    match (op.process, op.client) {
        (Process::Client(_), Some(client)) => client.to_string(),
        (Process::Monitor, Some(client)) => format!("{client}’s monitor"),
        (Process::Client(number), None) => format!("process {number}"),
        (process, _) => process.to_string(),
    }
}

/// What an op says, as a clause that follows [`who`].
pub(super) fn what(header: &Header, op: &Op) -> String {
    let client = op.client.map_or_else(|| "a client".to_owned(), |client| client.to_string());
    let value = op.value.as_ref();
    match (op.process, op.f, op.kind) {
        (_, F::Acquire, OpType::Invoke) => "asks for the lock".to_owned(),
        (_, F::Acquire, OpType::Ok) => "is granted the lock".to_owned(),
        (_, F::Acquire, OpType::Fail) => "does not get the lock".to_owned(),
        (_, F::Acquire, OpType::Info) => "does not know whether it got the lock".to_owned(),
        (_, F::Release, OpType::Invoke) => "begins to release".to_owned(),
        (_, F::Release, OpType::Ok) => "has released".to_owned(),
        (_, F::Release, OpType::Fail) => "finds nothing to release".to_owned(),
        (_, F::Release, OpType::Info) => "does not know whether it released".to_owned(),
        (_, F::Extend, _) => "is told that its hold is valid".to_owned(),
        (_, F::Suspect, _) => "is told that the servers are out of reach".to_owned(),
        (_, F::Lost, _) => "is told that the lock is lost".to_owned(),
        (_, F::Crash, _) => "dies".to_owned(),
        (_, F::Outside, _) => format!("not by us: {}", op.error.as_deref().unwrap_or("something was struck")),
        (_, F::Adapter, _) => format!("the program {}", op.error.as_deref().unwrap_or("did what it may not")),
        (_, F::Stall, _) => {
            let stalled = op.since.map(|since| op.time - since).map(lasting).unwrap_or_default();
            format!("sees that it had not run for {stalled}")
        }
        (Process::Resource, f, OpType::Ok) => format!("accepts {client}’s {f}{}", of_item(header, value)),
        (Process::Resource, f, _) => format!("refuses {client}’s {f}{}", of_item(header, value)),
        (_, F::Read, OpType::Invoke) => "sends its read".to_owned(),
        (_, F::Write, OpType::Invoke) => format!("sends its write{}", of_item(header, value)),
        (_, f @ (F::Read | F::Write), OpType::Ok) => {
            format!("learns that its {f} was accepted{}", of_item(header, value))
        }
        (_, f @ (F::Read | F::Write), OpType::Fail) => format!("learns that its {f} was refused"),
        (_, f @ (F::Read | F::Write), OpType::Info) => format!("does not know whether its {f} was accepted"),
        (_, F::Look, OpType::Info) => "asks the lock servers what they still have, and not all answer".to_owned(),
        (_, F::Look, _) => "has asked the lock servers what they still have".to_owned(),
        (_, F::Left, _) => {
            let left = op.left.as_deref();
            let at = left.and_then(|left| left.node).map_or_else(|| "the ensemble".to_owned(), |node| node.to_string());
            format!("finds `{}` left at {at}", left.map(|left| left.name.as_str()).unwrap_or_default())
        }
        (_, f @ (F::Fault | F::Heal), kind) => fault(op.fault.as_deref(), f, kind),
    }
}

fn of_item(header: &Header, value: Option<&ItemValue>) -> String {
    let Some(value) = value else { return String::new() };
    let version = value.version.map(|version| format!(", version {version}")).unwrap_or_default();
    let based_on = value.based_on.map(|based_on| format!(", based on version {based_on}")).unwrap_or_default();
    format!(" (item {}: {} {}{version}{based_on})", value.item, header.content.noun(), value.stock)
}

fn fault(event: Option<&FaultEvent>, f: F, kind: OpType) -> String {
    let name = event.map_or_else(|| f.to_string(), |event| format!("{} of {}", event.kind, members(event)));
    match (f, kind) {
        (F::Fault, OpType::Invoke) => format!("orders: {name}"),
        (F::Fault, OpType::Ok) => format!("has verified: {name}"),
        (F::Fault, OpType::Fail) => format!("could not apply: {name}"),
        (F::Fault, OpType::Info) => format!("cannot tell whether it applied: {name}"),
        (_, OpType::Invoke) => format!("begins to heal: {name}"),
        (_, OpType::Ok) => format!("has healed: {name}"),
        (_, _) => format!("cannot tell whether it healed: {name}"),
    }
}

/// Whom a fault struck: `c3`, or `n1, n2`.
pub(super) fn members(event: &FaultEvent) -> String {
    let names: Vec<String> = event.targets.iter().map(ToString::to_string).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// The rest that an op carries: hold, token, validity, error.
pub(super) fn details(header: &Header, op: &Op) -> String {
    let mut details = Vec::new();
    details.extend(op.hold.as_ref().map(|hold| format!("hold {hold}")));
    details.extend(op.token.map(|token| format!("token {}", header.told(token))));
    details.extend(op.valid_until.map(|until| format!("valid until {until}")));
    details.extend(op.error.clone());
    details.join(" · ")
}

/// One op in one line, for a hover text.
pub(super) fn line(header: &Header, op: &Op) -> String {
    let details = details(header, op);
    let details = if details.is_empty() { details } else { format!(" · {details}") };
    format!("{} {} {}{details} · op {}", op.time, who(op), what(header, op), op.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn numbers_lose_needless_decimals() {
        for (value, text) in [(12.0, "12"), (33.333, "33.3"), (0.25, "0.25"), (123_456.7, "123457"), (f64::NAN, "–")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn what_is_relative_has_a_sign() {
        assert_eq!(relative(Nanos(1_000_000), Nanos(3_000_000)), "−2ms");
        assert_eq!(relative(Nanos(2_512_000_000), Nanos(0)), "+2.512s");
    }

    #[test]
    fn figures_take_their_unit_from_their_name() {
        assert_eq!(figure("overlap-ms", 40.0), ("overlap".to_owned(), "40ms".to_owned()));
        assert_eq!(figure("longest-idle-ms", 7_461.1), ("longest idle".to_owned(), "7.461s".to_owned()));
        assert_eq!(figure("lost-percent", 33.333), ("lost".to_owned(), "33.3 %".to_owned()));
        assert_eq!(figure("holds-under-fault", 3.0), ("holds under fault".to_owned(), "3".to_owned()));
    }

    #[test]
    fn every_op_reads_as_a_clause() {
        let report = sample::report();
        let lines: Vec<String> =
            report.locks[1].history.ops.iter().map(|op| line(&report.locks[1].history.header, op)).collect();
        let text = lines.join("\n");
        for part in [
            "0.020s c1 is granted the lock · hold c1-1 · token 31 · valid until 1.020s · op ",
            "resource refuses c2’s write (item 1: stock 997, version 3) · hold c2-1 · token below the highest seen",
            "nemesis has verified: pause of c2",
            "c2’s monitor sees that it had not run for 2.501s",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
