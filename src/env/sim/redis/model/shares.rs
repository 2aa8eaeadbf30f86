//! The shares of a lock that several may hold: the one kind of sorted set that locks keep, and the scripts over it.
//!
//! A set is kept as a text of its own form, which no lock writes, so that the disk knows one kind of value only: a line
//! for each member, ordered as the server orders them. Deliberately absent: other commands on sorted sets; a string
//! command finds the text here, where the server would answer `WRONGTYPE`.

use smol_str::SmolStr;

use super::{Entry, Now, RedisModel, Reply};
use crate::lock::backend::Share;

/// What a text begins with that is a set.
const MARK: &str = "\u{0}shares";
/// The member that stands for a writer whom readers keep out.
const WRITER_WAITS: &str = "!";

/// Members by score and name.
struct Shares(Vec<(i64, String)>);

impl Shares {
    /// The set that a value is; `None` if it is a string.
    fn read(value: &str) -> Option<Self> {
        let lines = value.strip_prefix(MARK)?.lines().skip(1);
        Some(Self(
            lines.filter_map(|line| line.split_once(' ')).map(|(at, name)| (number(at), name.to_owned())).collect(),
        ))
    }

    fn text(&self) -> SmolStr {
        let lines: String = self.0.iter().map(|(until, name)| format!("\n{until} {name}")).collect();
        SmolStr::new(format!("{MARK}{lines}"))
    }

    fn until(&self, name: &str) -> Option<i64> {
        self.0.iter().find(|(_, member)| member == name).map(|(until, _)| *until)
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(_, member)| member != name);
    }

    fn set(&mut self, name: &str, until: i64) {
        self.remove(name);
        self.0.push((until, name.to_owned()));
        self.0.sort();
    }
}

fn number(text: &str) -> i64 {
    // Written by nobody else.
    text.parse().unwrap_or_default()
}

fn member(share: Share, owner: &str) -> String {
    format!("{}:{owner}", share.letter())
}

impl RedisModel {
    /// What a key holds as a set, an empty one if it does not exist; with its deadline.
    fn shares(&mut self, now: Now, key: &SmolStr) -> Result<(Shares, Option<i64>), Reply> {
        let Some(entry) = self.look(now, key) else { return Ok((Shares(Vec::new()), None)) };
        let deadline = entry.deadline;
        let shares = Shares::read(&entry.value).map(|shares| (shares, deadline));
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        shares.ok_or_else(|| Reply::Error(wrong.to_owned()))
    }

    /// Writes a set back, if it is another one than before; an empty one is no key.
    fn keep(&mut self, now: Now, key: &SmolStr, shares: &Shares, deadline: Option<i64>) {
        let entry = Entry { value: shares.text(), deadline };
        let known = self.look(now, key);
        if known == Some(&entry) || known.is_none() && shares.0.is_empty() {
            return;
        }
        if shares.0.is_empty() {
            self.remove(now, key);
        } else {
            self.put(now, key, entry);
        }
    }

    pub(super) fn take_share(
        &mut self,
        now: Now,
        key: &SmolStr,
        counter: &SmolStr,
        owner: &str,
        ttl_ms: i64,
        share: Share,
    ) -> Reply {
        let (mut shares, mut deadline) = match self.shares(now, key) {
            Ok(known) => known,
            Err(wrong) => return wrong,
        };
        shares.0.retain(|(until, _)| *until >= now.wall_ms);
        deadline = deadline.filter(|_| !shares.0.is_empty());
        let writer_waits = shares.until(WRITER_WAITS).is_some();
        let taken: Vec<&str> = shares.0.iter().map(|(_, name)| &**name).filter(|name| *name != WRITER_WAITS).collect();
        let are_readers = taken.first().map(|name| name.starts_with(Share::Read.letter()));
        let refused = match share {
            Share::Read => writer_waits || are_readers == Some(false),
            Share::Write { .. } => are_readers.is_some(),
            Share::Permit { of } => {
                taken.first().is_some_and(|name| !name.starts_with('p') || taken.len() >= of as usize)
            }
        };
        if refused {
            if let (Share::Write { waits }, Some(true)) = (share, are_readers) {
                let waits = i64::try_from(waits.as_millis()).unwrap_or(i64::MAX).max(1);
                shares.set(WRITER_WAITS, now.wall_ms.saturating_add(waits));
            }
            self.keep(now, key, &shares, deadline);
            return Reply::Nil;
        }
        // Taken away whatever comes of the rest.
        self.keep(now, key, &shares, deadline);
        self.start_at_the_time(now, counter);
        let count = match self.incr(now, counter) {
            Reply::Integer(count) => count,
            refused => return refused,
        };
        if matches!(share, Share::Write { .. }) {
            shares.0.clear();
            deadline = None;
        }
        let until = now.wall_ms.saturating_add(ttl_ms);
        shares.set(&member(share, owner), until);
        self.keep(now, key, &shares, deadline.max(Some(until)));
        Reply::Bulk(count.to_string())
    }

    pub(super) fn extend_share(&mut self, now: Now, key: &SmolStr, owner: &str, ttl_ms: i64, share: Share) -> Reply {
        let (mut shares, deadline) = match self.shares(now, key) {
            Ok(known) => known,
            Err(wrong) => return wrong,
        };
        let member = member(share, owner);
        if shares.until(&member).is_none_or(|until| until < now.wall_ms) {
            return Reply::Integer(0);
        }
        let until = now.wall_ms.saturating_add(ttl_ms);
        shares.set(&member, until);
        self.keep(now, key, &shares, deadline.max(Some(until)));
        Reply::Integer(1)
    }

    pub(super) fn return_share(&mut self, now: Now, key: &SmolStr, owner: &str, share: Share) -> Reply {
        let (mut shares, deadline) = match self.shares(now, key) {
            Ok(known) => known,
            Err(wrong) => return wrong,
        };
        let member = member(share, owner);
        let found = shares.until(&member);
        shares.remove(&member);
        self.keep(now, key, &shares, deadline);
        Reply::flag(found.is_some_and(|until| until >= now.wall_ms))
    }
}
