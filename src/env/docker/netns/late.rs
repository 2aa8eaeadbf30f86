//! Packets that arrive late: the kernel hands them over, and gets them back when their time has come.
//!
//! What netem does at a sender's interface is done here at the receiver's door, for single peers, and without two of
//! netem's ways: a packet that is held back stays late when the fault is over (and is not dropped), and those of its
//! connection that come after it, its own retransmissions too, stay behind it. So a connection's bytes arrive late and
//! in order, as over a slow line.
//!
//! If the agent dies, the kernel lets everything pass.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nfq::{Message, Queue, Verdict};
use rand::{RngExt, SeedableRng};

use super::inside::{enter, nft, run};
use super::rules::{self, LATE_MARK, QUEUE};
use super::{Door, Effect, Layer};
use crate::seed::ChaCha8Rng;

/// How often a queue is looked at: how exact a delay is. The crate's socket can't be waited for.
const ROUND: Duration = Duration::from_millis(1);

/// How long a queue that was closed may take to be gone.
const CLOSING: Duration = Duration::from_secs(1);

/// How many packets a queue may hold.
const ROOM: u32 = 65_536;

/// How much of a packet is needed: its headers.
const HEADERS: u16 = 128;

/// Who is held back at one door.
#[derive(Default)]
struct Ledger {
    /// By table. `None`: lifted, and kept while packets are held back.
    late: BTreeMap<String, Option<Late>>,
    /// Tables to be taken away when nothing is held back any more.
    leaving: Vec<String>,
    held: usize,
    /// Set by the queue's thread when it ends.
    over: bool,
}

struct Late {
    peers: Vec<Ipv4Addr>,
    least: u64,
    most: u64,
    rng: ChaCha8Rng,
}

/// The queues of all doors.
#[derive(Default)]
pub(super) struct Lates(Mutex<BTreeMap<Door, Arc<Mutex<Ledger>>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lates {
    /// Sees to it that what `layer` marks is held back. To be called inside of its door, before the table is laid.
    pub fn hold(&self, layer: &Layer) -> io::Result<()> {
        let Effect::Late { least, most, seed } = layer.effect else { return Ok(()) };
        let late = Late { peers: layer.incoming.clone(), least, most, rng: ChaCha8Rng::seed_from_u64(seed) };
        let mut doors = lock(&self.0);
        if let Some(ledger) = doors.get(&layer.door) {
            let mut ledger = lock(ledger);
            if !ledger.over {
                ledger.leaving.retain(|table| *table != layer.table);
                ledger.late.insert(layer.table.clone(), Some(late));
                return Ok(());
            }
        }
        let mut queue = open()?;
        queue.set_copy_range(QUEUE, HEADERS)?;
        queue.set_queue_max_len(QUEUE, ROOM)?;
        queue.set_nonblocking(true);
        divert()?;
        let ledger = Arc::new(Mutex::new(Ledger {
            late: BTreeMap::from([(layer.table.clone(), Some(late))]),
            ..Ledger::default()
        }));
        doors.insert(layer.door, Arc::clone(&ledger));
        let door = layer.door;
        std::thread::Builder::new().spawn(move || {
            // Where the namespace is gone there is nothing to hold back either.
            if enter(door).is_ok() {
                serve(queue, &ledger);
            }
            lock(&ledger).over = true;
        })?;
        Ok(())
    }

    /// Takes a table away, inside of its door: later, if packets are held back there.
    pub fn lift(&self, door: Door, table: &str, at_once: bool) -> io::Result<()> {
        if let Some(ledger) = lock(&self.0).get(&door).cloned() {
            let mut ledger = lock(&ledger);
            let is_late = ledger.late.contains_key(table);
            if !ledger.over && !at_once && (ledger.held > 0 || is_late) {
                // A late one goes on marking: what comes after a held packet must not overtake it.
                if let Some(late) = ledger.late.get_mut(table) {
                    *late = None;
                } else {
                    nft(&["-f", "-"], &rules::idle(table))?;
                }
                ledger.leaving.push(table.to_owned());
                return Ok(());
            }
            ledger.late.remove(table);
            if at_once && ledger.late.is_empty() {
                // Whoever is in such a hurry may end the agent next.
                divert_no_more();
            }
        }
        nft(&["-f", "-"], &rules::lift(table)).map(drop)
    }
}

/// Opens the queue in this thread's namespace. One that was closed a moment ago may be there still: programs that were
/// started meanwhile, nft above all, have its socket too, and it goes with the last of them.
fn open() -> io::Result<Queue> {
    let until = Instant::now() + CLOSING;
    let mut queue = Queue::open()?;
    loop {
        match queue.bind(QUEUE) {
            Err(error) if is_taken(&error) && Instant::now() < until => std::thread::sleep(ROUND),
            bound => return bound.map(|()| queue),
        }
    }
}

/// How the kernel says that a queue is somebody else's.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy)
}

/// Sends marked packets to our queue, in this thread's namespace; without a listener they pass.
fn divert() -> io::Result<()> {
    let queue = QUEUE.to_string();
    let rule = |verb| {
        let head = ["-w", "-t", "mangle", verb, "INPUT", "-m", "mark", "--mark", LATE_MARK];
        [&head[..], &["-j", "NFQUEUE", "--queue-num", &queue, "--queue-bypass"]].concat()
    };
    if run("iptables-nft", &rule("-C"), "").is_ok() {
        return Ok(());
    }
    run("iptables-nft", &rule("-I"), "").map(drop)
}

/// Takes away what [`divert`] did, in this thread's namespace: the rule, and the table that came with it.
pub(super) fn divert_no_more() {
    let queue = QUEUE.to_string();
    let rule = ["-w", "-t", "mangle", "-D", "INPUT", "-m", "mark", "--mark", LATE_MARK, "-j", "NFQUEUE"];
    // Mostly there is none.
    if run("iptables-nft", &[&rule[..], &["--queue-num", &queue, "--queue-bypass"]].concat(), "").is_err() {
        return;
    }
    // A chain with rules of somebody else's is refused, and so is a table with chains.
    let _ = nft(&["delete", "chain", "ip", "mangle", "INPUT"], "");
    if nft(&["list", "table", "ip", "mangle"], "").is_ok_and(|listed| !listed.contains("chain")) {
        let _ = nft(&["delete", "table", "ip", "mangle"], "");
    }
}

/// Tries out whether the kernel hands packets over, in this thread's namespace.
pub(super) fn try_out() -> io::Result<()> {
    let _queue = open()?;
    divert()?;
    divert_no_more();
    Ok(())
}

/// A packet that waits, the next one first.
struct Held {
    due: Instant,
    number: u64,
    flow: Flow,
    message: Message,
}

impl Held {
    fn key(&self) -> Reverse<(Instant, u64)> {
        Reverse((self.due, self.number))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// One direction of a connection: sender and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    peer: Ipv4Addr,
    ports: [u8; 4],
}

impl Flow {
    /// From the headers of an IPv4 packet; others have no peers of ours.
    fn of(packet: &[u8]) -> Option<Self> {
        let length = usize::from(packet.first()? & 0x0f) * 4;
        let peer = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
        let ports = packet.get(length..length + 4).and_then(|ports| ports.try_into().ok()).unwrap_or_default();
        Some(Self { peer, ports })
    }
}

/// Holds packets back until nothing is to be held back any more.
fn serve(mut queue: Queue, ledger: &Mutex<Ledger>) {
    let mut waiting: BinaryHeap<Held> = BinaryHeap::new();
    // When the last packet of each connection is due, and how many of them wait.
    let mut flows: BTreeMap<Flow, (Instant, usize)> = BTreeMap::new();
    let mut number = 0;
    loop {
        let now = Instant::now();
        while let Ok(message) = queue.recv() {
            let Some(flow) = Flow::of(message.get_payload()) else {
                release(&mut queue, message);
                continue;
            };
            let extra = lock(ledger).draw(flow.peer);
            let (last, count) = flows.get(&flow).copied().unwrap_or((now, 0));
            let due = (now + extra).max(last);
            if due <= now && count == 0 {
                release(&mut queue, message);
                continue;
            }
            flows.insert(flow, (due, count + 1));
            number += 1;
            waiting.push(Held { due, number, flow, message });
            lock(ledger).held = waiting.len();
        }
        while let Some(held) =
            waiting.peek_mut().filter(|held| held.due <= now).map(std::collections::binary_heap::PeekMut::pop)
        {
            match flows.get_mut(&held.flow) {
                Some((_, count)) if *count > 1 => *count -= 1,
                _ => drop(flows.remove(&held.flow)),
            }
            release(&mut queue, held.message);
        }
        {
            let mut ledger = lock(ledger);
            ledger.held = waiting.len();
            if waiting.is_empty() && !ledger.clear() {
                divert_no_more();
                // Closed first: whoever sees that it is over opens another one under the same number.
                drop(queue);
                ledger.over = true;
                return;
            }
        }
        std::thread::sleep(ROUND);
    }
}

impl Ledger {
    /// How much later than usual the next packet of `peer` is.
    fn draw(&mut self, peer: Ipv4Addr) -> Duration {
        let late = self.late.values_mut().flatten().filter(|late| late.peers.contains(&peer));
        late.map(|late| Duration::from_nanos(late.rng.random_range(late.least..=late.most))).sum()
    }

    /// Takes away the tables that were to go once nothing is held back; whether anything is left to be held back.
    fn clear(&mut self) -> bool {
        for table in std::mem::take(&mut self.leaving) {
            // Where the namespace is gone, its tables are too.
            let _ = nft(&["-f", "-"], &rules::lift(&table));
            self.late.remove(&table);
        }
        !self.late.is_empty()
    }
}

fn release(queue: &mut Queue, mut message: Message) {
    message.set_verdict(Verdict::Accept);
    // Where the namespace is gone, nobody waits for it.
    let _ = queue.verdict(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_told_by_sender_and_ports() {
        let mut packet = vec![0u8; 40];
        packet[0] = 0x46;
        packet[12..16].copy_from_slice(&[10, 0, 0, 7]);
        packet[24..28].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(Flow::of(&packet), Some(Flow { peer: Ipv4Addr::new(10, 0, 0, 7), ports: [1, 2, 3, 4] }));
        assert_eq!(Flow::of(&packet[..10]), None);
    }

    #[test]
    fn delays_of_several_strikes_add_up_and_end_with_them() {
        let late =
            |least| Late { peers: vec![Ipv4Addr::LOCALHOST], least, most: least, rng: ChaCha8Rng::seed_from_u64(1) };
        let mut ledger = Ledger::default();
        ledger.late.insert("a".to_owned(), Some(late(3)));
        ledger.late.insert("b".to_owned(), Some(late(4)));
        assert_eq!(ledger.draw(Ipv4Addr::LOCALHOST), Duration::from_nanos(7));
        assert_eq!(ledger.draw(Ipv4Addr::BROADCAST), Duration::ZERO);
        ledger.late.insert("b".to_owned(), None);
        assert_eq!(ledger.draw(Ipv4Addr::LOCALHOST), Duration::from_nanos(3));
    }
}
