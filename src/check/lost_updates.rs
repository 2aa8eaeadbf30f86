//! No accepted update vanishes.
//!
//! Every accepted write says which version it made and which version its own hold had read. Walking back from the
//! last version gives the updates that the final value contains (as Jepsen's set-full looks for each acknowledged
//! element in the last read); an update that is not on the way was overwritten by a client that had not seen it.
//! Acknowledged losses and others are counted apart: in the latter nobody was promised anything, but the resource had
//! accepted the update all the same. Deliberately absent: who held the lock; a loss needs no explanation to be one.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Facts, Listing, counted, seconds, validity_of};
use super::{CheckName, CheckResult, Severity, Verdict, Violation, conclude, contention};
use crate::history::{Content, F, Hold, ItemValue, Op, OpType, Process};
use crate::ids::{ClientId, HoldId};
use crate::lock_kind::LockKind;

const GUARANTEE: &str = "No update vanishes: the final value of each item descends from every write that the resource accepted or acknowledged.";

/// Judges whether accepted updates vanished.
pub(super) fn check(facts: &Facts<'_>) -> CheckResult {
    if let LockKind::Semaphore { .. } = facts.history.header.kind {
        let summary = "Holders of a semaphore may use the resource together: it keeps nobody's update.".to_owned();
        return conclude(CheckName::LostUpdates, GUARANTEE, Verdict::NotApplicable, summary, &[], Listing::default());
    }
    let mut items: BTreeMap<u32, Item<'_>> = BTreeMap::new();
    for (op, place) in &facts.served {
        let Some(value) = op.value.filter(|_| op.kind == OpType::Ok) else { continue };
        items.entry(value.item).or_default().serve(op, *place, value);
    }
    let mut listing = Listing::default();
    let mut tally = Tally::default();
    for op in &facts.history.ops {
        if let (Process::Client(_), F::Write) = (op.process, op.f) {
            acknowledge(facts, &mut items, op, &mut tally, &mut listing);
        }
    }
    for item in items.values() {
        item.judge(facts, &mut tally, &mut listing);
    }

    let acknowledged = counted(tally.acknowledged, "acknowledged update", "acknowledged updates");
    let content = facts.history.header.content;
    let percent = if tally.acknowledged == 0 { 0.0 } else { 100.0 * tally.lost as f64 / tally.acknowledged as f64 };
    // A sum over some of the items would say nothing.
    let counts = items.values().filter(|item| !item.writes.is_empty()).count() == tally.counted && tally.counted > 0;
    // A register's values add up to nothing.
    let counts = counts && content != Content::Value;
    let Tally { units_sold, stock_fell_by, .. } = tally;
    let books = match content {
        Content::Stock if counts => format!("; {units_sold} units sold, stock fell by {stock_fell_by}"),
        Content::Lines if counts => format!("; {} lines appended, file grew by {}", -units_sold, -stock_fell_by),
        _ => String::new(),
    };
    let (verdict, summary) = if listing.total() > 0 {
        let summary = format!(
            "{} of {acknowledged} vanished ({percent:.1} %), and {} that nobody was told of{books}.",
            tally.lost, tally.unacknowledged_lost
        );
        (Verdict::Invalid, summary)
    } else if tally.acknowledged == 0 {
        (Verdict::Unknown, "No update was acknowledged.".to_owned())
    } else if tally.gaps > 0 {
        let items = counted(tally.gaps, "item", "items");
        (
            Verdict::Unknown,
            format!(
                "{acknowledged}; the record of {items} lacks writes that others build on, so not all could be judged."
            ),
        )
    } else if !items.values().any(Item::is_shared) {
        (
            Verdict::Unknown,
            format!("{acknowledged}, and no item was written by two holds: nothing could be overwritten."),
        )
    } else if !contention::occurs(facts.history, facts.history.header.kind) {
        (
            Verdict::Unknown,
            format!(
                "{acknowledged}, and no acquire met a held lock: nobody was there to overwrite what another wrote."
            ),
        )
    } else {
        (Verdict::Valid, format!("{acknowledged}, all in the final value{books}."))
    };
    let mut figures = vec![
        ("acknowledged", tally.acknowledged as f64),
        ("unacknowledged", tally.unacknowledged as f64),
        ("lost", tally.lost as f64),
        ("lost-percent", percent),
        ("unacknowledged-lost", tally.unacknowledged_lost as f64),
    ];
    match content {
        Content::Stock if counts => {
            figures.extend([("units-sold", units_sold as f64), ("stock-fell-by", stock_fell_by as f64)]);
        }
        Content::Lines if counts => {
            figures.extend([("lines-appended", -units_sold as f64), ("file-grew-by", -stock_fell_by as f64)]);
        }
        _ => {}
    }
    conclude(CheckName::LostUpdates, GUARANTEE, verdict, summary, &figures, listing)
}

#[derive(Default)]
struct Tally {
    acknowledged: usize,
    unacknowledged: usize,
    lost: usize,
    unacknowledged_lost: usize,
    // Wider than a stock: a file may say anything of one.
    units_sold: i128,
    stock_fell_by: i128,
    /// Items of which some write's base is not on record.
    gaps: usize,
    /// Items of which sales and stock are known.
    counted: usize,
}

/// What one item served.
#[derive(Default)]
struct Item<'a> {
    /// The accepted writes by the version that they made.
    writes: BTreeMap<u32, Write<'a>>,
    /// The last version that each hold made.
    made: BTreeMap<usize, u32>,
    /// What each hold last read of each version.
    reads: BTreeMap<(usize, u32), (&'a Op, i64)>,
    /// The stock before all writes, if a read saw it.
    initial: Option<i64>,
}

struct Write<'a> {
    op: &'a Op,
    place: usize,
    stock: i64,
    based_on: u32,
    acknowledged: Option<&'a Op>,
}

/// Takes the completion of a client's write: finds the accepted write that it acknowledges.
fn acknowledge<'a>(
    facts: &Facts<'a>,
    items: &mut BTreeMap<u32, Item<'a>>,
    op: &'a Op,
    tally: &mut Tally,
    listing: &mut Listing,
) {
    match op.kind {
        OpType::Info => tally.unacknowledged += 1,
        OpType::Ok => {
            tally.acknowledged += 1;
            let (Some(hold), Some(value)) = (&op.hold, op.value) else { return };
            let Some(place) = facts.place(hold) else { return };
            let item = items.entry(value.item).or_default();
            if let Some(write) = item.accepted(place, value.version) {
                write.acknowledged = write.acknowledged.or(Some(op));
            } else if let (true, Some(version), Some(based_on)) =
                (facts.served.is_empty(), value.version, value.based_on)
            {
                // Another harness's history may know clients' ops only.
                let write = Write { op, place, stock: value.stock, based_on, acknowledged: Some(op) };
                item.writes.insert(version, write);
            } else if facts.served.is_empty() || is_beyond(facts, op) {
                tally.gaps += 1;
            } else {
                tally.lost += 1;
                listing.blame(place, None, op.time, || never_accepted(facts, op, hold, value));
            }
        }
        OpType::Invoke | OpType::Fail => {}
    }
}

/// Whether the resource's record may end before it took what this op acknowledges: in a history that is cut off what
/// the resource reported may be on its way.
fn is_beyond(facts: &Facts<'_>, op: &Op) -> bool {
    facts.history.cut_off.is_some() && facts.served.last().is_none_or(|(served, _)| served.time < op.time)
}

fn never_accepted(facts: &Facts<'_>, op: &Op, hold: &HoldId, value: ItemValue) -> Violation {
    let known = facts.place(hold).map(|place| &facts.holds[place]);
    let clients: Vec<ClientId> = known.iter().map(|hold| hold.client).collect();
    let from = known.map_or(op.time, |hold| hold.from);
    let text = format!(
        "{} was told at {} that its write of item {} ({} {}) was accepted; the resource accepted no such write{}.{}",
        known.map_or_else(|| hold.to_string(), |hold| facts.holder(hold)),
        seconds(op.time),
        value.item,
        facts.history.header.content.noun(),
        value.stock,
        validities(known),
        facts.active_faults(&clients, from, op.time),
    );
    Violation {
        severity: Some(Severity::Effect),
        text,
        ops: vec![op.index],
        from: op.time,
        to: op.time,
        incident: None,
    }
}

/// What the API had said of each hold's validity.
fn validities<'a>(holds: impl IntoIterator<Item = &'a Hold>) -> String {
    let told = holds.into_iter().map(|hold| validity_of(hold, &format!("{}'s", hold.id), &hold.id.to_string()));
    told.collect()
}

impl<'a> Item<'a> {
    fn serve(&mut self, op: &'a Op, place: usize, value: ItemValue) {
        match (op.f, value.version, value.based_on) {
            (F::Write, Some(version), Some(based_on)) => {
                self.made.insert(place, version);
                self.writes.insert(version, Write { op, place, stock: value.stock, based_on, acknowledged: None });
            }
            (F::Read, version, _) => {
                let version = version.unwrap_or_else(|| self.writes.last_key_value().map_or(0, |(last, _)| *last));
                self.reads.insert((place, version), (op, value.stock));
                if version == 0 {
                    self.initial = self.initial.or(Some(value.stock));
                }
            }
            _ => {}
        }
    }

    /// The accepted write of a hold: of that version, or the last one if the client was not told the version.
    fn accepted(&mut self, place: usize, version: Option<u32>) -> Option<&mut Write<'a>> {
        let version = version.or_else(|| self.made.get(&place).copied())?;
        self.writes.get_mut(&version).filter(|write| write.place == place)
    }

    /// Whether two holds wrote it.
    fn is_shared(&self) -> bool {
        let mut places = self.writes.values().map(|write| write.place);
        places.next().is_some_and(|first| places.any(|place| place != first))
    }

    fn judge(&self, facts: &Facts<'_>, tally: &mut Tally, listing: &mut Listing) {
        let Some((last, write)) = self.writes.last_key_value() else { return };
        let mut ancestry = BTreeSet::from([*last]);
        // Where the record of an ancestor is missing, only what is newer than it can be judged.
        let mut judged_from = 0;
        let mut parent = write.based_on;
        while parent > 0 {
            let Some(write) = self.writes.get(&parent) else {
                judged_from = parent;
                tally.gaps += 1;
                break;
            };
            ancestry.insert(parent);
            parent = write.based_on;
        }
        let difference = |before: i64, after: i64| i128::from(before) - i128::from(after);
        let (mut sold, mut sold_and_lost, mut complete) = (0, 0, judged_from == 0);
        for (version, write) in self.writes.range(judged_from..) {
            let lost = !ancestry.contains(version);
            if lost {
                *(if write.acknowledged.is_some() { &mut tally.lost } else { &mut tally.unacknowledged_lost }) += 1;
                // Ancestors tile the versions: the next one above a lost write was made without it.
                let overwriter = ancestry.range(version..).next().and_then(|next| self.writes.get_key_value(next));
                let (to, by) = overwriter.map_or((write.op.time, None), |(_, by)| (by.op.time, Some(by.place)));
                listing.blame(by.unwrap_or(write.place), Some(write.place), to, || {
                    self.lost(facts, (*version, write), overwriter)
                });
            }
            match self.reads.get(&(write.place, write.based_on)) {
                Some((_, stock)) => {
                    sold += difference(*stock, write.stock);
                    sold_and_lost += if lost { difference(*stock, write.stock) } else { 0 };
                }
                None => complete = false,
            }
        }
        let (true, Some(initial)) = (complete, self.initial) else { return };
        let fell_by = difference(initial, write.stock);
        tally.units_sold += sold;
        tally.stock_fell_by += fell_by;
        tally.counted += 1;
        if sold - sold_and_lost != fell_by {
            listing.add(|| self.unbalanced(facts, write, sold - sold_and_lost, fell_by));
        }
    }

    fn lost(
        &self,
        facts: &Facts<'_>,
        (version, write): (u32, &Write<'_>),
        overwriter: Option<(&u32, &Write<'_>)>,
    ) -> Violation {
        let hold = &facts.holds[write.place];
        let known = match write.acknowledged {
            Some(op) => format!("was acknowledged at {}", seconds(op.time)),
            None => format!("was accepted at {} but never acknowledged", seconds(write.op.time)),
        };
        let item = write.op.value.map_or(0, |value| value.item);
        let noun = facts.history.header.content.noun();
        let mut text = format!(
            "The write of item {item} by {}, which made version {version} (stock {}) and {known}, vanished",
            facts.holder(hold),
            write.stock
        );
        let mut ops = vec![write.op.index];
        ops.extend(write.acknowledged.map(|op| op.index));
        let (mut from, mut to) = (hold.from, write.op.time);
        let mut holds = vec![hold];
        if let Some((next, other)) = overwriter {
            let by = &facts.holds[other.place];
            let read = self.reads.get(&(other.place, other.based_on)).map(|(op, _)| *op);
            let read_at = read.map_or_else(String::new, |op| format!(", read at {}", seconds(op.time)));
            text += &format!(
                ": {} wrote version {next} ({noun} {}) at {} from version {}{read_at}",
                facts.holder(by),
                other.stock,
                seconds(other.op.time),
                other.based_on
            );
            ops.extend(read.map(|op| op.index).into_iter().chain([other.op.index]));
            from = read.map_or(by.from, |op| op.time);
            to = other.op.time;
            holds.push(by);
        }
        let clients: Vec<ClientId> = holds.iter().map(|hold| hold.client).collect();
        text += &format!("{}.{}", validities(holds), facts.active_faults(&clients, from, to));
        ops.sort_unstable();
        ops.dedup();
        Violation { severity: Some(Severity::Effect), text, ops, from: write.op.time, to, incident: None }
    }

    /// The versions tell of no loss that explains the stock.
    fn unbalanced(&self, facts: &Facts<'_>, last: &Write<'_>, sold: i128, fell_by: i128) -> Violation {
        let item = last.op.value.map_or(0, |value| value.item);
        let first = self.writes.values().next().unwrap_or(last);
        Violation {
            severity: Some(Severity::Effect),
            text: format!(
                "The books of item {item} do not balance: {}.{}",
                match facts.history.header.content {
                    Content::Stock => format!(
                        "its stock fell by {fell_by}, but the updates that its final value contains sold {sold} units"
                    ),
                    Content::Lines =>
                        format!("it grew by {} lines, but the updates that it contains appended {}", -fell_by, -sold),
                    Content::Value =>
                        "some write was of another value than the one that was read of its version".to_owned(),
                },
                facts.active_faults(&[], first.op.time, last.op.time)
            ),
            ops: vec![first.op.index, last.op.index],
            from: first.op.time,
            to: last.op.time,
            incident: None,
        }
    }
}
