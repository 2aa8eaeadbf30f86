//! `pause`: the container is frozen by Docker's freezer. Its kernel goes on, as after SIGSTOP.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use super::context::{Context, LOOKING, Mechanism, Place, Struck, not_healed};
use crate::env::docker::journal::Undo;
use crate::fault::Member;
use crate::history::Probe;
use crate::nemesis::FaultError;

/// A member's processes do not run.
struct Frozen;

pub(super) async fn apply(context: &Context, member: Member, duration: Duration) -> Struck {
    let Place { container, .. } = context.place(member)?;
    let before = context.container_state(member, "before", "running").await?;
    let freeze = async {
        context.engine.pause(container).await.map_err(|error| FaultError(error.to_string()))?;
        let during = context.container_state(member, "during", "paused").await?;
        Ok((Frozen, vec![before, during]))
    };
    context.strike(member, Undo::Unpause, duration + LOOKING, freeze).await
}

impl Mechanism for Frozen {
    fn undo<'a>(&'a self, context: &'a Context, member: Member) -> BoxFuture<'a, Result<Vec<Probe>, FaultError>> {
        async move {
            let Place { container, .. } = context.place(member)?;
            context.engine.unpause(container).await.map_err(|error| not_healed(member, error))?;
            Ok(vec![context.state_after(member, "running").await])
        }
        .boxed()
    }
}
