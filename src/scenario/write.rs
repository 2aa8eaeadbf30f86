//! A scenario as the text of a file: what [`super::parse`] reads back as the same scenario.
//!
//! For scenarios that nobody wrote by hand: the search's findings, and what is left of them after shrinking. Settings
//! that have their documented default are left out. Deliberately absent: comments, other than the lines that a caller
//! gives.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::duration::text as duration;
use super::place::Word;
use super::{ClientStyle, Fencing, LockConfig, Scenario, Simulation, Workload};
use crate::fault::{
    At, ClockChange, Direction, Fault, FaultKind, Member, PeerGroup, Peers, Refusal, RequestRule, Shape, Target,
};
use crate::verdict::{CheckName, Demand};

/// The text of a scenario file; `comments` stand above it, a line each.
pub fn write(scenario: &Scenario, comments: &[String]) -> String {
    let mut text = String::new();
    for line in comments.iter().flat_map(|comment| comment.lines()) {
        text += &format!("# {line}\n");
    }
    if !comments.is_empty() {
        text.push('\n');
    }
    text += &format!("title = {}\n", quoted(&scenario.title));
    if !scenario.why.is_empty() {
        text += &format!("why = {}\n", quoted(&scenario.why));
    }
    workload(&mut text, &scenario.workload);
    if scenario.resource.fencing != Fencing::None {
        text += &format!("\n[resource]\nfencing = \"{}\"\n", word(scenario.resource.fencing));
    }
    let Simulation { least_latency, median_latency } = scenario.simulation;
    if scenario.simulation != Simulation::default() {
        let (least, median) = (quoted(&duration(least_latency)), quoted(&duration(median_latency)));
        text += &format!("\n[simulation]\nleast-latency = {least}\nmedian-latency = {median}\n");
    }
    for (name, config) in &scenario.locks {
        lock(&mut text, name, config);
    }
    for planned in &scenario.faults {
        match &planned.target {
            Target::Members(members) => strike(&mut text, planned, members),
            target => fault(&mut text, planned, target),
        }
    }
    expect(&mut text, &scenario.expect);
    text
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn word<T: Word + PartialEq>(value: T) -> &'static str {
    T::words().into_iter().find(|(_, meaning)| *meaning == value).map_or("", |(word, _)| word)
}

fn key(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name} = {value}");
}

fn workload(text: &mut String, workload: &Workload) {
    let time = |time: Duration| quoted(&duration(time));
    text.push_str("\n[workload]\n");
    key(text, "kind", &quoted(word(workload.kind)));
    key(text, "clients", &workload.clients.to_string());
    if workload.locks != 1 {
        key(text, "locks", &workload.locks.to_string());
    }
    key(text, "hold", &quoted(&workload.hold.to_string()));
    key(text, "think", &quoted(&workload.think.to_string()));
    if workload.wait != Duration::from_secs(10) {
        key(text, "wait", &time(workload.wait));
    }
    key(text, "duration", &time(workload.duration));
    if let Some(within) = workload.grant_within {
        key(text, "grant-within", &time(within));
    }
    if workload.readers > 0 {
        key(text, "readers", &workload.readers.to_string());
    }
    if let Some(extend) = workload.extend {
        key(text, "extend", &quoted(&extend.to_string()));
    }
    if workload.abandoned > 0 {
        key(text, "abandoned", &workload.abandoned.to_string());
    }
    if workload.dropped > 0 {
        key(text, "dropped", &workload.dropped.to_string());
    }
    if !workload.quiet_end.is_zero() {
        key(text, "quiet-end", &time(workload.quiet_end));
    }
    if workload.client != ClientStyle::default() {
        key(text, "client", &quoted(word(workload.client)));
    }
}

fn lock(text: &mut String, name: &str, config: &LockConfig) {
    let _ = write!(text, "\n[lock.{name}]\n");
    if config.algorithm() != name && config.program().is_none() {
        key(text, "algorithm", &quoted(config.algorithm()));
    }
    for (name, value) in config.written() {
        key(text, name, &value);
    }
}

/// An entry that says what may happen.
fn fault(text: &mut String, fault: &Fault, target: &Target) {
    let _ = write!(text, "\n[[fault.{}]]\n", fault.kind.name());
    key(text, "target", &quoted(&target.to_string()));
    times(text, fault);
    settings(text, &fault.kind);
}

/// An entry that says what happened.
fn strike(text: &mut String, fault: &Fault, members: &[Member]) {
    text.push_str("\n[[strike]]\n");
    key(text, "fault", &quoted(fault.kind.name()));
    key(text, "members", &listed(members));
    times(text, fault);
    settings(text, &fault.kind);
}

fn times(text: &mut String, fault: &Fault) {
    let at = match fault.at {
        At::Time(at) => quoted(&duration(at)),
        At::Every(every) => format!("{{ every = {} }}", quoted(&duration(every))),
        At::Phase { phase, every, from } => {
            let mut at = format!("{{ phase = \"{phase}\"");
            if let Some(every) = every {
                let _ = write!(at, ", every = {}", quoted(&duration(every)));
            }
            if !from.is_zero() {
                let _ = write!(at, ", from = {}", quoted(&duration(from)));
            }
            at + " }"
        }
    };
    key(text, "at", &at);
    key(text, "for", &quoted(&duration(fault.duration)));
}

fn settings(text: &mut String, kind: &FaultKind) {
    match kind {
        FaultKind::Pause | FaultKind::Kill | FaultKind::Restart | FaultKind::PowerLoss => {}
        FaultKind::Partition { peers, direction, shape, refusal } => {
            match shape {
                Shape::Isolate => ends(text, peers),
                shape => key(text, "shape", &quoted(word(*shape))),
            }
            way(text, *direction);
            if *refusal != Refusal::default() {
                key(text, "refusal", &quoted(word(*refusal)));
            }
        }
        FaultKind::Delay { peers, direction, extra: (least, most) } => {
            key(text, "by", &quoted(&super::DurationRange::new(*least, *most).to_string()));
            ends(text, peers);
            way(text, *direction);
        }
        FaultKind::Loss { peers, direction, permille } => {
            // Tenths of a hundred, without the rounding of binary fractions.
            key(text, "percent", &format!("{}.{}", permille / 10, permille % 10));
            ends(text, peers);
            way(text, *direction);
        }
        FaultKind::Clock(ClockChange::Jump { by_ns }) => key(text, "by", &quoted(&jump(*by_ns))),
        FaultKind::Clock(ClockChange::Drift { ppm }) => key(text, "by", &quoted(&format!("{ppm:+}ppm"))),
        FaultKind::Clock(ClockChange::Strobe { by_ns, period }) => {
            key(text, "by", &quoted(&jump(*by_ns)));
            key(text, "period", &quoted(&duration(*period)));
        }
        FaultKind::Request { peers, rule: RequestRule { does, phase, times, by } } => {
            key(text, "does", &quoted(does.name()));
            key(text, "phase", &quoted(phase.name()));
            if let Some(times) = times {
                key(text, "times", &times.to_string());
            }
            if !by.is_zero() {
                key(text, "by", &quoted(&duration(*by)));
            }
            ends(text, peers);
        }
    }
}

fn jump(by_ns: i64) -> String {
    let sign = if by_ns < 0 { '-' } else { '+' };
    format!("{sign}{}", duration(Duration::from_nanos(by_ns.unsigned_abs())))
}

fn way(text: &mut String, direction: Direction) {
    if direction != Direction::default() {
        key(text, "direction", &quoted(word(direction)));
    }
}

fn ends(text: &mut String, peers: &Peers) {
    match peers {
        Peers::Group(group) => key(text, "peers", &quoted(word::<PeerGroup>(*group))),
        Peers::Members(members) => key(text, "peers", &listed(members)),
        Peers::Links(links) => {
            let told =
                |(member, peers): (&Member, &Vec<Member>)| format!("{} = {}", quoted(&name(*member)), listed(peers));
            key(text, "links", &format!("{{ {} }}", links.iter().map(told).collect::<Vec<_>>().join(", ")));
        }
    }
}

/// A member as files name it: `client:1`.
fn name(member: Member) -> String {
    match member {
        Member::Client(client) => format!("client:{}", client.0),
        Member::Node(node) => format!("node:{}", node.0),
        Member::Resource => "resource".to_owned(),
    }
}

fn listed(members: &[Member]) -> String {
    format!("[{}]", members.iter().map(|member| quoted(&name(*member))).collect::<Vec<_>>().join(", "))
}

fn expect(text: &mut String, expect: &BTreeMap<String, BTreeMap<CheckName, Demand>>) {
    for (lock, checks) in expect {
        let _ = write!(text, "\n[expect.{lock}]\n");
        for (check, demand) in checks {
            key(text, check.name(), &quoted(demand.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Capabilities, list, load, parse};
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let paths =
            ["scenarios", "scenarios/canaries", "src/scenario/testdata/good"].map(|name| list(&folder(name)).unwrap());
        let mut kinds = std::collections::BTreeSet::new();
        for listed in paths.into_iter().flatten() {
            let read = load(&listed.path, &Capabilities::sim()).unwrap_or_else(|error| panic!("{error}"));
            let text = write(&read, &["A comment\nof two lines".to_owned()]);
            let again =
                parse(&listed.path, &text, &Capabilities::sim()).unwrap_or_else(|error| panic!("{error}\n{text}"));
            kinds.extend(
                again.faults.iter().map(|fault| (fault.kind.name(), matches!(fault.target, Target::Members(_)))),
            );
            assert_eq!(
                Scenario { source: String::new(), ..again },
                Scenario { source: String::new(), ..read },
                "{text}"
            );
        }
        assert_eq!(kinds.iter().filter(|(_, strike)| *strike).count(), 11, "every fault as a strike: {kinds:?}");
    }
}
