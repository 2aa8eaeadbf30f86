//! `kill`, `restart`, `power-loss`: the container's processes end at once, and are started again later.
//!
//! A power loss also takes what no fsync had covered, where a server keeps anything that it has not synced: its
//! container finds the news beside its clock's page when it starts. For all others, and for a client, which keeps
//! nothing, it is a kill.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt};

use super::context::{Context, Mechanism, Place, Struck, not_healed};
use crate::env::docker::backends::{self, ContainerBackend, PowerLoss};
use crate::env::docker::clocks::POWER_LOSS;
use crate::env::docker::container::{Container, Role};
use crate::env::docker::journal::Undo;
use crate::fault::Member;
use crate::history::Probe;
use crate::nemesis::FaultError;
use crate::time::{BootClock, Clock};

/// How long all that a client said before its death may take to be heard.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a server may take until it answers again.
const RETURN: Duration = Duration::from_secs(30);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// The pause between two questions.
const ROUND: Duration = Duration::from_millis(20);

/// A member's processes have ended.
struct Killed {
    /// What a power loss took with them, if it was one that takes anything.
    power_loss: Option<PowerLoss>,
}

pub(super) async fn apply(context: &Context, member: Member, loses_power: bool, duration: Duration) -> Struck {
    let Place { container, clock, .. } = context.place(member)?;
    let before = context.container_state(member, "before", "running").await?;
    if !before.passed() {
        return Err(FaultError(format!("{member} is {} already", before.observed)));
    }
    let folder = clock.as_ref().map(|clock| clock.folder.clone());
    let power_loss = backend(container).filter(|_| loses_power).and_then(ContainerBackend::power_loss);
    let undo = Undo::Start { folder: folder.clone() };
    let kill = async {
        let last_words = match member {
            Member::Client(client) => Some((client, context.known.dying(client, BootClock.now()))),
            Member::Node(_) | Member::Resource => None,
        };
        if let Err(error) = context.engine.kill(container).await {
            if let Some((client, _)) = &last_words {
                context.known.spared(*client);
            }
            return Err(FaultError(error.to_string()));
        }
        if let (Some(_), Some(folder)) = (power_loss, &folder) {
            let told = fs::write(folder.join(POWER_LOSS), "");
            told.map_err(|error| FaultError(format!("{member} cannot be told of its power loss: {error}")))?;
        }
        let during = context.container_state(member, "during", "stopped").await?;
        if let Some((client, last_words)) = last_words
            && tokio::time::timeout(LAST_WORDS, last_words).await.is_err()
        {
            context.known.spared(client);
            return Err(FaultError(format!("{member} was killed, and its connection did not end")));
        }
        Ok((Killed { power_loss }, vec![before, during]))
    };
    // Undoing takes as long as the server takes to answer again: until then the watchdog has nothing to mend.
    context.strike(member, undo, duration + RETURN, kill).await
}

/// What a container is a server of, if it is one.
fn backend(container: &Container) -> Option<&'static dyn ContainerBackend> {
    match container.role {
        Role::Server(backend) => Some(backends::of(backend)),
        _ => None,
    }
}

/// What the last of so many questions says of a server that was started again. Silence is no sign that it is down: one
/// that is refuses connections, or they end at once.
fn answer_probe(member: Member, answer: io::Result<()>, looks: u32) -> Probe {
    let (what, expected) = (format!("after: {member} answers"), "answers");
    match answer {
        Ok(()) => Probe::new(what, expected, expected),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Probe::unseen(what, expected, looks),
        Err(error) => Probe::new(what, expected, error.to_string()),
    }
}

impl Killed {
    /// Waits until a server answers: what it said, or why it did not. A member of an ensemble need not serve yet: what
    /// it waits for may be another strike's end, which waits for this one's.
    async fn answered(context: &Context, member: Member, container: &Container) -> Option<Probe> {
        let (address, backend) = (context.published(member)?, backend(container)?);
        let until = BootClock.now() + RETURN;
        let mut looks = 0;
        let answer = loop {
            looks += 1;
            match backend.is_there(address, PATIENCE).await {
                Ok(()) => break Ok(()),
                Err(error) if BootClock.now() > until => break Err(error),
                Err(_) => tokio::time::sleep(ROUND).await,
            }
        };
        Some(answer_probe(member, answer, looks))
    }

    /// What the server's container said of the power loss.
    async fn lost(
        context: &Context,
        member: Member,
        container: &Container,
        taken: fn(&str) -> (u64, bool),
        since: i32,
    ) -> Result<Probe, FaultError> {
        // The daemon takes down what a container says in its own time, which may be after the server has answered.
        let until = BootClock.now() + RETURN;
        let (lost, is_done) = loop {
            let log = context.engine.logs_since(container, since).await.map_err(|error| not_healed(member, error))?;
            let (lost, is_done) = taken(&log);
            if is_done || BootClock.now() > until {
                break (lost, is_done);
            }
            tokio::time::sleep(ROUND).await;
        };
        let what = format!("after: what {member} had not synced, {lost} bytes");
        Ok(Probe::new(what, "gone", if is_done { "gone" } else { "still there" }))
    }
}

impl Mechanism for Killed {
    fn undo<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let Place { container, clock, .. } = context.place(member)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let since = i32::try_from(now.as_secs()).unwrap_or_default();
            context.engine.start(container).await.map_err(|error| not_healed(member, error))?;
            let mut probes = context.came_back(member).await;
            probes.push(context.state_after(member, "running").await);
            probes.extend(Self::answered(context, member, container).await);
            if let Some(PowerLoss { taken, .. }) = self.power_loss {
                if let Some(clock) = clock {
                    fs::remove_file(clock.folder.join(POWER_LOSS)).map_err(|error| not_healed(member, error))?;
                }
                probes.push(Self::lost(context, member, container, taken, since).await?);
            }
            Ok(probes)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    #[test]
    fn a_server_that_is_silent_is_not_shown_to_be_down() {
        let probe = |answer: io::Result<()>| answer_probe(Member::Node(NodeId(2)), answer, 50);
        assert!(probe(Ok(())).passed());
        let silent = probe(Err(io::ErrorKind::TimedOut.into()));
        assert!(silent.unseen && !silent.denied() && silent.looks == Some(50));
        assert!(probe(Err(io::ErrorKind::ConnectionRefused.into())).denied());
        assert!(probe(Err(io::Error::other("not serving yet"))).denied(), "a connection that ends at once");
    }
}
