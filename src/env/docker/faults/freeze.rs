//! `pause`: the container is frozen by Docker's freezer. Its kernel goes on, as after SIGSTOP.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::ground::{Ground, Place, Struck, Wound, not_healed};
use crate::env::docker::journal::{Entry, Undo};
use crate::fault::Member;
use crate::history::Probe;
use crate::nemesis::FaultError;

/// A frozen member.
struct Frozen {
    member: Member,
    entry: Entry,
}

pub(super) async fn apply(ground: &Ground, member: Member, duration: Duration) -> Struck {
    let Place { container, .. } = ground.place(member)?;
    let entry = ground.entry(member, Undo::Unpause)?;
    let before = ground.container_state(member, "before", "running").await?;
    ground.note(&entry, duration)?;
    if let Err(error) = ground.engine.pause(container).await {
        return Err(ground.give_up(&entry, error.to_string()).await);
    }
    let during = ground.container_state(member, "during", "paused").await?;
    Ok((Arc::new(Frozen { member, entry }), vec![before, during]))
}

impl Wound for Frozen {
    fn member(&self) -> Member {
        self.member
    }

    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn undo<'a>(&'a self, ground: &'a Ground) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let Place { container, .. } = ground.place(self.member)?;
            ground.engine.unpause(container).await.map_err(|error| not_healed(self.member, error))?;
            Ok(vec![ground.container_state(self.member, "after", "running").await?])
        }
        .boxed()
    }
}
