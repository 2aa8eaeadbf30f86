//! What there is to see of a lock at its servers, without taking part: for `fencepost inspect` and its like.
//!
//! Deliberately absent: anything that a lock itself would decide by. What is seen here is over when it is told.

use std::time::Duration;

use super::redis::RedisServer;
use crate::ids::FencingToken;
use crate::lock::backend::Reply;
use crate::lock::error::NodeError;

/// Who has the key `KEYS[1]`: the owner token in it or, of a lock with shares, each reader, writer or permit whose time
/// is not over; false if nobody has. For scripts that begin with it.
macro_rules! with_owner {
    ($rest:literal) => {
        concat!(
            "local function owner()
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return redis.call('GET', KEYS[1]) end
local time, told = redis.call('TIME'), {}
local now, kinds = time[1] * 1000 + math.floor(time[2] / 1000), {r = 'reader', w = 'writer', p = 'permit'}
local shares = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for at = 1, #shares, 2 do
local kind, left = kinds[string.sub(shares[at], 1, 1)], tonumber(shares[at + 1]) - now
if kind and left >= 0 then told[#told + 1] = string.format('%s %s (%.0fms)', kind, string.sub(shares[at], 3), left) end
end
return #told > 0 and table.concat(told, ', ')
end
",
            $rest
        )
    };
}

/// Who has the key `KEYS[1]`, for how many milliseconds more, and what the counter `KEYS[2]` says.
const LOOK: &str = with_owner!("return {owner(), redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[2])}");

/// Deletes the key `KEYS[1]` and counts one more at `KEYS[2]`, if that is there: who had the key, and what the counter
/// says now.
const FORCE_RELEASE: &str = with_owner!(
    "local owner = owner()
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('INCR', KEYS[2]) end
return {owner, redis.call('GET', KEYS[2])}"
);

/// What one Redis server has of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySeen {
    /// The owner token in the lock's key, if it is there; all of them with what they hold, where several may.
    pub owner: Option<String>,
    /// How long the key lives on; none if it is not there, or lives for ever.
    pub left: Option<Duration>,
    /// What the counter of the lock's tokens says, if there is one.
    pub count: Option<FencingToken>,
}

impl RedisServer {
    /// Looks at a lock's key and at its counter.
    ///
    /// # Errors
    /// As for every request.
    pub fn look(&self, key: &str, counter: &str) -> Reply<KeySeen, NodeError> {
        let mut command = redis::cmd("EVAL");
        command.arg(LOOK).arg(2).arg(key).arg(counter);
        self.ask(command, |(owner, left, count): (Option<String>, i64, Option<u64>)| KeySeen {
            owner,
            left: u64::try_from(left).ok().map(Duration::from_millis),
            count: count.map(FencingToken),
        })
    }

    /// Deletes all keys that have `part` in their names, wherever; how many there were. For whoever has made names that
    /// occur nowhere else, and leaves. Goes through the whole database, a thousand keys at a time.
    ///
    /// # Errors
    /// As for every request. What was deleted until then is deleted.
    #[cfg(feature = "harness")]
    pub(crate) async fn delete_with(&self, part: &str) -> Result<u64, NodeError> {
        let (mut cursor, mut deleted) = (0, 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("*{part}*")).arg("COUNT").arg(1_000);
            let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(scan, |found| found).await?;
            if !keys.is_empty() {
                let mut delete = redis::cmd("DEL");
                delete.arg(keys);
                deleted += self.ask(delete, |deleted: u64| deleted).await?;
            }
            if next == 0 {
                return Ok(deleted);
            }
            cursor = next;
        }
    }

    /// Takes a lock from whoever has it, and counts on, so that the next token is beyond the one that was taken back.
    /// The owner that had it, if any, and what the counter says now, if it is there.
    ///
    /// # Errors
    /// As for every request.
    pub fn force_release(&self, key: &str, counter: &str) -> Reply<(Option<String>, Option<FencingToken>), NodeError> {
        let mut command = redis::cmd("EVAL");
        command.arg(FORCE_RELEASE).arg(2).arg(key).arg(counter);
        self.ask(command, |(owner, count): (Option<String>, Option<u64>)| (owner, count.map(FencingToken)))
    }
}
