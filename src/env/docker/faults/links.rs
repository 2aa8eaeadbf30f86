//! `partition`, `loss` and `delay`: what happens to packets, where they arrive.
//!
//! A strike is a set of directed links, and lays one nftables table at each door that it needs. Each link is looked at
//! by itself, by a handshake *and* by the counters of its rules: silence alone might be a busy machine, and a counter
//! alone another strike's doing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::context::{Context, GRACE, Mechanism, Struck, not_healed};
use crate::env::docker::journal::Undo;
use crate::env::docker::netns::rules::TABLE_PREFIX;
use crate::env::docker::netns::{Answer, Count, Door, Effect, Layer, Request, Seen};
use crate::fault::{Grudge, Member};
use crate::history::Probe;
use crate::nemesis::FaultError;
use crate::time::{BootClock, Clock, Nanos};

/// How long a handshake may take on a link that should be open: a retransmission and a busy machine's worst.
const OPEN: Duration = Duration::from_millis(2_500);

/// How long silence lasts on a link that should be cut. An open one answers within a millisecond, and the counters tell
/// whether the knock was dropped.
const SHUT: Duration = Duration::from_millis(100);

/// How long an answer over a slow line is waited for.
const SLOW: Duration = Duration::from_millis(250);

/// What may come on top of a delay: a busy machine, or TCP's second try where another strike loses packets.
const SLACK: Duration = Duration::from_millis(2_000);

/// How long looking at it may take before a strike counts as begun. It must not be forgotten meanwhile.
const PROBING: Duration = Duration::from_secs(6);

/// How many packets a lossy link is tried with.
const BURST: u32 = 1_000;

/// What one strike laid at one member's door, and which links that closes.
struct Links {
    links: Vec<(Member, Member)>,
    layer: Layer,
    /// When the kernel is to forget it.
    until: Nanos,
    /// What its rules had counted when it had been looked at: from then on, only what passes by itself.
    probed: Counts,
}

/// Strikes all links of `grudge`: all of them or none.
pub(super) async fn apply(
    context: &Context,
    id: u32,
    grudge: &Grudge,
    effect: Effect,
    duration: Duration,
) -> Result<Vec<Struck>, FaultError> {
    let links: Vec<(Member, Member)> = grudge.links().into_iter().collect();
    let members = || links.iter().flat_map(|(from, to)| [*from, *to]);
    let mut doors = context.doors(members(), false).await?;
    let mut before = knock(context, &links, &doors, OPEN).await;
    if before.is_err() {
        // A container that was started again is in another namespace.
        doors = context.doors(members(), true).await?;
        before = knock(context, &links, &doors, OPEN).await;
    }
    let before = before?;
    let layers = layers(context, id, grudge, effect, duration, &doors);
    let members = layers.keys().map(|member| (*member, Undo::DeleteTable(table(context, id)))).collect();
    let layers: Vec<Links> = layers.into_values().collect();
    let lay = async {
        ask(context, &Request::Lay(layers.iter().map(|links| links.layer.clone()).collect())).await?;
        let (during, counts) = during(context, &layers, &links, &doors, effect).await?;
        let seen: BTreeMap<(Member, Member), (Seen, Seen)> =
            links.iter().copied().zip(before.into_iter().zip(during)).collect();
        let struck = layers.into_iter().map(|layer| {
            let mut probes = Vec::new();
            for (from, to) in &layer.links {
                let link = format!("{from} to {to}");
                let (before, during) = seen[&(*from, *to)];
                probes.push(open_probe("before", &link, before));
                let count = counts.get(&(doors[from].address, doors[to].address)).copied();
                probes.push(struck_probe(&link, effect, during, count, links.contains(&(*to, *from))));
            }
            (Links { probed: counts.clone(), ..layer }, probes)
        });
        Ok(struck.collect())
    };
    let struck = context.strike_all(members, duration + PROBING + context.put_off, lay).await?;
    Ok(struck.into_iter().map(Ok).collect())
}

/// Finds everybody's door, and has the helper listen there.
pub(super) async fn prepare(context: &Context) -> Result<(), FaultError> {
    let doors = context.doors(context.places.keys().copied(), true).await?;
    let members: Vec<Member> = doors.keys().copied().collect();
    let round: Vec<(Member, Member)> = members.iter().copied().zip(members.iter().copied().cycle().skip(1)).collect();
    knock(context, &round, &doors, OPEN).await.map(drop)
}

/// What is to be laid at whose door. A cut is made at the members that it is about, so that it needs as few doors as
/// possible; whatever gets lost or is late is so where it arrives.
fn layers(
    context: &Context,
    id: u32,
    grudge: &Grudge,
    effect: Effect,
    duration: Duration,
    doors: &BTreeMap<Member, Door>,
) -> BTreeMap<Member, Links> {
    let is_cut = matches!(effect, Effect::Drop | Effect::Reset);
    let mut at: BTreeMap<Member, Vec<(Member, Member)>> = BTreeMap::new();
    for (from, to) in grudge.links() {
        let here = |member| {
            grudge.cuts.get(&member).is_some_and(|peers| peers.contains(if member == from { &to } else { &from }))
        };
        at.entry(if is_cut && here(from) { from } else { to }).or_default().push((from, to));
    }
    // What is held back still needs its marks after the end.
    let lateness = if let Effect::Late { most, .. } = effect { Duration::from_nanos(most) } else { Duration::ZERO };
    let lasts = duration + lateness + PROBING + context.put_off + GRACE;
    let (expiry, until) = (lasts.as_millis() as u64, BootClock.now() + lasts);
    let table = table(context, id);
    let laid = |(member, links): (Member, Vec<(Member, Member)>)| {
        let incoming = links.iter().filter(|(_, to)| *to == member).map(|(from, _)| doors[from].address).collect();
        let outgoing = links.iter().filter(|(_, to)| *to != member).map(|(_, to)| doors[to].address).collect();
        let layer = Layer { door: doors[&member], table: table.clone(), incoming, outgoing, effect, expiry };
        (member, Links { links, layer, until, probed: Counts::new() })
    };
    at.into_iter().map(laid).collect()
}

/// The name of the table that a strike lays at each door.
fn table(context: &Context, id: u32) -> String {
    format!("{TABLE_PREFIX}{}_{id}", context.tag)
}

/// By the addresses of sender and receiver.
type Counts = BTreeMap<(Ipv4Addr, Ipv4Addr), Count>;

/// Knocks while the strike is on, then reads what the rules have counted.
async fn during(
    context: &Context,
    layers: &[Links],
    links: &[(Member, Member)],
    doors: &BTreeMap<Member, Door>,
    effect: Effect,
) -> Result<(Vec<Seen>, Counts), FaultError> {
    let seen = match effect {
        Effect::Drop | Effect::Reset => knock(context, links, doors, SHUT).await?,
        Effect::Late { most, .. } if most > SLOW.as_nanos() as u64 => knock(context, links, doors, SLOW).await?,
        Effect::Late { .. } => knock(context, links, doors, OPEN).await?,
        // What is lost at random proves nothing by a handshake.
        Effect::Lose { .. } => {
            let links: Vec<(Door, Door)> = links.iter().map(|(from, to)| (doors[from], doors[to])).collect();
            let silent = vec![Seen::Silent; links.len()];
            ask(context, &Request::Burst { links, count: BURST }).await?;
            silent
        }
    };
    let counted = join_all(layers.iter().map(|Links { layer, .. }| count(context, layer.door, &layer.table)));
    let counted: Result<Vec<Counts>, FaultError> = counted.await.into_iter().collect();
    Ok((seen, counted?.into_iter().flatten().collect()))
}

async fn count(context: &Context, door: Door, table: &str) -> Result<Counts, FaultError> {
    match ask(context, &Request::Count { door, table: table.to_owned() }).await? {
        Answer::Counts(counts) => {
            let ends = |count: &Count| match count.outgoing {
                true => (door.address, count.peer),
                false => (count.peer, door.address),
            };
            Ok(counts.iter().map(|count| (ends(count), *count)).collect())
        }
        other => Err(FaultError(format!("not counts: {other:?}"))),
    }
}

async fn ask(context: &Context, request: &Request) -> Result<Answer, FaultError> {
    context.netns.ask(request).await.map_err(|error| FaultError(error.to_string()))
}

async fn knock(
    context: &Context,
    links: &[(Member, Member)],
    doors: &BTreeMap<Member, Door>,
    patience: Duration,
) -> Result<Vec<Seen>, FaultError> {
    let links: Vec<(Door, Door)> = links.iter().map(|(from, to)| (doors[from], doors[to])).collect();
    let knocks = links.len();
    match ask(context, &Request::Knock { links, patience: patience.as_millis() as u64 }).await? {
        Answer::Seen(seen) if seen.len() == knocks => Ok(seen),
        other => Err(FaultError(format!("not an answer to every knock: {other:?}"))),
    }
}

/// A link that should carry everything.
fn open_probe(when: &str, link: &str, seen: Seen) -> Probe {
    Probe::new(format!("{when}: {link}"), "reachable", word(seen)).measured(round_trip(seen))
}

fn word(seen: Seen) -> &'static str {
    match seen {
        Seen::Answered(_) => "reachable",
        Seen::Reset => "reset",
        Seen::Silent => "blocked",
    }
}

fn round_trip(seen: Seen) -> String {
    match seen {
        Seen::Answered(nanos) => format!("round trip {:?}", Duration::from_micros(nanos / 1_000)),
        Seen::Reset | Seen::Silent => String::new(),
    }
}

/// A link under the strike, by what came of the knock and what the rules have counted.
fn struck_probe(link: &str, effect: Effect, seen: Seen, count: Option<Count>, both_ways: bool) -> Probe {
    let (met, struck) = count.map_or((0, 0), |count| (count.met, count.struck));
    let what = format!("during: {link}");
    match effect {
        Effect::Drop | Effect::Reset => {
            let expected = if effect == Effect::Drop { "blocked" } else { "reset" };
            let observed = match word(seen) {
                word if word == expected && struck == 0 => "silent, and nothing was dropped",
                word => word,
            };
            Probe::new(what, expected, observed).measured(format!("{struck} of {met} packets"))
        }
        Effect::Lose { permille } => {
            let expected = format!("loses {permille} of 1000");
            let observed = match met {
                0 => "met no packets".to_owned(),
                _ if is_share(struck, met, permille) => expected.clone(),
                _ => format!("loses {} of 1000", struck * 1_000 / met),
            };
            Probe::new(what, expected, observed).measured(format!("{struck} of {met} packets"))
        }
        Effect::Late { least, most, .. } => {
            let (least, most) = (Duration::from_nanos(least), Duration::from_nanos(most));
            let expected = format!("{least:?}..{most:?} late");
            // The answer comes back over the other direction, which may be late as well.
            let (least, most) = if both_ways { (least * 2, most * 2) } else { (least, most) };
            let (observed, measured) = match seen {
                _ if struck == 0 => ("no packet was held back".to_owned(), String::new()),
                Seen::Answered(nanos) => {
                    let after = Duration::from_nanos(nanos);
                    let fits = after >= least && after <= most + SLACK;
                    (if fits { expected.clone() } else { format!("{after:?}") }, round_trip(seen))
                }
                // Nothing yet: right if it may be due later than we wait.
                Seen::Silent if most > SLOW => (expected.clone(), format!("no answer within {SLOW:?}")),
                Seen::Silent | Seen::Reset => (word(seen).to_owned(), String::new()),
            };
            Probe::new(what, expected, observed).measured(measured)
        }
    }
}

/// How many packets were struck since the strike was looked at, which strikes packets of its own. Rules that were laid
/// again have counted from zero.
fn since(probed: Option<&Count>, now: &Count) -> u64 {
    probed.filter(|probed| probed.met <= now.met).map_or(now.struck, |probed| now.struck.saturating_sub(probed.struck))
}

/// Whether so many of so many is a likely draw: within five standard deviations.
fn is_share(struck: u64, met: u64, permille: u32) -> bool {
    let (share, met) = (f64::from(permille) / 1_000.0, met as f64);
    let deviation = (met * share * (1.0 - share)).sqrt();
    (struck as f64 - met * share).abs() <= 5.0 * deviation + 1.0
}

impl Mechanism for Links {
    fn undo<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let failed = |error: FaultError| not_healed(member, error);
            let doors = context.doors(self.links.iter().flat_map(|(from, to)| [*from, *to]), false).await?;
            let (door, table) = (doors[&member], self.layer.table.clone());
            // Figures only: what was seen of the strike was seen while it was on.
            let counts = count(context, door, &table).await.unwrap_or_default();
            ask(context, &Request::Lift { door, table, at_once: false }).await.map_err(failed)?;
            let seen = knock(context, &self.links, &doors, OPEN).await.map_err(failed)?;
            let probes = self.links.iter().zip(seen).map(|((from, to), seen)| {
                let probe = open_probe("after", &format!("{from} to {to}"), seen);
                let ends = (doors[from].address, doors[to].address);
                match counts.get(&ends) {
                    None => probe,
                    Some(count @ Count { met, struck, .. }) => {
                        let until_then = format!("until then {struck} of {met} packets");
                        let measured = [&*probe.measured, &*until_then].into_iter().filter(|text| !text.is_empty());
                        let measured = measured.collect::<Vec<_>>().join(", ");
                        let struck = Some(since(self.probed.get(&ends), count));
                        Probe { struck, ..probe.measured(measured) }
                    }
                }
            });
            Ok(probes.collect())
        }
        .boxed()
    }

    /// The table was in the network namespace, which ended with the container's processes. What the new ones send
    /// before it is laid again gets through.
    fn again<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<(), FaultError>> {
        async move {
            let door = context.doors([member].into_iter(), false).await?[&member];
            let expiry = (self.until - BootClock.now()).as_millis() as u64;
            ask(context, &Request::Lay(vec![Layer { door, expiry, ..self.layer.clone() }])).await.map(drop)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(effect: Effect, seen: Seen, met: u64, struck: u64) -> Probe {
        struck_probe(
            "c1 to n1",
            effect,
            seen,
            Some(Count { peer: Ipv4Addr::LOCALHOST, outgoing: false, met, struck }),
            false,
        )
    }

    #[test]
    fn silence_alone_is_no_cut() {
        assert!(probe(Effect::Drop, Seen::Silent, 1, 1).passed());
        assert!(!probe(Effect::Drop, Seen::Silent, 0, 0).passed());
        assert!(!probe(Effect::Drop, Seen::Answered(1), 1, 1).passed());
        assert!(!probe(Effect::Drop, Seen::Reset, 1, 1).passed());
        assert!(probe(Effect::Reset, Seen::Reset, 1, 1).passed());
        assert!(!probe(Effect::Reset, Seen::Silent, 1, 1).passed());
    }

    #[test]
    fn what_is_counted_is_what_passed_by_itself() {
        let count = |met, struck| Count { peer: Ipv4Addr::LOCALHOST, outgoing: false, met, struck };
        assert_eq!(since(Some(&count(3, 2)), &count(9, 6)), 4);
        assert_eq!(since(Some(&count(3, 2)), &count(3, 2)), 0, "only our own knocks");
        assert_eq!(since(Some(&count(9, 6)), &count(5, 5)), 5, "laid again in a new life");
        assert_eq!(since(None, &count(5, 5)), 5);
    }

    #[test]
    fn a_loss_is_judged_by_its_share() {
        let lossy = Effect::Lose { permille: 200 };
        for (met, struck, passed) in [(1_000, 200, true), (1_000, 140, true), (1_000, 100, false), (1_000, 300, false)]
        {
            assert_eq!(probe(lossy, Seen::Silent, met, struck).passed(), passed, "{struck} of {met}");
        }
        assert!(!probe(lossy, Seen::Silent, 0, 0).passed());
        assert!(!probe(Effect::Lose { permille: 1_000 }, Seen::Silent, 1_000, 990).passed());
    }

    #[test]
    fn a_delay_is_judged_by_the_round_trip_and_the_packets_held_back() {
        let millis = |millis: u64| millis * 1_000_000;
        let late = |least, most| Effect::Late { least: millis(least), most: millis(most), seed: 1 };
        assert!(probe(late(10, 30), Seen::Answered(millis(20)), 1, 1).passed());
        assert!(!probe(late(10, 30), Seen::Answered(millis(9)), 1, 1).passed());
        assert!(!probe(late(10, 30), Seen::Answered(millis(2_500)), 1, 1).passed());
        assert!(!probe(late(10, 30), Seen::Answered(millis(20)), 1, 0).passed());
        assert!(!probe(late(10, 30), Seen::Silent, 1, 1).passed());
        assert!(probe(late(3_000, 3_000), Seen::Silent, 1, 1).passed());
    }
}
