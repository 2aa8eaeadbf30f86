//! The watchdog: a process of its own that heals when the harness can't.
//!
//! It holds the read end of a pipe whose write end only the harness has. When the harness dies, however it dies, the
//! pipe ends, and the watchdog undoes what the journal says is outstanding and removes what the run left. While the
//! harness lives it undoes faults that outlast their deadline.
//!
//! A request of the dead harness may still be on its way when all else is healed: the daemon freezes, kills or starts a
//! container that the watchdog has just seen in good order. So it goes on looking until there was nothing to do for a
//! while. Changes of networks need no such vigil: the helper that makes them takes requests in order, and is ended.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::cluster;
use super::cluster_name;
use super::engine::Engine;
use super::heal::{self, Reach};
use super::journal::Journal;
use super::netns::Netns;
use super::run_lock::{RunLock, RunLockError, WATCHDOG};
use super::tempdir;
use crate::time::{BootClock, Clock};

/// How often the watchdog looks for faults past their deadline.
const ROUND: Duration = Duration::from_millis(500);

/// How often, and after which pause, the watchdog tries again to take the lock of a run that has died.
const PATIENCE: u32 = 50;
const MOMENT: Duration = Duration::from_millis(20);

/// How often the watchdog tries again when the daemon does not answer.
const RETRIES: u32 = 20;

/// What is to be removed waits so long for faults that take their time to be undone.
const FAULTS_FIRST: Duration = Duration::from_secs(1);

/// How long there must have been nothing to do before the watchdog goes, and the pause between two looks.
const QUIET: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(250);

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
            .envs(cluster_name::chosen().map(|name| (cluster_name::VARIABLE, name)))
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
                    let _ = heal::overdue(&engine, &journal, now, &reach).await;
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
    let mut tries = 0;
    while let Err(error) = heal_and_remove(&journal, &reach).await {
        give_up_after(&mut tries, error)?;
        tokio::time::sleep(ROUND).await;
    }
    if let Ok(engine) = Engine::connect().await {
        reach.end(&engine).await;
    }
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        tokio::time::sleep(LOOK).await;
        match look_again(&journal).await {
            Ok(true) => {}
            Ok(false) => since = Instant::now(),
            Err(error) => {
                give_up_after(&mut tries, error)?;
                since = Instant::now();
            }
        }
    }
    Ok(journal.clear()?)
}

fn give_up_after(tries: &mut u32, error: anyhow::Error) -> anyhow::Result<()> {
    *tries += 1;
    if *tries < RETRIES {
        return Ok(());
    }
    Err(error.context("the faults of an interrupted run could not be healed; run `fencepost cluster heal`"))
}

/// Undoes all that was done to servers, and removes what only lives as long as a run.
async fn heal_and_remove(journal: &Journal, reach: &Reach) -> anyhow::Result<()> {
    let engine = Engine::connect().await?;
    // Faults first: while containers are removed, a server that was killed can start already.
    let mut healing = std::pin::pin!(heal::servers(&engine, journal, reach));
    match tokio::time::timeout(FAULTS_FIRST, &mut healing).await {
        Ok(healing) => drop(healing?.complete()?),
        Err(_) => {
            let (healing, removed) = tokio::join!(healing, cluster::remove_members(&engine));
            healing?.complete()?;
            removed?;
        }
    }
    // The network helper too: the sweep came after all that it was asked for, so it is not needed any more.
    cluster::remove_leftovers(&engine).await?;
    // What was done to those that are gone now is over as well.
    heal::everything(&engine, journal, None).await?.complete()?;
    tempdir::remove_abandoned();
    Ok(())
}

/// Undoes and removes what has come since. Says whether there was nothing.
async fn look_again(journal: &Journal) -> anyhow::Result<bool> {
    let engine = Engine::connect().await?;
    let undone = heal::everything(&engine, journal, None).await?.complete()?;
    let removed = cluster::remove_members(&engine).await?;
    Ok(undone.is_empty() && removed == 0)
}
