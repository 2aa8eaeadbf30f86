//! The lock on a cluster of containers: one run at a time, whoever starts it and wherever he keeps his state.
//!
//! A container's name is unique in its daemon, and creating one is atomic: the lock is the name of the run's network
//! helper, which lives for as long as anybody of the run does, its watchdog included. [`super::run_lock`] beside it is
//! the lock of one state folder, with the journal. Deliberately absent: which cluster; see [`super::cluster_name`].

use std::time::Duration;

use tokio::time::Instant;

use super::cluster_name::cluster;
use super::container::{Container, LABEL_WHO, Role, State};
use super::engine::{Engine, EngineError};
use super::netns::{Netns, NetnsError};

/// The name that only one helper can have.
fn name() -> String {
    format!("{}-run", cluster())
}

/// How long a start waits for a run that is ending, or for the watchdog of one that was killed.
const WAIT: Duration = Duration::from_secs(20);
/// The pause between two tries.
const ROUND: Duration = Duration::from_millis(200);

/// Why the cluster cannot be had now.
#[derive(Debug, thiserror::Error)]
pub enum ClusterLockError {
    /// Somebody has it.
    #[error(
        "a run is using the cluster on this Docker daemon ({who}): wait for it, end it with Ctrl-C there, or have a cluster of \
         your own beside it with --cluster NAME{remedy}"
    )]
    Taken {
        /// Who.
        who: String,
        /// What else can be done.
        remedy: &'static str,
    },
    /// The daemon.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network helper.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// Takes the cluster of this daemon for `who`, by starting the run's network helper. It is given back when nobody holds
/// on to the helper any more.
///
/// # Errors
/// Another run has it, or the helper does not start.
pub async fn take(engine: &Engine, who: &str) -> Result<Netns, ClusterLockError> {
    let began = Instant::now();
    loop {
        match Netns::start_as(engine, Some((&name(), who))).await {
            Err(NetnsError::Engine(error)) if error.is_conflict() => {}
            started => return Ok(started?),
        }
        match holder(engine).await? {
            // Between being made and being started, or on its way out; or its maker died between the two.
            Some(helper) if helper.state != State::Running && began.elapsed() > WAIT => engine.remove(&helper).await?,
            // The watchdog of a dead run lets go of the helper in a moment.
            Some(helper) if helper.state == State::Running && (lives_here(&helper) || began.elapsed() > WAIT) => {
                return Err(ClusterLockError::Taken { who: told(&helper), remedy: "" });
            }
            _ => {}
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Sees that no run is going on, for what would disturb it.
///
/// # Errors
/// One is, and `remedy` says what can be done all the same.
pub async fn idle(engine: &Engine, remedy: &'static str) -> Result<(), ClusterLockError> {
    let began = Instant::now();
    loop {
        match holder(engine).await? {
            Some(helper) if helper.state == State::Running => {
                if lives_here(&helper) || began.elapsed() > WAIT {
                    return Err(ClusterLockError::Taken { who: told(&helper), remedy });
                }
            }
            _ => return Ok(()),
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn holder(engine: &Engine) -> Result<Option<Container>, EngineError> {
    let containers = engine.containers().await?;
    Ok(containers.into_iter().find(|own| own.role == Role::Netns && own.name == name()))
}

/// Whether the process that took the lock can be seen to live. One that cannot may be dead, and its watchdog about to
/// go, or live where this process does not see it: a helper that stays is proof enough.
fn lives_here(helper: &Container) -> bool {
    let process = helper.who.as_deref().and_then(|who| who.rsplit_once("process ")).and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok())
    });
    process.is_some_and(|process| std::path::Path::new(&format!("/proc/{process}")).exists())
}

fn told(helper: &Container) -> String {
    helper.who.clone().unwrap_or_else(|| format!("its container {} has no label {LABEL_WHO}", name()))
}
