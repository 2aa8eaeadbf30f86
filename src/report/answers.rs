//! Who broke it, by whose clock, and what prevents it: the three lines that the story of an incident begins with.
//!
//! Only what the history tells; what it does not tell is said to be not known. Deliberately absent: the steps, which
//! are `exhibit`'s.

use maud::{Markup, html};

use super::exhibit::{self, Exhibit};
use super::remedy::Remedy;
use super::scene::Scene;
use super::standing::is_harm;
use crate::check::{Cause, CheckName, Incident};
use crate::history::{F, Hold};

/// The lines.
pub(super) fn answers(scene: &Scene<'_>, incident: &Incident, exhibit: &Exhibit<'_>, remedies: &[Remedy]) -> Markup {
    let broken = if incident.violations.contains_key(&CheckName::MutualExclusion) { "mutual exclusion" } else { "it" };
    html! {
        dl.answers {
            dt { "Who broke " (broken) }
            dd { (who(scene, incident, exhibit)) }
            dt { "By whose clock" }
            dd { (clock(scene, incident, exhibit)) }
            dt { "What prevents " (if incident.violations.keys().any(|check| is_harm(*check)) { "the harm" } else { "it" }) }
            dd {
                @for (place, remedy) in remedies.iter().enumerate() { @if place > 0 { "; or " } (remedy.head) }
                "."
            }
        }
    }
}

/// The hold whose doing it is: the one that the incident names, or the first of those it is about that outlived its
/// validity.
fn hold<'s>(scene: &'s Scene<'_>, incident: &Incident, exhibit: &Exhibit<'_>) -> Option<&'s Hold> {
    let named = scene.holds.iter().find(|hold| incident.hold.as_ref() == Some(&hold.id));
    let about = || scene.holds.iter().filter(|hold| exhibit.holds.contains(&hold.id));
    named.or_else(|| about().find(|hold| hold.outlived_validity())).or_else(|| about().next())
}

fn who(scene: &Scene<'_>, incident: &Incident, exhibit: &Exhibit<'_>) -> Markup {
    let Some(broken) = exhibit.steps.iter().find(|step| step.breaks) else {
        return html! { "not known: no step of the history breaks it by itself" };
    };
    let strike = match incident.cause {
        Cause::Fault(id) => scene.strikes.iter().find(|strike| strike.event.id == id),
        Cause::Outlived(_) | Cause::Nothing => None,
    };
    let under = strike.map(|strike| {
        let (from, to) = strike.felt(scene.end);
        let (whom, what) = exhibit::hit(strike);
        format!(" The fault behind it: {whom} {what} ({from} – {to}).")
    });
    let granted = broken.op.is_some_and(|op| op.f == F::Acquire);
    let hold = hold(scene, incident, exhibit);
    let over = hold.and_then(|hold| Some((hold, hold.lapses().next().filter(|(from, _)| *from <= broken.at)?.0)));
    html! {
        @match (over, hold) {
            (Some((hold, over)), _) if granted => {
                b { (hold.client) } " went on believing that it held the lock, until " (hold.to) ", though its validity was over at "
                (over) "; " b { (broken.who) } " was granted the lock meanwhile, at " (broken.at) "."
            }
            (None, Some(hold)) if granted => {
                b { "the lock itself" } ": it was granted to " b { (broken.who) } " at " (broken.at) " while " b { (hold.client) }
                " held it and had not outlived its validity."
            }
            _ => { b { (broken.who) } " " (broken.what) ", at " (broken.at) "." }
        }
        @if let Some(under) = under { (under) }
        @if incident.cause == Cause::Nothing { " No fault was in force." }
    }
}

/// Whose clock ended the hold: its client's, and what the servers had for it.
fn clock(scene: &Scene<'_>, incident: &Incident, exhibit: &Exhibit<'_>) -> Markup {
    let Some(hold) = hold(scene, incident, exhibit) else {
        return html! { "not known: the history does not tell whose hold it was" };
    };
    let ended = exhibit::gone_at_the_servers(scene, hold);
    let over = hold.lapses().next();
    html! {
        @match (&ended, scene.had_for(hold).is_empty()) {
            (Some(step), _) => { b { (step.who) } " " (step.what) ", at " (step.at) "." },
            (None, true) => "not known at the servers: this history does not tell what they had for it.",
            (None, false) => { "no server’s: none that counts ended what it had for " (hold.client) " by itself before " (hold.to) "." },
        }
        " "
        @match over {
            Some((over, _)) => { "By its own clock " (hold.client) "’s validity was over at " (over) "." },
            None if hold.last_valid_until().is_none() => { (hold.client) "’s own clock is not known: its lock exposed no validity." },
            None => { "By its own clock " (hold.client) "’s validity was not over." },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;
    use crate::report::{LockReport, remedy};

    fn told(report: &crate::report::Report, lock: &LockReport, incident: &Incident) -> String {
        let scene = Scene::of(&lock.history);
        let exhibit = Exhibit::of_incident(&scene, lock, 1, incident, "x".to_owned());
        let scenes: Vec<Scene<'_>> = report.locks.iter().map(|lock| Scene::of(&lock.history)).collect();
        let lines = answers(&scene, incident, &exhibit, &remedy::of(report, &scenes, lock, &scene, incident));
        let text = lines.into_string();
        text.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text).collect()
    }

    #[test]
    fn three_lines_tell_who_whose_clock_and_what_prevents_it() {
        let report = sample::report();
        let lock = &report.locks[0];
        let text = told(&report, lock, &lock.judgement.incidents[0]);
        for part in [
            "Who broke mutual exclusionc2 went on believing that it held the lock, until 2.740s, though its validity was over \
             at 1.200s; c3 was granted the lock meanwhile, at 2.700s.",
            "The fault behind it: c2 is paused (0.220s – 2.721s).",
            "By whose clocknot known at the servers: this history does not tell what they had for it. By its own clock c2’s \
             validity was over at 1.200s.",
            "What prevents the harmA lock that gives fencing tokens; or zookeeper",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_client_that_kept_to_its_validity_is_not_accused() {
        let report = sample::report();
        let mut lock = report.locks[0].clone();
        for op in lock.history.ops.iter_mut().filter(|op| op.valid_until.is_some()) {
            op.valid_until = Some(crate::time::Nanos(9_000_000_000));
        }
        let incident = Incident { cause: Cause::Nothing, ..lock.judgement.incidents[0].clone() };
        let text = told(&report, &lock, &incident);
        assert!(text.contains("the lock itself: it was granted to c3 at 2.700s while c2 held it"), "{text}");
        assert!(text.contains("No fault was in force") && text.contains("validity was not over"), "{text}");
    }

    #[test]
    fn what_no_step_shows_is_not_known() {
        let report = sample::report();
        let mut lock = report.locks[0].clone();
        lock.judgement.checks.iter_mut().for_each(|check| check.violations.clear());
        let text = told(&report, &lock, &report.locks[0].judgement.incidents[0]);
        assert!(text.contains("not known: no step of the history breaks it by itself"), "{text}");
    }
}
