//! Which key of an op names the lock, the owner, the token, the validity: what the user says, else what is usual.

use std::time::Duration;

use rustc_hash::FxHashMap;

/// How to read a history of another harness, where that is to be other than usual.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    /// The key that names the lock: in the op, or in a map in its `:value`. `value` is all of `:value`, `first` the
    /// first of a pair there, `none` stands for one lock throughout.
    pub lock: Option<String>,
    /// The key that names who owns a hold. `process` is the process, as is usual where no key says it.
    pub owner: Option<String>,
    /// The key that gives the fencing token. `value` is a number in `:value`, `second` the second of a pair there,
    /// `none` reads no tokens.
    pub token: Option<String>,
    /// How many threads there were: a process that retires goes on as its number plus this one, and is one owner.
    pub threads: Option<u32>,
    /// For how long a hold is valid that does not say it, from its acquire's invocation on.
    pub lease: Option<Duration>,
    /// In what `:ttl` is told, in nanoseconds.
    pub ttl_unit: Option<u64>,
    /// What an acquire that went well says if nothing was granted, beside what is known to say so.
    pub refused: Vec<String>,
    /// What the order of the ops is.
    pub order: Order,
    /// Whether it matters for how long holds are valid.
    pub leased: bool,
    /// Whether readers may share a lock.
    pub readers: bool,
    /// Whether a lock is a semaphore.
    pub permits: bool,
}

/// What puts ops in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// `:index` where every op has one of its own, else the file; refused where `:time` says otherwise.
    #[default]
    Usual,
    /// The order of the file, whatever `:index` and `:time` say.
    File,
    /// `:index`, whatever `:time` says.
    Index,
    /// `:time`, all of one clock.
    Time,
}

/// In what a validity is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// As the key says, in nanoseconds.
    Known(u64),
    /// The key does not say it.
    Untold,
}

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Lock,
    Owner,
    Token,
    ValidUntil,
    Ttl(Unit),
    /// How many permits of a semaphore are asked for; whether the key says no less than that.
    Permits(bool),
}

/// Which keys have which role. Of several keys of one role the first that is listed counts.
pub(super) struct Keys {
    lock: Option<String>,
    owner: Option<String>,
    token: Option<String>,
    ttl_unit: Unit,
    /// The roles of keys of ops.
    roles: FxHashMap<String, (Role, u8)>,
}

const LOCKS: [&str; 21] = [
    "lock",
    "lock-name",
    "lock_name",
    "lockName",
    "lockname",
    "lock-id",
    "lock_id",
    "lockId",
    "lock-key",
    "lock_key",
    "lockKey",
    "mutex",
    "mutex-name",
    "mutex_name",
    "mutexName",
    "resource",
    "resource-id",
    "resource_id",
    "resourceId",
    "resource-name",
    "resource_name",
];
/// These name other things where they stand in the op itself.
const LOCKS_WITHIN: [&str; 4] = ["name", "key", "path", "object"];
const OWNERS: [&str; 13] = [
    "owner",
    "owner-id",
    "owner_id",
    "ownerId",
    "client",
    "client-id",
    "client_id",
    "clientId",
    "holder",
    "session",
    "session-id",
    "thread",
    "worker",
];
const TOKENS: [&str; 8] =
    ["token", "fence", "fencing-token", "fencing_token", "fencingToken", "fence-token", "fence_token", "fenceToken"];
const UNTIL: [&str; 3] = ["valid-until", "valid_until", "validUntil"];
/// With what their numbers count in nanoseconds; 0 where they do not say.
const TTLS: [(&str, u64); 13] = [
    ("ttl", 0),
    ("lease", 0),
    ("validity", 0),
    ("ttl-s", 1_000_000_000),
    ("ttl-ms", 1_000_000),
    ("ttl_ms", 1_000_000),
    ("ttlMs", 1_000_000),
    ("ttl-us", 1_000),
    ("ttl-ns", 1),
    ("lease-ms", 1_000_000),
    ("lease_ms", 1_000_000),
    ("lease-s", 1_000_000_000),
    ("lease-ns", 1),
];

/// The first of these are of semaphores only; the others count something, which at a semaphore is permits.
const PERMITS: [&str; 13] = [
    "permits",
    "permit",
    "num-permits",
    "num_permits",
    "numPermits",
    "permit-count",
    "permit_count",
    "permitCount",
    "count",
    "n",
    "amount",
    "weight",
    "units",
];
const SURE_PERMITS: usize = 8;

/// The keys that say where, in another way than by their names.
const PLACES: [&str; 5] = ["value", "first", "second", "none", "process"];

impl Keys {
    pub(super) fn new(naming: &Naming) -> Self {
        let chosen = |key: &Option<String>| key.as_ref().map(|key| key.trim_start_matches(':').to_owned());
        let mut keys = Self {
            lock: chosen(&naming.lock),
            owner: chosen(&naming.owner),
            token: chosen(&naming.token),
            ttl_unit: naming.ttl_unit.map_or(Unit::Untold, Unit::Known),
            roles: FxHashMap::default(),
        };
        let own = [&keys.lock, &keys.owner, &keys.token].into_iter().flatten().map(String::as_str);
        let usual = LOCKS.into_iter().chain(OWNERS).chain(TOKENS).chain(UNTIL).chain(PERMITS);
        let usual = usual.chain(TTLS.map(|(key, _)| key));
        let roles = own.chain(usual).filter_map(|key| Some((key.to_owned(), keys.of(key, &[])?)));
        keys.roles = roles.collect();
        keys
    }

    /// What the user chose a key for that is read anyway.
    pub(super) fn chosen(&self, key: &str) -> Option<(Role, u8)> {
        if self.lock.is_none() && self.owner.is_none() && self.token.is_none() {
            return None;
        }
        let is = |chosen: &Option<String>| chosen.as_deref() == Some(key) && !PLACES.contains(&key);
        match () {
            () if is(&self.lock) => Some((Role::Lock, 0)),
            () if is(&self.owner) => Some((Role::Owner, 0)),
            () if is(&self.token) => Some((Role::Token, 0)),
            () => None,
        }
    }

    /// What a key of an op says.
    pub(super) fn role(&self, key: &str) -> Option<(Role, u8)> {
        self.roles.get(key).copied()
    }

    /// What a key of the map in an op's `:value` says.
    pub(super) fn role_within(&self, key: &str) -> Option<(Role, u8)> {
        self.of(key, &LOCKS_WITHIN)
    }

    fn of(&self, key: &str, more_locks: &[&str]) -> Option<(Role, u8)> {
        let place = |keys: &[&str]| keys.iter().position(|known| *known == key).map(|at| at as u8);
        let usual = |chosen: &Option<String>, keys: &[&str]| match chosen {
            Some(chosen) => (chosen == key && !PLACES.contains(&key)).then_some(0),
            None => place(keys),
        };
        if let Some(rank) = usual(&self.lock, &LOCKS) {
            return Some((Role::Lock, rank));
        }
        if self.lock.is_none()
            && let Some(rank) = place(more_locks)
        {
            return Some((Role::Lock, rank + LOCKS.len() as u8));
        }
        if let Some(rank) = usual(&self.owner, &OWNERS) {
            return Some((Role::Owner, rank));
        }
        if let Some(rank) = usual(&self.token, &TOKENS) {
            return Some((Role::Token, rank));
        }
        if let Some(rank) = place(&UNTIL) {
            return Some((Role::ValidUntil, rank));
        }
        if let Some(rank) = place(&PERMITS) {
            return Some((Role::Permits(usize::from(rank) < SURE_PERMITS), rank));
        }
        let (at, (_, unit)) = TTLS.iter().enumerate().find(|(_, (ttl, _))| *ttl == key)?;
        let unit = if *unit > 0 { Unit::Known(*unit) } else { self.ttl_unit };
        Some((Role::Ttl(unit), (UNTIL.len() + at) as u8))
    }

    /// The place that the user chose for the lock's name, if that is one.
    pub(super) fn lock_place(&self) -> Option<&str> {
        self.lock.as_deref().filter(|key| PLACES.contains(key))
    }

    /// The place that the user chose for the token, if that is one.
    pub(super) fn token_place(&self) -> Option<&str> {
        self.token.as_deref().filter(|key| PLACES.contains(key))
    }

    /// Whether owners are processes because the user said so.
    pub(super) fn owner_is_process(&self) -> bool {
        self.owner.as_deref() == Some("process")
    }

    /// The keys that the user chose, each with the option that says so and what it names.
    pub(super) fn chosen_keys(&self) -> impl Iterator<Item = (&str, &'static str, Role)> {
        let chosen = [
            (&self.lock, "--lock-key", Role::Lock),
            (&self.owner, "--owner-key", Role::Owner),
            (&self.token, "--token-key", Role::Token),
        ];
        let keys = chosen.into_iter().filter_map(|(key, option, role)| Some((key.as_deref()?, option, role)));
        keys.filter(|(key, ..)| !PLACES.contains(key))
    }

    /// Whether a key in a map in `:value` may be a part of a lock's name, in a map of which no key is one.
    pub(super) fn is_aside(&self, key: &str) -> bool {
        const ASIDE: [&str; 16] = [
            "uid", "id", "uuid", "timeout", "wait", "value", "node", "attempt", "error", "mode", "time", "retries",
            "retry", "reason", "comment", "priority",
        ];
        ASIDE.contains(&key) || self.of(key, &[]).is_some()
    }
}

/// What an op's `:f` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Acquire(Mode),
    /// Of a hold of any mode, unless one is named.
    Release(Option<Mode>),
    /// A hold is to last longer.
    Extend,
    /// It is about the lock, and what it does to it no model knows.
    Unclear,
    /// Not about the lock, or without an effect on it.
    Other,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// By one, as far as is said.
    Plain,
    /// With other readers.
    Shared,
    /// By a writer.
    Exclusive,
}

impl Verb {
    /// Of a verb as harnesses write it: `try_acquire`, `tryLock`, `:acquire-read`.
    pub(super) fn of(f: &str) -> Self {
        match f {
            "acquire" => return Self::Acquire(Mode::Plain),
            "release" => return Self::Release(None),
            "read" | "write" | "cas" | "add" | "start" | "stop" => return Self::Other,
            _ => {}
        }
        let f = f.strip_prefix(':').unwrap_or(f);
        let shouts = !f.bytes().any(|byte| byte.is_ascii_lowercase());
        let mut plain = String::with_capacity(f.len() + 2);
        for letter in f.chars() {
            match letter {
                '_' | ' ' | '.' => plain.push('-'),
                letter if letter.is_ascii_uppercase() => {
                    if !shouts && !plain.is_empty() && !plain.ends_with('-') {
                        plain.push('-');
                    }
                    plain.push(letter.to_ascii_lowercase());
                }
                letter => plain.push(letter),
            }
        }
        let parts: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
        let has = |words: &[&str]| parts.iter().any(|part| words.contains(part));
        let releases = has(&["release", "unlock", "runlock", "wunlock", "releases", "released"]);
        let acquires = has(&["acquire", "lock", "trylock", "tryacquire", "rlock", "wlock", "acquires"]) && !releases;
        // Of what takes a lock and gives it back nobody sees when. In `lock.release` the first word says to what.
        let both = releases
            && (has(&["acquire", "acquires", "tryacquire", "trylock"])
                || (has(&["lock"]) && (has(&["and"]) || (has(&["unlock"]) && !f.contains('.')))));
        if both || (parts.first() == Some(&"with") && (acquires || releases)) {
            return Self::Unclear;
        }
        // Words that say nothing of what is done: who does it, to what, how hard it is tried.
        const KNOWN: [&str; 34] = [
            "release",
            "unlock",
            "runlock",
            "wunlock",
            "releases",
            "released",
            "acquire",
            "lock",
            "trylock",
            "tryacquire",
            "rlock",
            "wlock",
            "acquires",
            "try",
            "read",
            "write",
            "shared",
            "exclusive",
            "reader",
            "writer",
            "mutex",
            "fenced",
            "the",
            "permit",
            "permits",
            "semaphore",
            "and",
            "get",
            "fence",
            "blocking",
            "async",
            "cp",
            "with",
            "timeout",
        ];
        let is_known = parts.iter().all(|part| KNOWN.contains(part));
        let shared = has(&["read", "shared", "reader", "rlock", "runlock"]);
        let exclusive = has(&["write", "exclusive", "writer", "wlock", "wunlock"]);
        let mode = match (shared, exclusive) {
            (true, false) => Some(Mode::Shared),
            (false, true) => Some(Mode::Exclusive),
            _ => None,
        };
        match () {
            () if is_known && !(shared && exclusive) && acquires => Self::Acquire(mode.unwrap_or(Mode::Plain)),
            () if is_known && !(shared && exclusive) && releases => Self::Release(mode),
            () if has(&["extend", "renew", "refresh", "keepalive", "prolong"]) || plain == "keep-alive" => Self::Extend,
            // They ask, and change nothing.
            () if has(&[
                "is", "locked", "held", "owner", "holder", "count", "status", "check", "list", "locks", "query",
            ]) =>
            {
                Self::Other
            }
            () if acquires || releases => Self::Unclear,
            () if has(&["steal", "upgrade", "downgrade"]) => Self::Unclear,
            () if has(&["permit", "permits", "drain"]) => Self::Unclear,
            () => Self::Other,
        }
    }
}

/// Whether an op of a client, which is not about a lock by its verb, may end what the client holds.
pub(super) fn may_end(f: &str) -> bool {
    const ENDS: [&str; 28] = [
        "lost",
        "lose",
        "loss",
        "expire",
        "expired",
        "expires",
        "revoke",
        "revoked",
        "evict",
        "evicted",
        "preempt",
        "preempted",
        "crash",
        "crashed",
        "die",
        "died",
        "kill",
        "killed",
        "close",
        "closed",
        "disconnect",
        "disconnected",
        "restart",
        "restarted",
        "wait",
        "await",
        "abandon",
        "abandoned",
    ];
    f.split(['-', '_', '.', '/', ' ']).any(|part| ENDS.iter().any(|end| end.eq_ignore_ascii_case(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_understood_however_they_are_written() {
        use Mode::*;
        for (f, verb) in [
            ("acquire", Verb::Acquire(Plain)),
            ("try_acquire", Verb::Acquire(Plain)),
            ("tryLock", Verb::Acquire(Plain)),
            ("lock", Verb::Acquire(Plain)),
            ("lock-and-get-fence", Verb::Acquire(Plain)),
            ("acquire-read", Verb::Acquire(Shared)),
            ("read_lock", Verb::Acquire(Shared)),
            ("rlock", Verb::Acquire(Shared)),
            (":acquire", Verb::Acquire(Plain)),
            ("ACQUIRE", Verb::Acquire(Plain)),
            ("TRY_LOCK", Verb::Acquire(Plain)),
            ("acquire-write", Verb::Acquire(Exclusive)),
            ("acquire-permit", Verb::Acquire(Plain)),
            ("release", Verb::Release(None)),
            ("unlock", Verb::Release(None)),
            ("release-shared", Verb::Release(Some(Shared))),
            ("runlock", Verb::Release(Some(Shared))),
            ("write-unlock", Verb::Release(Some(Exclusive))),
            ("renew", Verb::Extend),
            ("keep-alive", Verb::Extend),
            ("force-unlock", Verb::Unclear),
            ("with-lock", Verb::Unclear),
            ("acquire-release", Verb::Unclear),
            ("lock_unlock", Verb::Unclear),
            ("lock-and-release", Verb::Unclear),
            ("lock.release", Verb::Release(None)),
            ("release-lock", Verb::Release(None)),
            ("lock-with-timeout", Verb::Acquire(Plain)),
            ("steal", Verb::Unclear),
            ("upgrade-lock", Verb::Unclear),
            ("is-locked", Verb::Other),
            ("locked?", Verb::Other),
            ("read", Verb::Other),
            ("append", Verb::Other),
            ("start-partition", Verb::Other),
        ] {
            assert_eq!(Verb::of(f), verb, "{f}");
        }
    }
}
