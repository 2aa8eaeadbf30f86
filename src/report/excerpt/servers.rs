//! The lanes of the lock servers: what each had for whom, and whom it refused.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::rectangle;
use crate::ids::ClientId;
use crate::report::exhibit::Exhibit;
use crate::report::lanes::{LETTER, Lanes, Scale, n, owner_class};
use crate::report::scene::{Had, Scene, Thing};

/// The servers' lanes: leases or contenders of those whom it is about, each with its hover text; refusals as crosses;
/// what others had in outlines, and what was refused to them not at all.
pub(super) fn servers(scene: &Scene<'_>, exhibit: &Exhibit<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    /// So many are drawn one by one: around an incident there may be thousands of refusals.
    const SINGLE: usize = 120;
    /// And so many refusals, if they are told apart at all; the others are one path.
    const REFUSED: usize = 60;
    let clients: BTreeSet<ClientId> =
        scene.holds.iter().filter(|hold| exhibit.holds.contains(&hold.id)).map(|hold| hold.client).collect();
    let seen = scene.had.iter().filter(|had| scale.shows(had.from, had.to));
    let (theirs, others): (Vec<&Had<'_>>, Vec<&Had<'_>>) =
        seen.partition(|had| had.client.is_some_and(|client| clients.is_empty() || clients.contains(&client)));
    let height = lanes.heights.servers - 8.0;
    let (mut given, refused): (Vec<&Had<'_>>, Vec<&Had<'_>>) = theirs.into_iter().partition(|had| had.is_given());
    let cross_of = |had: &Had<'_>| cross(scale.x(had.from), lanes.node(had.node) + lanes.heights.servers / 2.0);
    // Crosses that would touch each other are one.
    let mut drawn = BTreeSet::new();
    let refused: Vec<&Had<'_>> =
        refused.into_iter().filter(|had| drawn.insert((had.node, (scale.x(had.from) / APART) as i64))).collect();
    let (single, many) = if refused.len() > REFUSED { (&[][..], &refused[..]) } else { (&refused[..], &[][..]) };
    // Of many the longest tell most.
    given.sort_by_key(|had| std::cmp::Reverse(had.to - had.from));
    let place = |had: &Had<'_>| (lanes.node(had.node) + 4.0, scale.bar(had.from, had.to, 1.5));
    let outline: String = others
        .iter()
        .filter(|had| had.is_given())
        .chain(given.iter().skip(SINGLE))
        .map(|had| {
            let (y, (x, width)) = place(had);
            rectangle(x, y, width, height)
        })
        .collect();
    html! {
        (lanes.reigns(scale))
        @if !outline.is_empty() { path.had.bystander d=(outline) {} }
        @for had in given.iter().take(SINGLE) {
            @let (y, (x, width)) = place(had);
            @let name = had.client.map(|client| client.to_string()).unwrap_or_default();
            rect class={ "had " (owner_class(had.client)) } x=(n(x)) y=(n(y)) width=(n(width)) height=(n(height)) { title { (had.title()) } }
            @if let Thing::Lease(_, vote) = had.what {
                @for at in vote.extended.iter().filter(|at| scale.shows(**at, **at)).take(SINGLE) {
                    path.extension d=(format!("M{} {}v{}", n(scale.x(*at)), n(y), n(height))) { title { "extended at " (at) } }
                }
            }
            @if had.ended_by_itself() && scale.shows(had.to, had.to) {
                path.ran-out d=(format!("M{} {}v{}", n(x + width), n(y - 3.0), n(height + 6.0))) { title { (had.title()) } }
            }
            @if LETTER * name.len() as f64 + 6.0 < width { text.had-name x=(n(x + 3.0)) y=(n(y + height - 2.5)) { (name) } }
        }
        @for had in single {
            path.refused-vote d=(cross_of(had)) { title { (had.title()) } }
        }
        @if !many.is_empty() {
            path.refused-vote d=(many.iter().map(|had| cross_of(had)).collect::<String>()) {}
        }
    }
}

/// Crosses are about this far apart.
const APART: f64 = 7.0;

/// Five wide, and as high.
fn cross(x: f64, y: f64) -> String {
    format!("M{} {}l5 5m-5 0l5 -5", n(x - 2.5), n(y - 2.5))
}

#[cfg(test)]
mod tests {
    use super::super::drawings;
    use super::*;
    use crate::history::server::{Ballot, ServerRecord};
    use crate::ids::NodeId;
    use crate::report::tests::sample;
    use crate::time::Nanos;

    /// Whoever sees refusals on one lane only takes the other servers for willing.
    #[test]
    fn of_however_many_refusals_each_servers_lane_shows_its_own() {
        for refusals in [4, 400] {
            let mut report = sample::report();
            let lock = &mut report.locks[0];
            let refused = (1..=3).flat_map(|node| (0..refusals).map(move |at| (NodeId(node), Nanos(at * 5_000_000))));
            let ballot = Ballot {
                owner: "0f".into(),
                key: "item-1".into(),
                client: Some(ClientId(2)),
                ttl: None,
                votes: Vec::new(),
                refused: refused.collect(),
            };
            lock.history.servers.push(ServerRecord::Ballot(ballot));
            let scene = Scene::of(&lock.history);
            let exhibit = Exhibit::of_incident(&scene, lock, 1, &lock.judgement.incidents[0], "x".to_owned());
            let svg = drawings(&scene, &exhibit).into_string();
            let whole = svg.split("The same, closer").next().unwrap();
            let paths = whole.split("refused-vote").skip(1).map(|path| path.split('>').next().unwrap());
            let heights: Vec<&str> = paths
                .flat_map(|path| path.split('M').skip(1))
                .filter_map(|cross| cross.split([' ', 'l']).nth(1))
                .collect();
            let lanes: BTreeSet<&str> = heights.iter().copied().collect();
            assert_eq!(lanes.len(), 3, "{refusals} refusals of each server: {heights:?}");
            assert!(heights.len() >= 3 * usize::min(refusals as usize, 100) / 4, "{refusals}: {}", heights.len());
        }
    }
}
