//! What a completion says beside that it went well: that nothing was granted, the token, how long the hold is valid.

use super::super::fields::Fields;
use super::super::naming::Role;
use super::super::naming::Unit;
use super::super::notation::Value;
use super::super::survey::LockPlace;
use super::{Assembly, LATEST};
use crate::ids::{FencingToken, LockName};

/// Keys that say whether a lock was granted, whether something was done, and how it went.
const GRANTED: [&str; 3] = ["acquired", "granted", "locked"];
const DONE: [&str; 6] = ["acquired", "granted", "success", "ok", "locked", "released"];
pub(super) const OUTCOMES: [&str; 13] = [
    "result", "status", "outcome", "state", "response", "reply", "code", "acquired", "granted", "success", "ok",
    "locked", "released",
];

impl Assembly<'_> {
    /// Whether a completion that went well says that nothing was done.
    pub(super) fn refuses(&self, fields: &Fields<'_>, acquires: bool) -> bool {
        let named = &self.naming.refused;
        let says_no = |value: &Value<'_>| match value {
            Value::Bool(done) => !done,
            Value::Word(word) => is_refusal(word),
            Value::Text(word) => is_refusal(word),
            _ => false,
        };
        let is_named = |value: &Value<'_>| named.iter().any(|named| *named == value.name());
        if !named.is_empty() {
            let value = fields.value.as_ref().unwrap_or(&Value::Nil);
            let within =
                || value.entries().any(|(_, value)| is_named(&value)) || value.items().any(|item| is_named(&item));
            if acquires && (is_named(value) || within()) {
                return true;
            }
        }
        match &fields.value {
            None | Some(Value::Nil) => acquires && self.places.nil_refuses,
            Some(map @ Value::Map(_)) => {
                map.entries().any(|(key, value)| {
                    let key = key.to_ascii_lowercase();
                    // What is not locked after a release is what it should be.
                    let of_other = if acquires { key == "released" } else { GRANTED.contains(&key.as_str()) };
                    let is_zero = || DONE.contains(&key.as_str()) && value.number() == Some(0);
                    !of_other && OUTCOMES.contains(&key.as_str()) && (says_no(&value) || is_zero())
                })
            }
            Some(number @ Value::Number(_)) => acquires && self.places.zero_refuses && number.number() == Some(0),
            Some(pair @ Value::Seq(_)) => pair.pair().is_some_and(|(_, second)| second == Value::Bool(false)),
            Some(value) => says_no(value),
        }
    }

    pub(super) fn token(&mut self, fields: &Fields<'_>, lock: &LockName) -> Result<Option<FencingToken>, String> {
        let by_key = || {
            let within = || fields.within(self.keys, |role| *role == Role::Token).map(|(_, token)| token);
            fields.token.clone().or_else(within)
        };
        let of_value = || {
            let value = fields.value.clone().filter(|value| matches!(value, Value::Number(_)))?;
            (self.places.value_token && (self.places.lock != LockPlace::Value || value.name() != lock.as_str()))
                .then_some(value)
        };
        let second = || {
            let (_, second) = fields.value.as_ref()?.pair()?;
            matches!(second, Value::Number(_)).then_some(second)
        };
        let token = match self.keys.token_place() {
            None => by_key().or_else(of_value).or_else(|| second().filter(|_| self.places.lock == LockPlace::First)),
            Some("value") => fields.value.clone(),
            Some("second") => second(),
            Some(_) => None,
        };
        let Some(token) = token else { return Ok(None) };
        match token.number().map(u64::try_from) {
            // Hazelcast's clients mean by it that they do not know.
            Some(Ok(0)) => Ok(None),
            Some(Ok(number)) => Ok(Some(FencingToken(number))),
            Some(Err(_)) => Err(format!(
                "its token is {}; it is a whole number, 0 or more; --token-key says which key gives it",
                token.written()
            )),
            // An owner's random value, as Redis locks have it, has no order.
            None => {
                self.found.strange_tokens += 1;
                Ok(None)
            }
        }
    }

    /// Until when a grant is valid, as far as its ops or the user say it.
    pub(super) fn valid_until(&self, fields: &Fields<'_>, asked: u64) -> Result<Option<u64>, String> {
        if !self.naming.leased {
            return Ok(None);
        }
        let until = fields.valid_until.clone().map(|until| (Role::ValidUntil, until));
        let ttl = fields.ttl.clone().map(|(ttl, unit)| (Role::Ttl(unit), ttl));
        let within = || fields.within(self.keys, |role| matches!(role, Role::ValidUntil | Role::Ttl(_)));
        let Some((role, value)) = until.or(ttl).or_else(within) else {
            return Ok(self.naming.lease.map(|lease| asked.saturating_add(lease.as_nanos() as u64)));
        };
        let number = value.number().and_then(|number| u64::try_from(number).ok());
        match (role, number) {
            (Role::ValidUntil, Some(until)) if until <= LATEST => Ok(Some(until)),
            (Role::Ttl(Unit::Known(unit)), Some(ttl)) => {
                Ok(Some(asked.saturating_add(ttl.saturating_mul(unit)).min(LATEST)))
            }
            // Nanoseconds, as `:time`, if that can be: no lease is as short as this.
            (Role::Ttl(Unit::Untold), Some(ttl)) if ttl >= 100_000 => Ok(Some(asked.saturating_add(ttl).min(LATEST))),
            (Role::Ttl(_), Some(ttl)) => Err(format!(
                "its validity is {ttl}, which would be {ttl} ns, the unit of :time; say what it is: --ttl-unit s, ms, us or ns"
            )),
            (Role::Ttl(_), None) if value.word().is_some() => {
                let ttl = humantime::parse_duration(value.word().unwrap_or_default())
                    .map_err(|error| format!("its validity is {}: {error}; such as \"10s\"", value.written()))?;
                Ok(Some(asked.saturating_add(ttl.as_nanos() as u64)))
            }
            _ => Err(format!("its validity is {}; it is a whole number of nanoseconds, as :time", value.written())),
        }
    }
}

/// Whether a completion's value may name a lock, rather than say what came of it.
pub(super) fn may_name(value: &Value<'_>) -> bool {
    match value {
        Value::Word(_) | Value::Text(_) => true,
        Value::Seq(_) => value.pair().is_some_and(|(first, _)| first.word().is_some_and(|word| !is_answer(word))),
        _ => false,
    }
}

/// Whether a word says that nothing was granted.
pub(super) fn is_refusal(word: &str) -> bool {
    const NO: [&str; 27] = [
        "fail",
        "nack",
        "rejected",
        "unavailable",
        "conflict",
        "contended",
        "would-block",
        "eagain",
        "not-granted",
        "not-locked",
        "timedout",
        "lock-held",
        "already-taken",
        "held-by-other",
        "no-lock",
        "false",
        "no",
        "refused",
        "denied",
        "busy",
        "failed",
        "timeout",
        "timed-out",
        "not-acquired",
        "already-held",
        "already-locked",
        "not-held",
    ];
    let plain = || word.to_ascii_lowercase().replace(['_', ' '], "-");
    NO.contains(&word)
        || (word.bytes().any(|byte| matches!(byte, b'A'..=b'Z' | b'_' | b' ')) && NO.contains(&plain().as_str()))
}

/// Whether a word says what came of an op rather than what it was about.
pub(super) fn is_answer(word: &str) -> bool {
    const YES: [&str; 10] =
        ["true", "yes", "ok", "OK", "granted", "acquired", "released", "locked", "unlocked", "success"];
    YES.contains(&word) || is_refusal(word)
}
