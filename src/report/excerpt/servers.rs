//! The lanes of the lock servers: what each had for whom, and whom it refused.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::ids::{ClientId, NodeId};
use crate::report::exhibit::Exhibit;
use crate::report::lanes::{LETTER, Lanes, Scale, n, owner_class};
use crate::report::marks::Marks;
use crate::report::scene::{Had, Scene, Thing};

/// The servers' lanes: leases or contenders of those whom it is about, each with its hover text; refusals as crosses;
/// what others had in outlines, and what was refused to them not at all.
pub(super) fn servers(scene: &Scene<'_>, exhibit: &Exhibit<'_>, lanes: &Lanes<'_>, scale: &Scale) -> Markup {
    /// So many are drawn one by one: around an incident there may be thousands of refusals.
    const SINGLE: usize = 120;
    /// Of so many refusals each has its hover text; more are not told apart.
    const REFUSED: usize = 60;
    let clients: BTreeSet<ClientId> =
        scene.holds.iter().filter(|hold| exhibit.holds.contains(&hold.id)).map(|hold| hold.client).collect();
    let seen = scene.had.iter().filter(|had| scale.shows(had.from, had.to));
    let (theirs, others): (Vec<&Had<'_>>, Vec<&Had<'_>>) =
        seen.partition(|had| had.client.is_some_and(|client| clients.is_empty() || clients.contains(&client)));
    let height = lanes.heights.servers - 8.0;
    let (mut given, refused): (Vec<&Had<'_>>, Vec<&Had<'_>>) = theirs.into_iter().partition(|had| had.is_given());
    // Crosses that would touch each other are one.
    let mut drawn = BTreeSet::new();
    let refused: Vec<&Had<'_>> =
        refused.into_iter().filter(|had| drawn.insert((had.node, (scale.x(had.from) / APART) as i64))).collect();
    let mut crosses = Marks::still();
    for had in &refused {
        crosses.point(scale.x(had.from), lanes.node(had.node) + lanes.heights.servers / 2.0);
        if refused.len() <= REFUSED {
            crosses.says(had.title());
        }
    }
    // Of many the longest tell most.
    given.sort_by_key(|had| std::cmp::Reverse(had.to - had.from));
    let place = |had: &Had<'_>| (lanes.node(had.node) + 4.0, scale.bar(had.from, had.to, 1.5));
    let mut outline = Marks::still();
    for had in others.iter().filter(|had| had.is_given()).chain(given.iter().skip(SINGLE)) {
        let (y, bar) = place(had);
        outline.bar(bar, y + height / 2.0);
    }
    given.truncate(SINGLE);
    // What servers had for one grant goes side by side: it says the same of each.
    given.sort_by_key(|had| (had.client, had.from));
    let mut bars: BTreeMap<&str, Marks> = BTreeMap::new();
    let (mut extensions, mut ran_out) = (Marks::still(), Marks::still());
    let mut names: BTreeMap<NodeLane, Vec<(f64, String)>> = BTreeMap::new();
    for had in &given {
        let (y, bar) = place(had);
        let bars = bars.entry(owner_class(had.client)).or_insert_with(Marks::still);
        bars.bar(bar, y + height / 2.0);
        bars.says(had.title());
        let (x, width) = bar;
        if had.ended_by_itself() && scale.shows(had.to, had.to) {
            ran_out.bar((x + width - 1.3, 2.6), y + height / 2.0);
            ran_out.says(had.title());
        }
        let name = had.client.map(|client| client.to_string()).unwrap_or_default();
        if LETTER * name.len() as f64 + 6.0 < width {
            names.entry(had.node).or_default().push((x + 3.0, name));
        }
        if let Thing::Lease(_, vote) = had.what {
            for at in vote.extended.iter().filter(|at| scale.shows(**at, **at)).take(SINGLE) {
                extensions.bar((scale.x(*at) - 0.7, 1.4), y + height / 2.0);
                extensions.says(format!("extended at {at}"));
            }
        }
    }
    html! {
        (lanes.reigns(scale))
        (outline.bars("had bystander", height, &lanes.scene.patterns))
        @for (class, bars) in &bars { (bars.bars(&format!("had {class}"), height, &lanes.scene.patterns)) }
        (extensions.bars("extension", height, &lanes.scene.patterns))
        (ran_out.bars("ran-out", height + 6.0, &lanes.scene.patterns))
        @for (node, names) in &names {
            text.had-name y=(n(lanes.node(*node) + 4.0 + height - 2.5)) {
                @for (x, name) in names { tspan x=(n(*x)) { (name) } }
            }
        }
        (crosses.points("cross", "", &lanes.scene.patterns))
    }
}

/// A server's lane; none where it is not known which server it was.
type NodeLane = Option<NodeId>;

/// Crosses are about this far apart.
const APART: f64 = 7.0;

#[cfg(test)]
mod tests {
    use super::super::drawings;
    use super::*;
    use crate::history::server::{Ballot, ServerRecord};
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
            let path = whole.split("url(#sign-cross)\" d=\"").nth(1).unwrap();
            let path = path.split('"').next().unwrap();
            // Each lane is a row of crosses, and one stroke leads to the next.
            assert_eq!(path.matches(['M', 'l']).count(), 3, "{refusals} refusals of each server: {path}");
            let crosses = path.matches(['M', 'l', 'h']).count();
            assert!(crosses >= 3 * usize::min(refusals as usize, 100) / 4, "{refusals}: {crosses}");
        }
    }
}
