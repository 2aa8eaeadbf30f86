//! Values in Redis that refuse a stale writer: the other half of a fencing token.
//!
//! A token protects only what looks at it. [`FencedRedis`] keeps each value in a hash beside the highest token that has
//! come to it, and looks at both in one script. A read raises the bar, too: else a stale client could slip its write in
//! between the next holder's read and write. It works with tokens of any lock here, also those of ZooKeeper.
//!
//! For other stores the same is a condition in the write itself. In SQL, with `token` a column that starts at 0:
//!
//! ```sql
//! -- 1. Read under the lock, and raise the bar. No row: the token is stale.
//! UPDATE item SET token = $token WHERE id = $id AND token <= $token RETURNING stock;
//! -- 2. Write under the lock. No row: another holder has come since. Nothing was changed.
//! UPDATE item SET stock = $stock WHERE id = $id AND token = $token;
//! ```
//!
//! In ZooKeeper a znode's version does it: read value and version under the lock, write with that version
//! (`client.set_data(path, &data, Some(stat.version))`). A write of anybody since makes it fail with `BadVersion`.
//!
//! Deliberately absent: several keys in one step; put into one value what must change together.

use redis::FromRedisValue;

use super::endpoint::RedisEndpoint;
use super::redis::RedisServer;
use crate::ids::FencingToken;
use crate::lock::error::NodeError;

/// Reads the value of the hash `KEYS[1]` under the token `ARGV[1]`. Returns 1 and the value, or 0 and the highest token
/// if that is beyond. Compares decimal digits, since a number of Lua's is exact to 53 bits only.
pub const FENCED_READ: &str = "local highest = redis.call('HGET', KEYS[1], 'token')
if highest and (#highest > #ARGV[1] or #highest == #ARGV[1] and highest > ARGV[1]) then return {0, highest} end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
return {1, redis.call('HGET', KEYS[1], 'value')}";

/// Writes the value `ARGV[2]` into the hash `KEYS[1]` under the token `ARGV[1]`. Returns as the other.
pub const FENCED_WRITE: &str = "local highest = redis.call('HGET', KEYS[1], 'token')
if highest and (#highest > #ARGV[1] or #highest == #ARGV[1] and highest > ARGV[1]) then return {0, highest} end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'value', ARGV[2])
return {1, false}";

/// What became of a fenced access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced<T> {
    /// It was carried out.
    Served(T),
    /// It was refused and had no effect: a later holder has been here.
    Stale {
        /// That holder's token.
        highest: FencingToken,
    },
}

/// Values in one Redis server, each with the highest token that has come to it.
pub struct FencedRedis {
    server: RedisServer,
}

impl FencedRedis {
    /// The values in this server. Nothing is sent yet.
    pub fn new(endpoint: impl Into<RedisEndpoint>) -> Self {
        Self { server: RedisServer::new(endpoint) }
    }

    /// Reads a value under `token`; from now on no lower token is served. `None` if nobody has written it.
    ///
    /// # Errors
    /// The server gave no usable answer.
    pub async fn read(&self, key: &str, token: FencingToken) -> Result<Fenced<Option<String>>, NodeError> {
        let mut command = redis::cmd("EVAL");
        command.arg(FENCED_READ).arg(1).arg(key).arg(token.0);
        self.server.ask(command, outcome).await?
    }

    /// Writes a value under `token`, if no higher token has come to it.
    ///
    /// # Errors
    /// The server gave no usable answer: unless [`NodeError::is_definite`], the value may have been written.
    pub async fn write(&self, key: &str, token: FencingToken, value: &str) -> Result<Fenced<()>, NodeError> {
        let mut command = redis::cmd("EVAL");
        command.arg(FENCED_WRITE).arg(1).arg(key).arg(token.0).arg(value);
        Ok(match self.server.ask(command, outcome).await?? {
            Fenced::Served(_) => Fenced::Served(()),
            Fenced::Stale { highest } => Fenced::Stale { highest },
        })
    }

    /// Reads a value as it is, without a token: a snapshot for whoever does not write what follows from it.
    ///
    /// # Errors
    /// The server gave no usable answer.
    pub async fn peek(&self, key: &str) -> Result<Option<String>, NodeError> {
        let mut command = redis::cmd("HGET");
        command.arg(key).arg("value");
        self.server.ask(command, |value: Option<String>| value).await
    }
}

fn outcome((served, value): (i64, redis::Value)) -> Result<Fenced<Option<String>>, NodeError> {
    let text = Option::<String>::from_redis_value(value).map_err(|error| NodeError::Unanswered(error.to_string()))?;
    if served == 1 {
        return Ok(Fenced::Served(text));
    }
    let highest = text.as_deref().and_then(|text| text.parse().ok());
    let highest = highest.ok_or_else(|| NodeError::Unanswered(format!("not a token: {text:?}")))?;
    Ok(Fenced::Stale { highest: FencingToken(highest) })
}
