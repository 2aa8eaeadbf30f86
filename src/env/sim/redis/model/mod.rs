//! The model of one Redis node: keys with deadlines, the commands and scripts that locks use, crashes and restarts.
//!
//! A pure state machine: the caller says what time it is on the node's two clocks. Expiry is a comparison with the
//! *wall* clock when a key is accessed, as in the server, with the server's edges:
//! - a key lives through the millisecond of its deadline (`now > deadline` ends it), but `PEXPIREAT` to now, or
//!   `PEXPIRE` by 0, deletes at once;
//! - a script sees one time from start to end;
//! - deadlines are absolute, so a clock that jumps back lengthens what is left of a key, also over a restart, and
//!   revives none that was deleted. One that was overdue but not accessed *is* back, unless the server's background
//!   sweep ([`RedisModel::sweep`]) came first.
//!
//! The conformance test compares it with a real server, command by command. Deliberately absent: timers, connections,
//! latency (the simulation's own), types other than strings and the sorted sets of [`shares`] (a line of who waits is a
//! list in the server and a text here, so only the scripts about lines may touch it), eviction, replication. An
//! `everysec` server schedules its fsyncs by its cached wall clock; the model does by the monotonic one, so a jump back
//! does not hold them up here.

mod channels;
mod command;
mod disk;
mod entry;
mod line;
mod shares;

use std::collections::hash_map;

use smol_str::{SmolStr, ToSmolStr};

use self::channels::Channels;
pub use self::command::{Command, Reply};
use self::disk::{Change, Disk};
pub use self::entry::Entry;
use self::entry::Keys;
pub use crate::scenario::Persistence;
use crate::time::Nanos;
use crate::wire::resp::LOADING;

/// One Redis node.
#[derive(Clone, Debug)]
pub struct RedisModel {
    /// While the node is down: what it will find when it starts.
    keys: Keys,
    disk: Disk,
    running: bool,
    channels: Channels,
}

/// The node's two clocks at one command.
#[derive(Clone, Copy)]
struct Now {
    wall_ms: i64,
    mono: Nanos,
}

impl RedisModel {
    /// An empty node that runs.
    pub fn new(persistence: Persistence) -> Self {
        Self { keys: Keys::default(), disk: Disk::new(persistence), running: true, channels: Channels::default() }
    }

    /// Carries out a command at `wall_ms` on the node's wall clock, milliseconds since the epoch, and at `mono` on its
    /// monotonic one, which must not go back.
    ///
    /// # Panics
    /// If the node is down: whoever delivers requests must not deliver them to the dead.
    pub fn execute(&mut self, wall_ms: i64, mono: Nanos, command: &Command) -> Reply {
        assert!(self.running, "a command reached a node that is down: {command}");
        let now = Now { wall_ms, mono };
        match command {
            Command::Set { key, value, if_absent, px_ms } => self.set(now, key, value, *if_absent, *px_ms),
            Command::Get(key) => self.look(now, key).map_or(Reply::Nil, |entry| Reply::Bulk(entry.value.to_string())),
            Command::Del(key) => Reply::flag(self.delete(now, key)),
            Command::Pttl(key) => Reply::Integer(self.pttl(now, key)),
            Command::Pexpire(key, ms) => self.pexpire(now, key, *ms),
            Command::PexpireAt(key, deadline) => Reply::flag(self.expire_at(now, key, *deadline)),
            Command::Incr(key) => self.incr(now, key),
            Command::Exists(key) => Reply::flag(self.look(now, key).is_some()),
            Command::Time => {
                let (seconds, micros) = (wall_ms.div_euclid(1000), wall_ms.rem_euclid(1000) * 1000);
                Reply::Array(vec![Reply::Bulk(seconds.to_string()), Reply::Bulk(micros.to_string())])
            }
            Command::FlushAll => {
                self.disk.write(mono, || Change::Clear);
                self.keys.clear();
                Reply::Ok
            }
            Command::ExtendIfOwner { key, owner, ttl_ms } => match self.owned(now, key, owner) {
                1 => match self.pexpire(now, key, *ttl_ms) {
                    Reply::Integer(_) => Reply::Integer(1),
                    refused => refused,
                },
                other => Reply::Integer(other),
            },
            Command::DeleteIfOwner { key, owner } => match self.owned(now, key, owner) {
                1 => Reply::flag(self.delete(now, key)),
                other => Reply::Integer(other),
            },
            Command::SetAndCount { key, counter, owner, ttl_ms } => {
                self.set_and_count(now, key, counter, owner, *ttl_ms)
            }
            Command::SetAndFence { key, counter, owner, ttl_ms } => {
                self.set_and_fence(now, key, counter, owner, *ttl_ms)
            }
            Command::RaiseIfOwner { key, counter, owner, token } => {
                Reply::flag(self.raise_if_owner(now, key, counter, owner, *token))
            }
            Command::DeleteAndCall { key, line, owner } => match self.owned(now, key, owner) {
                1 => {
                    self.delete(now, key);
                    self.call_next(now, line);
                    Reply::Integer(1)
                }
                other => Reply::Integer(other),
            },
            Command::StandInLine { key, line, place, front, patience_ms } => {
                self.stand_in_line(now, key, line, place, *front, *patience_ms)
            }
            Command::LeaveLine { key, line, place } => Reply::flag(self.leave_line(now, key, line, place)),
            // It is about a connection, which this knows nothing of: see [`RedisModel::subscribe`].
            Command::Subscribe(_) => Reply::Ok,
            Command::TakeShare { key, counter, owner, ttl_ms, share } => {
                self.take_share(now, key, counter, owner, *ttl_ms, *share)
            }
            Command::ExtendShare { key, owner, ttl_ms, share } => self.extend_share(now, key, owner, *ttl_ms, *share),
            Command::ReturnShare { key, owner, share } => self.return_share(now, key, owner, *share),
            Command::Refused => Reply::Error(LOADING.to_owned()),
        }
    }

    /// Deletes every key whose deadline has come at `wall_ms`, as the server does by itself ten times a second.
    ///
    /// The sweep is a millisecond stricter than an access: it takes keys in the millisecond of their deadline. Other
    /// than that only a clock that goes back tells the difference: without a sweep in between, a key that was overdue
    /// for a moment and that nobody accessed lives on.
    pub fn sweep(&mut self, wall_ms: i64, mono: Nanos) {
        self.keys.retain(|key, entry| {
            let delete = entry.deadline.is_some_and(|deadline| wall_ms >= deadline);
            if delete {
                self.disk.write(mono, || Change::Delete(key.clone()));
            }
            !delete
        });
    }

    /// Ends the process at once (`kill -9`). The page cache survives: only a node without an append-only file forgets.
    pub fn crash(&mut self) {
        self.running = false;
        self.channels = Channels::default();
        if self.disk.persistence == Persistence::None {
            self.keys.clear();
        }
    }

    /// Cuts the machine's power at `mono` on the node's monotonic clock: what no fsync had covered is lost.
    pub fn power_loss(&mut self, mono: Nanos) {
        self.crash();
        self.disk.power_loss(mono, &mut self.keys);
    }

    /// Starts the node again with what it finds on its disk. Deadlines are as they were, in wall time.
    pub fn restart(&mut self) {
        self.running = true;
    }

    /// Whether the node runs.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// All keys, overdue or not, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.keys.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// What a key holds, overdue or not, without the effects of an access: for explanations, not for clients.
    pub fn peek(&self, key: &str) -> Option<&Entry> {
        self.keys.get(key)
    }

    /// What a key holds; one that is overdue is deleted.
    fn look(&mut self, now: Now, key: &SmolStr) -> Option<&Entry> {
        // One search for both. Keys are short: to copy one costs less.
        let hash_map::Entry::Occupied(known) = self.keys.entry(key.clone()) else { return None };
        if known.get().deadline.is_some_and(|deadline| now.wall_ms > deadline) {
            self.disk.write(now.mono, || Change::Delete(key.clone()));
            known.remove();
            return None;
        }
        Some(known.into_mut())
    }

    fn pttl(&mut self, now: Now, key: &SmolStr) -> i64 {
        match self.look(now, key) {
            None => -2,
            Some(Entry { deadline: None, .. }) => -1,
            Some(Entry { deadline: Some(deadline), .. }) => deadline.saturating_sub(now.wall_ms).max(0),
        }
    }

    fn put(&mut self, now: Now, key: &SmolStr, entry: Entry) {
        self.disk.write(now.mono, || Change::Put(key.clone(), entry.clone()));
        self.keys.insert(key.clone(), entry);
    }

    fn remove(&mut self, now: Now, key: &SmolStr) {
        self.disk.write(now.mono, || Change::Delete(key.clone()));
        self.keys.remove(key);
    }

    fn set(&mut self, now: Now, key: &SmolStr, value: &SmolStr, if_absent: bool, px_ms: Option<i64>) -> Reply {
        let deadline = match px_ms {
            None => None,
            Some(ms) => match now.wall_ms.checked_add(ms) {
                Some(deadline) if ms > 0 => Some(deadline),
                // Also if NX would not hold: arguments are checked first.
                _ => return Reply::refused("invalid expire time in 'set' command"),
            },
        };
        if if_absent && self.look(now, key).is_some() {
            return Reply::Nil;
        }
        self.put(now, key, Entry { value: value.clone(), deadline });
        Reply::Ok
    }

    fn delete(&mut self, now: Now, key: &SmolStr) -> bool {
        let found = self.look(now, key).is_some();
        if found {
            self.remove(now, key);
        }
        found
    }

    fn pexpire(&mut self, now: Now, key: &SmolStr, ms: i64) -> Reply {
        match now.wall_ms.checked_add(ms) {
            Some(deadline) => Reply::flag(self.expire_at(now, key, deadline)),
            None => Reply::refused("invalid expire time in 'pexpire' command"),
        }
    }

    /// Gives a key a deadline: whether it existed. A deadline that has come deletes it.
    fn expire_at(&mut self, now: Now, key: &SmolStr, deadline: i64) -> bool {
        let Some(entry) = self.look(now, key) else { return false };
        if deadline <= now.wall_ms {
            self.remove(now, key);
        } else {
            let entry = Entry { deadline: Some(deadline), ..entry.clone() };
            self.put(now, key, entry);
        }
        true
    }

    fn incr(&mut self, now: Now, key: &SmolStr) -> Reply {
        let entry = self.look(now, key).cloned().unwrap_or(Entry { value: SmolStr::new_static("0"), deadline: None });
        // The server reads only what it would write itself: no sign +, no zeros ahead.
        let number = entry.value.parse::<i64>().ok().filter(|number| number.to_string() == entry.value);
        let Some(number) = number else { return Reply::refused("value is not an integer or out of range") };
        let Some(next) = number.checked_add(1) else {
            return Reply::refused("increment or decrement would overflow");
        };
        self.put(now, key, Entry { value: next.to_smolstr(), ..entry });
        Reply::Integer(next)
    }

    fn set_and_count(&mut self, now: Now, key: &SmolStr, counter: &SmolStr, owner: &SmolStr, ttl_ms: i64) -> Reply {
        if self.look(now, key).is_some() {
            return Reply::Nil;
        }
        self.count_and_set(now, key, counter, owner, ttl_ms)
    }

    fn count_and_set(&mut self, now: Now, key: &SmolStr, counter: &SmolStr, owner: &SmolStr, ttl_ms: i64) -> Reply {
        let count = match self.incr(now, counter) {
            Reply::Integer(count) => count,
            refused => return refused,
        };
        // A wrong time to live is seen only now: what was counted stays counted.
        match self.set(now, key, owner, false, Some(ttl_ms)) {
            Reply::Ok => Reply::Bulk(count.to_string()),
            refused => refused,
        }
    }

    fn set_and_fence(&mut self, now: Now, key: &SmolStr, counter: &SmolStr, owner: &SmolStr, ttl_ms: i64) -> Reply {
        if self.look(now, key).is_some() {
            return Reply::Nil;
        }
        self.start_at_the_time(now, counter);
        self.count_and_set(now, key, counter, owner, ttl_ms)
    }

    /// A counter that is not there starts at the time of day.
    fn start_at_the_time(&mut self, now: Now, counter: &SmolStr) {
        if self.look(now, counter).is_none() {
            let micros = now.wall_ms.saturating_mul(1_000);
            self.put(now, counter, Entry { value: micros.to_smolstr(), deadline: None });
        }
    }

    fn raise_if_owner(&mut self, now: Now, key: &SmolStr, counter: &SmolStr, owner: &str, token: u64) -> bool {
        if self.owned(now, key, owner) != 1 {
            return false;
        }
        let token = token.to_smolstr();
        let beyond = |entry: &Entry| (entry.value.len(), &entry.value) > (token.len(), &token);
        if self.look(now, counter).is_some_and(beyond) {
            return false;
        }
        self.put(now, counter, Entry { value: token, deadline: None });
        true
    }

    /// What the scripts find: 1 the key holds `owner`, 0 it does not exist, -1 it holds something else.
    fn owned(&mut self, now: Now, key: &SmolStr, owner: &str) -> i64 {
        match self.look(now, key) {
            None => 0,
            Some(entry) if entry.value == owner => 1,
            Some(_) => -1,
        }
    }
}

#[cfg(test)]
mod tests;
