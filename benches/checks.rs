//! How fast the lock checks are on one core, and in how much memory: `cargo bench --bench checks`; `cargo bench --bench
//! checks -- histories` measures only how files are read and judged.
//!
//! Generated histories of a lock that works, with faults' traces: acquires that never complete. Every size is measured
//! in a process of its own, in CPU time, with the peak of its memory as the kernel counts it (VmHWM). Three things are
//! told apart: reading the file; the checks `mutual-exclusion`, `fencing` and `linearizable` together on a history in
//! memory; and the replay of the fenced model, which takes the ops one by one and keeps none of them.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use fencepost::check::{self, FailedRelease, Model, ModelReplay, ModelStream, Verdict};
use fencepost::history::foreign::{self, Naming};
use fencepost::history::{F, Header, History, ItemValue, Op, OpType, Process, file};
use fencepost::ids::{ClientId, FencingToken, HoldId, LockName};
use fencepost::seed::{ChaCha8Rng, Seed};
use fencepost::time::Nanos;
use rand::RngExt;

/// What 1 M ops with 100 pending ones may take (docs/design.md, "Goals").
const GOAL_SECONDS: f64 = 0.25;
const GOAL_MEGABYTES: f64 = 150.0;
/// How much longer ten times as many ops may take.
const GOAL_GROWTH: f64 = 15.0;
/// Clients that compete for one lock name.
const RIVALS: u32 = 5;
/// Ops that are made before they are taken, so that making them is not measured.
const CHUNK: u64 = 10_000;

/// A size of a history.
#[derive(Clone, Copy)]
struct Size {
    ops: u64,
    pending: u64,
    clients: u32,
}

/// What a process measured.
struct Measured {
    seconds: f64,
    /// Peak of the process, in MB.
    peak: f64,
    /// What the input takes of it, in MB.
    input: f64,
}

fn cpu_time() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_secs_f64()
}

/// A line of `/proc/self/status`, in MB.
fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of a process's memory");
    let line = status.lines().find(|line| line.starts_with(field)).expect("it tells of this");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<f64>().ok()).expect("in kB") / 1e3
}

/// A history in the making: locks that pass from client to client, each hold with a read and a write.
struct Ops {
    size: Size,
    rng: ChaCha8Rng,
    now: u64,
    made: u64,
    attempts: Vec<u64>,
    locks: Vec<LockName>,
    /// Who holds each lock, and how far it is with its turn.
    turns: Vec<Turn>,
    /// Ops that are due next, the last one first.
    next: Vec<Op>,
    token: u64,
}

struct Turn {
    client: u32,
    step: u32,
    token: u64,
    version: u32,
}

impl Ops {
    fn new(size: Size) -> Self {
        let locks = (size.clients / RIVALS).max(1);
        let turns = (0..locks).map(|lock| Turn { client: lock * RIVALS + 1, step: 0, token: 0, version: 0 }).collect();
        let attempts = vec![0; size.clients as usize + 1];
        let rng = Seed(1).stream("checks");
        let locks = (1..=locks).map(|lock| LockName::new(format!("item-{lock}"))).collect();
        let mut ops = Self { size, rng, now: 0, made: 0, attempts, locks, turns, next: Vec::new(), token: 0 };
        for client in (1..=size.clients).rev() {
            let op = ops.ask(client);
            ops.next.push(op);
        }
        ops
    }

    fn op(&mut self, client: u32, kind: OpType, f: F) -> Op {
        let mut op = Op::new(Nanos::ZERO, Process::Client(client), kind, f);
        op.client = Some(ClientId(client));
        op.hold = Some(HoldId::new(format!("c{client}-{}", self.attempts[client as usize])));
        let lock = ((client - 1) / RIVALS) as usize;
        op.lock = Some(self.locks.get(lock).unwrap_or(&self.locks[0]).clone());
        op
    }

    fn ask(&mut self, client: u32) -> Op {
        self.attempts[client as usize] += 1;
        self.op(client, OpType::Invoke, F::Acquire)
    }

    /// The next step of some lock's holder.
    fn step(&mut self) -> Op {
        let at = self.rng.random_range(0..self.turns.len());
        let (client, step, version) = (self.turns[at].client, self.turns[at].step, self.turns[at].version);
        self.turns[at].step += 1;
        let item = at as u32 + 1;
        let seen = ItemValue { item, stock: -i64::from(version), version: Some(version), based_on: None };
        let meant = ItemValue { item, stock: seen.stock - 1, version: None, based_on: Some(version) };
        let made = ItemValue { version: Some(version + 1), ..meant };
        let (kind, f, process, value) = match step {
            0 => (OpType::Ok, F::Acquire, None, None),
            1 => (OpType::Invoke, F::Read, None, None),
            2 => (OpType::Ok, F::Read, Some(Process::Resource), Some(seen)),
            3 => (OpType::Ok, F::Read, None, Some(seen)),
            4 => (OpType::Invoke, F::Write, None, Some(meant)),
            5 => (OpType::Ok, F::Write, Some(Process::Resource), Some(made)),
            6 => (OpType::Ok, F::Write, None, Some(made)),
            7 => (OpType::Invoke, F::Release, None, None),
            _ => (OpType::Ok, F::Release, None, None),
        };
        let mut op = self.op(client, kind, f);
        op.process = process.unwrap_or(op.process);
        op.value = value;
        if step == 0 {
            self.token += 1;
            self.turns[at].token = self.token;
        }
        op.token = Some(FencingToken(self.turns[at].token));
        if f != F::Read && f != F::Write && step != 8 {
            op.valid_until = Some(Nanos(self.now + 1_000_000_000));
        }
        if step == 8 {
            // The others have long asked; one of them is next, and this one asks again.
            let others = RIVALS.min(self.size.clients);
            let heir = (client - at as u32 * RIVALS - 1 + self.rng.random_range(1..others)) % others;
            self.turns[at] = Turn { client: at as u32 * RIVALS + heir + 1, step: 0, token: 0, version: version + 1 };
            let again = self.ask(client);
            self.next.push(again);
        }
        op
    }
}

impl Iterator for Ops {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        if self.made == self.size.ops {
            return None;
        }
        let every = self.size.ops / (self.size.pending + 1);
        let left_behind = self.size.pending > 0 && self.made % every == every / 2;
        let mut op = if left_behind && self.made / every < self.size.pending {
            // A client of its own asks for the first lock, and is never heard of again.
            self.attempts.push(0);
            self.ask(self.attempts.len() as u32 - 1)
        } else {
            self.next.pop().unwrap_or_else(|| self.step())
        };
        self.now += self.rng.random_range(1_000..100_000);
        op.time = Nanos(self.now);
        op.index = self.made as u32;
        self.made += 1;
        Some(op)
    }
}

fn header(size: Size) -> Header {
    Header {
        fencepost: fencepost::history::FORMAT,
        scenario: "bench".to_owned(),
        lock: "bench".to_owned(),
        algorithm: "bench".to_owned(),
        kind: fencepost::lock_kind::LockKind::Mutex,
        environment: "sim".to_owned().into(),
        seed: Seed(1),
        clients: size.clients + size.pending as u32,
        nodes: 1,
        fencing: "none".to_owned().into(),
        content: Default::default(),
        planned_faults: 0,
        plan: Vec::new(),
        grant_within: None,
        leaves_within: None,
        api: None,
        clock_error: 0,
        versions: Default::default(),
    }
}

fn history(size: Size) -> History {
    History { header: header(size), ops: Ops::new(size).collect(), servers: Vec::new(), cut_off: None }
}

/// The replay alone: ops come and go.
fn replay(size: Size) -> Measured {
    let mut ops = Ops::new(size);
    let mut chunk: Vec<Op> = Vec::with_capacity(CHUNK as usize);
    let input = memory("VmHWM:");
    let mut replay = ModelReplay::new(&header(size), Model::FENCED, FailedRelease::EndsTheClaim);
    let mut seconds = 0.0;
    loop {
        chunk.clear();
        chunk.extend(ops.by_ref().take(CHUNK as usize));
        if chunk.is_empty() {
            break;
        }
        let begun = cpu_time();
        chunk.iter().for_each(|op| replay.take(op));
        seconds += cpu_time() - begun;
    }
    let result = replay.finish(fencepost::lock_kind::LockKind::Mutex);
    assert_eq!(result.verdict, Verdict::Valid, "{}", result.summary);
    Measured { seconds, peak: memory("VmHWM:"), input }
}

/// The three lock checks on a history in memory.
fn checks(size: Size) -> Measured {
    let history = history(size);
    let input = memory("VmRSS:");
    let begun = cpu_time();
    let results = check::judge_lock(&history);
    let seconds = cpu_time() - begun;
    let peak = memory("VmHWM:");
    for result in results {
        assert_eq!(result.verdict, Verdict::Valid, "{}: {}", result.check, result.summary);
    }
    Measured { seconds, peak, input }
}

/// Reading the file.
fn parse(size: Size) -> Measured {
    let path = std::env::temp_dir().join(format!("fencepost-bench-{}.jsonl", std::process::id()));
    file::write(&path, &history(size)).expect("the temporary folder can be written");
    let input = memory("VmRSS:");
    let begun = cpu_time();
    let read = file::read(&path).map(|history| history.ops.len() as u64);
    let seconds = cpu_time() - begun;
    let _ = std::fs::remove_file(&path);
    assert_eq!(read.expect("it was just written"), size.ops);
    Measured { seconds, peak: memory("VmHWM:"), input }
}

/// What files of 1 M and of 10 M ops may take, read and judged, and how much longer EDN may take than JSON lines.
const GOAL_FILE: [(u64, f64); 2] = [(1_000_000, 1.0), (10_000_000, 10.0)];
const GOAL_FILE_MEGABYTES: f64 = 300.0;
const GOAL_EDN: f64 = 1.3;

/// The acquires and releases of a history, as Jepsen would write them.
fn write_edn(to: &mut impl Write, op: &Op) -> std::io::Result<()> {
    let Process::Client(process) = op.process else { return Ok(()) };
    let kind = format!("{:?}", op.kind).to_lowercase();
    write!(to, "{{:process {process}, :type :{kind}, :f :{}, :value nil", op.f)?;
    if let Some(lock) = &op.lock {
        write!(to, ", :lock \"{lock}\"")?;
    }
    if let Some(token) = op.token {
        write!(to, ", :token {token}")?;
    }
    writeln!(to, ", :time {}, :index {}}}", op.time.0, op.index)
}

/// Reads a file of so many ops and judges it by the fenced model, as `fencepost check` does.
fn file_judged(size: Size, is_edn: bool) -> Measured {
    let path = std::env::temp_dir().join(format!("fencepost-bench-{}", std::process::id()));
    let mut to = std::io::BufWriter::new(std::fs::File::create(&path).expect("the temporary folder can be written"));
    let written = if is_edn { Ok(()) } else { writeln!(to, "{}", serde_json::to_string(&header(size)).expect("JSON")) };
    let written = written.and_then(|()| {
        Ops::new(size).try_for_each(|op| match is_edn {
            true => write_edn(&mut to, &op),
            false => writeln!(to, "{}", serde_json::to_string(&op).expect("JSON")),
        })
    });
    written.and_then(|()| to.flush()).expect("the temporary folder can be written");
    drop(to);
    let input = memory("VmRSS:");
    let begun = cpu_time();
    let result = if is_edn {
        let mut replay = ModelReplay::streaming(Model::FENCED, FailedRelease::EndsTheClaim).expect("op by op");
        let file = std::fs::File::open(&path).expect("it was just written");
        let read = foreign::stream(file, &path, &Naming::default(), |op| replay.take(&op)).expect("a history");
        read.expect("in order");
        replay.finish(fencepost::lock_kind::LockKind::Mutex)
    } else {
        let file =
            std::io::BufReader::with_capacity(256 << 10, std::fs::File::open(&path).expect("it was just written"));
        let mut lines = file::Lines::open(file, &path).expect("a history");
        let mut stream = ModelStream::new(&lines.header, Model::FENCED, FailedRelease::EndsTheClaim).expect("op by op");
        while let Some(op) = lines.next_op().expect("an op") {
            stream.take(op).expect("a sound history");
        }
        stream.finish(&lines.header, lines.cut_off()).expect("a sound history").2.checks.remove(1)
    };
    let seconds = cpu_time() - begun;
    let _ = std::fs::remove_file(&path);
    assert_ne!(result.verdict, Verdict::Invalid, "{}", result.summary);
    Measured { seconds, peak: memory("VmHWM:"), input }
}

/// The goals of files, side by side.
fn histories() {
    for (ops, goal) in GOAL_FILE {
        let size = Size { ops, pending: 100, clients: 5 };
        let [json, edn] = ["json-file", "edn-file"].map(|what| row(what, size));
        let met = |reached: f64, goal: f64| if reached <= goal { "met" } else { "MISSED" };
        for (what, measured) in [("JSON lines", &json), ("EDN", &edn)] {
            say(&format!(
                "{what}, {ops} ops read and judged: {:.2} of {goal} s ({}); {:.0} of {GOAL_FILE_MEGABYTES} MB ({})",
                measured.seconds,
                met(measured.seconds, goal),
                measured.peak,
                met(measured.peak, GOAL_FILE_MEGABYTES),
            ));
        }
        let ratio = edn.seconds / json.seconds;
        say(&format!("EDN takes {ratio:.2} of {GOAL_EDN} times the time of JSON lines ({})", met(ratio, GOAL_EDN)));
    }
}

/// Measures in a process of its own, since a peak is never forgotten.
fn measure(what: &str, size: Size) -> Measured {
    let Size { ops, pending, clients } = size;
    let mut child = Command::new(std::env::current_exe().expect("this program is a file"));
    child.args(["measure", what, &ops.to_string(), &pending.to_string(), &clients.to_string()]);
    let output = child.output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let figures: Vec<f64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    Measured { seconds: figures[0], peak: figures[1], input: figures[2] }
}

/// A line of the table. Nobody may be listening to the end of it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn row(what: &str, size: Size) -> Measured {
    let measured = measure(what, size);
    say(&format!(
        "{what:<9} {:>9} {:>8} {:>8} {:>10.4} {:>10.0} {:>10.0} {:>10.0}",
        size.ops,
        size.pending,
        size.clients,
        measured.seconds,
        measured.seconds * 1e9 / size.ops as f64,
        measured.input,
        measured.peak - measured.input,
    ));
    measured
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "measure") {
        let number = |place: usize| arguments[at + place].parse::<u64>().expect("a number");
        let size = Size { ops: number(2), pending: number(3), clients: number(4) as u32 };
        let measured = match arguments[at + 1].as_str() {
            "replay" => replay(size),
            "checks" => checks(size),
            "json-file" => file_judged(size, false),
            "edn-file" => file_judged(size, true),
            _ => parse(size),
        };
        say(&format!("{} {} {}", measured.seconds, measured.peak, measured.input));
        return;
    }
    say(&format!(
        "{:<9} {:>9} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}",
        "what", "ops", "pending", "clients", "CPU s", "ns/op", "input MB", "more MB"
    ));
    if arguments.iter().any(|argument| argument == "histories") {
        return histories();
    }
    for (what, sizes) in
        [("checks", &[10_000, 100_000, 1_000_000][..]), ("replay", &[10_000, 100_000, 1_000_000, 10_000_000])]
    {
        for ops in sizes {
            for pending in [0, 10, 100, 1_000] {
                for clients in [5, 50, 500] {
                    row(what, Size { ops: *ops, pending, clients });
                }
            }
        }
    }
    let base = Size { ops: 1_000_000, pending: 100, clients: 5 };
    row("parse", base);
    histories();
    say("\nthe goals, at 1 M ops, 100 pending");
    let met = |reached: f64, goal: f64| if reached <= goal { "met" } else { "MISSED" };
    for clients in [5, 50, 500] {
        let small = row("checks", Size { ops: 100_000, clients, ..base });
        let checks = row("checks", Size { clients, ..base });
        let growth = checks.seconds / small.seconds;
        say(&format!(
            "{clients} clients, checks together: {:.3} of {GOAL_SECONDS} s ({}); {:.0} of {GOAL_MEGABYTES} MB with the history \
             ({}); {growth:.1} of {GOAL_GROWTH} times the time of a tenth of it ({})",
            checks.seconds,
            met(checks.seconds, GOAL_SECONDS),
            checks.peak,
            met(checks.peak, GOAL_MEGABYTES),
            met(growth, GOAL_GROWTH),
        ));
    }
}
