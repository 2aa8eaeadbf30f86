//! What would have prevented an incident, and where that can be seen: another lock of the same run, or another
//! scenario.
//!
//! Only what follows from the kind of fault and from what this run shows of other locks. Deliberately absent: advice
//! that no trial bears out.

use maud::{Markup, html};

use super::document::slug;
use super::scene::Scene;
use super::words;
use super::{LockReport, Report};
use crate::check::{Cause, CheckName, Incident, Verdict};
use crate::fault::FaultName;
use crate::fencing::Fencing;

/// Scenarios that are the same trial with a resource that fences.
const FENCED: [(&str, &str); 2] =
    [("client-pause", "scenarios/client-pause-fenced.toml"), ("delayed-write", "scenarios/delayed-write-fenced.toml")];

/// What would have prevented an incident.
pub(super) struct Remedy {
    /// In a few words, without a stop.
    pub head: Markup,
    /// The rest of its item, from the stop on.
    pub rest: Markup,
}

impl Remedy {
    fn new(head: &str, rest: Markup) -> Self {
        Self { head: html! { b { (head) } }, rest }
    }
}

/// The items of a list.
pub(super) fn list(remedies: &[Remedy]) -> Markup {
    html! { ul { @for remedy in remedies { li { (remedy.head) (remedy.rest) } } } }
}

/// What would have prevented an incident of `lock`; `scenes` are those of all locks of the report.
pub(super) fn of(
    report: &Report,
    scenes: &[Scene<'_>],
    lock: &LockReport,
    scene: &Scene<'_>,
    incident: &Incident,
) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    let harmed =
        [CheckName::Fencing, CheckName::LostUpdates].iter().any(|check| incident.violations.contains_key(check));
    let strike = match incident.cause {
        Cause::Fault(id) => scene.strikes.iter().find(|strike| strike.event.id == id),
        Cause::Outlived(_) | Cause::Nothing => None,
    };
    let fencing = lock.history.header.fencing.known();
    if harmed && fencing == Some(Fencing::None) {
        let file = FENCED.iter().find(|(scenario, _)| *scenario == report.scenario).map(|(_, file)| *file);
        let rest = html! {
            ". It would have refused the late access; no lock with a lease can stop that."
            @if let Some(file) = file { " The same trial with such a resource: " code { "fencepost run " (file) } "." }
        };
        remedies
            .push(Remedy::new("Fencing: a resource that refuses an access with a lower token than it has seen", rest));
    } else if harmed && matches!(fencing, Some(Fencing::Write | Fencing::Access)) && !scene.gives_tokens() {
        let rest = html! { ". The resource was ready to fence, and this lock gave it nothing to compare." };
        remedies.push(Remedy::new("A lock that gives fencing tokens", rest));
    }
    remedies.extend(strike.and_then(|strike| of_fault(strike.event.kind.known()?, lock)));
    if let Cause::Outlived(_) = incident.cause {
        let rest = html! {
            ", or a lock that is renewed while the work goes on, and a client that looks at its validity before each access."
        };
        remedies.push(Remedy::new("Work that ends within the validity", rest));
    }
    let others = report.locks.iter().zip(scenes).filter(|(other, _)| other.name != lock.name);
    remedies.extend(others.filter_map(|(other, scene)| shown_by(other, scene, incident)));
    if remedies.is_empty() {
        remedies.push(match incident.cause {
            Cause::Nothing => Remedy::new(
                "Nothing outside of the lock",
                html! { ": it granted what was held. The lock itself has to be mended." },
            ),
            _ => Remedy::new("Nothing that this run shows", html! { ": no lock in it came off better." }),
        });
    }
    remedies
}

fn of_fault(name: FaultName, lock: &LockReport) -> Option<Remedy> {
    let setting =
        |name: &str| lock.settings.iter().find(|(setting, _)| setting == name).map(|(_, value)| value.as_str());
    Some(match name {
        FaultName::ClockDrift => Remedy::new(
            "Clocks that drift less than the lock allows for",
            html! { ". Within its margin the lock holds: " code { "fencepost run scenarios/drift-inside-margin.toml" } "." },
        ),
        FaultName::ClockJump | FaultName::ClockStrobe => Remedy::new(
            "Servers whose wall clocks are never stepped",
            html! { ", only slewed: a lease in Redis ends by the server’s wall clock." },
        ),
        FaultName::Restart | FaultName::PowerLoss | FaultName::Kill
            if setting("persistence").is_some_and(|value| !value.starts_with("always")) =>
        {
            let rest = html! {
                ". Persistence here is “" (setting("persistence").unwrap_or_default())
                "”; with every write synced before its answer, or a server kept down for longer than the TTL, a restart forgets nothing \
                that is still held."
            };
            Remedy::new("Servers that remember their locks", rest)
        }
        _ => return None,
    })
}

/// Another lock of the run that met the same plan and was not broken in the same way.
fn shown_by(other: &LockReport, scene: &Scene<'_>, incident: &Incident) -> Option<Remedy> {
    if other.error.is_some()
        || scene.holds.is_empty()
        || (matches!(incident.cause, Cause::Fault(_)) && scene.strikes.is_empty())
    {
        return None;
    }
    let held = |check: &CheckName| {
        let verdict = words::result(other, *check).map(|result| result.verdict);
        incident.violations.contains_key(check) && verdict.is_some_and(|verdict| verdict == Verdict::Valid)
    };
    let held: Vec<CheckName> = CheckName::ALL.into_iter().filter(held).collect();
    if held.is_empty() {
        return None;
    }
    let (_, refused) = scene.stale();
    let names: Vec<String> = held.iter().map(ToString::to_string).collect();
    let head =
        html! { a href={ "#lock-" (slug(&other.name)) } { b { (other.name) } } " under the same plan in this run" };
    let rest = html! {
        ": " (names.join(", ")) " held"
        @if refused > 0 { ", and " (words::counted(refused as u64, "stale access was", "stale accesses were")) " refused" }
        "."
    };
    Some(Remedy { head, rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn names_what_is_missing_and_the_lock_that_shows_it() {
        let report = sample::report();
        let lock = &report.locks[0];
        let scene = Scene::of(&lock.history);
        let told = |report: &Report, lock: &LockReport| {
            let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
            let all = of(report, &scenes, lock, &scene, &lock.judgement.incidents[0]);
            list(&all).into_string()
        };
        let text = told(&report, lock);
        for part in ["A lock that gives fencing tokens", "href=\"#lock-zookeeper\"", "1 stale access was refused"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let mut unfenced = lock.clone();
        unfenced.history.header.fencing = Fencing::None.into();
        assert!(told(&report, &unfenced).contains("fencepost run scenarios/client-pause-fenced.toml"));
    }
}
