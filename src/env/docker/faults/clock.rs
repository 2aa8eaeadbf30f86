//! `clock-jump`, `clock-drift`, `clock-strobe`: the page that the process's clock shim reads says so.
//!
//! Only wall clocks: a drift leaves the process's monotonic clock alone, other than an oscillator's.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::task::JoinHandle;

use super::context::{ClockPlace, ClockReader, Context, LOOKING, LOOKS as TRIES, Mechanism, Place, Struck, not_healed};
use super::skew::SkewedClock;
use crate::env::docker::backends;
use crate::env::docker::clock_reading::{self, Instant, Reading};
use crate::env::docker::container::Container;
use crate::env::docker::journal::Undo;
use crate::env::docker::messages::{ClientClock, Order, Speaker};
use crate::fault::{ClockChange, Member};
use crate::history::{ClockReading, Probe};
use crate::ids::ClientId;
use crate::nemesis::FaultError;
use crate::time::Nanos;

/// A drift is looked at once it should have gained this much: more than a good reading may be off.
const VISIBLE: f64 = 5e6;
/// How long to wait for that before the drift is looked at anyhow.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a client may take to say what its clock shows.
const CLIENT_LIMIT: Duration = Duration::from_secs(1);
/// How often a clock is looked at while it is wrong.
const LOOKS: u32 = 8;
/// The least time between two such looks.
const LEAST: Duration = Duration::from_millis(500);

/// A member whose clock is wrong.
struct Skewed {
    id: u32,
    /// What was seen meanwhile.
    seen: Arc<Mutex<Vec<Probe>>>,
    looking: JoinHandle<()>,
}

pub(super) async fn apply(
    context: &Arc<Context>,
    id: u32,
    member: Member,
    change: ClockChange,
    duration: Duration,
) -> Struck {
    let (container, place) = clock_place(context, member)?;
    let clock = context.clock(member, place)?;
    let unread = |error| FaultError(format!("not applied, the clock of {member} cannot be read: {error}"));
    let before = look(context, container, place, &clock, None).await.map_err(unread)?;
    let before = probe(member, "before", before);
    let move_it = async {
        clock
            .begin(id, change)
            .map_err(|error| FaultError(format!("the page of {member}'s clock cannot be written: {error}")))?;
        if let ClockChange::Drift { ppm } = change {
            let wait = VISIBLE * 1e6 / ppm.unsigned_abs().max(1) as f64;
            tokio::time::sleep(Duration::from_nanos(wait as u64).min(PATIENCE)).await;
        }
        let during = match look(context, container, place, &clock, Some(id)).await {
            Ok(seen) => probe(member, "during", seen),
            Err(error) => {
                let _ = clock.end(id);
                return Err(unread(error));
            }
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let looking = tokio::spawn(watch(Arc::clone(context), member, duration, Arc::clone(&seen)));
        Ok((Skewed { id, seen, looking }, vec![before, during]))
    };
    let undo = Undo::SetClock { folder: place.folder.clone(), strike: id };
    context.strike(member, undo, duration + context.put_off + LOOKING, move_it).await
}

fn clock_place(context: &Context, member: Member) -> Result<(&Container, &ClockPlace), FaultError> {
    let Place { container, clock, .. } = context.place(member)?;
    let clock = clock.as_ref().ok_or_else(|| FaultError(format!("the clock of {member} cannot be moved")))?;
    Ok((container, clock))
}

/// What was seen of a clock, and what should have been.
struct Look {
    seen: Reading,
    expected: i64,
}

/// Looks at a clock; if `shows` is the number of a strike, until what that does can be told from what a look may be off
/// by.
async fn look(
    context: &Context,
    container: &Container,
    place: &ClockPlace,
    clock: &SkewedClock,
    shows: Option<u32>,
) -> io::Result<Look> {
    let _turn = clock.turn().await;
    let mut changes = clock.changes();
    // One that a strike or a strobe may have moved while it was looked at shows nothing, and what a look may be off by
    // cannot be seen.
    let judge = |seen: &Reading| {
        let (then, now) = (changes, clock.changes());
        changes = now;
        let from = Nanos(seen.at.0.saturating_sub(seen.uncertainty));
        let to = Nanos(seen.at.0 + seen.uncertainty);
        let moved = clock.error_ns(from).abs_diff(clock.error_ns(to));
        let is_steady = then == now && moved <= seen.uncertainty && clock.keeps_side(from, to);
        let is_seen = shows.is_none_or(|id| clock.part_ns(id, seen.at).unsigned_abs() > seen.uncertainty);
        (is_steady && is_seen).then(|| clock.error_ns(seen.at))
    };
    let (seen, expected) = clock_reading::best(|| read(context, container, place.reader), judge).await?;
    Ok(Look { seen, expected })
}

/// Looks at a clock once.
fn read<'a>(context: &'a Context, container: &'a Container, reader: ClockReader) -> BoxFuture<'a, io::Result<Reading>> {
    match reader {
        ClockReader::Server(backend, address) => backends::of(backend).read_clock(&context.engine, container, address),
        ClockReader::Client(client) => read_client(context, client).boxed(),
    }
}

async fn read_client(context: &Context, client: ClientId) -> io::Result<Reading> {
    let (number, answer) = context.known.ask();
    context.orders.send(Speaker::Client(client), Order::Clock { number });
    let answer = tokio::time::timeout(CLIENT_LIMIT, answer).await;
    let Ok(Ok(ClientClock { before, after, wall, .. })) = answer else { return Err(io::Error::other("no answer")) };
    // Its boot clock is ours.
    let now = clock_reading::now();
    let at = |boot: Nanos| Instant { boot, wall: now.wall - (now.boot - boot).as_nanos() as i128 };
    Ok(Reading::between(at(before), at(after), i128::from(wall), 0))
}

fn probe(member: Member, when: &str, Look { seen, expected }: Look) -> Probe {
    let millis = |nanos: i64| format!("{:.1} ms", nanos as f64 / 1e6);
    let uncertainty = seen.uncertainty as f64 / 1e6;
    let mut probe = Probe::new(
        format!("{when}: error of the clock of {member}"),
        format!("{} ± {uncertainty:.1}", millis(expected)),
        millis(seen.error),
    );
    let Reading { at, error, uncertainty } = seen;
    probe.clock = Some(ClockReading { member, at, error, expected: Some(expected), uncertainty });
    probe
}

/// Looks whether a clock is right again.
async fn look_after(
    context: &Context,
    container: &Container,
    place: &ClockPlace,
    clock: &SkewedClock,
    member: Member,
) -> Probe {
    let mut tries = 1;
    loop {
        match look(context, container, place, clock, None).await {
            Ok(seen) => return probe(member, "after", seen).after_looks(tries),
            Err(error) if tries == TRIES => return unseen(member, "after", tries, &error),
            Err(_) => tries += 1,
        }
    }
}

/// A clock that could not be read, which says nothing of whether it is right.
fn unseen(member: Member, when: &str, tries: u32, error: &io::Error) -> Probe {
    Probe::unseen(format!("{when}: error of the clock of {member}"), "seen", tries).measured(error.to_string())
}

/// Looks at the clock now and then, for whoever wants to see how it went.
async fn watch(context: Arc<Context>, member: Member, duration: Duration, seen: Arc<Mutex<Vec<Probe>>>) {
    let Ok((container, place)) = clock_place(&context, member) else { return };
    let Ok(clock) = context.clock(member, place) else { return };
    loop {
        tokio::time::sleep((duration / LOOKS).max(LEAST)).await;
        // A process that is frozen or dead now has no clock to look at; the look at the end counts.
        if let Ok(look) = look(&context, container, place, &clock, None).await {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(probe(member, "meanwhile", look));
        }
    }
}

impl Mechanism for Skewed {
    fn undo<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            self.looking.abort();
            let (container, place) = clock_place(context, member)?;
            let clock = context.clock(member, place)?;
            // Once: what is looked at for longer is wrong for longer.
            let last = look(context, container, place, &clock, None).await;
            let last = last.map_or_else(
                |error| unseen(member, "until the end", 1, &error),
                |seen| probe(member, "until the end", seen),
            );
            let lapses = clock.end(self.id).map_err(|error| not_healed(member, error))?;
            let after = look_after(context, container, place, &clock, member).await;
            let mut probes = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
            probes.extend([last, after]);
            let what = format!("times that the clock of {} was right too early", member);
            probes.push(Probe::new(what, "0", lapses.to_string()));
            Ok(probes)
        }
        .boxed()
    }
}

impl Drop for Skewed {
    fn drop(&mut self) {
        self.looking.abort();
    }
}
