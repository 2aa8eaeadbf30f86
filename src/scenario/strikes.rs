//! The `[[strike]]` tables: faults as they struck, one by one, with nothing left to draw.
//!
//! `[[fault.KIND]]` says what may happen to whom; a strike says what happened to these members at this moment, so that
//! a search can write down what it found and a run's strikes can be given again. Both become entries of one plan, and
//! an environment treats them alike. Deliberately absent: what is read like a fault's own keys ([`super::plan`] and
//! its parts).

use std::collections::BTreeMap;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::capabilities::FaultName;
use super::duration::{DurationText, JumpText, RangeText};
use super::error::Problem;
use super::fault_values::{AtValue, DriftText, MemberText, PeersValue, PercentValue};
use super::place::{Choice, Count, Placed};
use super::plan::Reader;
use super::requests::RequestKeys;
use crate::fault::request::{Call, Does};
use crate::fault::{At, ClockChange, Direction, Fault, FaultKind, Member, Peers, Refusal, Shape, Target};

/// One strike: a fault, the members that it strikes, when, for how long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table")]
pub struct StrikeTable {
    /// What is done: `pause`, `partition`, …
    pub fault: Placed<Choice<FaultName>>,
    /// Whom it strikes, all at once: clients, or lock servers; a partition, a delay, a loss also both. The resource is
    /// nobody's target.
    pub members: Placed<Vec<Placed<MemberText>>>,
    /// When: a time after the start, or a phase of one of the members (of any client, if they are lock servers), from a
    /// moment on.
    pub at: Placed<AtValue>,
    /// For how long.
    #[serde(rename = "for")]
    pub duration: Placed<DurationText>,
    /// Partition, delay, loss: the other end of the links; if absent, nodes for a client and all for a lock server.
    pub peers: Option<Placed<PeersValue>>,
    /// Partition, delay, loss: the other end of the links, for each member its own; instead of `peers`.
    #[serde(default)]
    pub links: BTreeMap<Placed<MemberText>, Vec<Placed<MemberText>>>,
    /// Partition, delay, loss: which way, as the members see it; both if absent.
    pub direction: Option<Placed<Choice<Direction>>>,
    /// Partition: what the sender of a packet that is not let through learns; nothing (`drop`) if absent.
    pub refusal: Option<Placed<Choice<Refusal>>>,
    /// Delay: how much later packets are, `1s..2s`. Request: how long each is held, or its reply delayed. Clock-jump, clock-strobe: how far, `+3s`. Clock-drift: what is gained or
    /// lost, `+5%`, `-200ppm`.
    pub by: Option<Placed<ByText>>,
    /// Loss: how many of a hundred packets, in tenths.
    pub percent: Option<Placed<PercentValue>>,
    /// Clock-strobe: how long the clock stays on either side; less than `for`.
    pub period: Option<Placed<DurationText>>,
    /// Request: what is done to each.
    pub does: Option<Placed<Choice<Does>>>,
    /// Request: what its client is about.
    pub phase: Option<Placed<Choice<Call>>>,
    /// Request: how many to each server, the first ones; all if absent.
    pub times: Option<Placed<Count>>,
}

/// By how much, in whatever the fault counts, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ByText(pub String);

impl JsonSchema for ByText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "By".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// A key's name, its place if the table has it, and the faults that have such a setting.
type Setting<'a> = (&'a str, Option<Range<usize>>, &'a [FaultName]);

impl Reader<'_, '_> {
    /// Reads the strikes behind one another.
    pub(super) fn strikes(&mut self, tables: &[Placed<StrikeTable>]) {
        for table in tables {
            let Some(name) = self.problems.choice("a fault", &table.fault) else { continue };
            if !self.available(name, &table.fault.span) {
                continue;
            }
            self.foreign(name, table);
            // All before any is looked at, so that all mistakes are recorded.
            let target = self.struck(name, table);
            if let Some(target) = &target {
                self.ours(target, &table.members.span);
            }
            let (at, duration) = self.times(&table.at, Some(&table.duration));
            if let Some(At::Every(_) | At::Phase { every: Some(_), .. }) = at {
                let problem = Problem::at(&table.at.span, "a strike strikes once", "again and again");
                self.problems.push(problem.help("write it once for each time, or a `[[fault]]` with `every`"));
            }
            if let (Some(target), Some(at)) = (&target, at) {
                self.meet(target, at, &table.at);
            }
            let kind = self.kind(name, target.as_ref(), table);
            if let (Some(target), Some(kind)) = (&target, &kind) {
                self.moves(kind, target, &table.members.span);
            }
            if let (Some(target), Some(at), Some(duration), Some(kind)) = (target, at, duration, kind) {
                self.plan.push((table.span.start, Fault { kind, target, at, duration }));
            }
        }
    }

    /// Refuses keys that a fault of this name does not have.
    fn foreign(&mut self, name: FaultName, table: &StrikeTable) {
        use FaultName::{ClockDrift, ClockJump, ClockStrobe, Delay, Loss, Partition, Request};
        let links: &[FaultName] = &[Partition, Delay, Loss];
        let peers: &[FaultName] = &[Partition, Delay, Loss, Request];
        let first_link = table.links.keys().next().map(|member| member.span.clone());
        let keys: [Setting<'_>; 10] = [
            ("peers", table.peers.as_ref().map(|field| field.span.clone()), peers),
            ("links", first_link, peers),
            ("direction", table.direction.as_ref().map(|field| field.span.clone()), links),
            ("refusal", table.refusal.as_ref().map(|field| field.span.clone()), &[Partition]),
            (
                "by",
                table.by.as_ref().map(|field| field.span.clone()),
                &[Delay, ClockJump, ClockDrift, ClockStrobe, Request],
            ),
            ("percent", table.percent.as_ref().map(|field| field.span.clone()), &[Loss]),
            ("period", table.period.as_ref().map(|field| field.span.clone()), &[ClockStrobe]),
            ("does", table.does.as_ref().map(|field| field.span.clone()), &[Request]),
            ("phase", table.phase.as_ref().map(|field| field.span.clone()), &[Request]),
            ("times", table.times.as_ref().map(|field| field.span.clone()), &[Request]),
        ];
        for (key, place, kinds) in keys {
            if let Some(place) = place.filter(|_| !kinds.contains(&name)) {
                let title = format!("`{key}` is no setting of a {name}");
                let of: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                self.problems.push(Problem::at(&place, title, format!("a setting of {}", of.join(", "))));
            }
        }
    }

    /// The members that a strike lists, as its target.
    fn struck(&mut self, name: FaultName, table: &StrikeTable) -> Option<Target> {
        if table.members.is_empty() {
            let problem = Problem::at(&table.members.span, "`members` lists nobody", "empty");
            return self.problems.refuse(problem.help("valid members: client:N, node:N"));
        }
        let members = self.members(&table.members, None)?;
        let clients = members.iter().filter(|member| matches!(member, Member::Client(_))).count();
        let place = &table.members.span;
        if members.contains(&Member::Resource) {
            let problem = Problem::at(place, "the resource is not struck", "nobody's target");
            return self.problems.refuse(problem.help("cut it off from clients: peers = \"resource\""));
        }
        let of_links = matches!(name, FaultName::Partition | FaultName::Delay | FaultName::Loss);
        if clients > 0 && clients < members.len() && !of_links {
            let problem = Problem::at(place, "a strike strikes clients, or lock servers", "both");
            return self.problems.refuse(problem.help("write a strike for each"));
        }
        if name == FaultName::PowerLoss && clients > 0 {
            let title = "clients have nothing on a disk that a power loss could take";
            return self.problems.refuse(Problem::at(place, title, "clients").help("`kill` strikes clients too"));
        }
        Some(Target::Members(members))
    }

    /// What is done, with the settings that a fault of this name has.
    fn kind(&mut self, name: FaultName, target: Option<&Target>, table: &StrikeTable) -> Option<FaultKind> {
        Some(match name {
            FaultName::Pause => FaultKind::Pause,
            FaultName::Kill => FaultKind::Kill,
            FaultName::Restart => FaultKind::Restart,
            FaultName::PowerLoss => FaultKind::PowerLoss,
            FaultName::Partition => {
                let refusal = match &table.refusal {
                    None => Some(Refusal::default()),
                    Some(field) => self.problems.choice("a value of `refusal`", field),
                };
                let ((peers, direction), refusal) = (self.ends(target, table)?, refusal?);
                FaultKind::Partition { peers, direction, shape: Shape::Isolate, refusal }
            }
            FaultName::Delay => {
                let ends = self.ends(target, table);
                let by = self.by(name, table)?;
                let extra = self.late_by(&Placed { value: RangeText(by.value.0.clone()), span: by.span.clone() })?;
                let (peers, direction) = ends?;
                FaultKind::Delay { peers, direction, extra }
            }
            FaultName::Loss => {
                let ends = self.ends(target, table);
                let Some(percent) = &table.percent else { return self.missing("percent", name, table) };
                let ((peers, direction), permille) = (ends?, self.permille(percent)?);
                FaultKind::Loss { peers, direction, permille }
            }
            FaultName::ClockJump => FaultKind::Clock(ClockChange::Jump { by_ns: self.far(name, table)? }),
            FaultName::ClockDrift => {
                let by = self.by(name, table)?;
                let by = Placed { value: DriftText(by.value.0.clone()), span: by.span.clone() };
                FaultKind::Clock(ClockChange::Drift { ppm: self.drift(&by)? })
            }
            FaultName::ClockStrobe => {
                let by_ns = self.far(name, table);
                let Some(period) = &table.period else { return self.missing("period", name, table) };
                let (by_ns, period) = (by_ns?, self.period(period, &table.duration)?);
                FaultKind::Clock(ClockChange::Strobe { by_ns, period })
            }
            FaultName::Request => {
                let Some(does) = &table.does else { return self.missing("does", name, table) };
                let Some(phase) = &table.phase else { return self.missing("phase", name, table) };
                let by = table.by.as_ref();
                let by = by.map(|by| Placed { value: DurationText(by.value.0.clone()), span: by.span.clone() });
                let rule = self.rule(&RequestKeys { does, phase, times: table.times.as_ref(), by });
                let peers = match table.links.is_empty() {
                    true => self.asked(target, table.peers.as_ref()),
                    false => self.ends(target, table).map(|(peers, _)| peers),
                };
                let (peers, rule) = (peers?, rule?);
                FaultKind::Request { peers, rule }
            }
        })
    }

    fn by<'t>(&mut self, name: FaultName, table: &'t StrikeTable) -> Option<&'t Placed<ByText>> {
        if table.by.is_none() {
            return self.missing("by", name, table);
        }
        table.by.as_ref()
    }

    fn far(&mut self, name: FaultName, table: &StrikeTable) -> Option<i64> {
        let by = self.by(name, table)?;
        self.jump(&Placed { value: JumpText(by.value.0.clone()), span: by.span.clone() })
    }

    fn missing<T>(&mut self, key: &str, name: FaultName, table: &StrikeTable) -> Option<T> {
        let title = format!("a {name} needs `{key}`");
        self.problems.refuse(Problem::at(&table.fault.span, title, format!("without `{key}`")))
    }

    /// The links that a strike touches: between the members and their peers, or between each and its own.
    fn ends(&mut self, target: Option<&Target>, table: &StrikeTable) -> Option<(Peers, Direction)> {
        let Some(first) = table.links.keys().next() else {
            let Some(Placed { value: PeersValue::Members(list), span }) = &table.peers else {
                return self.links(target, table.peers.as_ref(), table.direction.as_ref());
            };
            // As a run recorded it the list may name members that nothing passes to; not only such.
            let (peers, direction) = (self.members(list, None), self.way(table));
            if list.is_empty() {
                let problem = Problem::at(span, "`peers` lists nobody", "empty");
                self.problems.push(problem.help("valid members: client:N, node:N, resource"));
            }
            if let (Some(Target::Members(members)), Some(peers)) = (target, &peers) {
                let pairs = members.iter().flat_map(|member| peers.iter().map(move |peer| (*member, *peer)));
                self.is_used(pairs.collect(), span);
            }
            return Some((Peers::Members(peers?), direction?));
        };
        if let Some(peers) = &table.peers {
            let problem = Problem::at(&peers.span, "`peers` and `links` in one strike", "`links` is there too");
            self.problems.push(problem.help("`links` says it for each member, `peers` for all of them"));
        }
        let direction = self.way(table);
        let mut links = BTreeMap::new();
        for (field, peers) in &table.links {
            let Some(member) = self.member(field) else { continue };
            if peers.is_empty() {
                self.problems.push(Problem::at(&field.span, format!("`{}` is linked to nobody", field.0), "empty"));
            }
            if let Some(peers) = self.members(peers, None) {
                links.insert(member, peers);
            }
        }
        // Mistaken members were recorded already.
        if let Some(Target::Members(members)) = target.filter(|_| links.len() == table.links.len())
            && (members.len() != links.len() || members.iter().any(|member| !links.contains_key(member)))
        {
            let problem = Problem::at(&first.span, "`links` and `members` name different members", "not the same");
            self.problems.push(problem.help("every member has links of its own, and nobody else"));
        }
        let pairs = links.iter().flat_map(|(member, peers)| peers.iter().map(move |peer| (*member, *peer)));
        self.is_used(pairs.collect(), &first.span);
        Some((Peers::Links(links), direction?))
    }

    fn way(&mut self, table: &StrikeTable) -> Option<Direction> {
        match &table.direction {
            None => Some(Direction::default()),
            Some(field) => self.problems.choice("a value of `direction`", field),
        }
    }

    /// Refuses links none of which anybody uses.
    fn is_used(&mut self, pairs: Vec<(Member, Member)>, place: &Range<usize>) {
        let unlinked = |(member, peer): &(Member, Member)| self.unlinked(&Target::Members(vec![*member]), *peer);
        let reasons: Vec<Option<&str>> = pairs.iter().map(unlinked).collect();
        if let (Some(Some(reason)), true) = (reasons.first(), reasons.iter().all(Option::is_some)) {
            self.problems.push(Problem::at(place, "nothing passes on these links", *reason));
        }
    }
}
