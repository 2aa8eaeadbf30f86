//! The watchdog: a process of its own that heals when the harness can't.
//!
//! It holds the read end of a pipe whose write end only the harness has. When the harness dies, however it dies, the
//! pipe ends, and the watchdog undoes what the journal says is outstanding and removes what the run left. While the
//! harness lives it undoes faults that outlast their deadline.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::cluster;
use super::engine::Engine;
use super::heal::{self, Reach};
use super::journal::Journal;
use super::netns::Netns;
use super::run_lock::{RunLock, RunLockError, WATCHDOG};
use crate::time::{BootClock, Clock, Nanos};

/// How often the watchdog looks for faults past their deadline.
const ROUND: Duration = Duration::from_millis(500);

/// How often, and after which pause, the watchdog tries again to take the lock of a run that has died.
const PATIENCE: u32 = 50;
const MOMENT: Duration = Duration::from_millis(20);

/// How often the watchdog tries again when the daemon does not answer.
const RETRIES: u32 = 20;

/// The harness's hold on its watchdog. Dropping it (or dying) ends the pipe, and the watchdog heals and goes.
pub struct Watchdog {
    pipe: Option<ChildStdin>,
    process: Child,
}

impl Watchdog {
    /// Starts the watchdog over the journal in `folder`; it reaches into networks by the helper behind `netns`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(folder: &Path, netns: &Path) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("watchdog")
            .arg(folder)
            .arg(netns)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { pipe: process.stdin.take(), process })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.pipe.take();
        // It ends at once when nothing is outstanding, and should be gone before the next run starts its own.
        let _ = self.process.wait();
    }
}

/// The watchdog's own process.
///
/// # Errors
/// The journal cannot be opened, or the daemon did not answer for ten seconds while something was outstanding.
pub async fn main(folder: &Path, netns: &Path) -> anyhow::Result<()> {
    // A session of its own: Ctrl-C at the terminal is for the harness. Fails only if it has one already.
    let _ = rustix::process::setsid();
    let journal = Journal::open(folder)?;
    // Held from now on, so that it outlives the harness.
    let reach = Netns::join(netns).await.map_or_else(|_| Reach::default(), |netns| Reach::with(&netns));
    let mut ended = tokio::task::spawn_blocking(|| {
        let mut byte = [0];
        // Nobody writes: whatever ends the read ends the harness's hold.
        let _ = io::stdin().read(&mut byte);
    });
    loop {
        tokio::select! {
            _ = &mut ended => break,
            () = tokio::time::sleep(ROUND) => {
                let now = BootClock.now();
                if journal.outstanding()?.values().any(|deadline| *deadline < now)
                    && let Ok(engine) = Engine::connect().await
                {
                    // What fails is tried again in the next round.
                    let _ = heal::outstanding(&engine, &journal, now, &reach).await;
                }
            }
        }
    }
    // A process that dies may close the pipe a moment before it lets go of the lock.
    let mut taken = RunLock::try_take(folder, WATCHDOG);
    for _ in 0..PATIENCE {
        if !matches!(taken, Err(RunLockError::Taken(_))) {
            break;
        }
        tokio::time::sleep(MOMENT).await;
        taken = RunLock::try_take(folder, WATCHDOG);
    }
    let lock = match taken {
        // Another run has started since, and has healed before it did anything else.
        Err(RunLockError::Taken(_)) => return Ok(()),
        lock => lock?,
    };
    if !lock.was_left && journal.outstanding()?.is_empty() {
        return Ok(());
    }
    for _ in 0..RETRIES {
        if let Ok(engine) = Engine::connect().await
            && let (Ok(_), Ok(())) =
                tokio::join!(heal::outstanding_at_servers(&engine, &journal, &reach), cluster::remove_members(&engine))
            && let Ok((_, failed)) = heal::outstanding(&engine, &journal, Nanos(u64::MAX), &reach).await
            && failed.is_empty()
        {
            cluster::remove_leftovers(&engine).await?;
            return Ok(journal.clear()?);
        }
        tokio::time::sleep(ROUND).await;
    }
    anyhow::bail!("the faults of an interrupted run could not be healed; run `fencepost cluster heal`")
}
