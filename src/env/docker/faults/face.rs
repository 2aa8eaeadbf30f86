//! Looking at a process's own wall clock, from outside.
//!
//! Each is asked what it shows itself, never another program beside it: a `date` in the same container would have a page
//! of its own view. Redis tells with `TIME`; a ZooKeeper server stamps each line of its log, and it logs each four-letter
//! word that it is asked; a client is asked over the control socket.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;

use super::ground::Ground;
use crate::env::docker::clock_page;
use crate::env::docker::engine::Container;
use crate::env::docker::messages::{ClientClock, Order, Speaker};
use crate::env::docker::wire;
use crate::ids::ClientId;
use crate::time::{BootClock, Clock, Nanos};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// How often a clock is looked at for the best of the readings.
const LOOKS: u32 = 16;
/// A reading this good needs no better one.
const GOOD: u64 = 1_500_000;
/// Who did not answer so often does not.
const SILENCES: u32 = 2;
/// The pause before another look if nothing was seen: no multiple of a round period.
const BREATH: Duration = Duration::from_millis(17);
/// What may come on top of half the round trip: the reader's own clocks are read one after the other.
const READING: u64 = 500_000;
/// How long a line may take from the server to the log that can be read.
const LOG_LAG: Duration = Duration::from_millis(1_000);
/// A four-letter word that nobody else asks: it stands in the log when we have asked it.
const WORD: &str = "isro";

/// How a member's clock can be read.
#[derive(Clone, Debug)]
pub enum Face {
    /// A Redis server, at its published address.
    Redis(SocketAddr),
    /// A ZooKeeper server, at its published address.
    Zookeeper(SocketAddr),
    /// A client.
    Client(ClientId),
}

/// What was seen of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// When: on the clock of the history.
    pub at: Nanos,
    /// By how much it was wrong, ns.
    pub error: i64,
    /// How far that may be off, ns.
    pub uncertainty: u64,
}

/// An instant on both of this machine's clocks.
#[derive(Clone, Copy)]
struct Instant {
    boot: Nanos,
    wall: i128,
}

fn instant() -> Instant {
    let (boot, wall) = clock_page::with_wall(ClockId::Boottime);
    Instant { boot: Nanos(boot.unsigned_abs()), wall: i128::from(wall) }
}

impl Seen {
    /// `wall` was shown at some time from `sent` to `heard`, cut down to multiples of `grain`.
    fn between(sent: Instant, heard: Instant, wall: i128, grain: u64) -> Self {
        let half = (heard.boot - sent.boot).as_nanos() as u64 / 2;
        let middle = sent.wall + i128::from(half);
        Self {
            at: Nanos(sent.boot.0 + half),
            error: (wall + i128::from(grain / 2) - middle) as i64,
            uncertainty: half + grain / 2 + READING,
        }
    }
}

/// The best of some looks at a clock, among those that `judge` can use, and what it made of that one.
pub(super) async fn read<T>(
    ground: &Ground,
    container: &Container,
    face: &Face,
    mut judge: impl FnMut(&Seen) -> Option<T>,
) -> io::Result<(Seen, T)> {
    let mut best: Option<(Seen, T)> = None;
    let mut failure = io::Error::other("it changed too little or too fast to be seen");
    let mut silences = 0;
    for look in 0..LOOKS {
        if look > 0 && best.is_none() {
            // A strobe may be on its right side, and a busy machine gets quieter.
            tokio::time::sleep(BREATH).await;
        }
        let seen = match face {
            Face::Redis(address) => redis(*address).await,
            Face::Zookeeper(address) => zookeeper(ground, container, *address).await,
            Face::Client(client) => self::client(ground, *client).await,
        };
        match seen.map(|seen| (judge(&seen), seen)) {
            Ok((Some(judged), seen)) if best.as_ref().is_none_or(|(best, _)| seen.uncertainty < best.uncertainty) => {
                best = Some((seen, judged));
            }
            Ok(_) => {}
            Err(error) => {
                silences += 1;
                failure = error;
            }
        }
        if silences >= SILENCES {
            break;
        }
        if best.as_ref().is_some_and(|(best, _)| best.uncertainty <= GOOD) {
            break;
        }
    }
    best.ok_or(failure)
}

async fn redis(address: SocketAddr) -> io::Result<Seen> {
    let sent = instant();
    let reply = wire::redis(address, &["TIME"], PATIENCE).await?;
    let heard = instant();
    // `*2 $10 1700000000 $6 123456`, one a line.
    let mut numbers = reply.lines().filter(|line| !line.starts_with(['*', '$', '+'])).map(str::parse::<i128>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seconds)), Some(Ok(micros))) => {
            Ok(Seen::between(sent, heard, (seconds * 1_000_000 + micros) * 1_000, 1_000))
        }
        _ => Err(io::Error::other(format!("not a time: {reply}"))),
    }
}

async fn zookeeper(ground: &Ground, container: &Container, address: SocketAddr) -> io::Result<Seen> {
    let sent = instant();
    wire::word(address, WORD, PATIENCE).await?;
    let heard = instant();
    let since = i32::try_from(sent.wall / 1_000_000_000).unwrap_or_default();
    while BootClock.now() < heard.boot + LOG_LAG {
        let log = ground.engine.logs_since(container, since).await.map_err(io::Error::other)?;
        if let Some(wall) = stamp(&log, sent.wall) {
            return Ok(Seen::between(sent, heard, wall, 1_000_000));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(io::Error::other("it did not log that it was asked"))
}

/// What the server's clock showed when it logged our word: of the last such line that the daemon received after `sent`.
/// The daemon puts its own time before each line.
fn stamp(log: &str, sent: i128) -> Option<i128> {
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).map(|since| since.as_nanos() as i128).ok();
    log.lines().rev().find_map(|line| {
        let (received, said) = line.split_once(' ')?;
        let (wall, said) = said.split_once(' ')?;
        let is_ours = said.contains(&format!("Processing {WORD} command"));
        let received = nanos(humantime::parse_rfc3339(received).ok()?)?;
        let wall = nanos(humantime::parse_rfc3339_weak(wall).ok()?)?;
        (is_ours && received >= sent).then_some(wall)
    })
}

async fn client(ground: &Ground, client: ClientId) -> io::Result<Seen> {
    let (number, answer) = ground.lives.ask();
    ground.orders.send(Speaker::Client(client), Order::Clock { number });
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let Ok(Ok(ClientClock { before, after, wall, .. })) = answer else { return Err(io::Error::other("no answer")) };
    // Its boot clock is ours.
    let now = instant();
    let at = |boot: Nanos| Instant { boot, wall: now.wall - (now.boot - boot).as_nanos() as i128 };
    Ok(Seen::between(at(before), at(after), i128::from(wall), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_s_clock_is_read_off_the_line_that_we_caused() {
        let log = "2026-11-23T22:00:00.900000000Z 2026-11-23T22:00:05.900 INFO NIOServerCnxn - Processing isro command\n\
                   2026-11-23T22:00:01.000500000Z 2026-11-23T22:00:06.000 INFO NIOServerCnxn - Processing isro command\n\
                   2026-11-23T22:00:01.000600000Z 2026-11-23T22:00:07.000 INFO NIOServerCnxn - Processing srvr command\n";
        let second = |text: &str| {
            let time = humantime::parse_rfc3339(text).unwrap();
            time.duration_since(UNIX_EPOCH).unwrap().as_nanos() as i128
        };
        let sent = second("2026-11-23T22:00:01Z");
        assert_eq!(stamp(log, sent), Some(second("2026-11-23T22:00:06Z")));
        assert_eq!(stamp(log, sent + 1_000_000), None, "an earlier line is not an answer");
    }

    #[test]
    fn a_reading_is_as_good_as_its_bracket() {
        let instant = |at: i128| Instant { boot: Nanos(500 + at as u64), wall: 1_000_000 + at };
        let seen = Seen::between(instant(0), instant(2_000), 1_000_000 + 1_000 + 77, 0);
        assert_eq!(seen, Seen { at: Nanos(1_500), error: 77, uncertainty: 1_000 + READING });
    }
}
