//! `partition`, `loss` and `delay`: what happens to packets, where they arrive.
//!
//! A strike is a set of directed links, and lays one nftables table at each door that it needs. Each link is looked at
//! by itself, by a handshake *and* by the counters of its rules: silence alone might be a busy machine, and a counter
//! alone another strike's doing. Where a link that should be open stays silent, the rules themselves are looked at: if
//! they are gone, the look is recorded as one without an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};

use super::context::{Context, GRACE, LOOKS, Mechanism, Struck, not_healed};
use crate::env::docker::journal::Undo;
use crate::env::docker::netns::rules::TABLE_PREFIX;
use crate::env::docker::netns::{Answer, Count, Door, Effect, Layer, NetnsError, Request, Seen};
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
const PROBING: Duration = Duration::from_secs(10);

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
    let mut before = knock_open(context, &links, &doors).await;
    if before.is_err() {
        // A container that was started again is in another namespace.
        doors = context.doors(members(), true).await?;
        before = knock_open(context, &links, &doors).await;
    }
    let before = before?;
    let layers = layers(context, id, grudge, effect, duration, &doors);
    let members = layers.keys().map(|member| (*member, Undo::DeleteTable(table(context, id)))).collect();
    let layers: Vec<Links> = layers.into_values().collect();
    let lay = async {
        ask(context, &Request::Lay(layers.iter().map(|links| links.layer.clone()).collect())).await?;
        let (during, counts) = during(context, &layers, &links, &doors, effect).await?;
        let seen: BTreeMap<(Member, Member), ((Seen, u32), Probe)> =
            links.iter().copied().zip(before.into_iter().zip(during)).collect();
        let struck = layers.into_iter().map(|layer| {
            let mut probes = Vec::new();
            for (from, to) in &layer.links {
                let link = format!("{from} to {to}");
                let (before, during) = &seen[&(*from, *to)];
                // Whatever rules stand at the door by now are not this strike's, which has not begun.
                probes.push(open_probe("before", &link, *before, false));
                probes.push(during.clone());
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

/// Looks at each link while the strike is on, at those without an answer again; and what the rules have counted by
/// then.
async fn during(
    context: &Context,
    layers: &[Links],
    links: &[(Member, Member)],
    doors: &BTreeMap<Member, Door>,
    effect: Effect,
) -> Result<(Vec<Probe>, Counts), FaultError> {
    let all: BTreeSet<(Member, Member)> = links.iter().copied().collect();
    let mut probes: BTreeMap<(Member, Member), Probe> = BTreeMap::new();
    let (mut left, mut counts) = (links.to_vec(), Counts::new());
    for look in 1..=LOOKS {
        let (seen, counted) = match look_during(context, layers, &left, doors, effect).await {
            Ok(looked) => looked,
            Err(error) if look == 1 => return Err(error),
            // What the looks before have not seen stays unseen.
            Err(_) => break,
        };
        counts = counted;
        for ((from, to), seen) in left.iter().zip(seen) {
            let count = counts.get(&(doors[from].address, doors[to].address)).copied();
            let both_ways = all.contains(&(*to, *from));
            let probe = struck_probe(&format!("{from} to {to}"), effect, seen, count, both_ways, look);
            probes.insert((*from, *to), probe);
        }
        left.retain(|link| probes[link].unseen);
        if left.is_empty() {
            break;
        }
    }
    Ok((links.iter().map(|link| probes[link].clone()).collect(), counts))
}

/// Knocks once while the strike is on, then reads what the rules have counted.
async fn look_during(
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

/// Knocks on links that should be open, and again on those that are silent: what came of it, and in how many looks.
async fn knock_open(
    context: &Context,
    links: &[(Member, Member)],
    doors: &BTreeMap<Member, Door>,
) -> Result<Vec<(Seen, u32)>, FaultError> {
    let mut seen: Vec<(Seen, u32)> =
        knock(context, links, doors, OPEN).await?.into_iter().map(|seen| (seen, 1)).collect();
    for look in 2..=LOOKS {
        let silent: Vec<usize> = (0..links.len()).filter(|at| seen[*at].0 == Seen::Silent).collect();
        if silent.is_empty() {
            break;
        }
        let again: Vec<(Member, Member)> = silent.iter().map(|at| links[*at]).collect();
        let heard = knock(context, &again, doors, OPEN).await.unwrap_or_else(|_| vec![Seen::Silent; again.len()]);
        silent.into_iter().zip(heard).for_each(|(at, heard)| seen[at] = (heard, look));
    }
    Ok(seen)
}

/// Takes a strike's table away. Doing so twice does no harm: a helper that gave no answer is asked again.
async fn lift(context: &Context, door: Door, table: &str) -> Result<(), FaultError> {
    let request = Request::Lift { door, table: table.to_owned(), at_once: false };
    let mut look = 1;
    loop {
        match context.netns.ask(&request).await {
            Ok(_) => return Ok(()),
            Err(NetnsError::Unreachable(_)) if look < LOOKS => look += 1,
            Err(error) => return Err(FaultError(error.to_string())),
        }
    }
}

/// A link that should carry everything. Silence shows that it does not where the rules `stand` that cut it; else it may
/// be a busy machine.
fn open_probe(when: &str, link: &str, (seen, looks): (Seen, u32), stand: bool) -> Probe {
    let (what, expected) = (format!("{when}: {link}"), "reachable");
    match seen {
        Seen::Silent if !stand => Probe::unseen(what, expected, looks),
        Seen::Silent => Probe::new(what, expected, word(seen)).measured("its rules still stand").after_looks(looks),
        _ => Probe::new(what, expected, word(seen)).measured(round_trip(seen)).after_looks(looks),
    }
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

/// A link under the strike, by what came of the last of so many knocks and what the rules have counted. Rules that have
/// met no packet have not met the knock either, so that its silence is nobody's word; nor is it where an answer should
/// have come.
fn struck_probe(link: &str, effect: Effect, seen: Seen, count: Option<Count>, both_ways: bool, looks: u32) -> Probe {
    let (met, struck) = count.map_or((0, 0), |count| (count.met, count.struck));
    let what = format!("during: {link}");
    let packets = format!("{struck} of {met} packets");
    let unmet = count.is_some_and(|count| count.met == 0);
    let probe = match effect {
        Effect::Drop | Effect::Reset if seen == Seen::Silent && (unmet || effect == Effect::Reset && struck > 0) => {
            let expected = if effect == Effect::Drop { "blocked" } else { "reset" };
            return Probe::unseen(what, expected, looks).measured(packets);
        }
        Effect::Lose { permille } if unmet => {
            return Probe::unseen(what, format!("loses {permille} of 1000"), looks).measured(packets);
        }
        Effect::Drop | Effect::Reset => {
            let expected = if effect == Effect::Drop { "blocked" } else { "reset" };
            let observed = match word(seen) {
                word if word == expected && struck == 0 => "silent, and nothing was dropped",
                word => word,
            };
            Probe::new(what, expected, observed).measured(packets)
        }
        Effect::Lose { permille } => {
            let expected = format!("loses {permille} of 1000");
            let observed = match met {
                0 => "no rules".to_owned(),
                _ if is_share(struck, met, permille) => expected.clone(),
                _ => format!("loses {} of 1000", struck * 1_000 / met),
            };
            Probe::new(what, expected, observed).measured(packets)
        }
        Effect::Late { least, most, .. } => {
            let (least, most) = (Duration::from_nanos(least), Duration::from_nanos(most));
            let expected = format!("{least:?}..{most:?} late");
            // The answer comes back over the other direction, which may be late as well.
            let (least, most) = if both_ways { (least * 2, most * 2) } else { (least, most) };
            let (observed, measured) = match seen {
                Seen::Silent if unmet || (struck > 0 && most <= SLOW) => {
                    return Probe::unseen(what, expected, looks).measured(packets);
                }
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
    };
    probe.after_looks(looks)
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

impl Links {
    /// Whether the rules certainly stand that should be gone. A table that holds packets back stays until they have
    /// arrived, its own and those of other strikes: it shows nothing while there may be any.
    async fn stand(&self, context: &Context, member: Member, door: Door) -> bool {
        if let Effect::Late { most, .. } = self.layer.effect
            && (Duration::from_nanos(most) >= OPEN * LOOKS || context.has_tables(member))
        {
            return false;
        }
        match ask(context, &Request::Tables(vec![door])).await {
            Ok(Answer::Tables(tables)) => tables.iter().flatten().any(|table| *table == self.layer.table),
            _ => false,
        }
    }
}

impl Mechanism for Links {
    fn undo<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let failed = |error: FaultError| not_healed(member, error);
            let doors = context.doors(self.links.iter().flat_map(|(from, to)| [*from, *to]), false).await?;
            let (door, table) = (doors[&member], self.layer.table.clone());
            // Figures only: what was seen of the strike was seen while it was on.
            let counts = count(context, door, &table).await.unwrap_or_default();
            lift(context, door, &table).await.map_err(failed)?;
            let seen = knock_open(context, &self.links, &doors).await;
            let seen = seen.unwrap_or_else(|_| vec![(Seen::Silent, 1); self.links.len()]);
            let is_silent = seen.iter().any(|(seen, _)| *seen == Seen::Silent);
            let stand = is_silent && self.stand(context, member, door).await;
            let probes = self.links.iter().zip(seen).map(|((from, to), seen)| {
                let probe = open_probe("after", &format!("{from} to {to}"), seen, stand);
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
mod tests;
