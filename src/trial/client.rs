//! What a client's program does around the client loop, in every world: the randomness of its lock, the first
//! connections, the word that it did not run.

use std::time::Duration;

use crate::history::{F, Life, Op, OpType, Process};
use crate::ids::{ClientId, LockName};
use crate::lock::{AcquireError, AcquireOptions, DistributedLock};
use crate::seed::{ChaCha8Rng, Seed};
use crate::time::Nanos;

/// How long a client tries to reach its lock servers before the trial is called off.
const WARM_UP: Duration = Duration::from_secs(10);

/// A time without running that is worth a `stall` in the history: far above a busy machine's hiccups.
const STALL: Duration = Duration::from_millis(250);

/// What a client's lock draws, retry jitter and owner tokens: a stream of its own for each client and life, apart from
/// what the workload draws.
pub fn lock_stream(seed: Seed, client: ClientId, life: u32) -> ChaCha8Rng {
    let ClientId(client) = client;
    match life {
        1 => seed.stream(&format!("client/{client}/lock")),
        life => seed.stream(&format!("client/{client}/lock/life/{life}")),
    }
}

/// Opens connections and sessions on a lock of the client's own, so that the first turn measures the lock.
///
/// # Errors
/// The lock cannot be used at all. One that is started again under a fault goes on as it is, like any program.
pub async fn warm_up(lock: &dyn DistributedLock, client: ClientId, life: &Life) -> Result<(), AcquireError> {
    let name = LockName::new(format!("warm-up-{}", client.0));
    match lock.acquire(&name, &AcquireOptions::within(WARM_UP)).await {
        Ok(guard) => drop(guard.release().await),
        Err(_) if life.number() > 1 => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What a client that runs again at `now` has to tell, having run last at `since`; nothing, if that is not long ago.
pub fn stall(client: ClientId, since: Nanos, now: Nanos) -> Option<Op> {
    if now - since <= STALL {
        return None;
    }
    let mut op = Op::new(now, Process::Monitor, OpType::Ok, F::Stall);
    (op.client, op.since) = (Some(client), Some(since));
    Some(op)
}
