//! One Redis master over the `redis` crate: the verbs of the seam as commands and scripts. [`link`] brings them there.

mod link;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use redis::{Cmd, FromRedisValue};

use self::link::Link;

use super::endpoint::RedisEndpoint;
use crate::ids::{FencingToken, OwnerToken};
use crate::lock::backend::{Connections, Heard, Ownership, RedisNode, Reply, Share};
use crate::lock::error::NodeError;

/// Sets the time to live (`ARGV[2]`, milliseconds) if the key holds the owner token `ARGV[1]`. Returns 1 ours, 0
/// absent, -1 theirs. Public for models of a Redis node, which must do the same.
pub const EXTEND_IF_OWNER: &str = "local owner = redis.call('GET', KEYS[1])
if not owner then return 0 end
if owner ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

/// Deletes the key if it holds the owner token `ARGV[1]`. Returns 1 ours, 0 absent, -1 theirs. Public as the other.
pub const DELETE_IF_OWNER: &str = "local owner = redis.call('GET', KEYS[1])
if not owner then return 0 end
if owner ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1])
return 1";

/// Sets the key `KEYS[1]` to the owner token `ARGV[1]` for `ARGV[2]` milliseconds and counts one more at `KEYS[2]`, if
/// the key does not exist. Returns what the counter says then, as text, since a number of Lua's is exact to 53 bits
/// only; nil if the key exists. Counts first: a counter that holds no number leaves everything as it was. Public as the
/// others.
pub const SET_AND_COUNT: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return false end
redis.call('INCR', KEYS[2])
local count = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return count";

/// The same with a counter that starts, if it is not there, at the server's time of day in microseconds: beyond
/// whatever a counter that was lost can have said, unless the clock was set back. Public as the others.
pub const SET_AND_FENCE: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then return false end
if redis.call('EXISTS', KEYS[2]) == 0 then
local now = redis.call('TIME')
redis.call('SET', KEYS[2], now[1] .. string.rep('0', 6 - #now[2]) .. now[2])
end
redis.call('INCR', KEYS[2])
local count = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return count";

/// Raises the counter `KEYS[2]` to `ARGV[2]` if the key `KEYS[1]` holds the owner token `ARGV[1]`. Returns 1 if so, 0
/// if it does not or if the counter is beyond. Compares decimal digits, for the same reason. Public as the others.
pub const RAISE_IF_OWNER: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local count = redis.call('GET', KEYS[2])
if count and (#count > #ARGV[2] or #count == #ARGV[2] and count > ARGV[2]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return 1";

/// Calls the first in the line `KEYS[2]` whom anybody hears, and takes those ahead of it out: they are gone. What the
/// user may not do, publishing or touching the line, is left undone: nobody is called, and who waits asks again by
/// himself.
macro_rules! call_next {
    () => {
        "local place = redis.pcall('LPOP', KEYS[2])
while type(place) == 'string' do
local channel, name = string.match(place, '^(%S+) (%S+)$')
local heard = channel and redis.pcall('PUBLISH', channel, name)
if type(heard) == 'number' and heard > 0 then break end
place = redis.pcall('LPOP', KEYS[2])
end"
    };
}

/// As [`DELETE_IF_OWNER`] and, if it was deleted, calls the first in the line `KEYS[2]`. Public as the others.
pub const DELETE_AND_CALL: &str = concat!(
    "local owner = redis.call('GET', KEYS[1])
if not owner then return 0 end
if owner ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1])
",
    call_next!(),
    "
return 1"
);

/// If the key `KEYS[1]` exists, puts the place `ARGV[1]` in the line `KEYS[2]` by the command `ARGV[2]`, unless it
/// stands there, and lets the line live for `ARGV[3]` milliseconds. Returns what `PTTL` says of the key. Public as the
/// others.
pub const STAND_IN_LINE: &str = "local left = redis.call('PTTL', KEYS[1])
if left == -2 then return -2 end
if not redis.call('LPOS', KEYS[2], ARGV[1]) then redis.call(ARGV[2], KEYS[2], ARGV[1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return left";

/// Takes the place `ARGV[1]` out of the line `KEYS[2]`; if it was not there any more, and the key `KEYS[1]` does not
/// exist, calls the next. Returns whether it was there. Public as the others.
pub const LEAVE_LINE: &str = concat!(
    "if redis.call('LREM', KEYS[2], 0, ARGV[1]) > 0 then return 1 end
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
",
    call_next!(),
    "
return 0"
);

/// Takes a share of the sorted set `KEYS[1]`, whose members are shares (a letter, a colon, the owner token) and whose
/// scores are the last milliseconds of their lives on the server's clock: `ARGV[1]` is the owner token, `ARGV[2]` the
/// milliseconds to live, `ARGV[3]` the letter (r reads, w writes, p has a permit), `ARGV[4]` the number of permits or,
/// of a writer, for how many milliseconds it keeps new readers out if it is refused because of readers. That mark is
/// the member `!`. Returns what the counter `KEYS[2]` says, which is raised as by [`SET_AND_FENCE`]; nil if there is no
/// share left. Public as the others.
pub const TAKE_SHARE: &str = "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now))
local waits = redis.call('ZSCORE', KEYS[1], '!')
local taken = redis.call('ZCARD', KEYS[1])
if waits then taken = taken - 1 end
local kind
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, 1)) do
if member ~= '!' then kind = string.sub(member, 1, 1) end
end
if ARGV[3] == 'r' and (waits or kind and kind ~= 'r') then return false end
if ARGV[3] == 'p' and kind and (kind ~= 'p' or taken >= tonumber(ARGV[4])) then return false end
if ARGV[3] == 'w' and kind then
if kind == 'r' then redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[4]), '!') end
return false
end
if redis.call('EXISTS', KEYS[2]) == 0 then
redis.call('SET', KEYS[2], time[1] .. string.rep('0', 6 - #time[2]) .. time[2])
end
redis.call('INCR', KEYS[2])
local count = redis.call('GET', KEYS[2])
if ARGV[3] == 'w' then redis.call('DEL', KEYS[1]) end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[3] .. ':' .. ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return count";

/// Gives the share of letter `ARGV[3]` and owner token `ARGV[1]` in `KEYS[1]` `ARGV[2]` milliseconds to live from now.
/// Returns 1 if it is there, 0 if it is not or its time is over. Public as the others.
pub const EXTEND_SHARE: &str = "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local share = ARGV[3] .. ':' .. ARGV[1]
local until_ms = redis.call('ZSCORE', KEYS[1], share)
if not until_ms or tonumber(until_ms) < now then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), share)
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1";

/// Takes the share of letter `ARGV[2]` and owner token `ARGV[1]` out of `KEYS[1]`. Returns 1 if it was there, 0 if it
/// was not or its time was over. Public as the others.
pub const RETURN_SHARE: &str = "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local share = ARGV[2] .. ':' .. ARGV[1]
local until_ms = redis.call('ZSCORE', KEYS[1], share)
redis.call('ZREM', KEYS[1], share)
if not until_ms or tonumber(until_ms) < now then return 0 end
return 1";

/// A Redis master at an address. Connects when it is first asked, and again when the connection has failed.
pub struct RedisServer {
    name: String,
    link: Arc<Link>,
}

impl RedisServer {
    /// The master there; a socket address stands for one without password, and database 0.
    pub fn new(endpoint: impl Into<RedisEndpoint>) -> Self {
        Self::with(endpoint, Connections::default())
    }

    /// The same, over connections of this kind.
    pub fn with(endpoint: impl Into<RedisEndpoint>, connections: Connections) -> Self {
        let endpoint = endpoint.into();
        Self { name: endpoint.to_string(), link: Link::new(endpoint, connections) }
    }

    /// Asks for a sign of life: an error if the server is not there, or refuses the password.
    ///
    /// # Errors
    /// As for every request.
    pub fn ping(&self) -> Reply<(), NodeError> {
        self.ask(redis::cmd("PING"), |_: String| ())
    }

    pub(super) fn ask<T: FromRedisValue + 'static, R: Send + 'static>(
        &self,
        command: Cmd,
        read: impl FnOnce(T) -> R + Send + 'static,
    ) -> Reply<R, NodeError> {
        let answer = Arc::clone(&self.link).ask(command);
        async move {
            match answer.await? {
                // The crate gives the error reply of a single command as a value.
                redis::Value::ServerError(error) => Err(refusal(&error)),
                value => redis::from_redis_value::<T>(value)
                    .map(read)
                    .map_err(|error| NodeError::Unanswered(error.to_string())),
            }
        }
        .boxed()
    }
}

/// What an error reply means, as the server worded it.
fn refusal(error: &redis::ServerError) -> NodeError {
    let text = match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    };
    NodeError::from_error_reply(&text)
}

/// What `PTTL` says.
fn left(millis: i64) -> Option<Duration> {
    match millis {
        -2 => None,
        -1 => Some(Duration::MAX),
        left => Some(Duration::from_millis(left.unsigned_abs())),
    }
}

fn ownership(code: i64) -> Ownership {
    match code {
        1 => Ownership::Ours,
        0 => Ownership::Absent,
        _ => Ownership::Theirs,
    }
}

fn millis(ttl: Duration) -> u64 {
    // A TTL of 0 is an error to Redis.
    (ttl.as_millis() as u64).max(1)
}

/// One script call. `EVAL`, not `EVALSHA`: always one round trip, also after a restart of the server.
fn eval(script: &str, keys: &[&str], first: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys).arg(first);
    command
}

impl RedisNode for RedisServer {
    fn name(&self) -> &str {
        &self.name
    }

    fn set_if_absent(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<bool, NodeError> {
        let mut command = redis::cmd("SET");
        command.arg(key).arg(owner.as_str()).arg("NX").arg("PX").arg(millis(ttl));
        self.ask(command, |reply: Option<String>| reply.is_some())
    }

    fn set_and_count(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        let mut command = eval(SET_AND_COUNT, &[key, counter], owner.as_str());
        command.arg(millis(ttl));
        self.ask(command, |count: Option<u64>| count.map(FencingToken))
    }

    fn set_and_fence(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
    ) -> Reply<Option<FencingToken>, NodeError> {
        let mut command = eval(SET_AND_FENCE, &[key, counter], owner.as_str());
        command.arg(millis(ttl));
        self.ask(command, |count: Option<u64>| count.map(FencingToken))
    }

    fn raise_if_owner(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        token: FencingToken,
    ) -> Reply<bool, NodeError> {
        let mut command = eval(RAISE_IF_OWNER, &[key, counter], owner.as_str());
        command.arg(token.0);
        self.ask(command, |raised: i64| raised == 1)
    }

    fn extend_if_owner(&self, key: &str, owner: &OwnerToken, ttl: Duration) -> Reply<Ownership, NodeError> {
        let mut command = eval(EXTEND_IF_OWNER, &[key], owner.as_str());
        command.arg(millis(ttl));
        self.ask(command, ownership)
    }

    fn delete_if_owner(&self, key: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        self.ask(eval(DELETE_IF_OWNER, &[key], owner.as_str()), ownership)
    }

    fn delete_and_call(&self, key: &str, line: &str, owner: &OwnerToken) -> Reply<Ownership, NodeError> {
        self.ask(eval(DELETE_AND_CALL, &[key, line], owner.as_str()), ownership)
    }

    fn stand_in_line(
        &self,
        key: &str,
        line: &str,
        place: &str,
        front: bool,
        patience: Duration,
    ) -> Reply<Option<Duration>, NodeError> {
        let mut command = eval(STAND_IN_LINE, &[key, line], place);
        command.arg(if front { "LPUSH" } else { "RPUSH" }).arg(millis(patience));
        self.ask(command, left)
    }

    fn leave_line(&self, key: &str, line: &str, place: &str) -> Reply<(), NodeError> {
        self.ask(eval(LEAVE_LINE, &[key, line], place), |_: i64| ())
    }

    fn listen(&self, channel: &str) -> Reply<Heard, NodeError> {
        Arc::clone(&self.link).listen(channel.to_owned()).boxed()
    }

    fn take_share(
        &self,
        key: &str,
        counter: &str,
        owner: &OwnerToken,
        ttl: Duration,
        share: Share,
    ) -> Reply<Option<FencingToken>, NodeError> {
        let mut command = eval(TAKE_SHARE, &[key, counter], owner.as_str());
        let number = match share {
            Share::Read => 0,
            Share::Write { waits } => millis(waits),
            Share::Permit { of } => of.into(),
        };
        command.arg(millis(ttl)).arg(share.letter()).arg(number);
        self.ask(command, |count: Option<u64>| count.map(FencingToken))
    }

    fn extend_share(&self, key: &str, owner: &OwnerToken, ttl: Duration, share: Share) -> Reply<Ownership, NodeError> {
        let mut command = eval(EXTEND_SHARE, &[key], owner.as_str());
        command.arg(millis(ttl)).arg(share.letter());
        self.ask(command, ownership)
    }

    fn return_share(&self, key: &str, owner: &OwnerToken, share: Share) -> Reply<Ownership, NodeError> {
        let mut command = eval(RETURN_SHARE, &[key], owner.as_str());
        command.arg(share.letter());
        self.ask(command, ownership)
    }
}
