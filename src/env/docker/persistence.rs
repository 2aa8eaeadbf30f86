//! What a Redis server keeps of what it is told, chosen while it runs.
//!
//! The choice is written to the server's own configuration file, so that a kill and a restart do not undo it. Deliberately
//! absent: losing what was kept (`faults/kill.rs`, `docker/redis.sh`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::wire;
use crate::scenario::Persistence;

/// How long the server may take to begin its append-only file: it forks and writes all keys, of which there are none.
const LIMIT: Duration = Duration::from_secs(20);
/// How long one answer may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(2);
/// The pause between two looks.
const ROUND: Duration = Duration::from_millis(20);

/// Has `server` keep what it is told as `kept` says, from now on.
///
/// # Errors
/// It does not answer, refuses, or has not begun its append-only file in time.
pub async fn choose(server: SocketAddr, kept: Persistence) -> io::Result<()> {
    let chosen = match kept {
        Persistence::None => "CONFIG SET appendonly no",
        Persistence::Everysec => "CONFIG SET appendfsync everysec appendonly yes",
        Persistence::Always => "CONFIG SET appendfsync always appendonly yes",
    };
    wire::redis(server, &[chosen, "CONFIG REWRITE"], QUESTION_LIMIT).await?;
    let start = Instant::now();
    loop {
        let told = wire::redis(server, &["INFO persistence"], QUESTION_LIMIT).await?;
        if is_in_force(&told, kept) {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            return Err(io::Error::other(format!("its persistence is not {kept:?} {LIMIT:?} after it was asked for")));
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Whether the server says that it keeps everything from now on, or nothing. Until its first rewrite is over, an
/// append-only file that was just switched on would not be found again after a restart.
fn is_in_force(told: &str, kept: Persistence) -> bool {
    let says = |line: &str| told.lines().any(|told| told == line);
    match kept {
        Persistence::None => says("aof_enabled:0"),
        Persistence::Everysec | Persistence::Always => {
            says("aof_enabled:1")
                && says("aof_rewrite_in_progress:0")
                && says("aof_rewrite_scheduled:0")
                && says("aof_last_bgrewrite_status:ok")
                && says("aof_last_write_status:ok")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_only_file_counts_once_its_first_rewrite_is_over() {
        let told = |rewriting: u8| {
            format!(
                "# Persistence\r\naof_enabled:1\r\naof_rewrite_in_progress:{rewriting}\r\naof_rewrite_scheduled:0\r\n\
                 aof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n"
            )
        };
        assert!(is_in_force(&told(0), Persistence::Always));
        assert!(!is_in_force(&told(1), Persistence::Always));
        assert!(!is_in_force(&told(0), Persistence::None));
        assert!(is_in_force("aof_enabled:0\r\n", Persistence::None));
    }
}
