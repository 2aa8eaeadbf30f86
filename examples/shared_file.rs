//! Several processes read and append one file, one at a time.
//!
//! ```sh
//! docker compose -p fencepost up -d
//! cargo run --example shared_file -- examples/redlock.toml      # or examples/zookeeper.toml, examples/redis.toml
//! ```
//!
//! The program starts itself four times. Each process takes the lock ten times; under it, it reads what the others
//! wrote and appends ten lines. At the end the file is looked at: no block may be torn by another's lines, and each
//! must say that it was written after all those that it had seen. This is the first program of Hamed Salameh's
//! "Implementing Distributed Locks in .NET Core with Redis or ZooKeeper"
//! (<https://hamedsalameh.com/implementing-distributed-locks-in-net-core-with-redis-or-zookeeper/>) done right: nothing
//! touches the file without the lock, a lock that was not to be had is an answer and no text of the file, trying again
//! is a loop, and whether the lock is still held is looked at before the file is written.
//!
//! A file cannot refuse a stale writer. What is left is the moment between the last look and the write; where that is
//! too much, keep the data where a token is looked at (`inventory.rs`).

#![expect(clippy::disallowed_methods, reason = "a program of its own lives in real time")]

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use fencepost::ids::LockName;
use fencepost::lock::{AcquireError, AcquireOptions, AttemptError, DistributedLock, Guard, Settings};

const PROCESSES: u32 = 4;
const TURNS: u32 = 10;
const LINES: usize = 10;
/// How long to stand in line before saying so; then it is tried again.
const PATIENCE: Duration = Duration::from_millis(500);

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [settings] => supervise(settings),
        [settings, file, number] => number
            .parse()
            .map_err(Failure::from)
            .and_then(|number| work_as(Path::new(settings), Path::new(file), number)),
        _ => Err("usage: shared_file SETTINGS.toml, such as examples/redlock.toml".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shared_file: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the processes, waits for them, and looks at the file.
fn supervise(settings: &str) -> Result<(), Failure> {
    let file = std::env::temp_dir().join(format!("fencepost-shared-file-{}.txt", std::process::id()));
    let started = Instant::now();
    let program = std::env::current_exe()?;
    let start = |number: u32| Command::new(&program).arg(settings).arg(&file).arg(number.to_string()).spawn();
    let mut processes = (1..=PROCESSES).map(start).collect::<Result<Vec<_>, _>>()?;
    let mut failed = 0;
    for process in &mut processes {
        failed += u32::from(!process.wait()?.success());
    }
    if failed > 0 {
        return Err(format!("{failed} of {PROCESSES} processes failed").into());
    }
    let blocks = blocks(&std::fs::read_to_string(&file)?)?;
    println!(
        "{}: {blocks} blocks of {LINES} lines by {PROCESSES} processes, none torn, each after those it had read; {:?}",
        file.display(),
        started.elapsed()
    );
    if blocks as u32 != PROCESSES * TURNS {
        return Err(format!("{} blocks are missing", PROCESSES * TURNS - blocks as u32).into());
    }
    Ok(())
}

/// How many blocks the file has, if none is torn and each was written after those it had seen.
fn blocks(text: &str) -> Result<usize, Failure> {
    let lines: Vec<&str> = text.lines().collect();
    for (place, block) in lines.chunks(LINES).enumerate() {
        let heading = block[0].split(" line ").next().unwrap_or_default();
        if block.len() != LINES || block.iter().any(|line| !line.starts_with(heading)) {
            return Err(format!("block {place} is torn: {block:#?}").into());
        }
        if !heading.ends_with(&format!(" saw {place} blocks")) {
            return Err(format!("block {place} was written over others: {heading}").into());
        }
    }
    Ok(lines.len() / LINES)
}

#[tokio::main(flavor = "current_thread")]
async fn work_as(settings: &Path, file: &Path, number: u32) -> Result<(), Failure> {
    let lock = Settings::load(settings)?.connect().await?;
    let name = LockName::new(format!("shared-file:{}", file.display()));
    for turn in 1..=TURNS {
        let guard = until_it_is_ours(&*lock, &name, number).await?;
        let written = append(file.to_owned(), &guard, number, turn);
        guard.release().await;
        written?;
    }
    Ok(())
}

/// Tries until the lock is ours, and says so while it is not. A loop: it may go on for long.
async fn until_it_is_ours(lock: &dyn DistributedLock, name: &LockName, number: u32) -> Result<Guard, Failure> {
    loop {
        match lock.acquire(name, &AcquireOptions::within(PATIENCE)).await {
            Ok(guard) => return Ok(guard),
            // Somebody else's turn takes long: that is no failure.
            Err(AcquireError::DeadlineExceeded { last: AttemptError::Contended { .. }, waited }) => {
                println!("process {number}: not ours within {waited:?}, trying on");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads the file and appends to it, both under the lock.
fn append(path: PathBuf, guard: &Guard, number: u32, turn: u32) -> Result<(), Failure> {
    let seen = match std::fs::read_to_string(&path) {
        Ok(text) => text.lines().count() / LINES,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    let mut block = String::new();
    for line in 1..=LINES {
        block += &format!("process {number} turn {turn} saw {seen} blocks line {line}\n");
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // The last look before the write: after a pause of any length the lock may be another's.
    if !guard.is_valid() {
        return Err(format!("process {number} lost the lock before it wrote: {:?}", guard.state()).into());
    }
    // Line by line, so that a lock which excludes nobody shows.
    for line in block.split_inclusive('\n') {
        file.write_all(line.as_bytes())?;
    }
    file.sync_data()?;
    Ok(())
}
