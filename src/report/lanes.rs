//! What the pictures share: the scale from instants to places, the lanes, the bands of faults, what a hold says.
//!
//! Knows where things lie, not which of them a picture shows; that is for `timeline` and `excerpt`.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::scene::{self, Scene};
use super::words;
use crate::fault::Member;
use crate::history::{Ending, Header, Hold, ServerRecord, Strike};
use crate::ids::{ClientId, NodeId};
use crate::time::Nanos;

/// The whole picture's width, in its own units.
pub(super) const WIDTH: f64 = 1_200.0;
/// Where time starts: left of it stand the lanes' names.
pub(super) const LEFT: f64 = 84.0;
/// Room at the right, so that the last tick's label fits.
pub(super) const RIGHT: f64 = 16.0;
/// How wide a letter of a picture's small text is, about.
pub(super) const LETTER: f64 = 6.2;

/// Turns instants into places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: Nanos,
    to: Nanos,
    left: f64,
    /// How wide all of the time is.
    pub width: f64,
}

impl Scale {
    /// Spreads `from..to` over `width` from `left` on.
    pub fn new(from: Nanos, to: Nanos, left: f64, width: f64) -> Self {
        Self { from, to: to.max(Nanos(from.0 + 1)), left, width }
    }

    /// The scale of a picture [`WIDTH`] wide.
    pub fn of_picture(from: Nanos, to: Nanos) -> Self {
        Self::new(from, to, LEFT, WIDTH - LEFT - RIGHT)
    }

    /// Where an instant lies; instants outside lie at the edges.
    pub fn x(&self, at: Nanos) -> f64 {
        let at = at.clamp(self.from, self.to);
        self.left + self.width * (at.0 - self.from.0) as f64 / (self.to.0 - self.from.0) as f64
    }

    /// Where an interval starts and how wide it is, at least `least`.
    pub fn bar(&self, from: Nanos, to: Nanos, least: f64) -> (f64, f64) {
        let x = self.x(from);
        (x, (self.x(to) - x).max(least))
    }

    /// Whether any part of an interval can be seen.
    pub fn shows(&self, from: Nanos, to: Nanos) -> bool {
        from <= self.to && to >= self.from
    }

    /// Where the right edge is.
    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    /// Round instants to label, about eight, and their labels.
    pub fn ticks(&self) -> Vec<(Nanos, String)> {
        let rough = ((self.to.0 - self.from.0) as f64 / 8.0).max(1.0);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|round| round * power).find(|step| *step >= rough);
        let step = step.unwrap_or(power).max(1.0) as u64;
        let decimals = (9.0 - (step as f64).log10().floor()).max(0.0) as usize;
        let first = self.from.0.div_ceil(step);
        (first..=self.to.0 / step)
            .map(|number| (Nanos(number * step), format!("{:.decimals$}s", (number * step) as f64 / 1e9)))
            .collect()
    }
}

/// A number as an attribute: two decimals are finer than any screen, also zoomed in.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// How high the parts of a picture are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heights {
    /// Above the lanes.
    pub top: f64,
    /// A client's lane.
    pub lane: f64,
    /// In a lane, from where to where a hold's bar reaches.
    pub bar: (f64, f64),
    /// The servers' lane.
    pub servers: f64,
    /// The resource's lane.
    pub resource: f64,
}

/// Where the lanes lie, from top to bottom: clients, struck servers if any, the resource.
pub(super) struct Lanes<'a> {
    /// What they are of.
    pub scene: &'a Scene<'a>,
    /// The clients that have a lane, in order.
    clients: Vec<ClientId>,
    /// The heights that it is made of.
    pub heights: Heights,
    /// The servers' lanes, in order: one each where it is known what each had, else one for all that were struck.
    nodes: Vec<Option<NodeId>>,
    /// Where they start.
    pub servers: f64,
    /// Where the resource's lane starts.
    pub resource: f64,
    /// Where the lanes end.
    pub bottom: f64,
}

impl<'a> Lanes<'a> {
    /// Stacks the lanes of a scene; the first starts at `heights.top`.
    pub fn new(scene: &'a Scene<'a>, heights: Heights) -> Self {
        Self::of_some(scene, heights, scene.clients.clone())
    }

    /// The same with the lanes of some clients only, who come in order.
    pub fn of_some(scene: &'a Scene<'a>, heights: Heights, clients: Vec<ClientId>) -> Self {
        let clients_end = heights.top + heights.lane * clients.len() as f64;
        let nodes = nodes(scene);
        let resource = clients_end + heights.servers * nodes.len() as f64;
        Self { scene, clients, heights, nodes, servers: clients_end, resource, bottom: resource + heights.resource }
    }

    /// Whether a client has a lane.
    pub fn has(&self, client: ClientId) -> bool {
        self.clients.binary_search(&client).is_ok()
    }

    /// Whether a member has one.
    pub fn has_member(&self, member: Member) -> bool {
        !matches!(member, Member::Client(client) if !self.has(client))
    }

    /// Where a client's lane starts.
    pub fn client(&self, client: ClientId) -> f64 {
        let position = self.clients.binary_search(&client).unwrap_or_default();
        self.heights.top + self.heights.lane * position as f64
    }

    /// The lane of a struck member: where it starts and how high it is.
    pub fn of(&self, member: Member) -> (f64, f64) {
        match member {
            Member::Client(client) => (self.client(client), self.heights.lane),
            Member::Node(node) => (self.node(Some(node)), self.heights.servers),
            Member::Resource => (self.resource, self.heights.resource),
        }
    }

    /// Where a server's lane starts; that of one without a lane is the one that all share.
    pub fn node(&self, node: Option<NodeId>) -> f64 {
        let position = self.nodes.iter().position(|known| *known == node || known.is_none());
        self.servers + self.heights.servers * position.unwrap_or_default() as f64
    }

    /// The servers that have a lane.
    pub fn nodes(&self) -> &[Option<NodeId>] {
        &self.nodes
    }

    /// When which server led the others, by its own word: a line at the foot of its lane.
    pub fn reigns(&self, scale: &Scale) -> Markup {
        let reigns = self.scene.history.servers.iter().filter_map(|record| match record {
            ServerRecord::Reign(reign) if self.nodes.contains(&Some(reign.node)) => Some(reign),
            _ => None,
        });
        let seen = reigns.map(|reign| (reign, reign.to.unwrap_or(self.scene.end)));
        html! {
            @for (reign, to) in seen.filter(|(reign, to)| scale.shows(reign.from, *to)) {
                @let (x, width) = scale.bar(reign.from, to, 1.0);
                @let y = self.node(Some(reign.node)) + self.heights.servers - 1.5;
                path.leads d=(format!("M{} {}h{}", n(x), n(y), n(width))) {
                    title { (reign.node) " leads in term " (reign.term) ": " (reign.from) " – " (to) }
                }
            }
        }
    }

    /// The lanes' grounds and names; what each lane is of, the overview says, and the script repeats it elsewhere.
    pub fn ground(&self, right: f64, with_titles: bool) -> Markup {
        let clients = self.clients.iter().map(|client| {
            let grants = self.scene.holds.iter().filter(|hold| hold.client == *client).count();
            (self.client(*client), self.heights.lane, client.to_string(), format!("client {client}: {grants} grants"))
        });
        let servers = self.nodes.iter().map(|node| {
            let title =
                node.map_or_else(|| "the lock servers".to_owned(), |node| format!("what server {node} had for whom"));
            let name = node.map_or_else(|| "servers".to_owned(), |node| node.to_string());
            (self.node(*node), self.heights.servers, name, title)
        });
        let accesses = format!("the protected resource: {} accesses", self.scene.served.len());
        let resource = (self.resource, self.heights.resource, "resource".to_owned(), accesses);
        let lanes: Vec<_> = clients.chain(servers).chain([resource]).collect();
        let grounds = lanes.iter().step_by(2).map(|(y, height, ..)| {
            let (y, height, right) = (n(*y), n(*height), n(right));
            format!("M0 {y}h{right}v{height}H0z")
        });
        html! {
            path.ground d=(grounds.collect::<String>()) {}
            @for (y, height, name, title) in lanes {
                text.lane-name x="10" y=(n(y + height / 2.0 + 4.0)) { (name) @if with_titles { title { (title) } } }
            }
        }
    }
}

/// One strike's shaded band on one lane: that of a struck client, or the one that all servers share.
pub(super) struct Band<'a> {
    /// The strike.
    pub strike: &'a Strike<'a>,
    /// Whose lane it is; of several struck servers the first.
    pub member: Member,
    /// Whether the lane is that member's own.
    own: bool,
    /// From when it may have been felt.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
}

/// All bands, strike by strike.
pub(super) fn bands<'a>(scene: &'a Scene<'a>) -> Vec<Band<'a>> {
    let mut bands = Vec::new();
    let own = !matches!(nodes(scene)[..], [None]);
    for strike in scene.strikes.iter().filter(|strike| !strike.missed()) {
        let (from, to) = strike.felt(scene.end);
        let is_node = |member: &&Member| matches!(member, Member::Node(_));
        let first_node = strike.event.targets.iter().find(is_node);
        let nodes: Vec<&Member> =
            if own { strike.event.targets.iter().filter(is_node).collect() } else { first_node.into_iter().collect() };
        let lanes = strike.event.targets.iter().filter(|member| !is_node(member)).chain(nodes);
        bands.extend(lanes.map(|member| Band { strike, member: *member, own, from, to }));
    }
    bands
}

impl Band<'_> {
    /// What it says on its lane: `paused`, `cut off`; on the servers' lane also who.
    pub fn label(&self) -> String {
        match self.member {
            Member::Node(_) if !self.own => {
                format!("{} {}", words::members(self.strike.event), scene::label(self.strike))
            }
            _ => scene::label(self.strike),
        }
    }

    /// Everything about it, for a hover text.
    pub fn title(&self) -> String {
        let event = self.strike.event;
        let lasted = self.strike.lasted().map_or_else(|| "never healed".to_owned(), words::lasting);
        let cuts = self.cut_off().map(|peers| format!(", cut off from {peers}")).unwrap_or_default();
        format!(
            "{} of {} (strike {}){cuts}: {} – {}, certainly in effect for {lasted}. Plan: {}",
            event.kind,
            words::members(event),
            event.id,
            self.from,
            self.to,
            event.plan
        )
    }

    /// Whom a partition cuts it off from: `n1–n5`, or names.
    pub fn cut_off(&self) -> Option<String> {
        let peers = self.strike.event.grudge.as_ref()?.cuts.get(&self.member)?;
        let names: Vec<String> = peers.iter().map(ToString::to_string).collect();
        Some(match &names[..] {
            [first, .., last] if names.len() > 3 => format!("{first} … {last}"),
            _ => names.join(", "),
        })
    }
}

/// Which servers have a lane: those of which it is known what they had, and those that were struck; without such
/// knowledge all that were struck share one.
fn nodes(scene: &Scene<'_>) -> Vec<Option<NodeId>> {
    /// More than any ensemble; a file may claim any number.
    const MOST: usize = 16;
    let struck = scene.strikes.iter().flat_map(|strike| &strike.event.targets).filter_map(|member| match member {
        Member::Node(node) => Some(Some(*node)),
        _ => None,
    });
    let mut nodes: BTreeSet<Option<NodeId>> = scene.had.iter().map(|had| had.node).collect();
    if nodes.contains(&None) || nodes.is_empty() {
        let any = !nodes.is_empty() || struck.count() > 0;
        return any.then_some(None).into_iter().collect();
    }
    nodes.extend(struck);
    if nodes.len() > MOST { vec![None] } else { nodes.into_iter().collect() }
}

/// The colour class of a client's leases: a few that repeat.
pub(super) fn owner_class(client: Option<ClientId>) -> &'static str {
    const CLASSES: [&str; 6] = ["o0", "o1", "o2", "o3", "o4", "o5"];
    client.map_or("o9", |client| CLASSES[client.0 as usize % CLASSES.len()])
}

/// The part of a hold after the validity that its lock's API had last exposed.
pub(super) fn expired(hold: &Hold) -> Option<(Nanos, Nanos)> {
    Some((hold.clipped_to(), hold.to)).filter(|(from, to)| from < to)
}

/// A hold in one line, for a hover text.
pub(super) fn hold_title(header: &Header, hold: &Hold) -> String {
    let token = hold.token.map(|token| format!(", token {}", header.told(token))).unwrap_or_default();
    let until = hold.last_valid_until().map(|until| format!(", valid until {until}")).unwrap_or_default();
    let ended = match hold.ended {
        Some((_, Ending::Released)) => "released",
        Some((_, Ending::Lost)) => "lost",
        Some((_, Ending::Crashed)) => "its client died",
        None => "still open",
    };
    let held = match expired(hold) {
        Some((over, to)) => format!(
            "held {} for {} and believed that it did for {} more",
            hold.lock,
            words::lasting(over - hold.from),
            words::lasting(to - over)
        ),
        None => format!("held {} for {}", hold.lock, words::lasting(hold.to - hold.from)),
    };
    format!("{} {held}: {} – {} ({ended}){token}{until}, hold {}", hold.client, hold.from, hold.to, hold.id)
}

/// The hatch of expired holds, under a name of its own so that a zoomed picture can unstretch its own.
pub(super) fn hatch(id: &str) -> Markup {
    html! {
        pattern id=(id) width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
            rect.hatch-ground width="6" height="6" {}
            line.hatch-line x1="0" y1="0" x2="0" y2="6" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::server::{Contender, Reign, Seen};
    use crate::report::tests::sample;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::new(Nanos(2_130_000_000), Nanos(3_370_000_000), 0.0, 1_000.0);
        let labels: Vec<String> = scale.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["2.2s", "2.4s", "2.6s", "2.8s", "3.0s", "3.2s"]);
        assert!(Scale::new(Nanos(5), Nanos(5), 0.0, 10.0).ticks().len() <= 2, "no width, no endless axis");
    }

    #[test]
    fn whoever_led_has_a_line_at_the_foot_of_its_lane() {
        let mut report = sample::report();
        let history = &mut report.locks[0].history;
        let reign = |node, from, to| ServerRecord::Reign(Reign { node: NodeId(node), term: 4, from: Nanos(from), to });
        let seen = |node| Seen { node: Some(NodeId(node)), from: Nanos(1), to: None };
        let contender = Contender {
            path: "/l/7".into(),
            revision: Some(9),
            session: 7,
            client: Some(ClientId(1)),
            seen: vec![seen(1), seen(2)],
            with_session: false,
        };
        history.servers = vec![
            ServerRecord::Contender(contender),
            reign(1, 1, Some(Nanos(90))),
            reign(2, 95, None),
            reign(9, 1, None),
        ];
        let scene = Scene::of(history);
        let heights = Heights { top: 0.0, lane: 30.0, bar: (0.0, 20.0), servers: 20.0, resource: 40.0 };
        let lanes = Lanes::new(&scene, heights);
        let drawn = lanes.reigns(&Scale::of_picture(Nanos(0), scene.end)).into_string();
        assert_eq!(drawn.matches("class=\"leads\"").count(), 2, "{drawn}");
        assert!(drawn.contains("n1 leads in term 4") && drawn.contains("n2 leads in term 4"), "{drawn}");
    }

    #[test]
    fn struck_servers_share_one_band_that_names_them() {
        let mut report = sample::report();
        let history = &mut report.locks[0].history;
        for event in history.ops.iter_mut().filter_map(|op| op.fault.as_mut()) {
            event.targets = vec![Member::Node(NodeId(1)), Member::Node(NodeId(4)), Member::Client(ClientId(2))];
        }
        let scene = Scene::of(history);
        let labels: Vec<String> = bands(&scene).iter().map(Band::label).collect();
        assert_eq!(labels, ["paused", "n1, n4, c2 paused"]);
        let heights = Heights { top: 10.0, lane: 30.0, bar: (0.0, 20.0), servers: 20.0, resource: 40.0 };
        let lanes = Lanes::new(&scene, heights);
        assert_eq!((lanes.of(Member::Node(NodeId(4))), lanes.resource, lanes.bottom), ((100.0, 20.0), 120.0, 160.0));
    }
}
