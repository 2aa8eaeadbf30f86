//! `kill`, `restart`, `power-loss`: the container's processes end at once, and are started again later.
//!
//! A power loss also takes what no fsync had covered. A Redis server's container cuts its append-only file back when it
//! starts and finds the news beside its clock's page (`docker/redis.sh`). A ZooKeeper server syncs each transaction before
//! it answers, an etcd member each entry of its log, and a client keeps nothing: for them a power loss is a kill.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, FutureExt};

use super::ground::{Ground, Place, Struck, Wound, not_healed};
use crate::env::docker::clocks::POWER_LOSS;
use crate::env::docker::engine::{Container, Role};
use crate::env::docker::journal::{Entry, Undo};
use crate::env::docker::wire;
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

/// A member that is dead.
struct Killed {
    member: Member,
    entry: Entry,
    /// The news of the power loss, if it is one that takes anything.
    has_lost_power: bool,
}

pub(super) async fn apply(ground: &Ground, member: Member, loses_power: bool, duration: Duration) -> Struck {
    let Place { container, clock, .. } = ground.place(member)?;
    let before = ground.container_state(member, "before", "running").await?;
    if !before.passed() {
        return Err(FaultError(format!("{member} is {} already", before.observed)));
    }
    let folder = clock.as_ref().map(|clock| clock.folder.clone());
    let entry = ground.entry(member, Undo::Start { folder: folder.clone() })?;
    // Undoing takes as long as the server takes to answer again: until then the watchdog has nothing to mend.
    ground.note(&entry, duration + RETURN)?;
    let last_words = match member {
        Member::Client(client) => Some((client, ground.lives.dying(client, BootClock.now()))),
        Member::Node(_) | Member::Resource => None,
    };
    if let Err(error) = ground.engine.kill(container).await {
        if let Some((client, _)) = &last_words {
            ground.lives.spared(*client);
        }
        return Err(ground.give_up(&entry, error.to_string()).await);
    }
    let has_lost_power = loses_power && container.role == Role::Redis;
    if let (true, Some(folder)) = (has_lost_power, &folder)
        && let Err(error) = fs::write(folder.join(POWER_LOSS), "")
    {
        return Err(ground.give_up(&entry, format!("{member} cannot be told of its power loss: {error}")).await);
    }
    let during = ground.container_state(member, "during", "stopped").await?;
    if let Some((client, last_words)) = last_words
        && tokio::time::timeout(LAST_WORDS, last_words).await.is_err()
    {
        ground.lives.spared(client);
        return Err(ground.give_up(&entry, format!("{member} was killed, and its connection did not end")).await);
    }
    Ok((Arc::new(Killed { member, entry, has_lost_power }), vec![before, during]))
}

impl Killed {
    /// Waits until a server answers: what it said, or why it did not. A member of an ensemble need not serve yet: what it
    /// waits for may be another strike's end, which waits for this one's.
    async fn answered(&self, ground: &Ground, container: &Container) -> Option<Probe> {
        let address = ground.published(self.member)?;
        let until = BootClock.now() + RETURN;
        let answer = loop {
            match wire::is_there(container.role, address, PATIENCE).await {
                Ok(()) => break "answers".to_owned(),
                Err(error) if BootClock.now() > until => break error.to_string(),
                Err(_) => tokio::time::sleep(ROUND).await,
            }
        };
        Some(Probe::new(format!("after: {} answers", self.member), "answers", answer))
    }

    /// What the server's container said of the power loss.
    async fn lost(&self, ground: &Ground, container: &Container, since: i32) -> Result<Probe, FaultError> {
        // The daemon takes down what a container says in its own time, which may be after the server has answered.
        let until = BootClock.now() + RETURN;
        let (lost, is_done) = loop {
            let log =
                ground.engine.logs_since(container, since).await.map_err(|error| not_healed(self.member, error))?;
            let (lost, is_done) = cut_from(&log);
            if is_done || BootClock.now() > until {
                break (lost, is_done);
            }
            tokio::time::sleep(ROUND).await;
        };
        let what = format!("after: what {} had not synced, {lost} bytes", self.member);
        Ok(Probe::new(what, "gone", if is_done { "gone" } else { "still there" }))
    }
}

/// How many bytes a power loss took, and whether it was played to its end.
fn cut_from(log: &str) -> (u64, bool) {
    let mut lost = 0;
    let mut is_done = false;
    for line in log.lines().filter_map(|line| line.split_once("power loss: ").map(|(_, said)| said)) {
        let numbers: Vec<u64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [had, left] => lost += had.saturating_sub(left),
            _ => is_done |= line == "done",
        }
    }
    (lost, is_done)
}

impl Wound for Killed {
    fn member(&self) -> Member {
        self.member
    }

    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn undo<'a>(&'a self, ground: &'a Ground) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let Place { container, clock, .. } = ground.place(self.member)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let since = i32::try_from(now.as_secs()).unwrap_or_default();
            ground.engine.start(container).await.map_err(|error| not_healed(self.member, error))?;
            let mut probes = ground.came_back(self.member).await;
            probes.push(ground.container_state(self.member, "after", "running").await?);
            probes.extend(self.answered(ground, container).await);
            if self.has_lost_power {
                if let Some(clock) = clock {
                    fs::remove_file(clock.folder.join(POWER_LOSS)).map_err(|error| not_healed(self.member, error))?;
                }
                probes.push(self.lost(ground, container, since).await?);
            }
            Ok(probes)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_power_loss_took_is_added_up() {
        let log = "2026-11-23T22:00:00Z power loss: appendonly.aof.1.base.rdb had 88 bytes, 88 are left\n\
                   2026-11-23T22:00:00Z power loss: appendonly.aof.1.incr.aof had 300 bytes, 130 are left\n";
        assert_eq!(cut_from(log), (170, false));
        assert_eq!(cut_from(&format!("{log}2026-11-23T22:00:00Z power loss: done\n")), (170, true));
        assert_eq!(cut_from("2026-11-23T22:00:00Z Ready to accept connections\n"), (0, false));
    }
}
